//! `config` killed at every host call, before and after its effect.

use config::Config;
use sternway_plugin::Error;
use sternway_plugin::rehearsal::host::programs::{Call, Ended};
use sternway_plugin::rehearsal::{Goal, World, crash_matrix, run, try_run};

fn world(text: &str) -> World {
    let live = [("/a.json".to_owned(), text.to_owned())].into_iter().collect();
    World { live, ..World::default() }
}

const SETTINGS: &str = r#"{"file": "/a.json", "rename": {"a": "b"}, "set": {"c": 2}}"#;

#[test]
fn a_crash_anywhere_ends_as_no_crash() {
    assert!(crash_matrix::<Config>(&world(r#"{"a":1}"#), SETTINGS, None) > 20);
    assert!(crash_matrix::<Config>(&world(r#"{"b":1,"c":2}"#), SETTINGS, None) > 4);
    let used = World {
        writes: [("/a.json".to_owned(), "{}".to_owned())].into_iter().collect(),
        ..world(r#"{"a":1}"#)
    };
    assert!(crash_matrix::<Config>(&used, SETTINGS, None) > 20);
}

#[test]
fn the_old_file_is_kept_for_people_and_only_when_something_changes() {
    let ended = run::<Config>(world(r#"{"a":1}"#), SETTINGS, None, Goal::Applied, None);
    assert_eq!(ended.live["/a.json"], r#"{"b":1,"c":2}"#);
    assert_eq!(ended.live["/a.json.kept"], r#"{"a":1}"#);
    let unchanged = run::<Config>(world(r#"{"b":1,"c":2}"#), SETTINGS, None, Goal::Applied, None);
    assert_eq!(unchanged.live.len(), 1);
}

#[test]
fn what_somebody_wrote_meanwhile_is_not_overwritten() {
    let meddled = World {
        meddles: [("/a.json".to_owned(), r#"{"a":9}"#.to_owned())].into_iter().collect(),
        ..world(r#"{"a":1}"#)
    };
    let (ended, result) = try_run::<Config>(meddled, SETTINGS, None, Goal::Applied);
    assert_eq!(result.unwrap_err().error.code, "config/changed-since");
    assert_eq!(ended.live["/a.json"], r#"{"a":9}"#);
}

#[test]
fn a_file_that_is_not_there_or_not_readable_refuses_the_run() {
    let (_, absent) = try_run::<Config>(World::default(), SETTINGS, None, Goal::Applied);
    assert_eq!(absent.unwrap_err().error.code, "config/no-file");
    let (ended, broken) = try_run::<Config>(world("{"), SETTINGS, None, Goal::Applied);
    assert_eq!(broken.unwrap_err().error.code, "config/not-readable");
    assert_eq!(ended.live["/a.json"], "{");
}

const VALIDATED: &str = r#"{"file": "/a.json", "set": {"c": 2}, "validate": "check-a"}"#;

/// A file is sound when it has an `a`.
fn judge(world: &mut World, call: &Call) -> Result<Ended, Error> {
    assert_eq!((call.form.as_str(), call.on.as_str()), ("command.check-a", "check-a"));
    let is_sound = world.side[&call.holes[0].values[0]].contains("\"a\"");
    Ok(Ended {
        code: Some(i32::from(!is_sound)),
        signal: None,
        output: b"{\"c\": \"a secret\"}".to_vec(),
        complaint: "line 1\nno `a` in it\n".to_owned(),
        elapsed_ms: 1,
    })
}

#[test]
fn a_program_of_the_host_judges_the_new_file_before_it_is_used() {
    let judged = |text: &str| World { programs: Some(judge), ..world(text) };
    assert!(crash_matrix::<Config>(&judged(r#"{"a":1}"#), VALIDATED, None) > 20);
    let (ended, result) = try_run::<Config>(judged(r#"{"b":1}"#), VALIDATED, None, Goal::Applied);
    let error = result.unwrap_err().error;
    assert_eq!(error.code, "config/not-valid");
    assert!(error.message.ends_with("ended with 1: no `a` in it"), "{}", error.message);
    assert_eq!(ended.live, world(r#"{"b":1}"#).live);
    assert!(ended.side.is_empty());
}

#[test]
fn a_host_without_the_program_that_is_to_judge_refuses_the_run() {
    let (_, result) = try_run::<Config>(world(r#"{"a":1}"#), VALIDATED, None, Goal::Applied);
    assert_eq!(result.unwrap_err().error.code, "config/no-validator");
}
