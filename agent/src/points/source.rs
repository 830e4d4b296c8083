//! What goes into a point: the live tree as the host's paths name it, read
//! from open directories, with every failure remembered, because the archiver
//! leaves out what it cannot read and goes on.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustic_core::jiff::Timestamp;
use rustic_core::repofile::{Metadata, Node, NodeType};
use rustic_core::{ErrorKind, ReadSource, ReadSourceEntry, ReadSourceOpen, RusticError, RusticResult};
use rustix::fs::OFlags;

use super::{PointsError, mode};
use crate::capabilities::files::tree::{self, Kind};
use crate::capabilities::files::{HostPath, HostRoot};

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
}

#[derive(Debug, Clone)]
struct Found {
    path: PathBuf,
    node: Node,
    file: Option<HostFile>,
}

/// Everything that will be stored, listed before anything is.
#[derive(Debug)]
pub(super) struct Source {
    tops: Vec<PathBuf>,
    found: Vec<Found>,
    problems: Problems,
}

impl Source {
    pub(super) fn of(root: &HostRoot, paths: &[HostPath]) -> Result<Self, PointsError> {
        // A path below another is part of it already.
        let mut tops: Vec<&HostPath> = paths
            .iter()
            .filter(|path| !paths.iter().any(|other| *path != other && path.is_within(other)))
            .collect();
        // The archiver wants one walk in the order of names.
        tops.sort_by(|a, b| a.as_str().split('/').cmp(b.as_str().split('/')));
        tops.dedup();
        let problems = Problems::default();
        let mut found = Vec::new();
        let mut above = BTreeSet::new();
        for top in &tops {
            list_parents(root, top, &mut above, &mut found)?;
            list_tree(root, top, &problems, &mut found)?;
        }
        let tops = tops.into_iter().map(|top| PathBuf::from(top.as_str())).collect();
        Ok(Self { tops, found, problems })
    }

    pub(super) fn problems(&self) -> Problems {
        self.problems.clone()
    }

    pub(super) fn tops(&self) -> Vec<PathBuf> {
        self.tops.clone()
    }
}

/// The directories above, so that a restore elsewhere has their modes too.
fn list_parents(
    root: &HostRoot,
    top: &HostPath,
    above: &mut BTreeSet<String>,
    found: &mut Vec<Found>,
) -> Result<(), PointsError> {
    let mut path = String::new();
    let (parent, _) = top.parent_and_name()?;
    for name in parent.as_str().split('/').filter(|name| !name.is_empty()) {
        path = format!("{path}/{name}");
        if above.insert(path.clone()) {
            let host_path = HostPath::parse(&path)?;
            let spot = root.spot(&host_path)?;
            let stat = tree::stat(spot.directory.as_fd(), name).map_err(unread(&path))?;
            if let Some(stat) = stat {
                let meta = metadata(&stat, Vec::new());
                let node = Node::new_node(OsStr::new(name), NodeType::Dir, meta);
                found.push(Found { path: PathBuf::from(&path), node, file: None });
            }
        }
    }
    Ok(())
}

fn list_tree(
    root: &HostRoot,
    top: &HostPath,
    problems: &Problems,
    found: &mut Vec<Found>,
) -> Result<(), PointsError> {
    let spot = root.spot(top)?;
    let walked = tree::walk(spot.directory.as_fd(), &spot.name, &mut |entry| {
        let path = if entry.path.is_empty() {
            PathBuf::from(top.as_str())
        } else {
            PathBuf::from(top.as_str()).join(OsStr::from_bytes(entry.path))
        };
        let meta = metadata(&entry.stat, entry.extended_attributes()?);
        let node_type = match entry.kind {
            Kind::File => NodeType::File,
            Kind::Directory => NodeType::Dir,
            Kind::Symlink => NodeType::from_link(OsStr::from_bytes(&entry.target()?).as_ref()),
            Kind::Other => {
                problems.add(format!("`{}` is a socket, pipe or device", path.display()));
                return Ok(());
            }
        };
        let file = (entry.kind == Kind::File).then(|| HostFile {
            root: root.clone(),
            path: path.clone(),
            problems: problems.clone(),
        });
        let node = Node::new_node(entry.name, node_type, meta);
        found.push(Found { path, node, file });
        Ok(())
    });
    match walked.map_err(unread(top.as_str()))? {
        true => Ok(()),
        false => Err(PointsError::Nothing { path: top.as_str().to_owned() }),
    }
}

fn unread(path: &str) -> impl FnOnce(std::io::Error) -> PointsError {
    move |cause| PointsError::Incomplete { count: 1, first: format!("`{path}`: {cause}") }
}

fn metadata(stat: &rustix::fs::Stat, attributes: Vec<(Vec<u8>, Vec<u8>)>) -> Metadata {
    let time = |seconds: i64, nanoseconds: u64| {
        Timestamp::new(seconds, i32::try_from(nanoseconds).unwrap_or_default()).ok()
    };
    let mut metadata = Metadata {
        mode: Some(mode::to_go(stat.st_mode)),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        atime: time(stat.st_atime, stat.st_atime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        uid: Some(stat.st_uid),
        gid: Some(stat.st_gid),
        inode: stat.st_ino,
        device_id: stat.st_dev,
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        // Hard links are kept as separate files, and must not be joined again.
        links: 1,
        ..Metadata::default()
    };
    // The type of an attribute has no public name; its form in JSON has.
    let named: Vec<_> = attributes
        .iter()
        .map(|(name, _)| serde_json::json!({ "name": String::from_utf8_lossy(name), "value": null }))
        .collect();
    metadata.extended_attributes =
        serde_json::from_value(named.into()).expect("the format of an attribute is fixed");
    for (attribute, (_, value)) in metadata.extended_attributes.iter_mut().zip(attributes) {
        attribute.value = Some(value);
    }
    metadata
}

/// A regular file, opened only when its turn comes.
#[derive(Debug, Clone)]
pub(super) struct HostFile {
    root: HostRoot,
    path: PathBuf,
    problems: Problems,
}

impl ReadSourceOpen for HostFile {
    type Reader = WatchedFile;

    fn open(self) -> RusticResult<WatchedFile> {
        let relative = self.path.strip_prefix("/").unwrap_or(&self.path);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match self.root.open_relative(relative.as_os_str(), flags) {
            Ok(file) => Ok(WatchedFile { file: File::from(file), path: self.path, problems: self.problems }),
            Err(errno) => {
                self.problems.add(format!("`{}`: {errno}", self.path.display()));
                Err(RusticError::new(ErrorKind::InputOutput, "a file could not be opened"))
            }
        }
    }
}

/// Remembers a failure in the middle of a file.
#[derive(Debug)]
pub(super) struct WatchedFile {
    file: File,
    path: PathBuf,
    problems: Problems,
}

impl Read for WatchedFile {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let answer = self.file.read(buffer);
        if let Err(error) = &answer
            && error.kind() != std::io::ErrorKind::Interrupted
        {
            self.problems.add(format!("`{}`: {error}", self.path.display()));
        }
        answer
    }
}

impl ReadSource for Source {
    type Open = HostFile;
    type Iter = std::vec::IntoIter<RusticResult<ReadSourceEntry<HostFile>>>;

    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(Some(self.found.iter().map(|found| found.node.meta.size).sum()))
    }

    fn entries(&self) -> Self::Iter {
        let entries: Vec<_> = self
            .found
            .iter()
            .map(|found| {
                Ok(ReadSourceEntry {
                    path: found.path.clone(),
                    node: found.node.clone(),
                    open: found.file.clone(),
                })
            })
            .collect();
        entries.into_iter()
    }
}
