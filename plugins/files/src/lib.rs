//! `files`: brings trees and single files back from the run's rollback point,
//! and takes others away. Everything is staged beside and switched by one
//! atomic exchange, so a host never holds half a tree.

mod decide;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sternway_plugin::host::files::{self, Place};
use sternway_plugin::host::{control, points, progress};
use sternway_plugin::{
    Class, Error, Failure, Looked, Manifest, Mode, Outcome, Plugin, Power, Prepared, Reversibility, Step,
    Verification, exchange, memory,
};

use crate::decide::{Held, Settings, Task};

/// The plugin.
#[derive(Debug)]
pub struct Files;

/// What `prepare` staged: path to digest.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Staged(BTreeMap<String, String>);

impl Plugin for Files {
    type Settings = Settings;
    type State = Staged;

    fn manifest() -> Manifest {
        Manifest {
            name: "files".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "restores files from the rollback point and takes others away".into(),
            settings_schema: include_str!("../settings.schema.json").into(),
            modes: vec![
                mode("restore", "puts back what the rollback point holds"),
                mode("remove", "takes away, and keeps aside for undo"),
            ],
            powers: vec![
                Power {
                    name: "files".into(),
                    scope_from: vec!["restore".into(), "remove".into()],
                    reason: "replaces these paths, removes these paths".into(),
                },
                Power {
                    name: "points".into(),
                    scope_from: vec!["restore".into()],
                    reason: "reads these paths from the rollback point".into(),
                },
            ],
            default_timeout_ms: 600_000,
        }
    }

    fn look(on: &Step<Settings>) -> Result<Looked<Staged>, Error> {
        let task = on.settings.task()?;
        let mut looked = Looked { findings: vec![], actions: vec![], state: Staged::default() };
        for path in &task.remove {
            let in_point = match &on.call.point {
                Some(point) if task.restores_around(path) => points::entries(point, path)?,
                _ => None,
            };
            let live = files::get_digest(Place::Live, path)?;
            looked.findings.extend(decide::finding_on_remove(path, live.is_some(), in_point));
            looked.actions.extend(live.map(|live| decide::removal(path, &held(live))));
        }
        let Some(point) = &on.call.point else {
            looked.findings.extend(decide::finding_without_point(&task));
            return Ok(looked);
        };
        for path in &task.restore {
            match points::entries(point, path)? {
                None => looked.findings.push(decide::finding_not_in_point(path, point)),
                Some(entries) => {
                    let live = files::get_digest(Place::Live, path)?.map(held);
                    looked.actions.push(decide::restoration(path, live.as_ref(), entries, point));
                }
            }
        }
        Ok(looked)
    }

    fn prepare(on: &Step<Settings>, _seen: Staged) -> Result<Prepared<Staged>, Error> {
        let task = on.settings.task()?;
        let staged: Staged = memory::once("prepare", || stage(on, &task))?;
        Ok(Prepared { summary: format!("{} staged beside", staged.0.len()), state: staged })
    }

    fn apply(on: &Step<Settings>, staged: Staged) -> Result<Outcome<Staged>, Failure> {
        let task = on.settings.task()?;
        let mut changed = 0;
        // A path to take away may lie within a tree to restore: it goes first
        // and comes back last, while the old tree stands around it.
        for path in &task.remove {
            go_on(path)?;
            changed += u32::from(exchange::put(path, None)?);
        }
        for path in &task.restore {
            go_on(path)?;
            changed += u32::from(exchange::put(path, Some(staged.of(path)?))?);
        }
        Ok(Outcome {
            changed: changed > 0,
            summary: format!("{changed} of {} paths changed", task.paths()),
            state: staged,
        })
    }

    fn verify(on: &Step<Settings>, staged: Staged) -> Result<Vec<Verification>, Error> {
        let task = on.settings.task()?;
        let mut proofs = Vec::new();
        for path in &task.restore {
            let live = exchange::digest(Place::Live, path)?;
            proofs.push(decide::proof_of_restore(path, live.as_deref(), staged.of(path)?));
        }
        for path in &task.remove {
            let live = files::get_attributes(Place::Live, path)?;
            proofs.push(decide::proof_of_removal(path, live.is_some()));
        }
        Ok(proofs)
    }

    fn undo(on: &Step<Settings>, staged: Staged) -> Result<Outcome<Staged>, Failure> {
        let task = on.settings.task()?;
        let mut changed = 0;
        for path in task.restore.iter().rev().chain(task.remove.iter().rev()) {
            changed += u32::from(exchange::put_back(path)?);
        }
        Ok(Outcome {
            changed: changed > 0,
            summary: format!("{changed} of {} paths put back", task.paths()),
            state: staged,
        })
    }
}

impl Staged {
    fn of(&self, path: &str) -> Result<&str, Error> {
        self.0
            .get(path)
            .map(String::as_str)
            .ok_or_else(|| Error::invalid("files/not-prepared", format!("nothing was staged for {path}")))
    }
}

fn stage(on: &Step<Settings>, task: &Task) -> Result<Staged, Error> {
    let mut staged = Staged::default();
    let total = task.restore.len() as u64;
    for (done, path) in (0..).zip(&task.restore) {
        go_on(path)?;
        progress::report("stage", done, Some(total), "paths");
        let mut digest = points::stage(on.point()?, path)?;
        if let Some(ownership) = &task.ownership {
            digest = files::stage_ownership(path, ownership)?;
        }
        staged.0.insert(path.clone(), digest.sha256);
    }
    for path in &task.remove {
        files::discard(path)?;
    }
    Ok(staged)
}

fn go_on(path: &str) -> Result<(), Error> {
    if control::cancelled() {
        return Err(Error::cancelled(format!("stopped before {path}")));
    }
    Ok(())
}

fn held(digest: files::Digest) -> Held {
    Held { entries: digest.entries, bytes: digest.bytes, sha256: digest.sha256 }
}

fn mode(setting: &str, summary: &str) -> Mode {
    Mode {
        setting: setting.into(),
        class: Class::StagedSwap,
        reversibility: Reversibility::Reversible,
        summary: summary.into(),
    }
}

sternway_plugin::export_plugin!(Files);
