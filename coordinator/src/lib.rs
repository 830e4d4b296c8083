//! The operator's verbs and the process that conducts a rollout. `cli` and
//! `daemon` do not know each other: they meet on the wire.

pub mod audit;
pub mod cli;
mod command;
pub mod daemon;
pub mod dev;
pub(crate) mod draft;
pub mod pki;

pub use command::run;
