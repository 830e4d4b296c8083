//! `http` killed at every host call, before and after its effect.

use http::Http;
use sternway_plugin::rehearsal::{Goal, World, run};

/// Killed at each call in turn; every world ends with the same changes sent.
fn ends_always_with(settings: &str, undo: Option<&str>, goal: Goal, sent: &[&str]) {
    let clean = run::<Http>(World::default(), settings, undo, goal, None);
    assert_eq!(clean.sent, sent, "undisturbed");
    for call in 0..clean.calls {
        for after in [false, true] {
            let ended = run::<Http>(World::default(), settings, undo, goal, Some((call, after)));
            assert_eq!(ended.sent, sent, "killed at call {call}, after it: {after}");
        }
    }
}

#[test]
fn a_put_ends_as_it_should_and_its_undo_too() {
    let put = r#"{"put": "http://lb/a", "body": "drain"}"#;
    let back = Some(r#"{"put": "http://lb/a", "body": "ready"}"#);
    ends_always_with(put, back, Goal::Applied, &["PUT http://lb/a drain"]);
    ends_always_with(put, back, Goal::Undone, &["PUT http://lb/a ready"]);
}

#[test]
fn a_post_happens_once_whatever_dies() {
    let post = r#"{"post": "http://api/jobs", "body": "x"}"#;
    let back = Some(r#"{"post": "http://api/jobs/cancel", "body": "x"}"#);
    ends_always_with(post, back, Goal::Applied, &["POST http://api/jobs x"]);
    let both = ["POST http://api/jobs x", "POST http://api/jobs/cancel x"];
    ends_always_with(post, back, Goal::Undone, &both);
}

#[test]
fn a_read_sends_no_change_and_needs_no_undo() {
    ends_always_with(r#"{"get": "http://a/health"}"#, None, Goal::Undone, &[]);
}
