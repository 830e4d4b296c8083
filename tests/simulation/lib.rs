//! A fleet in one thread: the real machines of coordinator and agents, over a
//! virtual clock, links that break, disks and databases that fail, hosts that
//! stop, and people who meddle. One schedule, one history: nothing here reads a
//! clock or draws from the system.
//!
//! What drives the machines (journal, database, sessions) is written again here,
//! after the real drivers and in their order; the machines are the real ones.

mod agenda;
mod agent;
mod answers;
mod chance;
mod conductor;
mod faults;
mod fleet;
mod identity;
pub mod invariants;
mod journal;
mod links;
mod people;
pub mod schedule;
pub mod shrink;
mod store;
pub mod survive;
pub mod swarm;
mod troubles;
mod world;

use std::collections::BTreeSet;

use sternway_core::ids::{HostName, JournalId, Person};
use sternway_core::plan::Plan;
use sternway_core::rollout::{Effect, Entry, Status};
use sternway_core::run::{Ending, Phase};
use sternway_core::wire::Event;

pub use chance::Chance;
pub use fleet::SimFleet;
pub use schedule::Schedule;

/// What somebody who sees the whole world sees, in the order it happens. A
/// rollout is named by the place of its plan in the schedule.
#[derive(Debug, Clone)]
pub enum Seen {
    /// The coordinator committed an entry and decided these; whether they are
    /// performed is another matter.
    Committed { rollout: usize, entry: Entry, effects: Vec<Effect> },
    /// A person was told that this entry is taken.
    Answered { rollout: usize, sequence: u64 },
    /// A host was told that its journal is on record up to here.
    Acked { host: HostName, journal: JournalId, sequence: u64 },
    /// A record of a host is on record at the coordinator.
    Stored { host: HostName, journal: JournalId, event: Event },
    /// A record is on a host's disk.
    Synced { host: HostName, journal: JournalId, event: Event },
    /// The coordinator read a rollout's entries again, and found these.
    Read { rollout: usize, sequences: Vec<u64> },
    /// And this of the hosts' journals.
    ReadHosts { acked: Vec<(HostName, JournalId, u64)> },
    /// An agent begins under a permit, having asked last with `asked`, and having
    /// obeyed `seen_epoch` before.
    Permitted { rollout: usize, host: HostName, nonce: u64, epoch: u64, asked: Option<u64>, seen_epoch: u64 },
    /// An agent does what a coordinator of this epoch says, having obeyed the other.
    Obeyed { host: HostName, epoch: u64, seen_epoch: u64 },
    /// A step begins to change its host (or to put it back).
    Effect {
        rollout: usize,
        host: HostName,
        step: u32,
        phase: Phase,
        /// The record that says so is on disk.
        intends: bool,
        /// How often it took effect since it was last put back, with this.
        effects: u32,
        /// Later steps that are not as they were found.
        changed_after: Vec<u32>,
        /// A person ordered something of this run.
        by_order: bool,
    },
    /// A person at the host halted it, or ended that.
    HaltedHere { rollout: usize, host: HostName, halts: bool },
    /// A run says by going on that these steps are done.
    StepsDone { rollout: usize, host: HostName, truths: Vec<Truth> },
    /// A run says that it ended.
    Settled { rollout: usize, host: HostName, ending: Ending, truths: Vec<Truth> },
    /// A host's agent began to change the host, under a permit or an order to undo.
    Disturbed { rollout: usize, host: HostName, why: Why },
    /// A host came to rest: finished, or back where it was.
    Calm { rollout: usize, host: HostName },
    /// A host's disk was set back, and everything on it.
    SetBack { host: HostName, journal: JournalId, last: u64 },
    /// A process came back from what it had written, and is or is not what that says.
    Rebuilt { who: String, same: bool },
    /// A machine's own check of itself.
    Checked { violations: String },
    /// How much has piled up.
    Sizes { records: usize, entries: usize, under_way: usize },
    /// The faults stopped long ago.
    AtRest { rollout: usize, status: Box<Status>, unsettled: BTreeSet<HostName> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    Permit,
    Undo,
}

/// What is true of one step of one host, whatever anybody's books say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truth {
    pub step: u32,
    /// Looked at after its last change, and good then.
    pub proven: bool,
    pub as_wanted: bool,
    /// As it was before the plan, or somebody else's doing.
    pub as_found: bool,
}

/// What an observer of one rollout knows beforehand.
#[derive(Debug, Clone)]
pub struct Given {
    pub rollout: usize,
    pub plan: Plan,
}

impl Seen {
    /// The rollout it is about, if about one.
    pub fn rollout(&self) -> Option<usize> {
        match self {
            Self::Committed { rollout, .. }
            | Self::Answered { rollout, .. }
            | Self::Read { rollout, .. }
            | Self::Permitted { rollout, .. }
            | Self::Effect { rollout, .. }
            | Self::HaltedHere { rollout, .. }
            | Self::StepsDone { rollout, .. }
            | Self::Settled { rollout, .. }
            | Self::Disturbed { rollout, .. }
            | Self::Calm { rollout, .. }
            | Self::AtRest { rollout, .. } => Some(*rollout),
            Self::Acked { .. }
            | Self::Stored { .. }
            | Self::Synced { .. }
            | Self::ReadHosts { .. }
            | Self::SetBack { .. }
            | Self::Obeyed { .. }
            | Self::Rebuilt { .. }
            | Self::Checked { .. }
            | Self::Sizes { .. } => None,
        }
    }
}

fn person(name: &str) -> Person {
    name.parse().expect("a name")
}
