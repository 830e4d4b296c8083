//! Everything of one long program: what it was told, that it began, what it
//! said, how it ended. Whoever comes later, after any crash, reads it here.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FallocateFlags, FlockOperation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Hole;
use super::child::{Halt, Job};
use crate::durable::{self, DurableError};
use crate::processes::{self, Identity};

/// Folders of what has ended are kept so long.
const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How much of the end of an output stays on disk.
const ON_DISK_BYTES: u64 = 4 << 20;
/// What lies before that is given up in pieces of this size.
const PIECE_BYTES: u64 = 1 << 20;
/// How much is read of what was said meanwhile.
const NEWS_BYTES_MAX: u64 = 256 << 10;

/// What one program is told: once written, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    /// For people: plan, step and attempt.
    pub(super) name: String,
    pub(super) form: String,
    pub(super) on: String,
    pub(super) holes: Vec<Hole>,
    pub(super) job: Job,
    pub(super) timeout_ms: u64,
    pub(super) output_bytes_max: u32,
    /// Exit codes that mean well.
    pub(super) codes: Vec<i32>,
}

/// Written before the program starts: from here on it may have had an effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begun {
    attendant: Identity,
    /// A process number says nothing after the next start of the machine.
    boot: String,
}

impl Begun {
    pub(super) fn by_us() -> Option<Self> {
        Some(Self { attendant: Identity::of(std::process::id())?, boot: boot() })
    }

    pub(super) fn is_attended(&self) -> bool {
        self.boot == boot() && self.attendant.is_alive()
    }

    /// Ends what an attendant that is gone left behind: nobody knows it any more,
    /// and it must not work on under an undo.
    pub(super) fn end_leftovers(&self) {
        if self.boot == boot() && !self.attendant.is_alive() {
            processes::end_session(self.attendant);
        }
    }

    #[cfg(test)]
    pub(super) fn kill_attendant(&self) {
        self.attendant.signal(rustix::process::Signal::KILL);
    }
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

/// How it came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
    pub(super) halted: Option<Halt>,
    /// Why it was never started.
    pub(super) not_started: Option<String>,
    pub(super) elapsed_ms: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
}

impl Folder {
    pub(super) fn told(&self) -> Option<Told> {
        self.read("call.json")
    }

    pub(super) fn begun(&self) -> Option<Begun> {
        self.read("begun.json")
    }

    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.read("ended.json")
    }

    /// Whether the program is to be ended, and why.
    pub(super) fn stop(&self) -> Option<Halt> {
        self.read("stop.json")
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&fs::read(self.path.join(name)).ok()?).ok()
    }

    pub(super) fn tell(&self, told: &Told) -> Result<(), DurableError> {
        durable::create_directories(&self.path, 0o700)?;
        self.write("call.json", told)
    }

    pub(super) fn begin(&self, begun: &Begun) -> Result<(), DurableError> {
        self.write("begun.json", begun)
    }

    pub(super) fn end(&self, outcome: &Outcome) -> Result<(), DurableError> {
        self.write("ended.json", outcome)
    }

    pub(super) fn ask_to_stop(&self, why: Halt) -> Result<(), DurableError> {
        self.write("stop.json", &why)
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), DurableError> {
        let bytes = serde_json::to_vec(value).expect("it is plain data");
        durable::write(&self.path.join(name), 0o600, &bytes)
    }

    /// The attendant's: none when another one has it.
    pub(super) fn lock(&self) -> io::Result<Option<File>> {
        let lock = new_file(&self.path.join("lock"))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(lock)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    pub(super) fn log(&self, name: &str) -> io::Result<Log> {
        Ok(Log { file: new_file(&self.path.join(name))?, length: 0, given_up: 0 })
    }

    /// The last bytes of what it said.
    pub(super) fn last(&self, name: &str, bytes_max: u32) -> io::Result<Vec<u8>> {
        let mut file = match File::open(self.path.join(name)) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(cause) => return Err(cause),
        };
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(u64::from(bytes_max))))?;
        let mut bytes = Vec::new();
        file.take(u64::from(bytes_max)).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// What was said since `from`, which moves on. What was given up is left out.
    pub(super) fn news(&self, name: &str, from: &mut u64) -> Vec<u8> {
        let Ok(mut file) = File::open(self.path.join(name)) else { return Vec::new() };
        let length = file.metadata().map_or(0, |stat| stat.len());
        *from = (*from).max(length.saturating_sub(NEWS_BYTES_MAX)).min(length);
        let mut bytes = Vec::new();
        if file.seek(SeekFrom::Start(*from)).is_ok() {
            // What cannot be read now is read the next time.
            let _ = file.take(NEWS_BYTES_MAX).read_to_end(&mut bytes);
        }
        *from += bytes.len() as u64;
        bytes
    }

    pub(super) fn length(&self, name: &str) -> u64 {
        fs::metadata(self.path.join(name)).map_or(0, |stat| stat.len())
    }

    /// Nobody has done anything here for long, and nobody does.
    fn is_over(&self) -> bool {
        let newest = ["ended.json", "begun.json", "call.json", "."]
            .into_iter()
            .find_map(|name| fs::metadata(self.path.join(name)).ok()?.modified().ok());
        let is_old =
            newest.is_some_and(|at| SystemTime::now().duration_since(at).is_ok_and(|since| since > KEPT_FOR));
        is_old && !self.begun().is_some_and(|begun| begun.is_attended())
    }
}

fn new_file(path: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).mode(0o600).open(path)
}

/// An output on disk. Its beginning is given up when it grows, and places in
/// it stay where they are.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    length: u64,
    given_up: u64,
}

impl Log {
    /// On a full disk what is said is lost, and the work goes on.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        if self.file.write_all_at(bytes, self.length).is_err() {
            return;
        }
        self.length += bytes.len() as u64;
        let surplus = self.length.saturating_sub(ON_DISK_BYTES);
        let whole = surplus / PIECE_BYTES * PIECE_BYTES;
        if whole > self.given_up {
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // A file system that cannot keeps all of it.
            let _ = rustix::fs::fallocate(&self.file, hole, 0, whole);
            self.given_up = whole;
        }
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// Removes folders nobody will ask for any more.
pub(super) fn sweep(all: &Path) {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        let folder = Folder { path: entry.path() };
        if folder.is_over()
            && let Err(error) = fs::remove_dir_all(&folder.path)
        {
            tracing::warn!(folder = %folder.path.display(), %error, "an old folder stays");
        }
    }
}
