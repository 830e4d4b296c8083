//! `log-scan` killed at every host call; what it may find, and what it refuses.

use log_scan::LogScan;
use sternway_plugin::rehearsal::{Goal, UnitModel, World, crash_matrix, run, try_run};

const LOG: &str = "/var/log/app.log";

/// The clock of the rehearsal stands at the beginning of 1970.
fn world(lines: &str) -> World {
    World {
        live: [(LOG.to_owned(), lines.to_owned())].into(),
        units: [("web.service".to_owned(), UnitModel::default())].into(),
        ..World::default()
    }
}

fn ends(lines: &str, settings: &str) -> Result<(), String> {
    let (ended, result) = try_run::<LogScan>(world(lines), settings, None, Goal::Applied);
    assert_eq!(ended.content(), world(lines).content(), "a scan changes nothing");
    result.map_err(|failure| failure.error.code)
}

#[test]
fn a_crash_anywhere_ends_as_no_crash() {
    let quiet = world("1970-01-01T00:00:01Z all is well\n");
    assert!(crash_matrix::<LogScan>(&quiet, r#"{"files": "/var/log/app.log"}"#, None) > 10);
}

#[test]
fn errors_fail_the_step_and_stand_in_its_message() {
    let settings = r#"{"files": "/var/log/app.log"}"#;
    let loud = world("1970-01-01T00:00:01Z ERROR no database\n");
    let (_, result) = try_run::<LogScan>(loud, settings, None, Goal::Applied);
    let error = result.unwrap_err().error;
    assert_eq!(error.code, "log-scan/errors");
    assert!(
        error.message.contains("1 of 1 lines count: 1970-01-01T00:00:01Z ERROR no database"),
        "{}",
        error.message
    );
    let one = r#"{"files": "/var/log/app.log", "max": 1}"#;
    assert_eq!(ends("1970-01-01T00:00:01Z ERROR a\n", one), Ok(()));
    assert_eq!(
        ends("1970-01-01T00:00:01Z ERROR a\n1970-01-01T00:00:01Z fatal b\n", one),
        Err("log-scan/errors".into())
    );
    let ignoring = r#"{"files": "/var/log/app.log", "ignore": "database"}"#;
    assert_eq!(ends("1970-01-01T00:00:01Z ERROR no database\n", ignoring), Ok(()));
}

#[test]
fn what_cannot_be_asked_is_refused() {
    for (settings, code) in [
        (r#"{"units": "nobody"}"#, "log-scan/unknown-unit"),
        (r#"{"max": 3}"#, "log-scan/nothing-asked"),
        (r#"{"files": "/var/log/../app.log"}"#, "step/path"),
        (r#"{"files": "/var/log/app.log", "pattern": "("}"#, "log-scan/pattern"),
        (r#"{"files": "/var/log/app.log", "pattern": ".*"}"#, "log-scan/pattern"),
        (r#"{"files": "/var/log/app.log", "wait": "long"}"#, "log-scan/duration"),
    ] {
        assert_eq!(ends("1970-01-01T00:00:01Z ok\n", settings), Err(code.into()), "{settings}");
    }
}

#[test]
#[should_panic(expected = "Inconclusive")]
fn a_file_that_is_not_there_is_no_pass() {
    run::<LogScan>(world(""), r#"{"files": "/var/log/other.log"}"#, None, Goal::Applied, None);
}

#[test]
#[should_panic(expected = "Inconclusive")]
fn lines_that_cannot_be_dated_are_no_pass() {
    run::<LogScan>(world("error of when\n"), r#"{"files": "/var/log/app.log"}"#, None, Goal::Applied, None);
}

#[test]
#[should_panic(expected = "Inconclusive")]
fn a_unit_that_never_said_anything_is_no_pass() {
    run::<LogScan>(world(""), r#"{"units": "web"}"#, None, Goal::Applied, None);
}

#[test]
fn without_stamps_what_somebody_wrote_since_the_look_counts() {
    let meddled = |line: &str| World {
        meddles: [(LOG.to_owned(), format!("error of when\n{line}\n"))].into(),
        ..world("error of when\n")
    };
    let settings = r#"{"files": "/var/log/app.log"}"#;
    assert!(try_run::<LogScan>(meddled("all is well"), settings, None, Goal::Applied).1.is_ok());
    let (_, result) = try_run::<LogScan>(meddled("error again"), settings, None, Goal::Applied);
    assert_eq!(result.unwrap_err().error.code, "log-scan/errors");
}
