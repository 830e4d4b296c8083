//! The transition table of a run.

use super::answer::{Answer, Looked, Outcome, Prepared, StepError, Verdict};
use super::record::{Because, Ending, Entry, Input, Phase};
use crate::ids::StepName;
use crate::manifest::Class;
use crate::plan::{CutOff, Plan, Undo};
use crate::time::Millis;

/// Tries of one undo before a person is asked.
const UNDO_TRIES_MAX: u32 = 3;
/// Starts of one phase, over restarts of the agent, before a person is asked.
const ATTEMPTS_MAX: u32 = 5;

/// What the driver has to do next. Each is safe to be told twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Fetch plugins, find and verify the point, look at every step once.
    Stage,
    /// Ask for a permit with this number (journal it first).
    Ask {
        nonce: u64,
    },
    /// Run one phase of one step (journal `Began` first).
    Call {
        step: u32,
        phase: Phase,
        attempt: u32,
    },
    Wait {
        step: u32,
        length: Millis,
    },
    /// Remove what a failed `prepare` left beside.
    Discard {
        step: u32,
    },
    /// Write down how it ended.
    Settle(Ending),
    /// Look again, now and then, whether the host stays well.
    Watch,
    /// Remove what undo no longer needs, and forget the run.
    Close,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    Staging,
    Asking {
        nonce: u64,
    },
    Running {
        step: u32,
        phase: Phase,
        attempt: u32,
    },
    Waiting {
        step: u32,
    },
    /// Between two steps: cut off, and the plan says hold; or halted on this host.
    Paused {
        step: u32,
    },
    Undoing {
        step: u32,
        attempt: u32,
        because: Because,
    },
    Settling(Ending),
    Settled(Ending),
    Closed,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct StepProgress {
    looked: Option<Looked>,
    prepared: Option<Prepared>,
    outcome: Option<Outcome>,
    /// `apply` may have touched the host, and it is not put back yet.
    touched: bool,
    undo_failures: u32,
}

/// The fixed part of a step, as far as the machine needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct StepRules {
    name: StepName,
    class: Class,
    way_back: bool,
    wait: Option<Millis>,
}

/// One plan on one host. Rebuilt by handling its entries again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    rules: Vec<StepRules>,
    cut_off_rule: CutOff,
    steps: Vec<StepProgress>,
    stage: Stage,
    point: Option<String>,
    nonce: u64,
    cut_off: bool,
    /// By a person at this host.
    halted: bool,
    undo_ordered: Option<Because>,
}

impl Run {
    pub fn new(plan: &Plan) -> Self {
        let rules: Vec<StepRules> = plan
            .steps
            .iter()
            .map(|step| StepRules {
                name: step.name.clone(),
                class: step.class,
                way_back: step.undo != Undo::Nothing,
                wait: step.wait,
            })
            .collect();
        Self {
            steps: vec![StepProgress::default(); rules.len()],
            rules,
            cut_off_rule: plan.pace.cut_off,
            stage: Stage::Staging,
            point: None,
            nonce: 0,
            cut_off: false,
            halted: false,
            undo_ordered: None,
        }
    }

    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// Whether the run knows that a person halted this host.
    pub fn is_halted(&self) -> bool {
        self.halted
    }

    /// The rollback point found when the plan was staged.
    pub fn point(&self) -> Option<&str> {
        self.point.as_deref()
    }

    pub fn looked(&self, step: u32) -> Option<&Looked> {
        self.steps.get(step as usize)?.looked.as_ref()
    }

    pub fn prepared(&self, step: u32) -> Option<&Prepared> {
        self.steps.get(step as usize)?.prepared.as_ref()
    }

    pub fn outcome(&self, step: u32) -> Option<&Outcome> {
        self.steps.get(step as usize)?.outcome.as_ref()
    }

    /// Whether the host is, or may be, between two good states.
    pub fn is_disturbed(&self) -> bool {
        match &self.stage {
            Stage::Staging | Stage::Asking { .. } | Stage::Closed => false,
            Stage::Running { .. } | Stage::Waiting { .. } | Stage::Paused { .. } | Stage::Undoing { .. } => {
                true
            }
            Stage::Settling(ending) | Stage::Settled(ending) => {
                matches!(ending, Ending::NeedsOperator { .. })
            }
        }
    }

    /// What remains to be done in this state, for a driver that has just started.
    pub fn owed(&self) -> Vec<Effect> {
        match &self.stage {
            Stage::Staging => vec![Effect::Stage],
            // A halted host asks for nothing, so that nobody keeps a place for it.
            Stage::Asking { .. } if self.halted => vec![],
            Stage::Asking { nonce } => vec![Effect::Ask { nonce: *nonce }],
            Stage::Running { step, phase, attempt } => {
                vec![Effect::Call { step: *step, phase: *phase, attempt: *attempt }]
            }
            Stage::Waiting { step } => vec![self.wait_of(*step)],
            Stage::Paused { .. } => vec![],
            Stage::Undoing { step, attempt, .. } => {
                vec![Effect::Call { step: *step, phase: Phase::Undo, attempt: *attempt }]
            }
            Stage::Settling(ending) => vec![Effect::Settle(ending.clone())],
            Stage::Settled(Ending::Finished) => vec![Effect::Watch],
            Stage::Settled(_) => vec![],
            Stage::Closed => vec![Effect::Close],
        }
    }

    /// Takes what happened, returns what to do. Deterministic; an input that
    /// does not belong to the state changes nothing.
    pub fn handle(&mut self, entry: &Entry) -> Vec<Effect> {
        match &entry.input {
            Input::Accepted { .. } => self.owed(),
            Input::Staged { point } => self.staged(point.clone()),
            Input::Unfit { reason } => self.unfit(reason),
            Input::PermitAsked { nonce } => self.asked(*nonce),
            Input::Permitted { nonce, .. } => self.permitted(*nonce),
            Input::HaltTold => self.halt_told(),
            Input::HaltedLocally { .. } => {
                self.halted = true;
                vec![]
            }
            Input::ResumedLocally { .. } => self.resumed_locally(),
            Input::PermitDeclined { nonce } => self.declined(*nonce),
            Input::PermittedHere { .. } => self.permitted_here(),
            Input::Began { step, phase, attempt } => self.began(*step, *phase, *attempt),
            Input::Ended { step, phase, answer } => self.ended(*step, *phase, answer),
            Input::Waited { step } => match self.stage {
                Stage::Waiting { step: waiting } if waiting == *step => self.step_done(*step),
                _ => vec![],
            },
            Input::CutOff => self.link(true),
            Input::Rejoined => self.link(false),
            Input::UndoOrdered { by, reason } => {
                self.order_undo(Because::Ordered { by: by.clone(), reason: reason.clone() })
            }
            Input::Resumed => self.resumed(),
            Input::Settled { ending } => match &self.stage {
                Stage::Settling(settling) if settling == ending => {
                    self.stage = Stage::Settled(ending.clone());
                    self.owed()
                }
                _ => vec![],
            },
            Input::Health { .. } => vec![],
            Input::Released => self.released(),
        }
    }

    fn staged(&mut self, point: Option<String>) -> Vec<Effect> {
        if self.stage != Stage::Staging {
            return vec![];
        }
        self.point = point;
        self.ask()
    }

    fn unfit(&mut self, reason: &str) -> Vec<Effect> {
        match self.stage {
            Stage::Staging | Stage::Asking { .. } => self.settle(Ending::Unfit { reason: reason.to_owned() }),
            _ => vec![],
        }
    }

    /// A number never used before: it fences every answer to an older one.
    fn ask(&mut self) -> Vec<Effect> {
        self.stage = Stage::Asking { nonce: self.nonce + 1 };
        self.owed()
    }

    fn asked(&mut self, nonce: u64) -> Vec<Effect> {
        if let Stage::Asking { nonce: asking } = self.stage
            && asking == nonce
        {
            self.nonce = nonce;
        }
        vec![]
    }

    fn permitted(&mut self, nonce: u64) -> Vec<Effect> {
        match self.stage {
            Stage::Asking { nonce: asked } if asked == nonce && self.nonce == nonce && !self.halted => {
                self.begin_step(0)
            }
            _ => vec![],
        }
    }

    fn permitted_here(&mut self) -> Vec<Effect> {
        match self.stage {
            Stage::Asking { .. } if !self.halted => self.begin_step(0),
            _ => vec![],
        }
    }

    /// The number of the void permit is never asked for again.
    fn declined(&mut self, declined: u64) -> Vec<Effect> {
        match self.stage {
            Stage::Asking { nonce } if nonce == declined => self.ask(),
            _ => vec![],
        }
    }

    fn resumed_locally(&mut self) -> Vec<Effect> {
        self.halted = false;
        match self.stage {
            Stage::Asking { nonce } if nonce == self.nonce => self.ask(),
            Stage::Asking { .. } => self.owed(),
            Stage::Paused { step } => self.go_on(step),
            _ => vec![],
        }
    }

    fn halt_told(&mut self) -> Vec<Effect> {
        match self.stage {
            Stage::Asking { nonce } if nonce == self.nonce => self.ask(),
            _ => vec![],
        }
    }

    fn released(&mut self) -> Vec<Effect> {
        match self.stage {
            Stage::Staging | Stage::Asking { .. } => {
                self.settle(Ending::Unfit { reason: "the rollout ended before this host's turn".into() })
            }
            Stage::Settled(Ending::NeedsOperator { .. }) => vec![],
            Stage::Settled(_) => {
                self.stage = Stage::Closed;
                self.owed()
            }
            _ => vec![],
        }
    }

    fn began(&mut self, step: u32, phase: Phase, began: u32) -> Vec<Effect> {
        match &mut self.stage {
            Stage::Running { step: running, phase: now, attempt } if *running == step && *now == phase => {
                *attempt = began;
                if phase == Phase::Apply {
                    self.steps[step as usize].touched = true;
                }
            }
            Stage::Undoing { step: undoing, attempt, .. } if *undoing == step && phase == Phase::Undo => {
                *attempt = began;
            }
            _ => {}
        }
        vec![]
    }

    fn ended(&mut self, step: u32, phase: Phase, answer: &Answer) -> Vec<Effect> {
        match &self.stage {
            Stage::Running { step: running, phase: now, .. } if *running == step && *now == phase => {
                self.phase_ended(step, phase, answer)
            }
            Stage::Undoing { step: undoing, because, .. } if *undoing == step && phase == Phase::Undo => {
                let because = because.clone();
                self.undo_ended(step, answer, because)
            }
            _ => vec![],
        }
    }

    fn phase_ended(&mut self, step: u32, phase: Phase, answer: &Answer) -> Vec<Effect> {
        let progress = &mut self.steps[step as usize];
        let next = match (phase, answer) {
            (Phase::Look, Answer::Looked(looked)) => {
                progress.looked = Some(looked.clone());
                if let Some(finding) = looked.findings.iter().find(|finding| finding.blocking) {
                    let error = StepError {
                        code: finding.code.clone(),
                        message: finding.message.clone(),
                        undo_advised: true,
                    };
                    return self.failed(step, phase, &error);
                }
                match looked.actions.is_empty() {
                    true => return self.after_step(step),
                    false => Phase::Prepare,
                }
            }
            (Phase::Prepare, Answer::Prepared(prepared)) => {
                progress.prepared = Some(prepared.clone());
                Phase::Apply
            }
            (Phase::Apply, Answer::Applied(outcome)) => {
                progress.outcome = Some(outcome.clone());
                Phase::Verify
            }
            (Phase::Verify, Answer::Verified(checks)) => {
                let bad = checks.iter().find(|check| check.verdict != Verdict::Pass);
                return match bad {
                    None => self.after_step(step),
                    Some(check) => self.failed(step, phase, &not_verified(check)),
                };
            }
            (_, Answer::Failed(error)) => return self.failed(step, phase, &error.clone()),
            (_, other) => return self.failed(step, phase, &wrong_answer(phase, other)),
        };
        match self.undo_ordered.take() {
            Some(because) => self.turn_round(step, because),
            None => self.call(step, next),
        }
    }

    fn call(&mut self, step: u32, phase: Phase) -> Vec<Effect> {
        self.stage = Stage::Running { step, phase, attempt: 1 };
        self.owed()
    }

    fn begin_step(&mut self, step: u32) -> Vec<Effect> {
        match (step as usize) < self.steps.len() {
            true => self.call(step, Phase::Look),
            false => self.settle(Ending::Finished),
        }
    }

    fn after_step(&mut self, step: u32) -> Vec<Effect> {
        if self.rules[step as usize].wait.is_some() && self.undo_ordered.is_none() {
            self.stage = Stage::Waiting { step };
            return self.owed();
        }
        self.step_done(step)
    }

    fn wait_of(&self, step: u32) -> Effect {
        Effect::Wait { step, length: self.rules[step as usize].wait.unwrap_or_default() }
    }

    /// Between two steps: the safe point where orders and a cut link count.
    fn step_done(&mut self, step: u32) -> Vec<Effect> {
        if let Some(because) = self.undo_ordered.take() {
            return self.turn_round(step, because);
        }
        self.go_on(step + 1)
    }

    /// Begins the step `next` unless a person at this host, or the lost link, says otherwise.
    fn go_on(&mut self, next: u32) -> Vec<Effect> {
        let holds = self.halted || (self.cut_off && self.cut_off_rule == CutOff::Hold);
        if holds && (next as usize) < self.steps.len() {
            self.stage = Stage::Paused { step: next };
            return vec![];
        }
        if self.cut_off && self.cut_off_rule == CutOff::Undo {
            return self.turn_round(next.saturating_sub(1), Because::CutOff);
        }
        self.begin_step(next)
    }

    fn link(&mut self, cut_off: bool) -> Vec<Effect> {
        self.cut_off = cut_off;
        match self.stage {
            Stage::Paused { step } if !cut_off => self.go_on(step),
            _ => vec![],
        }
    }

    fn order_undo(&mut self, because: Because) -> Vec<Effect> {
        match &self.stage {
            Stage::Staging | Stage::Asking { .. } => self.settle(Ending::Undone { because }),
            Stage::Running { .. } => {
                self.undo_ordered = Some(because);
                vec![]
            }
            Stage::Waiting { step } => {
                let step = *step;
                self.turn_round(step, because)
            }
            Stage::Paused { step } => {
                let step = step.saturating_sub(1);
                self.turn_round(step, because)
            }
            Stage::Settled(Ending::Finished | Ending::NeedsOperator { .. }) => {
                self.steps.iter_mut().for_each(|step| step.undo_failures = 0);
                self.turn_round(self.steps.len().saturating_sub(1) as u32, because)
            }
            Stage::Undoing { .. } | Stage::Settling(_) | Stage::Settled(_) | Stage::Closed => vec![],
        }
    }

    fn failed(&mut self, step: u32, phase: Phase, error: &StepError) -> Vec<Effect> {
        let because = Because::StepFailed {
            step,
            name: self.rules[step as usize].name.clone(),
            phase,
            code: error.code.clone(),
            message: error.message.clone(),
        };
        let touched = self.steps[step as usize].touched;
        if touched && !error.undo_advised {
            return self.settle(Ending::NeedsOperator { because, undo_of: None });
        }
        let mut effects = match phase {
            Phase::Prepare => vec![Effect::Discard { step }],
            _ => vec![],
        };
        self.undo_ordered = None;
        effects.extend(self.turn_round(step, because));
        effects
    }

    /// Undoes the newest touched step at or before `from`; with none left the run is undone.
    fn turn_round(&mut self, from: u32, because: Because) -> Vec<Effect> {
        let newest = (0..=from as usize).rev().find(|step| {
            self.steps.get(*step).is_some_and(|progress| progress.touched)
                && self.rules[*step].class != Class::Observe
        });
        let Some(step) = newest else {
            return self.settle(Ending::Undone { because });
        };
        let rules = &self.rules[step];
        if !rules.way_back {
            let because = Because::NoWayBack { step: step as u32, name: rules.name.clone() };
            return self.settle(Ending::NeedsOperator { because, undo_of: Some(step as u32) });
        }
        self.stage = Stage::Undoing { step: step as u32, attempt: 1, because };
        self.owed()
    }

    fn undo_ended(&mut self, step: u32, answer: &Answer, because: Because) -> Vec<Effect> {
        let error = match answer {
            Answer::Undone(_) => {
                self.steps[step as usize].touched = false;
                return self.turn_round(step, because);
            }
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
        self.settle(Ending::NeedsOperator { because, undo_of: Some(step) })
    }

    /// The agent starts again: what was in flight is in doubt, and its class decides.
    fn resumed(&mut self) -> Vec<Effect> {
        match self.stage.clone() {
            Stage::Asking { nonce } if nonce == self.nonce => self.ask(),
            // Nothing of this step has touched the host, so it is still between two steps.
            Stage::Running { step, .. }
                if self.halted && self.undo_ordered.is_none() && !self.steps[step as usize].touched =>
            {
                self.stage = Stage::Paused { step };
                vec![]
            }
            Stage::Running { step, phase, attempt } => {
                let rules = &self.rules[step as usize];
                let in_doubt = phase == Phase::Apply && self.steps[step as usize].touched;
                if in_doubt && !rules.class.may_run_again() {
                    let because = Because::InDoubt { step, name: rules.name.clone() };
                    return self.settle(Ending::NeedsOperator { because, undo_of: None });
                }
                if attempt >= ATTEMPTS_MAX {
                    let because =
                        Because::InterruptedTooOften { step, name: rules.name.clone(), times: attempt };
                    return self.turn_round(step, because);
                }
                self.stage = Stage::Running { step, phase, attempt: attempt + 1 };
                self.owed()
            }
            Stage::Undoing { step, attempt, because } => {
                let rules = &self.rules[step as usize];
                if attempt >= ATTEMPTS_MAX {
                    let because =
                        Because::InterruptedTooOften { step, name: rules.name.clone(), times: attempt };
                    return self.settle(Ending::NeedsOperator { because, undo_of: Some(step) });
                }
                self.stage = Stage::Undoing { step, attempt: attempt + 1, because };
                self.owed()
            }
            _ => self.owed(),
        }
    }

    fn settle(&mut self, ending: Ending) -> Vec<Effect> {
        self.stage = Stage::Settling(ending);
        self.owed()
    }
}

fn not_verified(check: &super::answer::Verification) -> StepError {
    let mut message = match check.verdict {
        Verdict::Inconclusive => format!("{}: cannot be told", check.name),
        _ => format!("{}: not so", check.name),
    };
    if let (Some(measured), Some(expected)) = (&check.measured, &check.expected) {
        message = format!("{message}; measured {measured}, expected {expected}");
    }
    if !check.message.is_empty() {
        message = format!("{message}; {}", check.message);
    }
    StepError { code: "verify/not-so".into(), message, undo_advised: true }
}

fn wrong_answer(phase: Phase, answer: &Answer) -> StepError {
    let kind = match answer {
        Answer::Looked(_) => "looked",
        Answer::Prepared(_) => "prepared",
        Answer::Applied(_) => "applied",
        Answer::Verified(_) => "verified",
        Answer::Undone(_) => "undone",
        Answer::Failed(_) => "failed",
    };
    StepError {
        code: "run/wrong-answer".into(),
        message: format!("{} answered as if it had {kind}", phase.name()),
        undo_advised: true,
    }
}

#[cfg(test)]
mod tests;
