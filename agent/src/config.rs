//! The agent's one configuration file, its defaults and its checks.

mod outside;
mod points;
mod programs;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sternway_core::grant::Grant;
use sternway_core::ids::HostName;
use sternway_core::time::Millis;
use sternway_core::trust::{Keyring, KeyringError, KeyringFile};

use crate::capabilities::clusters::ClusterSettings;
use crate::capabilities::programs::{Form, PowerSettings, known_powers};

pub use outside::{Mail, MailTls, Secret};
pub use points::{
    Component, Database, DatabaseSource, Keep, Mysql, PointService, PointsConfig, Ready, Schedule, Scrub,
    SecretsError, Version,
};
pub use programs::Program;

/// The powers that are no program's.
const POWERS: [&str; 11] = [
    "files",
    "files-read",
    "points",
    "services",
    "systemd",
    "http",
    "secrets",
    "databases",
    "sockets",
    "mail",
    "clusters",
];

/// As written; see `docs/operating.md` for every key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub host: HostName,
    /// Address of the coordinator.
    pub coordinator: SocketAddr,
    /// Journal, plugins, rollback points, state of services: all below here.
    pub state: PathBuf,
    /// Every path in a plan is below this directory.
    #[serde(default = "default_root")]
    pub root: PathBuf,
    pub keyring: PathBuf,
    pub identity: Identity,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Compiled plugins; may be shared by agents of one machine.
    pub cache: Option<PathBuf>,
    /// How often a finished host is looked at again while its wave soaks.
    #[serde(default = "default_watch_every", deserialize_with = "duration")]
    pub watch_every: Millis,
    /// What this host permits, whatever a plan allows.
    #[serde(default)]
    pub permit: Permit,
    #[serde(default, rename = "service")]
    pub services: Vec<Service>,
    /// The relay for letters.
    pub mail: Option<Mail>,
    /// Kubernetes clusters, by the names that plans use.
    #[serde(default, rename = "cluster")]
    pub clusters: Vec<ClusterSettings>,
    /// What plans may name and never see.
    #[serde(default, rename = "secret")]
    pub secrets: Vec<Secret>,
    /// Where rollback points are kept, of what and for how long.
    #[serde(default)]
    pub points: PointsConfig,
    /// The host's own programs that plans may have run.
    #[serde(default, rename = "program")]
    pub programs: Vec<Program>,
    /// As whom and where the programs of a power run.
    #[serde(default, rename = "power")]
    pub powers: BTreeMap<String, PowerSettings>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// The authority of coordinators; nobody else's word counts.
    pub server_authority: PathBuf,
}

/// Power to scopes, `*` for all of them. Nothing is permitted that is not named.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Permit(BTreeMap<String, Vec<String>>);

impl Permit {
    pub fn grants(&self) -> Vec<Grant> {
        let grant =
            |(power, scopes): (&String, &Vec<String>)| Grant { power: power.clone(), scopes: scopes.clone() };
        self.0.iter().map(grant).collect()
    }

    /// A power nobody knows is a slip of the pen, and would permit nothing in silence.
    fn unknown(&self, known: &[String]) -> Option<&str> {
        self.0.keys().map(String::as_str).find(|power| !known.iter().any(|known| known == power))
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    pub name: String,
    pub command: Vec<String>,
    pub directory: Option<PathBuf>,
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Started is what has stayed up for so long.
    #[serde(default = "default_settle", deserialize_with = "duration")]
    pub settle: Millis,
    /// After so long a stop insists.
    #[serde(default = "default_stop", deserialize_with = "duration")]
    pub stop: Millis,
}

fn default_root() -> PathBuf {
    "/".into()
}

fn default_watch_every() -> Millis {
    Millis::seconds(1)
}

fn default_settle() -> Millis {
    Millis(300)
}

fn default_stop() -> Millis {
    Millis::seconds(10)
}

fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Millis, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("could not read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("`{}` is not as expected: {cause}", path.display())]
    Parse { path: PathBuf, cause: String },
    #[error("`{}` permits `{power}`, which is no power: {known}", path.display())]
    Power { path: PathBuf, power: String, known: String },
    #[error("`{}` says what cannot be: {}", path.display(), problems.join("; "))]
    Outside { path: PathBuf, problems: Vec<String> },
    #[error("`{}` describes rollback points that cannot be made: {}", path.display(), problems.join("; "))]
    Points { path: PathBuf, problems: Vec<String> },
    #[error("`{}` describes programs that cannot be run: {}", path.display(), problems.join("; "))]
    Programs { path: PathBuf, problems: Vec<String> },
    #[error("the keyring `{}` cannot be trusted", path.display())]
    Keyring {
        path: PathBuf,
        #[source]
        cause: KeyringError,
    },
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|cause| ConfigError::Read { path: path.to_path_buf(), cause })
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    toml::from_str(&read(path)?)
        .map_err(|cause| ConfigError::Parse { path: path.to_path_buf(), cause: cause.to_string() })
}

impl Config {
    /// Reads the file; relative paths in it are relative to its folder.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = parse(path)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let identity = &mut config.identity;
        for path in [
            &mut config.state,
            &mut config.root,
            &mut config.keyring,
            &mut identity.certificate,
            &mut identity.key,
            &mut identity.server_authority,
        ] {
            *path = folder.join(&*path);
        }
        config.cache = config.cache.map(|cache| folder.join(cache));
        for path in [&mut config.points.password, &mut config.points.secrets] {
            *path = path.take().map(|path| folder.join(path));
        }
        // An address names its back end before a colon; everything else is a folder.
        if let Some(repository) = &mut config.points.repository
            && !repository.contains(':')
        {
            *repository = folder.join(&*repository).to_string_lossy().into_owned();
        }
        for service in &mut config.points.services {
            service.scratch = config.state.join("scratch");
        }
        let known: Vec<String> =
            POWERS.map(String::from).into_iter().chain(known_powers().map(str::to_owned)).collect();
        if let Some(power) = config.permit.unknown(&known) {
            let (path, power, known) = (path.to_path_buf(), power.to_owned(), known.join(", "));
            return Err(ConfigError::Power { path, power, known });
        }
        let problems = outside::problems(config.mail.as_ref(), &config.secrets, config.host.as_str());
        if !problems.is_empty() {
            return Err(ConfigError::Outside { path: path.to_path_buf(), problems });
        }
        let problems = config.points.problems();
        if !problems.is_empty() {
            return Err(ConfigError::Points { path: path.to_path_buf(), problems });
        }
        let problems = programs::problems(&config.programs, &config.powers);
        if !problems.is_empty() {
            return Err(ConfigError::Programs { path: path.to_path_buf(), problems });
        }
        for service in &mut config.services {
            service.directory = service.directory.take().map(|directory| folder.join(directory));
        }
        Ok(config)
    }

    /// Name of a secret to the file that holds it.
    pub fn secret_files(&self) -> BTreeMap<String, PathBuf> {
        outside::files(&self.secrets)
    }

    pub fn load_keyring(&self) -> Result<Keyring, ConfigError> {
        let file: KeyringFile = parse(&self.keyring)?;
        Keyring::new(file).map_err(|cause| ConfigError::Keyring { path: self.keyring.clone(), cause })
    }

    /// The host's own programs as forms of the power `command`.
    pub fn own_forms(&self) -> Vec<Form> {
        programs::forms(&self.programs)
    }

    pub fn journal_path(&self) -> PathBuf {
        self.state.join("journal")
    }

    pub fn plugins_path(&self) -> PathBuf {
        self.state.join("plugins")
    }

    pub fn plans_path(&self) -> PathBuf {
        self.state.join("plans")
    }

    pub fn points_path(&self) -> PathBuf {
        self.state.join("points")
    }

    pub fn cache_path(&self) -> PathBuf {
        self.cache.clone().unwrap_or_else(|| self.state.join("compiled"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        host = "demo-01"
        coordinator = "127.0.0.1:8471"
        state = "state"
        keyring = "keyring.toml"
        watch_every = "200ms"
        [identity]
        certificate = "agent.pem"
        key = "agent.key"
        server_authority = "/etc/sternway/server-ca.pem"
        [permit]
        files = ["/opt/hello"]
    "#;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path).inspect(|config| assert_eq!(config.state, folder.path().join("state")))
    }

    #[test]
    fn relative_paths_are_beside_the_file_and_what_is_not_named_is_not_permitted() {
        let config = load(GOOD).unwrap();
        assert_eq!(config.watch_every, Millis(200));
        assert_eq!(config.identity.server_authority, Path::new("/etc/sternway/server-ca.pem"));
        let files = Grant { power: "files".into(), scopes: vec!["/opt/hello".into()] };
        assert_eq!(config.permit.grants(), [files]);
    }

    #[test]
    fn a_misspelt_key_or_unit_is_an_error_with_its_line() {
        let error = load(&GOOD.replace("keyring", "keyrng")).unwrap_err().to_string();
        assert!(error.contains("keyrng"), "{error}");
        let error = load(&GOOD.replace("files =", "fils =")).unwrap_err().to_string();
        assert!(error.contains("`fils`") && error.contains("files, files-read"), "{error}");
        let error = load(&GOOD.replace("200ms", "200")).unwrap_err().to_string();
        assert!(error.contains("needs its unit"), "{error}");
    }

    #[test]
    fn a_program_that_makes_no_sense_is_said_when_the_file_is_read() {
        let program = |words: &str| {
            format!("{GOOD}\n[[program]]\nname = \"a\"\neffect = \"read\"\nprogram = \"{words}\"")
        };
        assert_eq!(load(&program("true")).unwrap().own_forms()[0].name, "command.a");
        let error = load(&program("../true")).unwrap_err().to_string();
        assert!(error.contains("the program `a`") && error.contains("agent.toml"), "{error}");
    }

    #[test]
    fn what_a_point_could_never_hold_is_said_when_the_file_is_read_and_copies_lie_in_the_state() {
        let described =
            |files: &str| format!("{GOOD}\n[[points.service]]\nname = \"agora\"\nfiles = [\"{files}\"]");
        let config = load(&described("/opt/agora")).unwrap();
        assert_eq!(config.points.services[0].scratch, config.state.join("scratch"));
        let error = load(&described("opt/agora")).unwrap_err().to_string();
        assert!(error.contains("`opt/agora`") && error.contains("agent.toml"), "{error}");
    }
}
