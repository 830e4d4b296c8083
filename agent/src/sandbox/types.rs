//! What the agent and a plugin tell each other, in plain Rust: the driver
//! journals these values, and no name of the engine leaks out.

use serde::{Deserialize, Serialize};

pub use crate::capabilities::{ErrorKind, HostError};
pub use crate::gate::Phase;
pub use sternway_core::run::{Action, Finding, Looked, Outcome, Prepared, Risk, Verdict, Verification};

/// Why a phase runs, and what it may rely on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invocation {
    /// The run.
    pub run_id: String,
    /// The step's name in the plan.
    pub step: String,
    /// This host.
    pub host: String,
    /// The same on every attempt at this step of this run, on this host.
    pub idempotency_key: String,
    /// 1 for the first try.
    pub attempt: u32,
    /// JSON, already checked against the manifest's schema.
    pub settings: String,
    /// JSON of the plan's own `undo = { ... }`, when it has one.
    pub undo_settings: Option<String>,
    /// The rollback point this run goes back to.
    pub point: Option<String>,
    /// `hostname`, `os`, `arch`, `label.<name>`.
    pub facts: Vec<(String, String)>,
}

/// What a failed `apply` or `undo` leaves behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{error}")]
pub struct Failure {
    /// What went wrong.
    #[source]
    pub error: HostError,
    /// True when running `undo` is safe and wanted.
    pub undo_advised: bool,
}

/// A phase with what the earlier phases answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PhaseCall {
    /// What is there, and what would change?
    Look,
    /// Stage beside.
    Prepare {
        /// From `look`.
        looked: Looked,
    },
    /// The change itself.
    Apply {
        /// From `look`.
        looked: Looked,
        /// From `prepare`.
        prepared: Prepared,
    },
    /// Is it so now?
    Verify {
        /// From `apply`.
        outcome: Outcome,
    },
    /// Put it back.
    Undo {
        /// From `look`.
        looked: Looked,
        /// From `prepare`.
        prepared: Prepared,
    },
}

impl PhaseCall {
    /// Which phase it calls.
    pub fn phase(&self) -> Phase {
        match self {
            Self::Look => Phase::Look,
            Self::Prepare { .. } => Phase::Prepare,
            Self::Apply { .. } => Phase::Apply,
            Self::Verify { .. } => Phase::Verify,
            Self::Undo { .. } => Phase::Undo,
        }
    }
}

/// What the plugin itself answers, success or failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "each is the answer of the phase of its name")]
pub enum Answer {
    Look(Result<Looked, HostError>),
    Prepare(Result<Prepared, HostError>),
    Apply(Result<Outcome, Failure>),
    Verify(Result<Vec<Verification>, HostError>),
    Undo(Result<Outcome, Failure>),
}

/// What ended a call before the plugin answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The plugin broke: a panic, an impossible instruction, a full stack.
    #[error("the plugin broke off: {reason}")]
    Trapped {
        /// The engine's words.
        reason: String,
    },
    /// The time was up.
    #[error("the plugin was stopped after {limit_ms} ms")]
    DeadlinePassed {
        /// What it was given.
        limit_ms: u64,
    },
    /// The run was cancelled and the plugin did not end within the grace.
    #[error("the plugin was stopped, because the run was cancelled")]
    Cancelled,
    /// It wanted more memory than it may have.
    #[error("the plugin wanted more than {limit_bytes} bytes of memory")]
    MemoryOverrun {
        /// What it may have.
        limit_bytes: u64,
    },
    /// It answered, or handed to a host call, more than it may.
    #[error("the plugin handed over more than {limit_bytes} bytes at once")]
    OutputOverrun {
        /// What it may hand over.
        limit_bytes: u64,
    },
    /// The engine could not start it.
    #[error("the plugin could not be started: {reason}")]
    NotStarted {
        /// The engine's words.
        reason: String,
    },
}

/// A call that ended without an answer of the plugin. What it did before is
/// in the journal; nothing of it is left in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{plugin} did not answer `{phase}`: {fault}")]
pub struct CallError {
    /// Name of the plugin, or its digest before that is known.
    pub plugin: String,
    /// The phase.
    pub phase: Phase,
    /// What ended it.
    pub fault: Fault,
    /// The newest host call: `files.read(/opt/hello)`.
    pub last_call: Option<String>,
    /// The end of what it wrote to its standard error, a panic's text included.
    pub stderr_tail: String,
}
