//! Between an operator's terminal and the coordinator: one bidirectional
//! stream per request, one [`Request`] up, [`Answer`]s down until the stream ends.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{FleetId, HostName, Person, PlanId, RolloutId};
use crate::plan::{InventoryHost, Urgency};
use crate::rollout::{Decision, Note, Status};
use crate::run::{Input, Remark};
use crate::time::{Millis, Timestamp};
use crate::wire::{PointAnswer, PointAsk};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Which fleet is this, and who is in it? Answers [`Answer::Inventory`].
    Inventory,
    /// Answers [`Answer::Launched`].
    Launch {
        #[serde(with = "serde_bytes")]
        sealed: Vec<u8>,
        /// Hosts of the plan to leave out.
        without: Vec<HostName>,
    },
    /// A signed order: approve a wave, or undo. Answers [`Answer::Taken`].
    Order {
        rollout: RolloutId,
        #[serde(with = "serde_bytes")]
        sealed: Vec<u8>,
    },
    /// Answers [`Answer::Taken`].
    Hold {
        rollout: RolloutId,
        reason: String,
    },
    Go {
        rollout: RolloutId,
        reason: String,
    },
    Halt {
        rollout: RolloutId,
        reason: String,
    },
    /// Ends a halt; `confirmed` names exactly the hosts in flight, and `halt` the
    /// entry of the newest word for the halt: another one since is not ended by it.
    Resume {
        rollout: RolloutId,
        reason: String,
        confirmed: Vec<HostName>,
        halt: u64,
    },
    /// A person has looked at a host in quarantine. Answers [`Answer::Readmitted`].
    Readmit {
        host: HostName,
        reason: String,
    },
    /// A host that is away is dead: its slot is free.
    DeclareDead {
        rollout: RolloutId,
        host: HostName,
        reason: String,
    },
    /// Answers [`Answer::Status`].
    Status {
        rollout: RolloutId,
    },
    /// [`Answer::Status`] first, then [`Answer::Line`]s after `from`, with a new
    /// `Status` after each burst, until the rollout has ended.
    Watch {
        rollout: RolloutId,
        from: u64,
    },
    /// All lines of a rollout, or of one host of it. Answers [`Answer::Line`]s.
    Log {
        rollout: RolloutId,
        host: Option<HostName>,
    },
    /// Answers one [`Answer::Rollouts`].
    Rollouts,
    /// Answers one [`Answer::Fleet`].
    Fleet,
    /// Answers [`Answer::Audit`]s, oldest first.
    Audit {
        rollout: Option<RolloutId>,
    },
    /// At most [`POINT_ASKS_MAX`](crate::wire::POINT_ASKS_MAX), one for each
    /// host. Answers [`Answer::Point`]s as they come, until every host has said
    /// all or is away. Whoever ends the stream before calls the rest off.
    Points(Vec<PointAsk>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    Inventory {
        fleet: FleetId,
        name: String,
        hosts: Vec<InventoryHost>,
        signatures: u8,
    },
    Launched {
        rollout: RolloutId,
        plan: PlanId,
        hosts: u32,
    },
    /// What the machine made of it; `notes` say why nothing changed.
    Taken {
        sequence: u64,
        decisions: Vec<Decision>,
        notes: Vec<Note>,
        status: Box<RolloutView>,
    },
    Readmitted {
        host: HostName,
    },
    Status(Box<RolloutView>),
    Line(LogLine),
    Rollouts(Vec<RolloutLine>),
    Fleet(Vec<FleetHost>),
    Audit(AuditLine),
    Point(PointAnswer),
    Error(OperatorError),
}

/// A rollout as people look at it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutView {
    pub rollout: RolloutId,
    pub plan: PlanId,
    pub plan_name: String,
    #[serde(default, skip_serializing_if = "Urgency::is_normal")]
    pub urgency: Urgency,
    pub service: String,
    pub from: String,
    pub to: String,
    pub launched_by: Person,
    pub signers: Vec<Person>,
    pub launched_at: Timestamp,
    pub now: Timestamp,
    pub budget: Option<Millis>,
    /// Names of the plan's steps, in order.
    pub steps: Vec<String>,
    pub status: Status,
    /// What each host is at, in words, where it is in a step.
    pub at_work: BTreeMap<HostName, AtWork>,
    /// Number of the newest line.
    pub sequence: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtWork {
    /// Counted from 0.
    pub step: u32,
    pub phase: String,
    pub since: Timestamp,
    /// Newest droppable progress.
    pub progress: Option<String>,
}

/// One line of a rollout's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Of the coordinator's log: grows, and resumes a watch.
    pub sequence: u64,
    pub at: Timestamp,
    pub what: HostLine,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostLine {
    /// A host's own word.
    Host {
        host: HostName,
        at: Timestamp,
        input: Input,
    },
    /// A call a plugin made on a host.
    Call {
        host: HostName,
        at: Timestamp,
        step: u32,
        name: String,
        subject: String,
    },
    /// What a host did or found beside the steps of a run.
    Remarked {
        host: HostName,
        at: Timestamp,
        remark: Remark,
    },
    /// A host did not accept a plan or an order.
    Refused {
        host: HostName,
        code: String,
        reason: String,
    },
    Decided(Decision),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutLine {
    pub rollout: RolloutId,
    pub plan_name: String,
    #[serde(default, skip_serializing_if = "Urgency::is_normal")]
    pub urgency: Urgency,
    pub service: String,
    pub from: String,
    pub to: String,
    pub launched_by: Person,
    pub launched_at: Timestamp,
    /// In a word: running, held, halted, done ...
    pub state: String,
    pub hosts: u32,
    pub finished: u32,
    pub exit: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetHost {
    pub name: HostName,
    pub labels: BTreeMap<String, String>,
    pub connected: bool,
    pub version: Option<String>,
    pub last_heard: Option<Timestamp>,
    /// Why nobody is let on the host until a person has looked at it.
    pub quarantine: Option<String>,
    pub rollout: Option<RolloutId>,
}

/// Who did what, chained by hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    pub sequence: u64,
    pub at: Timestamp,
    pub person: Person,
    pub action: String,
    pub rollout: Option<RolloutId>,
    pub detail: String,
    /// SHA-256 over the previous line's hash and this line, in hex.
    pub hash: String,
}

/// A refusal: an exit code, what was tried and why not, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorError {
    pub exit: u8,
    pub message: String,
    pub hint: Option<String>,
}
