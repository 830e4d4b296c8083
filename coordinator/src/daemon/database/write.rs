//! One transaction for everything that arrived together.

use std::collections::BTreeMap;

use rusqlite::params;
use serde::Serialize;
use sternway_core::ids::{HostName, JournalId, RolloutId};
use sternway_core::rollout::Entry;
use sternway_core::wire::{AuditLine, Event, HostLine, LogLine};

use super::{Database, HostRow, RolloutRow, StoreError};

/// What is written together or not at all.
#[derive(Debug, Default)]
pub struct Commit {
    pub rollouts: Vec<RolloutRow>,
    /// The newest signed order to undo of a rollout.
    pub undo_orders: Vec<(RolloutId, Vec<u8>)>,
    /// The newest signed order for one host of a rollout.
    pub host_orders: Vec<(RolloutId, HostName, Vec<u8>)>,
    pub entries: Vec<(RolloutId, Entry)>,
    pub lines: Vec<(RolloutId, LogLine)>,
    pub events: Vec<(HostName, JournalId, Event)>,
    pub hosts: BTreeMap<HostName, HostRow>,
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
            && self.entries.is_empty()
            && self.lines.is_empty()
            && self.events.is_empty()
            && self.hosts.is_empty()
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
        HostLine::Host { host, .. } | HostLine::Call { host, .. } | HostLine::Refused { host, .. } => {
            Some(host.as_str())
        }
        HostLine::Decided(_) => None,
    }
}

impl Database {
    /// On disk when this returns; after an error nothing of it is there.
    pub fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        if commit.is_empty() {
            return Ok(());
        }
        let transaction = self.connection.transaction()?;
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
                .prepare_cached(
                    "INSERT OR REPLACE INTO host_orders (rollout, host, sealed) VALUES (?1, ?2, ?3)",
                )?
                .execute(params![rollout.as_str(), host.as_str(), sealed])?;
        }
        for (rollout, entry) in &commit.entries {
            transaction
                .prepare_cached("INSERT INTO entries (rollout, sequence, at, input) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![rollout.as_str(), entry.sequence, entry.at.0, encode(&entry.input)?])?;
        }
        for (rollout, line) in &commit.lines {
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
        for (host, journal, event) in &commit.events {
            transaction
                .prepare_cached(
                    "INSERT INTO host_events (host, journal, sequence, at, told) VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![
                    host.as_str(),
                    &journal.0[..],
                    event.sequence,
                    event.at.0,
                    encode(&event.told)?
                ])?;
        }
        for (name, row) in &commit.hosts {
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO hosts (name, journal, acked, last_heard) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![name.as_str(), &row.journal.0[..], row.acked, row.last_heard.0])?;
        }
        for row in &commit.audit {
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
        if let Some(epoch) = commit.epoch {
            transaction
                .execute("UPDATE counters SET value = max(value, ?1) WHERE name = 'epoch'", [epoch])?;
        }
        transaction.commit()?;
        if let Some(epoch) = commit.epoch {
            self.epoch = self.epoch.max(epoch);
        }
        Ok(())
    }
}
