//! The host's trees, walked while they are stored: every file is opened where
//! it was found, so that what is stored is what was described.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustic_core::ReadSourceEntry;
use rustic_core::repofile::NodeType;
use rustix::fs::Stat;

use super::super::PointsError;
use super::{Content, Problems, node, unread};
use crate::capabilities::files::tree::{self, Kind};
use crate::capabilities::files::{HostPath, HostRoot};

type Entry = ReadSourceEntry<Content>;

/// The directories above, so that a restore elsewhere has their modes too.
pub(super) fn parents(
    root: &HostRoot,
    top: &HostPath,
    above: &mut BTreeSet<String>,
) -> Result<Vec<Entry>, PointsError> {
    let mut path = String::new();
    let mut entries = Vec::new();
    let (parent, _) = top.parent_and_name()?;
    for name in parent.as_str().split('/').filter(|name| !name.is_empty()) {
        path = format!("{path}/{name}");
        if above.insert(path.clone()) {
            let spot = root.spot(&HostPath::parse(&path)?)?;
            let stat = tree::stat(spot.directory.as_fd(), name).map_err(unread(&path))?;
            if let Some(stat) = stat {
                let node = node::node(OsStr::new(name), NodeType::Dir, &stat, Vec::new())
                    .expect("no attributes, no bad name");
                entries.push(ReadSourceEntry { path: PathBuf::from(&path), node, open: None });
            }
        }
    }
    Ok(entries)
}

/// One tree, directories before what they hold, names in the order of bytes.
#[derive(Debug)]
pub(super) struct Walk {
    levels: Vec<Level>,
    /// Of the level that is being read.
    path: Vec<u8>,
    problems: Problems,
}

#[derive(Debug)]
struct Level {
    directory: OwnedFd,
    names: std::vec::IntoIter<OsString>,
    path_length: usize,
}

/// What was found at a name, and the directory when it is one.
struct Seen {
    entry: Entry,
    opened: Option<OwnedFd>,
}

impl Walk {
    pub(super) fn of(root: &HostRoot, top: &HostPath, problems: Problems) -> Result<Self, PointsError> {
        let spot = root.spot(top)?;
        let (parent, _) = top.parent_and_name()?;
        let path = if parent.as_str() == "/" { Vec::new() } else { parent.as_str().as_bytes().to_vec() };
        let level = Level {
            path_length: path.len(),
            directory: spot.directory,
            names: vec![OsString::from(spot.name)].into_iter(),
        };
        Ok(Self { levels: vec![level], path, problems })
    }

    fn step(&mut self) -> Option<io::Result<Option<Seen>>> {
        loop {
            let level = self.levels.last_mut()?;
            self.path.truncate(level.path_length);
            let Some(name) = level.names.next() else {
                self.levels.pop();
                continue;
            };
            self.path.push(b'/');
            self.path.extend_from_slice(name.as_bytes());
            let path = PathBuf::from(OsStr::from_bytes(&self.path));
            return Some(look(level.directory.as_fd(), &name, path, &self.problems));
        }
    }

    fn descend(&mut self, directory: OwnedFd) -> io::Result<()> {
        if self.levels.len() > tree::DEPTH_MAX {
            return Err(io::Error::other("the tree is nested too deeply"));
        }
        let names = tree::names(directory.as_fd())?.into_iter();
        self.levels.push(Level { directory, names, path_length: self.path.len() });
        Ok(())
    }

    fn problem(&self, cause: &dyn std::fmt::Display) {
        self.problems.add(format!("`{}`: {cause}", OsStr::from_bytes(&self.path).display()));
    }
}

impl Iterator for Walk {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            match self.step()? {
                Err(error) => self.problem(&error),
                // What vanished since the names were read is not part of the tree.
                Ok(None) => {}
                Ok(Some(seen)) => {
                    if let Some(directory) = seen.opened
                        && let Err(error) = self.descend(directory)
                    {
                        self.problem(&error);
                    }
                    return Some(seen.entry);
                }
            }
        }
    }
}

fn look(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    path: PathBuf,
    problems: &Problems,
) -> io::Result<Option<Seen>> {
    let Some(found) = tree::stat(directory, name)? else { return Ok(None) };
    match look_at(directory, name, path, &found, problems) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other,
    }
}

fn look_at(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    path: PathBuf,
    found: &Stat,
    problems: &Problems,
) -> io::Result<Option<Seen>> {
    let Some(kind) = node::node_type(found, || tree::target(directory, name))? else {
        tracing::info!(path = %path.display(), "a socket is not part of a rollback point");
        return Ok(None);
    };
    let node_of =
        |stat: &Stat, attributes| node::node(name, kind.clone(), stat, attributes).map_err(io::Error::other);
    match Kind::of(found) {
        Kind::File => {
            let file = tree::open_file(directory, name)?;
            let stat = rustix::fs::fstat(&file)?;
            let node = node_of(&stat, tree::read_xattrs(file.as_fd())?)?;
            let content =
                HostFile { file, path: path.clone(), left: node.meta.size, problems: problems.clone() };
            let open = Some(Content::File(content));
            Ok(Some(Seen { entry: ReadSourceEntry { path, node, open }, opened: None }))
        }
        Kind::Directory => {
            let opened = tree::open_directory(directory, name)?;
            let node = node_of(&rustix::fs::fstat(&opened)?, tree::read_xattrs(opened.as_fd())?)?;
            Ok(Some(Seen { entry: ReadSourceEntry { path, node, open: None }, opened: Some(opened) }))
        }
        Kind::Symlink | Kind::Other => {
            let node = node_of(found, tree::read_xattrs_at(directory, name)?)?;
            Ok(Some(Seen { entry: ReadSourceEntry { path, node, open: None }, opened: None }))
        }
    }
}

/// A regular file of exactly the length that its node says, whatever is
/// appended meanwhile.
#[derive(Debug)]
pub(in super::super) struct HostFile {
    file: File,
    path: PathBuf,
    left: u64,
    problems: Problems,
}

impl Read for HostFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let answer = match self.file.read(&mut buffer[..most]) {
            Ok(0) => Err(io::Error::other("it became shorter while it was read")),
            other => other,
        };
        match &answer {
            Ok(count) => self.left -= *count as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => self.problems.add(format!("`{}`: {error}", self.path.display())),
        }
        answer
    }
}
