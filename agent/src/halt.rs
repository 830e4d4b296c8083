//! The halt of this host: a file, so that it holds without an agent, without a
//! coordinator, and after any restart. That it is there is what counts.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sternway_core::time::Timestamp;

use crate::durable::{self, DurableError};

/// Who halted this host, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halt {
    pub by: String,
    pub reason: String,
    pub at: Timestamp,
}

#[derive(Debug, Clone)]
pub struct HaltFlag {
    path: PathBuf,
}

impl HaltFlag {
    /// Of the agent whose state is in this folder.
    pub fn of(state: &Path) -> Self {
        Self { path: state.join("halted") }
    }

    /// The halt in force. A flag that cannot be read is one all the same.
    pub fn read(&self) -> Option<Halt> {
        let unreadable = |reason: String| Halt { by: "somebody".into(), reason, at: Timestamp::default() };
        match std::fs::read(&self.path) {
            Ok(bytes) => Some(
                serde_json::from_slice(&bytes)
                    .unwrap_or_else(|cause| unreadable(format!("the flag cannot be understood: {cause}"))),
            ),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => None,
            Err(cause) => Some(unreadable(format!("the flag cannot be read: {cause}"))),
        }
    }

    /// Returns when the halt is on disk.
    ///
    /// # Errors
    /// Any failure of the file system: then nothing is halted that was not before.
    pub fn set(&self, halt: &Halt) -> Result<(), DurableError> {
        let text = serde_json::json!({ "by": halt.by, "reason": halt.reason, "at": halt.at });
        // Readable for an agent that is not who typed it; the folder is closed to others.
        durable::write(&self.path, 0o644, format!("{text}\n").as_bytes())
    }

    /// Returns when its absence is on disk.
    ///
    /// # Errors
    /// Any failure of the file system: then the halt stands.
    pub fn clear(&self) -> Result<(), DurableError> {
        durable::remove(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_halt_is_there_until_it_is_cleared_and_a_damaged_flag_is_a_halt() {
        let state = tempfile::tempdir().unwrap();
        let flag = HaltFlag::of(state.path());
        assert_eq!(flag.read(), None);
        let halt = Halt { by: "root".into(), reason: "smoke".into(), at: Timestamp(7) };
        flag.set(&halt).unwrap();
        assert_eq!(HaltFlag::of(state.path()).read(), Some(halt));
        durable::write(&state.path().join("halted"), 0o644, b"{").unwrap();
        assert!(flag.read().is_some_and(|halt| halt.reason.contains("cannot be understood")));
        flag.clear().unwrap();
        flag.clear().unwrap();
        assert_eq!(flag.read(), None);
    }
}
