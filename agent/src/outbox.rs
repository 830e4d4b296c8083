//! What the driver and the steps hand to the link: words, questions for
//! plugins, and the news that the journal grew. An agent without a link has one
//! too; what is put into it goes nowhere.

use std::sync::Arc;

use sternway_core::ids::Digest;
use sternway_core::wire::FromAgent;
use tokio::sync::{mpsc, oneshot, watch};

/// Words that may wait, and plugins that may be asked for at a time.
const SAID_MAX: usize = 64;
const FETCHES_MAX: usize = 16;

/// A plugin that is asked for; answered with its bytes, or nothing.
#[derive(Debug)]
pub struct Fetch {
    pub sha256: Digest,
    pub answer: oneshot::Sender<Option<Vec<u8>>>,
}

/// The sending ends.
#[derive(Debug, Clone)]
pub struct Outbox {
    /// Droppable, or not worth a record: refusals and ticks.
    said: mpsc::Sender<FromAgent>,
    fetches: mpsc::Sender<Fetch>,
    written: Arc<watch::Sender<u64>>,
    reconnect: Arc<watch::Sender<u64>>,
}

/// The receiving ends, which are the link's.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) said: mpsc::Receiver<FromAgent>,
    pub(crate) fetches: mpsc::Receiver<Fetch>,
    pub(crate) written: watch::Receiver<u64>,
    pub(crate) reconnect: watch::Receiver<u64>,
}

impl Outbox {
    pub(crate) fn new() -> (Self, Inbox) {
        let (said, said_inbox) = mpsc::channel(SAID_MAX);
        let (fetches, fetch_inbox) = mpsc::channel(FETCHES_MAX);
        let (written, written_inbox) = watch::channel(0);
        let (reconnect, reconnect_inbox) = watch::channel(0);
        let inbox = Inbox {
            said: said_inbox,
            fetches: fetch_inbox,
            written: written_inbox,
            reconnect: reconnect_inbox,
        };
        (Self { said, fetches, written: Arc::new(written), reconnect: Arc::new(reconnect) }, inbox)
    }

    /// Of an agent that has no link at all.
    pub fn nowhere() -> Self {
        Self::new().0
    }

    /// Whether there is a link that plugins could come through, now or later.
    pub fn has_link(&self) -> bool {
        !self.fetches.is_closed()
    }

    /// Something new stands in the journal.
    pub fn journal_grew(&self, last: u64) {
        self.written.send_replace(last);
    }

    /// Drops the connection and makes a new one; returns its number.
    pub fn reconnect(&self) -> u64 {
        self.reconnect.send_modify(|number| *number += 1);
        *self.reconnect.borrow()
    }

    /// Says it if there is a connection with room; nothing depends on it.
    pub fn say(&self, message: FromAgent) {
        if self.said.try_send(message).is_err() {
            tracing::debug!("nobody to tell");
        }
    }

    /// Fetches a component through the coordinator; blocks until it is here or
    /// the coordinator says that it has no such bytes, or the link breaks.
    pub fn fetch(&self, sha256: Digest) -> Option<Vec<u8>> {
        let (answer, answered) = oneshot::channel();
        self.fetches.blocking_send(Fetch { sha256, answer }).ok()?;
        answered.blocking_recv().ok().flatten()
    }
}
