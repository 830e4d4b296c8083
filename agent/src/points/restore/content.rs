//! The content of one file: from the live file where that has it already, else
//! from the repository; runs of zeros become holes.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use rustic_core::repofile::{BlobType, Node};
use rustic_core::{BlobId, DataId, Id};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::super::{Indexed, unreadable};
use super::{At, Work, node};
use crate::capabilities::HostError;
use crate::capabilities::files::tree;
use crate::crash;

/// The least that is left out; what file systems give space by.
const BLOCK: usize = 4096;
const ZEROS: [u8; BLOCK] = [0; BLOCK];
/// A smaller file of another length shares nothing worth looking for.
const SHARES_BYTES_MIN: u64 = 1 << 20;

/// A piece of a file, named by the digest of its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blob {
    id: DataId,
    offset: u64,
    length: usize,
}

/// Every blob with its place in the file.
pub(super) fn blobs_of(indexed: &Indexed, node: &Node) -> Result<Vec<Blob>, HostError> {
    let mut offset = 0;
    let content = node.content.iter().flatten();
    content
        .map(|id| {
            let length = indexed.get_index_entry(id).map_err(unreadable)?.location.data_length();
            let blob = Blob { id: *id, offset, length: length as usize };
            offset += u64::from(length);
            Ok(blob)
        })
        .collect()
}

/// A file that is being written, maybe by several threads.
pub(super) struct Target {
    file: File,
    name: OsString,
    node: Node,
    /// Holds the live file's blocks already.
    is_clone: bool,
    live: Option<File>,
    /// Until the first bytes that are others.
    live_fits: AtomicBool,
}

impl Target {
    /// Makes the file, of its whole length and empty, or of the live file's blocks.
    pub(super) fn begin(
        work: &Work<'_>,
        at: &At,
        name: &OsStr,
        node: Node,
        blobs: &[Blob],
    ) -> Result<Self, HostError> {
        let length = blobs.last().map_or(0, |last| last.offset + last.length as u64);
        let begin = || -> io::Result<Self> {
            let file = tree::create_file(at.directory.as_fd(), name)?;
            let live = match &at.live {
                Some((directory, live)) if length > 0 => useful(directory, live, length),
                _ => None,
            };
            let is_clone = match &live {
                Some(live) if work.clones.load(Ordering::Relaxed) => clone(work, &file, live)?,
                _ => false,
            };
            if length > 0 {
                file.set_len(length)?;
            }
            let live = if is_clone { None } else { live };
            Ok(Self { file, name: name.to_owned(), node, is_clone, live, live_fits: AtomicBool::new(true) })
        };
        begin().map_err(|cause| work.failed(name, &cause))
    }

    pub(super) fn write(&self, work: &Work<'_>, blobs: &[Blob]) -> Result<(), HostError> {
        for blob in blobs {
            if work.has_failed() {
                return Ok(());
            }
            let failed = |cause: io::Error| work.failed(&self.name, &cause);
            if self.is_clone {
                // It is ours alone by now: nobody can change it after this look.
                if bytes_of(&self.file, blob).map_err(failed)?.is_some() {
                    continue;
                }
                let bytes = fetch(work, blob)?;
                self.file.write_all_at(&bytes, blob.offset).map_err(failed)?;
                continue;
            }
            if let Some(live) = self.live.as_ref().filter(|_| self.live_fits.load(Ordering::Relaxed)) {
                if let Some(bytes) = bytes_of(live, blob).map_err(failed)? {
                    write_sparse(&self.file, &bytes, blob.offset).map_err(failed)?;
                    continue;
                }
                self.live_fits.store(false, Ordering::Relaxed);
            }
            write_sparse(&self.file, &fetch(work, blob)?, blob.offset).map_err(failed)?;
        }
        Ok(())
    }

    pub(super) fn finish(self, work: &Work<'_>) -> Result<(), HostError> {
        crash::point("files.restored", "");
        let finish = || -> io::Result<()> {
            let (attributes, metadata) = (node::attributes_of(&self.node), node::metadata_of(&self.node));
            tree::finish(self.file.as_fd(), &attributes, &metadata)?;
            if work.count() { self.file.sync_all() } else { Ok(()) }
        };
        finish().map_err(|cause| work.failed(&self.name, &cause))
    }
}

/// The live file, when it may hold some of the bytes; what is not there, or no
/// file, or not to be read, is no help and no failure.
fn useful(directory: &impl AsFd, name: &OsStr, length: u64) -> Option<File> {
    let stat = tree::stat(directory.as_fd(), name).ok()??;
    if tree::Kind::of(&stat) != tree::Kind::File {
        return None;
    }
    let live = u64::try_from(stat.st_size).unwrap_or_default();
    let alike = live == length || live.min(length) >= SHARES_BYTES_MIN;
    if alike { tree::open_file(directory.as_fd(), name).ok() } else { None }
}

fn clone(work: &Work<'_>, file: &File, live: &File) -> io::Result<bool> {
    match rustix::fs::ioctl_ficlone(file, live) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::NOSYS) => {
            work.clones.store(false, Ordering::Relaxed);
            Ok(false)
        }
        // This one cannot be shared: it is in use for swapping, or kept from it.
        Err(Errno::TXTBSY | Errno::PERM | Errno::ACCESS) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// The bytes at the place of a blob, when they are the blob's.
fn bytes_of(file: &File, blob: &Blob) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; blob.length];
    match file.read_exact_at(&mut bytes, blob.offset) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let digest = Id::new(Sha256::digest(&bytes).into());
    Ok((*blob.id == digest).then_some(bytes))
}

fn fetch(work: &Work<'_>, blob: &Blob) -> Result<Vec<u8>, HostError> {
    let bytes = work.indexed.get_blob_cached(&BlobId::from(*blob.id), BlobType::Data).map_err(unreadable)?;
    Ok(bytes.to_vec())
}

/// Into a file that holds nothing there: whole blocks of zeros are left out.
fn write_sparse(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut at = 0;
    // Since when there is something to write.
    let mut since = None;
    while at < bytes.len() {
        let place = offset + at as u64;
        let to_edge = BLOCK - (place % BLOCK as u64) as usize;
        let end = bytes.len().min(at + to_edge);
        if bytes[at..end] == ZEROS[..end - at] {
            if let Some(from) = since.take() {
                file.write_all_at(&bytes[from..at], offset + from as u64)?;
            }
        } else {
            since.get_or_insert(at);
        }
        at = end;
    }
    match since {
        Some(from) => file.write_all_at(&bytes[from..], offset + from as u64),
        None => Ok(()),
    }
}
