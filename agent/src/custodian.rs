//! Looks after the rollback points of this host: answers what is asked about
//! them, judges what people order, makes them on schedule, and reads them
//! again before anybody needs them.
//!
//! Reading order: [`Custodian`] and its [`Listener`], `answers` (looking),
//! `orders` with the `ledger` (whose word counts, once), `changes` (what is
//! done on a person's word), `rounds` with `schedule` and `memory` (what is
//! done by itself), `scrub`, `ready` and `drill`, and the `catalogue` of what
//! all checks found. Several processes may do so at once: the agent, and verbs
//! that people type at the host.

mod answers;
mod catalogue;
mod changes;
mod drill;
mod ledger;
mod lock;
mod memory;
mod orders;
mod prune;
mod putting;
mod ready;
mod rounds;
mod schedule;
mod scrub;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sternway_core::ids::{Person, PointId};
use sternway_core::point::{Answer, Ask, Point};
use sternway_core::trust::Keyring;

use crate::capabilities::HostError;
use crate::clock;
use crate::durable::DurableError;
use crate::host::Host;
use crate::points::lease::LeaseError;
use crate::points::making::Watch;
use crate::points::{Points, PointsError};

pub use catalogue::{Catalogue, Checks, Known};
pub use changes::Word;
pub use memory::{Cycle, Memory, MemoryFile};
pub use rounds::{OnRounds, Rounds, RoundsError};
pub use schedule::{Due, Failed, Past, Timetable, TimetableError};

use ledger::Ledger;

/// Where everything of the custodian lies.
fn folder_of(state: &Path) -> PathBuf {
    state.join("custodian")
}

/// Why something about points could not be done.
#[derive(Debug, thiserror::Error)]
pub enum CustodianError {
    #[error(transparent)]
    Points(#[from] PointsError),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Durable(#[from] DurableError),
    #[error("cannot tell which points are in use, so none is dropped")]
    Leases(#[from] LeaseError),
    #[error("could not say what a point of `{service}` holds")]
    Pieces {
        service: String,
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A reasoned no.
    #[error("{reason}")]
    Refused { code: &'static str, reason: String },
    #[error("could not {step}")]
    Io {
        step: &'static str,
        #[source]
        cause: std::io::Error,
    },
}

impl CustodianError {
    fn refused(code: &'static str, reason: impl Into<String>) -> Self {
        Self::Refused { code, reason: reason.into() }
    }

    /// A stable word for records and counts.
    pub fn code(&self) -> &str {
        match self {
            Self::Points(PointsError::Unknown { .. }) => "not-found",
            Self::Points(PointsError::Damaged { .. }) => "damaged",
            Self::Points(_) => "points",
            Self::Host(error) => &error.code,
            Self::Durable(_) | Self::Io { .. } => "disk",
            Self::Leases(_) => "leases",
            Self::Pieces { .. } => "pieces",
            Self::Refused { code, .. } => code,
        }
    }
}

/// Where answers go, and whether anybody still wants them.
#[derive(Clone)]
pub struct Listener {
    say: Arc<dyn Fn(Answer) + Send + Sync>,
    gone: Arc<AtomicBool>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("gone", &self.gone).finish_non_exhaustive()
    }
}

impl Listener {
    /// Nothing waits for what `say` does with progress.
    pub fn new(say: impl Fn(Answer) + Send + Sync + 'static) -> Self {
        Self { say: Arc::new(say), gone: Arc::new(AtomicBool::new(false)) }
    }

    /// Hears nothing and never leaves.
    pub fn nobody() -> Self {
        Self::new(|_| {})
    }

    /// Set by whoever knows that nobody listens any more.
    pub fn gone(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.gone)
    }

    pub fn say(&self, answer: Answer) {
        (self.say)(answer);
    }

    fn watch(&self) -> Watch {
        let say = Arc::clone(&self.say);
        Arc::new(move |progress| say(Answer::Progress(progress)))
    }

    /// Between two pieces of work: is it worth going on?
    fn is_there(&self) -> Result<(), CustodianError> {
        match self.gone.load(Ordering::Relaxed) {
            false => Ok(()),
            true => Err(CustodianError::refused("called-off", "called off by who asked")),
        }
    }
}

pub struct Custodian {
    host: Arc<Host>,
    /// None for a person at this host, who needs no signature.
    keyring: Option<Keyring>,
    ledger: Mutex<Ledger>,
    catalogue: Catalogue,
}

impl std::fmt::Debug for Custodian {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Custodian").field("host", &self.host.config().host).finish_non_exhaustive()
    }
}

impl Custodian {
    /// Obeys orders of the persons in this keyring.
    pub fn new(host: Arc<Host>, keyring: Keyring) -> Self {
        Self { keyring: Some(keyring), ..Self::at_hand(host) }
    }

    /// Works for whoever types at this host, and obeys no order.
    pub fn at_hand(host: Arc<Host>) -> Self {
        let state = host.config().state.clone();
        Self {
            host,
            keyring: None,
            ledger: Mutex::new(Ledger::new(&folder_of(&state))),
            catalogue: Catalogue::of(&state),
        }
    }

    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Answers in full, whatever comes of it; the last word is [`Answer::Done`].
    pub fn answer(&self, ask: Ask, listener: &Listener) {
        let answered = match ask {
            Ask::Order(sealed) => self.obey(&sealed, listener),
            Ask::Ready { service, plugins } => {
                listener.say(Answer::Ready(self.facts(service.as_deref(), &plugins)));
                Ok(())
            }
            other => self.look(&other, listener),
        };
        if let Err(error) = answered {
            listener.say(refused(&error));
        }
        listener.say(Answer::Done);
    }

    fn points(&self) -> Result<Arc<Points>, CustodianError> {
        Ok(self.host.points()?)
    }

    /// With what checks found.
    fn filled(&self, mut points: Vec<Point>) -> Vec<Point> {
        self.catalogue.read().fill(&mut points);
        points
    }

    fn filled_one(&self, point: Point) -> Point {
        self.filled(vec![point]).pop().expect("one goes in, one comes out")
    }

    fn take_order(
        &self,
        nonce: sternway_core::ids::Nonce,
        expires: sternway_core::time::Timestamp,
    ) -> Result<(), ledger::LedgerError> {
        crate::durable::create_directories(&folder_of(&self.host.config().state), 0o700)?;
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.take(nonce, expires, clock::now())
    }
}

fn refused(error: &CustodianError) -> Answer {
    Answer::Refused { code: error.code().to_owned(), reason: in_full(error) }
}

fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

/// The beginning of an id, for people.
fn short(id: &PointId) -> String {
    id.short()
}

/// A name that a keyring could hold, if this is one.
fn as_person(name: &str) -> Option<Person> {
    name.to_lowercase().parse().ok()
}

#[cfg(test)]
mod tests;
