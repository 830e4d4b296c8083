//! `kubernetes` killed at every host call, before and after its effect.

#![expect(clippy::unwrap_used, reason = "what cannot be set up ends the test where it stands")]

mod cluster;

use cluster::{template, world};
use kubernetes::Kubernetes;
use serde_json::{Value, json};
use sternway_plugin::rehearsal::{Goal, World, crash_matrix, run, try_run};

const UNDO: &str = r#"{"undo-rollout": "prod/shop/deployment/web", "within": "2s"}"#;
const FROM_POINT: &str = r#"{"configmap": "prod/shop/web-config", "from": "/etc/shop/web-config.yaml"}"#;

fn held(world: &World, key: &str) -> Value {
    serde_json::from_str(&world.model[key]).unwrap()
}

fn applied(settings: &str) -> World {
    run::<Kubernetes>(world(), settings, None, Goal::Applied, None)
}

#[test]
fn a_crash_anywhere_ends_as_no_crash() {
    for settings in [
        UNDO,
        r#"{"undo-rollout": "prod/shop/daemonset/log", "to-revision": 1}"#,
        r#"{"undo-rollout": "prod/shop/statefulset/db"}"#,
        r#"{"restart": ["prod/shop/deployment/web", "prod/shop/statefulset/db"]}"#,
        r#"{"scale": "prod/shop/deployment/web", "replicas": 5}"#,
        r#"{"configmap": "prod/shop/web-config", "data": {"PORT": "80"}}"#,
        FROM_POINT,
        r#"{"check": ["prod/shop/deployment/web", "prod/shop/daemonset/log"]}"#,
    ] {
        assert!(crash_matrix::<Kubernetes>(&world(), settings, None) > 10, "{settings}");
    }
}

#[test]
fn each_mode_does_what_its_name_says() {
    assert_eq!(held(&applied(UNDO), "deployments/web template"), template("web", "1.1"));
    let first = applied(r#"{"undo-rollout": "prod/shop/statefulset/db", "to-revision": 1}"#);
    assert_eq!(held(&first, "statefulsets/db template"), template("db", "1.0"));
    let restarted = held(&applied(r#"{"restart": "prod/shop/deployment/web"}"#), "deployments/web template");
    let annotation = &restarted["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"];
    assert_eq!(annotation, "1970-01-01T00:00:00Z");
    let scaled = applied(r#"{"scale": "prod/shop/statefulset/db", "replicas": 0}"#);
    assert_eq!(held(&scaled, "statefulsets/db replicas"), json!(0));
    assert_eq!(held(&applied(FROM_POINT), "configmaps/web-config data"), json!({"PORT": "80"}));
}

#[test]
fn a_status_written_meanwhile_is_no_conflict() {
    let mut world = world();
    world.keys.extend(["busy deployments/web".to_owned(), "busy deployments/web".to_owned()]);
    let ended = run::<Kubernetes>(world, UNDO, None, Goal::Applied, None);
    assert_eq!(held(&ended, "deployments/web template"), template("web", "1.1"));
}

#[test]
fn what_somebody_changed_meanwhile_is_not_overwritten() {
    let (mut ended, result) = try_run::<Kubernetes>(world(), UNDO, None, Goal::Applied);
    assert_eq!(result, Ok(()));
    let planned = json!([{
        "object": {"cluster": "prod", "namespace": "shop", "kind": "deployment", "name": "web"},
        "from": {"/spec/template": template("web", "1.2")}, "to": {"/spec/template": template("web", "1.1")}, "was_whole": true,
    }]);
    ended.model.insert("deployments/web template".into(), template("web", "2.0").to_string());
    let failure = sternway_plugin::rehearsal::undo_alone::<Kubernetes>(ended, UNDO, &planned).unwrap_err();
    assert_eq!((failure.error.code.as_str(), failure.undo_advised), ("kubernetes/changed-meanwhile", false));
}

#[test]
fn a_rollout_that_does_not_come_through_says_which_pod_and_why() {
    let mut world = world();
    world.model.insert("stuck".into(), String::new());
    let (ended, result) = try_run::<Kubernetes>(world, UNDO, None, Goal::Applied);
    let error = result.unwrap_err().error;
    assert_eq!(error.code, "kubernetes/not-rolled-out");
    assert!(error.message.contains("0 of 3 pods are available"), "{}", error.message);
    assert!(error.message.ends_with("pod web-6c-x2: ImagePullBackOff"), "{}", error.message);
    assert_eq!(
        held(&ended, "deployments/web template"),
        template("web", "1.1"),
        "undo is the agent's to call"
    );
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_touched() {
    let with = |key: &str, value: &str| {
        let mut world = world();
        world.model.insert(key.into(), value.into());
        world
    };
    let young = || {
        let mut world = world();
        world.keys.retain(|key| !key.starts_with("revision deployments/web") || key.contains("web 3 "));
        world
    };
    let point = |text: Option<&str>| {
        let mut world = world();
        world.point.clear();
        if let Some(text) = text {
            world.point.insert("/etc/shop/web-config.yaml".into(), text.into());
        }
        world
    };
    let cases = [
        (World { clusters: None, ..world() }, UNDO, "clusters/unknown"),
        (with("refuses", "403"), UNDO, "kubernetes/forbidden"),
        (with("refuses", "401"), UNDO, "kubernetes/unauthorized"),
        (with("refuses", "503"), UNDO, "kubernetes/unavailable"),
        (with("paused", ""), UNDO, "kubernetes/paused"),
        (with("strategy", "OnDelete"), r#"{"restart": "prod/shop/daemonset/log"}"#, "kubernetes/on-delete"),
        (world(), r#"{"undo-rollout": "prod/shop/deployment/gone"}"#, "kubernetes/not-found"),
        (
            world(),
            r#"{"undo-rollout": "prod/shop/deployment/web", "to-revision": 9}"#,
            "kubernetes/no-revision",
        ),
        (young(), UNDO, "kubernetes/no-revision"),
        (point(None), FROM_POINT, "kubernetes/not-in-point"),
        (
            point(Some("kind: Secret\nmetadata: {name: web-config}\n")),
            FROM_POINT,
            "kubernetes/not-a-configmap",
        ),
        (point(Some("data: [")), FROM_POINT, "kubernetes/not-a-configmap"),
    ];
    for (world, settings, code) in cases {
        let before = world.content();
        let (ended, result) = try_run::<Kubernetes>(world, settings, None, Goal::Applied);
        let error = result.unwrap_err().error;
        assert_eq!(error.code, code, "{settings}: {}", error.message);
        assert_eq!(ended.content(), before, "{settings}");
    }
}
