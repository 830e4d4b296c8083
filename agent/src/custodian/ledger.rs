//! Which signed orders this host has taken. An order is written down before it
//! is acted upon, so that nothing is obeyed twice, not even after a restart in
//! the middle.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sternway_core::ids::Nonce;
use sternway_core::time::{Millis, Timestamp};

use crate::durable::{self, DurableError};

const FORMAT: &str = "sternway.orders-taken/1";
/// An order is remembered for so long after it has expired, and the clock may
/// go back so far: together no order comes back to life.
const SLACK: Millis = Millis::seconds(60);

#[derive(Debug, thiserror::Error)]
pub(super) enum LedgerError {
    #[error("replayed: this host has taken this order before")]
    Replayed,
    #[error("this host's clock went back by {by}")]
    ClockBack { by: Millis },
    #[error("could not read which orders were taken from `{}`; look whether the disk is sound, then remove it", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("the order could not be written down, so it is not obeyed")]
    Unwritten(#[from] DurableError),
}

#[derive(Debug, Serialize, Deserialize)]
struct Taken {
    format: String,
    /// When the newest order was taken.
    newest: Timestamp,
    /// Until when each can be in force.
    orders: BTreeMap<Nonce, Timestamp>,
}

#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
}

impl Ledger {
    /// The file is made with the first order.
    pub(super) fn new(folder: &Path) -> Self {
        Self { path: folder.join("orders.json") }
    }

    /// Writes down that an order is taken at `now`; it is on disk when this returns.
    ///
    /// # Errors
    /// It was taken before, or that cannot be told or kept: then it must not be obeyed.
    pub(super) fn take(
        &mut self,
        nonce: Nonce,
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let mut taken = self.read()?;
        if taken.newest > now + SLACK {
            return Err(LedgerError::ClockBack { by: taken.newest.since(now) });
        }
        if taken.orders.contains_key(&nonce) {
            return Err(LedgerError::Replayed);
        }
        taken.orders.retain(|_, expires| *expires + SLACK > now);
        taken.orders.insert(nonce, expires);
        taken.newest = taken.newest.max(now);
        let text = serde_json::to_string(&taken).expect("names and numbers are JSON");
        Ok(durable::write(&self.path, 0o600, format!("{text}\n").as_bytes())?)
    }

    fn read(&self) -> Result<Taken, LedgerError> {
        let unreadable = |cause| LedgerError::Unreadable { path: self.path.clone(), cause };
        match std::fs::read(&self.path) {
            Ok(bytes) => {
                let taken: Taken =
                    serde_json::from_slice(&bytes).map_err(|cause| unreadable(io::Error::other(cause)))?;
                match taken.format == FORMAT {
                    true => Ok(taken),
                    false => Err(unreadable(io::Error::other(format!("`{}` is not known", taken.format)))),
                }
            }
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                Ok(Taken { format: FORMAT.into(), newest: Timestamp::default(), orders: BTreeMap::new() })
            }
            Err(cause) => Err(unreadable(cause)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    #[test]
    fn an_order_is_taken_once_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (nonce, expires) = (Nonce([7; 16]), NOW + Millis::minutes(10));
        Ledger::new(folder.path()).take(nonce, expires, NOW).unwrap();
        let again = Ledger::new(folder.path()).take(nonce, expires, NOW + Millis::minutes(5));
        assert!(matches!(again, Err(LedgerError::Replayed)), "{again:?}");
        Ledger::new(folder.path()).take(Nonce([8; 16]), expires, NOW).unwrap();
    }

    #[test]
    fn what_has_expired_is_forgotten_and_a_clock_set_back_does_not_revive_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::new(folder.path());
        let (old, expires) = (Nonce([1; 16]), NOW + Millis::minutes(10));
        ledger.take(old, expires, NOW).unwrap();
        let later = NOW + Millis::hours(2);
        ledger.take(Nonce([2; 16]), later + Millis::hours(1), later).unwrap();
        assert_eq!(ledger.read().unwrap().orders.len(), 1, "the file does not grow for ever");
        let replayed = ledger.take(old, expires, NOW + Millis::minutes(9));
        assert!(matches!(replayed, Err(LedgerError::ClockBack { .. })), "{replayed:?}");
    }

    #[test]
    fn a_ledger_that_cannot_be_read_or_written_lets_nothing_through() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::new(folder.path());
        for bad in ["", "{", r#"{"format":"sternway.orders-taken/9","newest":0,"orders":{}}"#] {
            std::fs::write(folder.path().join("orders.json"), bad).unwrap();
            let refused = ledger.take(Nonce([1; 16]), NOW, NOW);
            assert!(matches!(refused, Err(LedgerError::Unreadable { .. })), "{bad}: {refused:?}");
        }
        let refused = Ledger::new(&folder.path().join("absent")).take(Nonce([1; 16]), NOW, NOW);
        assert!(matches!(refused, Err(LedgerError::Unwritten(_))), "{refused:?}");
    }
}
