//! `command`: has the host run a program that its own configuration names, and
//! holds its end against what is expected. Words, user and place of the program
//! are the host's; a plan fills holes. The plan's own `undo` runs another one.

mod decide;
mod values;

use sternway_plugin::host::{log, programs, progress};
use sternway_plugin::{
    Class, Error, Failure, Finding, IntoFailure, Looked, Manifest, Mode, Outcome, Plugin, Power, Prepared,
    Reversibility, Step, Verdict, Verification, memory,
};

use crate::decide::{Deed, Settings, Task};

/// The plugin.
#[derive(Debug)]
pub struct Command;

/// The journal's key for whether a program may have run and is not taken back.
const RAN: &str = "ran";
const LINES_LOGGED: usize = 10;

impl Plugin for Command {
    type Settings = Settings;
    type State = ();

    fn manifest() -> Manifest {
        use Class::{Keyed, Observe};
        use Reversibility::{Compensatable, Reversible};
        Manifest {
            name: "command".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "runs programs that the host's configuration names".into(),
            settings_schema: include_str!("../settings.schema.json").into(),
            modes: vec![
                mode("run", Keyed, Compensatable, "runs a program once, whatever happens on the way"),
                mode("check", Observe, Reversible, "asks a program that only reads"),
            ],
            powers: vec![
                Power {
                    name: "command".into(),
                    scope_from: vec!["run".into(), "check".into()],
                    reason: "runs these programs of the host, and those of the plan's undo".into(),
                },
                Power {
                    name: "files".into(),
                    scope_from: vec!["files".into()],
                    reason: "hands these paths to the program".into(),
                },
            ],
            default_timeout_ms: 600_000,
        }
    }

    fn look(on: &Step<Settings>) -> Result<Looked<()>, Error> {
        let task = on.settings.task()?;
        let undo = on.undo.as_ref().map(Settings::task).transpose()?;
        let mut findings = vec![];
        for name in [Some(&task), undo.as_ref()].into_iter().flatten().map(|task| &task.name) {
            if !programs::has(&decide::form(name))? {
                let message =
                    format!("the host's configuration has no program `{name}`, or it is not installed");
                findings.push(Finding::blocking("command/unknown", message));
            }
        }
        Ok(Looked { findings, actions: vec![decide::action(&task)], state: () })
    }

    fn prepare(_on: &Step<Settings>, (): ()) -> Result<Prepared<()>, Error> {
        Ok(Prepared { summary: "nothing to stage".into(), state: () })
    }

    fn apply(on: &Step<Settings>, (): ()) -> Result<Outcome<()>, Failure> {
        let task = on.settings.task()?;
        if task.deed == Deed::Check {
            let summary = checked(&task)?;
            return Ok(Outcome { changed: false, summary, state: () });
        }
        let ran_before = memory::recall(RAN)? == Some(true);
        if !ran_before {
            memory::keep(RAN, &true)?;
        }
        let done = carry_out(&task, "run");
        if let Err(failure) = &done
            && !ran_before
            && decide::never_began(&failure.error)
        {
            memory::keep(RAN, &false)?;
        }
        Ok(Outcome { changed: true, summary: done?, state: () })
    }

    fn verify(on: &Step<Settings>, (): ()) -> Result<Vec<Verification>, Error> {
        let task = on.settings.task()?;
        if task.deed == Deed::Run {
            return Ok(vec![]);
        }
        let ended = programs::ask(&task.call())?;
        let complaint = task.complaint(&ended);
        Ok(vec![Verification {
            name: task.title(),
            verdict: if complaint.is_none() { Verdict::Pass } else { Verdict::Fail },
            measured: Some(decide::in_words(&ended)),
            expected: Some(task.expectation()),
            message: complaint.unwrap_or_else(|| format!("`{}` ended as expected", task.name)),
        }])
    }

    fn undo(on: &Step<Settings>, (): ()) -> Result<Outcome<()>, Failure> {
        if on.settings.task()?.deed == Deed::Check || memory::recall(RAN)? != Some(true) {
            return Ok(Outcome { changed: false, summary: "nothing was run".into(), state: () });
        }
        let Some(undo) = &on.undo else {
            let message = "the plan says no `undo` for what was run";
            return Err(Error::unsupported("command/no-undo", message).hands_off());
        };
        let task = undo.task()?;
        let summary = match task.deed {
            Deed::Run => carry_out(&task, "undo")?,
            Deed::Check => checked(&task)?,
        };
        memory::keep(RAN, &false)?;
        Ok(Outcome { changed: true, summary, state: () })
    }
}

/// Runs it once for each try: a try that died finds its program again, and
/// only one whose program has surely ended is followed by another.
fn carry_out(task: &Task, which: &str) -> Result<String, Failure> {
    let tried = format!("tried {which}");
    let before: u32 = memory::recall(&tried)?.unwrap_or(0);
    progress::report(&task.title(), before.into(), None, "tries");
    let ended = match programs::run(&format!("{which}-{before}"), &task.call()) {
        Ok(ended) => ended,
        Err(error) => {
            if decide::has_ended(&error) {
                memory::keep(&tried, &(before + 1))?;
            }
            // What may be half done is for a person to look at, and not to undo.
            let is_lost = error.code == "programs/lost";
            return Err(if is_lost { error.hands_off() } else { error.into() });
        }
    };
    tell_last_lines(task, &ended);
    match task.complaint(&ended) {
        None => Ok(format!("`{}` ended with {}", task.name, decide::in_words(&ended))),
        Some(complaint) => {
            memory::keep(&tried, &(before + 1))?;
            Err(Error::failed("command/unexpected", complaint).into())
        }
    }
}

fn checked(task: &Task) -> Result<String, Failure> {
    let ended = programs::ask(&task.call())?;
    match task.complaint(&ended) {
        None => Ok(format!("`{}` ended with {}", task.name, decide::in_words(&ended))),
        Some(complaint) => Err(Error::failed("command/unexpected", complaint).into()),
    }
}

fn tell_last_lines(task: &Task, ended: &programs::Ended) {
    for line in decide::last_lines(ended, LINES_LOGGED) {
        log::write(log::Level::Info, &format!("{}: {line}", task.name));
    }
}

fn mode(setting: &str, class: Class, reversibility: Reversibility, summary: &str) -> Mode {
    Mode { setting: setting.into(), class, reversibility, summary: summary.into() }
}

sternway_plugin::export_plugin!(Command);
