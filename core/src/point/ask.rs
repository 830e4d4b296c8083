//! What may be asked of a host about its rollback points. Looking needs no
//! signature; whatever changes a host or its points is a person's signed order,
//! which the host judges itself.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::readiness::{Drill, Facts};
use super::retention::Why;
use super::{Kind, Manifest, Point};
use crate::ids::{Digest, FleetId, HostName, Nonce, Person, PluginName, PointId};
use crate::time::Timestamp;
use crate::trust::Payload;

/// Fewest hexadecimal digits that name a point.
pub const BEGINNING_MIN: usize = 4;

/// Which points are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Want {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// The beginning of an id, at least [`BEGINNING_MIN`] digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// Answers [`Answer::Points`], newest first.
    List(Want),
    /// Answers [`Answer::Manifest`] for the newest that is meant: one, or as many
    /// as its pieces take, each with the next of them.
    Show(Want),
    /// Answers one [`Answer::Checked`] for each that is meant.
    Verify { which: Want, depth: Depth },
    /// A point against the host as it is, or against another point. Answers
    /// [`Answer::Differences`].
    Diff { from: Want, to: Option<Want> },
    /// Which points would go. Answers [`Answer::WouldDrop`], in as many as it takes.
    WouldPrune,
    /// Answers one [`Answer::Ready`]. `plugins` are those that the coordinator
    /// would send.
    Ready { service: Option<String>, plugins: Vec<(PluginName, Digest)> },
    /// A sealed [`Order`].
    Order(#[serde(with = "serde_bytes")] Vec<u8>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Depth {
    /// The index and the trees: everything is there.
    Quick,
    /// Every byte.
    Full,
}

/// A person's word about the points of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    pub fleet: FleetId,
    pub host: HostName,
    pub nonce: Nonce,
    pub change: Change,
    pub person: Person,
    pub reason: String,
    pub issued: Timestamp,
    pub expires: Timestamp,
}

impl Payload for Order {
    const TYPE: &'static str = "application/vnd.sternway.point-order.v1+cbor";
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Make a point of a service as the host's configuration describes it, or
    /// of `paths`. Answers [`Answer::Points`] with the new one.
    Create {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        paths: Vec<String>,
        kind: Kind,
        /// One part of the service, for [`Kind::Component`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        component: Option<String>,
        tag: String,
        /// None: as the host finds it out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
        /// Before something is deployed, on a hook's word.
        hook: bool,
    },
    /// Answers [`Answer::Points`].
    Tag { which: Want, tag: String, keep: bool },
    /// Takes a tag away, and the wish to keep it for ever when no tag is named.
    Untag { which: Want, tag: Option<String> },
    /// Drop exactly as many as were shown. Answers [`Answer::Dropped`].
    Prune { confirmed: u32 },
    /// One path of a point. `into` empty: beside what is there, under a name of
    /// its own; `into` the path itself: in its place, and what was there is
    /// kept; elsewhere: only where nothing is. Answers [`Answer::Restored`].
    Restore { which: Want, path: String, into: String },
    /// Restore the newest point of a service beside, compare, take it away.
    /// Answers [`Answer::Drilled`].
    Drill { service: String },
}

impl Ask {
    /// Answered from what is at hand; nothing long goes before it.
    pub fn is_quick(&self) -> bool {
        matches!(self, Self::List(_) | Self::Show(_) | Self::Ready { .. })
    }
}

impl Change {
    /// As it is typed and kept in the audit.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Tag { .. } => "tag",
            Self::Untag { .. } => "untag",
            Self::Prune { .. } => "prune",
            Self::Restore { .. } => "restore",
            Self::Drill { .. } => "drill",
        }
    }
}

/// For people, without the verb.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { service, paths, kind, component, tag, version, hook } => {
                f.write_str(kind.name())?;
                component.iter().try_for_each(|component| write!(f, " {component}"))?;
                service.iter().try_for_each(|service| write!(f, " of {service}"))?;
                paths.iter().try_for_each(|path| write!(f, " {path}"))?;
                version.iter().try_for_each(|version| write!(f, " version {version}"))?;
                write!(f, " as {tag}")?;
                if *hook { f.write_str(", by a hook") } else { Ok(()) }
            }
            Self::Tag { which, tag, keep } => {
                write!(f, "{which} as {tag}")?;
                if *keep { f.write_str(", kept for ever") } else { Ok(()) }
            }
            Self::Untag { which, tag: Some(tag) } => write!(f, "{tag} of {which}"),
            Self::Untag { which, tag: None } => write!(f, "{which}, no longer kept for ever"),
            Self::Prune { confirmed } => write!(f, "{confirmed} points"),
            Self::Restore { which, path, into } => write!(f, "{path} of {which} to {into}"),
            Self::Drill { service } => f.write_str(service),
        }
    }
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words: Vec<String> = self.id.iter().cloned().collect();
        words.extend(self.service.iter().map(|service| format!("of {service}")));
        words.extend(self.kind.iter().map(|kind| kind.name().to_owned()));
        words.extend(self.tag.iter().map(|tag| format!("tagged {tag}")));
        match words.is_empty() {
            true => f.write_str("any point"),
            false => f.write_str(&words.join(" ")),
        }
    }
}

/// What a host answers, in as many messages as it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    Points(Vec<Point>),
    Manifest {
        point: Box<Point>,
        manifest: Box<Manifest>,
        /// Where the repository lies.
        location: String,
        /// What `restic` calls the point now.
        snapshot: String,
    },
    Checked(Box<Point>),
    Differences(Vec<Difference>),
    WouldDrop {
        drop: Vec<Dropped>,
        stay: Vec<(PointId, Vec<Why>)>,
    },
    Dropped {
        points: u32,
        bytes: u64,
    },
    Restored {
        path: String,
        entries: u64,
        bytes: u64,
        /// Where what was there before is kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        old: Option<String>,
    },
    Drilled {
        service: String,
        drill: Drill,
    },
    Ready(Vec<Facts>),
    /// The newest word on a long piece of work; droppable.
    Progress(Progress),
    /// Asked in vain: what was tried and why not.
    Refused {
        code: String,
        reason: String,
    },
    /// Nothing follows.
    Done,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// In a word or two: reading, checking, restoring.
    pub stage: String,
    pub done: u64,
    pub total: Option<u64>,
    pub unit: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dropped {
    pub point: Point,
    /// What its going frees at the least, in bytes.
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    pub path: String,
    pub kind: DifferenceKind,
    /// In a few words: sizes, modes, owners.
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DifferenceKind {
    /// There and not in the point.
    Added,
    /// In the point and not there.
    Removed,
    Content,
    /// Owner, mode, times, attributes.
    Metadata,
}

#[cfg(test)]
mod tests;
