use super::*;
use crate::keeper::{Identity, read_record};

/// Plays the part of `sternway-agent keep`: the tests start their own program
/// again with this test's name and the keeper's arguments.
#[test]
fn keeper_process() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "keep") {
        let code = keeper::main(Path::new(&arguments[at + 1]), &arguments[at + 2]);
        std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
    }
}

struct Host {
    services: Services,
    directory: tempfile::TempDir,
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.services.stop("app", Duration::from_secs(10), &|| false);
    }
}

fn host(script: &str) -> Host {
    let directory = tempfile::tempdir().unwrap();
    let definition = ServiceDefinition {
        name: "app".into(),
        command: vec!["/bin/sh".into(), "-c".into(), script.into()],
        directory: Some(directory.path().into()),
        environment: BTreeMap::from([("COLOUR".into(), "blue".into())]),
        settle_ms: 150,
        stop_ms: 300,
        output: None,
    };
    let keeper = vec![
        std::env::current_exe().unwrap().into(),
        "capabilities::services::tests::keeper_process".into(),
        "--exact".into(),
        "--nocapture".into(),
    ];
    let services = Services::new(directory.path().join("state"), [definition], keeper).unwrap();
    Host { services, directory }
}

const LONG: Duration = Duration::from_secs(20);

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_service_is_started_once_shows_its_lines_and_ends_when_asked() {
    let host = host("echo up $COLOUR; echo again; exec sleep 60");
    assert_eq!(host.services.status("app").unwrap().state, State::Stopped);
    let status = host.services.start("app", LONG, &|| false).unwrap();
    assert_eq!(status.state, State::Running);
    let again = host.services.start("app", LONG, &|| false).unwrap();
    assert_eq!((again.pid, again.restarts), (status.pid, 0));
    assert_eq!(host.services.lines("app", 9).unwrap(), ["up blue", "again"]);
    assert_eq!(host.services.lines("app", 1).unwrap(), ["again"]);

    let stopped = host.services.stop("app", LONG, &|| false).unwrap();
    assert_eq!((stopped.state, stopped.pid), (State::Stopped, None));
    assert_eq!(stopped.last_exit.as_deref(), Some("signal 15"));
    assert_eq!(Identity::of(status.pid.unwrap()), None);
    let stopped = host.services.stop("app", LONG, &|| false).unwrap();
    assert_eq!(stopped.state, State::Stopped);
    let restarted = host.services.start("app", LONG, &|| false).unwrap();
    assert_ne!(restarted.pid, status.pid);
}

#[test]
fn a_service_that_does_not_stay_up_fails_with_its_last_words() {
    let host = host("echo no such database; exit 3");
    let error = host.services.start("app", LONG, &|| false).unwrap_err();
    assert_eq!(error.code, "services/failed");
    assert!(error.message.contains("exit 3 | no such database"), "{error}");
}

#[test]
fn a_crash_is_followed_by_a_restart_and_counted() {
    let host = host("exec sleep 60");
    let first = host.services.start("app", LONG, &|| false).unwrap();
    Identity::of(first.pid.unwrap()).unwrap().signal(Signal::KILL);
    wait_until("a second process runs", || {
        let status = host.services.status("app").unwrap();
        status.state == State::Running && status.pid != first.pid && status.restarts == 1
    });
    assert_eq!(host.services.status("app").unwrap().last_exit.as_deref(), Some("signal 9"));
}

#[test]
fn one_that_will_not_end_is_killed_with_its_whole_group() {
    let host = host("trap '' TERM; sleep 61 & while true; do sleep 1; done");
    let status = host.services.start("app", LONG, &|| false).unwrap();
    let stopped = host.services.stop("app", LONG, &|| false).unwrap();
    assert_eq!(stopped.last_exit.as_deref(), Some("signal 9"));
    assert_eq!(Identity::of(status.pid.unwrap()), None);
}

#[test]
fn the_service_outlives_a_killed_keeper_and_is_never_doubled() {
    let host = host("exec sleep 60");
    let first = host.services.start("app", LONG, &|| false).unwrap();
    let record = read_record(&host.directory.path().join("state/app")).unwrap();
    record.keeper.signal(Signal::KILL);
    wait_until("the keeper is gone", || !record.keeper.is_alive());
    let orphaned = host.services.status("app").unwrap();
    assert_eq!((orphaned.state, orphaned.pid), (State::Running, first.pid));

    let second = host.services.start("app", LONG, &|| false).unwrap();
    assert_ne!(second.pid, first.pid);
    assert_eq!(Identity::of(first.pid.unwrap()), None, "the orphan was ended first");

    let record = read_record(&host.directory.path().join("state/app")).unwrap();
    record.keeper.signal(Signal::KILL);
    wait_until("the keeper is gone", || !record.keeper.is_alive());
    let stopped = host.services.stop("app", LONG, &|| false).unwrap();
    assert_eq!(stopped.state, State::Stopped, "an orphan is stopped without a keeper");
}

#[test]
fn a_second_keeper_finds_the_lock_taken() {
    let host = host("exec sleep 60");
    let first = host.services.start("app", LONG, &|| false).unwrap();
    assert!(keeper::try_lock(&host.directory.path().join("state/app")).unwrap().is_none());
    host.services.spawn_keeper("app").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(host.services.status("app").unwrap().pid, first.pid);
}

#[test]
fn long_output_is_cut_and_one_older_part_is_kept() {
    let host = host("yes 0123456789012345678901234567890123456789 | head -c 3000000; exec sleep 60");
    host.services.start("app", LONG, &|| false).unwrap();
    let output = host.directory.path().join("state/app/output.log");
    wait_until("the output was cut", || {
        std::fs::metadata(&output).is_ok_and(|stat| stat.len() < keeper::OUTPUT_BYTES_MAX)
            && host.directory.path().join("state/app/output.log.1").exists()
    });
    assert_eq!(host.services.lines("app", 3).unwrap().len(), 3);
}

#[test]
fn waiting_ends_when_the_run_is_cancelled() {
    let host = host("exec sleep 60");
    let error = host.services.start("app", LONG, &|| true).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Cancelled);
}

#[test]
fn names_that_are_no_names_and_unknown_ones_are_refused() {
    let named = |name: &str| ServiceDefinition {
        name: name.into(),
        command: vec!["true".into()],
        directory: None,
        environment: BTreeMap::new(),
        settle_ms: 0,
        stop_ms: 0,
        output: None,
    };
    let new =
        |names: &[&str]| Services::new("state".into(), names.iter().map(|name| named(name)), Vec::new());
    for bad in ["", "../x", "a/b", ".hidden", "a b"] {
        assert!(matches!(new(&[bad]), Err(DefinitionError::Name { .. })), "{bad:?}");
    }
    assert!(matches!(new(&["a", "a"]), Err(DefinitionError::Twice { .. })));
    let services = new(&["web", "db@1"]).unwrap();
    assert_eq!(services.status("../etc").unwrap_err().code, "services/unknown");
}
