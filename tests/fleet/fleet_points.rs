//! Rollback points of the whole fleet from one operator's terminal: over the
//! real wire, through the coordinator, by real agents.

use std::process::Output;

use serde_json::Value;
use sternway_tests::fleet::{Fleet, text};

#[track_caller]
fn must(fleet: &Fleet, output: &Output, code: i32) -> String {
    let words = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{words}\n{}", fleet.logs());
    words
}

#[track_caller]
fn ada(fleet: &Fleet, words: &[&str], code: i32) -> String {
    must(fleet, &fleet.sternway("ada", words), code)
}

/// What it says as JSON, a line each.
fn told(fleet: &Fleet, words: &[&str]) -> Vec<Value> {
    let output = fleet.sternway("ada", &[words, &["--json"]].concat());
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

/// Two hosts with one service each, which keep one point of it.
fn serving() -> Fleet {
    let mut fleet = Fleet::founded(2);
    for host in fleet.hosts().to_vec() {
        let config = fleet.path("hosts").join(host).join("agent.toml");
        let old = std::fs::read_to_string(&config).expect("it was written");
        let points = "[points]\nkeep = { newest = 1, within = \"0s\" }\n[[points.service]]\nname = \"app\"\n\
                      config = [\"/etc/app.json\"]\nplugins = []\n";
        fleet.write(&config, &format!("{old}\n{points}"));
    }
    fleet.start_coordinator();
    (0..2).for_each(|at| fleet.start_agent(at));
    fleet.wait("all hosts to connect", |fleet| {
        told(fleet, &["fleet"])
            .first()
            .is_some_and(|fleet| fleet.to_string().matches("\"connected\":true").count() == 2)
    });
    fleet
}

#[test]
fn a_fleet_that_cannot_go_back_can_once_its_points_are_made_checked_and_rehearsed() {
    let fleet = serving();
    assert!(ada(&fleet, &["ready"], 3).contains("no rollback point"));
    let made = ada(
        &fleet,
        &["points", "create", "--service", "app", "--tag", "before-1.4", "--reason", "INC-4127"],
        0,
    );
    assert!(made.contains("made   2 of 2 hosts"), "{made}");
    let checked = ada(&fleet, &["points", "verify", "--newest", "--full"], 0);
    assert!(checked.contains("checked   2 of 2 points good"), "{checked}");
    let words = ada(&fleet, &["ready", "--service", "app"], 0);
    assert!(words.contains("100 % can") && words.contains("never rehearsed"), "{words}");
    let words = ada(&fleet, &["points", "drill", "--service", "app"], 0);
    assert_eq!(words.matches("came back the same").count(), 2, "{words}");
    assert!(!ada(&fleet, &["ready"], 0).contains("never rehearsed"));
    let audit = ada(&fleet, &["audit"], 0);
    assert!(audit.contains("points create") && audit.contains("db-[01-02]"), "{audit}");
}

#[test]
fn a_fleet_drops_what_was_counted_and_gives_one_file_back() {
    let fleet = serving();
    let create = |tag: &str| ada(&fleet, &["points", "create", "--service", "app", "--tag", tag], 0);
    create("first");
    create("second");
    ada(&fleet, &["points", "list", "--tag", "first", "--missing"], 0);
    let goes: u64 = told(&fleet, &["points", "prune"]).iter().filter_map(|host| host["go"].as_u64()).sum();
    assert_eq!(goes, 2, "the older of each");
    ada(&fleet, &["points", "prune", "--confirm", "3"], 2);
    let words = ada(&fleet, &["points", "prune", "--confirm", "2"], 0);
    assert!(words.contains("dropped   2 points on 2 hosts"), "{words}");
    let words = ada(&fleet, &["points", "list", "--tag", "first", "--missing"], 3);
    assert!(words.contains("db-[01-02]"), "{words}");

    let left = told(&fleet, &["points", "list", "db-01"]);
    let id = left[0]["id"].as_str().expect("points have ids")[..8].to_owned();
    fleet.write(&fleet.on_host(0, "etc/app.json"), "broken");
    let words = ada(&fleet, &["points", "diff", "db-01", &id], 0);
    assert!(words.contains("/etc/app.json"), "{words}");
    let restore = ["points", "restore", "db-01", &id, "/etc/app.json", "--into", "/etc/app.json"];
    ada(&fleet, &restore, 2);
    ada(&fleet, &[&restore[..], &["--confirm", "db-01"]].concat(), 0);
    assert!(fleet.read(0, "etc/app.json").contains("1.3"));
}
