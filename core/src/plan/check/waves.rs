//! Waves as written: they grow, and the last one is everybody.

use crate::plan::WAVES_MAX;
use crate::plan::draft::{Amount, At, Draft};
use crate::plan::problem::Problem;

pub(crate) fn check(draft: &Draft, problems: &mut Vec<Problem>) {
    if draft.waves.is_empty() {
        let could_not_be_read = draft.problems.iter().any(|problem| problem.message.contains("`wave`"));
        if !could_not_be_read {
            let end = draft.text.trim_end().len();
            problems.push(
                Problem::error("P130", end..end, "the plan has no wave: no host would be released")
                    .label("no [[wave]] in this file")
                    .help("add: [[wave]] then hosts = \"100%\""),
            );
        }
        return;
    }
    if let Some(extra) = draft.waves.get(WAVES_MAX) {
        let problem =
            Problem::error("P130", extra.span.clone(), format!("a plan has at most {WAVES_MAX} waves"));
        problems.push(problem.label(format!("this is number {} of {}", WAVES_MAX + 1, draft.waves.len())));
    }
    growth(draft, problems);
    last(draft, problems);
}

fn growth(draft: &Draft, problems: &mut Vec<Problem>) {
    let sizes: Vec<(usize, &At<Amount>)> = draft
        .waves
        .iter()
        .enumerate()
        .filter_map(|(at, wave)| Some((at + 1, wave.hosts.as_ref()?)))
        .collect();
    let list = sizes.iter().map(|(_, size)| size.value.to_string()).collect::<Vec<_>>().join(", ");
    for pair in sizes.windows(2) {
        let [(before, a), (wave, b)] = pair else { continue };
        let (more, same) = match (a.value, b.value) {
            (Amount::Percent(a), Amount::Percent(b)) | (Amount::Count(a), Amount::Count(b)) => {
                (a > b, a == b)
            }
            // Comparable only against a fleet.
            _ => continue,
        };
        if !more && !same {
            continue;
        }
        let message = match same {
            false => format!("wave {wave} releases fewer hosts than wave {before}"),
            true => format!("wave {wave} releases no host that wave {before} did not"),
        };
        problems.push(
            Problem::error("P131", b.span.clone(), message)
                .label(format!("{} in all", in_words(b.value)))
                .see(a.span.clone(), format!("{} are already released here", in_words(a.value)))
                .note(format!("the numbers count the whole selection and add up: {list}")),
        );
    }
}

fn in_words(amount: Amount) -> String {
    match amount {
        Amount::Count(1) => "1 host".into(),
        Amount::Count(count) => format!("{count} hosts"),
        Amount::Percent(percent) => format!("{percent}% of the hosts"),
    }
}

fn last(draft: &Draft, problems: &mut Vec<Problem>) {
    let Some(hosts) = draft.waves.last().and_then(|wave| wave.hosts.as_ref()) else { return };
    if let Amount::Percent(percent) = hosts.value
        && percent != 100
    {
        problems.push(
            Problem::error("P132", hosts.span.clone(), "the last wave does not reach every host")
                .label(format!("{}% of the hosts would never be released", 100 - percent))
                .replace("let the last wave be everybody", hosts.span.clone(), "\"100%\""),
        );
    }
}
