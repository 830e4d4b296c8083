//! Where a host's rollback points lie and how to get at them: the repository's
//! address, the options of its back end, and the password that opens it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustic_backend::BackendOptions;
use rustic_core::WriteBackend;

use super::{PointsError, guarded};
use crate::config::Config;
use crate::durable;

const PASSWORD_BYTES: usize = 32;
/// What an address may begin with, when it is not a folder.
const SCHEMES: [&str; 3] = ["local", "opendal", "rest"];

/// A repository: where it is and what opens it.
#[derive(Clone)]
pub struct Place {
    /// A folder, or a back end's address such as `opendal:s3` or `rest:https://…`.
    pub repository: String,
    /// The file with the repository's password; what this host remembers of the
    /// repository lies beside it.
    pub password: PathBuf,
    /// Of the back end, secret ones too: never shown.
    pub options: BTreeMap<String, String>,
    /// It lies in this host's own state, so every point in it is this host's,
    /// also those made before the host was given another name.
    pub is_own: bool,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("repository", &self.shown())
            .field("password", &self.password)
            .field("options", &self.options.keys())
            .finish()
    }
}

impl Place {
    /// As `[points]` of the configuration describes it.
    ///
    /// # Errors
    /// The file of secret options cannot be read, or others than its owner can read it.
    pub fn of(config: &Config) -> Result<Self, PointsError> {
        let points = &config.points;
        let folder = || config.points_path().to_string_lossy().into_owned();
        let mut options = points.options.clone();
        options.extend(points.secret_options()?);
        Ok(Self {
            repository: points.repository.clone().unwrap_or_else(folder),
            password: points.password.clone().unwrap_or_else(|| config.state.join("points.password")),
            options,
            is_own: points.repository.is_none(),
        })
    }

    /// A repository in a folder of this machine, which others may share.
    pub fn folder(repository: &Path, password: &Path) -> Self {
        Self {
            repository: repository.to_string_lossy().into_owned(),
            password: password.to_path_buf(),
            options: BTreeMap::new(),
            is_own: false,
        }
    }

    /// As a person would write it; a password in an address is left out.
    pub(super) fn shown(&self) -> String {
        let bucket = self.options.get("bucket").map(|bucket| format!(" ({bucket})"));
        let address = match (self.repository.find("://"), self.repository.find('@')) {
            (Some(scheme), Some(at)) if scheme < at => {
                format!("{}://…{}", &self.repository[..scheme], &self.repository[at..])
            }
            _ => self.repository.clone(),
        };
        format!("{address}{}", bucket.unwrap_or_default())
    }

    /// The folder, when it lies in one that this machine reaches by its path.
    pub(super) fn as_folder(&self) -> Option<PathBuf> {
        match self.repository.split_once(':') {
            None => Some(PathBuf::from(&self.repository)),
            Some(("local", path)) => Some(PathBuf::from(path)),
            Some(_) => None,
        }
    }

    pub(super) fn backend(&self) -> Result<Arc<dyn WriteBackend>, PointsError> {
        if let Some((scheme, _)) = self.repository.split_once(':')
            && !SCHEMES.contains(&scheme)
        {
            return Err(PointsError::Address { address: self.repository.clone() });
        }
        let options =
            BackendOptions::default().repository(self.repository.clone()).options(self.options.clone());
        Ok(guarded("reach", || options.to_backends())?.repository())
    }

    pub(super) fn read_password(&self) -> Result<Option<String>, PointsError> {
        read_text(&self.password)
    }

    /// Durable before the repository is, which nobody could open without it.
    pub(super) fn new_password(&self) -> Result<String, PointsError> {
        let mut bytes = [0; PASSWORD_BYTES];
        getrandom::fill(&mut bytes).map_err(|cause| PointsError::File {
            path: self.password.clone(),
            cause: std::io::Error::other(cause.to_string()),
        })?;
        let password = crate::capabilities::files::hex(&bytes);
        if let Some(folder) = self.password.parent() {
            durable::create_directories(folder, 0o700).map_err(PointsError::Durable)?;
        }
        durable::write(&self.password, 0o600, format!("{password}\n").as_bytes())
            .map_err(PointsError::Durable)?;
        Ok(password)
    }

    /// The id of the repository that this host made or opened before.
    pub(super) fn known_repository(&self) -> Result<Option<String>, PointsError> {
        read_text(&self.beside("repository"))
    }

    pub(super) fn know_repository(&self, id: &str) -> Result<(), PointsError> {
        durable::write(&self.beside("repository"), 0o600, format!("{id}\n").as_bytes())
            .map_err(PointsError::Durable)
    }

    /// A file or folder of ours beside the password: `points.NAME` for `points.password`.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        let stem = self.password.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        self.password.with_file_name(format!("{stem}.{name}"))
    }
}

fn read_text(path: &Path) -> Result<Option<String>, PointsError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(PointsError::File { path: path.to_path_buf(), cause }),
    }
}
