//! `systemd`: moves, links and checks units, and restores their files. What each
//! unit was is noted before the first touch, and undo makes exactly that of it.

mod decide;
mod groups;
mod settings;
mod unit_files;
mod units;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sternway_plugin::{
    Class, Error, Failure, Looked, Manifest, Mode, Outcome, Plugin, Power, Prepared, Reversibility, Step,
    Verification,
};

pub use crate::settings::Settings;
use crate::settings::Task;

/// The plugin.
#[derive(Debug)]
pub struct Systemd;

/// What the phases tell each other.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// Unit files that `prepare` staged: path to digest.
    staged: BTreeMap<String, String>,
    /// Units that did their work at their start and ended well.
    ended: BTreeSet<String>,
}

const UNIT_MODES: [(&str, &str); 8] = [
    ("stop", "stops units, the last named first"),
    ("start", "starts units in the order named"),
    ("restart", "restarts units in the order named"),
    ("reload", "has units read their configuration again"),
    ("enable", "has units start with the host"),
    ("disable", "has units not start with the host"),
    ("mask", "has nobody start units"),
    ("unmask", "lets units be started again"),
];

impl Plugin for Systemd {
    type Settings = Settings;
    type State = State;

    fn manifest() -> Manifest {
        let converging = UNIT_MODES.iter().map(|(setting, summary)| mode(setting, Class::Converge, summary));
        let others = [
            mode("check", Class::Observe, "proves that units are active and stay so"),
            mode("unit-files", Class::StagedSwap, "restores unit files and drop-ins from the rollback point"),
        ];
        let modes: Vec<Mode> = converging.chain(others).collect();
        Manifest {
            name: "systemd".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "moves, links and checks units of systemd, and restores their files".into(),
            settings_schema: include_str!("../settings.schema.json").into(),
            powers: vec![
                Power {
                    name: "systemd".into(),
                    scope_from: modes.iter().map(|mode| mode.setting.clone()).collect(),
                    reason: "looks at these units, moves and links them, and has systemd read its files"
                        .into(),
                },
                Power {
                    name: "files".into(),
                    scope_from: vec!["unit-files".into()],
                    reason: "replaces these unit files".into(),
                },
                Power {
                    name: "points".into(),
                    scope_from: vec!["unit-files".into()],
                    reason: "reads these unit files from the rollback point".into(),
                },
            ],
            modes,
            default_timeout_ms: 600_000,
        }
    }

    fn look(on: &Step<Settings>) -> Result<Looked<State>, Error> {
        match on.settings.task()? {
            Task::Units(task) => units::look(&task),
            Task::Files(paths) => unit_files::look(&paths, on.call.point.as_deref()),
        }
    }

    fn prepare(on: &Step<Settings>, mut state: State) -> Result<Prepared<State>, Error> {
        match on.settings.task()? {
            Task::Units(_) => Ok(Prepared { summary: "nothing to stage".into(), state }),
            Task::Files(paths) => {
                state.staged = unit_files::stage(&paths, on.point()?)?;
                Ok(Prepared { summary: format!("{} staged beside", state.staged.len()), state })
            }
        }
    }

    fn apply(on: &Step<Settings>, mut state: State) -> Result<Outcome<State>, Failure> {
        let (changed, summary) = match on.settings.task()? {
            Task::Units(task) => units::apply(&task, &mut state.ended)?,
            Task::Files(paths) => unit_files::apply(&paths, &state.staged)?,
        };
        Ok(Outcome { changed, summary, state })
    }

    fn verify(on: &Step<Settings>, state: State) -> Result<Vec<Verification>, Error> {
        match on.settings.task()? {
            Task::Units(task) => units::verify(&task, &state.ended),
            Task::Files(paths) => unit_files::verify(&paths, &state.staged),
        }
    }

    fn undo(on: &Step<Settings>, state: State) -> Result<Outcome<State>, Failure> {
        let (changed, summary) = match on.settings.task()? {
            Task::Units(task) => units::undo(&task)?,
            Task::Files(paths) => unit_files::undo(&paths)?,
        };
        Ok(Outcome { changed, summary, state })
    }
}

fn mode(setting: &str, class: Class, summary: &str) -> Mode {
    Mode { setting: setting.into(), class, reversibility: Reversibility::Reversible, summary: summary.into() }
}

sternway_plugin::export_plugin!(Systemd);
