//! The coordinator's one clock: wall time when the process began, carried on by
//! the runtime's clock, which nobody can set back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sternway_core::time::Timestamp;
use tokio::time::Instant;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    began: Timestamp,
    since: Instant,
}

impl Clock {
    /// `not_before` is the newest moment on record: the wall clock may be behind it.
    pub(crate) fn start(not_before: Timestamp) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = Timestamp(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX));
        if wall < not_before {
            tracing::warn!(behind = %not_before.since(wall), "the clock is behind the newest record; going on from the record");
        }
        Self { began: wall.max(not_before), since: Instant::now() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(
            self.began.0.saturating_add(u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)),
        )
    }

    /// How long until `at`; a millisecond more, since `now` is cut to whole ones.
    pub(crate) fn until(&self, at: Timestamp) -> Duration {
        match at.since(self.now()).0 {
            0 => Duration::ZERO,
            ms => Duration::from_millis(ms + 1),
        }
    }
}
