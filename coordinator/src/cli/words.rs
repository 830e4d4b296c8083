//! One vocabulary for what hosts, waves and rollouts are at: the tree, the
//! log, the end and the records all say it with these words.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use sternway_core::ids::HostName;
use sternway_core::plan::select::fold;
use sternway_core::rollout::{
    Ahead, Decision, End, HaltCause, HoldReason, HostState, HostStatus, Note, State, Verdict,
};
use sternway_core::run::choice_names;
use sternway_core::time::{Millis, Timestamp};
use sternway_core::wire::RolloutView;

use super::text::{Tone, count, took};

/// How much a line about hosts matters; the higher, the longer it stays on a small screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Keep {
    Rest,
    Waiting,
    AtWork,
    Doubtful,
    Failed,
    Stuck,
}

/// Hosts of one wave that are at the same thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub keep: Keep,
    pub sign: char,
    pub tone: Tone,
    /// In a word: `done`, `failed`, `stuck` ...
    pub word: &'static str,
    /// Counted from 0.
    pub step: Option<u32>,
    pub message: String,
    pub hosts: Vec<HostName>,
    /// Where the state's age matters: since when, of the host that is longest in it.
    pub since: Option<Timestamp>,
}

/// How an emergency is marked, wherever a rollout or plan is shown.
pub const EMERGENCY: &str = "EMERGENCY";

/// What a host is at: how much it matters, its sign, its word, its step and what is said.
fn host_words(host: &HostStatus, view: &RolloutView) -> Group {
    let group = |keep, sign, tone, word| Group {
        keep,
        sign,
        tone,
        word,
        step: None,
        message: String::new(),
        hosts: vec![host.host.clone()],
        since: None,
    };
    let said =
        |group: Group, step: Option<u32>, message: &str| Group { step, message: message.to_owned(), ..group };
    match &host.state {
        HostState::NeedsOperator { reason, .. } => {
            said(group(Keep::Stuck, '✘', Tone::Bad, "stuck"), None, reason)
        }
        HostState::Undone { step, reason } => {
            said(group(Keep::Failed, '↶', Tone::Bad, "undone"), Some(*step), reason)
        }
        HostState::Refused { reason } => {
            said(group(Keep::Failed, '✘', Tone::Bad, "cannot take part"), None, reason)
        }
        HostState::Failing { step, reason } => {
            said(group(Keep::Failed, '✘', Tone::Bad, "failed, putting back"), Some(*step), reason)
        }
        HostState::Dead { by, reason } => {
            said(group(Keep::Doubtful, '▲', Tone::Warn, "declared dead"), None, &format!("by {by}: {reason}"))
        }
        HostState::Without => group(Keep::Rest, '–', Tone::Dim, "left out"),
        HostState::PutBack => group(Keep::Rest, '↶', Tone::Good, "put back"),
        _ if host.silent => {
            let silent = group(Keep::Doubtful, '▲', Tone::Warn, "silent");
            Group { since: Some(host.last_seen), ..silent }
        }
        _ if host.halted => group(Keep::Doubtful, '▲', Tone::Warn, "halted on the host"),
        HostState::Done => match &host.unwell {
            Some(reason) => said(group(Keep::Doubtful, '▲', Tone::Warn, "unwell"), None, reason),
            None => group(Keep::Rest, '✔', Tone::Good, "done"),
        },
        _ if host.late => group(Keep::Doubtful, '○', Tone::Warn, "late"),
        HostState::PuttingBack => {
            at_work(group(Keep::AtWork, '↶', Tone::Plain, "putting back"), host, view, None)
        }
        HostState::Running { step } => {
            at_work(group(Keep::AtWork, '●', Tone::Plain, "running"), host, view, Some(*step))
        }
        HostState::Permitted { .. } => group(Keep::AtWork, '●', Tone::Plain, "begins"),
        HostState::Asked { .. } | HostState::Staged => group(Keep::Waiting, '○', Tone::Dim, "ready"),
        HostState::Waiting => group(Keep::Waiting, '○', Tone::Dim, "staging"),
    }
}

fn at_work(group: Group, host: &HostStatus, view: &RolloutView, step: Option<u32>) -> Group {
    match view.at_work.get(&host.host) {
        Some(work) => Group {
            step: Some(work.step),
            message: work.progress.clone().unwrap_or_else(|| work.phase.clone()),
            since: Some(work.since),
            ..group
        },
        None => Group { step, ..group },
    }
}

/// The hosts folded by what they are at: what matters most first, then the furthest step.
pub fn groups<'a>(hosts: impl IntoIterator<Item = &'a HostStatus>, view: &RolloutView) -> Vec<Group> {
    type Key = (Reverse<Keep>, &'static str, Reverse<Option<u32>>, String);
    let mut folded: BTreeMap<Key, Group> = BTreeMap::new();
    for host in hosts {
        let one = host_words(host, view);
        let key = (Reverse(one.keep), one.word, Reverse(one.step), one.message.clone());
        match folded.get_mut(&key) {
            Some(group) => {
                group.since = match (group.since, one.since) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
                group.hosts.extend(one.hosts);
            }
            None => _ = folded.insert(key, one),
        }
    }
    folded.into_values().collect()
}

/// `5/9 restore the database`, or nothing.
pub fn step_of(view: &RolloutView, step: u32) -> String {
    let name = view.steps.get(step as usize).map_or("", String::as_str);
    format!("{}/{} {name}", u64::from(step) + 1, view.steps.len()).trim_end().to_owned()
}

/// `agora-[01-08]`, at most so many columns.
pub fn names(hosts: &[HostName], columns_max: usize) -> String {
    let folded = fold(hosts.iter().map(HostName::as_str));
    if folded.chars().count() <= columns_max {
        return folded;
    }
    let kept: String = folded.chars().take(columns_max.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// A wave as people count: from 1, with its name.
pub fn wave_name(view: &RolloutView, wave: usize) -> String {
    match view.status.waves.get(wave).and_then(|wave| wave.name.as_deref()) {
        Some(name) => format!("wave {} {name}", wave + 1),
        None => format!("wave {}", wave + 1),
    }
}

/// The rollout's state in a word, for one-word columns and records.
pub fn state_word(state: &State) -> &'static str {
    match state {
        State::Ready => "ready",
        State::Running { .. } => "running",
        State::AwaitsApproval { .. } => "awaits-approval",
        State::Held => "held",
        State::Halted => "halted",
        State::Undoing => "undoing",
        State::Ended(end) => end_word(*end),
    }
}

pub fn end_word(end: End) -> &'static str {
    match end {
        End::Done => "done",
        End::DoneWithExceptions => "done-with-exceptions",
        End::UndoneAll => "undone",
        End::UndoneWithExceptions => "undone-with-exceptions",
    }
}

/// Counts over the whole rollout, each host once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    /// Takes part: all but those left out at launch.
    pub hosts: usize,
    pub done: usize,
    pub running: usize,
    /// Failed and back where they were.
    pub undone: usize,
    /// Took no part and changed nothing.
    pub refused: usize,
    pub stuck: usize,
    pub silent: usize,
    pub put_back: usize,
    pub dead: usize,
    pub to_go: usize,
}

pub fn totals(view: &RolloutView) -> Totals {
    let mut totals = Totals::default();
    for host in &view.status.hosts {
        let counted = match &host.state {
            HostState::Without => continue,
            HostState::NeedsOperator { .. } => &mut totals.stuck,
            HostState::Undone { .. } => &mut totals.undone,
            HostState::Refused { .. } => &mut totals.refused,
            HostState::Dead { .. } => &mut totals.dead,
            HostState::PutBack => &mut totals.put_back,
            _ if host.silent => &mut totals.silent,
            HostState::Done => &mut totals.done,
            HostState::Permitted { .. }
            | HostState::Running { .. }
            | HostState::Failing { .. }
            | HostState::PuttingBack => &mut totals.running,
            HostState::Waiting | HostState::Staged | HostState::Asked { .. } => &mut totals.to_go,
        };
        *counted += 1;
        totals.hosts += 1;
    }
    totals
}

fn people(hosts: &[HostName]) -> String {
    format!("{} ({})", count(hosts.len(), "host"), names(hosts, 40))
}

/// Why a rollout is held, and so what a person is asked.
pub fn hold_words(reason: &HoldReason) -> String {
    match reason {
        HoldReason::Person { by, reason } if reason.is_empty() => format!("by {by}"),
        HoldReason::Person { by, reason } => format!("by {by}: {reason}"),
        HoldReason::TooManySilent { wave, silent, max } => {
            format!("{} silent in wave {}, {max} allowed", count(*silent as usize, "host"), wave + 1)
        }
        HoldReason::TooManySilentInAll { silent, max } => {
            format!("{} silent in all waves, {max} allowed", count(*silent as usize, "host"))
        }
        HoldReason::NobodyFinished { wave, failed, silent, late } => {
            format!("no host finished in wave {}: {failed} failed, {silent} silent, {late} late", wave + 1)
        }
        HoldReason::SoakKeepsRestarting { wave, restarts, after, limit: _, hosts } => format!(
            "the soak of wave {} does not end: {} in {}, unwell or away: {}",
            wave + 1,
            count(*restarts as usize, "restart"),
            took(*after),
            people(hosts)
        ),
        HoldReason::HaltedOnHost { hosts } => format!("halted by hand on {}", people(hosts)),
        HoldReason::SlotsTaken { holders, max } => {
            format!("all {max} places are taken by hosts that are stuck or away: {}", people(holders))
        }
    }
}

pub fn halt_words(cause: &HaltCause) -> String {
    match cause {
        HaltCause::Person { by, reason } if reason.is_empty() => format!("by {by}"),
        HaltCause::Person { by, reason } => format!("by {by}: {reason}"),
        HaltCause::TooManyFailed { wave, failed, max } => {
            format!("{} failed in wave {}, {max} allowed", count(*failed as usize, "host"), wave + 1)
        }
        HaltCause::TooManyFailedInAll { failed, max } => {
            format!("{} failed in all waves, {max} allowed", count(*failed as usize, "host"))
        }
        HaltCause::BeganUnpermitted { host } => {
            format!("{host} began without a permit that is known here: its journal or ours was set back")
        }
        HaltCause::WentBack { hosts } => {
            format!("the coordinator's database was set back: {}", join(hosts.iter().map(ahead_words)))
        }
    }
}

/// What a host knows and the database has forgotten.
fn ahead_words(ahead: &Ahead) -> String {
    let Ahead { host, epoch, epoch_here, acked, acked_here, unknown } = ahead;
    let mut words = Vec::new();
    if acked > acked_here {
        words.push(format!("told {acked} records, {acked_here} were here"));
    }
    if epoch >= epoch_here && acked == acked_here && unknown.is_none() {
        words.push(format!("saw epoch {epoch}, here it was {epoch_here}"));
    }
    if let Some(rollout) = unknown {
        words.push(format!("is in {rollout}, which was not on record"));
    }
    if words.is_empty() {
        words.push(format!("saw epoch {epoch}, here it was {epoch_here}"));
    }
    format!("{host} {}", words.join(", "))
}

/// The gate's answer in a word.
pub fn verdict_word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Hold(_) => "hold",
        Verdict::Halt(_) => "halt",
    }
}

/// A decision in a sentence's rest, after the rollout's name.
pub fn decision_words(decision: &Decision, view: &RolloutView) -> String {
    let wave_is = |wave: usize| wave_name(view, wave);
    match decision {
        Decision::Launched { by } if view.urgency.is_emergency() => format!("{EMERGENCY}: launched by {by}"),
        Decision::Launched { by } => format!("launched by {by}"),
        Decision::AwaitsApproval { wave, group } => {
            format!("{} waits for someone of {group}", wave_is(*wave))
        }
        Decision::Approved { wave, by, group } => format!("{} approved by {by} ({group})", wave_is(*wave)),
        Decision::WaveOpened { wave, hosts } => format!("{} opened: {}", wave_is(*wave), people(hosts)),
        Decision::LateWave { wave, hosts } => {
            format!("wave {} made for late hosts that are here now: {}", wave + 1, people(hosts))
        }
        Decision::WaveSettled { wave, soak } => {
            format!("{} settled{}; soaking {soak}", wave_is(*wave), tally_words(view, *wave))
        }
        Decision::SoakRestarted { wave, restarts, hosts } => format!(
            "{} soak starts again ({}): {}",
            wave_is(*wave),
            count(*restarts as usize, "restart"),
            people(hosts)
        ),
        Decision::Judged { wave, evidence, verdict } => {
            let gate = view.status.waves.get(*wave).map_or("", |wave| wave.gate.name.as_str());
            let tally = evidence.tally;
            format!(
                "{} gate {gate}: {} ({} finished, failed {} of {} allowed, silent {} of {})",
                wave_is(*wave),
                verdict_word(verdict),
                tally.finished,
                tally.failed,
                evidence.failed_max,
                tally.silent,
                evidence.silent_max
            )
        }
        Decision::Held { reasons } => format!("held: {}", join(reasons.iter().map(hold_words))),
        Decision::Went { by, reason, accepted } => {
            let accepted = join(accepted.iter().map(hold_words));
            format!("goes on, said {by}{}; accepted: {accepted}", because(reason))
        }
        Decision::Halted { cause, in_flight } => {
            format!("halted: {}{}", halt_words(cause), in_flight_words(in_flight))
        }
        Decision::Resumed { by, reason, in_flight } => {
            format!("resumed by {by}{}{}", because(reason), in_flight_words(in_flight))
        }
        Decision::HostLate { host, wave, .. } => {
            format!("{} {host} is late: not ready or not here, the others go on", wave_is(*wave))
        }
        Decision::HostSilent { host, wave, .. } => format!("{} {host} is silent", wave_is(*wave)),
        Decision::HostReturned { host } => format!("{host} is back, though it was declared dead"),
        Decision::HostQuarantined { host, reason } => {
            format!("{host} is in quarantine until a person has looked at it: {reason}")
        }
        Decision::HostDead { host, by, reason } => format!("{host} declared dead by {by}{}", because(reason)),
        Decision::Unstuck { host, by, reason, choice } => {
            format!("{host} unstuck by {by}: {}{}", choice.name(), because(reason))
        }
        Decision::UndoBegan { by, reason, hosts, in_flight } => format!(
            "undo begun by {by}{}: {} go back{}",
            because(reason),
            people(hosts),
            in_flight_words(in_flight)
        ),
        Decision::Ended { end, exceptions } => match exceptions.is_empty() {
            true => end_word(*end).to_owned(),
            false => format!("{}: {}", end_word(*end).replace('-', " "), people(exceptions)),
        },
    }
}

fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" ({reason})") }
}

fn in_flight_words(hosts: &[HostName]) -> String {
    if hosts.is_empty() { String::new() } else { format!("; in flight: {}", people(hosts)) }
}

fn join(reasons: impl Iterator<Item = String>) -> String {
    reasons.collect::<Vec<_>>().join("; ")
}

/// `: 7 done, 1 undone`, as far as there is something to count.
fn tally_words(view: &RolloutView, wave: usize) -> String {
    let Some(wave) = view.status.waves.get(wave) else { return String::new() };
    let tally = wave.tally;
    let counts = [
        (tally.finished, "done"),
        (tally.failed, "failed"),
        (tally.silent, "silent"),
        (tally.halted, "halted"),
        (tally.dead, "dead"),
        (tally.late, "late"),
    ];
    let told: Vec<String> = counts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| format!("{number} {word}"))
        .collect();
    if told.is_empty() { String::new() } else { format!(": {}", told.join(", ")) }
}

/// Why an order of a person changed nothing.
pub fn note_words(note: &Note) -> String {
    match note {
        Note::OldEntry { sequence, seen } => format!("entry {sequence} is older than {seen}"),
        Note::OldEpoch { epoch, seen } => format!("epoch {epoch} is older than {seen}"),
        Note::UnknownHost { host } => format!("{host} is not in this rollout"),
        Note::AlreadyLaunched => "it is launched already".into(),
        Note::NotLaunched => "it is not launched yet".into(),
        Note::Repeated { host } => format!("{host} said so before"),
        Note::OldNonce { host, nonce, seen } => format!("{host} asked with {nonce}, newer is {seen}"),
        Note::OutOfPlace { host } => format!("it does not fit what is known of {host}"),
        Note::NotTakingPart { host } => format!("{host} does not take part"),
        Note::NothingAsked { host, choices } if choices.is_empty() => format!("{host} asks nobody anything"),
        Note::NothingAsked { host, choices } => {
            format!("{host} asks something else by now; offered: {}", choice_names(choices))
        }
        Note::NotHeld => "it is not held".into(),
        Note::NotHalted => "it is not halted".into(),
        Note::AlreadyHalted { in_flight } => format!("it is halted already{}", in_flight_words(in_flight)),
        Note::AlreadyEnded { end } => format!("it has ended already: {}", end_word(*end).replace('-', " ")),
        Note::AlreadyUndoing => "it is being undone already".into(),
        Note::ConfirmInFlight { in_flight } => {
            format!("exactly the hosts in flight have to be confirmed: {}", people(in_flight))
        }
        Note::NothingToApprove { wave } => format!("wave {} does not wait for approval", wave + 1),
        Note::NeedsGroup { wave, group } => format!("wave {} needs someone of {group}", wave + 1),
        Note::HostIsHere { host } => format!("{host} is connected, so it is not dead"),
    }
}

/// How long the rollout took, or has taken until now.
pub fn elapsed(view: &RolloutView) -> Millis {
    let until = match view.status.state {
        // What hosts say of their health afterwards does not make it longer.
        State::Ended(End::Done | End::DoneWithExceptions) => {
            let judged = view.status.waves.iter().filter_map(|wave| wave.judged.as_ref());
            judged.map(|judged| judged.mark.at).max().unwrap_or(view.status.at)
        }
        State::Ended(_) => view.status.at,
        _ => view.now,
    };
    until.since(view.launched_at)
}
