use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::*;

/// An authority of its own, and a folder for kubeconfig files.
struct Ground {
    folder: tempfile::TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

struct Identity {
    chain: String,
    key: String,
}

impl Ground {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { folder: tempfile::tempdir().unwrap(), authority }
    }

    fn identity(&self, names: &[&str], purpose: ExtendedKeyUsagePurpose) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        Identity { chain: certificate.pem(), key: key.serialize_pem() }
    }

    /// Answers each connection with the next text and tells what it heard; an
    /// empty one stays silent. With `asks`, only to those with a certificate.
    fn serve(&self, names: &[&str], asks: bool, answers: Vec<String>) -> (u16, JoinHandle<Vec<String>>) {
        let identity = self.identity(names, ExtendedKeyUsagePurpose::ServerAuth);
        let chain = vec![CertificateDer::from_pem_slice(identity.chain.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap();
        let builder = if asks {
            let mut roots = RootCertStore::empty();
            roots.add(self.authority.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        (
            port,
            std::thread::spawn(move || {
                answers.iter().map(|answer| talk(&listener, &config, answer)).collect()
            }),
        )
    }

    fn settings(&self, text: &str) -> Clusters {
        let kubeconfig = self.folder.path().join("config");
        std::fs::write(&kubeconfig, text).unwrap();
        Clusters::new(vec![ClusterSettings { name: "prod".into(), kubeconfig, context: None }])
    }

    fn kubeconfig(&self, port: u16, cluster: &str, user: &str) -> String {
        let authority = STANDARD.encode(self.authority.pem());
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: prod\n\
             clusters:\n- name: c\n  cluster:\n    server: https://127.0.0.1:{port}\n    certificate-authority-data: {authority}\n{cluster}\
             contexts:\n- name: prod\n  context: {{cluster: c, user: u, namespace: default}}\n\
             users:\n- name: u\n  user:\n{user}"
        )
    }
}

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

fn talk(listener: &TcpListener, config: &Arc<ServerConfig>, answer: &str) -> String {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut tls = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    while !is_whole(&heard) {
        match tls.read(&mut buffer) {
            Ok(count) if count > 0 => heard.extend_from_slice(&buffer[..count]),
            Ok(_) => break,
            Err(cause) => return format!("no request: {cause}"),
        }
    }
    if answer.is_empty() {
        std::thread::sleep(Duration::from_millis(700));
    } else {
        let _ = tls.write_all(answer.as_bytes());
        tls.conn.send_close_notify();
        let _ = tls.flush();
    }
    String::from_utf8_lossy(&heard).into_owned()
}

fn is_whole(heard: &[u8]) -> bool {
    let text = String::from_utf8_lossy(heard).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn request(rest: &str) -> ClusterRequest {
    ClusterRequest {
        cluster: "prod".into(),
        namespace: "shop".into(),
        method: "GET".into(),
        group: "apps/v1".into(),
        rest: rest.into(),
        content_type: String::new(),
        body: Vec::new(),
        timeout_ms: 3_000,
    }
}

fn send(clusters: &Clusters, request: &ClusterRequest) -> Result<ClusterResponse, HostError> {
    clusters.send(request, Instant::now() + Duration::from_secs(5))
}

#[test]
fn a_token_goes_over_tls_that_the_kubeconfigs_authority_vouches_for() {
    let ground = Ground::new();
    let (port, server) =
        ground.serve(&["127.0.0.1"], false, vec![answer("200 OK", "{}"), answer("403 Forbidden", "no")]);
    let clusters = ground.settings(&ground.kubeconfig(port, "", "    token: s3cret\n"));
    let got = send(&clusters, &request("deployments/web?fieldManager=sternway")).unwrap();
    assert_eq!((got.status, got.body.as_slice()), (200, &b"{}"[..]));
    let patch = ClusterRequest {
        method: "PATCH".into(),
        content_type: "application/json-patch+json".into(),
        body: b"[]".to_vec(),
        ..request("deployments/web")
    };
    assert_eq!(send(&clusters, &patch).unwrap().status, 403, "a refusal of the API is an answer");
    let heard = server.join().unwrap();
    assert!(
        heard[0].starts_with(
            "GET /apis/apps/v1/namespaces/shop/deployments/web?fieldManager=sternway HTTP/1.1\r\n"
        ),
        "{}",
        heard[0]
    );
    assert!(heard[0].contains("authorization: Bearer s3cret\r\n"), "{}", heard[0]);
    assert!(
        heard[1].contains("content-type: application/json-patch+json\r\n") && heard[1].ends_with("[]"),
        "{}",
        heard[1]
    );
}

#[test]
fn a_token_file_is_read_anew_for_each_request() {
    let ground = Ground::new();
    let (port, server) =
        ground.serve(&["127.0.0.1"], false, vec![answer("200 OK", ""), answer("200 OK", "")]);
    let clusters = ground.settings(&ground.kubeconfig(port, "", "    tokenFile: token\n"));
    for token in ["one", "two"] {
        std::fs::write(ground.folder.path().join("token"), format!("{token}\n")).unwrap();
        assert_eq!(send(&clusters, &request("deployments")).unwrap().status, 200);
    }
    let heard = server.join().unwrap();
    assert!(heard[0].contains("Bearer one\r\n") && heard[1].contains("Bearer two\r\n"), "{heard:?}");
}

#[test]
fn a_client_certificate_is_shown_and_without_one_the_server_refuses() {
    let ground = Ground::new();
    let client = ground.identity(&["operator"], ExtendedKeyUsagePurpose::ClientAuth);
    std::fs::write(ground.folder.path().join("client.key"), &client.key).unwrap();
    let user = format!(
        "    client-certificate-data: {}\n    client-key: client.key\n",
        STANDARD.encode(&client.chain)
    );
    let (port, server) = ground.serve(&["127.0.0.1"], true, vec![answer("200 OK", "{}")]);
    let clusters = ground.settings(&ground.kubeconfig(port, "", &user));
    assert_eq!(send(&clusters, &request("deployments")).unwrap().status, 200);
    assert!(server.join().unwrap()[0].starts_with("GET "));
    let (port, server) = ground.serve(&["127.0.0.1"], true, vec![answer("200 OK", "{}")]);
    let clusters = ground.settings(&ground.kubeconfig(port, "", "    token: t\n"));
    let error = send(&clusters, &request("deployments")).unwrap_err();
    assert_eq!(error.code, "clusters/refused", "{error}");
    assert!(server.join().unwrap()[0].starts_with("no request"));
}

#[test]
fn another_authority_or_another_name_is_not_trusted() {
    let ground = Ground::new();
    let other = Ground::new();
    let (port, _server) = ground.serve(&["127.0.0.1"], false, vec![answer("200 OK", "{}")]);
    let clusters = other.settings(&other.kubeconfig(port, "", "    token: t\n"));
    assert_eq!(send(&clusters, &request("deployments")).unwrap_err().code, "clusters/refused");
    let (port, server) = ground.serve(&["kube.internal"], false, vec![answer("200 OK", "{}"); 2]);
    let clusters = ground.settings(&ground.kubeconfig(port, "", "    token: t\n"));
    assert_eq!(send(&clusters, &request("deployments")).unwrap_err().code, "clusters/refused");
    let named =
        ground.settings(&ground.kubeconfig(port, "    tls-server-name: kube.internal\n", "    token: t\n"));
    assert_eq!(
        send(&named, &request("deployments")).unwrap().status,
        200,
        "its certificate carries that name"
    );
    assert!(server.join().unwrap()[1].contains("Bearer t"));
}

#[test]
fn silence_too_much_and_nobody_there_are_told_apart() {
    let ground = Ground::new();
    let large = answer("200 OK", &"x".repeat(BODY_BYTES_MAX as usize + 1));
    let (port, server) = ground.serve(&["127.0.0.1"], false, vec![String::new(), large]);
    let clusters = ground.settings(&ground.kubeconfig(port, "", "    token: t\n"));
    let hasty = ClusterRequest { timeout_ms: 400, ..request("deployments") };
    assert_eq!(send(&clusters, &hasty).unwrap_err().code, "clusters/timed-out");
    assert_eq!(send(&clusters, &request("deployments")).unwrap_err().code, "clusters/too-large");
    server.join().unwrap();
    let gone = send(&clusters, &request("deployments")).unwrap_err();
    assert_eq!((gone.kind, gone.code.as_str()), (ErrorKind::Transient, "clusters/unreachable"), "{gone}");
    let late = clusters.send(&request("deployments"), Instant::now()).unwrap_err();
    assert_eq!(late.code, "clusters/timed-out");
}

#[test]
fn no_path_leads_out_of_the_namespace() {
    let good = |rest: &str| path(&request(rest)).unwrap();
    assert_eq!(good("deployments"), "/apis/apps/v1/namespaces/shop/deployments");
    assert_eq!(
        good("replicasets?labelSelector=app%3Dweb,tier=a"),
        "/apis/apps/v1/namespaces/shop/replicasets?labelSelector=app%3Dweb,tier=a"
    );
    assert_eq!(
        path(&ClusterRequest { group: "v1".into(), ..request("configmaps/a.b-c") }).unwrap(),
        "/api/v1/namespaces/shop/configmaps/a.b-c"
    );
    for bad in [
        "",
        "/",
        "/deployments",
        "deployments/",
        "deployments//web",
        "../kube-system/deployments/web",
        "deployments/..",
        "deployments/.",
        "deployments/%2e%2e",
        "deployments/%2E%2E/x",
        "deployments/a..b",
        "deployments/a%2fb",
        "deployments/a b",
        "deployments/a\\b",
        "deployments/web#x",
        "deployments/web?",
        "deployments/web?a b",
        "deployments/web?x\r\ny",
        "deployments/WEB",
        "a/b/c/d/e",
        "deployments/ä",
    ] {
        assert_eq!(path(&request(bad)).unwrap_err().code, "clusters/bad-request", "{bad:?}");
    }
    for closed in [
        "secrets",
        "secrets/web",
        "pods/web-1/exec",
        "pods/web-1/proxy",
        "services/web/proxy/x",
        "serviceaccounts/a/token",
    ] {
        assert_eq!(path(&request(closed)).unwrap_err().code, "clusters/closed", "{closed}");
    }
    for (group, namespace) in [
        ("apps", "shop"),
        ("apps/v1/x", "shop"),
        ("../v1", "shop"),
        ("apps/../v1", "shop"),
        ("", "shop"),
        ("v1?", "shop"),
        ("apps/v1", ""),
        ("apps/v1", ".."),
        ("apps/v1", "a/b"),
        ("apps/v1", "a.b"),
        ("apps/v1", "-a"),
        ("apps/v1", "Shop"),
    ] {
        let request =
            ClusterRequest { group: group.into(), namespace: namespace.into(), ..request("deployments") };
        assert_eq!(path(&request).unwrap_err().code, "clusters/bad-request", "{group} {namespace}");
    }
}

#[test]
fn a_body_and_its_type_and_its_method_belong_together() {
    let clusters = Ground::new();
    let clusters = clusters.settings("");
    for (method, kind, body) in [
        ("GET", "application/json", "{}"),
        ("PATCH", "", "{}"),
        ("PATCH", "application/apply-patch+yaml", "{}"),
        ("PUT", "application/json\r\nx: y", "{}"),
        ("DELETE", "application/json", ""),
        ("CONNECT", "", ""),
    ] {
        let request = ClusterRequest {
            method: method.into(),
            content_type: kind.into(),
            body: body.into(),
            ..request("deployments/web")
        };
        assert_eq!(send(&clusters, &request).unwrap_err().code, "clusters/bad-request", "{method} {kind:?}");
    }
}

#[test]
fn what_a_kubeconfig_lacks_or_asks_for_is_said_without_its_secrets() {
    let ground = Ground::new();
    let clusters = |text: &str| ground.settings(text);
    let unknown = ClusterRequest { cluster: "test".into(), ..request("deployments") };
    let error = send(&clusters(""), &unknown).unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.message.as_str()),
        ("clusters/unknown", "this host knows no cluster `test`; it knows: prod")
    );
    for user in [
        "    exec: {apiVersion: client.authentication.k8s.io/v1, command: aws}\n",
        "    auth-provider: {name: gcp}\n",
        "    username: admin\n    password: s3cret\n",
        "    token: s3cret\n    as: root\n",
    ] {
        let error = send(&clusters(&ground.kubeconfig(1, "", user)), &request("deployments")).unwrap_err();
        assert_eq!(
            (error.kind, error.code.as_str()),
            (ErrorKind::Unsupported, "clusters/unsupported"),
            "{user}"
        );
        assert!(!error.message.contains("s3cret"));
    }
    let sound = ground.kubeconfig(1, "", "    token: s3cret\n");
    for text in [
        sound.replace("current-context: prod", "current-context: other"),
        sound.replace("cluster: c,", "cluster: d,"),
        sound.replace("user: u,", "user: v,"),
        sound.replace("https://127.0.0.1", "http://kube.example"),
        sound.replace("token: s3cret", "token: \"s3cret\\r\\nx: y\""),
        sound.replace("token: s3cret", "tokenFile: nowhere"),
        sound.replace("token: s3cret", "client-key-data: AAAA"),
        sound.replace("authority-data: ", "authority-data: _"),
        format!("{sound}\n: s3cret: [\n"),
        "just text s3cret".to_owned(),
    ] {
        let error = send(&clusters(&text), &request("deployments")).unwrap_err();
        assert_eq!(error.code, "clusters/kubeconfig", "{text}");
        assert!(!error.message.contains("s3cret"), "{error}");
    }
}
