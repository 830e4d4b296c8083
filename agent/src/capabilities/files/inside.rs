//! Inside of trees: names looked for, and side copies in which kept copies take
//! their places again or single things go. All by open folders, through no link.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{AtFlags, Gid, RenameFlags, Uid};

use super::tree::{self, DEPTH_MAX, Kind};
use super::{Digest, Files, HostPath, NAMES_MAX, Place, READ_BYTES_MAX, absent, io, sync};
use crate::capabilities::{ErrorKind, HostError};

/// The longest target the kernel takes.
const TARGET_BYTES_MAX: usize = 4_095;

impl Files {
    /// The last bytes of a regular file, from the beginning of a line; from its
    /// middle where one line is longer than `bytes_max`.
    ///
    /// # Errors
    /// Nothing there, no regular file, or whatever the disk says.
    pub fn read_tail(&self, at: Place, path: &HostPath, bytes_max: u32) -> Result<Vec<u8>, HostError> {
        let (spot, name) = self.locate(at, path)?.ok_or_else(|| absent(path))?;
        let mut file =
            tree::open_file(spot.directory.as_fd(), OsStr::new(&name)).map_err(io("open", path))?;
        let bytes_max = u64::from(bytes_max.min(READ_BYTES_MAX));
        let mut read = || -> io::Result<Vec<u8>> {
            let length = file.metadata()?.len();
            let from = length.saturating_sub(bytes_max);
            // The byte before tells whether a line begins here.
            file.seek(SeekFrom::Start(from.saturating_sub(1)))?;
            let mut bytes = Vec::new();
            (&mut file).take(bytes_max + u64::from(from > 0)).read_to_end(&mut bytes)?;
            if from > 0 {
                let line = bytes.iter().position(|byte| *byte == b'\n').unwrap_or_default();
                bytes.drain(..=line.min(bytes.len().saturating_sub(1)));
            }
            Ok(bytes)
        };
        read().map_err(io("read", path))
    }

    /// Names below a directory that end with `suffix`, at any depth, relative
    /// and sorted. Links are named and not followed.
    ///
    /// # Errors
    /// Not a directory, too many names, or whatever the disk says.
    pub fn find(&self, at: Place, path: &HostPath, suffix: &str) -> Result<Vec<String>, HostError> {
        let (spot, name) = self.locate(at, path)?.ok_or_else(|| absent(path))?;
        tree::open_directory(spot.directory.as_fd(), OsStr::new(&name)).map_err(io("open", path))?;
        let mut found = Vec::new();
        tree::walk(spot.directory.as_fd(), &name, &mut |entry| {
            if found.len() <= NAMES_MAX
                && !entry.path.is_empty()
                && entry.name.as_bytes().ends_with(suffix.as_bytes())
            {
                found.push(entry.path.to_vec());
            }
            Ok(())
        })
        .map_err(io("look through", path))?;
        texts(found, path)
    }

    /// Side copy := a symbolic link to `target`, with the live link's owner
    /// when there is one.
    ///
    /// # Errors
    /// An impossible target, something live that is no link, or a failing disk.
    pub fn stage_link(&self, path: &HostPath, target: &str) -> Result<Digest, HostError> {
        if target.is_empty() || target.len() > TARGET_BYTES_MAX || target.contains('\0') {
            let message = format!("a link at `{path}` cannot have this target");
            return Err(HostError::new(ErrorKind::Invalid, "files/bad-target", message));
        }
        let (spot, side) = self.clear_side(path)?;
        let directory = spot.directory.as_fd();
        let live = tree::stat(directory, &spot.name).map_err(io("look at", path))?;
        if live.as_ref().is_some_and(|stat| Kind::of(stat) != Kind::Symlink) {
            let message = format!("`{path}` is there and is not a symbolic link");
            return Err(HostError::new(ErrorKind::Conflict, "files/not-a-link", message));
        }
        let make = || -> io::Result<()> {
            rustix::fs::symlinkat(target, directory, &side)?;
            if let Some(live) = &live {
                let (uid, gid) = (Uid::from_raw(live.st_uid), Gid::from_raw(live.st_gid));
                rustix::fs::chownat(directory, &side, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            Ok(())
        };
        make().map_err(io("stage", path))?;
        self.staged(&spot, &side, path)
    }

    /// In the side copy of a tree every `X<suffix>` takes the place of `X`, at
    /// any depth; answers the names put back, relative and sorted.
    ///
    /// # Errors
    /// `files/bad-suffix`, `files/two-copies` when an `X<suffix><suffix>` stands
    /// beside an `X<suffix>`, no side copy, or a failing disk.
    pub fn stage_put_back(&self, path: &HostPath, suffix: &str) -> Result<Vec<String>, HostError> {
        if suffix.is_empty() || suffix.contains(['/', '\0']) {
            let message = format!("`{}` is no end of a name", suffix.escape_debug());
            return Err(HostError::new(ErrorKind::Invalid, "files/bad-suffix", message));
        }
        let (spot, side) = self.locate(Place::Side, path)?.ok_or_else(|| absent(path))?;
        let top = tree::open_directory(spot.directory.as_fd(), OsStr::new(&side))
            .map_err(io("open the side copy of", path))?;
        let mut doubled = None;
        check_copies(top.as_fd(), suffix.as_bytes(), &mut doubled, 0).map_err(io("look through", path))?;
        if let Some(name) = doubled {
            let message =
                format!("`{path}` holds both `{name}` and `{name}{suffix}`: only one can take the place");
            return Err(HostError::new(ErrorKind::Conflict, "files/two-copies", message));
        }
        let mut back = Vec::new();
        put_back(top.as_fd(), suffix.as_bytes(), &mut Vec::new(), &mut back)
            .map_err(io("put copies back in", path))?;
        sync(&spot, path)?;
        texts(back, path)
    }

    /// Removes these relative names from the side copy; answers those that were
    /// there.
    ///
    /// # Errors
    /// `files/bad-path` for a name that is not plainly inside, a link on the
    /// way, no side copy, or a failing disk.
    pub fn stage_removal(&self, path: &HostPath, inside: &[String]) -> Result<Vec<String>, HostError> {
        let (spot, side) = self.locate(Place::Side, path)?.ok_or_else(|| absent(path))?;
        let top = tree::open_directory(spot.directory.as_fd(), OsStr::new(&side))
            .map_err(io("open the side copy of", path))?;
        for name in inside {
            HostPath::parse(&format!("/{name}"))?.parent_and_name()?;
        }
        let mut gone = Vec::new();
        for name in inside {
            let (folders, last) = name.rsplit_once('/').unwrap_or(("", name));
            let Some(folder) = open_inside(&top, folders).map_err(|cause| led_away(path, name, cause))?
            else {
                continue;
            };
            if tree::remove(folder.as_fd(), OsStr::new(last)).map_err(io("remove from", path))? {
                rustix::fs::fsync(&folder).map_err(|errno| io("sync", path)(errno.into()))?;
                gone.push(name.clone());
            }
        }
        Ok(gone)
    }
}

fn led_away(path: &HostPath, name: &str, cause: io::Error) -> HostError {
    if matches!(cause.raw_os_error(), Some(code) if code == rustix::io::Errno::LOOP.raw_os_error()) {
        let message = format!("`{name}` in `{path}` leads through a symbolic link, which is not followed");
        return HostError::new(ErrorKind::Denied, "files/symlink-in-path", message);
    }
    io("look into", path)(cause)
}

/// None when one of the folders is not there.
fn open_inside(top: &OwnedFd, folders: &str) -> io::Result<Option<OwnedFd>> {
    let mut folder = top.try_clone()?;
    for name in folders.split('/').filter(|name| !name.is_empty()) {
        match tree::stat(folder.as_fd(), name)?.as_ref().map(Kind::of) {
            Some(Kind::Directory) => folder = tree::open_directory(folder.as_fd(), OsStr::new(name))?,
            Some(Kind::Symlink) => return Err(rustix::io::Errno::LOOP.into()),
            Some(Kind::File | Kind::Other) | None => return Ok(None),
        }
    }
    Ok(Some(folder))
}

/// The name that a copy has the place of; none for what is no copy.
fn place_of(name: &OsStr, suffix: &[u8]) -> Option<OsString> {
    let stem = name.as_bytes().strip_suffix(suffix)?;
    (!stem.is_empty()).then(|| OsStr::from_bytes(stem).to_owned())
}

fn check_copies(
    folder: BorrowedFd<'_>,
    suffix: &[u8],
    doubled: &mut Option<String>,
    depth: usize,
) -> io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(io::Error::other("the tree is nested too deeply"));
    }
    let names = tree::names(folder)?;
    for name in &names {
        let is_copy = place_of(name, suffix).is_some();
        let twice = OsString::from_vec([name.as_bytes(), suffix].concat());
        if is_copy && names.binary_search(&twice).is_ok() {
            doubled.get_or_insert_with(|| name.to_string_lossy().into_owned());
        }
        if tree::stat(folder, name)?.as_ref().map(Kind::of) == Some(Kind::Directory) {
            check_copies(tree::open_directory(folder, name)?.as_fd(), suffix, doubled, depth + 1)?;
        }
    }
    Ok(())
}

/// Innermost first, so that a folder that is a copy itself holds none any more
/// when it takes its place. Paths are those that names have at the end.
fn put_back(
    folder: BorrowedFd<'_>,
    suffix: &[u8],
    path: &mut Vec<u8>,
    back: &mut Vec<Vec<u8>>,
) -> io::Result<()> {
    let mut changed = false;
    let names = tree::names(folder)?;
    for name in names {
        let place = place_of(&name, suffix);
        let length = path.len();
        if length > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(place.as_ref().unwrap_or(&name).as_bytes());
        let kind = tree::stat(folder, &name)?.as_ref().map(Kind::of);
        // What stands where a copy goes is removed with all it holds.
        let copy = OsString::from_vec([name.as_bytes(), suffix].concat());
        let goes = place.is_none() && tree::stat(folder, &copy)?.is_some();
        if kind == Some(Kind::Directory) && !goes {
            put_back(tree::open_directory(folder, &name)?.as_fd(), suffix, path, back)?;
        }
        if let Some(place) = place {
            take_place(folder, &name, &place)?;
            back.push(path.clone());
            changed = true;
        }
        path.truncate(length);
    }
    if changed {
        rustix::fs::fsync(folder)?;
    }
    Ok(())
}

fn take_place(folder: BorrowedFd<'_>, copy: &OsStr, place: &OsStr) -> io::Result<()> {
    let is_file =
        |name| tree::stat(folder, name).map(|stat| stat.is_some_and(|s| Kind::of(&s) != Kind::Directory));
    if is_file(copy)? && is_file(place)? {
        return Ok(rustix::fs::renameat(folder, copy, folder, place)?);
    }
    tree::remove(folder, place)?;
    Ok(rustix::fs::renameat_with(folder, copy, folder, place, RenameFlags::NOREPLACE)?)
}

fn texts(mut found: Vec<Vec<u8>>, path: &HostPath) -> Result<Vec<String>, HostError> {
    if found.len() > NAMES_MAX {
        let message = format!("`{path}` holds more than {NAMES_MAX} such names");
        return Err(HostError::new(ErrorKind::Invalid, "files/too-many", message));
    }
    found.sort_unstable();
    let text = |name: Vec<u8>| {
        String::from_utf8(name).map_err(|_| {
            let message = format!("a name below `{path}` is not UTF-8");
            HostError::new(ErrorKind::Unsupported, "files/name-not-text", message)
        })
    };
    found.into_iter().map(text).collect()
}

#[cfg(test)]
mod tests;
