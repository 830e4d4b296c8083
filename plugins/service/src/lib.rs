//! `service`: stops, starts, restarts or checks what a service manager looks
//! after. What ran before is noted before the first touch, and undo puts
//! exactly that back.

mod decide;

use std::collections::BTreeMap;

use sternway_plugin::host::{control, progress, services};
use sternway_plugin::{
    Class, Error, Failure, Finding, Kind, Looked, Manifest, Mode, Outcome, Plugin, Power, Prepared,
    Reversibility, Step, Verification, memory,
};

use crate::decide::{Before, Deed, Settings, Task, Wish};

/// The plugin.
#[derive(Debug)]
pub struct Service;

/// The journal's key for what ran before.
const BEFORE: &str = "before";

impl Plugin for Service {
    type Settings = Settings;
    type State = ();

    fn manifest() -> Manifest {
        Manifest {
            name: "service".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "stops, starts, restarts and checks services".into(),
            settings_schema: include_str!("../settings.schema.json").into(),
            modes: vec![
                mode("stop", Class::Converge, "stops services, the last named first"),
                mode("start", Class::Converge, "starts services in the order named"),
                mode("restart", Class::Converge, "stops services, then starts them"),
                mode("check", Class::Observe, "proves that services run"),
            ],
            powers: vec![Power {
                name: "services".into(),
                scope_from: ["stop", "start", "restart", "check"].map(String::from).into(),
                reason: "looks at, stops and starts these services".into(),
            }],
            default_timeout_ms: 120_000,
        }
    }

    fn look(on: &Step<Settings>) -> Result<Looked<()>, Error> {
        let task = on.settings.task()?;
        let mut looked = Looked { findings: vec![], actions: vec![], state: () };
        for name in &task.names {
            match services::get_status(name) {
                Ok(status) => {
                    looked.findings.extend(decide::finding(&task, &status));
                    looked.actions.push(decide::action(&task, &status));
                }
                Err(error) if error.kind == Kind::NotFound => looked
                    .findings
                    .push(Finding::blocking("service/unknown", format!("{name}: {}", error.message))),
                Err(error) => return Err(error),
            }
        }
        Ok(looked)
    }

    fn prepare(_on: &Step<Settings>, (): ()) -> Result<Prepared<()>, Error> {
        Ok(Prepared { summary: "nothing to stage".into(), state: () })
    }

    fn apply(on: &Step<Settings>, (): ()) -> Result<Outcome<()>, Failure> {
        let task = on.settings.task()?;
        if task.wish == Wish::Check {
            return checked(&task);
        }
        // Earlier steps may have changed what `look` saw: what undo must put
        // back is what stands here now, on the first try.
        let before: Before = memory::first(BEFORE, statuses(&task)?.iter().collect())?;
        carry_out(&task, |now| decide::deeds(&task, &before, now))
    }

    fn verify(on: &Step<Settings>, (): ()) -> Result<Vec<Verification>, Error> {
        let task = on.settings.task()?;
        Ok(statuses(&task)?.iter().map(|status| decide::proof(task.wish, status)).collect())
    }

    fn undo(on: &Step<Settings>, (): ()) -> Result<Outcome<()>, Failure> {
        let task = on.settings.task()?;
        let before: Option<Before> = if task.wish == Wish::Check { None } else { memory::recall(BEFORE)? };
        let Some(before) = before else {
            return Ok(Outcome { changed: false, summary: "nothing was done".into(), state: () });
        };
        let outcome = carry_out(&task, |now| decide::undo_deeds(&task, &before, now))?;
        match decide::not_back(&before, &statuses(&task)?) {
            Some(message) => Err(Error::failed("service/not-back", message).into()),
            None => Ok(outcome),
        }
    }
}

fn carry_out(
    task: &Task,
    deeds: impl FnOnce(&[services::Status]) -> Vec<Deed>,
) -> Result<Outcome<()>, Failure> {
    let deeds = deeds(&statuses(task)?);
    let total = deeds.len() as u64;
    for (done, deed) in (0..).zip(&deeds) {
        if control::cancelled() {
            return Err(Error::cancelled(format!("stopped before {deed}")).into());
        }
        progress::report(&deed.to_string(), done, Some(total), "services");
        let result = match deed {
            Deed::Stop(name) => services::stop(name, task.timeout_ms),
            Deed::Start(name) => services::start(name, task.timeout_ms),
        };
        result.map_err(|error| with_last_lines(deed, error))?;
    }
    Ok(Outcome { changed: !deeds.is_empty(), summary: decide::summary(&deeds), state: () })
}

/// A start that failed explains itself best in the service's own words.
fn with_last_lines(deed: &Deed, mut error: Error) -> Error {
    if let Deed::Start(name) = deed
        && let Ok(lines) = services::lines(name, 5)
        && !lines.is_empty()
    {
        error.message = format!("{}; its last lines: {}", error.message, lines.join(" | "));
    }
    error
}

fn checked(task: &Task) -> Result<Outcome<()>, Failure> {
    match decide::not_running(&statuses(task)?) {
        Some(message) => Err(Error::failed("service/not-running", message).into()),
        None => Ok(Outcome { changed: false, summary: "all running".into(), state: () }),
    }
}

fn statuses(task: &Task) -> Result<Vec<services::Status>, Error> {
    task.names.iter().map(|name| services::get_status(name)).collect()
}

fn mode(setting: &str, class: Class, summary: &str) -> Mode {
    Mode { setting: setting.into(), class, reversibility: Reversibility::Reversible, summary: summary.into() }
}

impl<'a> FromIterator<&'a services::Status> for Before {
    fn from_iter<I: IntoIterator<Item = &'a services::Status>>(statuses: I) -> Self {
        Self(statuses.into_iter().map(decide::ran).collect::<BTreeMap<_, _>>())
    }
}

sternway_plugin::export_plugin!(Service);
