//! The processes and the folder of the demonstration, and their end: whatever
//! happens, nothing is left running and nothing is left lying about.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sternway_core::exit;

use super::scene::SceneError;

/// A process that was asked to end and has not is killed after this long.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub(super) struct Cast {
    inner: Arc<Mutex<Players>>,
    /// True when the end has begun; held for reading while something is made.
    struck: Arc<RwLock<bool>>,
    folder: PathBuf,
    hosts: Vec<String>,
    /// The coordinator's port, then one for each host's service.
    ports: Vec<u16>,
}

#[derive(Debug)]
struct Players {
    folder: Option<tempfile::TempDir>,
    agents: Vec<Child>,
    coordinator: Option<Child>,
    /// Process ids of watches, which would look for their coordinator for long.
    watches: Vec<u32>,
}

impl Cast {
    /// Makes the folder and picks free ports.
    pub(super) fn gather(hosts: u16) -> Result<Self, SceneError> {
        let folder =
            tempfile::Builder::new().prefix("sternway-dev-").tempdir().map_err(SceneError::Folder)?;
        let width = if hosts > 99 { 3 } else { 2 };
        let names = (1..=hosts).map(|number| format!("demo-{number:0width$}")).collect();
        let path = folder.path().to_path_buf();
        let players = Players { folder: Some(folder), agents: vec![], coordinator: None, watches: vec![] };
        let ports = free_ports(usize::from(hosts) + 1).map_err(SceneError::Folder)?;
        Ok(Self {
            inner: Arc::new(Mutex::new(players)),
            struck: Arc::default(),
            folder: path,
            hosts: names,
            ports,
        })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn hosts(&self) -> &[String] {
        &self.hosts
    }

    pub(super) fn coordinator_port(&self) -> u16 {
        self.ports[0]
    }

    /// Of the service on the host of this number, counted from 0.
    pub(super) fn service_port(&self, host: usize) -> u16 {
        self.ports[host + 1]
    }

    pub(super) fn host_folder(&self, host: &str) -> PathBuf {
        self.folder.join("hosts").join(host)
    }

    pub(super) fn agent_config(&self, host: &str) -> PathBuf {
        self.host_folder(host).join("agent.toml")
    }

    /// To be held while a file is written or a program runs: the end waits for
    /// it, and once the end has begun nothing new is made.
    pub(super) fn stage(&self) -> RwLockReadGuard<'_, bool> {
        let struck = self.struck.read().unwrap_or_else(PoisonError::into_inner);
        if !*struck {
            return struck;
        }
        drop(struck);
        // The signal's thread ends the process.
        loop {
            std::thread::park();
        }
    }

    pub(super) fn track(&self, watch: u32) {
        self.players().watches.push(watch);
    }

    /// The watch has ended: its number may soon be somebody else's.
    pub(super) fn untrack(&self, watch: u32) {
        self.players().watches.retain(|known| *known != watch);
    }

    pub(super) fn start_agent(&self, host: &str) -> Result<(), SceneError> {
        let _stage = self.stage();
        let log = self.host_folder(host).join("agent.log");
        let config = self.agent_config(host);
        let child =
            start(&agent_program()?, ["serve".as_ref(), "--config".as_ref(), config.as_os_str()], &log)?;
        self.players().agents.push(child);
        Ok(())
    }

    /// Starts a coordinator and waits until agents can connect.
    pub(super) fn start_coordinator(&self, config: &Path) -> Result<(), SceneError> {
        let log = config.with_extension("log");
        let _ = std::fs::remove_file(&log);
        let words = ["serve".as_ref(), "--config".as_ref(), config.as_os_str()];
        {
            let _stage = self.stage();
            let child = start(&own_program()?, words, &log)?;
            self.players().coordinator = Some(child);
        }
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            if std::fs::read_to_string(&log)
                .is_ok_and(|text| text.lines().any(|line| line.starts_with("ready ")))
            {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        Err(SceneError::Said { what: "the coordinator did not come up".into(), said })
    }

    pub(super) fn stop_coordinator(&self) {
        let coordinator = self.players().coordinator.take();
        leave(coordinator.into_iter().collect());
    }

    fn players(&self) -> std::sync::MutexGuard<'_, Players> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends everything and removes the folder. A second call finds nothing to do.
    pub(super) fn strike(&self) {
        *self.struck.write().unwrap_or_else(PoisonError::into_inner) = true;
        let mut players = self.players();
        let Some(folder) = players.folder.take() else { return };
        players.watches.drain(..).for_each(terminate);
        let mut all: Vec<Child> = players.agents.drain(..).collect();
        all.extend(players.coordinator.take());
        leave(all);
        // Services outlive their agents on purpose; here they must not.
        let keepers = self.hosts.iter().filter_map(|host| {
            let agent = agent_program().ok()?;
            let mut stop = Command::new(agent);
            stop.args(["service", "stop", "hello", "--config"]).arg(self.agent_config(host));
            stop.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
        });
        let mut stops: Vec<Child> = keepers.collect();
        wait_all(&mut stops, LEAVE_WITHIN);
        if let Err(error) = folder.close() {
            tracing::warn!(%error, "the folder of the demonstration could not be removed");
        }
    }

    /// Ctrl-C ends the demonstration as cleanly as its last line does.
    pub(super) fn strike_on_signal(&self) -> Result<(), SceneError> {
        let cast = self.clone();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(SceneError::Folder)?;
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                runtime.block_on(async {
                    use tokio::signal::unix::{SignalKind, signal};
                    let (Ok(mut stop), Ok(mut interrupt)) =
                        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
                    else {
                        return std::future::pending().await;
                    };
                    tokio::select! {
                        _ = stop.recv() => {}
                        _ = interrupt.recv() => {}
                    }
                });
                cast.strike();
                std::process::exit(i32::from(exit::INTERRUPTED));
            })
            .map_err(SceneError::Folder)?;
        Ok(())
    }
}

impl Drop for Players {
    fn drop(&mut self) {
        leave(self.agents.drain(..).chain(self.coordinator.take()).collect());
    }
}

/// This program.
pub(super) fn own_program() -> Result<PathBuf, SceneError> {
    std::env::current_exe().map_err(SceneError::Folder)
}

/// The agent stands beside us, as it is built and as it is installed.
pub(super) fn agent_program() -> Result<PathBuf, SceneError> {
    let agent = own_program()?.with_file_name("sternway-agent");
    match agent.is_file() {
        true => Ok(agent),
        false => Err(SceneError::NoAgent(agent)),
    }
}

fn start<'a>(
    program: &Path,
    words: impl IntoIterator<Item = &'a OsStr>,
    log: &Path,
) -> Result<Child, SceneError> {
    let failed = |cause| SceneError::Start { program: program.to_path_buf(), cause };
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log).map_err(failed)?;
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null()).stdout(log.try_clone().map_err(failed)?).stderr(log);
    // A Ctrl-C at the terminal is ours to hand on, in order.
    command.process_group(0).spawn().map_err(failed)
}

/// Asks, waits, insists.
fn leave(mut children: Vec<Child>) {
    children.iter().map(Child::id).for_each(terminate);
    wait_all(&mut children, LEAVE_WITHIN);
}

fn terminate(process: u32) {
    if let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) {
        // It may have ended already, which is what is wanted.
        let _ = kill_process(pid, Signal::TERM);
    }
}

fn wait_all(children: &mut Vec<Child>, within: Duration) {
    let until = Instant::now() + within;
    while !children.is_empty() && Instant::now() < until {
        children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        std::thread::sleep(Duration::from_millis(5));
    }
    for mut child in children.drain(..) {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Free now; all are held until all are known, so that none is given twice.
fn free_ports(count: usize) -> std::io::Result<Vec<u16>> {
    let coordinator = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut held = Vec::new();
    let mut ports = vec![coordinator.local_addr()?.port()];
    for _ in 1..count {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        ports.push(listener.local_addr()?.port());
        held.push(listener);
    }
    Ok(ports)
}
