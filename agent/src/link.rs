//! The agent's one connection: dial out, say hello, tell what the journal
//! holds, take what comes; when it breaks, come back with jitter.
//!
//! Nothing here decides anything. What arrives is handed to the driver; what
//! the journal has on disk is told in order, from the record after the last one
//! the coordinator acknowledged.

mod session;
mod tls;

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use sternway_core::ids::{Digest, HostName, PlanId, RolloutId};
use sternway_core::wire::{FromAgent, ToAgent};
use tokio::sync::{mpsc as async_mpsc, oneshot, watch};

use crate::config::Config;
use crate::journal::Journal;

pub use tls::TlsError;

/// Shortest and longest time between two attempts to connect.
const BACK_OFF_MIN: Duration = Duration::from_millis(200);
const BACK_OFF_MAX: Duration = Duration::from_secs(30);
/// Longer than a coordinator under a storm lets a handshake wait.
const CONNECT_WITHIN: Duration = Duration::from_secs(20);

/// What the link hands to the driver.
#[derive(Debug)]
pub enum FromLink {
    /// Admitted; `connection` counts what [`Outbox::reconnect`] asked for before it was made.
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

/// A plugin that is asked for; answered with its bytes, or nothing.
#[derive(Debug)]
pub struct Fetch {
    pub sha256: Digest,
    pub answer: oneshot::Sender<Option<Vec<u8>>>,
}

/// The other ends of the link's channels, for the driver and its helpers.
#[derive(Debug, Clone)]
pub struct Outbox {
    /// Droppable, or not worth a record: refusals and ticks. At most 64 wait.
    said: async_mpsc::Sender<FromAgent>,
    /// At most 16 plugins are asked for at a time.
    fetches: async_mpsc::Sender<Fetch>,
    written: Arc<watch::Sender<u64>>,
    reconnect: Arc<watch::Sender<u64>>,
}

impl Outbox {
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

struct Inbox {
    said: async_mpsc::Receiver<FromAgent>,
    fetches: async_mpsc::Receiver<Fetch>,
    written: watch::Receiver<u64>,
    reconnect: watch::Receiver<u64>,
}

/// What every session needs.
struct Shared {
    host: HostName,
    fleet: sternway_core::ids::FleetId,
    journal: Arc<Mutex<Journal>>,
    to_driver: mpsc::Sender<crate::driver::Message>,
}

impl Shared {
    fn with_journal<T>(&self, look: impl FnOnce(&mut Journal) -> T) -> T {
        look(&mut self.journal.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The driver lives as long as the process; when it is gone so are we.
    fn tell_driver(&self, message: FromLink) {
        if self.to_driver.send(crate::driver::Message::Link(message)).is_err() {
            tracing::debug!("the driver has ended");
        }
    }
}

/// Starts the link on a thread of its own, apart from steps that block.
pub fn start(
    config: &Config,
    fleet: sternway_core::ids::FleetId,
    journal: Arc<Mutex<Journal>>,
    to_driver: mpsc::Sender<crate::driver::Message>,
) -> Result<Outbox, LinkError> {
    let client = tls::client_config(&config.identity)?;
    let (said, said_inbox) = async_mpsc::channel(64);
    let (fetches, fetch_inbox) = async_mpsc::channel(16);
    let (written, written_inbox) = watch::channel(0);
    let (reconnect, reconnect_inbox) = watch::channel(0);
    let shared = Shared { host: config.host.clone(), fleet, journal, to_driver };
    let inbox =
        Inbox { said: said_inbox, fetches: fetch_inbox, written: written_inbox, reconnect: reconnect_inbox };
    let address = config.coordinator;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(LinkError::Runtime)?;
    std::thread::Builder::new()
        .name("link".into())
        .spawn(move || runtime.block_on(keep_connected(address, client, shared, inbox)))
        .map_err(LinkError::Runtime)?;
    Ok(Outbox { said, fetches, written: Arc::new(written), reconnect: Arc::new(reconnect) })
}

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("could not set up the connection's keys")]
    Tls(#[from] TlsError),
    #[error("could not start the link")]
    Runtime(#[source] std::io::Error),
}

async fn keep_connected(
    address: std::net::SocketAddr,
    client: quinn::ClientConfig,
    shared: Shared,
    mut inbox: Inbox,
) {
    let mut back_off = BACK_OFF_MIN;
    loop {
        let ended = session::run(address, &client, &shared, &mut inbox).await;
        let wait = match ended {
            session::Ended::Told { after } => {
                back_off = BACK_OFF_MIN;
                jitter(after.max(BACK_OFF_MIN))
            }
            session::Ended::Broke { was_up, reason } => {
                if was_up {
                    tracing::warn!(reason, "the connection to the coordinator broke");
                    back_off = BACK_OFF_MIN;
                } else {
                    tracing::debug!(reason, "could not connect to the coordinator");
                }
                let wait = jitter(back_off);
                back_off = (back_off * 2).min(BACK_OFF_MAX);
                wait
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Full jitter: anything between nothing and `length`, so that a fleet that
/// lost its coordinator at one moment does not come back at one moment.
fn jitter(length: Duration) -> Duration {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => length.mul_f64(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)),
        Err(_) => length,
    }
}
