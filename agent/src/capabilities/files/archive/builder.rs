//! Builds a tree below an open folder from entries that nobody has vouched for:
//! each name is walked from the top, through no link, and every byte is counted.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Mode, Timespec};
use rustix::io::Errno;

use super::Fault;
use crate::capabilities::files::owners;
use crate::capabilities::files::tree::{self, DEPTH_MAX, Kind, Metadata};

/// What each entry counts beside its content: a header, an inode.
const ENTRY_BYTES: u64 = 512;
const NAME_BYTES_MAX: usize = 255;

/// What an archive says of one entry beside its content.
#[derive(Debug, Clone, Default)]
pub(super) struct About {
    pub(super) mode: u32,
    pub(super) modified: (i64, u32),
    /// Name and number, as far as the archive has them.
    pub(super) user: (Option<String>, Option<u32>),
    pub(super) group: (Option<String>, Option<u32>),
    pub(super) attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Pieces of a file with holes: where each begins, and its length.
pub(super) type Pieces = [(u64, u64)];

#[derive(Debug)]
pub(super) struct Builder {
    top: OwnedFd,
    left: u64,
    has_top: bool,
    is_root: bool,
    /// What folders get at the end: filling them changes their times, and a
    /// folder may be closed to its own owner.
    folders: BTreeMap<Vec<OsString>, About>,
    numbers: BTreeMap<(bool, String), Option<u32>>,
}

impl Builder {
    pub(super) fn new(top: OwnedFd, bytes_max: u64) -> Self {
        Self {
            top,
            left: bytes_max,
            has_top: false,
            is_root: rustix::process::geteuid().is_root(),
            folders: BTreeMap::new(),
            numbers: BTreeMap::new(),
        }
    }

    pub(super) fn folder(&mut self, name: &[u8], about: About) -> io::Result<()> {
        self.count(0)?;
        let parts = parts(name)?;
        if parts.is_empty() {
            self.has_top = true;
        } else {
            self.open_folder(&parts)?;
        }
        self.folders.insert(parts, about);
        Ok(())
    }

    /// A file of `pieces` out of `content`, `bytes` long.
    pub(super) fn file(
        &mut self,
        name: &[u8],
        about: &About,
        content: &mut dyn Read,
        bytes: u64,
        pieces: &Pieces,
    ) -> io::Result<()> {
        self.count(pieces.iter().try_fold(0_u64, |sum, piece| sum.checked_add(piece.1)).unwrap_or(u64::MAX))?;
        let (folder, last) = self.clear_place(name)?;
        let mut file = tree::create_file(folder.as_fd(), &last)?;
        for (offset, length) in pieces {
            io::Seek::seek(&mut file, io::SeekFrom::Start(*offset))?;
            if io::copy(&mut (&mut *content).take(*length), &mut file)? != *length {
                return Err(Fault::Broken.at(name));
            }
        }
        file.flush()?;
        rustix::fs::ftruncate(&file, bytes)?;
        self.finish_file(&file, about)
    }

    /// A file whose length is known only when it ends.
    pub(super) fn stream(&mut self, name: &[u8], about: &About, content: &mut dyn Read) -> io::Result<()> {
        self.count(0)?;
        let (folder, last) = self.clear_place(name)?;
        let mut file = tree::create_file(folder.as_fd(), &last)?;
        // One byte more than is left shows that there is more.
        let copied = io::copy(&mut content.take(self.left.saturating_add(1)), &mut file)?;
        self.left = self.left.checked_sub(copied).ok_or_else(|| Fault::TooLarge.at(name))?;
        self.finish_file(&file, about)
    }

    pub(super) fn symlink(&mut self, name: &[u8], target: &[u8], about: &About) -> io::Result<()> {
        self.count(target.len() as u64)?;
        if target.is_empty() || target.contains(&0) {
            return Err(Fault::Unsafe.at(name));
        }
        let (folder, last) = self.clear_place(name)?;
        rustix::fs::symlinkat(OsStr::from_bytes(target), &folder, &last)?;
        let metadata = self.metadata(about);
        tree::finish_at(folder.as_fd(), &last, &self.attributes(about), &metadata)
    }

    /// One more name for a file that came earlier.
    pub(super) fn hard_link(&mut self, name: &[u8], to: &[u8]) -> io::Result<()> {
        self.count(0)?;
        let to = parts(to)?;
        let (Some((file, above)), false) = (to.split_last(), parts(name)? == to) else {
            return Err(Fault::Unsafe.at(name));
        };
        let from = self.open_existing(above)?.ok_or_else(|| Fault::Unsafe.at(name))?;
        if tree::stat(from.as_fd(), file)?.is_none_or(|stat| Kind::of(&stat) != Kind::File) {
            return Err(Fault::Unsafe.at(name));
        }
        let (folder, last) = self.clear_place(name)?;
        Ok(rustix::fs::linkat(&from, file, &folder, &last, AtFlags::empty())?)
    }

    /// Gives the folders what they are to have, the innermost first; answers
    /// whether the archive named its own top.
    pub(super) fn finish(mut self) -> io::Result<bool> {
        let folders = std::mem::take(&mut self.folders);
        if !self.has_top {
            rustix::fs::fchmod(&self.top, Mode::from_raw_mode(0o755))?;
        }
        for (parts, about) in folders.iter().rev() {
            // A file of the same name may have come after it.
            let Some(folder) = self.open_existing(parts)? else { continue };
            let metadata = self.metadata(about);
            tree::finish(folder.as_fd(), &self.attributes(about), &metadata)?;
        }
        Ok(self.has_top)
    }

    fn count(&mut self, bytes: u64) -> io::Result<()> {
        let left = self.left.checked_sub(ENTRY_BYTES).and_then(|left| left.checked_sub(bytes));
        self.left = left.ok_or_else(|| Fault::TooLarge.because(Fault::TooLarge))?;
        Ok(())
    }

    fn finish_file(&mut self, file: &File, about: &About) -> io::Result<()> {
        let metadata = self.metadata(about);
        tree::finish(file.as_fd(), &self.attributes(about), &metadata)
    }

    /// Only root may give files away; for others the archive's owners are words.
    fn metadata(&mut self, about: &About) -> Metadata {
        let (uid, gid) = if self.is_root {
            (self.number("/etc/passwd", &about.user), self.number("/etc/group", &about.group))
        } else {
            (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
        };
        Metadata {
            mode: about.mode & if self.is_root { 0o7777 } else { 0o1777 },
            uid,
            gid,
            modified: Timespec { tv_sec: about.modified.0, tv_nsec: i64::from(about.modified.1) },
        }
    }

    /// Names come before numbers, which differ from host to host.
    fn number(&mut self, table: &'static str, who: &(Option<String>, Option<u32>)) -> u32 {
        let by_name = who.0.as_ref().filter(|name| !name.is_empty()).and_then(|name| {
            let key = (table == "/etc/passwd", name.clone());
            *self.numbers.entry(key).or_insert_with(|| owners::number_of(table, name))
        });
        by_name.or(who.1).filter(|number| *number != u32::MAX).unwrap_or_default()
    }

    fn attributes(&self, about: &About) -> Vec<(Vec<u8>, Vec<u8>)> {
        let may = |name: &[u8]| self.is_root || name.starts_with(b"user.");
        about.attributes.iter().filter(|(name, _)| may(name)).cloned().collect()
    }

    /// The folder an entry goes into, and its name there, which is free now.
    fn clear_place(&mut self, name: &[u8]) -> io::Result<(OwnedFd, OsString)> {
        let parts = parts(name)?;
        let (last, above) = parts.split_last().ok_or_else(|| Fault::Unsafe.at(name))?;
        let folder = self.open_folder(above)?;
        match tree::stat(folder.as_fd(), last)? {
            None => {}
            // The same name again means the later one, as tar has it.
            Some(stat) if Kind::of(&stat) != Kind::Directory => {
                rustix::fs::unlinkat(&folder, last, AtFlags::empty())?;
            }
            Some(_) => return Err(Fault::Unsafe.at(name)),
        }
        Ok((folder, last.clone()))
    }

    /// Makes what is missing; a link or a file on the way is refused.
    fn open_folder(&self, parts: &[OsString]) -> io::Result<OwnedFd> {
        let mut folder = self.top.try_clone()?;
        for part in parts {
            match rustix::fs::mkdirat(&folder, part, Mode::from_raw_mode(0o755)) {
                Ok(()) => rustix::fs::chmodat(&folder, part, Mode::from_raw_mode(0o755), AtFlags::empty())?,
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            folder = tree::open_directory(folder.as_fd(), part).map_err(|cause| led_away(cause, part))?;
        }
        Ok(folder)
    }

    fn open_existing(&self, parts: &[OsString]) -> io::Result<Option<OwnedFd>> {
        let mut folder = self.top.try_clone()?;
        for part in parts {
            match tree::stat(folder.as_fd(), part)? {
                Some(stat) if Kind::of(&stat) == Kind::Directory => {
                    folder = tree::open_directory(folder.as_fd(), part)?;
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(folder))
    }
}

fn led_away(cause: io::Error, part: &OsStr) -> io::Error {
    match Errno::from_io_error(&cause) {
        Some(Errno::LOOP | Errno::NOTDIR) => Fault::Unsafe.at(part.as_bytes()),
        _ => cause,
    }
}

/// The parts of a name; none for the top itself.
fn parts(name: &[u8]) -> io::Result<Vec<OsString>> {
    if name.starts_with(b"/") || name.contains(&0) {
        return Err(Fault::Unsafe.at(name));
    }
    let mut parts = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(Fault::Unsafe.at(name)),
            long if long.len() > NAME_BYTES_MAX => return Err(Fault::Unsafe.at(name)),
            part => parts.push(OsStr::from_bytes(part).to_owned()),
        }
    }
    if parts.len() > DEPTH_MAX {
        return Err(Fault::Unsafe.at(name));
    }
    Ok(parts)
}
