//! Processes of this host: how one is told apart from a later one of the same
//! number, how its group is ended, and as whom it runs.

pub(crate) mod accounts;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};

/// Where programs are looked for, whatever PATH the agent itself was given.
pub(crate) const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A process, told apart from a later one that has the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The process number.
    pub pid: u32,
    /// When it started, in clock ticks since boot, from `/proc`.
    pub started: u64,
}

impl Identity {
    /// None when there is no such process, or it is dead and not yet waited for.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = Stat::of(pid)?;
        (!matches!(stat.state.as_str(), "Z" | "X")).then_some(Self { pid, started: stat.started })
    }

    /// Whether this very process is still there.
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }

    /// Sends a signal to the process group it leads, if it is still this process.
    pub(crate) fn signal_group(&self, signal: Signal) {
        if self.is_alive()
            && let Some(pid) = pid_of(self.pid)
        {
            // It may have ended in between, which is what was wanted.
            let _ = rustix::process::kill_process_group(pid, signal);
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if self.is_alive()
            && let Some(pid) = pid_of(self.pid)
        {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

pub(crate) fn pid_of(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// What the kernel says of a process, also of one that is dead and not waited for.
struct Stat {
    state: String,
    session: u32,
    started: u64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in brackets and may hold anything, brackets too.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?.to_owned();
        let session = fields.nth(2)?.parse().ok()?;
        Some(Self { state, session, started: fields.nth(15)?.parse().ok()? })
    }
}

/// Kills what is left in the session of a leader that has ended. Its number is
/// given to nobody else while its session lives, so nobody else is hit.
pub(crate) fn end_session(leader: Identity) {
    if leader.is_alive() || Stat::of(leader.pid).is_some_and(|stat| stat.started != leader.started) {
        return;
    }
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        if Stat::of(pid).is_some_and(|stat| stat.session == leader.pid)
            && let Some(pid) = pid_of(pid)
        {
            // It may have ended in between, which is what was wanted.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

/// Whether a child of ours has ended. It is left to be waited for, so that its
/// number stays its own.
pub(crate) fn has_ended(child: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(rustix::process::waitid(WaitId::Pid(child), options), Ok(None))
}

/// `exit 1`, `signal 9`.
pub(crate) fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_process_is_itself_until_it_ends() {
        let own = Identity::of(std::process::id()).unwrap();
        assert!(own.is_alive());
        assert!(!Identity { started: own.started + 1, ..own }.is_alive());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        // Dead but not waited for counts as ended.
        let deadline = Instant::now() + Duration::from_secs(5);
        while Identity::of(pid).is_some() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(Identity::of(pid), None);
        child.wait().unwrap();
    }
}
