//! Waiting until a workload is rolled out, and saying why it is not.

use serde_json::Value;
use sternway_plugin::Error;
use sternway_plugin::host::{control, progress};

use crate::api;
use crate::decide::{Kind, Object, Task};
use crate::rollout::{self, Progress};

/// At most this many pods are named in an error.
const PODS_TOLD: usize = 3;

pub(crate) fn until_whole(task: &Task, object: &Object) -> Result<(), Error> {
    if object.kind == Kind::ConfigMap {
        return Ok(());
    }
    let looks = task.within_ms.div_ceil(task.every_ms);
    for look in 0..=looks {
        let now = api::get(object)?;
        match rollout::progress(object.kind, &now) {
            Progress::Done => return Ok(()),
            Progress::Failed(why) => return Err(unwell(object, &now, &why)),
            Progress::Waiting(why) if look == looks => {
                let seconds = task.within_ms / 1_000;
                return Err(unwell(object, &now, &format!("not rolled out within {seconds} s: {why}")));
            }
            Progress::Waiting(why) => progress::report(&why, look, Some(looks), "looks"),
        }
        if !control::sleep(task.every_ms) {
            return Err(Error::cancelled(format!("stopped while {object} was rolling out")));
        }
    }
    Ok(())
}

fn unwell(object: &Object, now: &Value, why: &str) -> Error {
    let mut message = format!("{object}: {why}");
    let pods = api::selector(now).and_then(|selector| api::selected(object, "v1", "pods", &selector).ok());
    for told in pods.iter().flatten().filter_map(trouble).take(PODS_TOLD) {
        message.push_str(&format!("; {told}"));
    }
    Error::failed("kubernetes/not-rolled-out", message)
}

/// What keeps a pod from being ready, in the words of its node.
fn trouble(pod: &Value) -> Option<String> {
    let name = pod.pointer("/metadata/name")?.as_str()?;
    let statuses = pod.pointer("/status/containerStatuses").and_then(Value::as_array);
    for status in statuses.into_iter().flatten() {
        let said = status.pointer("/state/waiting").or_else(|| status.pointer("/state/terminated"));
        if let Some(reason) = said.and_then(|said| said["reason"].as_str()) {
            let message = said.and_then(|said| said["message"].as_str()).unwrap_or_default();
            return Some(format!("pod {name}: {reason} {message}").trim_end().to_owned());
        }
    }
    let phase = pod.pointer("/status/phase")?.as_str()?;
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let unscheduled = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == "PodScheduled" && condition["status"] == "False");
    let message = unscheduled.and_then(|condition| condition["message"].as_str()).unwrap_or_default();
    (phase != "Running").then(|| format!("pod {name}: {phase} {message}").trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::trouble;

    #[test]
    fn a_pod_says_why_it_is_not_ready() {
        let waiting = json!({"metadata": {"name": "web-1"}, "status": {"phase": "Pending", "containerStatuses": [
            {"state": {"running": {}}}, {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}}]}});
        assert_eq!(trouble(&waiting).unwrap(), "pod web-1: ImagePullBackOff Back-off pulling image");
        let unscheduled = json!({"metadata": {"name": "web-2"}, "status": {"phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}]}});
        assert_eq!(trouble(&unscheduled).unwrap(), "pod web-2: Pending 0/3 nodes are available");
        assert_eq!(trouble(&json!({"metadata": {"name": "web-3"}, "status": {"phase": "Running"}})), None);
    }
}
