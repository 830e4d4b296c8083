//! Who is let in as what.

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, PKCS_ED25519, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sternway_coordinator::pki::{self, Role};
use sternway_core::ids::FleetId;
use sternway_core::wire::{AGENT_ALPN, Answer, OPERATOR_ALPN, Request, encode_frame};

use crate::harness::{Agent, FLEET, Incoming, Site, connect, connect_as, read};

type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

/// Why the coordinator let go of a peer, or what it answered to a question.
/// (A client believes itself connected before its certificate was judged.)
async fn ask_as(site: &Site, identity: Option<Identity>, alpn: &[u8]) -> Result<Answer, String> {
    let connection = connect_as(site, identity, alpn).await?;
    let (mut send, receive) = connection.open_bi().await.map_err(|cause| cause.to_string())?;
    let frame = encode_frame(&Request::Fleet, 1024).unwrap();
    send.write_all(&frame).await.map_err(|cause| cause.to_string())?;
    match Incoming::new(receive, 64 * 1024).next().await? {
        Some(answer) => Ok(answer),
        None => Err("the stream ended".into()),
    }
}

/// A leaf for `ada`, an operator, made with the keys of `authority`, as whoever steals it could.
fn minted(site: &Site, authority: &str, role: &str, usages: &[ExtendedKeyUsagePurpose]) -> Identity {
    let pem = String::from_utf8(read(&site.pki().join(format!("{authority}.key")))).unwrap();
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, format!("sternway {authority} {}", FLEET.short()));
    let issuer = Issuer::new(params, KeyPair::from_pem(&pem).unwrap());
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let mut leaf = CertificateParams::default();
    leaf.subject_alt_names = vec![SanType::URI(format!("sternway://{FLEET}/{role}/ada").try_into().unwrap())];
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.extended_key_usages = usages.to_vec();
    let certificate = leaf.signed_by(&key, &issuer).unwrap();
    (certificate.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()).into())
}

#[tokio::test]
async fn an_operator_with_a_certificate_is_answered() {
    let site = Site::start(&["web-1"]);
    let fleet = site.operator("ada").await.ask(&Request::Fleet).await;
    assert!(matches!(fleet, Answer::Fleet(hosts) if hosts.len() == 1 && !hosts[0].connected));
    let genuine = minted(&site, "operator-ca", "operator", &[ExtendedKeyUsagePurpose::ClientAuth]);
    assert!(
        ask_as(&site, Some(genuine), OPERATOR_ALPN).await.is_ok(),
        "the forgeries below fail for another reason"
    );
}

#[tokio::test]
async fn nobody_comes_in_without_a_certificate() {
    let site = Site::start(&["web-1"]);
    assert!(ask_as(&site, None, OPERATOR_ALPN).await.is_err());
    assert!(ask_as(&site, None, AGENT_ALPN).await.is_err());
}

#[tokio::test]
async fn an_agent_is_no_operator_and_an_operator_no_agent() {
    let site = Site::start(&["web-1"]);
    let agent = site.issue(Role::Agent, "web-1");
    let connection = connect(&site, Some(&agent), OPERATOR_ALPN).await.unwrap();
    assert!(connection.closed().await.to_string().contains("not of the authority for operators"));
    let operator = site.issue(Role::Operator, "web-1");
    let connection = connect(&site, Some(&operator), AGENT_ALPN).await.unwrap();
    assert!(connection.closed().await.to_string().contains("not of the authority for agents"));
}

#[tokio::test]
async fn the_authority_of_agents_cannot_make_an_operator() {
    let site = Site::start(&["web-1"]);
    let usage = [ExtendedKeyUsagePurpose::ClientAuth];
    let forged = minted(&site, "agent-ca", "operator", &usage);
    let refusal = ask_as(&site, Some(forged), OPERATOR_ALPN).await.unwrap_err();
    assert!(refusal.contains("authority for operators"), "{refusal}");
    let forged = minted(&site, "operator-ca", "agent", &usage);
    let refusal = ask_as(&site, Some(forged), OPERATOR_ALPN).await.unwrap_err();
    assert!(refusal.contains("the certificate is for agents"), "{refusal}");
    let forged = minted(&site, "server-ca", "operator", &usage);
    assert!(ask_as(&site, Some(forged), OPERATOR_ALPN).await.is_err());
}

#[tokio::test]
async fn a_certificate_for_no_use_or_two_uses_is_refused() {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let site = Site::start(&["web-1"]);
    for usages in [vec![], vec![ServerAuth], vec![ClientAuth, ServerAuth]] {
        let forged = minted(&site, "operator-ca", "operator", &usages);
        assert!(ask_as(&site, Some(forged), OPERATOR_ALPN).await.is_err(), "{usages:?}");
    }
}

#[tokio::test]
async fn another_fleets_authorities_mean_nothing_here() {
    let site = Site::start(&["web-1"]);
    let other = tempfile::tempdir().unwrap();
    pki::create_authorities(other.path(), FleetId([1; 16])).unwrap();
    let stranger = pki::issue(other.path(), Role::Operator, "ada", other.path()).unwrap();
    let connection = connect(&site, Some(&stranger), OPERATOR_ALPN).await;
    let refused = match connection {
        Ok(connection) => connection.closed().await.to_string(),
        Err(cause) => cause,
    };
    assert!(refused.contains("certificate"), "{refused}");
}

#[tokio::test]
async fn a_host_that_is_not_in_the_inventory_is_not_let_in() {
    let site = Site::start(&["web-1"]);
    let refused =
        Agent::connect(&site, "web-2", sternway_core::ids::JournalId([1; 16]), 0).await.err().unwrap();
    assert!(refused.contains("not in the inventory"), "{refused}");
}

#[tokio::test]
async fn a_protocol_that_is_not_ours_is_refused() {
    let site = Site::start(&["web-1"]);
    let operator = site.issue(Role::Operator, "ada");
    assert!(connect(&site, Some(&operator), b"h3").await.is_err());
}
