//! What the agent's threads say to the driver. It stands apart so that whoever
//! has something to say need not know the driver, nor the driver who said it.

use std::sync::mpsc;

use serde::{Deserialize, Serialize};
use sternway_core::ids::{PlanId, RolloutId};
use sternway_core::run::{Answer, Ending, Entry, Phase};
use sternway_core::time::Timestamp;
use sternway_core::wire::ToAgent;

use crate::report::Report;

/// Everything the driver hears.
#[derive(Debug)]
pub enum Message {
    Link(FromLink),
    /// A person at this host asks; answered at once.
    Control {
        ask: Ask,
        answer: mpsc::Sender<Said>,
    },
    /// Staging ended: the point it found, or why this host cannot take part.
    Staged {
        plan: PlanId,
        fit: Result<Option<String>, String>,
    },
    Ended {
        plan: PlanId,
        step: u32,
        phase: Phase,
        answer: Answer,
    },
    Waited {
        plan: PlanId,
        step: u32,
    },
    /// The time to be confirmed is over.
    Unconfirmed {
        plan: PlanId,
        step: u32,
        until: Timestamp,
    },
    Health {
        plan: PlanId,
        result: Result<(), String>,
    },
    Stop,
}

/// What the link hands over.
#[derive(Debug)]
pub enum FromLink {
    /// Admitted; `connection` counts what [`Outbox::reconnect`](crate::outbox::Outbox::reconnect)
    /// asked for before it was made.
    Up {
        epoch: u64,
        connection: u64,
    },
    Down,
    Plan {
        rollout: RolloutId,
        plan: PlanId,
        sealed: Vec<u8>,
    },
    Said(ToAgent),
}

/// What a person at this host asks of the agent that serves here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// How it stands.
    Status,
    /// The halt flag has changed; what it says now counts.
    LookAtHalt,
    /// Carry out a sealed plan with no coordinator's permit.
    Run {
        #[serde(with = "serde_bytes")]
        sealed: Vec<u8>,
        by: String,
    },
    /// What was recorded of a run after this number.
    Follow { plan: PlanId, after: u64 },
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    Report(Box<Report>),
    /// The run is in hand and goes on by itself.
    Taken {
        plan: PlanId,
        goes_on: bool,
    },
    Refused {
        code: String,
        reason: String,
    },
    Story {
        entries: Vec<Entry>,
        /// How it ended, once it has.
        ending: Option<Ending>,
    },
}
