//! `traffic`: switches a maintenance page, moves traffic between the servers of
//! nginx, HAProxy or another balancer, and puts back exactly what was.

mod decide;
mod generic;
mod haproxy;
mod nginx;
mod runtime;
mod share;
mod upstream;

use serde::{Deserialize, Serialize};
use sternway_plugin::{
    Action, Class, Error, Failure, Finding, Kind, Looked, Manifest, Mode, Outcome, Plugin, Power, Prepared,
    Reversibility, Step, Verification,
};

use crate::decide::{Settings, Task};
use crate::nginx::Staged;

/// The plugin.
#[derive(Debug)]
pub struct Traffic;

/// What `prepare` left for nginx.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// None: nothing is to change there.
    staged: Option<Staged>,
    /// The digest that a link has to have, which alone tells where it leads.
    link: Option<String>,
}

impl Plugin for Traffic {
    type Settings = Settings;
    type State = State;

    fn manifest() -> Manifest {
        Manifest {
            name: "traffic".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "moves traffic between servers".into(),
            settings_schema: include_str!("../settings.schema.json").into(),
            modes: vec![
                mode("maintenance", Class::StagedSwap, "switches the maintenance page of nginx"),
                mode("upstream", Class::StagedSwap, "sets the servers of an nginx upstream"),
                mode("haproxy", Class::Converge, "sets the servers of an HAProxy backend while it runs"),
                mode("put", Class::Converge, "puts the state of another balancer"),
            ],
            powers: vec![
                power("files", &["upstream", "flag", "link"], "replaces these files of nginx"),
                power("nginx", &["config"], "tests this configuration of nginx, and reloads it"),
                power("systemd", &["reload"], "reloads this unit"),
                power("sockets", &["haproxy"], "asks and tells HAProxy there"),
                power("http", &["put"], "reads and puts the balancer's state there"),
                power(
                    "secrets",
                    &["bearer"],
                    "lets the host sign the calls with this secret, unseen by the step",
                ),
            ],
            default_timeout_ms: 120_000,
        }
    }

    fn look(on: &Step<Settings>) -> Result<Looked<State>, Error> {
        let looked = match on.settings.task()? {
            Task::Maintenance { path, wanted, .. } => nginx::look_switch(&path, &wanted),
            Task::Upstream { path, block, shares, .. } => nginx::look_pool(&path, block.as_deref(), &shares),
            Task::Haproxy { address, backend, shares, .. } => runtime::look(&address, &backend, &shares),
            Task::Put { url, body, proof, bearer } => generic::Balancer { url, proof, bearer }.look(&body),
        };
        match looked {
            Ok((actions, findings)) => Ok(Looked { findings, actions, state: State::default() }),
            // What is wrong with the balancer refuses the run; what the host refuses is an error.
            Err(error) if error.code.starts_with("traffic/") && error.kind != Kind::Transient => {
                let findings = vec![Finding::blocking(&error.code, error.message)];
                Ok(Looked { findings, actions: vec![], state: State::default() })
            }
            Err(error) => Err(error),
        }
    }

    fn prepare(on: &Step<Settings>, _seen: State) -> Result<Prepared<State>, Error> {
        let state = match on.settings.task()? {
            Task::Maintenance { path, wanted, .. } => {
                let (staged, link) = nginx::stage_switch(&path, &wanted)?;
                State { staged, link }
            }
            Task::Upstream { path, block, shares, .. } => {
                State { staged: nginx::stage_pool(&path, block.as_deref(), &shares)?, link: None }
            }
            Task::Haproxy { .. } | Task::Put { .. } => State::default(),
        };
        let summary =
            if state.staged.is_some() { "the new file is staged beside" } else { "nothing to stage" };
        Ok(Prepared { summary: summary.into(), state })
    }

    fn apply(on: &Step<Settings>, state: State) -> Result<Outcome<State>, Failure> {
        let done = match on.settings.task()? {
            Task::Maintenance { nginx, path, .. } | Task::Upstream { nginx, path, .. } => {
                nginx.apply(&path, state.staged.as_ref())?
            }
            Task::Haproxy { address, backend, shares, within_ms } => {
                runtime::apply(&address, &backend, &shares, within_ms)?
            }
            Task::Put { url, body, proof, bearer } => {
                generic::Balancer { url, proof, bearer }.apply(&body)?
            }
        };
        Ok(Outcome { changed: done.changed, summary: done.summary, state })
    }

    fn verify(on: &Step<Settings>, done: State) -> Result<Vec<Verification>, Error> {
        match on.settings.task()? {
            Task::Maintenance { path, wanted, .. } => {
                nginx::verify_switch(&path, &wanted, done.link.as_deref())
            }
            Task::Upstream { path, block, shares, .. } => {
                nginx::verify_pool(&path, block.as_deref(), &shares)
            }
            Task::Haproxy { address, backend, shares, .. } => runtime::verify(&address, &backend, &shares),
            Task::Put { url, body, proof, bearer } => generic::Balancer { url, proof, bearer }.verify(&body),
        }
    }

    fn undo(on: &Step<Settings>, state: State) -> Result<Outcome<State>, Failure> {
        let done = match on.settings.task()? {
            Task::Maintenance { nginx, path, .. } | Task::Upstream { nginx, path, .. } => {
                nginx.undo(&path)?
            }
            Task::Haproxy { address, backend, .. } => runtime::undo(&address, &backend)?,
            Task::Put { url, proof, bearer, .. } => generic::Balancer { url, proof, bearer }.undo()?,
        };
        Ok(Outcome { changed: done.changed, summary: done.summary, state })
    }
}

/// What a look found: changes to make, and findings.
type Seen = (Vec<Action>, Vec<Finding>);

/// What was done, for the outcome.
struct Done {
    changed: bool,
    summary: String,
}

impl Done {
    fn new(changed: bool, summary: impl Into<String>) -> Self {
        Self { changed, summary: summary.into() }
    }
}

fn mode(setting: &str, class: Class, summary: &str) -> Mode {
    Mode { setting: setting.into(), class, reversibility: Reversibility::Reversible, summary: summary.into() }
}

fn power(name: &str, scope_from: &[&str], reason: &str) -> Power {
    let scope_from = scope_from.iter().map(|setting| (*setting).to_owned()).collect();
    Power { name: name.into(), scope_from, reason: reason.into() }
}

sternway_plugin::export_plugin!(Traffic);
