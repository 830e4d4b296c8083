//! Whose word counts here: seal, fleet, person, host, time, and never twice.

use sternway_core::point::{Change, Order};
use sternway_core::trust::{OpenError, Refusal, Sealed};

use super::ledger::LedgerError;
use super::{Custodian, CustodianError, Listener, Word, in_full};
use crate::clock;
use crate::halt::HaltFlag;

impl Custodian {
    /// Judges an order and carries it out. It is on disk that it was taken
    /// before anything is done, so that it is not obeyed again.
    pub(super) fn obey(&self, sealed: &[u8], listener: &Listener) -> Result<(), CustodianError> {
        let order = self.judge(sealed)?;
        tracing::info!(person = %order.person, reason = order.reason, change = ?order.change, "takes an order about points");
        self.carry_out(&order.change, &Word::signed(&order), listener)
    }

    fn judge(&self, sealed: &[u8]) -> Result<Order, CustodianError> {
        let Some(keyring) = &self.keyring else {
            return Err(CustodianError::refused("no-keyring", "nobody's orders are taken here"));
        };
        let now = clock::now();
        let sealed = Sealed::<Order>::parse(sealed)
            .map_err(|error| CustodianError::refused("seal", in_full(&error)))?;
        let opened = sealed.open_point_order(keyring, now).map_err(|error| {
            let code = match &error {
                OpenError::BadSignature { .. } => "forged",
                OpenError::NobodyKnown => "nobody-known",
                OpenError::OtherPerson { .. } => "other-person",
                OpenError::OtherFleet { .. } => "other-fleet",
                _ => "seal",
            };
            CustodianError::refused(code, in_full(&error))
        })?;
        opened.admit_on(&self.host.config().host, now).map_err(|refusal| {
            let code = match &refusal {
                Refusal::Expired { .. } => "expired",
                Refusal::NotYet { .. } => "not-yet",
                Refusal::ValidTooLong { .. } => "valid-too-long",
                Refusal::OtherHost { .. } => "other-host",
                _ => "order",
            };
            CustodianError::refused(code, refusal.to_string())
        })?;
        let order = opened.value().clone();
        self.check_halt(&order.change)?;
        self.take_order(order.nonce, order.expires).map_err(|error| {
            let code = match &error {
                LedgerError::Replayed => "replayed",
                LedgerError::ClockBack { .. } => "clock-back",
                LedgerError::Unreadable { .. } | LedgerError::Unwritten(_) => "ledger",
            };
            CustodianError::refused(code, in_full(&error))
        })?;
        Ok(order)
    }

    /// A halted host begins nothing on anybody's word from outside; what
    /// only names points goes on.
    fn check_halt(&self, change: &Change) -> Result<(), CustodianError> {
        if matches!(change, Change::Tag { .. } | Change::Untag { .. }) {
            return Ok(());
        }
        match HaltFlag::of(&self.host.config().state).read() {
            None => Ok(()),
            Some(halt) => Err(CustodianError::refused(
                "halted",
                format!("this host is halted by {}: {}", halt.by, halt.reason),
            )),
        }
    }
}
