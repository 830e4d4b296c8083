//! One who stands in the door: what proves a plugin sees every call there, and
//! may stop, fail or answer it in the host's place. None on a real host.

use super::{Reply, Request};
use crate::capabilities::HostError;

/// What a plugin asks of the host without passing the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// How many milliseconds the phase has left.
    RemainingMs,
    /// 1 when the run was cancelled.
    Cancelled,
    /// 1 when it waited so many milliseconds to the end.
    Slept(u64),
    /// The clock, in milliseconds since 1970 in UTC.
    NowMs,
}

/// Sees every call of a phase, in its order.
pub trait Interceptor: Send + Sync {
    /// Before the gate decides. An answer is the plugin's answer, and nothing happens.
    fn before(&self, request: &Request) -> Option<Result<Reply, HostError>>;

    /// After the gate decided and acted; what it returns is the plugin's answer.
    fn after(&self, request: &Request, answer: Result<Reply, HostError>) -> Result<Reply, HostError>;

    /// In place of `real`, which may wait.
    fn told(&self, what: Told, real: &mut dyn FnMut() -> u64) -> u64;
}
