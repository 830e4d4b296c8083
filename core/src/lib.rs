//! Everything Sternway can decide without touching the world.
//!
//! Nothing in this crate reads a clock, a file, a socket, the environment or a
//! random number. Time is an argument, decisions are returned with their
//! reasons, and the two machines ([`rollout`] and [`run`]) are
//! `handle(entry) -> effects`: append the entry durably, then perform the
//! effects. Read the modules in this order.

pub mod canonical;
pub mod exit;
pub mod grant;
pub mod ids;
pub mod manifest;
pub mod plan;
pub mod point;
pub mod rollout;
pub mod run;
pub mod time;
pub mod trust;
pub mod wire;
