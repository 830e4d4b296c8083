//! What a plugin says of itself, frozen when it is packed. The coordinator
//! judges plans by it and never runs a plugin to learn what it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{Digest, PluginName};

/// What an interrupted `apply` means, ordered from harmless to never-again
/// (the classes decide what is done after a crash).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Reads only: run again.
    Observe,
    /// "Make it so": run again.
    Converge,
    /// Built beside, one atomic switch: run again.
    StagedSwap,
    /// Not repeatable, but looking tells clean, partial and full apart.
    Probe,
    /// A peer removes duplicates by key: run again with the same key.
    Keyed,
    /// Opaque: a person decides.
    OneShot,
}

impl Class {
    /// Whether an interrupted `apply` of this class may simply run again.
    pub fn may_run_again(self) -> bool {
        match self {
            Self::Observe | Self::Converge | Self::StagedSwap | Self::Keyed => true,
            Self::Probe | Self::OneShot => cfg!(feature = "mutant-blind-redo"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reversibility {
    /// The plugin puts it back by itself.
    Reversible,
    /// Only when the plan says how, with `undo = { ... }`.
    Compensatable,
    Irreversible,
}

/// One thing a plugin can be asked for, chosen by the presence of a setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mode {
    pub setting: String,
    pub class: Class,
    pub reversibility: Reversibility,
    pub summary: String,
}

/// A power a plugin asks for, bounded by the values of some of its settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerAsk {
    pub name: String,
    pub scope_from: Vec<String>,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub name: PluginName,
    pub version: String,
    pub summary: String,
    /// JSON Schema (draft-07) of the settings.
    pub settings_schema: serde_json::Value,
    pub modes: Vec<Mode>,
    pub powers: Vec<PowerAsk>,
    pub default_timeout_ms: u64,
}

impl Manifest {
    /// The first number of the version, by which plans name a plugin: `files@0`.
    pub fn major(&self) -> &str {
        self.version.split('.').next().unwrap_or_default()
    }

    /// The modes that these settings select.
    pub fn modes_of<'a>(&'a self, settings: &'a serde_json::Value) -> impl Iterator<Item = &'a Mode> {
        self.modes.iter().filter(|mode| settings.get(&mode.setting).is_some())
    }
}

/// A plugin that is here: its frozen manifest and which bytes it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueEntry {
    pub sha256: Digest,
    pub bytes: u64,
    pub manifest: Manifest,
}

/// The plugins a plan may name, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Catalogue(pub BTreeMap<PluginName, CatalogueEntry>);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn mode(class: &serde_json::Value) -> Result<Mode, serde_json::Error> {
        let mut mode = json!({ "setting": "flush", "reversibility": "reversible", "summary": "" });
        if !class.is_null() {
            mode["class"] = class.clone();
        }
        serde_json::from_value(mode)
    }

    #[test]
    fn a_mode_that_does_not_say_what_a_crash_means_is_refused() {
        let error = mode(&json!(null)).unwrap_err().to_string();
        assert!(error.contains("missing field `class`"), "{error}");
        let error = mode(&json!("whatever")).unwrap_err().to_string();
        assert!(error.contains("unknown variant `whatever`"), "{error}");
    }

    #[test]
    fn only_what_cannot_be_told_or_repeated_waits_for_a_person() {
        let again = |class: &str| mode(&json!(class)).unwrap().class.may_run_again();
        for class in ["observe", "converge", "staged-swap", "keyed"] {
            assert!(again(class), "{class}");
        }
        for class in ["probe", "one-shot"] {
            assert!(!again(class), "{class}");
        }
    }
}
