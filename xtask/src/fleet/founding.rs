//! Keys, certificates and configurations of a fleet, made with the product's own
//! verbs and laid out as `packaging/install.sh` takes them: one folder for each
//! machine, one for each person.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::state::{COORDINATOR, State};

const PORT: u16 = 7843;
/// Who signs on a test fleet: two groups, and somebody on call for emergencies.
pub(crate) const PEOPLE: [(&str, &str); 3] = [("ada", "sre"), ("grace", "owners"), ("mary", "on-call")];
const POLICY: &str = include_str!("policy.toml");

/// Folders below the fleet's own.
pub(crate) fn machine(folder: &Path, name: &str) -> PathBuf {
    folder.join("machines").join(name)
}

pub(crate) fn people(folder: &Path) -> PathBuf {
    folder.join("people")
}

pub(crate) fn package(folder: &Path) -> PathBuf {
    folder.join("package")
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let written = std::fs::create_dir_all(parent).and_then(|()| std::fs::write(path, text));
    written.map_err(|cause| format!("could not write {}: {cause}", path.display()))
}

/// What a user would unpack on a machine: programs, units and the script.
pub(crate) fn pack(programs: &Path, folder: &Path) -> Result<(), String> {
    let package = package(folder);
    let bin = package.join("bin");
    std::fs::create_dir_all(&bin).map_err(|cause| format!("could not make {}: {cause}", bin.display()))?;
    for name in ["sternway", "sternway-agent"] {
        let (from, to) = (programs.join(name), bin.join(name));
        if !from.is_file() {
            return Err(format!("{} is not built", from.display()));
        }
        // Without what only debuggers read a debug build is half as large.
        let mut strip = Command::new("strip");
        strip.arg("-o").arg(&to).arg(&from).stderr(Stdio::null());
        if !strip.status().is_ok_and(|status| status.success()) {
            std::fs::copy(&from, &to)
                .map_err(|cause| format!("could not copy {}: {cause}", from.display()))?;
        }
    }
    for name in ["install.sh", "sternway-agent.service", "sternway-coordinator.service"] {
        let from = crate::root().join("packaging").join(name);
        let copied = std::fs::copy(&from, package.join(name));
        copied.map_err(|cause| format!("could not copy {}: {cause}", from.display()))?;
    }
    Ok(())
}

/// Everything that is made once for a fleet, with the programs of its package.
pub(crate) fn found(state: &State, folder: &Path, policy: Option<&Path>) -> Result<(), String> {
    let program = package(folder).join("bin/sternway");
    let sternway = |words: &[&str]| -> Result<String, String> {
        let output = Command::new(&program).args(words).stdin(Stdio::null()).output();
        let output = output.map_err(|cause| format!("could not start {}: {cause}", program.display()))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => {
                Err(format!("sternway {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr)))
            }
        }
    };
    let pki = folder.join("pki").display().to_string();
    let made = sternway(&["keys", "authorities", &pki, "--json"])?;
    let made = made.lines().find_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let fleet =
        made.as_ref().and_then(|made| made["fleet"].as_str()).ok_or("sternway names no fleet")?.to_owned();
    let address = format!("{}:{PORT}", state.address(COORDINATOR)?);
    let mut keyring = format!(
        "fleet = \"{fleet}\"\nsignatures = 2\n\n[emergency]\nsignatures = 1\nfrom = [\"on-call\"]\n\n"
    );
    for (person, group) in PEOPLE {
        let own = people(folder).join(person).display().to_string();
        sternway(&["keys", "issue", &pki, "--operator", person, "--out", &own, "--coordinator", &address])?;
        keyring += &sternway(&[
            "keys",
            "new",
            "--person",
            person,
            "--groups",
            group,
            "--quiet",
            "--identity",
            &own,
        ])?;
    }
    let policy = match policy {
        None => POLICY.to_owned(),
        Some(path) => std::fs::read_to_string(path)
            .map_err(|cause| format!("could not read {}: {cause}", path.display()))?,
    };
    let mut inventory = format!("name = \"{}\"\nfleet = \"{fleet}\"\n", state.name);
    let authority = |name: &str| {
        std::fs::read_to_string(Path::new(&pki).join(name)).map_err(|cause| format!("{pki}/{name}: {cause}"))
    };
    for host in &state.hosts {
        let own = machine(folder, host);
        sternway(&["keys", "issue", &pki, "--agent", host, "--out", &own.display().to_string()])?;
        let labels = labels(state, host);
        inventory += &format!("\n[[host]]\nname = \"{host}\"\nlabels = {labels}\n");
        write(&own.join("keyring.toml"), &keyring)?;
        write(&own.join("server-ca.pem"), &authority("server-ca.pem")?)?;
        write(&own.join("agent.toml"), &agent(host, &address, &labels, &policy))?;
    }
    let own = machine(folder, COORDINATOR);
    sternway(&["keys", "issue", &pki, "--server", "--out", &own.display().to_string()])?;
    for name in ["agent-ca.pem", "operator-ca.pem"] {
        write(&own.join(name), &authority(name)?)?;
    }
    write(&own.join("keyring.toml"), &keyring)?;
    write(&own.join("fleet.toml"), &inventory)?;
    write(&folder.join("fleet.toml"), &inventory)?;
    write(&own.join("coordinator.toml"), &coordinator())
}

fn labels(state: &State, host: &str) -> String {
    let mut labels = state.labels.clone();
    let at = state.hosts.iter().position(|one| one == host).unwrap_or_default();
    labels.entry("zone".into()).or_insert_with(|| ["a", "b", "c"][at % 3].into());
    if state.docker_hosts.iter().any(|one| one == host) {
        labels.insert("docker".into(), "yes".into());
    }
    inline(&labels)
}

fn inline(table: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = table.iter().map(|(key, value)| format!("{key} = \"{value}\"")).collect();
    format!("{{ {} }}", pairs.join(", "))
}

fn agent(host: &str, address: &str, labels: &str, policy: &str) -> String {
    format!(
        "host = \"{host}\"\ncoordinator = \"{address}\"\nstate = \"/var/lib/sternway\"\n\
         keyring = \"keyring.toml\"\ncache = \"/var/cache/sternway\"\nlabels = {labels}\n\n\
         [identity]\ncertificate = \"{host}.pem\"\nkey = \"{host}.key\"\n\
         server_authority = \"server-ca.pem\"\n\n{policy}"
    )
}

fn coordinator() -> String {
    format!(
        "listen = \"0.0.0.0:{PORT}\"\ndata = \"/var/lib/sternway-coordinator\"\nkeyring = \"keyring.toml\"\n\
         inventory = \"fleet.toml\"\ncertificate = \"coordinator.pem\"\nkey = \"coordinator.key\"\n\
         agent_authority = \"agent-ca.pem\"\noperator_authority = \"operator-ca.pem\"\n"
    )
}
