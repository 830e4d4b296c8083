//! The coordinator's database is put back from a copy under a running fleet, and
//! people who do not see what became of their words.

use std::path::Path;

use sternway_tests::fleet::{Fleet, config_plan, text};

use super::{BACK, all_are};

/// The files of a database whose coordinator is not running.
fn copy_database(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder can be made");
    for name in ["coordinator.db", "coordinator.db-wal"] {
        let _ = std::fs::remove_file(to.join(name));
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).expect("the copy can be made");
        }
    }
}

fn said(fleet: &Fleet, words: &[&str]) -> String {
    let output = fleet.sternway("ada", words);
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

fn began_to_apply(fleet: &Fleet, rollout: &str) -> usize {
    let log = said(fleet, &["log", rollout, "--json"]);
    let began = |line: &&str| line.contains("\"phase\":\"apply\"") && line.contains("\"state\":\"began\"");
    log.lines().filter(began).count()
}

/// When everybody has said what they know and nobody is in flight any more: whoever resumes has looked.
fn resume(fleet: &Fleet, rollout: &str) {
    fleet.wait("all hosts to be back", |fleet| {
        said(fleet, &["fleet", "--json"]).matches("\"connected\":true").count() == fleet.hosts().len()
    });
    fleet.wait("the hosts in flight to come to their end", |fleet| {
        let words = ["resume", rollout, "--confirm-in-flight", "none", "--reason", "looked at all of them"];
        fleet.sternway("ada", &words).status.success()
    });
}

#[test]
fn yesterdays_database_halts_shows_the_difference_and_nothing_is_run_twice() {
    let mut fleet = Fleet::of(3);
    let sealed = fleet.seal(&config_plan(3, &[1, 3], "700ms"));
    let launched = fleet.sternway("ada", &["launch", &sealed, "--confirm", "3", "--detach"]);
    assert!(launched.status.success(), "{}", text(&launched.stderr));
    fleet.kill_coordinator();
    copy_database(&fleet.path("data"), &fleet.path("yesterday"));
    fleet.start_coordinator();
    fleet.wait("the second wave to begin", |fleet| fleet.read(1, "etc/app.json").contains("1.1"));
    fleet.kill_coordinator();
    copy_database(&fleet.path("yesterday"), &fleet.path("data"));
    fleet.start_coordinator();
    fleet.wait("the rollout to be halted", |fleet| {
        fleet.sternway("ada", &["status", "r-1"]).status.code() == Some(10)
    });
    let status = said(&fleet, &["status", "r-1"]);
    assert!(status.contains("database was set back") && status.contains("db-01"), "{status}");
    let log = said(&fleet, &["log", "r-1"]);
    assert!(log.contains("database was set back"), "{log}");
    let audit = said(&fleet, &["audit"]);
    assert!(audit.contains("database set back") && audit.contains("records"), "{audit}");
    resume(&fleet, "r-1");
    let watched = fleet.sternway("ada", &["watch", "r-1", "--timeout", "50s"]);
    assert_eq!(watched.status.code(), Some(0), "{}\n{}", text(&watched.stderr), fleet.logs());
    all_are(&fleet, BACK);
    assert_eq!(began_to_apply(&fleet, "r-1"), 6, "each of two steps on three hosts began exactly once");
}

#[test]
fn a_rollout_that_the_database_has_forgotten_is_taken_up_again_with_its_own_plan() {
    let mut fleet = Fleet::of(2);
    fleet.kill_coordinator();
    copy_database(&fleet.path("data"), &fleet.path("yesterday"));
    fleet.start_coordinator();
    let sealed = fleet.seal(&config_plan(2, &[1, 2], "700ms"));
    let launched = fleet.sternway("ada", &["launch", &sealed, "--confirm", "2", "--detach"]);
    assert!(launched.status.success(), "{}", text(&launched.stderr));
    fleet.wait("the canary to begin", |fleet| fleet.read(0, "etc/app.json").contains("1.1"));
    fleet.kill_coordinator();
    copy_database(&fleet.path("yesterday"), &fleet.path("data"));
    fleet.start_coordinator();
    fleet.wait("both hosts to say what they are in", |fleet| {
        said(fleet, &["audit"]).matches("its rollout r-1 is not on record").count() == 2
    });
    let again = fleet.sternway("ada", &["launch", &sealed, "--confirm", "2", "--detach"]);
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert_eq!(fleet.sternway("ada", &["status", "r-1"]).status.code(), Some(10), "a person looks first");
    resume(&fleet, "r-1");
    let watched = fleet.sternway("ada", &["watch", "r-1", "--timeout", "50s"]);
    assert_eq!(watched.status.code(), Some(0), "{}\n{}", text(&watched.stderr), fleet.logs());
    all_are(&fleet, BACK);
    assert_eq!(began_to_apply(&fleet, "r-1"), 4, "what had begun before counts, and is not begun again");
}

#[test]
fn whoever_is_killed_after_launching_and_launches_again_has_one_rollout() {
    let fleet = Fleet::of(1);
    let sealed = fleet.seal(&config_plan(1, &[1], "1s"));
    let mut first = fleet.sternway_beside("ada", &["launch", &sealed, "--confirm", "1"]);
    fleet.wait("the rollout to be written down", |fleet| said(fleet, &["rollouts"]).contains("r-1"));
    first.kill().unwrap();
    first.wait().unwrap();
    let (code, words) = fleet.launch(&sealed);
    assert_eq!(code, 65, "{words}");
    assert!(words.contains("as r-1") && words.contains("sternway watch r-1"), "{words}");
    let watched = fleet.sternway("ada", &["watch", "r-1", "--timeout", "50s"]);
    assert_eq!(watched.status.code(), Some(0), "{}", text(&watched.stderr));
    assert!(!said(&fleet, &["rollouts"]).contains("r-2"));
}

#[test]
fn a_halt_that_reached_nobody_says_that_nothing_is_halted() {
    let mut fleet = Fleet::of(1);
    let sealed = fleet.seal(&config_plan(1, &[1], "1s"));
    let launched = fleet.sternway("ada", &["launch", &sealed, "--confirm", "1", "--detach"]);
    assert!(launched.status.success(), "{}", text(&launched.stderr));
    fleet.kill_coordinator();
    let halted = fleet.sternway("grace", &["halt", "r-1", "--reason", "stop it"]);
    let words = text(&halted.stderr);
    assert_eq!(halted.status.code(), Some(69), "{words}");
    assert!(words.contains("NOT halted") && words.contains("sternway-agent halt"), "{words}");
}
