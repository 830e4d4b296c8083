//! What troubles one host at the moment, and its clock.

use std::collections::BTreeMap;

use sternway_core::run::{Phase, StepError};
use sternway_core::time::{Millis, Timestamp};

use super::answers;

#[derive(Debug, Clone, Default)]
pub(super) struct HostTroubles {
    pub(super) full_until: Timestamp,
    pub(super) slow_until: Timestamp,
    pub(super) sync: Millis,
    pub(super) unwell_until: Timestamp,
    pub(super) frozen_until: Timestamp,
    /// By (plan, step, phase): times left, and whether undo is advised.
    pub(super) fails: BTreeMap<(usize, u32, Phase), (u32, bool)>,
    pub(super) unfit: Vec<usize>,
    /// Added to the wall clock.
    pub(super) clock_ms: i64,
    /// How much faster or slower its clocks run, per mille.
    pub(super) clock_rate: i64,
    /// The last moment up to which a slow sync is known to go on.
    pub(super) now: Timestamp,
}

impl HostTroubles {
    /// What will never trouble it again; what goes wrong with its clock stays.
    pub(super) fn heal(&mut self) {
        let Self { clock_ms, clock_rate, now, .. } = *self;
        *self = Self { clock_ms, clock_rate, now, ..Self::default() };
    }

    pub(super) fn is_full(&self, now: Timestamp) -> bool {
        now < self.full_until
    }

    pub(super) fn is_unwell(&self, now: Timestamp) -> bool {
        now < self.unwell_until
    }

    pub(super) fn is_unfit(&self, plan: usize) -> bool {
        self.unfit.contains(&plan)
    }

    pub(super) fn sync_takes(&self) -> Millis {
        if self.now < self.slow_until { self.sync } else { Millis::ZERO }
    }

    /// By the host's own wall clock.
    pub(super) fn wall(&self, now: Timestamp) -> Timestamp {
        Timestamp(now.0.saturating_add_signed(self.clock_ms))
    }

    /// By the host's own stopwatch.
    pub(super) fn elapsed(&self, from: Timestamp, now: Timestamp) -> Millis {
        let true_ms = now.since(from).0;
        Millis(true_ms.saturating_add_signed(true_ms as i64 / 1000 * self.clock_rate))
    }

    pub(super) fn failure(
        &mut self,
        plan: usize,
        step: u32,
        phase: Phase,
        done: Result<(), String>,
    ) -> Option<StepError> {
        if let Err(message) = done {
            return Some(answers::failed(message, true));
        }
        let (times, undo_advised) = self.fails.get_mut(&(plan, step, phase))?;
        *times = times.checked_sub(1)?;
        Some(answers::failed("as the schedule would have it".into(), *undo_advised))
    }
}
