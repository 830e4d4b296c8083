//! TLS 1.3 by hand: our certificate, one authority for coordinators, no
//! resumption, no early data.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sternway_core::wire::AGENT_ALPN;

use crate::config::Identity;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("could not read `{}`: {cause}", path.display())]
    Pem { path: PathBuf, cause: rustls::pki_types::pem::Error },
    #[error("the certificate, its key and the authority do not make a connection")]
    Rustls(#[from] rustls::Error),
    #[error("the TLS settings do not fit QUIC")]
    Quic(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|cause| TlsError::Pem { path: path.to_path_buf(), cause })
}

pub(super) fn client_config(identity: &Identity) -> Result<quinn::ClientConfig, TlsError> {
    let key = PrivateKeyDer::from_pem_file(&identity.key)
        .map_err(|cause| TlsError::Pem { path: identity.key.clone(), cause })?;
    let mut authorities = rustls::RootCertStore::empty();
    for authority in certificates(&identity.server_authority)? {
        authorities.add(authority)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(authorities)
        .with_client_auth_cert(certificates(&identity.certificate)?, key)?;
    tls.alpn_protocols = vec![AGENT_ALPN.to_vec()];
    // Every connection proves itself anew, so that a revoked one cannot come back.
    tls.resumption = rustls::client::Resumption::disabled();
    tls.enable_early_data = false;
    let mut client = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    client.transport_config(Arc::new(transport()));
    Ok(client)
}

/// Measured reasons stand in `docs/wire-protocol.md`.
fn transport() -> quinn::TransportConfig {
    let mut transport = quinn::TransportConfig::default();
    transport
        // Questions about rollback points, one on a stream.
        .max_concurrent_bidi_streams(8_u8.into())
        .max_concurrent_uni_streams(4_u8.into())
        .stream_receive_window((256_u32 * 1024).into())
        .receive_window((1024_u32 * 1024).into())
        .send_window(1024 * 1024)
        .datagram_receive_buffer_size(None)
        // The agent is behind the NAT and must notice a death, so it keeps the link alive.
        .keep_alive_interval(Some(Duration::from_secs(3)))
        .max_idle_timeout(Some(quinn::VarInt::from_u32(15_000).into()));
    transport
}
