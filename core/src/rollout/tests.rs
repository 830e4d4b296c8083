//! Claims about whole rollouts, told entry by entry.

mod any_input;
mod people;
mod set_back;

use super::*;
use crate::ids::{FleetId, Nonce};
use crate::plan::{self, Approval, CutOff, Gate, Severity};
use crate::time::Millis;

pub(super) fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

fn hosts(names: &[&str]) -> Vec<HostName> {
    names.iter().map(|name| host(name)).collect()
}

fn maria() -> Person {
    "maria".parse().unwrap()
}

fn plan(waves: &[&[&str]]) -> Plan {
    let gate = Gate { name: "strict".into(), failed: 0, silent: 0 };
    Plan {
        format: 1,
        fleet: FleetId([1; 16]),
        nonce: Nonce([2; 16]),
        name: "agora".parse().unwrap(),
        reason: "1.3 loses orders".into(),
        severity: Severity::High,
        urgency: Default::default(),
        service: "agora".into(),
        from: "1.3".into(),
        to: "1.1".into(),
        author: maria(),
        issued: Timestamp(0),
        expires: Timestamp::MAX,
        budget: None,
        hosts: waves.iter().flat_map(|wave| hosts(wave)).collect(),
        approval: Approval { signatures: 1, from: Vec::new(), author: true },
        point: None,
        steps: Vec::new(),
        pace: Pace {
            at_once: 1,
            cut_off: CutOff::FinishHost,
            failed: 1,
            silent: 1,
            stage_within: Millis::minutes(5),
            silent_after: Millis::minutes(1),
        },
        waves: waves
            .iter()
            .map(|wave| plan::Wave {
                name: None,
                hosts: hosts(wave),
                soak: Millis::seconds(10),
                gate: gate.clone(),
                approve: None,
            })
            .collect(),
        plugins: Vec::new(),
        text: String::new(),
    }
}

fn machine(plan: &Plan) -> Rollout {
    Rollout::new("r-1".parse().unwrap(), PlanId([9; 32]), plan, &[])
}

/// Two waves of two, launched, everybody connected.
pub(super) fn running() -> Rollout {
    Desk::launched(plan(&[&["a-1", "a-2"], &["b-1", "b-2"]])).rollout.clone()
}

/// A machine with its journal: feeds entries, keeps effects, checks replay at the end.
struct Desk {
    fresh: Rollout,
    rollout: Rollout,
    entries: Vec<Entry>,
    now: Timestamp,
}

impl Desk {
    fn new(plan: Plan) -> Self {
        let fresh = machine(&plan);
        Self { rollout: fresh.clone(), fresh, entries: Vec::new(), now: Timestamp(1_000_000) }
    }

    fn launched(plan: Plan) -> Self {
        let mut desk = Self::new(plan.clone());
        for host in plan.hosts {
            desk.take(Input::Connected { host });
        }
        desk.take(Input::Launched { by: maria() });
        desk
    }

    fn take(&mut self, input: Input) -> Vec<Effect> {
        let entry = Entry { sequence: self.entries.len() as u64 + 1, at: self.now, input };
        self.entries.push(entry.clone());
        self.rollout.handle(&entry)
    }

    fn say(&mut self, name: &str, word: Word) -> Vec<Effect> {
        self.take(Input::Host { host: host(name), word })
    }

    fn asks(&mut self, name: &str, nonce: u64) -> Vec<Effect> {
        self.say(name, Word::AsksPermit { nonce })
    }

    /// Stages, asks, begins and finishes.
    fn finishes(&mut self, name: &str) {
        self.begins(name);
        self.say(name, Word::Finished);
    }

    fn begins(&mut self, name: &str) {
        self.say(name, Word::Staged);
        let effects = self.asks(name, 1);
        assert!(effects.contains(&permit(name, 1)), "{name} got no permit: {effects:?}");
        self.say(name, Word::Began { step: 0 });
    }

    fn fails(&mut self, name: &str) -> Vec<Effect> {
        self.begins(name);
        self.say(name, Word::StepFailed { step: 0, reason: "no space".into() });
        self.say(name, Word::Undone { step: 0, reason: "no space".into() })
    }

    fn waits(&mut self, length: Millis) -> Vec<Effect> {
        self.now = self.now + length;
        self.take(Input::Tick)
    }

    fn state(&self) -> State {
        self.rollout.status().state
    }

    fn hold(&self) -> Vec<HoldReason> {
        self.rollout.status().hold.map(|hold| hold.reasons).unwrap_or_default()
    }

    fn halt_cause(&self) -> Option<HaltCause> {
        self.rollout.status().halt.map(|halt| halt.cause)
    }

    fn go(&mut self) -> Vec<Effect> {
        self.take(Input::Go { by: maria(), reason: "looked".into() })
    }

    fn halt(&mut self) -> Vec<Effect> {
        self.take(Input::Halt { by: maria(), reason: "wrong".into() })
    }

    fn undo_all(&mut self) -> Vec<Effect> {
        self.take(Input::UndoAll { by: maria(), reason: "worse".into() })
    }

    fn resume(&mut self, confirmed: &[&str]) -> Vec<Effect> {
        self.take(Input::Resume { by: maria(), reason: "fixed".into(), confirmed: hosts(confirmed) })
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let mut replayed = self.fresh.clone();
        for entry in &self.entries {
            replayed.handle(entry);
        }
        assert_eq!(replayed, self.rollout, "replay differs from live");
        let stored = serde_json::to_string(&self.rollout).unwrap();
        assert_eq!(serde_json::from_str::<Rollout>(&stored).unwrap(), self.rollout);
    }
}

fn permit(name: &str, nonce: u64) -> Effect {
    Effect::Permit { host: host(name), nonce }
}

fn permits(effects: &[Effect]) -> usize {
    effects.iter().filter(|effect| matches!(effect, Effect::Permit { .. })).count()
}

const SOAK: Millis = Millis::seconds(10);
const SILENT: Millis = Millis::minutes(1);

#[test]
fn every_host_is_offered_the_plan_at_launch_so_that_it_stages() {
    let mut desk = Desk::new(plan(&[&["a-1"], &["b-1"]]));
    let effects = desk.take(Input::Launched { by: maria() });
    assert!(effects.contains(&Effect::Offer { host: host("a-1") }));
    assert!(effects.contains(&Effect::Offer { host: host("b-1") }));
}

#[test]
fn waves_go_in_order_and_a_clean_rollout_is_done() {
    let mut desk = Desk::launched(plan(&[&["a-1"], &["b-1"]]));
    desk.say("b-1", Word::Staged);
    assert_eq!(permits(&desk.asks("b-1", 1)), 0, "its wave is closed");
    desk.finishes("a-1");
    assert_eq!(permits(&desk.waits(Millis::seconds(9))), 0, "it soaks");
    assert_eq!(desk.rollout.wake_at(), Some(desk.now + Millis::seconds(1)));
    assert!(desk.waits(Millis::seconds(1)).contains(&permit("b-1", 1)));
    desk.say("b-1", Word::Finished);
    let end = desk.waits(SOAK);
    assert!(!end.contains(&Effect::Release { host: host("a-1") }), "it keeps its way back");
    assert_eq!(desk.state(), State::Ended(End::Done));
    assert_eq!(desk.rollout.status().exit_code(), 0);
    assert_eq!(desk.rollout.wake_at(), None);
}

#[test]
fn no_more_hosts_are_disturbed_than_the_plan_allows() {
    let mut desk = Desk::launched(plan(&[&["a-1", "a-2", "a-3"]]));
    desk.begins("a-2");
    assert_eq!(permits(&desk.asks("a-3", 1)), 0);
    assert_eq!(permits(&desk.asks("a-1", 1)), 0);
    let next = desk.say("a-2", Word::Finished);
    assert!(next.contains(&permit("a-3", 1)), "who asked first goes first");
    assert_eq!(permits(&next), 1);
}

#[test]
fn the_same_nonce_gets_the_same_answer_and_a_higher_one_replaces_it() {
    let mut desk = Desk::launched(plan(&[&["a-1", "a-2"]]));
    assert!(desk.asks("a-1", 4).contains(&permit("a-1", 4)));
    assert_eq!(desk.asks("a-1", 4), [permit("a-1", 4)]);
    assert_eq!(permits(&desk.asks("a-1", 3)), 0, "an old request is nobody's");
    assert!(desk.asks("a-1", 5).contains(&permit("a-1", 5)));
    assert_eq!(permits(&desk.asks("a-2", 1)), 0, "still one slot");
    let freed = desk.say("a-1", Word::Idle { nonce: 6 });
    assert_eq!(freed, [permit("a-2", 1)]);
}

#[test]
fn a_time_out_frees_no_slot() {
    let mut plan = plan(&[&["a-1", "a-2"]]);
    plan.waves[0].gate.silent = 1;
    let mut desk = Desk::launched(plan);
    desk.begins("a-1");
    desk.asks("a-2", 1);
    desk.take(Input::Lost { host: host("a-1") });
    assert_eq!(permits(&desk.waits(Millis::hours(5))), 0);
    assert_eq!(
        desk.hold(),
        [HoldReason::SlotsTaken { holders: hosts(&["a-1"]), max: 1 }],
        "a person is asked, since nothing can go on"
    );
    assert_eq!(permits(&desk.go()), 0, "and their go frees no slot either");
    assert_eq!(desk.state(), State::Running { wave: 0 }, "nor is it asked again");
    assert!(desk.say("a-1", Word::Finished).contains(&permit("a-2", 1)));
}

#[test]
fn a_dead_host_gives_its_slot_only_by_a_named_person() {
    let mut desk = Desk::launched(plan(&[&["a-1", "a-2"]]));
    desk.begins("a-1");
    desk.asks("a-2", 1);
    let dead = Input::ExcludeDead { host: host("a-1"), by: maria(), reason: "burnt".into() };
    assert_eq!(desk.take(dead.clone()), [Effect::Note(Note::HostIsHere { host: host("a-1") })]);
    desk.take(Input::Lost { host: host("a-1") });
    assert!(desk.take(dead).contains(&permit("a-2", 1)));
    let returned = desk.take(Input::Connected { host: host("a-1") });
    assert_eq!(returned, [Effect::TellHalt { hosts: hosts(&["a-1"]) }], "if it lives, it begins nothing");
}

#[test]
fn a_host_given_up_as_dead_that_lives_counts_again_by_its_own_word() {
    let mut desk = Desk::launched(plan(&[&["a-1", "a-2"]]));
    desk.begins("a-1");
    desk.take(Input::Lost { host: host("a-1") });
    desk.take(Input::ExcludeDead { host: host("a-1"), by: maria(), reason: "burnt".into() });
    desk.take(Input::Connected { host: host("a-1") });
    desk.say("a-1", Word::StepDone { step: 0 });
    assert_eq!(permits(&desk.asks("a-2", 1)), 0, "it is disturbed, whatever was thought of it");
    assert!(desk.say("a-1", Word::Finished).contains(&permit("a-2", 1)));
    desk.say("a-2", Word::Finished);
    desk.waits(SOAK);
    assert_eq!(desk.state(), State::Ended(End::Done));
}

#[test]
fn a_failed_canary_halts_at_once_and_names_the_hosts_in_flight() {
    let mut plan = plan(&[&["a-1", "a-2"], &["b-1"]]);
    plan.pace.at_once = 2;
    let mut desk = Desk::launched(plan);
    desk.begins("a-2");
    let effects = desk.fails("a-1");
    let cause = HaltCause::TooManyFailed { wave: 0, failed: 1, max: 0 };
    assert!(
        effects.contains(&Effect::Decided(Decision::Halted {
            cause: cause.clone(),
            in_flight: hosts(&["a-2"])
        }))
    );
    assert_eq!(desk.halt_cause(), Some(cause));
    assert_eq!(desk.rollout.status().exit_code(), 10);
    assert_eq!(permits(&desk.waits(Millis::hours(1))), 0);
}

#[test]
fn the_whole_rollout_has_a_budget_of_its_own() {
    let mut plan = plan(&[&["a-1", "a-2"], &["b-1", "b-2"]]);
    plan.waves.iter_mut().for_each(|wave| wave.gate.failed = 1);
    let mut desk = Desk::launched(plan);
    desk.fails("a-1");
    desk.finishes("a-2");
    desk.waits(SOAK);
    desk.fails("b-1");
    assert_eq!(desk.halt_cause(), Some(HaltCause::TooManyFailedInAll { failed: 2, max: 1 }));
}

#[test]
fn a_tolerated_failure_ends_as_done_with_exceptions() {
    let mut plan = plan(&[&["a-1", "a-2"]]);
    plan.waves[0].gate.failed = 1;
    let mut desk = Desk::launched(plan);
    desk.fails("a-1");
    desk.finishes("a-2");
    desk.waits(SOAK);
    assert_eq!(desk.state(), State::Ended(End::DoneWithExceptions));
    let status = desk.rollout.status();
    assert_eq!((status.exceptions.clone(), status.exit_code()), (hosts(&["a-1"]), 3));
}

#[test]
fn a_silent_canary_holds_the_rollout_and_starts_nobody_else() {
    let mut desk = Desk::launched(plan(&[&["a-1"], &["b-1"]]));
    desk.asks("b-1", 1);
    desk.take(Input::Lost { host: host("a-1") });
    assert_eq!(desk.rollout.wake_at(), Some(desk.now + SILENT));
    assert_eq!(permits(&desk.waits(SILENT)), 0);
    assert_eq!(desk.hold(), [HoldReason::TooManySilent { wave: 0, silent: 1, max: 0 },]);
    assert_eq!(desk.rollout.status().exit_code(), 11);
    desk.go();
    assert_eq!(
        desk.hold(),
        [HoldReason::NobodyFinished { wave: 0, failed: 0, silent: 1, late: 0 }],
        "another question, asked once"
    );
    assert!(desk.go().contains(&permit("b-1", 1)), "what a person accepted is not asked again");
}

#[test]
fn a_late_host_holds_nobody_up_and_gets_a_wave_of_its_own() {
    let mut desk = Desk::launched(plan(&[&["a-1", "a-2"]]));
    desk.finishes("a-1");
    let late = desk.waits(Millis::minutes(5));
    assert!(late.contains(&Effect::Decided(Decision::HostLate {
        host: host("a-2"),
        wave: 0,
        why: decision::Late::NotStaged { within: Millis::minutes(5) }
    })));
    assert_eq!(desk.rollout.status().late, hosts(&["a-2"]));
    desk.say("a-2", Word::Staged);
    assert_eq!(permits(&desk.asks("a-2", 1)), 0, "not before the last wave passed");
    assert!(desk.waits(SOAK).contains(&permit("a-2", 1)));
    desk.say("a-2", Word::Finished);
    desk.waits(SOAK);
    assert_eq!(desk.state(), State::Ended(End::Done));
}

#[test]
fn a_late_host_that_never_comes_is_an_exception() {
    let mut desk = Desk::launched(plan(&[&["a-1", "a-2"]]));
    desk.finishes("a-1");
    desk.waits(Millis::minutes(5));
    assert!(desk.waits(SOAK).contains(&Effect::Release { host: host("a-2") }));
    assert_eq!(desk.state(), State::Ended(End::DoneWithExceptions));
    assert_eq!(desk.rollout.status().exceptions, hosts(&["a-2"]));
    let release = desk.say("a-2", Word::Staged);
    assert_eq!(release, [Effect::Release { host: host("a-2") }]);
}

#[test]
fn a_host_left_out_at_launch_is_no_exception() {
    let plan = plan(&[&["a-1", "a-2"]]);
    let mut desk = Desk::new(plan.clone());
    desk.fresh = Rollout::new("r-1".parse().unwrap(), PlanId([9; 32]), &plan, &hosts(&["a-2"]));
    desk.rollout = desk.fresh.clone();
    desk.take(Input::Connected { host: host("a-1") });
    desk.take(Input::Launched { by: maria() });
    desk.finishes("a-1");
    desk.waits(SOAK);
    assert_eq!(desk.state(), State::Ended(End::Done));
    assert_eq!(desk.asks("a-2", 1), [Effect::Note(Note::NotTakingPart { host: host("a-2") })]);
}

#[test]
fn a_blip_restarts_the_soak() {
    let mut desk = Desk::launched(plan(&[&["a-1"], &["b-1"]]));
    desk.asks("b-1", 1);
    desk.finishes("a-1");
    desk.waits(Millis::seconds(9));
    desk.say("a-1", Word::Unhealthy { reason: "503".into() });
    assert_eq!(permits(&desk.waits(Millis::seconds(9))), 0, "its clock stands");
    desk.say("a-1", Word::Healthy);
    desk.waits(Millis::seconds(9));
    desk.take(Input::Lost { host: host("a-1") });
    desk.take(Input::Connected { host: host("a-1") });
    assert_eq!(permits(&desk.waits(Millis::seconds(9))), 0, "a lost link is a blip too");
    assert_eq!(permits(&desk.waits(Millis::seconds(1))), 1);
}

#[test]
fn a_soak_that_keeps_restarting_asks_a_person_who_may_accept_it() {
    let mut desk = Desk::launched(plan(&[&["a-1"], &["b-1"]]));
    desk.asks("b-1", 1);
    desk.finishes("a-1");
    desk.say("a-1", Word::Unhealthy { reason: "503".into() });
    desk.waits(Millis::seconds(40));
    assert_eq!(desk.hold(), [], "three times ten seconds, but at least thirty more than ten");
    desk.waits(Millis(1));
    assert!(matches!(&desk.hold()[..], [HoldReason::SoakKeepsRestarting { wave: 0, hosts, .. }]
        if *hosts == [host("a-1")]));
    desk.go();
    assert_eq!(desk.state(), State::Running { wave: 0 });
    assert_eq!(permits(&desk.waits(SOAK)), 1);
}

#[test]
fn a_restart_waits_for_words_and_does_not_count_what_it_did_not_see() {
    let mut desk = Desk::launched(plan(&[&["a-1"], &["b-1"]]));
    desk.asks("b-1", 1);
    desk.finishes("a-1");
    desk.now = desk.now + Millis::hours(2);
    desk.take(Input::Restarted { epoch: 1 });
    assert_eq!(desk.hold(), [], "two hours of outage are nobody's silence");
    desk.take(Input::Connected { host: host("b-1") });
    assert_eq!(permits(&desk.waits(Millis::seconds(5))), 0);
    desk.take(Input::Connected { host: host("a-1") });
    assert_eq!(permits(&desk.waits(Millis::seconds(9))), 0);
    assert!(desk.waits(Millis::seconds(1)).contains(&permit("b-1", 1)));
    assert!(matches!(&desk.take(Input::Restarted { epoch: 1 })[..], [Effect::Note(Note::OldEpoch { .. })]));
}

#[test]
fn after_a_restart_everything_unanswered_is_said_again() {
    let mut desk = Desk::launched(plan(&[&["a-1"], &["b-1"]]));
    desk.asks("a-1", 3);
    desk.take(Input::Restarted { epoch: 1 });
    assert_eq!(desk.rollout.owed(), [permit("a-1", 3), Effect::Offer { host: host("b-1") }]);
    desk.halt();
    assert_eq!(
        desk.rollout.owed(),
        [
            Effect::TellHalt { hosts: hosts(&["a-1"]) },
            Effect::TellHalt { hosts: hosts(&["b-1"]) },
            Effect::Offer { host: host("b-1") },
        ],
        "a halted rollout permits nothing, but may stage"
    );
}

#[test]
fn a_host_that_began_without_a_permit_halts_everything() {
    let mut desk = Desk::launched(plan(&[&["a-1"], &["b-1"]]));
    desk.say("b-1", Word::Began { step: 0 });
    assert_eq!(desk.halt_cause(), Some(HaltCause::BeganUnpermitted { host: host("b-1") }));
    assert_eq!(desk.rollout.status().in_flight, hosts(&["b-1"]));
}

#[test]
fn a_host_halted_on_the_host_is_asked_about_and_then_left_behind() {
    let mut desk = Desk::launched(plan(&[&["a-1", "a-2"]]));
    desk.say("a-2", Word::Staged);
    desk.say("a-2", Word::HaltedLocally);
    assert_eq!(desk.hold(), [HoldReason::HaltedOnHost { hosts: hosts(&["a-2"]) }]);
    desk.go();
    desk.finishes("a-1");
    desk.waits(SOAK);
    assert_eq!(desk.state(), State::Ended(End::DoneWithExceptions));
}

#[test]
fn an_old_entry_and_an_unknown_host_change_nothing() {
    let mut desk = Desk::launched(plan(&[&["a-1"]]));
    let before = desk.rollout.clone();
    let old = desk.entries[0].clone();
    assert!(matches!(&desk.rollout.handle(&old)[..], [Effect::Note(Note::OldEntry { sequence: 1, .. })]));
    assert_eq!(desk.rollout, before);
    assert_eq!(desk.say("z-9", Word::Staged), [Effect::Note(Note::UnknownHost { host: host("z-9") })]);
}
