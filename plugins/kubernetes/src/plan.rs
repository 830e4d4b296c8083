//! What an object is to become, and how that is told.

use serde_json::{Value, json};
use sternway_plugin::host::files::{self, Place};
use sternway_plugin::host::{control, points};
use sternway_plugin::{Action, Error, Finding, Risk, Step};

use crate::decide::{Kind, Object, Settings, Task, Wish};
use crate::part::{self, Part};
use crate::rollout::{self, Progress};
use crate::{Plan, Planned, api, map, revisions};

const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";
const FILE_BYTES_MAX: u32 = 2 << 20;

/// Whether the rollback point holds what the config map is to be made of.
pub(crate) fn finding_on_source(on: &Step<Settings>, task: &Task) -> Result<Option<Finding>, Error> {
    let Some(from) = &task.from else { return Ok(None) };
    let Some(point) = &on.call.point else {
        let message = "`from` needs a plan that goes back to a rollback point";
        return Ok(Some(Finding::blocking("kubernetes/no-point", message)));
    };
    let message = format!("the rollback point {point} holds nothing at {from}");
    Ok(match points::entries(point, from)? {
        Some(_) => None,
        None => Some(Finding::blocking("kubernetes/not-in-point", message)),
    })
}

/// One line of the preview.
pub(crate) fn seen(task: &Task, object: &Object) -> Result<Action, Error> {
    let now = api::get(object)?;
    if task.wish != Wish::Check {
        refuse_hindered(object, &now)?;
    }
    let before = described(object.kind, task.wish, &now);
    let (verb, after, risk) = match task.wish {
        Wish::UndoRollout => {
            let (number, template) = earlier(task, object, &now)?;
            let images = part::images(Some(&template));
            ("take back", format!("revision {number}: {images}"), Risk::Low)
        }
        Wish::Restart => ("restart", format!("{before}, pods made anew"), Risk::Low),
        Wish::Scale => ("scale", format!("{} pods", task.replicas.unwrap_or_default()), Risk::Low),
        Wish::ConfigMap => ("put back", told_source(task), Risk::Low),
        Wish::Check => ("check", "rolled out".to_owned(), Risk::None),
    };
    Ok(Action {
        summary: format!("{verb} {object}"),
        target: object.to_string(),
        before: Some(before),
        after: Some(after),
        risk,
    })
}

pub(crate) fn plan(on: &Step<Settings>, task: &Task) -> Result<Plan, Error> {
    let mut plan = Plan::default();
    if task.wish == Wish::Check {
        return Ok(plan);
    }
    for object in &task.objects {
        let now = api::get(object)?;
        refuse_hindered(object, &now)?;
        let from = part::part(&now, object.kind.pointers(task.wish));
        let to = target(on, task, object, &now, &from)?;
        let was_whole = rollout::progress(object.kind, &now) == Progress::Done;
        plan.0.push(Planned { object: object.clone(), from, to, was_whole });
    }
    Ok(plan)
}

fn target(
    on: &Step<Settings>,
    task: &Task,
    object: &Object,
    now: &Value,
    from: &Part,
) -> Result<Part, Error> {
    let mut to = from.clone();
    match task.wish {
        Wish::UndoRollout => {
            let (_, template) = earlier(task, object, now)?;
            to.insert("/spec/template".into(), Some(template));
        }
        Wish::Restart => {
            let template = to.entry("/spec/template".into()).or_default();
            if let Some(template) = template {
                template["metadata"]["annotations"][RESTARTED] = json!(moment(control::now_ms()));
            }
        }
        Wish::Scale => {
            to.insert("/spec/replicas".into(), task.replicas.map(|replicas| json!(replicas)));
        }
        Wish::ConfigMap => {
            let held = held(on, task, object)?;
            to.insert("/data".into(), held.data);
            to.insert("/binaryData".into(), held.binary_data);
        }
        Wish::Check => {}
    }
    Ok(to)
}

fn held(on: &Step<Settings>, task: &Task, object: &Object) -> Result<map::Held, Error> {
    let Some(from) = &task.from else {
        let data = task.data.as_ref().map(|data| json!(data));
        return Ok(map::Held { data, ..map::Held::default() });
    };
    points::stage(on.point()?, from)?;
    let text = files::read(Place::Side, from, FILE_BYTES_MAX);
    files::discard(from)?;
    let refuse =
        |why: String| Error::invalid("kubernetes/not-a-configmap", format!("{from} of the point: {why}"));
    let text = String::from_utf8(text?).map_err(|_| refuse("it is no text".into()))?;
    let held = map::read(&text).map_err(refuse)?;
    if held.kind.as_deref() != Some("ConfigMap") || held.name.as_deref() != Some(object.name.as_str()) {
        return Err(refuse(format!("it is not the config map {}", object.name)));
    }
    Ok(held)
}

fn earlier(task: &Task, object: &Object, now: &Value) -> Result<(i64, Value), Error> {
    let template = now.pointer("/spec/template").cloned().unwrap_or_default();
    let kept = revisions::all(object, now)?;
    let wanted = revisions::wanted(&kept, &template, task.to_revision)
        .map_err(|why| Error::not_found("kubernetes/no-revision", format!("{object}: {why}")))?;
    Ok((wanted.number, wanted.template.clone()))
}

fn refuse_hindered(object: &Object, now: &Value) -> Result<(), Error> {
    match rollout::hindrance(object.kind, now) {
        Some((code, why)) => Err(Error::conflict(code, format!("{object}: {why}"))),
        None => Ok(()),
    }
}

fn told_source(task: &Task) -> String {
    match (&task.from, &task.data) {
        (Some(from), _) => format!("as {from} of the rollback point"),
        (None, data) => format!("{} keys", data.as_ref().map_or(0, std::collections::BTreeMap::len)),
    }
}

/// What people want to see of an object; no value of a config map is among it.
pub(crate) fn described(kind: Kind, wish: Wish, object: &Value) -> String {
    match (kind, wish) {
        (Kind::ConfigMap, _) => {
            let keys = |key: &str| object.get(key).and_then(Value::as_object).map_or(0, serde_json::Map::len);
            format!("{} keys", keys("data") + keys("binaryData"))
        }
        (_, Wish::Scale) => {
            let replicas = object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
            format!("{replicas} pods")
        }
        _ => {
            let images = part::images(object.pointer("/spec/template"));
            let revision = object.pointer("/metadata/annotations/deployment.kubernetes.io~1revision");
            match revision.and_then(Value::as_str) {
                Some(revision) => format!("revision {revision}: {images}"),
                None => images,
            }
        }
    }
}

/// `2026-11-21T20:00:00Z` of milliseconds since 1970 in UTC.
fn moment(ms: u64) -> String {
    let seconds = ms / 1_000;
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month < 3);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_kubectl_writes_them() {
        assert_eq!(moment(0), "1970-01-01T00:00:00Z");
        assert_eq!(moment(1_709_208_001_000), "2024-02-29T12:00:01Z");
        assert_eq!(moment(1_798_761_599_999), "2026-12-31T23:59:59Z");
    }

    #[test]
    fn no_value_of_a_config_map_is_told() {
        let map = json!({"data": {"TOKEN": "s3cret"}, "binaryData": {"k": "AA=="}});
        assert_eq!(described(Kind::ConfigMap, Wish::ConfigMap, &map), "2 keys");
    }
}
