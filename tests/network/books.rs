//! What the coordinator's database holds, read when nobody has it open.

use std::collections::BTreeMap;

use rusqlite::Connection;
use sternway_core::run::Told;

use crate::host::Trace;
use crate::site::{HOSTS, Site};

/// Newest record of each host that is committed.
pub(crate) type Committed = BTreeMap<String, u64>;

/// Every host's records must be a gap-free prefix of its journal; returns how long.
pub(crate) fn check(site: &Site, seen: &Trace) -> Result<Committed, String> {
    let mut committed = Committed::new();
    if !site.database().exists() {
        return Ok(committed);
    }
    let books = Connection::open(site.database()).map_err(|cause| cause.to_string())?;
    for (name, shown) in HOSTS.iter().zip(&seen.shown) {
        let rows = rows(&books, name).map_err(|cause| cause.to_string())?;
        for (at, (sequence, told)) in rows.iter().enumerate() {
            if *sequence != at as u64 + 1 {
                return Err(format!("{name}: record {sequence} is committed as number {}", at + 1));
            }
            // What the journal writes for itself says nothing to others.
            let of_run = shown.records.iter().find(|event| event.sequence == *sequence);
            let wanted = of_run.map_or(&Told::Internal, |event| &event.told);
            if wanted != told {
                return Err(format!("{name}: record {sequence} is committed as {told:?}, and is {wanted:?}"));
            }
        }
        committed.insert((*name).to_owned(), rows.len() as u64);
    }
    Ok(committed)
}

fn rows(books: &Connection, host: &str) -> rusqlite::Result<Vec<(u64, Told)>> {
    let mut statement =
        books.prepare("SELECT sequence, told FROM host_events WHERE host = ?1 ORDER BY sequence")?;
    let rows = statement.query_map([host], |row| {
        let told: Vec<u8> = row.get(1)?;
        Ok((row.get(0)?, ciborium::from_reader(&told[..]).expect("it was written as CBOR")))
    })?;
    rows.collect()
}
