//! Rollback points on a host in the hands of a person, by the program itself:
//! beside an agent that serves, and with none.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use sternway_tests::fleet::{Fleet, program, text};

fn points(fleet: &Fleet, words: &[&str]) -> Output {
    let config = fleet.path("hosts").join(&fleet.hosts()[0]).join("agent.toml");
    let mut command = Command::new(program("sternway-agent"));
    command.arg("points").args(words).arg("--config").arg(config).stdin(Stdio::null());
    command.env("SUDO_USER", "mona").output().expect("sternway-agent can be started")
}

#[track_caller]
fn must(output: &Output, code: i32) -> String {
    let words = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{words}");
    words
}

/// What it says as JSON, a line each.
#[track_caller]
fn told(fleet: &Fleet, words: &[&str]) -> Vec<Value> {
    let output = points(fleet, &[words, &["--json"]].concat());
    must(&output, 0);
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

fn configured(fleet: &Fleet, more: &str) {
    let config = fleet.path("hosts").join(&fleet.hosts()[0]).join("agent.toml");
    let old = std::fs::read_to_string(&config).expect("it was written");
    fleet.write(&config, &format!("{old}\n[points]\nkeep = {{ newest = 1, within = \"0s\" }}\n[[points.service]]\nname = \"app\"\nconfig = [\"/etc/app.json\"]\nfiles = [\"/opt/app\"]\n{more}\n"));
    fleet.write(&fleet.on_host(0, "opt/app/run"), "run");
}

fn id(value: &Value) -> String {
    value["id"].as_str().expect("points have ids")[..8].to_owned()
}

#[test]
fn a_person_at_the_host_makes_finds_checks_and_restores_points() {
    let fleet = Fleet::founded(1);
    configured(&fleet, "");
    must(&points(&fleet, &["ready"]), 3);
    let made =
        told(&fleet, &["create", "--tag", "before-1.4", "--reason", "deploy", "--service", "app", "--hook"]);
    assert_eq!(made[0]["format"], "sternway.point/1.0");
    assert_eq!(
        (&made[0]["tag"], &made[0]["origin"], &made[0]["by"]),
        (&"before-1.4".into(), &"hook".into(), &"mona".into())
    );
    let id = id(&made[0]);
    let plain = told(&fleet, &["create", "--tag", "paths", "/etc/app.json"]);
    assert_eq!(plain[0]["paths"], serde_json::json!(["/etc/app.json"]));

    let shown = must(&points(&fleet, &["show", &id]), 0);
    for part in ["a hook, before a deployment", "deploy", "/opt/app", "state/points", "good"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert_eq!(told(&fleet, &["list", "--service", "app"]).len(), 1);
    let checked = told(&fleet, &["verify", "--full"]);
    assert!(checked.len() == 2 && checked.iter().all(|point| point["good"] == true), "{checked:?}");
    let words = must(&points(&fleet, &["ready"]), 0);
    assert!(words.contains("can go back") && words.contains("never rehearsed"), "{words}");
    let words = must(&points(&fleet, &["drill", "app"]), 0);
    assert!(words.contains("came back the same"), "{words}");

    fleet.write(&fleet.on_host(0, "etc/app.json"), "broken");
    let words = must(&points(&fleet, &["diff", &id]), 0);
    assert!(words.contains("M /etc/app.json"), "{words}");
    must(&points(&fleet, &["restore", &id, "/etc/app.json"]), 0);
    assert_eq!(fleet.read(0, "etc/app.json"), "broken");
    assert!(fleet.read(0, &format!("etc/app.json.from-{id}")).contains("1.3"));
    let words = must(&points(&fleet, &["restore", &id, "/etc/app.json", "--into", "/opt/app/run"]), 64);
    assert!(words.contains("nothing is written over"), "{words}");
    let words = must(&points(&fleet, &["restore", &id, "/etc/app.json", "--into", "/etc/app.json"]), 0);
    assert!(words.contains(&format!("/etc/app.json.other-{id}")), "{words}");
    assert!(fleet.read(0, "etc/app.json").contains("1.3"));
    let words = must(&points(&fleet, &["diff", &id]), 0);
    assert!(words.contains("nothing differs"), "{words}");
}

#[test]
fn points_go_by_the_rules_and_by_their_number_and_what_is_kept_stays() {
    let fleet = Fleet::founded(1);
    configured(&fleet, "");
    let made: Vec<Value> = (0..4).flat_map(|_| told(&fleet, &["create", "--service", "app"])).collect();
    let kept = id(&made[0]);
    let words = must(&points(&fleet, &["tag", &kept, "evidence", "--keep"]), 2);
    assert!(words.contains("--reason"), "{words}");
    must(&points(&fleet, &["tag", &kept, "evidence", "--keep", "--reason", "audit", "--owner", "ada"]), 0);
    let words = must(&points(&fleet, &["prune"]), 0);
    assert!(words.contains("2 points would go") && words.contains("kept for ever"), "{words}");
    must(&points(&fleet, &["prune", "--confirm", "3"]), 2);
    assert_eq!(told(&fleet, &["list"]).len(), 4, "a wrong number lets nothing go");
    must(&points(&fleet, &["prune", "--confirm", "2"]), 0);
    let left = told(&fleet, &["list"]);
    assert_eq!(left.iter().map(id).collect::<Vec<_>>(), [id(&made[3]), kept.clone()]);
    assert_eq!(left[1]["kept"]["owner"], "ada");
    must(&points(&fleet, &["verify", "--full"]), 0);
    must(&points(&fleet, &["untag", &kept]), 0);
    must(&points(&fleet, &["prune", "--confirm", "1"]), 0);
    must(&points(&fleet, &["show", &kept]), 64);
    for bad in [
        &["show", "0"][..],
        &["create", "--tag", "t"],
        &["create", "--service", "nobody"],
        &["drill", "nobody"],
    ] {
        assert_ne!(points(&fleet, bad).status.code(), Some(0), "{bad:?}");
    }
}

#[test]
fn damage_is_found_said_and_remembered() {
    let fleet = Fleet::founded(1);
    configured(&fleet, "");
    let made = told(&fleet, &["create", "--service", "app"]);
    let state = fleet.path("hosts").join(&fleet.hosts()[0]).join("state");
    let shelves = std::fs::read_dir(state.join("points/data")).expect("there is a repository");
    for pack in shelves.flat_map(|shelf| std::fs::read_dir(shelf.unwrap().path()).unwrap()) {
        let pack = pack.unwrap().path();
        let mut bytes = std::fs::read(&pack).unwrap();
        bytes[20] ^= 1;
        std::fs::set_permissions(&pack, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&pack, bytes).unwrap();
    }
    let words = must(&points(&fleet, &["verify", "--full"]), 64);
    assert!(words.contains("BAD") && words.contains("1 of 1 points cannot be restored"), "{words}");
    let words = must(&points(&fleet, &["list"]), 0);
    assert!(words.contains("BAD"), "{words}");
    let words = must(&points(&fleet, &["ready"]), 3);
    assert!(words.contains("CANNOT go back") && words.contains("damaged"), "{words}");
    let config = fleet.path("hosts").join(&fleet.hosts()[0]).join("agent.toml");
    let status =
        Command::new(program("sternway-agent")).arg("status").arg("--config").arg(config).output().unwrap();
    let words = text(&status.stdout);
    assert!(words.contains("DAMAGED") && words.contains(&id(&made[0])), "{words}");
}

#[test]
fn verbs_and_a_serving_agent_share_the_points() {
    let mut fleet = Fleet::founded(1);
    configured(&fleet, "[[points.schedule]]\nname = \"nightly\"\nservice = \"app\"\njitter = \"0s\"");
    // It was down last night, and makes up for it when it starts.
    let state = fleet.path("hosts").join(&fleet.hosts()[0]).join("state");
    let long_ago = r#"{"format":"sternway.schedules/1","schedules":{"nightly":{"since":1}}}"#;
    fleet.write(&state.join("custodian/schedules.json"), long_ago);
    fleet.start_agent(0);
    let made = told(&fleet, &["create", "--tag", "mine", "/etc/app.json"]);
    fleet.wait("the point on schedule", |fleet| told(fleet, &["list", "--tag", "nightly"]).len() == 1);
    let checked = told(&fleet, &["verify", "--full"]);
    assert!(checked.len() >= 2 && checked.iter().any(|point| point["id"] == made[0]["id"]), "{checked:?}");
    assert!(checked.iter().all(|point| point["good"] == true), "{checked:?}");
}

#[test]
fn an_agent_whose_times_are_none_does_not_start_and_says_where() {
    let fleet = Fleet::founded(1);
    configured(&fleet, "[[points.schedule]]\nname = \"nightly\"\nservice = \"app\"\ncron = \"0 25 * * *\"");
    let config = fleet.path("hosts").join(&fleet.hosts()[0]).join("agent.toml");
    let served =
        Command::new(program("sternway-agent")).arg("serve").arg("--config").arg(config).output().unwrap();
    let words = text(&served.stderr);
    assert!(
        served.status.code() == Some(64) && words.contains("nightly") && words.contains("0 25 * * *"),
        "{words}"
    );
    // Whoever is there in need can still look.
    must(&points(&fleet, &["list"]), 0);
}
