//! One transaction for everything that arrived together, which checks for itself
//! that this coordinator still conducts, and that nobody is let go against a halt,
//! a gate or a limit.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension as _, Transaction, TransactionBehavior, params};
use serde::Serialize;
use sternway_core::ids::{HostName, JournalId, PlanId, RolloutId};
use sternway_core::rollout::{Entry, Input, Place, Standing, WaveMarks};
use sternway_core::run::{Ending, Input as RunInput, Told};
use sternway_core::wire::{AuditLine, Event, HostLine, LogLine};

use super::{Database, HostRow, Quarantine, RolloutRow, StoreError, StrangeRun};

/// Transitions that are remembered, so that one said twice is known.
const TRANSITIONS_MAX: i64 = 1024;

/// Names one commit: the epoch in which this process opened the database, and a count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TransitionId {
    pub opening: u64,
    pub count: u64,
}

/// One entry of a rollout, and what it changed of the rollout's books.
#[derive(Debug, Clone)]
pub struct Move {
    pub rollout: RolloutId,
    pub entry: Entry,
    pub standing: Option<Standing>,
    pub waves: Vec<(usize, WaveMarks)>,
    pub places: Vec<(HostName, Place)>,
}

/// What is written together or not at all.
#[derive(Debug, Default)]
pub struct Commit {
    pub id: TransitionId,
    pub rollouts: Vec<RolloutRow>,
    /// The newest signed order to undo of a rollout.
    pub undo_orders: Vec<(RolloutId, Vec<u8>)>,
    /// The newest signed order for one host of a rollout.
    pub host_orders: Vec<(RolloutId, HostName, Vec<u8>)>,
    pub moves: Vec<Move>,
    pub lines: Vec<(RolloutId, LogLine)>,
    pub events: Vec<(HostName, JournalId, Event)>,
    /// None forgets which journal the host had: the next one is believed.
    pub hosts: BTreeMap<HostName, Option<HostRow>>,
    pub quarantine: BTreeMap<HostName, Option<Quarantine>>,
    pub strange_runs: BTreeMap<HostName, Option<StrangeRun>>,
    pub audit: Vec<AuditRow>,
    /// A new epoch, when a host has seen one that this database has not.
    pub epoch: Option<u64>,
}

/// A line of the audit with its chain computed.
pub type AuditRow = AuditLine;

impl Commit {
    pub fn is_empty(&self) -> bool {
        self.rollouts.is_empty()
            && self.undo_orders.is_empty()
            && self.host_orders.is_empty()
            && self.moves.is_empty()
            && self.lines.is_empty()
            && self.events.is_empty()
            && self.hosts.is_empty()
            && self.quarantine.is_empty()
            && self.strange_runs.is_empty()
            && self.audit.is_empty()
            && self.epoch.is_none()
    }
}

/// Values as CBOR, as on the wire.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).map_err(|cause| StoreError::Unwritable(cause.to_string()))?;
    Ok(bytes)
}

fn host_of(line: &LogLine) -> Option<&str> {
    match &line.what {
        HostLine::Host { host, .. }
        | HostLine::Call { host, .. }
        | HostLine::Remarked { host, .. }
        | HostLine::Refused { host, .. } => Some(host.as_str()),
        HostLine::Decided(_) => None,
    }
}

pub(super) fn plan_of(told: &Told) -> Option<PlanId> {
    match told {
        Told::Run { plan, .. } | Told::Call { plan, .. } | Told::Remarked { plan, .. } => Some(*plan),
        Told::Internal => None,
    }
}

fn says_finished(told: &Told) -> bool {
    matches!(told, Told::Run { input: RunInput::Settled { ending: Ending::Finished }, .. })
}

impl Database {
    /// On disk when this returns; after an error nothing of it is there. Said
    /// twice, it is done once: a commit whose answer was lost may be said again.
    pub fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        if commit.is_empty() {
            return Ok(());
        }
        match self.attempt(commit) {
            // The answer was lost, not the commit.
            Err(StoreError::Sqlite(cause)) if !self.has_transition(commit.id) => {
                return Err(StoreError::Sqlite(cause));
            }
            Err(StoreError::Sqlite(cause)) => {
                tracing::warn!(error = &cause as &dyn std::error::Error, "a commit is there after all");
            }
            other => other?,
        }
        if let Some(epoch) = commit.epoch {
            self.epoch = self.epoch.max(epoch);
        }
        Ok(())
    }

    fn has_transition(&self, id: TransitionId) -> bool {
        let known = "SELECT 1 FROM transitions WHERE opening = ?1 AND count = ?2";
        let found = self.connection.query_row(known, params![id.opening, id.count], |_| Ok(()));
        found.optional().is_ok_and(|found| found.is_some())
    }

    fn attempt(&mut self, commit: &Commit) -> Result<(), StoreError> {
        let (ours, claim) = (self.epoch, &self.claim);
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some(reason) = claim.lost() {
            return Err(StoreError::Superseded(reason));
        }
        check_epoch(&transaction, ours)?;
        if !note_transition(&transaction, commit.id, commit.epoch.unwrap_or(ours).max(ours))? {
            return Ok(());
        }
        write_rollouts(&transaction, commit)?;
        let epoch = commit.epoch.unwrap_or(ours).max(ours);
        for moved in &commit.moves {
            write_move(&transaction, epoch, moved)?;
        }
        write_lines(&transaction, &commit.lines)?;
        write_events(&transaction, &commit.events)?;
        write_hosts(&transaction, commit)?;
        write_audit(&transaction, &commit.audit)?;
        if let Some(epoch) = commit.epoch {
            transaction
                .execute("UPDATE counters SET value = max(value, ?1) WHERE name = 'epoch'", [epoch])?;
        }
        Ok(transaction.commit()?)
    }
}

/// (G13) Only the holder of the epoch in force writes.
fn check_epoch(transaction: &Transaction<'_>, ours: u64) -> Result<(), StoreError> {
    let stored: u64 =
        transaction.query_row("SELECT value FROM counters WHERE name = 'epoch'", [], |row| row.get(0))?;
    match stored == ours {
        true => Ok(()),
        false => Err(StoreError::Superseded(format!("the epoch is {stored} and was {ours}"))),
    }
}

/// False when this very transition is there already.
fn note_transition(transaction: &Transaction<'_>, id: TransitionId, epoch: u64) -> Result<bool, StoreError> {
    let known = "SELECT 1 FROM transitions WHERE opening = ?1 AND count = ?2";
    let found = transaction.query_row(known, params![id.opening, id.count], |_| Ok(())).optional()?;
    if found.is_some() {
        return Ok(false);
    }
    transaction
        .prepare_cached("INSERT INTO transitions (opening, count, epoch) VALUES (?1, ?2, ?3)")?
        .execute(params![id.opening, id.count, epoch])?;
    transaction
        .prepare_cached("DELETE FROM transitions WHERE number <= ?1")?
        .execute([transaction.last_insert_rowid() - TRANSITIONS_MAX])?;
    Ok(true)
}

fn write_rollouts(transaction: &Transaction<'_>, commit: &Commit) -> Result<(), StoreError> {
    for row in &commit.rollouts {
        transaction
            .prepare_cached(
                "INSERT INTO rollouts (id, plan, sealed, launched_by, launched_at, signers, without)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                row.id.as_str(),
                &row.plan.0[..],
                &row.sealed[..],
                row.launched_by.as_str(),
                row.launched_at.0,
                encode(&row.signers)?,
                encode(&row.without)?,
            ])?;
    }
    for (rollout, sealed) in &commit.undo_orders {
        transaction
            .prepare_cached("UPDATE rollouts SET undo_order = ?2 WHERE id = ?1")?
            .execute(params![rollout.as_str(), sealed])?;
    }
    for (rollout, host, sealed) in &commit.host_orders {
        transaction
            .prepare_cached("INSERT OR REPLACE INTO host_orders (rollout, host, sealed) VALUES (?1, ?2, ?3)")?
            .execute(params![rollout.as_str(), host.as_str(), sealed])?;
    }
    Ok(())
}

/// The entry first, then the halt, so that nothing is granted against it; then
/// what came back, so that its slot can be granted; grants last.
fn write_move(transaction: &Transaction<'_>, epoch: u64, moved: &Move) -> Result<(), StoreError> {
    let Move { rollout, entry, standing, waves, places } = moved;
    transaction
        .prepare_cached(
            "INSERT INTO entries (rollout, sequence, epoch, at, input) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![rollout.as_str(), entry.sequence, epoch, entry.at.0, encode(&entry.input)?])?;
    if let Some(standing) = standing {
        write_standing(transaction, moved, standing)?;
    }
    for (wave, marks) in waves {
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO gates (rollout, wave, opened, passed) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![rollout.as_str(), wave, marks.opened, marks.passed])?;
    }
    let (granted, others): (Vec<_>, Vec<_>) =
        places.iter().partition(|(_, place)| place.is_granted_by(entry.sequence));
    for (host, place) in others {
        write_place(transaction, rollout, host, place)?;
    }
    for (host, place) in granted {
        check_grant(transaction, rollout, host, place)?;
        write_place(transaction, rollout, host, place)?;
    }
    Ok(())
}

/// (G12) A halt ends by a person's resume, or by their order to put back, and by nothing else.
fn write_standing(
    transaction: &Transaction<'_>,
    moved: &Move,
    standing: &Standing,
) -> Result<(), StoreError> {
    let (rollout, sequence) = (&moved.rollout, moved.entry.sequence);
    let open: Option<u64> = transaction
        .prepare_cached("SELECT since FROM halts WHERE rollout = ?1 AND until IS NULL")?
        .query_row([rollout.as_str()], |row| row.get(0))
        .optional()?;
    if open.is_some() && open != standing.halted {
        if !matches!(moved.entry.input, Input::Resume { .. } | Input::UndoAll { .. }) {
            return Err(StoreError::guard(rollout, None, "G12", "a halt ends by nobody's word"));
        }
        transaction
            .prepare_cached("UPDATE halts SET until = ?2 WHERE rollout = ?1 AND until IS NULL")?
            .execute(params![rollout.as_str(), sequence])?;
    }
    if let Some(since) = standing.halted.filter(|since| open != Some(*since)) {
        transaction
            .prepare_cached("INSERT INTO halts (rollout, since) VALUES (?1, ?2)")?
            .execute(params![rollout.as_str(), since])?;
    }
    transaction
        .prepare_cached(
            "UPDATE rollouts SET phase = ?2, halted = ?3, held = ?4, slots_max = ?5, failed = ?6,
                 failed_max = ?7, silent = ?8, silent_max = ?9 WHERE id = ?1",
        )?
        .execute(params![
            rollout.as_str(),
            standing.phase,
            standing.halted.is_some(),
            standing.held,
            standing.slots_max,
            standing.failed,
            standing.failed_max,
            standing.silent,
            standing.silent_max,
        ])?;
    Ok(())
}

/// (I1 to I4) Whether the rows allow what the machine in memory has decided.
fn check_grant(
    transaction: &Transaction<'_>,
    rollout: &RolloutId,
    host: &HostName,
    place: &Place,
) -> Result<(), StoreError> {
    let refused = |invariant, why| Err(StoreError::guard(rollout, Some(host), invariant, why));
    let (halted, slots_max): (bool, u32) = transaction
        .prepare_cached("SELECT halted, slots_max FROM rollouts WHERE id = ?1")?
        .query_row([rollout.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if halted {
        return refused("I3", "the rollout is halted");
    }
    let held: u32 = transaction
        .prepare_cached("SELECT count(*) FROM places WHERE rollout = ?1 AND holds = 1 AND host <> ?2")?
        .query_row([rollout.as_str(), host.as_str()], |row| row.get(0))?;
    if held >= slots_max {
        return refused("I1", "every slot is held");
    }
    let elsewhere: bool = transaction
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM places WHERE host = ?2 AND holds = 1 AND rollout <> ?1)",
        )?
        .query_row([rollout.as_str(), host.as_str()], |row| row.get(0))?;
    if elsewhere {
        return refused("I4", "the host holds a slot of another rollout");
    }
    let passed: bool = transaction
        .prepare_cached("SELECT ?3 OR EXISTS (SELECT 1 FROM gates WHERE rollout = ?1 AND wave = ?2 AND passed IS NOT NULL)")?
        .query_row(
            params![rollout.as_str(), place.wave.saturating_sub(1), place.wave == 0 || place.nonce.is_none()],
            |row| row.get(0),
        )?;
    if !passed {
        return refused("I2", "the gate before its wave has not passed");
    }
    Ok(())
}

fn write_place(
    transaction: &Transaction<'_>,
    rollout: &RolloutId,
    host: &HostName,
    place: &Place,
) -> Result<(), StoreError> {
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO places
                 (rollout, host, wave, state, slot, holds, slot_entry, permit_entry, nonce)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            rollout.as_str(),
            host.as_str(),
            place.wave,
            place.state,
            place.slot,
            place.holds(),
            place.slot_entry,
            place.permit_entry,
            place.nonce,
        ])?;
    Ok(())
}

fn write_lines(transaction: &Transaction<'_>, lines: &[(RolloutId, LogLine)]) -> Result<(), StoreError> {
    for (rollout, line) in lines {
        transaction
            .prepare_cached(
                "INSERT INTO lines (sequence, rollout, host, at, what) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                line.sequence,
                rollout.as_str(),
                host_of(line),
                line.at.0,
                encode(&line.what)?
            ])?;
    }
    Ok(())
}

fn write_events(
    transaction: &Transaction<'_>,
    events: &[(HostName, JournalId, Event)],
) -> Result<(), StoreError> {
    for (host, journal, event) in events {
        let plan = plan_of(&event.told);
        transaction
            .prepare_cached(
                "INSERT INTO host_events (host, journal, sequence, at, plan, finished, told)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                host.as_str(),
                &journal.0[..],
                event.sequence,
                event.at.0,
                plan.as_ref().map(|plan| &plan.0[..]),
                says_finished(&event.told),
                encode(&event.told)?
            ])?;
    }
    Ok(())
}

fn write_hosts(transaction: &Transaction<'_>, commit: &Commit) -> Result<(), StoreError> {
    for (name, row) in &commit.hosts {
        match row {
            None => {
                transaction.prepare_cached("DELETE FROM hosts WHERE name = ?1")?.execute([name.as_str()])?
            }
            Some(row) => transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO hosts (name, journal, acked, claimed, last_heard)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![
                    name.as_str(),
                    &row.journal.0[..],
                    row.acked,
                    row.claimed,
                    row.last_heard.0
                ])?,
        };
    }
    for (name, row) in &commit.quarantine {
        match row {
            None => transaction
                .prepare_cached("DELETE FROM quarantine WHERE host = ?1")?
                .execute([name.as_str()])?,
            Some(row) => transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO quarantine (host, since, journal, other, reason)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![
                    name.as_str(),
                    row.since.0,
                    &row.journal.0[..],
                    row.other.as_ref().map(|journal| &journal.0[..]),
                    row.reason
                ])?,
        };
    }
    for (name, row) in &commit.strange_runs {
        match row {
            None => transaction
                .prepare_cached("DELETE FROM strange_runs WHERE host = ?1")?
                .execute([name.as_str()])?,
            Some(row) => transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO strange_runs (host, plan, rollout, settled) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![name.as_str(), &row.plan.0[..], row.rollout.as_str(), row.settled])?,
        };
    }
    Ok(())
}

fn write_audit(transaction: &Transaction<'_>, lines: &[AuditRow]) -> Result<(), StoreError> {
    for row in lines {
        transaction
            .prepare_cached(
                "INSERT INTO audit (sequence, at, person, action, rollout, detail, hash)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                row.sequence,
                row.at.0,
                row.person.as_str(),
                row.action,
                row.rollout.as_ref().map(RolloutId::as_str),
                row.detail,
                row.hash,
            ])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
