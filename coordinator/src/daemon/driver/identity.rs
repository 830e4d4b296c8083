//! Is this the host that was here before, and does it know more than these books?
//!
//! Either record may have been set back: the host's (an old snapshot, a state
//! folder deleted or doubled) or ours (a database restored from a copy). Both are
//! told apart here, from the greeting alone; neither is repaired by guessing.

use sternway_core::ids::{HostName, JournalId};
use sternway_core::rollout::{Ahead, Input};
use sternway_core::wire::{Greeting, TIMES_MAX};

use super::super::database::{Quarantine, StoreError, StrangeRun};
use super::people::number_of;
use super::{After, Driver, Turn, coordinator};

/// What a greeting shows of the host, and of ourselves.
pub(super) enum Known {
    /// On record up to here.
    As { acked: u64, ahead: Option<Ahead> },
    /// Nobody is let on until a person has looked.
    Odd { reason: String },
}

impl Driver {
    pub(super) fn recognise(&self, host: &HostName, greeting: &Greeting) -> Result<Known, StoreError> {
        if let Some(quarantine) = self.quarantine.get(host) {
            return Ok(Known::Odd { reason: still_odd(quarantine, greeting.journal) });
        }
        let row = self.hosts.get(host);
        let held = match row {
            Some(row) if row.journal == greeting.journal => row.acked,
            _ => self.database.newest_event(host, greeting.journal)?,
        };
        let other = row.map(|row| row.journal).filter(|journal| *journal != greeting.journal);
        if let Some(known) = other.filter(|_| held > 0) {
            return Ok(Known::Odd { reason: doubled(known, greeting.journal) });
        }
        if let Some(known) = other.filter(|_| greeting.acked == 0) {
            let reason = format!(
                "its journal is {} and was {}: its state is gone, or another machine answers in its name",
                greeting.journal.short(),
                known.short()
            );
            return Ok(Known::Odd { reason });
        }
        if let Some(reason) = self.set_back(host, greeting, held)? {
            return Ok(Known::Odd { reason });
        }
        Ok(Known::As { acked: held, ahead: self.ahead(host, greeting, held) })
    }

    /// The host's journal is shorter than what it told, or has gone on otherwise since.
    fn set_back(
        &self,
        host: &HostName,
        greeting: &Greeting,
        held: u64,
    ) -> Result<Option<String>, StoreError> {
        if greeting.last < held {
            let last = greeting.last;
            return Ok(Some(format!(
                "its journal ends at record {last} and the coordinator has {held}: the host was set back"
            )));
        }
        if greeting.acked >= held {
            return Ok(None);
        }
        let told = self.database.times_of(host, greeting.journal, greeting.acked, TIMES_MAX)?;
        let differs = told.iter().zip(&greeting.times).find(|((_, told), says)| told != *says);
        Ok(differs.map(|((sequence, _), _)| {
            format!("record {sequence} of its journal is not the one it told: the host was set back and has gone on since")
        }))
    }

    /// Signs that this database was set back.
    fn ahead(&self, host: &HostName, greeting: &Greeting, held: u64) -> Option<Ahead> {
        let row = self.hosts.get(host).filter(|row| row.journal == greeting.journal);
        let claimed = row.map_or(0, |row| row.claimed);
        // Nobody can have seen this epoch whom it was not told.
        let saw_ours = greeting.epoch == self.epoch && !self.greeted.contains(host);
        // What a person runs on the host itself was never on record.
        let launched = greeting.rollout.as_ref().is_some_and(|rollout| number_of(rollout).is_some());
        let unknown = greeting.plan.filter(|_| launched).filter(|plan| {
            let noticed = self.strange_runs.get(host).is_some_and(|run| run.plan == *plan);
            !self.by_plan.contains_key(plan) && !noticed
        });
        let is_ahead = greeting.epoch > self.epoch
            || saw_ours
            || greeting.acked > held.max(claimed)
            || unknown.is_some();
        is_ahead.then(|| Ahead {
            host: host.clone(),
            epoch: greeting.epoch,
            epoch_here: self.epoch,
            acked: greeting.acked,
            acked_here: held,
            unknown: unknown.and(greeting.rollout.clone()),
        })
    }

    /// Whatever this database forgot may be under way, so everything halts; the
    /// epoch goes past every epoch that was ever told.
    pub(super) fn went_back(&mut self, ahead: &Ahead, greeting: &Greeting, turn: &mut Turn) {
        let host = &ahead.host;
        tracing::error!(
            %host, epoch = ahead.epoch, epoch_here = ahead.epoch_here, acked = ahead.acked,
            acked_here = ahead.acked_here, unknown = ahead.unknown.as_ref().map(|id| id.as_str()),
            "the database was set back; every open rollout is halted"
        );
        if !std::mem::replace(&mut self.has_gone_back, true) || ahead.epoch >= self.epoch {
            self.next_epoch(ahead.epoch.max(self.epoch) + 1, host, turn);
        }
        if let (Some(plan), Some(rollout)) = (greeting.plan, &ahead.unknown) {
            let run = StrangeRun { plan, rollout: rollout.clone(), settled: false };
            self.note_strange(host, Some(run), turn);
        }
        self.audit(&coordinator(), "database set back", None, &difference(ahead), turn);
        for id in self.open_rollouts() {
            self.apply(&id, Input::WentBack { ahead: ahead.clone() }, turn);
        }
    }

    fn next_epoch(&mut self, epoch: u64, host: &HostName, turn: &mut Turn) {
        self.epoch = epoch;
        // Whoever is here may hear of it by the next permit or halt.
        self.greeted = self.fleet.all().map(|(name, _)| name.clone()).collect();
        turn.commit.epoch = Some(epoch);
        for id in self.open_rollouts() {
            self.apply(&id, Input::Restarted { epoch }, turn);
            let here = self.fleet.all().map(|(name, _)| name.clone());
            let others: Vec<HostName> =
                here.filter(|other| other != host && self.takes_part(&id, other)).collect();
            for other in others {
                self.apply(&id, Input::Connected { host: other }, turn);
            }
        }
    }

    pub(super) fn note_strange(&mut self, host: &HostName, run: Option<StrangeRun>, turn: &mut Turn) {
        match &run {
            Some(run) => _ = self.strange_runs.insert(host.clone(), run.clone()),
            None => _ = self.strange_runs.remove(host),
        }
        turn.commit.strange_runs.insert(host.clone(), run);
    }

    /// The host is out until a person has looked; in open rollouts it needs hands.
    pub(super) fn quarantine(&mut self, host: &HostName, journal: JournalId, reason: &str, turn: &mut Turn) {
        let known = self.quarantine.get(host);
        if known.is_some_and(|known| known.reason == reason) {
            return;
        }
        tracing::error!(%host, reason, "a host is taken out until a person has looked at it");
        let first = known.map_or(journal, |known| known.journal);
        let other = (first != journal).then_some(journal);
        let row = Quarantine { since: self.clock.now(), journal: first, other, reason: reason.to_owned() };
        self.quarantine.insert(host.clone(), row.clone());
        turn.commit.quarantine.insert(host.clone(), Some(row));
        if let Some(here) = self.fleet.get(host) {
            turn.after.push(After::Unwelcome { outbox: here.outbox.clone(), reason: reason.to_owned() });
        }
        self.audit(&coordinator(), "quarantine", None, &format!("{host}: {reason}"), turn);
        let concerned = self.open_rollouts().into_iter().filter(|id| self.takes_part(id, host));
        for id in concerned.collect::<Vec<_>>() {
            let input = Input::Quarantined { host: host.clone(), reason: reason.to_owned() };
            self.apply(&id, input, turn);
        }
    }
}

fn doubled(known: JournalId, now: JournalId) -> String {
    let (known, now) = (known.short(), now.short());
    format!("journals {known} and {now} take turns: two machines answer in its name")
}

fn still_odd(quarantine: &Quarantine, journal: JournalId) -> String {
    match quarantine.journal == journal || quarantine.other.is_some() {
        true => quarantine.reason.clone(),
        false => doubled(quarantine.journal, journal),
    }
}

/// What the host said and what was known here, on one line.
pub(super) fn difference(ahead: &Ahead) -> String {
    let Ahead { host, epoch, epoch_here, acked, acked_here, unknown } = ahead;
    let mut text = format!(
        "{host} saw epoch {epoch} and had its records acknowledged up to {acked}; here it was epoch \
         {epoch_here} and {acked_here} records"
    );
    if let Some(rollout) = unknown {
        text.push_str(&format!("; its rollout {rollout} is not on record"));
    }
    text
}
