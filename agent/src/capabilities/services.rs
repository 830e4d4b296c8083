//! Services by the names the host's configuration gives them. A plan names a
//! service, never a command: what runs under a name is the host's own affair.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::capabilities::{ErrorKind, HostError};
use crate::{crash, durable, keeper};

const POLL: Duration = Duration::from_millis(15);
/// How long a new keeper may take to say its first word, after it has ended
/// what a killed one left behind.
const KEEPER_PATIENCE: Duration = Duration::from_secs(30);
const LINES_MAX: u32 = 1_000;
const LINE_BYTES_MAX: usize = 4 * 1024;
/// How much of the end of the output is looked through for lines.
const TAIL_BYTES: u64 = 256 * 1024;
const LINES_IN_ERROR: u32 = 5;

/// One service of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceDefinition {
    /// As plans name it; letters, digits, `-`, `_`, `.` and `@`.
    pub name: String,
    /// Program and arguments; no shell.
    pub command: Vec<String>,
    /// Where it runs; ours when unset.
    #[serde(default)]
    pub directory: Option<PathBuf>,
    /// Its whole environment, `PATH` apart.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// How long it must stay up to count as started.
    #[serde(default = "settle_ms")]
    pub settle_ms: u64,
    /// How long it may take to end when asked, before it is killed.
    #[serde(default = "stop_ms")]
    pub stop_ms: u64,
    /// Where its output goes; `output.log` in its state directory when unset.
    #[serde(default)]
    pub output: Option<PathBuf>,
}

fn settle_ms() -> u64 {
    500
}

fn stop_ms() -> u64 {
    5_000
}

/// As the contract names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Its process is there.
    Running,
    /// About to be started.
    Starting,
    /// Asked to end.
    Stopping,
    /// Not wanted, not there.
    Stopped,
    /// It ended by itself; it will be started again after a pause.
    Failed,
}

/// What is known of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// As plans name it.
    pub name: String,
    /// What it does now.
    pub state: State,
    /// Its first process, while there is one.
    pub pid: Option<u32>,
    /// When `state` began, in milliseconds since 1970 in UTC.
    pub since_ms: Option<u64>,
    /// How often it was started again after it ended by itself.
    pub restarts: u32,
    /// How it last ended: `exit 1`, `signal 9`.
    pub last_exit: Option<String>,
}

/// The services of one host.
#[derive(Debug, Clone)]
pub struct Services {
    state: PathBuf,
    definitions: BTreeMap<String, ServiceDefinition>,
    keeper: Vec<OsString>,
}

impl Services {
    /// `state` holds one directory for each service. `keeper` is the command
    /// to which `keep STATE NAME` is added; usually our own program.
    ///
    /// # Errors
    /// A name that could not be a directory, or two services of one name.
    pub fn new(
        state: PathBuf,
        definitions: impl IntoIterator<Item = ServiceDefinition>,
        keeper: Vec<OsString>,
    ) -> Result<Self, DefinitionError> {
        let mut by_name = BTreeMap::new();
        for definition in definitions {
            let name = definition.name.clone();
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
            if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(plain) {
                return Err(DefinitionError::Name { name });
            }
            if definition.command.is_empty() {
                return Err(DefinitionError::NoCommand { name });
            }
            if by_name.insert(name.clone(), definition).is_some() {
                return Err(DefinitionError::Twice { name });
            }
        }
        Ok(Self { state, definitions: by_name, keeper })
    }

    /// The names this host knows.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.definitions.keys().map(String::as_str)
    }

    /// # Errors
    /// `services/unknown`, or a failing disk.
    pub fn status(&self, name: &str) -> Result<Status, HostError> {
        self.definition(name)?;
        let status = |state, record: Option<&keeper::Record>| Status {
            name: name.to_owned(),
            state,
            pid: record.and_then(|record| record.process).map(|process| process.pid),
            since_ms: record.map(|record| record.since_ms),
            restarts: record.map_or(0, |record| record.restarts),
            last_exit: record.and_then(|record| record.last_exit.clone()),
        };
        let Some(record) = keeper::read_record(&self.directory(name)) else {
            return Ok(status(State::Stopped, None));
        };
        let alive = record.process.is_some_and(|process| process.is_alive());
        if record.keeper.is_alive() {
            // Between the end of the process and the keeper's word about it.
            let gone = record.state == State::Running && !alive;
            let record = keeper::Record { process: record.process.filter(|_| alive), ..record };
            return Ok(status(if gone { State::Failed } else { record.state }, Some(&record)));
        }
        // The keeper is gone: what counts is whether the service itself is.
        let state = if alive { State::Running } else { State::Stopped };
        let record = keeper::Record { process: record.process.filter(|_| alive), ..record };
        Ok(status(state, Some(&record)))
    }

    /// Last lines of its output, oldest first.
    ///
    /// # Errors
    /// `services/unknown`, or a failing disk.
    pub fn lines(&self, name: &str, lines_max: u32) -> Result<Vec<String>, HostError> {
        let definition = self.definition(name)?;
        let (output, older) = keeper::output_of(&self.directory(name), definition);
        let lines_max = lines_max.min(LINES_MAX) as usize;
        let mut lines = VecDeque::new();
        for path in [older, output] {
            tail(&path, lines_max, &mut lines)
                .map_err(|cause| HostError::from_io("services", "could not read the output", &cause))?;
        }
        Ok(lines.into())
    }

    /// Starts it unless it runs; returns when it has stayed up for its settle time.
    ///
    /// # Errors
    /// `services/failed` with its last lines, `services/timed-out`.
    pub fn start(
        &self,
        name: &str,
        timeout: Duration,
        give_up: &dyn Fn() -> bool,
    ) -> Result<Status, HostError> {
        let deadline = Instant::now() + timeout;
        let definition = self.definition(name)?.clone();
        let directory = self.directory(name);
        let kept = |cause: &dyn std::fmt::Display| {
            HostError::new(
                ErrorKind::Failed,
                "services/not-started",
                format!("the keeper of `{name}` could not be started: {cause}"),
            )
        };
        durable::create_directories(&directory, 0o755).map_err(|error| kept(&error))?;
        let is_kept = loop {
            match keeper::read_record(&directory).filter(|record| record.keeper.is_alive()) {
                None => break false,
                // An earlier stop is still under way; its keeper ends with it.
                Some(record) if matches!(record.state, State::Stopping | State::Stopped) => {}
                // It pauses before it tries what failed once more; whoever asks
                // now has changed something, and wants to see that tried.
                Some(record) if record.state == State::Failed => {
                    self.stop(name, deadline.saturating_duration_since(Instant::now()), give_up)?;
                }
                Some(_) => break true,
            }
            pause(name, "end its earlier run", deadline, give_up)?;
        };
        if !is_kept {
            let bytes = serde_json::to_vec(&definition).expect("a definition is plain data");
            durable::write(&directory.join("definition.json"), 0o600, &bytes)
                .map_err(|error| kept(&error))?;
            self.spawn_keeper(name).map_err(|cause| kept(&cause))?;
            crash::point("services.keeper-spawned", "");
        }
        self.settle(&definition, is_kept, deadline, give_up)
    }

    /// Asks it to end, insists after its stop time, returns when it is gone.
    ///
    /// # Errors
    /// `services/timed-out` when it is still there after `timeout`.
    pub fn stop(
        &self,
        name: &str,
        timeout: Duration,
        give_up: &dyn Fn() -> bool,
    ) -> Result<Status, HostError> {
        let deadline = Instant::now() + timeout;
        let definition = self.definition(name)?;
        let directory = self.directory(name);
        let Some(record) = keeper::read_record(&directory) else { return self.status(name) };
        let insist_at = Instant::now() + Duration::from_millis(definition.stop_ms);
        if record.keeper.is_alive() {
            record.keeper.signal(Signal::TERM);
        } else if let Some(orphan) = record.process {
            orphan.signal_group(Signal::TERM);
        }
        crash::point("services.told-to-end", "");
        loop {
            let now = keeper::read_record(&directory).unwrap_or_else(|| record.clone());
            let alive = now.process.filter(keeper::Identity::is_alive);
            if !now.keeper.is_alive() {
                match alive {
                    None => return self.status(name),
                    // Nobody else is left to insist.
                    Some(orphan) if Instant::now() >= insist_at => orphan.signal_group(Signal::KILL),
                    Some(_) => {}
                }
            }
            pause(name, "end", deadline, give_up)?;
        }
    }

    fn settle(
        &self,
        definition: &ServiceDefinition,
        was_kept: bool,
        deadline: Instant,
        give_up: &dyn Fn() -> bool,
    ) -> Result<Status, HostError> {
        let name = &definition.name;
        let settle = Duration::from_millis(definition.settle_ms);
        let mut up: Option<(u32, Instant)> = None;
        let spawned = Instant::now();
        loop {
            let status = self.status(name)?;
            // What an earlier keeper left behind is not about this start, and
            // how a process ended is known only when its keeper has said so.
            let spoken = keeper::read_record(&self.directory(name)).is_some_and(|record| {
                record.keeper.is_alive() && (record.state == status.state || status.state != State::Failed)
            });
            match (status.state, status.pid) {
                _ if !spoken && spawned.elapsed() < KEEPER_PATIENCE => {}
                (State::Running, Some(pid)) => match up {
                    Some((same, since)) if same == pid => {
                        if since.elapsed() >= settle {
                            return Ok(status);
                        }
                    }
                    Some(_) => return Err(self.failed(&status)),
                    // It ran before we asked, and has its own past to show.
                    None if was_kept && ran_for(&status) >= settle => return Ok(status),
                    None => up = Some((pid, Instant::now())),
                },
                (State::Failed, _) => return Err(self.failed(&status)),
                _ if up.is_some() || !spoken => return Err(self.failed(&status)),
                _ => {}
            }
            pause(name, "settle", deadline, give_up)?;
        }
    }

    fn failed(&self, status: &Status) -> HostError {
        let lines = self.lines(&status.name, LINES_IN_ERROR).unwrap_or_default();
        let exit = status.last_exit.as_deref().unwrap_or("it ended");
        let mut message = format!("the service `{}` did not stay up: {exit}", status.name);
        for line in lines {
            message.push_str(" | ");
            message.push_str(&line);
        }
        HostError::new(ErrorKind::Failed, "services/failed", message)
    }

    fn spawn_keeper(&self, name: &str) -> std::io::Result<()> {
        let (program, arguments) = self.keeper.split_first().ok_or(std::io::ErrorKind::NotFound)?;
        let mut child = std::process::Command::new(program)
            .args(arguments)
            .arg("keep")
            .arg(&self.state)
            .arg(name)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        // Waited for, so that it is no zombie while we live; it outlives us.
        std::thread::spawn(move || child.wait());
        Ok(())
    }

    fn definition(&self, name: &str) -> Result<&ServiceDefinition, HostError> {
        self.definitions.get(name).ok_or_else(|| {
            let shown: String = name.chars().take(64).flat_map(char::escape_debug).collect();
            HostError::new(
                ErrorKind::NotFound,
                "services/unknown",
                format!("this host has no service `{shown}`"),
            )
        })
    }

    fn directory(&self, name: &str) -> PathBuf {
        self.state.join(name)
    }
}

/// Why the services of the configuration cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// The name could not be that of a directory.
    #[error("`{name}` cannot name a service: letters, digits, `-`, `_`, `.` and `@`, 64 at most")]
    Name {
        /// As configured.
        name: String,
    },
    /// There is nothing to run.
    #[error("the service `{name}` has no command")]
    NoCommand {
        /// As configured.
        name: String,
    },
    /// Which of the two is meant?
    #[error("the service `{name}` is defined twice")]
    Twice {
        /// As configured.
        name: String,
    },
}

fn ran_for(status: &Status) -> Duration {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_millis(status.since_ms.unwrap_or(u64::MAX)))
}

fn pause(name: &str, what: &str, deadline: Instant, give_up: &dyn Fn() -> bool) -> Result<(), HostError> {
    if Instant::now() >= deadline {
        return Err(timed_out(name, what));
    }
    if give_up() {
        return Err(cancelled(name));
    }
    std::thread::sleep(POLL);
    Ok(())
}

fn timed_out(name: &str, what: &str) -> HostError {
    HostError::new(
        ErrorKind::TimedOut,
        "services/timed-out",
        format!("the service `{name}` did not {what} in time"),
    )
}

fn cancelled(name: &str) -> HostError {
    HostError::new(
        ErrorKind::Cancelled,
        "services/cancelled",
        format!("waiting for the service `{name}` was cancelled"),
    )
}

fn tail(path: &Path, lines_max: usize, lines: &mut VecDeque<String>) -> std::io::Result<()> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let skipped = file.metadata()?.len().saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(skipped))?;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    if skipped > 0 {
        reader.read_until(b'\n', &mut line)?;
        line.clear();
    }
    while reader.read_until(b'\n', &mut line)? > 0 {
        line.truncate(LINE_BYTES_MAX);
        let text = String::from_utf8_lossy(&line);
        lines.push_back(text.trim_end().chars().map(printable).collect());
        while lines.len() > lines_max {
            lines.pop_front();
        }
        line.clear();
    }
    Ok(())
}

fn printable(c: char) -> char {
    if c.is_control() && c != '\t' { '\u{fffd}' } else { c }
}

#[cfg(test)]
mod tests;
