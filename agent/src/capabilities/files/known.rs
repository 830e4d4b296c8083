//! Digests of contents that were read before. A switch is proved by digest
//! again and again while a service is down; reading a tree of gigabytes each
//! time would make that time grow with the tree. Once read, a content is known
//! for as long as the kernel says that nobody changed the file: same inode,
//! length, and times of modification and change, the last of which no program
//! can set.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::Stat;

/// Reading a shorter file takes less than waiting for its moment to be over.
const SHORT_BYTES: i64 = 16 * 1024;
/// So many short files are read in less than one moment.
const SHORT_FILES: u32 = 64;
const ENTRIES_MAX: usize = 200_000;
/// Two changes within so long may bear one time.
const GRAIN: Duration = Duration::from_millis(25);
/// File systems on this machine whose times of change can be believed: ext, XFS,
/// btrfs, tmpfs, overlay, F2FS, ZFS, bcachefs.
const BELIEVED: [i64; 8] =
    [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0x794C_7630, 0xF2F5_2010, 0x2FC1_2FC1, 0xCA45_1A4E];

/// How one reading of a tree waits: for every large file that was written a
/// moment ago, and once for all short ones, if they are many.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    fresh: u32,
}

impl Patience {
    fn is_worth_it(&mut self, stat: &Stat) -> bool {
        if stat.st_size >= SHORT_BYTES {
            return true;
        }
        self.fresh = self.fresh.saturating_add(1);
        self.fresh == SHORT_FILES
    }
}

/// By device and inode.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<HashMap<(u64, u64), Content>>);

#[derive(Debug, Clone, Copy)]
struct Content {
    state: State,
    sha256: [u8; 32],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    bytes: i64,
    modified: (i64, u64),
    changed: (i64, u64),
}

impl State {
    fn of(stat: &Stat) -> Self {
        Self {
            bytes: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// Apart from the time of change, which a new name sets as well.
    fn is_same_content(self, other: Self) -> bool {
        (self.bytes, self.modified) == (other.bytes, other.modified)
    }
}

fn key(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

impl Known {
    fn lock(&self) -> MutexGuard<'_, HashMap<(u64, u64), Content>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The content's SHA-256, when it was read and nobody changed the file since.
    pub(crate) fn recall(&self, stat: &Stat) -> Option<[u8; 32]> {
        let known = self.lock().get(&key(stat)).copied()?;
        (known.state == State::of(stat)).then_some(known.sha256)
    }

    /// Reads a file by `read`, and remembers the digest it answers when the file
    /// was the same before and after.
    pub(crate) fn learn(
        &self,
        file: &mut File,
        patience: &mut Patience,
        read: impl FnOnce(&mut File) -> io::Result<(u64, [u8; 32])>,
    ) -> io::Result<(u64, [u8; 32])> {
        let mut before = rustix::fs::fstat(&*file)?;
        let is_believed = is_believed(file);
        if is_believed
            && let Some(left) = left_of_grain(&before)
            && patience.is_worth_it(&before)
        {
            // A change in the same moment would not show: the moment has to be over.
            std::thread::sleep(left);
            before = rustix::fs::fstat(&*file)?;
        }
        let (bytes, sha256) = read(file)?;
        let after = rustix::fs::fstat(&*file)?;
        let is_steady = State::of(&before) == State::of(&after)
            && i64::try_from(bytes).is_ok_and(|bytes| bytes == after.st_size)
            && left_of_grain(&before).is_none();
        if is_believed && is_steady {
            let mut known = self.lock();
            if known.len() < ENTRIES_MAX || known.contains_key(&key(&after)) {
                known.insert(key(&after), Content { state: State::of(&after), sha256 });
            }
        }
        Ok((bytes, sha256))
    }

    /// We gave the file another name, which is a change that changes nothing in it.
    pub(crate) fn renamed(&self, before: &Stat, after: &Stat) {
        let mut known = self.lock();
        let Some(content) = known.get_mut(&key(before)) else { return };
        let (old, new) = (State::of(before), State::of(after));
        if key(before) == key(after) && content.state == old && old.is_same_content(new) {
            content.state = new;
        }
    }

    /// Nothing is known any more.
    pub(crate) fn forget(&self) {
        *self.lock() = HashMap::new();
    }
}

/// How long a change of now could still bear the time of the newest; none when
/// that is over. A time of change in the future is never over.
fn left_of_grain(stat: &Stat) -> Option<Duration> {
    let changed = Duration::new(
        u64::try_from(stat.st_ctime).unwrap_or_default(),
        u32::try_from(stat.st_ctime_nsec).unwrap_or_default(),
    );
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    match now.checked_sub(changed) {
        Some(age) if age >= GRAIN => None,
        Some(age) => Some(GRAIN - age),
        None => Some(GRAIN),
    }
}

fn is_believed(file: &File) -> bool {
    rustix::fs::fstatfs(file.as_fd()).is_ok_and(|found| BELIEVED.contains(&(found.f_type & 0xFFFF_FFFF)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn read(file: &mut File) -> io::Result<(u64, [u8; 32])> {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let digest = sternway_core::ids::Digest::of(&bytes);
        Ok((bytes.len() as u64, digest.0))
    }

    fn stat(path: &std::path::Path) -> Stat {
        rustix::fs::stat(path).unwrap()
    }

    #[test]
    fn a_content_is_known_until_the_file_changes_in_any_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        std::fs::write(&path, vec![7; 100_000]).unwrap();
        let known = Known::default();
        assert_eq!(known.recall(&stat(&path)), None);
        let (_, digest) =
            known.learn(&mut File::open(&path).unwrap(), &mut Patience::default(), read).unwrap();
        if !is_believed(&File::open(&path).unwrap()) {
            assert_eq!(known.recall(&stat(&path)), None);
            return;
        }
        assert_eq!(known.recall(&stat(&path)), Some(digest));
        let was = stat(&path);
        // As many bytes, and the old time of modification put back.
        std::fs::write(&path, vec![8; 100_000]).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        let modified = UNIX_EPOCH + Duration::new(was.st_mtime as u64, was.st_mtime_nsec as u32);
        file.set_modified(modified).unwrap();
        assert_eq!(stat(&path).st_mtime_nsec, was.st_mtime_nsec);
        assert_eq!(known.recall(&stat(&path)), None, "somebody changed it and hid it");
    }

    #[test]
    fn a_new_name_by_us_keeps_what_is_known_and_one_by_others_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        std::fs::write(&old, vec![7; 100_000]).unwrap();
        let known = Known::default();
        let (_, digest) =
            known.learn(&mut File::open(&old).unwrap(), &mut Patience::default(), read).unwrap();
        if !is_believed(&File::open(&old).unwrap()) {
            return;
        }
        std::thread::sleep(GRAIN);
        let before = stat(&old);
        std::fs::rename(&old, &new).unwrap();
        known.renamed(&before, &stat(&new));
        assert_eq!(known.recall(&stat(&new)), Some(digest));
        known.forget();
        assert_eq!(known.recall(&stat(&new)), None);
    }

    #[test]
    fn what_was_written_a_moment_ago_is_read_when_the_moment_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fresh");
        std::fs::write(&path, vec![7; 100_000]).unwrap();
        let mut file = File::open(&path).unwrap();
        Known::default()
            .learn(&mut file, &mut Patience::default(), |file| {
                assert!(left_of_grain(&rustix::fs::fstat(&*file)?).is_none());
                read(file)
            })
            .unwrap();
    }
    #[test]
    fn many_short_files_of_one_moment_cost_one_wait_and_are_known_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        let known = Known::default();
        let mut patience = Patience::default();
        let began = std::time::Instant::now();
        let paths: Vec<_> = (0..200).map(|number| folder.path().join(number.to_string())).collect();
        paths.iter().for_each(|path| std::fs::write(path, path.to_string_lossy().as_bytes()).unwrap());
        for path in &paths {
            known.learn(&mut File::open(path).unwrap(), &mut patience, read).unwrap();
        }
        if !is_believed(&File::open(&paths[0]).unwrap()) {
            return;
        }
        assert!(began.elapsed() < GRAIN * 40, "{:?}", began.elapsed());
        let last = paths.last().unwrap();
        let digest = sternway_core::ids::Digest::of(last.to_string_lossy().as_bytes());
        assert_eq!(known.recall(&stat(last)), Some(digest.0));
        std::fs::write(last, "x".repeat(last.to_string_lossy().len())).unwrap();
        assert_eq!(known.recall(&stat(last)), None);
    }
}
