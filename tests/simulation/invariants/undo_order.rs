//! Finished hosts are put back newest wave first: nobody of an older wave is
//! ordered while a finished host of a newer one waits.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Given, Seen};
use sternway_core::ids::HostName;
use sternway_core::rollout::{Decision, Effect, Input, Word};

use super::Invariant;

pub(super) struct UndoOrder {
    wave_of: BTreeMap<HostName, usize>,
    finished: BTreeSet<HostName>,
    ordered: BTreeSet<HostName>,
}

impl UndoOrder {
    pub(super) fn new(given: &Given) -> Self {
        let waves = given.plan.waves.iter().enumerate();
        let wave_of =
            waves.flat_map(|(index, wave)| wave.hosts.iter().map(move |host| (host.clone(), index)));
        Self { wave_of: wave_of.collect(), finished: BTreeSet::new(), ordered: BTreeSet::new() }
    }

    fn order(&mut self, host: &HostName) -> Result<(), String> {
        if !self.ordered.insert(host.clone()) {
            return Ok(());
        }
        if !self.finished.remove(host) {
            return Err(format!("{host} is told to put back what it never finished"));
        }
        let wave = self.wave_of.get(host);
        match self.finished.iter().find(|waits| self.wave_of.get(*waits) > wave) {
            Some(newer) => Err(format!("{host} is put back before {newer} of a newer wave")),
            None => Ok(()),
        }
    }
}

impl Invariant for UndoOrder {
    fn observe(&mut self, seen: &Seen) -> Result<(), String> {
        let Seen::Committed { entry, effects, .. } = seen else { return Ok(()) };
        if let Input::Host { host, word } = &entry.input {
            match word {
                Word::Finished => self.finished.insert(host.clone()),
                Word::Undone { .. } | Word::NeedsOperator { .. } => self.finished.remove(host),
                _ => false,
            };
        }
        for effect in effects {
            match effect {
                Effect::Decided(Decision::LateWave { wave, hosts }) => {
                    self.wave_of.extend(hosts.iter().map(|host| (host.clone(), *wave)));
                }
                Effect::Decided(Decision::HostDead { host, .. } | Decision::HostQuarantined { host, .. }) => {
                    self.finished.remove(host);
                }
                Effect::OrderUndo { host } => self.order(host)?,
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{breaks_at_last, given, holds, order, said};
    use super::*;

    #[test]
    fn it_fires() {
        let undo = || UndoOrder::new(&given());
        let finished = [said("a", Word::Finished), said("b", Word::Finished)];
        let [a, b] = finished;
        holds(undo(), &[a.clone(), b.clone(), order("b"), order("b"), order("a")]);
        breaks_at_last(undo(), &[a, b, order("a")]);
        breaks_at_last(undo(), &[order("a")]);
    }
}
