//! Claims about the machine.

mod doubt;

use proptest::prelude::*;

use super::*;
use crate::ids::{FleetId, Nonce, PlanId};
use crate::plan::{Approval, Pace, Severity, Step};
use crate::run::answer::{Action, Finding, Risk};
use crate::run::decision::Choice;
use crate::time::Timestamp;

fn step(name: &str, class: Class, undo: Undo) -> Step {
    Step {
        name: name.parse().unwrap(),
        uses: "files".parse().unwrap(),
        settings: "{}".into(),
        undo,
        timeout: Millis::seconds(60),
        wait: None,
        confirm: None,
        pivot: false,
        class,
        grants: vec![],
    }
}

fn plan(steps: Vec<Step>) -> Plan {
    Plan {
        format: 1,
        fleet: FleetId([0; 16]),
        nonce: Nonce([0; 16]),
        name: "hello".parse().unwrap(),
        reason: String::new(),
        severity: Severity::High,
        urgency: Default::default(),
        service: "hello".into(),
        from: "1.3".into(),
        to: "1.1".into(),
        author: "ada".parse().unwrap(),
        issued: Timestamp(0),
        expires: Timestamp(1),
        budget: None,
        hosts: vec![],
        approval: Approval { signatures: 1, from: vec![], author: true },
        point: None,
        steps,
        pace: Pace {
            at_once: 1,
            cut_off: CutOff::FinishHost,
            failed: 0,
            silent: 0,
            stage_within: Millis::seconds(1),
            silent_after: Millis::seconds(1),
        },
        waves: vec![],
        plugins: vec![],
        text: String::new(),
    }
}

fn three_steps() -> Plan {
    plan(vec![
        step("stop", Class::Converge, Undo::ByPlugin),
        step("restore", Class::StagedSwap, Undo::ByPlugin),
        step("prove", Class::Observe, Undo::ByPlugin),
    ])
}

/// Drives a run by its own effects, as the driver does.
struct Bench {
    plan: Plan,
    run: Run,
    entries: Vec<Entry>,
    effects: Vec<Effect>,
}

impl Bench {
    fn new(plan: Plan) -> Self {
        let run = Run::new(&plan);
        let mut bench = Self { plan, run, entries: vec![], effects: vec![] };
        bench.say(Input::Accepted { rollout: "r-1".parse().unwrap(), signers: vec![] });
        bench
    }

    /// Past staging and the permit.
    fn permitted(plan: Plan) -> Self {
        let mut bench = Self::new(plan);
        bench.say(Input::Staged { point: Some("p".into()) });
        let Some(Effect::Ask { nonce }) = bench.effects.last().cloned() else { panic!("it does not ask") };
        bench.say(Input::PermitAsked { nonce });
        bench.say(Input::Permitted { nonce, epoch: 1 });
        bench
    }

    fn say(&mut self, input: Input) {
        let sequence = self.entries.len() as u64 + 1;
        let entry = Entry { sequence, at: Timestamp(sequence), input };
        let effects = self.run.handle(&entry);
        self.entries.push(entry);
        if !effects.is_empty() {
            self.effects = effects;
        }
    }

    fn began(&mut self) -> (u32, Phase) {
        let Some(Effect::Call { step, phase, attempt }) = self.effects.last().cloned() else {
            panic!("no call is asked for, but {:?}", self.effects)
        };
        self.say(Input::Began { step, phase, attempt });
        (step, phase)
    }

    fn answer(&mut self, answer: Answer) {
        let (step, phase) = self.began();
        self.say(Input::Ended { step, phase, answer });
    }

    /// Answers well until `stop` says no, or until it settles.
    fn well_until(&mut self, stop: impl Fn(u32, Phase) -> bool) {
        while let Some(Effect::Call { step, phase, .. }) = self.effects.last().cloned() {
            if stop(step, phase) {
                return;
            }
            self.answer(good(phase));
        }
    }

    fn restarted(&mut self) {
        let mut again = Run::new(&self.plan);
        for entry in &self.entries {
            again.handle(entry);
        }
        assert_eq!(again, self.run, "replaying the entries gives another state");
        self.say(Input::Resumed { unfinished: vec![] });
    }

    fn ending(&self) -> Ending {
        match self.run.stage() {
            Stage::Settling(ending) | Stage::Settled(ending) => ending.clone(),
            other => panic!("it has not settled: {other:?}"),
        }
    }
}

fn good(phase: Phase) -> Answer {
    let outcome = || Outcome { changed: true, summary: String::new(), state: vec![1] };
    match phase {
        Phase::Look => Answer::Looked(Looked {
            findings: vec![],
            actions: vec![Action {
                summary: "change".into(),
                target: "x".into(),
                before: None,
                after: None,
                risk: Risk::Low,
            }],
            state: vec![],
        }),
        Phase::Prepare => Answer::Prepared(Prepared { summary: String::new(), state: vec![] }),
        Phase::Apply => Answer::Applied(outcome()),
        Phase::Verify => Answer::Verified(vec![]),
        Phase::Undo => Answer::Undone(outcome()),
    }
}

fn bad(undo_advised: bool) -> Answer {
    Answer::Failed(StepError { code: "x/y".into(), message: "disk full".into(), undo_advised })
}

#[test]
fn a_good_run_goes_through_every_phase_of_every_step_in_order() {
    let mut bench = Bench::permitted(three_steps());
    bench.well_until(|_, _| false);
    assert_eq!(bench.ending(), Ending::Finished);
    let began: Vec<(u32, Phase)> = bench
        .entries
        .iter()
        .filter_map(|entry| match entry.input {
            Input::Began { step, phase, .. } => Some((step, phase)),
            _ => None,
        })
        .collect();
    let order = [Phase::Look, Phase::Prepare, Phase::Apply, Phase::Verify];
    let expected: Vec<_> = (0..3).flat_map(|step| order.map(|phase| (step, phase))).collect();
    assert_eq!(began, expected);
}

#[test]
fn nothing_begins_without_a_permit_for_the_newest_question() {
    let mut bench = Bench::new(three_steps());
    bench.say(Input::Permitted { nonce: 1, epoch: 1 });
    bench.say(Input::Staged { point: None });
    bench.say(Input::Permitted { nonce: 1, epoch: 1 });
    assert!(
        matches!(bench.run.stage(), Stage::Asking { nonce: 1 }),
        "an answer before the question counts for nothing"
    );
    bench.say(Input::PermitAsked { nonce: 1 });
    bench.say(Input::HaltTold);
    bench.say(Input::PermitAsked { nonce: 2 });
    bench.say(Input::Permitted { nonce: 1, epoch: 1 });
    assert!(matches!(bench.run.stage(), Stage::Asking { nonce: 2 }), "the halt made the old answer void");
    bench.say(Input::Permitted { nonce: 2, epoch: 1 });
    assert!(matches!(bench.run.stage(), Stage::Running { step: 0, phase: Phase::Look, .. }));
}

#[test]
fn a_failed_step_is_undone_with_everything_before_it_newest_first() {
    let mut bench = Bench::permitted(three_steps());
    bench.well_until(|step, phase| (step, phase) == (2, Phase::Apply));
    bench.answer(bad(true));
    let mut undone = vec![];
    while let Some(Effect::Call { step, phase: Phase::Undo, .. }) = bench.effects.last().cloned() {
        undone.push(step);
        bench.answer(good(Phase::Undo));
    }
    assert_eq!(undone, [1, 0], "what only observes has nothing to undo");
    let Ending::Undone { because: Because::StepFailed { step: 2, message, .. } } = bench.ending() else {
        panic!("{:?}", bench.ending())
    };
    assert_eq!(message, "disk full");
}

#[test]
fn a_step_that_failed_before_it_touched_anything_is_not_undone_itself() {
    let mut bench = Bench::permitted(three_steps());
    bench.well_until(|step, phase| (step, phase) == (1, Phase::Prepare));
    bench.answer(bad(true));
    assert_eq!(bench.effects[0], Effect::Discard { step: 1 });
    assert!(matches!(bench.effects[1], Effect::Call { step: 0, phase: Phase::Undo, .. }));
}

#[test]
fn a_step_with_nothing_to_do_is_passed_over_and_not_undone() {
    let mut bench = Bench::permitted(three_steps());
    bench.answer(Answer::Looked(Looked { findings: vec![], actions: vec![], state: vec![] }));
    assert!(matches!(bench.run.stage(), Stage::Running { step: 1, phase: Phase::Look, .. }));
    bench.answer(bad(true));
    assert!(matches!(bench.ending(), Ending::Undone { .. }));
}

#[test]
fn a_blocking_finding_turns_the_run_round() {
    let mut bench = Bench::permitted(three_steps());
    let finding = Finding { code: "files/no-point".into(), message: "nothing there".into(), blocking: true };
    bench.answer(Answer::Looked(Looked { findings: vec![finding], actions: vec![], state: vec![] }));
    assert!(matches!(bench.ending(), Ending::Undone { because: Because::StepFailed { step: 0, .. } }));
}

#[test]
fn an_interrupted_apply_runs_again_unless_its_class_forbids_it() {
    for (class, again) in
        [(Class::Converge, true), (Class::StagedSwap, true), (Class::Keyed, true), (Class::OneShot, false)]
    {
        let mut bench = Bench::permitted(plan(vec![step("act", class, Undo::ByPlugin)]));
        bench.well_until(|_, phase| phase == Phase::Apply);
        bench.began();
        bench.restarted();
        match again {
            true => assert_eq!(
                bench.effects,
                [Effect::Call { step: 0, phase: Phase::Apply, attempt: 2 }],
                "{class:?}"
            ),
            false => assert!(
                matches!(bench.ending(), Ending::NeedsOperator { because: Because::InDoubt { .. }, .. }),
                "{class:?}"
            ),
        }
    }
}

#[test]
fn an_apply_that_never_began_is_not_in_doubt() {
    let mut bench = Bench::permitted(plan(vec![step("mail", Class::OneShot, Undo::Nothing)]));
    bench.well_until(|_, phase| phase == Phase::Apply);
    bench.restarted();
    assert!(matches!(bench.run.stage(), Stage::Running { phase: Phase::Apply, .. }));
}

#[test]
fn a_phase_that_kills_the_agent_again_and_again_is_given_up() {
    let mut bench = Bench::permitted(three_steps());
    bench.well_until(|step, phase| (step, phase) == (1, Phase::Apply));
    for _ in 0..5 {
        bench.began();
        bench.restarted();
    }
    assert!(matches!(bench.run.stage(), Stage::Undoing { step: 1, .. }), "{:?}", bench.run.stage());
}

#[test]
fn an_undo_that_fails_three_times_needs_a_person_and_their_order_tries_again() {
    let mut bench = Bench::permitted(three_steps());
    bench.well_until(|step, phase| (step, phase) == (1, Phase::Verify));
    bench.answer(bad(true));
    for _ in 0..3 {
        assert!(matches!(bench.run.stage(), Stage::Undoing { step: 1, .. }));
        bench.answer(bad(true));
    }
    let stuck = bench.ending();
    assert!(matches!(
        &stuck,
        Ending::NeedsOperator { because: Because::UndoFailed { .. }, undo_of: Some(1), .. }
    ));
    assert!(bench.run.is_disturbed(), "a stuck host keeps its slot");
    bench.say(Input::Settled { ending: stuck });
    bench.say(Input::UndoOrdered { by: "ada".parse().unwrap(), reason: "disk freed".into() });
    bench.well_until(|_, _| false);
    assert!(matches!(bench.ending(), Ending::Undone { because: Because::Ordered { .. } }));
}

#[test]
fn where_the_plan_has_no_way_back_a_person_is_asked() {
    let steps = vec![
        step("stop", Class::Converge, Undo::ByPlugin),
        step("mail", Class::OneShot, Undo::Nothing),
        step("prove", Class::Observe, Undo::ByPlugin),
    ];
    let mut bench = Bench::permitted(plan(steps));
    bench.well_until(|step, phase| (step, phase) == (2, Phase::Apply));
    bench.answer(bad(true));
    assert!(matches!(
        bench.ending(),
        Ending::NeedsOperator { because: Because::NoWayBack { step: 1, .. }, undo_of: Some(1), .. }
    ));
}

#[test]
fn a_plugin_that_warns_of_its_undo_is_believed() {
    let mut bench = Bench::permitted(three_steps());
    bench.well_until(|step, phase| (step, phase) == (1, Phase::Apply));
    bench.answer(bad(false));
    assert!(matches!(bench.ending(), Ending::NeedsOperator { .. }));
}

#[test]
fn a_finished_host_is_put_back_by_an_order_in_reverse() {
    let mut bench = Bench::permitted(three_steps());
    bench.well_until(|_, _| false);
    bench.say(Input::Settled { ending: Ending::Finished });
    assert_eq!(bench.effects, [Effect::Watch]);
    bench.say(Input::UndoOrdered { by: "ada".parse().unwrap(), reason: "wrong release".into() });
    let mut undone = vec![];
    while let Some(Effect::Call { step, phase: Phase::Undo, .. }) = bench.effects.last().cloned() {
        undone.push(step);
        bench.answer(good(Phase::Undo));
    }
    assert_eq!(undone, [1, 0]);
}

#[test]
fn an_order_in_the_middle_of_a_step_waits_for_the_phase_to_end() {
    let mut bench = Bench::permitted(three_steps());
    bench.well_until(|step, phase| (step, phase) == (1, Phase::Apply));
    bench.began();
    bench.say(Input::UndoOrdered { by: "ada".parse().unwrap(), reason: "stop".into() });
    assert!(matches!(bench.run.stage(), Stage::Running { step: 1, phase: Phase::Apply, .. }));
    bench.say(Input::Ended { step: 1, phase: Phase::Apply, answer: good(Phase::Apply) });
    assert!(matches!(bench.run.stage(), Stage::Undoing { step: 1, .. }));
}

#[test]
fn cut_off_the_plan_says_whether_to_go_on_to_wait_or_to_undo() {
    for rule in [CutOff::FinishHost, CutOff::Hold, CutOff::Undo] {
        let mut three = three_steps();
        three.pace.cut_off = rule;
        let mut bench = Bench::permitted(three);
        bench.well_until(|step, phase| (step, phase) == (0, Phase::Verify));
        bench.say(Input::CutOff);
        bench.answer(good(Phase::Verify));
        match (rule, bench.run.stage().clone()) {
            (CutOff::FinishHost, Stage::Running { step: 1, .. }) => {}
            (CutOff::Hold, Stage::Paused { step: 1 }) => {
                bench.say(Input::Rejoined);
                assert!(matches!(bench.run.stage(), Stage::Running { step: 1, .. }));
            }
            (CutOff::Undo, Stage::Undoing { step: 0, because: Because::CutOff, .. }) => {}
            (rule, stage) => panic!("{rule:?}: {stage:?}"),
        }
    }
}

#[test]
fn an_answer_of_another_phase_is_a_failure_and_not_believed() {
    let mut bench = Bench::permitted(three_steps());
    let (step, phase) = bench.began();
    bench.say(Input::Ended { step, phase, answer: good(Phase::Verify) });
    assert!(matches!(bench.ending(), Ending::Undone { because: Because::StepFailed { .. } }));
}

fn halted() -> Input {
    Input::HaltedLocally { by: "root".into(), reason: "smoke".into() }
}

fn resumed() -> Input {
    Input::ResumedLocally { by: "root".into() }
}

#[test]
fn a_host_halted_by_hand_uses_no_permit_and_asks_anew_when_it_is_resumed() {
    let mut bench = Bench::new(three_steps());
    bench.say(Input::Staged { point: None });
    bench.say(Input::PermitAsked { nonce: 1 });
    bench.say(halted());
    bench.say(Input::Permitted { nonce: 1, epoch: 1 });
    bench.say(Input::PermittedHere { by: "root".into() });
    assert_eq!(*bench.run.stage(), Stage::Asking { nonce: 1 }, "it began although it is halted");
    bench.say(Input::PermitDeclined { nonce: 1 });
    assert_eq!(*bench.run.stage(), Stage::Asking { nonce: 2 });
    assert_eq!(bench.run.owed(), [], "a halted host asks for nothing");
    bench.restarted();
    assert_eq!(bench.run.owed(), []);
    bench.say(resumed());
    assert_eq!(bench.effects, [Effect::Ask { nonce: 2 }]);
    bench.say(Input::Permitted { nonce: 1, epoch: 1 });
    assert!(matches!(bench.run.stage(), Stage::Asking { .. }), "a void number was used");
}

#[test]
fn a_plan_may_be_staged_on_a_halted_host_and_asks_when_it_is_resumed() {
    let mut bench = Bench::new(three_steps());
    bench.say(halted());
    bench.effects.clear();
    bench.say(Input::Staged { point: None });
    assert_eq!(bench.effects, []);
    bench.say(resumed());
    assert_eq!(bench.effects, [Effect::Ask { nonce: 1 }]);
}

#[test]
fn a_run_halted_by_hand_ends_its_step_and_waits_between_two() {
    let mut bench = Bench::permitted(three_steps());
    bench.well_until(|step, phase| (step, phase) == (0, Phase::Apply));
    bench.say(halted());
    bench.answer(good(Phase::Apply));
    bench.answer(good(Phase::Verify));
    assert_eq!(*bench.run.stage(), Stage::Paused { step: 1 });
    assert!(bench.run.is_disturbed());
    bench.say(Input::CutOff);
    bench.say(Input::Rejoined);
    assert_eq!(*bench.run.stage(), Stage::Paused { step: 1 }, "a link is no person");
    bench.say(resumed());
    assert!(matches!(bench.run.stage(), Stage::Running { step: 1, phase: Phase::Look, .. }));
    bench.well_until(|_, _| false);
    assert_eq!(bench.ending(), Ending::Finished);
}

#[test]
fn a_halt_by_hand_does_not_stop_what_is_being_put_back() {
    let mut bench = Bench::permitted(three_steps());
    bench.well_until(|step, phase| (step, phase) == (1, Phase::Verify));
    bench.say(halted());
    bench.say(Input::UndoOrdered { by: "ada".parse().unwrap(), reason: "back".into() });
    bench.answer(good(Phase::Verify));
    bench.well_until(|_, _| false);
    assert!(matches!(bench.ending(), Ending::Undone { because: Because::Ordered { .. } }));
}

#[test]
fn an_agent_that_starts_on_a_halted_host_begins_no_step_that_touched_nothing() {
    let mut bench = Bench::permitted(three_steps());
    bench.well_until(|step, phase| (step, phase) == (1, Phase::Apply));
    bench.say(halted());
    bench.restarted();
    assert_eq!(*bench.run.stage(), Stage::Paused { step: 1 });
    bench.say(resumed());
    bench.well_until(|step, phase| (step, phase) == (1, Phase::Apply));
    bench.began();
    bench.say(halted());
    bench.restarted();
    assert!(matches!(bench.run.stage(), Stage::Running { step: 1, phase: Phase::Apply, attempt: 2 }));
}

#[test]
fn a_person_at_the_host_may_let_a_staged_run_begin() {
    let mut bench = Bench::new(three_steps());
    bench.say(Input::PermittedHere { by: "root".into() });
    assert_eq!(*bench.run.stage(), Stage::Staging, "nothing begins that is not staged");
    bench.say(Input::Staged { point: None });
    bench.say(Input::PermitAsked { nonce: 1 });
    bench.say(Input::PermittedHere { by: "root".into() });
    bench.well_until(|_, _| false);
    assert_eq!(bench.ending(), Ending::Finished);
    bench.say(Input::Permitted { nonce: 1, epoch: 9 });
    assert_eq!(bench.ending(), Ending::Finished);
}

fn any_input() -> impl Strategy<Value = Input> {
    let phases = prop_oneof![
        Just(Phase::Look),
        Just(Phase::Prepare),
        Just(Phase::Apply),
        Just(Phase::Verify),
        Just(Phase::Undo)
    ];
    let ended =
        (0..4u32, phases.clone(), any::<bool>(), any::<bool>()).prop_map(|(step, phase, well, advised)| {
            Input::Ended { step, phase, answer: if well { good(phase) } else { bad(advised) } }
        });
    prop_oneof![
        Just(Input::Staged { point: None }),
        Just(Input::Unfit { reason: "no".into() }),
        (0..4u64).prop_map(|nonce| Input::PermitAsked { nonce }),
        (0..4u64).prop_map(|nonce| Input::Permitted { nonce, epoch: 1 }),
        Just(Input::HaltTold),
        (0..4u32, phases, 0..7u32).prop_map(|(step, phase, attempt)| Input::Began { step, phase, attempt }),
        ended,
        (0..4u32).prop_map(|step| Input::Waited { step }),
        Just(Input::CutOff),
        Just(Input::Rejoined),
        Just(halted()),
        Just(resumed()),
        (0..4u64).prop_map(|nonce| Input::PermitDeclined { nonce }),
        Just(Input::PermittedHere { by: "root".into() }),
        Just(Input::UndoOrdered { by: "ada".parse().unwrap(), reason: "r".into() }),
        Just(Input::Resumed { unfinished: vec![] }),
        (0..4u32).prop_map(|step| Input::Confirmed { step }),
        (0..4u32).prop_map(|step| Input::NotConfirmed { step }),
        (0..4usize, 0..60u64).prop_map(|(choice, asked)| Input::Decided {
            by: "ada".parse().unwrap(),
            reason: "r".into(),
            choice: Choice::ALL[choice],
            asked,
        }),
        Just(Input::Settled { ending: Ending::Finished }),
        Just(Input::Released),
    ]
}

proptest! {
    #[test]
    fn any_inputs_leave_a_known_state_that_replays(inputs in prop::collection::vec(any_input(), 0..60)) {
        let mut plan = three_steps();
        (plan.steps[1].confirm, plan.steps[1].class) = (Some(Millis(9)), Class::Probe);
        (plan.steps[2].class, plan.steps[1].pivot) = (Class::OneShot, true);
        let mut bench = Bench::new(plan);
        for input in inputs {
            bench.say(input);
        }
        bench.restarted();
    }

    /// Kills the agent after any record, any number of times: it still ends, and
    /// what was touched is either done or put back.
    #[test]
    fn killed_after_any_record_it_comes_to_an_end(kills in prop::collection::vec(any::<bool>(), 64), fail_at in 0..12u32) {
        let mut bench = Bench::permitted(three_steps());
        let mut kills = kills.into_iter();
        for _ in 0..200 {
            let Some(Effect::Call { step, phase, .. }) = bench.effects.last().cloned() else { break };
            bench.began();
            if kills.next().unwrap_or(false) {
                bench.restarted();
                continue;
            }
            let fails = phase != Phase::Undo && step * 4 + phase as u32 == fail_at;
            let answer = if fails { bad(true) } else { good(phase) };
            bench.say(Input::Ended { step, phase, answer });
            if kills.next().unwrap_or(false) {
                bench.restarted();
            }
        }
        match bench.ending() {
            Ending::Finished => prop_assert!(fail_at >= 12 || bench.run.steps.iter().all(|step| step.touched)),
            Ending::Undone { .. } => {
                let steps = bench.run.steps.iter().zip(&bench.run.rules);
                let left = steps.filter(|(step, rules)| rules.class != Class::Observe && step.touched).count();
                prop_assert_eq!(left, 0, "touched steps were not put back");
            }
            Ending::NeedsOperator { because, .. } => {
                let given_up = matches!(because, Because::InterruptedTooOften { .. });
                prop_assert!(given_up, "{because}");
            }
            Ending::Unfit { .. } => prop_assert!(false),
        }
    }
}

#[test]
fn a_plan_id_is_shown_short() {
    assert_eq!(PlanId([0xab; 32]).short(), "abababab");
}
