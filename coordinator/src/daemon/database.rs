//! What the coordinator knows for certain: one SQLite file, one writer, and
//! nothing told to anybody before it is committed here.
//!
//! The file belongs to one process: a lock beside it and SQLite's exclusive
//! mode keep a second coordinator out. `epoch` grows by one at each opening, so
//! that hosts tell the newest coordinator from one that was set back.

mod checks;
mod claim;
mod read;
mod schema;
mod write;

use std::io;
use std::path::{Path, PathBuf};

use claim::Claim;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _};
use sternway_core::ids::{HostName, RolloutId};

pub use read::{HostRow, Page, Quarantine, RolloutRow, Stored, StrangeRun};
pub use write::{AuditRow, Commit, Move, TransitionId};

/// What to do about a file that cannot be gone on from.
const RESTORE: &str = "nothing was changed; keep this folder, put the newest good copy of it in its place, and \
     start again: hosts tell what the copy has missed (docs/operating.md, \"When the database was restored\")";

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("could not use the data folder `{}`", path.display())]
    Folder {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("another coordinator holds `{}`: two would permit the same hosts twice", .0.display())]
    Held(PathBuf),
    #[error("could not open the database `{}`", path.display())]
    Sqlite {
        path: PathBuf,
        #[source]
        cause: rusqlite::Error,
    },
    #[error("SQLite {found} loses commits in a rare case; at least 3.51.3 is needed")]
    OldSqlite { found: &'static str },
    #[error("the database `{}` is damaged: {}; {RESTORE}", path.display(), found.join("; "))]
    Damaged { path: PathBuf, found: Vec<String> },
    #[error(
        "the database `{}` breaks {name} ({means}): {}; {RESTORE}",
        path.display(),
        rows.join("; ")
    )]
    Broken { path: PathBuf, name: &'static str, means: &'static str, rows: Vec<String> },
    #[error("{what} in the database `{}` cannot be read; {RESTORE}", path.display())]
    Unreadable {
        path: PathBuf,
        what: &'static str,
        #[source]
        cause: StoreError,
    },
    #[error("the database `{}` has format {found}, this program reads {}", path.display(), schema::FORMAT)]
    Format { path: PathBuf, found: i64 },
    #[error("no random bytes for the keys of the link")]
    Random(#[source] getrandom::Error),
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database refused")]
    Sqlite(#[from] rusqlite::Error),
    #[error("a row of the database cannot be read: {0}")]
    Row(String),
    #[error("a row for the database cannot be written: {0}")]
    Unwritable(String),
    /// Another coordinator conducts by now; nothing more may be written here.
    #[error("another coordinator has taken over: {0}")]
    Superseded(String),
    /// The rows do not allow what the machine in memory has decided.
    #[error("the rows of rollout {rollout} do not allow it ({invariant}): {why}{}", of(host.as_ref()))]
    Guard { rollout: RolloutId, host: Option<HostName>, invariant: &'static str, why: &'static str },
}

fn of(host: Option<&HostName>) -> String {
    host.map_or_else(String::new, |host| format!(" ({host})"))
}

impl StoreError {
    fn guard(
        rollout: &RolloutId,
        host: Option<&HostName>,
        invariant: &'static str,
        why: &'static str,
    ) -> Self {
        Self::Guard { rollout: rollout.clone(), host: host.cloned(), invariant, why }
    }
}

/// Keys that outlive the process, so that agents notice a restart at once.
#[derive(Clone, Copy)]
pub struct LinkKeys {
    pub reset: [u8; 64],
    pub connection_id: u64,
}

impl std::fmt::Debug for LinkKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkKeys(..)")
    }
}

#[derive(Debug)]
pub struct Database {
    connection: Connection,
    epoch: u64,
    keys: LinkKeys,
    claim: Claim,
}

impl Database {
    /// Opens or makes `coordinator.db` under `data`, checks what it holds, and
    /// takes the next epoch. A file that is not as it has to be is left alone.
    pub fn open(data: &Path) -> Result<Self, OpenError> {
        if rusqlite::version_number() < schema::SQLITE_MIN {
            return Err(OpenError::OldSqlite { found: rusqlite::version() });
        }
        let mut claim = Claim::take(data)?;
        let path = claim.database_path();
        let odd = |cause| odd(&path, data, cause);
        let connection = Connection::open(&path).map_err(odd)?;
        schema::connect(&connection).map_err(odd)?;
        let found = checks::pages(&connection).map_err(odd)?;
        if !found.is_empty() {
            return Err(OpenError::Damaged { path, found });
        }
        let format = schema::prepare(&connection).map_err(odd)?;
        if format != schema::FORMAT {
            return Err(OpenError::Format { path, found: format });
        }
        if let Some((check, rows)) = checks::broken(&connection).map_err(odd)? {
            return Err(OpenError::Broken { path, name: check.name, means: check.means, rows });
        }
        claim.remember_database();
        let keys = link_keys(&connection, &path)?;
        let mut database = Self { connection, epoch: 0, keys, claim };
        checks::audit_is_whole(&database)?;
        database.epoch = take_epoch(&database.connection).map_err(odd)?;
        Ok(database)
    }

    fn path(&self) -> PathBuf {
        self.claim.database_path()
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    pub fn keys(&self) -> LinkKeys {
        self.keys
    }

    /// Moves the journal's pages into the file; the last thing before the end.
    pub fn close(self) -> Result<(), StoreError> {
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }
}

fn odd(path: &Path, data: &Path, cause: rusqlite::Error) -> OpenError {
    match cause.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Held(data.into()),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            OpenError::Damaged { path: path.into(), found: vec![cause.to_string()] }
        }
        _ => OpenError::Sqlite { path: path.into(), cause },
    }
}

fn meta(connection: &Connection, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()
}

fn link_keys(connection: &Connection, path: &Path) -> Result<LinkKeys, OpenError> {
    let odd = |cause| OpenError::Sqlite { path: path.into(), cause };
    let fixed = |bytes: Option<Vec<u8>>| bytes.and_then(|bytes| <[u8; 72]>::try_from(bytes).ok());
    let bytes = match fixed(meta(connection, "link_keys").map_err(odd)?) {
        Some(bytes) => bytes,
        None => {
            let mut bytes = [0; 72];
            getrandom::fill(&mut bytes).map_err(OpenError::Random)?;
            connection
                .execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('link_keys', ?1)", [&bytes[..]])
                .map_err(odd)?;
            bytes
        }
    };
    let (reset, id) = bytes.split_at(64);
    Ok(LinkKeys {
        reset: reset.try_into().expect("64 of 72 bytes"),
        connection_id: u64::from_be_bytes(id.try_into().expect("the other 8")),
    })
}

fn take_epoch(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row(
        "INSERT INTO counters (name, value) VALUES ('epoch', 1)
         ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value",
        [],
        |row| row.get(0),
    )
}

#[cfg(test)]
mod tests;
