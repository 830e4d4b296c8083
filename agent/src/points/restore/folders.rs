//! The folders of a tree that is being restored: their owners, modes and times
//! are set when nothing in them changes any more.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::AtFlags;

use crate::capabilities::files::tree::{self, Metadata};

#[derive(Debug)]
pub(super) struct Folder {
    /// None for the top.
    pub(super) parent: Option<usize>,
    pub(super) name: OsString,
    pub(super) metadata: Metadata,
    pub(super) attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A name in a folder.
type Place = (Option<usize>, OsString);

/// One more name of a file.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) to: Place,
    pub(super) at: Place,
}

/// Each after the one that holds it.
#[derive(Debug, Default)]
pub(super) struct Folders(Vec<Folder>);

impl Folders {
    pub(super) fn add(&mut self, folder: Folder) -> usize {
        self.0.push(folder);
        self.0.len() - 1
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Gives files their further names; `top` holds the whole tree.
    pub(super) fn link(&self, top: BorrowedFd<'_>, links: &[Link]) -> io::Result<()> {
        for link in links {
            let from = self.open(top, link.to.0)?;
            let into = self.open(top, link.at.0)?;
            rustix::fs::linkat(&from, &link.to.1, &into, &link.at.1, AtFlags::empty())?;
        }
        Ok(())
    }

    /// Sets what folders have beside their content, the innermost first, each
    /// synced when `sync`.
    pub(super) fn finish(&self, top: BorrowedFd<'_>, sync: bool) -> io::Result<()> {
        let mut below: Vec<Vec<usize>> = vec![Vec::new(); self.0.len()];
        for (at, folder) in self.0.iter().enumerate() {
            if let Some(parent) = folder.parent {
                below[parent].push(at);
            }
        }
        if self.0.is_empty() { Ok(()) } else { self.finish_one(top, 0, &below, sync) }
    }

    fn finish_one(
        &self,
        above: BorrowedFd<'_>,
        at: usize,
        below: &[Vec<usize>],
        sync: bool,
    ) -> io::Result<()> {
        let folder = &self.0[at];
        let opened = tree::open_directory(above, &folder.name)?;
        for inner in &below[at] {
            self.finish_one(opened.as_fd(), *inner, below, sync)?;
        }
        tree::finish(opened.as_fd(), &folder.attributes, &folder.metadata)?;
        if sync {
            rustix::fs::fsync(&opened)?;
        }
        Ok(())
    }

    fn open(&self, top: BorrowedFd<'_>, folder: Option<usize>) -> io::Result<OwnedFd> {
        let mut names: Vec<&OsStr> = Vec::new();
        let mut next = folder;
        while let Some(at) = next {
            names.push(&self.0[at].name);
            next = self.0[at].parent;
        }
        let mut opened = top.try_clone_to_owned()?;
        for name in names.iter().rev() {
            opened = tree::open_directory(opened.as_fd(), name)?;
        }
        Ok(opened)
    }
}
