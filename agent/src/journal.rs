//! The step journal: this host's truth. An append-only file of records, each
//! chained to the one before by hash, in space that was written beforehand so
//! that a full disk cannot stop an undo from being recorded.
//!
//! Record: magic, body length, sequence, time (ms since 1970), hash of the
//! record before, body (CBOR of [`Record`]), then SHA-256 over all of that,
//! which is the record's own hash. All numbers are little endian.

mod file;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use sternway_core::ids::{HostName, JournalId, PlanId};
use sternway_core::run::{Entry, Input, Record};
use sternway_core::time::Timestamp;
use sternway_core::wire::Event;

pub use file::JournalError;
use file::JournalFile;

use crate::report::Ended;

/// Records kept in memory for the coordinator before it acknowledges them;
/// beyond, they are read from the file again.
const UNACKED_MAX: usize = 4096;
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

/// The open journal. Whatever it refused never happened.
#[derive(Debug)]
pub struct Journal {
    file: JournalFile,
    id: JournalId,
    runs: BTreeMap<PlanId, RunRecords>,
    accepted: BTreeSet<PlanId>,
    unacked: VecDeque<Event>,
    /// Newest first.
    endings: VecDeque<Ended>,
    epoch: u64,
    time_floor: Timestamp,
    /// Appended, but not yet known to be on disk: not told to anybody.
    durable: u64,
    /// Newest record that a coordinator acknowledged, and the newest such note in the file.
    acked: u64,
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
        let mut journal = Self::of(file, fresh, records);
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
        Ok(Self::of(file, JournalId([0; 16]), records))
    }

    fn of(file: JournalFile, id: JournalId, records: Vec<file::Read>) -> Self {
        let mut journal = Self {
            file,
            id,
            runs: BTreeMap::new(),
            accepted: BTreeSet::new(),
            unacked: VecDeque::new(),
            endings: VecDeque::new(),
            epoch: 0,
            time_floor: Timestamp::default(),
            durable: 0,
            acked: 0,
            acked_noted: 0,
        };
        for (sequence, at, record) in records {
            journal.take_in(sequence, at, &record);
        }
        journal.durable = journal.file.last();
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
        let sequence = self.file.append(at, &record)?;
        if record.must_be_durable() {
            self.sync()?;
        }
        self.take_in(sequence, at, &record);
        Ok(sequence)
    }

    /// Rides on the sync of a run's record: no sync of its own, and no note that
    /// is only about the acknowledgement of a note.
    fn note_acked(&mut self, at: Timestamp, next: &Record) -> Result<(), JournalError> {
        let rides = matches!(next, Record::Run { .. }) && next.must_be_durable();
        if rides && self.acked >= self.acked_noted + ACKED_APART {
            let record = Record::Acked { sequence: self.acked };
            let sequence = self.file.append(at, &record)?;
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
        self.file.sync()?;
        self.durable = self.file.last();
        Ok(())
    }

    /// Durable records after `sequence`, at most `max`.
    pub fn events_after(&self, sequence: u64, max: usize) -> Result<Vec<Event>, JournalError> {
        let kept_from = self.unacked.front().map_or(self.durable + 1, |event| event.sequence);
        if sequence + 1 >= kept_from {
            let skip = usize::try_from(sequence + 1 - kept_from).unwrap_or(usize::MAX);
            let events = self.unacked.iter().skip(skip).take(max);
            return Ok(events.take_while(|event| event.sequence <= self.durable).cloned().collect());
        }
        let records = self.file.read_after(sequence, max)?;
        Ok(records
            .into_iter()
            .take_while(|(sequence, _, _)| *sequence <= self.durable)
            .map(|(sequence, at, record)| Event { sequence, at, told: record.told() })
            .collect())
    }

    /// The newest record that a coordinator acknowledged, as far as is remembered.
    pub fn newest_acked(&self) -> u64 {
        self.acked
    }

    /// The coordinator has everything up to `sequence`; what it has need not be
    /// kept in memory. Written down only now and then: it says so again when the
    /// link is made.
    pub fn acked(&mut self, sequence: u64) {
        self.acked = self.acked.max(sequence.min(self.last()));
        while self.unacked.front().is_some_and(|event| event.sequence <= sequence) {
            self.unacked.pop_front();
        }
    }

    fn take_in(&mut self, sequence: u64, at: Timestamp, record: &Record) {
        self.time_floor = self.time_floor.max(at);
        self.unacked.push_back(Event { sequence, at, told: record.told() });
        if self.unacked.len() > UNACKED_MAX {
            self.unacked.pop_front();
        }
        match record {
            Record::Opened { journal, .. } => self.id = *journal,
            Record::EpochSeen { epoch } => self.epoch = self.epoch.max(*epoch),
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
                self.acked = self.acked.max(*sequence);
                self.acked_noted = self.acked_noted.max(*sequence);
            }
            Record::Measured { .. } => {}
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
    }

    /// Lets go of a closed run; that it was accepted is never forgotten.
    pub fn forget(&mut self, plan: PlanId) {
        self.runs.remove(&plan);
    }
}

#[cfg(test)]
mod tests;
