//! What the pretended host holds.

use std::collections::BTreeMap;

use super::host::clusters::{Request, Response};
use super::host::http;
use super::host::programs::{Call, Ended};
use super::host::sockets::Exchange;
use crate::Error;

/// What a test's own part of the world answers, and does to it.
pub type Model<Q, A> = fn(&mut World, &Q) -> Result<A, Error>;

/// A host: contents are texts, and a text is its own digest.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// What everybody sees: path to content.
    pub live: BTreeMap<String, String>,
    /// What the rollback point holds.
    pub point: BTreeMap<String, String>,
    /// What a plugin's own test models: databases, containers, packages ... `programs`,
    /// `sockets` and `clusters` read and change it.
    pub model: BTreeMap<String, String>,
    /// What a program does and says.
    pub programs: Option<Model<Call, Ended>>,
    /// Programs that ran under a key.
    pub ran: BTreeMap<String, Ended>,
    /// What answers HTTP; left out: 200 to everything, as `sent` and `keys` tell.
    pub http: Option<Model<http::Request, http::Response>>,
    /// What the mail relay says to a letter to this address; left out: it takes all.
    pub mail: Option<Model<str, ()>>,
    /// What a connection to an address meets; left out: what `sockets` says of any.
    pub probes: Option<Model<str, u64>>,
    /// The host's clock in milliseconds; a pause moves it on.
    pub now_ms: u64,
    /// What listens at addresses.
    pub sockets: Option<Model<Exchange, Vec<u8>>>,
    /// The clusters' interface.
    pub clusters: Option<Model<Request, Response>>,
    /// Units of systemd by name.
    pub units: BTreeMap<String, UnitModel>,
    /// Services by name.
    pub services: BTreeMap<String, Service>,
    /// Requests that changed something, as `PUT url body`; one with a key counts once.
    pub sent: Vec<String>,
    /// Content a program writes to a live path between `apply` and `undo`.
    pub writes: BTreeMap<String, String>,
    /// Content somebody writes to a live path between `prepare` and `apply`.
    pub meddles: BTreeMap<String, String>,
    /// Side copies.
    pub side: BTreeMap<String, String>,
    /// The journal: note and value of each mark.
    pub marks: BTreeMap<String, (Vec<u8>, Option<Vec<u8>>)>,
    /// Idempotency keys that were answered.
    pub keys: Vec<String>,
    /// Host calls so far.
    pub calls: usize,
    /// Their names.
    pub log: Vec<String>,
    /// What the phase under way may do.
    pub phase: Phase,
    /// The call to die at, and whether after its effect.
    pub kill: Option<(usize, bool)>,
}

/// What a plugin may do in a phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Phase {
    /// `look`, `verify`.
    Reading,
    /// `prepare`.
    Staging,
    /// `apply`, `undo`.
    #[default]
    Changing,
}

/// One service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    pub running: bool,
    pub pid: u32,
}

/// One unit of systemd.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitModel {
    pub running: bool,
    pub enabled: bool,
    pub masked: bool,
    pub pid: u32,
    pub reloads: u32,
}

/// What has to be equal at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    live: BTreeMap<String, String>,
    model: BTreeMap<String, String>,
    services: BTreeMap<String, bool>,
    units: BTreeMap<String, (bool, bool, bool)>,
    sent: Vec<String>,
}

impl World {
    /// What people care for: files, which services run, what was sent. Copies
    /// that stay for people are not part of it.
    pub fn content(&self) -> Content {
        let live = self.live.iter().filter(|(path, _)| !path.contains(".kept"));
        let state_of = |unit: &UnitModel| (unit.running, unit.enabled, unit.masked);
        Content {
            live: live.map(|(path, content)| (path.clone(), content.clone())).collect(),
            model: self.model.clone(),
            services: self.services.iter().map(|(name, service)| (name.clone(), service.running)).collect(),
            units: self.units.iter().map(|(name, unit)| (name.clone(), state_of(unit))).collect(),
            sent: self.sent.clone(),
        }
    }
}
