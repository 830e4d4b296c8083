//! `coordinator.toml` and the inventory it points to: read once, checked once,
//! every default in this file.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use serde::Deserialize;
use sternway_core::plan::{HOSTS_MAX, InventoryHost};
use sternway_core::time::Millis;
use sternway_core::trust::{Keyring, KeyringError, KeyringFile};

/// Port of a coordinator that names no other.
pub const PORT_DEFAULT: u16 = 7843;
/// A host counts as gone after this long without a packet; agents say something every 3 s.
const IDLE_DEFAULT: Millis = Millis::seconds(15);
const RECEIVE_BUFFER_DEFAULT: usize = 8 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("could not read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("`{}` is not as it should be", path.display())]
    Toml {
        path: PathBuf,
        #[source]
        cause: toml::de::Error,
    },
    #[error("the keyring `{}` cannot be used", path.display())]
    Keyring {
        path: PathBuf,
        #[source]
        cause: KeyringError,
    },
    #[error("`{}` names host `{host}` twice", path.display())]
    HostTwice { path: PathBuf, host: String },
    #[error("`{}` names {hosts} hosts, at most {HOSTS_MAX} are conducted", path.display())]
    TooManyHosts { path: PathBuf, hosts: usize },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default = "listen_default")]
    listen: SocketAddr,
    data: PathBuf,
    keyring: PathBuf,
    inventory: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    agent_authority: PathBuf,
    operator_authority: PathBuf,
    #[serde(default)]
    idle_timeout: Length<{ IDLE_DEFAULT.0 }>,
    #[serde(default = "receive_buffer_default")]
    receive_buffer_bytes: usize,
}

fn listen_default() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], PORT_DEFAULT))
}

fn receive_buffer_default() -> usize {
    RECEIVE_BUFFER_DEFAULT
}

/// A length of time with its unit, such as `90s`; `DEFAULT` is in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Length<const DEFAULT: u64>(Millis);

impl<const DEFAULT: u64> Default for Length<DEFAULT> {
    fn default() -> Self {
        Self(Millis(DEFAULT))
    }
}

impl<'de, const DEFAULT: u64> Deserialize<'de> for Length<DEFAULT> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// Everything `serve` needs to know, with its paths made absolute to the file's folder.
#[derive(Debug, Clone)]
pub struct Config {
    pub listen: SocketAddr,
    pub data: PathBuf,
    pub keyring: Keyring,
    pub inventory: Inventory,
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub agent_authority: PathBuf,
    pub operator_authority: PathBuf,
    pub idle_timeout: Duration,
    pub receive_buffer_bytes: usize,
}

impl Config {
    /// Reads `coordinator.toml` at `path` and the keyring and inventory it names.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let file: File = read_toml(path)?;
        let beside = |other: &Path| path.parent().unwrap_or(Path::new(".")).join(other);
        let keyring_path = beside(&file.keyring);
        let keyring = Keyring::new(read_toml::<KeyringFile>(&keyring_path)?)
            .map_err(|cause| ConfigError::Keyring { path: keyring_path, cause })?;
        Ok(Self {
            listen: file.listen,
            data: beside(&file.data),
            keyring,
            inventory: Inventory::load(&beside(&file.inventory))?,
            certificate: beside(&file.certificate),
            key: beside(&file.key),
            agent_authority: beside(&file.agent_authority),
            operator_authority: beside(&file.operator_authority),
            idle_timeout: Duration::from_millis(file.idle_timeout.0.0),
            receive_buffer_bytes: file.receive_buffer_bytes,
        })
    }
}

/// The hosts there are, as the coordinator vouches for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    pub name: String,
    /// Sorted by name, unique.
    pub hosts: Vec<InventoryHost>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InventoryFile {
    name: String,
    /// For `sternway sign --fleet`; the coordinator's own is the keyring's.
    #[serde(default)]
    #[expect(dead_code, reason = "one file serves the coordinator and the operator")]
    fleet: Option<sternway_core::ids::FleetId>,
    #[serde(default)]
    host: Vec<InventoryHost>,
}

impl Inventory {
    fn load(path: &Path) -> Result<Self, ConfigError> {
        let file: InventoryFile = read_toml(path)?;
        let mut hosts = BTreeMap::new();
        for host in file.host {
            let name = host.name.clone();
            if hosts.insert(host.name.clone(), host).is_some() {
                return Err(ConfigError::HostTwice { path: path.into(), host: name.to_string() });
            }
        }
        match hosts.len() {
            many if many > HOSTS_MAX => Err(ConfigError::TooManyHosts { path: path.into(), hosts: many }),
            _ => Ok(Self { name: file.name, hosts: hosts.into_values().collect() }),
        }
    }

    pub fn find(&self, name: &str) -> Option<&InventoryHost> {
        let at = self.hosts.binary_search_by(|host| host.name.as_str().cmp(name)).ok()?;
        self.hosts.get(at)
    }
}

fn read_toml<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = fs::read_to_string(path).map_err(|cause| ConfigError::Read { path: path.into(), cause })?;
    toml::from_str(&text).map_err(|cause| ConfigError::Toml { path: path.into(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "data = 'd'\nkeyring = 'k.toml'\ninventory = 'fleet.toml'\ncertificate = 'c.pem'\n\
        key = 'c.key'\nagent_authority = 'a.pem'\noperator_authority = 'o.pem'\n";

    #[test]
    fn the_defaults_hold_and_an_unknown_key_is_refused() {
        let file: File = toml::from_str(GOOD).unwrap();
        assert_eq!(file.listen.port(), PORT_DEFAULT);
        assert_eq!(file.idle_timeout.0, IDLE_DEFAULT);
        let file: File = toml::from_str(&format!("{GOOD}idle_timeout = '5s'\n")).unwrap();
        assert_eq!(file.idle_timeout.0, Millis::seconds(5));
        assert!(toml::from_str::<File>(&format!("{GOOD}listn = 'x'\n")).is_err());
        assert!(toml::from_str::<File>(&format!("{GOOD}idle_timeout = 5\n")).is_err());
    }

    #[test]
    fn a_host_that_stands_twice_is_refused_and_the_others_are_found_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fleet.toml");
        let load = |text: &str| {
            fs::write(&path, text).unwrap();
            Inventory::load(&path)
        };
        let twice = "name = 'prod'\n[[host]]\nname = 'b'\n[[host]]\nname = 'b'\n";
        assert!(matches!(load(twice), Err(ConfigError::HostTwice { host, .. }) if host == "b"));
        let good =
            load("name = 'prod'\n[[host]]\nname = 'b'\nlabels = { role = 'web' }\n[[host]]\nname = 'a'\n")
                .unwrap();
        assert_eq!(good.find("b").unwrap().labels["role"], "web");
        assert_eq!(good.find("c"), None);
    }
}
