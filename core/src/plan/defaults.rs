//! What a plan means where it says nothing. Each is written into the sealed
//! plan, so that a later version with other defaults changes no signed plan.

use super::draft::Amount;
use super::{CutOff, PointCheck, Urgency};
use crate::time::Millis;

/// From sealing on; later, no host starts the plan.
pub const VALID: Millis = Millis::hours(12);
/// Of an emergency: whoever runs it launches at once.
pub const EMERGENCY_VALID: Millis = Millis::minutes(15);
/// How long a wave must stay healthy.
pub const SOAK: Millis = Millis::minutes(2);
pub const EMERGENCY_SOAK: Millis = Millis::seconds(30);
/// Carrying a host through is the state that needs nobody.
pub const CUT_OFF: CutOff = CutOff::FinishHost;
/// A wave is the limit.
pub const AT_ONCE: Amount = Amount::Percent(100);
/// Of the whole selection, for the whole rollout; rounded up, at least one.
pub const FAILED: Amount = Amount::Percent(10);
pub const SILENT: Amount = Amount::Percent(10);
pub const STAGE_WITHIN: Millis = Millis::seconds(60);
pub const SILENT_AFTER: Millis = Millis::seconds(30);
pub const POINT_CHECK: PointCheck = PointCheck::Full;
/// The author counts only where the plan says so.
pub const AUTHOR_COUNTS: bool = false;
/// The gate of a wave that names none: no host may fail or be silent.
pub const GATE: &str = "strict";
/// Signatures that a plan may ask for, at most.
pub const SIGNATURES_MAX: u32 = 16;

/// How long after sealing a host may still start a plan that does not say it.
pub fn valid(urgency: Urgency) -> Millis {
    match urgency {
        Urgency::Normal => VALID,
        Urgency::Emergency => EMERGENCY_VALID,
    }
}

/// The soak of a wave that does not say it.
pub fn soak(urgency: Urgency) -> Millis {
    match urgency {
        Urgency::Normal => SOAK,
        Urgency::Emergency => EMERGENCY_SOAK,
    }
}
