//! Rollback points: what one is, which are kept, what may be asked of a host
//! about its own, and whether a rollback would work right now.

pub mod ask;
pub mod choice;
pub mod manifest;
pub mod readiness;
pub mod retention;

pub use ask::{
    Answer, Ask, BEGINNING_MIN, Change, Depth, Difference, DifferenceKind, Dropped, Order, Progress, Want,
};
pub use choice::{Back, meant, newest_whole};
pub use manifest::{FORMAT, Kind, Manifest, Origin, Piece, PieceKind};

use serde::{Deserialize, Serialize};

use crate::ids::{Person, PointId};
use crate::time::Timestamp;

/// One rollback point, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    pub id: PointId,
    pub made: Timestamp,
    pub service: String,
    pub version: String,
    pub kind: Kind,
    pub origin: Origin,
    /// Sorted; plans find a point by one of these.
    pub tags: Vec<String>,
    /// Set: never pruned, whatever its age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
    pub reason: String,
    /// Who made it: a person, or the host's own schedule.
    pub by: String,
    /// As the host knows them, sorted.
    pub paths: Vec<String>,
    /// Length of all files in it.
    pub bytes: u64,
    pub files: u64,
    /// The newest check that came to an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked: Option<Checked>,
}

impl Point {
    /// Nobody has found it damaged.
    pub fn is_good(&self) -> bool {
        self.checked.as_ref().is_none_or(|checked| checked.finding.is_none())
    }
}

/// Why a point is kept for ever, and on whose word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    pub owner: Person,
    pub reason: String,
    pub since: Timestamp,
}

/// What the newest check of a point found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checked {
    pub at: Timestamp,
    pub depth: Depth,
    /// The first damage; none when it is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<String>,
}
