//! About rollback points, on streams of their own: the coordinator opens one
//! on an agent's connection with one [`Ask`], and the agent answers in as many
//! frames as it takes, the last of them [`Answer::Done`]. Whoever closes its
//! end calls it off.

use serde::{Deserialize, Serialize};

use crate::ids::HostName;
use crate::point::{Answer, Ask};

/// What is asked of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointAsk {
    pub host: HostName,
    pub ask: Ask,
}

/// What one host said, or that it could not be asked. The last of a host is
/// [`Answer::Done`] or [`PointSaid::Away`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointAnswer {
    pub host: HostName,
    pub said: PointSaid,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PointSaid {
    Answer(Answer),
    /// Not connected, or its connection broke before it was done.
    Away,
}

/// Asks in one request, at most: a request has to fit its frame.
pub const POINT_ASKS_MAX: usize = 512;
/// Entries of a list in one frame, at most.
pub const POINTS_IN_FRAME_MAX: usize = 32;
