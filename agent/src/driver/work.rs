//! What blocks, on threads of its own.

use std::sync::Arc;
use std::time::Duration;

use sternway_core::run::{Answer, Phase, StepError};
use sternway_core::time::{Millis, Timestamp};

use super::{Active, Parts};
use crate::message::Message;
use crate::steps::PhaseCall;

/// Runs `work` beside the driver; a panic in it is an answer like any other.
fn beside(parts: &Parts, name: &str, work: impl FnOnce() -> Message + Send + 'static) {
    let messages = parts.messages.clone();
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let message = work();
        if messages.send(message).is_err() {
            tracing::debug!("the driver has ended");
        }
    });
    if let Err(error) = spawned {
        // Without threads nothing goes on; the next start takes it up from the journal.
        tracing::error!(%error, "could not start a thread");
    }
}

pub(super) fn stage(parts: &Parts, active: &Active) {
    let (steps, plan, outbox) = (Arc::clone(&parts.steps), Arc::clone(&active.plan), parts.outbox.clone());
    beside(parts, "stage", move || {
        let fit = steps.stage(&plan, &outbox);
        Message::Staged { plan: plan.id(), fit }
    });
}

pub(super) fn call(parts: &Parts, active: &Active, step: u32, phase: Phase, attempt: u32) {
    let (steps, plan) = (Arc::clone(&parts.steps), Arc::clone(&active.plan));
    let call = PhaseCall::of(&active.run, step, phase, attempt, active.cancel.clone());
    beside(parts, "step", move || {
        let called = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| steps.call(&plan, &call)));
        let answer = called.unwrap_or_else(|_| {
            Answer::Failed(StepError {
                code: "agent/panic".into(),
                message: "the agent itself failed in this step; please report it".into(),
                undo_advised: true,
            })
        });
        Message::Ended { plan: plan.id(), step, phase, answer }
    });
}

pub(super) fn wait_for_confirmation(
    parts: &Parts,
    active: &Active,
    step: u32,
    until: Timestamp,
    left: Duration,
) {
    let plan = active.plan.id();
    beside(parts, "confirm", move || {
        std::thread::sleep(left);
        Message::Unconfirmed { plan, step, until }
    });
}

pub(super) fn wait(parts: &Parts, active: &Active, step: u32, length: Millis) {
    let plan = active.plan.id();
    beside(parts, "wait", move || {
        std::thread::sleep(Duration::from_millis(length.0));
        Message::Waited { plan, step }
    });
}
