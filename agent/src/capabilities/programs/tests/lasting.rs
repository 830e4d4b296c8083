//! Programs that outlive the agent, with real processes.

use super::*;

const LASTING: &str = r#"
[[form]]
name = "command.work"
effect = "change"
program = "sh"
arguments = ["-c", "{script}"]
output_bytes_max = 100000
codes = [0, 3]
holes.script = { kind = "text" }
"#;

struct Run<'a> {
    host: &'a Host,
    key: &'a str,
    give_up: &'a dyn Fn() -> bool,
    deadline: Instant,
}

impl<'a> Run<'a> {
    fn new(host: &'a Host, key: &'a str) -> Self {
        Self { host, key, give_up: &|| false, deadline: Instant::now() + LONG }
    }

    /// By an agent of its own each time.
    fn run(&self, script: &str) -> (Result<Ended, HostError>, Vec<String>) {
        let lines = RefCell::new(Vec::new());
        let on_line = |line: &str| lines.borrow_mut().push(line.to_owned());
        let watch = Watch { deadline: self.deadline, give_up: self.give_up, on_line: &on_line };
        let programs = self.host.programs(LASTING);
        let call = call("work", &[("script", &[script])]);
        let ended = programs.run(self.key, "plan-step-1", &self.host.resolve(), &call, watch);
        (ended, lines.into_inner())
    }

    fn folder(&self) -> folder::Folder {
        let digest = <sha2::Sha256 as sha2::Digest>::digest(self.key.as_bytes());
        let id: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        folder::Folder { path: self.host.path("state/programs").join(id) }
    }
}

fn wait_until(what: impl Fn() -> bool) {
    let begun = Instant::now();
    while !what() {
        assert!(begun.elapsed() < LONG, "it never came to that");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Holds a program up until it lets it go.
fn gate(host: &Host) -> (PathBuf, String) {
    let gate = host.path("gate");
    let script = format!(
        "echo began; echo $$ > {note}; while [ ! -e {gate} ]; do sleep 0.05; done; echo went on; echo x >> {count}; exit 3",
        note = host.path("leader").display(),
        gate = gate.display(),
        count = host.path("count").display()
    );
    (gate, script)
}

#[test]
fn the_same_key_runs_once_and_answers_the_same_for_ever() {
    let host = Host::new();
    let run = Run::new(&host, "run-1/step/a");
    let script = format!("echo x >> {}; seq 1 20000; echo bad >&2; exit 3", host.path("count").display());
    let (first, lines) = run.run(&script);
    let first = first.unwrap();
    assert_eq!((first.code, first.complaint.as_str()), (Some(3), "bad\n"));
    assert_eq!(first.output.len(), 100_000);
    assert!(text(&first).ends_with("19999\n20000\n"));
    assert!(lines.len() > 10_000 && lines.contains(&"bad".to_owned()), "{} lines", lines.len());
    let (again, lines) = run.run(&script);
    assert_eq!((again.unwrap(), lines.len()), (first, 0));
    assert_eq!(fs::read_to_string(host.path("count")).unwrap(), "x\n");
    let error = run.run("echo other").0.unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Conflict, "programs/other-call"));
    assert!(Run::new(&host, "run-1/step/b").run("true").0.is_ok_and(|ended| ended.code == Some(0)));
}

#[test]
fn an_agent_that_comes_later_finds_the_program_and_hears_the_rest() {
    let host = Host::new();
    let (gate, script) = gate(&host);
    std::thread::scope(|scope| {
        // The first agent is gone for us: nobody waits for its answer.
        scope.spawn(|| Run::new(&host, "key").run(&script));
        wait_until(|| host.path("leader").exists());
        let later = scope.spawn(|| Run::new(&host, "key").run(&script));
        std::thread::sleep(Duration::from_millis(300));
        fs::write(&gate, "").unwrap();
        let (ended, lines) = later.join().unwrap();
        assert_eq!(text(&ended.unwrap()), "began\nwent on\n");
        assert!(lines.ends_with(&["went on".to_owned()]), "{lines:?}");
    });
    assert_eq!(fs::read_to_string(host.path("count")).unwrap(), "x\n");
}

#[test]
fn a_program_lives_on_when_who_started_it_is_gone() {
    let host = Host::new();
    let (gate, script) = gate(&host);
    // As an agent that dies right after it started the attendant.
    let told = folder::Told {
        name: "n".into(),
        form: "command.work".into(),
        on: "work".into(),
        holes: vec![Hole { name: "script".into(), values: vec![script.clone()] }],
        job: {
            let programs = host.programs(LASTING);
            let call = call("work", &[("script", &[&script])]);
            programs.job(programs.form("command.work").unwrap(), &call, &host.resolve()).unwrap()
        },
        timeout_ms: 60_000,
        output_bytes_max: 1_000,
        codes: vec![0],
    };
    let run = Run::new(&host, "key");
    run.folder().tell(&told).unwrap();
    let own = attendant();
    let folder = run.folder().path;
    let words: Vec<String> = own
        .iter()
        .chain([&"attend".into(), &folder.into_os_string()])
        .map(|word| format!("'{}'", word.display()))
        .collect();
    let start = format!("{} >/dev/null 2>&1 &", words.join(" "));
    assert!(std::process::Command::new("sh").args(["-c", &start]).status().unwrap().success());
    wait_until(|| host.path("leader").exists());
    fs::write(&gate, "").unwrap();
    let (ended, _) = run.run(&script);
    assert_eq!(text(&ended.unwrap()), "began\nwent on\n");
    assert_eq!(fs::read_to_string(host.path("count")).unwrap(), "x\n");
}

#[test]
fn two_attendants_of_one_program_run_it_once() {
    let host = Host::new();
    let script = format!("echo x >> {}; sleep 0.3", host.path("count").display());
    std::thread::scope(|scope| {
        let tries: Vec<_> = (0..4).map(|_| scope.spawn(|| Run::new(&host, "key").run(&script).0)).collect();
        for ended in tries {
            assert_eq!(ended.join().unwrap().unwrap().code, Some(0));
        }
    });
    assert_eq!(fs::read_to_string(host.path("count")).unwrap(), "x\n");
}

#[test]
fn a_program_whose_attendant_was_killed_is_lost_and_never_run_again() {
    let host = Host::new();
    let (_gate, script) = gate(&host);
    let note = host.path("child");
    let script = format!("(echo $(exec sh -c 'echo $PPID') > {}; sleep 300) & {script}", note.display());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| Run::new(&host, "key").run(&script).0);
        let folder = Run::new(&host, "key").folder();
        let are_there = || ["leader", "child"].iter().all(|name| identity_in(&host.path(name)).is_some());
        wait_until(|| are_there() && folder.length("output") > 0);
        let (leader, child) = (identity_in(&host.path("leader")).unwrap(), identity_in(&note).unwrap());
        folder.begun().unwrap().kill_attendant();
        let error = waiting.join().unwrap().unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Failed, "programs/lost"));
        assert!(error.message.ends_with("it said: began"), "{error}");
        assert!(is_gone(leader), "the kernel ends it with its attendant");
        assert!(is_gone(child), "and whoever finds it lost ends what it started");
    });
    let again = Run::new(&host, "key").run(&script).0.unwrap_err();
    assert_eq!(again.code, "programs/lost");
    assert!(!host.path("count").exists());
}

#[test]
fn a_program_that_takes_too_long_or_is_called_off_is_ended_for_good() {
    let host = Host::new();
    let note = host.path("child");
    let script =
        format!("(echo $(exec sh -c 'echo $PPID') > {}; sleep 300) & echo so far; wait", note.display());
    let mut run = Run::new(&host, "slow");
    run.deadline = Instant::now() + Duration::from_secs(3);
    let child = RefCell::new(None);
    let look = || {
        child.replace_with(|known| known.or_else(|| identity_in(&note)));
        false
    };
    run.give_up = &look;
    let error = run.run(&script).0.unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::TimedOut, "programs/timed-out"));
    assert!(is_gone(child.borrow().expect("it has said who it is")));
    fs::remove_file(&note).unwrap();
    let mut run = Run::new(&host, "called off");
    let give_up = || identity_in(&note).is_some();
    run.give_up = &give_up;
    let error = run.run(&script).0.unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Cancelled, "programs/cancelled"));
    let error = Run::new(&host, "called off").run(&script).0.unwrap_err();
    assert_eq!(error.code, "programs/cancelled", "its answer stays");
}

#[test]
fn a_transient_unit_gets_the_attendant_and_a_bus_that_hangs_holds_nothing_up() {
    let host = Host::new();
    let asked = std::sync::Arc::new(Mutex::new(Vec::new()));
    let start: StartTransient = {
        let asked = asked.clone();
        std::sync::Arc::new(move |unit: &TransientUnit| {
            asked.lock().unwrap().push(unit.clone());
            Err(HostError::new(ErrorKind::TimedOut, "systemd/timed-out", "no answer"))
        })
    };
    let programs = host.programs(LASTING).launched_by(Launcher::Transient(start));
    let call = call("work", &[("script", &["true"])]);
    let watch = Watch { deadline: Instant::now() + LONG, give_up: &|| false, on_line: &|_| {} };
    let ended = programs.run("key", "p-17-migrate-1", &host.resolve(), &call, watch).unwrap();
    assert_eq!(ended.code, Some(0));
    let asked = asked.lock().unwrap();
    assert_eq!(asked[0].name, "sternway-p-17-migrate-1.service");
    assert!(asked[0].command.iter().any(|word| word == "attend"));
}

#[test]
fn old_folders_go_and_young_ones_and_living_ones_stay() {
    let host = Host::new();
    for key in ["old", "young"] {
        Run::new(&host, key).run("true").0.unwrap();
    }
    let old = Run::new(&host, "old").folder().path;
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(8 * 24 * 3_600);
    fs::File::open(old.join("ended.json")).unwrap().set_modified(long_ago).unwrap();
    Run::new(&host, "new").run("true").0.unwrap();
    assert!(!old.exists());
    assert!(Run::new(&host, "young").folder().path.exists());
}

#[test]
fn a_log_that_grows_gives_up_its_beginning() {
    use std::os::unix::fs::MetadataExt;
    let host = Host::new();
    fs::create_dir_all(host.path("f")).unwrap();
    let folder = folder::Folder { path: host.path("f") };
    let mut log = folder.log("output").unwrap();
    for number in 0..200_u32 {
        log.add(format!("{number:0>50000}{number:0>50000}").as_bytes());
    }
    log.sync().unwrap();
    let last = folder.last("output", 5).unwrap();
    assert_eq!(last, b"00199");
    assert_eq!(folder.length("output"), 20_000_000);
    let on_disk = fs::metadata(host.path("f/output")).unwrap().blocks() * 512;
    assert!(on_disk < 8 << 20, "{on_disk} bytes on disk");
    let mut from = 0;
    assert!(folder.news("output", &mut from).iter().all(u8::is_ascii_digit), "nothing that was given up");
}
