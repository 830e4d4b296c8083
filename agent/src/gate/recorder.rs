//! Where the gate makes things durable: the journal on a host, memory in
//! rehearsals and tests.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use sternway_core::ids::Digest;

use super::Mark;

/// Why something could not be made durable. What the gate was about to do is
/// then not done; what it did is not told.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The journal could not be written.
    #[error("the journal could not be written")]
    NotWritten(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A `finish` without its `begin`.
    #[error("the mark `{key}` was never begun")]
    NotBegun {
        /// The mark.
        key: String,
    },
    /// What stands there is not what was written.
    #[error("the mark `{key}` holds something else than was written")]
    Unreadable {
        /// The mark.
        key: String,
    },
}

/// Marks live as long as the step of the run; every function returns when
/// what it wrote is synced.
pub trait CallRecorder: Send + Sync {
    /// `Fresh` the first time; `Started` with the first note when an earlier
    /// try died before `finish`; `Finished` with the value after it.
    ///
    /// # Errors
    /// The journal cannot be written.
    fn begin(&self, key: &str, note: &[u8]) -> Result<Mark, RecordError>;

    /// Ends a mark; a second time keeps the first value.
    ///
    /// # Errors
    /// The journal cannot be written, or the mark was never begun.
    fn finish(&self, key: &str, value: &[u8]) -> Result<(), RecordError>;

    /// Before a mutating call on `subject` (a path, a name, a URL). `ordinal`
    /// counts those of this phase from 0.
    ///
    /// # Errors
    /// The journal cannot be written.
    fn intent(&self, ordinal: u32, call: &str, subject: &str, arguments: &Digest) -> Result<(), RecordError>;

    /// After it, before the plugin learns of it.
    ///
    /// # Errors
    /// The journal cannot be written.
    fn result(&self, ordinal: u32, ok: bool, answer: &Digest) -> Result<(), RecordError>;
}

/// Keeps everything in memory, and remembers the order.
#[derive(Debug, Default)]
pub struct MemoryRecorder {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    marks: BTreeMap<String, (Vec<u8>, Option<Vec<u8>>)>,
    lines: Vec<String>,
    refuse: bool,
}

impl MemoryRecorder {
    /// Nothing recorded yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was recorded, as `intent 0 files.switch-to` and `result 0 ok`.
    pub fn lines(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// From now on nothing can be written, as on a full disk.
    pub fn refuse(&self) {
        self.lock().refuse = true;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write<T>(&self, line: String, change: impl FnOnce(&mut Inner) -> T) -> Result<T, RecordError> {
        let mut inner = self.lock();
        if inner.refuse {
            let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(RecordError::NotWritten(Box::new(full)));
        }
        inner.lines.push(line);
        Ok(change(&mut inner))
    }
}

impl CallRecorder for MemoryRecorder {
    fn begin(&self, key: &str, note: &[u8]) -> Result<Mark, RecordError> {
        self.write(format!("begin {key}"), |inner| match inner.marks.get(key) {
            Some((_, Some(value))) => Mark::Finished(value.clone()),
            Some((note, None)) => Mark::Started(note.clone()),
            None => {
                inner.marks.insert(key.to_owned(), (note.to_vec(), None));
                Mark::Fresh
            }
        })
    }

    fn finish(&self, key: &str, value: &[u8]) -> Result<(), RecordError> {
        self.write(format!("finish {key}"), |inner| match inner.marks.get_mut(key) {
            Some((_, finished)) => {
                finished.get_or_insert_with(|| value.to_vec());
                Ok(())
            }
            None => Err(RecordError::NotBegun { key: key.to_owned() }),
        })?
    }

    fn intent(&self, ordinal: u32, call: &str, _: &str, _: &Digest) -> Result<(), RecordError> {
        self.write(format!("intent {ordinal} {call}"), |_| ())
    }

    fn result(&self, ordinal: u32, ok: bool, _: &Digest) -> Result<(), RecordError> {
        let word = if ok { "ok" } else { "failed" };
        self.write(format!("result {ordinal} {word}"), |_| ())
    }
}
