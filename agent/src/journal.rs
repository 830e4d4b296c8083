//! The step journal: this host's truth. An append-only file of records, each
//! chained to the one before by hash, in space that was written beforehand so
//! that a full disk cannot stop an undo from being recorded.
//!
//! Record: magic, body length, sequence, time (ms since 1970), hash of the
//! record before, body (CBOR of [`Record`]), then SHA-256 over all of that,
//! which is the record's own hash. All numbers are little endian.

mod file;
mod told;
mod watch;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use sternway_core::ids::{HostName, JournalId, PlanId, PointId, RolloutId};
use sternway_core::run::{Entry, Input, Record, Remark};
use sternway_core::time::Timestamp;
use sternway_core::wire::Event;

use crate::crash;

pub use file::JournalError;
use file::JournalFile;
pub use told::Shown;
pub use watch::watch;

use crate::report::Ended;

/// An acknowledgement this much newer than the one written down is written down
/// with the next record that is synced anyway.
const ACKED_APART: u64 = 8;
/// Ended runs that are remembered for people at this host.
const ENDINGS_MAX: usize = 5;

/// A run as the journal tells it.
#[derive(Debug, Clone, Default)]
pub struct RunRecords {
    pub entries: Vec<Entry>,
    /// Plugins' write-ahead marks by (step, key): the note, and the value once finished.
    pub marks: BTreeMap<(u32, String), Mark>,
    /// What the plan may overwrite is kept in this point.
    pub safety: Option<PointId>,
    /// Calls that change the host, by (step, ordinal), begun and without an end.
    calls: BTreeMap<(u32, u32), String>,
}

impl RunRecords {
    /// What had begun and not ended, in words.
    pub fn unfinished(&self) -> Vec<String> {
        self.calls.values().map(|call| format!("{call}: begun, no end on record")).collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pub note: Vec<u8>,
    pub value: Option<Vec<u8>>,
}

/// What stands in a journal, oldest first, also while an agent has it open.
///
/// # Errors
/// It cannot be read, or it is damaged.
pub fn look(path: &Path) -> Result<Vec<(u64, Timestamp, Record)>, JournalError> {
    file::look(path)
}

/// The open journal. Whatever it refused never happened.
#[derive(Debug)]
pub struct Journal {
    file: JournalFile,
    id: JournalId,
    runs: BTreeMap<PlanId, RunRecords>,
    accepted: BTreeSet<PlanId>,
    told: Arc<Shown>,
    /// Newest first.
    endings: VecDeque<Ended>,
    epoch: u64,
    time_floor: Timestamp,
    /// The newest note of an acknowledgement in the file.
    acked_noted: u64,
}

impl Journal {
    /// Opens the journal, or makes one with the id `fresh`.
    ///
    /// # Errors
    /// [`JournalError::Corrupt`] when records follow a damaged one: the file is
    /// left as it is, and a person has to look.
    pub fn open(
        path: &Path,
        host: &HostName,
        fresh: JournalId,
        now: Timestamp,
    ) -> Result<Self, JournalError> {
        let (file, records) = JournalFile::open(path)?;
        let is_new = records.is_empty();
        let mut journal = Self::of(path, file, fresh, records);
        match is_new {
            true => {
                journal.append(now, Record::Opened { journal: fresh, host: host.clone() })?;
            }
            // A killed agent may have left records that no disk holds yet, and what is read here is told.
            false => journal.sync()?,
        }
        // A process that was killed may have left records that no disk has yet.
        journal.sync()?;
        Ok(journal)
    }

    /// Reads the journal of an agent that does not run; changes nothing and
    /// takes no lock. Nothing can be appended to it.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    pub fn look(path: &Path) -> Result<Self, JournalError> {
        let (file, records) = JournalFile::look(path)?;
        Ok(Self::of(path, file, JournalId([0; 16]), records))
    }

    fn of(path: &Path, file: JournalFile, id: JournalId, records: Vec<file::Read>) -> Self {
        let mut journal = Self {
            file,
            id,
            runs: BTreeMap::new(),
            accepted: BTreeSet::new(),
            told: Arc::new(Shown::new(path.to_path_buf(), id)),
            endings: VecDeque::new(),
            epoch: 0,
            time_floor: Timestamp::default(),
            acked_noted: 0,
        };
        for (sequence, at, record) in records {
            journal.take_in(sequence, at, &record);
        }
        journal.told.durable(journal.file.last());
        journal
    }

    pub fn id(&self) -> JournalId {
        self.id
    }

    /// Number of the newest record.
    pub fn last(&self) -> u64 {
        self.file.last()
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The latest time in any record.
    pub fn time_floor(&self) -> Timestamp {
        self.time_floor
    }

    pub fn has_accepted(&self, plan: PlanId) -> bool {
        self.accepted.contains(&plan)
    }

    /// Runs that are not closed, oldest first.
    pub fn open_runs(&self) -> impl Iterator<Item = (PlanId, &RunRecords)> {
        self.runs.iter().map(|(plan, records)| (*plan, records))
    }

    /// The last runs that ended here, newest first.
    pub fn endings(&self) -> impl Iterator<Item = &Ended> {
        self.endings.iter()
    }

    pub fn run(&self, plan: PlanId) -> Option<&RunRecords> {
        self.runs.get(&plan)
    }

    /// Writes one record, durably when what follows depends on it.
    pub fn append(&mut self, now: Timestamp, record: Record) -> Result<u64, JournalError> {
        // A clock that stepped back must not make the record look older than the last.
        let at = now.max(self.time_floor);
        self.note_acked(at, &record)?;
        crash::at_record("journal.begins", &record);
        self.told.at_work(true);
        let appended = self.file.append(at, &record);
        self.told.at_work(false);
        let sequence = appended?;
        crash::at_record("journal.written", &record);
        if record.must_be_durable() {
            self.sync()?;
            crash::at_record("journal.synced", &record);
        }
        self.take_in(sequence, at, &record);
        Ok(sequence)
    }

    /// Rides on the sync of a run's record: no sync of its own, and no note that
    /// is only about the acknowledgement of a note.
    fn note_acked(&mut self, at: Timestamp, next: &Record) -> Result<(), JournalError> {
        let rides = matches!(next, Record::Run { .. }) && next.must_be_durable();
        if rides && self.newest_acked() >= self.acked_noted + ACKED_APART {
            let record = Record::Acked { sequence: self.newest_acked() };
            crash::at_record("journal.begins", &record);
            let sequence = self.file.append(at, &record)?;
            crash::at_record("journal.written", &record);
            self.take_in(sequence, at, &record);
        }
        Ok(())
    }

    /// Writes an input of a run and returns it as the entry to handle.
    pub fn append_input(
        &mut self,
        now: Timestamp,
        plan: PlanId,
        input: Input,
    ) -> Result<Entry, JournalError> {
        let sequence = self.append(now, Record::Run { plan, input: input.clone() })?;
        Ok(Entry { sequence, at: self.time_floor, input })
    }

    /// Everything appended so far is on disk when this returns.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.told.at_work(true);
        let synced = self.file.sync();
        self.told.at_work(false);
        synced?;
        self.told.durable(self.file.last());
        Ok(())
    }

    /// Durable records after `sequence`, at most `max`.
    ///
    /// # Errors
    /// What was acknowledged once is asked for again, and cannot be read.
    pub fn events_after(&self, sequence: u64, max: usize) -> Result<Vec<Event>, JournalError> {
        self.told.events_after(sequence, max)
    }

    /// The newest record that a coordinator acknowledged, as far as is remembered.
    pub fn newest_acked(&self) -> u64 {
        self.told.newest_acked()
    }

    /// As [`Shown::acked`].
    pub fn acked(&self, sequence: u64) {
        self.told.acked(sequence);
    }

    /// What the link sees of it, behind a lock that no disk holds.
    pub fn told(&self) -> Arc<Shown> {
        Arc::clone(&self.told)
    }

    fn take_in(&mut self, sequence: u64, at: Timestamp, record: &Record) {
        self.time_floor = self.time_floor.max(at);
        self.told.take_in(Event { sequence, at, told: record.told() });
        match record {
            Record::Opened { journal, .. } => {
                self.id = *journal;
                self.told.opened(self.id);
            }
            Record::EpochSeen { epoch } => {
                self.epoch = self.epoch.max(*epoch);
                self.told.saw(self.epoch);
            }
            Record::Run { plan, input } => {
                if matches!(input, Input::Accepted { .. }) {
                    self.accepted.insert(*plan);
                }
                if let Input::Settled { ending } = input {
                    self.endings.push_front(Ended { plan: *plan, at, ending: ending.clone() });
                    self.endings.truncate(ENDINGS_MAX);
                }
                let run = self.runs.entry(*plan).or_default();
                if let Input::Ended { step, .. } = input {
                    run.calls.retain(|(of, _), _| of != step);
                }
                run.entries.push(Entry { sequence, at, input: input.clone() });
            }
            Record::Acked { sequence } => {
                self.told.was_acked(*sequence);
                self.acked_noted = self.acked_noted.max(*sequence);
            }
            Record::Measured { .. } => {}
            Record::Remarked { plan, remark } => {
                if let Remark::Safety { point, .. } = remark {
                    self.runs.entry(*plan).or_default().safety = Some(*point);
                }
            }
            Record::CallBegan { plan, step, call, name, subject, .. } => {
                let run = self.runs.entry(*plan).or_default();
                run.calls.insert((*step, *call), format!("{name} {subject}"));
            }
            Record::CallEnded { plan, step, call, .. } => {
                self.runs.entry(*plan).or_default().calls.remove(&(*step, *call));
            }
            Record::MarkBegan { plan, step, key, note } => {
                let mark = Mark { note: note.clone(), value: None };
                self.runs.entry(*plan).or_default().marks.insert((*step, key.clone()), mark);
            }
            Record::MarkFinished { plan, step, key, value } => {
                let run = self.runs.entry(*plan).or_default();
                let mark = run.marks.entry((*step, key.clone()));
                mark.or_insert(Mark { note: vec![], value: None }).value = Some(value.clone());
            }
        }
        self.told.holds(self.oldest_open());
    }

    fn oldest_open(&self) -> (Option<PlanId>, Option<RolloutId>) {
        let Some((plan, run)) = self.runs.first_key_value() else { return (None, None) };
        let rollout = match run.entries.first().map(|entry| &entry.input) {
            Some(Input::Accepted { rollout, .. }) => Some(rollout.clone()),
            _ => None,
        };
        (Some(*plan), rollout)
    }

    /// Lets go of a closed run; that it was accepted is never forgotten.
    pub fn forget(&mut self, plan: PlanId) {
        self.runs.remove(&plan);
        self.told.holds(self.oldest_open());
    }
}

#[cfg(test)]
mod tests;
