//! Owns the run: writes down what happened, asks the machine, does what it says.
//!
//! One thread takes one message at a time. What blocks (staging, a phase of a
//! step) works on a thread of its own and comes back as a message, so that a
//! halt or an order is heard in the middle of a step.

mod asleep;
mod doubt;
mod health;
mod people;
mod plans;
mod work;

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sternway_core::ids::{HostName, PlanId, RolloutId};
use sternway_core::run::{Effect, Input, Record, Run, Stage};
use sternway_core::time::Millis;
use sternway_core::trust::{Admitted, HostFacts, Keyring, Refusal, Sealed};
use sternway_core::wire::{FromAgent, ToAgent};

use crate::clock;
use crate::gate::Cancel;
use crate::halt::{Halt, HaltFlag};
use crate::journal::{Journal, JournalError};
use crate::message::{FromLink, Message};
use crate::outbox::Outbox;
use crate::report::Link;
use crate::steps::Steps;

pub use asleep::{AsleepError, look};
pub use plans::PlanStore;

/// As long as a link may be silent before it counts as broken.
const ALONE_AFTER: Duration = Duration::from_secs(15);

#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    #[error("nothing can be recorded, so nothing more is done")]
    Journal(#[from] JournalError),
    #[error("the plan could not be kept")]
    Plans(#[from] plans::PlanError),
}

/// What a driver is made of.
#[derive(Debug)]
pub struct Parts {
    pub host: HostName,
    pub keyring: Keyring,
    pub journal: Arc<Mutex<Journal>>,
    pub plans: PlanStore,
    pub steps: Arc<Steps>,
    pub outbox: Outbox,
    pub halt: HaltFlag,
    pub watch_every: Millis,
    pub messages: mpsc::Sender<Message>,
}

#[derive(Debug)]
pub struct Driver {
    parts: Parts,
    active: Option<Active>,
    /// A run under way whose plan cannot be read; nothing else begins beside it.
    lost: Option<PlanId>,
    /// Of the newest permit question; it is good for so long, by our own clock.
    asked_at: Instant,
    link: Link,
    /// Until when an agent that has just started may be without a coordinator
    /// before the plan's rule for that counts.
    alone_from: Option<Instant>,
    halted: Option<Halt>,
}

/// The run in hand, and what works for it.
#[derive(Debug)]
struct Active {
    plan: Arc<Admitted>,
    rollout: RolloutId,
    run: Run,
    cancel: Cancel,
    watch: Option<health::Watch>,
    confirming: Option<doubt::Confirming>,
    /// A person at this host lets it begin as soon as it is staged.
    permitted_here: Option<String>,
}

impl Driver {
    /// Takes up what the journal says was under way.
    pub fn new(parts: Parts) -> Result<Self, DriverError> {
        let link = Link { up: false, since: clock::now() };
        let halted = parts.halt.read();
        let mut driver = Self {
            parts,
            active: None,
            lost: None,
            asked_at: Instant::now(),
            link,
            alone_from: Some(Instant::now() + ALONE_AFTER),
            halted,
        };
        driver.take_up()?;
        Ok(driver)
    }

    /// Works until [`Message::Stop`] or until nothing can be recorded any more.
    pub fn work(mut self, inbox: &mpsc::Receiver<Message>) -> Result<(), DriverError> {
        loop {
            let message = match self.wake_in() {
                None => inbox.recv().unwrap_or(Message::Stop),
                Some(length) => match inbox.recv_timeout(length) {
                    Ok(message) => message,
                    Err(RecvTimeoutError::Timeout) => {
                        self.still_alone()?;
                        self.look_after();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => Message::Stop,
                },
            };
            match message {
                Message::Stop => return Ok(()),
                message => self.hear(message)?,
            }
        }
    }

    fn journal<T>(&self, work: impl FnOnce(&mut Journal) -> T) -> T {
        let mut journal = self.parts.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let done = work(&mut journal);
        self.parts.outbox.journal_grew(journal.last());
        done
    }

    fn take_up(&mut self) -> Result<(), DriverError> {
        let open = self.journal(|journal| {
            let runs = journal.open_runs();
            runs.map(|(plan, run)| (plan, run.entries.clone(), run.unfinished())).collect::<Vec<_>>()
        });
        self.parts.steps.give_back_but(&open.iter().map(|(plan, ..)| *plan).collect());
        for (plan, entries, unfinished) in open {
            let Some(Input::Accepted { rollout, .. }) = entries.first().map(|entry| &entry.input) else {
                continue;
            };
            if plans::is_over(&entries) && !self.parts.plans.holds(plan) {
                self.journal(|journal| journal.forget(plan));
                continue;
            }
            let admitted = match self.parts.plans.readmit(plan, &self.parts.keyring, &self.parts.host) {
                Ok(admitted) => admitted,
                Err(error) if plans::is_over(&entries) => {
                    tracing::warn!(plan = %plan.short(), %error, "an ended run is let go");
                    self.parts.plans.remove(plan);
                    self.journal(|journal| journal.forget(plan));
                    continue;
                }
                Err(error) => {
                    self.plan_lost(plan, &entries, unfinished, &error)?;
                    continue;
                }
            };
            let mut run = Run::new(admitted.plan());
            for entry in &entries {
                run.handle(entry);
            }
            if *run.stage() == Stage::Closed {
                self.close(&admitted);
                continue;
            }
            tracing::info!(rollout = %rollout, plan = %plan.short(), stage = ?run.stage(), "takes up the run");
            self.activate(admitted, rollout.clone(), run);
            // A halt counts before anything is taken up, its end after.
            self.heed_halt()?;
            self.note(Input::Resumed { unfinished })?;
            self.heed_end_of_halt()?;
        }
        Ok(())
    }

    fn activate(&mut self, admitted: Admitted, rollout: RolloutId, run: Run) {
        let (plan, cancel) = (Arc::new(admitted), Cancel::new());
        self.active =
            Some(Active { plan, rollout, run, cancel, watch: None, confirming: None, permitted_here: None });
    }

    /// Writes an input of the run in hand down, then does what follows from it.
    fn note(&mut self, input: Input) -> Result<(), DriverError> {
        let Some(active) = &self.active else { return Ok(()) };
        let plan = active.plan.id();
        let entry = self.journal(|journal| journal.append_input(clock::now(), plan, input))?;
        let Some(active) = &mut self.active else { return Ok(()) };
        let effects = active.run.handle(&entry);
        effects.into_iter().try_for_each(|effect| self.perform(effect))
    }

    fn perform(&mut self, effect: Effect) -> Result<(), DriverError> {
        let Some(active) = &mut self.active else { return Ok(()) };
        match effect {
            Effect::Stage => work::stage(&self.parts, active),
            Effect::Ask { nonce } => {
                self.asked_at = Instant::now();
                return self.note(Input::PermitAsked { nonce });
            }
            Effect::Call { step, phase, attempt } => {
                let plan = active.plan.id();
                let began = Input::Began { step, phase, attempt };
                let entry = self.journal(|journal| journal.append_input(clock::now(), plan, began))?;
                if let Some(active) = &mut self.active {
                    active.run.handle(&entry);
                    work::call(&self.parts, active, step, phase, attempt);
                }
            }
            Effect::Wait { step, length } => work::wait(&self.parts, active, step, length),
            Effect::Confirm { step, until } => self.confirm(step, until),
            Effect::Discard { step } => self.parts.steps.discard(&active.plan, step),
            Effect::Settle(ending) => {
                tracing::info!(rollout = %active.rollout, ?ending, "the run settled");
                return self.note(Input::Settled { ending });
            }
            Effect::Watch => active.watch = Some(health::Watch::new(self.parts.watch_every)),
            Effect::Close => {
                if let Some(active) = self.active.take() {
                    self.close(&active.plan);
                }
            }
        }
        Ok(())
    }

    /// Removes what only undo needed. Nothing depends on it: what is left is
    /// removed at the next start.
    fn close(&self, plan: &Admitted) {
        self.parts.steps.sweep(plan);
        self.parts.plans.remove(plan.id());
        self.journal(|journal| journal.forget(plan.id()));
    }

    fn hear(&mut self, message: Message) -> Result<(), DriverError> {
        let in_hand = self.active.as_ref().map(|active| active.plan.id());
        match message {
            Message::Link(FromLink::Up { epoch, connection }) => {
                self.linked_again(epoch)?;
                self.connected(connection)
            }
            Message::Link(FromLink::Down) => self.cut_off(),
            Message::Link(FromLink::Plan { rollout, plan, sealed }) => self.offered(rollout, plan, &sealed),
            Message::Link(FromLink::Said(said)) => self.said(said),
            Message::Control { ask, answer } => {
                let said = self.asked(ask)?;
                // Whoever asked may have gone.
                let _ = answer.send(said);
                Ok(())
            }
            Message::Staged { plan, fit } if in_hand == Some(plan) => {
                self.note(match fit {
                    Ok(point) => Input::Staged { point },
                    Err(reason) => Input::Unfit { reason },
                })?;
                self.begin_if_permitted_here()
            }
            Message::Ended { plan, step, phase, answer } if in_hand == Some(plan) => {
                self.note(Input::Ended { step, phase, answer })
            }
            Message::Waited { plan, step } if in_hand == Some(plan) => self.note(Input::Waited { step }),
            Message::Unconfirmed { plan, step, until } if in_hand == Some(plan) => {
                self.not_confirmed(step, until)
            }
            Message::Health { plan, result } if in_hand == Some(plan) => self.judge_health(result),
            Message::Staged { .. }
            | Message::Ended { .. }
            | Message::Waited { .. }
            | Message::Unconfirmed { .. }
            | Message::Health { .. } => Ok(()),
            Message::Stop => Ok(()),
        }
    }

    /// Refuses a coordinator that is older than one this host obeyed before.
    fn is_current(&mut self, epoch: u64) -> Result<bool, DriverError> {
        let seen = self.journal(|journal| journal.epoch());
        if epoch < seen {
            tracing::warn!(epoch, seen, "word of a superseded coordinator is not heard");
            return Ok(false);
        }
        if epoch > seen {
            self.journal(|journal| journal.append(clock::now(), Record::EpochSeen { epoch }))?;
        }
        Ok(true)
    }

    /// Started in mid-run, and nobody came: that is being cut off as well.
    fn still_alone(&mut self) -> Result<(), DriverError> {
        if self.alone_from.is_none_or(|at| Instant::now() < at) {
            return Ok(());
        }
        self.alone_from = None;
        match self.active.as_ref().is_some_and(|active| active.run.is_disturbed()) {
            true => self.note(Input::CutOff),
            false => Ok(()),
        }
    }

    fn linked_again(&mut self, epoch: u64) -> Result<(), DriverError> {
        self.link = Link { up: true, since: clock::now() };
        self.alone_from = None;
        self.is_current(epoch)?;
        if self.active.as_ref().is_some_and(|active| active.run.is_disturbed()) {
            return self.note(Input::Rejoined);
        }
        Ok(())
    }

    fn cut_off(&mut self) -> Result<(), DriverError> {
        let was_up = std::mem::replace(&mut self.link, Link { up: false, since: clock::now() }).up;
        if was_up && self.active.as_ref().is_some_and(|active| active.run.is_disturbed()) {
            return self.note(Input::CutOff);
        }
        Ok(())
    }

    fn offered(&mut self, rollout: RolloutId, plan: PlanId, sealed: &[u8]) -> Result<(), DriverError> {
        if let Some(active) = self.active.as_ref().filter(|active| active.plan.id() == plan) {
            // A person at this host ran it before it was launched.
            if active.rollout != rollout {
                self.refuse(plan, &Refusal::Replayed(plan));
            }
            return Ok(());
        }
        match self.admit(sealed) {
            Ok(admitted) => self.accept(rollout, sealed, admitted),
            Err(refusal) => {
                self.refuse(plan, &refusal);
                Ok(())
            }
        }
    }

    fn accept(&mut self, rollout: RolloutId, sealed: &[u8], admitted: Admitted) -> Result<(), DriverError> {
        if let Err(error) = self.parts.plans.keep(admitted.id(), sealed) {
            // Ending here would only mean to be offered it again at the next start.
            tracing::error!(error = chain(&error), "could not keep the plan");
            let (plan, code, reason) = (admitted.id(), "not-kept".into(), chain(&error));
            self.parts.outbox.say(FromAgent::Refused { plan, code, reason });
            return Ok(());
        }
        // A settled run gives way: whoever signed the next plan has seen its end.
        if let Some(old) = self.active.take() {
            self.close(&old.plan);
        }
        tracing::info!(rollout = %rollout, plan = %admitted.id().short(), "accepts the plan");
        let signers = admitted.signers().to_vec();
        let run = Run::new(admitted.plan());
        self.activate(admitted, rollout.clone(), run);
        self.note(Input::Accepted { rollout, signers })?;
        self.heed_halt()
    }

    fn admit(&mut self, sealed: &[u8]) -> Result<Admitted, Refusal> {
        let now = clock::now();
        let sealed = Sealed::parse(sealed).map_err(|error| seal_refusal(&error))?;
        let verified = sealed.open(&self.parts.keyring, now).map_err(|error| seal_refusal(&error))?;
        let (time_floor, accepted_before) =
            self.journal(|journal| (journal.time_floor(), journal.has_accepted(verified.id())));
        let busy_with = self
            .active
            .as_ref()
            .filter(|active| !matches!(active.run.stage(), Stage::Settled(_)) || active.run.is_disturbed())
            .map(|active| active.plan.id())
            .or(self.lost);
        verified.admit(HostFacts { host: &self.parts.host, now, time_floor, accepted_before, busy_with })
    }

    fn refuse(&self, plan: PlanId, refusal: &Refusal) {
        tracing::warn!(plan = %plan.short(), %refusal, "refused");
        let code = refusal_code(refusal);
        self.parts.outbox.say(FromAgent::Refused { plan, code, reason: refusal.to_string() });
    }

    fn said(&mut self, said: ToAgent) -> Result<(), DriverError> {
        let Some(active) = &self.active else { return Ok(()) };
        let (in_hand, asked_at, expires) = (active.plan.id(), self.asked_at, active.plan.plan().expires);
        let declines = active.run.is_halted() && matches!(active.run.stage(), Stage::Asking { .. });
        match said {
            ToAgent::Permit { plan, nonce, epoch, valid_for } if plan == in_hand => {
                if !self.is_current(epoch)? {
                    return Ok(());
                }
                if declines {
                    return self.note(Input::PermitDeclined { nonce });
                }
                let is_expired = clock::now() >= expires;
                match asked_at.elapsed() <= Duration::from_millis(valid_for.0) {
                    _ if is_expired => {
                        self.note(Input::Unfit { reason: "the plan expired before this host's turn".into() })
                    }
                    true => self.note(Input::Permitted { nonce, epoch }),
                    // Too old to be a welcome surprise; asking again fences it.
                    false => self.note(Input::HaltTold),
                }
            }
            ToAgent::Halt { plan, epoch } if plan == in_hand && self.is_current(epoch)? => {
                self.note(Input::HaltTold)
            }
            ToAgent::Order { plan, sealed } if plan == in_hand => self.ordered(&sealed),
            // Its run gave way to another plan's: saying nothing would keep its slot for ever.
            ToAgent::Order { plan, .. } => {
                self.refuse(plan, &Refusal::OtherPlan);
                Ok(())
            }
            ToAgent::Release { plan, epoch } if plan == in_hand && self.is_current(epoch)? => {
                self.note(Input::Released)
            }
            _ => Ok(()),
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

fn seal_refusal(error: &dyn std::error::Error) -> Refusal {
    Refusal::Seal(chain(error))
}

/// Stable words for records and counts.
fn refusal_code(refusal: &Refusal) -> String {
    let code = match refusal {
        Refusal::NotForMe { .. } => "not-for-me",
        Refusal::HostListOdd => "host-list-odd",
        Refusal::Expired { .. } => "expired",
        Refusal::NotYet { .. } => "not-yet",
        Refusal::ValidTooLong { .. } => "valid-too-long",
        Refusal::ClockBack { .. } => "clock-back",
        Refusal::Replayed(_) => "replayed",
        Refusal::Busy(_) => "busy",
        Refusal::Format(_) => "format",
        Refusal::TooMany { .. } => "too-many",
        Refusal::NotPinned { .. } => "not-pinned",
        Refusal::Settings { .. } => "settings",
        Refusal::OtherPlan => "other-plan",
        Refusal::NotForHosts => "not-for-hosts",
        Refusal::NotToDecide(_) => "not-to-decide",
        Refusal::OtherHost { .. } => "other-host",
        Refusal::Seal(_) => "seal",
    };
    code.to_owned()
}
