//! `postgres`: brings a database back from a dump. It is restored beside and
//! asked, while the old one serves; then connections are fenced and the two are
//! switched by renaming in one transaction. Undo renames back.

mod archive;
mod calls;
mod decide;
mod migrate;
mod restore;
mod settings;
mod standing;

use serde::{Deserialize, Serialize};
use sternway_plugin::exchange;
use sternway_plugin::host::files::{self, Place};
use sternway_plugin::{
    Action, Class, Error, Failure, Finding, Kind, Looked, Manifest, Mode, Outcome, Plugin, Power, Prepared,
    Reversibility, Risk, Step, Verdict, Verification, deeds, memory,
};

use crate::calls::{Listed, Server};
use crate::settings::{Keeps, Restore, Settings, Source, Task};
use crate::standing::Staged;

/// The plugin.
#[derive(Debug)]
pub struct Postgres;

/// What `prepare` staged.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    staged: Option<Staged>,
    /// Of the dump that was staged.
    digest: Option<String>,
}

impl Plugin for Postgres {
    type Settings = Settings;
    type State = State;

    fn manifest() -> Manifest {
        use {Class::*, Reversibility::*};
        Manifest {
            name: "postgres".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "restores, dumps, migrates down and checks PostgreSQL databases".into(),
            settings_schema: include_str!("../settings.schema.json").into(),
            modes: vec![
                mode("restore", StagedSwap, Reversible, "restores a dump beside and switches by renaming"),
                mode("dump", StagedSwap, Reversible, "dumps a database to a file"),
                mode("migrate", Converge, Reversible, "takes migrations back by their own scripts"),
                mode("check", Observe, Reversible, "asks a database questions"),
                mode("drop-kept", Converge, Irreversible, "removes databases that earlier runs set aside"),
            ],
            powers: vec![
                power(
                    "postgres",
                    &["restore", "dump", "migrate", "check", "drop-kept"],
                    "works on these databases",
                ),
                power("points", &["from-point"], "reads the dump from the rollback point"),
                power("files", &["from-point", "to"], "stages dumps of the point, writes dumps"),
                power("files-read", &["from-file", "scripts"], "reads dumps and scripts"),
            ],
            default_timeout_ms: 3_600_000,
        }
    }

    fn look(on: &Step<Settings>) -> Result<Looked<State>, Error> {
        let (server, task) = begun(on)?;
        match &task {
            Task::Restore(task) => restore::look(&server, task, on.call.point.as_deref()),
            Task::Migrate(task) => migrate::look(&server, task),
            Task::Dump { to, .. } => looked(&server, |found| {
                found.push(action(format!("dump {} to {to}", server.on), to, Risk::Low));
            }),
            Task::Check { .. } => looked(&server, |found| {
                found.push(action(format!("check {}", server.on), &server.on, Risk::None));
            }),
            Task::DropKept { .. } => {
                let mut looked = Looked { findings: vec![], actions: vec![], state: State::default() };
                for (kind, short) in server.catalogue()?.kept(&server.on) {
                    let name = format!("{}__{kind}_{short}", server.on);
                    looked.actions.push(action(format!("remove {name} for good"), &name, Risk::DataLoss));
                }
                Ok(looked)
            }
        }
    }

    fn prepare(on: &Step<Settings>, seen: State) -> Result<Prepared<State>, Error> {
        let (server, task) = begun(on)?;
        match &task {
            Task::Restore(task) => {
                let (summary, state) = restore::prepare(&server, task, on.call.point.as_deref())?;
                Ok(Prepared { summary, state })
            }
            Task::Dump { to, .. } => {
                let digest: String = memory::once("prepare", || dump_beside(&server, to))?;
                let summary = format!("{} dumped beside {to}", server.on);
                Ok(Prepared { summary, state: State { digest: Some(digest), ..seen } })
            }
            Task::Migrate(_) | Task::Check { .. } | Task::DropKept { .. } => {
                Ok(Prepared { summary: "nothing to stage".into(), state: seen })
            }
        }
    }

    fn apply(on: &Step<Settings>, state: State) -> Result<Outcome<State>, Failure> {
        let (server, task) = begun(on)?;
        match &task {
            Task::Restore(_) => restore::apply(&server, state),
            Task::Migrate(task) => migrate::apply(&server, task),
            Task::Dump { to, .. } => {
                let changed = exchange::put(to, state.digest.as_deref())?;
                Ok(Outcome { changed, summary: format!("{} dumped to {to}", server.on), state })
            }
            Task::Check { .. } => {
                match asked(&server, &task)?.into_iter().find(|one| one.verdict != Verdict::Pass) {
                    Some(one) => {
                        Err(Error::failed("postgres/check", format!("{}: {}", one.name, one.message)).into())
                    }
                    None => Ok(Outcome { changed: false, summary: "all checks hold".into(), state }),
                }
            }
            Task::DropKept { .. } => {
                let kept = server.catalogue()?.kept(&server.on);
                for (kind, short) in &kept {
                    server.drop_kept(kind, short)?;
                }
                let summary = format!("{} databases removed", kept.len());
                Ok(Outcome { changed: !kept.is_empty(), summary, state })
            }
        }
    }

    fn verify(on: &Step<Settings>, state: State) -> Result<Vec<Verification>, Error> {
        let (server, task) = begun(on)?;
        match &task {
            Task::Restore(task) => restore::verify(&server, task, state),
            Task::Migrate(task) => migrate::verify(&server, task),
            Task::Check { .. } => asked(&server, &task),
            Task::Dump { to, .. } => {
                let source = Source::File(to.clone());
                let tables = match server.list(&source, false)? {
                    Listed::Archive(contents) => {
                        format!("an archive with the data of {} tables", contents.tables)
                    }
                    Listed::Plain => "no archive".to_owned(),
                };
                Ok(vec![proof(format!("{to} is a dump"), tables.starts_with("an "), tables, "an archive")])
            }
            Task::DropKept { .. } => {
                let left = server.catalogue()?.kept(&server.on).len();
                Ok(vec![proof("nothing is left beside".into(), left == 0, left.to_string(), "0")])
            }
        }
    }

    fn undo(on: &Step<Settings>, state: State) -> Result<Outcome<State>, Failure> {
        let (server, task) = begun(on)?;
        match &task {
            Task::Restore(_) => restore::undo(&server, state),
            Task::Migrate(task) => migrate::undo(&server, task),
            Task::Dump { to, .. } => {
                let changed = exchange::put_back(to)?;
                let summary =
                    if changed { format!("{to} put back") } else { format!("{to} was not written") };
                Ok(Outcome { changed, summary, state })
            }
            Task::Check { .. } => Ok(Outcome { changed: false, summary: "nothing was done".into(), state }),
            Task::DropKept { .. } => {
                Err(Error::unsupported("postgres/gone", "what was removed for good does not come back")
                    .into())
            }
        }
    }
}

fn begun(on: &Step<Settings>) -> Result<(Server, Task), Error> {
    let task = on.settings.task()?;
    let database = match &task {
        Task::Restore(Restore { on, .. })
        | Task::Dump { on, .. }
        | Task::Migrate(settings::Migrate { on, .. })
        | Task::Check { on, .. }
        | Task::DropKept { on } => on.clone(),
    };
    Ok((Server { on: database, short: deeds::short(&on.call.idempotency_key) }, task))
}

/// For the modes that only need the database to be there.
fn looked(server: &Server, act: impl FnOnce(&mut Vec<Action>)) -> Result<Looked<State>, Error> {
    let mut looked = Looked { findings: vec![], actions: vec![], state: State::default() };
    match server.catalogue() {
        Ok(catalogue) if catalogue.named(&server.on).is_some() => act(&mut looked.actions),
        Ok(_) => {
            let message = format!("there is no database {}", server.on);
            looked.findings.push(Finding::blocking("postgres/no-database", message));
        }
        Err(error) if error.kind == Kind::Failed || error.kind == Kind::NotFound => {
            looked.findings.push(Finding::blocking(&error.code, error.message));
        }
        Err(error) => return Err(error),
    }
    Ok(looked)
}

/// What is staged must be an archive that can be read to its table of contents.
fn dump_beside(server: &Server, to: &str) -> Result<String, Error> {
    server.dump(to)?;
    let digest = files::get_digest(Place::Side, to)?;
    let digest = digest.ok_or_else(|| Error::failed("postgres/no-dump", "pg_dump has written nothing"))?;
    match server.list(&Source::Point(to.to_owned()), false)? {
        Listed::Archive(_) => Ok(digest.sha256),
        Listed::Plain => Err(Error::failed("postgres/no-archive", "pg_dump has written no archive")),
    }
}

fn asked(server: &Server, task: &Task) -> Result<Vec<Verification>, Error> {
    let Task::Check { checks, lag_max_ms, .. } = task else { return Ok(vec![]) };
    let mut proofs = Vec::new();
    for check in checks {
        proofs.push(check.proof(&server.query(&check.sql)?));
    }
    if let Some(most) = lag_max_ms.map(|ms| ms / 1_000) {
        let lag = server.lag()?;
        let measured = lag.map_or_else(|| "no replica".to_owned(), |lag| format!("{lag} s"));
        let right = lag.is_none_or(|lag| lag <= most);
        proofs.push(proof("the replica keeps up".into(), right, measured, &format!("at most {most} s")));
    }
    Ok(proofs)
}

fn proof(name: String, right: bool, measured: String, expected: &str) -> Verification {
    Verification {
        verdict: if right { Verdict::Pass } else { Verdict::Fail },
        message: format!("{name}: {measured}"),
        name,
        measured: Some(measured),
        expected: Some(expected.to_owned()),
    }
}

fn action(summary: String, target: &str, risk: Risk) -> Action {
    Action { summary, target: target.to_owned(), before: None, after: None, risk }
}

fn mode(setting: &str, class: Class, reversibility: Reversibility, summary: &str) -> Mode {
    Mode { setting: setting.into(), class, reversibility, summary: summary.into() }
}

fn power(name: &str, from: &[&str], reason: &str) -> Power {
    let scope_from = from.iter().map(|name| (*name).to_owned()).collect();
    Power { name: name.into(), scope_from, reason: reason.into() }
}

impl Source {
    fn path(&self) -> &str {
        match self {
            Self::Point(path) | Self::File(path) => path,
        }
    }
}

impl Keeps {
    fn word(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Rows => "rows",
        }
    }
}

sternway_plugin::export_plugin!(Postgres);
