//! `python-env`: builds a virtual environment anew from pinned requirements,
//! beside the one in use; proves that it is whole and that the application's
//! modules can be imported; then the two change places in one step.

mod decide;
mod requirements;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sternway_plugin::host::files::{self, Node, Ownership, Place};
use sternway_plugin::host::programs::{self, Call, Ended, Hole};
use sternway_plugin::host::{control, progress};
use sternway_plugin::{
    Class, Error, Failure, Looked, Manifest, Mode, Outcome, Plugin, Power, Prepared, Reversibility, Step,
    Verification, exchange, memory, recopy,
};

use crate::decide::{Settings, Task};

const REQUIREMENTS_BYTES_MAX: u32 = 1 << 20;
const ASK_TIMEOUT_MS: u64 = 60_000;
const BUILD_TIMEOUT_MS: u64 = 1_800_000;
const CACHES: &str = "__pycache__";

/// The plugin.
#[derive(Debug)]
pub struct PythonEnv;

/// What was read and built.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// Digest of the file of requirements that people saw in the preview.
    requirements: String,
    versions: BTreeMap<String, String>,
    to: Option<String>,
}

impl Plugin for PythonEnv {
    type Settings = Settings;
    type State = State;

    fn manifest() -> Manifest {
        Manifest {
            name: "python-env".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "builds a virtual environment anew from pinned requirements".into(),
            settings_schema: include_str!("../settings.schema.json").into(),
            modes: vec![Mode {
                setting: "venv".into(),
                class: Class::StagedSwap,
                reversibility: Reversibility::Reversible,
                summary: "builds the environment beside and switches to it".into(),
            }],
            powers: vec![
                Power {
                    name: "files".into(),
                    scope_from: ["venv", "clear-caches"].map(String::from).to_vec(),
                    reason: "replaces the environment, clears caches".into(),
                },
                Power {
                    name: "files-read".into(),
                    scope_from: ["requirements", "wheels", "imports-from"].map(String::from).to_vec(),
                    reason: "reads requirements, wheels and modules".into(),
                },
                Power {
                    name: "python".into(),
                    scope_from: vec!["venv".into()],
                    reason: "builds the environment, and imports modules in it".into(),
                },
            ],
            default_timeout_ms: 3_600_000,
        }
    }

    fn look(on: &Step<Settings>) -> Result<Looked<State>, Error> {
        let task = on.settings.task()?;
        let mut looked = Looked { findings: vec![], actions: vec![], state: State::default() };
        let is = |path: &str, node: Node| -> Result<bool, Error> {
            Ok(files::get_attributes(Place::Live, path)?.is_some_and(|found| found.node == node))
        };
        if !is(&task.requirements, Node::File)? {
            looked.findings.push(decide::finding_no_file(&task.requirements));
            return Ok(looked);
        }
        let pinned = match requirements::pinned(&read(&task)?) {
            Ok(pinned) => pinned,
            Err(error) => {
                let finding = sternway_plugin::Finding::blocking(&error.code, error.message);
                looked.findings.push(finding);
                return Ok(looked);
            }
        };
        if on.settings.require_hashes && !pinned.without_hash.is_empty() {
            looked.findings.push(decide::finding_no_hashes(&pinned.without_hash));
        }
        if let Some(wheels) = &task.wheels
            && files::get_attributes(Place::Live, wheels)?.is_none()
        {
            looked.findings.push(decide::finding_no_wheels(wheels));
        }
        let version = ask("python.version", &task, &[("python", std::slice::from_ref(&task.python))])?;
        if version.code != Some(0) {
            looked.findings.push(decide::finding_no_python(&task.python, last_line(&version.complaint)));
        }
        let now = match files::get_attributes(Place::Live, &task.venv)? {
            None => Some(BTreeMap::new()),
            Some(_) => installed(&task)?,
        };
        if now.is_none() {
            looked.findings.push(decide::finding_broken(&task.venv));
        }
        looked.actions = decide::actions(&task.venv, &now.unwrap_or_default(), &pinned.versions);
        looked.state = State { requirements: digest(&task)?, versions: pinned.versions, to: None };
        Ok(looked)
    }

    fn prepare(on: &Step<Settings>, seen: State) -> Result<Prepared<State>, Error> {
        let task = on.settings.task()?;
        let state: State = memory::once("prepare", || {
            let mut state = seen;
            state.to = Some(build(&task, &state, on.settings.require_hashes)?);
            for tree in &task.caches {
                recopy::stage(tree, || clear(tree))?;
            }
            Ok::<State, Error>(state)
        })?;
        Ok(Prepared {
            summary: format!("{} packages installed beside {}", state.versions.len(), task.venv),
            state,
        })
    }

    fn apply(on: &Step<Settings>, state: State) -> Result<Outcome<State>, Failure> {
        let task = on.settings.task()?;
        go_on(&task.venv)?;
        let mut changed = exchange::put(&task.venv, Some(built(&state)?))?;
        for tree in &task.caches {
            go_on(tree)?;
            changed |= recopy::put(tree, || clear(tree))?.1;
        }
        Ok(Outcome { changed, summary: format!("{} switched", task.venv), state })
    }

    fn verify(on: &Step<Settings>, state: State) -> Result<Vec<Verification>, Error> {
        let task = on.settings.task()?;
        let live = exchange::digest(Place::Live, &task.venv)?;
        let now = installed(&task)?.unwrap_or_default();
        Ok(vec![
            decide::proof_of_digest(&task.venv, live.as_deref(), built(&state)?),
            decide::proof_of_versions(&task.venv, &now, &state.versions),
        ])
    }

    fn undo(on: &Step<Settings>, state: State) -> Result<Outcome<State>, Failure> {
        let task = on.settings.task()?;
        let mut changed = false;
        for tree in task.caches.iter().rev() {
            changed |= exchange::put_back(tree)?;
        }
        changed |= exchange::put_back(&task.venv)?;
        let how = if changed { "put back" } else { "was not changed" };
        Ok(Outcome { changed, summary: format!("{} {how}", task.venv), state })
    }
}

/// The new environment in the side copy; answers its digest.
fn build(task: &Task, state: &State, with_hashes: bool) -> Result<String, Error> {
    let venv = [task.venv.clone()];
    let owner = files::get_attributes(Place::Live, &task.venv)?;
    files::discard(&task.venv)?;
    let step = |done: u64, what: &str| {
        progress::report(what, done, Some(5), "steps");
        go_on(&task.venv)
    };
    step(0, "create")?;
    stage("python.create", task, &[("python", std::slice::from_ref(&task.python)), ("venv", &venv)])?;
    step(1, "install")?;
    same_requirements(task, state)?;
    let wheels: Vec<String> = task.wheels.iter().cloned().collect();
    let form = if with_hashes { "python.install-hashed" } else { "python.install" };
    stage(
        form,
        task,
        &[("venv", &venv), ("requirements", std::slice::from_ref(&task.requirements)), ("wheels", &wheels)],
    )?;
    same_requirements(task, state)?;
    step(2, "check")?;
    let check = programs::stage(&call("python.check", task, &[("venv", &venv)], BUILD_TIMEOUT_MS))?;
    if check.code != Some(0) {
        let said = String::from_utf8_lossy(&check.output).trim().to_owned();
        return Err(Error::failed(
            "python/incomplete",
            format!("the requirements do not make a whole: {said}"),
        ));
    }
    step(3, "relocate")?;
    stage("python.relocate", task, &[("venv", &venv), ("place", &venv)])?;
    step(4, "import")?;
    if !task.imports.is_empty() {
        let holes: &[(&str, &[String])] =
            &[("venv", &venv), ("folders", &task.folders), ("modules", &task.imports)];
        stage("python.import", task, holes)
            .map_err(|error| Error { code: "python/import-failed".to_owned(), ..error })?;
    }
    if let Some(owner) = owner {
        let (owner, group) = (Some(owner.owner), Some(owner.group));
        files::stage_ownership(
            &task.venv,
            &Ownership { owner, group, file_mode: None, directory_mode: None },
        )?;
    }
    exchange::digest(Place::Side, &task.venv)?
        .ok_or_else(|| Error::failed("python/not-built", format!("nothing was built beside {}", task.venv)))
}

/// What is installed is what people saw in the preview.
fn same_requirements(task: &Task, state: &State) -> Result<(), Error> {
    if digest(task)? == state.requirements {
        return Ok(());
    }
    let message = format!("{} was changed by somebody else since the preview", task.requirements);
    Err(Error::conflict("python/changed-since", message))
}

fn clear(tree: &str) -> Result<(), Error> {
    let caches = files::find(Place::Side, tree, CACHES)?;
    let exact: Vec<String> =
        caches.into_iter().filter(|name| name.rsplit('/').next() == Some(CACHES)).collect();
    files::stage_removal(tree, &exact).map(drop)
}

/// None when the live environment's Python does not run.
fn installed(task: &Task) -> Result<Option<BTreeMap<String, String>>, Error> {
    let ended = ask("python.installed", task, &[("venv", std::slice::from_ref(&task.venv))])?;
    Ok((ended.code == Some(0)).then(|| requirements::installed(&String::from_utf8_lossy(&ended.output))))
}

fn read(task: &Task) -> Result<String, Error> {
    let bytes = files::read(Place::Live, &task.requirements, REQUIREMENTS_BYTES_MAX)?;
    String::from_utf8(bytes).map_err(|cause| Error::invalid("python/not-text", cause.to_string()))
}

fn digest(task: &Task) -> Result<String, Error> {
    exchange::digest(Place::Live, &task.requirements)?
        .ok_or_else(|| Error::not_found("python/no-requirements", format!("{} is gone", task.requirements)))
}

fn built(state: &State) -> Result<&str, Error> {
    state.to.as_deref().ok_or_else(|| Error::invalid("python/not-prepared", "nothing was built"))
}

fn go_on(path: &str) -> Result<(), Error> {
    if control::cancelled() {
        return Err(Error::cancelled(format!("stopped before {path}")));
    }
    Ok(())
}

fn ask(form: &str, task: &Task, holes: &[(&str, &[String])]) -> Result<Ended, Error> {
    programs::ask(&call(form, task, holes, ASK_TIMEOUT_MS))
}

fn stage(form: &str, task: &Task, holes: &[(&str, &[String])]) -> Result<(), Error> {
    let ended = programs::stage(&call(form, task, holes, BUILD_TIMEOUT_MS))?;
    match ended.code {
        Some(0) => Ok(()),
        code => {
            let how = code.map_or_else(|| "was killed".to_owned(), |code| format!("ended with {code}"));
            let message = format!("{form} {how}: {}", last_line(&ended.complaint));
            Err(Error::failed("python/failed", message))
        }
    }
}

/// An optional hole without a value is left open.
fn call(form: &str, task: &Task, holes: &[(&str, &[String])], timeout_ms: u64) -> Call {
    let filled = holes.iter().filter(|(name, values)| !(*name == "wheels" && values.is_empty()));
    let hole =
        |(name, values): &(&str, &[String])| Hole { name: (*name).to_owned(), values: values.to_vec() };
    Call { form: form.to_owned(), on: task.venv.clone(), holes: filled.map(hole).collect(), timeout_ms }
}

fn last_line(text: &str) -> &str {
    text.trim().lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing was said")
}

sternway_plugin::export_plugin!(PythonEnv);
