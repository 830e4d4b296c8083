//! The tables, and the settings without which a commit would not be one.

use rusqlite::Connection;

/// Of the file; a program reads exactly its own.
pub(super) const FORMAT: i64 = 1;

/// Append-only but for `meta`, `counters`, `hosts` and the newest order of a rollout.
const TABLES: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE rollouts (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    plan BLOB NOT NULL UNIQUE,
    sealed BLOB NOT NULL,
    launched_by TEXT NOT NULL,
    launched_at INTEGER NOT NULL,
    signers BLOB NOT NULL,
    without BLOB NOT NULL,
    undo_order BLOB
) STRICT;
CREATE TABLE entries (
    rollout TEXT NOT NULL REFERENCES rollouts (id),
    sequence INTEGER NOT NULL,
    at INTEGER NOT NULL,
    input BLOB NOT NULL,
    PRIMARY KEY (rollout, sequence)
) STRICT, WITHOUT ROWID;
CREATE TABLE host_orders (
    rollout TEXT NOT NULL REFERENCES rollouts (id),
    host TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (rollout, host)
) STRICT, WITHOUT ROWID;
CREATE TABLE lines (
    sequence INTEGER PRIMARY KEY,
    rollout TEXT NOT NULL,
    host TEXT,
    at INTEGER NOT NULL,
    what BLOB NOT NULL
) STRICT;
CREATE INDEX lines_of_rollout ON lines (rollout, sequence);
CREATE TABLE host_events (
    host TEXT NOT NULL,
    journal BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    at INTEGER NOT NULL,
    told BLOB NOT NULL,
    PRIMARY KEY (host, journal, sequence)
) STRICT, WITHOUT ROWID;
CREATE TABLE hosts (
    name TEXT PRIMARY KEY,
    journal BLOB NOT NULL,
    acked INTEGER NOT NULL,
    last_heard INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    person TEXT NOT NULL,
    action TEXT NOT NULL,
    rollout TEXT,
    detail TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT;
";

/// Sets the connection up, makes the tables of a new file, and returns its format.
pub(super) fn prepare(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA locking_mode = EXCLUSIVE", [], |_| Ok(()))?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")?;
    let format = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if format != 0 {
        return Ok(format);
    }
    connection
        .execute_batch(&format!("BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {FORMAT}; COMMIT;"))?;
    Ok(FORMAT)
}
