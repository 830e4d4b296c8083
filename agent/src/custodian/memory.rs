//! What the custodian remembers of its schedules and of its scrub, over
//! restarts. When it is lost the schedules begin anew with their next time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sternway_core::time::Timestamp;

use super::schedule::Past;
use crate::durable::{self, DurableError};

const FORMAT: &str = "sternway.schedules/1";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    format: String,
    /// By name.
    #[serde(default)]
    pub schedules: BTreeMap<String, Past>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scrub: Option<Past>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycle: Option<Cycle>,
}

/// Reading everything that is stored, part by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cycle {
    pub parts: u32,
    /// Counted from 0.
    pub next: u32,
    /// When its first part was begun.
    pub began: Timestamp,
    /// Nothing wrong was found so far.
    pub is_clean: bool,
}

impl Cycle {
    /// A new one, unless `old` is one of as many parts.
    pub fn go_on(old: Option<Self>, parts: u32, now: Timestamp) -> Self {
        match old {
            Some(old) if old.parts == parts && old.next < parts && old.began <= now => old,
            _ => Self { parts, next: 0, began: now, is_clean: true },
        }
    }

    /// After the next part was read. The cycle that goes on, none at its end;
    /// and since when everything is known to be whole, if that is known.
    pub fn after(self, is_clean: bool) -> (Option<Self>, Option<Timestamp>) {
        let is_clean = self.is_clean && is_clean;
        match self.next + 1 < self.parts {
            true => (Some(Self { next: self.next + 1, is_clean, ..self }), None),
            false => (None, is_clean.then_some(self.began)),
        }
    }
}

/// In how many parts everything is read, at so many per cent a time.
pub(super) fn parts_of(share: u8) -> Option<u32> {
    (share > 0).then(|| 100_u32.div_ceil(u32::from(share.min(100))))
}

/// The file.
#[derive(Debug, Clone)]
pub struct MemoryFile {
    folder: PathBuf,
}

impl MemoryFile {
    /// Of the agent whose state is in this folder.
    pub fn of(state: &Path) -> Self {
        Self { folder: super::folder_of(state) }
    }

    fn path(&self) -> PathBuf {
        self.folder.join("schedules.json")
    }

    /// What is remembered; nothing when the file is missing or damaged.
    pub fn read(&self) -> Memory {
        let fresh = Memory { format: FORMAT.into(), ..Memory::default() };
        match std::fs::read(self.path()) {
            Ok(bytes) => match serde_json::from_slice::<Memory>(&bytes) {
                Ok(memory) if memory.format == FORMAT => memory,
                Ok(_) | Err(_) => {
                    tracing::warn!("what was remembered of schedules cannot be understood, and begins anew");
                    fresh
                }
            },
            Err(cause) => {
                if cause.kind() != std::io::ErrorKind::NotFound {
                    tracing::warn!(%cause, "what was remembered of schedules cannot be read");
                }
                fresh
            }
        }
    }

    /// # Errors
    /// Any failure of the file system: the old memory stands.
    pub fn write(&self, memory: &Memory) -> Result<(), DurableError> {
        durable::create_directories(&self.folder, 0o700)?;
        let text = serde_json::to_string(memory).expect("names and numbers are JSON");
        durable::write(&self.path(), 0o600, format!("{text}\n").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_bytes_every_day_is_all_of_them_after_a_while() {
        assert_eq!(parts_of(0), None);
        assert_eq!(parts_of(100), Some(1));
        assert_eq!(parts_of(15), Some(7));
        assert_eq!(parts_of(1), Some(100));
        let began = Timestamp(5);
        let (mut cycle, mut read) = (None, Vec::new());
        let whole = loop {
            let now = Cycle::go_on(cycle, 3, Timestamp(5 + read.len() as u64));
            read.push(now.next);
            let (next, whole) = now.after(true);
            cycle = next;
            if cycle.is_none() {
                break whole;
            }
        };
        assert_eq!((read, whole), (vec![0, 1, 2], Some(began)));
    }

    #[test]
    fn a_cycle_that_found_something_proves_nothing_and_another_share_begins_anew() {
        let first = Cycle::go_on(None, 2, Timestamp(1));
        let (second, _) = first.after(false);
        assert_eq!(second.unwrap().after(true), (None, None));
        let other = Cycle::go_on(second, 3, Timestamp(9));
        assert_eq!((other.next, other.began), (0, Timestamp(9)));
        let clock_back = Cycle::go_on(Some(Cycle { began: Timestamp(99), ..first }), 2, Timestamp(9));
        assert_eq!(clock_back.began, Timestamp(9));
    }

    #[test]
    fn what_was_remembered_is_there_after_a_restart_and_damage_is_no_end() {
        let state = tempfile::tempdir().unwrap();
        let file = MemoryFile::of(state.path());
        let mut memory = file.read();
        let mut past = Past::new(Timestamp(1));
        past.failed(Timestamp(2), "no space".into());
        memory.schedules.insert("nightly".into(), past);
        memory.cycle = Some(Cycle::go_on(None, 7, Timestamp(3)));
        file.write(&memory).unwrap();
        assert_eq!(MemoryFile::of(state.path()).read(), memory);
        std::fs::write(file.path(), "{").unwrap();
        assert!(file.read().schedules.is_empty());
    }
}
