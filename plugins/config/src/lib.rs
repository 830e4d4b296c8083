//! `config`: keeps, drops, sets and renames keys of one configuration file.
//! The new text is proved to say what was meant before it is staged; a copy of
//! the old file stays for people, and the old file itself waits aside for undo.

mod decide;
mod document;
mod env;
mod json;
mod toml;
mod tree;
mod yaml;

use serde::{Deserialize, Serialize};
use sternway_plugin::exchange::{self, Standing};
use sternway_plugin::host::files::{self, Node, Place};
use sternway_plugin::host::programs::{self, Call, Hole};
use sternway_plugin::{
    Class, Error, Failure, Kind, Looked, Manifest, Mode, Outcome, Plugin, Power, Prepared, Reversibility,
    Step, Verification, memory,
};

use crate::decide::{Decided, Settings};

const FILE_BYTES_MAX: u32 = 1 << 20;
const VALIDATE_TIMEOUT_MS: u64 = 30_000;

/// The plugin.
#[derive(Debug)]
pub struct Config;

/// What `prepare` did; none when nothing was left to change.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State(Option<Staged>);

#[derive(Debug, Serialize, Deserialize)]
struct Staged {
    /// Digest of the file the new text was made from.
    from: String,
    /// Digest of the side copy.
    to: String,
    keys: usize,
}

impl Plugin for Config {
    type Settings = Settings;
    type State = State;

    fn manifest() -> Manifest {
        Manifest {
            name: "config".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "changes keys in JSON, YAML, TOML and env files".into(),
            settings_schema: include_str!("../settings.schema.json").into(),
            modes: vec![Mode {
                setting: "file".into(),
                class: Class::StagedSwap,
                reversibility: Reversibility::Reversible,
                summary: "changes keys of a configuration file".into(),
            }],
            powers: vec![
                Power {
                    name: "files".into(),
                    scope_from: vec!["file".into()],
                    reason: "reads, copies and replaces this file".into(),
                },
                Power {
                    name: "command".into(),
                    scope_from: vec!["validate".into()],
                    reason: "has this program judge the new file".into(),
                },
            ],
            default_timeout_ms: 60_000,
        }
    }

    fn look(on: &Step<Settings>) -> Result<Looked<State>, Error> {
        let file = on.settings.path()?;
        let mut looked = Looked { findings: vec![], actions: vec![], state: State::default() };
        let attributes = files::get_attributes(Place::Live, &file)?;
        if attributes.is_none_or(|found| found.node != Node::File) {
            looked.findings.push(decide::finding_no_file(&file));
            return Ok(looked);
        }
        if let Some(name) = &on.settings.validate
            && !programs::has(&form(name))?
        {
            looked.findings.push(decide::finding_no_validator(name));
        }
        match decide_live(on, &file) {
            Ok(decided) => {
                looked.actions = decided.changes.iter().map(|change| change.action(&file)).collect();
            }
            // The host's own refusals are no property of the file.
            Err(error) if error.kind == Kind::Denied => return Err(error),
            Err(error) => looked.findings.push(decide::finding_of(&file, &error)),
        }
        Ok(looked)
    }

    fn prepare(on: &Step<Settings>, _seen: State) -> Result<Prepared<State>, Error> {
        let file = on.settings.path()?;
        let state: State = memory::once("prepare", || stage(on, &file))?;
        let summary = match &state.0 {
            None => format!("{file} says so already"),
            Some(staged) => format!("{file} staged beside with {} keys changed", staged.keys),
        };
        Ok(Prepared { summary, state })
    }

    fn apply(on: &Step<Settings>, state: State) -> Result<Outcome<State>, Failure> {
        let file = on.settings.path()?;
        let Some(staged) = &state.0 else {
            let summary = format!("{file} says so already");
            return Ok(Outcome { changed: false, summary, state });
        };
        if exchange::standing(&file)? == Standing::Before {
            if live_digest(&file)? != staged.from {
                return Err(Error::conflict(
                    "config/changed-since",
                    format!("{file} was changed by somebody else since it was prepared"),
                )
                .into());
            }
            files::keep_copy(&file)?;
        }
        let changed = exchange::put(&file, Some(&staged.to))?;
        let summary = format!("{} keys of {file} changed", staged.keys);
        Ok(Outcome { changed, summary, state })
    }

    fn verify(on: &Step<Settings>, _state: State) -> Result<Vec<Verification>, Error> {
        let file = on.settings.path()?;
        Ok(vec![decide::proof(&file, &decide_live(on, &file))])
    }

    fn undo(on: &Step<Settings>, state: State) -> Result<Outcome<State>, Failure> {
        let file = on.settings.path()?;
        let changed = exchange::put_back(&file)?;
        let summary = if changed { format!("{file} put back") } else { format!("{file} was not changed") };
        Ok(Outcome { changed, summary, state })
    }
}

fn stage(on: &Step<Settings>, file: &str) -> Result<State, Error> {
    let from = live_digest(file)?;
    let Decided { text: Some(text), changes } = decide_live(on, file)? else {
        return Ok(State(None));
    };
    let to = files::stage_bytes(file, text.as_bytes())?.sha256;
    if let Some(name) = &on.settings.validate {
        validate(file, name)?;
    }
    Ok(State(Some(Staged { from, to, keys: changes.len() })))
}

/// Has the host's own program judge the side copy.
fn validate(file: &str, name: &str) -> Result<(), Error> {
    let ended = programs::stage(&Call {
        form: form(name),
        on: name.to_owned(),
        holes: vec![Hole { name: "file".to_owned(), values: vec![file.to_owned()] }],
        timeout_ms: VALIDATE_TIMEOUT_MS,
    })?;
    match decide::refusal(file, name, ended.code, &ended.complaint) {
        None => Ok(()),
        Some(error) => {
            files::discard(file)?;
            Err(error)
        }
    }
}

fn form(name: &str) -> String {
    format!("command.{name}")
}

fn decide_live(on: &Step<Settings>, file: &str) -> Result<Decided, Error> {
    let bytes = files::read(Place::Live, file, FILE_BYTES_MAX)?;
    let text =
        str::from_utf8(&bytes).map_err(|cause| Error::invalid("config/not-text", cause.to_string()))?;
    on.settings.decide(text)
}

fn live_digest(file: &str) -> Result<String, Error> {
    exchange::digest(Place::Live, file)?
        .ok_or_else(|| Error::not_found("config/no-file", format!("{file} is not there")))
}

sternway_plugin::export_plugin!(Config);
