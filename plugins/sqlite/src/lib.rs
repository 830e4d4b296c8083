//! `sqlite`: brings a database back from the rollback point. The old state is
//! staged beside and proved sound before anything stops; the live file is
//! switched in one exchange and waits aside for undo.

mod decide;

use serde::{Deserialize, Serialize};
use sternway_plugin::exchange::{self, Standing};
use sternway_plugin::host::files::{self, Place};
use sternway_plugin::host::{databases, points, progress};
use sternway_plugin::{
    Class, Error, Failure, Looked, Manifest, Mode, Outcome, Plugin, Power, Prepared, Reversibility, Step,
    Verification, memory,
};

use crate::decide::{Settings, Task};

/// The plugin.
#[derive(Debug)]
pub struct Sqlite;

/// The digest of what `prepare` staged.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Staged(String);

impl Plugin for Sqlite {
    type Settings = Settings;
    type State = Staged;

    fn manifest() -> Manifest {
        Manifest {
            name: "sqlite".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "restores an SQLite database from the rollback point".into(),
            settings_schema: include_str!("../settings.schema.json").into(),
            modes: vec![Mode {
                setting: "restore".into(),
                class: Class::StagedSwap,
                reversibility: Reversibility::Reversible,
                summary: "replaces a database by what the rollback point holds".into(),
            }],
            powers: vec![
                power("files", "stages the database beside and switches it"),
                power("points", "reads the database from the rollback point"),
                power("databases", "checks the database, and settles it before the switch"),
            ],
            default_timeout_ms: 900_000,
        }
    }

    fn look(on: &Step<Settings>) -> Result<Looked<Staged>, Error> {
        let Task { path, .. } = on.settings.task()?;
        let mut looked = Looked { findings: vec![], actions: vec![], state: Staged::default() };
        let Some(point) = &on.call.point else {
            looked.findings.push(decide::finding_without_point());
            return Ok(looked);
        };
        if points::entries(point, &path)?.is_none() {
            looked.findings.push(decide::finding_not_in_point(&path, point));
            return Ok(looked);
        }
        let made_ms = points::get(point)?.made_ms;
        let live = files::get_attributes(Place::Live, &path)?;
        looked.actions.push(decide::restoration(&path, live.map(|live| live.bytes), point, made_ms));
        Ok(looked)
    }

    fn prepare(on: &Step<Settings>, _seen: Staged) -> Result<Prepared<Staged>, Error> {
        let task = on.settings.task()?;
        let staged: Staged = memory::once("prepare", || {
            progress::report("stage", 0, None, "databases");
            let mut digest = points::stage(on.point()?, &task.path)?;
            if let Some(ownership) = &task.ownership {
                digest = files::stage_ownership(&task.path, ownership)?;
            }
            prove(&task, Place::Side)?;
            Ok::<_, Error>(Staged(digest.sha256))
        })?;
        Ok(Prepared { summary: format!("{} staged beside and sound", task.path), state: staged })
    }

    fn apply(on: &Step<Settings>, staged: Staged) -> Result<Outcome<Staged>, Failure> {
        let Task { path, .. } = on.settings.task()?;
        if exchange::standing(&path)? == Standing::Before {
            settle(&path)?;
        }
        let changed = exchange::put(&path, Some(&staged.0))?;
        let summary = if changed { format!("{path} replaced") } else { format!("{path} was so already") };
        Ok(Outcome { changed, summary, state: staged })
    }

    fn verify(on: &Step<Settings>, _staged: Staged) -> Result<Vec<Verification>, Error> {
        let task = on.settings.task()?;
        let health = databases::inspect(Place::Live, &task.path)?;
        let mut proofs = vec![decide::proof_of_health(&task.path, &health)];
        if let Some(sql) = &task.check {
            let answer = databases::ask(Place::Live, &task.path, sql)?;
            proofs.push(decide::proof_of_check(sql, answer.as_deref()));
        }
        Ok(proofs)
    }

    fn undo(on: &Step<Settings>, staged: Staged) -> Result<Outcome<Staged>, Failure> {
        let Task { path, .. } = on.settings.task()?;
        if matches!(exchange::standing(&path)?, Standing::After { .. }) {
            settle(&path)?;
        }
        let changed = exchange::put_back(&path)?;
        let summary = if changed { format!("{path} put back") } else { format!("{path} was not replaced") };
        Ok(Outcome { changed, summary, state: staged })
    }
}

/// What its program wrote last may still stand in the log beside the file.
fn settle(path: &str) -> Result<(), Error> {
    match files::get_attributes(Place::Live, path)? {
        Some(_) => databases::settle(path),
        None => Ok(()),
    }
}

fn prove(task: &Task, at: Place) -> Result<(), Error> {
    decide::sound(&task.path, &databases::inspect(at, &task.path)?)?;
    match &task.check {
        None => Ok(()),
        Some(sql) => decide::agreed(sql, databases::ask(at, &task.path, sql)?.as_deref()),
    }
}

fn power(name: &str, reason: &str) -> Power {
    Power { name: name.into(), scope_from: vec!["restore".into()], reason: reason.into() }
}

sternway_plugin::export_plugin!(Sqlite);
