//! The coordinator's database: what is committed stays, what is not never was.

use std::collections::{BTreeMap, BTreeSet};

use sternway_core::ids::{HostName, JournalId, RolloutId};
use sternway_core::rollout::{Entry, Rollout};
use sternway_core::time::Timestamp;
use sternway_core::wire::Event;

use super::schedule::CommitDeath;

/// What is known of a host's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostRow {
    pub(super) journal: JournalId,
    pub(super) acked: u64,
    /// The newest that the host said was acknowledged.
    pub(super) claimed: u64,
}

/// What is written together or not at all.
#[derive(Debug, Default)]
pub(super) struct Commit {
    pub(super) launched: Vec<(RolloutId, usize)>,
    pub(super) entries: Vec<(RolloutId, Entry)>,
    pub(super) events: Vec<(HostName, JournalId, Event)>,
    pub(super) hosts: BTreeMap<HostName, HostRow>,
    /// What persons decided about stuck hosts.
    pub(super) host_orders: Vec<(RolloutId, HostName, Vec<u8>)>,
    /// Hosts that nobody believes until a person has looked.
    pub(super) quarantine: Vec<HostName>,
    pub(super) epoch: Option<u64>,
}

impl Commit {
    fn is_empty(&self) -> bool {
        self.launched.is_empty()
            && self.entries.is_empty()
            && self.events.is_empty()
            && self.hosts.is_empty()
            && self.host_orders.is_empty()
            && self.quarantine.is_empty()
            && self.epoch.is_none()
    }
}

/// How a commit ended for whoever asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Committed {
    Stored,
    /// An error came back; perhaps it is stored all the same.
    Failed {
        stored: bool,
    },
    /// Nobody is there any more to hear.
    Died {
        stored: bool,
    },
}

#[derive(Debug)]
pub(super) struct Stored {
    pub(super) plan: usize,
    pub(super) entries: Vec<Entry>,
    /// The machine after these entries, handled one by one as they came.
    pub(super) machine: Rollout,
}

#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) rollouts: BTreeMap<RolloutId, Stored>,
    pub(super) hosts: BTreeMap<HostName, HostRow>,
    pub(super) host_orders: BTreeMap<(RolloutId, HostName), Vec<u8>>,
    pub(super) quarantine: BTreeSet<HostName>,
    /// When each record was written, by journal.
    events: BTreeMap<(HostName, JournalId), Vec<Timestamp>>,
    epoch: u64,
    /// As whoever has it open knows it.
    known_epoch: u64,
    pub(super) armed_death: Option<CommitDeath>,
    /// Commits until one fails, and whether it is stored.
    pub(super) armed_failure: Option<(u64, bool)>,
}

impl Store {
    /// Takes the next epoch.
    pub(super) fn open(&mut self) -> u64 {
        self.epoch += 1;
        self.known_epoch = self.epoch;
        self.epoch
    }

    pub(super) fn known_epoch(&self) -> u64 {
        self.known_epoch
    }

    /// Number of the newest record of this journal that is on record.
    pub(super) fn newest_event(&self, host: &HostName, journal: JournalId) -> u64 {
        self.events.get(&(host.clone(), journal)).map_or(0, |times| times.len() as u64)
    }

    pub(super) fn times_after(&self, host: &HostName, journal: JournalId, after: u64) -> &[Timestamp] {
        let times = self.events.get(&(host.clone(), journal)).map(Vec::as_slice).unwrap_or_default();
        times.get(after as usize..).unwrap_or_default()
    }

    pub(super) fn commit(
        &mut self,
        commit: &Commit,
        fresh: impl Fn(&RolloutId, usize) -> Rollout,
    ) -> Committed {
        if commit.is_empty() {
            return Committed::Stored;
        }
        let outcome = self.outcome();
        if matches!(
            outcome,
            Committed::Stored | Committed::Failed { stored: true } | Committed::Died { stored: true }
        ) {
            self.keep(commit, fresh);
        }
        if outcome == Committed::Stored {
            self.known_epoch = self.known_epoch.max(commit.epoch.unwrap_or(0));
        }
        outcome
    }

    fn outcome(&mut self) -> Committed {
        match self.armed_death {
            Some(CommitDeath::BeforeCommit(0)) => {
                self.armed_death = None;
                return Committed::Died { stored: false };
            }
            Some(CommitDeath::AfterCommit(0)) => {
                self.armed_death = None;
                return Committed::Died { stored: true };
            }
            _ => {}
        }
        if let Some(CommitDeath::BeforeCommit(left) | CommitDeath::AfterCommit(left)) = &mut self.armed_death
        {
            *left -= 1;
        }
        match &mut self.armed_failure {
            Some((0, stored)) => {
                let stored = *stored;
                self.armed_failure = None;
                Committed::Failed { stored }
            }
            Some((left, _)) => {
                *left -= 1;
                Committed::Stored
            }
            None => Committed::Stored,
        }
    }

    fn keep(&mut self, commit: &Commit, fresh: impl Fn(&RolloutId, usize) -> Rollout) {
        for (id, plan) in &commit.launched {
            let stored = Stored { plan: *plan, entries: Vec::new(), machine: fresh(id, *plan) };
            self.rollouts.insert(id.clone(), stored);
        }
        for (id, entry) in &commit.entries {
            if let Some(stored) = self.rollouts.get_mut(id) {
                stored.machine.handle(entry);
                stored.entries.push(entry.clone());
            }
        }
        for (host, journal, event) in &commit.events {
            self.events.entry((host.clone(), *journal)).or_default().push(event.at);
        }
        self.quarantine.extend(commit.quarantine.iter().cloned());
        for (id, host, order) in &commit.host_orders {
            self.host_orders.insert((id.clone(), host.clone()), order.clone());
        }
        self.hosts.extend(commit.hosts.clone());
        self.epoch = self.epoch.max(commit.epoch.unwrap_or(0));
    }
}
