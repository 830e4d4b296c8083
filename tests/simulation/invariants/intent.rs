//! Nothing changes a host before the record that says so is on its disk.

use super::Invariant;
use crate::Seen;

pub(super) struct Intent;

impl Invariant for Intent {
    fn observe(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Effect { host, step, phase, intends: false, .. } => Err(format!(
                "step {step} changes {host} in {}, and no record on its disk says so",
                phase.name()
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use sternway_core::run::Phase;

    use super::super::made::{breaks_at_last, host};
    use super::*;

    #[test]
    fn it_fires() {
        let effect = |intends| Seen::Effect {
            rollout: 0,
            host: host("a"),
            step: 0,
            phase: Phase::Apply,
            intends,
            effects: 1,
            changed_after: vec![],
            by_order: false,
        };
        breaks_at_last(Intent, &[effect(true), effect(false)]);
    }
}
