//! The phases of every mode that moves, links or checks units.

use std::collections::BTreeSet;

use sternway_plugin::host::log::{self, Level};
use sternway_plugin::host::systemd::{self, Active, FileChange, Job, Unit};
use sternway_plugin::host::{control, progress};
use sternway_plugin::{Error, Failure, Looked, Verification, memory};

use crate::State;
use crate::decide::{self, Before, Deed};
use crate::settings::{Units, Wish};

/// The journal's key for what the units were.
const BEFORE: &str = "before";
/// How often a unit is looked at while it settles.
const LOOK_MS: u64 = 250;
const LINES_LOGGED: u32 = 50;
const LINES_IN_ERROR: usize = 5;

pub(crate) fn look(task: &Units) -> Result<Looked<State>, Error> {
    let mut looked = Looked { findings: vec![], actions: vec![], state: State::default() };
    for unit in units(task)? {
        looked.findings.extend(decide::findings(task, &unit));
        looked.actions.push(decide::action(task, &unit));
    }
    Ok(looked)
}

pub(crate) fn apply(task: &Units, ended: &mut BTreeSet<String>) -> Result<(bool, String), Failure> {
    let now = units(task)?;
    if task.wish == Wish::Check {
        return checked(task, now);
    }
    // Earlier steps may have changed what `look` saw: what undo must put back is
    // what stands here now, on the first try.
    let before: Before = memory::first(BEFORE, Before::new(control::now_ms(), &now))?;
    let deeds = decide::deeds(task, &before, &now);
    let total = deeds.len() as u64;
    for (done, deed) in (0..).zip(&deeds) {
        go_on(deed, done, total)?;
        let unit = carry_out(task, &before, deed)?;
        ended.extend(unit.filter(|unit| unit.active == Active::Inactive).map(|unit| unit.name));
    }
    Ok((!deeds.is_empty(), decide::summary(&deeds)))
}

pub(crate) fn verify(task: &Units, ended: &BTreeSet<String>) -> Result<Vec<Verification>, Error> {
    let proof = |unit: &Unit| decide::proof(task.wish, unit, ended.contains(&unit.name));
    Ok(units(task)?.iter().map(proof).collect())
}

pub(crate) fn undo(task: &Units) -> Result<(bool, String), Failure> {
    let before: Option<Before> = if task.wish == Wish::Check { None } else { memory::recall(BEFORE)? };
    let Some(before) = before else { return Ok((false, "nothing was done".to_owned())) };
    let deeds = decide::undo_deeds(task, &before, &units(task)?);
    let total = deeds.len() as u64;
    for (done, deed) in (0..).zip(&deeds) {
        go_on(deed, done, total)?;
        match (carry_out(task, &before, deed), deed) {
            // It was in a crash loop before, and is again.
            (Err(error), Deed::Job(Job::Start, name))
                if before.was_rising(name) && error.code == "systemd/job-failed" => {}
            (Err(error), _) => return Err(error.into()),
            (Ok(_), _) => {}
        }
    }
    match decide::not_back(task, &before, &units(task)?) {
        Some(message) => Err(Error::failed("systemd/not-back", message).into()),
        None => Ok((!deeds.is_empty(), decide::summary(&deeds))),
    }
}

/// Answers the unit after a start or a restart.
fn carry_out(task: &Units, before: &Before, deed: &Deed) -> Result<Option<Unit>, Error> {
    let done = match deed {
        Deed::Links(change, name) => link(*change, name).map(|()| None),
        Deed::Job(Job::Stop, name) => stop(task, name).map(|()| None),
        Deed::Job(Job::Reload, name) => systemd::run_job(name, Job::Reload, task.timeout_ms).map(|_| None),
        Deed::Job(job, name) => start(task, *job, name).map(Some),
    };
    done.map_err(|error| match deed {
        Deed::Job(_, name) => with_last_lines(name, before.began_ms, error),
        Deed::Links(..) => error,
    })
}

fn link(change: FileChange, name: &str) -> Result<(), Error> {
    systemd::change_file(name, change).map(|_| ())
}

fn stop(task: &Units, name: &str) -> Result<(), Error> {
    match systemd::run_job(name, Job::Stop, task.timeout_ms) {
        Err(error) if error.code == "systemd/timed-out" && task.kill => {
            log::write(Level::Warn, &format!("{name} did not stop in time and is killed: {}", error.message));
            systemd::kill(name)?;
            systemd::run_job(name, Job::Stop, task.timeout_ms).map(|_| ())
        }
        other => other.map(|_| ()),
    }
}

/// A unit that failed too often is not started any more until that is forgotten.
fn start(task: &Units, job: Job, name: &str) -> Result<Unit, Error> {
    if systemd::get_unit(name)?.active == Active::Failed {
        systemd::reset_failed(name)?;
    }
    let unit = systemd::run_job(name, job, task.timeout_ms)?;
    // The host answers so only for a unit whose work is to end.
    if unit.active == Active::Inactive {
        return Ok(unit);
    }
    settle(&unit, task.settle_ms)
}

/// Answers the unit when it has stayed up.
fn settle(first: &Unit, settle_ms: u64) -> Result<Unit, Error> {
    let mut waited_ms = 0;
    loop {
        let unit = systemd::get_unit(&first.name)?;
        if let Some(message) = decide::not_up(&unit, first.restarts) {
            return Err(Error::failed("systemd/job-failed", message));
        }
        if waited_ms >= settle_ms {
            return Ok(unit);
        }
        let pause_ms = LOOK_MS.min(settle_ms - waited_ms);
        if !control::sleep(pause_ms) {
            return Err(Error::cancelled(format!("stopped while {} settled", first.name)));
        }
        waited_ms += pause_ms;
    }
}

fn checked(task: &Units, now: Vec<Unit>) -> Result<(bool, String), Failure> {
    let began_ms = control::now_ms();
    let wrong: Vec<String> = now.iter().filter_map(|unit| decide::not_up(unit, unit.restarts)).collect();
    if !wrong.is_empty() {
        return Err(Error::failed("systemd/not-active", wrong.join("; ")).into());
    }
    for unit in &now {
        settle(unit, task.settle_ms).map_err(|error| with_last_lines(&unit.name, began_ms, error))?;
    }
    Ok((false, "all active".to_owned()))
}

/// A unit explains itself best in its own words: all of them for the log, the
/// last in the error.
fn with_last_lines(name: &str, began_ms: u64, mut error: Error) -> Error {
    let Ok(lines) = systemd::lines(name, began_ms, LINES_LOGGED) else { return error };
    for line in &lines {
        log::write(Level::Warn, &format!("{name}: {line}"));
    }
    if !lines.is_empty() && !error.message.contains("its last lines: ") {
        let last = lines[lines.len().saturating_sub(LINES_IN_ERROR)..].join(" | ");
        error.message = format!("{}; its last lines: {last}", error.message);
    }
    error
}

fn go_on(deed: &Deed, done: u64, total: u64) -> Result<(), Error> {
    if control::cancelled() {
        return Err(Error::cancelled(format!("stopped before {deed}")));
    }
    progress::report(&deed.to_string(), done, Some(total), "units");
    Ok(())
}

fn units(task: &Units) -> Result<Vec<Unit>, Error> {
    task.names.iter().map(|name| systemd::get_unit(name)).collect()
}
