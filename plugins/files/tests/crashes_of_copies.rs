//! Archives, kept copies and links, killed at every host call. A tree is a text
//! whose lines are its names.

use std::collections::BTreeMap;

use files::Files;
use sternway_plugin::Error;
use sternway_plugin::rehearsal::host::programs::{Call, Ended};
use sternway_plugin::rehearsal::{Goal, World, crash_matrix, run, try_run};

fn texts(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

fn world() -> World {
    World {
        live: texts(&[
            ("/opt/app", "a\na.backup\nd/b.backup\nx.log"),
            ("/srv/app.tar", "a\nb"),
            ("/opt/releases/2", "a\nb\nc"),
        ]),
        programs: Some(sums),
        ..World::default()
    }
}

/// A text of `n` bytes has the sum `n`.
fn sums(world: &mut World, call: &Call) -> Result<Ended, Error> {
    assert_eq!(call.form, "archive.sha256");
    let path = &call.holes[0].values[0];
    let sum = world.live.get(path).map(|text| format!("{:064}  {path}\n", text.len()));
    Ok(Ended {
        code: Some(i32::from(sum.is_none())),
        signal: None,
        output: sum.unwrap_or_default().into_bytes(),
        complaint: String::new(),
        elapsed_ms: 1,
    })
}

const PUT_BACK: &str = r#"{"put-back": "/opt/app"}"#;
const CLEAR: &str = r#"{"clear": "/opt/app", "endings": [".log", ".pyc"]}"#;
const LINK: &str = r#"{"link": "/opt/current", "target": "/opt/releases/2"}"#;

fn unpack(sum: &str) -> String {
    format!(
        r#"{{"unpack": "/opt/releases/2", "archive": "/srv/app.tar", "owner": "app",
            "sha256": {{"/srv/app.tar": "{sum:0>64}"}}, "link": "/opt/current", "target": "/opt/releases/2"}}"#
    )
}

#[test]
fn a_crash_anywhere_ends_as_no_crash() {
    for settings in [PUT_BACK, CLEAR, LINK, &unpack("3")] {
        assert!(crash_matrix::<Files>(&world(), settings, None) > 40, "{settings}");
    }
    for settings in [PUT_BACK, CLEAR] {
        let used = World { writes: texts(&[("/opt/app", "a\nused")]), ..world() };
        assert!(crash_matrix::<Files>(&used, settings, None) > 40, "{settings}");
    }
    let mut linked = world();
    linked.live.insert("/opt/current".to_owned(), "-> /opt/releases/1".to_owned());
    assert!(crash_matrix::<Files>(&linked, LINK, None) > 0);
}

#[test]
fn what_was_written_since_the_copy_was_made_is_in_what_is_put_there() {
    let meddled = || World { meddles: texts(&[("/opt/app", "a\na.backup\nnew\nx.log")]), ..world() };
    let ended = run::<Files>(meddled(), PUT_BACK, None, Goal::Applied, None);
    assert_eq!(ended.live["/opt/app"], "a\nnew\nx.log");
    let cleared = run::<Files>(meddled(), CLEAR, None, Goal::Applied, None);
    assert_eq!(cleared.live["/opt/app"], "a\na.backup\nnew");
    let undone = run::<Files>(meddled(), PUT_BACK, None, Goal::Undone, None);
    assert_eq!(undone.live["/opt/app"], "a\na.backup\nnew\nx.log");
}

#[test]
fn an_archive_is_unpacked_owned_and_linked_to() {
    let ended = run::<Files>(world(), &unpack("3"), None, Goal::Applied, None);
    assert_eq!(ended.live["/opt/releases/2"], "a\nb of app");
    assert_eq!(ended.live["/opt/current"], "-> /opt/releases/2");
}

#[test]
fn what_is_not_as_it_must_be_refuses_the_run_before_anything_is_touched() {
    for (settings, code) in [
        (r#"{"put-back": "/opt/app", "suffix": ".orig"}"#.to_owned(), "files/no-copies"),
        (r#"{"put-back": "/opt/none"}"#.to_owned(), "files/no-tree"),
        (unpack("4"), "files/other-archive"),
        (r#"{"unpack": "/opt/app", "archive": "/srv/none.tar"}"#.to_owned(), "files/no-archive"),
        (r#"{"link": "/opt/current", "target": "/opt/releases/9"}"#.to_owned(), "files/no-target"),
        (r#"{"link": "/opt/app", "target": "/opt/releases/2"}"#.to_owned(), "files/not-a-link"),
    ] {
        let (ended, result) = try_run::<Files>(world(), &settings, None, Goal::Applied);
        assert_eq!(result.unwrap_err().error.code, code, "{settings}");
        assert_eq!(ended.live, world().live, "{settings}");
        assert!(ended.side.is_empty(), "{settings}");
    }
}

#[test]
fn an_archive_larger_than_allowed_changes_nothing() {
    let settings = r#"{"unpack": "/opt/app", "archive": "/srv/app.tar", "bytes-max": 2}"#;
    let (ended, result) = try_run::<Files>(world(), settings, None, Goal::Applied);
    assert_eq!(result.unwrap_err().error.code, "files/too-large");
    assert_eq!(ended.live, world().live);
}
