//! One program from its start to its end, with all it starts: in a group of its
//! own, with a clean environment, without new rights, and never longer than it may.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, OFlags};
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use super::fill::Input;
use super::find;
use crate::processes::accounts::Account;
use crate::processes::{SEARCH_PATH, has_ended, pid_of};

const POLL_MIN: Duration = Duration::from_millis(1);
const POLL_MAX: Duration = Duration::from_millis(20);
/// How long a group may take to end when asked, before it is killed.
const INSIST_AFTER: Duration = Duration::from_secs(5);
/// After its end its output is read in so long, unless something holds it open.
const GRACE: Duration = Duration::from_secs(2);
const CHUNK_BYTES: usize = 64 * 1024;
/// How much is read before somebody takes it: a program that talks too fast waits.
const CHUNKS_AHEAD: usize = 8;

/// A program with everything it gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) program: PathBuf,
    pub(super) words: Vec<String>,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) directory: PathBuf,
    /// As whom; as ourselves when unset.
    pub(super) run_as: Option<RunAs>,
    pub(super) input: JobInput,
    /// Where its output goes.
    pub(super) output: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RunAs {
    pub(super) user: String,
    pub(super) gid: u32,
    pub(super) home: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum JobInput {
    Nothing,
    File(PathBuf),
    Text(String),
}

impl From<Input> for JobInput {
    fn from(input: Input) -> Self {
        match input {
            Input::Nothing => Self::Nothing,
            Input::File(path) => Self::File(path),
            Input::Text(text) => Self::Text(text),
        }
    }
}

/// Which of its two outputs something came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Output,
    Complaint,
}

/// Why it was ended before it came to its own end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Halt {
    TimedOut,
    Cancelled,
}

/// How it ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finished {
    pub(super) status: ExitStatus,
    pub(super) halted: Option<Halt>,
    pub(super) elapsed: Duration,
}

impl Job {
    /// Runs it to its end. `halt` is asked about every 20 ms whether it has to
    /// end; `hear` gets what it says.
    ///
    /// # Errors
    /// It could not be started.
    pub(super) fn carry_out(
        &self,
        halt: &dyn Fn() -> Option<Halt>,
        hear: &mut dyn FnMut(Stream, &[u8]),
    ) -> io::Result<Finished> {
        let begun = Instant::now();
        let output = self.open_output()?;
        let mut command = self.command();
        command.stdin(self.open_input()?).stderr(Stdio::piped());
        match &output {
            Some(file) => command.stdout(file.try_clone()?),
            None => command.stdout(Stdio::piped()),
        };
        // The thread that starts it waits for it: the kernel ends it with this thread.
        let mut group = Group::new(command.spawn()?);
        drop(command);
        let heard = group.listen();
        let halted = group.watch(halt, &heard, hear);
        let status = group.end()?;
        drain(&heard, hear, Instant::now() + GRACE);
        if let Some(file) = output {
            file.sync_all()?;
        }
        Ok(Finished { status, halted, elapsed: begun.elapsed() })
    }

    /// `setpriv` gives up rights and asks the kernel to end it with us; where
    /// it is not, the program still runs, as ourselves.
    fn command(&self) -> Command {
        let mut command = match find::program("setpriv", &[]) {
            None => Command::new(&self.program),
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                if let Some(RunAs { user, gid, .. }) = &self.run_as {
                    command.arg(format!("--reuid={user}")).arg(format!("--regid={gid}")).arg("--init-groups");
                }
                command.args(["--no-new-privs", "--pdeathsig=KILL", "--"]).arg(&self.program);
                command
            }
        };
        command
            .args(&self.words)
            .current_dir(&self.directory)
            .env_clear()
            .env("PATH", SEARCH_PATH)
            .env("LC_ALL", "C.UTF-8")
            .process_group(0);
        let own = || Account::own().and_then(|account| account.home);
        if let Some(home) = self.run_as.as_ref().map_or_else(own, |user| user.home.clone()) {
            command.env("HOME", home);
        }
        command.envs(&self.environment);
        command
    }

    fn open_input(&self) -> io::Result<Stdio> {
        Ok(match &self.input {
            JobInput::Nothing => Stdio::null(),
            JobInput::File(path) => File::open(path).map_err(|cause| about(path, &cause))?.into(),
            JobInput::Text(text) => {
                let memory = rustix::fs::memfd_create("input", MemfdFlags::CLOEXEC)?;
                let mut memory = File::from(memory);
                memory.write_all(text.as_bytes())?;
                memory.rewind()?;
                memory.into()
            }
        })
    }

    fn open_output(&self) -> io::Result<Option<File>> {
        let Some(path) = &self.output else { return Ok(None) };
        let no_link = i32::try_from(OFlags::NOFOLLOW.bits()).expect("a flag of open");
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600).custom_flags(no_link);
        options.open(path).map(Some).map_err(|cause| about(path, &cause))
    }
}

fn about(path: &Path, cause: &io::Error) -> io::Error {
    io::Error::new(cause.kind(), format!("`{}`: {cause}", path.display()))
}

/// A process and all of its group; ended when it is dropped.
#[derive(Debug)]
struct Group {
    child: Child,
    /// Until it was waited for: later the number may be another's.
    leader: Option<Pid>,
}

type Heard = Receiver<(Stream, Vec<u8>)>;

impl Group {
    fn new(child: Child) -> Self {
        let leader = pid_of(child.id());
        Self { child, leader }
    }

    fn listen(&mut self) -> Heard {
        let (tell, heard) = mpsc::sync_channel(CHUNKS_AHEAD);
        if let Some(output) = self.child.stdout.take() {
            let tell = tell.clone();
            std::thread::spawn(move || pass_on(output, Stream::Output, &tell));
        }
        if let Some(complaint) = self.child.stderr.take() {
            std::thread::spawn(move || pass_on(complaint, Stream::Complaint, &tell));
        }
        heard
    }

    /// Until it has ended, by itself or because it had to.
    fn watch(
        &self,
        halt: &dyn Fn() -> Option<Halt>,
        heard: &Heard,
        hear: &mut dyn FnMut(Stream, &[u8]),
    ) -> Option<Halt> {
        let mut pause = POLL_MIN;
        let mut halted = None;
        let mut insist_at = None;
        let mut is_silent = false;
        while !self.leader.is_none_or(has_ended) {
            if halted.is_none() {
                halted = halt();
                if halted.is_some() {
                    self.signal(Signal::TERM);
                    insist_at = Some(Instant::now() + INSIST_AFTER);
                }
            }
            if insist_at.is_some_and(|at| Instant::now() >= at) {
                self.signal(Signal::KILL);
            }
            match heard.recv_timeout(pause) {
                Ok((stream, bytes)) => {
                    hear(stream, &bytes);
                    pause = POLL_MIN;
                }
                Err(RecvTimeoutError::Timeout) => pause = (pause * 2).min(POLL_MAX),
                // It is about to end, or closed its outputs and works on.
                Err(RecvTimeoutError::Disconnected) => {
                    if !std::mem::replace(&mut is_silent, true) {
                        pause = POLL_MIN;
                    }
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(POLL_MAX);
                }
            }
        }
        halted
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader {
            // Nobody left in the group is what is wanted.
            let _ = rustix::process::kill_process_group(leader, signal);
        }
    }

    /// Ends what is left of the group, and says how its leader ended.
    fn end(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::KILL);
        let status = self.child.wait();
        self.leader = None;
        status
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.leader.is_some() {
            // There is nobody left to tell.
            let _ = self.end();
        }
    }
}

fn pass_on(mut from: impl Read, stream: Stream, tell: &SyncSender<(Stream, Vec<u8>)>) {
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        match from.read(&mut chunk) {
            Ok(0) => return,
            Ok(count) => {
                chunk.truncate(count);
                if tell.send((stream, chunk)).is_err() {
                    return;
                }
            }
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

fn drain(heard: &Heard, hear: &mut dyn FnMut(Stream, &[u8]), until: Instant) {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match heard.recv_timeout(left) {
            Ok((stream, bytes)) if !left.is_zero() => hear(stream, &bytes),
            _ => return,
        }
    }
}
