//! The only way the agent writes a file that must survive a crash.
//!
//! A reader sees the old bytes or the new ones, never a mixture, and what was
//! acknowledged is still there after the power went.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::{ballast, crash};

/// Why a durable write, or the removal of a file, did not happen.
#[derive(Debug, thiserror::Error)]
#[error("could not {step} `{}`", path.display())]
pub struct DurableError {
    /// What was being done when it failed.
    pub step: &'static str,
    /// The file or directory it was done to.
    pub path: PathBuf,
    #[source]
    cause: io::Error,
}

impl DurableError {
    /// The kind of the input or output error beneath.
    pub fn io_kind(&self) -> io::ErrorKind {
        self.cause.kind()
    }
}

fn at<'a>(step: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> DurableError + 'a {
    move |cause| DurableError { step, path: path.to_path_buf(), cause }
}

/// Writes `bytes` to `path` with exactly the permission bits `mode`, replacing
/// what was there in one step, and returns when file and name are on disk.
///
/// # Errors
/// Any failure of the file system; the old file then stands as it was.
pub fn write(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), DurableError> {
    let is_full = |error: &DurableError| ballast::is_full(error.io_kind());
    ballast::with_room(path, is_full, || try_write(path, mode, bytes))
}

fn try_write(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), DurableError> {
    let directory = directory_of(path);
    let (temporary, mut file) = create_beside(path, mode)?;
    crash::point("durable.created", "");
    let written = file
        .set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))
        .and_then(|()| file.write_all(bytes))
        .inspect(|()| crash::point("durable.written", ""))
        .and_then(|()| file.sync_all())
        .inspect(|()| crash::point("durable.synced", ""))
        .map_err(at("write", &temporary))
        .and_then(|()| fs::rename(&temporary, path).map_err(at("rename into place", path)));
    if let Err(error) = written {
        // The failure above is the one to report; a leftover is overwritten never.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    crash::point("durable.renamed", "");
    sync_directory(directory).inspect(|()| crash::point("durable.done", ""))
}

/// Removes a file and makes its absence durable; absent already is well.
///
/// # Errors
/// Any failure of the file system.
pub fn remove(path: &Path) -> Result<(), DurableError> {
    match fs::remove_file(path) {
        Ok(()) => {
            crash::point("durable.removed", "");
            sync_directory(directory_of(path))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(at("remove", path)(error)),
    }
}

/// Makes `path` and its missing parents, each with `mode`, and syncs their names.
///
/// # Errors
/// Any failure of the file system.
pub fn create_directories(path: &Path, mode: u32) -> Result<(), DurableError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = directory_of(path);
    create_directories(parent, mode)?;
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => sync_directory(parent),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(at("make the directory", path)(error)),
    }
}

/// Makes the names in `directory` durable.
///
/// # Errors
/// Any failure of the file system.
pub fn sync_directory(directory: &Path) -> Result<(), DurableError> {
    File::open(directory).and_then(|opened| opened.sync_all()).map_err(at("sync", directory))
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    }
}

fn create_beside(path: &Path, mode: u32) -> Result<(PathBuf, File), DurableError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    for attempt in 0_u32.. {
        let temporary = directory_of(path).join(format!(".{name}.{}.{attempt}.new", std::process::id()));
        let opened = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary);
        match opened {
            Ok(file) => return Ok((temporary, file)),
            // Another thread of ours, or what a killed process left behind.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 1_000 => {}
            Err(error) => return Err(at("create", &temporary)(error)),
        }
    }
    unreachable!("the loop above returns before the counter ends")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_write_replaces_the_file_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("status");
        write(&path, 0o600, b"old").unwrap();
        write(&path, 0o400, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o400);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_write_that_cannot_be_placed_leaves_the_old_state() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), b"kept").unwrap();
        let error = write(&path, 0o600, b"new").unwrap_err();
        assert_eq!(error.step, "rename into place");
        assert_eq!(fs::read(path.join("inside")).unwrap(), b"kept");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn removing_what_is_not_there_is_well() {
        let directory = tempfile::tempdir().unwrap();
        remove(&directory.path().join("absent")).unwrap();
    }
}
