//! `notify`: tells people or systems what a run does, once. A notice that cannot
//! be given warns and no more, unless the plan says that it is required: going
//! back must not fail because of a mail server.

mod decide;

use sternway_plugin::host::{control, http, log, mail};
use sternway_plugin::{
    Class, Error, Failure, Kind, Looked, Manifest, Mode, Outcome, Plugin, Power, Prepared, Reversibility,
    Step, Verification, memory,
};

use crate::decide::{Notice, Settings, may_pass};

/// The plugin.
#[derive(Debug)]
pub struct Notify;

/// The journal's key for whether anybody may have been told.
const BEGUN: &str = "begun";
const TRIES: u32 = 3;
const PAUSE_MS: u64 = 1_000;

impl Plugin for Notify {
    type Settings = Settings;
    type State = ();

    fn manifest() -> Manifest {
        Manifest {
            name: "notify".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "tells people and systems".into(),
            settings_schema: include_str!("../settings.schema.json").into(),
            modes: vec![
                mode("webhook", "posts a notice with an idempotency key"),
                mode("mail", "mails a notice with a message id of its own"),
            ],
            powers: vec![
                power("http", "webhook", "posts the notice there"),
                power("mail", "mail", "mails the notice to these addresses over the host's relay"),
                power(
                    "secrets",
                    "bearer",
                    "lets the host sign the notice with this secret, unseen by the step",
                ),
            ],
            default_timeout_ms: 120_000,
        }
    }

    fn look(on: &Step<Settings>) -> Result<Looked<()>, Error> {
        let now_ms = control::now_ms();
        let notices = on.settings.notices(&on.call, now_ms)?;
        if let Some(undo) = &on.undo {
            undo.notices(&on.call, now_ms)?;
        }
        Ok(Looked { findings: vec![], actions: notices.iter().map(Notice::action).collect(), state: () })
    }

    fn prepare(_on: &Step<Settings>, (): ()) -> Result<Prepared<()>, Error> {
        Ok(Prepared { summary: "nothing to stage".into(), state: () })
    }

    fn apply(on: &Step<Settings>, (): ()) -> Result<Outcome<()>, Failure> {
        memory::keep(BEGUN, &true)?;
        tell(on, &on.settings, "told")
    }

    /// Whether anybody read it, nobody can tell.
    fn verify(_on: &Step<Settings>, (): ()) -> Result<Vec<Verification>, Error> {
        Ok(vec![])
    }

    fn undo(on: &Step<Settings>, (): ()) -> Result<Outcome<()>, Failure> {
        let quiet = |summary: &str| Outcome { changed: false, summary: summary.into(), state: () };
        if memory::recall(BEGUN)? != Some(true) {
            return Ok(quiet("nobody was told"));
        }
        match &on.undo {
            None => Ok(quiet("what was told stays told")),
            Some(undo) => tell(on, undo, "untold"),
        }
    }
}

/// Gives each notice once; `what` tells the notices of the undo from the others.
fn tell(on: &Step<Settings>, settings: &Settings, what: &str) -> Result<Outcome<()>, Failure> {
    // Noted, so that a notice given again is the same to the letter.
    let now_ms = memory::first(&format!("{what} at"), control::now_ms())?;
    let mut told = Vec::new();
    let mut failed: Vec<Error> = Vec::new();
    for notice in settings.notices(&on.call, now_ms)? {
        let place = notice.place();
        let key = format!("{}/{what}", on.call.idempotency_key);
        match memory::once(&format!("{what} {place}"), || give(&notice, &key)) {
            Ok(()) => told.push(place.to_owned()),
            Err(error) if error.kind == Kind::Cancelled => return Err(error.into()),
            Err(error) => failed.push(error),
        }
    }
    let complaint: Vec<String> =
        failed.iter().map(|error| format!("{} ({})", error.message, error.code)).collect();
    if let (true, Some(first)) = (settings.is_required(), failed.into_iter().next()) {
        return Err(Error { message: complaint.join("; "), ..first }.into());
    }
    let mut summary =
        if told.is_empty() { "nobody was told".into() } else { format!("told {}", told.join(", ")) };
    if !complaint.is_empty() {
        summary.push_str(&format!("; a notice could not be given: {}", complaint.join("; ")));
        log::write(log::Level::Warn, &summary);
    }
    Ok(Outcome { changed: !told.is_empty(), summary, state: () })
}

fn give(notice: &Notice, key: &str) -> Result<(), Error> {
    let mut tries = 1;
    loop {
        let ended = give_once(notice, key);
        match ended {
            Err(error) if tries < TRIES && matches!(error.kind, Kind::Transient | Kind::TimedOut) => {
                if !control::sleep(PAUSE_MS * u64::from(tries)) {
                    return Err(Error::cancelled("stopped between two tries to give a notice"));
                }
                tries += 1;
            }
            ended => return ended,
        }
    }
}

fn give_once(notice: &Notice, key: &str) -> Result<(), Error> {
    let Some(request) = notice.request(key, control::limits().remaining_ms) else {
        let Notice::Mail { to, subject, body } = notice else {
            return Err(Error::unsupported("notify/no-way", "this notice has no way to be given"));
        };
        return mail::send(to, subject, body, key);
    };
    let status = http::send(&request)?.status;
    if (200..300).contains(&status) {
        return Ok(());
    }
    let message = format!("{} answered {status} to a notice", request.url);
    let refused = Error::failed("notify/refused", message);
    Err(if may_pass(status) { Error { kind: Kind::Transient, ..refused } } else { refused })
}

fn mode(setting: &str, summary: &str) -> Mode {
    Mode {
        setting: setting.into(),
        class: Class::Keyed,
        // There is nothing to put back: a notice that was given stays given.
        reversibility: Reversibility::Reversible,
        summary: summary.into(),
    }
}

fn power(name: &str, scope_from: &str, reason: &str) -> Power {
    Power { name: name.into(), scope_from: vec![scope_from.into()], reason: reason.into() }
}

sternway_plugin::export_plugin!(Notify);
