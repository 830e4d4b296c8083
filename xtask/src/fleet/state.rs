//! What is remembered of a fleet between two commands, as one JSON file in its
//! folder. The folder is also the claim to the fleet's name.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::process::Process;

/// One of a fleet's addresses is the coordinator's, the first the machine's own.
const COORDINATOR_ADDRESS: u8 = 2;
const FIRST_HOST_ADDRESS: u8 = 11;
/// As many as fit into one network of 256 addresses with what else lives there.
pub(crate) const HOSTS_MAX: usize = 200;

/// The coordinator is a machine of the fleet under this name.
pub(crate) const COORDINATOR: &str = "coordinator";

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) cut: bool,
    /// What every packet waits, in milliseconds, each way.
    pub(crate) delay: u64,
    /// Packets lost of 10 000, each way.
    pub(crate) lost: u16,
    /// Who makes them wait.
    pub(crate) delayer: Option<Process>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) name: String,
    /// The network is `10.213.<this>.0/24`.
    pub(crate) network: u8,
    /// In the order of their addresses.
    pub(crate) hosts: Vec<String>,
    /// Which of them have a Docker of their own.
    pub(crate) docker_hosts: Vec<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) links: BTreeMap<String, Link>,
}

impl State {
    pub(crate) fn machines(&self) -> impl Iterator<Item = &str> {
        std::iter::once(COORDINATOR).chain(self.hosts.iter().map(String::as_str))
    }

    /// The last part of a machine's address; none when the fleet has no such machine.
    pub(crate) fn last_part(&self, machine: &str) -> Option<u8> {
        if machine == COORDINATOR {
            return Some(COORDINATOR_ADDRESS);
        }
        let at = self.hosts.iter().position(|host| host == machine)?;
        u8::try_from(at).ok()?.checked_add(FIRST_HOST_ADDRESS)
    }

    pub(crate) fn address(&self, machine: &str) -> Result<Ipv4Addr, String> {
        let last = self.last_part(machine).ok_or_else(|| self.no_such(machine))?;
        Ok(Ipv4Addr::new(10, 213, self.network, last))
    }

    /// Rules for links go by it, since a machine keeps it over every boot. It is
    /// the one that Docker used to make out of the address.
    pub(crate) fn ethernet(&self, machine: &str) -> Result<String, String> {
        let last = self.last_part(machine).ok_or_else(|| self.no_such(machine))?;
        Ok(format!("02:42:0a:d5:{:02x}:{last:02x}", self.network))
    }

    pub(crate) fn no_such(&self, machine: &str) -> String {
        let known: Vec<&str> = self.machines().collect();
        format!("fleet `{}` has no machine `{machine}`; it has {}", self.name, known.join(", "))
    }

    pub(crate) fn subnet(&self) -> String {
        format!("10.213.{}.0/24", self.network)
    }

    /// Of the container of a machine.
    pub(crate) fn container(&self, machine: &str) -> String {
        format!("sternway-{}-{machine}", self.name)
    }

    pub(crate) fn network_name(&self) -> String {
        format!("sternway-{}", self.name)
    }

    pub(crate) fn save(&self, folder: &Path) -> Result<(), String> {
        let path = folder.join("state.json");
        let text = serde_json::to_string_pretty(&self.record()).map_err(|cause| cause.to_string())?;
        let part = folder.join("state.json.part");
        std::fs::write(&part, text + "\n")
            .and_then(|()| std::fs::rename(&part, &path))
            .map_err(|cause| format!("could not write {}: {cause}", path.display()))
    }

    /// None when there is no such fleet.
    pub(crate) fn load(folder: &Path) -> Result<Option<Self>, String> {
        let path = folder.join("state.json");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(format!("could not read {}: {cause}", path.display())),
        };
        let record: Value = serde_json::from_str(&text).unwrap_or_default();
        let state = Self::from_record(&record);
        state.map(Some).ok_or_else(|| format!("{} is not as expected", path.display()))
    }

    fn record(&self) -> Value {
        let links: Map<String, Value> = self
            .links
            .iter()
            .map(|(host, link)| {
                let delayer = link.delayer.map(Process::record);
                let link =
                    json!({ "cut": link.cut, "delay": link.delay, "lost": link.lost, "delayer": delayer });
                (host.clone(), link)
            })
            .collect();
        json!({
            "name": self.name,
            "network": self.network,
            "hosts": self.hosts,
            "docker_hosts": self.docker_hosts,
            "labels": self.labels,
            "links": links,
        })
    }

    fn from_record(record: &Value) -> Option<Self> {
        let words = |key: &str| -> Option<Vec<String>> {
            record[key].as_array()?.iter().map(|word| word.as_str().map(str::to_owned)).collect()
        };
        let link = |(host, link): (&String, &Value)| {
            let link = Link {
                cut: link["cut"].as_bool()?,
                delay: link["delay"].as_u64()?,
                lost: u16::try_from(link["lost"].as_u64()?).ok()?,
                delayer: Process::from_record(&link["delayer"]),
            };
            Some((host.clone(), link))
        };
        let label = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
        Some(Self {
            name: record["name"].as_str()?.to_owned(),
            network: u8::try_from(record["network"].as_u64()?).ok()?,
            hosts: words("hosts")?,
            docker_hosts: words("docker_hosts")?,
            labels: record["labels"].as_object()?.iter().map(label).collect::<Option<_>>()?,
            links: record["links"].as_object()?.iter().map(link).collect::<Option<_>>()?,
        })
    }
}

/// Where everything of all fleets lies, outside of the repository.
pub(crate) fn cache() -> Result<PathBuf, String> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")));
    Ok(cache.ok_or("neither XDG_CACHE_HOME nor HOME is set")?.join("sternway/fleet"))
}

/// Of one fleet.
pub(crate) fn folder(name: &str) -> Result<PathBuf, String> {
    Ok(cache()?.join("fleets").join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let link = Link { cut: true, delay: 200, lost: 500, delayer: None };
        State {
            name: "t".into(),
            network: 7,
            hosts: vec!["web-01".into(), "web-02".into()],
            docker_hosts: vec!["web-01".into()],
            labels: [("service".to_owned(), "shop".to_owned())].into(),
            links: [("web-02".to_owned(), link)].into(),
        }
    }

    #[test]
    fn a_machine_has_one_address_for_ever_and_a_stranger_has_none() {
        let state = state();
        assert_eq!(state.address("coordinator").unwrap().to_string(), "10.213.7.2");
        assert_eq!(state.address("web-02").unwrap().to_string(), "10.213.7.12");
        assert_eq!(state.ethernet("web-02").unwrap(), "02:42:0a:d5:07:0c");
        let error = state.address("web-03").unwrap_err();
        assert!(error.contains("web-03") && error.contains("coordinator, web-01, web-02"), "{error}");
    }

    #[test]
    fn what_was_saved_is_what_is_loaded_and_a_damaged_file_is_an_error() {
        let folder = std::env::temp_dir().join(format!("xtask-state-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        assert_eq!(State::load(&folder), Ok(None));
        state().save(&folder).unwrap();
        assert_eq!(State::load(&folder), Ok(Some(state())));
        std::fs::write(folder.join("state.json"), "{}").unwrap();
        assert!(State::load(&folder).unwrap_err().contains("not as expected"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
