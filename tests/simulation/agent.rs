//! An agent: the real run machine behind a journal that survives its death.
//! Does what the agent's driver does, in its order, over a host of its own.

use sternway_core::ids::{HostName, JournalId, RolloutId};
use sternway_core::plan::Plan;
use sternway_core::run::{Answer, Choice, Effect, Ending, Input, Phase, Record, Run, Stage};
use sternway_core::time::{Millis, Timestamp};
use sternway_core::wire::{FromAgent, Greeting, PROTOCOL, ToAgent};

use super::journal::{Ends, SimJournal};
use super::schedule::{Schedule, plan_id};
use super::troubles::HostTroubles;
use super::world::{Thing, World};
use super::{Chance, Seen, Truth, Why};

/// Records in one message, at most.
const BATCH_MAX: usize = 64;
/// Records told and not yet acknowledged, at most.
const UNACKED_MAX: u64 = 256;
const WATCH_EVERY: Millis = Millis::seconds(2);

/// What comes down to an agent.
#[derive(Debug, Clone)]
pub(super) enum Down {
    Said(ToAgent),
    Plan { rollout: RolloutId, plan: usize },
}

/// Work that takes time, and belongs to one life of the agent.
#[derive(Debug, Clone)]
pub(super) enum Work {
    Stage { plan: usize },
    Begin { plan: usize, step: u32, phase: Phase, rest: Millis },
    End { plan: usize, step: u32, phase: Phase, rest: Millis },
    Answer { plan: usize, step: u32, phase: Phase, done: Result<(), String> },
    Wait { plan: usize, step: u32 },
    Unconfirmed { plan: usize, step: u32, until: Timestamp },
    Watch { plan: usize },
}

#[derive(Debug)]
struct Active {
    plan: usize,
    run: Run,
    /// A step that a new connection would confirm.
    confirming: Option<u32>,
    well: bool,
}

#[derive(Debug)]
pub(super) struct SimAgent {
    host: HostName,
    seed: u64,
    plans: Vec<Plan>,
    pub(super) journal: SimJournal,
    pub(super) world: World,
    active: Option<Active>,
    pub(super) up: bool,
    pub(super) gone: bool,
    pub(super) was_set_back: bool,
    /// Counts starts: work of an earlier life is lost.
    pub(super) life: u64,
    linked: bool,
    /// The connection there is shall be dropped for a new one.
    pub(super) wants_reconnect: bool,
    asked_at: Timestamp,
    /// What the coordinator has, and what it was sent over this connection.
    acked: u64,
    told: u64,
    pub(super) troubles: HostTroubles,
    /// Started since last asked.
    work: Vec<(Millis, Work)>,
    /// To be said, besides the records.
    says: Vec<FromAgent>,
    pub(super) seen: Vec<Seen>,
}

impl SimAgent {
    pub(super) fn new(host: HostName, index: usize, schedule: &Schedule, now: Timestamp) -> Self {
        let mut world = World::default();
        for (plan, shape) in
            schedule.plans.iter().enumerate().filter(|(_, shape)| shape.hosts().contains(&host))
        {
            for (step, shape) in shape.steps.iter().enumerate() {
                let is_so_already =
                    Chance::new(schedule.seed, &format!("already {host} {plan} {step}")).per_mille(80);
                world.0.insert((plan, step as u32), Thing::new(shape.class, is_so_already));
            }
        }
        let journal = SimJournal::open(JournalId([index as u8; 16]), &host, now, &world);
        Self {
            host,
            seed: schedule.seed,
            plans: schedule.plans.iter().map(super::schedule::Shape::plan).collect(),
            journal,
            world,
            active: None,
            up: true,
            gone: false,
            was_set_back: false,
            life: 0,
            linked: false,
            wants_reconnect: false,
            asked_at: Timestamp::default(),
            acked: 0,
            told: 0,
            troubles: HostTroubles::default(),
            work: Vec::new(),
            says: Vec::new(),
            seen: Vec::new(),
        }
    }

    pub(super) fn take_work(&mut self) -> Vec<(Millis, Work)> {
        std::mem::take(&mut self.work)
    }

    fn stage(&self) -> Option<&Stage> {
        self.active.as_ref().map(|active| active.run.stage())
    }

    /// The plan by which it is disturbed in the true world, whether anybody sees it or not.
    pub(super) fn disturbed_by(&self) -> Option<usize> {
        let active = self.active.as_ref().filter(|active| active.run.is_disturbed())?;
        Some(active.plan)
    }

    pub(super) fn why_disturbed(&self, plan: usize) -> Why {
        let entries = self.journal.entries_of(plan_id(plan));
        let ordered = entries.iter().any(|entry| matches!(entry.input, Input::UndoOrdered { .. }));
        if ordered { Why::Undo } else { Why::Permit }
    }

    /// Nothing more happens here by itself.
    pub(super) fn is_settled(&self) -> bool {
        match self.stage() {
            None | Some(Stage::Closed | Stage::Staging | Stage::Asking { .. }) => true,
            Some(Stage::Settled(ending)) => !matches!(ending, Ending::NeedsOperator { .. }),
            Some(_) => false,
        }
    }

    pub(super) fn greeting(&self) -> Greeting {
        Greeting {
            protocol: PROTOCOL,
            version: "sim".into(),
            fleet: self.plans[0].fleet,
            host: self.host.clone(),
            journal: self.journal.id,
            last: self.journal.last(),
            epoch: self.journal.epoch(),
            acked: self.journal.acked,
            times: self.journal.times_after(self.journal.acked),
            plan: self.active.as_ref().map(|active| plan_id(active.plan)),
            rollout: self.active.as_ref().and_then(|active| {
                let entries = self.journal.entries_of(plan_id(active.plan));
                entries.into_iter().find_map(|entry| match entry.input {
                    Input::Accepted { rollout, .. } => Some(rollout),
                    _ => None,
                })
            }),
        }
    }

    /// What is to be said now over the connection there is.
    pub(super) fn take_says(&mut self) -> Vec<FromAgent> {
        if !self.linked || !self.up {
            return Vec::new();
        }
        let mut says = std::mem::take(&mut self.says);
        while self.told.saturating_sub(self.acked) < UNACKED_MAX {
            let events = self.journal.events_after(self.told, BATCH_MAX);
            let Some(last) = events.last().map(|event| event.sequence) else { break };
            self.told = last;
            says.push(FromAgent::Events(events));
        }
        says
    }

    pub(super) fn stop(&mut self) {
        self.up = false;
        self.linked = false;
        self.life += 1;
        self.work.clear();
        self.says.clear();
    }

    /// Its disk was put back: the process that comes will know nothing of this run.
    pub(super) fn forget_run(&mut self) {
        self.active = None;
        self.was_set_back = true;
    }

    /// Comes back from its journal.
    pub(super) fn start(&mut self, now: Timestamp) -> Result<(), Ends> {
        self.up = true;
        self.journal.reopen();
        self.active = None;
        let Some(id) = self.journal.plans().last().copied() else { return Ok(()) };
        let entries = self.journal.entries_of(id);
        let plan = usize::from(id.0[0]) - 1;
        let mut run = Run::new(&self.plans[plan]);
        for entry in &entries {
            run.handle(entry);
        }
        if *run.stage() == Stage::Closed {
            return Ok(());
        }
        self.active = Some(Active { plan, run, confirming: None, well: true });
        self.note(Input::Resumed { unfinished: Vec::new() }, now)
    }

    /// Whether its journal gives the run it holds. One that ended may have
    /// written what it did not live to handle.
    pub(super) fn is_what_its_journal_says(&self) -> bool {
        let Some(active) = self.active.as_ref().filter(|_| self.up) else { return true };
        let mut run = Run::new(&self.plans[active.plan]);
        for entry in self.journal.entries_of(plan_id(active.plan)) {
            run.handle(&entry);
        }
        run == active.run
    }

    /// Writes an input of the run in hand down, then does what follows from it.
    pub(super) fn note(&mut self, input: Input, now: Timestamp) -> Result<(), Ends> {
        let Some(active) = &self.active else { return Ok(()) };
        let record = Record::Run { plan: plan_id(active.plan), input };
        let entry = self.journal.append(self.wall(now), record, &self.world)?;
        self.show(&entry.input);
        let Some(active) = &mut self.active else { return Ok(()) };
        let asked = matches!(active.run.stage(), Stage::Asking { .. });
        let effects = active.run.handle(&entry);
        let begins = asked && !matches!(active.run.stage(), Stage::Asking { .. });
        if let Input::Permitted { nonce, epoch } = entry.input
            && begins
        {
            self.show_permit(nonce, epoch);
        }
        effects.into_iter().try_for_each(|effect| self.perform(effect, now))
    }

    /// By the host's own clock.
    fn wall(&self, now: Timestamp) -> Timestamp {
        self.troubles.wall(now)
    }

    /// Tells the observer what a record claims, beside what is true.
    fn show(&mut self, input: &Input) {
        let Some(active) = &self.active else { return };
        let (rollout, host) = (active.plan, self.host.clone());
        match input {
            Input::Began { step, phase: Phase::Look, attempt: 1 } if *step > 0 => {
                let truths = self.truths(rollout, *step);
                self.seen.push(Seen::StepsDone { rollout, host, truths });
            }
            Input::Settled { ending } => {
                let truths = self.truths(rollout, u32::MAX);
                self.seen.push(Seen::Settled { rollout, host, ending: ending.clone(), truths });
            }
            _ => {}
        }
    }

    fn show_permit(&mut self, nonce: u64, epoch: u64) {
        let Some(active) = &self.active else { return };
        let (rollout, host) = (active.plan, self.host.clone());
        let entries = self.journal.entries_of(plan_id(rollout));
        let asked = entries.iter().rev().find_map(|entry| match entry.input {
            Input::PermitAsked { nonce } => Some(nonce),
            _ => None,
        });
        let seen_epoch = self.journal.epoch();
        self.seen.push(Seen::Permitted { rollout, host, nonce, epoch, asked, seen_epoch });
    }

    /// What is true of the steps before this one.
    fn truths(&self, plan: usize, before: u32) -> Vec<Truth> {
        let things = self.world.of_plan(plan).filter(|(step, _)| *step < before);
        things
            .map(|(step, thing)| Truth {
                step,
                proven: thing.proven,
                as_wanted: thing.is_as_wanted(),
                as_found: thing.is_as_found(),
            })
            .collect()
    }

    fn perform(&mut self, effect: Effect, now: Timestamp) -> Result<(), Ends> {
        let Some(active) = &mut self.active else { return Ok(()) };
        let plan = active.plan;
        match effect {
            Effect::Stage => {
                let length = self.length("stage", 100, 20_000);
                self.work.push((length, Work::Stage { plan }));
            }
            Effect::Ask { nonce } => {
                self.asked_at = now;
                return self.note(Input::PermitAsked { nonce }, now);
            }
            Effect::Call { step, phase, attempt } => {
                let record =
                    Record::Run { plan: plan_id(plan), input: Input::Began { step, phase, attempt } };
                let entry = self.journal.append(self.wall(now), record, &self.world)?;
                self.show(&entry.input);
                if let Some(active) = &mut self.active {
                    active.run.handle(&entry);
                }
                self.call(plan, step, phase, attempt);
            }
            Effect::Wait { step, length } => self.work.push((length, Work::Wait { plan, step })),
            Effect::Settle(ending) => return self.note(Input::Settled { ending }, now),
            Effect::Watch => self.work.push((WATCH_EVERY, Work::Watch { plan })),
            Effect::Confirm { step, until } => {
                let left = until.since(self.wall(now));
                self.wants_reconnect = true;
                if let Some(active) = &mut self.active {
                    active.confirming = Some(step);
                }
                self.work.push((left, Work::Unconfirmed { plan, step, until }));
            }
            Effect::Discard { .. } => {}
            Effect::Close => self.active = None,
        }
        Ok(())
    }

    fn length(&self, of: &str, from: u64, to: u64) -> Millis {
        Millis(Chance::new(self.seed, &format!("{of} {} {}", self.host, self.life)).between(from, to))
    }

    fn call(&mut self, plan: usize, step: u32, phase: Phase, attempt: u32) {
        let all = self.length(&format!("{plan} {step} {} {attempt}", phase.name()), 10, 3_000);
        let part = Millis(all.0 / 3);
        let work = match phase {
            Phase::Apply | Phase::Undo => Work::Begin { plan, step, phase, rest: part },
            _ => Work::Answer { plan, step, phase, done: Ok(()) },
        };
        self.work.push((Millis(part.0 + self.troubles.sync_takes().0), work));
    }

    /// Work of this life goes on or ended.
    pub(super) fn worked(&mut self, work: Work, now: Timestamp) -> Result<(), Ends> {
        let in_hand = self.active.as_ref().map(|active| active.plan);
        match work {
            Work::Stage { plan } if in_hand == Some(plan) => match self.troubles.is_unfit(plan) {
                true => self.note(Input::Unfit { reason: "no space".into() }, now),
                false => self.note(Input::Staged { point: None }, now),
            },
            Work::Begin { plan, step, phase, rest } => {
                self.begin(plan, step, phase, rest, now);
                Ok(())
            }
            Work::End { plan, step, phase, rest } => {
                let done = match self.troubles.is_full(now) {
                    true => Err("no space left".to_owned()),
                    false => Ok(()),
                };
                if done.is_ok()
                    && let Some(thing) = self.world.thing(plan, step)
                {
                    thing.end(phase);
                }
                self.work.push((rest, Work::Answer { plan, step, phase, done }));
                Ok(())
            }
            Work::Answer { plan, step, phase, done } if in_hand == Some(plan) => {
                let answer = self.answer(plan, step, phase, done);
                self.note(Input::Ended { step, phase, answer }, now)
            }
            Work::Wait { plan, step } if in_hand == Some(plan) => self.note(Input::Waited { step }, now),
            Work::Unconfirmed { plan, step, until } if in_hand == Some(plan) => {
                match self.stage() == Some(&Stage::Confirming { step, until }) {
                    true => self.note(Input::NotConfirmed { step }, now),
                    false => Ok(()),
                }
            }
            Work::Watch { plan } if in_hand == Some(plan) => self.watch(plan, now),
            Work::Stage { .. }
            | Work::Answer { .. }
            | Work::Wait { .. }
            | Work::Unconfirmed { .. }
            | Work::Watch { .. } => Ok(()),
        }
    }

    /// The world changes here, and not before its intent is on disk.
    fn begin(&mut self, plan: usize, step: u32, phase: Phase, rest: Millis, now: Timestamp) {
        if self.troubles.is_full(now) {
            let done = Err("no space left".to_owned());
            return self.work.push((rest, Work::Answer { plan, step, phase, done }));
        }
        let intends = self.journal.intends(|record| {
            matches!(record, Record::Run { plan: of, input: Input::Began { step: begun, phase: in_phase, .. } }
                if *of == plan_id(plan) && *begun == step && *in_phase == phase)
        });
        let changed_after = |world: &World| {
            let later = world.of_plan(plan).filter(|(other, _)| *other > step);
            later.filter(|(_, thing)| !thing.is_as_found()).map(|(other, _)| other).collect()
        };
        let changed_after = changed_after(&self.world);
        if let Some(thing) = self.world.thing(plan, step) {
            thing.begin(phase);
            let (rollout, host, effects) = (plan, self.host.clone(), thing.effects);
            let by_order = self
                .journal
                .entries_of(plan_id(plan))
                .iter()
                .any(|entry| matches!(entry.input, Input::UndoOrdered { .. } | Input::Decided { .. }));
            self.seen.push(Seen::Effect {
                rollout,
                host,
                step,
                phase,
                intends,
                effects,
                changed_after,
                by_order,
            });
        }
        self.work.push((rest, Work::End { plan, step, phase, rest }));
    }

    fn watch(&mut self, plan: usize, now: Timestamp) -> Result<(), Ends> {
        if !matches!(self.stage(), Some(Stage::Settled(Ending::Finished))) {
            return Ok(());
        }
        self.work.push((WATCH_EVERY, Work::Watch { plan }));
        let well = !self.troubles.is_unwell(now);
        match self.active.as_mut().map(|active| std::mem::replace(&mut active.well, well)) {
            Some(before) if before != well => {
                self.note(Input::Health { healthy: well, message: "503".into() }, now)
            }
            _ => Ok(()),
        }
    }

    fn answer(&mut self, plan: usize, step: u32, phase: Phase, done: Result<(), String>) -> Answer {
        if let Some(error) = self.troubles.failure(plan, step, phase, done) {
            return Answer::Failed(error);
        }
        let Some(thing) = self.world.thing(plan, step) else { return super::answers::undone() };
        match phase {
            Phase::Look => super::answers::looked(thing.prove(), thing.content),
            Phase::Prepare => super::answers::prepared(),
            Phase::Apply => super::answers::applied(),
            Phase::Verify => super::answers::verified(thing.prove()),
            Phase::Undo => super::answers::undone(),
        }
    }

    /// The link is there: welcomed, with what the coordinator has of the journal.
    pub(super) fn welcomed(&mut self, epoch: u64, acked: u64, now: Timestamp) -> Result<(), Ends> {
        self.linked = true;
        (self.acked, self.told) = (acked, acked);
        self.journal.acked = self.journal.acked.max(acked.min(self.journal.last()));
        self.is_current(epoch, now)?;
        if self.disturbed_by().is_some() {
            self.note(Input::Rejoined, now)?;
        }
        match self.active.as_mut().and_then(|active| active.confirming.take()) {
            Some(step) => self.note(Input::Confirmed { step }, now),
            None => Ok(()),
        }
    }

    pub(super) fn cut_off(&mut self, now: Timestamp) -> Result<(), Ends> {
        if std::mem::take(&mut self.linked) && self.disturbed_by().is_some() {
            return self.note(Input::CutOff, now);
        }
        Ok(())
    }

    fn is_current(&mut self, epoch: u64, now: Timestamp) -> Result<bool, Ends> {
        let seen = self.journal.epoch();
        if epoch < seen && !cfg!(feature = "mutant-old-epoch-obeyed") {
            return Ok(false);
        }
        self.seen.push(Seen::Obeyed { host: self.host.clone(), epoch, seen_epoch: seen });
        if epoch > seen {
            self.journal.append(self.wall(now), Record::EpochSeen { epoch }, &self.world)?;
        }
        Ok(true)
    }

    pub(super) fn hear(&mut self, down: Down, now: Timestamp) -> Result<(), Ends> {
        match down {
            Down::Plan { rollout, plan } => self.offered(rollout, plan, now),
            Down::Said(ToAgent::Welcome { epoch, acked, .. }) => self.welcomed(epoch, acked, now),
            Down::Said(ToAgent::Acked { sequence }) => {
                self.acked = self.acked.max(sequence);
                self.journal.acked = self.journal.acked.max(sequence.min(self.journal.last()));
                Ok(())
            }
            Down::Said(said) => self.said(said, now),
        }
    }

    /// A person's order; here an answer to a question, or else to undo.
    fn ordered(&mut self, sealed: &[u8], now: Timestamp) -> Result<(), Ends> {
        let (by, reason) = (super::person("maria"), "all back".to_owned());
        let Ok((choice, asked)) = serde_json::from_slice::<(Choice, u64)>(sealed) else {
            return self.note(Input::UndoOrdered { by, reason }, now);
        };
        let Some(active) = &self.active else { return Ok(()) };
        let Some(Stage::Settled(Ending::NeedsOperator { because, undo_of, .. })) = self.stage() else {
            return Ok(());
        };
        if active.run.may_decide(choice, asked).is_err() {
            return Ok(());
        }
        let (plan, step) = (active.plan, undo_of.or(because.step()).unwrap_or_default());
        if let Some(thing) = self.world.thing(plan, step) {
            thing.decided(choice);
        }
        self.note(Input::Decided { by, reason, choice, asked }, now)
    }

    /// A person at the host halts it, or ends that.
    pub(super) fn halted_here(&mut self, halts: bool, now: Timestamp) -> Result<(), Ends> {
        let by = "root".to_owned();
        let host = self.host.clone();
        let Some(active) = &self.active else { return Ok(()) };
        if active.run.is_halted() == halts {
            return Ok(());
        }
        let rollout = active.plan;
        let input = match halts {
            true => Input::HaltedLocally { by, reason: "it looked odd".into() },
            false => Input::ResumedLocally { by },
        };
        let seen = Seen::HaltedHere { rollout, host, halts };
        if halts {
            // The person is told so once it is on disk.
            self.note(input, now)?;
            self.seen.push(seen);
            return Ok(());
        }
        self.seen.push(seen);
        self.note(input, now)
    }

    fn offered(&mut self, rollout: RolloutId, plan: usize, now: Timestamp) -> Result<(), Ends> {
        if self.active.as_ref().is_some_and(|active| active.plan == plan) {
            return Ok(());
        }
        let busy = self.active.as_ref().is_some_and(|active| {
            !matches!(active.run.stage(), Stage::Settled(_)) || active.run.is_disturbed()
        });
        if busy || self.journal.plans().contains(&plan_id(plan)) {
            let (code, reason) = ("replayed".into(), "not this one".into());
            self.says.push(FromAgent::Refused { plan: plan_id(plan), code, reason });
            return Ok(());
        }
        let run = Run::new(&self.plans[plan]);
        self.active = Some(Active { plan, run, confirming: None, well: true });
        self.note(Input::Accepted { rollout, signers: Vec::new() }, now)
    }

    fn said(&mut self, said: ToAgent, now: Timestamp) -> Result<(), Ends> {
        let Some(active) = &self.active else { return Ok(()) };
        let (in_hand, active_is_halted) = (plan_id(active.plan), active.run.is_halted());
        match said {
            ToAgent::Permit { plan, nonce, epoch, valid_for } if plan == in_hand => {
                if !self.is_current(epoch, now)? {
                    return Ok(());
                }
                match self.troubles.elapsed(self.asked_at, now) <= valid_for {
                    true if active_is_halted => self.note(Input::PermitDeclined { nonce }, now),
                    true => self.note(Input::Permitted { nonce, epoch }, now),
                    false => self.note(Input::HaltTold, now),
                }
            }
            ToAgent::Halt { plan, epoch } if plan == in_hand && self.is_current(epoch, now)? => {
                self.note(Input::HaltTold, now)
            }
            ToAgent::Order { plan, sealed } if plan == in_hand => self.ordered(&sealed, now),
            ToAgent::Order { plan, .. } => {
                let (code, reason) = ("other-plan".into(), "another plan is in hand".into());
                self.says.push(FromAgent::Refused { plan, code, reason });
                Ok(())
            }
            ToAgent::Release { plan, epoch } if plan == in_hand && self.is_current(epoch, now)? => {
                self.note(Input::Released, now)
            }
            _ => Ok(()),
        }
    }
}
