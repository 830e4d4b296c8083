//! How far a rollout is, from what the API says of a workload: the same
//! questions in the same order as `kubectl rollout status`. Pure.

use serde_json::Value;

use crate::decide::Kind;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Progress {
    Done,
    Waiting(String),
    /// Waiting will not help.
    Failed(String),
}

pub(crate) fn progress(kind: Kind, object: &Value) -> Progress {
    if kind != Kind::ConfigMap
        && number(object, "/metadata/generation") > number(object, "/status/observedGeneration")
    {
        return Progress::Waiting("its controller has not seen the change yet".into());
    }
    match kind {
        Kind::Deployment => deployment(object),
        Kind::DaemonSet => daemonset(object),
        Kind::StatefulSet => statefulset(object),
        Kind::ConfigMap => Progress::Done,
    }
}

fn deployment(object: &Value) -> Progress {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let progressing = conditions.into_iter().flatten().find(|condition| condition["type"] == "Progressing");
    if let Some(condition) = progressing
        && condition["reason"] == "ProgressDeadlineExceeded"
    {
        let said = condition["message"].as_str().unwrap_or_default();
        return Progress::Failed(format!("it exceeded its progress deadline: {said}"));
    }
    let wanted = object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    let updated = number(object, "/status/updatedReplicas");
    let all = number(object, "/status/replicas");
    let available = number(object, "/status/availableReplicas");
    if updated < wanted {
        return Progress::Waiting(format!("{updated} of {wanted} pods are new"));
    }
    if all > updated {
        return Progress::Waiting(format!("{} old pods are still there", all - updated));
    }
    if available < updated {
        return Progress::Waiting(format!("{available} of {updated} pods are available"));
    }
    Progress::Done
}

fn daemonset(object: &Value) -> Progress {
    let wanted = number(object, "/status/desiredNumberScheduled");
    let updated = number(object, "/status/updatedNumberScheduled");
    let available = number(object, "/status/numberAvailable");
    if updated < wanted {
        return Progress::Waiting(format!("{updated} of {wanted} pods are new"));
    }
    if available < wanted {
        return Progress::Waiting(format!("{available} of {wanted} pods are available"));
    }
    Progress::Done
}

fn statefulset(object: &Value) -> Progress {
    let wanted = object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    let ready = number(object, "/status/readyReplicas");
    if ready < wanted {
        return Progress::Waiting(format!("{ready} of {wanted} pods are ready"));
    }
    if number(object, "/status/replicas") > wanted {
        return Progress::Waiting("more pods than wanted are still there".into());
    }
    let partition = number(object, "/spec/updateStrategy/rollingUpdate/partition");
    let updated = number(object, "/status/updatedReplicas");
    if partition > 0 {
        return match updated < wanted - partition {
            true => Progress::Waiting(format!("{updated} of {} pods are new", wanted - partition)),
            false => Progress::Done,
        };
    }
    let revision = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    if revision("/status/updateRevision") != revision("/status/currentRevision") {
        return Progress::Waiting(format!("{updated} of {wanted} pods are new"));
    }
    Progress::Done
}

/// Why a workload cannot be rolled out at all; none when it can.
pub(crate) fn hindrance(kind: Kind, object: &Value) -> Option<(&'static str, String)> {
    if object.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null()) {
        return Some(("kubernetes/going", "it is being deleted".into()));
    }
    if kind == Kind::Deployment && object.pointer("/spec/paused") == Some(&Value::Bool(true)) {
        return Some(("kubernetes/paused", "it is paused: `kubectl rollout resume` it first".into()));
    }
    let strategy = object.pointer("/spec/updateStrategy/type").and_then(Value::as_str);
    if strategy == Some("OnDelete") {
        return Some(("kubernetes/on-delete", "its pods change only when somebody deletes them".into()));
    }
    if kind == Kind::ConfigMap && object["immutable"] == Value::Bool(true) {
        return Some(("kubernetes/immutable", "it is immutable".into()));
    }
    None
}

fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn waiting(text: &str) -> Progress {
        Progress::Waiting(text.into())
    }

    fn deployment(generation: i64, status: Value) -> Value {
        json!({"metadata": {"generation": generation}, "spec": {"replicas": 3}, "status": status})
    }

    #[test]
    fn a_deployment_is_done_when_all_its_pods_are_new_and_available() {
        let status = |updated: i64, all: i64, available: i64| json!({"observedGeneration": 4, "replicas": all, "updatedReplicas": updated, "availableReplicas": available});
        for (object, expected) in [
            (deployment(5, status(3, 3, 3)), waiting("its controller has not seen the change yet")),
            (deployment(4, status(1, 3, 3)), waiting("1 of 3 pods are new")),
            (deployment(4, status(3, 4, 3)), waiting("1 old pods are still there")),
            (deployment(4, status(3, 3, 2)), waiting("2 of 3 pods are available")),
            (deployment(4, status(3, 3, 3)), Progress::Done),
            (deployment(0, json!({})), waiting("0 of 3 pods are new")),
        ] {
            assert_eq!(progress(Kind::Deployment, &object), expected, "{object}");
        }
        let mut late = deployment(4, status(1, 3, 2));
        late["status"]["conditions"] = json!([{"type": "Available"}, {"type": "Progressing", "status": "False",
            "reason": "ProgressDeadlineExceeded", "message": "ReplicaSet \"web-5d\" has timed out progressing."}]);
        let Progress::Failed(why) = progress(Kind::Deployment, &late) else { panic!("it waits for ever") };
        assert!(why.ends_with("has timed out progressing."), "{why}");
    }

    #[test]
    fn daemonsets_and_statefulsets_have_counters_of_their_own() {
        let ds = |updated: i64, available: i64| {
            json!({"metadata": {"generation": 1}, "status": {"observedGeneration": 1, "desiredNumberScheduled": 2,
                "updatedNumberScheduled": updated, "numberAvailable": available}})
        };
        assert_eq!(progress(Kind::DaemonSet, &ds(1, 2)), waiting("1 of 2 pods are new"));
        assert_eq!(progress(Kind::DaemonSet, &ds(2, 1)), waiting("1 of 2 pods are available"));
        assert_eq!(progress(Kind::DaemonSet, &ds(2, 2)), Progress::Done);
        let sts = |ready: i64, updated: i64, now: &str, next: &str| {
            json!({"metadata": {"generation": 1}, "spec": {"replicas": 2}, "status": {"observedGeneration": 1, "replicas": 2,
                "readyReplicas": ready, "updatedReplicas": updated, "currentRevision": now, "updateRevision": next}})
        };
        assert_eq!(progress(Kind::StatefulSet, &sts(1, 2, "a", "a")), waiting("1 of 2 pods are ready"));
        assert_eq!(progress(Kind::StatefulSet, &sts(2, 1, "a", "b")), waiting("1 of 2 pods are new"));
        assert_eq!(progress(Kind::StatefulSet, &sts(2, 2, "b", "b")), Progress::Done);
    }

    #[test]
    fn what_cannot_roll_is_said() {
        let code = |kind, object: Value| hindrance(kind, &object).map(|(code, _)| code);
        assert_eq!(code(Kind::Deployment, json!({"spec": {"paused": true}})), Some("kubernetes/paused"));
        assert_eq!(
            code(Kind::DaemonSet, json!({"spec": {"updateStrategy": {"type": "OnDelete"}}})),
            Some("kubernetes/on-delete")
        );
        assert_eq!(code(Kind::ConfigMap, json!({"immutable": true})), Some("kubernetes/immutable"));
        assert_eq!(
            code(Kind::Deployment, json!({"metadata": {"deletionTimestamp": "2026-11-21T20:00:00Z"}})),
            Some("kubernetes/going")
        );
        assert_eq!(code(Kind::Deployment, json!({"spec": {}})), None);
    }
}
