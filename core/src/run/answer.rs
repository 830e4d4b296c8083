//! What a phase of a step answers; the WIT's records as values.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    Looked(Looked),
    Prepared(Prepared),
    Applied(Outcome),
    Verified(Vec<Verification>),
    Undone(Outcome),
    Failed(StepError),
}

impl Answer {
    /// The same without the opaque states, which only their plugin can read.
    pub fn without_states(mut self) -> Self {
        match &mut self {
            Self::Looked(looked) => looked.state.clear(),
            Self::Prepared(prepared) => prepared.state.clear(),
            Self::Applied(outcome) | Self::Undone(outcome) => outcome.state.clear(),
            Self::Verified(_) | Self::Failed(_) => {}
        }
        self
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked {
    pub findings: Vec<Finding>,
    /// What `apply` means to change; empty: it is so already.
    pub actions: Vec<Action>,
    #[serde(with = "serde_bytes")]
    pub state: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub code: String,
    pub message: String,
    pub blocking: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    pub summary: String,
    pub target: String,
    pub before: Option<String>,
    pub after: Option<String>,
    pub risk: Risk,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Risk {
    None,
    Low,
    High,
    DataLoss,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    pub summary: String,
    #[serde(with = "serde_bytes")]
    pub state: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub changed: bool,
    pub summary: String,
    #[serde(with = "serde_bytes")]
    pub state: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    pub name: String,
    pub verdict: Verdict,
    pub measured: Option<String>,
    pub expected: Option<String>,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Pass,
    Fail,
    Inconclusive,
}

/// Why a phase did not do its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepError {
    /// Stable, such as `files/not-as-staged` or `sandbox/deadline`.
    pub code: String,
    pub message: String,
    /// False when the plugin says that undoing would do harm.
    pub undo_advised: bool,
}
