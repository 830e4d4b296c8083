//! Durable notes of this step in this run, typed.
//!
//! The host's journal keeps the first note and the first value of each mark
//! for good. What changes is therefore a row of marks, the last of which counts.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::guest::{decode, encode};
use crate::host::journal::{self, Mark};

/// Far more than a run has attempts.
const ROW_MAX: u32 = 1_000;
const KEY_BYTES_MAX: usize = 200;

/// Runs `act` at most once to its end: a later try gets the first one's value.
/// A try that died half-way is run again, so `act` has to bear that.
pub fn once<T, E>(key: &str, act: impl FnOnce() -> Result<T, E>) -> Result<T, E>
where
    T: Serialize + DeserializeOwned,
    E: From<Error>,
{
    let key = short(key);
    if let Mark::Finished(value) = journal::begin(&key, &[])? {
        return Ok(decode(&value)?);
    }
    let value = act()?;
    journal::finish(&key, &encode(&value)?)?;
    Ok(value)
}

/// Keeps `value` on the first try; every later try gets that first value.
pub fn first<T: Serialize + DeserializeOwned>(key: &str, value: T) -> Result<T, Error> {
    if let Some(first) = recall(key)? {
        return Ok(first);
    }
    keep(key, &value)?;
    Ok(value)
}

/// Keeps `value`; from now on, after any crash, [`recall`] answers it.
pub fn keep<T: Serialize>(key: &str, value: &T) -> Result<(), Error> {
    let bytes = encode(value)?;
    for key in row(key) {
        match journal::begin(&key, &bytes)? {
            Mark::Fresh => return Ok(()),
            Mark::Started(note) if note.is_empty() => return journal::finish(&key, &bytes),
            Mark::Started(_) | Mark::Finished(_) => {}
        }
    }
    Err(full(key))
}

/// What was kept last under `key`.
pub fn recall<T: DeserializeOwned>(key: &str) -> Result<Option<T>, Error> {
    let mut last = None;
    for key in row(key) {
        match journal::begin(&key, &[])? {
            Mark::Started(value) | Mark::Finished(value) if !value.is_empty() => last = Some(value),
            // Asked about, not kept: `keep` goes on from here.
            Mark::Fresh | Mark::Started(_) | Mark::Finished(_) => {
                return last.map(|value| decode(&value)).transpose();
            }
        }
    }
    Err(full(key))
}

fn row(key: &str) -> impl Iterator<Item = String> {
    let key = short(key);
    (0..ROW_MAX).map(move |place| format!("{key} #{place}"))
}

/// A host takes keys of 256 bytes, and paths are longer: the end of a long key
/// is kept, and a checksum stands for the whole.
fn short(key: &str) -> String {
    if key.len() <= KEY_BYTES_MAX {
        return key.to_owned();
    }
    // FNV-1a: keys of one step are few and no enemy writes them.
    let sum = key
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut from = key.len() - KEY_BYTES_MAX;
    while !key.is_char_boundary(from) {
        from += 1;
    }
    format!("{sum:016x} {}", &key[from..])
}

fn full(key: &str) -> Error {
    Error::failed("step/journal-full", format!("`{key}` was noted {ROW_MAX} times"))
}

#[cfg(test)]
mod tests {
    use super::{KEY_BYTES_MAX, short};

    #[test]
    fn long_keys_become_short_and_stay_apart() {
        let long = |first: &str| format!("exchange /{first}/{}", "ä/".repeat(200));
        assert_eq!(short("exchange /etc/a"), "exchange /etc/a");
        assert_ne!(short(&long("a")), short(&long("b")));
        assert!(short(&long("a")).len() <= KEY_BYTES_MAX + 17);
    }
}
