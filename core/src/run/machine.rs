//! The transition table of a run: the way forward stands here, the way back,
//! what is in doubt after a restart, and what a person decides beside it.

mod back;
mod decision;
mod doubt;

use super::answer::{Answer, Looked, Outcome, Prepared, StepError, Verdict};
use super::record::{Because, Ending, Entry, Input, Phase};
use crate::ids::StepName;
use crate::manifest::Class;
use crate::plan::{CutOff, Plan, Undo};
use crate::time::{Millis, Timestamp};

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
    /// Prove by a new connection from outside that the host can still be
    /// reached; `until` holds over restarts and reboots.
    Confirm {
        step: u32,
        until: Timestamp,
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
    /// The step is verified; whether the host can still be reached is not.
    Confirming {
        step: u32,
        until: Timestamp,
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
    /// Verified, and confirmed where that is wanted.
    done: bool,
    /// Failed tries past the pivot, where failing does not turn the run round.
    failures: u32,
    /// An undo of it is under way, or was when the agent died.
    undo_began: bool,
    undo_failures: u32,
}

/// The fixed part of a step, as far as the machine needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct StepRules {
    name: StepName,
    class: Class,
    way_back: bool,
    wait: Option<Millis>,
    confirm: Option<Millis>,
    pivot: bool,
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
    /// Why it turned round, kept while a person decides about a stuck undo.
    turned: Option<Because>,
    /// The step in doubt that is looked at again before anything else.
    probing: Option<u32>,
    /// The step that is begun again once it is put back.
    redo: Option<u32>,
    /// Calls that had begun and not ended when the agent last started.
    unfinished: Vec<String>,
    /// Starts of the agent since the last record that says more.
    starts: u32,
    /// The question a person answered last.
    decided: u64,
    /// When it got stuck: the record's number in the journal.
    stuck_at: u64,
    /// Of the entry in hand.
    now: Timestamp,
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
                confirm: step.confirm,
                pivot: step.pivot,
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
            turned: None,
            probing: None,
            redo: None,
            unfinished: Vec::new(),
            starts: 0,
            decided: 0,
            stuck_at: 0,
            now: Timestamp::default(),
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
            Stage::Running { .. }
            | Stage::Waiting { .. }
            | Stage::Confirming { .. }
            | Stage::Paused { .. }
            | Stage::Undoing { .. } => true,
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
            Stage::Confirming { step, until } => vec![Effect::Confirm { step: *step, until: *until }],
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
        self.now = entry.at;
        if !matches!(entry.input, Input::Resumed { .. } | Input::CutOff | Input::Rejoined) {
            self.starts = 0;
        }
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
            Input::Confirmed { step } => self.confirmed(*step),
            Input::NotConfirmed { step } => self.not_confirmed(*step),
            Input::Decided { by, reason, choice, asked } => self.decided(by, reason, *choice, *asked),
            Input::Resumed { unfinished } => self.resumed(unfinished),
            Input::Settled { ending } => match &self.stage {
                Stage::Settling(settling) if settling == ending => {
                    self.stuck_at = entry.sequence;
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
            Stage::Asking { .. } if cfg!(feature = "mutant-permit-any-nonce") => self.begin_step(0),
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
                self.steps[step as usize].undo_began = true;
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
        if self.probing == Some(step) {
            return self.probed(step, answer);
        }
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
                match (looked.actions.is_empty(), progress.touched) {
                    (false, _) => Phase::Prepare,
                    (true, false) => return self.after_step(step),
                    // It was at work before; that it did its work is still to be proven.
                    (true, true) => {
                        progress.outcome.get_or_insert(Outcome {
                            changed: true,
                            summary: "found done".into(),
                            state: looked.state.clone(),
                        });
                        Phase::Verify
                    }
                }
            }
            (Phase::Prepare, Answer::Prepared(prepared)) => {
                progress.prepared = Some(prepared.clone());
                Phase::Apply
            }
            (Phase::Apply, Answer::Applied(outcome)) => {
                progress.outcome = Some(outcome.clone());
                if cfg!(feature = "mutant-done-before-verify") {
                    return self.after_step(step);
                }
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

    /// The step is verified, or there was nothing to do.
    fn after_step(&mut self, step: u32) -> Vec<Effect> {
        let changed = self.steps.iter().any(|progress| progress.touched);
        if let Some(within) = self.rules[step as usize].confirm
            && changed
            && self.undo_ordered.is_none()
        {
            self.stage = Stage::Confirming { step, until: self.now + within };
            return self.owed();
        }
        self.after_confirmation(step)
    }

    fn confirmed(&mut self, step: u32) -> Vec<Effect> {
        match self.stage {
            Stage::Confirming { step: confirming, .. } if confirming == step => self.after_confirmation(step),
            _ => vec![],
        }
    }

    fn not_confirmed(&mut self, step: u32) -> Vec<Effect> {
        match self.stage {
            Stage::Confirming { step: confirming, .. } if confirming == step => {
                let name = self.rules[step as usize].name.clone();
                self.turn_round(step, Because::NotConfirmed { step, name })
            }
            _ => vec![],
        }
    }

    fn after_confirmation(&mut self, step: u32) -> Vec<Effect> {
        self.steps[step as usize].done = true;
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
        if self.cut_off && self.cut_off_rule == CutOff::Undo && !self.is_past_pivot() {
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
