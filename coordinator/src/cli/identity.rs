//! Who asks, and whom: the directory with an operator's certificate, and the
//! coordinator's address. The key that signs plans is read elsewhere (see `sign`).

use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Names inside an identity directory.
pub const CERTIFICATE: &str = "operator.pem";
pub const CERTIFICATE_KEY: &str = "operator.key";
pub const SERVER_CA: &str = "server-ca.pem";
pub const ADDRESS: &str = "coordinator";
pub const SIGNING_KEY: &str = "signing.key";

/// What the command line and the environment say; the directory fills in the rest.
#[derive(Debug, Clone, Default)]
pub struct Whereabouts {
    pub at: Option<String>,
    pub identity: Option<PathBuf>,
}

impl Whereabouts {
    /// The identity directory: named, or the usual place.
    pub fn directory(&self) -> Result<PathBuf, IdentityError> {
        if let Some(directory) = &self.identity {
            return Ok(directory.clone());
        }
        let variable =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let config = variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")));
        config.map(|config| config.join("sternway")).ok_or(IdentityError::Nowhere)
    }

    pub fn load(&self) -> Result<Identity, IdentityError> {
        Identity::load(&self.directory()?, self.at.as_deref())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("no identity directory is named, and there is no home to look in")]
    Nowhere,
    #[error("could not read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("`{}` is not what it should be: {reason}", path.display())]
    Pem { path: PathBuf, reason: String },
    #[error("`{}` can be read by others (mode {mode:o})", path.display())]
    TooOpen { path: PathBuf, mode: u32 },
    #[error("`{}` does not name an address and port: `{text}`", path.display())]
    Address { path: PathBuf, text: String },
}

impl IdentityError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::TooOpen { path, .. } => Some(format!("chmod 600 {}", path.display())),
            Self::Nowhere | Self::Read { .. } => {
                Some("name the directory with --identity DIR or STERNWAY_IDENTITY".into())
            }
            Self::Address { .. } => {
                Some("name the coordinator with --at ADDRESS:PORT or STERNWAY_COORDINATOR".into())
            }
            Self::Pem { .. } => None,
        }
    }
}

/// An operator's way to one coordinator.
#[derive(Debug)]
pub struct Identity {
    pub address: String,
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    pub server_ca: Vec<CertificateDer<'static>>,
}

impl Identity {
    fn load(directory: &Path, at: Option<&str>) -> Result<Self, IdentityError> {
        let address = match at {
            Some(address) => address.to_owned(),
            None => read_address(&directory.join(ADDRESS))?,
        };
        Ok(Self {
            address,
            chain: read_certificates(&directory.join(CERTIFICATE))?,
            key: read_key(&directory.join(CERTIFICATE_KEY))?,
            server_ca: read_certificates(&directory.join(SERVER_CA))?,
        })
    }
}

fn read_address(path: &Path) -> Result<String, IdentityError> {
    let text =
        std::fs::read_to_string(path).map_err(|cause| IdentityError::Read { path: path.into(), cause })?;
    let text = text.trim().to_owned();
    let has_port = text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { Ok(text) } else { Err(IdentityError::Address { path: path.into(), text }) }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let pem = std::fs::read(path).map_err(|cause| IdentityError::Read { path: path.into(), cause })?;
    let wrong = |reason: String| IdentityError::Pem { path: path.into(), reason };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|cause| wrong(cause.to_string()))?;
    if chain.is_empty() { Err(wrong("no certificate in it".into())) } else { Ok(chain) }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, IdentityError> {
    let pem = read_secret(path)?;
    PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|cause| IdentityError::Pem { path: path.into(), reason: cause.to_string() })
}

/// The text of a file that only its owner may read; refused otherwise.
pub fn read_secret(path: &Path) -> Result<String, IdentityError> {
    use std::io::Read as _;
    use std::os::unix::fs::MetadataExt as _;
    let unreadable = |cause| IdentityError::Read { path: path.into(), cause };
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
    // Asked of the open file, so that it cannot be exchanged in between.
    let mode = file.metadata().map_err(unreadable)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::TooOpen { path: path.into(), mode });
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(SIGNING_KEY);
        std::fs::write(&path, "secret").unwrap();
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o640);
        let refused = read_secret(&path).unwrap_err();
        assert!(matches!(refused, IdentityError::TooOpen { mode: 0o640, .. }));
        assert!(refused.hint().unwrap().starts_with("chmod 600 "));
        mode(0o600);
        assert_eq!(read_secret(&path).unwrap(), "secret");
        mode(0o400);
        assert_eq!(read_secret(&path).unwrap(), "secret");
    }

    #[test]
    fn an_address_has_a_port() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(ADDRESS);
        for (text, read) in
            [("127.0.0.1:8471\n", Some("127.0.0.1:8471")), ("[::1]:1", Some("[::1]:1")), ("coord", None)]
        {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read_address(&path).ok().as_deref(), read);
        }
    }

    #[test]
    fn a_missing_identity_names_the_file_and_the_way_out() {
        let directory = tempfile::tempdir().unwrap();
        let whereabouts = Whereabouts { at: None, identity: Some(directory.path().join("none")) };
        let error = whereabouts.load().unwrap_err();
        assert!(error.to_string().contains("none/coordinator"), "{error}");
        assert!(error.hint().unwrap().contains("--identity"));
    }
}
