//! Whose data folder this is: a lock beside the database, and whether the folder
//! that everybody sees is still the one that is locked. A process that was frozen
//! while its folder was moved away and taken over finds out here.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::OpenError;

const LOCK: &str = "coordinator.lock";
const DATABASE: &str = "coordinator.db";

#[derive(Debug)]
pub(super) struct Claim {
    folder: PathBuf,
    /// Held for as long as the database is open.
    _lock: File,
    lock: (u64, u64),
    database: Option<(u64, u64)>,
}

/// Device and number of a file: what it is, whatever it is called.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Claim {
    pub(super) fn take(folder: &Path) -> Result<Self, OpenError> {
        let failed = |cause| OpenError::Folder { path: folder.into(), cause };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let path = folder.join(LOCK);
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Held(folder.into())),
            Err(TryLockError::Error(cause)) => return Err(failed(cause)),
        }
        let metadata = lock.metadata().map_err(failed)?;
        let held = (metadata.dev(), metadata.ino());
        Ok(Self { folder: folder.into(), _lock: lock, lock: held, database: None })
    }

    pub(super) fn database_path(&self) -> PathBuf {
        self.folder.join(DATABASE)
    }

    /// From here on the database file is known, and has to stay the same.
    pub(super) fn remember_database(&mut self) {
        self.database = identity(&self.database_path()).ok();
    }

    /// Why the folder is not ours any more, if so.
    pub(super) fn lost(&self) -> Option<String> {
        let is = |name: &str, wanted| identity(&self.folder.join(name)).is_ok_and(|found| found == wanted);
        let kept = is(LOCK, self.lock) && self.database.is_none_or(|database| is(DATABASE, database));
        (!kept).then(|| format!("`{}` is not the folder that was opened", self.folder.display()))
    }
}
