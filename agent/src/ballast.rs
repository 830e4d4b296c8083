//! Space that is given up when the disk is full: a file in the state directory
//! that holds nothing. With it gone the agent can still write down what it
//! does, be halted, and put back what it began; it is made again when there is
//! room.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::FallocateFlags;

/// Size of the file, in bytes.
pub const BYTES: u64 = 16 * 1024 * 1024;
/// It is made only where this share of the file system stays free beside it, in percent.
const STAYS_FREE: u64 = 10;
/// How often it is looked whether there is room for it again.
const AGAIN_EVERY: Duration = Duration::from_secs(30);

/// State directories of this process that have a ballast, or would like one.
static KEPT: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn file_in(state: &Path) -> PathBuf {
    state.join("ballast")
}

/// Whether the ballast of this state directory is there, and not used.
pub fn is_there(state: &Path) -> bool {
    std::fs::metadata(file_in(state)).is_ok_and(|found| found.len() == BYTES)
}

/// From now on, what this process writes below `state` may use the ballast there.
pub fn keep(state: &Path) {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if !kept.iter().any(|known| known == state) {
        kept.push(state.to_path_buf());
    }
}

/// Makes it, now and whenever there is room again, on a thread of its own.
///
/// # Errors
/// There is no thread for it.
pub fn keep_filled(state: PathBuf) -> io::Result<()> {
    let fill = move || {
        loop {
            match fill(&state) {
                Ok(true) => tracing::info!("ballast is kept for a full disk"),
                Ok(false) => {}
                Err(error) => tracing::debug!(%error, "no room for the ballast"),
            }
            std::thread::sleep(AGAIN_EVERY);
        }
    };
    std::thread::Builder::new().name("ballast".into()).spawn(fill).map(drop)
}

/// Makes the ballast where it is missing and there is room; whether it was made.
///
/// # Errors
/// Any failure of the file system; there is no ballast then.
pub fn fill(state: &Path) -> io::Result<bool> {
    if is_there(state) {
        return Ok(false);
    }
    let stat = rustix::fs::statvfs(state)?;
    let (free, size) = (stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize);
    if free < BYTES + size / 100 * STAYS_FREE {
        return Ok(false);
    }
    let path = file_in(state);
    let made = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .and_then(|file| allocate(&file));
    if let Err(error) = made {
        // Half a ballast is none.
        give_up(state);
        return Err(error);
    }
    Ok(true)
}

fn allocate(file: &File) -> io::Result<()> {
    rustix::fs::fallocate(file, FallocateFlags::empty(), 0, BYTES)?;
    file.sync_all()
}

/// Removes the ballast; false when there was none to give.
fn give_up(state: &Path) -> bool {
    std::fs::remove_file(file_in(state)).is_ok()
}

/// Does `work`, which writes to `path`; when it ends for want of space and the
/// path's state directory has a ballast, gives that up and does it once more.
///
/// # Errors
/// Those of `work`.
pub fn with_room<T, E>(
    path: &Path,
    is_full: impl Fn(&E) -> bool,
    mut work: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    match work() {
        Err(error) if is_full(&error) && give_up_for(path) => {
            tracing::error!(path = %path.display(), "the disk is full: the ballast is given up");
            work()
        }
        done => done,
    }
}

fn give_up_for(path: &Path) -> bool {
    let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    kept.iter().filter(|state| path.starts_with(state)).any(|state| give_up(state))
}

/// Whether a write failed because there was no space, or no more of ours.
pub fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_finds_no_space_is_done_again_in_the_place_of_the_ballast() {
        let state = tempfile::tempdir().unwrap();
        keep(state.path());
        #[expect(clippy::print_stdout, reason = "who reads the tests has to know")]
        if !fill(state.path()).unwrap() {
            println!("skipped: the disk of the temporary folder has no room for a ballast");
            return;
        }
        assert!(is_there(state.path()) && !fill(state.path()).unwrap());
        let no_space = || Err::<(), _>(io::ErrorKind::StorageFull);
        let path = state.path().join("plans/x");
        let mut tries = 0;
        let done = with_room(
            &path,
            |kind| is_full(*kind),
            || {
                tries += 1;
                if tries == 1 { no_space() } else { Ok(()) }
            },
        );
        assert_eq!((done, tries, is_there(state.path())), (Ok(()), 2, false));
        // With none left, and elsewhere, the first answer is the last.
        let elsewhere = Path::new("/nowhere/x");
        for path in [path.as_path(), elsewhere] {
            assert_eq!(with_room(path, |kind| is_full(*kind), no_space), no_space());
        }
    }
}
