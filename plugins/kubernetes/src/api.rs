//! What this plugin asks the API, and what the answers mean.

use serde_json::Value;
use sternway_plugin::host::clusters::{self, Request};
use sternway_plugin::host::control;
use sternway_plugin::{Error, Kind};

use crate::decide::Object;
use crate::part::{self, Part};

const ANSWER_MS_MAX: u64 = 30_000;
/// A status is written all the time; each such write makes our version old.
const TRIES: u32 = 5;

/// The object as it is now.
pub(crate) fn get(object: &Object) -> Result<Value, Error> {
    ask(object, object.kind.group(), &format!("{}/{}", object.kind.plural(), object.name))
}

/// All objects of `plural` in the object's namespace that its selector finds.
pub(crate) fn selected(
    object: &Object,
    group: &str,
    plural: &str,
    selector: &str,
) -> Result<Vec<Value>, Error> {
    let list = ask(object, group, &format!("{plural}?labelSelector={selector}"))?;
    match list.get("items") {
        Some(Value::Array(items)) => Ok(items.clone()),
        _ => Ok(vec![]),
    }
}

/// Makes `from` to `to`; answers the object as it is then. Refuses when the
/// object's part is neither: somebody changed it meanwhile.
pub(crate) fn change(object: &Object, from: &Part, to: &Part) -> Result<Value, Error> {
    let pointers: Vec<&str> = to.keys().map(String::as_str).collect();
    for _ in 0..TRIES {
        let now = get(object)?;
        let part = part::part(&now, &pointers);
        if part == *to {
            return Ok(now);
        }
        if part != *from {
            return Err(changed_meanwhile(object));
        }
        let version = now.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default();
        let patch = part::patch(from, to, version);
        match send(object, "PATCH", &path(object), Some(&patch))? {
            (200, answer) => return Ok(answer),
            (409, _) => {}
            (status, answer) => return Err(refusal(object, status, &answer)),
        }
        if !control::sleep(100) {
            return Err(Error::cancelled(format!("stopped before {object} was changed")));
        }
    }
    Err(Error::conflict(
        "kubernetes/conflict",
        format!("{object} was written {TRIES} times while it was to be changed"),
    ))
}

pub(crate) fn changed_meanwhile(object: &Object) -> Error {
    Error::conflict(
        "kubernetes/changed-meanwhile",
        format!("{object} is neither as this step found it nor as it left it: somebody changed it meanwhile"),
    )
}

/// `app=web,tier in (a)` as a query holds it: labels and expressions of a selector.
pub(crate) fn selector(object: &Value) -> Option<String> {
    let selector = object.pointer("/spec/selector")?;
    let mut terms = Vec::new();
    for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
        terms.push(format!("{key}={}", value.as_str()?));
    }
    for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
        let key = expression["key"].as_str()?;
        let values: Vec<&str> =
            expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        terms.push(match expression["operator"].as_str()? {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return None,
        });
    }
    (!terms.is_empty()).then(|| encode(&terms.join(",")))
}

fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn path(object: &Object) -> String {
    format!("{}/{}?fieldManager=sternway", object.kind.plural(), object.name)
}

fn ask(object: &Object, group: &str, rest: &str) -> Result<Value, Error> {
    match request(object, "GET", group, rest, None)? {
        (200, answer) => Ok(answer),
        (status, answer) => Err(refusal(object, status, &answer)),
    }
}

fn send(object: &Object, method: &str, rest: &str, body: Option<&Value>) -> Result<(u16, Value), Error> {
    request(object, method, object.kind.group(), rest, body)
}

fn request(
    object: &Object,
    method: &str,
    group: &str,
    rest: &str,
    body: Option<&Value>,
) -> Result<(u16, Value), Error> {
    let response = clusters::send(&Request {
        cluster: object.cluster.clone(),
        namespace: object.namespace.clone(),
        method: method.to_owned(),
        group: group.to_owned(),
        rest: rest.to_owned(),
        content_type: body.map_or("", |_| "application/json-patch+json").to_owned(),
        body: body.map(|body| body.to_string().into_bytes()).unwrap_or_default(),
        timeout_ms: control::limits().remaining_ms.min(ANSWER_MS_MAX),
    })?;
    let answer = match serde_json::from_slice(&response.body) {
        Ok(answer) => answer,
        Err(_) if response.status != 200 => Value::Null,
        Err(cause) => {
            let message = format!("cluster {} answered what is no JSON: {cause}", object.cluster);
            return Err(Error::failed("kubernetes/answer", message));
        }
    };
    Ok((response.status, answer))
}

/// The API says in `message` why not.
fn refusal(object: &Object, status: u16, answer: &Value) -> Error {
    let said = answer["message"].as_str().unwrap_or("it does not say why");
    let (kind, code) = match status {
        401 => (Kind::Denied, "kubernetes/unauthorized"),
        403 => (Kind::Denied, "kubernetes/forbidden"),
        404 => (Kind::NotFound, "kubernetes/not-found"),
        409 => (Kind::Conflict, "kubernetes/conflict"),
        422 | 400 => (Kind::Invalid, "kubernetes/invalid"),
        429 | 500..=599 => (Kind::Transient, "kubernetes/unavailable"),
        _ => (Kind::Failed, "kubernetes/refused"),
    };
    Error { kind, code: code.to_owned(), message: format!("{object}: the API answers {status}: {said}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_selector_becomes_one_query() {
        let object = |selector: Value| json!({ "spec": { "selector": selector } });
        assert_eq!(
            selector(&object(json!({"matchLabels": {"app": "web", "tier": "a"}}))).unwrap(),
            "app%3Dweb%2Ctier%3Da"
        );
        let expressions = json!({"matchExpressions": [
            {"key": "a", "operator": "In", "values": ["b", "c"]}, {"key": "d/e", "operator": "DoesNotExist"},
        ]});
        assert_eq!(selector(&object(expressions)).unwrap(), "a%20in%20%28b%2Cc%29%2C%21d/e");
        assert_eq!(selector(&object(json!({}))), None);
    }
}
