//! Past the pivot nothing is put back but by a person's word, except a step that
//! was cut in half, can tell so, and is begun again.

use std::collections::BTreeSet;

use sternway_core::ids::HostName;
use sternway_core::manifest::Class;
use sternway_core::run::Phase;

use super::Invariant;
use crate::{Given, Seen};

pub(super) struct Pivot {
    step: Option<u32>,
    /// Steps that may be begun again behind it.
    may_again: BTreeSet<u32>,
    past: BTreeSet<HostName>,
}

impl Pivot {
    pub(super) fn new(given: &Given) -> Self {
        let step = given.plan.steps.iter().position(|step| step.pivot);
        let behind =
            given.plan.steps.iter().enumerate().filter(|(at, _)| step.is_some_and(|step| *at > step));
        let may_again = behind.filter(|(_, step)| step.class == Class::Probe).map(|(at, _)| at as u32);
        Self { step: step.map(|step| step as u32), may_again: may_again.collect(), past: BTreeSet::new() }
    }
}

impl Invariant for Pivot {
    fn observe(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::StepsDone { host, truths, .. }
                if truths.iter().any(|truth| Some(truth.step) == self.step) =>
            {
                self.past.insert(host.clone());
            }
            Seen::Effect { host, step, phase: Phase::Undo, by_order: false, .. }
                if self.past.contains(host) && !self.may_again.contains(step) =>
            {
                return Err(format!("{host} is past its pivot and puts step {step} back by itself"));
            }
            // What its disk forgot, the host forgot.
            Seen::SetBack { host, .. } => {
                self.past.remove(host);
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{breaks_at_last, given, holds, host, truth};
    use super::*;

    #[test]
    fn it_fires() {
        let pivot = || {
            let mut given = given();
            given.plan.steps[0].pivot = true;
            Pivot::new(&given)
        };
        let past = || Seen::StepsDone { rollout: 0, host: host("a"), truths: vec![truth(0, true, false)] };
        let undoes = |by_order| Seen::Effect {
            rollout: 0,
            host: host("a"),
            step: 0,
            phase: Phase::Undo,
            intends: true,
            effects: 1,
            changed_after: vec![],
            by_order,
        };
        holds(pivot(), &[undoes(false), past(), undoes(true)]);
        breaks_at_last(pivot(), &[past(), undoes(false)]);
    }
}
