//! Two small protocols, every interleaving, and the shortcuts that break them.
//!
//! [`permits`] is who may disturb a host, and when; [`journal`] is what a host
//! writes down before and after it changes something. Each is small enough that
//! every order of events can be tried. Each comes with shortcuts somebody in a
//! hurry might take: a checker that stops catching them has rotted.
//!
//! `STERNWAY_LONG=1` tries larger fleets; `STERNWAY_TRACE=1` prints how each
//! shortcut ends badly (with `--nocapture`).

pub mod examine;
pub mod journal;
pub mod permits;

#[cfg(test)]
mod tests;
