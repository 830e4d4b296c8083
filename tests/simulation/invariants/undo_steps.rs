//! A host puts its steps back newest first: none while a later one is not back.

use sternway_core::run::Phase;

use super::Invariant;
use crate::Seen;

pub(super) struct UndoSteps;

impl Invariant for UndoSteps {
    fn observe(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Effect { host, step, phase: Phase::Undo, changed_after, .. }
                if !changed_after.is_empty() =>
            {
                Err(format!("{host} puts step {step} back before {changed_after:?}"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{breaks_at_last, host};
    use super::*;

    #[test]
    fn it_fires() {
        let undo = |step, changed_after| Seen::Effect {
            rollout: 0,
            host: host("a"),
            step,
            phase: Phase::Undo,
            intends: true,
            effects: 0,
            changed_after,
            by_order: false,
        };
        breaks_at_last(UndoSteps, &[undo(1, vec![]), undo(0, vec![1])]);
    }
}
