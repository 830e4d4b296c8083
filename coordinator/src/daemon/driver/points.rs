//! What people want of hosts' rollback points: whom it may be put to, and the
//! line of the audit that comes before it is.

use std::collections::BTreeMap;

use sternway_core::exit;
use sternway_core::ids::{HostName, Person};
use sternway_core::plan::select::fold;
use sternway_core::wire::OperatorError;

use super::super::points::{Claim, Reach};
use super::people::{check_reason, refuse, with_hint};
use super::{Driver, Turn};

impl Driver {
    /// May this person ask these hosts? Orders are in the audit when it is
    /// answered, and so is a refusal of one.
    pub(super) fn allow_points(
        &mut self,
        person: &Person,
        hosts: &[HostName],
        claims: &[Claim],
        turn: &mut Turn,
    ) -> Result<(), OperatorError> {
        let judged = self.check_points(person, hosts, claims);
        if let Err(error) = &judged
            && !claims.is_empty()
        {
            self.audit(person, "points refused", None, &error.message, turn);
        }
        let mut alike: BTreeMap<(String, String), Vec<&HostName>> = BTreeMap::new();
        for (action, detail, host) in judged? {
            alike.entry((action, detail)).or_default().push(host);
        }
        for ((action, detail), hosts) in alike {
            let names = fold(hosts.iter().map(|host| host.as_str()));
            self.audit(person, &action, None, &format!("{names}: {detail}"), turn);
        }
        Ok(())
    }

    /// Action, detail and host of every order.
    fn check_points<'a>(
        &self,
        person: &Person,
        hosts: &[HostName],
        claims: &'a [Claim],
    ) -> Result<Vec<(String, String, &'a HostName)>, OperatorError> {
        if let Some(unknown) = hosts.iter().find(|host| self.inventory.find(host.as_str()).is_none()) {
            let message = format!("the inventory does not know {unknown}");
            return Err(with_hint(exit::INVALID, message, "list hosts: sternway fleet list"));
        }
        let mut orders = Vec::new();
        for Claim { host, order } in claims {
            let order = order.as_ref().map_err(|cause| {
                refuse(exit::REFUSED, format!("the order for {host} cannot be read: {cause}"))
            })?;
            if order.person != *person {
                let message =
                    format!("the order is in the name of {}, and {person} carries it", order.person);
                return Err(refuse(exit::NOT_PERMITTED, message));
            }
            if order.host != *host {
                let message = format!("the order that was sent to {host} is for {}", order.host);
                return Err(refuse(exit::REFUSED, message));
            }
            check_reason(&order.reason)?;
            let action = format!("points {}", order.change.verb());
            orders.push((action, format!("{}: {}", order.change, order.reason), host));
        }
        Ok(orders)
    }

    pub(super) fn reach(&self, host: &HostName) -> Reach {
        match (self.quarantine.get(host), self.fleet.get(host)) {
            (Some(quarantine), _) => Reach::Quarantined(quarantine.reason.clone()),
            (None, Some(here)) => Reach::Here(here.session),
            (None, None) => Reach::Away,
        }
    }
}
