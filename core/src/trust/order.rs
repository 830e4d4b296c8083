//! What a person says about a plan that is under way, signed like the plan.

use serde::{Deserialize, Serialize};

use super::seal::Payload;
use crate::ids::{FleetId, HostName, Nonce, Person, PlanId};
use crate::run::Choice;
use crate::time::{Millis, Timestamp};

/// Longest validity of an order.
pub const ORDER_VALID_MAX: Millis = Millis::hours(1);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    pub fleet: FleetId,
    pub plan: PlanId,
    pub nonce: Nonce,
    pub verb: Verb,
    pub person: Person,
    pub reason: String,
    pub issued: Timestamp,
    pub expires: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Let this wave open (counted from 1).
    Approve { wave: u32 },
    /// Put finished hosts back.
    Undo,
    /// The answer to what a stuck host asks, in the record `asked` of its journal.
    Unstick { host: HostName, choice: Choice, asked: u64 },
}

impl Payload for Order {
    const TYPE: &'static str = "application/vnd.sternway.order.v1+cbor";
}
