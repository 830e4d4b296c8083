//! Powers: what a step may touch. The effective power of a call is
//! asked (manifest) ∩ allowed (the signed plan) ∩ permitted (the host).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::manifest::PowerAsk;

/// One power with its bounds, as it stands in a signed plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// `files`, `services`, `http`, `databases` or `points`.
    pub power: String,
    /// Paths, service names or URLs; sorted and unique. Empty grants nothing.
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
                .flat_map(|key| [settings.get(key), undo.and_then(|undo| undo.get(key))])
                .flatten()
                .flat_map(texts)
                .collect();
            scopes.sort();
            scopes.dedup();
            (!scopes.is_empty()).then(|| Grant { power: ask.name.clone(), scopes })
        })
        .collect()
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
}
