//! The operator's end of the link: one connection, one stream per request.
//!
//! Nothing the coordinator sends is believed beyond what a person may read;
//! what hosts do rests on signatures, not on this link.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use sternway_core::exit;
use sternway_core::wire::{
    Answer, Decoder, FrameError, OPERATOR_ALPN, OPERATOR_FRAME_BYTES_MAX, Request, encode_frame,
};

use super::failure::Failure;
use super::identity::Identity;

/// The name in the coordinator's certificate, whatever its address.
pub const SERVER_NAME: &str = "sternway-coordinator";
/// A coordinator that takes longer cannot be reached.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// An answer that takes longer is not worth waiting for; a watch may be silent for hours.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const IDLE_AFTER: Duration = Duration::from_secs(20);
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const READ_BYTES: usize = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("`{address}` is not an address with a port")]
    Address {
        address: String,
        #[source]
        cause: std::io::Error,
    },
    #[error("`{address}` means no address")]
    NoAddress { address: String },
    #[error("the certificate or key cannot be used")]
    Credentials(#[source] rustls::Error),
    #[error("no socket for {address}")]
    Socket {
        address: String,
        #[source]
        cause: std::io::Error,
    },
    #[error("nobody answered at {address} within {} s", CONNECT_WITHIN.as_secs())]
    Silence { address: String },
    #[error("{address} is not the coordinator that this identity trusts")]
    Stranger {
        address: String,
        #[source]
        cause: quinn::ConnectionError,
    },
    #[error("the connection to {address} failed")]
    Failed {
        address: String,
        #[source]
        cause: quinn::ConnectionError,
    },
}

impl ConnectError {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Credentials(_) => exit::INVALID,
            Self::Stranger { .. } => exit::REFUSED,
            _ => exit::UNREACHABLE,
        }
    }

    pub fn hint(&self) -> String {
        match self {
            Self::Credentials(_) => "have the identity issued again: sternway keys issue --help".into(),
            Self::Stranger { .. } => {
                "compare server-ca.pem in the identity directory with the coordinator's own".into()
            }
            Self::Address { .. } | Self::NoAddress { .. } => "name it with --at ADDRESS:PORT".into(),
            _ => "is `sternway serve` running there? the address is named by --at, STERNWAY_COORDINATOR \
                  or the file `coordinator` in the identity directory"
                .into(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("the coordinator does not accept this certificate")]
    NotAccepted(#[source] quinn::ConnectionError),
    #[error("the connection was lost")]
    Lost(#[source] quinn::ConnectionError),
    #[error("the stream was cut: {0}")]
    Cut(String),
    #[error("no answer within {} s", ANSWER_WITHIN.as_secs())]
    Silence,
    #[error("the answer cannot be read")]
    Frame(#[from] FrameError),
    #[error("the answer ended before its end")]
    Ended,
    #[error("the coordinator answered something else than what was asked")]
    Unexpected,
}

impl AskError {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotAccepted(_) => exit::NOT_PERMITTED,
            Self::Lost(_) | Self::Cut(_) | Self::Silence | Self::Ended => exit::UNREACHABLE,
            Self::Frame(_) | Self::Unexpected => exit::BUG,
        }
    }

    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotAccepted(_) => Some("it may be expired, revoked or of another fleet".into()),
            Self::Frame(_) | Self::Unexpected => {
                Some("do both ends have the same version? compare `sternway --version`".into())
            }
            _ => None,
        }
    }

    /// Whether asking again on a new connection may help.
    pub fn is_passing(&self) -> bool {
        self.exit_code() == exit::UNREACHABLE
    }

    fn of(cause: quinn::ConnectionError) -> Self {
        // A TLS alert (0x100 to 0x1ff) comes after the handshake seemed done: that is
        // how a server refuses a client's certificate in TLS 1.3.
        let is_alert = |code: u64| (0x100..0x200).contains(&code);
        match &cause {
            quinn::ConnectionError::ConnectionClosed(close) if is_alert(u64::from(close.error_code)) => {
                Self::NotAccepted(cause)
            }
            _ => Self::Lost(cause),
        }
    }
}

#[derive(Debug)]
pub struct Client {
    endpoint: quinn::Endpoint,
    connection: quinn::Connection,
}

impl Client {
    /// Connects within [`CONNECT_WITHIN`].
    pub async fn connect(identity: &Identity) -> Result<Self, ConnectError> {
        let config = client_config(identity)?;
        let named = || identity.address.clone();
        let candidates: Vec<SocketAddr> = tokio::net::lookup_host(&identity.address)
            .await
            .map_err(|cause| ConnectError::Address { address: named(), cause })?
            .collect();
        let mut last = ConnectError::NoAddress { address: named() };
        for address in candidates {
            match connect_to(address, named(), &config).await {
                Ok(client) => return Ok(client),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Puts one request; its answers come until the coordinator ends the stream.
    pub async fn ask(&self, request: &Request) -> Result<Answers, AskError> {
        let frame = encode_frame(request, OPERATOR_FRAME_BYTES_MAX)?;
        let (mut send, receive) = self.connection.open_bi().await.map_err(AskError::of)?;
        send.write_all(&frame).await.map_err(|cause| cut_or_lost(cause, &self.connection))?;
        send.finish().map_err(|cause| AskError::Cut(cause.to_string()))?;
        Ok(Answers {
            receive,
            connection: self.connection.clone(),
            decoder: Decoder::new(OPERATOR_FRAME_BYTES_MAX),
        })
    }

    /// Puts a request that has one answer.
    pub async fn ask_one(&self, request: &Request) -> Result<Answer, Failure> {
        let one = async { self.ask(request).await?.next().await?.ok_or(Failure::Ask(AskError::Ended)) };
        tokio::time::timeout(ANSWER_WITHIN, one).await.unwrap_or(Err(Failure::Ask(AskError::Silence)))
    }

    /// Says goodbye, so that the other end need not wait for silence.
    pub async fn close(self) {
        self.connection.close(0u32.into(), b"done");
        let goodbye = self.endpoint.wait_idle();
        // A coordinator that is gone does not answer a goodbye.
        _ = tokio::time::timeout(Duration::from_millis(200), goodbye).await;
    }
}

/// The answers to one request, in order.
#[derive(Debug)]
pub struct Answers {
    receive: quinn::RecvStream,
    connection: quinn::Connection,
    decoder: Decoder,
}

impl Answers {
    /// The next answer; none when the stream has ended. A refusal is a failure.
    pub async fn next(&mut self) -> Result<Option<Answer>, Failure> {
        loop {
            match self.decoder.next_frame().map_err(AskError::from)? {
                Some(Answer::Error(error)) => return Err(Failure::Coordinator(error)),
                Some(answer) => return Ok(Some(answer)),
                None => {}
            }
            let chunk = self.receive.read_chunk(READ_BYTES, true).await;
            match chunk.map_err(|cause| cut_or_lost(cause, &self.connection))? {
                Some(chunk) => self.decoder.push(&chunk.bytes),
                None => return Ok(None),
            }
        }
    }
}

/// Names the connection's end when that is what cut the stream.
fn cut_or_lost(cause: impl std::error::Error, connection: &quinn::Connection) -> AskError {
    match connection.close_reason() {
        Some(reason) => AskError::of(reason),
        None => AskError::Cut(cause.to_string()),
    }
}

async fn connect_to(
    address: SocketAddr,
    named: String,
    config: &quinn::ClientConfig,
) -> Result<Client, ConnectError> {
    let here: SocketAddr = match address {
        SocketAddr::V4(_) => (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let endpoint = quinn::Endpoint::client(here)
        .map_err(|cause| ConnectError::Socket { address: named.clone(), cause })?;
    let connecting = endpoint
        .connect_with(config.clone(), address, SERVER_NAME)
        .map_err(|_| ConnectError::NoAddress { address: named.clone() })?;
    match tokio::time::timeout(CONNECT_WITHIN, connecting).await {
        Ok(Ok(connection)) => Ok(Client { endpoint, connection }),
        Ok(Err(cause)) => Err(refine(named, cause)),
        Err(_) => Err(ConnectError::Silence { address: named }),
    }
}

fn refine(address: String, cause: quinn::ConnectionError) -> ConnectError {
    match &cause {
        quinn::ConnectionError::TimedOut => ConnectError::Silence { address },
        // Our own verifier refused the certificate.
        quinn::ConnectionError::TransportError(error) if (0x100..0x200).contains(&u64::from(error.code)) => {
            ConnectError::Stranger { address, cause }
        }
        _ => ConnectError::Failed { address, cause },
    }
}

/// TLS 1.3 alone, one CA, one protocol, no resumption: each connection shows its certificate anew.
fn client_config(identity: &Identity) -> Result<quinn::ClientConfig, ConnectError> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in &identity.server_ca {
        roots.add(certificate.clone()).map_err(ConnectError::Credentials)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(ConnectError::Credentials)?
        .with_root_certificates(roots)
        .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
        .map_err(ConnectError::Credentials)?;
    tls.alpn_protocols = vec![OPERATOR_ALPN.to_vec()];
    tls.resumption = rustls::client::Resumption::disabled();
    tls.enable_early_data = false;
    let tls = QuicClientConfig::try_from(tls)
        .map_err(|_| ConnectError::Credentials(rustls::Error::General("no initial cipher suite".into())))?;
    let mut transport = quinn::TransportConfig::default();
    let idle = quinn::IdleTimeout::try_from(IDLE_AFTER).expect("20 s fit an idle timeout");
    transport.max_idle_timeout(Some(idle)).keep_alive_interval(Some(KEEP_ALIVE));
    transport.max_concurrent_bidi_streams(0u32.into()).max_concurrent_uni_streams(0u32.into());
    transport.datagram_receive_buffer_size(None);
    let mut config = quinn::ClientConfig::new(Arc::new(tls));
    config.transport_config(Arc::new(transport));
    Ok(config)
}
