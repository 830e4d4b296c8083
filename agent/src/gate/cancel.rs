//! Tells a running phase that the run is no longer wanted.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Shared between the one who cancels and everything that waits.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    since: Mutex<Option<Instant>>,
    changed: Condvar,
}

impl Cancel {
    /// Not cancelled yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on what mutates is refused; after the grace the phase is ended.
    pub fn cancel(&self) {
        let mut since = self.0.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.get_or_insert_with(Instant::now);
        self.0.changed.notify_all();
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled_for().is_some()
    }

    /// How long ago it was cancelled.
    pub fn cancelled_for(&self) -> Option<Duration> {
        let since = self.0.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.map(|since| since.elapsed())
    }

    /// Waits; false when it was cancelled before or meanwhile.
    pub fn wait_until(&self, until: Instant) -> bool {
        let mut since = self.0.since.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if since.is_some() {
                return false;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            since = self.0.changed.wait_timeout(since, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_at_once_when_cancelled_and_in_time_when_not() {
        let cancel = Cancel::new();
        assert!(cancel.wait_until(Instant::now() + Duration::from_millis(20)));
        let other = cancel.clone();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            other.cancel();
        });
        let started = Instant::now();
        assert!(!cancel.wait_until(started + Duration::from_secs(30)));
        assert!(started.elapsed() < Duration::from_secs(10));
        thread.join().unwrap();
        assert!(cancel.is_cancelled());
    }
}
