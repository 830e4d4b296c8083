//! An agent that starts again finds a phase that began and did not end. What it
//! does then is decided by the step's class, and where that cannot tell, by a
//! person: never by a guess.

use super::{ATTEMPTS_MAX, Because, Class, Effect, Ending, Phase, Run, Stage};
use crate::run::answer::{Answer, Outcome};

/// Starts of the agent without a record that says more, before it stops trying.
const STARTS_MAX: u32 = 3;

impl Run {
    pub(super) fn resumed(&mut self, unfinished: &[String]) -> Vec<Effect> {
        self.starts += 1;
        self.unfinished = unfinished.to_vec();
        if self.starts >= STARTS_MAX
            && let Some(effects) = self.stop_resuming()
        {
            return effects;
        }
        match self.stage.clone() {
            Stage::Asking { nonce } if nonce == self.nonce => self.ask(),
            // Nothing of this step has touched the host, so it is still between two steps.
            Stage::Running { step, .. }
                if self.halted && self.undo_ordered.is_none() && !self.steps[step as usize].touched =>
            {
                self.stage = Stage::Paused { step };
                vec![]
            }
            Stage::Running { step, phase, attempt } => self.resumed_running(step, phase, attempt),
            Stage::Undoing { step, attempt, because } => self.resumed_undoing(step, attempt, because),
            _ => self.owed(),
        }
    }

    /// An agent that only ever starts and dies does no good by going on.
    fn stop_resuming(&mut self) -> Option<Vec<Effect>> {
        let starts = self.starts;
        match self.stage.clone() {
            Stage::Staging => {
                let reason = format!("the agent stopped {starts} times while it staged");
                Some(self.settle(Ending::Unfit { reason }))
            }
            Stage::Running { step, .. } => {
                let name = self.rules[step as usize].name.clone();
                Some(self.stuck(Because::CrashLoop { step, name, starts }))
            }
            Stage::Undoing { step, .. } => {
                let name = self.rules[step as usize].name.clone();
                Some(self.stuck_undoing(step, Because::CrashLoop { step, name, starts }))
            }
            _ => None,
        }
    }

    fn resumed_running(&mut self, step: u32, phase: Phase, attempt: u32) -> Vec<Effect> {
        let rules = &self.rules[step as usize];
        let in_doubt = phase == Phase::Apply && self.steps[step as usize].touched;
        if in_doubt && rules.class == Class::Probe {
            self.probing = Some(step);
            self.stage = Stage::Running { step, phase: Phase::Look, attempt: attempt + 1 };
            return self.owed();
        }
        if in_doubt && !rules.class.may_run_again() {
            let because = Because::InDoubt { step, name: rules.name.clone() };
            return self.stuck(because);
        }
        if attempt >= ATTEMPTS_MAX {
            let because = Because::InterruptedTooOften { step, name: rules.name.clone(), times: attempt };
            return match self.is_past_pivot() {
                true => self.stuck(because),
                false => self.turn_round(step, because),
            };
        }
        self.stage = Stage::Running { step, phase, attempt: attempt + 1 };
        self.owed()
    }

    fn resumed_undoing(&mut self, step: u32, attempt: u32, because: Because) -> Vec<Effect> {
        let rules = &self.rules[step as usize];
        if self.steps[step as usize].undo_began && !rules.class.may_run_again() {
            let because = Because::InDoubt { step, name: rules.name.clone() };
            return self.stuck_undoing(step, because);
        }
        if attempt >= ATTEMPTS_MAX {
            let because = Because::InterruptedTooOften { step, name: rules.name.clone(), times: attempt };
            return self.stuck_undoing(step, because);
        }
        self.stage = Stage::Undoing { step, attempt: attempt + 1, because };
        self.owed()
    }

    /// A second look at a step in doubt, of a class that can tell: nothing left
    /// to do is full, what the first look saw is clean, anything else is partial.
    pub(super) fn probed(&mut self, step: u32, answer: &Answer) -> Vec<Effect> {
        self.probing = None;
        let name = self.rules[step as usize].name.clone();
        let Answer::Looked(looked) = answer else {
            return self.stuck(Because::InDoubt { step, name });
        };
        if looked.findings.iter().any(|finding| finding.blocking) {
            return self.stuck(Because::InDoubt { step, name });
        }
        let progress = &mut self.steps[step as usize];
        if looked.actions.is_empty() {
            let summary = "found done after an interruption".into();
            progress.outcome = Some(Outcome { changed: true, summary, state: looked.state.clone() });
            return self.call(step, Phase::Verify);
        }
        let is_clean = progress.looked.as_ref().is_some_and(|first| first.actions == looked.actions);
        if is_clean {
            progress.touched = false;
            return self.call(step, Phase::Prepare);
        }
        let because = Because::InDoubt { step, name };
        if !self.rules[step as usize].way_back {
            return self.stuck(because);
        }
        self.redo = Some(step);
        self.stage = Stage::Undoing { step, attempt: 1, because };
        self.owed()
    }
}
