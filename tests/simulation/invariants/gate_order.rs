//! No host of wave n+1 begins before gate n passed.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Given, Seen, Why};
use sternway_core::ids::HostName;
use sternway_core::rollout::{Decision, Verdict};

use super::Invariant;

pub(super) struct GateOrder {
    wave_of: BTreeMap<HostName, usize>,
    passed: BTreeSet<usize>,
}

impl GateOrder {
    pub(super) fn new(given: &Given) -> Self {
        let waves = given.plan.waves.iter().enumerate();
        let wave_of =
            waves.flat_map(|(index, wave)| wave.hosts.iter().map(move |host| (host.clone(), index)));
        Self { wave_of: wave_of.collect(), passed: BTreeSet::new() }
    }
}

impl Invariant for GateOrder {
    fn observe(&mut self, seen: &Seen) -> Result<(), String> {
        for decision in super::decisions(seen) {
            match decision {
                Decision::Judged { wave, verdict: Verdict::Pass, .. } => {
                    self.passed.insert(*wave);
                }
                Decision::LateWave { wave, hosts } => {
                    self.wave_of.extend(hosts.iter().map(|host| (host.clone(), *wave)));
                }
                _ => {}
            }
        }
        let Seen::Disturbed { host, why: Why::Permit, .. } = seen else { return Ok(()) };
        let wave = self.wave_of.get(host).copied().unwrap_or(usize::MAX);
        match (0..wave).find(|before| !self.passed.contains(before)) {
            Some(before) => Err(format!("{host} of wave {wave} begins, and gate {before} has not passed")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use sternway_core::rollout::Tally;

    use super::super::made::{begins, breaks_at_last, given, holds, host, judged};
    use super::*;

    #[test]
    fn it_fires() {
        let tally = Tally { finished: 1, ..Tally::default() };
        let pass = judged(0, tally, Verdict::Pass);
        holds(GateOrder::new(&given()), &[begins("a"), pass.clone(), begins("b")]);
        breaks_at_last(GateOrder::new(&given()), &[begins("a"), begins("b")]);
        let late = super::super::made::decided(Decision::LateWave { wave: 2, hosts: vec![host("a")] });
        breaks_at_last(GateOrder::new(&given()), &[pass, late, begins("a")]);
    }
}
