//! The Docker that carries the fleet: the machine's own when it answers, else
//! one that is started here and ended when no container is left on it. Ours
//! touches nothing of the machine but its own folders: no bridge, no iptables.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::process::Process;
use super::state;

/// Short, since a socket's path may have 107 letters.
const RUN: &str = "/run/sternway-fleet";
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub(crate) struct Docker {
    /// None is wherever `docker` looks by itself.
    address: Option<String>,
}

impl Docker {
    /// One that answers, if there is one; starts none.
    pub(crate) fn find() -> Option<Self> {
        let ours = Self { address: Some(format!("unix://{RUN}/docker.sock")) };
        let candidates = match Path::new(RUN).join("docker.sock").exists() {
            true => vec![ours, Self { address: None }],
            false => vec![Self { address: None }],
        };
        candidates.into_iter().find(Self::answers)
    }

    fn answers(&self) -> bool {
        self.output(&["version", "--format", "{{.Server.Version}}"])
            .is_ok_and(|output| output.status.success())
    }

    /// Since version 1.44 of its API it may.
    pub(crate) fn gives_random_ethernet_addresses(&self) -> bool {
        let version = self.ask(&["version", "--format", "{{.Server.APIVersion}}"]).unwrap_or_default();
        let minor = version.strip_prefix("1.").and_then(|minor| minor.parse::<u32>().ok());
        minor.is_none_or(|minor| minor >= 44)
    }

    /// What to put before a `docker` typed by hand.
    pub(crate) fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("docker");
        if let Some(address) = &self.address {
            command.env("DOCKER_HOST", address);
        }
        command.args(words);
        command
    }

    fn output(&self, words: &[&str]) -> Result<Output, String> {
        let mut command = self.command(words);
        command.stdin(Stdio::null());
        command.output().map_err(|cause| format!("could not start docker: {cause}"))
    }

    /// What it printed; the error is what it complained about.
    pub(crate) fn ask(&self, words: &[&str]) -> Result<String, String> {
        let output = self.output(words)?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        match output.status.success() {
            true => Ok(said),
            false => {
                let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Err(format!(
                    "docker {}: {complaint}{}{said}",
                    words.join(" "),
                    if said.is_empty() { "" } else { "\n" }
                ))
            }
        }
    }

    /// Runs a program in a container and answers what it printed.
    pub(crate) fn inside(&self, container: &str, words: &[&str]) -> Result<String, String> {
        self.ask(&[&["exec", container], words].concat())
    }

    /// Containers with this label, running or not, by name.
    pub(crate) fn containers(&self, label: &str) -> Result<Vec<String>, String> {
        let filter = format!("label={label}");
        let said = self.ask(&["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"])?;
        Ok(said.lines().map(str::to_owned).collect())
    }

    pub(crate) fn inspect(&self, container: &str) -> Result<Value, String> {
        let said = self.ask(&["inspect", "--type", "container", container])?;
        let all: Value = serde_json::from_str(&said).map_err(|cause| format!("docker inspect: {cause}"))?;
        Ok(all[0].clone())
    }

    /// Starts one of our own and waits until it answers.
    pub(crate) fn start() -> Result<Self, String> {
        let cache = state::cache()?;
        let (data, log) = (cache.join("docker"), cache.join("dockerd.log"));
        let failed = |cause: std::io::Error| format!("could not make the folders of Docker: {cause}");
        std::fs::create_dir_all(&data).map_err(failed)?;
        std::fs::create_dir_all(RUN).map_err(failed)?;
        let address = format!("unix://{RUN}/docker.sock");
        let mut command = Command::new("dockerd");
        command.args(["--host", &address, "--data-root"]).arg(&data).args([
            "--exec-root",
            &format!("{RUN}/run"),
            "--pidfile",
            &format!("{RUN}/dockerd.pid"),
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
            "--ip-forward=false",
            "--ip-masq=false",
        ]);
        let process = Process::start(&mut command, &log)?;
        std::fs::write(remembered()?, process.record().to_string()).map_err(failed)?;
        let docker = Self { address: Some(address) };
        let until = Instant::now() + PATIENCE;
        while !docker.answers() {
            if !process.is_alive() || Instant::now() > until {
                end_ours()?;
                return Err(format!("dockerd does not come up; see the end of {}", log.display()));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(docker)
    }

    /// Ends the one we started, unless somebody's container is on it; says what it did.
    pub(crate) fn end_unless_used(&self) -> Result<Option<String>, String> {
        if self.address.is_none() || !remembered()?.exists() {
            return Ok(None);
        }
        let others = self.ask(&["ps", "--all", "--format", "{{.Names}}"])?;
        if !others.is_empty() {
            let others: Vec<&str> = others.lines().collect();
            return Ok(Some(format!("our Docker stays: it carries {}", others.join(", "))));
        }
        end_ours()?;
        Ok(Some("our Docker is ended".into()))
    }
}

fn remembered() -> Result<PathBuf, String> {
    Ok(state::cache()?.join("dockerd.json"))
}

/// Also what a Docker that was killed left behind.
pub(crate) fn end_ours() -> Result<(), String> {
    let path = remembered()?;
    let Ok(text) = std::fs::read_to_string(&path) else { return Ok(()) };
    if let Some(process) = Process::from_record(&serde_json::from_str(&text).unwrap_or_default()) {
        process.end(PATIENCE);
    }
    let gone = |result: std::io::Result<()>| match result {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(cause.to_string()),
        _ => Ok(()),
    };
    gone(std::fs::remove_dir_all(RUN))?;
    gone(std::fs::remove_file(path))
}

/// Whether one of ours was started and not ended since.
pub(crate) fn is_ours() -> bool {
    remembered().is_ok_and(|path| path.exists())
}
