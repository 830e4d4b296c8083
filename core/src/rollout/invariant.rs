//! What must hold after every entry, checked against the state alone. The names
//! in brackets are those of the design notes. What a state cannot show is checked
//! where it can be seen: I7, I8 and I12 by the coordinator's database, in the
//! transaction and at each start; I15 by the host that keeps the points; I16 by
//! comparing, at each start, what the entries lead to with what stood there.

use serde::{Deserialize, Serialize};

use super::decision::End;
use super::gate::{Verdict, judge};
use super::wave::{WaveState, count};
use super::{Host, HostState, Phase, Rollout, Slot};
use crate::ids::HostName;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Violation {
    /// (I1) More hosts disturbed by our leave than the plan allows.
    TooManyDisturbed { held: u32, max: u32 },
    /// (I2) A permit in a wave whose gate before it had not passed.
    PermitBeforeGate { host: HostName, wave: usize },
    /// (I3) A permit or an order after a halt and before its resume.
    StartAfterHalt { host: HostName, entry: u64, halt: u64 },
    /// (I4, I11) What the host does and the slot it holds do not fit.
    SlotAgainstState { host: HostName },
    /// (I5) The host is at its end without a word of its own that brought it there.
    EndedWithoutWord { host: HostName },
    /// (I6) A wave is open before the one before it passed.
    WaveOutOfOrder { wave: usize },
    /// (I9) A budget is spent and nothing stands still.
    BudgetOverspent { failed: u32, silent: u32 },
    /// (I10) Something carries a cause that has not happened.
    CauseFromTheFuture { host: HostName },
    /// (I11) A slot came back by nobody's word.
    SlotFreedByNobody { host: HostName },
    /// (I13) A stored verdict is not what its evidence says, or a wave passed without one.
    VerdictNotRecomputed { wave: usize },
    /// (I14) Done, with a host that is neither finished nor left out.
    DoneWithoutHost { host: HostName },
}

impl Rollout {
    /// Empty unless this machine has a bug.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        self.check_slots(&mut found);
        self.check_waves(&mut found);
        self.check_budgets(&mut found);
        for (name, host) in &self.hosts {
            self.check_permit(name, host, &mut found);
            self.check_halts(name, host, &mut found);
        }
        self.check_end(&mut found);
        found
    }

    fn check_slots(&self, found: &mut Vec<Violation>) {
        let granted = count(self.hosts.values().filter(|host| matches!(host.slot, Slot::Granted(_))));
        if granted > self.at_once() {
            found.push(Violation::TooManyDisturbed { held: granted, max: self.at_once() });
        }
        for (name, host) in &self.hosts {
            let disturbed = matches!(
                host.state,
                HostState::Permitted { .. }
                    | HostState::Running { .. }
                    | HostState::Failing { .. }
                    | HostState::NeedsOperator { .. }
                    | HostState::PuttingBack
            );
            let ended = matches!(host.state, HostState::Done | HostState::Undone { .. } | HostState::PutBack);
            if ended && !matches!(host.slot, Slot::Returned(_)) {
                found.push(Violation::EndedWithoutWord { host: name.clone() });
            }
            if disturbed != host.holds_slot() {
                found.push(Violation::SlotAgainstState { host: name.clone() });
            }
        }
    }

    fn check_permit(&self, name: &HostName, host: &Host, found: &mut Vec<Violation>) {
        let Some((entry, held)) = host.permitted else { return };
        if held > self.at_once() {
            found.push(Violation::TooManyDisturbed { held, max: self.at_once() });
        }
        if host.slot == Slot::None {
            found.push(Violation::SlotFreedByNobody { host: name.clone() });
        }
        let opened = self.waves[host.wave].opened.is_some_and(|mark| mark.sequence <= entry);
        let before = host.wave.checked_sub(1).and_then(|index| self.waves.get(index));
        let passed = before.is_none_or(|wave| {
            wave.judged
                .as_ref()
                .is_some_and(|judged| judged.verdict == Verdict::Pass && judged.mark.sequence <= entry)
        });
        if !opened || !passed {
            found.push(Violation::PermitBeforeGate { host: name.clone(), wave: host.wave });
        }
    }

    fn check_halts(&self, name: &HostName, host: &Host, found: &mut Vec<Violation>) {
        let ordered = match host.slot {
            Slot::Granted(entry) => Some(entry),
            _ => None,
        };
        let now = self.halt.as_ref().map(|halt| (halt.since.sequence, u64::MAX));
        for entry in host.permitted.map(|(entry, _)| entry).into_iter().chain(ordered) {
            if entry > self.sequence {
                found.push(Violation::CauseFromTheFuture { host: name.clone() });
            }
            for (from, until) in self.halts_past.iter().copied().chain(now) {
                if from <= entry && entry < until {
                    found.push(Violation::StartAfterHalt { host: name.clone(), entry, halt: from });
                }
            }
        }
    }

    fn check_waves(&self, found: &mut Vec<Violation>) {
        let mut earlier_passed = true;
        for (index, wave) in self.waves.iter().enumerate() {
            let passed = wave.state == WaveState::Passed;
            if wave.state != WaveState::Closed && !earlier_passed {
                found.push(Violation::WaveOutOfOrder { wave: index });
            }
            let judged = wave.judged.as_ref();
            let recomputes = judged.is_none_or(|judged| judge(&judged.evidence) == judged.verdict);
            if !recomputes || (passed && judged.is_none_or(|judged| judged.verdict != Verdict::Pass)) {
                found.push(Violation::VerdictNotRecomputed { wave: index });
            }
            earlier_passed &= passed;
        }
    }

    fn check_budgets(&self, found: &mut Vec<Violation>) {
        if self.phase != Phase::Running || self.halt.is_some() {
            return;
        }
        let failed = count(self.hosts.values().filter(|host| host.has_failed()));
        let silent = self.silent_in_all();
        let too_many_failed = failed > self.pace.failed.max(self.accepted.failed);
        let too_many_silent = silent > self.pace.silent.max(self.accepted.silent) && self.hold.is_none();
        if too_many_failed || too_many_silent {
            found.push(Violation::BudgetOverspent { failed, silent });
        }
    }

    fn check_end(&self, found: &mut Vec<Violation>) {
        if self.phase == Phase::Ended(End::Done) {
            found.extend(self.exceptions().into_iter().map(|host| Violation::DoneWithoutHost { host }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{host, running};
    use super::*;
    use crate::rollout::{Evidence, Judged};

    fn broken(by: impl FnOnce(&mut Rollout)) -> Vec<Violation> {
        let mut rollout = running();
        assert_eq!(rollout.violations(), []);
        by(&mut rollout);
        rollout.violations()
    }

    fn permit(rollout: &mut Rollout, name: &str) {
        let entry = rollout.sequence;
        let host = rollout.hosts.get_mut(&host(name)).unwrap();
        host.state = HostState::Permitted { nonce: 1 };
        host.slot = Slot::Granted(entry);
        host.permitted = Some((entry, 1));
    }

    #[test]
    fn every_check_fires() {
        let over = broken(|rollout| ["a-1", "a-2"].iter().for_each(|name| permit(rollout, name)));
        assert!(over.contains(&Violation::TooManyDisturbed { held: 2, max: 1 }));

        let early = broken(|rollout| permit(rollout, "b-1"));
        assert_eq!(early, [Violation::PermitBeforeGate { host: host("b-1"), wave: 1 }]);

        let entry = running().sequence;
        let halted = broken(|rollout| {
            permit(rollout, "a-1");
            rollout.halts_past.push((entry, entry + 5));
        });
        assert!(halted.contains(&Violation::StartAfterHalt { host: host("a-1"), entry, halt: entry }));

        let freed = broken(|rollout| {
            permit(rollout, "a-1");
            let host = rollout.hosts.get_mut(&host("a-1")).unwrap();
            host.state = HostState::Staged;
            host.slot = Slot::None;
        });
        assert_eq!(freed, [Violation::SlotFreedByNobody { host: host("a-1") }]);

        let lost = broken(|rollout| {
            rollout.hosts.get_mut(&host("a-1")).unwrap().state = HostState::Running { step: 0 };
        });
        assert_eq!(lost, [Violation::SlotAgainstState { host: host("a-1") }]);

        let untold = broken(|rollout| {
            rollout.hosts.get_mut(&host("a-1")).unwrap().state = HostState::Done;
        });
        assert_eq!(untold, [Violation::EndedWithoutWord { host: host("a-1") }]);

        let order = broken(|rollout| rollout.waves[1].state = WaveState::Open);
        assert_eq!(order, [Violation::WaveOutOfOrder { wave: 1 }]);

        let future = broken(|rollout| {
            permit(rollout, "a-1");
            rollout.hosts.get_mut(&host("a-1")).unwrap().slot = Slot::Granted(u64::MAX);
        });
        assert!(future.contains(&Violation::CauseFromTheFuture { host: host("a-1") }));
    }

    #[test]
    fn a_spent_budget_an_unearned_pass_and_an_untrue_end_are_found() {
        let failed = HostState::Refused { reason: "no".into() };
        let spent = broken(|rollout| {
            for host in rollout.hosts.values_mut() {
                host.state = failed.clone();
            }
        });
        assert_eq!(spent, [Violation::BudgetOverspent { failed: 4, silent: 0 }]);

        let passed = broken(|rollout| rollout.waves[0].state = WaveState::Passed);
        assert_eq!(passed, [Violation::VerdictNotRecomputed { wave: 0 }]);
        let forged = broken(|rollout| {
            let evidence = Evidence { failed_in_all: 99, ..rollout.evidence(0) };
            let mark = rollout.waves[0].opened.unwrap();
            rollout.waves[0].judged = Some(Judged { mark, evidence, verdict: Verdict::Pass });
        });
        assert_eq!(forged, [Violation::VerdictNotRecomputed { wave: 0 }]);

        let untrue = broken(|rollout| rollout.phase = Phase::Ended(End::Done));
        assert_eq!(untrue.len(), 4);
    }
}
