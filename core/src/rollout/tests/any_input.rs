//! Whatever comes in, in whatever order: no panic, no broken invariant, and
//! the entries alone give the state again.

use proptest::prelude::*;

use super::*;

fn any_word() -> impl Strategy<Value = Word> {
    let reason = || "r".to_owned();
    prop_oneof![
        1 => Just(Word::Refused { reason: reason() }),
        3 => Just(Word::Staged),
        8 => (0u64..5).prop_map(|nonce| Word::AsksPermit { nonce }),
        2 => (0u64..5).prop_map(|nonce| Word::Idle { nonce }),
        4 => (0u32..3).prop_map(|step| Word::Began { step }),
        1 => (0u32..3).prop_map(|step| Word::StepDone { step }),
        1 => Just(Word::StepFailed { step: 0, reason: reason() }),
        8 => Just(Word::Finished),
        2 => Just(Word::Undone { step: 0, reason: reason() }),
        1 => Just(Word::NeedsOperator { reason: reason(), question: None }),
        1 => Just(Word::Healthy),
        1 => Just(Word::Unhealthy { reason: reason() }),
        1 => Just(Word::HaltedLocally),
    ]
}

fn any_input() -> impl Strategy<Value = Input> {
    let name = || prop::sample::select(vec!["a-1", "a-2", "b-1", "b-2", "z-9"]).prop_map(host);
    let reason = || "r".to_owned();
    prop_oneof![
        1 => Just(Input::Launched { by: maria() }),
        24 => (name(), any_word()).prop_map(|(host, word)| Input::Host { host, word }),
        4 => name().prop_map(|host| Input::Connected { host }),
        3 => name().prop_map(|host| Input::Lost { host }),
        8 => Just(Input::Tick),
        1 => Just(Input::Hold { by: maria(), reason: reason() }),
        4 => Just(Input::Go { by: maria(), reason: reason() }),
        1 => Just(Input::Halt { by: maria(), reason: reason() }),
        4 => prop::collection::vec(name(), 0..2)
            .prop_map(move |confirmed| Input::Resume { by: maria(), reason: reason(), confirmed }),
        1 => (0usize..3).prop_map(|wave| Input::Approve { by: maria(), group: "sre".parse().unwrap(), wave }),
        1 => Just(Input::UndoAll { by: maria(), reason: "r".into() }),
        1 => name().prop_map(|host| Input::ExcludeDead { host, by: maria(), reason: "r".into() }),
        1 => (0u64..3).prop_map(|epoch| Input::Restarted { epoch }),
        1 => (name(), 0u64..3).prop_map(|(host, acked)| {
            let ahead = Ahead { host, epoch: 1, epoch_here: 1, acked, acked_here: 0, unknown: None };
            Input::WentBack { ahead }
        }),
        1 => name().prop_map(|host| Input::Quarantined { host, reason: "r".into() }),
    ]
}

proptest! {

    #[test]
    fn any_sequence_of_inputs_breaks_no_invariant_and_replays_to_the_same_state(
        inputs in prop::collection::vec((any_input(), 0u64..40_000), 0..120),
        at_once in 0u32..3,
        tolerance in 0u32..3,
        launch in any::<bool>(),
    ) {
        let mut plan = plan(&[&["a-1", "a-2"], &["b-1", "b-2"]]);
        plan.pace.at_once = at_once;
        plan.pace.failed = tolerance;
        plan.waves[1].approve = Some("sre".parse().unwrap());
        plan.waves[1].gate.failed = tolerance;
        plan.waves[0].gate.silent = tolerance;
        let mut desk = if launch { Desk::launched(plan) } else { Desk::new(plan) };
        for (input, wait_ms) in inputs {
            desk.now = desk.now + Millis(wait_ms);
            desk.take(input);
            prop_assert_eq!(desk.rollout.violations(), vec![]);
            prop_assert!(desk.rollout.wake_at().is_none_or(|at| at > desk.now));
            let status = desk.rollout.status();
            prop_assert_eq!(status.is_ended(), matches!(desk.rollout.phase(), Phase::Ended(_)));
        }
    }
}
