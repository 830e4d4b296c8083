//! Real processes on loopback: QUIC, signatures, components, SIGKILL.

mod alone;
mod emergency;
mod fleet_points;
mod points;
mod set_back;
mod stuck;

use std::time::Duration;

use sternway_tests::fleet::{Fleet, config_plan, text};

const BACK: &str = "{\n  \"version\": \"1.1\",\n  \"back\": true\n}\n";
const BEFORE: &str = "{\n  \"version\": \"1.3\",\n  \"odd\": true\n}\n";

fn all_are(fleet: &Fleet, wanted: &str) {
    for host in 0..fleet.hosts().len() {
        assert_eq!(fleet.read(host, "etc/app.json"), wanted, "{}\n{}", fleet.hosts()[host], fleet.logs());
    }
}

#[test]
fn a_fleet_goes_back_in_waves_and_forward_again_on_order() {
    let fleet = Fleet::of(4);
    let sealed = fleet.seal(&config_plan(4, &[1, 2, 4], "1ms"));
    let (code, said) = fleet.launch(&sealed);
    assert_eq!(code, 0, "{said}\n{}", fleet.logs());
    all_are(&fleet, BACK);
    let undone = fleet.sternway("ada", &["undo", "r-1", "--confirm", "4", "--reason", "a test"]);
    assert!(undone.status.code().is_some_and(|code| code == 0 || code == 3), "{}", text(&undone.stderr));
    all_are(&fleet, BEFORE);
    let audit = fleet.sternway("ada", &["audit", "verify"]);
    assert_eq!(audit.status.code(), Some(0), "{}", text(&audit.stderr));
}

#[test]
fn a_plan_runs_once_however_often_it_is_launched() {
    let fleet = Fleet::of(1);
    let sealed = fleet.seal(&config_plan(1, &[1], "1ms"));
    assert_eq!(fleet.launch(&sealed).0, 0, "{}", fleet.logs());
    fleet.write(&fleet.on_host(0, "etc/app.json"), BEFORE);
    let (code, said) = fleet.launch(&sealed);
    assert!(code != 0, "{said}");
    assert_eq!(fleet.read(0, "etc/app.json"), BEFORE, "a replayed plan ran");
}

#[test]
fn what_a_host_does_not_permit_is_refused_before_anything_is_touched() {
    let fleet = Fleet::of(2);
    let over_asked = config_plan(2, &[2], "1ms").replace(
        "[pace]",
        "[[step]]\nname = \"too much\"\nuses = \"config@0\"\nwith = { file = \"/srv/secret.json\", set = { x = 1 } }\n[pace]",
    );
    let (code, said) = fleet.launch(&fleet.seal(&over_asked));
    assert_eq!(code, 10, "{said}");
    assert!(said.contains("does not permit"), "{said}");
    all_are(&fleet, BEFORE);
}

#[test]
fn a_failing_step_puts_the_host_back_and_halts_the_rollout() {
    let fleet = Fleet::of(3);
    fleet.write(&fleet.on_host(0, "etc/other.json"), "{}");
    let plan = config_plan(3, &[1, 3], "1ms").replace(
        "[pace]",
        "[[step]]\nname = \"prove it\"\nuses = \"http@0\"\nwith = { get = \"http://127.0.0.1:9/health\", within = \"200ms\" }\n[pace]",
    );
    for host in 0..3 {
        let config = fleet.path("hosts").join(&fleet.hosts()[host]).join("agent.toml");
        let old = std::fs::read_to_string(&config).unwrap();
        fleet.write(&config, &format!("{old}http = [\"http://127.0.0.1:9\"]\n"));
    }
    let mut fleet = fleet;
    for host in 0..3 {
        fleet.kill_agent(host);
        fleet.start_agent(host);
    }
    let (code, said) = fleet.launch(&fleet.seal(&plan));
    assert_eq!(code, 10, "{said}\n{}", fleet.logs());
    all_are(&fleet, BEFORE);
    assert!(said.contains("prove it"), "{said}");
}

#[test]
fn an_agent_killed_again_and_again_still_brings_its_host_to_the_end() {
    let mut fleet = Fleet::of(2);
    let sealed = fleet.seal(&config_plan(2, &[2], "400ms"));
    let child = fleet.sternway_beside("ada", &["launch", &sealed, "--confirm", "2", "--timeout", "50s"]);
    // One that is killed three times before it gets anywhere stops trying, and rightly so.
    fleet.wait("the host to begin", |fleet| fleet.read(0, "etc/app.json").contains("1.1"));
    for round in 0..6 {
        std::thread::sleep(Duration::from_millis(40 + 60 * round));
        fleet.kill_agent(0);
        fleet.start_agent(0);
    }
    let output = child.wait_with_output().unwrap();
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}\n{}", fleet.logs());
    all_are(&fleet, BACK);
}

#[test]
fn a_coordinator_killed_in_mid_rollout_goes_on_where_it_was() {
    let mut fleet = Fleet::of(3);
    let sealed = fleet.seal(&config_plan(3, &[1, 3], "500ms"));
    let launched = fleet.sternway("ada", &["launch", &sealed, "--confirm", "3", "--detach"]);
    assert!(launched.status.success(), "{}", text(&launched.stderr));
    std::thread::sleep(Duration::from_millis(250));
    fleet.kill_coordinator();
    std::thread::sleep(Duration::from_millis(300));
    fleet.start_coordinator();
    let watched = fleet.sternway("ada", &["watch", "r-1", "--timeout", "50s"]);
    assert_eq!(
        watched.status.code(),
        Some(0),
        "{}{}\n{}",
        text(&watched.stdout),
        text(&watched.stderr),
        fleet.logs()
    );
    all_are(&fleet, BACK);
    let log = fleet.sternway("ada", &["log", "r-1", "--json"]);
    let began = text(&log.stdout)
        .lines()
        .filter(|line| line.contains("\"phase\":\"apply\"") && line.contains("\"state\":\"began\""))
        .count();
    assert_eq!(began, 6, "each of two steps on three hosts began exactly once\n{}", text(&log.stdout));
}

#[test]
fn a_halt_sticks_and_nothing_new_begins() {
    let fleet = Fleet::of(3);
    let sealed = fleet.seal(&config_plan(3, &[1, 3], "600ms"));
    let launched = fleet.sternway("ada", &["launch", &sealed, "--confirm", "3", "--detach"]);
    assert!(launched.status.success(), "{}", text(&launched.stderr));
    fleet.wait("the canary to begin", |fleet| fleet.read(0, "etc/app.json").contains("1.1"));
    let halted = fleet.sternway("grace", &["halt", "r-1", "--reason", "stop it"]);
    assert!(halted.status.success(), "{}", text(&halted.stderr));
    let watched = fleet.sternway("ada", &["watch", "r-1", "--timeout", "3s"]);
    assert!(matches!(watched.status.code(), Some(10 | 124)), "{}", text(&watched.stderr));
    let status = fleet.sternway("ada", &["status", "r-1"]);
    assert_eq!(status.status.code(), Some(10), "{}", text(&status.stdout));
    assert_eq!(fleet.read(1, "etc/app.json"), BEFORE);
    assert_eq!(fleet.read(2, "etc/app.json"), BEFORE);
}

#[test]
fn refusals_have_their_own_exit_codes() {
    let mut fleet = Fleet::of(1);
    let sealed = fleet.seal(&config_plan(1, &[1], "2s"));
    let mut bytes = std::fs::read(&sealed).unwrap();
    let at = bytes.windows(6).position(|window| window == b"a test").unwrap();
    bytes[at] ^= 1;
    let forged = fleet.path("forged.sealed").display().to_string();
    std::fs::write(&forged, &bytes).unwrap();
    assert_eq!(fleet.launch(&forged).0, 65, "a changed byte");
    let expired =
        fleet.seal(&config_plan(1, &[1], "1ms").replace("to = \"1.1\"", "to = \"1.1\"\nvalid = \"1s\""));
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(fleet.launch(&expired).0, 65, "expired");
    let sealed = fleet.seal(&config_plan(1, &[1], "2s"));
    let unasked = fleet.sternway("ada", &["launch", &sealed]);
    assert_eq!(unasked.status.code(), Some(2), "nobody to ask");
    let first = fleet.sternway("ada", &["launch", &sealed, "--confirm", "1", "--detach"]);
    assert!(first.status.success(), "{}", text(&first.stderr));
    let second = fleet.seal(&config_plan(1, &[1], "1ms"));
    assert_eq!(fleet.launch(&second).0, 75, "the host is taken");
    fleet.kill_coordinator();
    assert_eq!(fleet.sternway("ada", &["rollouts"]).status.code(), Some(69), "nobody answers");
}

#[test]
fn a_wave_that_needs_a_person_waits_for_the_right_one() {
    let fleet = Fleet::of(2);
    let plan = config_plan(2, &[1, 2], "1ms");
    // The second wave, and only that one.
    let at = plan.rfind("gate = \"usual\"\n").unwrap();
    let plan = format!("{}approve = \"sre\"\n{}", &plan[..at], &plan[at..]);
    let sealed = fleet.seal(&plan);
    let launched = fleet.sternway("ada", &["launch", &sealed, "--confirm", "2", "--detach"]);
    assert!(launched.status.success(), "{}", text(&launched.stderr));
    let held = fleet.sternway("ada", &["watch", "r-1", "--until-held", "--timeout", "30s"]);
    assert_eq!(held.status.code(), Some(11), "{}{}", text(&held.stdout), text(&held.stderr));
    assert_eq!(fleet.sternway("ada", &["status", "r-1"]).status.code(), Some(11));
    let wrong = fleet.sternway("grace", &["approve", "r-1", "--wave", "2", "--confirm", "2"]);
    assert_eq!(wrong.status.code(), Some(77), "owners do not speak for sre: {}", text(&wrong.stderr));
    let late = fleet.sternway("ada", &["watch", "r-1", "--timeout", "300ms"]);
    assert_eq!(late.status.code(), Some(124), "{}", text(&late.stderr));
    let mut watching = fleet.sternway_beside("ada", &["watch", "r-1"]);
    std::thread::sleep(Duration::from_millis(500));
    let interrupted = std::process::Command::new("kill").args(["-INT", &watching.id().to_string()]).status();
    assert!(interrupted.is_ok_and(|status| status.success()));
    assert_eq!(watching.wait().unwrap().code(), Some(130), "leaving a watch leaves the rollout running");
    assert_eq!(fleet.read(1, "etc/app.json"), BEFORE, "nobody of sre said go");
    let right = fleet.sternway("ada", &["approve", "r-1", "--wave", "2", "--confirm", "2"]);
    assert!(right.status.success(), "{}", text(&right.stderr));
    let ended = fleet.sternway("ada", &["watch", "r-1", "--timeout", "30s"]);
    assert_eq!(ended.status.code(), Some(0), "{}\n{}", text(&ended.stderr), fleet.logs());
    all_are(&fleet, BACK);
}
