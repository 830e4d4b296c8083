//! Rollback points of this host: snapshots in a repository of the restic
//! format, so that `restic` itself can check and restore them without us.
//!
//! A point holds paths as the host knows them, whatever directory the host's
//! root really is, and what is no file under `/.sternway`. It is offered only
//! when everything in it was read and stored: while it is being made it
//! carries the tag `incomplete`.
//!
//! Reading order: [`making`] (what a point is made of), [`place`] (where it
//! lies), `repository` (opening it), `offer` (a point comes to be), `label`
//! (how a snapshot says so), `list`, `inside` and `restore` (what it holds and
//! gives back), `check` (is it whole), `keep` (tags), `prune` (points go),
//! `diff`; `shelf`, `pace` and `locks` beneath them.

mod check;
mod diff;
mod inside;
mod keep;
mod label;
pub mod lease;
mod list;
mod locks;
pub mod making;
mod mode;
mod offer;
mod pace;
pub mod pieces;
mod place;
mod prune;
mod register;
mod repository;
mod restore;
mod shelf;
mod source;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use rustic_core::{RusticError, RusticResult};
use sternway_core::ids::PointId;

pub use check::{Scrubbed, Share};
pub use diff::Against;
pub use label::INCOMPLETE;
pub use place::Place;
pub use prune::Weights;
pub use repository::Points;

use crate::capabilities::{ErrorKind, HostError};
use crate::config::SecretsError;
use crate::durable::DurableError;

/// Why a rollback point could not be made, found, checked, changed or listed.
#[derive(Debug, thiserror::Error)]
pub enum PointsError {
    /// The repository says no.
    #[error("could not {step} the repository of rollback points")]
    Repository {
        step: &'static str,
        #[source]
        cause: LibraryError,
    },
    #[error(
        "`{address}` is no repository: write a folder, `opendal:s3` with options for the bucket, or \
         `rest:https://…`"
    )]
    Address { address: String },
    #[error("the secret options of the repository cannot be used")]
    Secrets(#[from] SecretsError),
    #[error("could not keep what the repository needs on this host")]
    Durable(#[source] DurableError),
    #[error("could not use `{}`", path.display())]
    File {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error(
        "the repository `{repository}` has no password file `{}`: put it back from where you keep it; without \
         it nobody can read the points",
        path.display()
    )]
    PasswordLost { repository: String, path: PathBuf },
    #[error("the password in `{}` does not open the repository `{repository}`: put the right one there", path.display())]
    PasswordWrong { repository: String, path: PathBuf },
    /// It was there once: a disk that is not mounted, a bucket that was emptied.
    #[error(
        "the repository `{repository}` is gone: mount its disk or bring it back, or remove `{}` to begin a new one",
        marker.display()
    )]
    RepositoryLost { repository: String, marker: PathBuf },
    #[error(
        "`{repository}` is another repository than before: bring the old one back, or remove `{}` to go on with this one",
        marker.display()
    )]
    AnotherRepository { repository: String, marker: PathBuf },
    #[error(
        "the repository `{repository}` has lost its file `config`, and there is data in it: bring that file back \
         from a copy; nothing was changed"
    )]
    ConfigLost { repository: String },
    /// Something could not be read, so no point was made.
    #[error("the point was not made, because {count} could not be read: {first}")]
    Incomplete {
        /// How many entries.
        count: usize,
        /// The first of them, with its reason.
        first: String,
    },
    #[error("`{tag}` cannot be a tag: 1 to 64 letters, digits, `-`, `_`, `.`")]
    Tag { tag: String },
    #[error("no rollback point's id begins with `{id}`; `points list` shows them")]
    Unknown { id: String },
    #[error("`{beginning}` is the beginning of {count} ids; give more of it")]
    Ambiguous { beginning: String, count: usize },
    #[error("`{beginning}` names no rollback point: give at least {least} hexadecimal digits of its id")]
    Beginning { beginning: String, least: usize },
    /// The check of a point found damage.
    #[error("the rollback point `{}` is damaged: {finding}", id.short())]
    Damaged { id: PointId, finding: String },
    #[error("the manifest of the rollback point `{}` cannot be used: {finding}", id.short())]
    Manifest { id: PointId, finding: String },
    /// A path is refused, or what is there cannot be read.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Nothing stands at a path that was to be kept.
    #[error("there is nothing at `{path}` to make a point of")]
    Nothing { path: String },
    #[error("a point needs something to hold: name a path")]
    Empty,
    #[error("`{path}` is kept free for what a point holds besides files")]
    Ours { path: String },
}

/// The library's account in one line.
#[derive(Debug)]
pub struct LibraryError(String);

impl fmt::Display for LibraryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LibraryError {}

fn in_a_line(error: &RusticError) -> String {
    let text = error.display_log();
    let text = text.strip_prefix("Error: ").unwrap_or(&text);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // A cause of the library's own goes on with a trace of where it was made.
    text.split(" Some additional details").next().unwrap_or_default().to_owned()
}

fn repository_error(step: &'static str) -> impl FnOnce(Box<RusticError>) -> PointsError {
    move |cause| PointsError::Repository { step, cause: LibraryError(in_a_line(&cause)) }
}

/// Runs what the library does. It panics on some kinds of damage; that is an
/// answer too, and no reason for the agent to end.
fn guarded<T>(step: &'static str, work: impl FnOnce() -> RusticResult<T>) -> Result<T, PointsError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(answer) => answer.map_err(repository_error(step)),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let cause = LibraryError(said.unwrap_or_else(|| "the library gave up".to_owned()));
            Err(PointsError::Repository { step, cause })
        }
    }
}

fn shown(id: &str) -> String {
    id.chars().take(80).flat_map(char::escape_debug).collect()
}

/// An id as a plugin or a journal wrote it.
///
/// # Errors
/// `points/not-found`: no point can have that id.
pub fn read_id(text: &str) -> Result<PointId, HostError> {
    text.parse().map_err(|_| for_plugin(PointsError::Unknown { id: shown(text) }))
}

/// For a plugin, which acts on codes.
pub fn for_plugin(error: PointsError) -> HostError {
    match error {
        PointsError::Host(error) => error,
        PointsError::Unknown { id } => HostError::new(
            ErrorKind::NotFound,
            "points/not-found",
            format!("there is no rollback point `{id}`"),
        ),
        error => {
            let mut message = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(deeper) = cause {
                message = format!("{message}: {deeper}");
                cause = deeper.source();
            }
            HostError::new(ErrorKind::Failed, "points/unreadable", message)
        }
    }
}

fn unreadable(cause: Box<RusticError>) -> HostError {
    tracing::error!(error = %in_a_line(&cause), "a rollback point cannot be read");
    HostError::new(
        ErrorKind::Failed,
        "points/unreadable",
        "the rollback point cannot be read: its repository is damaged or gone",
    )
}

type Indexed = rustic_core::Repository<rustic_core::IndexedFullStatus>;
type SharedIndexed = Arc<Indexed>;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod trees;
