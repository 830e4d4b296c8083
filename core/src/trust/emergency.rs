//! The emergency route of approvals: fewer people, for less. A keyring opens it
//! on its host; a plan must do nothing but go back to a point of that host, in
//! a short time, by steps that can all be undone.

use serde::{Deserialize, Serialize};

use super::keyring::Keyring;
use crate::ids::{Digest, Group, PluginName};
use crate::plan::{EMERGENCY_VALID_MAX, Plan, Step, Urgency};
use crate::time::Millis;

/// The power that reads a rollback point.
const POINTS: &str = "points";

/// `[emergency]` of a keyring: what this host takes instead of its usual number of persons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmergencyRoute {
    /// Distinct persons at the least.
    pub signatures: u8,
    /// One person of each of these groups; at least one group.
    pub from: Vec<Group>,
    /// Plugins that may be used, by digest; any that a plan pins when none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<Digest>,
}

/// Why a plan does not get the emergency route, so that the usual number of persons is needed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    #[error("this host's keyring has no [emergency]")]
    NoRoute,
    #[error("it goes back to no rollback point")]
    NoPoint,
    #[error("none of its steps restores anything")]
    NothingRestored,
    #[error("it is valid for {valid}, at most {EMERGENCY_VALID_MAX} are allowed")]
    ValidTooLong { valid: Millis },
    #[error("step {step} cannot be undone")]
    NoWayBack { step: usize },
    #[error("plugin `{0}` is not one of the emergency route")]
    OtherPlugin(PluginName),
}

/// The route that this keyring opens to this plan. Who signed is judged by the caller.
pub(super) fn route<'a>(plan: &Plan, keyring: &'a Keyring) -> Option<Result<&'a EmergencyRoute, Closed>> {
    match plan.urgency {
        Urgency::Normal => None,
        Urgency::Emergency => Some(open(plan, keyring)),
    }
}

fn open<'a>(plan: &Plan, keyring: &'a Keyring) -> Result<&'a EmergencyRoute, Closed> {
    let route = keyring.emergency().ok_or(Closed::NoRoute)?;
    if plan.point.is_none() {
        return Err(Closed::NoPoint);
    }
    let restores = |step: &Step| step.grants.iter().any(|grant| grant.power == POINTS);
    if !plan.steps.iter().any(restores) {
        return Err(Closed::NothingRestored);
    }
    let valid = plan.expires.since(plan.issued);
    if valid > EMERGENCY_VALID_MAX {
        return Err(Closed::ValidTooLong { valid });
    }
    if let Some(at) = plan.steps.iter().position(|step| !step.undo.leads_back(step.class)) {
        return Err(Closed::NoWayBack { step: at + 1 });
    }
    let is_other = |digest: &Digest| !route.plugins.is_empty() && !route.plugins.contains(digest);
    match plan.plugins.iter().find(|pin| is_other(&pin.sha256)) {
        Some(pin) => Err(Closed::OtherPlugin(pin.name.clone())),
        None => Ok(route),
    }
}
