//! The door: QUIC and TLS settings, the handshake, and who may come in as what.
//!
//! Both roles knock at one socket. The handshake accepts either client
//! authority; after it the chain is verified again against the one authority of
//! the role that was asked for, so that an agent's authority can never make an
//! operator. Nothing is sent to a peer before its first message.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{HandshakeData, QuicServerConfig};
use quinn::{
    AsyncUdpSocket, Connection, Endpoint, EndpointConfig, IdleTimeout, Incoming, MtuDiscoveryConfig,
    Runtime as _, TransportConfig, VarInt,
};
use quinn_proto::HashedConnectionIdGenerator;
use ring::hmac;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use sternway_core::ids::{FleetId, HostName, Person};
use sternway_core::wire::{AGENT_ALPN, OPERATOR_ALPN};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::config::Config;
use super::database::LinkKeys;
use super::session::{CLOSED_NOT_ADMITTED, Sessions};
use super::{operator_api, session};
use crate::pki::{PeerError, PeerName, Role};

/// Handshakes under way; what a started one costs is lost when it times out,
/// one that waits costs a buffered packet.
const HANDSHAKES_MAX: usize = 64;
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error("could not read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        cause: rustls::pki_types::pem::Error,
    },
    #[error("the certificate, its key or an authority cannot be used")]
    Tls(#[source] rustls::Error),
    #[error("the authority `{}` cannot be used", path.display())]
    Authority {
        path: PathBuf,
        #[source]
        cause: rustls::server::VerifierBuilderError,
    },
    #[error("the TLS settings are not good enough for QUIC")]
    Quic(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    #[error("could not listen at {address}")]
    Bind {
        address: SocketAddr,
        #[source]
        cause: io::Error,
    },
}

/// Why a peer was not let in.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    #[error("no role was asked for that this coordinator knows")]
    Protocol,
    #[error("no certificate")]
    NoCertificate,
    #[error("the certificate is not of the authority for {}s", role.name())]
    OtherAuthority {
        role: Role,
        #[source]
        cause: rustls::Error,
    },
    #[error("the certificate does not name a peer")]
    Peer(#[from] PeerError),
    #[error("the certificate is for {}s, asked for was {}", .found.name(), .asked.name())]
    OtherRole { found: Role, asked: Role },
    #[error("the certificate is of fleet {found}", found = .0.short())]
    OtherFleet(FleetId),
    #[error("`{0}` is not in the inventory")]
    UnknownHost(String),
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, EndpointError> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|cause| EndpointError::Read { path: path.into(), cause })
}

fn verifier(paths: &[&Path]) -> Result<Arc<dyn ClientCertVerifier>, EndpointError> {
    let mut roots = RootCertStore::empty();
    for path in paths {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(EndpointError::Tls)?;
        }
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|cause| EndpointError::Authority { path: paths.iter().copied().collect(), cause })
}

/// TLS 1.3 only, both sides authenticated, and nothing that outlives a
/// connection: each one shows its certificate anew.
fn tls(config: &Config) -> Result<rustls::ServerConfig, EndpointError> {
    let both = verifier(&[&config.agent_authority, &config.operator_authority])?;
    let key = PrivateKeyDer::from_pem_file(&config.key)
        .map_err(|cause| EndpointError::Read { path: config.key.clone(), cause })?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(EndpointError::Tls)?
        .with_client_cert_verifier(both)
        .with_single_cert(certificates(&config.certificate)?, key)
        .map_err(EndpointError::Tls)?;
    tls.alpn_protocols = vec![AGENT_ALPN.to_vec(), OPERATOR_ALPN.to_vec()];
    tls.max_early_data_size = 0;
    tls.send_tls13_tickets = 0;
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(tls)
}

/// Numbers measured for thousands of agents on one socket (docs: transport).
fn transport(config: &Config) -> TransportConfig {
    let mut transport = TransportConfig::default();
    // The control stream, two plugins, and one to spare; each slot costs memory per connection.
    // Operators ask on a stream per request, at most this many at a time.
    transport.max_concurrent_bidi_streams(VarInt::from_u32(4));
    // Peers open none: plans go down.
    transport.max_concurrent_uni_streams(VarInt::from_u32(0));
    // What one bad peer can park in our memory. A signed plan comes up in 16 such windows.
    transport.stream_receive_window(VarInt::from_u32(64 * 1024));
    transport.receive_window(VarInt::from_u32(256 * 1024));
    // What one peer that stopped reading can park.
    transport.send_window(128 * 1024);
    // Evidence must be reliable.
    transport.datagram_receive_buffer_size(None);
    transport.datagram_send_buffer_size(0);
    // Its buffer is 14 KB per connection after the first plan.
    transport.enable_segmentation_offload(false);
    // Agents keep the connection alive: with thousands of them the coordinator must not.
    transport.max_idle_timeout(IdleTimeout::try_from(config.idle_timeout).ok());
    // Paths of unknown make: start small, look for more, seldom.
    transport.initial_mtu(1200);
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(1452).interval(Duration::from_secs(600));
    transport.mtu_discovery_config(Some(discovery));
    transport
}

/// The keys are the same after a restart: an agent's next packet is answered
/// with a reset it believes, and it is back within a second.
fn endpoint_config(keys: LinkKeys) -> EndpointConfig {
    let mut endpoint = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &keys.reset)));
    endpoint.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(keys.connection_id)));
    // The default of 20 ms would tell 50 agents a second.
    endpoint.min_reset_interval(Duration::ZERO);
    endpoint
}

fn socket(config: &Config) -> io::Result<std::net::UdpSocket> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(config.listen), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(config.receive_buffer_bytes)?;
    socket.bind(&config.listen.into())?;
    // Linux says twice what it grants, and grants no more than net.core.rmem_max.
    let granted = socket.recv_buffer_size()? / 2;
    if granted < config.receive_buffer_bytes {
        tracing::warn!(
            wanted = config.receive_buffer_bytes,
            granted,
            "the socket's receive buffer is small: bursts of many agents lose packets; raise net.core.rmem_max"
        );
    } else {
        tracing::info!(granted, "the socket's receive buffer");
    }
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Opens the system's socket; must be called inside a tokio runtime.
pub fn bind(config: &Config, keys: LinkKeys) -> Result<Endpoint, EndpointError> {
    let bind_error = |cause| EndpointError::Bind { address: config.listen, cause };
    let socket = socket(config).map_err(bind_error)?;
    let socket = quinn::TokioRuntime.wrap_udp_socket(socket).map_err(bind_error)?;
    bind_to(config, keys, socket)
}

/// The endpoint on a socket of whatever network; must be called inside a tokio runtime.
pub fn bind_to(
    config: &Config,
    keys: LinkKeys,
    socket: Arc<dyn AsyncUdpSocket>,
) -> Result<Endpoint, EndpointError> {
    let crypto = QuicServerConfig::try_from(tls(config)?)?;
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    server.transport_config(Arc::new(transport(config)));
    // A waiting Initial costs one packet; these buffers exist for early data, which is off.
    server.max_incoming(1 << 16).incoming_buffer_size(16 * 1024).incoming_buffer_size_total(64 * 1024 * 1024);
    let runtime = Arc::new(quinn::TokioRuntime);
    Endpoint::new_with_abstract_socket(endpoint_config(keys), Some(server), socket, runtime)
        .map_err(|cause| EndpointError::Bind { address: config.listen, cause })
}

/// Whom to let in as what.
#[derive(Debug)]
pub struct Door {
    agents: Arc<dyn ClientCertVerifier>,
    operators: Arc<dyn ClientCertVerifier>,
    config: Config,
}

enum Admitted {
    Agent(HostName),
    Operator(Person),
}

impl Door {
    pub fn new(config: Config) -> Result<Self, EndpointError> {
        Ok(Self {
            agents: verifier(&[&config.agent_authority])?,
            operators: verifier(&[&config.operator_authority])?,
            config,
        })
    }

    fn admit(&self, connection: &Connection) -> Result<Admitted, NotAdmitted> {
        let handshake = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
        let (asked, verifier) = match handshake.and_then(|data| data.protocol).as_deref() {
            Some(AGENT_ALPN) => (Role::Agent, &self.agents),
            Some(OPERATOR_ALPN) => (Role::Operator, &self.operators),
            _ => return Err(NotAdmitted::Protocol),
        };
        let chain = connection
            .peer_identity()
            .and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
        let chain = chain.ok_or(NotAdmitted::NoCertificate)?;
        let (leaf, between) = chain.split_first().ok_or(NotAdmitted::NoCertificate)?;
        verifier
            .verify_client_cert(leaf, between, UnixTime::now())
            .map_err(|cause| NotAdmitted::OtherAuthority { role: asked, cause })?;
        let peer = PeerName::from_certificate(leaf)?;
        if peer.role != asked {
            return Err(NotAdmitted::OtherRole { found: peer.role, asked });
        }
        if peer.fleet != self.config.keyring.fleet() {
            return Err(NotAdmitted::OtherFleet(peer.fleet));
        }
        match asked {
            Role::Agent => match self.config.inventory.find(&peer.name) {
                Some(host) => Ok(Admitted::Agent(host.name.clone())),
                None => Err(NotAdmitted::UnknownHost(peer.name)),
            },
            Role::Operator => match peer.name.parse() {
                Ok(person) => Ok(Admitted::Operator(person)),
                Err(_) => Err(NotAdmitted::Peer(PeerError::Uri(peer.name))),
            },
            Role::Coordinator => Err(NotAdmitted::OtherRole { found: peer.role, asked }),
        }
    }
}

/// Takes connections until the endpoint is closed.
pub async fn accept(endpoint: Endpoint, door: Arc<Door>, sessions: Arc<Sessions>) {
    let room = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        // Room first: what is not accepted waits in the queue and costs nothing yet.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let Some(incoming) = endpoint.accept().await else { return };
        let (door, sessions) = (Arc::clone(&door), Arc::clone(&sessions));
        tokio::spawn(async move {
            let from = incoming.remote_address();
            let connection = handshake(incoming).await;
            drop(permit);
            match connection {
                Ok(connection) => serve(connection, &door, sessions).await,
                Err(reason) => tracing::debug!(%from, reason, "a handshake failed"),
            }
        });
    }
}

async fn handshake(incoming: Incoming) -> Result<Connection, String> {
    let connecting = incoming.accept().map_err(|cause| cause.to_string())?;
    match timeout(HANDSHAKE_WITHIN, connecting).await {
        Ok(connection) => connection.map_err(|cause| cause.to_string()),
        Err(_) => Err("it took too long".into()),
    }
}

async fn serve(connection: Connection, door: &Door, sessions: Arc<Sessions>) {
    match door.admit(&connection) {
        Ok(Admitted::Agent(host)) => session::serve(connection, host, sessions).await,
        Ok(Admitted::Operator(person)) => {
            operator_api::serve(connection, person, sessions).await;
        }
        Err(cause) => {
            let from = connection.remote_address();
            tracing::warn!(%from, error = &cause as &dyn std::error::Error, "a peer was not let in");
            connection.close(CLOSED_NOT_ADMITTED.into(), cause.to_string().as_bytes());
        }
    }
}
