//! Programs of the host, asked for what they know: found through PATH, started
//! without a shell and with a clean environment, and ended when they say too
//! much or nothing for too long.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::points::making::Open;
use crate::processes::accounts::Account;
use crate::processes::{self, SEARCH_PATH, in_words};

/// The most that one program may say, but for a dump.
const OUTPUT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Of what it says on its error output the end is kept.
const COMPLAINT_BYTES_MAX: usize = 4 * 1024;
const COMPLAINT_LINES: usize = 4;
const POLL_MIN: Duration = Duration::from_millis(1);
const POLL_MAX: Duration = Duration::from_millis(20);
/// After its end its output is read in so long, unless something it started holds it open.
const GRACE: Duration = Duration::from_millis(200);
const GRACE_LEFT: Duration = Duration::from_secs(2);
const CHUNK_BYTES: usize = 128 * 1024;
/// How much of a stream is read before somebody asks for it.
const CHUNKS_AHEAD: usize = 4;

/// Why a program's answer is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error("there is no program `{name}` on this host")]
    Absent { name: String },
    #[error("could not start `{name}`")]
    Start {
        name: String,
        #[source]
        cause: io::Error,
    },
    #[error("could not read what `{name}` says")]
    Read {
        name: String,
        #[source]
        cause: io::Error,
    },
    #[error("`{name}` said nothing more for {} s and was ended", patience.as_secs())]
    TimedOut { name: String, patience: Duration },
    #[error("`{name}` said more than {} MiB and was ended", OUTPUT_BYTES_MAX >> 20)]
    TooMuch { name: String },
    #[error("`{name}` ended with {ended}: {said}")]
    Failed { name: String, ended: String, said: String },
    #[error("`{name}` ended well and gave nothing")]
    Empty { name: String },
}

/// Where programs are found.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    path: OsString,
}

impl Programs {
    /// As the agent itself finds them.
    pub(super) fn of_host() -> Self {
        let path = std::env::var_os("PATH").filter(|path| !path.is_empty());
        Self { path: path.unwrap_or_else(|| SEARCH_PATH.into()) }
    }

    #[cfg(test)]
    pub(super) fn in_path(path: impl Into<OsString>) -> Self {
        Self { path: path.into() }
    }

    /// A program by its name, or by its place when it has one.
    pub(super) fn call(&self, name: &str) -> Result<Call, ProgramError> {
        let found = if name.contains('/') {
            Some(PathBuf::from(name)).filter(|place| is_program(place))
        } else {
            std::env::split_paths(&self.path)
                .filter(|folder| folder.is_absolute())
                .map(|folder| folder.join(name))
                .find(|place| is_program(place))
        };
        let program = found.ok_or_else(|| ProgramError::Absent { name: name.to_owned() })?;
        Ok(Call {
            program,
            shown: name.to_owned(),
            words: Vec::new(),
            environment: vec![("PATH", self.path.clone()), ("LC_ALL", "C".into())],
            account: None,
        })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.call(name).is_ok()
    }
}

fn is_program(place: &Path) -> bool {
    std::fs::metadata(place).is_ok_and(|stat| stat.is_file() && stat.permissions().mode() & 0o111 != 0)
}

/// One program with all that it is told.
#[derive(Debug, Clone)]
pub(super) struct Call {
    program: PathBuf,
    /// Its name and its first plain word, for messages: what follows may be secret.
    shown: String,
    words: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
    account: Option<Account>,
}

/// What a program said until it ended, however that was.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) out: Vec<u8>,
    complaint: String,
    status: ExitStatus,
    name: String,
}

impl Said {
    pub(super) fn is_well(&self) -> bool {
        self.status.success()
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    pub(super) fn well(self) -> Result<Self, ProgramError> {
        if self.is_well() {
            return Ok(self);
        }
        Err(ProgramError::Failed { name: self.name, ended: in_words(self.status), said: self.complaint })
    }
}

impl Call {
    pub(super) fn words<W: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.words.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        self
    }

    /// As messages call it, when its name alone says too little.
    pub(super) fn shown_as(mut self, shown: impl Into<String>) -> Self {
        self.shown = shown.into();
        self
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Runs as somebody else; for this the agent has to be root.
    pub(super) fn run_by(mut self, account: Account) -> Self {
        self.account = Some(account);
        self
    }

    /// What it says, when it ends well within `patience`.
    pub(super) fn ask(self, patience: Duration) -> Result<Said, ProgramError> {
        self.try_ask(patience)?.well()
    }

    /// What it says, however it ends, within `patience`.
    pub(super) fn try_ask(self, patience: Duration) -> Result<Said, ProgramError> {
        let mut running = self.start()?;
        let name = self.shown;
        let stdout = running.stdout()?;
        let (hand_over, said) = mpsc::sync_channel(1);
        std::thread::spawn(move || hand_over.send(read_all(stdout)));
        let has_ended = running.wait_until(Instant::now() + patience);
        let early = said.recv_timeout(GRACE).ok();
        // What it left behind must not keep the pipe open, nor live on.
        let status = running.end()?;
        let held = || Err(io::Error::other("something it started holds its output open"));
        let said = early.or_else(|| said.recv_timeout(GRACE_LEFT).ok()).unwrap_or_else(held);
        let complaint = running.complaint();
        let out = said.map_err(|cause| ProgramError::Read { name: name.clone(), cause })?;
        let Some(out) = out else { return Err(ProgramError::TooMuch { name }) };
        match has_ended {
            true => Ok(Said { out, complaint, status, name }),
            false => Err(ProgramError::TimedOut { name, patience }),
        }
    }

    /// A stream of what it says. Its last answer is an error unless the program
    /// ends well and said something; it is ended when it says nothing for longer
    /// than `patience` while somebody reads.
    pub(super) fn open(self, patience: Duration, may_be_empty: bool) -> Open {
        Box::new(move || {
            let running = self.start().map_err(io::Error::other)?;
            Ok(Box::new(Stream::new(running, patience, may_be_empty)?))
        })
    }

    fn start(&self) -> Result<Running, ProgramError> {
        let failed = |cause| ProgramError::Start { name: self.shown.clone(), cause };
        let mut command = Command::new(&self.program);
        command
            .args(&self.words)
            .current_dir("/")
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let account = match &self.account {
            Some(account) if account.uid != rustix::process::geteuid().as_raw() => {
                command.uid(account.uid).gid(account.gid);
                Some(account.clone())
            }
            _ => Account::own(),
        };
        if let Some(home) = account.and_then(|account| account.home) {
            command.env("HOME", home);
        }
        let mut child = command.spawn().map_err(failed)?;
        let stderr = child.stderr.take();
        let (hand_over, complaint) = mpsc::sync_channel(1);
        std::thread::spawn(move || hand_over.send(stderr.map(read_end).unwrap_or_default()));
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Ok(Running { name: self.shown.clone(), child, pid, complaint, status: None })
    }
}

/// A process and everything it starts; ended when it is dropped.
#[derive(Debug)]
struct Running {
    name: String,
    child: Child,
    /// Until it was waited for: later the number may be another's.
    pid: Option<Pid>,
    complaint: Receiver<Vec<u8>>,
    status: Option<ExitStatus>,
}

impl Running {
    fn stdout(&mut self) -> Result<ChildStdout, ProgramError> {
        self.child.stdout.take().ok_or_else(|| ProgramError::Read {
            name: self.name.clone(),
            cause: io::ErrorKind::BrokenPipe.into(),
        })
    }

    /// Whether it ended by itself before `deadline`.
    fn wait_until(&self, deadline: Instant) -> bool {
        let mut pause = POLL_MIN;
        while !self.has_ended() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(POLL_MAX);
        }
        true
    }

    fn has_ended(&self) -> bool {
        self.pid.is_none_or(processes::has_ended)
    }

    fn kill(&self) {
        if let Some(pid) = self.pid {
            // Nobody left in the group is what is wanted.
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        }
    }

    /// Ends what is left of it, and says how it ended.
    fn end(&mut self) -> Result<ExitStatus, ProgramError> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        self.kill();
        let status =
            self.child.wait().map_err(|cause| ProgramError::Read { name: self.name.clone(), cause })?;
        self.pid = None;
        self.status = Some(status);
        Ok(status)
    }

    /// What it said on its error output; once, after its end.
    fn complaint(&self) -> String {
        let bytes = self.complaint.recv_timeout(GRACE_LEFT).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<String> = text
            .lines()
            .map(|line| line.trim().chars().filter(|c| !c.is_control()).collect::<String>())
            .filter(|line| !line.is_empty())
            .collect();
        match lines.is_empty() {
            true => "it gave no reason".into(),
            false => lines[lines.len().saturating_sub(COMPLAINT_LINES)..].join(" | "),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// A long answer, read while the program gives it.
struct Stream {
    running: Running,
    said: Receiver<io::Result<Vec<u8>>>,
    patience: Duration,
    may_be_empty: bool,
    /// Said and not read yet, from `at` on.
    chunk: Vec<u8>,
    at: usize,
    has_spoken: bool,
    /// How it came out; said again to whoever reads on.
    over: Option<Result<(), String>>,
}

impl Stream {
    fn new(mut running: Running, patience: Duration, may_be_empty: bool) -> io::Result<Self> {
        let mut stdout = running.stdout().map_err(io::Error::other)?;
        let (hand_over, said) = mpsc::sync_channel(CHUNKS_AHEAD);
        std::thread::spawn(move || {
            loop {
                let mut chunk = vec![0; CHUNK_BYTES];
                let read = stdout.read(&mut chunk).map(|count| {
                    chunk.truncate(count);
                    chunk
                });
                let is_last = match &read {
                    Ok(chunk) if chunk.is_empty() => return,
                    Ok(_) => false,
                    Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_) => true,
                };
                if hand_over.send(read).is_err() || is_last {
                    return;
                }
            }
        });
        let (chunk, at, has_spoken, over) = (Vec::new(), 0, false, None);
        Ok(Self { running, said, patience, may_be_empty, chunk, at, has_spoken, over })
    }

    fn next(&mut self) -> Result<Option<Vec<u8>>, ProgramError> {
        let name = || self.running.name.clone();
        match self.said.recv_timeout(self.patience) {
            Ok(Ok(chunk)) => Ok(Some(chunk)),
            Ok(Err(cause)) => Err(ProgramError::Read { name: name(), cause }),
            Err(RecvTimeoutError::Timeout) => {
                self.running.kill();
                Err(ProgramError::TimedOut { name: name(), patience: self.patience })
            }
            Err(RecvTimeoutError::Disconnected) => self.finish().map(|()| None),
        }
    }

    /// Its output is at an end: is it whole?
    fn finish(&mut self) -> Result<(), ProgramError> {
        let has_ended = self.running.wait_until(Instant::now() + self.patience);
        let status = self.running.end()?;
        let name = self.running.name.clone();
        match (has_ended, status.success()) {
            (false, _) => Err(ProgramError::TimedOut { name, patience: self.patience }),
            (true, false) => {
                Err(ProgramError::Failed { name, ended: in_words(status), said: self.running.complaint() })
            }
            (true, true) if !self.has_spoken && !self.may_be_empty => Err(ProgramError::Empty { name }),
            (true, true) => Ok(()),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.at == self.chunk.len() && self.over.is_none() {
            match self.next() {
                Ok(Some(chunk)) => {
                    (self.chunk, self.at, self.has_spoken) = (chunk, 0, true);
                }
                Ok(None) => self.over = Some(Ok(())),
                Err(error) => self.over = Some(Err(told(&error))),
            }
        }
        let left = &self.chunk[self.at..];
        match &self.over {
            Some(Err(reason)) if left.is_empty() => Err(io::Error::other(reason.clone())),
            _ => {
                let count = left.len().min(buffer.len());
                buffer[..count].copy_from_slice(&left[..count]);
                self.at += count;
                Ok(count)
            }
        }
    }
}

/// With its cause, which an error of this kind cannot carry along.
fn told(error: &ProgramError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// None when it is more than a program may say.
fn read_all(output: ChildStdout) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    output.take(OUTPUT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= OUTPUT_BYTES_MAX).then_some(bytes))
}

/// Reads to the end, so that nobody waits for room, and keeps the last of it.
fn read_end(mut output: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = output.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..count]);
        let surplus = kept.len().saturating_sub(COMPLAINT_BYTES_MAX);
        kept.drain(..surplus);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::points::pieces::tests::StandIns;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = Programs::in_path("/nowhere:relative").call("pg_dump").unwrap_err();
        assert_eq!(error.to_string(), "there is no program `pg_dump` on this host");
    }

    #[test]
    fn its_environment_is_clean_and_its_complaint_is_told() {
        let programs = StandIns::new();
        programs.add("tell", "echo \"$LC_ALL|$CARGO_MANIFEST_DIR|$1|$PWD\"");
        let said = programs.find().call("tell").unwrap().words(["a b"]).ask(SOON).unwrap();
        assert_eq!(said.text(), "C||a b|/\n");
        programs.add("fail", "echo first >&2; printf 'no \\033[1mroom\\n' >&2; exit 7");
        let error = programs.find().call("fail").unwrap().ask(SOON).unwrap_err();
        assert_eq!(error.to_string(), "`fail` ended with exit 7: first | no [1mroom");
    }

    #[test]
    fn a_program_without_end_is_ended_with_all_it_started() {
        let programs = StandIns::new();
        let note = programs.folder().join("child");
        programs.add("hang", &format!("sleep 300 & echo $! > {}; sleep 300", note.display()));
        let began = Instant::now();
        let error = programs.find().call("hang").unwrap().ask(Duration::from_secs(1)).unwrap_err();
        assert!(matches!(error, ProgramError::TimedOut { .. }), "{error}");
        assert!(began.elapsed() < SOON, "it was ended");
        let child = std::fs::read_to_string(note).unwrap();
        // The kernel may take a moment to carry a signal out on a busy machine.
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
        let has_ended = || state().is_empty() || state().contains(") Z ");
        while !has_ended() && began.elapsed() < SOON {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(has_ended(), "what it started lives on: {}", state());
    }

    #[test]
    fn a_program_that_talks_for_ever_is_ended() {
        let programs = StandIns::new();
        programs.add("talk", "exec cat /dev/zero");
        let error = programs.find().call("talk").unwrap().ask(SOON).unwrap_err();
        assert!(matches!(error, ProgramError::TooMuch { .. }), "{error}");
    }

    #[test]
    fn what_it_left_behind_does_not_hold_its_answer_up() {
        let programs = StandIns::new();
        programs.add("fork", "sleep 300 & echo said");
        let began = Instant::now();
        let said = programs.find().call("fork").unwrap().ask(SOON).unwrap();
        assert_eq!(said.text(), "said\n");
        assert!(began.elapsed() < SOON / 2);
    }

    fn read(programs: &StandIns, name: &str, patience: Duration) -> (Vec<u8>, io::Result<()>) {
        let mut stream = programs.find().call(name).unwrap().open(patience, false)().unwrap();
        let mut bytes = Vec::new();
        let ended = stream.read_to_end(&mut bytes).map(|_| ());
        let again = stream.read(&mut [0; 8]);
        assert_eq!(again.is_err(), ended.is_err(), "who reads on hears the same");
        (bytes, ended)
    }

    #[test]
    fn a_stream_ends_well_only_when_its_program_does() {
        let programs = StandIns::new();
        programs.add("whole", "printf whole");
        assert_eq!(read(&programs, "whole", SOON).0, b"whole");
        programs.add("short", "printf half; echo 'lost the server' >&2; exit 1");
        let (bytes, ended) = read(&programs, "short", SOON);
        assert_eq!(bytes, b"half");
        assert_eq!(ended.unwrap_err().to_string(), "`short` ended with exit 1: lost the server");
        programs.add("killed", "printf half; kill -9 $$");
        let error = read(&programs, "killed", SOON).1.unwrap_err();
        assert!(error.to_string().contains("signal 9"), "{error}");
        programs.add("nothing", "exit 0");
        let error = read(&programs, "nothing", SOON).1.unwrap_err();
        assert_eq!(error.to_string(), "`nothing` ended well and gave nothing");
        programs.add("silent", "printf half; sleep 300");
        let error = read(&programs, "silent", Duration::from_secs(1)).1.unwrap_err();
        assert!(error.to_string().contains("said nothing more for 1 s"), "{error}");
    }

    #[test]
    fn a_slow_reader_is_no_silence_of_the_program() {
        let programs = StandIns::new();
        programs.add("fast", "printf a; printf b");
        let patience = Duration::from_millis(300);
        let mut stream = programs.find().call("fast").unwrap().open(patience, false)().unwrap();
        let mut first = [0];
        stream.read_exact(&mut first).unwrap();
        std::thread::sleep(patience * 3);
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!((first[0], rest.as_slice()), (b'a', b"b".as_slice()));
    }
}
