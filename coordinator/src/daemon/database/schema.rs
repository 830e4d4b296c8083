//! The tables, and the settings without which a commit would not be one.

use rusqlite::Connection;

/// Of the file; a program reads exactly its own.
pub(super) const FORMAT: i64 = 2;
/// Before it, a checkpoint could overwrite a write-ahead log that was still needed.
pub(super) const SQLITE_MIN: i32 = 3_051_003;

/// Append-only but for `meta`, `counters`, `hosts`, `quarantine`, `strange_runs`,
/// the newest orders of a rollout, and what mirrors a rollout's entries: its
/// standing, `halts`, `gates` and `places`. `transitions` keeps the newest only.
const TABLES: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE transitions (
    number INTEGER PRIMARY KEY,
    opening INTEGER NOT NULL,
    count INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    UNIQUE (opening, count)
) STRICT;
CREATE TABLE rollouts (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    plan BLOB NOT NULL UNIQUE,
    sealed BLOB NOT NULL,
    launched_by TEXT NOT NULL,
    launched_at INTEGER NOT NULL,
    signers BLOB NOT NULL,
    without BLOB NOT NULL,
    undo_order BLOB,
    phase TEXT NOT NULL DEFAULT 'ready',
    halted INTEGER NOT NULL DEFAULT 0,
    held INTEGER NOT NULL DEFAULT 0,
    slots_max INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    failed_max INTEGER NOT NULL DEFAULT 0,
    silent INTEGER NOT NULL DEFAULT 0,
    silent_max INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TRIGGER plans_stay BEFORE UPDATE OF id, plan, sealed ON rollouts
BEGIN SELECT RAISE(ABORT, 'the plan of a rollout never changes'); END;
CREATE TABLE entries (
    rollout TEXT NOT NULL REFERENCES rollouts (id),
    sequence INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
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
CREATE TABLE halts (
    rollout TEXT NOT NULL REFERENCES rollouts (id),
    since INTEGER NOT NULL,
    until INTEGER,
    PRIMARY KEY (rollout, since)
) STRICT, WITHOUT ROWID;
CREATE TABLE gates (
    rollout TEXT NOT NULL REFERENCES rollouts (id),
    wave INTEGER NOT NULL,
    opened INTEGER,
    passed INTEGER,
    PRIMARY KEY (rollout, wave)
) STRICT, WITHOUT ROWID;
CREATE TABLE places (
    rollout TEXT NOT NULL REFERENCES rollouts (id),
    host TEXT NOT NULL,
    wave INTEGER NOT NULL,
    state TEXT NOT NULL,
    slot TEXT NOT NULL,
    holds INTEGER NOT NULL,
    slot_entry INTEGER,
    permit_entry INTEGER,
    nonce INTEGER,
    PRIMARY KEY (rollout, host)
) STRICT, WITHOUT ROWID;
CREATE INDEX slots_of_rollout ON places (rollout) WHERE holds = 1;
CREATE INDEX slots_of_host ON places (host) WHERE holds = 1;
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
    plan BLOB,
    finished INTEGER NOT NULL,
    told BLOB NOT NULL,
    PRIMARY KEY (host, journal, sequence)
) STRICT, WITHOUT ROWID;
CREATE INDEX finished_runs ON host_events (host, plan) WHERE finished = 1;
CREATE TABLE hosts (
    name TEXT PRIMARY KEY,
    journal BLOB NOT NULL,
    acked INTEGER NOT NULL,
    claimed INTEGER NOT NULL,
    last_heard INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE quarantine (
    host TEXT PRIMARY KEY,
    since INTEGER NOT NULL,
    journal BLOB NOT NULL,
    other BLOB,
    reason TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE strange_runs (
    host TEXT PRIMARY KEY,
    plan BLOB NOT NULL,
    rollout TEXT NOT NULL,
    settled INTEGER NOT NULL
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

/// Sets the connection up; nothing is written yet.
pub(super) fn connect(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA locking_mode = EXCLUSIVE", [], |_| Ok(()))?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")
}

/// Makes the tables of a new file, and returns its format.
pub(super) fn prepare(connection: &Connection) -> rusqlite::Result<i64> {
    let format = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if format != 0 {
        return Ok(format);
    }
    connection
        .execute_batch(&format!("BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {FORMAT}; COMMIT;"))?;
    Ok(FORMAT)
}
