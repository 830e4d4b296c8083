//! A coordinator in a folder of its own, and clients for both links.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sternway_coordinator::daemon::Daemon;
use sternway_coordinator::daemon::config::Config;
use sternway_coordinator::pki::{self, Issued, Role, authority_certificate};
use sternway_core::ids::{FleetId, Group, HostName, JournalId, Nonce, PlanId, RolloutId};
use sternway_core::plan::{Approval, CutOff, FORMAT, Gate, Pace, Plan, Severity, Wave};
use sternway_core::run::{Ending, Input, Phase, Told};
use sternway_core::time::{Millis, Timestamp};
use sternway_core::trust::{KeyringFile, KeyringKey, Order, Sealed, SigningKey, Verb};
use sternway_core::wire::{
    AGENT_ALPN, Answer, Decoder, Event, FRAME_BYTES_MAX, FromAgent, Greeting, OPERATOR_ALPN,
    OPERATOR_FRAME_BYTES_MAX, PROTOCOL, Request, ToAgent, encode_frame,
};
use tempfile::TempDir;
use tokio::time::timeout;

pub(crate) const FLEET: FleetId = FleetId([9; 16]);
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

pub(crate) fn now() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64)
}

fn ada() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

fn group(name: &str) -> Group {
    name.parse().unwrap()
}

/// A folder with everything a coordinator needs, and the coordinator while it runs.
pub(crate) struct Site {
    pub(crate) dir: TempDir,
    pub(crate) daemon: Option<Daemon>,
    pub(crate) address: SocketAddr,
}

impl Site {
    pub(crate) fn start(hosts: &[&str]) -> Self {
        let mut site = Self::founded(hosts, 0);
        site.resume();
        site
    }

    /// Keys, certificates and a configuration; nothing runs. Port 0 is any.
    pub(crate) fn founded(hosts: &[&str], port: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        pki::create_authorities(&dir.path().join("pki"), FLEET).unwrap();
        pki::issue(&dir.path().join("pki"), Role::Coordinator, "c-1", &dir.path().join("own")).unwrap();
        let keys = vec![
            KeyringKey {
                person: "ada".parse().unwrap(),
                groups: vec![group("owners")],
                public: ada().public(),
                until: None,
            },
            KeyringKey {
                person: "bob".parse().unwrap(),
                groups: vec![],
                public: SigningKey::from_seed(&[2; 32]).public(),
                until: None,
            },
        ];
        let keyring = KeyringFile { fleet: FLEET, signatures: 1, emergency: None, keys };
        std::fs::write(dir.path().join("keyring.toml"), toml::to_string(&keyring).unwrap()).unwrap();
        let mut fleet = String::from("name = 'test'\n");
        hosts.iter().for_each(|name| fleet.push_str(&format!("[[host]]\nname = '{name}'\n")));
        std::fs::write(dir.path().join("fleet.toml"), fleet).unwrap();
        let site = Self { dir, daemon: None, address: (Ipv4Addr::LOCALHOST, port).into() };
        site.configure("coordinator.toml", port);
        site
    }

    /// Writes a configuration that listens at this port.
    pub(crate) fn configure(&self, name: &str, port: u16) -> PathBuf {
        let path = self.dir.path().join(name);
        let config = format!(
            "listen = '127.0.0.1:{port}'\ndata = 'data'\nkeyring = 'keyring.toml'\ninventory = 'fleet.toml'\n\
             certificate = 'own/c-1.pem'\nkey = 'own/c-1.key'\n\
             agent_authority = 'pki/agent-ca.pem'\noperator_authority = 'pki/operator-ca.pem'\n",
        );
        std::fs::write(&path, config).unwrap();
        path
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn config(&self) -> Config {
        Config::load(&self.dir.path().join("coordinator.toml")).unwrap()
    }

    pub(crate) fn resume(&mut self) {
        let daemon = Daemon::start(self.config()).unwrap();
        self.address = daemon.address();
        self.daemon = Some(daemon);
    }

    pub(crate) async fn stop(&mut self) {
        let daemon = self.daemon.take().unwrap();
        tokio::task::spawn_blocking(move || daemon.stop()).await.unwrap().unwrap();
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.dir.path().join("pki")
    }

    pub(crate) fn issue(&self, role: Role, name: &str) -> Issued {
        pki::issue(&self.pki(), role, name, &self.dir.path().join("issued").join(role.name())).unwrap()
    }

    pub(crate) async fn agent(&self, name: &str) -> Agent {
        Agent::connect(self, name, JournalId([1; 16]), 0).await.unwrap()
    }

    pub(crate) async fn operator(&self, name: &str) -> Operator {
        let issued = self.issue(Role::Operator, name);
        let connection = connect(self, Some(&issued), OPERATOR_ALPN).await.unwrap();
        Operator { connection }
    }
}

impl Drop for Site {
    /// A test that failed leaves its coordinator to a thread that may block.
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            std::thread::spawn(move || drop(daemon.stop()));
        }
    }
}

pub(crate) async fn connect(
    site: &Site,
    identity: Option<&Issued>,
    alpn: &[u8],
) -> Result<Connection, String> {
    let files = identity.map(|issued| (issued.certificate.as_path(), issued.key.as_path()));
    let identity = files.map(|(certificate, key)| {
        (CertificateDer::from_pem_file(certificate).unwrap(), PrivateKeyDer::from_pem_file(key).unwrap())
    });
    connect_as(site, identity, alpn).await
}

pub(crate) async fn connect_as(
    site: &Site,
    identity: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
    alpn: &[u8],
) -> Result<Connection, String> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(authority_certificate(&site.pki(), Role::Coordinator)).unwrap())
        .unwrap();
    let builder =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
    let mut tls = match identity {
        Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![alpn.to_vec()];
    let mut client = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    // As an agent has it: whoever says nothing hears of no reset.
    let mut transport = quinn::TransportConfig::default();
    transport.keep_alive_interval(Some(Duration::from_secs(3)));
    client.transport_config(Arc::new(transport));
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let connecting = endpoint.connect_with(client, site.address, pki::SERVER_NAME).unwrap();
    timeout(PATIENCE, connecting).await.expect("an answer").map_err(|cause| cause.to_string())
}

/// Reads messages off a stream.
pub(crate) struct Incoming {
    receive: RecvStream,
    decoder: Decoder,
}

impl Incoming {
    pub(crate) fn new(receive: RecvStream, max: usize) -> Self {
        Self { receive, decoder: Decoder::new(max) }
    }

    /// None at the end of the stream, an error when it was cut.
    pub(crate) async fn next<T: serde::de::DeserializeOwned>(&mut self) -> Result<Option<T>, String> {
        loop {
            if let Some(message) = self.decoder.next_frame().map_err(|cause| cause.to_string())? {
                return Ok(Some(message));
            }
            let read =
                timeout(PATIENCE, self.receive.read_chunk(64 * 1024, true)).await.expect("an answer in time");
            match read.map_err(|cause| {
                format!("{cause}: {:?}", std::error::Error::source(&cause).map(|c| c.to_string()))
            })? {
                Some(chunk) => self.decoder.push(&chunk.bytes),
                None => return Ok(None),
            }
        }
    }
}

/// Speaks an agent's part, record by record.
pub(crate) struct Agent {
    pub(crate) connection: Connection,
    pub(crate) send: SendStream,
    pub(crate) incoming: Incoming,
    pub(crate) epoch: u64,
    /// Number of its newest record.
    pub(crate) last: u64,
    /// Newest acknowledgement heard.
    pub(crate) acked: u64,
}

impl Agent {
    pub(crate) async fn connect(
        site: &Site,
        name: &str,
        journal: JournalId,
        last: u64,
    ) -> Result<Self, String> {
        let issued = site.issue(Role::Agent, name);
        let greeting = Greeting {
            protocol: PROTOCOL,
            version: "test".into(),
            fleet: FLEET,
            host: host(name),
            journal,
            last,
            epoch: 0,
            acked: 0,
            times: vec![],
            plan: None,
            rollout: None,
        };
        Self::greet(site, &issued, greeting).await
    }

    pub(crate) async fn greet(site: &Site, issued: &Issued, greeting: Greeting) -> Result<Self, String> {
        let connection = connect(site, Some(issued), AGENT_ALPN).await?;
        let (mut send, receive) = connection.open_bi().await.map_err(|cause| cause.to_string())?;
        let last = greeting.last;
        let hello = encode_frame(&FromAgent::Hello(greeting), FRAME_BYTES_MAX).unwrap();
        send.write_all(&hello).await.map_err(|cause| cause.to_string())?;
        let mut incoming = Incoming::new(receive, FRAME_BYTES_MAX);
        match incoming.next().await? {
            Some(ToAgent::Welcome { epoch, acked, .. }) => {
                Ok(Self { connection, send, incoming, epoch, last, acked })
            }
            Some(ToAgent::Unwelcome { reason }) => Err(reason),
            other => Err(format!("{other:?}")),
        }
    }

    pub(crate) async fn say(&mut self, message: &FromAgent) {
        self.send.write_all(&encode_frame(message, FRAME_BYTES_MAX).unwrap()).await.unwrap();
    }

    /// The next records of the journal, told in one frame.
    pub(crate) async fn tell(&mut self, plan: PlanId, inputs: Vec<Input>) {
        let events = inputs.into_iter().map(|input| {
            self.last += 1;
            Event { sequence: self.last, at: now(), told: Told::Run { plan, input } }
        });
        let events = events.collect();
        self.say(&FromAgent::Events(events)).await;
    }

    /// The next message that is no acknowledgement.
    pub(crate) async fn hear(&mut self) -> Result<Option<ToAgent>, String> {
        loop {
            match self.incoming.next().await? {
                Some(ToAgent::Acked { sequence }) => self.acked = self.acked.max(sequence),
                other => return Ok(other),
            }
        }
    }

    pub(crate) async fn hear_acked(&mut self, wanted: u64) {
        while self.acked < wanted {
            match self.incoming.next().await.unwrap() {
                Some(ToAgent::Acked { sequence }) => {
                    assert!(sequence >= self.acked, "acknowledgements go back");
                    self.acked = sequence;
                }
                other => panic!("{other:?} instead of an acknowledgement"),
            }
        }
    }

    /// Whatever else it hears meanwhile.
    pub(crate) async fn hear_at_last_acked(&mut self, wanted: u64) {
        while self.acked < wanted {
            if let Some(ToAgent::Acked { sequence }) = self.incoming.next().await.unwrap() {
                self.acked = self.acked.max(sequence);
            }
        }
    }

    /// The sealed bytes of the plan that comes next.
    pub(crate) async fn plan(&mut self) -> Vec<u8> {
        let mut stream = timeout(PATIENCE, self.connection.accept_uni()).await.expect("a plan").unwrap();
        let bytes = stream.read_to_end(2 * 1024 * 1024).await.unwrap();
        let head = u32::from_be_bytes(*bytes.first_chunk::<4>().unwrap()) as usize;
        bytes[4 + head..].to_vec()
    }

    /// Stages, asks, runs every step and finishes.
    pub(crate) async fn run(&mut self, plan: PlanId, nonce: u64) {
        self.plan().await;
        self.tell(plan, vec![Input::Staged { point: None }, Input::PermitAsked { nonce }]).await;
        match self.hear().await.unwrap() {
            Some(ToAgent::Permit { nonce: answered, epoch, .. }) => {
                assert_eq!((answered, epoch), (nonce, self.epoch));
                self.tell(plan, vec![Input::Permitted { nonce, epoch }]).await;
            }
            other => panic!("{other:?} instead of a permit"),
        }
        self.tell(plan, vec![Input::Began { step: 0, phase: Phase::Look, attempt: 1 }]).await;
        self.tell(plan, vec![Input::Settled { ending: Ending::Finished }]).await;
    }
}

pub(crate) struct Operator {
    pub(crate) connection: Connection,
}

impl Operator {
    pub(crate) async fn open(&self, request: &Request) -> Incoming {
        let (mut send, receive) = self.connection.open_bi().await.unwrap();
        send.write_all(&encode_frame(request, OPERATOR_FRAME_BYTES_MAX).unwrap()).await.unwrap();
        send.finish().unwrap();
        Incoming::new(receive, OPERATOR_FRAME_BYTES_MAX)
    }

    pub(crate) async fn ask(&self, request: &Request) -> Answer {
        self.open(request).await.next().await.unwrap().expect("an answer")
    }

    pub(crate) async fn all(&self, request: &Request) -> Vec<Answer> {
        let mut incoming = self.open(request).await;
        let mut answers = Vec::new();
        while let Some(answer) = incoming.next().await.unwrap() {
            answers.push(answer);
        }
        answers
    }

    pub(crate) async fn launch(&self, sealed: &[u8]) -> RolloutId {
        match self.ask(&Request::Launch { sealed: sealed.to_vec(), without: vec![] }).await {
            Answer::Launched { rollout, .. } => rollout,
            other => panic!("{other:?}"),
        }
    }

    /// The exit code and words of a refusal.
    pub(crate) async fn refused(&self, request: &Request) -> (u8, String) {
        match self.ask(request).await {
            Answer::Error(error) => (error.exit, error.message),
            other => panic!("{other:?} instead of a refusal"),
        }
    }
}

pub(crate) fn plan(waves: &[&[&str]]) -> Plan {
    let mut hosts: Vec<HostName> = waves.iter().flat_map(|wave| wave.iter().map(|name| host(name))).collect();
    hosts.sort();
    Plan {
        format: FORMAT,
        fleet: FLEET,
        nonce: Nonce(std::array::from_fn(|at| (now().0 >> at) as u8 ^ hosts.len() as u8)),
        name: "back".parse().unwrap(),
        reason: "a test".into(),
        severity: Severity::Low,
        urgency: Default::default(),
        service: "shop".into(),
        from: "1.3".into(),
        to: "1.1".into(),
        author: "ada".parse().unwrap(),
        issued: now(),
        expires: now() + Millis::hours(1),
        budget: None,
        hosts,
        approval: Approval { signatures: 1, from: vec![], author: true },
        point: None,
        steps: vec![],
        pace: Pace {
            at_once: 2,
            cut_off: CutOff::FinishHost,
            failed: 1,
            silent: 0,
            stage_within: Millis::minutes(5),
            silent_after: Millis::minutes(5),
        },
        waves: waves
            .iter()
            .map(|wave| Wave {
                name: None,
                hosts: wave.iter().map(|name| host(name)).collect(),
                soak: Millis::ZERO,
                gate: Gate { name: "all".into(), failed: 0, silent: 0 },
                approve: None,
            })
            .collect(),
        plugins: vec![],
        text: String::new(),
    }
}

pub(crate) fn seal(plan: &Plan) -> (Vec<u8>, PlanId) {
    let mut sealed = Sealed::new(plan).unwrap();
    sealed.sign(&ada()).unwrap();
    (sealed.to_bytes(), sealed.id())
}

/// An order in `person`'s name, signed by the key of `seed`: 1 is ada's, 2 is bob's.
pub(crate) fn order(plan: PlanId, verb: Verb, person: &str, seed: u8) -> Vec<u8> {
    let order = Order {
        fleet: FLEET,
        plan,
        nonce: Nonce([3; 16]),
        verb,
        person: person.parse().unwrap(),
        reason: "looked at it".into(),
        issued: now(),
        expires: now() + Millis::minutes(10),
    };
    let mut sealed = Sealed::new(&order).unwrap();
    sealed.sign(&SigningKey::from_seed(&[seed; 32])).unwrap();
    sealed.to_bytes()
}

pub(crate) fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}
