//! What the coordinator knows for certain: one SQLite file, one writer, and
//! nothing told to anybody before it is committed here.
//!
//! The file belongs to one process: a lock beside it and SQLite's exclusive
//! mode keep a second coordinator out. `epoch` grows by one at each opening, so
//! that hosts tell the newest coordinator from one that was set back.

mod read;
mod schema;
mod write;

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _};

pub use read::{HostRow, Page, RolloutRow, Stored};
pub use write::{AuditRow, Commit};

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
    /// Held for as long as the database is open.
    _lock: File,
}

impl Database {
    /// Opens or makes `coordinator.db` under `data`; takes the next epoch.
    pub fn open(data: &Path) -> Result<Self, OpenError> {
        let folder = |cause| OpenError::Folder { path: data.into(), cause };
        std::fs::create_dir_all(data).map_err(folder)?;
        let lock_path = data.join("coordinator.lock");
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path).map_err(folder)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Held(data.into())),
            Err(TryLockError::Error(cause)) => return Err(folder(cause)),
        }
        let path = data.join("coordinator.db");
        let odd = |cause| OpenError::Sqlite { path: path.clone(), cause };
        let connection = Connection::open(&path).map_err(odd)?;
        let format = schema::prepare(&connection).map_err(odd)?;
        if format != schema::FORMAT {
            return Err(OpenError::Format { path, found: format });
        }
        let keys = link_keys(&connection, &path)?;
        let epoch = take_epoch(&connection).map_err(odd)?;
        Ok(Self { connection, epoch, keys, _lock: lock })
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
