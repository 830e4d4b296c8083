//! A kubeconfig file, as far as one context needs it. What it holds is secret:
//! no error repeats any of it but names.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::ClusterSettings;
use crate::capabilities::{ErrorKind, HostError};

const FILE_BYTES_MAX: u64 = 4 << 20;

/// How to reach one cluster, and as whom.
pub(super) struct Access {
    /// `https://` with host, perhaps port and path.
    pub(super) server: String,
    pub(super) tls_server_name: Option<String>,
    /// PEM; none: the authorities everybody trusts.
    pub(super) authority: Option<Vec<u8>>,
    pub(super) skips_verification: bool,
    pub(super) credential: Credential,
}

pub(super) enum Credential {
    None,
    Token(String),
    /// Both PEM.
    Certificate {
        chain: Vec<u8>,
        key: Vec<u8>,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    clusters: Vec<NamedCluster>,
    #[serde(default)]
    contexts: Vec<NamedContext>,
    #[serde(default)]
    users: Vec<NamedUser>,
    #[serde(default)]
    current_context: String,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: Option<User>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    tls_server_name: Option<String>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
    proxy_url: Option<String>,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    #[serde(default)]
    user: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    exec: Option<serde::de::IgnoredAny>,
    auth_provider: Option<serde::de::IgnoredAny>,
    username: Option<serde::de::IgnoredAny>,
    #[serde(rename = "as")]
    impersonate: Option<serde::de::IgnoredAny>,
}

/// A kubeconfig that cannot be used, in words without its secrets.
pub(super) fn problem(message: &str) -> HostError {
    HostError::new(ErrorKind::Failed, "clusters/kubeconfig", message)
}

pub(super) fn read(settings: &ClusterSettings) -> Result<Access, HostError> {
    let path = &settings.kubeconfig;
    let text =
        String::from_utf8(load(path)?).map_err(|_| problem(&format!("`{}` is no text", path.display())))?;
    // The parser's own words would repeat the line, and lines hold tokens.
    let file: File = serde_saphyr::from_str(&text).map_err(|error| {
        let line = error.location().map_or_else(String::new, |place| format!(" (line {})", place.line()));
        problem(&format!("`{}` is not a kubeconfig{line}", path.display()))
    })?;
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    let lacks = |what: &str, name: &str| problem(&format!("`{}` has no {what} `{name}`", path.display()));
    let wanted = settings.context.as_ref().unwrap_or(&file.current_context);
    let context = file.contexts.into_iter().find(|context| context.name == *wanted);
    let context = context.ok_or_else(|| lacks("context", wanted))?.context;
    let cluster = file.clusters.into_iter().find(|cluster| cluster.name == context.cluster);
    let cluster = cluster.ok_or_else(|| lacks("cluster", &context.cluster))?.cluster;
    let user = file.users.into_iter().find(|user| user.name == context.user);
    let user = match (user, context.user.as_str()) {
        (Some(user), _) => user.user.unwrap_or_default(),
        (None, "") => User::default(),
        (None, name) => return Err(lacks("user", name)),
    };
    access(folder, cluster, user)
}

fn access(folder: &Path, cluster: Cluster, user: User) -> Result<Access, HostError> {
    if !is_safe(&cluster.server) {
        return Err(problem("the cluster's server is not `https://`, nor `http://` on this host itself"));
    }
    if cluster.proxy_url.is_some() {
        return Err(unsupported("a proxy"));
    }
    let authority = given(folder, cluster.certificate_authority_data, cluster.certificate_authority)?;
    Ok(Access {
        server: cluster.server,
        tls_server_name: cluster.tls_server_name.filter(|name| !name.is_empty()),
        authority,
        skips_verification: cluster.insecure_skip_tls_verify,
        credential: credential(folder, user)?,
    })
}

fn credential(folder: &Path, user: User) -> Result<Credential, HostError> {
    for (there, what) in [
        (user.exec.is_some(), "a user of an `exec` plugin"),
        (user.auth_provider.is_some(), "a user of an `auth-provider`"),
        (user.username.is_some(), "a user name with a password"),
        (user.impersonate.is_some(), "a user who acts as another"),
    ] {
        if there {
            return Err(unsupported(what));
        }
    }
    // As kubectl does: a file is renewed by others, so it comes first.
    if let Some(path) = user.token_file {
        let token =
            String::from_utf8(load(&folder.join(path))?).map_err(|_| problem("the token file is no text"))?;
        return Ok(Credential::Token(plain(token.trim())?));
    }
    if let Some(token) = user.token.filter(|token| !token.is_empty()) {
        return Ok(Credential::Token(plain(&token)?));
    }
    let chain = given(folder, user.client_certificate_data, user.client_certificate)?;
    let key = given(folder, user.client_key_data, user.client_key)?;
    match (chain, key) {
        (Some(chain), Some(key)) => Ok(Credential::Certificate { chain, key }),
        (None, None) => Ok(Credential::None),
        _ => Err(problem("the user has a certificate without its key, or a key without its certificate")),
    }
}

/// Data in the file itself counts before a file that it names.
fn given(folder: &Path, data: Option<String>, file: Option<PathBuf>) -> Result<Option<Vec<u8>>, HostError> {
    if let Some(data) = data.filter(|data| !data.is_empty()) {
        let packed: String = data.split_whitespace().collect();
        return STANDARD
            .decode(packed)
            .map(Some)
            .map_err(|_| problem("a `-data` of the kubeconfig is no base64"));
    }
    file.map(|file| load(&folder.join(file))).transpose()
}

/// A token stands in a header.
fn plain(token: &str) -> Result<String, HostError> {
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(problem("the token is empty or holds what no header can"));
    }
    Ok(token.to_owned())
}

/// Credentials go over TLS, or do not leave this host.
fn is_safe(server: &str) -> bool {
    let Ok(uri) = server.parse::<ureq::http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default();
    match uri.scheme_str() {
        Some("https") => !host.is_empty() && uri.query().is_none() && !server.contains('@'),
        Some("http") => ["127.0.0.1", "localhost", "[::1]"].contains(&host) && !server.contains('@'),
        _ => false,
    }
}

fn load(path: &Path) -> Result<Vec<u8>, HostError> {
    use std::io::Read;
    let failed = |cause: &std::io::Error| {
        HostError::new(
            ErrorKind::Failed,
            "clusters/kubeconfig",
            format!("could not read `{}`: {cause}", path.display()),
        )
    };
    let file = std::fs::File::open(path).map_err(|cause| failed(&cause))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(|cause| failed(&cause))?;
    Ok(bytes)
}

fn unsupported(what: &str) -> HostError {
    HostError::new(
        ErrorKind::Unsupported,
        "clusters/unsupported",
        format!(
            "the kubeconfig asks for {what}, which this agent does not do: use a token or a client certificate"
        ),
    )
}
