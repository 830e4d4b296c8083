//! `notify` killed at every host call, and before peers that refuse.

use notify::Notify;
use sternway_plugin::host::http::{Request, Response};
use sternway_plugin::rehearsal::{Goal, World, run, try_run};
use sternway_plugin::{Error, Kind};

const BOTH: &str =
    r#"{"webhook":"http://pager/alerts","mail":"team@example.org","message":"{host} rolls back"}"#;

/// Killed at each call in turn; every world ends with the same notices given.
fn ends_always_with(settings: &str, undo: Option<&str>, goal: Goal, sent: &[&str]) {
    let clean = run::<Notify>(World::default(), settings, undo, goal, None);
    assert_eq!(clean.sent, sent, "undisturbed");
    for call in 0..clean.calls {
        for after in [false, true] {
            let ended = run::<Notify>(World::default(), settings, undo, goal, Some((call, after)));
            assert_eq!(ended.sent, sent, "killed at call {call}, after it: {after}");
        }
    }
}

#[test]
fn everybody_is_told_once_whatever_dies() {
    let posted =
        r#"POST http://pager/alerts {"text":"host rolls back","run":"run-1","step":"step","host":"host"}"#;
    let mailed = "MAIL team@example.org host rolls back";
    ends_always_with(BOTH, None, Goal::Applied, &[posted, mailed]);
    ends_always_with(BOTH, None, Goal::Undone, &[posted, mailed]);
    let undo = r#"{"mail":"team@example.org","message":"{host} goes on"}"#;
    ends_always_with(BOTH, Some(undo), Goal::Undone, &[posted, mailed, "MAIL team@example.org host goes on"]);
}

#[test]
fn who_was_told_nothing_is_not_told_that_it_was_undone() {
    let undo = Some(r#"{"mail":"team@example.org","message":"{host} goes on"}"#);
    let clean = run::<Notify>(World::default(), BOTH, undo, Goal::Applied, None);
    let begun = clean.log.iter().position(|call| call == "journal.begin").unwrap();
    let ended = run::<Notify>(World::default(), BOTH, undo, Goal::GivenUp, Some((begun, false)));
    assert_eq!(ended.sent, Vec::<String>::new());
}

fn status(world: &mut World, request: &Request, status: u16) -> Result<Response, Error> {
    world.sent.push(request.url.clone());
    Ok(Response { status, headers: vec![], body: vec![], elapsed_us: 500 })
}

#[test]
fn a_notice_nobody_takes_warns_unless_it_is_required() {
    let world = World { http: Some(|world, request| status(world, request, 403)), ..World::default() };
    let notice = r#"{"webhook":"http://pager/alerts","message":"x"}"#;
    let (left, ended) = try_run::<Notify>(world.clone(), notice, None, Goal::Undone);
    ended.unwrap();
    assert_eq!(left.sent, ["http://pager/alerts"], "a refusal for good is not tried again");
    let required = r#"{"webhook":"http://pager/alerts","message":"x","required":true}"#;
    let error = try_run::<Notify>(world, required, None, Goal::Applied).1.unwrap_err().error;
    assert_eq!(error.code, "notify/refused");
    assert!(error.message.contains("answered 403"), "{}", error.message);
}

#[test]
fn a_peer_that_is_busy_is_asked_three_times() {
    let world = World { http: Some(|world, request| status(world, request, 503)), ..World::default() };
    let required = r#"{"webhook":"http://pager/alerts","message":"x","required":true}"#;
    let (left, ended) = try_run::<Notify>(world, required, None, Goal::Applied);
    assert_eq!((left.sent.len(), left.now_ms), (3, 3_000));
    assert_eq!(ended.unwrap_err().error.code, "notify/refused");
}

#[test]
fn a_host_without_a_relay_tells_the_others_all_the_same() {
    let none = |_: &mut World, _: &str| Err(Error::unsupported("mail/not-configured", "no relay"));
    let world = World { mail: Some(none), ..World::default() };
    let (left, ended) = try_run::<Notify>(world.clone(), BOTH, None, Goal::Applied);
    ended.unwrap();
    assert_eq!(left.sent.len(), 1);
    let required = BOTH.replace(r#""message""#, r#""required":true,"message""#);
    let ended = try_run::<Notify>(world, &required, None, Goal::Applied);
    assert_eq!((ended.1.unwrap_err().error.code.as_str(), ended.0.sent.len()), ("mail/not-configured", 1));
}

#[test]
fn a_relay_that_is_busy_for_a_moment_gets_the_letter_later() {
    let slow = |world: &mut World, _: &str| {
        let code = "mail/refused-for-now";
        if world.now_ms < 1_000 {
            return Err(Error { kind: Kind::Transient, code: code.into(), message: "greylisted".into() });
        }
        Ok(())
    };
    let world = World { mail: Some(slow), ..World::default() };
    let letter = r#"{"mail":"team@example.org","message":"x","required":true}"#;
    assert_eq!(run::<Notify>(world, letter, None, Goal::Applied, None).sent, ["MAIL team@example.org x"]);
}
