//! The coordinator: the real rollout machine over entries that survive its death.

use std::collections::BTreeMap;

use sternway_core::ids::{HostName, PlanId, RolloutId};
use sternway_core::rollout::{Effect, Entry, Input, Rollout, word_of};
use sternway_core::run::Told;
use sternway_core::time::Timestamp;

use super::Seen;
use super::swarm::Swarm;

#[derive(Debug)]
pub(super) struct Conductor {
    fresh: Rollout,
    /// Durable, with `heard` and `epoch`.
    pub(super) entries: Vec<Entry>,
    /// Number of the newest record heard of each host.
    heard: BTreeMap<HostName, u64>,
    pub(super) epoch: u64,
    pub(super) rollout: Rollout,
    pub(super) up: bool,
    pub(super) life: u64,
}

impl Conductor {
    pub(super) fn new(swarm: &Swarm) -> Self {
        let id: RolloutId = "r-1".parse().expect("a name");
        let fresh = Rollout::new(id, PlanId([7; 32]), &swarm.plan, &swarm.without);
        Self {
            rollout: fresh.clone(),
            fresh,
            entries: Vec::new(),
            heard: BTreeMap::new(),
            epoch: 1,
            up: true,
            life: 0,
        }
    }

    /// Commits one input, and returns what to perform.
    pub(super) fn take(&mut self, input: Input, now: Timestamp, seen: &mut Vec<Seen>) -> Vec<Effect> {
        let entry = Entry { sequence: self.entries.len() as u64 + 1, at: now, input };
        self.entries.push(entry.clone());
        let effects = self.rollout.handle(&entry);
        seen.push(Seen::Committed { entry, effects: effects.clone() });
        let violations = self.rollout.violations();
        if !violations.is_empty() {
            seen.push(Seen::Checked { violations: format!("{violations:?}") });
        }
        effects
    }

    /// The words in a host's records that are next in order; others come again.
    pub(super) fn hear(
        &mut self,
        host: &HostName,
        told: &[(u64, Told)],
        now: Timestamp,
        seen: &mut Vec<Seen>,
    ) -> (u64, Vec<Effect>) {
        let mut effects = Vec::new();
        for (sequence, told) in told {
            let heard = self.heard.entry(host.clone()).or_default();
            if *sequence != *heard + 1 {
                continue;
            }
            *heard = *sequence;
            if let Some(word) = word_of(*sequence, told) {
                effects.extend(self.take(Input::Host { host: host.clone(), word }, now, seen));
            }
        }
        (self.heard.get(host).copied().unwrap_or(0), effects)
    }

    pub(super) fn kill(&mut self) {
        self.up = false;
        self.life += 1;
    }

    /// Back from its entries, under a higher epoch.
    pub(super) fn start(&mut self, now: Timestamp, seen: &mut Vec<Seen>) -> Vec<Effect> {
        self.up = true;
        let replayed = self.replayed();
        seen.push(Seen::Rebuilt { who: "the coordinator".into(), same: replayed == self.rollout });
        self.rollout = replayed;
        self.epoch += 1;
        let mut effects = self.take(Input::Restarted { epoch: self.epoch }, now, seen);
        effects.extend(self.rollout.owed());
        effects
    }

    pub(super) fn replayed(&self) -> Rollout {
        let mut replayed = self.fresh.clone();
        for entry in &self.entries {
            replayed.handle(entry);
        }
        replayed
    }
}
