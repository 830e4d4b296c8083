//! Kubernetes clusters as this host's kubeconfig files describe them: one
//! request to one namespace, over TLS, with credentials that never leave the host.

mod kubeconfig;
#[cfg(test)]
mod tests;

use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use ureq::http::{Method, Request, Uri};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Error as Refused};

use self::kubeconfig::{Access, Credential};
use crate::capabilities::{ErrorKind, HostError};

/// The most an answer may bring, in bytes.
pub const BODY_BYTES_MAX: u64 = 1024 * 1024;
/// The most a request may carry, in bytes.
pub const REQUEST_BYTES_MAX: usize = 1024 * 1024;
const SEGMENTS_MAX: usize = 4;
const TEXT_BYTES_MAX: usize = 253;
const QUERY_BYTES_MAX: usize = 1_000;
/// These lead past the API into pods and nodes, some of them by GET, or hand
/// out what stays with the host.
const CLOSED: [&str; 6] = ["exec", "attach", "portforward", "proxy", "token", "ephemeralcontainers"];

/// One cluster that this host may reach.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSettings {
    /// As plans name it.
    pub name: String,
    pub kubeconfig: PathBuf,
    /// A context of that file; its current one when none is named.
    pub context: Option<String>,
}

/// A request as a plugin makes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRequest {
    pub cluster: String,
    pub namespace: String,
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: String,
    /// `v1` or `apps/v1`.
    pub group: String,
    /// Below the namespace, with its query: `deployments/web`.
    pub rest: String,
    /// Of the body; empty without one.
    pub content_type: String,
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
    /// Over the whole call.
    pub timeout_ms: u64,
}

/// What came back; any status is an answer, also 401 and 403.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterResponse {
    pub status: u16,
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
}

/// The clusters of this host. Its files are read anew for each request:
/// credentials are changed under a running agent.
#[derive(Debug, Clone, Default)]
pub struct Clusters {
    settings: Vec<ClusterSettings>,
}

impl ClusterRequest {
    /// What the power has to cover: `cluster/namespace`.
    pub fn scope(&self) -> String {
        format!("{}/{}", self.cluster, self.namespace)
    }

    /// Whether it changes nothing by definition.
    pub fn only_reads(&self) -> bool {
        self.method == "GET"
    }
}

impl Clusters {
    /// The clusters that the host's configuration names.
    pub fn new(settings: Vec<ClusterSettings>) -> Self {
        Self { settings }
    }

    /// Sends it, waits at most until `deadline`, and answers what came.
    ///
    /// # Errors
    /// `clusters/unknown`, `clusters/bad-request`, `clusters/kubeconfig` and
    /// `clusters/unsupported` before anything is sent; `clusters/unreachable`,
    /// `clusters/refused` when one side does not trust the other's certificate,
    /// `clusters/timed-out`, `clusters/too-large`.
    pub fn send(&self, request: &ClusterRequest, deadline: Instant) -> Result<ClusterResponse, HostError> {
        let settings = self.settings.iter().find(|settings| settings.name == request.cluster);
        let Some(settings) = settings else {
            let known = self.settings.iter().map(|settings| settings.name.as_str()).collect::<Vec<_>>();
            return Err(HostError::new(
                ErrorKind::NotFound,
                "clusters/unknown",
                format!(
                    "this host knows no cluster `{}`; it knows: {}",
                    shown(&request.cluster),
                    known.join(", ")
                ),
            ));
        };
        let method = checked_method(&request.method)?;
        let path = path(request)?;
        check_body(request)?;
        let access = kubeconfig::read(settings)?;
        let (agent, uri) = client(&access, &path)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = left.min(Duration::from_millis(request.timeout_ms));
        if timeout.is_zero() {
            return Err(timed_out(&request.cluster));
        }
        let mut builder = Request::builder().method(method).uri(uri).header("accept", "application/json");
        if let Credential::Token(token) = &access.credential {
            builder = builder.header("authorization", format!("Bearer {token}"));
        }
        if !request.content_type.is_empty() {
            builder = builder.header("content-type", &request.content_type);
        }
        let failed = |error: &Refused| failed(&request.cluster, error);
        let answered = if request.body.is_empty() {
            let ready = builder.body(()).map_err(|error| invalid(&error.to_string()))?;
            agent.run(agent.configure_request(ready).timeout_global(Some(timeout)).build())
        } else {
            let ready = builder.body(&request.body[..]).map_err(|error| invalid(&error.to_string()))?;
            let ready = agent.configure_request(ready).timeout_global(Some(timeout));
            agent.run(ready.allow_non_standard_methods(true).build())
        };
        let mut response = answered.map_err(|error| failed(&error))?;
        let mut body = Vec::new();
        let reader = response.body_mut().as_reader().take(BODY_BYTES_MAX + 1);
        let read = { reader }.read_to_end(&mut body);
        read.map_err(|cause| failed(&Refused::from(cause)))?;
        if body.len() as u64 > BODY_BYTES_MAX {
            return Err(HostError::new(
                ErrorKind::Failed,
                "clusters/too-large",
                format!("the answer of cluster `{}` is larger than {BODY_BYTES_MAX} bytes", request.cluster),
            ));
        }
        Ok(ClusterResponse { status: response.status().as_u16(), body })
    }
}

/// Connects to where the kubeconfig says, whatever name the certificate carries.
#[derive(Debug)]
struct Elsewhere {
    server: Uri,
    usual: DefaultResolver,
}

impl Resolver for Elsewhere {
    fn resolve(
        &self,
        _: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Refused> {
        self.usual.resolve(&self.server, config, timeout)
    }
}

fn client(access: &Access, path: &str) -> Result<(Agent, Uri), HostError> {
    let unusable = |what: &str, error: &Refused| {
        kubeconfig::problem(&format!("{what} of the kubeconfig cannot be used: {error}"))
    };
    let mut tls = TlsConfig::builder().disable_verification(access.skips_verification);
    if let Some(authority) = &access.authority {
        tls = tls.root_certs(RootCerts::new_with_certs(
            &certificates(authority).map_err(|error| unusable("the certificate authority", &error))?,
        ));
    }
    if let Credential::Certificate { chain, key } = &access.credential {
        let chain = certificates(chain).map_err(|error| unusable("the client certificate", &error))?;
        let key = PrivateKey::from_pem(key).map_err(|error| unusable("the client key", &error))?;
        tls = tls.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
    }
    let config = Agent::config_builder()
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .proxy(None)
        .max_response_header_size(32 * 1024)
        .user_agent("sternway")
        .tls_config(tls.build())
        .build();
    let server: Uri =
        access.server.parse().map_err(|_| kubeconfig::problem("the cluster's server is no URL"))?;
    let named = match (&access.tls_server_name, server.port_u16()) {
        (None, _) => access.server.clone(),
        (Some(name), Some(port)) => format!("https://{name}:{port}{}", server.path().trim_end_matches('/')),
        (Some(name), None) => format!("https://{name}{}", server.path().trim_end_matches('/')),
    };
    let uri = format!("{}{path}", named.trim_end_matches('/'));
    let uri = uri.parse().map_err(|_| kubeconfig::problem("the cluster's server is no URL"))?;
    let resolver = Elsewhere { server, usual: DefaultResolver::default() };
    Ok((Agent::with_parts(config, DefaultConnector::default(), resolver), uri))
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate<'static>>, Refused> {
    let mut found = Vec::new();
    for item in ureq::tls::parse_pem(pem) {
        if let ureq::tls::PemItem::Certificate(certificate) = item? {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        return Err(Refused::Tls("it holds no certificate"));
    }
    Ok(found)
}

/// The path, of checked segments only: nothing leads out of the namespace.
fn path(request: &ClusterRequest) -> Result<String, HostError> {
    let root = match request.group.split_once('/') {
        None if is_version(&request.group) => format!("/api/{}", request.group),
        Some((group, version)) if is_name(group) && is_version(version) => format!("/apis/{group}/{version}"),
        _ => return Err(invalid("the group is not such as `v1` or `apps/v1`")),
    };
    if !is_label(&request.namespace) {
        return Err(invalid("the namespace is not a name of Kubernetes"));
    }
    let (rest, query) = match request.rest.split_once('?') {
        Some((rest, query)) => (rest, Some(query)),
        None => (request.rest.as_str(), None),
    };
    let segments: Vec<&str> = rest.split('/').collect();
    if segments.len() > SEGMENTS_MAX || !segments.iter().all(|segment| is_name(segment)) {
        return Err(invalid("the rest of the path is not of plain names"));
    }
    if segments[0] == "secrets" || segments.iter().skip(2).any(|segment| CLOSED.contains(segment)) {
        return Err(HostError::new(
            ErrorKind::Denied,
            "clusters/closed",
            format!("`{}` stays closed to plugins", shown(rest)),
        ));
    }
    let query = match query {
        None => String::new(),
        Some(query) if is_query(query) => format!("?{query}"),
        Some(_) => return Err(invalid("the query holds what none needs")),
    };
    Ok(format!("{root}/namespaces/{}/{rest}{query}", request.namespace))
}

fn check_body(request: &ClusterRequest) -> Result<(), HostError> {
    const TYPES: [&str; 4] = [
        "application/json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
        "application/json-patch+json",
    ];
    if request.body.len() > REQUEST_BYTES_MAX {
        return Err(invalid("the body is larger than 1 MiB"));
    }
    match (request.body.is_empty(), request.content_type.as_str()) {
        (true, "") => Ok(()),
        (true, _) => Err(invalid("there is a type and no body")),
        (false, kind) if TYPES.contains(&kind) && request.method != "GET" => Ok(()),
        (false, _) => Err(invalid("a body needs a type of JSON, and GET has none")),
    }
}

fn checked_method(text: &str) -> Result<Method, HostError> {
    match text {
        "GET" | "POST" | "PUT" | "PATCH" | "DELETE" => Ok(text.parse().expect("a plain word is a method")),
        _ => Err(invalid("the method is none of GET, POST, PUT, PATCH, DELETE")),
    }
}

/// `v1`, `v1beta2`.
fn is_version(text: &str) -> bool {
    text.len() <= 20
        && text.strip_prefix('v').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// A DNS label.
fn is_label(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(plain)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// A DNS subdomain: no dot leads, ends or follows another, so none climbs.
fn is_name(text: &str) -> bool {
    text.len() <= TEXT_BYTES_MAX && text.split('.').all(is_label)
}

fn is_query(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~=&,%/".contains(&byte);
    !text.is_empty() && text.len() <= QUERY_BYTES_MAX && text.bytes().all(plain)
}

fn shown(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_debug).collect()
}

fn invalid(reason: &str) -> HostError {
    HostError::new(
        ErrorKind::Invalid,
        "clusters/bad-request",
        format!("the request cannot be sent: {reason}"),
    )
}

fn timed_out(cluster: &str) -> HostError {
    HostError::new(
        ErrorKind::TimedOut,
        "clusters/timed-out",
        format!("cluster `{cluster}` did not answer in time"),
    )
}

fn failed(cluster: &str, error: &Refused) -> HostError {
    use std::io::ErrorKind as Io;
    let told = |kind, code: &str, what: &str| {
        HostError::new(kind, code, format!("cluster `{cluster}` {what}: {error}"))
    };
    match error {
        Refused::Timeout(_) => timed_out(cluster),
        Refused::Io(cause) if cause.kind() == Io::TimedOut => timed_out(cluster),
        Refused::Rustls(_) | Refused::Tls(_) => {
            told(ErrorKind::Failed, "clusters/refused", "is not trusted, or trusts not")
        }
        Refused::Io(cause) if cause.kind() == Io::InvalidData => {
            told(ErrorKind::Failed, "clusters/refused", "is not trusted, or trusts not")
        }
        Refused::Io(_) | Refused::ConnectionFailed | Refused::HostNotFound => {
            told(ErrorKind::Transient, "clusters/unreachable", "could not be reached")
        }
        _ => told(ErrorKind::Failed, "clusters/failed", "could not be asked"),
    }
}
