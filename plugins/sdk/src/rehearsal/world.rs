//! What the pretended host holds.

use std::collections::BTreeMap;

/// A host: contents are texts, and a text is its own digest.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// What everybody sees: path to content.
    pub live: BTreeMap<String, String>,
    /// What the rollback point holds.
    pub point: BTreeMap<String, String>,
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
    /// The call to die at, and whether after its effect.
    pub kill: Option<(usize, bool)>,
}

/// One service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    pub running: bool,
    pub pid: u32,
}

/// What has to be equal at the end.
type Content = (BTreeMap<String, String>, BTreeMap<String, bool>, Vec<String>);

impl World {
    /// What people care for: files, which services run, what was sent. Copies
    /// that stay for people are not part of it.
    pub fn content(&self) -> Content {
        let live = self.live.iter().filter(|(path, _)| !path.contains(".kept"));
        (
            live.map(|(path, content)| (path.clone(), content.clone())).collect(),
            self.services.iter().map(|(name, service)| (name.clone(), service.running)).collect(),
            self.sent.clone(),
        )
    }
}
