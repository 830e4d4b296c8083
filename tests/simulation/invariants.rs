//! What must be true of every history, one file each. Each watches the whole
//! world and keeps its own books; none asks the machine it checks.
//!
//! | file | promise |
//! |---|---|
//! | `intent` | nothing changes a host before the record that says so is on its disk (G1, S1) |
//! | `done_is_true` | done means looked at after the last change, undone means as it was (G2, S2) |
//! | `counted` | what must not run twice takes effect once (G4, S3) |
//! | `undo_steps` | a host puts its steps back newest first |
//! | `pivot` | past the pivot nothing is put back but by a person's word |
//! | `halted_here` | a host halted by a person there begins nothing (S9) |
//! | `prefix` | what is on record of a host is a gap-free prefix of its journal (G16, I7, S6) |
//! | `kept` | what was acknowledged, to a person or a host, is found later (G9, I16, S7) |
//! | `permits` | no run begins under an old question's permit or a superseded coordinator's (G13, S8) |
//! | `asked_for` | a permit answers the host's newest question |
//! | `gate_order` | no host of wave n+1 begins before gate n passed (G11, I2) |
//! | `at_once` | never more hosts disturbed, in the world, than the plan allows (G10, I1) |
//! | `after_halt` | after a halt nothing begins that was not named in flight (G12, I3) |
//! | `slot_by_word` | a slot comes back by its host's word or a person's (I11) |
//! | `silence` | who is away for too long with a slot is called silent |
//! | `soak` | a wave passes after a soak that was watched from end to end |
//! | `verdict` | a verdict is what its evidence says, the evidence keeps the plan's limits (I13, S12) |
//! | `undo_order` | finished hosts are put back newest wave first |
//! | `while_held` | while it is held nothing starts and no gate passes |
//! | `replay` | a journal replayed gives the machine that wrote it |
//! | `self_check` | the machine finds no violation in itself |
//! | `bounded` | journals, entries and queues stay small (S10) |
//! | `at_rest` | once the faults stop, everything comes to rest (S11) |

mod after_halt;
mod asked_for;
mod at_once;
mod at_rest;
mod bounded;
mod counted;
mod done_is_true;
mod gate_order;
mod halted_here;
mod intent;
mod kept;
mod permits;
mod pivot;
mod prefix;
mod replay;
mod self_check;
mod silence;
mod slot_by_word;
mod soak;
mod undo_order;
mod undo_steps;
mod verdict;
mod while_held;

use crate::{Given, Seen};

trait Invariant {
    /// Says what was broken, if it was.
    fn observe(&mut self, seen: &Seen) -> Result<(), String>;
}

/// Every invariant over one history.
pub struct Watch {
    /// With the rollout it is about, or none for the whole world.
    all: Vec<(&'static str, Option<usize>, Box<dyn Invariant>)>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.all.iter().map(|(name, _, _)| name)).finish()
    }
}

impl Watch {
    pub fn over(given: &[Given]) -> Self {
        let mut all = whole_world();
        given.iter().for_each(|given| all.extend(of_rollout(given)));
        Self { all }
    }

    /// # Errors
    /// The first invariant that is broken, by the name of its file, and how.
    pub fn observe(&mut self, seen: &Seen) -> Result<(), (&'static str, String)> {
        let about = seen.rollout();
        let concerned = self.all.iter_mut().filter(|(_, of, _)| match (of, about) {
            (Some(of), Some(about)) => *of == about,
            _ => true,
        });
        for (name, _, invariant) in concerned {
            invariant.observe(seen).map_err(|broken| (*name, broken))?;
        }
        Ok(())
    }
}

type Named = (&'static str, Option<usize>, Box<dyn Invariant>);

fn whole_world() -> Vec<Named> {
    vec![
        ("prefix", None, Box::new(prefix::Prefix::default())),
        ("kept", None, Box::new(kept::Kept::default())),
        ("replay", None, Box::new(replay::Replay)),
        ("self_check", None, Box::new(self_check::SelfCheck)),
        ("bounded", None, Box::new(bounded::Bounded)),
    ]
}

fn of_rollout(given: &Given) -> Vec<Named> {
    let of = |name, invariant| -> Named { (name, Some(given.rollout), invariant) };
    vec![
        of("intent", Box::new(intent::Intent)),
        of("done_is_true", Box::new(done_is_true::DoneIsTrue)),
        of("counted", Box::new(counted::Counted::new(given))),
        of("undo_steps", Box::new(undo_steps::UndoSteps)),
        of("pivot", Box::new(pivot::Pivot::new(given))),
        of("halted_here", Box::<halted_here::HaltedHere>::default()),
        of("permits", Box::new(permits::Permits)),
        of("asked_for", Box::<asked_for::AskedFor>::default()),
        of("gate_order", Box::new(gate_order::GateOrder::new(given))),
        of("at_once", Box::new(at_once::AtOnce::new(given))),
        of("after_halt", Box::<after_halt::AfterHalt>::default()),
        of("slot_by_word", Box::new(slot_by_word::SlotByWord::new(given))),
        of("silence", Box::new(silence::Silence::new(given))),
        of("soak", Box::new(soak::Soaked::new(given))),
        of("verdict", Box::new(verdict::Verdicts::new(given))),
        of("undo_order", Box::new(undo_order::UndoOrder::new(given))),
        of("while_held", Box::<while_held::WhileHeld>::default()),
        of("at_rest", Box::new(at_rest::AtRest)),
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
    use crate::{Given, Schedule, Seen, SimFleet, Truth, Why};
    use sternway_core::ids::{HostName, Person};
    use sternway_core::manifest::Class;
    use sternway_core::rollout::{Decision, Effect, Entry, Evidence, Input, Status, Tally, Verdict, Word};
    use sternway_core::time::{Millis, Timestamp};

    use super::Invariant;

    /// One host a wave, one at once, no tolerance.
    pub(super) fn given() -> Given {
        let mut plan = Schedule::of_seed(1).plans[0].plan();
        let wave = plan.waves[0].clone();
        let hosts = ["a", "b"].map(host);
        plan.waves = hosts
            .iter()
            .map(|host| {
                let mut wave = wave.clone();
                wave.hosts = vec![host.clone()];
                (wave.gate.failed, wave.gate.silent) = (0, 0);
                wave.soak = Millis::seconds(10);
                wave
            })
            .collect();
        plan.hosts = hosts.to_vec();
        plan.pace.at_once = 1;
        plan.pace.silent_after = Millis::seconds(10);
        plan.steps.truncate(1);
        plan.steps[0].class = Class::OneShot;
        Given { rollout: 0, plan }
    }

    pub(super) fn status() -> Status {
        let mut fleet = SimFleet::new(Schedule::of_seed(1).calm());
        assert_eq!(fleet.run(|_| Ok::<(), String>(())), Ok(()));
        fleet.statuses().remove(0).1
    }

    pub(super) fn truth(step: u32, proven: bool, as_found: bool) -> Truth {
        Truth { step, proven, as_wanted: proven, as_found }
    }

    /// The same at that time, in seconds.
    pub(super) fn at(seconds: u64, mut seen: Seen) -> Seen {
        if let Seen::Committed { entry, .. } = &mut seen {
            entry.at = Timestamp(seconds * 1_000);
        }
        seen
    }

    pub(super) fn host(name: &str) -> HostName {
        name.parse().unwrap()
    }

    pub(super) fn maria() -> Person {
        "maria".parse().unwrap()
    }

    pub(super) fn committed(input: Input, effects: Vec<Effect>) -> Seen {
        Seen::Committed { rollout: 0, entry: Entry { sequence: 1, at: Timestamp(0), input }, effects }
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
        Seen::Disturbed { rollout: 0, host: host(name), why: Why::Permit }
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
