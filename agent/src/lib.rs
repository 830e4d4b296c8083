//! The process on every host. It believes people's signatures and nothing
//! else, writes every move down before it makes it, and puts back what fails.
//!
//! Reading order: [`config`], [`link`] (what arrives), [`driver`] (what is
//! done about it), [`journal`] (what is written down), [`steps`] (a phase of a
//! step), [`sandbox`] and [`gate`] (how a plugin runs, and the one door it
//! has), [`capabilities`] (what acts beyond that door), [`points`].

pub mod capabilities;
pub mod clock;
pub mod config;
pub mod driver;
pub mod durable;
pub mod gate;
pub mod host;
pub mod journal;
pub mod keeper;
pub mod link;
pub mod points;
pub mod sandbox;
pub mod steps;
