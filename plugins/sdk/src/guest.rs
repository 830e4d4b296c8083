//! The bridge: JSON and bytes outside, typed settings and state inside.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::exports::sternway::step::lifecycle::Guest;
use crate::bindings::sternway::step::types as wire;
use crate::{Action, Error, Failure, Finding, Invocation, Manifest, Verification};

/// One plugin. Each phase runs in a fresh instance and may run again after a
/// crash, from its start, with the same idempotency key: what must be
/// remembered goes into `State` or into [`crate::memory`].
pub trait Plugin {
    /// The step's `with = { ... }`; use `#[serde(deny_unknown_fields)]`.
    type Settings: DeserializeOwned;
    /// Handed from phase to phase: `look` makes it, `prepare` and `apply` may replace it.
    type State: Serialize + DeserializeOwned;

    fn manifest() -> Manifest;
    /// Read only: what is there, and what would change?
    fn look(on: &Step<Self::Settings>) -> Result<Looked<Self::State>, Error>;
    /// Stages beside what is live.
    fn prepare(on: &Step<Self::Settings>, seen: Self::State) -> Result<Prepared<Self::State>, Error>;
    /// The change itself; gets the state of `prepare`.
    fn apply(on: &Step<Self::Settings>, kept: Self::State) -> Result<Outcome<Self::State>, Failure>;
    /// Read only: is it so now? Gets the state of `apply`.
    fn verify(on: &Step<Self::Settings>, done: Self::State) -> Result<Vec<Verification>, Error>;
    /// Puts back what `apply` did or may have done; gets the state of `prepare`.
    fn undo(on: &Step<Self::Settings>, kept: Self::State) -> Result<Outcome<Self::State>, Failure>;
}

/// A phase's surroundings.
#[derive(Debug)]
pub struct Step<S> {
    pub settings: S,
    /// The plan's own `undo = { ... }`.
    pub undo: Option<S>,
    pub call: Invocation,
}

impl<S> Step<S> {
    /// The rollback point this run goes back to.
    pub fn point(&self) -> Result<&str, Error> {
        self.call
            .point
            .as_deref()
            .ok_or_else(|| Error::not_found("step/no-point", "this run goes back to no rollback point"))
    }
}

#[derive(Debug)]
pub struct Looked<T> {
    pub findings: Vec<Finding>,
    pub actions: Vec<Action>,
    pub state: T,
}

#[derive(Debug)]
pub struct Prepared<T> {
    pub summary: String,
    pub state: T,
}

#[derive(Debug)]
pub struct Outcome<T> {
    pub changed: bool,
    pub summary: String,
    pub state: T,
}

impl Finding {
    /// Refuses the run before anything is touched.
    pub fn blocking(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), blocking: true }
    }

    /// Worth knowing; refuses nothing.
    pub fn note(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), blocking: false }
    }
}

impl<P: Plugin> Guest for P {
    fn describe() -> Manifest {
        P::manifest()
    }

    fn look(on: Invocation) -> Result<wire::Looked, Error> {
        let looked = P::look(&step::<P>(on)?)?;
        Ok(wire::Looked { findings: looked.findings, actions: looked.actions, state: encode(&looked.state)? })
    }

    fn prepare(on: Invocation, looked: wire::Looked) -> Result<wire::Prepared, Error> {
        let prepared = P::prepare(&step::<P>(on)?, decode(&looked.state)?)?;
        Ok(wire::Prepared { summary: prepared.summary, state: encode(&prepared.state)? })
    }

    fn apply(
        on: Invocation,
        _looked: wire::Looked,
        prepared: wire::Prepared,
    ) -> Result<wire::Outcome, Failure> {
        outcome(P::apply(&step::<P>(on)?, decode(&prepared.state)?)?)
    }

    fn verify(on: Invocation, outcome: wire::Outcome) -> Result<Vec<Verification>, Error> {
        P::verify(&step::<P>(on)?, decode(&outcome.state)?)
    }

    fn undo(
        on: Invocation,
        _looked: wire::Looked,
        prepared: wire::Prepared,
    ) -> Result<wire::Outcome, Failure> {
        outcome(P::undo(&step::<P>(on)?, decode(&prepared.state)?)?)
    }
}

fn step<P: Plugin>(call: Invocation) -> Result<Step<P::Settings>, Error> {
    let settings = settings(&call.settings)?;
    let undo = call.undo_settings.as_deref().map(self::settings).transpose()?;
    Ok(Step { settings, undo, call })
}

fn settings<S: DeserializeOwned>(json: &str) -> Result<S, Error> {
    serde_json::from_str(json).map_err(|cause| Error::invalid("step/settings", cause.to_string()))
}

fn outcome<T: Serialize>(outcome: Outcome<T>) -> Result<wire::Outcome, Failure> {
    Ok(wire::Outcome { changed: outcome.changed, summary: outcome.summary, state: encode(&outcome.state)? })
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|cause| Error::failed("step/state", cause.to_string()))
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes)
        .map_err(|cause| Error::invalid("step/state", format!("the state of an earlier phase: {cause}")))
}
