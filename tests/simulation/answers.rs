//! What the phases of a simulated step answer.

use sternway_core::run::{Action, Answer, Looked, Outcome, Prepared, Risk, StepError, Verdict, Verification};

use super::world::Content;

fn outcome() -> Outcome {
    Outcome { changed: true, summary: String::new(), state: Vec::new() }
}

/// What is left to do tells a step that never began from one that was cut in half.
pub(super) fn looked(is_so_already: bool, content: Content) -> Answer {
    let summary = match content {
        Content::Half => "finish it",
        Content::Odd => "change what somebody made of it",
        Content::Old | Content::New => "change it",
    };
    let action =
        Action { summary: summary.into(), target: "it".into(), before: None, after: None, risk: Risk::Low };
    let actions = if is_so_already { Vec::new() } else { vec![action] };
    Answer::Looked(Looked { findings: Vec::new(), actions, state: Vec::new() })
}

pub(super) fn prepared() -> Answer {
    Answer::Prepared(Prepared { summary: String::new(), state: Vec::new() })
}

pub(super) fn applied() -> Answer {
    Answer::Applied(outcome())
}

pub(super) fn verified(is_so: bool) -> Answer {
    Answer::Verified(vec![Verification {
        name: "health".into(),
        verdict: if is_so { Verdict::Pass } else { Verdict::Fail },
        measured: None,
        expected: None,
        message: String::new(),
    }])
}

pub(super) fn undone() -> Answer {
    Answer::Undone(outcome())
}

pub(super) fn failed(message: String, undo_advised: bool) -> StepError {
    StepError { code: "sim/failed".into(), message, undo_advised }
}
