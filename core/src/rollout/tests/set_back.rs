//! One of two records was set back: ours, or a host's.

use super::*;

fn ahead(name: &str, acked: u64) -> Ahead {
    Ahead { host: host(name), epoch: 3, epoch_here: 2, acked, acked_here: 4, unknown: None }
}

fn launched() -> Desk {
    Desk::launched(plan(&[&["a-1", "a-2"], &["b-1", "b-2"]]))
}

fn halt(desk: &Desk) -> Halt {
    desk.rollout.status().halt.unwrap()
}

#[test]
fn every_host_that_knows_more_is_named_once_and_each_is_a_new_word_for_the_halt() {
    let mut desk = launched();
    desk.halt();
    let looked_at = halt(&desk).last;
    for (name, acked) in [("a-1", 9), ("b-1", 7), ("a-1", 11)] {
        desk.take(Input::WentBack { ahead: ahead(name, acked) });
    }
    assert_eq!(
        desk.halt_cause(),
        Some(HaltCause::WentBack { hosts: vec![ahead("b-1", 7), ahead("a-1", 11)] })
    );
    assert_eq!(halt(&desk).since, looked_at, "nothing was permitted in between");
    assert!(looked_at.sequence < halt(&desk).last.sequence);
}

#[test]
fn what_a_host_did_under_a_forgotten_permit_takes_its_place_and_gives_it_back() {
    let mut desk = launched();
    desk.take(Input::WentBack { ahead: ahead("a-1", 9) });
    let told = [
        (Word::Staged, vec![]),
        (Word::AsksPermit { nonce: 1 }, vec![]),
        (Word::Began { step: 0 }, hosts(&["a-1"])),
        (Word::Finished, vec![]),
    ];
    for (word, in_flight) in told {
        desk.say("a-1", word.clone());
        assert_eq!(desk.rollout.status().in_flight, in_flight, "{word:?}");
    }
    assert!(matches!(desk.halt_cause(), Some(HaltCause::WentBack { .. })), "the graver cause stays");
    desk.resume(&[]);
    assert_eq!(desk.state(), State::Running { wave: 0 });
}

#[test]
fn a_host_in_quarantine_needs_hands_and_holds_its_place() {
    let mut desk = launched();
    let input = Input::Quarantined { host: host("a-1"), reason: "set back".into() };
    desk.take(input.clone());
    assert_eq!(desk.rollout.status().stuck, hosts(&["a-1"]));
    assert_eq!(desk.rollout.status().in_flight, hosts(&["a-1"]));
    assert!(desk.take(input).contains(&Effect::Note(Note::Repeated { host: host("a-1") })));
}

#[test]
fn after_a_restart_nobody_new_begins_until_all_are_back_or_had_the_time() {
    for everybody_is_back in [true, false] {
        let mut desk = launched();
        desk.say("a-1", Word::Staged);
        desk.take(Input::Restarted { epoch: 9 });
        desk.take(Input::Connected { host: host("a-1") });
        assert_eq!(permits(&desk.asks("a-1", 1)), 0, "b-1 may be under way with a permit that was forgotten");
        let mut then = Vec::new();
        match everybody_is_back {
            true => {
                for name in ["a-2", "b-1", "b-2"] {
                    then.extend(desk.take(Input::Connected { host: host(name) }));
                }
            }
            false => {
                desk.now = desk.rollout.wake_at().unwrap();
                then = desk.take(Input::Tick);
            }
        }
        assert!(then.contains(&permit("a-1", 1)), "{everybody_is_back}: {then:?}");
    }
}
