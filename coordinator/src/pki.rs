//! Certificates of the link: three authorities that cannot stand in for one
//! another, and leaves that name exactly one peer in exactly one role.
//!
//! A peer is `sternway://<fleet>/<role>/<name>` in the URI of its subject
//! alternative name; nothing else in a certificate is believed. Why three
//! authorities: with one, an agent's certificate could serve as the
//! coordinator's before other agents.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ED25519, SanType, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sternway_core::ids::FleetId;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The name agents and operators connect to, whatever the coordinator's address is.
pub const SERVER_NAME: &str = "sternway-coordinator";
/// How long a certificate of a peer is good. Renewal is not built yet, so it is long.
const LEAF_DAYS: i64 = 397;
const AUTHORITY_DAYS: i64 = 10 * 366;
/// Clocks of the fleet may be behind the one that issues by a day.
const SLACK_DAYS: i64 = 1;

/// What a peer may be. Each role has an authority of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Coordinator,
    Agent,
    Operator,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Coordinator, Self::Agent, Self::Operator];

    /// As it stands in certificates.
    pub fn name(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Agent => "agent",
            Self::Operator => "operator",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == text)
    }

    /// Of the authority's files: `server-ca`, `agent-ca` or `operator-ca`.
    fn authority(self) -> &'static str {
        match self {
            Self::Coordinator => "server-ca",
            Self::Agent => "agent-ca",
            Self::Operator => "operator-ca",
        }
    }

    fn usage(self) -> ExtendedKeyUsagePurpose {
        match self {
            Self::Coordinator => ExtendedKeyUsagePurpose::ServerAuth,
            Self::Agent | Self::Operator => ExtendedKeyUsagePurpose::ClientAuth,
        }
    }
}

/// Path of the certificate of `role`'s authority under `dir`.
pub fn authority_certificate(dir: &Path, role: Role) -> PathBuf {
    dir.join(format!("{}.pem", role.authority()))
}

fn authority_key(dir: &Path, role: Role) -> PathBuf {
    dir.join(format!("{}.key", role.authority()))
}

#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    #[error("could not write `{}`", path.display())]
    Write {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("could not read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("`{}` exists: authorities are made once", .0.display())]
    Exists(PathBuf),
    #[error("the certificate for {what} could not be made")]
    Make {
        what: String,
        #[source]
        cause: rcgen::Error,
    },
    #[error("`{}` is not one of our authorities", path.display())]
    Authority {
        path: PathBuf,
        #[source]
        cause: PeerError,
    },
    #[error("`{name}` cannot be the name of a peer: a-z, 0-9, `.`, `_` and `-`")]
    Name {
        name: String,
        #[source]
        cause: sternway_core::ids::NameError,
    },
}

/// Makes the three authorities of `fleet` under `dir`, keys with mode 0600.
/// Refused when one is there already: a new authority would cut off everybody.
pub fn create_authorities(dir: &Path, fleet: FleetId) -> Result<(), IssueError> {
    fs::create_dir_all(dir).map_err(|cause| IssueError::Write { path: dir.into(), cause })?;
    if let Some(path) =
        Role::ALL.map(|role| authority_certificate(dir, role)).into_iter().find(|path| path.exists())
    {
        return Err(IssueError::Exists(path));
    }
    for role in Role::ALL {
        let make = |cause| IssueError::Make { what: role.authority().into(), cause };
        let key = KeyPair::generate_for(&PKCS_ED25519).map_err(make)?;
        let params = authority_params(role, fleet).map_err(make)?;
        let certificate = params.self_signed(&key).map_err(make)?;
        write_durably(&authority_key(dir, role), key.serialize_pem().as_bytes(), 0o600)?;
        write_durably(&authority_certificate(dir, role), certificate.pem().as_bytes(), 0o644)?;
    }
    Ok(())
}

/// A certificate with its key, as files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Issues a certificate for `name` in `role` from the authorities under `dir`;
/// writes `<name>.pem` and `<name>.key` (0600) under `out_dir`.
pub fn issue(dir: &Path, role: Role, name: &str, out_dir: &Path) -> Result<Issued, IssueError> {
    name.parse::<sternway_core::ids::HostName>()
        .map_err(|cause| IssueError::Name { name: name.into(), cause })?;
    let what = || format!("{} {name}", role.name());
    let make = |cause| IssueError::Make { what: what(), cause };
    let (certificate_path, key_path) = (authority_certificate(dir, role), authority_key(dir, role));
    let fleet = fleet_of_authority(&certificate_path, role)?;
    let pem = fs::read_to_string(&key_path).map_err(|cause| IssueError::Read { path: key_path, cause })?;
    let authority =
        Issuer::new(authority_params(role, fleet).map_err(make)?, KeyPair::from_pem(&pem).map_err(make)?);

    let key = KeyPair::generate_for(&PKCS_ED25519).map_err(make)?;
    let certificate =
        leaf_params(role, fleet, name).map_err(make)?.signed_by(&key, &authority).map_err(make)?;
    fs::create_dir_all(out_dir).map_err(|cause| IssueError::Write { path: out_dir.into(), cause })?;
    let issued =
        Issued { certificate: out_dir.join(format!("{name}.pem")), key: out_dir.join(format!("{name}.key")) };
    write_durably(&issued.key, key.serialize_pem().as_bytes(), 0o600)?;
    write_durably(&issued.certificate, certificate.pem().as_bytes(), 0o644)?;
    Ok(issued)
}

/// The fleet an authority was made for.
pub(crate) fn fleet_of_authority(path: &Path, role: Role) -> Result<FleetId, IssueError> {
    let pem = fs::read(path).map_err(|cause| IssueError::Read { path: path.into(), cause })?;
    let odd = |cause| IssueError::Authority { path: path.into(), cause };
    let der = CertificateDer::from_pem_slice(&pem).map_err(|_| odd(PeerError::Unreadable))?;
    let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| odd(PeerError::Unreadable))?;
    let uri = only_uri(&certificate).map_err(odd)?;
    let fleet = uri
        .strip_prefix("sternway://")
        .and_then(|rest| rest.strip_suffix(&format!("/authority/{}", role.name())))
        .and_then(|fleet| fleet.parse().ok());
    fleet.ok_or_else(|| odd(PeerError::Uri(uri)))
}

fn base_params(common_name: &str, uri: String, days: i64) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let day = |offset: i64| {
        let date = today.saturating_add(jiff::Span::new().days(offset));
        date_time_ymd(date.year().into(), date.month() as u8, date.day() as u8)
    };
    params.not_before = day(-SLACK_DAYS);
    params.not_after = day(days);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn authority_params(role: Role, fleet: FleetId) -> Result<CertificateParams, rcgen::Error> {
    let uri = format!("sternway://{fleet}/authority/{}", role.name());
    let mut params =
        base_params(&format!("sternway {} {}", role.authority(), fleet.short()), uri, AUTHORITY_DAYS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn leaf_params(role: Role, fleet: FleetId, name: &str) -> Result<CertificateParams, rcgen::Error> {
    let uri = format!("sternway://{fleet}/{}/{name}", role.name());
    let mut params = base_params(name, uri, LEAF_DAYS)?;
    if role == Role::Coordinator {
        params.subject_alt_names.push(SanType::DnsName(SERVER_NAME.try_into()?));
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![role.usage()];
    Ok(params)
}

/// Whole or not at all, and on disk when this returns.
fn write_durably(path: &Path, bytes: &[u8], mode: u32) -> Result<(), IssueError> {
    let write = || -> io::Result<()> {
        let temporary = path.with_extension("new");
        let _ = fs::remove_file(&temporary);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|cause| IssueError::Write { path: path.into(), cause })
}

/// Who a certificate says its holder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerName {
    pub fleet: FleetId,
    pub role: Role,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    #[error("the certificate cannot be read")]
    Unreadable,
    #[error("the certificate names {0} peers, exactly one is wanted")]
    Uris(usize),
    #[error("`{0}` names no peer of a fleet")]
    Uri(String),
    #[error("the certificate of an authority is not a peer's")]
    Authority,
    #[error("the certificate is not for exactly one use, that of its role")]
    Usage,
}

impl PeerName {
    /// Reads name, role and fleet from a leaf whose chain was verified before.
    /// Its one extended key usage must be that of its role.
    pub fn from_certificate(der: &[u8]) -> Result<Self, PeerError> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| PeerError::Unreadable)?;
        if !rest.is_empty() {
            return Err(PeerError::Unreadable);
        }
        if certificate.is_ca() {
            return Err(PeerError::Authority);
        }
        let uri = only_uri(&certificate)?;
        let peer = Self::parse(&uri).ok_or(PeerError::Uri(uri))?;
        match has_only_usage_of(&certificate, peer.role) {
            true => Ok(peer),
            false => Err(PeerError::Usage),
        }
    }

    fn parse(uri: &str) -> Option<Self> {
        let mut parts = uri.strip_prefix("sternway://")?.splitn(3, '/');
        let fleet = parts.next()?.parse().ok()?;
        let role = Role::parse(parts.next()?)?;
        let name: sternway_core::ids::HostName = parts.next()?.parse().ok()?;
        Some(Self { fleet, role, name: name.to_string() })
    }
}

fn only_uri(certificate: &X509Certificate<'_>) -> Result<String, PeerError> {
    let names = certificate.subject_alternative_name().map_err(|_| PeerError::Unreadable)?;
    let uris: Vec<&str> = names
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect();
    match uris[..] {
        [uri] => Ok(uri.to_owned()),
        _ => Err(PeerError::Uris(uris.len())),
    }
}

fn has_only_usage_of(certificate: &X509Certificate<'_>, role: Role) -> bool {
    let usages = certificate.extensions().iter().filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::ExtendedKeyUsage(usage) => Some(usage),
        _ => None,
    });
    let mut found = 0;
    for usage in usages {
        found += 1;
        let others = usage.any
            || usage.code_signing
            || usage.email_protection
            || usage.time_stamping
            || usage.ocsp_signing
            || !usage.other.is_empty();
        let fits = match role {
            Role::Coordinator => usage.server_auth && !usage.client_auth,
            Role::Agent | Role::Operator => usage.client_auth && !usage.server_auth,
        };
        if others || !fits {
            return false;
        }
    }
    found == 1
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const FLEET: FleetId = FleetId([7; 16]);

    #[test]
    fn a_leaf_says_who_it_is_and_its_key_is_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        create_authorities(dir.path(), FLEET).unwrap();
        for role in Role::ALL {
            let issued = issue(dir.path(), role, "web-1", &dir.path().join(role.name())).unwrap();
            let der = CertificateDer::from_pem_file(&issued.certificate).unwrap();
            let wanted = PeerName { fleet: FLEET, role, name: "web-1".into() };
            assert_eq!(PeerName::from_certificate(&der), Ok(wanted));
            let mode = fs::metadata(&issued.key).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn an_authority_is_nobodys_peer_and_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        create_authorities(dir.path(), FLEET).unwrap();
        assert!(matches!(create_authorities(dir.path(), FLEET), Err(IssueError::Exists(_))));
        let der = CertificateDer::from_pem_file(authority_certificate(dir.path(), Role::Agent)).unwrap();
        assert_eq!(PeerName::from_certificate(&der), Err(PeerError::Authority));
    }

    #[test]
    fn names_that_could_be_read_otherwise_get_no_certificate() {
        let dir = tempfile::tempdir().unwrap();
        create_authorities(dir.path(), FLEET).unwrap();
        for name in ["", "../x", "a/operator/ada", "Web"] {
            assert!(
                matches!(issue(dir.path(), Role::Agent, name, dir.path()), Err(IssueError::Name { .. })),
                "{name}"
            );
        }
    }

    fn made(change: impl FnOnce(&mut CertificateParams)) -> Result<PeerName, PeerError> {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut params = leaf_params(Role::Agent, FLEET, "web-1").unwrap();
        change(&mut params);
        PeerName::from_certificate(params.self_signed(&key).unwrap().der())
    }

    #[test]
    fn a_leaf_with_no_use_two_uses_or_another_roles_use_is_refused() {
        use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        assert!(made(|_| {}).is_ok());
        for usages in
            [vec![], vec![ServerAuth], vec![ClientAuth, ServerAuth], vec![ExtendedKeyUsagePurpose::Any]]
        {
            assert_eq!(
                made(|params| params.extended_key_usages = usages.clone()),
                Err(PeerError::Usage),
                "{usages:?}"
            );
        }
    }

    #[test]
    fn a_leaf_with_two_names_or_none_is_refused() {
        let uri = |text: &str| SanType::URI(text.try_into().unwrap());
        let other = format!("sternway://{FLEET}/operator/ada");
        assert_eq!(made(|params| params.subject_alt_names.push(uri(&other))), Err(PeerError::Uris(2)));
        assert_eq!(made(|params| params.subject_alt_names.clear()), Err(PeerError::Uris(0)));
        let odd = format!("sternway://{FLEET}/agent/web-1/x");
        assert_eq!(
            made(|params| params.subject_alt_names = vec![uri(&odd)]),
            Err(PeerError::Uri(odd.clone()))
        );
    }

    #[test]
    fn no_bytes_make_the_reader_panic() {
        for length in 0..64usize {
            let bytes: Vec<u8> = (0..length).map(|at| (at * 37) as u8).collect();
            assert_eq!(PeerName::from_certificate(&bytes), Err(PeerError::Unreadable));
        }
    }
}
