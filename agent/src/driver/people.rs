//! What people at this host ask: to halt it, to go on, to carry out a plan with
//! no coordinator, and how it stands.

use sternway_core::ids::{PlanId, RolloutId};
use sternway_core::run::{Input, Stage};
use sternway_core::trust::{Refusal, Sealed};

use super::{Driver, DriverError, refusal_code, seal_refusal};
use crate::clock;
use crate::journal::RunRecords;
use crate::message::{Ask, Said};
use crate::report::{Report, RunReport};

/// Entries of a story that are told at once.
const STORY_MAX: usize = 256;
/// The rollout of a run that no coordinator asked for.
const BY_HAND: &str = "by-hand";

fn refused(code: &str, reason: impl Into<String>) -> Said {
    Said::Refused { code: code.into(), reason: reason.into() }
}

impl Driver {
    pub(super) fn asked(&mut self, ask: Ask) -> Result<Said, DriverError> {
        match ask {
            Ask::Status => Ok(self.report()),
            Ask::LookAtHalt => {
                self.halted = self.parts.halt.read();
                self.heed_halt()?;
                self.heed_end_of_halt()?;
                self.begin_if_permitted_here()?;
                Ok(self.report())
            }
            Ask::Run { sealed, by } => self.run_here(&sealed, by),
            Ask::Follow { plan, after } => Ok(self.story(plan, after)),
        }
    }

    fn report(&self) -> Said {
        let link = self.parts.outbox.has_link().then_some(self.link);
        self.journal(|journal| {
            let run = self.active.as_ref().map(|active| {
                let (plan, id) = (active.plan.plan(), active.plan.id());
                let none = RunRecords::default();
                let records = journal.run(id).unwrap_or(&none);
                RunReport::of(id, plan, &active.rollout, &active.run, records)
            });
            Said::Report(Box::new(Report::of(journal, link, self.halted.clone(), run)))
        })
    }

    fn story(&self, plan: PlanId, after: u64) -> Said {
        self.journal(|journal| {
            let entries = journal.run(plan).map_or(&[][..], |records| &records.entries);
            let new = entries.iter().filter(|entry| entry.sequence > after).take(STORY_MAX);
            let entries = new.cloned().map(|mut entry| {
                entry.input = entry.input.told();
                entry
            });
            let ended = journal.endings().find(|ended| ended.plan == plan);
            Said::Story { entries: entries.collect(), ending: ended.map(|ended| ended.ending.clone()) }
        })
    }

    /// The flag is the truth; the run in hand is told when it does not know it yet.
    pub(super) fn heed_halt(&mut self) -> Result<(), DriverError> {
        let (Some(active), Some(halt)) = (&self.active, self.halted.clone()) else { return Ok(()) };
        if active.run.is_halted() || has_settled(active.run.stage()) {
            return Ok(());
        }
        tracing::warn!(by = halt.by, reason = halt.reason, "halted on this host");
        self.note(Input::HaltedLocally { by: halt.by, reason: halt.reason })
    }

    pub(super) fn heed_end_of_halt(&mut self) -> Result<(), DriverError> {
        let Some(active) = &self.active else { return Ok(()) };
        if self.halted.is_some() || !active.run.is_halted() || has_settled(active.run.stage()) {
            return Ok(());
        }
        tracing::warn!("resumed on this host");
        self.note(Input::ResumedLocally { by: "a person at this host".into() })
    }

    fn run_here(&mut self, sealed: &[u8], by: String) -> Result<Said, DriverError> {
        if let Some(halt) = &self.halted {
            let reason = format!("this host is halted by {}: {}", halt.by, halt.reason);
            return Ok(refused("halted", reason));
        }
        let parsed = Sealed::<sternway_core::plan::Plan>::parse(sealed);
        let plan = match &parsed {
            Ok(parsed) => parsed.id(),
            Err(error) => return Ok(refused("seal", seal_refusal(error).to_string())),
        };
        let in_hand = self.active.as_ref().filter(|active| active.plan.id() == plan);
        let goes_on = in_hand.is_some();
        match in_hand.map(|active| active.run.stage()) {
            None => {
                let admitted = match self.admit(sealed) {
                    Ok(admitted) => admitted,
                    Err(refusal) => return Ok(refused(&refusal_code(&refusal), refusal.to_string())),
                };
                let rollout: RolloutId = BY_HAND.parse().expect("a constant that is a name");
                self.accept(rollout, sealed, admitted)?;
            }
            Some(Stage::Staging | Stage::Asking { .. }) => {}
            Some(Stage::Settled(_) | Stage::Settling(_) | Stage::Closed) => {
                let refusal = Refusal::Replayed(plan);
                return Ok(refused(&refusal_code(&refusal), refusal.to_string()));
            }
            // It has begun and needs nobody's leave.
            Some(_) => return Ok(Said::Taken { plan, goes_on }),
        }
        if let Some(active) = &mut self.active {
            active.permitted_here = Some(by);
        }
        self.begin_if_permitted_here()?;
        Ok(Said::Taken { plan, goes_on })
    }

    /// The person's leave waits for staging, and for the end of a halt.
    pub(super) fn begin_if_permitted_here(&mut self) -> Result<(), DriverError> {
        let Some(active) = &mut self.active else { return Ok(()) };
        if active.run.is_halted() || !matches!(active.run.stage(), Stage::Asking { .. }) {
            return Ok(());
        }
        let Some(by) = active.permitted_here.take() else { return Ok(()) };
        if clock::now() >= active.plan.plan().expires {
            return self.note(Input::Unfit { reason: "the plan expired before it was staged".into() });
        }
        tracing::warn!(by, "begins without a coordinator's permit");
        self.note(Input::PermittedHere { by })
    }
}

fn has_settled(stage: &Stage) -> bool {
    matches!(stage, Stage::Settling(_) | Stage::Settled(_) | Stage::Closed)
}
