//! What the agent can lend to a step, in plain Rust: each power is usable and
//! testable without a sandbox, and knows nothing of grants.

pub mod clusters;
pub mod databases;
pub mod files;
pub mod http;
pub mod mail;
pub mod programs;
pub mod secrets;
pub mod services;
pub mod sockets;
pub mod systemd;

use serde::{Deserialize, Serialize};

/// What an error means for retry and undo. Closed: the contract fixes the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// A grant, the host's policy or the phase does not allow it.
    Denied,
    /// The request itself makes no sense.
    Invalid,
    /// What was named is not there.
    NotFound,
    /// The world is not in the state the request assumed.
    Conflict,
    /// The same request may succeed later.
    Transient,
    /// The time given was not enough.
    TimedOut,
    /// The run was cancelled meanwhile.
    Cancelled,
    /// This host cannot do it.
    Unsupported,
    /// It was tried and failed.
    Failed,
}

/// The one error of every host call: `code` is open (`files/outside-grant`),
/// `message` is for people and holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} ({code})")]
pub struct HostError {
    /// Closed set that drives retry and undo.
    pub kind: ErrorKind,
    /// Open set, `<interface>/<reason>`.
    pub code: String,
    /// One line for people.
    pub message: String,
}

impl HostError {
    /// An error of `kind` with a `code` of the form `<interface>/<reason>`.
    pub fn new(kind: ErrorKind, code: &str, message: impl Into<String>) -> Self {
        Self { kind, code: code.to_owned(), message: message.into() }
    }

    /// Turns a failure of the operating system into an error of `interface`,
    /// keeping the distinction a plugin can act upon.
    pub(crate) fn from_io(interface: &str, what: &str, cause: &std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let (kind, reason) = match cause.kind() {
            Io::NotFound => (ErrorKind::NotFound, "not-found"),
            Io::PermissionDenied => (ErrorKind::Failed, "permission"),
            Io::AlreadyExists => (ErrorKind::Conflict, "exists"),
            Io::StorageFull | Io::QuotaExceeded => (ErrorKind::Failed, "disk-full"),
            Io::ReadOnlyFilesystem => (ErrorKind::Failed, "read-only"),
            Io::NotADirectory => (ErrorKind::Conflict, "not-a-directory"),
            Io::TimedOut => (ErrorKind::TimedOut, "timed-out"),
            Io::Interrupted | Io::WouldBlock | Io::ResourceBusy => (ErrorKind::Transient, "busy"),
            _ => (ErrorKind::Failed, "failed"),
        };
        Self::new(kind, &format!("{interface}/{reason}"), format!("{what}: {cause}"))
    }
}
