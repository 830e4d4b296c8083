//! A person's signed word about the points of each host: one order for one
//! host, which judges it itself.

use sternway_core::ids::{FleetId, HostName, Nonce};
use sternway_core::point::{Ask, Change, Order};
use sternway_core::time::{Millis, Timestamp};
use sternway_core::trust::Sealed;
use sternway_core::wire::PointAsk;

use crate::cli::failure::Failure;
use crate::cli::sign::{KeyError, PersonKey, SignVerbError};

/// How long an order counts: long enough for a slow link and clocks that differ.
const ORDER_VALID: Millis = Millis::minutes(15);

/// Who orders, why, and when it begins to count.
#[derive(Debug)]
pub(super) struct Signer<'a> {
    pub(super) key: &'a PersonKey,
    pub(super) fleet: FleetId,
    pub(super) reason: &'a str,
    pub(super) now: Timestamp,
}

impl Signer<'_> {
    pub(super) fn order(&self, host: &HostName, change: Change) -> Result<PointAsk, Failure> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(KeyError::Random)?;
        let order = Order {
            fleet: self.fleet,
            host: host.clone(),
            nonce: Nonce(nonce),
            change,
            person: self.key.person.clone(),
            reason: self.reason.to_owned(),
            issued: self.now,
            expires: self.now + ORDER_VALID,
        };
        let mut sealed = Sealed::new(&order).map_err(SignVerbError::from)?;
        sealed.sign(&self.key.key).map_err(SignVerbError::from)?;
        Ok(PointAsk { host: host.clone(), ask: Ask::Order(sealed.to_bytes()) })
    }

    /// The same for each of them.
    pub(super) fn orders(&self, hosts: &[HostName], change: &Change) -> Result<Vec<PointAsk>, Failure> {
        hosts.iter().map(|host| self.order(host, change.clone())).collect()
    }
}
