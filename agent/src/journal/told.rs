//! What of the journal is told to the coordinator, behind a lock of its own:
//! a disk that is slow, or never answers, must not hold up the link, which
//! would make a host look dead whose disk is.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sternway_core::ids::{JournalId, PlanId, RolloutId};
use sternway_core::wire::Event;

use super::file::{self, JournalError};

/// Records kept in memory for the coordinator before it acknowledges them;
/// beyond, they are read from the file again.
const UNACKED_MAX: usize = 4096;

/// The journal as the link sees it. No lock here is held while the disk works.
#[derive(Debug)]
pub struct Shown {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    id: JournalId,
    last: u64,
    epoch: u64,
    /// The plan under way, or settled and not yet released.
    open: (Option<PlanId>, Option<RolloutId>),
    unacked: VecDeque<Event>,
    /// Appended, but not yet known to be on disk: not told to anybody.
    durable: u64,
    /// Newest record that a coordinator acknowledged.
    acked: u64,
    /// Since when the disk works on a record.
    at_work: Option<Instant>,
}

impl Shown {
    pub(super) fn new(path: PathBuf, id: JournalId) -> Self {
        let known = Known {
            id,
            last: 0,
            epoch: 0,
            open: (None, None),
            unacked: VecDeque::new(),
            durable: 0,
            acked: 0,
            at_work: None,
        };
        Self { path, known: Mutex::new(known) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn id(&self) -> JournalId {
        self.known().id
    }

    /// Number of the newest record.
    pub fn last(&self) -> u64 {
        self.known().last
    }

    pub fn epoch(&self) -> u64 {
        self.known().epoch
    }

    /// The plan under way, or settled and not yet released.
    pub fn open_run(&self) -> (Option<PlanId>, Option<RolloutId>) {
        self.known().open.clone()
    }

    /// How long the disk has been at work on one record, if it is.
    pub fn at_work_for(&self) -> Option<Duration> {
        self.known().at_work.map(|since| since.elapsed())
    }

    /// Durable records after `sequence`, at most `max`.
    ///
    /// # Errors
    /// What was acknowledged once is asked for again, and cannot be read.
    pub fn events_after(&self, sequence: u64, max: usize) -> Result<Vec<Event>, JournalError> {
        let durable = {
            let known = self.known();
            let kept_from = known.unacked.front().map_or(known.durable + 1, |event| event.sequence);
            if sequence + 1 >= kept_from {
                let skip = usize::try_from(sequence + 1 - kept_from).unwrap_or(usize::MAX);
                let events = known.unacked.iter().skip(skip).take(max);
                return Ok(events.take_while(|event| event.sequence <= known.durable).cloned().collect());
            }
            known.durable
        };
        let records = file::read_after(&self.path, sequence, max)?;
        let durable = records.into_iter().take_while(|(sequence, _, _)| *sequence <= durable);
        Ok(durable.map(|(sequence, at, record)| Event { sequence, at, told: record.told() }).collect())
    }

    /// The coordinator has everything up to `sequence`; what it has need not be
    /// kept in memory. Not written down: it says so again when the link is made.
    pub fn acked(&self, sequence: u64) {
        let mut known = self.known();
        known.acked = known.acked.max(sequence.min(known.last));
        while known.unacked.front().is_some_and(|event| event.sequence <= sequence) {
            known.unacked.pop_front();
        }
    }

    /// The newest record that a coordinator acknowledged, as far as is remembered.
    pub fn newest_acked(&self) -> u64 {
        self.known().acked
    }

    pub(super) fn was_acked(&self, sequence: u64) {
        let mut known = self.known();
        known.acked = known.acked.max(sequence);
    }

    pub(super) fn take_in(&self, event: Event) {
        let mut known = self.known();
        known.last = event.sequence;
        known.unacked.push_back(event);
        if known.unacked.len() > UNACKED_MAX {
            known.unacked.pop_front();
        }
    }

    pub(super) fn opened(&self, id: JournalId) {
        self.known().id = id;
    }

    pub(super) fn saw(&self, epoch: u64) {
        self.known().epoch = epoch;
    }

    pub(super) fn holds(&self, open: (Option<PlanId>, Option<RolloutId>)) {
        self.known().open = open;
    }

    pub(super) fn durable(&self, sequence: u64) {
        self.known().durable = sequence;
    }

    /// From now on the disk works, or does no longer.
    pub(super) fn at_work(&self, is_so: bool) {
        self.known().at_work = is_so.then(Instant::now);
    }
}
