//! What must be true of every history, one file each. Each watches the whole
//! world and keeps its own books; none asks the machine it checks.
//!
//! | file | promise |
//! |---|---|
//! | `gate_order` | no host of wave n+1 begins before gate n passed (G11, I2) |
//! | `at_once` | never more hosts disturbed, in the world, than the plan allows (G10, I1) |
//! | `after_halt` | after a halt nothing begins that was not named in flight (G12, I3) |
//! | `slot_by_word` | a slot comes back by its host's word or a person's (I11) |
//! | `asked_for` | a permit answers the host's newest question (S8) |
//! | `verdict` | a verdict is what its evidence says, and the evidence keeps the plan's limits (I13) |
//! | `undo_order` | finished hosts are put back newest wave first |
//! | `while_held` | while it is held nothing starts and no gate passes |
//! | `replay` | a journal replayed gives the machine that wrote it |
//! | `self_check` | the machine finds no violation in itself |
//! | `liveness` | once the faults stop, everything comes to rest |

mod after_halt;
mod asked_for;
mod at_once;
mod gate_order;
mod liveness;
mod replay;
mod self_check;
mod slot_by_word;
mod undo_order;
mod verdict;
mod while_held;

use sternway_tests::sim::{Given, Seen};

pub(crate) trait Invariant {
    /// Says what was broken, if it was.
    fn observe(&mut self, seen: &Seen) -> Result<(), String>;
}

pub(crate) fn all(given: &Given) -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(gate_order::GateOrder::new(given)),
        Box::new(at_once::AtOnce::new(given)),
        Box::new(after_halt::AfterHalt::default()),
        Box::new(slot_by_word::SlotByWord::new(given)),
        Box::new(asked_for::AskedFor::default()),
        Box::new(verdict::Verdicts::new(given)),
        Box::new(undo_order::UndoOrder::new(given)),
        Box::new(while_held::WhileHeld::default()),
        Box::new(replay::Replay),
        Box::new(self_check::SelfCheck),
        Box::new(liveness::Liveness),
    ]
}

/// The decisions among what was committed.
fn decisions(seen: &Seen) -> impl Iterator<Item = &sternway_core::rollout::Decision> {
    let effects = match seen {
        Seen::Committed { effects, .. } => effects.as_slice(),
        _ => &[],
    };
    effects.iter().filter_map(|effect| match effect {
        sternway_core::rollout::Effect::Decided(decision) => Some(decision),
        _ => None,
    })
}

/// Histories made by hand, to show that each check fires.
#[cfg(test)]
mod made {
    use sternway_core::ids::{HostName, Person};
    use sternway_core::rollout::{Decision, Effect, Entry, Evidence, Input, Tally, Verdict, Word};
    use sternway_core::time::Timestamp;
    use sternway_tests::sim::{Given, Seen, SimFleet, Swarm, Why};

    use super::Invariant;

    /// One host a wave, one at once, no tolerance.
    pub(super) fn given() -> Given {
        let mut swarm = Swarm::of_seed(1);
        let wave = swarm.plan.waves[0].clone();
        let hosts = ["a", "b"].map(host);
        swarm.plan.waves = hosts
            .iter()
            .map(|host| {
                let mut wave = wave.clone();
                wave.hosts = vec![host.clone()];
                (wave.gate.failed, wave.gate.silent) = (0, 0);
                wave
            })
            .collect();
        swarm.plan.hosts = hosts.to_vec();
        swarm.plan.pace.at_once = 1;
        SimFleet::new(1, swarm).given()
    }

    pub(super) fn host(name: &str) -> HostName {
        name.parse().unwrap()
    }

    pub(super) fn maria() -> Person {
        "maria".parse().unwrap()
    }

    pub(super) fn committed(input: Input, effects: Vec<Effect>) -> Seen {
        Seen::Committed { entry: Entry { sequence: 1, at: Timestamp(0), input }, effects }
    }

    pub(super) fn decided(decision: Decision) -> Seen {
        committed(Input::Tick, vec![Effect::Decided(decision)])
    }

    pub(super) fn said(name: &str, word: Word) -> Seen {
        committed(Input::Host { host: host(name), word }, vec![])
    }

    pub(super) fn permit(name: &str, nonce: u64) -> Seen {
        committed(Input::Tick, vec![Effect::Permit { host: host(name), nonce }])
    }

    pub(super) fn order(name: &str) -> Seen {
        committed(Input::Tick, vec![Effect::OrderUndo { host: host(name) }])
    }

    pub(super) fn begins(name: &str) -> Seen {
        Seen::Disturbed { host: host(name), why: Why::Permit }
    }

    pub(super) fn judged(wave: usize, tally: Tally, verdict: Verdict) -> Seen {
        decided(Decision::Judged { wave, evidence: evidence(wave, tally), verdict })
    }

    pub(super) fn evidence(wave: usize, tally: Tally) -> Evidence {
        Evidence {
            wave,
            is_open: true,
            tally,
            failed_max: 0,
            silent_max: 0,
            failed_in_all: tally.failed,
            failed_in_all_max: 3,
            silent_in_all: tally.silent,
            silent_in_all_max: 3,
            nobody_accepted: false,
        }
    }

    /// The last of these breaks it, and none before.
    pub(super) fn breaks_at_last(mut invariant: impl Invariant, history: &[Seen]) {
        let (last, before) = history.split_last().unwrap();
        for seen in before {
            assert_eq!(invariant.observe(seen), Ok(()));
        }
        assert!(invariant.observe(last).is_err());
    }

    pub(super) fn holds(mut invariant: impl Invariant, history: &[Seen]) {
        for seen in history {
            assert_eq!(invariant.observe(seen), Ok(()));
        }
    }
}
