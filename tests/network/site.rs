//! A fleet's folders: authorities, certificates, keyring, configurations, and
//! one plan that everybody is to carry out.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use sternway_coordinator::daemon::config::Config as CoordinatorConfig;
use sternway_coordinator::pki::{self, Role};
use sternway_core::ids::{Digest, FleetId, HostName, Nonce, PlanId};
use sternway_core::manifest::Class;
use sternway_core::plan::{
    Approval, CutOff, FORMAT, Gate, Pace, Plan, PluginPin, Severity, Step, Undo, Wave,
};
use sternway_core::time::{Millis, Timestamp};
use sternway_core::trust::{KeyringFile, KeyringKey, Sealed, SigningKey};
use tempfile::TempDir;

pub(crate) const FLEET: FleetId = FleetId([9; 16]);
pub(crate) const PORT: u16 = 4433;
pub(crate) const AT_ONCE: u32 = 2;
pub(crate) const HOSTS: [&str; 4] = ["web-1", "web-2", "web-3", "web-4"];

#[derive(Debug)]
pub(crate) struct Site {
    folder: TempDir,
    pub(crate) plan: Plan,
    pub(crate) sealed: Vec<u8>,
    pub(crate) id: PlanId,
    /// The wall clock when the night began.
    pub(crate) began: Timestamp,
}

impl Site {
    pub(crate) fn new(coordinator: IpAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        pki::create_authorities(&at.join("pki"), FLEET).unwrap();
        pki::issue(&at.join("pki"), Role::Coordinator, "c-1", &at.join("own")).unwrap();
        let key = SigningKey::from_seed(&[1; 32]);
        let keys = vec![KeyringKey { person: ada(), groups: vec![], public: key.public(), until: None }];
        let keyring = KeyringFile { fleet: FLEET, signatures: 1, emergency: None, keys };
        write(&at.join("keyring.toml"), &toml::to_string(&keyring).unwrap());
        let hosts: String = HOSTS.iter().map(|name| format!("[[host]]\nname = '{name}'\n")).collect();
        write(&at.join("fleet.toml"), &format!("name = 'test'\n{hosts}"));
        write(
            &at.join("coordinator.toml"),
            &format!(
                "listen = '0.0.0.0:{PORT}'\ndata = 'data'\nkeyring = 'keyring.toml'\ninventory = 'fleet.toml'\n\
                 certificate = 'own/c-1.pem'\nkey = 'own/c-1.key'\n\
                 agent_authority = 'pki/agent-ca.pem'\noperator_authority = 'pki/operator-ca.pem'\n"
            ),
        );
        for name in HOSTS {
            let issued = pki::issue(&at.join("pki"), Role::Agent, name, &at.join("issued")).unwrap();
            let (certificate, key) = (issued.certificate.display(), issued.key.display());
            write(
                &at.join(format!("{name}.toml")),
                &format!(
                    "host = '{name}'\ncoordinator = '{coordinator}:{PORT}'\nstate = 'state-{name}'\n\
                     keyring = 'keyring.toml'\n[identity]\ncertificate = '{certificate}'\nkey = '{key}'\n\
                     server_authority = 'pki/server-ca.pem'\n"
                ),
            );
            std::fs::create_dir(at.join(format!("state-{name}"))).unwrap();
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let began = Timestamp(since.as_millis() as u64);
        let plan = plan(began);
        let mut sealed = Sealed::new(&plan).unwrap();
        sealed.sign(&key).unwrap();
        Self { id: sealed.id(), sealed: sealed.to_bytes(), plan, began, folder }
    }

    pub(crate) fn coordinator(&self) -> CoordinatorConfig {
        CoordinatorConfig::load(&self.folder.path().join("coordinator.toml")).unwrap()
    }

    pub(crate) fn agent(&self, name: &str) -> sternway_agent::config::Config {
        sternway_agent::config::Config::load(&self.folder.path().join(format!("{name}.toml"))).unwrap()
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("data/coordinator.db")
    }
}

pub(crate) fn ada() -> sternway_core::ids::Person {
    "ada".parse().unwrap()
}

pub(crate) fn host_name(name: &str) -> HostName {
    name.parse().unwrap()
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

fn step(name: &str) -> Step {
    Step {
        name: name.parse().unwrap(),
        uses: "files".parse().unwrap(),
        settings: "{}".into(),
        undo: Undo::ByPlugin,
        timeout: Millis::seconds(60),
        wait: None,
        class: Class::Converge,
        grants: vec![],
        confirm: None,
        pivot: false,
    }
}

/// A canary, then all others, two at once. What its steps would do is played.
fn plan(began: Timestamp) -> Plan {
    let wave = |hosts: &[&str]| Wave {
        name: None,
        hosts: hosts.iter().map(|name| host_name(name)).collect(),
        soak: Millis::seconds(1),
        gate: Gate { name: "all".into(), failed: 0, silent: 0 },
        approve: None,
    };
    Plan {
        format: FORMAT,
        fleet: FLEET,
        nonce: Nonce([7; 16]),
        name: "back".parse().unwrap(),
        reason: "a test".into(),
        severity: Severity::Low,
        urgency: Default::default(),
        service: "shop".into(),
        from: "1.3".into(),
        to: "1.1".into(),
        author: ada(),
        issued: began,
        expires: began + Millis::hours(24),
        budget: None,
        hosts: HOSTS.iter().map(|name| host_name(name)).collect(),
        approval: Approval { signatures: 1, from: vec![], author: true },
        point: None,
        steps: ["stop", "restore", "start"].map(step).to_vec(),
        pace: Pace {
            at_once: AT_ONCE,
            cut_off: CutOff::FinishHost,
            failed: 0,
            silent: 0,
            stage_within: Millis::minutes(30),
            silent_after: Millis::minutes(30),
        },
        waves: vec![wave(&HOSTS[..1]), wave(&HOSTS[1..])],
        plugins: vec![PluginPin {
            name: "files".parse().unwrap(),
            version: "1.0.0".into(),
            sha256: Digest([1; 32]),
            bytes: 1,
        }],
        text: String::new(),
    }
}
