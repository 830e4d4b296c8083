//! The process that conducts: assemble, run, stop in order.
//!
//! ```text
//!   endpoint ──▶ session (one per agent) ──┐  Message        ┌──▶ database   one commit for all that waited
//!            ──▶ operator_api ─────────────┴──────▶ driver ──┤
//!                                  ◀── Outbox / Answer ──────┘──▶ Rollout::handle (core)
//! ```
//!
//! What people ask of hosts about their rollback points goes from `operator_api`
//! straight to the host's session, once the driver has said that it may (`points`).
//!
//! Two threads do the work: one owns the socket and all sessions, the other the
//! rollouts and the database.

pub mod config;
pub mod database;
pub mod driver;
pub mod endpoint;
pub mod plugin_store;

mod clock;
mod fleet;
mod operator_api;
mod outbox;
mod points;
mod session;
mod telemetry;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use config::{Config, ConfigError};
use database::{Database, LinkKeys};
use driver::{Driver, DriverError, INBOX_MAX, Message};
use endpoint::{Door, EndpointError};
use plugin_store::PluginStore;
use session::{CLOSED_NORMALLY, Sessions};

/// Agents get this long to hear that they shall come back.
const FAREWELL_WITHIN: Duration = Duration::from_millis(700);

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the configuration cannot be used")]
    Config(#[from] ConfigError),
    #[error("the database cannot be used")]
    Database(#[from] database::OpenError),
    #[error("nobody can connect")]
    Endpoint(#[from] EndpointError),
    #[error("the rollouts cannot be conducted")]
    Driver(#[from] DriverError),
    #[error("the thread that conducts the rollouts broke off: a bug, please report")]
    Panicked,
    #[error("the system refused a thread, a signal or the output")]
    System(#[from] io::Error),
}

impl ServeError {
    /// As in [`sternway_core::exit`].
    pub fn exit_code(&self) -> u8 {
        use sternway_core::exit;
        match self {
            Self::Config(_) | Self::Endpoint(_) => exit::INVALID,
            Self::Database(database::OpenError::Held(_)) | Self::Driver(DriverError::Superseded(_)) => {
                exit::BUSY
            }
            Self::Database(
                database::OpenError::Damaged { .. }
                | database::OpenError::Broken { .. }
                | database::OpenError::Unreadable { .. }
                | database::OpenError::Format { .. },
            )
            | Self::Driver(DriverError::Plan { .. } | DriverError::Books { .. }) => exit::INVALID,
            Self::Database(_) | Self::Driver(_) | Self::Panicked | Self::System(_) => exit::BUG,
        }
    }
}

/// Serves until SIGTERM or SIGINT. Prints `ready <address>` when agents can connect.
pub fn serve(config_path: &Path) -> Result<(), ServeError> {
    telemetry::init();
    let mut daemon = Daemon::start(Config::load(config_path)?)?;
    let (mut terminate, mut interrupt) = {
        let _inside = daemon.runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    writeln!(io::stdout(), "ready {}", daemon.address())?;
    io::stdout().flush()?;
    let mut ended = daemon.ended.take().ok_or(ServeError::Panicked)?;
    daemon.runtime.block_on(async {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("told to stop"),
            _ = interrupt.recv() => tracing::info!("interrupted"),
            // It has ended by itself; stopping says why.
            _ = &mut ended => tracing::error!("the driver has ended"),
        }
    });
    daemon.stop()
}

/// A coordinator before it has a socket and threads.
#[derive(Debug)]
pub struct Assembly {
    config: Config,
    conductor: Driver,
    driver: mpsc::Sender<Message>,
    keys: LinkKeys,
    epoch: u64,
    door: Arc<Door>,
    sessions: Arc<Sessions>,
}

impl Assembly {
    /// Opens the database, which takes the next epoch.
    pub fn new(config: Config) -> Result<Self, ServeError> {
        let database = Database::open(&config.data)?;
        let (keys, epoch) = (database.keys(), database.epoch());
        let (driver, inbox) = mpsc::channel(INBOX_MAX);
        let conductor = Driver::new(database, config.keyring.clone(), config.inventory.clone(), inbox)?;
        let sessions = Arc::new(Sessions {
            fleet: config.keyring.fleet(),
            driver: driver.clone(),
            plugins: PluginStore::new(config.data.join("plugins")),
            lines: points::Lines::default(),
            last: AtomicU64::new(0),
        });
        let door = Arc::new(Door::new(config.clone())?);
        Ok(Self { config, conductor, driver, keys, epoch, door, sessions })
    }

    /// What the driver hears beside the sessions.
    pub fn driver(&self) -> mpsc::Sender<Message> {
        self.driver.clone()
    }

    /// Serves on a socket of whatever network, all in the caller's runtime,
    /// until the driver ends.
    pub async fn serve_on(self, socket: Arc<dyn quinn::AsyncUdpSocket>) -> Result<(), ServeError> {
        let endpoint = endpoint::bind_to(&self.config, self.keys, socket)?;
        tokio::select! {
            outcome = self.conductor.run() => Ok(outcome?),
            () = endpoint::accept(endpoint, self.door, self.sessions) => Ok(()),
        }
    }
}

/// A coordinator at work.
#[derive(Debug)]
pub struct Daemon {
    runtime: Runtime,
    endpoint: quinn::Endpoint,
    address: SocketAddr,
    driver: mpsc::Sender<Message>,
    conducting: Option<thread::JoinHandle<Result<(), DriverError>>>,
    /// Resolves when the driver has ended.
    ended: Option<oneshot::Receiver<()>>,
}

impl Daemon {
    /// Opens the database, binds the socket and begins to accept.
    pub fn start(config: Config) -> Result<Self, ServeError> {
        let Assembly { config, conductor, driver, keys, epoch, door, sessions } = Assembly::new(config)?;
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("link").enable_all().build()?;
        let bound = {
            let _inside = runtime.enter();
            endpoint::bind(&config, keys)
        };
        let endpoint = match bound {
            Ok(endpoint) => endpoint,
            Err(cause) => {
                // Its destructor would wait, which a caller inside a runtime may not.
                runtime.shutdown_background();
                return Err(cause.into());
            }
        };
        let address = endpoint.local_addr()?;
        let (end, ended) = oneshot::channel();
        let conducting = thread::Builder::new().name("driver".into()).spawn(move || {
            let outcome = conduct(conductor);
            // Nobody waits for it while the process stops.
            let _ = end.send(());
            outcome
        })?;
        runtime.spawn(endpoint::accept(endpoint.clone(), door, sessions));
        tracing::info!(%address, epoch, "ready");
        Ok(Self { runtime, endpoint, address, driver, conducting: Some(conducting), ended: Some(ended) })
    }

    /// Where agents and operators connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// No new connections; everything heard is committed; agents are told to
    /// come back; the database is closed; then the socket.
    pub fn stop(mut self) -> Result<(), ServeError> {
        self.endpoint.set_server_config(None);
        // It fails when the driver has ended already; joining it says why.
        let _ = self.driver.blocking_send(Message::Stop);
        let outcome = match self.conducting.take().map(thread::JoinHandle::join) {
            Some(Ok(outcome)) => outcome.map_err(ServeError::Driver),
            Some(Err(_)) | None => Err(ServeError::Panicked),
        };
        self.runtime.block_on(async {
            // Whoever has not gone by then is cut off.
            let _ = timeout(FAREWELL_WITHIN, self.endpoint.wait_idle()).await;
            self.endpoint.close(CLOSED_NORMALLY.into(), b"the coordinator stops");
            let _ = timeout(FAREWELL_WITHIN, self.endpoint.wait_idle()).await;
        });
        outcome
    }
}

fn conduct(driver: Driver) -> Result<(), DriverError> {
    let runtime = Builder::new_current_thread().enable_time().build().map_err(DriverError::Runtime)?;
    runtime.block_on(driver.run())
}
