//! The agent's one connection: dial out, say hello, tell what the journal
//! holds, take what comes; when it breaks, come back with jitter.
//!
//! Nothing here decides anything. What arrives is handed to the driver; what
//! the journal has on disk is told in order, from the record after the last one
//! the coordinator acknowledged.

mod asks;
mod session;
mod tls;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use sternway_core::ids::HostName;

use crate::config::Config;
use crate::custodian::Custodian;
use crate::journal::{Journal, Shown};
use crate::message::{FromLink, Message};
use crate::outbox::{Inbox, Outbox};

pub use tls::TlsError;

use asks::Asks;

/// Shortest and longest time between two attempts to connect.
const BACK_OFF_MIN: Duration = Duration::from_millis(200);
const BACK_OFF_MAX: Duration = Duration::from_secs(30);
/// A connection that lasted this long was a good one.
const STEADY_AFTER: Duration = Duration::from_secs(1);
/// Longer than a coordinator under a storm lets a handshake wait.
const CONNECT_WITHIN: Duration = Duration::from_secs(20);

/// What every session needs.
struct Shared {
    host: HostName,
    fleet: sternway_core::ids::FleetId,
    journal: Arc<Shown>,
    to_driver: mpsc::Sender<Message>,
    /// None: whoever asks about rollback points hears nothing.
    asks: Option<Asks>,
}

impl Shared {
    /// Not the journal itself: whoever writes there may wait for a disk.
    fn with_journal<T>(&self, look: impl FnOnce(&Shown) -> T) -> T {
        look(&self.journal)
    }

    /// The driver lives as long as the process; when it is gone so are we.
    fn tell_driver(&self, message: FromLink) {
        if self.to_driver.send(Message::Link(message)).is_err() {
            tracing::debug!("the driver has ended");
        }
    }
}

/// The link before it runs: whom it seeks, as whom, and what it talks about.
pub struct Link {
    address: SocketAddr,
    client: quinn::ClientConfig,
    shared: Shared,
    inbox: Inbox,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Starts the link on a thread of its own, apart from steps that block.
pub fn start(
    config: &Config,
    fleet: sternway_core::ids::FleetId,
    journal: Arc<Mutex<Journal>>,
    to_driver: mpsc::Sender<Message>,
    custodian: Arc<Custodian>,
) -> Result<Outbox, LinkError> {
    let (link, outbox) = Link::new(config, fleet, journal, to_driver)?;
    let link = link.asking(custodian);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(LinkError::Runtime)?;
    std::thread::Builder::new()
        .name("link".into())
        .spawn(move || runtime.block_on(link.keep_connected(system_socket)))
        .map_err(LinkError::Runtime)?;
    Ok(outbox)
}

/// A socket of the system, of the address family of whom it is for.
fn system_socket(address: SocketAddr) -> std::io::Result<quinn::Endpoint> {
    let local: SocketAddr = if address.is_ipv6() {
        (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
    } else {
        (std::net::Ipv4Addr::UNSPECIFIED, 0).into()
    };
    quinn::Endpoint::client(local)
}

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("could not set up the connection's keys")]
    Tls(#[from] TlsError),
    #[error("could not start the link")]
    Runtime(#[source] std::io::Error),
}

impl Link {
    pub fn new(
        config: &Config,
        fleet: sternway_core::ids::FleetId,
        journal: Arc<Mutex<Journal>>,
        to_driver: mpsc::Sender<Message>,
    ) -> Result<(Self, Outbox), LinkError> {
        let client = tls::client_config(&config.identity)?;
        let (outbox, inbox) = Outbox::new();
        let journal = journal.lock().unwrap_or_else(PoisonError::into_inner).told();
        let shared = Shared { host: config.host.clone(), fleet, journal, to_driver, asks: None };
        Ok((Self { address: config.coordinator, client, shared, inbox }, outbox))
    }

    /// Questions about rollback points go to this custodian.
    pub fn asking(mut self, custodian: Arc<Custodian>) -> Self {
        self.shared.asks = Some(Asks::new(custodian));
        self
    }

    /// Connects, and connects again, for ever. `open` makes the socket for each
    /// connection: the system's, or another network's.
    pub async fn keep_connected(mut self, open: impl Fn(SocketAddr) -> std::io::Result<quinn::Endpoint>) {
        let mut back_off = BACK_OFF_MIN;
        loop {
            let began = tokio::time::Instant::now();
            let ended = match open(self.address) {
                Ok(endpoint) => {
                    session::run(endpoint, self.address, &self.client, &self.shared, &mut self.inbox).await
                }
                Err(error) => session::Ended::Broke { was_up: false, reason: error.to_string() },
            };
            let wait = match ended {
                session::Ended::Told { after } => {
                    back_off = BACK_OFF_MIN;
                    jitter(after.max(BACK_OFF_MIN))
                }
                session::Ended::Broke { was_up, reason } => {
                    if was_up {
                        tracing::warn!(reason, "the connection to the coordinator broke");
                        // One that breaks at once will break again: it must not become a storm.
                        if began.elapsed() >= STEADY_AFTER {
                            back_off = BACK_OFF_MIN;
                        }
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
