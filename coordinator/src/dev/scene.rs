//! What happens, in order. Every move is made by the programs people use:
//! `sternway` and `sternway-agent`, with their own flags.

mod rollout;

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use super::cast::{Cast, agent_program, own_program};
use super::hello::{self, HelloError, Version};
use super::story::Story;

/// The plan of the demonstration, as it stands in `examples/`.
const PLAN: &str = include_str!("../../../examples/hello/plan.toml");
/// Asked of each host to see how it does: a multiple of twelve.
const QUESTIONS: usize = 24;

#[derive(Debug, thiserror::Error)]
pub enum SceneError {
    #[error("could not set up the demonstration")]
    Folder(#[source] io::Error),
    #[error("could not write `{}`", path.display())]
    Write {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("could not read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("could not start `{}`", program.display())]
    Start {
        program: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("`{}` is not there: build it first (cargo build)", .0.display())]
    NoAgent(PathBuf),
    #[error("hello could not be deployed")]
    Hello(#[from] HelloError),
    #[error("{what}: {}", .said.trim().replace('\n', "; "))]
    Said { what: String, said: String },
}

pub(super) enum Checked {
    Good { hosts: usize },
    Bad,
}

#[derive(Debug)]
pub(super) struct Scene<'a> {
    cast: &'a Cast,
    story: &'a Story,
    quick: bool,
}

/// Persons of the demonstration and the groups they stand for.
const PEOPLE: [(&str, &str); 2] = [("ada", "sre"), ("grace", "owners")];
/// They hold keys that no host knows.
const STRANGERS: [(&str, &str); 2] = [("mallory", "sre"), ("eve", "owners")];

impl<'a> Scene<'a> {
    pub(super) fn new(cast: &'a Cast, story: &'a Story, quick: bool) -> Self {
        Self { cast, story, quick }
    }

    pub(super) fn introduce(&self) {
        let hosts = self.cast.hosts();
        self.story.line(&format!(
            "sternway {}   a throw-away fleet in {}, keys made just now; nothing of this is for production",
            env!("CARGO_PKG_VERSION"),
            self.cast.folder().display()
        ));
        self.story.line(&format!(
            "  coordinator 127.0.0.1:{}   {} hosts {}…{}, each a folder with a service `hello` of its own",
            self.cast.coordinator_port(),
            hosts.len(),
            hosts[0],
            hosts[hosts.len() - 1]
        ));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.cast.folder().join(name)
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), SceneError> {
        let _stage = self.cast.stage();
        let failed = |cause| SceneError::Write { path: path.to_path_buf(), cause };
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).map_err(failed)?;
        std::fs::write(path, text).map_err(failed)
    }

    /// Runs `sternway` as one of the people; what it says comes back.
    fn sternway(&self, person: &str, words: &[&str]) -> Result<Output, SceneError> {
        let _stage = self.cast.stage();
        let program = own_program()?;
        let mut command = Command::new(&program);
        command.args(words).arg("--identity").arg(self.path("people").join(person)).arg("--no-input");
        command.stdin(Stdio::null()).output().map_err(|cause| SceneError::Start { program, cause })
    }

    fn must(&self, person: &str, what: &str, words: &[&str]) -> Result<String, SceneError> {
        let output = self.sternway(person, words)?;
        must(what, &output)
    }

    /// One's own plan where it lies, or the example made to fit the number of hosts.
    pub(super) fn write_plan(&self, own: Option<&Path>) -> Result<PathBuf, SceneError> {
        match own {
            Some(own) => Ok(own.to_path_buf()),
            None => self.write_example(&self.path("plan.toml")),
        }
    }

    fn write_example(&self, path: &Path) -> Result<PathBuf, SceneError> {
        let mut text = fitted(PLAN, self.cast.hosts());
        if self.quick {
            text = text.replace("= \"2s\"", "= \"300ms\"");
        }
        self.write(path, &text)?;
        Ok(path.to_path_buf())
    }

    /// Certificates, keys and the two lists: who may sign, and who is in the fleet.
    fn found_fleet(&self) -> Result<(), SceneError> {
        let (pki, address) = (self.path("pki"), format!("127.0.0.1:{}", self.cast.coordinator_port()));
        let pki_text = pki.display().to_string();
        self.must("nobody", "the authorities could not be made", &["keys", "authorities", &pki_text])?;
        let out = self.path("coordinator").display().to_string();
        let server = ["keys", "issue", &pki_text, "--server", "--out", &out];
        self.must("nobody", "the coordinator's certificate could not be issued", &server)?;
        for (people, keyring) in [(PEOPLE, "keyring.toml"), (STRANGERS, "strangers.toml")] {
            let mut text = format!("fleet = \"{}\"\nsignatures = 2\n\n", self.fleet_id()?);
            for (person, group) in people {
                let folder = self.path("people").join(person).display().to_string();
                let issue = [
                    "keys",
                    "issue",
                    &pki_text,
                    "--operator",
                    person,
                    "--out",
                    &folder,
                    "--coordinator",
                    &address,
                ];
                self.must(person, "an identity could not be issued", &issue)?;
                let new = ["keys", "new", "--person", person, "--groups", group, "--quiet"];
                text.push_str(&self.must(person, "a signing key could not be made", &new)?);
            }
            self.write(&self.path(keyring), &text)?;
        }
        let mut inventory = format!("name = \"demo\"\nfleet = \"{}\"\n", self.fleet_id()?);
        for (at, host) in self.cast.hosts().iter().enumerate() {
            let zone = ["a", "b", "c"][at % 3];
            let port = self.cast.service_port(at);
            inventory.push_str(&format!(
                "\n[[host]]\nname = \"{host}\"\nlabels = {{ service = \"hello\", zone = \"{zone}\", port = \"{port}\" }}\n"
            ));
        }
        self.write(&self.path("fleet.toml"), &inventory)
    }

    /// The one random thing everything signed is bound to, as the authorities hold it.
    fn fleet_id(&self) -> Result<String, SceneError> {
        let path = crate::pki::authority_certificate(&self.path("pki"), crate::pki::Role::Agent);
        crate::pki::fleet_of_authority(&path, crate::pki::Role::Agent).map(|fleet| fleet.to_string()).map_err(
            |error| SceneError::Said {
                what: "the authorities cannot be read".into(),
                said: error.to_string(),
            },
        )
    }

    /// All problems are shown as `sternway check` shows them.
    pub(super) fn check_plan(&self, plan: &Path) -> Result<Checked, SceneError> {
        self.found_fleet()?;
        let (plan, fleet) = (plan.display().to_string(), self.path("fleet.toml").display().to_string());
        let output = self.sternway("ada", &["check", &plan, "--fleet", &fleet])?;
        if !output.status.success() {
            self.story.line(&String::from_utf8_lossy(&output.stdout));
            self.story.line(&String::from_utf8_lossy(&output.stderr));
            return Ok(Checked::Bad);
        }
        self.story.tell("plan", String::from_utf8_lossy(&output.stdout).trim());
        let hosts = self.selected(Path::new(&plan))?;
        Ok(Checked::Good { hosts })
    }

    /// How many hosts the plan selects; it has passed its check.
    fn selected(&self, plan: &Path) -> Result<usize, SceneError> {
        let bytes =
            std::fs::read(plan).map_err(|cause| SceneError::Read { path: plan.to_path_buf(), cause })?;
        let said = |said: String| SceneError::Said { what: "the plan cannot be judged".into(), said };
        let catalogue = crate::cli::catalogue::built_in().map_err(|error| said(format!("{error:?}")))?;
        let inventory = self.cast.hosts().iter().enumerate().map(|(at, host)| {
            let port = self.cast.service_port(at).to_string();
            let labels = [("service", "hello"), ("zone", ["a", "b", "c"][at % 3]), ("port", &port)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()));
            Ok(sternway_core::plan::InventoryHost {
                name: host.parse().map_err(|error| said(format!("{error}")))?,
                labels: labels.into(),
            })
        });
        let inventory: Vec<_> = inventory.collect::<Result<_, SceneError>>()?;
        let loaded = crate::draft::load(&bytes, &catalogue, Some(&inventory));
        Ok(loaded.draft.summary(Some(&inventory)).hosts.unwrap_or_default())
    }

    /// Version 1.1 is deployed and kept as a point; then 1.3 comes, and runs.
    pub(super) fn make_points_and_break(&self) -> Result<(), SceneError> {
        let hosts = self.cast.hosts();
        for (at, host) in hosts.iter().enumerate() {
            self.deploy(host, Version::Good)?;
            self.configure_agent(at, host)?;
        }
        let kept = ["points", "create", "--tag", "before-1.3", "/opt/hello", "/etc/hello", "/var/lib/hello"];
        self.on_all_hosts(&kept)?;
        self.story.tell(
            "points",
            &format!("{} made, tagged before-1.3 (restic repositories, one a host)", hosts.len()),
        );
        for host in hosts {
            self.deploy(host, Version::Broken)?;
        }
        self.on_all_hosts(&["service", "start", "hello"])?;
        let text = format!("hello 1.3 on {} hosts: {}", hosts.len(), self.errors().in_words());
        self.story.tell("deployed", &text);
        Ok(())
    }

    fn deploy(&self, host: &str, version: Version) -> Result<(), SceneError> {
        let _stage = self.cast.stage();
        Ok(hello::deploy(&self.cast.host_folder(host).join("root"), version)?)
    }

    fn configure_agent(&self, at: usize, host: &str) -> Result<(), SceneError> {
        let folder = self.cast.host_folder(host);
        let pki = self.path("pki").display().to_string();
        let out = folder.display().to_string();
        self.must(
            "nobody",
            "a host's certificate could not be issued",
            &["keys", "issue", &pki, "--agent", host, "--out", &out],
        )?;
        let program = own_program()?;
        let port = self.cast.service_port(at);
        // The slip of this one host: somebody gave its service an accent that only 1.3 knows.
        let accent = if self.is_odd_one(at) { "environment = { HELLO_ACCENT = \"nordic\" }\n" } else { "" };
        let text = format!(
            r#"host = "{host}"
coordinator = "127.0.0.1:{coordinator}"
state = "state"
root = "root"
keyring = "../../keyring.toml"
cache = "../../compiled"
watch_every = "250ms"
labels = {{ service = "hello", zone = "{zone}", port = "{port}" }}

[identity]
certificate = "{host}.pem"
key = "{host}.key"
server_authority = "{authority}"

# What this host permits, whoever signs.
[permit]
files = ["/opt/hello", "/etc/hello", "/var/lib/hello"]
points = ["/opt/hello", "/etc/hello", "/var/lib/hello"]
databases = ["/var/lib/hello/hello.db"]
services = ["hello"]
http = ["http://127.0.0.1:{port}"]

[[service]]
name = "hello"
command = ["{program}", "hello", "--root", "{root}", "--port", "{port}"]
settle = "150ms"
stop = "3s"
{accent}"#,
            coordinator = self.cast.coordinator_port(),
            zone = ["a", "b", "c"][at % 3],
            authority =
                crate::pki::authority_certificate(&self.path("pki"), crate::pki::Role::Coordinator).display(),
            program = program.display(),
            root = folder.join("root").display(),
        );
        self.write(&folder.join("agent.toml"), &text)
    }

    /// The eighth host, or the last of a smaller fleet.
    fn is_odd_one(&self, at: usize) -> bool {
        at == 7.min(self.cast.hosts().len() - 1)
    }

    /// Two at a time: as many as the smallest machine has cores.
    fn on_all_hosts(&self, words: &[&str]) -> Result<(), SceneError> {
        let program = agent_program()?;
        let mut failed = None;
        for pair in self.cast.hosts().chunks(2) {
            let _stage = self.cast.stage();
            let children: Vec<_> = pair
                .iter()
                .map(|host| {
                    let mut command = Command::new(&program);
                    command.args(words).arg("--config").arg(self.cast.agent_config(host));
                    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
                })
                .collect();
            for (child, host) in children.into_iter().zip(pair) {
                let output = child.and_then(std::process::Child::wait_with_output);
                let output = output.map_err(|cause| SceneError::Start { program: program.clone(), cause })?;
                failed = failed.or(must(&format!("{host}: {}", words.join(" ")), &output).err());
            }
        }
        failed.map_or(Ok(()), Err)
    }

    pub(super) fn sign(&self, plan: &Path, hosts: usize) -> Result<PathBuf, SceneError> {
        let sealed = self.path("plan.sealed");
        self.sign_as(PEOPLE, plan, &sealed, hosts)?;
        self.story
            .tell("signed", "plan.sealed by ada (sre) and grace (owners): hosts, steps, plugins, validity");
        Ok(sealed)
    }

    fn sign_as(
        &self,
        people: [(&str, &str); 2],
        plan: &Path,
        sealed: &Path,
        hosts: usize,
    ) -> Result<(), SceneError> {
        let (plan, sealed) = (plan.display().to_string(), sealed.display().to_string());
        let (fleet, count) = (self.path("fleet.toml").display().to_string(), hosts.to_string());
        let first = ["sign", &plan, "--fleet", &fleet, "--out", &sealed, "--confirm", &count];
        self.must(people[0].0, "the plan could not be signed", &first)?;
        self.must(people[1].0, "the plan could not be signed", &["sign", &sealed, "--confirm", &count])?;
        Ok(())
    }

    pub(super) fn start_agents(&self) -> Result<(), SceneError> {
        self.cast.hosts().iter().try_for_each(|host| self.cast.start_agent(host))
    }

    /// A stolen coordinator relays a plan of strangers; every host looks for itself.
    pub(super) fn forge(&self) -> Result<(), SceneError> {
        let hosts = self.cast.hosts().len();
        let plan = self.write_example(&self.path("forged.toml"))?;
        let config = self.coordinator_config("stolen", "strangers.toml")?;
        self.cast.start_coordinator(&config)?;
        let forged = self.path("forged.sealed");
        self.sign_as(STRANGERS, &plan, &forged, hosts)?;
        let refused = self.refusals("mallory", &forged, hosts)?;
        self.cast.stop_coordinator();
        let text = format!(
            "a stolen coordinator sent a plan signed by strangers: refused by {refused} of {hosts} agents   (meant to)"
        );
        self.story.tell("forged", &text);
        match refused == hosts {
            true => Ok(()),
            false => {
                Err(SceneError::Said { what: "a forged plan was not refused by all".into(), said: text })
            }
        }
    }

    fn coordinator_config(&self, name: &str, keyring: &str) -> Result<PathBuf, SceneError> {
        let path = self.path(&format!("{name}.toml"));
        let text = format!(
            r#"listen = "127.0.0.1:{port}"
data = "{name}"
keyring = "{keyring}"
inventory = "fleet.toml"
certificate = "coordinator/coordinator.pem"
key = "coordinator/coordinator.key"
agent_authority = "{agent}"
operator_authority = "{operator}"
"#,
            port = self.cast.coordinator_port(),
            agent = crate::pki::authority_certificate(&self.path("pki"), crate::pki::Role::Agent).display(),
            operator =
                crate::pki::authority_certificate(&self.path("pki"), crate::pki::Role::Operator).display(),
        );
        self.write(&path, &text)?;
        Ok(path)
    }

    pub(super) fn start_coordinator(&self) -> Result<(), SceneError> {
        let config = self.coordinator_config("true", "keyring.toml")?;
        self.cast.start_coordinator(&config)
    }

    pub(super) fn report(&self, rollout: &str) -> Result<(), SceneError> {
        let path = PathBuf::from(format!("sternway-dev-report-{rollout}.md"));
        let path = self.path(&path.display().to_string());
        let text = self.must("ada", "the report could not be written", &["report", rollout, "--quiet"])?;
        self.write(&path, &text)?;
        let headline =
            text.lines().find(|line| line.starts_with("**Outcome")).unwrap_or_default().replace("**", "");
        self.story.tell("report", &format!("{} lines of Markdown; {headline}", text.lines().count()));
        Ok(())
    }

    pub(super) fn pause(&self, rollout: Option<&str>) {
        let rollout = rollout.unwrap_or("r-1");
        let identity = self.path("people").join("ada");
        self.story.line(&format!("try   export STERNWAY_IDENTITY={}", identity.display()));
        self.story.line(&format!("      sternway log {rollout}      sternway fleet      sternway undo {rollout}      sternway audit"));
        self.story.line("stop  Ctrl-C removes everything");
        loop {
            std::thread::park();
        }
    }

    fn errors(&self) -> Errors {
        let mut errors = Errors::default();
        for (at, _) in self.cast.hosts().iter().enumerate() {
            for _ in 0..QUESTIONS {
                errors.asked += 1;
                errors.failed += usize::from(!is_answered(self.cast.service_port(at)));
            }
        }
        errors
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Errors {
    asked: usize,
    failed: usize,
}

impl Errors {
    fn in_words(self) -> String {
        let tenths = (self.failed * 1000).checked_div(self.asked).unwrap_or_default();
        format!("{}.{} % of {} answers are errors", tenths / 10, tenths % 10, self.asked)
    }
}

/// Asks the service for one greeting, as a visitor would.
fn is_answered(port: u16) -> bool {
    let ask = || -> io::Result<String> {
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

fn must(what: &str, output: &Output) -> Result<String, SceneError> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => {
            let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
            Err(SceneError::Said { what: what.to_owned(), said })
        }
    }
}

/// The example is written for twelve; another number changes its selection and its waves.
fn fitted(plan: &str, hosts: &[String]) -> String {
    let count = hosts.len();
    if count == 12 {
        return plan.to_owned();
    }
    let number = |host: &String| host.rsplit('-').next().unwrap_or_default().to_owned();
    let range = format!("demo-[{}-{}]", number(&hosts[0]), number(&hosts[count - 1]));
    let quarter = (count / 4).max(2);
    let waves = [1, quarter, (count / 2).max(quarter + 1), count];
    let mut at = 0;
    let lines = plan.lines().map(|line| {
        let key = line.split('=').next().unwrap_or_default().trim();
        match key {
            "min" | "max" if line.contains("= 12") => line.replacen("12", &count.to_string(), 1),
            "hosts" => {
                at += 1;
                format!("hosts = {}", waves[(at - 1).min(3)])
            }
            _ => line.replace("demo-[01-12]", &range),
        }
    });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_fits_any_number_of_hosts() {
        for count in 8..=200 {
            let width = if count > 99 { 3 } else { 2 };
            let hosts: Vec<String> = (1..=count).map(|number| format!("demo-{number:0width$}")).collect();
            let text = fitted(PLAN, &hosts);
            let sizes = text.lines().filter_map(|line| line.trim().strip_prefix("hosts"));
            let sizes = sizes.filter_map(|rest| rest.split(['=', '#']).nth(1)?.trim().parse().ok());
            let sizes: Vec<usize> = sizes.collect();
            assert_eq!(sizes.len(), 4, "{count} hosts");
            assert!(sizes.is_sorted_by(|a, b| a < b), "{count} hosts: {sizes:?}");
            assert_eq!(sizes.last(), Some(&count));
            assert!(text.contains(&format!("demo-[{:0width$}-{count:0width$}]", 1)), "{count} hosts");
        }
    }
}
