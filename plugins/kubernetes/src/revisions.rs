//! Earlier revisions of a workload, as its controller keeps them: replica sets
//! of a deployment, controller revisions of the others. Pure but for the asking.

use serde_json::{Map, Value};
use sternway_plugin::Error;

use crate::api;
use crate::decide::{Kind, Object};

const REVISION: &str = "/metadata/annotations/deployment.kubernetes.io~1revision";
/// Added by the controller to each replica set's own copy.
const HASH: &str = "pod-template-hash";

/// One earlier pod template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Revision {
    pub(crate) number: i64,
    pub(crate) template: Value,
}

/// All that are kept, the newest last.
pub(crate) fn all(object: &Object, now: &Value) -> Result<Vec<Revision>, Error> {
    let Some(selector) = api::selector(now) else { return Ok(vec![]) };
    let plural = if object.kind == Kind::Deployment { "replicasets" } else { "controllerrevisions" };
    let items = api::selected(object, "apps/v1", plural, &selector)?;
    Ok(read(object.kind, now, &items))
}

fn read(kind: Kind, now: &Value, items: &[Value]) -> Vec<Revision> {
    let uid = now.pointer("/metadata/uid");
    let is_owned = |item: &&Value| {
        let owners = item.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        owners.into_iter().flatten().any(|owner| owner.get("uid").is_some() && owner.get("uid") == uid)
    };
    let revision = |item: &Value| match kind {
        Kind::Deployment => Some(Revision {
            number: item.pointer(REVISION)?.as_str()?.parse().ok()?,
            template: without_hash(item.pointer("/spec/template")?),
        }),
        _ => Some(Revision {
            number: item.get("revision")?.as_i64()?,
            template: without_directive(item.pointer("/data/spec/template")?),
        }),
    };
    let mut found: Vec<Revision> = items.iter().filter(is_owned).filter_map(revision).collect();
    found.sort_by_key(|revision| revision.number);
    found
}

/// The revision that `template` is; the newest of several.
pub(crate) fn present<'r>(revisions: &'r [Revision], template: &Value) -> Option<&'r Revision> {
    revisions.iter().rev().find(|revision| revision.template == *template)
}

/// Where to go: the one asked for, or the newest that is another template.
pub(crate) fn wanted<'r>(
    revisions: &'r [Revision],
    template: &Value,
    to_revision: Option<i64>,
) -> Result<&'r Revision, String> {
    let known = || {
        let numbers: Vec<String> = revisions.iter().map(|revision| revision.number.to_string()).collect();
        if numbers.is_empty() { "none".to_owned() } else { numbers.join(", ") }
    };
    match to_revision {
        Some(number) => revisions
            .iter()
            .find(|revision| revision.number == number)
            .ok_or_else(|| format!("there is no revision {number}; kept are: {}", known())),
        None => {
            let newest = present(revisions, template).map_or(i64::MAX, |revision| revision.number);
            let earlier = |revision: &&Revision| revision.number < newest && revision.template != *template;
            revisions
                .iter()
                .rev()
                .find(earlier)
                .ok_or_else(|| format!("there is no earlier revision; kept are: {}", known()))
        }
    }
}

fn without_hash(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.shift_remove(HASH);
    }
    template
}

/// Controller revisions are stored as patches that replace the template.
fn without_directive(template: &Value) -> Value {
    match template {
        Value::Object(template) => {
            let kept = template.iter().filter(|(key, _)| *key != "$patch");
            Value::Object(kept.map(|(key, value)| (key.clone(), value.clone())).collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn replica_set(owner: &str, revision: &str, image: &str) -> Value {
        json!({
            "metadata": {
                "name": format!("web-{revision}"),
                "annotations": { "deployment.kubernetes.io/revision": revision, "deployment.kubernetes.io/desired-replicas": "3" },
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": owner, "controller": true }],
            },
            "spec": { "template": {
                "metadata": { "labels": { "app": "web", "pod-template-hash": "5d4f" } },
                "spec": { "containers": [{ "name": "web", "image": image }] },
            }},
        })
    }

    #[test]
    fn only_the_deployments_own_replica_sets_count_and_lose_their_hash() {
        let now = json!({"metadata": {"uid": "u1"}});
        let items = [
            replica_set("u1", "10", "b"),
            replica_set("u2", "4", "x"),
            replica_set("u1", "9", "a"),
            json!({"metadata": {}}),
        ];
        let found = read(Kind::Deployment, &now, &items);
        assert_eq!(
            found.iter().map(|one| one.number).collect::<Vec<_>>(),
            [9, 10],
            "as numbers, not as texts"
        );
        assert_eq!(found[0].template["metadata"]["labels"], json!({"app": "web"}));
        let nobodys = json!({"metadata": {}});
        assert!(
            read(Kind::Deployment, &nobodys, &[json!({"metadata": {"ownerReferences": [{}]}})]).is_empty()
        );
    }

    /// The body that `kubectl rollout undo` 1.32.4 sent for the replica set below.
    const KUBECTL: &str = include_str!("revisions/kubectl-rollout-undo.json");

    #[test]
    fn the_template_is_the_one_kubectl_would_send() {
        let recorded: Value = serde_json::from_str(KUBECTL).unwrap();
        let op = recorded.as_array().unwrap().iter().find(|op| op["path"] == "/spec/template").unwrap();
        let mut template = op["value"].clone();
        template["metadata"]["labels"]["pod-template-hash"] = json!("h1");
        let set = json!({
            "metadata": {
                "annotations": { "deployment.kubernetes.io/revision": "1" },
                "ownerReferences": [{ "kind": "Deployment", "name": "web", "uid": "u1", "controller": true }],
            },
            "spec": { "template": template },
        });
        let found = read(Kind::Deployment, &json!({ "metadata": { "uid": "u1" } }), &[set]);
        assert_eq!(found[0].template, op["value"]);
    }

    #[test]
    fn controller_revisions_are_read_without_their_patch_directive() {
        let now = json!({"metadata": {"uid": "u1"}});
        let item = json!({"metadata": {"name": "db-7f", "ownerReferences": [{"uid": "u1"}]}, "revision": 3,
            "data": {"spec": {"template": {"$patch": "replace", "spec": {"containers": []}}}}});
        let found = read(Kind::StatefulSet, &now, &[item]);
        assert_eq!(found, [Revision { number: 3, template: json!({"spec": {"containers": []}}) }]);
    }

    #[test]
    fn the_one_before_is_the_newest_that_is_another() {
        let of = |number: i64, image: &str| Revision { number, template: json!(image) };
        let kept = [of(3, "a"), of(4, "b"), of(6, "c")];
        assert_eq!(wanted(&kept, &json!("c"), None).unwrap().number, 4);
        assert_eq!(wanted(&kept, &json!("b"), None).unwrap().number, 3);
        assert_eq!(wanted(&kept, &json!("c"), Some(3)).unwrap().number, 3);
        assert_eq!(
            wanted(&kept, &json!("c"), Some(5)).unwrap_err(),
            "there is no revision 5; kept are: 3, 4, 6"
        );
        assert_eq!(
            wanted(&kept, &json!("a"), None).unwrap_err(),
            "there is no earlier revision; kept are: 3, 4, 6"
        );
        assert_eq!(
            wanted(&[], &json!("a"), None).unwrap_err(),
            "there is no earlier revision; kept are: none"
        );
        assert_eq!(present(&kept, &json!("b")).unwrap().number, 4);
    }
}
