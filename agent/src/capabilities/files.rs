//! Files below the host's root, changed only by building beside and one
//! atomic exchange of names.
//!
//! The side copy of `/opt/hello` is `/opt/.sternway-<run>-<step>-hello`: the
//! same file system, hidden, and named by run and step, so that another run
//! never finds it and the same step always does.

mod archive;
mod digest;
mod inside;
mod known;
mod owners;
mod root;
pub(crate) mod tree;

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Gid, Mode, RenameFlags, Uid};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub(crate) use root::Spot;
pub use root::{HostPath, HostRoot};

use crate::capabilities::{ErrorKind, HostError};
use crate::crash;
use tree::Kind;

/// The most that one `read` answers.
pub const READ_BYTES_MAX: u32 = 4 * 1024 * 1024;
const NAME_BYTES_MAX: usize = 255;
const NAMES_MAX: usize = 65_536;

/// What kind of thing a path names; a link is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Node {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A socket, pipe or device.
    Other,
}

/// What the file system says of one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// The kind of thing.
    pub node: Node,
    /// The lower twelve bits.
    pub mode: u32,
    /// A name, or the number when it has none.
    pub owner: String,
    /// A name, or the number when it has none.
    pub group: String,
    /// Length of the content.
    pub bytes: u64,
    /// Milliseconds since 1970 in UTC.
    pub modified_ms: u64,
}

/// What a file or tree is, by content; the format stands in `digest.rs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// Lower-case hexadecimal.
    pub sha256: String,
    /// Files, directories and links, the top included.
    pub entries: u64,
    /// Sum of the lengths of regular files.
    pub bytes: u64,
}

/// Owner and group by name or number; unset means leave.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ownership {
    /// A name or a number.
    pub owner: Option<String>,
    /// A name or a number.
    pub group: Option<String>,
    /// For regular files.
    pub file_mode: Option<u32>,
    /// For directories.
    pub directory_mode: Option<u32>,
}

/// Which of the two copies of a path is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// What everybody sees.
    Live,
    /// The hidden sibling of this step of this run.
    Side,
}

/// The files of one host, as one step of one run may stage and switch them.
#[derive(Debug, Clone)]
pub struct Files {
    root: HostRoot,
    side_prefix: String,
}

impl Files {
    /// `run` and `step` name the side copies and nothing else.
    pub fn new(root: HostRoot, run: &str, step: &str) -> Self {
        let short = |text: &str| hex(&Sha256::digest(text.as_bytes()))[..8].to_owned();
        Self { root, side_prefix: format!(".sternway-{}-{}-", short(run), short(step)) }
    }

    /// # Errors
    /// A path through a link, or a failing disk.
    pub fn attributes(&self, at: Place, path: &HostPath) -> Result<Option<Attributes>, HostError> {
        let Some((spot, name)) = self.locate(at, path)? else { return Ok(None) };
        let found = tree::stat(spot.directory.as_fd(), &name).map_err(io("look at", path))?;
        Ok(found.map(|stat| Attributes {
            node: match Kind::of(&stat) {
                Kind::File => Node::File,
                Kind::Directory => Node::Directory,
                Kind::Symlink => Node::Symlink,
                Kind::Other => Node::Other,
            },
            mode: stat.st_mode & 0o7777,
            owner: owners::user_name(stat.st_uid),
            group: owners::group_name(stat.st_gid),
            bytes: u64::try_from(stat.st_size).unwrap_or_default(),
            modified_ms: u64::try_from(stat.st_mtime).unwrap_or_default() * 1_000
                + u64::from(stat.st_mtime_nsec as u32) / 1_000_000,
        }))
    }

    /// # Errors
    /// A path through a link, an unreadable entry, or a failing disk.
    pub fn digest(&self, at: Place, path: &HostPath) -> Result<Option<Digest>, HostError> {
        let Some((spot, name)) = self.locate(at, path)? else { return Ok(None) };
        digest::digest(self.root.known(), spot.directory.as_fd(), &name).map_err(io("read", path))
    }

    /// The content of a regular file.
    ///
    /// # Errors
    /// `files/too-large` beyond `bytes_max`, and whatever the disk says.
    pub fn read(&self, at: Place, path: &HostPath, bytes_max: u32) -> Result<Vec<u8>, HostError> {
        let (spot, name) = self.locate(at, path)?.ok_or_else(|| absent(path))?;
        let file = tree::open_file(spot.directory.as_fd(), OsStr::new(&name)).map_err(io("open", path))?;
        let bytes_max = u64::from(bytes_max.min(READ_BYTES_MAX));
        let mut bytes = Vec::new();
        file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(io("read", path))?;
        if bytes.len() as u64 > bytes_max {
            return Err(HostError::new(
                ErrorKind::Invalid,
                "files/too-large",
                format!("`{path}` is larger than {bytes_max} bytes"),
            ));
        }
        Ok(bytes)
    }

    /// Names in a directory, sorted. Names that are not UTF-8 are refused.
    ///
    /// # Errors
    /// Not a directory, too many names, or whatever the disk says.
    pub fn names(&self, at: Place, path: &HostPath) -> Result<Vec<String>, HostError> {
        let opened = if path.as_str() == "/" && at == Place::Live {
            let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
            self.root.open_beneath(path, flags)?
        } else {
            let (spot, name) = self.locate(at, path)?.ok_or_else(|| absent(path))?;
            tree::open_directory(spot.directory.as_fd(), OsStr::new(&name)).map_err(io("open", path))?
        };
        let names = tree::names(opened.as_fd()).map_err(io("list", path))?;
        if names.len() > NAMES_MAX {
            return Err(HostError::new(
                ErrorKind::Invalid,
                "files/too-many",
                format!("`{path}` holds more than {NAMES_MAX} names"),
            ));
        }
        names
            .into_iter()
            .map(|name| {
                name.into_string().map_err(|_| {
                    HostError::new(
                        ErrorKind::Unsupported,
                        "files/name-not-text",
                        format!("a name in `{path}` is not UTF-8"),
                    )
                })
            })
            .collect()
    }

    /// Side copy := these bytes, with the live file's owner and mode when
    /// there is one, else ours and 0644.
    ///
    /// # Errors
    /// The parent is absent, the live thing is no file, or the disk fails.
    pub fn stage_bytes(&self, path: &HostPath, data: &[u8]) -> Result<Digest, HostError> {
        let (spot, side) = self.clear_side(path)?;
        let live = tree::stat(spot.directory.as_fd(), &spot.name).map_err(io("look at", path))?;
        if live.as_ref().is_some_and(|stat| Kind::of(stat) != Kind::File) {
            return Err(HostError::new(
                ErrorKind::Conflict,
                "files/not-a-file",
                format!("`{path}` is there and is not a regular file"),
            ));
        }
        let write = || -> io::Result<()> {
            let mut file = tree::create_file(spot.directory.as_fd(), OsStr::new(&side))?;
            file.write_all(data)?;
            if let Some(live) = &live {
                rustix::fs::fchown(
                    &file,
                    Some(Uid::from_raw(live.st_uid)),
                    Some(Gid::from_raw(live.st_gid)),
                )?;
            }
            let mode = live.as_ref().map_or(0o644, |stat| stat.st_mode & 0o7777);
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
            file.sync_all()
        };
        write().map_err(io("stage", path))?;
        self.staged(&spot, &side, path)
    }

    /// Side copy := a copy of the live file or tree.
    ///
    /// # Errors
    /// Nothing is live, something in it cannot be copied, or the disk fails.
    pub fn stage_copy(&self, path: &HostPath) -> Result<Digest, HostError> {
        let (spot, side) = self.clear_side(path)?;
        let directory = spot.directory.as_fd();
        tree::copy((directory, OsStr::new(&spot.name)), (directory, OsStr::new(&side)))
            .map_err(io("copy", path))?;
        self.staged(&spot, &side, path)
    }

    /// Side copy := what `fill` makes in the open directory under the name it
    /// is given, which does not exist yet; `fill` syncs what it writes, and is
    /// told the name of what is live as well.
    ///
    /// # Errors
    /// Whatever `fill` says, or a failing disk.
    pub(crate) fn stage_with(
        &self,
        path: &HostPath,
        fill: impl FnOnce(BorrowedFd<'_>, &str, &str) -> Result<(), HostError>,
    ) -> Result<Digest, HostError> {
        let (spot, side) = self.clear_side(path)?;
        fill(spot.directory.as_fd(), &side, &spot.name)?;
        self.staged(&spot, &side, path)
    }

    /// Changes owners and modes in the side copy, recursively.
    ///
    /// # Errors
    /// There is no side copy, an unknown owner or group, or the disk fails.
    pub fn stage_ownership(&self, path: &HostPath, to: &Ownership) -> Result<Digest, HostError> {
        let change = owners::resolve(to)?;
        let (spot, side) = self.locate(Place::Side, path)?.ok_or_else(|| absent(path))?;
        tree::change_ownership(spot.directory.as_fd(), OsStr::new(&side), &change)
            .map_err(io("change the owners of the side copy of", path))?;
        self.staged(&spot, &side, path)
    }

    /// Side copy := that of another step, which has none from then on.
    ///
    /// # Errors
    /// The other has none, or a failing disk.
    pub(crate) fn take_side_of(&self, other: &Self, path: &HostPath) -> Result<(), HostError> {
        let (spot, side) = self.clear_side(path)?;
        let theirs = other.side_name(&spot.name)?;
        self.rename(&spot, &theirs, &side, RenameFlags::NOREPLACE)
            .map_err(io("put aside what stood at", path))?;
        sync(&spot, path)
    }

    /// Removes the side copy; nothing to do when there is none.
    ///
    /// # Errors
    /// A path through a link, or a failing disk.
    pub fn discard(&self, path: &HostPath) -> Result<(), HostError> {
        let Some((spot, side)) = self.locate(Place::Side, path)? else { return Ok(()) };
        let remove = |name: &str| {
            tree::remove(spot.directory.as_fd(), OsStr::new(name))
                .map_err(io("discard the side copy of", path))
        };
        let removed = [remove(&side)?, remove(&archive::unpacking(&side)).unwrap_or_default()];
        if removed.contains(&true) { sync(&spot, path) } else { Ok(()) }
    }

    /// One atomic exchange of live and side, synced; false when the live
    /// place has the digest `to` already.
    ///
    /// # Errors
    /// `files/not-as-staged` when the side copy has another digest.
    pub fn switch_to(&self, path: &HostPath, to: &str) -> Result<bool, HostError> {
        let spot = self.root.spot(path)?;
        let side = self.side_name(&spot.name)?;
        let directory = spot.directory.as_fd();
        let known = self.root.known();
        let live = digest::digest(known, directory, &spot.name).map_err(io("read", path))?;
        if live.as_ref().is_some_and(|live| live.sha256 == to) {
            // An earlier try may have died between the exchange and its sync.
            sync(&spot, path)?;
            return Ok(false);
        }
        let staged = digest::digest(known, directory, &side).map_err(io("read the side copy of", path))?;
        if staged.is_none_or(|staged| staged.sha256 != to) {
            return Err(HostError::new(
                ErrorKind::Conflict,
                "files/not-as-staged",
                format!("the side copy of `{path}` is not what was to be switched to"),
            ));
        }
        let flags = if live.is_some() { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
        self.rename(&spot, &side, &spot.name, flags).map_err(io("switch", path))?;
        crash::point("files.switched", "");
        sync(&spot, path)?;
        Ok(true)
    }

    /// Moves the live file or tree to the side, leaving nothing; false when
    /// it is gone already.
    ///
    /// # Errors
    /// `files/side-in-use` when both are there: one of them would be lost.
    pub fn take_away(&self, path: &HostPath) -> Result<bool, HostError> {
        let Some(spot) = self.root.spot_if_any(path)? else { return Ok(false) };
        let side = self.side_name(&spot.name)?;
        let directory = spot.directory.as_fd();
        if tree::stat(directory, &spot.name).map_err(io("look at", path))?.is_none() {
            sync(&spot, path)?;
            return Ok(false);
        }
        match self.rename(&spot, &spot.name, &side, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(HostError::new(
                    ErrorKind::Conflict,
                    "files/side-in-use",
                    format!("`{path}` has a side copy already; discard it first"),
                ));
            }
            Err(error) => return Err(io("take away", path)(error)),
        }
        crash::point("files.taken-away", "");
        sync(&spot, path)?;
        Ok(true)
    }

    /// Copies the live file or tree to `<path><suffix>` for good; that name
    /// there already means an earlier try finished it.
    ///
    /// # Errors
    /// Nothing is live, a name too long, or a failing disk.
    pub fn keep_copy(&self, path: &HostPath, suffix: &str) -> Result<String, HostError> {
        let spot = self.root.spot(path)?;
        let directory = spot.directory.as_fd();
        let kept = checked_name(format!("{}{suffix}", spot.name))?;
        let answer = format!("{path}{suffix}");
        if tree::stat(directory, &kept).map_err(io("look at", path))?.is_some() {
            return Ok(answer);
        }
        // Built under another name: a copy cut short must not look kept.
        let building = checked_name(format!("{}{}.keep", self.side_prefix, spot.name))?;
        tree::remove(directory, OsStr::new(&building)).map_err(io("copy", path))?;
        tree::copy((directory, OsStr::new(&spot.name)), (directory, OsStr::new(&building)))
            .map_err(io("copy", path))?;
        rename(directory, &building, &kept, RenameFlags::NOREPLACE).map_err(io("keep", path))?;
        sync(&spot, path)?;
        Ok(answer)
    }

    /// A path for a program that needs one (SQLite); the thing named is a
    /// regular file and no link leads to it. None when it is absent.
    pub(crate) fn real_file(
        &self,
        at: Place,
        path: &HostPath,
    ) -> Result<Option<std::path::PathBuf>, HostError> {
        let Some((spot, name)) = self.locate(at, path)? else { return Ok(None) };
        let directory = spot.directory.as_fd();
        let Some(stat) = tree::stat(directory, &name).map_err(io("look at", path))? else {
            return Ok(None);
        };
        if Kind::of(&stat) != Kind::File {
            return Err(HostError::new(
                ErrorKind::Conflict,
                "files/not-a-file",
                format!("`{path}` is not a regular file"),
            ));
        }
        tree::path_of(directory, &name).map(Some).map_err(io("find", path))
    }

    /// A path for a program that works on a file or folder, or makes one: what is
    /// named may be absent, and no link leads to it.
    pub(crate) fn real_path(&self, at: Place, path: &HostPath) -> Result<std::path::PathBuf, HostError> {
        let Some((spot, name)) = self.locate(at, path)? else { return Err(absent(path)) };
        let directory = spot.directory.as_fd();
        let stat = tree::stat(directory, &name).map_err(io("look at", path))?;
        if stat.is_some_and(|stat| Kind::of(&stat) == Kind::Symlink) {
            return Err(HostError::new(
                ErrorKind::Conflict,
                "files/is-a-link",
                format!("`{path}` is a symbolic link, and a program would follow it: name what it leads to"),
            ));
        }
        tree::path_of(directory, &name).map_err(io("find", path))
    }

    /// The SHA-256 of a file's content, when it was read before and nobody
    /// changed the file since.
    pub(crate) fn known_content(&self, real: &std::path::Path) -> Option<[u8; 32]> {
        self.root.known().recall(&rustix::fs::lstat(real).ok()?)
    }

    /// Where this step keeps the other copy of `path`.
    fn side_name(&self, name: &str) -> Result<String, HostError> {
        checked_name(format!("{}{name}", self.side_prefix))
    }

    fn locate(&self, at: Place, path: &HostPath) -> Result<Option<(Spot, String)>, HostError> {
        let Some(spot) = self.root.spot_if_any(path)? else { return Ok(None) };
        let name = match at {
            Place::Live => spot.name.clone(),
            Place::Side => self.side_name(&spot.name)?,
        };
        Ok(Some((spot, name)))
    }

    fn clear_side(&self, path: &HostPath) -> Result<(Spot, String), HostError> {
        let spot = self.root.spot(path)?;
        let side = self.side_name(&spot.name)?;
        tree::remove(spot.directory.as_fd(), OsStr::new(&side))
            .map_err(io("clear the side copy of", path))?;
        Ok((spot, side))
    }

    /// Gives a name, or exchanges two; what is known of a file stays known.
    fn rename(&self, spot: &Spot, from: &str, to: &str, how: RenameFlags) -> io::Result<()> {
        let directory = spot.directory.as_fd();
        let at = |name: &str| tree::stat(directory, name);
        let before = (at(from)?, at(to)?);
        rename(directory, from, to, how)?;
        // Knowing less after a failure here only means to read again.
        for (before, name) in [(before.0, to), (before.1, from)] {
            if let (Some(before), Ok(Some(after))) = (before, at(name)) {
                self.root.known().renamed(&before, &after);
            }
        }
        Ok(())
    }

    fn staged(&self, spot: &Spot, side: &str, path: &HostPath) -> Result<Digest, HostError> {
        sync(spot, path)?;
        digest::digest(self.root.known(), spot.directory.as_fd(), side)
            .map_err(io("read the side copy of", path))?
            .ok_or_else(|| absent(path))
    }
}

fn checked_name(name: String) -> Result<String, HostError> {
    if name.len() <= NAME_BYTES_MAX {
        return Ok(name);
    }
    Err(HostError::new(
        ErrorKind::Unsupported,
        "files/name-too-long",
        format!("`{name}` is longer than a file name can be"),
    ))
}

fn rename(directory: BorrowedFd<'_>, from: &str, to: &str, how: RenameFlags) -> io::Result<()> {
    match rustix::fs::renameat_with(directory, from, directory, to, how) {
        Err(Errno::INVAL) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this file system cannot exchange two names in one step",
        )),
        other => Ok(other?),
    }
}

fn sync(spot: &Spot, path: &HostPath) -> Result<(), HostError> {
    rustix::fs::fsync(&spot.directory).map_err(|errno| io("sync the directory of", path)(errno.into()))
}

fn absent(path: &HostPath) -> HostError {
    HostError::new(ErrorKind::NotFound, "files/not-found", format!("there is nothing at `{path}`"))
}

fn io<'a>(what: &'a str, path: &'a HostPath) -> impl Fn(io::Error) -> HostError + 'a {
    move |cause| HostError::from_io("files", &format!("could not {what} `{path}`"), &cause)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}

#[cfg(test)]
mod tests;
