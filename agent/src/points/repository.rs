//! Opening a repository, or making it, without ever taking another for it.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use rustic_core::repofile::{IndexId, KeyId, PackId, SnapshotId};
use rustic_core::{
    ConfigOptions, Credentials, FileType, KeyOptions, OpenStatus, Repository, RepositoryBackends,
    RepositoryOptions, WriteBackend,
};
use sternway_core::ids::HostName;

use super::locks::Locks;
use super::making::{Watch, nobody};
use super::pace::Bars;
use super::place::Place;
use super::shelf::Shelf;
use super::{PointsError, SharedIndexed, guarded, in_a_line};
use crate::capabilities::files::HostRoot;
use crate::durable;

/// Writing points is bound by the processor, and what is kept is mostly
/// programs and dumps, which the lowest level shortens nearly as well.
const COMPRESSION: i32 = 1;

/// The rollback points of one host.
pub struct Points {
    pub(super) root: HostRoot,
    pub(super) host: HostName,
    pub(super) place: Place,
    pub(super) locks: Locks,
    backend: Arc<dyn WriteBackend>,
    folder: Option<PathBuf>,
    opened: Repository<OpenStatus>,
    /// Earlier points may have lost something: nothing is taken from them.
    pub(super) distrusts: AtomicBool,
    /// Reading the index anew for every call would be slow.
    indexed: Mutex<Option<(BTreeSet<IndexId>, SharedIndexed)>>,
}

impl fmt::Debug for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Points").field("host", &self.host).field("place", &self.place).finish_non_exhaustive()
    }
}

/// The repository for one piece of work.
pub(super) struct Session {
    pub(super) repository: Repository<OpenStatus>,
    pub(super) shelf: Arc<Shelf>,
}

impl Points {
    /// Opens the repository, or makes it with a password of its own (mode 0600)
    /// when there is none. Takes as long as the password's scrypt: up to a second.
    ///
    /// # Errors
    /// A wrong or lost password, a damaged or another repository, a failing
    /// disk or network.
    pub fn open_or_create(root: HostRoot, host: &HostName, place: &Place) -> Result<Self, PointsError> {
        let backend = place.backend()?;
        let folder = place.as_folder();
        let shelf = Arc::new(Shelf::new(Arc::clone(&backend), folder.clone()));
        let locks = Locks::beside(place);
        // Who knows the repository needs no lock: a full disk must not bar the way back.
        let _founding = match place.known_repository()? {
            None => Some(locks.found()?),
            Some(_) => None,
        };
        let opened = Opening { place, shelf: &shelf, folder: folder.as_deref() }.open()?;
        Ok(Self {
            root,
            host: host.clone(),
            place: place.clone(),
            locks,
            backend,
            folder,
            opened,
            distrusts: AtomicBool::new(false),
            indexed: Mutex::new(None),
        })
    }

    /// Where the repository lies, as a person would write it; no secrets.
    pub fn location(&self) -> String {
        self.place.shown()
    }

    pub(super) fn key_id(&self) -> Option<KeyId> {
        *self.opened.key_id()
    }

    /// By the key that the password opened: scrypt is paid once.
    pub(super) fn session(&self, watch: Option<(&Watch, &'static str)>) -> Result<Session, PointsError> {
        let silent = nobody();
        let (watch, stage) = watch.unwrap_or((&silent, ""));
        self.session_on(self.shelf(), Bars::new(watch, stage))
    }

    /// Sees of the index only what was written since it was `then`: reading all
    /// of it again would take the longer the more is stored.
    pub(super) fn session_since(&self, then: &BTreeSet<IndexId>) -> Result<Session, PointsError> {
        let hidden = then.iter().map(|id| id.into_inner()).collect();
        self.session_on(self.shelf().hiding(hidden), Bars::new(&nobody(), ""))
    }

    fn shelf(&self) -> Shelf {
        Shelf::new(Arc::clone(&self.backend), self.folder.clone())
    }

    /// For a long piece of work, of which about `bytes` are known.
    pub(super) fn session_of(
        &self,
        (watch, stage): (&Watch, &'static str),
        bytes: Option<u64>,
    ) -> Result<Session, PointsError> {
        self.session_on(self.shelf(), Bars::new(watch, stage).about(bytes))
    }

    fn session_on(&self, shelf: Shelf, bars: Bars) -> Result<Session, PointsError> {
        let shelf = Arc::new(shelf);
        let backends = backends(&shelf);
        let repository = guarded("open", || {
            Repository::new_with_progress(&options(), &backends, bars)?
                .open(&Credentials::Masterkey(self.opened.key()))
        })?;
        Ok(Session { repository, shelf })
    }

    /// The whole index, as it is now.
    pub(super) fn index(&self) -> Result<SharedIndexed, PointsError> {
        let session = self.session(None)?;
        let now: BTreeSet<IndexId> = guarded("read", || session.repository.list::<IndexId>())?.collect();
        let mut cached = self.indexed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((then, indexed)) = &*cached
            && *then == now
        {
            return Ok(Arc::clone(indexed));
        }
        let indexed = Arc::new(guarded("read the index of", || session.repository.to_indexed())?);
        *cached = Some((now, Arc::clone(&indexed)));
        Ok(indexed)
    }

    pub(super) fn forget_index(&self) {
        *self.indexed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

pub(super) fn backends(shelf: &Arc<Shelf>) -> RepositoryBackends {
    RepositoryBackends::new(Arc::clone(shelf) as Arc<dyn WriteBackend>, None)
}

fn options() -> RepositoryOptions {
    RepositoryOptions::default().no_cache(true)
}

struct Opening<'a> {
    place: &'a Place,
    shelf: &'a Arc<Shelf>,
    folder: Option<&'a std::path::Path>,
}

impl Opening<'_> {
    fn open(&self) -> Result<Repository<OpenStatus>, PointsError> {
        let unopened = guarded("reach", || Repository::new(&options(), &backends(self.shelf)))?;
        let exists = guarded("reach", || unopened.config_id())?.is_some();
        let known = self.place.known_repository()?;
        let opened = match (self.place.read_password()?, exists) {
            (Some(password), true) => self.open_with(unopened, &password)?,
            (None, true) => {
                return Err(PointsError::PasswordLost {
                    repository: self.place.shown(),
                    path: self.place.password.clone(),
                });
            }
            (_, false) if known.is_some() && !self.holds_data(&unopened)? => {
                return Err(PointsError::RepositoryLost {
                    repository: self.place.shown(),
                    marker: self.place.beside("repository"),
                });
            }
            (password, false) => {
                if self.holds_data(&unopened)? {
                    return Err(PointsError::ConfigLost { repository: self.place.shown() });
                }
                let password = match password {
                    Some(password) => password,
                    None => self.place.new_password()?,
                };
                self.create(unopened, &password)?
            }
        };
        let id = opened.config().id.into_inner().to_hex().as_str().to_owned();
        match known {
            Some(known) if known == id => {}
            Some(_) => {
                return Err(PointsError::AnotherRepository {
                    repository: self.place.shown(),
                    marker: self.place.beside("repository"),
                });
            }
            None => self.place.know_repository(&id)?,
        }
        Ok(opened)
    }

    fn open_with(
        &self,
        unopened: Repository<()>,
        password: &str,
    ) -> Result<Repository<OpenStatus>, PointsError> {
        let mut is_wrong = false;
        let opened = guarded("open", || {
            let opened = unopened.open(&Credentials::password(password));
            opened.inspect_err(|error| {
                is_wrong = error.is_incorrect_password();
                tracing::debug!(error = %in_a_line(error), "the repository does not open");
            })
        });
        match opened {
            Err(_) if is_wrong => Err(PointsError::PasswordWrong {
                repository: self.place.shown(),
                path: self.place.password.clone(),
            }),
            answer => answer,
        }
    }

    /// Snapshots or packs; a key alone is what a making that was cut short left.
    fn holds_data(&self, unopened: &Repository<()>) -> Result<bool, PointsError> {
        let is_there = |name: &str| self.folder.is_none_or(|folder| folder.join(name).is_dir());
        let any = |kind: FileType| -> Result<bool, PointsError> {
            if !is_there(kind.dirname()) {
                return Ok(false);
            }
            match kind {
                FileType::Snapshot => Ok(guarded("list", || unopened.list::<SnapshotId>())?.next().is_some()),
                _ => Ok(guarded("list", || unopened.list::<PackId>())?.next().is_some()),
            }
        };
        Ok(any(FileType::Snapshot)? || any(FileType::Pack)?)
    }

    fn create(
        &self,
        unopened: Repository<()>,
        password: &str,
    ) -> Result<Repository<OpenStatus>, PointsError> {
        if let Some(folder) = self.folder {
            durable::create_directories(folder, 0o700).map_err(PointsError::Durable)?;
            // A key without its `config` opens the password and leads nowhere.
            if folder.join("keys").is_dir() {
                for key in guarded("list", || unopened.list::<KeyId>())? {
                    guarded("clear", || self.shelf.remove(FileType::Key, &key, false))?;
                }
            }
        }
        let config = ConfigOptions::default().set_compression(COMPRESSION);
        guarded("create", || unopened.init(&Credentials::password(password), &KeyOptions::default(), &config))
    }
}
