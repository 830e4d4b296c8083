//! What a person types and reads. Nothing here conducts a rollout: every verb
//! asks a coordinator over the wire, as any operator may, or works on files.

pub mod audit;
pub mod brake;
pub mod catalogue;
pub(crate) mod check;
pub mod client;
pub mod emergency;
pub mod ending;
pub mod failure;
pub mod fleet;
pub mod identity;
pub mod keys;
pub mod launch;
pub mod log;
pub mod lookup;
pub mod order;
pub mod output;
pub mod points;
pub mod prompt;
pub mod ready;
pub mod record;
pub mod report;
pub(crate) mod schema;
pub mod screen;
pub mod show;
pub mod sign;
pub mod status;
pub mod story;
pub mod text;
pub mod tree;
pub mod unstick;
pub mod watch;
pub mod words;

use client::Client;
use failure::Failure;
use identity::Whereabouts;
use output::Output;
use sternway_core::time::Timestamp;

/// What every verb has at hand.
#[derive(Debug)]
pub struct Context {
    pub output: Output,
    pub whereabouts: Whereabouts,
    /// Whether somebody can be asked: a terminal, and no `--no-input`.
    pub may_ask: bool,
}

impl Context {
    pub async fn connect(&self) -> Result<Client, Failure> {
        Ok(Client::connect(&self.whereabouts.load()?).await?)
    }

    /// The wall clock; verbs ask it here and nowhere else.
    pub fn now(&self) -> Timestamp {
        Timestamp(u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0))
    }
}

/// Runs a verb that talks to a coordinator.
pub fn block_on<T>(verb: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| Failure::Other {
        message: "the network could not be set up".into(),
        exit: sternway_core::exit::BUG,
        hint: None,
        cause: Some(Box::new(cause)),
    })?;
    runtime.block_on(verb)
}
