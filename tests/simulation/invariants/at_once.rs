//! Never more hosts disturbed than the plan allows: counted at the hosts, not in
//! the books. A host that a person declared dead does not count.

use std::collections::BTreeSet;

use crate::{Given, Seen};
use sternway_core::ids::HostName;
use sternway_core::rollout::Decision;

use super::Invariant;

pub(super) struct AtOnce {
    max: usize,
    disturbed: BTreeSet<HostName>,
    dead: BTreeSet<HostName>,
}

impl AtOnce {
    pub(super) fn new(given: &Given) -> Self {
        Self { max: given.plan.pace.at_once as usize, disturbed: BTreeSet::new(), dead: BTreeSet::new() }
    }
}

impl Invariant for AtOnce {
    fn observe(&mut self, seen: &Seen) -> Result<(), String> {
        for decision in super::decisions(seen) {
            if let Decision::HostDead { host, .. } = decision {
                self.dead.insert(host.clone());
            }
        }
        match seen {
            Seen::Disturbed { host, .. } => self.disturbed.insert(host.clone()),
            Seen::Calm { host, .. } => self.disturbed.remove(host),
            _ => return Ok(()),
        };
        let counted: Vec<_> = self.disturbed.difference(&self.dead).collect();
        match counted.len() > self.max {
            true => Err(format!("{counted:?} are disturbed at once, and {} may be", self.max)),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{begins, breaks_at_last, decided, given, holds, host, maria};
    use super::*;

    #[test]
    fn it_fires() {
        let calm = Seen::Calm { rollout: 0, host: host("a") };
        holds(AtOnce::new(&given()), &[begins("a"), calm, begins("b")]);
        breaks_at_last(AtOnce::new(&given()), &[begins("a"), begins("b")]);
        let dead = decided(Decision::HostDead { host: host("a"), by: maria(), reason: String::new() });
        holds(AtOnce::new(&given()), &[begins("a"), dead, begins("b")]);
    }
}
