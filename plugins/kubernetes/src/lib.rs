//! `kubernetes`: takes rollouts back to an earlier revision, restarts and
//! scales workloads, puts config maps back, and proves rollouts. It changes an
//! object only from what it found to what was planned, and back, guarded by the
//! object's version: what somebody else wrote meanwhile is never overwritten.

mod api;
mod decide;
mod map;
mod part;
mod plan;
mod revisions;
mod rollout;
mod wait;

use serde::{Deserialize, Serialize};
use sternway_plugin::host::control;
use sternway_plugin::{
    Class, Error, Failure, Finding, IntoFailure, Kind, Looked, Manifest, Mode, Outcome, Plugin, Power,
    Prepared, Reversibility, Step, Verdict, Verification, memory,
};

use crate::decide::{Object, Settings, Task, Wish};
use crate::part::Part;
use crate::rollout::Progress;

/// The plugin.
#[derive(Debug)]
pub struct Kubernetes;

/// What is to become of one object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Planned {
    object: Object,
    from: Part,
    to: Part,
    /// Whether its rollout was over before: undo waits for nothing better.
    was_whole: bool,
}

/// What `prepare` planned.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan(Vec<Planned>);

impl Plugin for Kubernetes {
    type Settings = Settings;
    type State = Plan;

    fn manifest() -> Manifest {
        let power = |name: &str, scope_from: &[&str], reason: &str| Power {
            name: name.into(),
            scope_from: scope_from.iter().map(|setting| (*setting).to_owned()).collect(),
            reason: reason.into(),
        };
        Manifest {
            name: "kubernetes".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "takes rollouts back, restarts and scales workloads, puts config maps back".into(),
            settings_schema: include_str!("../settings.schema.json").into(),
            modes: vec![
                mode("undo-rollout", Class::Converge, "takes a workload back to an earlier revision"),
                mode("restart", Class::Converge, "makes the pods of workloads anew"),
                mode("scale", Class::Converge, "changes how many pods a workload has"),
                mode("configmap", Class::Converge, "puts a config map back"),
                mode("check", Class::Observe, "proves that workloads are rolled out whole"),
            ],
            powers: vec![
                power(
                    "clusters",
                    &["undo-rollout", "restart", "scale", "configmap", "check"],
                    "reads and patches objects in the namespaces of these",
                ),
                power("files", &["from"], "stages this file of the rollback point, to read it"),
                power("points", &["from"], "reads this file from the rollback point"),
            ],
            default_timeout_ms: 900_000,
        }
    }

    fn look(on: &Step<Settings>) -> Result<Looked<Plan>, Error> {
        let task = on.settings.task()?;
        let mut looked = Looked { findings: vec![], actions: vec![], state: Plan::default() };
        looked.findings.extend(plan::finding_on_source(on, &task)?);
        for object in &task.objects {
            match plan::seen(&task, object) {
                Ok(action) => looked.actions.push(action),
                Err(error) if is_final(error.kind) => {
                    looked.findings.push(Finding::blocking(&error.code, error.message));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(looked)
    }

    fn prepare(on: &Step<Settings>, _seen: Plan) -> Result<Prepared<Plan>, Error> {
        let task = on.settings.task()?;
        let plan = memory::once("prepare", || plan::plan(on, &task))?;
        Ok(Prepared { summary: format!("{} objects to change", plan.0.len()), state: plan })
    }

    fn apply(on: &Step<Settings>, mut plan: Plan) -> Result<Outcome<Plan>, Failure> {
        let task = on.settings.task()?;
        if task.wish == Wish::Check {
            for object in &task.objects {
                wait::until_whole(&task, object)?;
            }
            return Ok(Outcome { changed: false, summary: "all rolled out".into(), state: plan });
        }
        let mut changed = 0;
        for planned in &mut plan.0 {
            go_on(&planned.object)?;
            changed += u32::from(carry_out(planned)?);
            wait::until_whole(&task, &planned.object)?;
        }
        let summary = format!("{changed} of {} objects changed and rolled out", plan.0.len());
        Ok(Outcome { changed: changed > 0, summary, state: plan })
    }

    fn verify(on: &Step<Settings>, plan: Plan) -> Result<Vec<Verification>, Error> {
        let task = on.settings.task()?;
        let mut proofs = Vec::new();
        for object in &task.objects {
            let now = api::get(object)?;
            let planned = plan.0.iter().find(|planned| planned.object == *object);
            proofs.push(proof(&task, object, planned, &now));
        }
        Ok(proofs)
    }

    fn undo(on: &Step<Settings>, plan: Plan) -> Result<Outcome<Plan>, Failure> {
        let task = on.settings.task()?;
        let mut changed = 0;
        for planned in plan.0.iter().rev() {
            changed += u32::from(put_back(&task, planned)?);
        }
        let summary = format!("{changed} of {} objects put back", plan.0.len());
        Ok(Outcome { changed: changed > 0, summary, state: plan })
    }
}

/// Answers whether this step changed it, on this try or an earlier one. What
/// was planned becomes what the API made of it.
fn carry_out(planned: &mut Planned) -> Result<bool, Error> {
    if planned.from == planned.to {
        return Ok(false);
    }
    memory::keep(&begun(&planned.object), &true)?;
    let after = api::change(&planned.object, &planned.from, &planned.to)?;
    let pointers: Vec<&str> = planned.to.keys().map(String::as_str).collect();
    let left = part::part(&after, &pointers);
    if left != planned.to {
        // The API fills in what a template leaves out.
        memory::keep(&left_by_us(&planned.object), &left)?;
        planned.to = left;
    }
    Ok(true)
}

fn put_back(task: &Task, planned: &Planned) -> Result<bool, Failure> {
    let object = &planned.object;
    if memory::recall(&begun(object))? != Some(true) {
        return Ok(false);
    }
    let pointers: Vec<&str> = planned.to.keys().map(String::as_str).collect();
    let now = part::part(&api::get(object)?, &pointers);
    let changed = now != planned.from;
    if changed {
        let left = memory::recall(&left_by_us(object))?.unwrap_or_else(|| planned.to.clone());
        let after = api::change(object, &left, &planned.from).map_err(|error| {
            if error.code == "kubernetes/changed-meanwhile" { error.hands_off() } else { error.into() }
        })?;
        if part::part(&after, &pointers) != planned.from {
            let message = format!("{object} is not as it was before");
            return Err(Error::failed("kubernetes/not-back", message).into());
        }
    }
    if planned.was_whole {
        wait::until_whole(task, object)?;
    }
    Ok(changed)
}

fn proof(task: &Task, object: &Object, planned: Option<&Planned>, now: &serde_json::Value) -> Verification {
    let wrong = match (rollout::progress(object.kind, now), planned) {
        (Progress::Waiting(why) | Progress::Failed(why), _) => Some(why),
        (Progress::Done, Some(planned)) => {
            let part = part::part(now, object.kind.pointers(task.wish));
            (part != planned.to).then(|| "it is not as this step left it".to_owned())
        }
        (Progress::Done, None) => None,
    };
    let expected = if object.kind == decide::Kind::ConfigMap { "as planned" } else { "rolled out" };
    Verification {
        name: format!("{object} is {expected}"),
        verdict: if wrong.is_none() { Verdict::Pass } else { Verdict::Fail },
        measured: Some(plan::described(object.kind, task.wish, now)),
        expected: Some(expected.to_owned()),
        message: wrong.unwrap_or_else(|| format!("{object} is {expected}")),
    }
}

/// Such an answer will be the same next time.
fn is_final(kind: Kind) -> bool {
    matches!(kind, Kind::NotFound | Kind::Denied | Kind::Conflict | Kind::Unsupported | Kind::Invalid)
}

fn begun(object: &Object) -> String {
    format!("begun {object}")
}

fn left_by_us(object: &Object) -> String {
    format!("left {object}")
}

fn go_on(object: &Object) -> Result<(), Error> {
    if control::cancelled() {
        return Err(Error::cancelled(format!("stopped before {object}")));
    }
    Ok(())
}

fn mode(setting: &str, class: Class, summary: &str) -> Mode {
    Mode { setting: setting.into(), class, reversibility: Reversibility::Reversible, summary: summary.into() }
}

sternway_plugin::export_plugin!(Kubernetes);
