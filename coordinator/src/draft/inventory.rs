//! A fleet as a file, for judging a plan without a coordinator.

use std::collections::BTreeSet;

use serde::Deserialize;
use sternway_core::ids::{FleetId, HostName};
use sternway_core::plan::InventoryHost;

#[derive(Debug, thiserror::Error)]
pub(crate) enum InventoryError {
    #[error("the fleet's file is not a list of [[host]] with `name` and `labels`")]
    Shape(#[source] toml::de::Error),
    #[error("the fleet's file names host `{0}` twice")]
    Twice(HostName),
}

/// One file serves the coordinator, which needs the name, and the operator who
/// checks and signs without one, who needs the fleet's id.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, rename = "name")]
    _name: Option<String>,
    #[serde(default)]
    fleet: Option<FleetId>,
    #[serde(default)]
    host: Vec<InventoryHost>,
}

/// What a fleet's file says.
pub(crate) struct Inventory {
    pub(crate) fleet: Option<FleetId>,
    pub(crate) hosts: Vec<InventoryHost>,
}

/// Reads `[[host]]` tables: `name = "demo-01"`, `labels = { zone = "a" }`.
pub(crate) fn read_inventory(text: &str) -> Result<Inventory, InventoryError> {
    let file: File = toml::from_str(text).map_err(InventoryError::Shape)?;
    let mut seen = BTreeSet::new();
    match file.host.iter().find(|host| !seen.insert(&host.name)) {
        Some(twice) => Err(InventoryError::Twice(twice.name.clone())),
        None => Ok(Inventory { fleet: file.fleet, hosts: file.host }),
    }
}
