//! Claims about the pivot, the confirmation, doubt, and what a person decides.

use super::*;
use crate::run::decision::NotToDecide;

fn with(class: Class, change: impl FnOnce(&mut Plan)) -> Plan {
    let mut plan = plan(vec![
        step("stop", Class::Converge, Undo::ByPlugin),
        step("switch", class, Undo::ByPlugin),
        step("prove", Class::Observe, Undo::ByPlugin),
    ]);
    change(&mut plan);
    plan
}

fn settle(bench: &mut Bench) -> u64 {
    let ending = bench.ending();
    bench.say(Input::Settled { ending });
    bench.entries.len() as u64
}

fn decide(bench: &mut Bench, choice: Choice) {
    let asked = settle(bench);
    assert_eq!(bench.run.may_decide(choice, asked), Ok(()));
    let by = "ada".parse().unwrap();
    bench.say(Input::Decided { by, reason: "looked at it".into(), choice, asked });
}

/// The agent dies in `apply` of step 1 and starts again.
fn in_doubt(class: Class) -> Bench {
    let mut bench = Bench::permitted(with(class, |_| {}));
    bench.well_until(|step, phase| (step, phase) == (1, Phase::Apply));
    bench.began();
    bench.restarted();
    bench
}

fn looks(actions: &[&str]) -> Answer {
    let action = |target: &&str| Action {
        summary: "change".into(),
        target: (*target).into(),
        before: None,
        after: None,
        risk: Risk::Low,
    };
    Answer::Looked(Looked { findings: vec![], actions: actions.iter().map(action).collect(), state: vec![9] })
}

#[test]
fn past_the_pivot_a_failure_is_tried_again_and_then_asks_a_person() {
    let mut bench = Bench::permitted(with(Class::Converge, |plan| plan.steps[0].pivot = true));
    bench.well_until(|step, phase| (step, phase) == (1, Phase::Apply));
    for again in 1..=3 {
        assert!(bench.run.is_past_pivot());
        bench.answer(bad(true));
        if again < 3 {
            assert!(matches!(bench.effects[..], [Effect::Call { step: 1, phase: Phase::Look, .. }]));
            bench.well_until(|_, phase| phase == Phase::Apply);
        }
    }
    let Ending::NeedsOperator { because, undo_of: None, choices, .. } = bench.ending() else {
        panic!("{:?}", bench.ending())
    };
    assert!(matches!(because, Because::StepFailed { step: 1, .. }));
    assert_eq!(choices, Choice::ALL);
    decide(&mut bench, Choice::Undo);
    bench.well_until(|_, _| false);
    assert!(matches!(bench.ending(), Ending::Undone { because: Because::Ordered { .. } }));
}

#[test]
fn at_the_pivot_itself_a_failure_still_turns_the_run_round() {
    let mut bench = Bench::permitted(with(Class::Converge, |plan| plan.steps[1].pivot = true));
    bench.well_until(|step, phase| (step, phase) == (1, Phase::Verify));
    bench.answer(bad(true));
    bench.well_until(|_, _| false);
    assert!(matches!(bench.ending(), Ending::Undone { because: Because::StepFailed { .. } }));
}

#[test]
fn past_the_pivot_a_lost_coordinator_turns_nothing_round() {
    let mut bench = Bench::permitted(with(Class::Converge, |plan| {
        plan.pace.cut_off = CutOff::Undo;
        plan.steps[0].pivot = true;
    }));
    bench.well_until(|step, _| step == 1);
    bench.say(Input::CutOff);
    bench.well_until(|_, _| false);
    assert_eq!(bench.ending(), Ending::Finished);
}

#[test]
fn a_step_that_wants_to_be_confirmed_waits_for_a_connection_and_goes_on() {
    let mut bench =
        Bench::permitted(with(Class::Converge, |plan| plan.steps[1].confirm = Some(Millis::seconds(30))));
    bench.well_until(|_, _| false);
    let Stage::Confirming { step: 1, until } = *bench.run.stage() else { panic!("{:?}", bench.run.stage()) };
    assert_eq!(until, bench.entries.last().unwrap().at + Millis::seconds(30));
    // A reboot does not give it more time.
    bench.restarted();
    assert_eq!(bench.effects, [Effect::Confirm { step: 1, until }]);
    bench.say(Input::Confirmed { step: 0 });
    assert!(matches!(bench.run.stage(), Stage::Confirming { .. }));
    bench.say(Input::Confirmed { step: 1 });
    bench.well_until(|_, _| false);
    assert_eq!(bench.ending(), Ending::Finished);
}

#[test]
fn a_host_that_nobody_reaches_puts_everything_back_by_itself() {
    let mut bench =
        Bench::permitted(with(Class::Converge, |plan| plan.steps[1].confirm = Some(Millis::seconds(30))));
    bench.well_until(|_, _| false);
    bench.say(Input::CutOff);
    bench.say(Input::NotConfirmed { step: 1 });
    let mut undone = Vec::new();
    while let Some(Effect::Call { step, .. }) = bench.effects.last() {
        undone.push(*step);
        bench.answer(good(Phase::Undo));
    }
    assert_eq!(undone, [1, 0]);
    assert!(matches!(bench.ending(), Ending::Undone { because: Because::NotConfirmed { step: 1, .. } }));
}

#[test]
fn nothing_changed_needs_no_confirmation() {
    let mut bench =
        Bench::permitted(with(Class::Converge, |plan| plan.steps[0].confirm = Some(Millis::seconds(30))));
    bench.answer(looks(&[]));
    assert!(matches!(bench.effects[..], [Effect::Call { step: 1, phase: Phase::Look, .. }]));
}

#[test]
fn a_second_look_tells_a_step_in_doubt_full_clean_or_partial() {
    let mut full = in_doubt(Class::Probe);
    assert!(matches!(full.effects[..], [Effect::Call { step: 1, phase: Phase::Look, attempt: 2 }]));
    full.answer(looks(&[]));
    assert!(matches!(full.effects[..], [Effect::Call { step: 1, phase: Phase::Verify, .. }]));

    let mut clean = in_doubt(Class::Probe);
    clean.answer(good(Phase::Look));
    assert!(matches!(clean.effects[..], [Effect::Call { step: 1, phase: Phase::Prepare, .. }]));

    let mut partial = in_doubt(Class::Probe);
    partial.answer(looks(&["the other half"]));
    assert!(matches!(partial.effects[..], [Effect::Call { step: 1, phase: Phase::Undo, .. }]));
    partial.answer(good(Phase::Undo));
    assert!(matches!(partial.effects[..], [Effect::Call { step: 1, phase: Phase::Look, .. }]));
    partial.well_until(|_, _| false);
    assert_eq!(partial.ending(), Ending::Finished);

    let mut blind = in_doubt(Class::Probe);
    blind.answer(bad(true));
    assert!(matches!(blind.ending(), Ending::NeedsOperator { because: Because::InDoubt { .. }, .. }));
}

#[test]
fn a_second_look_that_is_interrupted_is_taken_again() {
    let mut bench = in_doubt(Class::Probe);
    bench.began();
    bench.restarted();
    bench.answer(looks(&[]));
    assert!(matches!(bench.effects[..], [Effect::Call { step: 1, phase: Phase::Verify, .. }]));
}

#[test]
fn each_choice_does_what_it_says() {
    let mut retry = in_doubt(Class::OneShot);
    decide(&mut retry, Choice::Retry);
    assert!(matches!(retry.effects[..], [Effect::Call { step: 1, phase: Phase::Look, .. }]));
    // It was at work before, so nothing left to do is not yet a proof.
    retry.answer(looks(&[]));
    assert!(matches!(retry.effects[..], [Effect::Call { step: 1, phase: Phase::Verify, .. }]));

    let mut done = in_doubt(Class::OneShot);
    decide(&mut done, Choice::Done);
    assert!(matches!(done.effects[..], [Effect::Call { step: 1, phase: Phase::Verify, .. }]));
    done.well_until(|_, _| false);
    assert_eq!(done.ending(), Ending::Finished);

    let mut put_back = in_doubt(Class::OneShot);
    decide(&mut put_back, Choice::PutBack);
    assert!(matches!(put_back.effects[..], [Effect::Call { step: 0, phase: Phase::Undo, .. }]));

    let mut undo = in_doubt(Class::OneShot);
    decide(&mut undo, Choice::Undo);
    assert!(matches!(undo.effects[..], [Effect::Call { step: 1, phase: Phase::Undo, .. }]));
}

#[test]
fn an_undo_that_got_stuck_is_tried_again_or_taken_as_done_by_hand() {
    let stuck = || {
        let mut bench = Bench::permitted(with(Class::Converge, |_| {}));
        bench.well_until(|step, phase| (step, phase) == (1, Phase::Verify));
        bench.answer(bad(true));
        (0..3).for_each(|_| bench.answer(bad(true)));
        bench
    };
    let mut again = stuck();
    let Ending::NeedsOperator { choices, undo_of: Some(1), .. } = again.ending() else { panic!() };
    assert_eq!(choices, [Choice::Retry, Choice::PutBack]);
    decide(&mut again, Choice::Retry);
    assert!(matches!(again.effects[..], [Effect::Call { step: 1, phase: Phase::Undo, .. }]));
    again.well_until(|_, _| false);
    // Why it turned round is still what it was.
    assert!(matches!(again.ending(), Ending::Undone { because: Because::StepFailed { step: 1, .. } }));

    let mut by_hand = stuck();
    decide(&mut by_hand, Choice::PutBack);
    assert!(matches!(by_hand.effects[..], [Effect::Call { step: 0, phase: Phase::Undo, .. }]));
}

#[test]
fn an_undo_in_doubt_of_a_class_that_runs_once_asks_a_person() {
    let mut bench = Bench::permitted(with(Class::OneShot, |_| {}));
    bench.well_until(|step, phase| (step, phase) == (1, Phase::Verify));
    bench.answer(bad(true));
    bench.began();
    bench.restarted();
    assert!(matches!(
        bench.ending(),
        Ending::NeedsOperator { because: Because::InDoubt { step: 1, .. }, undo_of: Some(1), .. }
    ));
}

#[test]
fn a_decision_counts_once_for_its_own_question_and_only_as_offered() {
    let mut bench = in_doubt(Class::OneShot);
    let asked = settle(&mut bench);
    let decided =
        |choice, asked| Input::Decided { by: "ada".parse().unwrap(), reason: String::new(), choice, asked };
    assert_eq!(
        bench.run.may_decide(Choice::Retry, asked - 1),
        Err(NotToDecide::OtherQuestion { asked: asked - 1, open: asked })
    );
    let before = bench.run.stage().clone();
    bench.say(decided(Choice::Retry, asked - 1));
    assert_eq!(*bench.run.stage(), before);
    bench.say(decided(Choice::Retry, asked));
    assert_eq!(bench.run.may_decide(Choice::Retry, asked), Err(NotToDecide::NotStuck));

    let mut no_way_back = Bench::permitted(with(Class::Converge, |plan| plan.steps[0].undo = Undo::Nothing));
    no_way_back.well_until(|step, phase| (step, phase) == (1, Phase::Look));
    no_way_back.answer(bad(true));
    let asked = settle(&mut no_way_back);
    assert_eq!(
        no_way_back.run.may_decide(Choice::Retry, asked),
        Err(NotToDecide::NotOffered { choice: Choice::Retry, offered: vec![Choice::PutBack] })
    );
}

#[test]
fn what_had_begun_and_not_ended_is_the_evidence() {
    let mut bench = Bench::permitted(with(Class::OneShot, |_| {}));
    bench.well_until(|step, phase| (step, phase) == (1, Phase::Apply));
    bench.began();
    bench.say(Input::Resumed { unfinished: vec!["http.send http://pager".into()] });
    let Ending::NeedsOperator { evidence, .. } = bench.ending() else { panic!() };
    assert_eq!(evidence, ["http.send http://pager"]);
}

#[test]
fn an_agent_that_only_starts_and_dies_stops_trying() {
    let mut staging = Bench::new(three_steps());
    (0..3).for_each(|_| staging.restarted());
    assert!(matches!(staging.ending(), Ending::Unfit { .. }));

    let mut running = Bench::permitted(three_steps());
    running.well_until(|step, phase| (step, phase) == (1, Phase::Apply));
    (0..2).for_each(|_| running.restarted());
    assert!(matches!(running.run.stage(), Stage::Running { .. }));
    running.restarted();
    assert!(matches!(
        running.ending(),
        Ending::NeedsOperator { because: Because::CrashLoop { step: 1, starts: 3, .. }, .. }
    ));

    // One that rests, or asks, or gets on, may start as often as it likes.
    let mut asking = Bench::new(three_steps());
    asking.say(Input::Staged { point: None });
    for _ in 0..9 {
        asking.restarted();
        let Some(Effect::Ask { nonce }) = asking.effects.last().cloned() else { panic!() };
        asking.say(Input::PermitAsked { nonce });
    }
    assert!(matches!(asking.run.stage(), Stage::Asking { .. }));
}
