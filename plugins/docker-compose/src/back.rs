//! The way back: the files as they were, and of each service the containers
//! that were: image by image, as many, and those that had ended do not run.

use sternway_plugin::host::files;
use sternway_plugin::{Error, Failure, exchange};

use crate::Kept;
use crate::containers::{Before, Container};
use crate::decide::{self, Task, Wish};
use crate::docker::{self, Command};
use crate::wait;

/// Answers whether anything had to be brought back.
pub(crate) fn bring(task: &Task, kept: &Kept, before: &Before) -> Result<bool, Failure> {
    docker::settle(task)?;
    let mut changed = false;
    for (path, _) in kept.puts.iter().rev() {
        changed |= exchange::put_back(path)?;
    }
    let old = as_before(task, kept)?;
    let now = docker::survey(task, &kept.project)?;
    changed |= make_again(task, &old, before, &now)?;
    changed |= turn(task, &old, before)?;
    if changed {
        let sound: Vec<String> = before.sound().into_iter().map(str::to_owned).collect();
        if let Err(error) = wait::until_well(task, &kept.project, &sound, &Default::default()) {
            docker::again("undo start")?;
            return Err(error.into());
        }
    }
    match before.not_back(&docker::survey(task, &kept.project)?) {
        Some(message) => {
            for name in ["undo remove", "undo create", "undo start", "undo stop"] {
                docker::again(name)?;
            }
            Err(Error::failed("docker-compose/not-back", message).into())
        }
        None => Ok(changed),
    }
}

/// The project with the files that lie there now that they are put back.
fn as_before(task: &Task, kept: &Kept) -> Result<Kept, Error> {
    let mut old = kept.clone();
    if task.wish == Wish::Restore || kept.puts.iter().any(|(path, _)| *path == task.pins_path()) {
        let mut there = crate::see::live_files(task)?;
        if there.is_empty() {
            there = kept.files.clone();
        }
        old.files = there;
        old.env = crate::see::live_env(task)?;
    }
    Ok(old)
}

/// Services whose containers are others than before are made again, not started.
fn make_again(task: &Task, old: &Kept, before: &Before, now: &[Container]) -> Result<bool, Failure> {
    let strangers: Vec<String> = before.strangers(now).iter().map(|stranger| stranger.id.clone()).collect();
    if !strangers.is_empty() {
        let command = Command::new("containers.remove-these").with("containers", strangers.clone());
        docker::run(task, "undo remove", &command)?;
    }
    let anew = before.made_anew(now);
    if anew.is_empty() {
        return Ok(!strangers.is_empty());
    }
    let mut moved = std::collections::BTreeMap::new();
    for service in &anew {
        // A name may have been given to another image meanwhile.
        if let Some(was) = before.of(service).first()
            && docker::image(task, &was.image)?.as_deref() != Some(was.image_id.as_str())
        {
            moved.insert(service.clone(), was.image_id.clone());
        }
    }
    let pins = format!("{}/compose.sternway-undo.yaml", task.folder);
    let scale = anew.iter().map(|service| format!("{service}={}", before.of(service).len()));
    let mut command = Command::of("containers.create", old)
        .with("grace", task.grace.map(|seconds| seconds.to_string()))
        .with("scale", scale)
        .with("services", anew.clone());
    if !moved.is_empty() {
        files::stage_bytes(&pins, decide::pins(&moved).as_bytes())?;
        command = command.with("pins", [pins]);
    }
    docker::run(task, "undo create", &command)?;
    Ok(true)
}

/// What ran runs, what had ended does not.
fn turn(task: &Task, old: &Kept, before: &Before) -> Result<bool, Failure> {
    let now = docker::survey(task, &old.project)?;
    let (starts, stops) = before.turns(&now);
    for (name, form, containers) in
        [("undo stop", "containers.stop-these", &stops), ("undo start", "containers.start-these", &starts)]
    {
        if !containers.is_empty() {
            let ids: Vec<String> = containers.iter().map(|container| container.id.clone()).collect();
            docker::run(task, name, &Command::new(form).with("containers", ids))?;
        }
    }
    Ok(!starts.is_empty() || !stops.is_empty())
}
