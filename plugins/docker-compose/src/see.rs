//! What is there, what would change, and whether it came true. Reads only.

use std::collections::{BTreeMap, BTreeSet};

use sternway_plugin::host::files::{self, Place};
use sternway_plugin::host::points;
use sternway_plugin::{Action, Error, Finding, Looked, Risk, Step, Verdict, Verification};

use crate::Kept;
use crate::containers::{self, Container, Judgement, State};
use crate::decide::{self, Settings, Task, USUAL, Wish};
use crate::docker::{self, Command};
use crate::resolved::Resolved;

const ENV_BYTES_MAX: u32 = 1 << 20;

pub(crate) fn look(on: &Step<Settings>, task: &Task) -> Result<Looked<Kept>, Error> {
    let mut looked = Looked { findings: vec![], actions: vec![], state: Kept::default() };
    if let Some((code, message)) = docker::trouble(task)? {
        looked.findings.push(Finding::blocking(code, message));
        return Ok(looked);
    }
    let live = Kept { files: live_files(task)?, env: live_env(task)?, ..Kept::default() };
    let resolved = match live.files.as_slice() {
        [] => Err("no compose file is there".to_owned()),
        some => {
            let command = Command::new("containers.config").with("files", some.to_vec());
            docker::config(task, &command.with("env", live.env.clone()))?
        }
    };
    let kept = match task.wish {
        Wish::Restore => of_point(on, task, &mut looked.findings)?,
        _ => live.clone(),
    };
    if task.wish != Wish::Restore {
        looked.findings.extend(finding_on_files(task, &live, &resolved));
    }
    let resolved = resolved.unwrap_or_default();
    let project = project(task, &live, &resolved)?;
    let now = docker::survey(task, &project)?;
    looked.findings.extend(findings_on(task, &project, &now));
    if task.wish != Wish::Restore && !resolved.services.is_empty() {
        looked.findings.extend(findings_on_services(task, &project, &resolved)?);
    }
    looked.actions = actions(task, &resolved, &now);
    let known = resolved.services.keys().map(String::as_str);
    let services: BTreeSet<&str> = known.chain(now.iter().map(|one| one.service.as_str())).collect();
    let services = services.into_iter().filter(|service| task.is_about(service)).map(str::to_owned);
    looked.state = Kept { project, services: services.collect(), ..kept };
    Ok(looked)
}

/// The compose files that lie there: those named, or the usual ones; the pins last.
pub(crate) fn live_files(task: &Task) -> Result<Vec<String>, Error> {
    file_set(task, |path| Ok(files::get_attributes(Place::Live, path)?.is_some()))
}

pub(crate) fn live_env(task: &Task) -> Result<Option<String>, Error> {
    if task.env_file.is_some() {
        return Ok(task.env_file.clone());
    }
    let usual = format!("{}/.env", task.folder);
    Ok(files::get_attributes(Place::Live, &usual)?.map(|_| usual))
}

fn file_set(
    task: &Task,
    mut is_there: impl FnMut(&str) -> Result<bool, Error>,
) -> Result<Vec<String>, Error> {
    let mut set = task.files.clone();
    if set.is_empty() {
        for (file, with) in USUAL {
            let path = format!("{}/{file}", task.folder);
            if is_there(&path)? {
                set.push(path);
                let with = format!("{}/{with}", task.folder);
                if is_there(&with)? {
                    set.push(with);
                }
                break;
            }
        }
    }
    let pins = task.pins_path();
    if !set.is_empty() && !set.contains(&pins) && is_there(&pins)? {
        set.push(pins);
    }
    Ok(set)
}

/// The files that the rollback point holds of the project.
fn of_point(on: &Step<Settings>, task: &Task, findings: &mut Vec<Finding>) -> Result<Kept, Error> {
    let Some(point) = &on.call.point else {
        findings.push(Finding::blocking(
            "docker-compose/no-point",
            "`restore` needs a plan that goes back to a rollback point",
        ));
        return Ok(Kept::default());
    };
    let holds = |path: &str| Ok(points::entries(point, path)?.is_some());
    let files = file_set(task, holds)?;
    let mut lacks = |path: &str| {
        let message = format!("the rollback point {point} holds nothing at {path}");
        findings.push(Finding::blocking("docker-compose/not-in-point", message));
    };
    if files.is_empty() {
        lacks(&format!("{}/{}", task.folder, USUAL[0].0));
    }
    for path in task.files.iter().chain(&task.also).chain(&task.env_file) {
        if !holds(path)? {
            lacks(path);
        }
    }
    let env = match &task.env_file {
        Some(named) => Some(named.clone()),
        None => {
            let usual = format!("{}/.env", task.folder);
            let live = files::get_attributes(Place::Live, &usual)?.is_some();
            let held = holds(&usual)?;
            if live && !held {
                let message = format!("the rollback point holds no {usual}: the one that is there stays");
                findings.push(Finding::note("docker-compose/env-stays", message));
            }
            (live || held).then_some(usual)
        }
    };
    Ok(Kept { files, env, ..Kept::default() })
}

fn finding_on_files(task: &Task, live: &Kept, resolved: &Result<Resolved, String>) -> Option<Finding> {
    if live.files.is_empty() {
        let message = format!("{} holds no compose file", task.folder);
        return Some(Finding::blocking("docker-compose/no-file", message));
    }
    let why = resolved.as_ref().err()?;
    Some(Finding::blocking("docker-compose/invalid", format!("compose refuses the files: {why}")))
}

/// As compose finds it: said in the files, then in `.env`, then the folder's name.
fn project(task: &Task, live: &Kept, resolved: &Resolved) -> Result<String, Error> {
    if let Some(said) = task.project.clone().or_else(|| resolved.name.clone()) {
        return Ok(said);
    }
    let said = match &live.env {
        Some(env) if files::get_attributes(Place::Live, env)?.is_some() => {
            let text = files::read(Place::Live, env, ENV_BYTES_MAX)?;
            decide::project_of_env(&String::from_utf8_lossy(&text))
        }
        _ => None,
    };
    Ok(said.unwrap_or_else(|| task.folder_project()))
}

fn findings_on(task: &Task, project: &str, now: &[Container]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(other) = now.iter().find(|container| container.folder != task.folder) {
        findings.push(Finding::blocking(
            "docker-compose/other-folder",
            format!("the project {project} belongs to {}: {} was made there", other.folder, other.name),
        ));
    }
    if task.wish == Wish::Check {
        return findings;
    }
    for container in now {
        if container.state == State::Paused {
            let message = format!("{} is paused: unpause or stop it first", container.name);
            findings.push(Finding::blocking("docker-compose/paused", message));
        }
        if task.wish == Wish::Down && task.services.is_empty() && container.nameless_volumes {
            let message = format!(
                "{} keeps data in a volume without a name: it will not find it again",
                container.name
            );
            findings.push(Finding::note("docker-compose/nameless-volume", message));
        }
    }
    if task.wish == Wish::Down && !now.iter().any(|container| container.state.runs()) {
        let message = format!("nothing of {project} runs");
        findings.push(Finding::note("docker-compose/down-already", message));
    }
    findings
}

/// Services nobody knows, images that are not here.
fn findings_on_services(task: &Task, project: &str, resolved: &Resolved) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for name in task.named_services().collect::<BTreeSet<_>>() {
        if !resolved.services.contains_key(name) {
            let message = format!("the files know no service {name}");
            findings.push(Finding::blocking("docker-compose/unknown-service", message));
        }
    }
    if !matches!(task.wish, Wish::Up | Wish::Restart | Wish::Scale) {
        return Ok(findings);
    }
    for (service, image) in resolved.services.iter().filter(|(service, _)| task.is_about(service)) {
        match task.images.get(service).or(image.as_ref()) {
            Some(image) if docker::image(task, image)?.is_none() => findings.push(Finding::note(
                "docker-compose/to-pull",
                format!(
                    "the image {image} of {service} is not here: it is pulled before anything is stopped"
                ),
            )),
            Some(_) => {}
            None => {
                if let Err(error) = built(task, project, service) {
                    findings.push(Finding::blocking(&error.code, error.message));
                }
            }
        }
    }
    Ok(findings)
}

/// A service without an image's name runs what was built for it here, and nothing is built by a step.
pub(crate) fn built(task: &Task, project: &str, service: &str) -> Result<(), Error> {
    for name in [format!("{project}-{service}"), format!("{project}_{service}")] {
        if docker::image(task, &name)?.is_some() {
            return Ok(());
        }
    }
    Err(Error::not_found(
        "docker-compose/not-built",
        format!("{service} is built from source and its image is not here: build it, or pin one in `images`"),
    ))
}

/// One line of the preview for each service.
fn actions(task: &Task, resolved: &Resolved, now: &[Container]) -> Vec<Action> {
    let known = resolved.services.keys().map(String::as_str);
    let names: BTreeSet<&str> = known.chain(now.iter().map(|container| container.service.as_str())).collect();
    let about = names.into_iter().filter(|service| task.is_about(service));
    let action = |service: &str| {
        let image = task.images.get(service).or_else(|| resolved.services.get(service)?.as_ref());
        let image = image.map_or("the image built for it", String::as_str);
        let (verb, after, risk) = match task.wish {
            Wish::Down if task.services.is_empty() => ("take down", "gone".to_owned(), Risk::Low),
            Wish::Down => ("stop", "stopped".to_owned(), Risk::Low),
            Wish::Up => ("bring up", format!("{image}, well"), Risk::Low),
            Wish::Restart => ("make anew", format!("{image}, well"), Risk::Low),
            Wish::Scale => {
                ("scale", format!("{} of {image}", task.replicas.get(service).unwrap_or(&1)), Risk::Low)
            }
            Wish::Restore => match task.images.get(service) {
                Some(image) => ("restore", format!("{image}, well"), Risk::Low),
                None => ("restore", "as the rollback point's files say, well".to_owned(), Risk::Low),
            },
            Wish::Check => ("check", "well".to_owned(), Risk::None),
        };
        Action {
            summary: format!("{verb} {service}"),
            target: format!("{} {service}", task.folder),
            before: Some(
                containers::described(&containers::of(now, service)).unwrap_or_else(|| "not there".into()),
            ),
            after: Some(after),
            risk,
        }
    };
    about.map(action).collect()
}

pub(crate) fn proofs(task: &Task, kept: &Kept, now: &[Container]) -> Vec<Verification> {
    kept.services.iter().map(|service| proof(task, service, now)).collect()
}

fn proof(task: &Task, service: &str, now: &[Container]) -> Verification {
    let own = containers::of(now, service);
    let measured = containers::described(&own).unwrap_or_else(|| "not there".into());
    let wrong = if task.wish == Wish::Down {
        own.iter().find(|container| container.state.runs()).map(|container| container.described())
    } else {
        not_well(task, service, now).or_else(|| not_pinned(&task.images, service, &own))
    };
    let expected = if task.wish == Wish::Down { "not running" } else { "well" };
    Verification {
        name: format!("{service} is {expected}"),
        verdict: if wrong.is_none() { Verdict::Pass } else { Verdict::Fail },
        measured: Some(measured.clone()),
        expected: Some(expected.to_owned()),
        message: wrong.unwrap_or_else(|| format!("{service}: {measured}")),
    }
}

fn not_well(task: &Task, service: &str, now: &[Container]) -> Option<String> {
    match containers::judge(service, now, task.replicas.get(service).copied()) {
        Judgement::Well | Judgement::IfSteady => None,
        Judgement::Waiting(why) | Judgement::Broken(why) => Some(why),
    }
}

fn not_pinned(images: &BTreeMap<String, String>, service: &str, own: &[&Container]) -> Option<String> {
    let image = images.get(service)?;
    let other = own.iter().find(|container| container.image != *image && container.image_id != *image)?;
    Some(format!("{} runs {} and not {image}", other.name, other.image))
}
