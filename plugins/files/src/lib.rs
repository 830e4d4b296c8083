//! `files`: brings trees and single files back from the run's rollback point or
//! an archive, puts kept copies back, switches links, and takes others away.
//! Everything is staged beside and switched by one atomic exchange, so a host
//! never holds half a tree.

mod decide;
mod settings;
mod stage;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sternway_plugin::host::files::{self, Place};
use sternway_plugin::host::{control, points};
use sternway_plugin::{
    Class, Error, Failure, Looked, Manifest, Mode, Outcome, Plugin, Power, Prepared, Reversibility, Step,
    Verification, exchange, memory, recopy,
};

use crate::settings::Settings;
use crate::stage::held;

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
            summary: "restores files from the rollback point or an archive and takes others away".into(),
            settings_schema: include_str!("../settings.schema.json").into(),
            modes: vec![
                mode("restore", "puts back what the rollback point holds"),
                mode("remove", "takes away, and keeps aside for undo"),
                mode("unpack", "replaces a tree by what an archive holds"),
                mode("put-back", "puts kept copies back into their places"),
                mode("clear", "removes names with given endings from a tree"),
                mode("link", "leads a symbolic link elsewhere"),
            ],
            powers: vec![
                Power {
                    name: "files".into(),
                    scope_from: ["restore", "remove", "unpack", "put-back", "clear", "link"]
                        .map(String::from)
                        .to_vec(),
                    reason: "replaces or removes these paths".into(),
                },
                Power {
                    name: "files-read".into(),
                    scope_from: ["archive", "target"].map(String::from).to_vec(),
                    reason: "reads an archive, or what a link leads to".into(),
                },
                Power {
                    name: "points".into(),
                    scope_from: vec!["restore".into()],
                    reason: "reads these paths from the rollback point".into(),
                },
                Power {
                    name: "archive".into(),
                    scope_from: vec!["sha256".into()],
                    reason: "has the SHA-256 of these archives computed".into(),
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
        for found in stage::look(&task)? {
            match found {
                Ok(action) => looked.actions.push(action),
                Err(finding) => looked.findings.push(finding),
            }
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
        let staged: Staged = memory::once("prepare", || stage::stage(on, &task))?;
        Ok(Prepared { summary: format!("{} staged beside", staged.0.len()), state: staged })
    }

    fn apply(on: &Step<Settings>, mut staged: Staged) -> Result<Outcome<Staged>, Failure> {
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
        for copy in &task.copies {
            go_on(&copy.path)?;
            let (now, is_changed) = recopy::put(&copy.path, || stage::change(copy))?;
            staged.0.insert(copy.path.clone(), now);
            changed += u32::from(is_changed);
        }
        // A link last: what it leads to may be what was just unpacked.
        for path in task.unpack.iter().map(|unpack| &unpack.path).chain(task.link.iter().map(|link| &link.0))
        {
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
        for path in task.replaced() {
            // A tree in which nothing was left to change was staged by an earlier try, or never.
            let is_copy = task.copies.iter().any(|copy| copy.path == path);
            if is_copy && !staged.0.contains_key(path) {
                continue;
            }
            let live = exchange::digest(Place::Live, path)?;
            proofs.push(decide::proof_of_restore(path, live.as_deref(), staged.of(path)?));
        }
        for path in &task.remove {
            let live = files::get_attributes(Place::Live, path)?;
            proofs.push(decide::proof_of_removal(path, live.is_some()));
        }
        for copy in &task.copies {
            proofs.push(decide::proof_of_none_left(&copy.path, &stage::names(copy)?));
        }
        Ok(proofs)
    }

    fn undo(on: &Step<Settings>, staged: Staged) -> Result<Outcome<Staged>, Failure> {
        let task = on.settings.task()?;
        let mut changed = 0;
        let replaced: Vec<&str> = task.replaced().collect();
        for path in replaced.into_iter().rev().chain(task.remove.iter().rev().map(String::as_str)) {
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

fn go_on(path: &str) -> Result<(), Error> {
    if control::cancelled() {
        return Err(Error::cancelled(format!("stopped before {path}")));
    }
    Ok(())
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
