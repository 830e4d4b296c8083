//! A rollout's record as dated lines: the short story for a pipe, where hosts
//! are named only when something is wrong, and the long one for `log`.

use sternway_core::ids::HostName;
use sternway_core::rollout::Decision;
use sternway_core::run::{Answer, Because, Ending, Input, Remark};
use sternway_core::time::{Millis, Timestamp};
use sternway_core::wire::{HostLine, LogLine, RolloutView};

use super::text::{Line, Tone, time_of_day};
use super::words;

/// Two hosts that say the same within this time are one line.
const TOGETHER_WITHIN: Millis = Millis::seconds(2);
/// Columns for hosts that are told together.
const HOSTS_COLUMNS: usize = 48;

/// What one line of the record means to somebody who waits.
struct Told {
    tone: Tone,
    host: Option<HostName>,
    words: String,
}

/// Gathers what is told between two looks at the rollout, so that a thousand
/// hosts with one trouble are one line.
#[derive(Debug, Default)]
pub struct Story {
    pending: Vec<Pending>,
}

#[derive(Debug)]
struct Pending {
    at: Timestamp,
    tone: Tone,
    hosts: Vec<HostName>,
    words: String,
}

impl Story {
    /// Takes a line of the record; most are not worth a line of the story.
    pub fn take(&mut self, line: &LogLine, view: &RolloutView) {
        let Some(told) = told(line, view) else { return };
        let at = line.at;
        let same = |pending: &&mut Pending| {
            told.host.is_some()
                && !pending.hosts.is_empty()
                && pending.words == told.words
                && at.since(pending.at) <= TOGETHER_WITHIN
        };
        match self.pending.iter_mut().rev().take(64).find(same) {
            Some(pending) => pending.hosts.extend(told.host),
            None => {
                let hosts = told.host.into_iter().collect();
                self.pending.push(Pending { at, tone: told.tone, hosts, words: told.words });
            }
        }
    }

    /// Everything told since the last time.
    pub fn lines(&mut self, view: &RolloutView) -> Vec<Line> {
        let line = |pending: Pending| {
            let line = Line::new().plain(format!("{} {} ", time_of_day(pending.at), view.rollout));
            let line = match pending.hosts.first().and_then(|host| wave_of(view, host)) {
                Some(wave) => {
                    let hosts = words::names(&pending.hosts, HOSTS_COLUMNS);
                    let many = match pending.hosts.len() {
                        1 => String::new(),
                        number => format!("({number} hosts) "),
                    };
                    line.plain(format!("wave {} {hosts} {many}", wave + 1))
                }
                None => line,
            };
            line.add(pending.tone, pending.words)
        };
        self.pending.drain(..).map(line).collect()
    }
}

fn wave_of(view: &RolloutView, host: &HostName) -> Option<usize> {
    let hosts = &view.status.hosts;
    hosts.binary_search_by(|known| known.host.cmp(host)).ok().map(|at| hosts[at].wave)
}

fn told(line: &LogLine, view: &RolloutView) -> Option<Told> {
    let of_host = |tone, host: &HostName, words: String| Some(Told { tone, host: Some(host.clone()), words });
    match &line.what {
        HostLine::Host { host, input, .. } => {
            let (tone, words) = trouble(input, view)?;
            of_host(tone, host, words)
        }
        HostLine::Call { .. } | HostLine::Remarked { remark: Remark::Safety { .. }, .. } => None,
        HostLine::Remarked { host, remark, .. } => of_host(Tone::Warn, host, remark.to_string()),
        HostLine::Refused { host, code, reason } => {
            of_host(Tone::Bad, host, format!("did not accept it: {reason} ({code})"))
        }
        HostLine::Decided(Decision::HostSilent { host, .. }) => of_host(Tone::Warn, host, "is silent".into()),
        HostLine::Decided(Decision::HostLate { host, .. }) => {
            of_host(Tone::Warn, host, "is late: not ready or not here, the others go on".into())
        }
        HostLine::Decided(decision) => Some(Told {
            tone: decision_tone(decision, view),
            host: None,
            words: words::decision_words(decision, view),
        }),
    }
}

fn decision_tone(decision: &Decision, view: &RolloutView) -> Tone {
    match decision {
        Decision::Halted { .. } => Tone::Bad,
        Decision::Launched { .. } if view.urgency.is_emergency() => Tone::Bad,
        Decision::Held { .. }
        | Decision::AwaitsApproval { .. }
        | Decision::SoakRestarted { .. }
        | Decision::HostDead { .. }
        | Decision::UndoBegan { .. } => Tone::Warn,
        _ => Tone::Plain,
    }
}

/// What a host says that a waiting person should hear; work that goes well is no news.
fn trouble(input: &Input, view: &RolloutView) -> Option<(Tone, String)> {
    match input {
        Input::Unfit { reason } => Some((Tone::Bad, format!("cannot take part: {reason}"))),
        Input::Ended { step, phase, answer: Answer::Failed(error) } => Some((
            Tone::Bad,
            format!("step {} failed in {}: {}", words::step_of(view, *step), phase.name(), error.message),
        )),
        Input::Settled { ending: Ending::Undone { because: Because::StepFailed { .. } } } => {
            Some((Tone::Warn, "undone: it is where it was before".into()))
        }
        Input::Settled { ending: Ending::Undone { because } } => {
            Some((Tone::Warn, format!("undone: {because}")))
        }
        Input::Settled { ending: Ending::NeedsOperator { because, .. } } => {
            Some((Tone::Bad, format!("is stuck, a person has to look: {because}")))
        }
        Input::Health { healthy: false, message } => Some((Tone::Warn, format!("is unwell: {message}"))),
        Input::Health { healthy: true, .. } => Some((Tone::Plain, "is well again".into())),
        Input::HaltedLocally { by, reason } => {
            Some((Tone::Warn, format!("was halted on the host by {by}: {reason}")))
        }
        Input::ResumedLocally { by } => Some((Tone::Plain, format!("was resumed on the host by {by}"))),
        Input::NotConfirmed { step } => Some((
            Tone::Bad,
            format!("step {}: nobody outside could be reached in time", words::step_of(view, *step)),
        )),
        Input::PermittedHere { by } => Some((Tone::Warn, format!("was started on the host by {by}"))),
        _ => None,
    }
}

/// A line of the long story: everything that was recorded, one line each.
pub fn detail(line: &LogLine, view: &RolloutView) -> Line {
    let tone = told(line, view).map_or(Tone::Plain, |told| told.tone);
    Line::new()
        .add(Tone::Dim, format!("{} {:>6}  ", time_of_day(line.at), line.sequence))
        .add(tone, in_words(line, view))
}

/// What a line says, without its time and number.
pub fn in_words(line: &LogLine, view: &RolloutView) -> String {
    match &line.what {
        HostLine::Host { host, input, .. } => format!("{host}  {}", input_words(input, view)),
        HostLine::Call { host, step, name, subject, .. } => {
            format!("{host}  {}: {name} {subject}", words::step_of(view, *step))
        }
        HostLine::Remarked { host, remark, .. } => format!("{host}  {remark}"),
        HostLine::Refused { host, code, reason } => format!("{host}  did not accept it: {reason} ({code})"),
        HostLine::Decided(decision) => words::decision_words(decision, view),
    }
}

fn input_words(input: &Input, view: &RolloutView) -> String {
    let step = |step: u32| words::step_of(view, step);
    match input {
        Input::Accepted { signers, .. } => {
            let persons: Vec<&str> = signers.iter().map(|signer| signer.person.as_str()).collect();
            format!("accepted the plan, signed by {}", persons.join(", "))
        }
        Input::Staged { point: Some(point) } => format!("is ready; goes back to point {point}"),
        Input::Staged { point: None } => "is ready".into(),
        Input::Unfit { reason } => format!("cannot take part: {reason}"),
        Input::PermitAsked { .. } => "asks to begin".into(),
        Input::Permitted { .. } => "may begin".into(),
        Input::HaltTold => "was told to begin nothing new".into(),
        Input::HaltedLocally { by, reason } => format!("was halted on the host by {by}: {reason}"),
        Input::ResumedLocally { by } => format!("was resumed on the host by {by}"),
        Input::PermitDeclined { .. } => "is halted, and gave its permit back".into(),
        Input::PermittedHere { by } => format!("was started on the host by {by}"),
        Input::Began { step: number, phase, attempt } if *attempt > 1 => {
            format!("{} {} began, attempt {attempt}", step(*number), phase.name())
        }
        Input::Began { step: number, phase, .. } => format!("{} {} began", step(*number), phase.name()),
        Input::Ended { step: number, phase, answer } => {
            format!("{} {} {}", step(*number), phase.name(), answer_words(answer))
        }
        Input::Waited { step: number } => format!("{} waited", step(*number)),
        Input::CutOff => "was cut off from the coordinator".into(),
        Input::Rejoined => "has the coordinator again".into(),
        Input::UndoOrdered { by, reason } if reason.is_empty() => format!("was ordered by {by} to undo"),
        Input::UndoOrdered { by, reason } => format!("was ordered by {by} to undo: {reason}"),
        Input::Confirmed { step: number } => {
            format!("{} was confirmed: it can be reached from outside", step(*number))
        }
        Input::NotConfirmed { step: number } => {
            format!("{} was not confirmed: nobody outside could be reached in time", step(*number))
        }
        Input::Decided { by, reason, choice, .. } => {
            with(&format!("{by} decided: {}", choice.name()), reason)
        }
        Input::Resumed { unfinished } if unfinished.is_empty() => {
            "its agent was started again and goes on".into()
        }
        Input::Resumed { unfinished } => {
            format!("its agent was started again; in doubt: {}", unfinished.join("; "))
        }
        Input::Settled { ending } => ending_words(ending),
        Input::Health { healthy: true, message } => with("is well", message),
        Input::Health { healthy: false, message } => with("is unwell", message),
        Input::Released => "was released".into(),
    }
}

fn with(words: &str, message: &str) -> String {
    if message.is_empty() { words.to_owned() } else { format!("{words}: {message}") }
}

pub fn ending_words(ending: &Ending) -> String {
    match ending {
        Ending::Finished => "finished: every step is done and verified".into(),
        Ending::Undone { because } => format!("undone: {because}"),
        Ending::Unfit { reason } => format!("cannot take part: {reason}"),
        Ending::NeedsOperator { because, .. } => format!("is stuck, a person has to look: {because}"),
    }
}

fn answer_words(answer: &Answer) -> String {
    match answer {
        Answer::Looked(looked) => match looked.actions.len() {
            0 => "looked: it is so already".into(),
            number => format!("looked: {}", super::text::count(number, "change")),
        },
        Answer::Prepared(prepared) => with("prepared", &prepared.summary),
        Answer::Applied(outcome) | Answer::Undone(outcome) => {
            with(if outcome.changed { "changed" } else { "changed nothing" }, &outcome.summary)
        }
        Answer::Verified(checks) => {
            let said: Vec<String> = checks.iter().map(check_words).collect();
            with("verified", &said.join("; "))
        }
        Answer::Failed(error) => format!("failed: {} ({})", error.message, error.code),
    }
}

fn check_words(check: &sternway_core::run::Verification) -> String {
    let measured = match (&check.measured, &check.expected) {
        (Some(measured), Some(expected)) => format!(" {measured}, expected {expected}"),
        (Some(measured), None) => format!(" {measured}"),
        _ => String::new(),
    };
    let verdict = match check.verdict {
        sternway_core::run::Verdict::Pass => "ok",
        sternway_core::run::Verdict::Fail => "FAIL",
        sternway_core::run::Verdict::Inconclusive => "inconclusive",
    };
    with(&format!("{} {verdict}{measured}", check.name), &check.message)
}
