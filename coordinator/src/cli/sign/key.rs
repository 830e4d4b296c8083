//! The key with which a person signs: a file of its own that only its owner
//! may read. It is opened here and its secret goes nowhere else.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sternway_core::exit;
use sternway_core::ids::{Digest, Group, Person};
use sternway_core::trust::SigningKey;

use crate::cli::identity::{IdentityError, read_secret};

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the signing key cannot be had")]
    Read(#[from] IdentityError),
    /// The text itself is not repeated: it is a secret.
    #[error("`{}` is not a signing key", path.display())]
    Text { path: PathBuf },
    #[error("`{}` exists: a signing key is never overwritten", .0.display())]
    Exists(PathBuf),
    #[error("could not write `{}`", path.display())]
    Write {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("the system gave no random bytes")]
    Random(#[source] getrandom::Error),
}

impl KeyError {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Read(_) | Self::Text { .. } => exit::INVALID,
            Self::Exists(_) | Self::Write { .. } => exit::USAGE,
            Self::Random(_) => exit::BUG,
        }
    }

    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read(IdentityError::Read { .. }) => {
                Some("make one: sternway keys new --person NAME --groups GROUP".into())
            }
            Self::Read(error) => error.hint(),
            _ => None,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    person: Person,
    #[serde(default)]
    groups: Vec<Group>,
    /// 32 bytes in hexadecimal digits.
    seed: Digest,
}

/// A person's key, ready to sign.
#[derive(Debug)]
pub struct PersonKey {
    pub person: Person,
    /// As the person knows them; what counts is the keyring.
    pub groups: Vec<Group>,
    pub key: SigningKey,
}

impl PersonKey {
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let text = read_secret(path)?;
        let file: File = toml::from_str(&text).map_err(|_| KeyError::Text { path: path.into() })?;
        let key = SigningKey::from_seed(&file.seed.0);
        Ok(Self { person: file.person, groups: file.groups, key })
    }

    /// A new key in a new file that only its owner may read.
    pub fn create(path: &Path, person: Person, groups: Vec<Group>) -> Result<Self, KeyError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(KeyError::Random)?;
        let file = File { person: person.clone(), groups: groups.clone(), seed: Digest(seed) };
        let text = toml::to_string(&file).expect("names and digits can be written");
        let text = format!("# Whoever has this file signs as {person}.\n{text}");
        let failed = |cause: std::io::Error| match cause.kind() {
            std::io::ErrorKind::AlreadyExists => KeyError::Exists(path.into()),
            _ => KeyError::Write { path: path.into(), cause },
        };
        let mut out = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        out.write_all(text.as_bytes()).and_then(|()| out.sync_all()).map_err(failed)?;
        Ok(Self { person, groups, key: SigningKey::from_seed(&seed) })
    }

    /// `ada (sre)`.
    pub fn who(&self) -> String {
        let groups: Vec<&str> = self.groups.iter().map(Group::as_str).collect();
        if groups.is_empty() {
            self.person.to_string()
        } else {
            format!("{} ({})", self.person, groups.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn a_key_is_for_its_owner_alone_is_made_once_and_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("signing.key");
        let made = PersonKey::create(&path, "ada".parse().unwrap(), vec!["sre".parse().unwrap()]).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let read = PersonKey::load(&path).unwrap();
        assert_eq!(read.key.public(), made.key.public());
        assert_eq!(read.who(), "ada (sre)");
        let again = PersonKey::create(&path, "eve".parse().unwrap(), vec![]).unwrap_err();
        assert!(matches!(again, KeyError::Exists(_)));
        assert_eq!(PersonKey::load(&path).unwrap().who(), "ada (sre)");
    }

    #[test]
    fn a_broken_key_file_is_refused_without_repeating_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("signing.key");
        PersonKey::create(&path, "ada".parse().unwrap(), vec![]).unwrap();
        std::fs::write(&path, "person = \"ada\"\nseed = \"5ec2e7\"\n").unwrap();
        let error = PersonKey::load(&path).unwrap_err();
        assert!(!format!("{error}{error:?}").contains("5ec2e7"));
        assert_eq!(error.exit_code(), exit::INVALID);
    }
}
