//! The step that parts back from forward: one at most, nothing irreversible
//! before it, and nothing after it that would have to turn the run round.

use crate::plan::draft::{Draft, UndoDraft};
use crate::plan::problem::Problem;

pub(super) fn check(draft: &Draft, problems: &mut Vec<Problem>) {
    let mut pivots = draft.steps.iter().enumerate().filter_map(|(at, step)| {
        let flag = step.pivot.as_ref().filter(|pivot| pivot.value)?;
        Some((at, flag.span.clone()))
    });
    let Some((pivot, place)) = pivots.next() else { return };
    for (_, second) in pivots {
        problems.push(
            Problem::error("P145", second, "a plan has one pivot")
                .label("again here")
                .see(place.clone(), "first here")
                .help("keep the one after which there is no way back"),
        );
    }
    for step in &draft.steps[..pivot] {
        if let Some(UndoDraft::Nothing(span)) = &step.undo {
            problems.push(
                Problem::error("P146", span.clone(), "a step before the pivot has no way back")
                    .label("what fails between here and the pivot could not be undone")
                    .see(place.clone(), "the pivot")
                    .help("make this step the pivot, or say how it is put back"),
            );
        }
    }
    let late = draft.steps[pivot + 1..].iter().filter_map(|step| step.confirm.as_ref());
    let of_plan = draft.confirm.as_ref().filter(|_| pivot + 1 < draft.steps.len());
    for confirm in late.chain(of_plan) {
        problems.push(
            Problem::error("P147", confirm.span.clone(), "`confirm` counts after the pivot")
                .label("nobody reached would mean to undo, and past the pivot nothing is undone by itself")
                .see(place.clone(), "the pivot")
                .help("ask for it at the pivot or before, where the host can still put everything back"),
        );
    }
}
