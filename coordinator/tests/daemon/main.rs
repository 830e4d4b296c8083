//! The coordinator's process as its peers meet it: a real socket, real
//! certificates, a real database, and small clients that speak the wire.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod harness;
mod identity;
mod link;
mod point_verbs;
mod points;
mod process;
mod read_only;
mod roles;
mod rollouts;
