//! A fleet of real processes in a temporary folder: one coordinator, agents,
//! people with keys. Everything is done through the programs themselves.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest anything here may take before the test says what it waited for.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Fleet {
    folder: tempfile::TempDir,
    hosts: Vec<String>,
    port: u16,
    agents: Vec<Option<Child>>,
    coordinator: Option<Child>,
}

/// Where cargo puts the programs: beside the folder of this test.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows itself");
    let path = test.ancestors().nth(2).expect("target/debug/deps/test").join(name);
    assert!(path.is_file(), "{} is not built: run the tests with `cargo xtask test`", path.display());
    path
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Fleet {
    /// Founds a fleet of `db-01` … and starts it all.
    pub fn of(hosts: usize) -> Self {
        let mut fleet = Self::founded(hosts);
        fleet.start_coordinator();
        (0..hosts).for_each(|at| fleet.start_agent(at));
        fleet.wait("all hosts to connect", |fleet| {
            let output = fleet.sternway("ada", &["fleet", "--json"]);
            text(&output.stdout).matches("\"connected\":true").count() == hosts
        });
        fleet
    }

    /// Keys, certificates and configurations; nothing runs.
    pub fn founded(hosts: usize) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port =
            UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
        let names = (1..=hosts).map(|number| format!("db-{number:02}")).collect();
        let agents = (0..hosts).map(|_| None).collect();
        let fleet = Self { folder, hosts: names, port, agents, coordinator: None };
        fleet.found();
        fleet
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// Process ids: agents in order, then the coordinator.
    pub fn processes(&self) -> Vec<u32> {
        self.agents.iter().chain([&self.coordinator]).flatten().map(Child::id).collect()
    }

    /// A file below the root of a host.
    pub fn on_host(&self, host: usize, path: &str) -> PathBuf {
        self.path("hosts").join(&self.hosts[host]).join("root").join(path)
    }

    pub fn read(&self, host: usize, path: &str) -> String {
        std::fs::read_to_string(self.on_host(host, path)).unwrap_or_default()
    }

    pub fn write(&self, path: &Path, content: &str) {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder can be made");
        std::fs::write(path, content).expect("the file can be written");
    }

    fn found(&self) {
        let pki = self.path("pki").display().to_string();
        let must = |person: &str, words: &[&str]| {
            let output = self.sternway(person, words);
            assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
            text(&output.stdout)
        };
        let id = "5e".repeat(16);
        must("nobody", &["keys", "authorities", &pki, "--fleet", &id]);
        must(
            "nobody",
            &["keys", "issue", &pki, "--server", "--out", &self.path("server").display().to_string()],
        );
        let address = format!("127.0.0.1:{}", self.port);
        let mut keyring = format!(
            "fleet = \"{id}\"\nsignatures = 2\n\n[emergency]\nsignatures = 1\nfrom = [\"on-call\"]\n\n"
        );
        for (person, group) in [("ada", "sre"), ("grace", "owners"), ("mary", "on-call")] {
            let out = self.path("people").join(person).display().to_string();
            must(
                person,
                &["keys", "issue", &pki, "--operator", person, "--out", &out, "--coordinator", &address],
            );
            keyring += &must(person, &["keys", "new", "--person", person, "--groups", group, "--quiet"]);
        }
        self.write(&self.path("keyring.toml"), &keyring);
        let mut inventory = format!("name = \"test\"\nfleet = \"{id}\"\n");
        for host in &self.hosts {
            inventory += &format!("\n[[host]]\nname = \"{host}\"\nlabels = {{ service = \"db\" }}\n");
            let folder = self.path("hosts").join(host);
            must("nobody", &["keys", "issue", &pki, "--agent", host, "--out", &folder.display().to_string()]);
            self.write(&folder.join("root/etc/app.json"), "{\n  \"version\": \"1.3\",\n  \"odd\": true\n}\n");
            self.write(
                &folder.join("agent.toml"),
                &format!(
                    "host = \"{host}\"\ncoordinator = \"{address}\"\nstate = \"state\"\nroot = \"root\"\n\
                     keyring = \"../../keyring.toml\"\ncache = \"../../compiled\"\nwatch_every = \"100ms\"\n\
                     [identity]\ncertificate = \"{host}.pem\"\nkey = \"{host}.key\"\n\
                     server_authority = \"../../pki/server-ca.pem\"\n\
                     [permit]\nfiles = [\"/etc\", \"/opt\"]\npoints = [\"/opt\"]\n"
                ),
            );
        }
        self.write(&self.path("fleet.toml"), &inventory);
        self.write(
            &self.path("coordinator.toml"),
            &format!(
                "listen = \"{address}\"\ndata = \"data\"\nkeyring = \"keyring.toml\"\ninventory = \"fleet.toml\"\n\
                 certificate = \"server/coordinator.pem\"\nkey = \"server/coordinator.key\"\n\
                 agent_authority = \"pki/agent-ca.pem\"\noperator_authority = \"pki/operator-ca.pem\"\n"
            ),
        );
    }

    /// Runs `sternway` as one of the people, with nobody to ask.
    pub fn sternway(&self, person: &str, words: &[&str]) -> Output {
        self.command(person, words).output().expect("sternway can be started")
    }

    /// The same without waiting for its end.
    pub fn sternway_beside(&self, person: &str, words: &[&str]) -> Child {
        self.command(person, words).spawn().expect("sternway can be started")
    }

    fn command(&self, person: &str, words: &[&str]) -> Command {
        let mut command = Command::new(program("sternway"));
        command.args(words).arg("--no-input").arg("--identity").arg(self.path("people").join(person));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn spawn(&self, name: &str, config: &Path) -> Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(config.with_extension("log"));
        let log = log.expect("a log can be written");
        let mut command = Command::new(program(name));
        command.args(["serve", "--config"]).arg(config).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        command.spawn().expect("the program can be started")
    }

    pub fn start_coordinator(&mut self) {
        let config = self.path("coordinator.toml");
        let log = config.with_extension("log");
        let ready = |log: &Path| {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            text.lines().filter(|line| line.starts_with("ready ")).count()
        };
        let before = ready(&log);
        self.coordinator = Some(self.spawn("sternway", &config));
        self.wait("the coordinator to be ready", |_| ready(&log) > before);
    }

    pub fn start_agent(&mut self, host: usize) {
        let config = self.path("hosts").join(&self.hosts[host]).join("agent.toml");
        self.agents[host] = Some(self.spawn("sternway-agent", &config));
    }

    /// SIGKILL: no goodbye, no last words.
    pub fn kill_agent(&mut self, host: usize) {
        if let Some(mut agent) = self.agents[host].take() {
            agent.kill().expect("it can be killed");
            agent.wait().expect("it ends");
        }
    }

    pub fn kill_coordinator(&mut self) {
        if let Some(mut coordinator) = self.coordinator.take() {
            coordinator.kill().expect("it can be killed");
            coordinator.wait().expect("it ends");
        }
    }

    /// Waits until it is so, or says what it waited for and what the logs say.
    pub fn wait(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if is_so(self) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("waited in vain for {what}\n{}", self.logs());
    }

    /// The end of every log.
    pub fn logs(&self) -> String {
        let mut logs = vec![self.path("coordinator.log")];
        logs.extend(self.hosts.iter().map(|host| self.path("hosts").join(host).join("agent.log")));
        logs.iter()
            .map(|path| {
                let text = std::fs::read_to_string(path).unwrap_or_default();
                let tail: Vec<&str> = text.lines().rev().take(15).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                format!("── {}\n{}\n", path.display(), tail.join("\n"))
            })
            .collect()
    }

    /// Signs with both keys; answers the sealed plan's path.
    pub fn seal(&self, plan: &str) -> String {
        let path = self.path("plan.toml");
        self.write(&path, plan);
        let (path, sealed) = (path.display().to_string(), self.path("plan.sealed").display().to_string());
        let _ = std::fs::remove_file(&sealed);
        let count = self.hosts.len().to_string();
        let fleet = self.path("fleet.toml").display().to_string();
        let first =
            self.sternway("ada", &["sign", &path, "--fleet", &fleet, "--out", &sealed, "--confirm", &count]);
        assert!(first.status.success(), "{}{}", text(&first.stdout), text(&first.stderr));
        let second = self.sternway("grace", &["sign", &sealed, "--confirm", &count]);
        assert!(second.status.success(), "{}", text(&second.stderr));
        sealed
    }

    /// Launches and waits for the end; answers the exit code and what was said.
    pub fn launch(&self, sealed: &str) -> (i32, String) {
        let count = self.hosts.len().to_string();
        let output = self.sternway("ada", &["launch", sealed, "--confirm", &count, "--timeout", "50s"]);
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        (output.status.code().unwrap_or(-1), said)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.kill_coordinator();
        (0..self.agents.len()).for_each(|host| self.kill_agent(host));
    }
}

/// A plan that sets the version in `/etc/app.json`, with a pause in every host.
pub fn config_plan(hosts: usize, waves: &[usize], pause: &str) -> String {
    let waves: String = waves
        .iter()
        .map(|hosts| format!("\n[[wave]]\nhosts = {hosts}\nsoak = \"100ms\"\ngate = \"usual\"\n"))
        .collect();
    format!(
        "format = 1\nname = \"back\"\nreason = \"a test\"\nseverity = \"low\"\nservice = \"db\"\nfrom = \"1.3\"\nto = \"1.1\"\n\
         [fleet]\nselect = \"service=db\"\nmin = {hosts}\nmax = {hosts}\n\
         [approval]\nsignatures = 2\nfrom = [\"sre\", \"owners\"]\nauthor = true\n\
         [[step]]\nname = \"old version\"\nuses = \"config@0\"\nwith = {{ file = \"/etc/app.json\", drop = [\"odd\"], set = {{ version = \"1.1\" }} }}\nwait = \"{pause}\"\n\
         [[step]]\nname = \"mark\"\nuses = \"config@0\"\nwith = {{ file = \"/etc/app.json\", set = {{ back = true }} }}\n\
         [pace]\nat_once = \"100%\"\n{waves}\n[gate.usual]\nfailed = 0\nsilent = 0\n"
    )
}
