//! The phases of the mode that restores unit files and drop-ins. systemd goes by
//! what it read last, so it reads again after every exchange, there and back.

use std::collections::BTreeMap;

use sternway_plugin::host::files::Place;
use sternway_plugin::host::{control, points, systemd};
use sternway_plugin::{
    Action, Error, Failure, Finding, Looked, Risk, Verdict, Verification, exchange, memory,
};

use crate::State;

/// The journal's key for whether files may have been exchanged.
const TOUCHED: &str = "touched";

pub(crate) fn look(paths: &[String], point: Option<&str>) -> Result<Looked<State>, Error> {
    let mut looked = Looked { findings: vec![], actions: vec![], state: State::default() };
    let Some(point) = point else {
        let message = "there is no rollback point to restore unit files from";
        looked.findings.push(Finding::blocking("systemd/no-point", message));
        return Ok(looked);
    };
    for path in paths {
        if points::entries(point, path)?.is_none() {
            let message = format!("point {point} holds nothing at {path}");
            looked.findings.push(Finding::blocking("systemd/not-in-point", message));
            continue;
        }
        let live = exchange::digest(Place::Live, path)?;
        looked.actions.push(Action {
            summary: format!("restore {path} and have systemd read it"),
            target: path.clone(),
            before: live.as_deref().map(short),
            after: Some(format!("as in point {point}")),
            risk: Risk::Low,
        });
    }
    Ok(looked)
}

pub(crate) fn stage(paths: &[String], point: &str) -> Result<BTreeMap<String, String>, Error> {
    memory::once("prepare", || {
        paths.iter().map(|path| Ok((path.clone(), points::stage(point, path)?.sha256))).collect()
    })
}

pub(crate) fn apply(paths: &[String], staged: &BTreeMap<String, String>) -> Result<(bool, String), Failure> {
    let mut changed = 0_u32;
    for path in paths {
        go_on(path)?;
        let to = of(staged, path)?;
        if exchange::digest(Place::Live, path)?.as_deref() != Some(to) {
            memory::first(TOUCHED, true)?;
        }
        changed += u32::from(exchange::put(path, Some(to))?);
    }
    if changed == 0 {
        return Ok((false, "all as in the point already".to_owned()));
    }
    systemd::daemon_reload()?;
    Ok((true, format!("{changed} of {} changed, and systemd read them", paths.len())))
}

pub(crate) fn verify(
    paths: &[String],
    staged: &BTreeMap<String, String>,
) -> Result<Vec<Verification>, Error> {
    paths
        .iter()
        .map(|path| {
            let (live, staged) = (exchange::digest(Place::Live, path)?, of(staged, path)?);
            let right = live.as_deref() == Some(staged);
            Ok(Verification {
                name: format!("{path} is as restored"),
                verdict: if right { Verdict::Pass } else { Verdict::Fail },
                measured: Some(live.as_deref().map_or_else(|| "nothing there".to_owned(), short)),
                expected: Some(short(staged)),
                message: format!("{path} {} what was staged", if right { "holds" } else { "does not hold" }),
            })
        })
        .collect()
}

pub(crate) fn undo(paths: &[String]) -> Result<(bool, String), Failure> {
    if memory::recall::<bool>(TOUCHED)?.is_none() {
        return Ok((false, "nothing was done".to_owned()));
    }
    let mut changed = 0_u32;
    for path in paths.iter().rev() {
        changed += u32::from(exchange::put_back(path)?);
    }
    // Also when an earlier try put all of it back: it may have died before this.
    systemd::daemon_reload()?;
    Ok((changed > 0, format!("{changed} of {} put back, and systemd read them", paths.len())))
}

fn go_on(path: &str) -> Result<(), Error> {
    if control::cancelled() { Err(Error::cancelled(format!("stopped before {path}"))) } else { Ok(()) }
}

fn of<'a>(staged: &'a BTreeMap<String, String>, path: &str) -> Result<&'a str, Error> {
    let digest = staged.get(path).map(String::as_str);
    digest.ok_or_else(|| Error::invalid("systemd/not-prepared", format!("nothing was staged for {path}")))
}

fn short(sha256: &str) -> String {
    format!("sha256 {}", sha256.get(..12).unwrap_or(sha256))
}
