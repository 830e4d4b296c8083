//! A tree staged as a copy of what is live with something changed in it.
//! Programs go on writing to the live tree until an earlier step stops them, so
//! the copy is made again when the tree is no longer the one it was made of.

use serde::{Deserialize, Serialize};

use crate::exchange::{self, Standing};
use crate::host::files::{self, Place};
use crate::{Error, memory};

/// What the journal keeps of one copy.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Note {
    /// Digest of the live tree it was made of.
    from: String,
    /// Digest of the copy with its change.
    to: String,
}

/// Stages a copy of `path` and lets `change` work on it; answers its digest.
/// Called again, it begins anew.
pub fn stage(path: &str, change: impl FnOnce() -> Result<(), Error>) -> Result<String, Error> {
    let from = files::stage_copy(path)?.sha256;
    change()?;
    let to = exchange::digest(Place::Side, path)?
        .ok_or_else(|| Error::failed("recopy/no-copy", format!("the copy of {path} is gone")))?;
    memory::keep(&key(path), &Note { from, to: to.clone() })?;
    Ok(to)
}

/// Makes `path` hold the changed copy, as [`exchange::put`] does, from a new one
/// when somebody wrote to the live tree since. Answers the digest that stands
/// there now, and whether this step changed it.
pub fn put(path: &str, change: impl FnOnce() -> Result<(), Error>) -> Result<(String, bool), Error> {
    let note: Note = memory::recall(&key(path))?
        .ok_or_else(|| Error::invalid("recopy/not-staged", format!("nothing was staged for {path}")))?;
    let mut to = note.to;
    if exchange::standing(path)? == Standing::Before {
        let live = exchange::digest(Place::Live, path)?;
        if live.as_ref() != Some(&note.from) && live.as_ref() != Some(&to) {
            to = stage(path, change)?;
        }
    }
    let changed = exchange::put(path, Some(&to))?;
    Ok((to, changed))
}

fn key(path: &str) -> String {
    format!("recopy {path}")
}
