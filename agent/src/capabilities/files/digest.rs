//! The digest of a file or a tree, by which a switch knows what it switches to.
//!
//! SHA-256 over `sternway-tree-1\n`, then one record for each entry, the top
//! first, the names of a directory in byte order, each directory before what
//! it holds:
//!
//! ```text
//! path length u32 | path | kind u8 | mode u32 | uid u32 | gid u32 | payload
//! ```
//!
//! Numbers are little-endian. The path is relative to the top, whose own is
//! empty, so that a file and its side copy have one digest. Kinds and their
//! payloads: `f` length u64 and the SHA-256 of the content, `d` none, `l`
//! target length u32 and target, `o` (all else) device number u64. The mode is
//! the lower twelve bits. Times and extended attributes are not part of it.

use std::io::{self, Read};
use std::os::fd::BorrowedFd;

use sha2::{Digest as _, Sha256};

use super::known::{Known, Patience};
use super::tree::{Entry, Kind, walk};
use super::{Digest, hex};

/// None when there is nothing of that name.
pub(crate) fn digest(known: &Known, directory: BorrowedFd<'_>, name: &str) -> io::Result<Option<Digest>> {
    let mut hasher = Sha256::new();
    hasher.update(b"sternway-tree-1\n");
    let mut entries = 0;
    let mut bytes = 0;
    let mut patience = Patience::default();
    let found = walk(directory, name, &mut |entry: &Entry<'_>| {
        entries += 1;
        bytes += record((known, &mut patience), &mut hasher, entry)?;
        Ok(())
    })?;
    Ok(found.then(|| Digest { sha256: hex(&hasher.finalize()), entries, bytes }))
}

fn record(
    (known, patience): (&Known, &mut Patience),
    hasher: &mut Sha256,
    entry: &Entry<'_>,
) -> io::Result<u64> {
    hasher.update(length(entry.path.len())?);
    hasher.update(entry.path);
    let mark = match entry.kind {
        Kind::File => b'f',
        Kind::Directory => b'd',
        Kind::Symlink => b'l',
        Kind::Other => b'o',
    };
    hasher.update([mark]);
    hasher.update(entry.mode().to_le_bytes());
    hasher.update(entry.stat.st_uid.to_le_bytes());
    hasher.update(entry.stat.st_gid.to_le_bytes());
    match entry.kind {
        Kind::File => {
            let (read, content) = match known.recall(&entry.stat) {
                Some(content) => (u64::try_from(entry.stat.st_size).unwrap_or_default(), content),
                None => known.learn(&mut entry.open()?, patience, hash_content)?,
            };
            hasher.update(read.to_le_bytes());
            hasher.update(content);
            return Ok(read);
        }
        Kind::Symlink => {
            let target = entry.target()?;
            hasher.update(length(target.len())?);
            hasher.update(&target);
        }
        Kind::Other => hasher.update(entry.stat.st_rdev.to_le_bytes()),
        Kind::Directory => {}
    }
    Ok(0)
}

fn length(value: usize) -> io::Result<[u8; 4]> {
    u32::try_from(value).map(u32::to_le_bytes).map_err(io::Error::other)
}

fn hash_content(reader: &mut impl Read) -> io::Result<(u64, [u8; 32])> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    let mut total = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok((total, hasher.finalize().into())),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                total += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
