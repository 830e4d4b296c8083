//! Powers: what a step may touch. The effective power of a call is
//! asked (manifest) ∩ allowed (the signed plan) ∩ permitted (the host).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::manifest::PowerAsk;

/// One power with its bounds, as it stands in a signed plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// `files`, `files-read`, `points`, `services`, `systemd`, `http`, `secrets`, `databases`, `sockets`,
    /// `mail`, `clusters`, or the first part of a program's form: `postgres`, `git` ...
    pub power: String,
    /// Paths, names, addresses or URLs; sorted and unique. Empty grants nothing.
    pub scopes: Vec<String>,
}

/// The grants that a step's settings ask for: each power, bounded by the
/// settings its manifest names. A power with no scope is left out.
pub fn asked(powers: &[PowerAsk], settings: &Value, undo: Option<&Value>) -> Vec<Grant> {
    powers
        .iter()
        .filter_map(|ask| {
            let mut scopes: Vec<String> = ask
                .scope_from
                .iter()
                .flat_map(|place| [Some(settings), undo].map(|settings| (settings, place)))
                .filter_map(|(settings, place)| Some((settings?, place)))
                .flat_map(|(settings, place)| at(settings, place))
                .flat_map(texts)
                .collect();
            scopes.sort();
            scopes.dedup();
            (!scopes.is_empty()).then(|| Grant { power: ask.name.clone(), scopes })
        })
        .collect()
}

/// What stands at a place in settings: keys with dots between them, and `*` for
/// every value of a table or list.
pub fn at<'v>(settings: &'v Value, place: &str) -> Vec<&'v Value> {
    place.split('.').fold(vec![settings], |found, key| {
        let below = found.into_iter().flat_map(|value| match (key, value) {
            ("*", Value::Object(table)) => table.values().collect::<Vec<_>>(),
            ("*", Value::Array(items)) => items.iter().collect(),
            _ => value.get(key).into_iter().collect(),
        });
        below.collect()
    })
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(table) => table.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_power_reaches_exactly_what_the_settings_name() {
        let asks = [
            PowerAsk {
                name: "files".into(),
                scope_from: vec!["restore".into(), "remove".into()],
                reason: String::new(),
            },
            PowerAsk { name: "points".into(), scope_from: vec!["restore".into()], reason: String::new() },
            PowerAsk { name: "http".into(), scope_from: vec!["put".into()], reason: String::new() },
        ];
        let settings = json!({ "restore": ["/opt/b", "/opt/a"], "remove": "/opt/a", "owner": "root" });
        let undo = json!({ "put": "http://lb/x" });
        assert_eq!(
            asked(&asks, &settings, Some(&undo)),
            [
                Grant { power: "files".into(), scopes: vec!["/opt/a".into(), "/opt/b".into()] },
                Grant { power: "points".into(), scopes: vec!["/opt/a".into(), "/opt/b".into()] },
                Grant { power: "http".into(), scopes: vec!["http://lb/x".into()] },
            ]
        );
        assert_eq!(asked(&asks, &json!({}), None), []);
    }

    #[test]
    fn a_scope_may_stand_deeper_and_be_every_value_of_a_table() {
        let settings = json!({
            "unpack": { "/opt/app": "/srv/app.tar" },
            "upstream": { "file": "/etc/nginx/up.conf" },
            "checks": [{ "url": "http://a/" }, { "url": "http://b/" }],
        });
        let scopes = |place: &str| {
            let ask = PowerAsk { name: "x".into(), scope_from: vec![place.into()], reason: String::new() };
            asked(&[ask], &settings, None).into_iter().flat_map(|grant| grant.scopes).collect::<Vec<_>>()
        };
        assert_eq!(scopes("unpack"), ["/opt/app"]);
        assert_eq!(scopes("unpack.*"), ["/srv/app.tar"]);
        assert_eq!(scopes("upstream.file"), ["/etc/nginx/up.conf"]);
        assert_eq!(scopes("checks.*.url"), ["http://a/", "http://b/"]);
        assert_eq!(scopes("upstream.none"), [""; 0]);
    }
}
