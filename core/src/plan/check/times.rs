//! Validity and the recovery time promised.

use crate::plan::VALID_MAX;
use crate::plan::defaults;
use crate::plan::draft::Draft;
use crate::plan::problem::Problem;
use crate::time::Millis;

pub(crate) fn check(draft: &Draft, problems: &mut Vec<Problem>) {
    if let Some(valid) = &draft.valid {
        if valid.value > VALID_MAX {
            problems.push(
                Problem::error("P116", valid.span.clone(), "the plan would stay valid too long")
                    .label(format!("{} at most", VALID_MAX))
                    .note("a sealed plan that lies about can be started by whoever holds it, as long as it is valid")
                    .replace("the longest that may be written", valid.span.clone(), format!("\"{VALID_MAX}\"")),
            );
        }
        if valid.value == Millis::ZERO {
            let problem = Problem::error("P116", valid.span.clone(), "the plan would never be valid");
            problems.push(problem.label("no host could start it").suggest(
                Some(if draft.urgency().is_emergency() { "15m" } else { "12h" }),
                valid.span.clone(),
                true,
            ));
        }
    }
    for step in &draft.steps {
        if let Some(timeout) = step.timeout.as_ref().filter(|timeout| timeout.value == Millis::ZERO) {
            let problem = Problem::error("P116", timeout.span.clone(), "the step would have no time at all");
            problems
                .push(problem.label("a timeout of zero").help("leave it out for the plugin's own timeout"));
        }
    }
    let pace = &draft.pace;
    for (key, length) in [("stage_within", &pace.stage_within), ("silent_after", &pace.silent_after)] {
        if let Some(length) = length.as_ref().filter(|length| length.value == Millis::ZERO) {
            let problem = Problem::error("P116", length.span.clone(), format!("`{key}` cannot be zero"));
            problems
                .push(problem.label("every host would count at once").help("leave it out for the default"));
        }
    }
    budget(draft, problems);
}

fn budget(draft: &Draft, problems: &mut Vec<Problem>) {
    let Some(budget) = &draft.budget else { return };
    let usual = defaults::soak(draft.urgency());
    let soak = |wave: &crate::plan::draft::WaveDraft| wave.soak.as_ref().map_or(usual, |soak| soak.value);
    let total = Millis(draft.waves.iter().map(|wave| soak(wave).0).fold(0, u64::saturating_add));
    if budget.value < total {
        let soaks: Vec<String> = draft.waves.iter().map(|wave| soak(wave).to_string()).collect();
        problems.push(
            Problem::error("P117", budget.span.clone(), "the waves soak longer than the whole budget")
                .label(format!("the soaks alone take {total}"))
                .note(format!("soaks: {}", soaks.join(" + ")))
                .help("allow more time, or soak shorter"),
        );
    }
}
