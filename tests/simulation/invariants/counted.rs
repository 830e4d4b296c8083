//! What must not run twice takes effect once, however often it is interrupted.

use sternway_core::manifest::Class;
use sternway_core::run::Phase;

use super::Invariant;
use crate::{Given, Seen};

pub(super) struct Counted {
    classes: Vec<Class>,
}

impl Counted {
    pub(super) fn new(given: &Given) -> Self {
        Self { classes: given.plan.steps.iter().map(|step| step.class).collect() }
    }
}

impl Invariant for Counted {
    fn observe(&mut self, seen: &Seen) -> Result<(), String> {
        let Seen::Effect { host, step, phase: Phase::Apply, effects, .. } = seen else { return Ok(()) };
        match self.classes.get(*step as usize) {
            Some(class @ (Class::OneShot | Class::Probe)) if *effects > 1 => {
                Err(format!("step {step} ({class:?}) took effect {effects} times on {host}"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{breaks_at_last, given, host};
    use super::*;

    #[test]
    fn it_fires() {
        let effect = |effects| Seen::Effect {
            rollout: 0,
            host: host("a"),
            step: 0,
            phase: Phase::Apply,
            intends: true,
            effects,
            changed_after: vec![],
            by_order: false,
        };
        breaks_at_last(Counted::new(&given()), &[effect(1), effect(2)]);
    }
}
