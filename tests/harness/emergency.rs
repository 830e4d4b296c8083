//! A fleet on which a bad version runs, with a load balancer in front and
//! somebody on call who has prepared for it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use crate::fleet::{Fleet, program, text};

/// What the example keeps for a bad night, as it stands in `examples/`.
pub const EXAMPLE: &str = include_str!("../../examples/emergency/plan.toml");
/// The number that says which version runs, below the root of a host.
pub const VERSION: &str = "opt/agora/VERSION";

/// One request that reached the load balancer or a health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    pub host: String,
    /// `drain`, `ready`, or `health`.
    pub what: String,
    /// What the host ran at that moment.
    pub version: String,
}

#[derive(Debug)]
pub struct Site {
    pub fleet: Fleet,
    heard: Arc<Mutex<Vec<Heard>>>,
    port: u16,
}

impl Site {
    /// `hosts` hosts that serve 1.3 and have a point of 1.1.
    pub fn of(hosts: usize) -> Self {
        let mut fleet = Fleet::founded(hosts);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let port = listener.local_addr().expect("it has an address").port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (record, folder) = (Arc::clone(&heard), fleet.path("hosts"));
        // Ends with the process: nothing waits for it.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (record, folder) = (Arc::clone(&record), folder.clone());
                std::thread::spawn(move || answer(stream, &folder, &record));
            }
        });
        for host in 0..hosts {
            let config = fleet.path("hosts").join(&fleet.hosts()[host]).join("agent.toml");
            let usual = std::fs::read_to_string(&config).expect("it was written");
            let more = format!(
                "services = [\"agora\"]\nhttp = [\"http://127.0.0.1:{port}\"]\n\n\
                 [[service]]\nname = \"agora\"\ncommand = [\"/bin/sleep\", \"600\"]\nsettle = \"50ms\"\nstop = \"2s\"\n\n\
                 [[points.service]]\nname = \"agora\"\nfiles = [\"/opt/agora\"]\n"
            );
            fleet.write(&config, &(usual + &more));
        }
        fleet.start_coordinator();
        let site = Self { fleet, heard, port };
        for host in 0..hosts {
            site.deploy(host, "1.1");
            site.on_host(
                host,
                &["points", "create", "--service", "agora", "--version", "1.1", "--tag", "before-1.3"],
            );
            site.deploy(host, "1.3");
            site.on_host(host, &["service", "start", "agora"]);
        }
        let mut site = site;
        (0..hosts).for_each(|host| site.fleet.start_agent(host));
        site.fleet.wait("all hosts to connect", |fleet| {
            let output = fleet.sternway("ada", &["fleet", "--json"]);
            text(&output.stdout).matches("\"connected\":true").count() == hosts
        });
        site
    }

    pub fn deploy(&self, host: usize, version: &str) {
        self.fleet.write(&self.fleet.on_host(host, VERSION), &format!("{version}\n"));
    }

    /// The example's draft for this site.
    pub fn draft(&self) -> String {
        let at = format!("http://127.0.0.1:{}", self.port);
        EXAMPLE
            .replace("http://lb.internal:8080", &at)
            .replace("http://127.0.0.1:8080", &at)
            .replace("service=agora", "service=db")
    }

    /// Puts a draft where mary's emergencies lie.
    pub fn prepare(&self, draft: &str) -> PathBuf {
        let path = self.fleet.path("people").join("mary").join("emergency/agora.toml");
        self.fleet.write(&path, draft);
        path
    }

    /// Everything heard so far, oldest first.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs a verb of the agent on a host.
    pub fn on_host(&self, host: usize, words: &[&str]) -> String {
        let config = self.fleet.path("hosts").join(&self.fleet.hosts()[host]).join("agent.toml");
        let output = Command::new(program("sternway-agent")).args(words).arg("--config").arg(config).output();
        let output = output.expect("sternway-agent can be started");
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }
}

/// Services outlive their agents; not the test.
impl Drop for Site {
    fn drop(&mut self) {
        for host in 0..self.fleet.hosts().len() {
            self.fleet.kill_agent(host);
            let config = self.fleet.path("hosts").join(&self.fleet.hosts()[host]).join("agent.toml");
            let stop = Command::new(program("sternway-agent"))
                .args(["service", "stop", "agora", "--config"])
                .arg(config)
                .output();
            drop(stop);
        }
    }
}

fn answer(stream: TcpStream, hosts: &std::path::Path, record: &Mutex<Vec<Heard>>) {
    let Ok(writing) = stream.try_clone() else { return };
    let (mut reader, mut writer) = (BufReader::new(stream), writing);
    let mut line = String::new();
    if reader.read_line(&mut line).is_err() {
        return;
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        match reader.read_line(&mut header) {
            Ok(read) if read > 2 => {}
            _ => break,
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let host = path.rsplit('/').next().unwrap_or_default().to_owned();
    let what = if path.starts_with("/health/") { "health".into() } else { text(&body) };
    let version = std::fs::read_to_string(hosts.join(&host).join("root").join(VERSION)).unwrap_or_default();
    let version = version.trim().to_owned();
    record.lock().unwrap_or_else(PoisonError::into_inner).push(Heard { host, what, version });
    let _ = writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
}

/// Milliseconds of the day of `2026-11-21T17:49:42.123Z`.
pub fn of_the_day(at: &str) -> Option<u64> {
    let (_, time) = at.trim_end_matches('Z').split_once('T')?;
    let (seconds, millis) = time.split_once('.')?;
    let parts: Vec<u64> = seconds.split(':').filter_map(|part| part.parse().ok()).collect();
    let [hours, minutes, seconds] = parts[..] else { return None };
    Some(((hours * 60 + minutes) * 60 + seconds) * 1000 + millis.parse::<u64>().ok()?)
}

/// Milliseconds of the day, now, in UTC.
pub fn now_of_the_day() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default() % 86_400_000
}

/// When the last host began its first step, by its own clock, after `began` of the same day.
pub fn all_began_after(fleet: &Fleet, rollout: &str, began: u64) -> u64 {
    let log = fleet.sternway("ada", &["log", rollout, "--json"]);
    let mut first = std::collections::BTreeMap::<String, u64>::new();
    for line in text(&log.stdout).lines() {
        let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        if line["event"] == "step" && line["state"] == "began" {
            let at = line["host_at"].as_str().and_then(of_the_day).expect("a moment");
            first.entry(line["host"].to_string()).or_insert(at);
        }
    }
    assert_eq!(first.len(), fleet.hosts().len(), "every host began");
    let last = first.values().copied().max().unwrap_or_default();
    (last + 86_400_000 - began) % 86_400_000
}
