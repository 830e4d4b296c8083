//! One host of a test: a folder with its disk, a service, and an agent that is
//! started, killed and started again. Nothing of it is left when it is dropped.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use sternway_agent::journal;
use sternway_core::run::{Ending, Input, Record};
use sternway_tests::fleet::{program, text};

use crate::tree::{self, Tree};

/// Longest that anything on one host may take.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Looks now and then until it is so; false when patience ends first.
pub fn wait_until(mut is_so: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if is_so() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

#[derive(Debug)]
pub struct Host {
    pub name: String,
    pub folder: PathBuf,
    pub port: u16,
    agent: Option<Child>,
    lives: u32,
    is_served: bool,
}

impl Host {
    pub(crate) fn new(name: &str, folder: PathBuf, port: u16) -> Self {
        Self { name: name.to_owned(), folder, port, agent: None, lives: 0, is_served: false }
    }

    /// What a disk would hold: the agent's state and the host's files.
    pub fn disk(&self) -> PathBuf {
        self.folder.join("disk")
    }

    pub fn root(&self) -> PathBuf {
        self.disk().join("root")
    }

    pub fn journal(&self) -> PathBuf {
        self.disk().join("state/journal")
    }

    /// One of the agent's verbs, not yet started.
    pub fn agent_verb(&self, words: &[&str]) -> Command {
        let mut command = Command::new(program("sternway-agent"));
        command.args(words).arg("--config").arg(self.folder.join("agent.toml")).stdin(Stdio::null());
        command
    }

    /// Runs one of the agent's verbs to its end.
    pub fn verb(&self, words: &[&str]) -> std::process::Output {
        self.agent_verb(words).output().expect("the agent's program can be started")
    }

    /// Starts the agent; its log is kept apart for each life.
    pub fn start_agent(&mut self, environment: &[(&str, &str)]) {
        let mut command = self.agent_verb(&["serve"]);
        command.envs(environment.iter().copied());
        self.start_agent_by(command);
    }

    /// The same with a command that [`Host::agent_command`] began.
    pub fn start_agent_by(&mut self, mut command: Command) {
        assert!(self.agent.is_none(), "{}: one agent at a time", self.name);
        self.lives += 1;
        let log = std::fs::File::create(self.log_path()).expect("a log can be written");
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        self.agent = Some(command.spawn().expect("the agent can be started"));
    }

    /// `program` with `words` before, then the agent and what it needs.
    pub fn agent_command(&self, before: &str, words: &[&str]) -> Command {
        let mut command = Command::new(before);
        command.args(words).arg(program("sternway-agent")).args(["serve", "--config"]);
        command.arg(self.folder.join("agent.toml")).stdin(Stdio::null());
        command
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join(format!("agent-{}.log", self.lives))
    }

    /// What the agent said in its latest life.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub fn agent_pid(&self) -> Option<u32> {
        self.agent.as_ref().map(Child::id)
    }

    /// How the agent ended, if it did by itself.
    pub fn agent_ended(&mut self) -> Option<ExitStatus> {
        let ended = self.agent.as_mut()?.try_wait().expect("it is our child");
        if ended.is_some() {
            self.agent = None;
        }
        ended
    }

    pub fn kill_agent(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.kill().expect("it can be killed");
            agent.wait().expect("it ends");
        }
    }

    /// Asks it to end, as a service manager would.
    pub fn stop_agent(&mut self) {
        let Some(mut agent) = self.agent.take() else { return };
        let pid = rustix::process::Pid::from_child(&agent);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it can be asked");
        let ended = wait_until(|| agent.try_wait().is_ok_and(|ended| ended.is_some()));
        if !ended {
            let _ = agent.kill();
        }
        agent.wait().expect("it ends");
        assert!(ended, "{}: the agent did not end when asked\n{}", self.name, self.log());
    }

    /// What the journal says now.
    pub fn records(&self) -> Vec<Record> {
        let path = self.journal();
        if !path.exists() {
            return Vec::new();
        }
        let records = journal::look(&path);
        let records = records.unwrap_or_else(|error| panic!("{}: {error}\n{}", self.name, self.log()));
        records.into_iter().map(|(_, _, record)| record).collect()
    }

    /// How the newest run ended, once it has.
    pub fn ending(&self) -> Option<Ending> {
        let records = self.records();
        let inputs = records.iter().rev().filter_map(|record| match record {
            Record::Run { input, .. } => Some(input),
            _ => None,
        });
        for input in inputs {
            match input {
                Input::Settled { ending } => return Some(ending.clone()),
                Input::Accepted { .. } => return None,
                _ => {}
            }
        }
        None
    }

    /// Waits until the run has ended; the agent must live that long.
    pub fn wait_for_ending(&mut self) -> Ending {
        let mut died = None;
        let settled = wait_until(|| {
            died = self.agent_ended();
            died.is_some() || self.ending().is_some()
        });
        let Some(ending) = self.ending().filter(|_| settled) else {
            panic!("{}: no end; the agent {died:?}\n{}", self.name, self.account());
        };
        ending
    }

    /// The journal and the last lines of the log, for the message of a failure.
    pub fn account(&self) -> String {
        let log = self.log();
        let tail: Vec<&str> = log.lines().rev().take(20).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        let records: Vec<String> =
            self.records().iter().map(|record| sternway_agent::crash::record(record).to_owned()).collect();
        format!("journal: {}\nlog of life {}:\n{}", records.join(" "), self.lives, tail.join("\n"))
    }

    pub fn tree(&self) -> Tree {
        tree::read(&self.root())
    }

    pub fn start_service(&mut self) {
        self.is_served = true;
        let output = self.verb(&["service", "start", "hello"]);
        assert!(output.status.success(), "{}: {}", self.name, text(&output.stderr));
    }

    pub fn stop_service(&mut self) {
        if std::mem::take(&mut self.is_served) {
            let output = self.verb(&["service", "stop", "hello"]);
            assert!(output.status.success(), "{}: {}", self.name, text(&output.stderr));
        }
    }

    /// How often the service was started, ever.
    pub fn starts(&self) -> usize {
        std::fs::read_to_string(self.folder.join("starts")).unwrap_or_default().lines().count()
    }

    /// What the service says of itself: `{"guests":3,"version":"1.1"}`.
    pub fn health(&self) -> Option<serde_json::Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill_agent();
        if std::mem::take(&mut self.is_served) {
            // Also after a failure; there is nobody left to tell if it does not work.
            let _ = self.verb(&["service", "stop", "hello"]);
        }
        let _ = std::fs::remove_dir_all(self.disk());
    }
}

/// Whether a process was ended by SIGKILL, as a crash point does it.
pub fn was_killed(ended: ExitStatus) -> bool {
    ended.signal() == Some(9)
}

/// Copies a folder with everything in it, as it is.
pub fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp can be started");
    assert!(copied.success(), "{} could not be copied", from.display());
}
