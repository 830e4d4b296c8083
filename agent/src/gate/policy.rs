//! Is this call within what was granted, and within what this host permits?
//!
//! Files, databases and points: the path itself or anything below it, by
//! components. Services, secrets, sockets and mail: the exact text. Units of
//! systemd: the name, `.service` being understood. HTTP: scheme, host and port
//! equal, and the path itself or anything below it, by segments. Clusters:
//! cluster and namespace. Programs: a path as for files; a name, or one that is
//! made from it with a double underscore.

use serde::{Deserialize, Serialize};
use sternway_core::grant::Grant;

use crate::capabilities::files::HostPath;
use crate::capabilities::http::parse_url;
use crate::capabilities::{ErrorKind, HostError};

/// In a host's policy only: every scope of the power.
const ANY: &str = "*";

/// What this host permits at all, whoever signs. Nothing by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HostPolicy {
    /// Scopes as in grants, and `*` for every scope of a power.
    pub permits: Vec<Grant>,
}

impl HostPolicy {
    /// Whether everything that `grant` covers is permitted; what is not is named.
    pub fn refused<'a>(&self, grant: &'a Grant) -> Vec<&'a str> {
        grant
            .scopes
            .iter()
            .filter(|scope| !self.permits_scope(&grant.power, scope))
            .map(String::as_str)
            .collect()
    }

    fn permits_scope(&self, power: &str, wanted: &str) -> bool {
        self.permits
            .iter()
            .filter(|permit| permit.power == power)
            .any(|permit| permit.scopes.iter().any(|scope| scope == ANY || covers(power, scope, wanted)))
    }
}

/// A grant of `power` covers `wanted`; with nothing wanted, any grant of it will do.
pub(super) fn check(
    power: &str,
    call: &str,
    wanted: Option<&str>,
    grants: &[Grant],
    whose: &str,
) -> Result<(), HostError> {
    let scopes: Vec<&str> = grants
        .iter()
        .filter(|grant| grant.power == power)
        .flat_map(|grant| grant.scopes.iter().map(String::as_str))
        .collect();
    let covered = match wanted {
        Some(wanted) => scopes.iter().any(|scope| covers(power, scope, wanted)),
        None => !scopes.is_empty(),
    };
    if covered {
        return Ok(());
    }
    let wanted = wanted.map_or_else(String::new, |wanted| format!(" on `{}`", shown(wanted)));
    Err(HostError::new(
        ErrorKind::Denied,
        &format!("{power}/outside-grant"),
        format!("{call}{wanted} is not {whose}; {}", granted_in_words(power, grants)),
    ))
}

/// `granted for files: nothing`
pub(super) fn granted_in_words(power: &str, grants: &[Grant]) -> String {
    let of_power = grants.iter().filter(|grant| grant.power == power);
    let scopes: Vec<&str> = of_power.flat_map(|grant| grant.scopes.iter().map(String::as_str)).collect();
    let granted = if scopes.is_empty() { "nothing".to_owned() } else { list(&scopes) };
    format!("granted for {power}: {granted}")
}

pub(super) fn check_host(
    power: &str,
    call: &str,
    wanted: Option<&str>,
    policy: &HostPolicy,
) -> Result<(), HostError> {
    let permitted = match wanted {
        Some(wanted) => policy.permits_scope(power, wanted),
        None => policy.permits.iter().any(|permit| permit.power == power),
    };
    if permitted {
        return Ok(());
    }
    let wanted = wanted.map_or_else(String::new, |wanted| format!(" on `{}`", shown(wanted)));
    Err(HostError::new(
        ErrorKind::Denied,
        &format!("{power}/outside-policy"),
        format!("{call}{wanted} is granted by the plan, but this host does not permit it"),
    ))
}

/// Whether `scope` covers `wanted`. What does not parse covers nothing and is
/// covered by nothing.
fn covers(power: &str, scope: &str, wanted: &str) -> bool {
    match power {
        "files" | "files-read" | "databases" | "points" => {
            match (HostPath::parse(scope), HostPath::parse(wanted)) {
                (Ok(scope), Ok(wanted)) => wanted.is_within(&scope),
                _ => false,
            }
        }
        "services" | "secrets" | "sockets" | "mail" => !wanted.is_empty() && scope == wanted,
        "systemd" => !wanted.is_empty() && with_suffix(scope) == with_suffix(wanted),
        "http" => covers_url(scope, wanted),
        "clusters" => covers_namespace(scope, wanted),
        _ => covers_subject(scope, wanted),
    }
}

/// `web` is `web.service`, as for systemd itself.
fn with_suffix(unit: &str) -> String {
    if unit.contains('.') { unit.to_owned() } else { format!("{unit}.service") }
}

/// `prod/shop/deployment/web` covers the namespace `prod/shop` and no other.
fn covers_namespace(scope: &str, wanted: &str) -> bool {
    let two = |text: &str| text.splitn(3, '/').take(2).map(str::to_owned).collect::<Vec<_>>();
    let (scope, wanted) = (two(scope), two(wanted));
    scope == wanted && scope.len() == 2 && scope.iter().all(|part| !part.is_empty())
}

/// What a program works on: a path, or a name.
fn covers_subject(scope: &str, wanted: &str) -> bool {
    if scope.starts_with('/') {
        return covers("files", scope, wanted);
    }
    let made_from = |rest: &str| rest.is_empty() || rest.starts_with("__");
    !scope.is_empty() && wanted.strip_prefix(scope).is_some_and(made_from)
}

fn covers_url(scope: &str, wanted: &str) -> bool {
    let (Ok(scope), Ok(wanted)) = (parse_url(scope), parse_url(wanted)) else { return false };
    let port = |uri: &ureq::http::Uri| {
        uri.port_u16().or(match uri.scheme_str() {
            Some("http") => Some(80),
            Some("https") => Some(443),
            _ => None,
        })
    };
    let host = |uri: &ureq::http::Uri| uri.host().map(str::to_ascii_lowercase);
    if scope.scheme_str() != wanted.scheme_str()
        || host(&scope) != host(&wanted)
        || port(&scope) != port(&wanted)
    {
        return false;
    }
    let prefix = scope.path().trim_end_matches('/');
    match wanted.path().strip_prefix(prefix) {
        Some(rest) => rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

fn list(scopes: &[&str]) -> String {
    const SHOWN: usize = 8;
    let mut text: Vec<String> =
        scopes.iter().take(SHOWN).map(|scope| format!("`{}`", shown(scope))).collect();
    if scopes.len() > SHOWN {
        text.push(format!("and {} more", scopes.len() - SHOWN));
    }
    text.join(", ")
}

pub(super) fn shown(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_scope_covers_itself_and_what_lies_below() {
        let cases = [
            ("files", "/opt/hello", "/opt/hello", true),
            ("files", "/opt/hello", "/opt/hello/x", true),
            ("files", "/opt/hello", "/opt/hello2", false),
            ("files", "/opt/hello", "/opt/hello/../x", false),
            ("files", "/opt/hello", "/opt//hello", false),
            ("files", "/opt/hello", "/opt", false),
            ("files", "/opt/hello", "opt/hello", false),
            ("files", "*", "/opt", false),
            ("databases", "/a/b.db", "/a/b.db", true),
            ("databases", "/a/b.db", "/a/b.db-wal", false),
            ("services", "web", "web", true),
            ("services", "web", "web2", false),
            ("services", "", "", false),
            ("http", "http://h/a", "http://h/a", true),
            ("http", "http://h/a", "http://h/a/b?c=d", true),
            ("http", "http://h/a/", "http://h/a", true),
            ("http", "http://h", "http://h:80/x", true),
            ("http", "https://h", "https://H:443/x", true),
            ("http", "http://h/a", "http://h/ab", false),
            ("http", "http://h/a", "http://h:81/a", false),
            ("http", "http://h/a", "https://h/a", false),
            ("http", "http://h/a", "http://h.evil/a", false),
            ("http", "http://h/a", "http://h@evil/a", false),
            ("http", "http://h/a", "http://evil/http://h/a", false),
            ("http", "http://h/a", "http://h/a/../b", false),
            ("http", "http://h/a", "http://h/a/%2e%2e/b", false),
            ("http", "http://h/a", "http://h/b?/a", false),
            ("systemd", "web", "web.service", true),
            ("systemd", "web.service", "web", true),
            ("systemd", "web", "web.socket", false),
            ("systemd", "web", "web2.service", false),
            ("systemd", "", "", false),
            ("sockets", "tcp://127.0.0.1:80", "tcp://127.0.0.1:80", true),
            ("sockets", "tcp://127.0.0.1:80", "tcp://127.0.0.1:8080", false),
            ("mail", "ops@a.org", "ops@a.org", true),
            ("mail", "ops@a.org", "evil@a.org", false),
            ("secrets", "pager", "pager", true),
            ("secrets", "pager", "pager2", false),
            ("clusters", "prod/shop/deployment/web", "prod/shop", true),
            ("clusters", "prod/shop", "prod/shop", true),
            ("clusters", "prod/shop", "prod/shopping", false),
            ("clusters", "prod/shop", "dev/shop", false),
            ("clusters", "prod", "prod", false),
            ("clusters", "prod/", "prod/", false),
            ("postgres", "orders", "orders", true),
            ("postgres", "orders", "orders__sternway_ab12", true),
            ("postgres", "orders", "orders2", false),
            ("postgres", "orders", "users", false),
            ("postgres", "", "orders", false),
            ("postgres", "", "", false),
            ("git", "/opt/app", "/opt/app", true),
            ("git", "/opt/app", "/opt/app/sub", true),
            ("git", "/opt/app", "/opt/app2", false),
            ("git", "/opt/app", "/opt/app/../b", false),
            ("git", "opt", "/opt", false),
        ];
        for (power, scope, wanted, expected) in cases {
            assert_eq!(covers(power, scope, wanted), expected, "{power} {scope} {wanted}");
        }
    }

    #[test]
    fn a_host_without_a_policy_permits_nothing() {
        let grant = Grant { power: "files".into(), scopes: vec!["/opt".into(), "/srv".into()] };
        assert_eq!(HostPolicy::default().refused(&grant), ["/opt", "/srv"]);
        let permit = |scope: &str| HostPolicy {
            permits: vec![Grant { power: "files".into(), scopes: vec![scope.into()] }],
        };
        assert_eq!(permit("/opt").refused(&grant), ["/srv"]);
        assert!(permit("*").refused(&grant).is_empty());
    }

    proptest! {
        #[test]
        fn a_covered_url_has_the_host_of_its_scope(
            text in "http://[a-z@:./%?#\\\\0-9]{0,24}",
        ) {
            if covers("http", "http://good/a", &text) {
                let rest = text.strip_prefix("http://good").unwrap();
                let rest = rest.strip_prefix(":80").unwrap_or(rest);
                prop_assert!(rest.starts_with("/a"), "{text}");
                prop_assert!(!rest.split('?').next().unwrap().contains(".."), "{text}");
            }
        }

        #[test]
        fn no_path_with_a_way_up_is_covered(
            parts in proptest::collection::vec("(\\.\\.|a|\\.|)", 1..6),
        ) {
            let text = format!("/opt/hello/{}", parts.join("/"));
            let plain = parts.iter().all(|part| part == "a");
            prop_assert_eq!(covers("files", "/opt/hello", &text), plain, "{}", text);
        }
    }
}
