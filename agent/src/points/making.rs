//! A point that is to be made: what it is for, and everything that goes in.

use std::io::{self, Read};
use std::sync::Arc;

use sternway_core::point::{Kind, Origin, PieceKind, Progress};

use crate::capabilities::files::HostPath;

/// Hears how far a long piece of work is. Droppable: it must not block.
pub type Watch = Arc<dyn Fn(Progress) + Send + Sync>;

/// Hears nothing.
pub fn nobody() -> Watch {
    Arc::new(|_| {})
}

/// Everything that a point is made of, before one byte is read.
#[derive(Debug)]
pub struct Making {
    pub service: String,
    pub version: String,
    pub kind: Kind,
    pub origin: Origin,
    /// Plans find it by these.
    pub tags: Vec<String>,
    pub reason: String,
    /// A person's name, or what else made it.
    pub by: String,
    /// Files and folders of this host; each must be there.
    pub paths: Vec<(PieceKind, HostPath)>,
    pub extras: Vec<Extra>,
}

/// Something in a point that is no file of the host: what a program says, a dump.
pub struct Extra {
    pub kind: PieceKind,
    /// What people call it: a unit, a database.
    pub name: String,
    /// Name of the file that holds it, unique within its kind: letters, digits, `-`, `_`, `.`.
    pub file: String,
    /// In a line, for people.
    pub note: String,
    pub content: Content,
}

/// Opened only when its turn comes, read once to its end. The reader's last
/// answer is an error when what it read is not whole: a program that failed.
pub type Open = Box<dyn FnOnce() -> io::Result<Box<dyn Read + Send>> + Send>;

/// As [`Open`], with how many bytes the reader gives; it gives neither more nor less.
pub type OpenMeasured = Box<dyn FnOnce() -> io::Result<(Box<dyn Read + Send>, u64)> + Send>;

pub enum Content {
    Bytes(Vec<u8>),
    /// Of a length that is not known beforehand.
    Stream(Open),
    /// Of a length that is known before it is read: a copy that was made for it.
    Measured(OpenMeasured),
}

impl std::fmt::Debug for Extra {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Extra").field("kind", &self.kind).field("name", &self.name).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bytes(_) => "Bytes",
            Self::Stream(_) => "Stream",
            Self::Measured(_) => "Measured",
        })
    }
}
