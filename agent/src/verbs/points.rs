//! `points …`: the rollback points of this host, in the hands of whoever types
//! here. The agent may be at work meanwhile; nobody's signature is needed.

mod progress;
mod show;

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};
use sternway_agent::config::Config;
use sternway_agent::crash;
use sternway_agent::custodian::{Custodian, CustodianError, Listener, Word};
use sternway_agent::halt::HaltFlag;
use sternway_agent::host::Host;
use sternway_core::exit;
use sternway_core::point::{Ask, Change, Depth, Kind, Want};

use self::show::Teller;
use crate::output::{self, Failure};

/// `ready`: at least one service could not go back.
const CANNOT: u8 = exit::DONE_WITH_EXCEPTIONS;

#[derive(Debug, Args)]
pub(crate) struct Points {
    #[command(subcommand)]
    verb: PointsVerb,
    /// Show how far it is, also without a terminal.
    #[arg(long, global = true)]
    progress: bool,
}

#[derive(Debug, Subcommand)]
enum PointsVerb {
    /// Keep a service, or paths, as they are now.
    ///
    /// As a hook before a deployment: anything but exit code 0 means that
    /// there is no point, and that nothing should be deployed.
    Create(Create),
    /// Points, newest first.
    List(Meant),
    /// Everything that one point says of itself.
    Show { id: String },
    /// Check that points can be restored: one, those that are meant, or all.
    Verify {
        /// Read every byte, not only the index and the trees.
        #[arg(long)]
        full: bool,
        /// The beginning of a point's id.
        id: Option<String>,
        #[command(flatten)]
        meant: Meant,
    },
    /// Give a point a name, by which plans find it.
    Tag {
        id: String,
        tag: String,
        /// Never let it go, whatever its age.
        #[arg(long, requires = "reason")]
        keep: bool,
        /// Whose it is then; you, when it is not said.
        #[arg(long, requires = "keep")]
        owner: Option<String>,
        /// Why it is kept.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Take a name away; without a name, the wish to keep it for ever.
    Untag { id: String, tag: Option<String> },
    /// Let go what the rules do not keep: shows it, and does it when confirmed.
    Prune {
        /// How many points go: as many as were shown, or none.
        #[arg(long)]
        confirm: Option<u32>,
    },
    /// What differs between a point and this host, or another point.
    Diff { id: String, other: Option<String> },
    /// Bring one file or folder back, beside what is there.
    Restore {
        id: String,
        /// As the host knows it.
        path: String,
        /// Where nothing is yet; or the path itself, whose old state is then kept beside.
        #[arg(long)]
        into: Option<String>,
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Rehearse the way back of a service: restore its newest point aside, compare, take it away.
    Drill { service: String },
    /// Would a rollback work right now? Exit code 3 when it would not.
    Ready { service: Option<String> },
}

#[derive(Debug, Args)]
struct Create {
    /// By which plans find it, such as `before-1.3`.
    #[arg(long, required_unless_present = "service")]
    tag: Option<String>,
    #[arg(long, default_value = "")]
    reason: String,
    /// A `[[points.service]]` of the configuration.
    #[arg(long, conflicts_with = "paths")]
    service: Option<String>,
    #[arg(long, value_enum, default_value_t = KindName::Full)]
    kind: KindName,
    /// One part of the service, for `--kind component`.
    #[arg(long, requires = "service")]
    component: Option<String>,
    /// Which version runs; found out, when it is not said.
    #[arg(long)]
    version: Option<String>,
    /// Made by a hook, before something is deployed.
    #[arg(long)]
    hook: bool,
    /// Files and folders, as the host knows them.
    #[arg(required_unless_present = "service")]
    paths: Vec<String>,
}

#[derive(Debug, Args)]
struct Meant {
    #[arg(long)]
    service: Option<String>,
    #[arg(long)]
    tag: Option<String>,
    #[arg(long, value_enum)]
    kind: Option<KindName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KindName {
    Full,
    Component,
    Config,
    Data,
}

impl From<KindName> for Kind {
    fn from(name: KindName) -> Self {
        match name {
            KindName::Full => Self::Full,
            KindName::Component => Self::Component,
            KindName::Config => Self::Config,
            KindName::Data => Self::Data,
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum PointsVerbError {
    #[error("{bad} of {all} points cannot be restored")]
    Bad { bad: usize, all: usize },
    #[error("the rehearsal failed: {0}")]
    Drill(String),
    #[error("`{0}` is no person's name: a-z, 0-9, `.`, `_` and `-`")]
    Owner(String),
}

fn by_id(id: &str) -> Want {
    Want { id: Some(id.to_owned()), ..Want::default() }
}

impl Meant {
    fn want(&self, id: Option<&String>) -> Want {
        Want {
            service: self.service.clone(),
            tag: self.tag.clone(),
            kind: self.kind.map(Kind::from),
            id: id.cloned(),
        }
    }
}

/// Something to ask, or to do on the word of who types.
enum Wish {
    Look(Ask),
    Do(Change, Word),
    Ready(Option<String>),
}

pub(crate) fn run(arguments: &Points, config: &Path, json: bool) -> Result<u8, Failure> {
    crash::arm();
    let host = Arc::new(Host::new(&Config::load(config)?)?);
    let halted = HaltFlag::of(&host.config().state).read();
    let custodian = Custodian::at_hand(host);
    let is_drawn = arguments.progress || std::io::stderr().is_terminal();
    let teller = Arc::new(Teller::new(json, is_drawn));
    let listener = {
        let teller = Arc::clone(&teller);
        Listener::new(move |answer| teller.hear(answer))
    };
    let done = match wish(&arguments.verb)? {
        Wish::Look(ask) => custodian.look(&ask, &listener),
        Wish::Do(change, word) => {
            if let (Some(halt), false) =
                (&halted, matches!(change, Change::Tag { .. } | Change::Untag { .. }))
            {
                output::talk(&format!(
                    "this host is halted by {}: {}; you have it in hands, so it is done",
                    halt.by, halt.reason
                ));
            }
            custodian.carry_out(&change, &word, &listener)
        }
        Wish::Ready(service) => {
            let facts = custodian.facts(service.as_deref(), &[]);
            return Ok(match teller.ready(&facts, service.as_deref())? {
                true => exit::DONE,
                false => CANNOT,
            });
        }
    };
    teller.end();
    done.map_err(failure)?;
    let outcome = teller.outcome();
    if outcome.bad > 0 {
        return Err(PointsVerbError::Bad { bad: outcome.bad, all: outcome.checked }.into());
    }
    match outcome.drill_failed {
        Some(finding) => Err(PointsVerbError::Drill(finding).into()),
        None => Ok(exit::DONE),
    }
}

fn failure(error: CustodianError) -> Failure {
    let exit = match error.code() {
        // As everywhere: the number is another one meanwhile.
        "count" => exit::USAGE,
        _ => exit::INVALID,
    };
    Failure { cause: Box::new(error), exit }
}

fn wish(verb: &PointsVerb) -> Result<Wish, PointsVerbError> {
    let word = |reason: &str| Word::at_hand(super::person(), reason.to_owned());
    Ok(match verb {
        PointsVerb::Create(create) => {
            let usual = if create.hook { "before-deployment" } else { "by-hand" };
            let change = Change::Create {
                service: create.service.clone(),
                paths: create.paths.clone(),
                kind: create.kind.into(),
                component: create.component.clone(),
                tag: create.tag.clone().unwrap_or_else(|| usual.to_owned()),
                version: create.version.clone(),
                hook: create.hook,
            };
            Wish::Do(change, word(&create.reason))
        }
        PointsVerb::List(meant) => Wish::Look(Ask::List(meant.want(None))),
        PointsVerb::Show { id } => Wish::Look(Ask::Show(by_id(id))),
        PointsVerb::Verify { full, id, meant } => {
            let depth = if *full { Depth::Full } else { Depth::Quick };
            Wish::Look(Ask::Verify { which: meant.want(id.as_ref()), depth })
        }
        PointsVerb::Tag { id, tag, keep, owner, reason } => {
            let mut word = word(reason);
            if let Some(owner) = owner {
                let named = owner.parse().map_err(|_| PointsVerbError::Owner(owner.clone()))?;
                word.owner = Some(named);
            }
            Wish::Do(Change::Tag { which: by_id(id), tag: tag.clone(), keep: *keep }, word)
        }
        PointsVerb::Untag { id, tag } => {
            Wish::Do(Change::Untag { which: by_id(id), tag: tag.clone() }, word(""))
        }
        PointsVerb::Prune { confirm: None } => Wish::Look(Ask::WouldPrune),
        PointsVerb::Prune { confirm: Some(confirmed) } => {
            Wish::Do(Change::Prune { confirmed: *confirmed }, word(""))
        }
        PointsVerb::Diff { id, other } => {
            Wish::Look(Ask::Diff { from: by_id(id), to: other.as_deref().map(by_id) })
        }
        PointsVerb::Restore { id, path, into, reason } => {
            let into = into.clone().unwrap_or_default();
            Wish::Do(Change::Restore { which: by_id(id), path: path.clone(), into }, word(reason))
        }
        PointsVerb::Drill { service } => Wish::Do(Change::Drill { service: service.clone() }, word("")),
        PointsVerb::Ready { service } => Wish::Ready(service.clone()),
    })
}
