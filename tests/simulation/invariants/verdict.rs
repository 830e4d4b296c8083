//! A verdict is what its stored evidence says, the evidence is what the hosts
//! said, and a gate passes beyond the plan's limits only after a person's word.

use std::collections::BTreeMap;

use crate::{Given, Seen};
use sternway_core::ids::HostName;
use sternway_core::plan::Plan;
use sternway_core::rollout::{Decision, Evidence, Input, Tally, Verdict, Word, judge};

use super::Invariant;

pub(super) struct Verdicts {
    plan: Plan,
    /// The last end each host told.
    failed: BTreeMap<HostName, bool>,
    a_person_went_on: bool,
}

impl Verdicts {
    pub(super) fn new(given: &Given) -> Self {
        Self { plan: given.plan.clone(), failed: BTreeMap::new(), a_person_went_on: false }
    }

    fn heard(&mut self, host: &HostName, word: &Word) {
        let failed = match word {
            Word::Undone { .. } | Word::Refused { .. } | Word::NeedsOperator { .. } => true,
            Word::Finished | Word::Began { .. } | Word::StepDone { .. } | Word::StepFailed { .. } => false,
            _ => return,
        };
        self.failed.insert(host.clone(), failed);
    }

    fn check(&self, wave: usize, evidence: &Evidence, verdict: &Verdict) -> Result<(), String> {
        if judge(evidence) != *verdict || may_pass(evidence) != (*verdict == Verdict::Pass) {
            return Err(format!("wave {wave}: {evidence:?} was judged {verdict:?}"));
        }
        if *verdict != Verdict::Pass {
            return Ok(());
        }
        if evidence.tally.underway > 0 {
            return Err(format!("wave {wave} passed with hosts underway: {evidence:?}"));
        }
        let Some(planned) = self.plan.waves.get(wave) else { return Ok(()) };
        let failed = planned.hosts.iter().filter(|host| self.failed.get(*host) == Some(&true)).count();
        let (tally, gate) = (evidence.tally, &planned.gate);
        if failed > gate.failed as usize && tally.dead + tally.late == 0 && !self.a_person_went_on {
            return Err(format!("wave {wave} passed with {failed} failed, and {} may", gate.failed));
        }
        if tally.silent > gate.silent && !self.a_person_went_on {
            return Err(format!("wave {wave} passed with {} silent, and {} may", tally.silent, gate.silent));
        }
        Ok(())
    }
}

/// When a gate may pass, said once more and as shortly as it can be.
fn may_pass(evidence: &Evidence) -> bool {
    let Tally { finished, failed, silent, halted, dead, late, underway } = evidence.tally;
    let nobody = failed + silent + halted + dead + late + underway == 0;
    let within = |is: u32, max: u32| is <= max || !evidence.is_open;
    within(failed, evidence.failed_max)
        && within(silent, evidence.silent_max)
        && evidence.failed_in_all <= evidence.failed_in_all_max
        && evidence.silent_in_all <= evidence.silent_in_all_max
        && (finished > 0 || nobody || evidence.nobody_accepted)
}

impl Invariant for Verdicts {
    fn observe(&mut self, seen: &Seen) -> Result<(), String> {
        if let Seen::Committed { entry, .. } = seen
            && let Input::Host { host, word } = &entry.input
        {
            self.heard(host, word);
        }
        for decision in super::decisions(seen) {
            match decision {
                Decision::Went { .. } | Decision::Resumed { .. } => self.a_person_went_on = true,
                Decision::Judged { wave, evidence, verdict } => self.check(*wave, evidence, verdict)?,
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{breaks_at_last, given, holds, judged, said};
    use super::*;

    #[test]
    fn it_fires() {
        let one = Tally { finished: 1, ..Tally::default() };
        let verdicts = || Verdicts::new(&given());
        holds(verdicts(), &[judged(0, one, Verdict::Pass)]);
        breaks_at_last(verdicts(), &[judged(0, Tally { late: 1, ..Tally::default() }, Verdict::Pass)]);
        breaks_at_last(verdicts(), &[judged(0, Tally { silent: 1, ..one }, Verdict::Pass)]);
        breaks_at_last(verdicts(), &[judged(0, Tally { underway: 1, ..one }, Verdict::Pass)]);
        let undone = said("a", Word::Undone { step: 0, reason: String::new() });
        breaks_at_last(verdicts(), &[undone, judged(0, one, Verdict::Pass)]);
    }
}
