//! The API of a cluster with its controllers, as far as this plugin asks it.
//! The shapes are those of the API's reference (apps/v1, v1): modelled, not
//! recorded. What counts stands in the world's model; versions, generations and
//! kept revisions, which only grow, stand in its keys.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sternway_plugin::Error;
use sternway_plugin::host::clusters::{Request, Response};
use sternway_plugin::rehearsal::World;

pub(crate) fn world() -> World {
    let mut world = World { clusters: Some(answer), ..World::default() };
    for (kind, name, replicas) in
        [("deployments", "web", 3), ("daemonsets", "log", 2), ("statefulsets", "db", 2)]
    {
        for (revision, tag) in [(1, "1.0"), (2, "1.1"), (3, "1.2")] {
            world.keys.push(format!("revision {kind}/{name} {revision} {}", template(name, tag)));
        }
        world.model.insert(format!("{kind}/{name} template"), template(name, "1.2").to_string());
        world.model.insert(format!("{kind}/{name} replicas"), replicas.to_string());
    }
    world.model.insert("configmaps/web-config data".into(), r#"{"PORT":"81","MODE":"new"}"#.into());
    world.point = BTreeMap::from([(
        "/etc/shop/web-config.yaml".to_owned(),
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: web-config\ndata:\n  PORT: \"80\"\n".to_owned(),
    )]);
    world
}

pub(crate) fn template(name: &str, tag: &str) -> Value {
    json!({
        "metadata": { "labels": { "app": name } },
        "spec": { "containers": [{ "name": name, "image": format!("shop/{name}:{tag}"), "imagePullPolicy": "IfNotPresent" }] },
    })
}

fn answer(world: &mut World, request: &Request) -> Result<Response, Error> {
    assert_eq!((request.cluster.as_str(), request.namespace.as_str()), ("prod", "shop"));
    let said = |status: u16, body: Value| Ok(Response { status, body: body.to_string().into_bytes() });
    if let Some(status) = world.model.get("refuses").and_then(|status| status.parse().ok()) {
        return said(
            status,
            json!({"kind": "Status", "status": "Failure", "message": "deployments.apps \"web\" is forbidden"}),
        );
    }
    let (path, query) = request.rest.split_once('?').unwrap_or((&request.rest, ""));
    match (request.method.as_str(), path.split('/').collect::<Vec<_>>().as_slice()) {
        ("GET", [kind @ ("replicasets" | "controllerrevisions")]) => {
            let app = query.strip_prefix("labelSelector=app%3D").expect("a selector");
            said(200, json!({"kind": "List", "metadata": {}, "items": kept(world, kind, app)}))
        }
        ("GET", ["pods"]) => said(
            200,
            json!({"items": [{
                "metadata": {"name": "web-6c-x2"},
                "status": {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]},
            }]}),
        ),
        ("GET", [_, _]) => match object(world, path) {
            Some(object) => said(200, object),
            None => said(404, json!({"kind": "Status", "message": format!("{path} not found")})),
        },
        ("PATCH", [_, _]) => {
            assert_eq!(request.content_type, "application/json-patch+json");
            let ops: Vec<Value> = serde_json::from_slice(&request.body).unwrap();
            let (status, body) = patched(world, path, &ops);
            said(status, body)
        }
        other => panic!("nobody asks {other:?}"),
    }
}

fn patched(world: &mut World, path: &str, ops: &[Value]) -> (u16, Value) {
    let current = version(world, path).to_string();
    if ops[0]["value"] != current.as_str() || count(world, &format!("busy {path}")) > 0 {
        // Somebody wrote its status meanwhile.
        if let Some(at) = world.keys.iter().position(|key| *key == format!("busy {path}")) {
            world.keys.remove(at);
        }
        return (
            409,
            json!({"kind": "Status", "reason": "Conflict", "message": "the object has been modified"}),
        );
    }
    for op in &ops[1..] {
        let value = &op["value"];
        let key = match op["path"].as_str().unwrap() {
            "/spec/template" => "template",
            "/spec/replicas" => "replicas",
            "/data" => "data",
            "/binaryData" => "binary",
            other => panic!("nobody patches {other}"),
        };
        match op["op"].as_str().unwrap() {
            "add" => drop(world.model.insert(format!("{path} {key}"), value.to_string())),
            _ => drop(world.model.remove(&format!("{path} {key}"))),
        }
        if key == "template" {
            world.keys.push(format!("generation {path}"));
            roll(world, path, value);
        }
    }
    world.keys.push(format!("version {path}"));
    (200, object(world, path).unwrap())
}

/// The controller keeps each template once; one that comes again gets the newest number.
fn roll(world: &mut World, path: &str, template: &Value) {
    let newest = revisions(world, path).iter().map(|(number, _)| *number).max().unwrap_or(0);
    let text = template.to_string();
    world.keys.retain(|key| !(key.starts_with(&format!("revision {path} ")) && key.ends_with(&text)));
    world.keys.push(format!("revision {path} {} {text}", newest + 1));
}

fn object(world: &World, path: &str) -> Option<Value> {
    let (kind, name) = path.split_once('/').unwrap();
    let read = |key: &str| serde_json::from_str::<Value>(world.model.get(&format!("{path} {key}"))?).ok();
    let metadata = json!({ "name": name, "namespace": "shop", "uid": format!("uid-{name}"),
        "resourceVersion": version(world, path).to_string(), "generation": generation(world, path) });
    if kind == "configmaps" {
        let mut map =
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": read("data")? });
        if let Some(binary) = read("binary") {
            map["binaryData"] = binary;
        }
        return Some(map);
    }
    let (template, replicas) = (read("template")?, read("replicas")?);
    let newest = revisions(world, path).iter().map(|(number, _)| *number).max().unwrap_or(0);
    let stuck = world.model.contains_key("stuck");
    let whole = json!({
        "observedGeneration": generation(world, path), "replicas": replicas, "updatedReplicas": replicas,
        "readyReplicas": replicas, "availableReplicas": if stuck { json!(0) } else { replicas.clone() },
        "desiredNumberScheduled": replicas, "updatedNumberScheduled": replicas, "numberAvailable": replicas,
        "currentRevision": format!("r{newest}"), "updateRevision": format!("r{newest}"),
        "conditions": [{ "type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable" }],
    });
    let mut object = json!({
        "apiVersion": "apps/v1", "metadata": metadata, "status": whole,
        "spec": { "replicas": replicas, "selector": { "matchLabels": { "app": name } }, "template": template,
            "updateStrategy": { "type": world.model.get("strategy").map_or("RollingUpdate", String::as_str) } },
    });
    object["spec"]["paused"] = json!(world.model.contains_key("paused"));
    if kind == "deployments" {
        object["metadata"]["annotations"] =
            json!({ "deployment.kubernetes.io/revision": newest.to_string() });
    }
    Some(object)
}

fn kept(world: &World, kind: &str, app: &str) -> Vec<Value> {
    let path = match (kind, app) {
        ("replicasets", _) => format!("deployments/{app}"),
        (_, "log") => format!("daemonsets/{app}"),
        _ => format!("statefulsets/{app}"),
    };
    let owner =
        json!([{ "apiVersion": "apps/v1", "name": app, "uid": format!("uid-{app}"), "controller": true }]);
    let one = |(number, mut template): (i64, Value)| {
        if kind == "replicasets" {
            template["metadata"]["labels"]["pod-template-hash"] = json!(format!("5d4f{number}"));
            let notes = json!({ "deployment.kubernetes.io/revision": number.to_string() });
            return json!({ "metadata": { "name": format!("{app}-{number}"), "annotations": notes, "ownerReferences": owner },
                "spec": { "template": template } });
        }
        template["$patch"] = json!("replace");
        json!({ "metadata": { "name": format!("{app}-{number}"), "ownerReferences": owner }, "revision": number,
            "data": { "spec": { "template": template } } })
    };
    let mut items: Vec<Value> = revisions(world, &path).into_iter().map(one).collect();
    let strangers = json!({ "metadata": { "name": "other", "ownerReferences": [{ "uid": "uid-other" }],
        "annotations": { "deployment.kubernetes.io/revision": "99" } }, "revision": 99,
        "spec": { "template": {} }, "data": { "spec": { "template": {} } } });
    items.push(strangers);
    items
}

fn revisions(world: &World, path: &str) -> Vec<(i64, Value)> {
    let read = |key: &String| {
        let (number, template) = key.strip_prefix(&format!("revision {path} "))?.split_once(' ')?;
        Some((number.parse().ok()?, serde_json::from_str(template).ok()?))
    };
    world.keys.iter().filter_map(read).collect()
}

fn version(world: &World, path: &str) -> usize {
    100 + count(world, &format!("version {path}"))
}

fn generation(world: &World, path: &str) -> usize {
    1 + count(world, &format!("generation {path}"))
}

fn count(world: &World, key: &str) -> usize {
    world.keys.iter().filter(|known| *known == key).count()
}
