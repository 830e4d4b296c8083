//! A host as it truly is, whatever its journal or anybody's books say.

use std::collections::BTreeMap;

use sternway_core::manifest::Class;
use sternway_core::run::{Choice, Phase};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Old,
    /// Cut in half by the step.
    Half,
    /// Somebody else's doing.
    Odd,
    New,
}

/// What one step of one plan is about.
#[derive(Debug, Clone)]
pub(super) struct Thing {
    class: Class,
    pub(super) content: Content,
    /// As found when the plan came.
    first: Content,
    /// How often it took effect since it was last put back.
    pub(super) effects: u32,
    /// Looked at after the last change, and found to be as the plan wants it.
    pub(super) proven: bool,
    /// Somebody else changed it meanwhile.
    drifted: bool,
}

/// Things by (plan, step).
#[derive(Debug, Clone, Default)]
pub(super) struct World(pub(super) BTreeMap<(usize, u32), Thing>);

impl Thing {
    pub(super) fn new(class: Class, is_so_already: bool) -> Self {
        let content = if is_so_already { Content::New } else { Content::Old };
        Self { class, content, first: content, effects: 0, proven: false, drifted: false }
    }

    pub(super) fn begin(&mut self, phase: Phase) {
        match (phase, self.class) {
            (_, Class::Observe) => return,
            // Built beside: nothing is seen of it yet.
            (_, Class::StagedSwap) => {}
            (Phase::Apply, Class::Keyed) => {
                // The peer knows the key.
                self.effects = 1;
                self.content = Content::Half;
            }
            (Phase::Apply, _) => {
                self.effects += 1;
                self.content = Content::Half;
            }
            _ => self.content = Content::Half,
        }
        self.proven = false;
    }

    pub(super) fn end(&mut self, phase: Phase) {
        if self.class == Class::Observe {
            return;
        }
        match phase {
            Phase::Apply => self.content = Content::New,
            _ => (self.content, self.effects) = (self.first, 0),
        }
        self.proven = false;
    }

    pub(super) fn is_as_wanted(&self) -> bool {
        self.content == Content::New || self.class == Class::Observe
    }

    /// Looks, and remembers what was seen.
    pub(super) fn prove(&mut self) -> bool {
        self.proven = self.is_as_wanted();
        self.proven
    }

    pub(super) fn is_as_found(&self) -> bool {
        self.content == self.first || self.drifted || self.class == Class::Observe
    }

    /// A person decided about it, and did by hand what that takes.
    pub(super) fn decided(&mut self, choice: Choice) {
        match choice {
            Choice::Retry => {}
            Choice::Done if self.class != Class::Observe => self.content = Content::New,
            Choice::PutBack => self.content = self.first,
            Choice::Done | Choice::Undo => return,
        }
        (self.effects, self.proven) = (0, false);
    }

    pub(super) fn drift(&mut self) {
        self.content = Content::Odd;
        self.drifted = true;
    }
}

impl World {
    pub(super) fn thing(&mut self, plan: usize, step: u32) -> Option<&mut Thing> {
        self.0.get_mut(&(plan, step))
    }

    pub(super) fn of_plan(&self, plan: usize) -> impl Iterator<Item = (u32, &Thing)> {
        self.0.range((plan, 0)..=(plan, u32::MAX)).map(|((_, step), thing)| (*step, thing))
    }
}
