//! Who must sign.

use std::collections::BTreeMap;

use crate::plan::defaults::SIGNATURES_MAX;
use crate::plan::draft::Draft;
use crate::plan::problem::{Problem, count};

pub(crate) fn check(draft: &Draft, problems: &mut Vec<Problem>) {
    let approval = &draft.approval;
    let mut seen = BTreeMap::new();
    for group in &approval.from {
        if let Some(first) = seen.insert(group.value.as_str(), group.span.clone()) {
            problems.push(
                Problem::error("P115", group.span.clone(), format!("group `{}` is named twice", group.value))
                    .label("again here")
                    .see(first, "first here")
                    .help("for two persons of one group, ask for more `signatures`"),
            );
        }
    }
    let Some(signatures) = &approval.signatures else { return };
    let number = signatures.value;
    if number == 0 || number > SIGNATURES_MAX {
        problems.push(
            Problem::error(
                "P115",
                signatures.span.clone(),
                format!("a plan wants 1 to {SIGNATURES_MAX} signatures"),
            )
            .label(if number == 0 {
                "nobody would have to agree"
            } else {
                "more than a plan can carry"
            }),
        );
    } else if (number as usize) < approval.from.len() {
        let groups = approval.from.len();
        let mut problem = Problem::error(
            "P115",
            signatures.span.clone(),
            format!("{} cannot come from {}", count(number as usize, "signature"), count(groups, "group")),
        )
        .label("fewer than the groups in `from`");
        if let (Some(first), Some(last)) = (approval.from.first(), approval.from.last()) {
            let span = first.span.start.min(last.span.start)..first.span.end.max(last.span.end);
            problem = problem.see(span, format!("one person of each of these {groups}"));
        }
        problems.push(problem.replace("ask for one of each", signatures.span.clone(), groups.to_string()));
    }
}
