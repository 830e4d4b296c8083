//! `tcp`: proves that somebody listens at an address and says the right thing,
//! or that nobody does. It only reads.

mod decide;

use sternway_plugin::host::{control, progress, sockets};
use sternway_plugin::{
    Class, Error, Failure, Kind, Looked, Manifest, Mode, Outcome, Plugin, Power, Prepared, Reversibility,
    Step, Verdict, Verification,
};

use crate::decide::{Question, Seen, Settings};

/// The plugin.
#[derive(Debug)]
pub struct Tcp;

impl Plugin for Tcp {
    type Settings = Settings;
    type State = ();

    fn manifest() -> Manifest {
        Manifest {
            name: "tcp".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "checks who listens at an address".into(),
            settings_schema: include_str!("../settings.schema.json").into(),
            modes: vec![Mode {
                setting: "connect".into(),
                class: Class::Observe,
                reversibility: Reversibility::Reversible,
                summary: "connects, and may ask".into(),
            }],
            powers: vec![Power {
                name: "sockets".into(),
                scope_from: vec!["connect".into()],
                reason: "connects to these addresses, and may ask them".into(),
            }],
            default_timeout_ms: 120_000,
        }
    }

    fn look(on: &Step<Settings>) -> Result<Looked<()>, Error> {
        let question = on.settings.question()?;
        let actions = question.addresses.iter().map(|address| question.action(address)).collect();
        Ok(Looked { findings: vec![], actions, state: () })
    }

    fn prepare(_on: &Step<Settings>, (): ()) -> Result<Prepared<()>, Error> {
        Ok(Prepared { summary: "nothing to stage".into(), state: () })
    }

    /// What cannot be told is left to `verify`, which has a word for it.
    fn apply(on: &Step<Settings>, (): ()) -> Result<Outcome<()>, Failure> {
        let question = on.settings.question()?;
        let begun = control::now_ms();
        let mut seen = round(&question)?;
        while worst(&seen) != Verdict::Pass && control::now_ms() < begun + question.within_ms {
            pause(question.every_ms)?;
            seen = round(&question)?;
        }
        let since = control::now_ms();
        while worst(&seen) == Verdict::Pass && control::now_ms() < since + question.for_ms {
            progress::report("watch", control::now_ms() - since, Some(question.for_ms), "ms");
            pause(question.every_ms)?;
            seen = round(&question)?;
        }
        let told: Vec<String> =
            seen.iter().map(|(address, seen)| format!("{address}: {}", seen.measured)).collect();
        if worst(&seen) == Verdict::Fail {
            let expected = question.expected();
            let code = if question.closed { "tcp/open" } else { "tcp/unexpected" };
            return Err(Error::failed(code, format!("{}, expected {expected}", told.join("; "))).into());
        }
        Ok(Outcome { changed: false, summary: told.join("; "), state: () })
    }

    fn verify(on: &Step<Settings>, (): ()) -> Result<Vec<Verification>, Error> {
        let question = on.settings.question()?;
        let seen = round(&question)?;
        Ok(seen
            .into_iter()
            .map(|(address, seen)| Verification {
                name: format!("connect to {address}"),
                verdict: seen.verdict,
                measured: Some(seen.measured),
                expected: Some(question.expected()),
                message: String::new(),
            })
            .collect())
    }

    fn undo(_on: &Step<Settings>, (): ()) -> Result<Outcome<()>, Failure> {
        Ok(Outcome { changed: false, summary: "it only looked".into(), state: () })
    }
}

/// Every address once.
fn round(question: &Question) -> Result<Vec<(String, Seen)>, Error> {
    question.addresses.iter().map(|address| Ok((address.clone(), ask(question, address)?))).collect()
}

fn ask(question: &Question, address: &str) -> Result<Seen, Error> {
    let timeout_ms = question.timeout_ms.min(control::limits().remaining_ms);
    let seen = match question.exchange(address, timeout_ms) {
        None => sockets::probe(address, timeout_ms).map(|us| question.connected(us)),
        Some(exchange) => sockets::ask(&exchange).map(|answer| question.answered(&answer)),
    };
    seen.or_else(|error| match error.kind {
        Kind::Denied | Kind::Invalid | Kind::Cancelled | Kind::Unsupported => Err(error),
        _ => Ok(question.failed(&error)),
    })
}

fn worst(seen: &[(String, Seen)]) -> Verdict {
    let has = |verdict| seen.iter().any(|(_, seen)| seen.verdict == verdict);
    if has(Verdict::Fail) {
        Verdict::Fail
    } else if has(Verdict::Inconclusive) {
        Verdict::Inconclusive
    } else {
        Verdict::Pass
    }
}

fn pause(ms: u64) -> Result<(), Error> {
    if control::sleep(ms) { Ok(()) } else { Err(Error::cancelled("stopped between two tries")) }
}

sternway_plugin::export_plugin!(Tcp);
