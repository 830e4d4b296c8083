//! Where the tests play: a coordinator, people with keys, and hosts that run
//! hello 1.3 and have kept 1.1. A host is made fresh whenever a test wants one.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};

use sternway_coordinator::dev::hello::{self, Version};
use sternway_tests::fleet::{Fleet, program, text};

use crate::host::{Host, copy};
use crate::ledger::Ledger;

#[derive(Debug)]
pub struct Ground {
    pub fleet: Fleet,
    pub ledger: Ledger,
    ledger_port: u16,
    ports: Vec<u16>,
}

/// Below the ports that systems hand out by themselves.
static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

fn free_port() -> u16 {
    // Test programs that run at the same time begin at different places.
    let _ = NEXT_PORT.compare_exchange(
        0,
        12_000 + (std::process::id() % 18_000) as u16,
        Ordering::Relaxed,
        Ordering::Relaxed,
    );
    loop {
        let port = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
        let port = 12_000 + port % 20_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Ground {
    /// Founds a fleet of so many hosts and starts its coordinator; no agent runs.
    pub fn of(hosts: usize) -> Self {
        let (ledger, ledger_port) = Ledger::open();
        let mut fleet = Fleet::founded(hosts);
        let ports: Vec<u16> = (0..hosts).map(|_| free_port()).collect();
        let id = "5e".repeat(16);
        let mut inventory = format!("name = \"test\"\nfleet = \"{id}\"\n");
        for (host, port) in fleet.hosts().iter().zip(&ports) {
            let labels = format!("{{ service = \"hello\", port = \"{port}\" }}");
            writeln!(inventory, "\n[[host]]\nname = \"{host}\"\nlabels = {labels}").expect("it is a string");
        }
        fleet.write(&fleet.path("fleet.toml"), &inventory);
        fleet.start_coordinator();
        let ground = Self { fleet, ledger, ledger_port, ports };
        ground.make_template();
        ground
    }

    /// What every fresh host's disk is copied from.
    fn template(&self) -> PathBuf {
        self.fleet.path("template/disk")
    }

    fn make_template(&self) {
        let root = self.template().join("root");
        hello::deploy(&root, Version::Good).expect("1.1 can be deployed");
        let config = self.fleet.path("template/agent.toml");
        self.fleet.write(&config, &self.configuration("template", 1));
        let mut command = std::process::Command::new(program("sternway-agent"));
        command.args([
            "points",
            "create",
            "--tag",
            "before-1.3",
            "/opt/hello",
            "/etc/hello",
            "/var/lib/hello",
        ]);
        let kept = command.arg("--config").arg(config).output().expect("the agent can be started");
        assert!(kept.status.success(), "{}", text(&kept.stderr));
        hello::deploy(&root, Version::Broken).expect("1.3 can be deployed");
        self.fleet.write(&root.join("etc/hello/extra.toml"), "left = \"by 1.3\"\n");
    }

    fn configuration(&self, host: &str, port: u16) -> String {
        let folder = match host {
            "template" => self.fleet.path("template"),
            _ => self.fleet.path("hosts").join(host),
        };
        let (folder, ledger) = (folder.display(), self.ledger_port);
        let hello = program("sternway");
        // What is compiled once serves all tests: its name is the digest of what it was made of.
        let cache = hello.with_file_name("compiled-for-tests");
        let cache = cache.display();
        let hello = hello.display();
        let coordinator =
            std::fs::read_to_string(self.fleet.path("coordinator.toml")).expect("it was written");
        let address =
            coordinator.lines().find_map(|line| line.strip_prefix("listen = ")).expect("it listens");
        format!(
            r#"host = "{host}"
coordinator = {address}
state = "disk/state"
root = "disk/root"
keyring = "../../keyring.toml"
cache = "{cache}"
watch_every = "1s"
labels = {{ port = "{port}" }}

[identity]
certificate = "{host}.pem"
key = "{host}.key"
server_authority = "../../pki/server-ca.pem"

[permit]
files = ["/opt/hello", "/etc/hello", "/var/lib/hello"]
points = ["/opt/hello", "/etc/hello", "/var/lib/hello"]
databases = ["/var/lib/hello/hello.db"]
services = ["hello"]
http = ["http://127.0.0.1:{port}", "http://127.0.0.1:{ledger}", "http://127.0.0.1:9"]

[[service]]
name = "hello"
command = ["/bin/sh", "-c", "echo $$ >> {folder}/starts; exec {hello} hello --root {folder}/disk/root --port {port}"]
settle = "100ms"
stop = "3s"
"#
        )
    }

    /// A host that runs nothing yet.
    pub fn host(&self, at: usize) -> Host {
        let host = self.bare_host(at);
        copy(&self.template(), &host.disk());
        host
    }

    /// A host whose disk the test brings; fill it with [`Ground::fill`].
    pub fn bare_host(&self, at: usize) -> Host {
        let name = &self.fleet.hosts()[at];
        let folder = self.fleet.path("hosts").join(name);
        self.fleet.write(&folder.join("agent.toml"), &self.configuration(name, self.ports[at]));
        Host::new(name, folder, self.ports[at])
    }

    /// Puts the fresh host's files on a disk that is there already.
    pub fn fill(&self, host: &Host) {
        for part in ["root", "state"] {
            copy(&self.template().join(part), &host.disk().join(part));
        }
    }

    /// Seals a plan of these steps for the whole fleet and launches it, in one wave.
    pub fn launch(&self, steps: &str) {
        self.launch_in_waves(steps, &[self.fleet.hosts().len()]);
    }

    /// The same in waves, each the number of hosts released in all.
    pub fn launch_in_waves(&self, steps: &str, waves: &[usize]) {
        self.launch_as("before-1.3", "quick", steps, waves);
    }

    /// A plan that goes back to the newest point of this tag.
    pub fn launch_from(&self, tag: &str, steps: &str) {
        self.launch_checked(tag, "quick", steps);
    }

    /// The same after this check of the point: `quick` or `full`.
    pub fn launch_checked(&self, tag: &str, verify: &str, steps: &str) {
        self.launch_as(tag, verify, steps, &[self.fleet.hosts().len()]);
    }

    fn launch_as(&self, tag: &str, verify: &str, steps: &str, waves: &[usize]) {
        let hosts = self.fleet.hosts().len();
        // What a plan overwrote is of the version that it left.
        let (from, to) = if tag.starts_with("safety") { ("1.1", "1.3") } else { ("1.3", "1.1") };
        let wave = |hosts: &usize| format!("[[wave]]\nhosts = {hosts}\nsoak = \"100ms\"\ngate = \"loose\"\n");
        let waves: String = waves.iter().map(wave).collect();
        let steps = steps.replace("LEDGER", &format!("http://127.0.0.1:{}", self.ledger_port));
        let sealed = self.fleet.seal(&format!(
            "format = 1\nname = \"back\"\nreason = \"a test\"\nseverity = \"low\"\nservice = \"hello\"\n\
             from = \"{from}\"\nto = \"{to}\"\nvalid = \"1h\"\n\
             [fleet]\nselect = \"service=hello\"\nmin = {hosts}\nmax = {hosts}\n\
             [approval]\nsignatures = 2\nfrom = [\"sre\", \"owners\"]\nauthor = true\n\
             [point]\ntag = \"{tag}\"\nverify = \"{verify}\"\n\
             {steps}\n\
             [pace]\nat_once = \"100%\"\nfailed = {hosts}\nsilent = {hosts}\nstage_within = \"50m\"\nsilent_after = \"50m\"\n\
             {waves}\
             [gate.loose]\nfailed = {hosts}\nsilent = {hosts}\n"
        ));
        let count = hosts.to_string();
        let launched = self.fleet.sternway("ada", &["launch", &sealed, "--confirm", &count, "--detach"]);
        assert!(launched.status.success(), "{}{}", text(&launched.stdout), text(&launched.stderr));
    }
}
