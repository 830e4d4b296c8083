//! Waiting until services are well, and saying why they are not.

use std::collections::BTreeMap;

use sternway_plugin::host::{control, progress};
use sternway_plugin::{Error, Kind};

use crate::containers::{self, Container, Judgement};
use crate::decide::Task;
use crate::docker;

/// At most this many containers speak in an error.
const SPEAKERS: usize = 3;

/// Waits until all `services` are well; `expected` containers of each where that is known.
pub(crate) fn until_well(
    task: &Task,
    project: &str,
    services: &[String],
    expected: &BTreeMap<String, u32>,
) -> Result<Vec<Container>, Error> {
    let patience = task.patience;
    let (mut steady, mut pulse) = (0, Vec::new());
    let mut why = String::new();
    for look in 0..=patience.looks_max + patience.steady {
        let now = docker::survey(task, project)?;
        match judge(services, &now, expected) {
            Judgement::Well => return Ok(now),
            Judgement::IfSteady => {
                let beat = containers::pulse(&now);
                steady = if beat == pulse { steady + 1 } else { 0 };
                pulse = beat;
                if steady >= patience.steady {
                    return Ok(now);
                }
                "they do not stay up".clone_into(&mut why);
            }
            Judgement::Waiting(reason) if look < patience.looks_max => (steady, why) = (0, reason),
            Judgement::Waiting(reason) => {
                let why = format!("not well within {} s: {reason}", patience.within_ms / 1_000);
                return Err(unwell(task, services, &now, Kind::TimedOut, why));
            }
            Judgement::Broken(reason) => return Err(unwell(task, services, &now, Kind::Failed, reason)),
        }
        progress::report("wait for health", look, Some(patience.looks_max), "looks");
        if !control::sleep(patience.every_ms) {
            return Err(Error::cancelled(format!("stopped while {project} was not well yet")));
        }
    }
    let now = docker::survey(task, project)?;
    Err(unwell(task, services, &now, Kind::TimedOut, why))
}

pub(crate) fn judge(services: &[String], now: &[Container], expected: &BTreeMap<String, u32>) -> Judgement {
    services
        .iter()
        .map(|service| containers::judge(service, now, expected.get(service).copied()))
        .fold(Judgement::Well, containers::worse)
}

/// Services explain themselves best in their own words.
fn unwell(task: &Task, services: &[String], now: &[Container], kind: Kind, why: String) -> Error {
    let is_unwell = |container: &&Container| {
        let one = std::slice::from_ref(*container);
        services.contains(&container.service)
            && !matches!(containers::judge(&container.service, one, None), Judgement::Well)
    };
    let mut message = why;
    for container in now.iter().filter(is_unwell).take(SPEAKERS) {
        if let Some(lines) = docker::last_lines(task, container) {
            message.push_str(&format!("; last lines of {}: {lines}", container.name));
        }
    }
    Error { kind, code: "docker-compose/unwell".to_owned(), message }
}
