//! Walks, copies, syncs and removes trees from an open directory downwards,
//! never through a path, so that no swapped link can redirect it.

use std::ffi::{CStr, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use crate::crash;

mod xattrs;

pub(crate) use xattrs::{read_xattrs, read_xattrs_at, write_xattrs, write_xattrs_at};

pub(crate) const DEPTH_MAX: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
    Other,
}

impl Kind {
    pub(crate) fn of(stat: &Stat) -> Self {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            _ => Self::Other,
        }
    }
}

/// One thing in a tree, seen from the open directory that holds it.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) directory: BorrowedFd<'a>,
    pub(crate) name: &'a OsStr,
    /// Relative to the top; empty for the top itself.
    pub(crate) path: &'a [u8],
    pub(crate) kind: Kind,
    pub(crate) stat: Stat,
}

impl Entry<'_> {
    pub(crate) fn mode(&self) -> u32 {
        self.stat.st_mode & 0o7777
    }

    pub(crate) fn open(&self) -> io::Result<File> {
        open_file(self.directory, self.name)
    }

    pub(crate) fn target(&self) -> io::Result<Vec<u8>> {
        target(self.directory, self.name)
    }

    pub(crate) fn extended_attributes(&self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        match self.kind {
            Kind::File => read_xattrs(self.open()?.as_fd()),
            Kind::Directory => read_xattrs(open_directory(self.directory, self.name)?.as_fd()),
            Kind::Symlink | Kind::Other => read_xattrs_at(self.directory, self.name),
        }
    }
}

pub(crate) fn target(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<Vec<u8>> {
    Ok(rustix::fs::readlinkat(directory, name, Vec::new())?.into_bytes())
}

/// None when there is nothing of that name; the link itself, not its target.
pub(crate) fn stat(directory: BorrowedFd<'_>, name: impl AsRef<OsStr>) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(directory, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// A regular file only: a FIFO would block, a device would answer for ever.
pub(crate) fn open_file(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    // Only the owner may read without leaving a trace.
    let opened = match rustix::fs::openat(directory, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(directory, name, flags, Mode::empty())?,
        other => other?,
    };
    let opened = File::from(opened);
    if opened.metadata()?.is_file() {
        Ok(opened)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
    }
}

pub(crate) fn open_directory(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?)
}

/// Names in byte order, without `.` and `..`.
pub(crate) fn names(directory: BorrowedFd<'_>) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        if name != c"." && name != c".." {
            names.push(OsStr::from_bytes(name.to_bytes()).to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Visits a tree, directories before what they hold; false when there is none.
pub(crate) fn walk(
    directory: BorrowedFd<'_>,
    name: &str,
    visit: &mut dyn FnMut(&Entry<'_>) -> io::Result<()>,
) -> io::Result<bool> {
    match stat(directory, name)? {
        None => Ok(false),
        Some(found) => {
            walk_entry(directory, OsStr::new(name), &mut Vec::new(), found, 0, visit)?;
            Ok(true)
        }
    }
}

fn walk_entry(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    path: &mut Vec<u8>,
    stat_of: Stat,
    depth: usize,
    visit: &mut dyn FnMut(&Entry<'_>) -> io::Result<()>,
) -> io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(io::Error::other("the tree is nested too deeply"));
    }
    let kind = Kind::of(&stat_of);
    visit(&Entry { directory, name, path, kind, stat: stat_of })?;
    if kind != Kind::Directory {
        return Ok(());
    }
    let opened = open_directory(directory, name)?;
    for child in names(opened.as_fd())? {
        // What vanished since the names were read is not part of the tree.
        let Some(found) = stat(opened.as_fd(), &child)? else { continue };
        let length = path.len();
        if length > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(child.as_bytes());
        walk_entry(opened.as_fd(), &child, path, found, depth + 1, visit)?;
        path.truncate(length);
    }
    Ok(())
}

/// Copies a file, link or tree to a name that must not exist, with modes,
/// times and extended attributes, and owners when we may set them; synced,
/// bottom-up. Hard links become separate files.
pub(crate) fn copy(from: (BorrowedFd<'_>, &OsStr), to: (BorrowedFd<'_>, &OsStr)) -> io::Result<()> {
    copy_entry(from, to, 0)
}

fn copy_entry(from: (BorrowedFd<'_>, &OsStr), to: (BorrowedFd<'_>, &OsStr), depth: usize) -> io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(io::Error::other("the tree is nested too deeply"));
    }
    let found = stat(from.0, from.1)?.ok_or(io::ErrorKind::NotFound)?;
    match Kind::of(&found) {
        Kind::File => {
            let mut source = open_file(from.0, from.1)?;
            let mut target = create_file(to.0, to.1)?;
            io::copy(&mut source, &mut target)?;
            crash::point("files.copied", "");
            finish(target.as_fd(), &read_xattrs(source.as_fd())?, &Metadata::of(&found))?;
            target.sync_all()
        }
        Kind::Symlink => {
            let link = rustix::fs::readlinkat(from.0, from.1, Vec::new())?;
            rustix::fs::symlinkat(&link, to.0, to.1)?;
            finish_at(to.0, to.1, &read_xattrs_at(from.0, from.1)?, &Metadata::of(&found))
        }
        Kind::Directory => {
            let source = open_directory(from.0, from.1)?;
            rustix::fs::mkdirat(to.0, to.1, Mode::RWXU)?;
            let target = open_directory(to.0, to.1)?;
            for name in names(source.as_fd())? {
                copy_entry((source.as_fd(), &name), (target.as_fd(), &name), depth + 1)?;
            }
            finish(target.as_fd(), &read_xattrs(source.as_fd())?, &Metadata::of(&found))?;
            Ok(rustix::fs::fsync(&target)?)
        }
        Kind::Other => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("`{}` is a socket, pipe or device, which cannot be copied", from.1.display()),
        )),
    }
}

/// What a copy keeps beside the content.
#[derive(Debug, Clone)]
pub(crate) struct Metadata {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) modified: Timespec,
}

impl Metadata {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            modified: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec.cast_signed() },
        }
    }

    fn timestamps(&self) -> Timestamps {
        Timestamps { last_access: self.modified, last_modification: self.modified }
    }
}

/// A new regular file, for us alone until its metadata is set.
pub(crate) fn create_file(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?))
}

/// Gives a file or folder what it has beside its content. The owner first,
/// whose change takes away set-user bits and capabilities; then what an access
/// list would do to the mode; the times last.
pub(crate) fn finish(
    file: BorrowedFd<'_>,
    attributes: &[(Vec<u8>, Vec<u8>)],
    metadata: &Metadata,
) -> io::Result<()> {
    let now = rustix::fs::fstat(file)?;
    if (now.st_uid, now.st_gid) != (metadata.uid, metadata.gid) {
        rustix::fs::fchown(file, Some(Uid::from_raw(metadata.uid)), Some(Gid::from_raw(metadata.gid)))?;
    }
    write_xattrs(file, attributes)?;
    rustix::fs::fchmod(file, Mode::from_raw_mode(metadata.mode))?;
    Ok(rustix::fs::futimens(file, &metadata.timestamps())?)
}

/// As [`finish`], for a link, pipe or device that nobody else knows of yet.
pub(crate) fn finish_at(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    attributes: &[(Vec<u8>, Vec<u8>)],
    metadata: &Metadata,
) -> io::Result<()> {
    let made = stat(directory, name)?.ok_or(io::ErrorKind::NotFound)?;
    if (made.st_uid, made.st_gid) != (metadata.uid, metadata.gid) {
        let (uid, gid) = (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid));
        rustix::fs::chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    write_xattrs_at(directory, name, attributes)?;
    // A link has no mode of its own.
    if Kind::of(&made) != Kind::Symlink {
        rustix::fs::chmodat(directory, name, Mode::from_raw_mode(metadata.mode), AtFlags::empty())?;
    }
    Ok(rustix::fs::utimensat(directory, name, &metadata.timestamps(), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Removes a file or tree; false when there was none. Follows no link.
pub(crate) fn remove(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<bool> {
    let Some(found) = stat(directory, name)? else { return Ok(false) };
    if Kind::of(&found) == Kind::Directory {
        let opened = open_directory(directory, name)?;
        for child in names(opened.as_fd())? {
            remove(opened.as_fd(), &child)?;
        }
        rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)?;
    } else {
        rustix::fs::unlinkat(directory, name, AtFlags::empty())?;
    }
    Ok(true)
}

/// Changes owners and modes of a tree, then syncs it. Links keep their mode.
pub(crate) fn change_ownership(directory: BorrowedFd<'_>, name: &OsStr, to: &Change) -> io::Result<()> {
    let found = stat(directory, name)?.ok_or(io::ErrorKind::NotFound)?;
    let (uid, gid) = (to.uid.map(Uid::from_raw), to.gid.map(Gid::from_raw));
    let chown = uid.is_some() || gid.is_some();
    match Kind::of(&found) {
        Kind::Directory => {
            let opened = open_directory(directory, name)?;
            for child in names(opened.as_fd())? {
                change_ownership(opened.as_fd(), &child, to)?;
            }
            change_one(opened.as_fd(), chown.then_some((uid, gid)), to.directory_mode, &found)
        }
        Kind::File => {
            let opened = open_file(directory, name)?;
            change_one(opened.as_fd(), chown.then_some((uid, gid)), to.file_mode, &found)
        }
        Kind::Symlink | Kind::Other => {
            if chown {
                rustix::fs::chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            Ok(())
        }
    }
}

/// What [`change_ownership`] sets; unset means leave.
#[derive(Debug, Clone, Default)]
pub(crate) struct Change {
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) file_mode: Option<u32>,
    pub(crate) directory_mode: Option<u32>,
}

fn change_one(
    file: BorrowedFd<'_>,
    owners: Option<(Option<Uid>, Option<Gid>)>,
    mode: Option<u32>,
    found: &Stat,
) -> io::Result<()> {
    if let Some((uid, gid)) = owners {
        rustix::fs::fchown(file, uid, gid)?;
    }
    let mode = mode.unwrap_or(found.st_mode) & 0o7777;
    rustix::fs::fchmod(file, Mode::from_raw_mode(mode))?;
    Ok(rustix::fs::fsync(file)?)
}

/// Where a name in an open directory is now, for programs that need a path.
pub(crate) fn path_of(directory: BorrowedFd<'_>, name: &str) -> io::Result<std::path::PathBuf> {
    let link = format!("/proc/self/fd/{}", directory.as_raw_fd());
    Ok(std::fs::read_link(link)?.join(name))
}
