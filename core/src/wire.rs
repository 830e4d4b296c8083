//! The messages of both links, and how they are framed. Not one byte of the
//! framing knows that it is QUIC.
//!
//! Each frame is `length: u32, big endian` and that many bytes of CBOR. A
//! length beyond the limit is refused before anything is allocated.

mod agent;
mod frame;
mod operator;
mod point;

pub use agent::{Event, FromAgent, Greeting, PlanHeader, PluginAnswer, PluginAsk, TIMES_MAX, ToAgent};
pub use frame::{Decoder, FRAME_BYTES_MAX, FrameError, OPERATOR_FRAME_BYTES_MAX, decode_frame, encode_frame};
pub use operator::{
    Answer, AtWork, AuditLine, FleetHost, HostLine, LogLine, OperatorError, Request, RolloutLine, RolloutView,
};
pub use point::{POINT_ASKS_MAX, POINTS_IN_FRAME_MAX, PointAnswer, PointAsk, PointSaid};

/// Version of both links; a peer that speaks another is told so and let go.
pub const PROTOCOL: u16 = 1;
/// Application protocols, one per role; a certificate of the other role is refused.
pub const AGENT_ALPN: &[u8] = b"sternway-agent/1";
pub const OPERATOR_ALPN: &[u8] = b"sternway-operator/1";
/// Largest plugin component that is relayed, in bytes.
pub const PLUGIN_BYTES_MAX: usize = 4 * 1024 * 1024;
