//! What goes into a point: the live trees as the host's paths name them, and
//! what programs say. Every failure is remembered, because the archiver leaves
//! out what it cannot read and goes on.

mod extras;
mod node;
mod walk;

use std::collections::BTreeSet;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustic_core::{
    ErrorKind, ReadSource, ReadSourceEntry, ReadSourceOpen, RusticError, RusticResult, TreeId,
};

use super::making::Extra;
use super::{Indexed, PointsError};
use crate::capabilities::files::{HostPath, HostRoot, tree};
use crate::capabilities::{self, HostError};
use extras::{Extras, RESERVED};
use walk::Walk;

pub(super) use extras::Single;

/// Failures of this source, shared with its readers.
#[derive(Debug, Clone, Default)]
pub(super) struct Problems(Arc<Mutex<Vec<String>>>);

impl Problems {
    fn add(&self, problem: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(problem);
    }

    /// How many, and the first of them.
    pub(super) fn summary(&self) -> Option<(usize, String)> {
        let problems = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        problems.first().map(|first| (problems.len(), first.clone()))
    }

    pub(super) fn judge(&self) -> Result<(), PointsError> {
        match self.summary() {
            None => Ok(()),
            Some((count, first)) => Err(PointsError::Incomplete { count, first }),
        }
    }
}

/// An index as of now, and the tree in it that holds what was stored.
pub(super) type Stored = (Arc<Indexed>, TreeId);

/// Everything that will be stored; the trees are read while they are stored.
#[derive(Debug)]
pub(super) struct Source {
    root: HostRoot,
    tops: Vec<HostPath>,
    extras: Extras,
    problems: Problems,
}

impl Source {
    /// Each path must be there. The extras lie at `/.sternway/<kind>/<file>`.
    pub(super) fn of(root: &HostRoot, paths: &[HostPath], extras: Vec<Extra>) -> Result<Self, PointsError> {
        let reserved = HostPath::parse(RESERVED)?;
        if let Some(path) = paths.iter().find(|path| path.is_within(&reserved)) {
            return Err(PointsError::Host(HostError::new(
                capabilities::ErrorKind::Invalid,
                "points/reserved",
                format!("`{path}` is where a point keeps what is no file of the host"),
            )));
        }
        // A path below another is part of it already.
        let mut tops: Vec<HostPath> = paths
            .iter()
            .filter(|path| !paths.iter().any(|other| *path != other && path.is_within(other)))
            .cloned()
            .collect();
        // The archiver wants one walk in the order of names.
        tops.sort_by(|a, b| a.as_str().split('/').cmp(b.as_str().split('/')));
        tops.dedup();
        for top in &tops {
            let spot = root.spot(top)?;
            let found = tree::stat(spot.directory.as_fd(), &spot.name).map_err(unread(top.as_str()))?;
            if found.is_none() {
                return Err(PointsError::Nothing { path: top.as_str().to_owned() });
            }
        }
        let extras = Extras::of(extras)?;
        Ok(Self { root: root.clone(), tops, extras, problems: Problems::default() })
    }

    pub(super) fn problems(&self) -> Problems {
        self.problems.clone()
    }

    pub(super) fn tops(&self) -> Vec<PathBuf> {
        self.tops.iter().map(|top| PathBuf::from(top.as_str())).collect()
    }

    /// Opens every stream, one after the other; to be called before anything
    /// is stored. A short one is kept in memory, and one of known length waits. A
    /// long one is given to `store`, and afterwards read from the repository: the
    /// format wants a file's length before its content, and no other way costs
    /// neither disk nor memory. `store` answers the tree that holds it, and an
    /// index as of then.
    ///
    /// # Errors
    /// A program that failed, or what `store` says.
    pub(super) fn learn(
        &mut self,
        store: &mut dyn FnMut(&Single) -> Result<Stored, PointsError>,
    ) -> Result<(), PointsError> {
        while let Some((name, long)) = self.extras.next_long_stream(&self.problems)? {
            let single = Single::of(long, self.problems.clone());
            let (indexed, tree) = store(&single)?;
            self.problems.judge()?;
            self.extras.settle(&name, indexed, tree, single.length())?;
        }
        self.problems.judge()
    }
}

fn unread(path: &str) -> impl FnOnce(std::io::Error) -> PointsError {
    move |cause| PointsError::Incomplete { count: 1, first: format!("`{path}`: {cause}") }
}

/// Where the bytes of one file come from, opened only when its turn comes.
pub(super) enum Content {
    File(walk::HostFile),
    Reader(Box<dyn Read + Send>),
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::File(_) => "File",
            Self::Reader(_) => "Reader",
        })
    }
}

impl ReadSourceOpen for Content {
    type Reader = Box<dyn Read + Send>;

    fn open(self) -> RusticResult<Box<dyn Read + Send>> {
        Ok(match self {
            Self::File(file) => Box::new(file),
            Self::Reader(reader) => reader,
        })
    }
}

/// The trees and the extras, in the order of names.
#[derive(Debug)]
pub(super) struct Entries {
    root: HostRoot,
    parts: std::vec::IntoIter<Part>,
    walk: Option<Walk>,
    ready: std::vec::IntoIter<ReadSourceEntry<Content>>,
    above: BTreeSet<String>,
    problems: Problems,
}

#[derive(Debug)]
enum Part {
    Top(HostPath),
    Extras(Vec<ReadSourceEntry<Content>>),
}

impl Entries {
    fn start(&mut self, top: &HostPath) -> Result<(), PointsError> {
        self.ready = walk::parents(&self.root, top, &mut self.above)?.into_iter();
        self.walk = Some(Walk::of(&self.root, top, self.problems.clone())?);
        Ok(())
    }
}

impl Iterator for Entries {
    type Item = RusticResult<ReadSourceEntry<Content>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.ready.next() {
                return Some(Ok(entry));
            }
            if let Some(walk) = &mut self.walk {
                match walk.next() {
                    Some(entry) => return Some(Ok(entry)),
                    None => self.walk = None,
                }
            }
            match self.parts.next()? {
                Part::Extras(entries) => self.ready = entries.into_iter(),
                Part::Top(top) => {
                    if let Err(error) = self.start(&top) {
                        self.problems.add(format!("`{top}`: {error}"));
                        return Some(Err(RusticError::new(
                            ErrorKind::InputOutput,
                            "a tree could not be read",
                        )));
                    }
                }
            }
        }
    }
}

impl ReadSource for Source {
    type Open = Content;
    type Iter = Entries;

    fn size(&self) -> RusticResult<Option<u64>> {
        let mut bytes = self.extras.bytes();
        for top in &self.tops {
            // Whoever only wants to know how far it is is told what can be seen.
            let Ok(spot) = self.root.spot(top) else { continue };
            let walked = tree::walk(spot.directory.as_fd(), &spot.name, &mut |entry| {
                if entry.kind == tree::Kind::File {
                    bytes += u64::try_from(entry.stat.st_size).unwrap_or_default();
                }
                Ok(())
            });
            if let Err(error) = walked {
                tracing::debug!(%error, "a tree could not be weighed");
            }
        }
        Ok(Some(bytes))
    }

    fn entries(&self) -> Entries {
        let mut parts: Vec<Part> = self.tops.iter().cloned().map(Part::Top).collect();
        let extras = self.extras.entries(&self.problems);
        if !extras.is_empty() {
            let before = |top: &HostPath| top.as_str().split('/').lt(RESERVED.split('/'));
            let at = self.tops.iter().take_while(|top| before(top)).count();
            parts.insert(at, Part::Extras(extras));
        }
        Entries {
            root: self.root.clone(),
            parts: parts.into_iter(),
            walk: None,
            ready: Vec::new().into_iter(),
            above: BTreeSet::new(),
            problems: self.problems.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
