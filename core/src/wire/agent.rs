//! Between an agent and the coordinator.
//!
//! One bidirectional stream opened by the agent carries [`FromAgent`] up and
//! [`ToAgent`] down for the connection's whole life. A plan comes on a
//! unidirectional stream of its own: one [`PlanHeader`] frame, then the sealed
//! bytes to the end. A plugin is asked for on a bidirectional stream: one
//! [`PluginAsk`], then one [`PluginAnswer`] and the component's bytes.

use serde::{Deserialize, Serialize};

use crate::ids::{Digest, FleetId, HostName, JournalId, PlanId, RolloutId};
use crate::run::Told;
use crate::time::{Millis, Timestamp};

/// What an agent says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    pub protocol: u16,
    pub version: String,
    pub fleet: FleetId,
    pub host: HostName,
    pub journal: JournalId,
    /// Number of the newest record in the journal.
    pub last: u64,
    /// Highest coordinator epoch this host durably saw.
    pub epoch: u64,
    /// Newest record that a coordinator ever acknowledged, as far as the host
    /// remembers: a coordinator that holds less was set back.
    pub acked: u64,
    /// When each record after `acked` was written, oldest first, at most
    /// [`TIMES_MAX`]: a journal that was set back and has gone on differs here.
    pub times: Vec<Timestamp>,
    /// The plan under way, or settled and not yet released.
    pub plan: Option<PlanId>,
    /// The rollout in which that plan came.
    pub rollout: Option<RolloutId>,
}

/// Times in a greeting, at most: more than are ever told without being
/// acknowledged and more than the host forgets of what was.
pub const TIMES_MAX: usize = 512;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromAgent {
    Hello(Greeting),
    /// Records in order, without gaps, from the number after the last acknowledged.
    Events(Vec<Event>),
    /// A plan, or an order, that was not accepted.
    Refused {
        plan: PlanId,
        code: String,
        reason: String,
    },
    /// The disk of the journal does not answer, since so long; with nothing, it does again.
    Stalled {
        since: Option<Millis>,
    },
    /// Newest droppable progress of a step.
    Tick {
        plan: PlanId,
        step: u32,
        stage: String,
        done: u64,
        total: Option<u64>,
        unit: String,
    },
}

/// One record of a host's journal, as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub sequence: u64,
    pub at: Timestamp,
    pub told: Told,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToAgent {
    /// Only this means: admitted. Events go on after `acked`.
    Welcome { epoch: u64, acked: u64, reconnect_within: Millis },
    /// Not admitted, and why; the agent tries again later.
    Unwelcome { reason: String },
    /// Committed up to here.
    Acked { sequence: u64 },
    /// The answer to exactly this question.
    Permit { plan: PlanId, nonce: u64, epoch: u64, valid_for: Millis },
    /// Nothing new begins.
    Halt { plan: PlanId, epoch: u64 },
    /// A person's signed order (a sealed `Order`).
    Order {
        plan: PlanId,
        #[serde(with = "serde_bytes")]
        sealed: Vec<u8>,
    },
    /// The rollout is over.
    Release { plan: PlanId, epoch: u64 },
    /// The coordinator stops; come back after this long.
    ComeBack { after: Millis },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanHeader {
    pub rollout: RolloutId,
    pub plan: PlanId,
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginAsk {
    pub sha256: Digest,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PluginAnswer {
    /// So many bytes follow.
    Here {
        bytes: u64,
    },
    Unknown,
}
