//! Programs that go on after a chore has ended, told apart from later ones that
//! got the same number: the Docker of the fleet, and whoever delays a link.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    number: i32,
    /// In clock ticks since the machine started.
    started: u64,
}

impl Process {
    /// Starts it beside this process; a Ctrl-C that is meant for us does not reach it.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self, String> {
        use std::os::unix::process::CommandExt;
        let failed = |cause| format!("could not start {}: {cause}", crate::shown(command));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).map_err(failed)?;
        let also = log.try_clone().map_err(failed)?;
        let name = crate::shown(command);
        command.stdin(std::process::Stdio::null()).stdout(log).stderr(also).process_group(0);
        let child = command.spawn().map_err(|cause| format!("could not start {name}: {cause}"))?;
        let number = i32::try_from(child.id()).map_err(|_| "a process number is too large".to_owned())?;
        let started = started(number).ok_or_else(|| format!("{name} ended at once"))?;
        Ok(Self { number, started })
    }

    pub(crate) fn is_alive(self) -> bool {
        started(self.number) == Some(self.started)
    }

    /// Asks it to end, and insists after `patience`.
    pub(crate) fn end(self, patience: Duration) {
        let Some(pid) = Pid::from_raw(self.number) else { return };
        for signal in [Signal::TERM, Signal::KILL] {
            let until = Instant::now() + patience;
            if !self.is_alive() || kill_process(pid, signal).is_err() {
                return;
            }
            while self.is_alive() && test_kill_process(pid).is_ok() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    pub(crate) fn record(self) -> Value {
        json!({ "process": self.number, "started": self.started })
    }

    pub(crate) fn from_record(record: &Value) -> Option<Self> {
        let number = i32::try_from(record["process"].as_i64()?).ok()?;
        Some(Self { number, started: record["started"].as_u64()? })
    }
}

/// None when there is no such process, or it is dead and nobody waited for it yet.
fn started(number: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    // The name stands in brackets and may hold anything, brackets too.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ended_is_not_taken_for_a_later_one_of_its_number() {
        let log = std::env::temp_dir().join(format!("xtask-process-{}", std::process::id()));
        let process = Process::start(Command::new("sleep").arg("100"), &log).unwrap();
        let _ = std::fs::remove_file(log);
        let later = Process { started: process.started + 1, ..process };
        assert!(process.is_alive() && !later.is_alive());
        assert_eq!(Process::from_record(&process.record()), Some(process));
        later.end(Duration::from_millis(10));
        assert!(process.is_alive(), "the signal was for another one");
        process.end(Duration::from_secs(5));
        assert!(!process.is_alive());
    }
}
