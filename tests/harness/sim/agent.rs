//! An agent: the real run machine over a journal that survives its death.

use sternway_core::ids::{PlanId, RolloutId};
use sternway_core::plan::Plan;
use sternway_core::run::{
    Action, Answer, Effect, Ending, Entry, Input, Looked, Outcome, Phase, Prepared, Risk, Run, Stage,
    StepError, Told, Verdict, Verification,
};
use sternway_core::time::{Millis, Timestamp};

use super::Chance;
use super::swarm::Faults;

/// Longest age of a question whose answer is still welcome.
const PERMIT_VALID: Millis = Millis::seconds(60);

/// What the coordinator sends.
#[derive(Debug, Clone)]
pub(super) enum ToAgent {
    Offer { rollout: RolloutId },
    Permit { nonce: u64, epoch: u64 },
    Halt { epoch: u64 },
    Undo { by: sternway_core::ids::Person, reason: String },
    Release { epoch: u64 },
    Acked { sequence: u64 },
}

/// Work that takes time, and belongs to one life of the agent.
#[derive(Debug, Clone)]
pub(super) enum Work {
    Stage,
    Phase { step: u32, phase: Phase },
    Wait { step: u32 },
    Watch,
}

#[derive(Debug)]
pub(super) struct SimAgent {
    plan: Plan,
    /// Durable, as are `epoch` and the plan once accepted.
    journal: Vec<Entry>,
    epoch: u64,
    run: Option<Run>,
    pub(super) up: bool,
    pub(super) dead: bool,
    /// Counts starts: work of an earlier life is lost.
    pub(super) life: u64,
    asked_at: Timestamp,
    well: bool,
    pub(super) acked: u64,
    /// Started since last asked.
    work: Vec<(Millis, Work)>,
    chance: Chance,
}

impl SimAgent {
    pub(super) fn new(plan: Plan, chance: Chance) -> Self {
        Self {
            plan,
            journal: Vec::new(),
            epoch: 0,
            run: None,
            up: true,
            dead: false,
            life: 0,
            asked_at: Timestamp::default(),
            well: true,
            acked: 0,
            work: Vec::new(),
            chance,
        }
    }

    pub(super) fn take_work(&mut self) -> Vec<(Millis, Work)> {
        std::mem::take(&mut self.work)
    }

    /// In the true world, whether anybody is there to see it or not.
    pub(super) fn is_disturbed(&self) -> bool {
        self.run.as_ref().is_some_and(Run::is_disturbed)
    }

    /// Whether it was disturbed by a permit (never undone on order since).
    pub(super) fn was_permitted_last(&self) -> bool {
        !self.journal.iter().any(|entry| matches!(entry.input, Input::UndoOrdered { .. }))
    }

    /// Nothing more happens here by itself.
    pub(super) fn is_settled(&self) -> bool {
        match self.run.as_ref().map(Run::stage) {
            None | Some(Stage::Closed | Stage::Staging | Stage::Asking { .. }) => true,
            Some(Stage::Settled(ending)) => !matches!(ending, Ending::NeedsOperator { .. }),
            Some(_) => false,
        }
    }

    pub(super) fn needs_operator(&self) -> bool {
        matches!(self.run.as_ref().map(Run::stage), Some(Stage::Settled(Ending::NeedsOperator { .. })))
    }

    /// What was written and not yet acknowledged, at most a few.
    pub(super) fn unacked(&self, plan: PlanId) -> Vec<(u64, Told)> {
        self.journal
            .iter()
            .skip(self.acked as usize)
            .take(32)
            .map(|entry| (entry.sequence, Told::Run { plan, input: entry.input.clone().told() }))
            .collect()
    }

    pub(super) fn kill(&mut self) {
        self.up = false;
        self.life += 1;
        self.work.clear();
    }

    /// Comes back from its journal; false when that gives another run than the one that died.
    pub(super) fn start(&mut self, now: Timestamp) -> bool {
        self.up = true;
        let died = self.run.take();
        if self.journal.is_empty() {
            return died.is_none();
        }
        let mut run = Run::new(&self.plan);
        for entry in &self.journal {
            run.handle(entry);
        }
        let same = died.as_ref() == Some(&run);
        self.run = Some(run);
        self.note(Input::Resumed { unfinished: Vec::new() }, now);
        same
    }

    pub(super) fn hear(&mut self, said: ToAgent, now: Timestamp) {
        match said {
            ToAgent::Offer { rollout } => {
                if self.run.is_none() {
                    self.run = Some(Run::new(&self.plan));
                    self.note(Input::Accepted { rollout, signers: Vec::new() }, now);
                }
            }
            ToAgent::Permit { nonce, epoch } if self.is_current(epoch) => {
                match now.since(self.asked_at) <= PERMIT_VALID {
                    true => self.note(Input::Permitted { nonce, epoch }, now),
                    false => self.note(Input::HaltTold, now),
                }
            }
            ToAgent::Halt { epoch } if self.is_current(epoch) => self.note(Input::HaltTold, now),
            ToAgent::Undo { by, reason } => self.note(Input::UndoOrdered { by, reason }, now),
            ToAgent::Release { epoch } if self.is_current(epoch) => self.note(Input::Released, now),
            ToAgent::Acked { sequence } => self.acked = self.acked.max(sequence),
            ToAgent::Permit { .. } | ToAgent::Halt { .. } | ToAgent::Release { .. } => {}
        }
    }

    fn is_current(&mut self, epoch: u64) -> bool {
        if epoch < self.epoch {
            return false;
        }
        self.epoch = epoch;
        true
    }

    /// The link came or went.
    pub(super) fn link(&mut self, here: bool, now: Timestamp) {
        let active = self.run.as_ref().is_some_and(|run| *run.stage() != Stage::Closed);
        if self.up && active {
            self.note(if here { Input::Rejoined } else { Input::CutOff }, now);
        }
    }

    /// Writes down, then does.
    pub(super) fn note(&mut self, input: Input, now: Timestamp) {
        let Some(run) = &mut self.run else { return };
        let entry = Entry { sequence: self.journal.len() as u64 + 1, at: now, input };
        self.journal.push(entry.clone());
        for effect in run.handle(&entry) {
            self.perform(effect, now);
        }
    }

    fn perform(&mut self, effect: Effect, now: Timestamp) {
        let takes = |from, to, chance: &mut Chance| Millis(chance.between(from, to));
        match effect {
            Effect::Stage => self.work.push((takes(100, 20_000, &mut self.chance), Work::Stage)),
            Effect::Ask { nonce } => {
                self.asked_at = now;
                self.note(Input::PermitAsked { nonce }, now);
            }
            Effect::Call { step, phase, attempt } => {
                self.note(Input::Began { step, phase, attempt }, now);
                self.work.push((takes(10, 3_000, &mut self.chance), Work::Phase { step, phase }));
            }
            Effect::Wait { step, length } => self.work.push((length, Work::Wait { step })),
            Effect::Confirm { step, .. } => self.note(Input::Confirmed { step }, now),
            Effect::Settle(ending) => self.note(Input::Settled { ending }, now),
            Effect::Watch => self.work.push((Millis::seconds(2), Work::Watch)),
            Effect::Discard { .. } | Effect::Close => {}
        }
    }

    /// Work of this life ended.
    pub(super) fn worked(&mut self, work: Work, faults: &Faults, now: Timestamp) {
        match work {
            Work::Stage if self.chance.per_mille(faults.host_unfit) => {
                self.note(Input::Unfit { reason: "no space".into() }, now);
            }
            Work::Stage => self.note(Input::Staged { point: None }, now),
            Work::Phase { step, phase } => {
                let answer = self.answer(phase, faults);
                self.note(Input::Ended { step, phase, answer }, now);
            }
            Work::Wait { step } => self.note(Input::Waited { step }, now),
            Work::Watch => self.watch(faults, now),
        }
    }

    fn watch(&mut self, faults: &Faults, now: Timestamp) {
        let finished = matches!(self.run.as_ref().map(Run::stage), Some(Stage::Settled(Ending::Finished)));
        if !finished {
            return;
        }
        let well = !self.chance.per_mille(faults.unhealthy);
        if well != self.well {
            self.well = well;
            self.note(Input::Health { healthy: well, message: "503".into() }, now);
        }
        self.work.push((Millis::seconds(2), Work::Watch));
    }

    fn answer(&mut self, phase: Phase, faults: &Faults) -> Answer {
        let likely = if phase == Phase::Undo { faults.undo_fails } else { faults.phase_fails };
        if self.chance.per_mille(likely) {
            return Answer::Failed(StepError {
                code: "sim/failed".into(),
                message: "as the seed would have it".into(),
                undo_advised: !self.chance.per_mille(200),
            });
        }
        let outcome = || Outcome { changed: true, summary: String::new(), state: Vec::new() };
        match phase {
            Phase::Look => Answer::Looked(Looked {
                findings: Vec::new(),
                actions: if self.chance.per_mille(100) { Vec::new() } else { vec![action()] },
                state: Vec::new(),
            }),
            Phase::Prepare => Answer::Prepared(Prepared { summary: String::new(), state: Vec::new() }),
            Phase::Apply => Answer::Applied(outcome()),
            Phase::Verify => Answer::Verified(vec![Verification {
                name: "health".into(),
                verdict: Verdict::Pass,
                measured: None,
                expected: None,
                message: String::new(),
            }]),
            Phase::Undo => Answer::Undone(outcome()),
        }
    }
}

fn action() -> Action {
    Action { summary: "change it".into(), target: "it".into(), before: None, after: None, risk: Risk::Low }
}
