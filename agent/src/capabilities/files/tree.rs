//! Walks, copies, syncs and removes trees from an open directory downwards,
//! never through a path, so that no swapped link can redirect it.

use std::ffi::{CStr, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::crash;

const DEPTH_MAX: usize = 128;

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
        Ok(rustix::fs::readlinkat(self.directory, self.name, Vec::new())?.into_bytes())
    }

    pub(crate) fn extended_attributes(&self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        match self.kind {
            Kind::File => read_xattrs(self.open()?.as_fd()),
            Kind::Directory => read_xattrs(open_directory(self.directory, self.name)?.as_fd()),
            Kind::Symlink | Kind::Other => Ok(Vec::new()),
        }
    }
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
    let opened = File::from(rustix::fs::openat(directory, name, flags, Mode::empty())?);
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
            write_xattrs(target.as_fd(), &read_xattrs(source.as_fd())?)?;
            set_metadata(target.as_fd(), &Metadata::of(&found))?;
            target.sync_all()
        }
        Kind::Symlink => {
            let link = rustix::fs::readlinkat(from.0, from.1, Vec::new())?;
            make_link(to.0, to.1, &link, &Metadata::of(&found))
        }
        Kind::Directory => {
            let source = open_directory(from.0, from.1)?;
            rustix::fs::mkdirat(to.0, to.1, Mode::RWXU)?;
            let target = open_directory(to.0, to.1)?;
            for name in names(source.as_fd())? {
                copy_entry((source.as_fd(), &name), (target.as_fd(), &name), depth + 1)?;
            }
            write_xattrs(target.as_fd(), &read_xattrs(source.as_fd())?)?;
            set_metadata(target.as_fd(), &Metadata::of(&found))?;
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
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?))
}

/// Owner before mode: a change of owner clears the set-user bits.
pub(crate) fn set_metadata(file: BorrowedFd<'_>, metadata: &Metadata) -> io::Result<()> {
    let now = rustix::fs::fstat(file)?;
    if (now.st_uid, now.st_gid) != (metadata.uid, metadata.gid) {
        rustix::fs::fchown(file, Some(Uid::from_raw(metadata.uid)), Some(Gid::from_raw(metadata.gid)))?;
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode(metadata.mode))?;
    Ok(rustix::fs::futimens(file, &metadata.timestamps())?)
}

pub(crate) fn make_link(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    target: &CStr,
    metadata: &Metadata,
) -> io::Result<()> {
    rustix::fs::symlinkat(target, directory, name)?;
    let made = stat(directory, name)?.ok_or(io::ErrorKind::NotFound)?;
    if (made.st_uid, made.st_gid) != (metadata.uid, metadata.gid) {
        rustix::fs::chownat(
            directory,
            name,
            Some(Uid::from_raw(metadata.uid)),
            Some(Gid::from_raw(metadata.gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
    }
    Ok(rustix::fs::utimensat(directory, name, &metadata.timestamps(), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// File systems without extended attributes have none to keep.
fn read_xattrs(file: BorrowedFd<'_>) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut list = vec![0; 64 * 1024];
    let length = match rustix::fs::flistxattr(file, &mut list[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
        Err(errno) => return Err(errno.into()),
    };
    let mut found = Vec::new();
    let mut value = vec![0; 64 * 1024];
    for name in list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let size = rustix::fs::fgetxattr(file, name, &mut value[..])?;
        found.push((name.to_vec(), value[..size].to_vec()));
    }
    Ok(found)
}

pub(crate) fn write_xattrs(file: BorrowedFd<'_>, attributes: &[(Vec<u8>, Vec<u8>)]) -> io::Result<()> {
    for (name, value) in attributes {
        rustix::fs::fsetxattr(file, name.as_slice(), value, XattrFlags::empty()).map_err(|errno| {
            let name = String::from_utf8_lossy(name);
            io::Error::new(
                io::Error::from(errno).kind(),
                format!("the extended attribute `{name}` could not be kept: {errno}"),
            )
        })?;
    }
    Ok(())
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
