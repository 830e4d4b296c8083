//! The journal as the gate sees it, for one step of one run.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sternway_core::ids::{Digest, PlanId};
use sternway_core::run::Record;

use crate::clock;
use crate::gate::{CallRecorder, Mark, RecordError};
use crate::journal::Journal;

pub(super) struct JournalRecorder {
    journal: Arc<Mutex<Journal>>,
    plan: PlanId,
    step: u32,
}

impl JournalRecorder {
    pub(super) fn new(journal: Arc<Mutex<Journal>>, plan: PlanId, step: u32) -> Self {
        Self { journal, plan, step }
    }

    fn lock(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, record: Record) -> Result<(), RecordError> {
        match self.lock().append(clock::now(), record) {
            Ok(_) => Ok(()),
            Err(error) => Err(RecordError::NotWritten(Box::new(error))),
        }
    }

    fn mark(&self, key: &str) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
        let journal = self.lock();
        let mark = journal.run(self.plan)?.marks.get(&(self.step, key.to_owned()))?;
        Some((mark.note.clone(), mark.value.clone()))
    }
}

impl CallRecorder for JournalRecorder {
    fn begin(&self, key: &str, note: &[u8]) -> Result<Mark, RecordError> {
        match self.mark(key) {
            Some((_, Some(value))) => Ok(Mark::Finished(value)),
            Some((note, None)) => Ok(Mark::Started(note)),
            None => {
                let (plan, step) = (self.plan, self.step);
                self.append(Record::MarkBegan { plan, step, key: key.into(), note: note.into() })?;
                Ok(Mark::Fresh)
            }
        }
    }

    fn finish(&self, key: &str, value: &[u8]) -> Result<(), RecordError> {
        match self.mark(key) {
            None => Err(RecordError::NotBegun { key: key.into() }),
            Some((_, Some(_))) => Ok(()),
            Some((_, None)) => {
                let (plan, step) = (self.plan, self.step);
                self.append(Record::MarkFinished { plan, step, key: key.into(), value: value.into() })
            }
        }
    }

    fn intent(&self, ordinal: u32, call: &str, subject: &str, arguments: &Digest) -> Result<(), RecordError> {
        self.append(Record::CallBegan {
            plan: self.plan,
            step: self.step,
            call: ordinal,
            name: call.into(),
            subject: subject.into(),
            arguments: *arguments,
        })
    }

    fn result(&self, ordinal: u32, ok: bool, _: &Digest) -> Result<(), RecordError> {
        self.append(Record::CallEnded { plan: self.plan, step: self.step, call: ordinal, ok })
    }
}
