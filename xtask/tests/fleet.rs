//! A whole test fleet on this machine: up, broken in every way there is a verb
//! for, healed, and gone without a trace. Takes about a minute, and some more
//! when the image has to be built first.

#![expect(clippy::print_stdout, reason = "what is skipped is said on stdout")]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// What `fleet` ends with when this machine cannot carry one.
const CANNOT: i32 = 77;
const PATIENCE: Duration = Duration::from_secs(60);

struct Fleet {
    name: String,
}

impl Fleet {
    fn xtask(&self, words: &[&str]) -> Output {
        let (verb, rest) = words.split_first().expect("a verb");
        let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
        xtask.args(["fleet", verb, "--name", &self.name]).args(rest).stdin(Stdio::null());
        xtask.output().expect("xtask can be started")
    }

    fn must(&self, words: &[&str]) -> String {
        let output = self.xtask(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.must(&["status", "--json"])).expect("status --json is JSON")
    }

    fn host(&self, at: usize) -> Value {
        self.status()["hosts"][at].clone()
    }

    fn wait(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < until, "waited in vain until {what}: {}", self.status());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// From the coordinator, in milliseconds; none when nothing came back.
    fn round_trip(&self, host: &str) -> Option<f64> {
        let words = ["exec", "coordinator", "--", "ping", "-c", "3", "-i", "0.2", "-W", "2", host];
        let output = self.xtask(&words);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let times = said.lines().find_map(|line| line.strip_prefix("rtt min/avg/max/mdev = "))?;
        times.split('/').next()?.parse().ok()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.xtask(&["down"]);
    }
}

/// Where cargo puts the programs: beside the folder of this test.
fn programs() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows itself");
    test.ancestors().nth(2).expect("target/debug/deps/test").to_owned()
}

fn said(program: &str, words: &[&str]) -> String {
    let output =
        Command::new(program).args(words).output().expect("what the fleet needs is installed by now");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_fleet_is_broken_in_every_way_and_heals_and_leaves_nothing_behind() {
    let programs = std::env::var_os("STERNWAY_PROGRAMS").map_or_else(programs, PathBuf::from);
    if !programs.join("sternway-agent").is_file() {
        println!("skipped: the programs are not built; `cargo xtask test` builds them");
        return;
    }
    let fleet = Fleet { name: format!("t{}", std::process::id()) };
    let up = fleet.xtask(&["up", "--hosts", "2", "--bin-dir", &programs.display().to_string()]);
    let why = String::from_utf8_lossy(&up.stderr).into_owned();
    if up.status.code() == Some(CANNOT) {
        println!("skipped: {}", why.trim().trim_start_matches("skipped  fleet: "));
        return;
    }
    assert!(up.status.success(), "{why}");

    let status = fleet.status();
    assert!(status["hosts"].as_array().is_some_and(|hosts| hosts.len() == 2), "{status}");
    assert_eq!(
        (&status["hosts"][0]["connected"], &status["hosts"][1]["connected"]),
        (&true.into(), &true.into())
    );
    assert_eq!(fleet.xtask(&["exec", "host-01", "--", "sh", "-c", "exit 7"]).status.code(), Some(7));
    assert_eq!(fleet.must(&["exec", "host-01", "--", "systemctl", "is-active", "docker"]).trim(), "active");

    let near = fleet.round_trip("host-02").expect("a good link answers");
    fleet.must(&["slow", "host-02", "--delay", "100ms"]);
    let far = fleet.round_trip("host-02").expect("a slow link answers");
    assert!(near < 100.0 && far >= 200.0, "{near} ms, then {far} ms with 100 ms each way");
    fleet.must(&["cut", "host-02"]);
    assert_eq!(fleet.round_trip("host-02"), None, "nothing gets through a cut link");
    fleet
        .wait("the coordinator misses the host that is cut off", |fleet| fleet.host(1)["connected"] == false);
    assert_eq!(fleet.host(0)["connected"], true, "only one host was cut off");

    fleet.must(&["kill", "host-02"]);
    assert_eq!(fleet.host(1)["state"], "exited");
    fleet.must(&["boot", "host-02"]);
    assert_eq!(fleet.round_trip("host-02"), None, "a boot heals no link");
    fleet.must(&["heal", "host-02"]);
    fleet.wait("the host is back", |fleet| fleet.host(1)["connected"] == true);
    assert!(fleet.round_trip("host-02").is_some_and(|back| back < 100.0));

    fleet.must(&["pause", "host-01"]);
    assert_eq!(fleet.host(0)["state"], "paused");
    fleet.must(&["resume", "host-01"]);
    assert_eq!(
        fleet.must(&["exec", "host-01", "--", "systemctl", "is-active", "sternway-agent"]).trim(),
        "active"
    );

    fleet.must(&["slow", "host-01", "--delay", "10ms", "--loss", "1%"]);
    fleet.must(&["down"]);
    assert_eq!(fleet.status()["up"], false);
    assert!(!fleet.xtask(&["exec", "host-01", "--", "true"]).status.success());
    let table = format!("sternway_{}", fleet.name);
    assert!(!said("nft", &["list", "tables"]).contains(&table), "the rules are gone");
    let label = format!("label=sternway.fleet={}", fleet.name);
    for kind in [&["ps", "--all"][..], &["network", "ls"]] {
        let left = said("docker", &[kind, &["--quiet", "--filter", &label]].concat());
        assert_eq!(left, "", "{kind:?} shows nothing of the fleet");
    }
    let folder = status["folder"].as_str().expect("the status names the folder");
    assert!(!std::path::Path::new(folder).exists(), "{folder} is gone");
    let delays = format!("delay-queue {} ", fleet.name);
    assert!(!said("ps", &["-eo", "args"]).contains(&delays), "nobody delays packets any more");
}
