//! What a point holds besides the host's files, as files of their own.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Cursor, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustic_core::repofile::{BlobType, NodeType};
use rustic_core::{BlobId, DataId, ReadSource, ReadSourceEntry, RusticResult, TreeId};

use super::super::making::{self, Extra, Open};
use super::super::{Indexed, PointsError, unreadable};
use super::{Content, Problems, node};
use crate::capabilities::{ErrorKind, HostError};

/// Where they lie in a point; no path of a host may.
pub(super) const RESERVED: &str = "/.sternway";
/// A stream that ends within so many bytes is kept in memory.
const SHORT_BYTES: u64 = 8 * 1024 * 1024;
const FILE_NAME_MAX: usize = 128;

#[derive(Debug, Default)]
pub(super) struct Extras {
    /// By the name of their kind, then by their own.
    folders: BTreeMap<&'static str, BTreeMap<String, Held>>,
}

enum Held {
    Bytes(Arc<[u8]>),
    Unopened(Mutex<Option<Open>>),
    /// In the repository already, by these pieces.
    Stored {
        indexed: Arc<Indexed>,
        content: Vec<DataId>,
        length: u64,
    },
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bytes(_) => "Bytes",
            Self::Unopened(_) => "Unopened",
            Self::Stored { .. } => "Stored",
        })
    }
}

/// Which extra: its kind and its file.
pub(super) type Name = (&'static str, String);

impl Extras {
    pub(super) fn of(extras: Vec<Extra>) -> Result<Self, PointsError> {
        let mut folders: BTreeMap<&'static str, BTreeMap<String, Held>> = BTreeMap::new();
        for extra in extras {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            let named = !extra.file.is_empty()
                && extra.file.len() <= FILE_NAME_MAX
                && ![".", ".."].contains(&extra.file.as_str())
                && extra.file.chars().all(plain);
            let held = match extra.content {
                making::Content::Bytes(bytes) => Held::Bytes(bytes.into()),
                making::Content::Stream(open) => Held::Unopened(Mutex::new(Some(open))),
            };
            let folder = folders.entry(extra.kind.name()).or_default();
            if !named || folder.insert(extra.file.clone(), held).is_some() {
                return Err(PointsError::Host(HostError::new(
                    ErrorKind::Invalid,
                    "points/bad-name",
                    format!(
                        "`{}` cannot name a file in a point, or names two: 1 to {FILE_NAME_MAX} letters, \
                         digits, `-`, `_`, `.`",
                        extra.file.escape_debug()
                    ),
                )));
            }
        }
        Ok(Self { folders })
    }

    /// As far as lengths are known.
    pub(super) fn bytes(&self) -> u64 {
        let held = self.folders.values().flat_map(BTreeMap::values);
        held.map(|held| match held {
            Held::Bytes(bytes) => bytes.len() as u64,
            Held::Stored { length, .. } => *length,
            Held::Unopened(_) => 0,
        })
        .sum()
    }

    /// The next stream that is longer than what is kept in memory, with all of
    /// it; shorter ones on the way are kept. None when no stream is left.
    pub(super) fn next_long_stream(
        &mut self,
        problems: &Problems,
    ) -> Result<Option<(Name, Long)>, PointsError> {
        for (kind, folder) in &mut self.folders {
            for (file, held) in folder {
                let Held::Unopened(open) = held else { continue };
                let open = open.get_mut().unwrap_or_else(PoisonError::into_inner).take();
                match begin(open.expect("a stream that was opened is held otherwise")) {
                    Ok(Begun::Whole(bytes)) => *held = Held::Bytes(bytes.into()),
                    Ok(Begun::Long(long)) => return Ok(Some(((*kind, file.clone()), long))),
                    Err(cause) => {
                        problems.add(format!("{kind} `{file}`: {cause}"));
                        return problems.judge().map(|()| None);
                    }
                }
            }
        }
        Ok(None)
    }

    /// The one file in `tree` is the stream of this name.
    pub(super) fn settle(
        &mut self,
        name: &Name,
        indexed: Arc<Indexed>,
        tree: TreeId,
        length: u64,
    ) -> Result<(), PointsError> {
        let nodes = indexed.get_tree(&tree).map_err(unreadable)?.nodes;
        let content = nodes.into_iter().next().and_then(|node| node.content).unwrap_or_default();
        let held = self.folders.get_mut(name.0).and_then(|folder| folder.get_mut(&name.1));
        *held.expect("only what is here was asked to be stored") = Held::Stored { indexed, content, length };
        Ok(())
    }

    /// Folders before what they hold, in the order of names.
    pub(super) fn entries(&self) -> Vec<ReadSourceEntry<Content>> {
        let top = PathBuf::from(RESERVED);
        let mut entries = Vec::new();
        if self.folders.is_empty() {
            return entries;
        }
        entries.push(folder(top.clone()));
        for (kind, files) in &self.folders {
            let below = top.join(kind);
            entries.push(folder(below.clone()));
            for (name, held) in files {
                entries.extend(held.entry(below.join(name)));
            }
        }
        entries
    }
}

impl Held {
    fn entry(&self, path: PathBuf) -> Option<ReadSourceEntry<Content>> {
        let (length, reader): (u64, Box<dyn Read + Send>) = match self {
            Self::Bytes(bytes) => (bytes.len() as u64, Box::new(Cursor::new(Arc::clone(bytes)))),
            Self::Stored { indexed, content, length } => {
                (*length, Box::new(Stored::of(Arc::clone(indexed), content.clone())))
            }
            // The streams are all read before the entries are asked for.
            Self::Unopened(_) => return None,
        };
        Some(file(path, length, reader))
    }
}

fn folder(path: PathBuf) -> ReadSourceEntry<Content> {
    let node = node::made(path.file_name().unwrap_or_default(), NodeType::Dir, 0);
    ReadSourceEntry { path, node, open: None }
}

fn file(path: PathBuf, length: u64, reader: Box<dyn Read + Send>) -> ReadSourceEntry<Content> {
    let node = node::made(path.file_name().unwrap_or_default(), NodeType::File, length);
    ReadSourceEntry { path, node, open: Some(Content::Reader(reader)) }
}

enum Begun {
    Whole(Vec<u8>),
    Long(Long),
}

/// A stream from its very beginning.
pub(super) type Long = io::Chain<Cursor<Vec<u8>>, Box<dyn Read + Send>>;

fn begin(open: Open) -> io::Result<Begun> {
    let mut reader = open()?;
    let mut bytes = Vec::new();
    let read = reader.by_ref().take(SHORT_BYTES).read_to_end(&mut bytes)?;
    if (read as u64) < SHORT_BYTES {
        return Ok(Begun::Whole(bytes));
    }
    Ok(Begun::Long(Cursor::new(bytes).chain(reader)))
}

/// One stream as a source of its own, which learns how long it is.
pub(in super::super) struct Single {
    stream: Mutex<Option<Long>>,
    length: Arc<AtomicU64>,
    problems: Problems,
}

impl Single {
    pub(super) fn of(stream: Long, problems: Problems) -> Self {
        Self { stream: Mutex::new(Some(stream)), length: Arc::default(), problems }
    }

    pub(super) fn length(&self) -> u64 {
        self.length.load(Ordering::SeqCst)
    }
}

impl ReadSource for Single {
    type Open = Content;
    type Iter = std::option::IntoIter<RusticResult<ReadSourceEntry<Content>>>;

    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(None)
    }

    fn entries(&self) -> Self::Iter {
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        let entry = stream.map(|stream| {
            let counted =
                Counted { stream, length: Arc::clone(&self.length), problems: self.problems.clone() };
            let node = node::made(OsStr::new("stream"), NodeType::File, 0);
            let open = Some(Content::Reader(Box::new(counted)));
            Ok(ReadSourceEntry { path: PathBuf::from("/stream"), node, open })
        });
        entry.into_iter()
    }
}

struct Counted {
    stream: Long,
    length: Arc<AtomicU64>,
    problems: Problems,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.stream.read(buffer) {
            Ok(count) => {
                self.length.fetch_add(count as u64, Ordering::SeqCst);
                Ok(count)
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::Interrupted {
                    self.problems.add(error.to_string());
                }
                Err(error)
            }
        }
    }
}

/// Reads what the repository holds already.
struct Stored {
    indexed: Arc<Indexed>,
    content: std::vec::IntoIter<DataId>,
    current: Cursor<Vec<u8>>,
}

impl Stored {
    fn of(indexed: Arc<Indexed>, content: Vec<DataId>) -> Self {
        Self { indexed, content: content.into_iter(), current: Cursor::default() }
    }
}

impl Read for Stored {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.current.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Some(id) = self.content.next() else { return Ok(0) };
            let blob = self
                .indexed
                .get_blob_cached(&BlobId::from(*id), BlobType::Data)
                .map_err(|error| io::Error::other(error.to_string()))?;
            self.current = Cursor::new(blob.to_vec());
        }
    }
}
