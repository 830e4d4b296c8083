//! What a point says of itself. It is stored in the point as the last thing of
//! all, so a point without one is no point.

use serde::{Deserialize, Serialize};

use crate::ids::{Digest, HostName, PlanId};
use crate::time::Timestamp;

/// The format that this version writes and reads.
pub const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    pub host: HostName,
    pub service: String,
    pub version: String,
    pub kind: Kind,
    pub origin: Origin,
    pub reason: String,
    pub by: String,
    pub made: Timestamp,
    /// Everything in the point, in the order in which it was taken.
    pub pieces: Vec<Piece>,
}

/// How much of a service a point holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Everything the service is made of.
    Full,
    /// One part of it.
    Component,
    /// Configuration, units, flags and environment.
    Config,
    /// Databases.
    Data,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Full, Self::Component, Self::Config, Self::Data];

    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Component => "component",
            Self::Config => "config",
            Self::Data => "data",
        }
    }
}

/// What a point was made for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A person asked for it.
    Person,
    /// A hook asked for it, before something was deployed.
    Hook,
    /// The host's schedule of this name.
    Schedule { name: String },
    /// Holds what this plan was about to overwrite.
    Safety { plan: PlanId },
}

/// One thing in a point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    pub kind: PieceKind,
    /// A path, a unit, a project, a database: what people call it.
    pub name: String,
    /// Where in the point it lies, from its top.
    pub at: String,
    /// Files, folders and links, the top included.
    pub entries: u64,
    pub bytes: u64,
    /// Of its tree, or of its content when it is one file: SHA-256 as the
    /// restic format has it.
    pub digest: Digest,
    /// In a line, for people: a commit, `active enabled`, an image's digest.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PieceKind {
    Files,
    Config,
    Unit,
    Compose,
    Database,
    Git,
    Packages,
    Flags,
    Environment,
}

impl PieceKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Config => "config",
            Self::Unit => "unit",
            Self::Compose => "compose",
            Self::Database => "database",
            Self::Git => "git",
            Self::Packages => "packages",
            Self::Flags => "flags",
            Self::Environment => "environment",
        }
    }
}
