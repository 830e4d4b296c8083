//! A bad version everywhere, one person on call, one line typed.

use std::time::Instant;

use sternway_tests::emergency::{Heard, Site, VERSION, all_began_after, now_of_the_day};
use sternway_tests::fleet::text;

const HOSTS: usize = 8;

fn go<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["emergency", "--service", "agora", "--reason", "INC-4127: 1.3 loses sessions"], more].concat()
}

/// What reached the load balancer from one host, in order; a health check that is asked again counts once.
fn story(site: &Site, host: &str) -> Vec<(String, String)> {
    let of_host = |heard: &Heard| heard.host == host;
    let mut story: Vec<(String, String)> =
        site.heard().into_iter().filter(of_host).map(|heard| (heard.what, heard.version)).collect();
    story.dedup();
    story
}

#[expect(clippy::print_stdout, reason = "how long it took is told and not judged: machines differ")]
#[test]
fn one_person_on_call_takes_traffic_off_brings_every_host_back_and_lets_traffic_on_again() {
    let site = Site::of(HOSTS);
    site.prepare(&site.draft());
    let (decided, clock) = (now_of_the_day(), Instant::now());
    let gone = site.fleet.sternway("mary", &go(&["--confirm", "8", "--timeout", "50s"]));
    let whole = clock.elapsed();
    let said = format!("{}{}", text(&gone.stdout), text(&gone.stderr));
    assert_eq!(gone.status.code(), Some(0), "{said}\n{}", site.fleet.logs());
    let started = all_began_after(&site.fleet, "r-1", decided);
    println!(
        "emergency on {HOSTS} hosts: all began {started} ms after it was typed, all well after {} ms",
        whole.as_millis()
    );
    for (at, host) in site.fleet.hosts().iter().enumerate() {
        assert_eq!(site.fleet.read(at, VERSION), "1.1\n", "{host}");
        let wanted = [("drain", "1.3"), ("health", "1.1"), ("ready", "1.1")];
        let wanted = wanted.map(|(what, version)| (what.to_owned(), version.to_owned()));
        let told = story(&site, host);
        assert_eq!(told.get(..3), Some(&wanted[..]), "{host}: {told:?}");
        // While it soaks, its health is asked again, and nothing else.
        assert!(told[3..].iter().all(|heard| *heard == wanted[1]), "{host}: {told:?}");
    }
    events_are_in_order(&site);
    // Red, by its word, wherever people look.
    assert!(said.contains("EMERGENCY"), "{said}");
    for words in [&["status", "r-1"][..], &["report", "r-1"], &["rollouts"]] {
        let output = site.fleet.sternway("ada", words);
        assert!(text(&output.stdout).contains("EMERGENCY"), "{words:?}: {}", text(&output.stdout));
    }
    let audit = site.fleet.sternway("ada", &["audit"]);
    let line = text(&audit.stdout).lines().find(|line| line.contains("launch emergency")).map(str::to_owned);
    assert!(
        line.is_some_and(|line| line.contains("mary") && line.contains("INC-4127")),
        "{}",
        text(&audit.stdout)
    );
}

/// Launched, one wave of all, each host permitted before it begins, each step once and in its order.
fn events_are_in_order(site: &Site) {
    let log = site.fleet.sternway("ada", &["log", "r-1", "--json"]);
    let lines: Vec<serde_json::Value> =
        text(&log.stdout).lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let place = |is: &dyn Fn(&serde_json::Value) -> bool| lines.iter().position(is);
    let launched =
        place(&|line| line["event"] == "rollout" && line["state"] == "launched").expect("launched");
    let waves: Vec<&serde_json::Value> =
        lines.iter().filter(|line| line["event"] == "wave" && line["state"] == "opened").collect();
    assert_eq!(waves.len(), 1, "one wave");
    assert_eq!(waves[0]["hosts"].as_array().map(Vec::len), Some(HOSTS), "of all hosts");
    for host in site.fleet.hosts() {
        let of_host = |line: &&serde_json::Value| line["host"] == host.as_str();
        let permitted = place(&|line| of_host(&line) && line["state"] == "permitted").expect("permitted");
        let began = place(&|line| of_host(&line) && line["event"] == "step" && line["phase"] == "apply");
        let began = began.expect("it began");
        assert!(launched < permitted && permitted < began, "{host}: {launched} {permitted} {began}");
        let applied: Vec<u64> = lines
            .iter()
            .filter(of_host)
            .filter(|line| line["phase"] == "apply" && line["state"] == "began")
            .filter_map(|line| line["step"].as_u64())
            .collect();
        assert_eq!(applied, [1, 2, 3, 4, 5, 6], "{host}");
    }
}

#[test]
fn an_emergency_needs_its_draft_its_number_and_somebody_on_call() {
    let site = Site::of(1);
    let refused = |person: &str, words: &[&str], code: i32, says: &str| {
        let output = site.fleet.sternway(person, words);
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        assert!(said.contains(says), "{words:?}: {said}");
    };
    refused("mary", &go(&["--confirm", "1"]), 2, "--prepare");
    let draft = site.draft();
    let path = site.prepare(&draft);
    refused("mary", &go(&["--confirm", "8"]), 2, "nothing was done");
    refused("mary", &go(&[]), 2, "--confirm 1");
    refused("mary", &["emergency", "--service", "agora", "--confirm", "1"], 2, "--reason");
    // Ada has a key, and is not on call.
    let path = path.display().to_string();
    refused("ada", &go(&["--plan", &path, "--confirm", "1"]), 65, "on-call");
    // Two hours, an ordinary plan, no way back: no draft for an emergency.
    site.prepare(&draft.replace("\"15m\"", "\"2h\""));
    refused("mary", &go(&["--confirm", "1"]), 64, "P151");
    site.prepare(&draft.replace("\"emergency\"", "\"normal\""));
    refused("mary", &go(&["--confirm", "1"]), 64, "ordinary plan");
    let undo = "undo = { put = \"${pool}/${host.name}\", body = \"ready\" }";
    assert!(draft.contains(undo));
    site.prepare(&draft.replace(undo, "undo = \"none\""));
    refused("mary", &go(&["--confirm", "1"]), 64, "P152");
    assert!(site.heard().is_empty(), "{:?}", site.heard());
    assert_eq!(site.fleet.read(0, VERSION), "1.3\n");
}

#[test]
fn what_is_prepared_on_a_quiet_day_passes_the_check_and_is_never_overwritten() {
    let fleet = sternway_tests::fleet::Fleet::founded(2);
    let inventory = fleet.path("fleet.toml").display().to_string();
    let prepare = |more: &[&str]| {
        let words = ["emergency", "--service", "db", "--prepare", "--fleet", &inventory];
        fleet.sternway("mary", &[&words, more].concat())
    };
    let nothing = prepare(&[]);
    assert_eq!(nothing.status.code(), Some(2), "{}", text(&nothing.stderr));
    let written = prepare(&["--restore", "/opt/db", "--restore", "/etc/db", "--stop", "db"]);
    assert_eq!(written.status.code(), Some(0), "{}", text(&written.stderr));
    let path = fleet.path("people/mary/emergency/db.toml");
    let draft = std::fs::read_to_string(&path).expect("it was written");
    let (path, all) = (path.display().to_string(), fleet.path("all.toml").display().to_string());
    let again = prepare(&["--restore", "/opt/db"]);
    assert_eq!(again.status.code(), Some(2), "{}", text(&again.stderr));
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), draft);
    let everything = prepare(&[
        "--out",
        &all,
        "--restore",
        "/opt/db",
        "--database",
        "/var/lib/db.sqlite",
        "--stop",
        "db",
        "--stop",
        "db-web",
        "--traffic",
        "http://127.0.0.1:9/${host.name}",
        "--health",
        "http://127.0.0.1:9/health",
    ]);
    assert_eq!(everything.status.code(), Some(0), "{}", text(&everything.stderr));
    for path in [&path, &all] {
        let checked = fleet.sternway("mary", &["check", path, "--fleet", &inventory]);
        assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stdout));
        assert!(!text(&checked.stdout).contains("warning"), "{}", text(&checked.stdout));
    }
    let order: Vec<String> = std::fs::read_to_string(&all)
        .expect("it was written")
        .lines()
        .filter_map(|line| Some(line.strip_prefix("name = \"")?.trim_end_matches('"').to_owned()))
        .collect();
    let wanted = [
        "traffic off",
        "stop db",
        "restore files",
        "restore /var/lib/db.sqlite",
        "start db",
        "prove it",
        "traffic on",
    ];
    assert_eq!(order, wanted);
}
