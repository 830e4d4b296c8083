//! What is read back: everything at the start, pages of lines later.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use rusqlite::{Row, params};
use serde::de::DeserializeOwned;
use sternway_core::ids::{HostName, JournalId, Person, PlanId, RolloutId};
use sternway_core::rollout::{Entry, Place, Standing, WaveMarks};
use sternway_core::time::Timestamp;
use sternway_core::trust::Signer;
use sternway_core::wire::{AuditLine, Event, LogLine};

use super::{Database, StoreError};

/// Lines of one page; a reader that is slow asks for the next when it can.
const PAGE_LINES: u32 = 256;

#[derive(Debug, Clone, PartialEq)]
pub struct RolloutRow {
    pub id: RolloutId,
    pub plan: PlanId,
    pub sealed: Arc<[u8]>,
    pub launched_by: Person,
    pub launched_at: Timestamp,
    pub signers: Vec<Signer>,
    pub without: Vec<HostName>,
    pub undo_order: Option<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRow {
    pub journal: JournalId,
    /// Everything up to here is in `host_events`.
    pub acked: u64,
    /// The newest record that the host says was acknowledged to it; above `acked`
    /// when this database was set back, which was noticed then.
    pub claimed: u64,
    pub last_heard: Timestamp,
}

/// A host that nobody is let on until a person has looked at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine {
    pub since: Timestamp,
    /// The journal with which it came, and one that came in turn with it.
    pub journal: JournalId,
    pub other: Option<JournalId>,
    pub reason: String,
}

/// A run of a plan that was not launched here: this database has forgotten it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrangeRun {
    pub plan: PlanId,
    /// As the host knows it.
    pub rollout: RolloutId,
    pub settled: bool,
}

/// The database as a coordinator needs it to begin.
#[derive(Debug, Default)]
pub struct Stored {
    /// In the order of their launch.
    pub rollouts: Vec<RolloutRow>,
    pub hosts: BTreeMap<HostName, HostRow>,
    pub quarantine: BTreeMap<HostName, Quarantine>,
    pub strange_runs: BTreeMap<HostName, StrangeRun>,
    pub last_line: u64,
    /// Number and hash of the newest line of the audit.
    pub last_audit: (u64, String),
}

/// A part of a longer list; `more` says that the next page is not empty.
#[derive(Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub more: bool,
}

impl<T> Page<T> {
    fn of(mut items: Vec<T>) -> Self {
        let more = items.len() > PAGE_LINES as usize;
        items.truncate(PAGE_LINES as usize);
        Self { items, more }
    }
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    ciborium::from_reader(bytes).map_err(|cause| StoreError::Row(cause.to_string()))
}

fn name<T: FromStr>(row: &Row<'_>, at: &str) -> Result<T, StoreError> {
    let text: String = row.get(at)?;
    text.parse().map_err(|_| StoreError::Row(format!("`{text}` is not a name")))
}

fn bytes<const N: usize>(row: &Row<'_>, at: &str) -> Result<[u8; N], StoreError> {
    let bytes: Vec<u8> = row.get(at)?;
    bytes.try_into().map_err(|_| StoreError::Row(format!("{at} has not {N} bytes")))
}

impl Database {
    pub fn load(&self) -> Result<Stored, StoreError> {
        let mut stored = Stored {
            rollouts: self.rollouts()?,
            hosts: self.hosts()?,
            quarantine: self.quarantine()?,
            strange_runs: self.strange_runs()?,
            ..Stored::default()
        };
        stored.last_line =
            self.connection
                .query_row("SELECT coalesce(max(sequence), 0) FROM lines", [], |row| row.get(0))?;
        let mut statement =
            self.connection.prepare("SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1")?;
        let mut rows = statement.query([])?;
        if let Some(row) = rows.next()? {
            stored.last_audit = (row.get(0)?, row.get(1)?);
        }
        Ok(stored)
    }

    fn rollouts(&self) -> Result<Vec<RolloutRow>, StoreError> {
        let mut statement = self.connection.prepare("SELECT * FROM rollouts ORDER BY number")?;
        let mut rows = statement.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(RolloutRow {
                id: name(row, "id")?,
                plan: PlanId(bytes(row, "plan")?),
                sealed: row.get::<_, Vec<u8>>("sealed")?.into(),
                launched_by: name(row, "launched_by")?,
                launched_at: Timestamp(row.get("launched_at")?),
                signers: decode(&row.get::<_, Vec<u8>>("signers")?)?,
                without: decode(&row.get::<_, Vec<u8>>("without")?)?,
                undo_order: row.get("undo_order")?,
            });
        }
        Ok(found)
    }

    fn hosts(&self) -> Result<BTreeMap<HostName, HostRow>, StoreError> {
        let mut statement = self.connection.prepare("SELECT * FROM hosts")?;
        let mut rows = statement.query([])?;
        let mut found = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let host = HostRow {
                journal: JournalId(bytes(row, "journal")?),
                acked: row.get("acked")?,
                claimed: row.get("claimed")?,
                last_heard: Timestamp(row.get("last_heard")?),
            };
            found.insert(name(row, "name")?, host);
        }
        Ok(found)
    }

    /// The newest signed order for each host of a rollout that had one.
    pub fn host_orders(&self, rollout: &RolloutId) -> Result<BTreeMap<HostName, Vec<u8>>, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT host, sealed FROM host_orders WHERE rollout = ?1")?;
        let mut rows = statement.query(params![rollout.as_str()])?;
        let mut orders = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let host: String = row.get("host")?;
            let host = host.parse().map_err(|_| StoreError::Row(format!("no host's name: {host}")))?;
            orders.insert(host, row.get("sealed")?);
        }
        Ok(orders)
    }

    fn quarantine(&self) -> Result<BTreeMap<HostName, Quarantine>, StoreError> {
        let mut statement = self.connection.prepare("SELECT * FROM quarantine")?;
        let mut rows = statement.query([])?;
        let mut found = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let quarantine = Quarantine {
                since: Timestamp(row.get("since")?),
                journal: JournalId(bytes(row, "journal")?),
                other: match row.get::<_, Option<Vec<u8>>>("other")? {
                    None => None,
                    Some(_) => Some(JournalId(bytes(row, "other")?)),
                },
                reason: row.get("reason")?,
            };
            found.insert(name(row, "host")?, quarantine);
        }
        Ok(found)
    }

    fn strange_runs(&self) -> Result<BTreeMap<HostName, StrangeRun>, StoreError> {
        let mut statement = self.connection.prepare("SELECT * FROM strange_runs")?;
        let mut rows = statement.query([])?;
        let mut found = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let run = StrangeRun {
                plan: PlanId(bytes(row, "plan")?),
                rollout: name(row, "rollout")?,
                settled: row.get("settled")?,
            };
            found.insert(name(row, "host")?, run);
        }
        Ok(found)
    }

    /// What hosts told of a plan, in the order of each journal.
    pub fn events_of(&self, host: &HostName, plan: PlanId) -> Result<Vec<Event>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT e.sequence, e.at, e.told FROM host_events e JOIN hosts h
             ON h.name = e.host AND h.journal = e.journal
             WHERE e.host = ?1 AND e.plan = ?2 ORDER BY e.sequence",
        )?;
        let mut rows = statement.query(params![host.as_str(), &plan.0[..]])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(Event {
                sequence: row.get(0)?,
                at: Timestamp(row.get(1)?),
                told: decode(&row.get::<_, Vec<u8>>(2)?)?,
            });
        }
        Ok(found)
    }

    /// When the records after `after` of this journal were written, as they were told; at most `max`.
    pub fn times_of(
        &self,
        host: &HostName,
        journal: JournalId,
        after: u64,
        max: usize,
    ) -> Result<Vec<(u64, Timestamp)>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT sequence, at FROM host_events WHERE host = ?1 AND journal = ?2 AND sequence > ?3
             ORDER BY sequence LIMIT ?4",
        )?;
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![host.as_str(), &journal.0[..], after, max])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push((row.get(0)?, Timestamp(row.get(1)?)));
        }
        Ok(found)
    }

    /// What stands beside the entries of a rollout, and does not fit to what they say.
    pub fn differences(
        &self,
        rollout: &RolloutId,
        standing: &Standing,
        waves: &[WaveMarks],
        places: &BTreeMap<HostName, Place>,
    ) -> Result<Vec<String>, StoreError> {
        let mut found = Vec::new();
        let told = self.connection.query_row(
            "SELECT phase, halted, slots_max FROM rollouts WHERE id = ?1",
            [rollout.as_str()],
            |row| Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?, row.get::<_, u32>(2)?)),
        )?;
        if told != (standing.phase.to_owned(), standing.halted.is_some(), standing.slots_max) {
            found.push(format!("it stands as {told:?}"));
        }
        let mut statement = self.connection.prepare_cached("SELECT * FROM places WHERE rollout = ?1")?;
        let mut rows = statement.query([rollout.as_str()])?;
        let mut stored = 0;
        while let Some(row) = rows.next()? {
            stored += 1;
            let (host, state): (HostName, String) = (name(row, "host")?, row.get("state")?);
            let is_so = places.get(&host).is_some_and(|place| {
                row.get("permit_entry") == Ok(place.permit_entry)
                    && row.get("slot_entry") == Ok(place.slot_entry)
                    && row.get("wave") == Ok(place.wave)
                    && row.get::<_, String>("slot").is_ok_and(|slot| slot == place.slot)
                    && state == place.state
            });
            if !is_so {
                found.push(format!("{host} stands as {state}"));
            }
        }
        if stored != places.len() {
            found.push(format!("{stored} hosts stand there and {} take part", places.len()));
        }
        let mut statement =
            self.connection.prepare_cached("SELECT wave, opened, passed FROM gates WHERE rollout = ?1")?;
        let mut rows = statement.query([rollout.as_str()])?;
        while let Some(row) = rows.next()? {
            let (wave, marks): (usize, _) =
                (row.get(0)?, WaveMarks { opened: row.get(1)?, passed: row.get(2)? });
            if waves.get(wave) != Some(&marks) {
                found.push(format!("wave {} stands otherwise", wave + 1));
            }
        }
        Ok(found)
    }

    /// All entries of a rollout, in order.
    pub fn entries(&self, rollout: &RolloutId) -> Result<Vec<Entry>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT sequence, at, input FROM entries WHERE rollout = ?1 ORDER BY sequence")?;
        let mut rows = statement.query([rollout.as_str()])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(Entry {
                sequence: row.get(0)?,
                at: Timestamp(row.get(1)?),
                input: decode(&row.get::<_, Vec<u8>>(2)?)?,
            });
        }
        Ok(found)
    }

    /// Lines of a rollout, or of one host of it, after number `after`.
    pub fn lines(
        &self,
        rollout: &RolloutId,
        host: Option<&HostName>,
        after: u64,
    ) -> Result<Page<LogLine>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT sequence, at, what FROM lines
             WHERE rollout = ?1 AND sequence > ?2 AND (?3 IS NULL OR host = ?3)
             ORDER BY sequence LIMIT ?4",
        )?;
        let mut rows = statement.query(params![
            rollout.as_str(),
            i64::try_from(after).unwrap_or(i64::MAX),
            host.map(HostName::as_str),
            PAGE_LINES + 1
        ])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(LogLine {
                sequence: row.get(0)?,
                at: Timestamp(row.get(1)?),
                what: decode(&row.get::<_, Vec<u8>>(2)?)?,
            });
        }
        Ok(Page::of(found))
    }

    /// Number of the newest line of a rollout, 0 without one.
    pub fn newest_line(&self, rollout: &RolloutId) -> Result<u64, StoreError> {
        let newest = "SELECT coalesce(max(sequence), 0) FROM lines WHERE rollout = ?1";
        Ok(self.connection.query_row(newest, [rollout.as_str()], |row| row.get(0))?)
    }

    /// Number of the newest record of one journal, 0 without one.
    pub fn newest_event(&self, host: &HostName, journal: JournalId) -> Result<u64, StoreError> {
        let newest = "SELECT coalesce(max(sequence), 0) FROM host_events WHERE host = ?1 AND journal = ?2";
        Ok(self.connection.query_row(newest, params![host.as_str(), &journal.0[..]], |row| row.get(0))?)
    }

    pub fn audit(&self, rollout: Option<&RolloutId>, after: u64) -> Result<Page<AuditLine>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT * FROM audit WHERE sequence > ?1 AND (?2 IS NULL OR rollout = ?2) ORDER BY sequence LIMIT ?3",
        )?;
        let mut rows = statement.query(params![
            i64::try_from(after).unwrap_or(i64::MAX),
            rollout.map(RolloutId::as_str),
            PAGE_LINES + 1
        ])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let rollout: Option<String> = row.get("rollout")?;
            found.push(AuditLine {
                sequence: row.get("sequence")?,
                at: Timestamp(row.get("at")?),
                person: name(row, "person")?,
                action: row.get("action")?,
                rollout: rollout.and_then(|id| id.parse().ok()),
                detail: row.get("detail")?,
                hash: row.get("hash")?,
            });
        }
        Ok(Page::of(found))
    }
}
