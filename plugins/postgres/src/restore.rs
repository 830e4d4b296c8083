//! A dump restored beside, and the two databases switched by renaming. Each
//! step is decided from the catalogue, so a phase that died goes on where it was.

use sternway_plugin::host::files::{self, Node, Place};
use sternway_plugin::host::{control, log, points, progress};
use sternway_plugin::{
    Action, Error, Failure, Finding, IntoFailure, Kind, Looked, Outcome, Risk, Verification, memory, utc,
};

use crate::State;
use crate::archive;
use crate::calls::{Listed, Server};
use crate::settings::{Format, Restore, Source};
use crate::standing::{Catalogue, Staged, Standing};

/// More turns than any crash needs: fence, switch, and sessions that slipped in.
const TURNS_MAX: u32 = 8;
/// A plain dump in a point that is read and written again.
const PLAIN_BYTES_MAX: u32 = 4 << 20;

pub(crate) fn look(server: &Server, task: &Restore, point: Option<&str>) -> Result<Looked<State>, Error> {
    let mut looked = Looked { findings: vec![], actions: vec![], state: State::default() };
    let catalogue = match server.catalogue() {
        Ok(catalogue) => catalogue,
        Err(error) if error.kind == Kind::Failed || error.kind == Kind::NotFound => {
            looked.findings.push(Finding::blocking(&error.code, error.message));
            return Ok(looked);
        }
        Err(error) => return Err(error),
    };
    looked.findings.extend(crate::decide::blockers(&catalogue, &server.on));
    let Some((bytes, told)) = look_at_dump(server, task, point, &catalogue, &mut looked.findings)? else {
        return Ok(looked);
    };
    let live = catalogue.named(&server.on).map(|_| server.size()).transpose()?;
    let need = live.unwrap_or_default().max(bytes);
    let room = task.data_directory.as_deref().map(|path| server.room(path)).transpose()?;
    looked.findings.extend(crate::decide::room(need, room));
    looked.findings.extend(crate::decide::leftovers(&catalogue, &server.on));
    looked.actions.push(Action {
        summary: format!("replace all written to the database {} since the dump", server.on),
        target: server.on.clone(),
        before: live.map(|bytes| format!("{bytes} bytes, set aside as {}", server.names().before)),
        after: Some(told),
        // With no database there is nothing to lose.
        risk: if live.is_some() { Risk::DataLoss } else { Risk::Low },
    });
    Ok(looked)
}

/// Bytes of the dump and what it is called; none when a finding says why not.
fn look_at_dump(
    server: &Server,
    task: &Restore,
    point: Option<&str>,
    catalogue: &Catalogue,
    findings: &mut Vec<Finding>,
) -> Result<Option<(u64, String)>, Error> {
    match &task.source {
        Source::Point(path) => {
            let Some(point) = point else {
                findings.push(Finding::blocking(
                    "postgres/no-point",
                    "there is no rollback point to restore from",
                ));
                return Ok(None);
            };
            if points::entries(point, path)?.is_none() {
                let message = format!("point {point} holds nothing at {path}");
                findings.push(Finding::blocking("postgres/not-in-point", message));
                return Ok(None);
            }
            let made = utc(points::get(point)?.made_ms);
            Ok(Some((0, format!("as in {path} of point {point} of {made}"))))
        }
        Source::File(path) => {
            let Some(found) = files::get_attributes(Place::Live, path)? else {
                findings.push(Finding::blocking("postgres/no-dump", format!("there is no dump at {path}")));
                return Ok(None);
            };
            match contents(server, task, found.node == Node::Directory) {
                Ok(listed) => findings.extend(lacking(server, task, &listed, catalogue)?),
                Err(error) if error.kind == Kind::Failed => {
                    findings.push(Finding::blocking(&error.code, error.message));
                }
                Err(error) => return Err(error),
            }
            Ok(Some((found.bytes, format!("as in {path} of {}", utc(found.modified_ms)))))
        }
    }
}

fn contents(server: &Server, task: &Restore, is_folder: bool) -> Result<Listed, Error> {
    match task.format {
        Some(Format::Plain) => Ok(Listed::Plain),
        Some(Format::Archive) | None => server.list(&task.source, is_folder),
    }
}

fn lacking(
    server: &Server,
    task: &Restore,
    listed: &Listed,
    catalogue: &Catalogue,
) -> Result<Vec<Finding>, Error> {
    let Listed::Archive(contents) = listed else { return Ok(vec![]) };
    let known = server.known()?;
    let keeps_owners = !task.options.iter().any(|option| option == "no-owner");
    let lacking =
        archive::lacking(contents, catalogue.version / 10_000, &known.roles, &known.extensions, keeps_owners);
    Ok(lacking.into_iter().map(|(code, message)| Finding::blocking(code, message)).collect())
}

pub(crate) fn prepare(
    server: &Server,
    task: &Restore,
    point: Option<&str>,
) -> Result<(String, State), Error> {
    let staged: Staged = memory::once("prepare", || {
        let staged = stage(server, task, point);
        if staged.is_err() {
            // Half a database would only take room.
            let _ = server.drop_beside();
        }
        staged
    })?;
    let summary = format!("{} restored beside, as {}", server.on, server.names().side);
    Ok((summary, State { staged: Some(staged), ..State::default() }))
}

fn stage(server: &Server, task: &Restore, point: Option<&str>) -> Result<Staged, Error> {
    let path = task.source.path();
    let place = match &task.source {
        Source::File(_) => Place::Live,
        Source::Point(path) => {
            progress::report("fetch", 0, None, "dumps");
            let point =
                point.ok_or_else(|| Error::not_found("postgres/no-point", "this run has no point"))?;
            points::stage(point, path)?;
            Place::Side
        }
    };
    let found = files::get_attributes(place, path)?;
    let found =
        found.ok_or_else(|| Error::not_found("postgres/no-dump", format!("there is no dump at {path}")))?;
    let is_folder = found.node == Node::Directory;
    let listed = contents(server, task, is_folder)?;
    if let Some(finding) = lacking(server, task, &listed, &server.catalogue()?)?.into_iter().next() {
        return Err(Error::failed(&finding.code, finding.message));
    }
    let format = if matches!(listed, Listed::Plain) { Format::Plain } else { Format::Archive };
    if format == Format::Plain {
        without_locks(server, &task.source)?;
    }
    server.drop_beside()?;
    server.create_beside()?;
    progress::report("restore", 0, None, "databases");
    server.restore(task, format, is_folder)?;
    server.analyze_beside()?;
    for check in &task.checks {
        check.agreed("postgres/check", &server.query_beside(&check.sql)?)?;
    }
    let catalogue = server.catalogue()?;
    let oid = |name: &str| catalogue.named(name).map(|database| database.oid);
    let lost = || Error::conflict("postgres/changed-meanwhile", "what was restored beside is gone");
    Ok(Staged { old: oid(&server.on), new: oid(&server.names().side).ok_or_else(lost)? })
}

/// Side copy := the plain dump, without the two lines in which it locks psql's
/// commands itself: we lock them all the way.
fn without_locks(server: &Server, source: &Source) -> Result<(), Error> {
    match source {
        Source::File(path) => server.plain_beside(path),
        Source::Point(path) => {
            let dump = match files::read(Place::Side, path, PLAIN_BYTES_MAX) {
                // A longer one goes to psql as it is, and is refused there when it locks by itself.
                Err(error) if error.code == "files/too-large" => return Ok(()),
                other => other?,
            };
            files::stage_bytes(path, &crate::decide::without_locks(&dump)).map(|_| ())
        }
    }
}

pub(crate) fn apply(server: &Server, state: State) -> Result<Outcome<State>, Failure> {
    let staged = staged(&state)?;
    for turn in 0..TURNS_MAX {
        match server.catalogue()?.standing(&server.names(), staged) {
            Standing::After { fenced: false } => {
                let summary = format!("{} switched; the old one is {}", server.on, server.names().before);
                return Ok(Outcome { changed: true, summary, state });
            }
            Standing::After { fenced: true } => server.unfence()?,
            Standing::Before { fenced: false } if staged.old.is_some() => {
                if control::cancelled() {
                    return Err(Error::cancelled("stopped before the database was fenced").into());
                }
                server.fence()?;
            }
            Standing::Before { .. } => {
                server.carry()?;
                switched(server, turn, server.switch(staged))?;
            }
            Standing::Back { .. } => {
                return Err(Error::conflict("postgres/undone", "it was undone already").into());
            }
            // Only before the switch: what is fenced by us is opened again by undo.
            Standing::Lost(how) => return Err(Error::conflict("postgres/changed-meanwhile", how).into()),
        }
    }
    Err(Error::failed("postgres/in-use", format!("{} could not be switched", server.on)).into())
}

pub(crate) fn undo(server: &Server, state: State) -> Result<Outcome<State>, Failure> {
    let staged = staged(&state)?;
    let mut changed = false;
    for turn in 0..TURNS_MAX {
        match server.catalogue()?.standing(&server.names(), staged) {
            Standing::Before { fenced: true } | Standing::Back { fenced: true } => server.unfence()?,
            // Never live: nothing in it is anybody's.
            Standing::Before { fenced: false } => {
                server.drop_beside()?;
                continue;
            }
            Standing::Back { fenced: false } => {
                let summary = match changed {
                    true => format!("{} is the old one again", server.on),
                    false => format!("{} is the old one", server.on),
                };
                return Ok(Outcome { changed, summary, state });
            }
            Standing::After { fenced: false } => server.fence()?,
            Standing::After { fenced: true } => switched(server, turn, server.switch_back(staged))?,
            Standing::Lost(how) => return Err(Error::conflict("postgres/changed-meanwhile", how).hands_off()),
        }
        changed = true;
    }
    Err(Error::failed("postgres/in-use", format!("{} could not be switched back", server.on)).into())
}

/// A session that was under way when the fence went up may still be ending.
fn switched(server: &Server, turn: u32, result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.code == "postgres/in-use" && turn + 2 < TURNS_MAX => {
            log::write(
                log::Level::Warn,
                &format!("{}: {}; sessions are ended again", server.on, error.message),
            );
            server.fence()
        }
        other => other,
    }
}

pub(crate) fn verify(server: &Server, task: &Restore, state: State) -> Result<Vec<Verification>, Error> {
    let staged = staged(&state)?;
    let standing = server.catalogue()?.standing(&server.names(), staged);
    let mut proofs = vec![crate::decide::proof_of_switch(&server.on, &standing)];
    for check in &task.checks {
        proofs.push(check.proof(&server.query(&check.sql)?));
    }
    Ok(proofs)
}

fn staged(state: &State) -> Result<Staged, Error> {
    state.staged.ok_or_else(|| Error::invalid("step/state", "nothing was staged"))
}
