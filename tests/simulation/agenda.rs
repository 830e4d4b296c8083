//! The virtual clock: what happens when, ties in the order they were put down.

use std::collections::BTreeMap;

use sternway_core::time::{Millis, Timestamp};

#[derive(Debug)]
pub(super) struct Agenda<T> {
    now: Timestamp,
    next: u64,
    items: BTreeMap<(Timestamp, u64), T>,
}

impl<T> Agenda<T> {
    pub(super) fn starting(now: Timestamp) -> Self {
        Self { now, next: 0, items: BTreeMap::new() }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    pub(super) fn after(&mut self, length: Millis, item: T) {
        self.at(self.now + length, item);
    }

    pub(super) fn at(&mut self, at: Timestamp, item: T) {
        self.next += 1;
        self.items.insert((at.max(self.now), self.next), item);
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// The next thing, and its time as the new now.
    pub(super) fn pop(&mut self) -> Option<T> {
        let ((at, _), item) = self.items.pop_first()?;
        self.now = at;
        Some(item)
    }
}
