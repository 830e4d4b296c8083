//! What a person may say about a run that is stuck, and when it counts.

use serde::{Deserialize, Serialize};

/// A way on that the host offers. Which of them are sound depends on where the
/// run is stuck, so the host names them with its question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// Try again what did not come through.
    Retry,
    /// A person did what the step wanted: prove it, and go on.
    Done,
    /// The step never took effect, or a person put it back: go on undoing what came before it.
    PutBack,
    /// Undo this step and all before it.
    Undo,
}

impl Choice {
    pub const ALL: [Self; 4] = [Self::Retry, Self::Done, Self::PutBack, Self::Undo];

    /// As it is written in commands.
    pub fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Done => "done",
            Self::PutBack => "put-back",
            Self::Undo => "undo",
        }
    }

    /// What it makes the host do, for people.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Retry => "try again what did not come through",
            Self::Done => "you did by hand what the step wanted: it is verified, and the run goes on",
            Self::PutBack => {
                "the step had no effect, or you put it back by hand: what came before it is undone"
            }
            Self::Undo => "undo this step and all before it",
        }
    }
}

/// What a host asks a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Number of the record in the host's journal that asks. An answer names
    /// it, so that it can neither come twice nor answer a later question.
    pub asked: u64,
    pub choices: Vec<Choice>,
    /// What is known of what had begun and not ended.
    pub evidence: Vec<String>,
}

/// Why a decision does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum NotToDecide {
    #[error("the run is not stuck, so there is nothing to decide")]
    NotStuck,
    #[error("it decides about record {asked}, but the question that is open is record {open}")]
    OtherQuestion { asked: u64, open: u64 },
    #[error("`{}` is not offered here; offered: {}", .choice.name(), names(.offered))]
    NotOffered { choice: Choice, offered: Vec<Choice> },
}

/// The choices as people type them.
pub fn names(choices: &[Choice]) -> String {
    choices.iter().map(|choice| choice.name()).collect::<Vec<_>>().join(", ")
}
