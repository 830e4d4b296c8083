//! Side copies out of archives: the kind of archive is told by its content,
//! everything in it is distrusted, and only a whole one becomes the side copy.

mod builder;
mod tar;
mod zip;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

use self::builder::Builder;
use super::tree::{self, Entry, Kind};
use super::{Digest, Files, HostPath, Place, absent, checked_name, io, rename};
use crate::capabilities::{ErrorKind, HostError};

/// What an archive said that it must not say, or could not say; carried as an
/// error of reading, since it comes up in the middle of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error("it holds more than was allowed")]
    TooLarge,
    #[error("a name or a link leads out of it, or cannot be made safely")]
    Unsafe,
    #[error("it is cut short or damaged")]
    Broken,
    #[error("it is no tar, gzip, zstd or zip archive, or of a kind that is not known")]
    Unknown,
}

impl Fault {
    /// This fault with the name it was found at.
    fn at(self, name: &[u8]) -> io::Error {
        let name: String = String::from_utf8_lossy(name).chars().take(200).collect();
        io::Error::other(Found { fault: self, detail: format!("`{}`: {self}", name.escape_debug()) })
    }

    fn because(self, detail: impl std::fmt::Display) -> io::Error {
        io::Error::other(Found { fault: self, detail: detail.to_string() })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
struct Found {
    fault: Fault,
    detail: String,
}

impl Files {
    /// Side copy := what an archive holds: tar, also compressed with gzip or
    /// zstd, or zip. One whose names all lie below a single folder gives what
    /// that folder holds, unless it names its own top (`./`).
    ///
    /// `bytes_max` counts the unpacked contents, and 512 bytes for each entry.
    ///
    /// # Errors
    /// `files/too-large`, `files/unsafe-archive` for a name or link that leads
    /// out, a device or a pipe, `files/broken-archive`, `files/not-an-archive`,
    /// and whatever the disk says. The side copy is gone then.
    pub fn stage_archive(
        &self,
        path: &HostPath,
        archive: &HostPath,
        bytes_max: u64,
    ) -> Result<Digest, HostError> {
        let (source, name) = self.locate(Place::Live, archive)?.ok_or_else(|| absent(archive))?;
        let file =
            tree::open_file(source.directory.as_fd(), OsStr::new(&name)).map_err(io("open", archive))?;
        let (spot, side) = self.clear_side(path)?;
        let building = checked_name(unpacking(&side))?;
        let directory = spot.directory.as_fd();
        let clear = || tree::remove(directory, OsStr::new(&building));
        clear().map_err(io("stage", path))?;
        let unpacked = unpack(file, directory, &building, bytes_max)
            .and_then(|has_top| place(directory, &building, &side, has_top));
        if let Err(cause) = unpacked {
            // What stopped it is the error to tell; the next try clears again.
            let _ = clear();
            return Err(refusal(archive, &cause));
        }
        self.staged(&spot, &side, path)
    }
}

/// The name under which an archive for a side copy is unpacked: a half never
/// has the side copy's own.
pub(super) fn unpacking(side: &str) -> String {
    format!("{side}~unpacking")
}

fn refusal(archive: &HostPath, cause: &io::Error) -> HostError {
    let found = cause.get_ref().and_then(|inner| inner.downcast_ref::<Found>());
    let Some(found) = found else {
        return io("unpack", archive)(io::Error::new(cause.kind(), cause.to_string()));
    };
    let (kind, code) = match found.fault {
        Fault::TooLarge => (ErrorKind::Invalid, "files/too-large"),
        Fault::Unsafe => (ErrorKind::Denied, "files/unsafe-archive"),
        Fault::Broken => (ErrorKind::Failed, "files/broken-archive"),
        Fault::Unknown => (ErrorKind::Unsupported, "files/not-an-archive"),
    };
    HostError::new(kind, code, format!("`{archive}` cannot be unpacked: {}", found.detail))
}

/// Unpacks into a new folder `name`; answers whether the archive names its own top.
fn unpack(mut file: File, directory: BorrowedFd<'_>, name: &str, bytes_max: u64) -> io::Result<bool> {
    let mut magic = [0; 262];
    let length = read_start(&mut file, &mut magic)?;
    file.rewind()?;
    rustix::fs::mkdirat(directory, name, Mode::RWXU)?;
    let mut builder = Builder::new(tree::open_directory(directory, OsStr::new(name))?, bytes_max);
    match &magic[..length] {
        [0x1f, 0x8b, ..] => {
            tar::unpack(flate2::bufread::MultiGzDecoder::new(BufReader::new(file)), &mut builder)?;
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => tar::unpack(zstd::stream::read::Decoder::new(file)?, &mut builder)?,
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => zip::unpack(file, &mut builder)?,
        bytes if bytes.get(257..262) == Some(b"ustar") => tar::unpack(BufReader::new(file), &mut builder)?,
        _ => return Err(Fault::Unknown.because(Fault::Unknown)),
    }
    builder.finish()
}

/// Takes the only folder for the whole, proves that no link leads out, and
/// gives what was unpacked its name once it is on disk.
fn place(directory: BorrowedFd<'_>, building: &str, side: &str, has_top: bool) -> io::Result<()> {
    let top = tree::open_directory(directory, OsStr::new(building))?;
    let names = tree::names(top.as_fd())?;
    let only = match names.as_slice() {
        [only]
            if !has_top
                && tree::stat(top.as_fd(), only)?.is_some_and(|stat| Kind::of(&stat) == Kind::Directory) =>
        {
            Some(only)
        }
        _ => None,
    };
    let tree_top = match only {
        Some(only) => tree::open_directory(top.as_fd(), only)?,
        None => tree::open_directory(directory, OsStr::new(building))?,
    };
    refuse_links_out(&top, only.map(|only| only.as_os_str()), directory, building, &tree_top)?;
    rustix::fs::syncfs(&top)?;
    match only {
        None => rename(directory, building, side, RenameFlags::NOREPLACE),
        Some(only) => {
            rustix::fs::renameat_with(&top, only, directory, side, RenameFlags::NOREPLACE)?;
            Ok(rustix::fs::unlinkat(directory, building, rustix::fs::AtFlags::REMOVEDIR)?)
        }
    }
}

fn refuse_links_out(
    top: &OwnedFd,
    only: Option<&OsStr>,
    directory: BorrowedFd<'_>,
    building: &str,
    tree_top: &OwnedFd,
) -> io::Result<()> {
    let mut check = |entry: &Entry<'_>| match entry.kind {
        Kind::Symlink => refuse_link_out(tree_top, entry),
        Kind::File | Kind::Directory | Kind::Other => Ok(()),
    };
    match only.and_then(OsStr::to_str) {
        Some(only) => tree::walk(top.as_fd(), only, &mut check)?,
        None if only.is_some() => return Err(Fault::Unsafe.because("the name of its folder is no text")),
        None => tree::walk(directory, building, &mut check)?,
    };
    Ok(())
}

/// By its words, since what it names may come later; and as the kernel follows
/// it, since links on its way may lead elsewhere than the words say.
fn refuse_link_out(top: &OwnedFd, link: &Entry<'_>) -> io::Result<()> {
    let target = link.target()?;
    let mut depth = link.path.iter().filter(|byte| **byte == b'/').count();
    if target.starts_with(b"/") {
        return Err(Fault::Unsafe.at(link.path));
    }
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => depth = depth.checked_sub(1).ok_or_else(|| Fault::Unsafe.at(link.path))?,
            _ => depth += 1,
        }
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(top, link.path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
        Err(Errno::XDEV) => Err(Fault::Unsafe.at(link.path)),
        // It leads nowhere, or round in a circle, which is no way out.
        _ => Ok(()),
    }
}

fn read_start(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..])? {
            0 => break,
            count => length += count,
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests;
