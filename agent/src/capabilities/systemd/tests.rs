//! Against a real systemd. Units come and go and the bus is restarted, so this
//! runs in a container that systemd was started in, and nowhere else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::{Active, FileChange, Job, Load, Systemd, Unit, now_ms};
use crate::capabilities::{ErrorKind, HostError};

const UNITS: &str = "/run/systemd/system";
const PATIENCE: Duration = Duration::from_secs(20);

/// A reload of systemd, or a restart of the bus, is felt by all.
static ALONE: Mutex<()> = Mutex::new(());

/// Units of one test, gone with it.
struct Units {
    systemd: Systemd,
    names: Vec<String>,
    _alone: MutexGuard<'static, ()>,
}

impl Units {
    fn new(test: &str) -> Option<Self> {
        Self::here(test).then(|| Self {
            systemd: Systemd::new(),
            names: vec![],
            _alone: ALONE.lock().unwrap_or_else(PoisonError::into_inner),
        })
    }

    #[allow(clippy::print_stdout, reason = "tests say what they skip")]
    fn here(test: &str) -> bool {
        let here = Systemd::is_here() && Path::new("/run/systemd/container").exists();
        if !here {
            println!("skipped  {test}: not in a container that was started with systemd");
        }
        here
    }

    /// Writes a unit and has systemd read it. `$NAME` in its lines is its name.
    fn add(&mut self, name: &str, lines: &str) -> String {
        let name = format!("sternway-try-{name}");
        fs::write(file(&name), lines.replace("$NAME", &name)).unwrap();
        self.names.push(name.clone());
        self.systemd.daemon_reload().unwrap();
        name
    }

    fn service(&mut self, name: &str, command: &str, more: &str) -> String {
        self.add(&format!("{name}.service"), &format!("[Service]\nExecStart={command}\n{more}\n"))
    }

    fn run(&self, name: &str, job: Job) -> Result<Unit, HostError> {
        self.systemd.run_job(name, job, PATIENCE, &|| false)
    }

    fn unit(&self, name: &str) -> Unit {
        self.systemd.unit(name).unwrap()
    }
}

impl Drop for Units {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = self.systemd.change_file(name, FileChange::Unmask);
            let _ = self.systemd.change_file(name, FileChange::Disable);
            let _ = fs::remove_file(file(name));
            let _ = fs::remove_dir_all(format!("{UNITS}/{name}.d"));
            let _ = self.systemd.kill(name);
            let _ = self.systemd.run_job(name, Job::Stop, PATIENCE, &|| false);
            let _ = self.systemd.reset_failed(name);
        }
        let _ = self.systemd.daemon_reload();
    }
}

fn file(name: &str) -> PathBuf {
    Path::new(UNITS).join(name)
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what} did not come");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[allow(clippy::print_stdout, reason = "tests say what they skip")]
fn a_host_without_systemd_says_so() {
    if Systemd::is_here() {
        println!("skipped  a_host_without_systemd_says_so: this host has systemd");
        return;
    }
    let systemd = Systemd::new();
    let error = systemd.unit("web.service").unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Unsupported, "systemd/not-here"));
    let error = systemd.run_job("web.service", Job::Start, PATIENCE, &|| false).unwrap_err();
    assert_eq!(error.code, "systemd/not-here");
}

#[test]
fn a_service_starts_restarts_reloads_and_stops() {
    let Some(mut units) = Units::new("a_service_starts_restarts_reloads_and_stops") else { return };
    let began = now_ms();
    let name = units.service(
        "life",
        "/bin/sh -c 'echo up; exec sleep 1000'",
        "ExecReload=/bin/echo read again\nEnvironment=A=b",
    );
    assert_eq!(units.unit(&name).active, Active::Inactive);
    let up = units.run(&name, Job::Start).unwrap();
    assert_eq!((up.active, up.sub.as_str(), up.restarts), (Active::Active, "running", 0));
    assert!(up.main_pid.is_some() && up.since_ms.unwrap() >= began, "{up:?}");
    assert_eq!(units.run(&name, Job::Start).unwrap().main_pid, up.main_pid);
    let again = units.run(&name, Job::Restart).unwrap();
    assert_ne!(again.main_pid, up.main_pid);
    let reloaded = units.run(&name, Job::Reload).unwrap();
    assert_eq!(reloaded.main_pid, again.main_pid);
    let down = units.run(&name, Job::Stop).unwrap();
    assert_eq!((down.active, down.main_pid), (Active::Inactive, None));
    assert_eq!(down.last_exit.as_deref(), Some("signal 15"));
    units.run(&name, Job::Stop).unwrap();
    until("the journal", || {
        let lines = units.systemd.lines(&name, began, 100).unwrap();
        lines.iter().any(|line| line == "read again")
            && lines.iter().filter(|line| *line == "up").count() == 2
    });
    assert_eq!(units.systemd.lines(&name, began, 1).unwrap().len(), 1);
    assert_eq!(units.systemd.lines(&name, now_ms() + 60_000, 10).unwrap(), [""; 0]);
}

#[test]
fn a_reload_that_a_unit_cannot_do_is_named() {
    let Some(mut units) = Units::new("a_reload_that_a_unit_cannot_do_is_named") else { return };
    let name = units.service("deaf", "/bin/sleep 1000", "");
    units.run(&name, Job::Start).unwrap();
    let error = units.run(&name, Job::Reload).unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Unsupported, "systemd/not-applicable"));
}

#[test]
fn a_service_that_ends_at_once_did_not_start() {
    let Some(mut units) = Units::new("a_service_that_ends_at_once_did_not_start") else { return };
    let name = units.service("short", "/bin/sh -c 'echo no database; exit 3'", "");
    let error = units.run(&name, Job::Start).unwrap_err();
    assert_eq!(error.code, "systemd/job-failed");
    assert!(error.message.contains("exit 3") && error.message.contains("no database"), "{error}");
    let name = units.service("tired", "/bin/sh -c 'sleep 0.2'", "");
    assert_eq!(units.run(&name, Job::Start).unwrap_err().code, "systemd/job-failed");
    let name = units.service("missing", "/opt/no/such/program", "Type=exec");
    let error = units.run(&name, Job::Start).unwrap_err();
    assert!(error.code == "systemd/job-failed" && error.message.contains("`failed`"), "{error}");
}

#[test]
fn work_that_is_done_once_is_done_and_not_failed() {
    let Some(mut units) = Units::new("work_that_is_done_once_is_done_and_not_failed") else { return };
    let name = units.service("once", "/bin/true", "Type=oneshot");
    let done = units.run(&name, Job::Start).unwrap();
    assert_eq!((done.active, done.outcome.as_str()), (Active::Inactive, "success"));
    let name = units.service("stays", "/bin/true", "Type=oneshot\nRemainAfterExit=yes");
    assert_eq!(units.run(&name, Job::Start).unwrap().sub, "exited");
    let name = units.add(
        "unmet.service",
        "[Unit]\nConditionPathExists=/no/such\n[Service]\nType=oneshot\nExecStart=/bin/true\n",
    );
    let error = units.run(&name, Job::Start).unwrap_err();
    assert!(error.message.contains("condition"), "{error}");
}

#[test]
fn a_crash_loop_is_seen_and_a_stop_ends_it() {
    let Some(mut units) = Units::new("a_crash_loop_is_seen_and_a_stop_ends_it") else { return };
    let loop_of = "Restart=always\nRestartSec=50ms\nStartLimitIntervalSec=0";
    let name = units.add(
        "loop.service",
        &format!("[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/sh -c 'sleep 0.1; exit 7'\n{loop_of}\n"),
    );
    let error = units.run(&name, Job::Start).unwrap_err();
    assert_eq!(error.code, "systemd/job-failed");
    assert!(error.message.contains("exit 7"), "{error}");
    until("a few restarts", || units.unit(&name).restarts > 3);
    let error = units.run(&name, Job::Start).unwrap_err();
    assert!(error.code == "systemd/job-failed" && error.message.contains("started again"), "{error}");
    let down = units.run(&name, Job::Stop).unwrap();
    assert!(matches!(down.active, Active::Inactive | Active::Failed), "{down:?}");
    thread::sleep(Duration::from_millis(300));
    assert_eq!(units.unit(&name).main_pid, None);
}

#[test]
fn too_many_starts_are_a_limit_until_it_is_forgotten() {
    let Some(mut units) = Units::new("too_many_starts_are_a_limit_until_it_is_forgotten") else { return };
    let name = units.add(
        "limit.service",
        "[Unit]\nStartLimitIntervalSec=1h\nStartLimitBurst=1\n[Service]\nExecStart=/bin/false\n",
    );
    assert_eq!(units.run(&name, Job::Start).unwrap_err().code, "systemd/job-failed");
    assert_eq!(units.run(&name, Job::Start).unwrap_err().code, "systemd/start-limit");
    assert_eq!(units.unit(&name).active, Active::Failed);
    units.systemd.reset_failed(&name).unwrap();
    assert_eq!(units.unit(&name).active, Active::Inactive);
    assert_eq!(units.run(&name, Job::Start).unwrap_err().code, "systemd/job-failed");
}

#[test]
fn a_service_that_never_says_it_is_ready_is_timed_out_by_us_or_by_systemd() {
    let Some(mut units) = Units::new("a_service_that_never_says_it_is_ready") else { return };
    let name = units.service("silent", "/bin/sleep 1000", "Type=notify\nTimeoutStartSec=1h");
    let error = units.systemd.run_job(&name, Job::Start, Duration::from_secs(1), &|| false).unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::TimedOut, "systemd/timed-out"));
    assert!(error.message.contains("activating"), "{error}");
    units.run(&name, Job::Stop).unwrap();
    let name = units.service("silent-short", "/bin/sleep 1000", "Type=notify\nTimeoutStartSec=1s");
    let error = units.run(&name, Job::Start).unwrap_err();
    assert!(error.code == "systemd/job-failed" && error.message.contains("timeout"), "{error}");
}

#[test]
fn a_run_that_is_cancelled_waits_no_longer() {
    let Some(mut units) = Units::new("a_run_that_is_cancelled_waits_no_longer") else { return };
    let name = units.service("cancelled", "/bin/sleep 1000", "Type=notify\nTimeoutStartSec=1h");
    let (began, later) = (Instant::now(), Duration::from_millis(300));
    let error = units.systemd.run_job(&name, Job::Start, PATIENCE, &|| began.elapsed() > later).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Cancelled);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_unit_that_hangs_in_its_stop_is_timed_out_and_can_be_killed() {
    let Some(mut units) = Units::new("a_unit_that_hangs_in_its_stop") else { return };
    let stubborn = "/bin/sh -c \"trap '' TERM; echo up; while :; do sleep 1; done\"";
    let name = units.service("hangs", stubborn, "TimeoutStopSec=1h");
    units.run(&name, Job::Start).unwrap();
    thread::sleep(Duration::from_millis(200));
    let error = units.systemd.run_job(&name, Job::Stop, Duration::from_secs(1), &|| false).unwrap_err();
    assert_eq!(error.code, "systemd/timed-out");
    assert!(error.message.contains("stop-sigterm"), "{error}");
    // A start would have to wait for that stop.
    let error = units.systemd.run_job(&name, Job::Start, Duration::from_secs(1), &|| false).unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Conflict, "systemd/busy"), "{error}");
    units.systemd.kill(&name).unwrap();
    let down = units.run(&name, Job::Stop).unwrap();
    assert_eq!((down.active, down.main_pid), (Active::Failed, None));
    let name = units.service("killed", stubborn, "TimeoutStopSec=1s");
    units.run(&name, Job::Start).unwrap();
    thread::sleep(Duration::from_millis(200));
    let down = units.run(&name, Job::Stop).unwrap();
    assert_eq!((down.active, down.outcome.as_str()), (Active::Failed, "timeout"));
    units.systemd.kill(&name).unwrap();
}

#[test]
fn a_job_that_waits_for_others_does_not_stay_in_the_queue() {
    let Some(mut units) = Units::new("a_job_that_waits_for_others") else { return };
    let first = units.service("first", "/bin/sleep 1000", "Type=notify\nTimeoutStartSec=1h");
    let second = units.add(
        "second.service",
        &format!("[Unit]\nAfter={first}\nWants={first}\n[Service]\nExecStart=/bin/sleep 1000\n"),
    );
    let error = units.systemd.run_job(&second, Job::Start, Duration::from_secs(1), &|| false).unwrap_err();
    assert!(error.code == "systemd/timed-out" && error.message.contains("taken out of the queue"), "{error}");
    units.run(&first, Job::Stop).unwrap();
    thread::sleep(Duration::from_millis(200));
    assert_eq!(units.unit(&second).active, Active::Inactive);
}

#[test]
fn what_a_unit_needs_and_does_not_get_is_named() {
    let Some(mut units) = Units::new("what_a_unit_needs_and_does_not_get_is_named") else { return };
    let needed = units.service("needed", "/bin/false", "Type=oneshot");
    let name = units.add(
        "needs.service",
        &format!("[Unit]\nRequires={needed}\nAfter={needed}\n[Service]\nExecStart=/bin/sleep 1000\n"),
    );
    let error = units.run(&name, Job::Start).unwrap_err();
    assert!(error.code == "systemd/job-failed" && error.message.contains("a unit it needs"), "{error}");
}

#[test]
fn what_cannot_be_started_is_refused_with_its_reason() {
    let Some(mut units) = Units::new("what_cannot_be_started_is_refused_with_its_reason") else { return };
    let code = |name: &str, job| units.run(name, job).unwrap_err().code;
    assert_eq!(units.unit("sternway-try-nobody.service").load, Load::NotFound);
    for job in [Job::Start, Job::Stop, Job::Restart, Job::Reload] {
        assert_eq!(code("sternway-try-nobody.service", job), "systemd/unknown-unit");
    }
    assert_eq!(units.systemd.kill("sternway-try-nobody.service").unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(code("no-suffix", Job::Start), "systemd/name");
    let enabled = units.systemd.change_file("sternway-try-nobody.service", FileChange::Enable);
    assert_eq!(enabled.unwrap_err().code, "systemd/unknown-unit");
    let name =
        units.add("manual.service", "[Unit]\nRefuseManualStart=yes\n[Service]\nExecStart=/bin/sleep 9\n");
    assert_eq!(units.run(&name, Job::Start).unwrap_err().code, "systemd/refused-manual");
    let name = units.add("broken.service", "[Service]\nType=simple\n");
    assert_eq!(units.unit(&name).load, Load::Broken);
    assert_eq!(units.run(&name, Job::Start).unwrap_err().code, "systemd/broken-unit");
}

#[test]
fn links_are_made_and_taken_away_and_told_once() {
    let Some(mut units) = Units::new("links_are_made_and_taken_away_and_told_once") else { return };
    let name = units.add(
        "links.service",
        "[Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=multi-user.target\n",
    );
    let change = |change| units.systemd.change_file(&name, change).unwrap();
    assert_eq!(units.unit(&name).unit_file, "disabled");
    assert_eq!([change(FileChange::Enable), change(FileChange::Enable)], [true, false]);
    assert_eq!(units.unit(&name).unit_file, "enabled");
    assert_eq!([change(FileChange::Mask), change(FileChange::Mask)], [true, false]);
    assert_eq!((units.unit(&name).load, units.unit(&name).unit_file.as_str()), (Load::Masked, "masked"));
    assert_eq!(units.run(&name, Job::Start).unwrap_err().code, "systemd/masked");
    units.run(&name, Job::Stop).unwrap();
    assert_eq!([change(FileChange::Unmask), change(FileChange::Unmask)], [true, false]);
    assert_eq!(units.unit(&name).unit_file, "enabled");
    assert_eq!([change(FileChange::Disable), change(FileChange::Disable)], [true, false]);
    assert_eq!((units.unit(&name).load, units.unit(&name).unit_file.as_str()), (Load::Loaded, "disabled"));
    let name = units.service("no-install", "/bin/sleep 9", "");
    assert_eq!(units.systemd.change_file(&name, FileChange::Enable).unwrap_err().code, "systemd/no-install");
}

#[test]
fn a_drop_in_counts_after_a_reload() {
    let Some(mut units) = Units::new("a_drop_in_counts_after_a_reload") else { return };
    let name = units.service("drop-in", "/bin/sleep 1000", "");
    units.run(&name, Job::Start).unwrap();
    fs::create_dir(format!("{UNITS}/{name}.d")).unwrap();
    let drop_in = format!("{UNITS}/{name}.d/10-nice.conf");
    fs::write(&drop_in, "[Service]\nNice=5\n").unwrap();
    units.systemd.daemon_reload().unwrap();
    assert!(!units.unit(&name).needs_reload);
    thread::sleep(Duration::from_millis(20));
    fs::write(&drop_in, "[Service]\nNice=7\n").unwrap();
    assert!(units.unit(&name).needs_reload);
    units.systemd.daemon_reload().unwrap();
    let unit = units.unit(&name);
    assert_eq!((unit.needs_reload, unit.drop_ins), (false, vec![drop_in]));
    assert_eq!(unit.path, format!("{UNITS}/{name}"));
}

#[test]
fn units_of_other_kinds_start_and_stop() {
    let Some(mut units) = Units::new("units_of_other_kinds_start_and_stop") else { return };
    let socket = units.add("door.socket", "[Socket]\nListenStream=/run/sternway-try-door\n");
    units.service("door", "/bin/sleep 1000", "");
    assert_eq!(units.run(&socket, Job::Start).unwrap().sub, "listening");
    assert_eq!(units.run(&socket, Job::Stop).unwrap().active, Active::Inactive);
    let timer = units.add("clock.timer", "[Timer]\nOnActiveSec=1h\n");
    units.service("clock", "/bin/sleep 1000", "");
    assert_eq!(units.run(&timer, Job::Start).unwrap().sub, "waiting");
    let target = units.add("all.target", "[Unit]\nDescription=all of it\n");
    assert_eq!(units.run(&target, Job::Start).unwrap().active, Active::Active);
    assert_eq!(units.run(&target, Job::Stop).unwrap().active, Active::Inactive);
    let template = units.add("many@.service", "[Service]\nExecStart=/bin/sleep 100%i\n");
    units.names.retain(|name| *name != template);
    units.names.push("sternway-try-many@1.service".to_owned());
    assert!(units.run("sternway-try-many@1.service", Job::Start).unwrap().main_pid.is_some());
    fs::remove_file(file(&template)).unwrap();
}

#[test]
fn two_jobs_at_once_both_come_to_an_end() {
    let Some(mut units) = Units::new("two_jobs_at_once_both_come_to_an_end") else { return };
    let name = units.service("shared", "/bin/sleep 1000", "ExecStartPre=/bin/sleep 2");
    let other = units.service("other", "/bin/sleep 1000", "ExecStartPre=/bin/sleep 0.5");
    units.run(&name, Job::Start).unwrap();
    thread::scope(|scope| {
        let jobs = [
            scope.spawn(|| units.run(&name, Job::Restart)),
            scope.spawn(|| units.run(&name, Job::Restart)),
            scope.spawn(|| units.run(&other, Job::Start)),
        ];
        for job in jobs {
            assert_eq!(job.join().unwrap().unwrap().active, Active::Active);
        }
    });
}

#[test]
fn a_start_waits_for_the_stop_that_is_in_its_way() {
    let Some(mut units) = Units::new("a_start_waits_for_the_stop_that_is_in_its_way") else { return };
    let name = units.service("slow-stop", "/bin/sleep 1000", "ExecStop=/bin/sleep 2");
    let first = units.run(&name, Job::Start).unwrap();
    thread::scope(|scope| {
        let stop = scope.spawn(|| units.run(&name, Job::Stop));
        until("the stop", || units.unit(&name).active == Active::Deactivating);
        let again = units.run(&name, Job::Start).unwrap();
        assert!(again.main_pid.is_some() && again.main_pid != first.main_pid, "{again:?}");
        // It ended, and may have seen that the unit was started again.
        let stopped = stop.join().unwrap();
        assert!(
            stopped.as_ref().is_ok_and(|unit| unit.main_pid.is_none())
                || stopped.as_ref().is_err_and(|error| error.message.contains("started again")),
            "{stopped:?}"
        );
    });
}

#[test]
fn a_transient_unit_runs_as_given_and_leaves_nothing() {
    let Some(units) = Units::new("a_transient_unit_runs_as_given_and_leaves_nothing") else { return };
    let name = format!("sternway-try-transient-{}.service", std::process::id());
    let out = std::env::temp_dir().join(&name);
    let script = "printf '%s|' \"$@\" > \"$0\"; exec sleep 1000";
    let argv = ["/bin/sh", "-c", script, out.to_str().unwrap(), "a b", "$HOME %n", "--x=\"y\""];
    let argv: Vec<_> = argv.iter().map(Into::into).collect();
    units.systemd.start_transient(&name, &argv, "a try").unwrap();
    until("its output", || fs::read_to_string(&out).is_ok_and(|text| text.ends_with("y\"|")));
    assert_eq!(fs::read_to_string(&out).unwrap(), "a b|$HOME %n|--x=\"y\"|");
    let again = units.systemd.start_transient(&name, &argv, "a try").unwrap_err();
    assert_eq!((again.kind, again.code.as_str()), (ErrorKind::Conflict, "systemd/exists"));
    units.systemd.kill(&name).unwrap();
    until("its end", || units.unit(&name).load == Load::NotFound);
    fs::remove_file(&out).unwrap();
    let missing = units.systemd.start_transient(&name, &["/no/such".into()], "a try").unwrap_err();
    assert_eq!(missing.code, "systemd/job-failed");
    let relative = units.systemd.start_transient(&name, &["sh".into()], "a try").unwrap_err();
    assert_eq!(relative.code, "systemd/argument");
    units.systemd.start_transient(&name, &["/bin/true".into()], "a try").unwrap();
}

#[test]
fn a_bus_that_is_restarted_meanwhile_costs_no_job() {
    let Some(mut units) = Units::new("a_bus_that_is_restarted_meanwhile_costs_no_job") else { return };
    let restart = || {
        let done = Command::new("systemctl").args(["restart", "dbus.service"]).status().unwrap();
        assert!(done.success());
    };
    let name = units.service("bus", "/bin/sleep 1000", "ExecStartPre=/bin/sleep 3");
    restart();
    assert_eq!(units.unit(&name).active, Active::Inactive);
    thread::scope(|scope| {
        let start = scope.spawn(|| units.run(&name, Job::Start));
        thread::sleep(Duration::from_millis(500));
        restart();
        assert_eq!(start.join().unwrap().unwrap().active, Active::Active);
    });
    restart();
    assert_eq!(units.run(&name, Job::Stop).unwrap().active, Active::Inactive);
}

#[test]
fn a_caller_within_an_asynchronous_runtime_is_served_too() {
    let Some(_alone) = Units::new("a_caller_within_an_asynchronous_runtime_is_served_too") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let unit = runtime.block_on(async { Systemd::new().unit("dbus.service") }).unwrap();
    assert_eq!(unit.active, Active::Active);
}
