//! The part of an object that a step changes: what it is now, and the JSON
//! patch that makes it another. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// JSON pointer to value; none where nothing stands.
pub(crate) type Part = BTreeMap<String, Option<Value>>;

pub(crate) fn part(object: &Value, pointers: &[&str]) -> Part {
    pointers.iter().map(|pointer| ((*pointer).to_owned(), object.pointer(pointer).cloned())).collect()
}

/// From one to the other, and only if nobody wrote since `version` was read:
/// the API answers 409 to a version that is no longer the newest.
pub(crate) fn patch(from: &Part, to: &Part, version: &str) -> Value {
    let mut ops = vec![json!({ "op": "replace", "path": "/metadata/resourceVersion", "value": version })];
    for (pointer, value) in to {
        match (from.get(pointer).and_then(Option::as_ref), value) {
            (old, Some(new)) if old == Some(new) => {}
            (_, Some(new)) => ops.push(json!({ "op": "add", "path": pointer, "value": new })),
            (Some(_), None) => ops.push(json!({ "op": "remove", "path": pointer })),
            (None, None) => {}
        }
    }
    Value::Array(ops)
}

/// Images of a pod template by container, as people want to see them.
pub(crate) fn images(template: Option<&Value>) -> String {
    let containers = template.and_then(|template| template.pointer("/spec/containers")?.as_array());
    let image = |container: &Value| {
        let text = |key: &str| container[key].as_str().unwrap_or_default().to_owned();
        format!("{} {}", text("name"), text("image"))
    };
    containers.into_iter().flatten().map(image).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_says_only_what_differs_and_guards_the_version() {
        let now = json!({"data": {"a": "1"}, "metadata": {"resourceVersion": "7"}});
        let pointers = ["/data", "/binaryData"];
        let from = part(&now, &pointers);
        let to = part(&json!({"binaryData": {"b": "eA=="}}), &pointers);
        assert_eq!(
            patch(&from, &to, "7"),
            json!([
                {"op": "replace", "path": "/metadata/resourceVersion", "value": "7"},
                {"op": "add", "path": "/binaryData", "value": {"b": "eA=="}},
                {"op": "remove", "path": "/data"},
            ])
        );
        assert_eq!(patch(&from, &from, "7").as_array().unwrap().len(), 1);
    }
}
