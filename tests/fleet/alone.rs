//! A host on its own: halted, resumed, looked at and rolled back by hand, with
//! a coordinator, with a dead one, and with none.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use sternway_tests::fleet::{Fleet, config_plan, program, text};

use super::{BACK, BEFORE};

/// Runs a verb of the agent on a host, with nobody to ask.
fn agent(fleet: &Fleet, host: usize, words: &[&str]) -> Output {
    let config = fleet.path("hosts").join(&fleet.hosts()[host]).join("agent.toml");
    let mut command = Command::new(program("sternway-agent"));
    command.args(words).arg("--config").arg(config).stdin(Stdio::null());
    command.env("SUDO_USER", "mona").output().expect("sternway-agent can be started")
}

fn said(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

#[track_caller]
fn must(fleet: &Fleet, output: &Output, code: i32) -> String {
    let words = said(output);
    assert_eq!(output.status.code(), Some(code), "{words}\n{}", fleet.logs());
    words
}

fn status(fleet: &Fleet, host: usize) -> serde_json::Value {
    serde_json::from_slice(&agent(fleet, host, &["status", "--json"]).stdout).expect("an object")
}

fn plugins() -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../plugins/built");
    folder.display().to_string()
}

fn run(fleet: &Fleet, host: usize, sealed: &str) -> Output {
    let name = fleet.hosts()[host].clone();
    agent(fleet, host, &["run", sealed, "--confirm", &name, "--plugins", &plugins()])
}

fn launch_beside(fleet: &Fleet, sealed: &str) {
    let count = fleet.hosts().len().to_string();
    let launched = fleet.sternway("ada", &["launch", sealed, "--confirm", &count, "--detach"]);
    must(fleet, &launched, 0);
}

#[test]
fn a_halt_is_heeded_by_an_agent_that_starts_later_and_ends_when_a_person_says_so() {
    let mut fleet = Fleet::founded(1);
    let words = must(&fleet, &agent(&fleet, 0, &["halt", "--reason", "smoke in rack 3"]), 0);
    assert!(words.contains("no agent is running"), "{words}");
    let words = must(&fleet, &agent(&fleet, 0, &["status"]), 10);
    assert!(words.contains("by mona") && words.contains("smoke in rack 3"), "{words}");
    fleet.start_coordinator();
    fleet.start_agent(0);
    fleet.wait("the host to connect", |fleet| status(fleet, 0)["link"]["up"] == true);
    launch_beside(&fleet, &fleet.seal(&config_plan(1, &[1], "1ms")));
    fleet.wait("the plan to be staged", |fleet| status(fleet, 0)["run"]["stage"] == "asking");
    let held = fleet.sternway("ada", &["watch", "r-1", "--until-held", "--timeout", "30s"]);
    must(&fleet, &held, 11);
    let words = said(&fleet.sternway("ada", &["status", "r-1"]));
    assert!(words.contains("halted on the host"), "{words}");
    assert_eq!(fleet.read(0, "etc/app.json"), BEFORE, "a halted host began");
    let words = must(&fleet, &agent(&fleet, 0, &["resume"]), 0);
    assert!(words.contains("smoke in rack 3"), "{words}");
    must(&fleet, &fleet.sternway("ada", &["go", "r-1", "--reason", "the smoke is gone"]), 0);
    must(&fleet, &fleet.sternway("ada", &["watch", "r-1", "--timeout", "30s"]), 0);
    assert_eq!(fleet.read(0, "etc/app.json"), BACK);
    must(&fleet, &agent(&fleet, 0, &["status"]), 0);
}

#[test]
fn a_run_halted_by_hand_stops_between_two_steps_and_stays_there_over_a_restart() {
    let mut fleet = Fleet::of(1);
    launch_beside(&fleet, &fleet.seal(&config_plan(1, &[1], "700ms")));
    fleet.wait("the first step to end", |fleet| fleet.read(0, "etc/app.json").contains("1.1"));
    let words = must(&fleet, &agent(&fleet, 0, &["halt", "--reason", "wait"]), 0);
    assert!(words.contains("step 1 of 2"), "{words}");
    fleet.wait("the run to pause", |fleet| status(fleet, 0)["run"]["stage"] == "paused");
    for _ in 0..2 {
        fleet.kill_agent(0);
        let asleep = status(&fleet, 0);
        assert_eq!(asleep["agent"], "not running");
        assert_eq!(asleep["run"]["stage"], "paused", "{asleep}");
        fleet.start_agent(0);
        fleet.wait("the agent to serve", |fleet| status(fleet, 0)["agent"] == "running");
        fleet.wait("the link", |fleet| status(fleet, 0)["link"]["up"] == true);
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(status(&fleet, 0)["run"]["step"], 2);
    assert!(!fleet.read(0, "etc/app.json").contains("back"), "a halted host began a step");
    let words = said(&fleet.sternway("ada", &["log", "r-1"]));
    assert!(words.contains("halted on the host by mona: wait"), "{words}");
    must(&fleet, &agent(&fleet, 0, &["resume"]), 0);
    fleet.wait("the run to end", |fleet| fleet.read(0, "etc/app.json") == BACK);
    // Whether the rollout was held meanwhile depends on when it looked.
    let _ = fleet.sternway("ada", &["go", "r-1", "--reason", "resumed"]);
    must(&fleet, &fleet.sternway("ada", &["watch", "r-1", "--timeout", "30s"]), 0);
}

#[test]
fn a_host_without_a_coordinator_is_rolled_back_by_hand() {
    let mut fleet = Fleet::of(1);
    let sealed = fleet.seal(&config_plan(1, &[1], "50ms"));
    fleet.kill_coordinator();
    let unsure = agent(&fleet, 0, &["run", &sealed, "--plugins", &plugins()]);
    must(&fleet, &unsure, 2);
    let other = agent(&fleet, 0, &["run", &sealed, "--confirm", "db-99", "--plugins", &plugins()]);
    must(&fleet, &other, 2);
    assert_eq!(fleet.read(0, "etc/app.json"), BEFORE);
    let words = must(&fleet, &run(&fleet, 0, &sealed), 0);
    assert!(words.contains("are not kept") && words.contains("mona lets it begin"), "{words}");
    assert!(words.contains("step 2 of 2"), "{words}");
    assert_eq!(fleet.read(0, "etc/app.json"), BACK);
    let words = must(&fleet, &run(&fleet, 0, &sealed), 65);
    assert!(words.contains("replayed"), "{words}");
    // Nothing breaks in a coordinator that never heard of it, nor in an agent that starts again.
    fleet.start_coordinator();
    fleet.kill_agent(0);
    fleet.start_agent(0);
    fleet.wait("the host to connect", |fleet| status(fleet, 0)["link"]["up"] == true);
    fleet.write(&fleet.on_host(0, "etc/app.json"), BEFORE);
    let (code, words) = fleet.launch(&sealed);
    assert!(code != 0 && words.contains("replayed"), "{code} {words}");
    assert_eq!(fleet.read(0, "etc/app.json"), BEFORE, "it ran twice");
    // A next run takes its place, and its plan is gone: the agent starts all the same.
    fleet.kill_coordinator();
    let again = fleet.seal(&config_plan(1, &[1], "1ms"));
    must(&fleet, &run(&fleet, 0, &again), 0);
    assert_eq!(fleet.read(0, "etc/app.json"), BACK);
    fleet.kill_agent(0);
    fleet.start_agent(0);
    fleet.wait("the agent to serve", |fleet| status(fleet, 0)["agent"] == "running");
}

#[test]
fn without_an_agent_the_verb_carries_the_run_out_itself() {
    let fleet = Fleet::founded(2);
    let sealed = fleet.seal(&config_plan(2, &[1, 2], "1ms"));
    let bare = agent(&fleet, 0, &["run", &sealed, "--confirm", "db-01"]);
    let words = must(&fleet, &bare, 64);
    assert!(words.contains("--plugins"), "{words}");
    let words = must(&fleet, &run(&fleet, 0, &sealed), 0);
    assert!(words.contains("this process is the agent"), "{words}");
    assert_eq!(fleet.read(0, "etc/app.json"), BACK);
    assert_eq!(fleet.read(1, "etc/app.json"), BEFORE);
    let asleep = status(&fleet, 0);
    assert_eq!(asleep["run"]["stage"], "finished", "{asleep}");
    assert_eq!(asleep["endings"][0]["ending"], "finished", "{asleep}");
    assert_eq!(asleep["link"], serde_json::Value::Null);
}

#[test]
fn a_run_by_hand_that_cannot_be_done_changes_nothing_and_says_why() {
    let fleet = Fleet::founded(1);
    let over = config_plan(1, &[1], "1ms").replace("/etc/app.json", "/srv/app.json");
    let words = must(&fleet, &run(&fleet, 0, &fleet.seal(&over)), 10);
    assert!(words.contains("does not permit"), "{words}");
    assert_eq!(fleet.read(0, "etc/app.json"), BEFORE);
}

#[test]
fn strangers_other_hosts_and_a_halt_are_refused_before_anything_is_touched() {
    let mut fleet = Fleet::of(1);
    fleet.kill_coordinator();
    let strangers = Fleet::founded(1);
    let words = must(&fleet, &run(&fleet, 0, &strangers.seal(&config_plan(1, &[1], "1ms"))), 65);
    assert!(words.contains("refused"), "{words}");
    let sealed = fleet.seal(&config_plan(1, &[1], "1ms"));
    must(&fleet, &agent(&fleet, 0, &["halt", "--reason", "no"]), 0);
    let words = must(&fleet, &run(&fleet, 0, &sealed), 10);
    assert!(words.contains("halted by mona: no"), "{words}");
    // This host has another name than the one the plan is for.
    let config = fleet.path("hosts/db-01/agent.toml");
    let renamed = std::fs::read_to_string(&config).unwrap().replace("host = \"db-01\"", "host = \"db-07\"");
    fleet.kill_agent(0);
    fleet.write(&config, &renamed);
    let words = must(&fleet, &agent(&fleet, 0, &["run", &sealed, "--confirm", "db-07"]), 65);
    assert!(words.contains("not among the plan's 1 hosts"), "{words}");
    assert_eq!(fleet.read(0, "etc/app.json"), BEFORE);
}

#[test]
fn a_run_that_waits_for_a_dead_coordinator_goes_on_by_hand_and_is_seen_later() {
    let mut fleet = Fleet::of(2);
    launch_beside(&fleet, &fleet.seal(&config_plan(2, &[1, 2], "60s")));
    fleet.wait("the canary to begin", |fleet| fleet.read(0, "etc/app.json").contains("1.1"));
    fleet.wait("the other to be staged", |fleet| status(fleet, 1)["run"]["stage"] == "asking");
    fleet.kill_coordinator();
    let sealed = fleet.path("plan.sealed").display().to_string();
    let name = "db-02";
    let config = fleet.path("hosts").join(name).join("agent.toml");
    let mut by_hand = Command::new(program("sternway-agent"));
    by_hand.args(["run", &sealed, "--confirm", name, "--config"]).arg(config).stdin(Stdio::null());
    let mut by_hand = by_hand.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it can be started");
    fleet.wait("the other to begin", |fleet| fleet.read(1, "etc/app.json").contains("1.1"));
    by_hand.kill().expect("who looks on may leave");
    by_hand.wait().expect("it ends");
    fleet.start_coordinator();
    fleet.wait("the coordinator to hear of it", |fleet| {
        said(&fleet.sternway("ada", &["status", "r-1"])).contains("db-02")
            && fleet.sternway("ada", &["status", "r-1"]).status.code() == Some(10)
    });
    let words = said(&fleet.sternway("ada", &["status", "r-1", "--json"]));
    assert!(words.contains("\"in_flight\":[\"db-01\",\"db-02\"]"), "{words}");
    assert!(fleet.read(1, "etc/app.json").contains("1.1"));
}

/// A small file system in memory, gone again with this value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None, said in one line, where one may not mount.
    fn at(folder: PathBuf, mebibytes: u32) -> Option<Self> {
        std::fs::create_dir_all(&folder).expect("the folder can be made");
        let size = format!("size={mebibytes}m,mode=700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "sternway-test"])
            .arg(&folder)
            .stderr(Stdio::null())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(folder));
        }
        #[expect(clippy::print_stdout, reason = "who reads the tests has to know")]
        {
            println!("skipped: a small disk cannot be mounted here, so a full one is not tried");
        }
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: who still has it open keeps it until it ends.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_host_whose_disk_is_too_small_says_what_is_missing_and_is_not_touched() {
    let fleet = Fleet::founded(1);
    let Some(disk) = SmallDisk::at(fleet.on_host(0, "etc"), 24) else { return };
    let file = fleet.on_host(0, "etc/app.json");
    fleet.write(&file, BEFORE);
    let before = std::fs::metadata(&file).unwrap().modified().unwrap();
    let words = must(&fleet, &run(&fleet, 0, &fleet.seal(&config_plan(1, &[1], "1ms"))), 10);
    let name = disk.0.canonicalize().unwrap().display().to_string();
    assert!(words.contains(&format!("the file system `{name}` needs 33 MiB free")), "{words}");
    assert!(words.contains("32 MiB in reserve") && words.contains("and has 23 MiB"), "{words}");
    let entries: Vec<_> = std::fs::read_dir(&disk.0).unwrap().collect();
    assert_eq!(entries.len(), 1, "something was left beside: {entries:?}");
    assert_eq!(fleet.read(0, "etc/app.json"), BEFORE);
    assert_eq!(std::fs::metadata(&file).unwrap().modified().unwrap(), before);
    assert_eq!(status(&fleet, 0)["run"]["stage"], "unfit");
}

#[test]
fn on_a_full_disk_the_ballast_goes_and_the_host_is_halted_all_the_same() {
    let mut fleet = Fleet::founded(1);
    let state = fleet.path("hosts").join("db-01/state");
    let Some(_disk) = SmallDisk::at(state.clone(), 64) else { return };
    fleet.start_agent(0);
    fleet.wait("the ballast", |fleet| status(fleet, 0)["disk"]["ballast"] == true);
    // To the last byte.
    let mut filler = std::fs::File::create(state.join("filler")).unwrap();
    while std::io::Write::write(&mut filler, &[1; 4096]).is_ok_and(|written| written > 0) {}
    assert_eq!(status(&fleet, 0)["disk"]["free_bytes"], 0);
    let words = must(&fleet, &agent(&fleet, 0, &["halt", "--reason", "the disk is full"]), 0);
    assert!(words.contains("no run is in hand"), "{words}");
    let stands = status(&fleet, 0);
    assert_eq!(stands["disk"]["ballast"], false, "{stands}");
    assert_eq!(stands["halted"]["reason"], "the disk is full");
    // A plan that comes now is refused before anything is touched.
    must(&fleet, &agent(&fleet, 0, &["resume"]), 0);
    let words = must(&fleet, &run_without_plugins(&fleet), 10);
    assert!(words.contains("the agent's state") || words.contains("32 MiB in reserve"), "{words}");
    assert_eq!(fleet.read(0, "etc/app.json"), BEFORE);
    drop(filler);
    std::fs::remove_file(state.join("filler")).unwrap();
    fleet.kill_agent(0);
    fleet.start_agent(0);
    fleet.wait("the ballast to be made again", |fleet| status(fleet, 0)["disk"]["ballast"] == true);
}

/// The plugins lie there already, so that nothing but the plan is new.
fn run_without_plugins(fleet: &Fleet) -> Output {
    let sealed = fleet.seal(&config_plan(1, &[1], "1ms"));
    run(fleet, 0, &sealed)
}
