//! What a person decides about a run that is stuck.

use super::{Because, Effect, Ending, Phase, Run, Stage};
use crate::ids::Person;
use crate::run::answer::Outcome;
use crate::run::decision::{Choice, NotToDecide};

impl Run {
    /// Number of the question that was answered last; 0 is none.
    pub fn last_decided(&self) -> u64 {
        self.decided
    }

    /// Whether the choice is one of those offered by the record `asked`.
    ///
    /// # Errors
    /// Says what stands against it.
    pub fn may_decide(&self, choice: Choice, asked: u64) -> Result<(), NotToDecide> {
        let Stage::Settled(Ending::NeedsOperator { choices, .. }) = &self.stage else {
            return Err(NotToDecide::NotStuck);
        };
        if asked != self.stuck_at {
            return Err(NotToDecide::OtherQuestion { asked, open: self.stuck_at });
        }
        match choices.contains(&choice) {
            true => Ok(()),
            false => Err(NotToDecide::NotOffered { choice, offered: choices.clone() }),
        }
    }

    pub(super) fn decided(&mut self, by: &Person, reason: &str, choice: Choice, asked: u64) -> Vec<Effect> {
        if self.may_decide(choice, asked).is_err() {
            return vec![];
        }
        let Stage::Settled(Ending::NeedsOperator { because, undo_of, .. }) = self.stage.clone() else {
            return vec![];
        };
        self.decided = asked;
        let ordered = Because::Ordered { by: by.clone(), reason: reason.to_owned() };
        self.steps.iter_mut().for_each(|step| (step.failures, step.undo_failures) = (0, 0));
        match undo_of {
            Some(step) => self.decided_back(step, choice, ordered),
            None => self.decided_forward(because.step().unwrap_or_default(), choice, ordered),
        }
    }

    fn decided_back(&mut self, step: u32, choice: Choice, ordered: Because) -> Vec<Effect> {
        let because = self.turned.clone().unwrap_or(ordered);
        match choice {
            Choice::PutBack => self.put_back(step, because),
            Choice::Retry | Choice::Done | Choice::Undo => {
                self.steps[step as usize].undo_began = false;
                self.turn_round(step, because)
            }
        }
    }

    fn decided_forward(&mut self, step: u32, choice: Choice, ordered: Because) -> Vec<Effect> {
        match choice {
            // Looked at anew: a person may have changed what it will find.
            Choice::Retry => self.begin_step(step),
            Choice::Done => {
                let outcome =
                    Outcome { changed: true, summary: "done by a person".into(), state: Vec::new() };
                self.steps[step as usize].outcome.get_or_insert(outcome);
                self.call(step, Phase::Verify)
            }
            Choice::PutBack => self.put_back(step, ordered),
            Choice::Undo => self.turn_round(step, ordered),
        }
    }
}
