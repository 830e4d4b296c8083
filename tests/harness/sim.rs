//! A fleet in one thread: the real machines of coordinator and agents, over a
//! virtual clock, bad links, crashing processes and meddling people. One seed,
//! one history; nothing here reads a clock or draws from the system.

mod agenda;
mod agent;
mod chance;
mod conductor;
mod fleet;
mod swarm;

use std::collections::BTreeSet;

use sternway_core::ids::HostName;
use sternway_core::plan::Plan;
use sternway_core::rollout::{Effect, Entry, Status};
use sternway_core::time::Timestamp;

pub use chance::Chance;
pub use fleet::SimFleet;
pub use swarm::{Faults, Swarm};

/// What somebody who sees the whole world sees, in the order it happens.
#[derive(Debug, Clone)]
pub enum Seen {
    /// The coordinator wrote an entry down and decided these; whether they are
    /// performed is another matter.
    Committed { entry: Entry, effects: Vec<Effect> },
    /// A host's agent began to change the host, under a permit or an order to undo.
    Disturbed { host: HostName, why: Why },
    /// A host came to rest: finished, or back where it was.
    Calm { host: HostName },
    /// A process came back from its journal, and is or is not what it was.
    Rebuilt { who: String, same: bool },
    /// The machine's own check of itself.
    Checked { violations: String },
    /// The faults stopped long ago.
    Settled { status: Box<Status>, unsettled: BTreeSet<HostName> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    Permit,
    Undo,
}

/// What an observer knows beforehand.
#[derive(Debug, Clone)]
pub struct Given {
    pub plan: Plan,
    pub began: Timestamp,
}
