//! What stands between the library and the files of a repository. The library
//! leaves two things out that a rollback rests on: names of files are not
//! synced, so a point could be there after a power cut and its data not; and a
//! folder that cannot be listed counts as an empty one, so a prune could take
//! a point's data for rubbish.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rustic_core::{BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend};

use crate::durable;

/// The back end of one piece of work.
pub(super) struct Shelf {
    inner: Arc<dyn WriteBackend>,
    /// Where the files lie, when it is a folder of this machine.
    folder: Option<PathBuf>,
    /// Parts of the index that this piece of work has no use for.
    hidden: BTreeSet<Id>,
    written: Mutex<Vec<(FileType, Id)>>,
    failure: Mutex<Option<String>>,
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").field("location", &self.inner.location()).finish_non_exhaustive()
    }
}

impl Shelf {
    pub(super) fn new(inner: Arc<dyn WriteBackend>, folder: Option<PathBuf>) -> Self {
        Self { inner, folder, hidden: BTreeSet::new(), written: Mutex::default(), failure: Mutex::default() }
    }

    /// Leaves these files of the index out, as if they were not there.
    pub(super) fn hiding(self, hidden: BTreeSet<Id>) -> Self {
        Self { hidden, ..self }
    }

    fn is_shown(&self, kind: FileType, id: &Id) -> bool {
        kind != FileType::Index || !self.hidden.contains(id)
    }

    /// The newest file of a kind that was written here.
    pub(super) fn newest_written(&self, kind: FileType) -> Option<Id> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.iter().rev().find(|(written, _)| *written == kind).map(|(_, id)| *id)
    }

    /// The first file that could not be written: the library's own threads do
    /// not always hand it on.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn folder_of(&self, kind: FileType, id: &Id) -> Option<PathBuf> {
        let folder = self.folder.as_ref()?;
        Some(match kind {
            FileType::Config => folder.clone(),
            FileType::Pack => folder.join("data").join(&id.to_hex().as_str()[..2]),
            _ => folder.join(kind.dirname()),
        })
    }
}

impl ReadBackend for Shelf {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn list_with_size(&self, kind: FileType) -> RusticResult<Vec<(Id, u32)>> {
        let Some(folder) = self.folder.as_ref().filter(|_| kind != FileType::Config) else {
            let found = self.inner.list_with_size(kind)?;
            return Ok(found.into_iter().filter(|(id, _)| self.is_shown(kind, id)).collect());
        };
        let top = folder.join(kind.dirname());
        let mut found = Vec::new();
        let listed = match kind {
            FileType::Pack => list_folder(&top, &mut |path| list_files(path, kind, &mut found)),
            _ => list_files(&top, kind, &mut found),
        };
        listed.map_err(|cause| failed("A folder of the repository cannot be listed", &top, cause))?;
        found.retain(|(id, _)| self.is_shown(kind, id));
        Ok(found)
    }

    fn list(&self, kind: FileType) -> RusticResult<Vec<Id>> {
        if self.folder.is_none() || kind == FileType::Config {
            return Ok(self.inner.list(kind)?.into_iter().filter(|id| self.is_shown(kind, id)).collect());
        }
        Ok(self.list_with_size(kind)?.into_iter().map(|(id, _)| id).collect())
    }

    fn read_full(&self, kind: FileType, id: &Id) -> RusticResult<Bytes> {
        self.inner.read_full(kind, id)
    }

    fn read_partial(
        &self,
        kind: FileType,
        id: &Id,
        cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        self.inner.read_partial(kind, id, cacheable, offset, length)
    }

    fn warmup_path(&self, kind: FileType, id: &Id) -> String {
        self.inner.warmup_path(kind, id)
    }
}

impl WriteBackend for Shelf {
    fn create(&self) -> RusticResult<()> {
        self.inner.create()?;
        let Some(folder) = &self.folder else { return Ok(()) };
        let sync = |path: &Path| {
            durable::sync_directory(path)
                .map_err(|cause| failed("A folder of the repository cannot be synced", path, cause))
        };
        sync(&folder.join("data"))?;
        sync(folder)
    }

    fn write_bytes(&self, kind: FileType, id: &Id, cacheable: bool, content: BytesList) -> RusticResult<()> {
        let write = || {
            self.inner.write_bytes(kind, id, cacheable, content)?;
            if let Some(folder) = self.folder_of(kind, id) {
                durable::sync_directory(&folder)
                    .map_err(|cause| failed("A folder of the repository cannot be synced", &folder, cause))?;
            }
            Ok(())
        };
        let written: RusticResult<()> = write();
        match &written {
            Ok(()) => self.written.lock().unwrap_or_else(PoisonError::into_inner).push((kind, *id)),
            Err(error) => {
                let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure.get_or_insert_with(|| super::in_a_line(error));
            }
        }
        written
    }

    fn remove(&self, kind: FileType, id: &Id, cacheable: bool) -> RusticResult<()> {
        self.inner.remove(kind, id, cacheable)
    }
}

fn list_folder(top: &Path, each: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    for entry in fs::read_dir(top)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            each(&entry.path())?;
        }
    }
    Ok(())
}

fn list_files(top: &Path, kind: FileType, found: &mut Vec<(Id, u32)>) -> io::Result<()> {
    for entry in fs::read_dir(top)? {
        let entry = entry?;
        let Some(id) = Id::parse_some(&entry.file_name().to_string_lossy(), kind) else { continue };
        match entry.metadata() {
            Ok(metadata) if metadata.is_file() => {
                let length = u32::try_from(metadata.len()).map_err(io::Error::other)?;
                found.push((id, length));
            }
            Ok(_) => {}
            // Taken away since the folder was opened.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn failed(
    what: &str,
    path: &Path,
    cause: impl std::error::Error + Send + Sync + 'static,
) -> Box<RusticError> {
    RusticError::with_source(ErrorKind::InputOutput, format!("{what}: `{{path}}`"), cause)
        .attach_context("path", path.display().to_string())
}
