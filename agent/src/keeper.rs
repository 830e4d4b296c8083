//! The process that looks after one service: `sternway-agent keep STATE_DIR NAME`.
//!
//! It stands in a session of its own, so the service outlives the agent; it
//! restarts what crashes, with pauses that double; and it writes down what is,
//! for any agent that comes later. A lock file keeps it the only one.
//!
//! Everything of a service lies in `STATE_DIR/NAME/`: `definition.json` (read
//! once, at the start), `status.json`, `lock`, and the output.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::FlockOperation;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::process::Child;
use tokio::signal::unix::SignalKind;

use crate::capabilities::services::{ServiceDefinition, State};
use crate::durable;
pub use crate::processes::Identity;
use crate::processes::{SEARCH_PATH, in_words};

/// Size at which the output is moved to `<file>.1`, in bytes; one older is kept.
pub const OUTPUT_BYTES_MAX: u64 = 1024 * 1024;
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A run as long as this starts the pauses from the beginning.
const STEADY: Duration = Duration::from_secs(60);
const OUTPUT_CHECK: Duration = Duration::from_millis(500);

/// What the keeper last wrote down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// As the contract names it.
    pub state: State,
    /// The keeper itself.
    pub keeper: Identity,
    /// The service's first process, while there is one.
    pub process: Option<Identity>,
    /// When `state` began, in milliseconds since 1970 in UTC.
    pub since_ms: u64,
    /// How often it was started again after it ended by itself.
    pub restarts: u32,
    /// How it last ended: `exit 1`, `signal 9`.
    pub last_exit: Option<String>,
}

/// Why a keeper did not do its work.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error("another keeper looks after this service")]
    AlreadyKept,
    #[error("could not {step} `{}`", path.display())]
    Io {
        step: &'static str,
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("the definition in `{}` cannot be read", path.display())]
    Definition {
        path: PathBuf,
        #[source]
        cause: serde_json::Error,
    },
    #[error(transparent)]
    Durable(#[from] durable::DurableError),
}

/// Exit code when another keeper has the lock.
pub const ALREADY_KEPT: u8 = 75;

/// Runs until the service is told to stop. Exit codes: 0 stopped as asked,
/// 75 already kept, 70 anything else (with a line in the output file).
pub fn main(directory: &Path, name: &str) -> ExitCode {
    // Fails only for a leader of a group, which then has a session of its own.
    let _ = rustix::process::setsid();
    let directory = directory.join(name);
    let kept = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| KeepError::Io { step: "start to keep", path: directory.clone(), cause })
        .and_then(|runtime| runtime.block_on(keep(&directory)));
    match kept {
        Ok(()) => ExitCode::SUCCESS,
        Err(KeepError::AlreadyKept) => ExitCode::from(ALREADY_KEPT),
        Err(error) => {
            tracing::error!(service = name, error = &error as &dyn std::error::Error, "not kept");
            ExitCode::from(70)
        }
    }
}

/// The lock of a service's directory; free when nobody keeps it.
pub(crate) fn try_lock(directory: &Path) -> io::Result<Option<File>> {
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(directory.join("lock"))?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(lock)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// What was last written down, if anything readable was.
pub(crate) fn read_record(directory: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(directory.join("status.json")).ok()?).ok()
}

/// Where the output goes, and what the older part of it is called.
pub(crate) fn output_of(directory: &Path, definition: &ServiceDefinition) -> (PathBuf, PathBuf) {
    let output = definition.output.clone().unwrap_or_else(|| directory.join("output.log"));
    let mut older = output.clone().into_os_string();
    older.push(".1");
    (output, PathBuf::from(older))
}

async fn keep(directory: &Path) -> Result<(), KeepError> {
    let in_directory = |step, cause| KeepError::Io { step, path: directory.to_path_buf(), cause };
    let _lock =
        try_lock(directory).map_err(|cause| in_directory("lock", cause))?.ok_or(KeepError::AlreadyKept)?;
    let path = directory.join("definition.json");
    let bytes = fs::read(&path).map_err(|cause| KeepError::Io { step: "read", path: path.clone(), cause })?;
    let definition: ServiceDefinition = serde_json::from_slice(&bytes)
        .map_err(|cause| KeepError::Definition { path: path.clone(), cause })?;
    let asked = tokio::signal::unix::signal(SignalKind::terminate())
        .map_err(|cause| in_directory("listen for signals in", cause))?;
    let own = Identity::of(std::process::id())
        .ok_or_else(|| in_directory("find ourselves for", io::ErrorKind::NotFound.into()))?;
    if let Some(orphan) = read_record(directory).and_then(|record| record.process) {
        // An earlier keeper was killed; two of one service must never run.
        end(orphan, definition.stop_ms).await;
    }
    let record = Record {
        state: State::Starting,
        keeper: own,
        process: None,
        since_ms: now_ms(),
        restarts: 0,
        last_exit: None,
    };
    Keeper { directory: directory.to_path_buf(), definition, record, asked }.run().await
}

struct Keeper {
    directory: PathBuf,
    definition: ServiceDefinition,
    record: Record,
    asked: tokio::signal::unix::Signal,
}

impl Keeper {
    async fn run(mut self) -> Result<(), KeepError> {
        let mut pause = PAUSE_FIRST;
        loop {
            self.enter(State::Starting, None)?;
            let started = Instant::now();
            match self.start() {
                Ok(child) => {
                    let Some(status) = self.watch(child).await? else { return Ok(()) };
                    self.record.last_exit = Some(in_words(status));
                }
                Err(cause) => self.record.last_exit = Some(format!("not started: {cause}")),
            }
            self.enter(State::Failed, None)?;
            if started.elapsed() >= STEADY {
                pause = PAUSE_FIRST;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = self.asked.recv() => return self.enter(State::Stopped, None),
            }
            pause = (pause * 2).min(PAUSE_MAX);
            self.record.restarts = self.record.restarts.saturating_add(1);
        }
    }

    fn enter(&mut self, state: State, process: Option<Identity>) -> Result<(), KeepError> {
        self.record.state = state;
        self.record.process = process;
        self.record.since_ms = now_ms();
        let bytes = serde_json::to_vec(&self.record).expect("a record is plain data");
        Ok(durable::write(&self.directory.join("status.json"), 0o644, &bytes)?)
    }

    fn start(&self) -> io::Result<Child> {
        let (output, _) = output_of(&self.directory, &self.definition);
        let output = OpenOptions::new().create(true).append(true).mode(0o640).open(output)?;
        let (program, arguments) = self
            .definition
            .command
            .split_first()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the command is empty"))?;
        let mut command = tokio::process::Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", SEARCH_PATH)
            .envs(&self.definition.environment)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0);
        if let Some(directory) = &self.definition.directory {
            command.current_dir(directory);
        }
        command.spawn()
    }

    /// How it ended by itself; none when it was asked to stop and did.
    async fn watch(&mut self, mut child: Child) -> Result<Option<ExitStatus>, KeepError> {
        let identity = child.id().and_then(Identity::of);
        self.enter(State::Running, identity)?;
        let mut check = tokio::time::interval(OUTPUT_CHECK);
        loop {
            tokio::select! {
                ended = child.wait() => {
                    self.shorten_output();
                    let ended = ended.map_err(|cause| KeepError::Io {
                        step: "wait for",
                        path: self.directory.clone(),
                        cause,
                    })?;
                    return Ok(Some(ended));
                }
                _ = check.tick() => self.shorten_output(),
                _ = self.asked.recv() => break,
            }
        }
        self.enter(State::Stopping, identity)?;
        let ended = self.stop(&mut child, identity).await;
        self.record.last_exit = ended.map(in_words);
        self.enter(State::Stopped, None)?;
        Ok(None)
    }

    async fn stop(&self, child: &mut Child, identity: Option<Identity>) -> Option<ExitStatus> {
        let patience = Duration::from_millis(self.definition.stop_ms);
        if let Some(identity) = identity {
            identity.signal_group(Signal::TERM);
        }
        if let Ok(ended) = tokio::time::timeout(patience, child.wait()).await {
            return ended.ok();
        }
        if let Some(identity) = identity {
            identity.signal_group(Signal::KILL);
        }
        child.wait().await.ok()
    }

    /// The service holds the file open for appending, so the content is moved
    /// and the file cut, never renamed. Failing to do so harms nothing yet.
    fn shorten_output(&self) {
        let (output, older) = output_of(&self.directory, &self.definition);
        let is_long = fs::metadata(&output).is_ok_and(|stat| stat.len() > OUTPUT_BYTES_MAX);
        if is_long && fs::copy(&output, &older).is_ok() {
            let cut = OpenOptions::new().write(true).open(&output).and_then(|f| f.set_len(0));
            if let Err(error) = cut {
                tracing::warn!(error = &error as &dyn std::error::Error, "output not shortened");
            }
        }
    }
}

/// Ends a process that is not our child: asks, insists, waits until it is gone.
async fn end(process: Identity, stop_ms: u64) {
    process.signal_group(Signal::TERM);
    let patience = Instant::now() + Duration::from_millis(stop_ms);
    while process.is_alive() {
        if Instant::now() >= patience {
            process.signal_group(Signal::KILL);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
