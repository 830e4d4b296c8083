//! What goes into a point: the live tree as the host's paths name it, read
//! from open directories, with every failure remembered, because the archiver
//! leaves out what it cannot read and goes on.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Cursor, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustic_core::jiff::Timestamp;
use rustic_core::repofile::{Metadata, Node, NodeType};
use rustic_core::{ErrorKind, ReadSource, ReadSourceEntry, ReadSourceOpen, RusticError, RusticResult};
use rustix::fs::OFlags;

use super::making::{Content, Extra};
use super::{PointsError, label, mode};
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
    file: Option<Opened>,
}

/// Everything that will be stored, listed before anything is.
#[derive(Debug)]
pub(super) struct Source {
    tops: Vec<PathBuf>,
    found: Vec<Found>,
    problems: Problems,
}

impl Source {
    pub(super) fn of(root: &HostRoot, paths: &[HostPath], extras: Vec<Extra>) -> Result<Self, PointsError> {
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
        list_extras(extras, &problems, &mut found)?;
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
        let file = (entry.kind == Kind::File).then(|| Opened::Host {
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

/// `/.sternway`, a folder for each kind in it, and a file for each extra.
fn list_extras(extras: Vec<Extra>, problems: &Problems, found: &mut Vec<Found>) -> Result<(), PointsError> {
    let now = Timestamp::now();
    let meta = |mode, size| Metadata {
        mode: Some(mode::to_go(mode)),
        mtime: Some(now),
        uid: Some(0),
        gid: Some(0),
        size,
        links: 1,
        ..Metadata::default()
    };
    let folder = |path: &str, name: &str| Found {
        path: PathBuf::from(path),
        node: Node::new_node(OsStr::new(name), NodeType::Dir, meta(0o040_700, 0)),
        file: None,
    };
    let mut extras = extras;
    extras.sort_by(|a, b| (a.kind.name(), &a.file).cmp(&(b.kind.name(), &b.file)));
    if !extras.is_empty() {
        found.push(folder(label::OURS, ".sternway"));
    }
    let mut last = None;
    for extra in extras {
        let kind = extra.kind.name();
        if last.replace(kind) != Some(kind) {
            found.push(folder(&format!("{}/{kind}", label::OURS), kind));
        }
        let path = format!("{}/{kind}/{}", label::OURS, extra.file);
        HostPath::parse(&path)?;
        let size = match &extra.content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Stream(_) => 0,
        };
        let node = Node::new_node(OsStr::new(&extra.file), NodeType::File, meta(0o100_600, size));
        let content = Arc::new(Mutex::new(Some(extra.content)));
        let path = PathBuf::from(path);
        let file = Some(Opened::Extra { content, path: path.clone(), problems: problems.clone() });
        found.push(Found { path, node, file });
    }
    Ok(())
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

/// What holds a file's bytes, opened only when its turn comes.
#[derive(Debug, Clone)]
pub(super) enum Opened {
    Host { root: HostRoot, path: PathBuf, problems: Problems },
    Extra { content: Arc<Mutex<Option<Content>>>, path: PathBuf, problems: Problems },
}

impl ReadSourceOpen for Opened {
    type Reader = WatchedFile;

    fn open(self) -> RusticResult<WatchedFile> {
        let refused = |cause: String, path: &PathBuf, problems: &Problems| {
            problems.add(format!("`{}`: {cause}", path.display()));
            Err(RusticError::new(ErrorKind::InputOutput, "a file could not be opened"))
        };
        match self {
            Self::Host { root, path, problems } => {
                let relative = path.strip_prefix("/").unwrap_or(&path);
                let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
                match root.open_relative(relative.as_os_str(), flags) {
                    Ok(file) => Ok(WatchedFile { file: Box::new(File::from(file)), path, problems }),
                    Err(errno) => refused(errno.to_string(), &path, &problems),
                }
            }
            Self::Extra { content, path, problems } => {
                let content = content.lock().unwrap_or_else(PoisonError::into_inner).take();
                let file: Box<dyn Read + Send> = match content {
                    Some(Content::Bytes(bytes)) => Box::new(Cursor::new(bytes)),
                    Some(Content::Stream(open)) => match open() {
                        Ok(reader) => reader,
                        Err(error) => return refused(error.to_string(), &path, &problems),
                    },
                    None => return refused("it was read before".into(), &path, &problems),
                };
                Ok(WatchedFile { file, path, problems })
            }
        }
    }
}

/// Remembers a failure in the middle of a file.
pub(super) struct WatchedFile {
    file: Box<dyn Read + Send>,
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
    type Open = Opened;
    type Iter = std::vec::IntoIter<RusticResult<ReadSourceEntry<Opened>>>;

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
