//! What shall happen: immutable, complete, and the same on every machine.
//!
//! A [`Plan`] is what people sign. It names its hosts, its validity, its
//! plugins by digest and every step with its settings in full, so that nobody
//! who merely carries it can fill in a blank.

use serde::{Deserialize, Serialize};

pub mod check;
pub mod defaults;
pub mod draft;
pub mod keys;
pub mod nearest;
mod point;
pub mod problem;
pub mod seal;
pub mod secret;
pub mod select;
pub mod settings;
pub mod tree;
pub(crate) mod vars;

pub use point::{PointCheck, PointChoice, PointWanted};

use crate::grant::Grant;
use crate::ids::{Digest, FleetId, Group, HostName, Nonce, Person, PlanName, PluginName, StepName};
use crate::manifest::Class;
use crate::time::{Millis, Timestamp};

/// The format that this version writes and reads.
pub const FORMAT: u32 = 1;

/// Limits of a plan; the signer refuses what a host would refuse.
pub const HOSTS_MAX: usize = 20_000;
pub const STEPS_MAX: usize = 64;
pub const WAVES_MAX: usize = 32;
pub const PLUGINS_MAX: usize = 16;
pub const TEXT_BYTES_MAX: usize = 256 * 1024;
pub const REASON_BYTES_MAX: usize = 512;
/// Longest validity a plan may have.
pub const VALID_MAX: Millis = Millis::hours(7 * 24);
/// Longest validity of a plan that a host takes by the emergency route.
pub const EMERGENCY_VALID_MAX: Millis = Millis::hours(1);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub format: u32,
    pub fleet: FleetId,
    pub nonce: Nonce,
    pub name: PlanName,
    pub reason: String,
    pub severity: Severity,
    #[serde(default, skip_serializing_if = "Urgency::is_normal")]
    pub urgency: Urgency,
    pub service: String,
    pub from: String,
    pub to: String,
    /// Who sealed it first.
    pub author: Person,
    pub issued: Timestamp,
    /// Later than this, no host starts it.
    pub expires: Timestamp,
    /// The recovery time promised; the report compares planned with actual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Millis>,
    /// Every host that may run this plan: sorted, unique.
    pub hosts: Vec<HostName>,
    pub approval: Approval,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<PointWanted>,
    pub steps: Vec<Step>,
    pub pace: Pace,
    pub waves: Vec<Wave>,
    /// All plugins that steps use, by digest; sorted by name.
    pub plugins: Vec<PluginPin>,
    /// The text as people reviewed it.
    pub text: String,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl Plan {
    pub fn pin(&self, plugin: &PluginName) -> Option<&PluginPin> {
        self.plugins.iter().find(|pin| pin.name == *plugin)
    }

    pub fn is_for(&self, host: &HostName) -> bool {
        self.hosts.binary_search(host).is_ok()
    }
}

/// Picks approvals, and how often people hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    Low,
    Medium,
    High,
    Critical,
}

/// Whether the plan may ask for the emergency route of approvals. People see it in red.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Urgency {
    #[default]
    Normal,
    Emergency,
}

impl Urgency {
    pub fn is_normal(&self) -> bool {
        *self == Self::Normal
    }

    pub fn is_emergency(self) -> bool {
        self == Self::Emergency
    }
}

/// Whose signatures the plan wants, beyond what a host's keyring demands anyway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// How many distinct persons.
    pub signatures: u8,
    /// One person of each of these groups, each person counted for one group only.
    pub from: Vec<Group>,
    /// Whether the author's own signature counts.
    pub author: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub name: StepName,
    pub uses: PluginName,
    /// JSON object of the plugin's settings; `${host.…}` is filled in on the host.
    pub settings: String,
    pub undo: Undo,
    /// For each phase call.
    pub timeout: Millis,
    /// Waited after the step is verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Millis>,
    /// After the step is verified, a new connection from outside has to be made
    /// within this time, or the host puts everything back by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<Millis>,
    /// Once this step is done, only a person's word undoes anything.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pivot: bool,
    pub class: Class,
    pub grants: Vec<Grant>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undo {
    /// The plugin puts back what it did.
    ByPlugin,
    /// The plan says how: JSON object of settings.
    Settings(String),
    /// The plan says `undo = "none"`: people signed that there is no way back.
    Nothing,
}

impl Undo {
    /// Whether a step of this class that is undone like this can be put back.
    /// What only looks needs no way back; what nobody can look into has none.
    pub fn leads_back(&self, class: Class) -> bool {
        match class {
            Class::Observe => true,
            Class::OneShot => false,
            Class::Converge | Class::StagedSwap | Class::Probe | Class::Keyed => *self != Self::Nothing,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pace {
    /// Hosts disturbed at any moment, at most.
    pub at_once: u32,
    pub cut_off: CutOff,
    /// Hosts that may fail in the whole rollout before it halts.
    pub failed: u32,
    /// Hosts that may be silent in the whole rollout before it asks a person.
    pub silent: u32,
    /// How long a host may take to hold everything it needs, from the moment
    /// its wave opens; then it is late and the others go on.
    pub stage_within: Millis,
    /// No word for so long from a host that was released: it counts as silent.
    pub silent_after: Millis,
}

/// What an agent does that loses the coordinator in mid-run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CutOff {
    /// Carries the host through to its end.
    FinishHost,
    /// Ends its step, then waits.
    Hold,
    /// Puts back what it did.
    Undo,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wave {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Sorted, unique, in no other wave.
    pub hosts: Vec<HostName>,
    pub soak: Millis,
    pub gate: Gate,
    /// A person of this group says go before the wave opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approve: Option<Group>,
}

/// The decision between waves, as thresholds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    pub name: String,
    /// Hosts that may fail in the wave; one more halts.
    pub failed: u32,
    /// Hosts that may say nothing in the wave; one more holds.
    pub silent: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginPin {
    pub name: PluginName,
    pub version: String,
    pub sha256: Digest,
    pub bytes: u64,
}

/// A host as the coordinator vouches for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InventoryHost {
    pub name: HostName,
    #[serde(default)]
    pub labels: std::collections::BTreeMap<String, String>,
}
