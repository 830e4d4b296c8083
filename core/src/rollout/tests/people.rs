//! What persons may do at any moment, and what comes of it.

use super::*;

#[test]
fn a_held_rollout_soaks_but_passes_no_gate() {
    let mut desk = Desk::launched(plan(&[&["a-1"], &["b-1"]]));
    desk.asks("b-1", 1);
    desk.finishes("a-1");
    desk.take(Input::Hold { by: maria(), reason: "lunch".into() });
    assert_eq!(permits(&desk.waits(Millis::hours(1))), 0);
    assert_eq!(permits(&desk.go()), 1, "the soak had gone on");
}

#[test]
fn a_hold_lets_running_hosts_go_on_and_keeps_their_answers() {
    let mut desk = Desk::launched(plan(&[&["a-1", "a-2"]]));
    desk.asks("a-1", 1);
    desk.take(Input::Hold { by: maria(), reason: "?".into() });
    assert_eq!(desk.asks("a-1", 1), [], "no answer while held");
    assert_eq!(
        desk.go().into_iter().filter(|effect| matches!(effect, Effect::Permit { .. })).collect::<Vec<_>>(),
        [permit("a-1", 1)],
        "said again after the go"
    );
    desk.take(Input::Hold { by: maria(), reason: "?".into() });
    desk.say("a-1", Word::Began { step: 0 });
    desk.say("a-1", Word::Finished);
    assert_eq!(permits(&desk.asks("a-2", 1)), 0);
}

#[test]
fn a_wave_that_wants_approval_waits_for_somebody_of_that_group() {
    let mut plan = plan(&[&["a-1"], &["b-1"]]);
    plan.waves[1].approve = Some("sre".parse().unwrap());
    let mut desk = Desk::launched(plan);
    let approve = |group: &str, wave| Input::Approve { by: maria(), group: group.parse().unwrap(), wave };
    assert_eq!(
        desk.take(approve("sre", 1)),
        [Effect::Note(Note::NothingToApprove { wave: 1 })],
        "not before the figures are there"
    );
    desk.asks("b-1", 1);
    desk.finishes("a-1");
    desk.waits(SOAK);
    assert_eq!(desk.state(), State::AwaitsApproval { wave: 1, group: "sre".parse().unwrap() });
    assert_eq!(desk.rollout.status().exit_code(), 11);
    assert!(matches!(&desk.take(approve("web", 1))[..], [Effect::Note(Note::NeedsGroup { .. })]));
    assert!(desk.take(approve("sre", 1)).contains(&permit("b-1", 1)));
}

#[test]
fn a_halt_sticks_in_every_state_and_resumes_only_with_the_list_confirmed() {
    let mut desk = Desk::launched(plan(&[&["a-1", "a-2"]]));
    desk.begins("a-1");
    desk.asks("a-2", 1);
    let told = desk.halt();
    assert!(told.contains(&Effect::TellHalt { hosts: hosts(&["a-2"]) }));
    desk.take(Input::Restarted { epoch: 1 });
    for name in ["a-1", "a-2"] {
        desk.take(Input::Connected { host: host(name) });
    }
    desk.go();
    desk.say("a-1", Word::StepDone { step: 0 });
    assert_eq!(permits(&desk.waits(Millis::hours(1))), 0);
    assert_eq!(desk.resume(&[]), [Effect::Note(Note::ConfirmInFlight { in_flight: hosts(&["a-1"]) })]);
    assert_eq!(desk.state(), State::Halted);
    desk.say("a-1", Word::Finished);
    assert!(desk.resume(&[]).contains(&permit("a-2", 1)));
}

#[test]
fn a_halt_works_while_soaking_waiting_or_held_and_says_so_after_the_end() {
    let mut plan = plan(&[&["a-1"], &["b-1"]]);
    plan.waves[1].approve = Some("sre".parse().unwrap());
    let mut soaking = Desk::launched(plan.clone());
    soaking.finishes("a-1");
    soaking.halt();
    soaking.waits(Millis::hours(1));
    assert_eq!(soaking.state(), State::Halted);

    let mut waiting = Desk::launched(plan);
    waiting.finishes("a-1");
    waiting.waits(SOAK);
    waiting.halt();
    waiting.take(Input::Approve { by: maria(), group: "sre".parse().unwrap(), wave: 1 });
    assert_eq!(permits(&waiting.asks("b-1", 1)), 0);

    let mut ended = Desk::launched(self::plan(&[&["a-1"]]));
    ended.finishes("a-1");
    ended.waits(SOAK);
    assert_eq!(ended.halt(), [Effect::Note(Note::AlreadyEnded { end: End::Done })]);
}

#[test]
fn undo_puts_finished_hosts_back_newest_wave_first_one_at_a_time() {
    let mut desk = Desk::launched(plan(&[&["a-1"], &["b-1", "b-2"]]));
    desk.finishes("a-1");
    desk.waits(SOAK);
    desk.finishes("b-1");
    desk.begins("b-2");
    let first = desk.undo_all();
    assert!(!first.iter().any(|effect| matches!(effect, Effect::OrderUndo { .. })), "b-2 holds the slot");
    let order = |name: &str| Effect::OrderUndo { host: host(name) };
    let back = |desk: &mut Desk, name| desk.say(name, Word::Undone { step: 0, reason: String::new() });
    assert_eq!(desk.say("b-2", Word::Finished), [order("b-1")]);
    assert_eq!(desk.rollout.owed().iter().filter(|effect| **effect == order("b-1")).count(), 1);
    assert_eq!(back(&mut desk, "b-1"), [order("b-2")]);
    assert_eq!(back(&mut desk, "b-2"), [order("a-1")]);
    back(&mut desk, "a-1");
    assert_eq!(desk.state(), State::Ended(End::UndoneAll));
    assert_eq!(desk.rollout.status().exit_code(), 10);
}

#[test]
fn a_held_undo_orders_nothing_and_says_its_orders_again_after_the_go() {
    let mut desk = Desk::launched(plan(&[&["a-1", "a-2"]]));
    desk.finishes("a-1");
    desk.finishes("a-2");
    let order = Effect::OrderUndo { host: host("a-1") };
    assert!(desk.undo_all().contains(&order));
    desk.take(Input::Hold { by: maria(), reason: "?".into() });
    desk.take(Input::Lost { host: host("a-1") });
    assert_eq!(desk.take(Input::Connected { host: host("a-1") }), [], "it may be the first that it hears");
    assert!(desk.go().contains(&order));
}

#[test]
fn a_done_rollout_can_still_be_undone_and_a_host_that_cannot_is_an_exception() {
    let mut desk = Desk::launched(plan(&[&["a-1"]]));
    desk.finishes("a-1");
    desk.waits(SOAK);
    desk.undo_all();
    desk.say("a-1", Word::NeedsOperator { reason: "the point is gone".into(), question: None });
    assert_eq!(desk.state(), State::Ended(End::UndoneWithExceptions));
    let status = desk.rollout.status();
    assert_eq!((status.stuck.clone(), status.exit_code()), (hosts(&["a-1"]), 12));
}
