//! What only somebody outside can settle: whether the host can still be
//! reached, and how a stuck run goes on.

use std::time::Duration;

use sternway_core::ids::Person;
use sternway_core::run::{Choice, Input, NotToDecide, Stage};
use sternway_core::time::Timestamp;
use sternway_core::trust::{Order, Refusal, Sealed, Verb};

use super::{Driver, DriverError, seal_refusal, work};
use crate::clock;

/// A step that waits to be confirmed, and which connection would do it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Confirming {
    step: u32,
    /// Connections made before this one prove nothing.
    connection: u64,
}

impl Driver {
    /// Drops the connection there is: only one made after the change shows that
    /// the host can still be reached.
    pub(super) fn confirm(&mut self, step: u32, until: Timestamp) {
        let connection = self.parts.outbox.reconnect();
        let left = Duration::from_millis(until.since(clock::now()).0);
        let Some(active) = &mut self.active else { return };
        active.confirming = Some(Confirming { step, connection });
        work::wait_for_confirmation(&self.parts, active, step, until, left);
    }

    /// A connection was made; it counts when it is younger than the change.
    pub(super) fn connected(&mut self, connection: u64) -> Result<(), DriverError> {
        let Some(active) = &mut self.active else { return Ok(()) };
        match active.confirming {
            Some(confirming) if connection >= confirming.connection => {
                active.confirming = None;
                self.note(Input::Confirmed { step: confirming.step })
            }
            _ => Ok(()),
        }
    }

    /// A timer of an earlier try means nothing for this one.
    pub(super) fn not_confirmed(&mut self, step: u32, until: Timestamp) -> Result<(), DriverError> {
        let Some(active) = &mut self.active else { return Ok(()) };
        if *active.run.stage() != (Stage::Confirming { step, until }) {
            return Ok(());
        }
        active.confirming = None;
        self.note(Input::NotConfirmed { step })
    }

    /// A person's order, judged by this host's own keyring.
    pub(super) fn ordered(&mut self, sealed: &[u8]) -> Result<(), DriverError> {
        let Some(active) = &self.active else { return Ok(()) };
        let (plan, now) = (active.plan.id(), clock::now());
        let judged = Sealed::<Order>::parse(sealed)
            .map_err(|error| seal_refusal(&error))
            .and_then(|sealed| {
                sealed.open_order(&self.parts.keyring, now).map_err(|error| seal_refusal(&error))
            })
            .and_then(|order| order.admit_on(plan, &self.parts.host, now).map(|()| order));
        let order = match judged {
            Ok(order) => order,
            Err(refusal) => {
                self.refuse(plan, &refusal);
                return Ok(());
            }
        };
        let (by, reason) = (order.signers()[0].person.clone(), order.value().reason.clone());
        match order.value().verb {
            Verb::Unstick { choice, asked, .. } => self.decide(by, reason, choice, asked),
            Verb::Undo | Verb::Approve { .. } => self.note(Input::UndoOrdered { by, reason }),
        }
    }

    fn decide(&mut self, by: Person, reason: String, choice: Choice, asked: u64) -> Result<(), DriverError> {
        let Some(active) = &self.active else { return Ok(()) };
        match active.run.may_decide(choice, asked) {
            Ok(()) => self.note(Input::Decided { by, reason, choice, asked }),
            // The coordinator tells it until it hears what came of it.
            Err(NotToDecide::NotStuck | NotToDecide::OtherQuestion { .. })
                if active.run.last_decided() >= asked =>
            {
                Ok(())
            }
            Err(odd) => {
                self.refuse(active.plan.id(), &Refusal::NotToDecide(odd));
                Ok(())
            }
        }
    }
}
