//! How far a piece of work is, told about ten times a second.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustic_core::{ProgressBars, ProgressType, RusticProgress};
use sternway_core::point::Progress;

use super::making::Watch;

const TOLD_EVERY: Duration = Duration::from_millis(100);
/// A total that nobody knows yet.
const UNKNOWN: u64 = u64::MAX;

/// One piece of work that is watched.
#[derive(Clone)]
pub(super) struct Pace(Arc<Inner>);

struct Inner {
    watch: Watch,
    stage: &'static str,
    unit: &'static str,
    done: AtomicU64,
    total: AtomicU64,
    told: Mutex<Instant>,
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pace").field("stage", &self.0.stage).finish_non_exhaustive()
    }
}

impl Pace {
    pub(super) fn new(watch: &Watch, stage: &'static str, unit: &'static str, total: Option<u64>) -> Self {
        let pace = Self(Arc::new(Inner {
            watch: Arc::clone(watch),
            stage,
            unit,
            done: AtomicU64::new(0),
            total: AtomicU64::new(total.unwrap_or(UNKNOWN)),
            told: Mutex::new(Instant::now()),
        }));
        pace.tell();
        pace
    }

    pub(super) fn add(&self, more: u64) {
        self.0.done.fetch_add(more, Ordering::Relaxed);
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() >= TOLD_EVERY {
            *told = Instant::now();
            drop(told);
            self.tell();
        }
    }

    /// The last word, whenever the one before was.
    pub(super) fn end(&self) {
        self.tell();
    }

    fn tell(&self) {
        let total = self.0.total.load(Ordering::Relaxed);
        let done = self.0.done.load(Ordering::Relaxed);
        (self.0.watch)(Progress {
            stage: self.0.stage.to_owned(),
            done,
            // What was reckoned beforehand may have been too little.
            total: (total != UNKNOWN).then_some(total.max(done)),
            unit: self.0.unit.to_owned(),
        });
    }
}

impl RusticProgress for Pace {
    fn is_hidden(&self) -> bool {
        false
    }

    fn set_length(&self, length: u64) {
        self.0.total.store(length, Ordering::Relaxed);
    }

    fn set_title(&self, _: &str) {}

    fn inc(&self, more: u64) {
        self.add(more);
    }

    fn finish(&self) {
        self.end();
    }
}

/// The library's own progress, as far as it is worth telling: its bytes.
pub(super) struct Bars {
    watch: Watch,
    stage: &'static str,
    about: Option<u64>,
}

impl fmt::Debug for Bars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bars").field("stage", &self.stage).finish_non_exhaustive()
    }
}

impl Bars {
    pub(super) fn new(watch: &Watch, stage: &'static str) -> Self {
        Self { watch: Arc::clone(watch), stage, about: None }
    }

    /// So many bytes are reckoned with until the library says it better.
    pub(super) fn about(self, bytes: Option<u64>) -> Self {
        Self { about: bytes, ..self }
    }
}

impl ProgressBars for Bars {
    fn progress(&self, kind: ProgressType, _: &str) -> rustic_core::Progress {
        match kind {
            ProgressType::Bytes => {
                rustic_core::Progress::new(Pace::new(&self.watch, self.stage, "bytes", self.about))
            }
            ProgressType::Spinner | ProgressType::Counter => rustic_core::Progress::hidden(),
        }
    }
}
