//! `docker-compose`: takes compose projects down, brings them up, restarts,
//! scales and restores them, with version 1 and 2 of compose alike. Images are
//! looked for before anything is stopped, files are switched by exchange, and
//! what ran is noted before the first touch, so that undo brings exactly that back.

mod back;
mod containers;
mod decide;
mod docker;
mod resolved;
mod see;
mod wait;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sternway_plugin::host::files::{self, Place};
use sternway_plugin::host::{control, points};
use sternway_plugin::{
    Class, Error, Failure, Looked, Manifest, Mode, Outcome, Plugin, Power, Prepared, Reversibility, Step,
    Verification, exchange, memory,
};

use crate::containers::{Before, Container};
use crate::decide::{Settings, Task, Wish};
use crate::docker::Command;

/// The plugin.
#[derive(Debug)]
pub struct DockerCompose;

/// The journal's key for what ran before.
const BEFORE: &str = "before";

/// A project as this step found it, and what was staged of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Kept {
    project: String,
    /// Compose files in order, the pins last.
    files: Vec<String>,
    env: Option<String>,
    /// Services that the step is about.
    services: Vec<String>,
    /// Paths to switch, each with the digest it gets; none to take away.
    puts: Vec<(String, Option<String>)>,
}

impl Plugin for DockerCompose {
    type Settings = Settings;
    type State = Kept;

    fn manifest() -> Manifest {
        let folders = || ["down", "up", "restart", "scale", "restore", "check"].map(String::from).to_vec();
        let power = |name: &str, scope_from, reason: &str| Power {
            name: name.into(),
            scope_from,
            reason: reason.into(),
        };
        Manifest {
            name: "docker-compose".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "takes compose projects down, brings them up, restarts, scales and restores them".into(),
            settings_schema: include_str!("../settings.schema.json").into(),
            modes: vec![
                mode("down", Class::Converge, "takes a project down, or stops services of it"),
                mode("up", Class::Converge, "brings a project up and waits until it is well"),
                mode("restart", Class::Converge, "makes services anew, one by one"),
                mode("scale", Class::Converge, "changes how many containers services have"),
                mode("restore", Class::Converge, "puts a project's files back and brings it up as they say"),
                mode("check", Class::Observe, "proves that a project is up and well"),
            ],
            powers: vec![
                power(
                    "containers",
                    folders(),
                    "looks at, makes, starts, stops and removes containers of these projects",
                ),
                power("files", folders(), "reads and switches the files of these projects"),
                power(
                    "points",
                    vec!["restore".into()],
                    "reads these projects' files from the rollback point",
                ),
            ],
            default_timeout_ms: 900_000,
        }
    }

    fn look(on: &Step<Settings>) -> Result<Looked<Kept>, Error> {
        see::look(on, &on.settings.task()?)
    }

    fn prepare(on: &Step<Settings>, seen: Kept) -> Result<Prepared<Kept>, Error> {
        let task = on.settings.task()?;
        let kept = memory::once("prepare", || stage(on, &task, seen))?;
        Ok(Prepared {
            summary: format!("{} files staged, all images are here", kept.puts.len()),
            state: kept,
        })
    }

    fn apply(on: &Step<Settings>, kept: Kept) -> Result<Outcome<Kept>, Failure> {
        let task = on.settings.task()?;
        let outcome = |changed, summary| Outcome { changed, summary, state: kept.clone() };
        if task.wish == Wish::Check {
            wait::until_well(&task, &kept.project, &kept.services, &task.replicas)?;
            return Ok(outcome(false, "all well".into()));
        }
        let before: Before = match memory::recall(BEFORE)? {
            Some(before) => before,
            None => memory::first(BEFORE, Before(docker::survey(&task, &kept.project)?))?,
        };
        for (path, to) in &kept.puts {
            exchange::put(path, to.as_deref())?;
        }
        match task.wish {
            Wish::Down => down(&task, &kept)?,
            Wish::Restart => restart(&task, &kept, &before)?,
            Wish::Up | Wish::Scale | Wish::Restore => up(&task, &kept, &before)?,
            Wish::Check => {}
        }
        Ok(outcome(true, summary(&task, &kept)))
    }

    fn verify(on: &Step<Settings>, kept: Kept) -> Result<Vec<Verification>, Error> {
        let task = on.settings.task()?;
        let now = docker::survey(&task, &kept.project)?;
        Ok(see::proofs(&task, &kept, &now))
    }

    fn undo(on: &Step<Settings>, kept: Kept) -> Result<Outcome<Kept>, Failure> {
        let task = on.settings.task()?;
        let before: Option<Before> = if task.wish == Wish::Check { None } else { memory::recall(BEFORE)? };
        let Some(before) = before else {
            return Ok(Outcome { changed: false, summary: "nothing was done".into(), state: kept });
        };
        let changed = back::bring(&task, &kept, &before)?;
        let summary = if changed { "what ran before runs again" } else { "nothing had changed" };
        Ok(Outcome { changed, summary: summary.into(), state: kept })
    }
}

/// Files beside, images here; nothing that runs is touched.
fn stage(on: &Step<Settings>, task: &Task, seen: Kept) -> Result<Kept, Error> {
    let mut kept = seen;
    let pins = task.pins_path();
    kept.puts.clear();
    if task.wish == Wish::Restore {
        let set = kept.files.iter().chain(&task.also).chain(kept.env.as_ref());
        for path in set.cloned().collect::<Vec<_>>() {
            if path == pins && !task.images.is_empty() {
                continue;
            }
            go_on(&path)?;
            if points::entries(on.point()?, &path)?.is_some() {
                let digest = points::stage(on.point()?, &path)?.sha256;
                kept.puts.push((path, Some(digest)));
            }
        }
        if !kept.files.contains(&pins) && files::get_attributes(Place::Live, &pins)?.is_some() {
            files::discard(&pins)?;
            kept.puts.push((pins.clone(), None));
        }
    }
    if !task.images.is_empty() && task.wish != Wish::Check {
        let digest = files::stage_bytes(&pins, decide::pins(&task.images).as_bytes())?.sha256;
        kept.puts.push((pins.clone(), Some(digest)));
        if !kept.files.contains(&pins) {
            kept.files.push(pins);
        }
    }
    if matches!(task.wish, Wish::Up | Wish::Restart | Wish::Scale | Wish::Restore) {
        images(task, &mut kept)?;
    }
    Ok(kept)
}

/// Every image that will be needed is here, or this step is refused.
fn images(task: &Task, kept: &mut Kept) -> Result<(), Error> {
    let staged = |path: &str| kept.puts.iter().any(|(put, to)| put == path && to.is_some());
    let command = match task.wish {
        Wish::Restore => {
            let (staged_env, env) = kept.env.iter().cloned().partition::<Vec<_>, _>(|path| staged(path));
            Command::new("containers.staged-config")
                .with("files", kept.files.clone())
                .with("env", env)
                .with("staged-env", staged_env)
        }
        _ => {
            let live = kept.files.iter().filter(|path| !staged(path)).cloned();
            Command::new("containers.config").with("files", live).with("env", kept.env.clone())
        }
    };
    let resolved = docker::config(task, &command)?.map_err(|why| {
        Error::invalid("docker-compose/invalid", format!("compose refuses the files: {why}"))
    })?;
    if let (Some(name), None) = (&resolved.name, &task.project)
        && *name != kept.project
    {
        return Err(Error::conflict(
            "docker-compose/other-name",
            format!("the files name the project {name}, and {} runs here: say `project`", kept.project),
        ));
    }
    if let Some(unknown) = task.named_services().find(|name| !resolved.services.contains_key(*name)) {
        return Err(Error::not_found(
            "docker-compose/unknown-service",
            format!("the files know no service {unknown}"),
        ));
    }
    kept.services = resolved.services.keys().filter(|service| task.is_about(service)).cloned().collect();
    for (service, image) in &resolved.services {
        let pinned = task.images.get(service).or(image.as_ref());
        go_on(service)?;
        match pinned {
            Some(image) => {
                docker::pull(task, service, image)?;
            }
            None => see::built(task, &kept.project, service)?,
        }
    }
    Ok(())
}

fn down(task: &Task, kept: &Kept) -> Result<(), Failure> {
    let form = if task.services.is_empty() { "containers.down" } else { "containers.stop" };
    let command = Command::of(form, kept)
        .with("grace", task.grace.map(|seconds| seconds.to_string()))
        .with("services", task.services.clone());
    docker::run(task, "down", &command)
}

fn up(task: &Task, kept: &Kept, before: &Before) -> Result<(), Failure> {
    let mut command = Command::of("containers.up", kept)
        .with("grace", task.grace.map(|seconds| seconds.to_string()))
        .with("scale", scale(task, kept, before));
    match task.wish {
        Wish::Scale => {
            command = command
                .with("recreate", ["no-recreate"])
                .with("dependencies", ["no-deps"])
                .with("services", kept.services.clone());
        }
        // Services that the files no longer know go, unless only some were meant.
        Wish::Restore => command = command.with("orphans", ["remove-orphans"]),
        _ => command = command.with("services", task.services.clone()),
    }
    docker::run(task, "up", &command)?;
    wait_or_begin_anew(task, kept, "up", &kept.services)
}

/// Service by service, so that the others serve meanwhile.
fn restart(task: &Task, kept: &Kept, before: &Before) -> Result<(), Failure> {
    let in_order = if task.services.is_empty() { &kept.services } else { &task.services };
    for service in in_order {
        go_on(service)?;
        let name = format!("restart {service}");
        let now = docker::survey(task, &kept.project)?;
        let is_old = |container: &&Container| before.0.iter().any(|was| was.id == container.id);
        let own = containers::of(&now, service);
        if own.is_empty() || own.iter().any(is_old) {
            let command = Command::of("containers.up", kept)
                .with("grace", task.grace.map(|seconds| seconds.to_string()))
                .with("recreate", ["force-recreate"])
                .with("dependencies", ["no-deps"])
                .with("scale", scale(task, kept, before))
                .with("services", [service.as_str()]);
            docker::run(task, &name, &command)?;
        }
        wait_or_begin_anew(task, kept, &name, std::slice::from_ref(service))?;
    }
    Ok(())
}

/// `up` makes one container of each service unless it is told otherwise.
fn scale(task: &Task, kept: &Kept, before: &Before) -> Vec<String> {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    if task.wish != Wish::Restore {
        for service in before.services() {
            let count = u32::try_from(before.of(service).len()).unwrap_or(u32::MAX);
            if count > 1 && (kept.services.iter().any(|name| name == service) || !task.services.is_empty()) {
                counts.insert(service, count);
            }
        }
    }
    counts.extend(task.replicas.iter().map(|(service, count)| (service.as_str(), *count)));
    counts.into_iter().map(|(service, count)| format!("{service}={count}")).collect()
}

fn wait_or_begin_anew(task: &Task, kept: &Kept, name: &str, services: &[String]) -> Result<(), Failure> {
    match wait::until_well(task, &kept.project, services, &task.replicas) {
        Ok(_) => Ok(()),
        Err(error) => {
            docker::again(name)?;
            Err(error.into())
        }
    }
}

fn go_on(what: &str) -> Result<(), Error> {
    if control::cancelled() {
        return Err(Error::cancelled(format!("stopped before {what}")));
    }
    Ok(())
}

fn summary(task: &Task, kept: &Kept) -> String {
    let services = kept.services.join(", ");
    match task.wish {
        Wish::Down => format!("{} is down: {services}", kept.project),
        Wish::Restart => format!("made anew and well: {services}"),
        Wish::Scale | Wish::Up | Wish::Restore | Wish::Check => format!("up and well: {services}"),
    }
}

fn mode(setting: &str, class: Class, summary: &str) -> Mode {
    Mode { setting: setting.into(), class, reversibility: Reversibility::Reversible, summary: summary.into() }
}

sternway_plugin::export_plugin!(DockerCompose);
