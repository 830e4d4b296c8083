//! The process on every host. It believes people's signatures and nothing
//! else, writes every move down before it makes it, and puts back what fails.
//!
//! Reading order: [`config`], [`link`] and [`control`] (what arrives),
//! [`message`] (how it is handed on), [`driver`] (what is done about it),
//! [`journal`] (what is written down), [`steps`] (a phase of a step),
//! [`sandbox`] and [`gate`] (how a plugin runs, and the one door it has),
//! [`capabilities`] (what acts beyond that door), [`points`] and the
//! [`custodian`] who looks after them; [`preflight`] and
//! [`ballast`] for the night when the disk is full; [`conformance`] proves plugins with
//! the same gate and powers.

pub mod ballast;
pub mod capabilities;
pub mod clock;
pub mod config;
pub mod conformance;
pub mod control;
pub mod crash;
pub mod custodian;
pub mod driver;
pub mod durable;
pub mod gate;
pub mod halt;
pub mod host;
pub mod journal;
pub mod keeper;
pub mod link;
pub mod message;
pub mod outbox;
pub mod points;
pub mod preflight;
mod processes;
pub mod report;
pub mod sandbox;
pub mod steps;
