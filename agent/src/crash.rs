//! Places where a test can make the agent die, as if the machine had been
//! switched off under it: the proof that every one of them can be survived.
//!
//! Only builds with debug assertions carry them. A cargo feature would make a
//! second agent to build and to confuse with the first; an environment variable
//! alone would be a switch in production that ends agents. They sleep until
//! [`arm`] is called, so that what the agent starts beside itself never dies of them.
//!
//! `STERNWAY_CRASH_AT=NAME#N` ends the process where NAME is reached for the
//! Nth time. `STERNWAY_CRASH_LOG=FILE` writes down every place that is reached.

use sternway_core::run::{Input, Phase, Record};

/// Around every record of the journal, with the record's kind.
pub const RECORD_PLACES: [(&str, &str); 3] = [
    ("journal.begins", "nothing of the record is written"),
    ("journal.written", "the record is written and not synced"),
    ("journal.synced", "the record is on disk, and nobody acted on it"),
];

/// Every kind of record, as [`record`] names them.
pub const RECORDS: [&str; 40] = [
    "opened",
    "epoch-seen",
    "accepted",
    "staged",
    "unfit",
    "permit-asked",
    "permitted",
    "halt-told",
    "halted-locally",
    "resumed-locally",
    "permit-declined",
    "permitted-here",
    "began-look",
    "began-prepare",
    "began-apply",
    "began-verify",
    "began-undo",
    "ended-look",
    "ended-prepare",
    "ended-apply",
    "ended-verify",
    "ended-undo",
    "waited",
    "cut-off",
    "rejoined",
    "undo-ordered",
    "confirmed",
    "not-confirmed",
    "decided",
    "resumed",
    "settled",
    "health",
    "released",
    "call-began",
    "call-ended",
    "mark-began",
    "mark-finished",
    "acked",
    "measured",
    "remarked",
];

/// Around every host call that changes something, with the call's name.
pub const CALL_PLACES: [(&str, &str); 2] = [
    ("call.begins", "the gate lets it pass, and its intent is not recorded"),
    ("call.ended", "it is done and recorded, and the plugin does not know"),
];

/// The host calls that change something.
pub const CALLS: [&str; 12] = [
    "files.stage-bytes",
    "files.stage-copy",
    "files.stage-ownership",
    "files.discard",
    "files.switch-to",
    "files.take-away",
    "files.keep-copy",
    "points.stage",
    "services.start",
    "services.stop",
    "databases.settle",
    "http.send",
];

/// Inside effects, and what the agent keeps for itself.
pub const OTHERS: [(&str, &str); 22] = [
    ("durable.created", "an empty file stands beside"),
    ("durable.written", "the file beside is whole and not synced"),
    ("durable.synced", "the file beside is on disk"),
    ("durable.renamed", "the new file has the name, and the folder is not synced"),
    ("durable.done", "file and name are on disk"),
    ("durable.removed", "the file is gone, and the folder is not synced"),
    ("plan.kept", "the sealed plan is on disk, and nothing says that it was accepted"),
    ("plan.removed", "a closed run's plan is gone"),
    ("files.copied", "one file of a side copy has its bytes and not its metadata"),
    ("files.restored", "one file out of a rollback point has its bytes and not its metadata"),
    ("files.switched", "old and new have changed places, and the folder is not synced"),
    ("files.taken-away", "the live name is gone, and the folder is not synced"),
    ("services.keeper-spawned", "a keeper was started and has said nothing"),
    ("services.told-to-end", "a service was told to end, and still runs"),
    ("programs.told", "what a lasting program is told is on disk, and nobody attends it"),
    ("programs.attendant-spawned", "its attendant was started and has said nothing"),
    ("points.archived", "all of a point is written, and it is not offered"),
    ("points.described", "it is known what its manifest will say"),
    ("points.merged", "one tree holds the point and its manifest, and it is not offered"),
    ("points.offered", "the point is offered, and what was unfinished is still there"),
    ("points.tagged", "a point has its new tags, and the snapshot with the old ones is still there"),
    ("points.forgotten", "a point is dropped, and all that only it needed is still there"),
];

/// Every place there is: its name, and what is true there. Places around
/// records that may ride along with the next are never `journal.synced`.
pub fn all() -> impl Iterator<Item = (String, &'static str)> {
    let records = RECORD_PLACES.into_iter().flat_map(|(place, why)| {
        let kinds = RECORDS.into_iter().filter(move |kind| place != "journal.synced" || !rides_along(kind));
        kinds.map(move |kind| (format!("{place}:{kind}"), why))
    });
    let calls = CALL_PLACES
        .into_iter()
        .flat_map(|(place, why)| CALLS.into_iter().map(move |call| (format!("{place}:{call}"), why)));
    records.chain(calls).chain(OTHERS.into_iter().map(|(name, why)| (name.to_owned(), why)))
}

fn rides_along(kind: &str) -> bool {
    ["began-look", "began-prepare", "began-verify", "ended-look", "ended-prepare", "acked"].contains(&kind)
}

/// The kind of a record, one of [`RECORDS`].
pub fn record(record: &Record) -> &'static str {
    let input = match record {
        Record::Opened { .. } => return "opened",
        Record::EpochSeen { .. } => return "epoch-seen",
        Record::Run { input, .. } => input,
        Record::CallBegan { .. } => return "call-began",
        Record::CallEnded { .. } => return "call-ended",
        Record::MarkBegan { .. } => return "mark-began",
        Record::MarkFinished { .. } => return "mark-finished",
        Record::Acked { .. } => return "acked",
        Record::Measured { .. } => return "measured",
        Record::Remarked { .. } => return "remarked",
    };
    match input {
        Input::Accepted { .. } => "accepted",
        Input::Staged { .. } => "staged",
        Input::Unfit { .. } => "unfit",
        Input::PermitAsked { .. } => "permit-asked",
        Input::Permitted { .. } => "permitted",
        Input::HaltTold => "halt-told",
        Input::HaltedLocally { .. } => "halted-locally",
        Input::ResumedLocally { .. } => "resumed-locally",
        Input::PermitDeclined { .. } => "permit-declined",
        Input::PermittedHere { .. } => "permitted-here",
        Input::Began { phase, .. } => match phase {
            Phase::Look => "began-look",
            Phase::Prepare => "began-prepare",
            Phase::Apply => "began-apply",
            Phase::Verify => "began-verify",
            Phase::Undo => "began-undo",
        },
        Input::Ended { phase, .. } => match phase {
            Phase::Look => "ended-look",
            Phase::Prepare => "ended-prepare",
            Phase::Apply => "ended-apply",
            Phase::Verify => "ended-verify",
            Phase::Undo => "ended-undo",
        },
        Input::Waited { .. } => "waited",
        Input::CutOff => "cut-off",
        Input::Rejoined => "rejoined",
        Input::UndoOrdered { .. } => "undo-ordered",
        Input::Confirmed { .. } => "confirmed",
        Input::NotConfirmed { .. } => "not-confirmed",
        Input::Decided { .. } => "decided",
        Input::Resumed { .. } => "resumed",
        Input::Settled { .. } => "settled",
        Input::Health { .. } => "health",
        Input::Released => "released",
    }
}

/// A place around a record of the journal.
#[inline]
pub fn at_record(place: &str, of: &Record) {
    if cfg!(debug_assertions) {
        point(place, record(of));
    }
}

/// A place; `what` may be empty.
#[cfg(not(debug_assertions))]
#[inline]
pub fn point(_: &str, _: &str) {}

/// Nothing to arm in a program for production.
#[cfg(not(debug_assertions))]
pub fn arm() {}

#[cfg(debug_assertions)]
pub use armed::{arm, point};

#[cfg(debug_assertions)]
mod armed {
    use std::collections::BTreeMap;
    use std::fs::File;
    use std::io::Write as _;
    use std::sync::{Mutex, OnceLock, PoisonError};

    static TRAP: OnceLock<Trap> = OnceLock::new();

    struct Trap {
        at: Option<(String, u32)>,
        reached: Mutex<(BTreeMap<String, u32>, Option<File>)>,
    }

    /// Reads the two variables, once, for the rest of this process's life.
    pub fn arm() {
        let at = std::env::var("STERNWAY_CRASH_AT").ok().and_then(|text| {
            let (name, number) = text.rsplit_once('#')?;
            Some((name.to_owned(), number.parse().ok()?))
        });
        let log = std::env::var_os("STERNWAY_CRASH_LOG")
            .and_then(|path| File::options().create(true).append(true).open(path).ok());
        if at.is_some() || log.is_some() {
            TRAP.get_or_init(|| Trap { at, reached: Mutex::new((BTreeMap::new(), log)) });
        }
    }

    /// A place; `what` may be empty.
    pub fn point(place: &str, what: &str) {
        let Some(trap) = TRAP.get() else { return };
        let name = if what.is_empty() { place.to_owned() } else { format!("{place}:{what}") };
        let mut reached = trap.reached.lock().unwrap_or_else(PoisonError::into_inner);
        let (counts, log) = &mut *reached;
        let number = counts.entry(name.clone()).or_default();
        *number += 1;
        if let Some(log) = log {
            writeln!(log, "{name}#{number}").expect("a test that asks for a log has room for it");
        }
        if trap.at.as_ref().is_some_and(|(at, wanted)| *at == name && wanted == number) {
            die();
        }
    }

    /// No destructor, no handler, no flush, no other thread's last words.
    fn die() {
        let killed = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        killed.expect("a process may always kill itself");
        loop {
            std::thread::park();
        }
    }
}
