//! What a plan must be for hosts to take it by the emergency route. Hosts judge
//! that themselves ([`crate::trust`]); here it is told while there is time.

use super::steps;
use crate::manifest::Catalogue;
use crate::plan::draft::{Draft, StepDraft, UndoDraft};
use crate::plan::problem::Problem;
use crate::plan::tree::Place;
use crate::plan::{EMERGENCY_VALID_MAX, defaults};

/// The power that reads a rollback point.
const POINTS: &str = "points";

pub(crate) fn check(draft: &Draft, catalogue: &Catalogue, problems: &mut Vec<Problem>) {
    let Some(urgency) = draft.urgency.as_ref().filter(|urgency| urgency.value.is_emergency()) else { return };
    validity(draft, problems);
    author(draft, &urgency.span, problems);
    // What a step comes to is told where steps are judged.
    let mut told = Vec::new();
    let resolved: Vec<_> =
        draft.steps.iter().map(|step| (step, steps::resolve(draft, step, catalogue, &mut told))).collect();
    for (step, resolved) in &resolved {
        if let Some(resolved) = resolved.as_ref().filter(|resolved| !resolved.undo.leads_back(resolved.class))
        {
            problems.push(no_way_back(step, resolved.undo == crate::plan::Undo::Nothing));
        }
    }
    if draft.point.is_none() {
        let problem = Problem::error(
            "P150",
            urgency.span.clone(),
            "an emergency goes back to a point of the host itself",
        );
        problems.push(problem.label("and this plan names none").help("add: [point] then newest = \"whole\""));
        return;
    }
    let restores = |resolved: &steps::Resolved<'_>| resolved.grants.iter().any(|grant| grant.power == POINTS);
    let all_known = resolved.iter().all(|(_, resolved)| resolved.is_some());
    if all_known && !resolved.iter().flat_map(|(_, resolved)| resolved).any(restores) {
        problems.push(
            Problem::error("P150", urgency.span.clone(), "an emergency restores something from its point")
                .label("and no step of this plan does")
                .help("add a step: uses = \"files@0\" then with = { restore = \"/opt/agora\" }"),
        );
    }
}

fn validity(draft: &Draft, problems: &mut Vec<Problem>) {
    let Some(valid) = draft.valid.as_ref().filter(|valid| valid.value > EMERGENCY_VALID_MAX) else { return };
    problems.push(
        Problem::error("P151", valid.span.clone(), "an emergency does not stay valid for so long")
            .label(format!(
                "{EMERGENCY_VALID_MAX} at most, {} when it is left out",
                defaults::EMERGENCY_VALID
            ))
            .note("fewer people sign it, so it shall not lie about for long")
            .replace(
                "the longest that may be written",
                valid.span.clone(),
                format!("\"{EMERGENCY_VALID_MAX}\""),
            ),
    );
}

/// Whoever is on call seals it, and nobody else is there to sign.
fn author(draft: &Draft, urgency: &Place, problems: &mut Vec<Problem>) {
    let approval = &draft.approval;
    let Some(signatures) = &approval.signatures else { return };
    match &approval.author {
        Some(counts) if counts.value => {}
        Some(not) => problems.push(
            Problem::error("P153", not.span.clone(), "in an emergency the author's own signature counts")
                .label("whoever runs it would not count")
                .replace("let the author count", not.span.clone(), "true"),
        ),
        None => problems.push(
            Problem::error("P153", urgency.clone(), "in an emergency the author's own signature counts")
                .label("whoever runs it would not count")
                .see(signatures.span.clone(), "who signs is said here")
                .help("add under [approval]: author = true"),
        ),
    }
    if signatures.value > 1 {
        problems.push(
            Problem::warning(
                "P154",
                signatures.span.clone(),
                "one person alone cannot launch this emergency",
            )
            .label("others have to be woken first")
            .help("`signatures = 1` with a group in `from` is what the emergency route is for"),
        );
    }
}

fn no_way_back(step: &StepDraft, is_said: bool) -> Problem {
    let place = match (&step.undo, &step.uses) {
        (Some(UndoDraft::Nothing(span)), _) => span.clone(),
        (_, Some(uses)) => uses.span.clone(),
        _ => step.span.clone(),
    };
    let problem = Problem::error("P152", place, "an emergency has no step that cannot be undone");
    let label = if is_said { "no way back" } else { "what this plugin did, nobody can tell" };
    problem
        .label(label)
        .help("say how it is undone, take the step out, or let the usual number of people sign")
}
