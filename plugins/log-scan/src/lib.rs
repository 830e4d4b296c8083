//! `log-scan`: no errors in the last minutes. Reads the ends of log files and what
//! units wrote into the journal, and counts the lines that look like errors. What
//! could not be read or dated is no pass.

mod judge;
mod settings;
mod stamp;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sternway_plugin::host::files::{self, Place};
use sternway_plugin::host::log::{self, Level};
use sternway_plugin::host::systemd::{self, Load};
use sternway_plugin::host::{control, progress};
use sternway_plugin::{
    Action, Class, Error, Failure, Finding, Kind, Looked, Manifest, Mode, Outcome, Plugin, Power, Prepared,
    Reversibility, Risk, Step, Verdict, Verification, memory,
};

use crate::judge::{Count, Tail};
pub use crate::settings::Settings;
use crate::settings::Task;

/// The plugin.
#[derive(Debug)]
pub struct LogScan;

/// What the step found, and when it began to watch.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    /// How long each file was when the step was looked at; none when it was not there.
    sizes: BTreeMap<String, Option<u64>>,
    /// Known once it was applied. The journal cannot be asked in `verify`.
    began_ms: Option<u64>,
}

/// What the host reads of a file at once.
const TAIL_BYTES_MAX: u32 = 4 * 1024 * 1024;
/// What the host reads of the journal at once.
const LINES_MAX: u32 = 1_000;
const LOOK_MS: u64 = 5_000;
/// The journal's key for when this step began to watch.
const BEGAN: &str = "began";

impl Plugin for LogScan {
    type Settings = Settings;
    type State = Seen;

    fn manifest() -> Manifest {
        Manifest {
            name: "log-scan".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "counts the errors that logs tell of".into(),
            settings_schema: include_str!("../settings.schema.json").into(),
            modes: vec![mode("files", "reads log files"), mode("units", "reads the journal of units")],
            powers: vec![
                Power {
                    name: "files-read".into(),
                    scope_from: vec!["files".into()],
                    reason: "reads these log files".into(),
                },
                Power {
                    name: "systemd".into(),
                    scope_from: vec!["units".into()],
                    reason: "reads what these units wrote into the journal".into(),
                },
            ],
            default_timeout_ms: 3_600_000,
        }
    }

    fn look(on: &Step<Settings>) -> Result<Looked<Seen>, Error> {
        let task = on.settings.task()?;
        let mut looked = Looked { findings: vec![], actions: vec![], state: Seen::default() };
        for path in &task.files {
            let there = files::get_attributes(Place::Live, path)?;
            if there.is_none() {
                looked.findings.push(Finding::note("log-scan/no-file", format!("{path} is not there yet")));
            }
            looked.state.sizes.insert(path.clone(), there.map(|there| there.bytes));
            looked.actions.push(action(path));
        }
        for name in &task.units {
            if systemd::get_unit(name)?.load == Load::NotFound {
                let message = format!("systemd knows no unit {name}");
                looked.findings.push(Finding::blocking("log-scan/unknown-unit", message));
            }
            looked.actions.push(action(name));
        }
        Ok(looked)
    }

    fn prepare(_on: &Step<Settings>, seen: Seen) -> Result<Prepared<Seen>, Error> {
        Ok(Prepared { summary: "nothing to stage".into(), state: seen })
    }

    fn apply(on: &Step<Settings>, seen: Seen) -> Result<Outcome<Seen>, Failure> {
        let task = on.settings.task()?;
        let began_ms: u64 = memory::first(BEGAN, control::now_ms())?;
        loop {
            let counts = scan(&task, &seen, began_ms)?;
            let bad: Vec<&(String, Count)> =
                counts.iter().filter(|(_, count)| count.verdict(task.max) == Verdict::Fail).collect();
            if !bad.is_empty() {
                return Err(Error::failed("log-scan/errors", told(&bad)).into());
            }
            let watched_ms = control::now_ms().saturating_sub(began_ms);
            if watched_ms >= task.wait_ms {
                return Ok(Outcome {
                    changed: false,
                    summary: told(&counts.iter().collect::<Vec<_>>()),
                    state: Seen { began_ms: Some(began_ms), ..seen },
                });
            }
            progress::report("watch", watched_ms, Some(task.wait_ms), "ms");
            if !control::sleep(LOOK_MS.min(task.wait_ms - watched_ms)) {
                return Err(Error::cancelled("stopped while watching the logs").into());
            }
        }
    }

    fn verify(on: &Step<Settings>, seen: Seen) -> Result<Vec<Verification>, Error> {
        let task = on.settings.task()?;
        let began_ms = seen.began_ms.unwrap_or_else(control::now_ms);
        let counts = scan(&task, &seen, began_ms)?;
        for line in counts.iter().flat_map(|(_, count)| &count.evidence) {
            log::write(Level::Warn, line);
        }
        Ok(counts.iter().map(|(log, count)| count.proof(log, task.max)).collect())
    }

    fn undo(_on: &Step<Settings>, seen: Seen) -> Result<Outcome<Seen>, Failure> {
        Ok(Outcome { changed: false, summary: "nothing was done".into(), state: seen })
    }
}

/// Each log by its name, with what it has to say.
fn scan(task: &Task, seen: &Seen, began_ms: u64) -> Result<Vec<(String, Count)>, Error> {
    let since_ms = began_ms.saturating_sub(task.within_ms);
    let mut counts = Vec::new();
    for path in &task.files {
        let bytes_before = seen.sizes.get(path).copied().flatten().unwrap_or(0);
        counts.push((path.clone(), file(task, path, bytes_before, since_ms)?));
    }
    for name in &task.units {
        counts.push((name.clone(), unit(task, name, since_ms)?));
    }
    Ok(counts)
}

fn file(task: &Task, path: &str, bytes_before: u64, since_ms: u64) -> Result<Count, Error> {
    let tail = match files::read_tail(Place::Live, path, TAIL_BYTES_MAX) {
        Ok(tail) => tail,
        Err(error) => return unread(error),
    };
    // Asked afterwards, so that what came in between is rather counted than missed.
    let Some(there) = files::get_attributes(Place::Live, path)? else {
        return Ok(Count::untold("it is not there"));
    };
    let text = text(&tail);
    let tail = Tail {
        text: &text,
        from: there.bytes.saturating_sub(tail.len() as u64),
        written_ms: i64::try_from(there.modified_ms).unwrap_or(i64::MAX),
        bytes_before,
    };
    Ok(judge::file(task, &tail, i64::try_from(since_ms).unwrap_or(i64::MAX)))
}

/// As many bytes as there were, so that places stay what they are.
fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    text
}

fn unit(task: &Task, name: &str, since_ms: u64) -> Result<Count, Error> {
    let lines = match systemd::lines(name, since_ms, LINES_MAX) {
        Ok(lines) => lines,
        Err(error) => return unread(error),
    };
    // Nothing now is good news only from one who ever spoke.
    if lines.is_empty() && systemd::lines(name, 0, 1)?.is_empty() {
        return Ok(Count::untold("the journal holds nothing of it"));
    }
    let mut count = Count::default();
    for line in &lines {
        count.add(task, line);
    }
    if lines.len() >= LINES_MAX as usize {
        count.unknown = Some("more was written than can be read at once".to_owned());
    }
    Ok(count)
}

/// What cannot be read does not tell; what may not be read is a mistake of the plan.
fn unread(error: Error) -> Result<Count, Error> {
    match error.kind {
        Kind::Denied | Kind::Invalid | Kind::Cancelled => Err(error),
        _ => Ok(Count::untold(format!("it could not be read: {}", error.message))),
    }
}

fn told(counts: &[&(String, Count)]) -> String {
    counts.iter().map(|(log, count)| format!("{log}: {}", count.words())).collect::<Vec<_>>().join("; ")
}

fn action(log: &str) -> Action {
    Action {
        summary: format!("look for errors in {log}"),
        target: log.to_owned(),
        before: None,
        after: None,
        risk: Risk::None,
    }
}

fn mode(setting: &str, summary: &str) -> Mode {
    Mode {
        setting: setting.into(),
        class: Class::Observe,
        reversibility: Reversibility::Reversible,
        summary: summary.into(),
    }
}

sternway_plugin::export_plugin!(LogScan);

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn a_line_in_another_encoding_keeps_its_length() {
        assert_eq!(text(b"ok\xe4\xff error\n"), "ok?? error\n");
        assert_eq!(text("ä".as_bytes()), "ä");
    }
}
