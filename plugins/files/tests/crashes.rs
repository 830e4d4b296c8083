//! `files` killed at every host call, before and after its effect.

use files::Files;
use sternway_plugin::rehearsal::{Goal, World, crash_matrix, run, try_run, undo_alone};

fn texts(entries: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    entries.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

fn world() -> World {
    World {
        live: texts(&[("/opt/a", "1.3"), ("/opt/same", "1.1"), ("/opt/new", "1.3 only"), ("/x", "x")]),
        point: texts(&[("/opt/a", "1.1"), ("/opt/same", "1.1"), ("/opt/gone", "1.1")]),
        ..World::default()
    }
}

const SETTINGS: &str =
    r#"{"restore": ["/opt/a", "/opt/same", "/opt/gone"], "remove": ["/opt/new", "/opt/never"]}"#;

#[test]
fn a_crash_anywhere_ends_as_no_crash() {
    assert!(crash_matrix::<Files>(&world(), SETTINGS, None) > 100);
}

#[test]
fn what_programs_wrote_since_does_not_hinder_undo() {
    let world = World { writes: texts(&[("/opt/a", "1.1 used")]), ..world() };
    assert!(crash_matrix::<Files>(&world, SETTINGS, None) > 100);
}

#[test]
fn all_is_restored_removed_and_owned() {
    let owned = r#"{"restore": "/opt/a", "remove": "/opt/new", "owner": "agora"}"#;
    let ended = run::<Files>(world(), owned, None, Goal::Applied, None);
    assert_eq!(ended.live, texts(&[("/opt/a", "1.1 of agora"), ("/opt/same", "1.1"), ("/x", "x")]));
}

#[test]
fn what_programs_wrote_after_prepare_is_what_undo_brings_back() {
    let world = World { meddles: texts(&[("/opt/a", "1.3 and a log line")]), ..world() };
    let ended = run::<Files>(world, SETTINGS, None, Goal::Undone, None);
    assert_eq!(ended.live["/opt/a"], "1.3 and a log line");
}

#[test]
fn what_the_point_lacks_refuses_the_run_before_anything_is_touched() {
    let (ended, result) = try_run::<Files>(world(), r#"{"restore": ["/opt/a", "/x"]}"#, None, Goal::Applied);
    assert_eq!(result.unwrap_err().error.code, "files/not-in-point");
    assert_eq!(ended.live, world().live);
}

#[test]
fn a_lost_side_copy_stops_undo_and_asks_for_a_person() {
    let world = World { writes: texts(&[("/opt/a", "written since")]), ..world() };
    let (mut applied, result) = try_run::<Files>(world, r#"{"restore": "/opt/a"}"#, None, Goal::Applied);
    assert_eq!(result, Ok(()));
    applied.side.clear();
    let prepared = texts(&[("/opt/a", "1.1")]);
    let failure = undo_alone::<Files>(applied, r#"{"restore": "/opt/a"}"#, &prepared).unwrap_err();
    assert_eq!((failure.error.code.as_str(), failure.undo_advised), ("exchange/lost", false));
}
