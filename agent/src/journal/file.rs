//! The file beneath the journal: framing, chain, torn tails, growth.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use sternway_core::run::Record;
use sternway_core::time::Timestamp;

use crate::{ballast, durable};

const MAGIC: [u8; 4] = *b"SWJ1";
/// Magic, body length, sequence, time, previous hash.
const HEAD_BYTES: usize = 4 + 4 + 8 + 8 + 32;
const HASH_BYTES: usize = 32;
/// Largest body of a record, in bytes.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Space is written with zeros in pieces of this many bytes, before it is needed.
const PIECE_BYTES: u64 = 4 * 1024 * 1024;
/// A new piece is added when less than this is left, so that what is in hand always fits.
const RESERVE_BYTES: u64 = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("could not {step} the journal at `{}`", path.display())]
    Io {
        step: &'static str,
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("could not make room for the journal")]
    Durable(#[from] durable::DurableError),
    #[error(
        "the journal at `{}` is damaged at byte {offset}: record {sequence} cannot be read, but later ones can",
        path.display()
    )]
    Corrupt { path: PathBuf, offset: u64, sequence: u64 },
    #[error("record {sequence} of the journal at `{}` cannot be understood: {cause}", path.display())]
    Unknown { path: PathBuf, sequence: u64, cause: String },
    #[error("the journal could not be synced before; nothing more is written until the agent starts again")]
    Poisoned,
    #[error("a record of {bytes} bytes is too large for the journal")]
    TooLarge { bytes: usize },
    #[error("another agent has the journal at `{}` open", path.display())]
    Locked { path: PathBuf },
}

pub(super) type Read = (u64, Timestamp, Record);

#[derive(Debug)]
pub(super) struct JournalFile {
    file: File,
    path: PathBuf,
    /// Where the next record goes, and how far zeros are written.
    end: u64,
    room: u64,
    last: u64,
    chain: [u8; 32],
    poisoned: bool,
}

/// One record found in bytes.
struct Framed<'a> {
    sequence: u64,
    at: Timestamp,
    body: &'a [u8],
    previous: [u8; 32],
    hash: [u8; 32],
    bytes: usize,
}

fn parse(bytes: &[u8]) -> Option<Framed<'_>> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
    if head[..4] != MAGIC {
        return None;
    }
    let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
    let length = u32::from_le_bytes(head[4..8].try_into().expect("four bytes")) as usize;
    if length > BODY_BYTES_MAX {
        return None;
    }
    let (body, rest) = rest.split_at_checked(length)?;
    let hash: [u8; 32] = rest.first_chunk::<HASH_BYTES>().copied()?;
    let mut hasher = Sha256::new();
    hasher.update(head);
    hasher.update(body);
    if <[u8; 32]>::from(hasher.finalize()) != hash {
        return None;
    }
    Some(Framed {
        sequence: number(8),
        at: Timestamp(number(16)),
        body,
        previous: head[24..56].try_into().expect("thirty-two bytes"),
        hash,
        bytes: HEAD_BYTES + length + HASH_BYTES,
    })
}

/// Without the room at the end that nothing was written to; most of a file is that.
fn without_zeros(bytes: &[u8]) -> &[u8] {
    const ZEROS: [u8; 4096] = [0; 4096];
    let used = bytes.chunks(ZEROS.len()).rposition(|chunk| *chunk != ZEROS[..chunk.len()]);
    &bytes[..used.map_or(0, |last| (last + 1) * ZEROS.len()).min(bytes.len())]
}

/// Every whole record from the beginning on, and where they end.
struct ReadAll {
    records: Vec<Read>,
    end: u64,
    last: u64,
    chain: [u8; 32],
}

fn read_all(path: &Path, bytes: &[u8]) -> Result<ReadAll, JournalError> {
    let mut read = ReadAll { records: Vec::new(), end: 0, last: 0, chain: [0; 32] };
    while let Some(framed) = parse(&bytes[read.end as usize..]) {
        if framed.sequence != read.last + 1 || framed.previous != read.chain {
            break;
        }
        read.records.push(understand(path, &framed)?);
        read.end += framed.bytes as u64;
        read.last = framed.sequence;
        read.chain = framed.hash;
    }
    // A torn tail has nothing whole behind it. Whole records behind a bad
    // one are damage, and dropping them would lose what was promised.
    let rest = without_zeros(&bytes[read.end as usize..]);
    let later = (0..rest.len())
        .filter(|at| rest[*at..].starts_with(&MAGIC))
        .filter_map(|at| parse(&rest[at..]))
        .any(|framed| framed.sequence > read.last);
    match later {
        true => {
            Err(JournalError::Corrupt { path: path.to_path_buf(), offset: read.end, sequence: read.last + 1 })
        }
        false => Ok(read),
    }
}

fn understand(path: &Path, framed: &Framed<'_>) -> Result<Read, JournalError> {
    let record = ciborium::from_reader(framed.body).map_err(|cause| JournalError::Unknown {
        path: path.to_path_buf(),
        sequence: framed.sequence,
        cause: cause.to_string(),
    })?;
    Ok((framed.sequence, framed.at, record))
}

/// Reads without taking the file: another agent may have it open, and a record
/// that it is writing at this moment is not there yet.
pub(super) fn look(path: &Path) -> Result<Vec<Read>, JournalError> {
    let fail = |cause| JournalError::Io { step: "read", path: path.to_path_buf(), cause };
    Ok(read_all(path, &std::fs::read(path).map_err(fail)?)?.records)
}

/// Reads records again from the disk, for a coordinator that forgot.
pub(super) fn read_after(path: &Path, sequence: u64, max: usize) -> Result<Vec<Read>, JournalError> {
    let mut records = look(path)?;
    records.retain(|(number, _, _)| *number > sequence);
    records.truncate(max);
    Ok(records)
}

/// Btrfs writes every change to a new place, so that room written beforehand is
/// no room; a file that is marked while it is empty is written in place.
fn write_in_place(file: &File) {
    const BTRFS: rustix::fs::FsWord = 0x9123_683E;
    if !rustix::fs::fstatfs(file).is_ok_and(|about| about.f_type == BTRFS) {
        return;
    }
    let marked = rustix::fs::ioctl_getflags(file)
        .and_then(|flags| rustix::fs::ioctl_setflags(file, flags | rustix::fs::IFlags::NOCOW));
    if let Err(errno) = marked {
        tracing::warn!(%errno, "the journal may stop when the disk is full: btrfs does not write it in place");
    }
}

impl JournalFile {
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<Read>), JournalError> {
        let fail = |step| move |cause| JournalError::Io { step, path: path.to_path_buf(), cause };
        let is_new = !path.exists();
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(fail("open"))?;
        file.try_lock().map_err(|_| JournalError::Locked { path: path.to_path_buf() })?;
        if is_new {
            write_in_place(&file);
            durable::sync_directory(path.parent().unwrap_or(Path::new("/")))?;
        }
        let bytes = std::fs::read(path).map_err(fail("read"))?;
        let mut opened = Self {
            file,
            path: path.to_path_buf(),
            end: 0,
            room: bytes.len() as u64,
            last: 0,
            chain: [0; 32],
            poisoned: false,
        };
        let read = read_all(path, &bytes)?;
        (opened.end, opened.last, opened.chain) = (read.end, read.last, read.chain);
        opened.drop_torn_tail(&bytes)?;
        match opened.make_room() {
            // What is there already must be readable, and usable, on a full disk.
            Err(error) if !is_new && opened.end < opened.room => {
                tracing::warn!(%error, "the journal could not grow; it goes on in the room it has");
            }
            done => done?,
        }
        Ok((opened, read.records))
    }

    /// Reads without the lock and changes nothing; nothing can be appended.
    pub(super) fn look(path: &Path) -> Result<(Self, Vec<Read>), JournalError> {
        let fail = |cause| JournalError::Io { step: "read", path: path.to_path_buf(), cause };
        let bytes = std::fs::read(path).map_err(fail)?;
        let mut looked = Self {
            file: File::open(path).map_err(fail)?,
            path: path.to_path_buf(),
            end: 0,
            room: 0,
            last: 0,
            chain: [0; 32],
            poisoned: true,
        };
        let read = read_all(path, &bytes)?;
        (looked.end, looked.last, looked.chain) = (read.end, read.last, read.chain);
        Ok((looked, read.records))
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Clears what a power cut left of a record that was never promised.
    fn drop_torn_tail(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        let rest = without_zeros(&bytes[self.end as usize..]);
        let Some(dirty) = rest.iter().rposition(|byte| *byte != 0) else { return Ok(()) };
        let zeros = vec![0; dirty + 1];
        self.file.write_all_at(&zeros, self.end).map_err(|cause| self.io("clear the torn tail of", cause))?;
        self.sync()
    }

    fn io(&self, step: &'static str, cause: io::Error) -> JournalError {
        JournalError::Io { step, path: self.path.clone(), cause }
    }

    fn make_room(&mut self) -> Result<(), JournalError> {
        if self.end + RESERVE_BYTES <= self.room {
            return Ok(());
        }
        let zeros = vec![0; PIECE_BYTES as usize];
        let is_full = |cause: &io::Error| ballast::is_full(cause.kind());
        ballast::with_room(&self.path, is_full, || self.file.write_all_at(&zeros, self.room))
            .map_err(|cause| self.io("make room in", cause))?;
        self.file.sync_all().map_err(|cause| self.io("make room in", cause))?;
        self.room += PIECE_BYTES;
        Ok(())
    }

    /// Writes a record at the end; not yet synced.
    pub(super) fn append(&mut self, at: Timestamp, record: &Record) -> Result<u64, JournalError> {
        if self.poisoned {
            return Err(JournalError::Poisoned);
        }
        let mut bytes = vec![0; HEAD_BYTES];
        ciborium::into_writer(record, &mut bytes).map_err(|cause| JournalError::Unknown {
            path: self.path.clone(),
            sequence: self.last + 1,
            cause: cause.to_string(),
        })?;
        let length = bytes.len() - HEAD_BYTES;
        let encoded_length = u32::try_from(length).ok().filter(|_| length <= BODY_BYTES_MAX);
        let Some(encoded_length) = encoded_length else {
            return Err(JournalError::TooLarge { bytes: length });
        };
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&encoded_length.to_le_bytes());
        bytes[8..16].copy_from_slice(&(self.last + 1).to_le_bytes());
        bytes[16..24].copy_from_slice(&at.0.to_le_bytes());
        bytes[24..56].copy_from_slice(&self.chain);
        let hash: [u8; 32] = Sha256::digest(&bytes).into();
        bytes.extend_from_slice(&hash);
        let written = self.file.write_all_at(&bytes, self.end);
        if let Err(cause) = written {
            // Half a record may stand there; the next append would be chained behind it.
            self.poisoned = true;
            return Err(self.io("append to", cause));
        }
        self.end += bytes.len() as u64;
        self.last += 1;
        self.chain = hash;
        // What was written fits; that the next piece does not is not this record's fault.
        if let Err(error) = self.make_room() {
            tracing::warn!(%error, "the journal could not grow; it goes on in the room it has");
        }
        Ok(self.last)
    }

    /// An error is final: the kernel may have dropped the dirty pages.
    pub(super) fn sync(&mut self) -> Result<(), JournalError> {
        if self.poisoned {
            return Err(JournalError::Poisoned);
        }
        self.file.sync_data().map_err(|cause| {
            self.poisoned = true;
            self.io("sync", cause)
        })
    }
}
