//! `sqlite` killed at every host call, before and after its effect.

use sqlite::Sqlite;
use sternway_plugin::rehearsal::{Goal, World, crash_matrix, run};

fn texts(entries: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    entries.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

fn world(live: &[(&str, &str)]) -> World {
    World { live: texts(live), point: texts(&[("/a.db", "old")]), ..World::default() }
}

const SETTINGS: &str = r#"{"restore": "/a.db", "check": "select 1"}"#;

#[test]
fn a_crash_anywhere_ends_as_no_crash() {
    for live in [&[("/a.db", "new")][..], &[], &[("/a.db", "old")]] {
        assert!(crash_matrix::<Sqlite>(&world(live), SETTINGS, None) > 20, "{live:?}");
    }
}

#[test]
fn a_database_that_was_written_to_is_still_put_back() {
    let world = World { writes: texts(&[("/a.db", "old, used+log")]), ..world(&[("/a.db", "new")]) };
    assert!(crash_matrix::<Sqlite>(&world, SETTINGS, None) > 20);
}

#[test]
fn undo_brings_back_the_log_that_was_folded_in() {
    let world = world(&[("/a.db", "new+log")]);
    let applied = run::<Sqlite>(world.clone(), SETTINGS, None, Goal::Applied, None);
    assert_eq!(applied.live["/a.db"], "old");
    let undone = run::<Sqlite>(world, SETTINGS, None, Goal::Undone, None);
    assert_eq!(undone.live["/a.db"], "new settled");
}
