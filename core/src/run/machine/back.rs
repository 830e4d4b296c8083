//! The way back: undoing newest first, and the pivot after which only a person
//! turns a run round.

use super::{Because, Class, Effect, Ending, Phase, Run, Stage, StepError, wrong_answer};
use crate::run::answer::Answer;
use crate::run::decision::Choice;

/// Tries of one undo before a person is asked.
const UNDO_TRIES_MAX: u32 = 3;
/// Tries of one step past the pivot before a person is asked.
const FORWARD_TRIES_MAX: u32 = 3;

impl Run {
    /// Whether the step that parts forward from back is done: from here on
    /// nothing but a person's word undoes anything.
    pub fn is_past_pivot(&self) -> bool {
        self.rules.iter().zip(&self.steps).any(|(rules, progress)| rules.pivot && progress.done)
    }

    pub(super) fn order_undo(&mut self, because: Because) -> Vec<Effect> {
        match &self.stage {
            Stage::Staging | Stage::Asking { .. } => self.settle(Ending::Undone { because }),
            Stage::Running { .. } => {
                self.undo_ordered = Some(because);
                vec![]
            }
            Stage::Waiting { step } | Stage::Confirming { step, .. } => {
                let step = *step;
                self.turn_round(step, because)
            }
            Stage::Paused { step } => {
                let step = step.saturating_sub(1);
                self.turn_round(step, because)
            }
            Stage::Settled(Ending::Finished | Ending::NeedsOperator { .. }) => {
                self.steps.iter_mut().for_each(|step| step.undo_failures = 0);
                self.turn_round(self.last_step(), because)
            }
            Stage::Undoing { .. } | Stage::Settling(_) | Stage::Settled(_) | Stage::Closed => vec![],
        }
    }

    pub(super) fn last_step(&self) -> u32 {
        self.steps.len().saturating_sub(1) as u32
    }

    pub(super) fn failed(&mut self, step: u32, phase: Phase, error: &StepError) -> Vec<Effect> {
        let because = Because::StepFailed {
            step,
            name: self.rules[step as usize].name.clone(),
            phase,
            code: error.code.clone(),
            message: error.message.clone(),
        };
        let mut effects = match phase {
            Phase::Prepare => vec![Effect::Discard { step }],
            _ => vec![],
        };
        let ordered = self.undo_ordered.take();
        effects.extend(match ordered {
            _ if self.steps[step as usize].touched && !error.undo_advised => self.stuck(because),
            None if self.is_past_pivot() => self.try_forward_again(step, because),
            _ => self.turn_round(step, because),
        });
        effects
    }

    /// Past the pivot there is no way back to take, so the way forward is tried again.
    fn try_forward_again(&mut self, step: u32, because: Because) -> Vec<Effect> {
        let may_again = self.rules[step as usize].class.may_run_again() || !self.steps[step as usize].touched;
        let progress = &mut self.steps[step as usize];
        progress.failures += 1;
        match progress.failures < FORWARD_TRIES_MAX && may_again {
            true => self.begin_step(step),
            false => self.stuck(because),
        }
    }

    /// Undoes the newest touched step at or before `from`; with none left the run is undone.
    pub(super) fn turn_round(&mut self, from: u32, because: Because) -> Vec<Effect> {
        self.turned = Some(because.clone());
        let is_to_undo = |step: &usize| {
            self.steps.get(*step).is_some_and(|progress| progress.touched)
                && self.rules[*step].class != Class::Observe
        };
        let mut steps = 0..=from as usize;
        let newest = match cfg!(feature = "mutant-undo-oldest-step-first") {
            false => steps.rfind(is_to_undo),
            true => steps.find(is_to_undo),
        };
        let Some(step) = newest else {
            return self.settle(Ending::Undone { because });
        };
        let rules = &self.rules[step];
        if !rules.way_back {
            let because = Because::NoWayBack { step: step as u32, name: rules.name.clone() };
            return self.stuck_undoing(step as u32, because);
        }
        self.stage = Stage::Undoing { step: step as u32, attempt: 1, because };
        self.owed()
    }

    pub(super) fn undo_ended(&mut self, step: u32, answer: &Answer, because: Because) -> Vec<Effect> {
        self.steps[step as usize].undo_began = false;
        let error = match answer {
            Answer::Undone(_) => return self.put_back(step, because),
            Answer::Failed(error) => error.clone(),
            other => wrong_answer(Phase::Undo, other),
        };
        let progress = &mut self.steps[step as usize];
        progress.undo_failures += 1;
        let failures = progress.undo_failures;
        let rules = &self.rules[step as usize];
        if failures < UNDO_TRIES_MAX && rules.class.may_run_again() {
            self.stage = Stage::Undoing { step, attempt: failures + 1, because };
            return self.owed();
        }
        let because =
            Because::UndoFailed { step, name: rules.name.clone(), code: error.code, message: error.message };
        self.stuck_undoing(step, because)
    }

    /// The step is where it was before; the next older one follows.
    pub(super) fn put_back(&mut self, step: u32, because: Because) -> Vec<Effect> {
        let progress = &mut self.steps[step as usize];
        (progress.touched, progress.done) = (false, false);
        if self.redo.take() == Some(step) {
            return self.begin_step(step);
        }
        self.turn_round(step, because)
    }

    /// Nothing more happens by itself on the way forward.
    pub(super) fn stuck(&mut self, because: Because) -> Vec<Effect> {
        let way_back = because.step().is_none_or(|step| self.rules[step as usize].way_back);
        let choices = match way_back {
            true => vec![Choice::Retry, Choice::Done, Choice::PutBack, Choice::Undo],
            false => vec![Choice::Retry, Choice::Done, Choice::PutBack],
        };
        self.ask_person(because, None, choices)
    }

    /// Nothing more happens by itself on the way back.
    pub(super) fn stuck_undoing(&mut self, step: u32, because: Because) -> Vec<Effect> {
        let choices = match self.rules[step as usize].way_back {
            true => vec![Choice::Retry, Choice::PutBack],
            false => vec![Choice::PutBack],
        };
        self.ask_person(because, Some(step), choices)
    }

    fn ask_person(&mut self, because: Because, undo_of: Option<u32>, choices: Vec<Choice>) -> Vec<Effect> {
        let evidence = std::mem::take(&mut self.unfinished);
        (self.probing, self.redo) = (None, None);
        self.settle(Ending::NeedsOperator { because, undo_of, choices, evidence })
    }
}
