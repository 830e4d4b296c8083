//! Short ways to the contract's one error type, and from it to a failure.

use crate::{Error, Failure, Kind};

impl Error {
    /// The request itself is wrong; trying again changes nothing.
    pub fn invalid(code: &str, message: impl Into<String>) -> Self {
        Self::of(Kind::Invalid, code, message)
    }

    /// Something that has to be there is not.
    pub fn not_found(code: &str, message: impl Into<String>) -> Self {
        Self::of(Kind::NotFound, code, message)
    }

    /// The world is not as this run left it: a person has to look.
    pub fn conflict(code: &str, message: impl Into<String>) -> Self {
        Self::of(Kind::Conflict, code, message)
    }

    /// Done, and not as expected.
    pub fn failed(code: &str, message: impl Into<String>) -> Self {
        Self::of(Kind::Failed, code, message)
    }

    /// The agent asked to stop.
    pub fn cancelled(message: impl Into<String>) -> Self {
        Self::of(Kind::Cancelled, "control/cancelled", message)
    }

    /// This plugin cannot do that at all.
    pub fn unsupported(code: &str, message: impl Into<String>) -> Self {
        Self::of(Kind::Unsupported, code, message)
    }

    fn of(kind: Kind, code: &str, message: impl Into<String>) -> Self {
        Self { kind, code: code.to_owned(), message: message.into() }
    }
}

/// `?` in `apply` and `undo`: undo is written to be safe from any state, so it
/// is advised unless the plugin says otherwise.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, undo_advised: true }
    }
}

/// For the errors after which no machine should touch anything again.
pub trait IntoFailure {
    fn hands_off(self) -> Failure;
}

impl IntoFailure for Error {
    fn hands_off(self) -> Failure {
        Failure { error: self, undo_advised: false }
    }
}
