//! Migrations taken back script by script: each in one transaction with the
//! note of it, so the table always says how far it came.

use sternway_plugin::host::files::{self, Place};
use sternway_plugin::host::{control, progress};
use sternway_plugin::{
    Action, Error, Failure, Finding, Kind, Looked, Outcome, Risk, Verdict, Verification, memory,
};

use crate::State;
use crate::calls::Server;
use crate::decide::{self, Stair};
use crate::settings::{Keeps, Migrate};

/// The journal's key for the way down.
const STAIRS: &str = "stairs";

pub(crate) fn look(server: &Server, task: &Migrate) -> Result<Looked<State>, Error> {
    let mut looked = Looked { findings: vec![], actions: vec![], state: State::default() };
    match stairs(server, task) {
        Ok(stairs) => looked.actions.extend(stairs.iter().map(|stair| Action {
            summary: format!("take back migration {} of {}", stair.from, server.on),
            target: server.on.clone(),
            before: Some(format!("version {}", stair.from)),
            after: Some(format!("version {}", stair.to)),
            // What a script drops, no script brings back.
            risk: Risk::DataLoss,
        })),
        Err(error) if error.kind == Kind::Failed || error.kind == Kind::NotFound => {
            looked.findings.push(Finding::blocking(&error.code, error.message));
        }
        Err(error) => return Err(error),
    }
    Ok(looked)
}

pub(crate) fn apply(server: &Server, task: &Migrate) -> Result<Outcome<State>, Failure> {
    let noted: Option<Vec<Stair>> = memory::recall(STAIRS)?;
    let stairs = match noted {
        Some(stairs) => stairs,
        None => memory::first(STAIRS, stairs(server, task)?)?,
    };
    for (done, stair) in (0..).zip(&stairs) {
        let now = version(server, task)?;
        if now < stair.from {
            continue;
        }
        if control::cancelled() {
            return Err(Error::cancelled(format!("stopped at version {now}")).into());
        }
        progress::report("migrate down", done, Some(stairs.len() as u64), "migrations");
        server.migrate(task, &path(task, &stair.down), stair.from, stair.to)?;
    }
    let summary = format!("{} is at version {}", server.on, version(server, task)?);
    Ok(Outcome { changed: !stairs.is_empty(), summary, state: State::default() })
}

pub(crate) fn undo(server: &Server, task: &Migrate) -> Result<Outcome<State>, Failure> {
    let stairs: Vec<Stair> = memory::recall(STAIRS)?.unwrap_or_default();
    let mut changed = false;
    for stair in stairs.iter().rev() {
        if version(server, task)? >= stair.from {
            continue;
        }
        server.migrate(task, &path(task, &stair.up), stair.to, stair.from)?;
        changed = true;
    }
    let summary = if changed { "migrated up again" } else { "nothing was migrated" };
    Ok(Outcome { changed, summary: format!("{}: {summary}", server.on), state: State::default() })
}

pub(crate) fn verify(server: &Server, task: &Migrate) -> Result<Vec<Verification>, Error> {
    let now = version(server, task)?;
    Ok(vec![Verification {
        name: format!("{} is at version {}", server.on, task.to),
        verdict: if now == task.to { Verdict::Pass } else { Verdict::Fail },
        measured: Some(now.to_string()),
        expected: Some(task.to.to_string()),
        message: format!("{} is at version {now}", server.on),
    }])
}

fn stairs(server: &Server, task: &Migrate) -> Result<Vec<Stair>, Error> {
    let versions = server.migrations(task)?;
    if task.keeps == Keeps::One && versions.len() != 1 {
        let message = format!("{} has {} rows, and should have one", task.table, versions.len());
        return Err(Error::failed("postgres/version-table", message));
    }
    let names = files::names(Place::Live, &task.scripts)?;
    decide::stairs(&names, &versions, task.to, task.keeps == Keeps::Rows)
}

fn version(server: &Server, task: &Migrate) -> Result<u64, Error> {
    Ok(server.migrations(task)?.last().copied().unwrap_or_default())
}

fn path(task: &Migrate, name: &str) -> String {
    format!("{}/{name}", task.scripts)
}
