//! The coordinator as a process of its own: killed, frozen, passed by.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sternway_coordinator::pki::{Issued, Role};
use sternway_core::exit;
use sternway_core::ids::JournalId;
use sternway_core::run::Told;
use sternway_core::time::Timestamp;
use sternway_core::wire::{
    Answer, Event, FRAME_BYTES_MAX, FromAgent, Greeting, PROTOCOL, Request, ToAgent, encode_frame,
};

use crate::harness::{Agent, FLEET, Site, host, plan, seal};

const JOURNAL: JournalId = JournalId([1; 16]);

/// A running `sternway serve`; killed when dropped.
struct Process(Child);

impl Process {
    fn serve(config: &Path) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sternway"));
        command.args(["serve", "--config"]).arg(config).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Returns when it says that agents can connect.
    fn start(config: &Path) -> Self {
        let mut child = Self::serve(config);
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("ready "), "{line}{}", Self(child).ended());
        // Whoever does not read it would stop a process that says much.
        let mut errors = child.stderr.take().unwrap();
        std::thread::spawn(move || _ = std::io::copy(&mut errors, &mut std::io::sink()));
        Self(child)
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn ended(mut self) -> String {
        let mut said = String::new();
        let _ = self.0.kill();
        if let Some(mut errors) = self.0.stderr.take() {
            errors.read_to_string(&mut said).unwrap();
        }
        said
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn internal(sequence: u64) -> Event {
    Event { sequence, at: Timestamp(sequence), told: Told::Internal }
}

/// Streams its records, comes back when the link breaks, ends when all are acknowledged.
struct Streamer {
    site: Arc<Site>,
    issued: Issued,
    name: String,
    records: u64,
    /// Highest acknowledgement ever heard: it is a promise.
    promised: u64,
    acked_in_all: Arc<AtomicU64>,
    back: Arc<AtomicU64>,
}

impl Streamer {
    async fn stream(mut self) {
        while self.promised < self.records {
            let greeting = Greeting {
                protocol: PROTOCOL,
                version: "test".into(),
                fleet: FLEET,
                host: host(&self.name),
                journal: JOURNAL,
                last: self.records,
                epoch: 0,
                acked: self.promised,
                times: vec![],
                plan: None,
                rollout: None,
            };
            match Agent::greet(&self.site, &self.issued, greeting).await {
                Ok(agent) => {
                    self.back.fetch_add(1, Ordering::Relaxed);
                    self.carry(agent).await;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Until the connection breaks or all is acknowledged.
    async fn carry(&mut self, mut agent: Agent) {
        assert!(agent.acked >= self.promised, "{}: {} after {}", self.name, agent.acked, self.promised);
        let mut told = agent.acked;
        self.heard(agent.acked);
        while self.promised < self.records {
            if told - self.promised < 32 && told < self.records {
                let until = (told + 8).min(self.records);
                let events = FromAgent::Events((told + 1..=until).map(internal).collect());
                let frame = encode_frame(&events, FRAME_BYTES_MAX).unwrap();
                if agent.send.write_all(&frame).await.is_err() {
                    return;
                }
                told = until;
                continue;
            }
            match agent.incoming.next().await {
                Ok(Some(ToAgent::Acked { sequence })) => self.heard(sequence),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn heard(&mut self, sequence: u64) {
        self.acked_in_all.fetch_add(sequence.saturating_sub(self.promised), Ordering::Relaxed);
        self.promised = self.promised.max(sequence);
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "how long it took is for people, not for a limit")]
async fn a_hundred_streaming_agents_lose_nothing_when_the_coordinator_is_killed() {
    const AGENTS: u64 = 100;
    const RECORDS: u64 = 600;
    let names: Vec<String> = (1..=AGENTS).map(|number| format!("web-{number:03}")).collect();
    let port = free_port();
    let site = Site::founded(&names.iter().map(String::as_str).collect::<Vec<_>>(), port);
    let config = site.dir.path().join("coordinator.toml");
    let process = Process::start(&config);
    let (site, acked, back) = (Arc::new(site), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let streams: Vec<_> = names
        .iter()
        .map(|name| Streamer {
            issued: site.issue(Role::Agent, name),
            site: Arc::clone(&site),
            name: name.clone(),
            records: RECORDS,
            promised: 0,
            acked_in_all: Arc::clone(&acked),
            back: Arc::clone(&back),
        })
        .collect();
    let streams: Vec<_> = streams.into_iter().map(|streamer| tokio::spawn(streamer.stream())).collect();
    until("all to stream", || back.load(Ordering::Relaxed) >= AGENTS).await;
    until("a third to be acknowledged", || acked.load(Ordering::Relaxed) >= AGENTS * RECORDS / 3).await;
    process.kill();
    let (here_before, promised) = (back.load(Ordering::Relaxed), acked.load(Ordering::Relaxed));
    let process = Process::start(&config);
    let ready = Instant::now();
    let left = streams.iter().filter(|stream| !stream.is_finished()).count() as u64;
    assert!(left > 0, "the kill came too late to show anything");
    until("all to be back", || back.load(Ordering::Relaxed) >= here_before + left).await;
    let took = ready.elapsed();
    println!(
        "{left} of {AGENTS} agents were back {took:?} after the restart; {promised} records were promised"
    );
    // Well under the 15 s after which a silent path is given up.
    assert!(took < Duration::from_secs(10), "{took:?}");
    for stream in streams {
        stream.await.unwrap();
    }
    process.kill();
    let database = rusqlite::Connection::open(site.data().join("coordinator.db")).unwrap();
    let whole = "SELECT count(*) FROM (SELECT host FROM host_events GROUP BY host, journal
                 HAVING min(sequence) = 1 AND max(sequence) = ?1 AND count(*) = ?1)";
    let hosts: u64 = database.query_row(whole, [RECORDS], |row| row.get(0)).unwrap();
    assert_eq!(hosts, AGENTS, "every journal is there once and without a gap");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_notices_at_once_that_the_coordinator_was_killed_and_is_back() {
    let port = free_port();
    let site = Site::founded(&["web-1"], port);
    let config = site.dir.path().join("coordinator.toml");
    let process = Process::start(&config);
    let mut agent = site.agent("web-1").await;
    agent.say(&FromAgent::Events(vec![internal(1)])).await;
    agent.hear_acked(1).await;
    process.kill();
    let _process = Process::start(&config);
    let ready = Instant::now();
    // The next thing it says, as a keep-alive would, is answered with a reset it believes.
    agent.say(&FromAgent::Events(vec![internal(2)])).await;
    let reason = agent.connection.closed().await;
    assert!(ready.elapsed() < Duration::from_secs(3), "{reason} after {:?}", ready.elapsed());
    assert!(matches!(reason, quinn::ConnectionError::Reset), "{reason}");
}

fn wait_for(child: Child) -> Output {
    let began = Instant::now();
    let mut child = child;
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > Duration::from_secs(20) {
            let _ = child.kill();
            panic!("it did not end by itself");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_coordinator_steps_down_when_another_has_taken_its_data_over() {
    let site = Site::founded(&["web-1"], free_port());
    let config = site.dir.path().join("coordinator.toml");
    let mut frozen = Process(Process::serve(&config));
    let mut line = String::new();
    BufReader::new(frozen.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let operator = site.operator("ada").await;
    let rollout = operator.launch(&seal(&plan(&[&["web-1"]])).0).await;
    frozen.signal("-STOP");
    // Frozen or not, it holds its data.
    let second = wait_for(Process::serve(&site.configure("second.toml", free_port())));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(i32::from(exit::BUSY)), "{said}");
    assert!(said.contains("another coordinator holds"), "{said}");
    // Somebody moves the folder to a fresh copy of it, as a failover would.
    let data = site.data();
    let copied = site.dir.path().join("copied");
    std::fs::create_dir(&copied).unwrap();
    for entry in std::fs::read_dir(&data).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), copied.join(entry.file_name())).unwrap();
        }
    }
    std::fs::rename(&data, site.dir.path().join("before")).unwrap();
    std::fs::rename(&copied, &data).unwrap();
    let newer = Process::start(&site.dir.path().join("second.toml"));
    frozen.signal("-CONT");
    let halt = Request::Halt { rollout, reason: "is anybody there".into() };
    match operator.ask(&halt).await {
        Answer::Error(error) => {
            assert!(error.message.contains("NOT done") && error.message.contains("taken over"), "{error:?}");
        }
        other => panic!("{other:?}"),
    }
    let stdout = frozen.0.stdout.take();
    drop(stdout);
    let Some(mut errors) = frozen.0.stderr.take() else { panic!() };
    let began = Instant::now();
    let status = loop {
        if let Some(status) = frozen.0.try_wait().unwrap() {
            break status;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "it did not step down");
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut said = String::new();
    errors.read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(i32::from(exit::BUSY)), "{said}");
    assert!(said.contains("another coordinator has taken over"), "{said}");
    newer.kill();
}

#[test]
fn a_damaged_database_is_refused_with_what_to_do() {
    let site = Site::founded(&["web-1"], free_port());
    let config = site.dir.path().join("coordinator.toml");
    let process = Process::start(&config);
    process.signal("-TERM");
    assert!(wait_for_process(process).status.success());
    let path = site.data().join("coordinator.db");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[3 * 4096..3 * 4096 + 32].iter_mut().for_each(|byte| *byte ^= 0xff);
    std::fs::write(&path, &bytes).unwrap();
    let refused = wait_for(Process::serve(&config));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(i32::from(exit::INVALID)), "{said}");
    assert!(said.contains("is damaged") && said.contains("When the database was restored"), "{said}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "it was left alone");
}

fn wait_for_process(mut process: Process) -> Output {
    let status = process.0.wait().unwrap();
    Output { status, stdout: vec![], stderr: vec![] }
}
