//! `mysql`: brings a database of MariaDB or MySQL back from a dump. It is restored
//! beside and asked, while the old one serves; then all tables are exchanged in
//! one statement, which happens whole or not at all. Undo is the same statement.

mod calls;
mod decide;
mod settings;

use serde::{Deserialize, Serialize};
use sternway_plugin::exchange;
use sternway_plugin::host::files::{self, Place};
use sternway_plugin::host::{control, points, progress};
use sternway_plugin::{
    Action, Class, Error, Failure, Finding, IntoFailure, Kind, Looked, Manifest, Mode, Outcome, Plugin,
    Power, Prepared, Reversibility, Risk, Step, Verdict, Verification, deeds, memory, utc,
};

use crate::calls::Server;
use crate::decide::{Staged, Standing};
use crate::settings::{Restore, Settings, Source, Task};

/// The plugin.
#[derive(Debug)]
pub struct Mysql;

/// What `prepare` staged.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    staged: Option<Staged>,
    /// Of the dump that was staged.
    digest: Option<String>,
}

/// More turns than any crash needs.
const TURNS_MAX: u32 = 6;
/// A dump in a point that is read and written again without a `scratch` path.
const DUMP_BYTES_MAX: u32 = 4 << 20;

impl Plugin for Mysql {
    type Settings = Settings;
    type State = State;

    fn manifest() -> Manifest {
        use {Class::*, Reversibility::*};
        Manifest {
            name: "mysql".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "restores, dumps and checks databases of MariaDB and MySQL".into(),
            settings_schema: include_str!("../settings.schema.json").into(),
            modes: vec![
                mode(
                    "restore",
                    StagedSwap,
                    Reversible,
                    "restores a dump beside and exchanges all tables at once",
                ),
                mode("dump", StagedSwap, Reversible, "dumps a database to a file"),
                mode("check", Observe, Reversible, "asks a database questions"),
                mode("drop-kept", Converge, Irreversible, "removes what earlier runs set aside"),
            ],
            powers: vec![
                power("mysql", &["restore", "dump", "check", "drop-kept"], "works on these databases"),
                power("points", &["from-point"], "reads the dump from the rollback point"),
                power("files", &["from-point", "scratch", "to"], "stages dumps of the point, writes dumps"),
                power("files-read", &["from-file"], "reads dumps"),
            ],
            default_timeout_ms: 3_600_000,
        }
    }

    fn look(on: &Step<Settings>) -> Result<Looked<State>, Error> {
        let (server, task) = begun(on)?;
        let mut looked = Looked { findings: vec![], actions: vec![], state: State::default() };
        let told = match server.told() {
            Err(error) if error.kind == Kind::Failed || error.kind == Kind::NotFound => {
                looked.findings.push(Finding::blocking(&error.code, error.message));
                return Ok(looked);
            }
            other => other?,
        };
        match &task {
            Task::Restore(task) => look_at_restore(on, &server, task, &told, &mut looked)?,
            Task::DropKept => {
                looked.actions.extend(told.kept(&server.on).into_iter().map(|(kind, short)| {
                    let name = format!("{}__{kind}_{short}", server.on);
                    action(format!("remove {name} for good"), &name, Risk::DataLoss)
                }))
            }
            Task::Dump { .. } | Task::Check { .. } if !told.has(&server.on) => {
                let message = format!("there is no database {}", server.on);
                looked.findings.push(Finding::blocking("mysql/no-database", message));
            }
            Task::Dump { to } => {
                looked.actions.push(action(format!("dump {} to {to}", server.on), to, Risk::Low));
            }
            Task::Check { .. } => {
                looked.actions.push(action(format!("check {}", server.on), &server.on, Risk::None));
            }
        }
        Ok(looked)
    }

    fn prepare(on: &Step<Settings>, seen: State) -> Result<Prepared<State>, Error> {
        let (server, task) = begun(on)?;
        match &task {
            Task::Restore(task) => {
                let staged: Staged = memory::once("prepare", || {
                    let staged = stage(on, &server, task);
                    if staged.is_err() {
                        // Half a database would only take room.
                        let _ = server.drop_beside();
                    }
                    staged
                })?;
                let summary =
                    format!("{} tables restored beside, in {}", staged.new.len(), server.beside("sternway"));
                Ok(Prepared { summary, state: State { staged: Some(staged), ..seen } })
            }
            Task::Dump { to } => {
                let digest: String = memory::once("prepare", || {
                    server.dump(to)?;
                    decide::dump(to, &server.lines(&Source::Point(to.clone()))?)?;
                    let digest = files::get_digest(Place::Side, to)?;
                    let nothing = || Error::failed("mysql/no-dump", "the dump has written nothing");
                    Ok::<_, Error>(digest.ok_or_else(nothing)?.sha256)
                })?;
                let summary = format!("{} dumped beside {to}", server.on);
                Ok(Prepared { summary, state: State { digest: Some(digest), ..seen } })
            }
            Task::Check { .. } | Task::DropKept => {
                Ok(Prepared { summary: "nothing to stage".into(), state: seen })
            }
        }
    }

    fn apply(on: &Step<Settings>, state: State) -> Result<Outcome<State>, Failure> {
        let (server, task) = begun(on)?;
        match &task {
            Task::Restore(_) => switch(&server, state),
            Task::Dump { to } => {
                let changed = exchange::put(to, state.digest.as_deref())?;
                Ok(Outcome { changed, summary: format!("{} dumped to {to}", server.on), state })
            }
            Task::Check { checks } => {
                for check in checks {
                    check.agreed("mysql/check", &server.query(&check.sql)?)?;
                }
                Ok(Outcome { changed: false, summary: "all checks hold".into(), state })
            }
            Task::DropKept => {
                let kept = server.told()?.kept(&server.on);
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
        let mut proofs = Vec::new();
        let checks = match &task {
            Task::Restore(task) => {
                let standing = server.told()?.standing(&server.on, &server.short, staged(&state)?);
                proofs.push(decide::proof_of_switch(&server.on, &standing));
                &task.checks
            }
            Task::Check { checks } => checks,
            Task::Dump { to } => {
                decide::dump(to, &server.lines(&Source::File(to.clone()))?)?;
                return Ok(vec![proof(format!("{to} is a whole dump"), true, "whole")]);
            }
            Task::DropKept => {
                let left = server.told()?.kept(&server.on).len();
                return Ok(vec![proof("nothing is left beside".into(), left == 0, &left.to_string())]);
            }
        };
        for check in checks {
            proofs.push(check.proof(&server.query(&check.sql)?));
        }
        Ok(proofs)
    }

    fn undo(on: &Step<Settings>, state: State) -> Result<Outcome<State>, Failure> {
        let (server, task) = begun(on)?;
        match &task {
            Task::Restore(_) => switch_back(&server, state),
            Task::Dump { to } => {
                let changed = exchange::put_back(to)?;
                let summary =
                    if changed { format!("{to} put back") } else { format!("{to} was not written") };
                Ok(Outcome { changed, summary, state })
            }
            Task::Check { .. } => Ok(Outcome { changed: false, summary: "nothing was done".into(), state }),
            Task::DropKept => {
                Err(Error::unsupported("mysql/gone", "what was removed for good does not come back").into())
            }
        }
    }
}

fn look_at_restore(
    on: &Step<Settings>,
    server: &Server,
    task: &Restore,
    told: &decide::Told,
    looked: &mut Looked<State>,
) -> Result<(), Error> {
    looked.findings.extend(told.blockers(&server.on));
    let refuse = |code: &str, message: String| Finding::blocking(code, message);
    let (bytes, after) = match (&task.source, &on.call.point) {
        (Source::Point(_), None) => {
            looked
                .findings
                .push(refuse("mysql/no-point", "there is no rollback point to restore from".into()));
            return Ok(());
        }
        (Source::Point(path), Some(point)) => {
            if points::entries(point, path)?.is_none() {
                looked
                    .findings
                    .push(refuse("mysql/not-in-point", format!("point {point} holds nothing at {path}")));
                return Ok(());
            }
            (0, format!("as in {path} of point {point} of {}", utc(points::get(point)?.made_ms)))
        }
        (Source::File(path), _) => {
            let Some(found) = files::get_attributes(Place::Live, path)? else {
                looked.findings.push(refuse("mysql/no-dump", format!("there is no dump at {path}")));
                return Ok(());
            };
            if let Err(error) = decide::dump(path, &server.lines(&task.source)?) {
                looked.findings.push(refuse(&error.code, error.message));
            }
            (found.bytes, format!("as in {path} of {}", utc(found.modified_ms)))
        }
    };
    let need = told.bytes().max(bytes);
    let room = task.data_directory.as_deref().map(|path| server.room(path)).transpose()?;
    looked.findings.extend(decide::room(need, room));
    looked.actions.push(Action {
        summary: format!("replace all written to the database {} since the dump", server.on),
        target: server.on.clone(),
        before: Some(format!("{} bytes, set aside in {}", told.bytes(), server.beside("before"))),
        after: Some(after),
        risk: Risk::DataLoss,
    });
    Ok(())
}

fn stage(on: &Step<Settings>, server: &Server, task: &Restore) -> Result<Staged, Error> {
    let path = task.source.path();
    if let Source::Point(path) = &task.source {
        progress::report("fetch", 0, None, "dumps");
        points::stage(on.point()?, path)?;
    }
    let names_itself = decide::dump(path, &server.lines(&task.source)?)?;
    let dump = if names_itself { without_name(server, task)? } else { task.source.clone() };
    server.drop_beside()?;
    server.create_beside()?;
    progress::report("restore", 0, None, "databases");
    server.restore(&dump)?;
    let (told, side) = (server.told()?, server.beside("sternway"));
    if let Some((code, message)) = told.cannot_move(&side) {
        return Err(Error::failed(code, message));
    }
    for check in &task.checks {
        check.agreed("mysql/check", &server.query_beside(&check.sql)?)?;
    }
    let new = told.tables(&side);
    if new.is_empty() {
        return Err(Error::failed("mysql/no-tables", format!("{path} holds no table")));
    }
    Ok(Staged { old: told.tables(&server.on), new })
}

/// The dump, written again without the name of its database, which would lead
/// to the live one.
fn without_name(server: &Server, task: &Restore) -> Result<Source, Error> {
    let path = task.source.path();
    let to = match (&task.source, &task.scratch) {
        (_, Some(scratch)) => scratch,
        (Source::File(path), None) => path,
        (Source::Point(_), None) => {
            let dump = files::read(Place::Side, path, DUMP_BYTES_MAX).map_err(|error| match error.code.as_str() {
                "files/too-large" => Error::failed(
                    "mysql/scratch",
                    format!("{path} names its database and is long: `scratch` says beside which path it is written again"),
                ),
                _ => error,
            })?;
            files::stage_bytes(path, &decide::unnamed(&dump))?;
            return Ok(task.source.clone());
        }
    };
    server.unnamed(&task.source, to)?;
    Ok(Source::Point(to.clone()))
}

fn switch(server: &Server, state: State) -> Result<Outcome<State>, Failure> {
    for _ in 0..TURNS_MAX {
        match server.told()?.standing(&server.on, &server.short, staged(&state)?) {
            Standing::After => {
                let summary = format!(
                    "tables of {} exchanged; the old ones are in {}",
                    server.on,
                    server.beside("before")
                );
                return Ok(Outcome { changed: true, summary, state });
            }
            Standing::Before if control::cancelled() => {
                return Err(Error::cancelled("stopped before the tables were exchanged").into());
            }
            Standing::Before => server.exchange("before", "sternway")?,
            Standing::Back => return Err(Error::conflict("mysql/undone", "it was undone already").into()),
            Standing::Lost(how) => return Err(Error::conflict("mysql/changed-meanwhile", how).into()),
        }
    }
    Err(Error::failed("mysql/not-switched", format!("the tables of {} did not move", server.on)).into())
}

fn switch_back(server: &Server, state: State) -> Result<Outcome<State>, Failure> {
    let mut changed = false;
    for _ in 0..TURNS_MAX {
        let told = server.told()?;
        match told.standing(&server.on, &server.short, staged(&state)?) {
            Standing::After => {
                server.exchange("undone", "before")?;
                changed = true;
            }
            // Never live: nothing in it is anybody's.
            Standing::Before => server.drop_beside()?,
            Standing::Back if told.has(&server.beside("before")) => {
                server.drop_kept("before", &server.short)?
            }
            Standing::Back if told.has(&server.beside("sternway")) => server.drop_beside()?,
            Standing::Back => {
                let summary = if changed { "has its old tables again" } else { "has its old tables" };
                return Ok(Outcome { changed, summary: format!("{} {summary}", server.on), state });
            }
            Standing::Lost(how) => return Err(Error::conflict("mysql/changed-meanwhile", how).hands_off()),
        }
    }
    Err(Error::failed("mysql/not-back", format!("the tables of {} did not move back", server.on)).into())
}

fn begun(on: &Step<Settings>) -> Result<(Server, Task), Error> {
    let (database, task) = on.settings.task()?;
    Ok((Server { on: database, short: deeds::short(&on.call.idempotency_key) }, task))
}

fn staged(state: &State) -> Result<&Staged, Error> {
    state.staged.as_ref().ok_or_else(|| Error::invalid("step/state", "nothing was staged"))
}

fn proof(name: String, right: bool, measured: &str) -> Verification {
    Verification {
        verdict: if right { Verdict::Pass } else { Verdict::Fail },
        message: format!("{name}: {measured}"),
        name,
        measured: Some(measured.to_owned()),
        expected: None,
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

sternway_plugin::export_plugin!(Mysql);
