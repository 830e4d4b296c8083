//! What a point holds besides the host's files, as files of their own.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Cursor, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustic_core::repofile::{BlobType, NodeType};
use rustic_core::{BlobId, DataId, ReadSource, ReadSourceEntry, RusticResult, TreeId};

use super::super::making::{self, Extra, Open, OpenMeasured};
use super::super::{Indexed, PointsError, unreadable};
use super::{Content, Problems, node};
use crate::capabilities::{ErrorKind, HostError};

/// Where they lie in a point; no path of a host may.
pub(super) const RESERVED: &str = "/.sternway";
/// A stream that ends within so many bytes is kept in memory.
const SHORT_BYTES: u64 = 8 * 1024 * 1024;
/// Copies of known length wait open until they are read: so many bytes of them,
/// or the last one, however long. One more would take the disk's room.
const WAITING_BYTES: u64 = 256 * 1024 * 1024;
const FILE_NAME_MAX: usize = 128;

#[derive(Debug, Default)]
pub(super) struct Extras {
    /// By the name of their kind, then by their own.
    folders: BTreeMap<&'static str, BTreeMap<String, Held>>,
}

type Reader = Box<dyn Read + Send>;

enum Held {
    Bytes(Arc<[u8]>),
    Unopened(Mutex<Option<Open>>),
    Unmeasured(Mutex<Option<OpenMeasured>>),
    /// Open, and read when its turn comes.
    Measured {
        reader: Mutex<Option<Reader>>,
        length: u64,
    },
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
            Self::Unmeasured(_) => "Unmeasured",
            Self::Measured { .. } => "Measured",
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
                making::Content::Measured(open) => Held::Unmeasured(Mutex::new(Some(open))),
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
            Held::Stored { length, .. } | Held::Measured { length, .. } => *length,
            Held::Unopened(_) | Held::Unmeasured(_) => 0,
        })
        .sum()
    }

    /// The next stream that is longer than what is kept in memory, with all of
    /// it; shorter ones on the way are kept, and so are those of known length, as
    /// far as there is room for them. None when no stream is left.
    pub(super) fn next_long_stream(
        &mut self,
        problems: &Problems,
    ) -> Result<Option<(Name, Long)>, PointsError> {
        let mut waiting = self.waiting();
        let mut unmeasured = self.unmeasured();
        for (kind, folder) in &mut self.folders {
            for (file, held) in folder {
                let begun = match held {
                    Held::Unopened(open) => begin(taken(open)),
                    Held::Unmeasured(open) => {
                        unmeasured -= 1;
                        let has_room =
                            |length: u64| unmeasured == 0 || waiting.saturating_add(length) <= WAITING_BYTES;
                        begin_measured(taken(open), has_room)
                    }
                    _ => continue,
                };
                match begun {
                    Ok(Begun::Whole(bytes)) => *held = Held::Bytes(bytes.into()),
                    Ok(Begun::Waiting(reader, length)) => {
                        waiting += length;
                        *held = Held::Measured { reader: Mutex::new(Some(reader)), length };
                    }
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

    /// Bytes of the copies that wait.
    fn waiting(&self) -> u64 {
        let held = self.folders.values().flat_map(BTreeMap::values);
        held.map(|held| if let Held::Measured { length, .. } = held { *length } else { 0 }).sum()
    }

    fn unmeasured(&self) -> usize {
        let held = self.folders.values().flat_map(BTreeMap::values);
        held.filter(|held| matches!(held, Held::Unmeasured(_))).count()
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
    pub(super) fn entries(&self, problems: &Problems) -> Vec<ReadSourceEntry<Content>> {
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
                entries.extend(held.entry(below.join(name), problems));
            }
        }
        entries
    }
}

impl Held {
    fn entry(&self, path: PathBuf, problems: &Problems) -> Option<ReadSourceEntry<Content>> {
        let (length, reader): (u64, Reader) = match self {
            Self::Bytes(bytes) => (bytes.len() as u64, Box::new(Cursor::new(Arc::clone(bytes)))),
            Self::Stored { indexed, content, length } => {
                (*length, Box::new(Stored::of(Arc::clone(indexed), content.clone())))
            }
            Self::Measured { reader, length } => {
                let reader = reader.lock().unwrap_or_else(PoisonError::into_inner).take()?;
                let (shown, problems) = (path.display().to_string(), problems.clone());
                (*length, Box::new(Exact { reader, left: *length, shown, problems }))
            }
            // The streams are all opened before the entries are asked for.
            Self::Unopened(_) | Self::Unmeasured(_) => return None,
        };
        Some(file(path, length, reader))
    }
}

fn folder(path: PathBuf) -> ReadSourceEntry<Content> {
    let node = node::made(path.file_name().unwrap_or_default(), NodeType::Dir, 0);
    ReadSourceEntry { path, node, open: None }
}

fn file(path: PathBuf, length: u64, reader: Reader) -> ReadSourceEntry<Content> {
    let node = node::made(path.file_name().unwrap_or_default(), NodeType::File, length);
    ReadSourceEntry { path, node, open: Some(Content::Reader(reader)) }
}

enum Begun {
    Whole(Vec<u8>),
    Long(Long),
    Waiting(Reader, u64),
}

fn taken<T>(open: &mut Mutex<Option<T>>) -> T {
    let open = open.get_mut().unwrap_or_else(PoisonError::into_inner).take();
    open.expect("a stream that was opened is held otherwise")
}

fn begin_measured(open: OpenMeasured, has_room: impl FnOnce(u64) -> bool) -> io::Result<Begun> {
    let (reader, length) = open()?;
    if has_room(length) {
        return Ok(Begun::Waiting(reader, length));
    }
    Ok(Begun::Long(Cursor::new(Vec::new()).chain(reader)))
}

/// A stream from its very beginning.
pub(super) type Long = io::Chain<Cursor<Vec<u8>>, Reader>;

fn begin(open: Open) -> io::Result<Begun> {
    let mut reader = open()?;
    let mut bytes = Vec::new();
    let read = reader.by_ref().take(SHORT_BYTES).read_to_end(&mut bytes)?;
    if (read as u64) < SHORT_BYTES {
        return Ok(Begun::Whole(bytes));
    }
    Ok(Begun::Long(Cursor::new(bytes).chain(reader)))
}

/// As many bytes as were announced; fewer are a problem.
struct Exact {
    reader: Reader,
    left: u64,
    shown: String,
    problems: Problems,
}

impl Read for Exact {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let answer = match self.reader.read(&mut buffer[..most]) {
            Ok(0) => Err(io::Error::other("it is shorter than it said")),
            other => other,
        };
        match &answer {
            Ok(count) => self.left -= *count as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => self.problems.add(format!("`{}`: {error}", self.shown)),
        }
        answer
    }
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
