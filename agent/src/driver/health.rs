//! Whether a finished host stays well while its wave soaks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sternway_core::run::{Ending, Input, Stage};
use sternway_core::time::Millis;

use super::{Driver, DriverError};
use crate::clock;
use crate::message::Message;

/// The pause after a look, in times what it took.
const PAUSE_IN_LOOKS: u32 = 9;

/// When the host was last looked at, and what was seen.
#[derive(Debug)]
pub(super) struct Watch {
    every: Duration,
    next: Instant,
    began: Instant,
    under_way: bool,
    healthy: bool,
}

impl Watch {
    pub(super) fn new(every: Millis) -> Self {
        let every = Duration::from_millis(every.0.max(50));
        let now = Instant::now();
        Self { every, next: now + every, began: now, under_way: false, healthy: true }
    }
}

impl Driver {
    /// Until when the driver may sleep.
    pub(super) fn wake_in(&self) -> Option<Duration> {
        let watch = self.active.as_ref().and_then(|active| active.watch.as_ref());
        let next = watch.filter(|watch| !watch.under_way).map(|watch| watch.next);
        let at = next.into_iter().chain(self.alone_from).min()?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    pub(super) fn look_after(&mut self) {
        let Some(active) = &mut self.active else { return };
        // A plan that has expired releases nobody any more, so nobody waits for its soak.
        if active.watch.as_ref().is_some_and(|watch| watch.under_way || Instant::now() < watch.next) {
            return;
        }
        let is_wanted = matches!(active.run.stage(), Stage::Settled(Ending::Finished))
            && clock::now() < active.plan.plan().expires;
        let Some(watch) = active.watch.as_mut().filter(|_| is_wanted) else {
            active.watch = None;
            return;
        };
        (watch.under_way, watch.began) = (true, Instant::now());
        let (steps, plan, run) =
            (Arc::clone(&self.parts.steps), Arc::clone(&active.plan), active.run.clone());
        let (messages, cancel) = (self.parts.messages.clone(), active.cancel.clone());
        let spawned = std::thread::Builder::new().name("health".into()).spawn(move || {
            let result = steps.look_again(&plan, &run, &cancel);
            if messages.send(Message::Health { plan: plan.id(), result }).is_err() {
                tracing::debug!("the driver has ended");
            }
        });
        if let Err(error) = spawned {
            tracing::error!(%error, "could not start a thread");
        }
    }

    /// Changes are records; staying the same is not.
    pub(super) fn judge_health(&mut self, result: Result<(), String>) -> Result<(), DriverError> {
        let Some(watch) = self.active.as_mut().and_then(|active| active.watch.as_mut()) else {
            return Ok(());
        };
        watch.under_way = false;
        // Looking is never more than a tenth of what a host does.
        watch.next = Instant::now() + watch.every.max(watch.began.elapsed() * PAUSE_IN_LOOKS);
        let (healthy, message) = match result {
            Ok(()) => (true, String::new()),
            Err(message) => (false, message),
        };
        if std::mem::replace(&mut watch.healthy, healthy) == healthy {
            return Ok(());
        }
        self.note(Input::Health { healthy, message })
    }
}
