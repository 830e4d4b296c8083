//! `command` killed at every host call, before and after its effect, and what
//! it makes of ends it did not want.

#![expect(clippy::unwrap_used, reason = "what cannot be set up ends the test where it stands")]

use command::Command as Plugin;
use sternway_plugin::host::programs::{Call, Ended};
use sternway_plugin::rehearsal::{Goal, World, crash_matrix, run, try_run};
use sternway_plugin::{Error, Failure};

fn ended(code: i32, output: &str) -> Ended {
    let output = output.as_bytes().to_vec();
    Ended { code: Some(code), signal: None, output, complaint: String::new(), elapsed_ms: 1 }
}

fn value(call: &Call, name: &str) -> String {
    let hole = call.holes.iter().find(|hole| hole.name == name);
    hole.map(|hole| hole.values.join(",")).unwrap_or_default()
}

/// A host whose programs migrate one number up or down, and can fail in every way.
fn act(world: &mut World, call: &Call) -> Result<Ended, Error> {
    let version: u32 = world.model["version"].parse().unwrap();
    match call.on.as_str() {
        "index" => drop(world.model.insert("index".to_owned(), value(call, "shard"))),
        "drop-index" => drop(world.model.remove("index")),
        _ => return migrate(world, call, version),
    }
    Ok(ended(0, "done\n"))
}

fn migrate(world: &mut World, call: &Call, version: u32) -> Result<Ended, Error> {
    let next = match call.on.as_str() {
        // Not repeatable: a second time would go one too far.
        "up" => version + 1,
        "down" => version - 1,
        "version" => return Ok(ended(0, &format!("version {version}\n"))),
        "fail" => return Ok(ended(7, "no room\n")),
        "fail-once" => {
            if world.model.insert("failed".to_owned(), "yes".to_owned()).is_none() {
                return Ok(ended(1, "locked\n"));
            }
            world.model.remove("failed");
            version - 1
        }
        "lost" => return Err(Error::failed("programs/lost", "its attendant is gone")),
        "slow" => return Err(Error::failed("programs/timed-out", "took too long")),
        "picky" => return Err(Error::invalid("programs/bad-hole", format!("`{}`", value(call, "x")))),
        other => panic!("no such program {other}"),
    };
    world.model.insert("version".to_owned(), next.to_string());
    Ok(ended(0, "done\n"))
}

fn world() -> World {
    let model = [("version".to_owned(), "4".to_owned())].into();
    World { model, programs: Some(act), ..World::default() }
}

fn version(world: &World) -> &str {
    &world.model["version"]
}

fn fails(settings: &str, undo: Option<&str>, goal: Goal) -> (World, Failure) {
    let (world, ended) = try_run::<Plugin>(world(), settings, undo, goal);
    (world, ended.expect_err("it fails"))
}

#[test]
fn a_crash_anywhere_ends_as_no_crash() {
    let (settings, undo) = (r#"{"run": "index", "with": {"shard": 3}}"#, r#"{"run": "drop-index"}"#);
    let kills = crash_matrix::<Plugin>(&world(), settings, Some(undo));
    assert!(kills > 20, "{kills}");
    assert!(crash_matrix::<Plugin>(&world(), r#"{"check": "version"}"#, None) > 5);
}

#[test]
fn what_may_not_run_twice_runs_once_and_is_taken_back_once_wherever_it_dies() {
    let (settings, undo) = (r#"{"run": "up"}"#, Some(r#"{"run": "down"}"#));
    for (goal, expected) in [(Goal::Applied, "5"), (Goal::Undone, "4")] {
        let clean = run::<Plugin>(world(), settings, undo, goal, None);
        assert_eq!(version(&clean), expected, "undisturbed");
        for kill in (0..clean.calls).flat_map(|call| [(call, false), (call, true)]) {
            let ended = run::<Plugin>(world(), settings, undo, goal, Some(kill));
            assert_eq!(version(&ended), expected, "killed at {kill:?} on the way to {goal:?}");
        }
    }
}

#[test]
fn a_check_only_asks_and_holds_the_answer_against_what_is_expected() {
    let right = r#"{"check": "version", "expect": {"output": "version 4"}}"#;
    let asked = run::<Plugin>(world(), right, None, Goal::Undone, None);
    assert!(!asked.log.iter().any(|call| call.starts_with("programs.run")), "{:?}", asked.log);
    let wrong = r#"{"check": "version", "expect": {"output": "version 5"}}"#;
    let (_, failure) = fails(wrong, None, Goal::Applied);
    assert_eq!(failure.error.code, "command/unexpected");
    assert!(failure.error.message.contains("version 4"), "{}", failure.error.message);
}

#[test]
fn a_program_the_host_does_not_have_refuses_the_run_before_anything_is_touched() {
    let bare = World { programs: None, ..world() };
    let (after, ended) =
        try_run::<Plugin>(bare, r#"{"run": "up"}"#, Some(r#"{"run": "down"}"#), Goal::Applied);
    assert_eq!(ended.unwrap_err().error.code, "command/unknown");
    assert_eq!(version(&after), "4");
    assert!(after.marks.is_empty());
}

#[test]
fn a_wrong_end_fails_with_its_last_words_and_advises_undo() {
    let (world, failure) = fails(r#"{"run": "fail"}"#, Some(r#"{"run": "down"}"#), Goal::Applied);
    assert_eq!(failure.error.code, "command/unexpected");
    assert!(failure.error.message.contains("exit 7") && failure.error.message.contains("no room"));
    assert!(failure.undo_advised);
    assert_eq!(version(&world), "4");
}

#[test]
fn a_program_that_is_lost_is_left_to_a_person_and_never_run_again() {
    let (world, failure) = fails(r#"{"run": "lost"}"#, None, Goal::Applied);
    assert_eq!((failure.error.code.as_str(), failure.undo_advised), ("programs/lost", false));
    let (again, ended) = try_run::<Plugin>(
        World { calls: 0, log: vec![], ..world },
        r#"{"run": "lost"}"#,
        None,
        Goal::Applied,
    );
    assert_eq!(ended.unwrap_err().error.code, "programs/lost");
    let (note, value) = &again.marks["tried run #0"];
    assert!(note.is_empty() && value.is_none(), "no other key was begun");
}

#[test]
fn a_program_that_took_too_long_fails_and_may_be_tried_anew() {
    let (world, failure) = fails(r#"{"run": "slow"}"#, Some(r#"{"run": "down"}"#), Goal::Applied);
    assert_eq!((failure.error.code.as_str(), failure.undo_advised), ("programs/timed-out", true));
    assert!(world.marks.keys().any(|key| key.starts_with("tried run")));
}

#[test]
fn a_value_the_host_refuses_was_no_run_and_needs_no_undo() {
    let settings = r#"{"run": "picky", "with": {"x": "-rf"}}"#;
    let (after, failure) = fails(settings, None, Goal::Applied);
    assert_eq!(failure.error.code, "programs/bad-hole");
    let undone = sternway_plugin::rehearsal::undo_alone::<Plugin>(after, settings, &());
    assert!(undone.is_ok(), "{undone:?}");
}

#[test]
fn what_ran_and_has_no_undo_in_the_plan_is_left_to_a_person() {
    let (world, failure) = fails(r#"{"run": "up"}"#, None, Goal::Undone);
    assert_eq!((failure.error.code.as_str(), failure.undo_advised), ("command/no-undo", false));
    assert_eq!(version(&world), "5");
}

#[test]
fn an_undo_whose_program_failed_is_tried_anew() {
    let (settings, undo) = (r#"{"run": "up"}"#, Some(r#"{"run": "fail-once"}"#));
    let (world, failure) = fails(settings, undo, Goal::Undone);
    assert_eq!(failure.error.code, "command/unexpected");
    assert_eq!(version(&world), "5");
    let (world, ended) = try_run::<Plugin>(world, settings, undo, Goal::Undone);
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(version(&world), "4");
}
