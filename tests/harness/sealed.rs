//! Plans and keys for tests: good ones, to be spoiled.

use sternway_core::grant::Grant;
use sternway_core::ids::{Digest, FleetId, Group, HostName, Nonce, Person};
use sternway_core::manifest::Class;
use sternway_core::plan::{
    Approval, CutOff, FORMAT, Gate, Pace, Plan, PluginPin, PointCheck, PointChoice, PointWanted, Severity,
    Step, Undo, Urgency, Wave,
};
use sternway_core::time::{Millis, Timestamp};
use sternway_core::trust::{EmergencyRoute, Keyring, KeyringFile, KeyringKey, SigningKey};

/// The moment at which the plans here are sealed.
pub const SEALED_AT: Timestamp = Timestamp(1_800_000_000_000);

fn name<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().expect("a name of the tests is a good name")
}

/// `ada` of sre, `grace` of owners, and two whom no keyring knows.
pub fn key_of(person: &str) -> SigningKey {
    SigningKey::from_seed(Digest::of(person.as_bytes()).0.first_chunk::<32>().expect("a digest has 32 bytes"))
}

pub fn fleet() -> FleetId {
    FleetId([0x5e; 16])
}

/// Two persons of whom a plan needs both, ada with a second key; and mary, who
/// is on call and suffices in an emergency.
pub fn keyring() -> Keyring {
    let route = EmergencyRoute {
        signatures: 1,
        from: vec![name("on-call")],
        plugins: vec![Digest::of(b"files"), Digest::of(b"service")],
    };
    Keyring::new(keyring_file(Some(route))).expect("the keyring is sound")
}

/// The same without an emergency route.
pub fn keyring_without_route() -> Keyring {
    Keyring::new(keyring_file(None)).expect("the keyring is sound")
}

fn keyring_file(emergency: Option<EmergencyRoute>) -> KeyringFile {
    let key = |person: &str, group: &str, seed: &str| KeyringKey {
        person: name::<Person>(person),
        groups: vec![name::<Group>(group)],
        public: key_of(seed).public(),
        until: None,
    };
    let keys = vec![
        key("ada", "sre", "ada"),
        key("ada", "sre", "ada's other key"),
        key("grace", "owners", "grace"),
        key("mary", "on-call", "mary"),
    ];
    KeyringFile { fleet: fleet(), signatures: 2, emergency, keys }
}

/// What mary may launch alone: back to the newest whole point, within an hour.
pub fn emergency() -> Plan {
    let mut plan = plan();
    plan.urgency = Urgency::Emergency;
    plan.author = name("mary");
    plan.approval = Approval { signatures: 1, from: vec![name("on-call")], author: true };
    plan.point =
        Some(PointWanted { choice: PointChoice::NewestWhole, age_max: None, verify: PointCheck::Full });
    let paths = || vec!["/opt/hello".to_owned()];
    plan.steps[0].grants =
        ["files", "points"].map(|power| Grant { power: power.into(), scopes: paths() }).into();
    plan
}

/// A plan for `db-1` and `db-2` that a host would accept.
pub fn plan() -> Plan {
    let hosts: Vec<HostName> = vec![name("db-1"), name("db-2")];
    let wave = |host: &HostName| Wave {
        name: None,
        hosts: vec![host.clone()],
        soak: Millis::seconds(1),
        gate: Gate { name: "usual".into(), failed: 0, silent: 0 },
        approve: None,
    };
    Plan {
        format: FORMAT,
        fleet: fleet(),
        nonce: Nonce([1; 16]),
        name: name("hello-back"),
        reason: "INC-1".into(),
        severity: Severity::High,
        urgency: Default::default(),
        service: "hello".into(),
        from: "1.3".into(),
        to: "1.1".into(),
        author: name("ada"),
        issued: SEALED_AT,
        expires: SEALED_AT + Millis::hours(1),
        budget: None,
        approval: Approval { signatures: 2, from: vec![name("sre"), name("owners")], author: true },
        point: None,
        steps: vec![Step {
            name: name("restore files"),
            uses: name("files"),
            settings: r#"{"restore":"/opt/hello"}"#.into(),
            undo: Undo::ByPlugin,
            timeout: Millis::seconds(30),
            wait: None,
            confirm: None,
            pivot: false,
            class: Class::StagedSwap,
            grants: vec![],
        }],
        pace: Pace {
            at_once: 1,
            cut_off: CutOff::FinishHost,
            failed: 0,
            silent: 0,
            stage_within: Millis::seconds(60),
            silent_after: Millis::seconds(30),
        },
        waves: hosts.iter().map(wave).collect(),
        hosts,
        plugins: vec![PluginPin {
            name: name("files"),
            version: "0.1.0".into(),
            sha256: Digest::of(b"files"),
            bytes: 5,
        }],
        text: "# as reviewed\n".into(),
    }
}
