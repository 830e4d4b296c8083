//! How this host stands, as values: told by the agent that serves, or read from
//! its journal when none does.

use serde::{Deserialize, Serialize};
use sternway_core::ids::{JournalId, PlanId, PointId, RolloutId};
use sternway_core::plan::Plan;
use sternway_core::run::{Choice, Ending, Input, Phase, Run, Stage};
use sternway_core::time::Timestamp;

use crate::halt::Halt;
use crate::journal::{Journal, RunRecords};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// None when the agent has no link, or does not run.
    pub link: Option<Link>,
    pub journal: JournalId,
    pub records: u64,
    /// Highest coordinator epoch this host saw.
    pub epoch: u64,
    pub halted: Option<Halt>,
    pub run: Option<RunReport>,
    /// Newest first.
    pub endings: Vec<Ended>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub up: bool,
    pub since: Timestamp,
}

/// The run in hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunReport {
    pub plan: PlanId,
    pub rollout: RolloutId,
    pub name: String,
    pub service: String,
    pub from: String,
    pub to: String,
    /// In a word: staging, asking, running, waiting, confirming, paused, undoing, finished, undone, unfit, stuck.
    pub stage: String,
    /// Of how many steps.
    pub steps: u32,
    /// Counted from 1; absent between runs.
    pub step: Option<u32>,
    pub step_name: Option<String>,
    pub phase: Option<Phase>,
    pub attempt: Option<u32>,
    /// Of the newest record of the run that moved it.
    pub since: Timestamp,
    /// Why it waits, turned round or cannot go on.
    pub why: Option<String>,
    /// When hands are needed: what can be done.
    pub choices: Vec<String>,
    /// Holds what the run overwrites, as it was before.
    pub safety: Option<PointId>,
}

/// A run that ended here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub plan: PlanId,
    pub at: Timestamp,
    pub ending: Ending,
}

impl Report {
    pub fn of(journal: &Journal, link: Option<Link>, halted: Option<Halt>, run: Option<RunReport>) -> Self {
        Self {
            link,
            journal: journal.id(),
            records: journal.last(),
            epoch: journal.epoch(),
            halted,
            run,
            endings: journal.endings().cloned().collect(),
        }
    }

    /// Hands are needed here.
    pub fn is_stuck(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.stage == "stuck")
    }
}

impl RunReport {
    pub fn of(plan: PlanId, signed: &Plan, rollout: &RolloutId, run: &Run, records: &RunRecords) -> Self {
        let moved = records.entries.iter().rev().find(|entry| !is_remark(&entry.input));
        let mut report = Self {
            plan,
            rollout: rollout.clone(),
            name: signed.name.to_string(),
            service: signed.service.clone(),
            from: signed.from.clone(),
            to: signed.to.clone(),
            stage: word_of(run.stage()).into(),
            steps: signed.steps.len() as u32,
            step: None,
            step_name: None,
            phase: None,
            attempt: None,
            since: moved.map_or_else(Timestamp::default, |entry| entry.at),
            why: None,
            choices: vec![],
            safety: records.safety,
        };
        report.tell(run, signed);
        report
    }

    fn tell(&mut self, run: &Run, signed: &Plan) {
        let mut at = |step: u32| {
            self.step = Some(step + 1);
            self.step_name = signed.steps.get(step as usize).map(|step| step.name.to_string());
        };
        match run.stage() {
            Stage::Running { step, phase, attempt } => {
                at(*step);
                (self.phase, self.attempt) = (Some(*phase), Some(*attempt));
            }
            Stage::Waiting { step } | Stage::Confirming { step, .. } => at(*step),
            Stage::Paused { step } => {
                at(*step);
                self.why = Some(match run.is_halted() {
                    true => "this host is halted".into(),
                    false => "cut off from the coordinator, and the plan says hold".into(),
                });
            }
            Stage::Undoing { step, attempt, because } => {
                at(*step);
                (self.phase, self.attempt) = (Some(Phase::Undo), Some(*attempt));
                self.why = Some(because.to_string());
            }
            Stage::Settling(ending) | Stage::Settled(ending) => self.tell_ending(ending),
            _ => {}
        }
    }

    fn tell_ending(&mut self, ending: &Ending) {
        match ending {
            Ending::Finished => {}
            Ending::Undone { because } => self.why = Some(because.to_string()),
            Ending::Unfit { reason } => self.why = Some(reason.clone()),
            Ending::NeedsOperator { because, choices, .. } => {
                self.why = Some(because.to_string());
                let answer = |choice: &Choice| {
                    let (rollout, name) = (&self.rollout, choice.name());
                    format!("sternway unstick {rollout} HOST {name}: {}", choice.meaning())
                };
                self.choices = choices.iter().map(answer).collect();
            }
        }
    }
}

/// Does not move the run.
fn is_remark(input: &Input) -> bool {
    matches!(
        input,
        Input::Health { .. } | Input::CutOff | Input::Rejoined | Input::Resumed { .. } | Input::HaltTold
    )
}

fn word_of(stage: &Stage) -> &'static str {
    match stage {
        Stage::Staging => "staging",
        Stage::Asking { .. } => "asking",
        Stage::Running { .. } => "running",
        Stage::Waiting { .. } => "waiting",
        Stage::Confirming { .. } => "confirming",
        Stage::Paused { .. } => "paused",
        Stage::Undoing { .. } => "undoing",
        Stage::Settling(ending) | Stage::Settled(ending) => match ending {
            Ending::Finished => "finished",
            Ending::Undone { .. } => "undone",
            Ending::Unfit { .. } => "unfit",
            Ending::NeedsOperator { .. } => "stuck",
        },
        Stage::Closed => "closed",
    }
}
