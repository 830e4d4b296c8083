//! What an agent writes down, and what it tells of it.

use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::decision::Choice;
use crate::ids::{Digest, HostName, JournalId, Person, PlanId, PointId, RolloutId, StepName};
use crate::time::Timestamp;
use crate::trust::Signer;

/// A phase of a step, in the order they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    Look,
    Prepare,
    Apply,
    Verify,
    Undo,
}

impl Phase {
    pub fn name(self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Prepare => "prepare",
            Self::Apply => "apply",
            Self::Verify => "verify",
            Self::Undo => "undo",
        }
    }
}

/// One line of the run's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Of the journal: grows by one with every record of any kind.
    pub sequence: u64,
    pub at: Timestamp,
    pub input: Input,
}

/// What happened to the run. Steps are counted from 0 here, from 1 for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// Signatures, audience, validity and freshness were judged.
    Accepted {
        rollout: RolloutId,
        signers: Vec<Signer>,
    },
    /// Plugins, point and a first look: all is here that the run needs.
    Staged {
        point: Option<String>,
    },
    /// It cannot take part; nothing was touched.
    Unfit {
        reason: String,
    },
    /// The coordinator is asked with a number never used before.
    PermitAsked {
        nonce: u64,
    },
    /// The answer to exactly that number.
    Permitted {
        nonce: u64,
        epoch: u64,
    },
    /// Nothing new begins: an answer to an older question is void.
    HaltTold,
    /// A person at this host halted it: nothing new begins, and a run under way
    /// stops between two steps.
    HaltedLocally {
        by: String,
        reason: String,
    },
    /// A person at this host ended that halt.
    ResumedLocally {
        by: String,
    },
    /// A permit came to a halted host; it is void, and so is its number.
    PermitDeclined {
        nonce: u64,
    },
    /// A person at this host let the run begin, with no coordinator's permit.
    PermittedHere {
        by: String,
    },
    Began {
        step: u32,
        phase: Phase,
        attempt: u32,
    },
    Ended {
        step: u32,
        phase: Phase,
        answer: Answer,
    },
    /// The plan's `wait` after a step is over.
    Waited {
        step: u32,
    },
    CutOff,
    Rejoined,
    /// A person's signed order.
    UndoOrdered {
        by: Person,
        reason: String,
    },
    /// A new connection from outside was made after the step's change.
    Confirmed {
        step: u32,
    },
    /// The time for it is over.
    NotConfirmed {
        step: u32,
    },
    /// A person's signed answer to the question that stands in record `asked`.
    Decided {
        by: Person,
        reason: String,
        choice: Choice,
        asked: u64,
    },
    /// This agent process started and found the run open, with these calls
    /// begun and not ended.
    Resumed {
        unfinished: Vec<String>,
    },
    Settled {
        ending: Ending,
    },
    /// A look at a finished host; written when it changes.
    Health {
        healthy: bool,
        message: String,
    },
    /// The rollout is over; the host is not watched any more.
    Released,
}

impl Input {
    /// What is told to others: everything but the plugins' opaque states.
    pub fn told(self) -> Self {
        match self {
            Self::Ended { step, phase, answer } => {
                Self::Ended { step, phase, answer: answer.without_states() }
            }
            other => other,
        }
    }
}

/// How a run ended on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Every step is done and verified.
    Finished,
    /// Everything that was done is put back, and that is proven.
    Undone { because: Because },
    /// It could not take part; nothing was touched.
    Unfit { reason: String },
    /// A person has to look, and to choose.
    NeedsOperator {
        because: Because,
        /// The step whose undo did not come through, if it was on its way back.
        undo_of: Option<u32>,
        choices: Vec<Choice>,
        evidence: Vec<String>,
    },
}

/// Why a run turned round, or why it cannot go on, as a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Because {
    #[error("`{name}` failed in {phase}: {message}", phase = .phase.name())]
    StepFailed { step: u32, name: StepName, phase: Phase, code: String, message: String },
    #[error("ordered by {by}: {reason}")]
    Ordered { by: Person, reason: String },
    #[error("cut off from the coordinator, and the plan says undo")]
    CutOff,
    #[error("`{name}` was interrupted, and whether it took effect cannot be told")]
    InDoubt { step: u32, name: StepName },
    #[error("`{name}` was interrupted {times} times and did not come through")]
    InterruptedTooOften { step: u32, name: StepName, times: u32 },
    #[error("`{name}` cannot be undone: the plan says `undo = \"none\"`")]
    NoWayBack { step: u32, name: StepName },
    #[error("undoing `{name}` failed: {message}")]
    UndoFailed { step: u32, name: StepName, code: String, message: String },
    #[error("after `{name}` nobody outside could be reached in time")]
    NotConfirmed { step: u32, name: StepName },
    #[error("the plan of the run under way cannot be read again: {reason}")]
    PlanLost { reason: String },
    #[error("the agent started {starts} times in `{name}` and got nowhere")]
    CrashLoop { step: u32, name: StepName, starts: u32 },
}

impl Because {
    /// The step it speaks of, counted from 0.
    pub fn step(&self) -> Option<u32> {
        match self {
            Self::StepFailed { step, .. }
            | Self::InDoubt { step, .. }
            | Self::InterruptedTooOften { step, .. }
            | Self::NoWayBack { step, .. }
            | Self::UndoFailed { step, .. }
            | Self::NotConfirmed { step, .. }
            | Self::CrashLoop { step, .. } => Some(*step),
            Self::Ordered { .. } | Self::CutOff | Self::PlanLost { .. } => None,
        }
    }
}

/// Something a run needs on its host, as it was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// Such as `bytes on /srv` or `bytes of memory`.
    pub what: String,
    pub needed: u64,
    pub available: u64,
}

/// What an agent did or found beside the steps of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Remark {
    /// What the plan may overwrite is kept in this point; nothing was changed before it.
    #[error("safety point {}, {}", point.short(), in_bytes(*bytes))]
    Safety {
        point: PointId,
        /// Length of all files in it.
        bytes: u64,
    },
    /// A point that the plan would have gone back to, and cannot.
    #[error("rollback point {} is not used: {finding}", point.short())]
    PointDamaged { point: PointId, finding: String },
    /// The side copy that an undo needs was gone or damaged.
    #[error("the side copy of {path} was made again from safety point {}", point.short())]
    SideMadeAgain { step: u32, path: String, point: PointId },
    /// The side copy that an undo needs is gone, and the safety point holds something else.
    #[error("the side copy of {path} is gone; safety point {} holds an earlier state of it", point.short())]
    SideLost { step: u32, path: String, point: PointId },
}

fn in_bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(size, _)| bytes >= *size) {
        Some((size, unit)) => format!("{}.{} {unit}", bytes / size, bytes % size * 10 / size),
        None => format!("{bytes} B"),
    }
}

/// Every kind of record in an agent's step journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Record {
    /// The first record of a file.
    Opened {
        journal: JournalId,
        host: HostName,
    },
    /// Highest coordinator epoch; lower ones are refused from here on.
    EpochSeen {
        epoch: u64,
    },
    Run {
        plan: PlanId,
        input: Input,
    },
    /// Everything up to here a coordinator acknowledged. Written now and then and
    /// together with a record that matters: it is no loss to know less of it.
    Acked {
        sequence: u64,
    },
    /// What a run needs at its peak and what there was, before it was staged.
    Measured {
        plan: PlanId,
        needs: Vec<Need>,
    },
    /// Before a call that changes the host.
    CallBegan {
        plan: PlanId,
        step: u32,
        call: u32,
        name: String,
        subject: String,
        arguments: Digest,
    },
    /// Before its answer reaches the plugin.
    CallEnded {
        plan: PlanId,
        step: u32,
        call: u32,
        ok: bool,
    },
    /// Something that does not move the run and that people should know.
    Remarked {
        plan: PlanId,
        remark: Remark,
    },
    /// A plugin's own write-ahead marks.
    MarkBegan {
        plan: PlanId,
        step: u32,
        key: String,
        #[serde(with = "serde_bytes")]
        note: Vec<u8>,
    },
    MarkFinished {
        plan: PlanId,
        step: u32,
        key: String,
        #[serde(with = "serde_bytes")]
        value: Vec<u8>,
    },
}

/// What the coordinator hears of a record. Every record is told, so that its
/// history is a gap-free prefix of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    Run {
        plan: PlanId,
        input: Input,
    },
    Call {
        plan: PlanId,
        step: u32,
        name: String,
        subject: String,
    },
    Remarked {
        plan: PlanId,
        remark: Remark,
    },
    /// Of no use to anybody else, but its number is.
    Internal,
}

impl Record {
    pub fn told(&self) -> Told {
        match self {
            Self::Run { plan, input } => Told::Run { plan: *plan, input: input.clone().told() },
            Self::CallBegan { plan, step, name, subject, .. } => {
                Told::Call { plan: *plan, step: *step, name: name.clone(), subject: subject.clone() }
            }
            Self::Remarked { plan, remark } => Told::Remarked { plan: *plan, remark: remark.clone() },
            _ => Told::Internal,
        }
    }

    /// Whether what follows may only happen once this is on disk.
    pub fn must_be_durable(&self) -> bool {
        match self {
            Self::Run { input, .. } => match input {
                // Reading phases may run again; their records ride with the next one that matters.
                Input::Began { phase, .. } => {
                    matches!(phase, Phase::Apply | Phase::Undo) && !cfg!(feature = "mutant-intent-not-synced")
                }
                Input::Ended { phase, .. } => matches!(phase, Phase::Apply | Phase::Verify | Phase::Undo),
                _ => true,
            },
            Self::Acked { .. } => false,
            _ => true,
        }
    }
}
