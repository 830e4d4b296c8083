//! Rollback points of this host: snapshots in a repository of the restic
//! format, so that `restic` itself can check and restore them without us.
//!
//! A point holds paths as the host knows them, whatever directory the host's
//! root really is. It is offered only when everything in it was read and
//! stored: while it is being made it carries the tag `incomplete`.

pub mod making;
mod mode;
mod restore;
mod source;

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustic_backend::LocalBackend;
use rustic_core::repofile::{Node, SnapshotFile};
use rustic_core::{
    BackupOptions, CheckOptions, ConfigOptions, Credentials, IndexedFullStatus, KeyOptions, LsOptions,
    OpenStatus, Repository, RepositoryBackends, RepositoryOptions, RusticError, StringList,
};
use serde::{Deserialize, Serialize};

use crate::capabilities::files::{HostPath, HostRoot};
use crate::capabilities::{ErrorKind, HostError};
use crate::crash;
use crate::durable::{self, DurableError};

/// The tag of a point that is not offered.
pub const INCOMPLETE: &str = "incomplete";
const PASSWORD_BYTES: usize = 32;

/// One rollback point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointInfo {
    /// The whole id, in hexadecimal.
    pub id: String,
    /// The first tag; empty when it has none.
    pub tag: String,
    /// Why it was made.
    pub reason: String,
    /// When it was begun, in milliseconds since 1970 in UTC.
    pub made_ms: u64,
    /// As the host knows them.
    pub paths: Vec<String>,
    /// Length of all files in it.
    pub bytes: u64,
}

/// Why a rollback point could not be made, found, checked or listed.
#[derive(Debug, thiserror::Error)]
pub enum PointsError {
    /// The repository says no.
    #[error("could not {step} the repository of rollback points")]
    Repository {
        /// What was being done.
        step: &'static str,
        /// The repository's own account.
        #[source]
        cause: Box<RusticError>,
    },
    /// The password cannot be kept or read.
    #[error("could not keep the password of the repository")]
    Password(#[source] DurableError),
    /// The file with the password cannot be read.
    #[error("could not read the password in `{}`", path.display())]
    PasswordFile {
        /// The file.
        path: PathBuf,
        #[source]
        /// The operating system's account.
        cause: std::io::Error,
    },
    /// A repository without its password is of no use.
    #[error("the repository `{}` has no password file `{}`", repository.display(), path.display())]
    PasswordLost {
        /// The repository.
        repository: PathBuf,
        /// Where the password should be.
        path: PathBuf,
    },
    /// Something could not be read, so no point was made.
    #[error("the point was not made, because {} could not be read: {}", count, first)]
    Incomplete {
        /// How many entries.
        count: usize,
        /// The first of them, with its reason.
        first: String,
    },
    /// A tag that `restic` or we could misread.
    #[error("`{tag}` cannot be a tag: 1 to 64 letters, digits, `-`, `_`, `.`")]
    Tag {
        /// As given.
        tag: String,
    },
    /// No point of that id is offered.
    #[error("there is no rollback point `{id}`")]
    Unknown {
        /// As given.
        id: String,
    },
    /// The check of a point found damage.
    #[error("the rollback point `{id}` is damaged: {finding}")]
    Damaged {
        /// The point.
        id: String,
        /// The first finding.
        finding: String,
    },
    /// A path is refused, or what is there cannot be read.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Nothing stands at a path that was to be kept.
    #[error("there is nothing at `{path}` to make a point of")]
    Nothing {
        /// The path.
        path: String,
    },
}

fn repository(step: &'static str) -> impl FnOnce(Box<RusticError>) -> PointsError {
    move |cause| PointsError::Repository { step, cause }
}

/// The repository of one host.
#[derive(Debug)]
pub struct Points {
    root: HostRoot,
    host: String,
    opened: Repository<OpenStatus>,
    backends: RepositoryBackends,
    /// Reading the index anew for every call would be slow; it is dropped
    /// whenever a point was made.
    indexed: Mutex<Option<Arc<Indexed>>>,
}

type Indexed = Repository<IndexedFullStatus>;

impl Points {
    /// Opens the repository, or makes it with a password of its own in
    /// `password_file` (mode 0600) when `directory` holds none. Takes as long
    /// as the password's scrypt: up to a second.
    ///
    /// # Errors
    /// A wrong or lost password, a damaged repository, a failing disk.
    pub fn open_or_create(
        root: HostRoot,
        host: &str,
        directory: &Path,
        password_file: &Path,
    ) -> Result<Self, PointsError> {
        let backend =
            LocalBackend::new(directory.to_string_lossy(), Vec::new()).map_err(repository("reach"))?;
        let backends = RepositoryBackends::new(Arc::new(backend), None);
        let unopened = Repository::new(&options(), &backends).map_err(repository("reach"))?;
        let exists = directory.join("config").exists();
        let password = match (read_password(password_file)?, exists) {
            (Some(password), _) => password,
            (None, false) => new_password(password_file)?,
            (None, true) => {
                return Err(PointsError::PasswordLost {
                    repository: directory.to_path_buf(),
                    path: password_file.to_path_buf(),
                });
            }
        };
        let credentials = Credentials::password(password);
        let opened = if exists {
            unopened.open(&credentials).map_err(repository("open"))?
        } else {
            durable::create_directories(directory, 0o700).map_err(PointsError::Password)?;
            unopened
                .init(&credentials, &KeyOptions::default(), &ConfigOptions::default())
                .map_err(repository("create"))?
        };
        Ok(Self { root, host: host.to_owned(), opened, backends, indexed: Mutex::new(None) })
    }

    /// Makes a point of `paths`, each of which must be there.
    ///
    /// # Errors
    /// Anything that could not be read: then no point is offered.
    pub fn create(&self, tag: &str, reason: &str, paths: &[HostPath]) -> Result<PointInfo, PointsError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if tag.is_empty() || tag.len() > 64 || tag == INCOMPLETE || !tag.chars().all(plain) {
            return Err(PointsError::Tag { tag: tag.escape_debug().collect() });
        }
        let source = source::Source::of(&self.root, paths)?;
        let problems = source.problems();
        let mut snapshot = SnapshotFile {
            hostname: self.host.clone(),
            description: Some(reason.to_owned()),
            ..SnapshotFile::default()
        };
        snapshot.tags.add(INCOMPLETE.to_owned());
        let options = BackupOptions::default()
            .no_scan(true)
            // A parent would let a file with unchanged times go unread.
            .parent_opts(rustic_core::ParentOptions::default().force(true));
        let listed: Vec<PathBuf> = source.tops();
        let writer = self.open_again()?.to_indexed_ids().map_err(repository("read"))?;
        let made = writer.archive(&options, &source, snapshot, &listed).map_err(repository("write to"))?;
        self.forget_index();
        if let Some((count, first)) = problems.summary() {
            // Not being offered is what matters; the rest is tidiness.
            if let Err(error) = self.opened.delete_snapshots(&[made.id]) {
                tracing::warn!(error = %error, "an incomplete point was left behind");
            }
            return Err(PointsError::Incomplete { count, first });
        }
        self.offer(made, tag)
    }

    /// Replaces the unfinished snapshot by the one that is offered.
    fn offer(&self, mut made: SnapshotFile, tag: &str) -> Result<PointInfo, PointsError> {
        crash::point("points.archived", "");
        let unfinished = made.id;
        made.tags = StringList::default();
        made.tags.add(tag.to_owned());
        self.opened.save_snapshots(vec![made.clone()]).map_err(repository("write to"))?;
        self.opened.delete_snapshots(&[unfinished]).map_err(repository("tidy"))?;
        self.list()?
            .into_iter()
            .find(|point| point.tag == tag && point.made_ms == made_ms(&made))
            .ok_or_else(|| PointsError::Unknown { id: tag.to_owned() })
    }

    /// All that are offered, newest first.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub fn list(&self) -> Result<Vec<PointInfo>, PointsError> {
        let mut snapshots = self.opened.get_all_snapshots().map_err(repository("read"))?;
        snapshots.retain(|snapshot| !snapshot.tags.contains(INCOMPLETE));
        let mut points: Vec<PointInfo> = snapshots.iter().map(info).collect();
        points.sort_by(|a, b| b.made_ms.cmp(&a.made_ms).then_with(|| a.id.cmp(&b.id)));
        Ok(points)
    }

    /// The newest of a tag that is no older than `max_age`.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub fn newest(&self, tag: &str, max_age: Option<Duration>) -> Result<Option<PointInfo>, PointsError> {
        let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default();
        let oldest =
            max_age.map_or(0, |age| now.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)));
        let mut points = self.list()?;
        points.retain(|point| point.tag == tag && point.made_ms >= oldest);
        Ok(points.into_iter().next())
    }

    /// Checks that a point can be restored: its trees are read and every blob
    /// they name is in the index; when `full`, every blob is also read and
    /// compared with its digest.
    ///
    /// # Errors
    /// `Damaged` with the first finding.
    pub fn verify(&self, id: &str, full: bool) -> Result<(), PointsError> {
        let (indexed, snapshot) = self.snapshot(id)?;
        let damaged = |finding: String| PointsError::Damaged { id: id.to_owned(), finding };
        let options = CheckOptions::default().read_data(full);
        let results = indexed
            .check_with_trees(options, vec![snapshot.tree])
            .map_err(|error| damaged(error.to_string()))?;
        if results.is_ok().is_err() {
            let finding = results.0.iter().map(|(_, finding)| finding.to_string()).next();
            return Err(damaged(finding.unwrap_or_default()));
        }
        Ok(())
    }

    /// # Errors
    /// `points/not-found`, or the repository cannot be read.
    pub fn get(&self, id: &str) -> Result<PointInfo, HostError> {
        let point = self.list().map_err(for_plugin)?.into_iter().find(|point| point.id == id);
        point.ok_or_else(|| for_plugin(PointsError::Unknown { id: shown(id) }))
    }

    /// How many entries the point holds at `path`, the top included; none
    /// when it holds nothing there.
    ///
    /// # Errors
    /// `points/not-found`, or the repository cannot be read.
    pub fn entries(&self, id: &str, path: &HostPath) -> Result<Option<u64>, HostError> {
        let (indexed, snapshot) = self.snapshot(id).map_err(for_plugin)?;
        let Some(node) = node_at(&indexed, &snapshot, path)? else { return Ok(None) };
        if !node.is_dir() {
            return Ok(Some(1));
        }
        let listed = indexed.ls(&node, &LsOptions::default()).map_err(unreadable)?;
        let mut count = 1;
        for entry in listed {
            entry.map_err(unreadable)?;
            count += 1;
        }
        Ok(Some(count))
    }

    /// Length of all files that the point holds at `path`, in bytes, and how many
    /// entries; nothing there is nothing to weigh.
    ///
    /// # Errors
    /// `points/not-found`, or the repository cannot be read.
    pub fn weight(&self, id: &str, path: &HostPath) -> Result<(u64, u64), HostError> {
        let (indexed, snapshot) = self.snapshot(id).map_err(for_plugin)?;
        let Some(node) = node_at(&indexed, &snapshot, path)? else { return Ok((0, 0)) };
        let (mut bytes, mut entries) = (node.meta.size, 1);
        if node.is_dir() {
            bytes = 0;
            for entry in indexed.ls(&node, &LsOptions::default()).map_err(unreadable)? {
                let (_, below) = entry.map_err(unreadable)?;
                entries += 1;
                bytes += if below.is_dir() { 0 } else { below.meta.size };
            }
        }
        Ok((bytes, entries))
    }

    /// Restores what the point holds at `path` to `name` in an open directory,
    /// with owners, modes, times, links and extended attributes; `name` must
    /// not exist. Synced bottom-up.
    ///
    /// # Errors
    /// `points/nothing-there`, or anything that cannot be put as it was.
    pub fn restore(
        &self,
        id: &str,
        path: &HostPath,
        directory: BorrowedFd<'_>,
        name: &str,
    ) -> Result<(), HostError> {
        let (indexed, snapshot) = self.snapshot(id).map_err(for_plugin)?;
        let node = node_at(&indexed, &snapshot, path)?.ok_or_else(|| {
            HostError::new(
                ErrorKind::NotFound,
                "points/nothing-there",
                format!("the rollback point {} holds nothing at `{path}`", &id[..8.min(id.len())]),
            )
        })?;
        restore::restore(&indexed, &node, directory, name)
    }

    /// Restores what the point holds at `path` to the path `into`, which must
    /// not exist; for the agent's own use, outside of any step.
    ///
    /// # Errors
    /// As [`Self::restore`].
    pub fn stage(&self, id: &str, path: &HostPath, into: &HostPath) -> Result<(), HostError> {
        use std::os::fd::AsFd;
        let spot = self.root.spot(into)?;
        self.restore(id, path, spot.directory.as_fd(), &spot.name)
    }

    fn snapshot(&self, id: &str) -> Result<(Arc<Indexed>, SnapshotFile), PointsError> {
        let unknown = || PointsError::Unknown { id: shown(id) };
        let snapshots = self.opened.get_all_snapshots().map_err(repository("read"))?;
        let snapshot = snapshots
            .into_iter()
            .find(|snapshot| snapshot.id.to_string() == id && !snapshot.tags.contains(INCOMPLETE))
            .ok_or_else(unknown)?;
        Ok((self.index()?, snapshot))
    }

    fn index(&self) -> Result<Arc<Indexed>, PointsError> {
        let mut cached = self.indexed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(indexed) = &*cached {
            return Ok(Arc::clone(indexed));
        }
        let indexed = Arc::new(self.open_again()?.to_indexed().map_err(repository("read"))?);
        *cached = Some(Arc::clone(&indexed));
        Ok(indexed)
    }

    /// By the key that the password opened: scrypt is paid once.
    fn open_again(&self) -> Result<Repository<OpenStatus>, PointsError> {
        Repository::new(&options(), &self.backends)
            .and_then(|unopened| unopened.open(&Credentials::Masterkey(self.opened.key())))
            .map_err(repository("open"))
    }

    fn forget_index(&self) {
        *self.indexed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn options() -> RepositoryOptions {
    RepositoryOptions::default().no_cache(true)
}

fn info(snapshot: &SnapshotFile) -> PointInfo {
    PointInfo {
        id: snapshot.id.to_string(),
        tag: snapshot.tags.iter().next().cloned().unwrap_or_default(),
        reason: snapshot.description.clone().unwrap_or_default(),
        made_ms: made_ms(snapshot),
        paths: snapshot.paths.iter().cloned().collect(),
        bytes: snapshot.summary.as_ref().map_or(0, |summary| summary.total_bytes_processed),
    }
}

fn made_ms(snapshot: &SnapshotFile) -> u64 {
    u64::try_from(snapshot.time.timestamp().as_millisecond()).unwrap_or_default()
}

fn node_at(indexed: &Indexed, snapshot: &SnapshotFile, path: &HostPath) -> Result<Option<Node>, HostError> {
    let mut tree = snapshot.tree;
    let mut found = None;
    let mut names = path.as_str().split('/').filter(|name| !name.is_empty()).peekable();
    while let Some(name) = names.next() {
        let nodes = indexed.get_tree(&tree).map_err(unreadable)?.nodes;
        let Some(node) = nodes.into_iter().find(|node| *node.name() == *name) else {
            return Ok(None);
        };
        if names.peek().is_some() {
            let Some(below) = node.subtree else { return Ok(None) };
            tree = below;
        } else {
            found = Some(node);
        }
    }
    Ok(found)
}

fn read_password(path: &Path) -> Result<Option<String>, PointsError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(PointsError::PasswordFile { path: path.to_path_buf(), cause }),
    }
}

fn new_password(path: &Path) -> Result<String, PointsError> {
    let mut bytes = [0; PASSWORD_BYTES];
    getrandom::fill(&mut bytes).map_err(|cause| PointsError::PasswordFile {
        path: path.to_path_buf(),
        cause: std::io::Error::other(cause.to_string()),
    })?;
    let password = crate::capabilities::files::hex(&bytes);
    // Durable before the repository is, which nobody could open without it.
    durable::write(path, 0o600, format!("{password}\n").as_bytes()).map_err(PointsError::Password)?;
    Ok(password)
}

fn shown(id: &str) -> String {
    id.chars().take(80).flat_map(char::escape_debug).collect()
}

fn for_plugin(error: PointsError) -> HostError {
    match error {
        PointsError::Host(error) => error,
        PointsError::Unknown { .. } => {
            HostError::new(ErrorKind::NotFound, "points/not-found", error.to_string())
        }
        _ => HostError::new(ErrorKind::Failed, "points/unreadable", error.to_string()),
    }
}

fn unreadable(cause: Box<RusticError>) -> HostError {
    tracing::error!(error = %cause, "a rollback point cannot be read");
    HostError::new(
        ErrorKind::Failed,
        "points/unreadable",
        "the rollback point cannot be read: its repository is damaged or gone",
    )
}

#[cfg(test)]
mod tests;
