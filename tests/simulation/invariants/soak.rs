//! A wave with finished hosts passes after a soak of the plan's length, watched
//! from end to end: what the coordinator slept through does not count.

use std::collections::{BTreeMap, BTreeSet};

use sternway_core::ids::HostName;
use sternway_core::plan::Plan;
use sternway_core::rollout::{Decision, Evidence, Input, Verdict, Word};
use sternway_core::time::{Millis, Timestamp};

use super::Invariant;
use crate::{Given, Seen};

pub(super) struct Soaked {
    plan: Plan,
    now: Timestamp,
    /// The coordinator watches since.
    watches_since: Timestamp,
    settled: BTreeMap<usize, Timestamp>,
    /// Finished, and said to be unwell.
    unwell: BTreeSet<HostName>,
    /// Declared dead, or not believed any more: what they said last counts for nothing.
    dead: BTreeSet<HostName>,
    a_person_went_on: bool,
}

impl Soaked {
    pub(super) fn new(given: &Given) -> Self {
        Self {
            plan: given.plan.clone(),
            now: Timestamp::default(),
            watches_since: Timestamp::default(),
            settled: BTreeMap::new(),
            unwell: BTreeSet::new(),
            dead: BTreeSet::new(),
            a_person_went_on: false,
        }
    }

    fn heard(&mut self, input: &Input) {
        match input {
            Input::Restarted { .. } => self.watches_since = self.now,
            Input::Host { host, word: Word::Unhealthy { .. } } => {
                self.unwell.insert(host.clone());
            }
            Input::Host {
                host,
                word:
                    Word::Healthy | Word::Undone { .. } | Word::NeedsOperator { .. } | Word::StepFailed { .. },
            } => {
                self.unwell.remove(host);
            }
            _ => {}
        }
    }

    fn passed(&self, wave: usize, evidence: &Evidence) -> Result<(), String> {
        if evidence.tally.finished == 0 {
            return Ok(());
        }
        let planned = self.plan.waves.get(wave).or(self.plan.waves.last());
        let soak = planned.map_or(Millis::ZERO, |wave| wave.soak);
        let Some(settled) = self.settled.get(&wave) else {
            return Err(format!("wave {wave} passed and never soaked"));
        };
        let watched = self.now.since((*settled).max(self.watches_since));
        if watched < soak {
            return Err(format!("wave {wave} passed after {watched} of watching, and {soak} is planned"));
        }
        let hosts = self.plan.waves.get(wave).map(|wave| wave.hosts.as_slice()).unwrap_or_default();
        match hosts.iter().find(|host| self.unwell.contains(*host) && !self.dead.contains(*host)) {
            Some(host) if !self.a_person_went_on => Err(format!("wave {wave} passed, and {host} is unwell")),
            _ => Ok(()),
        }
    }
}

impl Invariant for Soaked {
    fn observe(&mut self, seen: &Seen) -> Result<(), String> {
        if let Seen::Committed { entry, .. } = seen {
            self.now = self.now.max(entry.at);
            self.heard(&entry.input);
        }
        for decision in super::decisions(seen) {
            match decision {
                Decision::WaveSettled { wave, .. } => {
                    self.settled.insert(*wave, self.now);
                }
                Decision::HostDead { host, .. } | Decision::HostQuarantined { host, .. } => {
                    self.dead.insert(host.clone());
                }
                Decision::HostReturned { host } => {
                    self.dead.remove(host);
                }
                Decision::Went { .. } => self.a_person_went_on = true,
                Decision::Judged { wave, evidence, verdict: Verdict::Pass } => {
                    self.passed(*wave, evidence)?
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sternway_core::rollout::Tally;

    use super::super::made::{at, breaks_at_last, committed, decided, given, holds, judged, said};
    use super::*;

    #[test]
    fn it_fires() {
        let soaked = || Soaked::new(&given());
        let settles = || at(5, decided(Decision::WaveSettled { wave: 0, soak: Millis::seconds(10) }));
        let passes =
            |seconds| at(seconds, judged(0, Tally { finished: 1, ..Tally::default() }, Verdict::Pass));
        let restarts = || at(8, committed(Input::Restarted { epoch: 2 }, vec![]));
        holds(soaked(), &[settles(), passes(15)]);
        holds(soaked(), &[settles(), restarts(), passes(18)]);
        breaks_at_last(soaked(), &[passes(15)]);
        breaks_at_last(soaked(), &[settles(), passes(14)]);
        breaks_at_last(soaked(), &[settles(), restarts(), passes(17)]);
        let unwell = said("a", Word::Unhealthy { reason: String::new() });
        breaks_at_last(soaked(), &[settles(), unwell, passes(15)]);
    }
}
