//! The last words about a rollout: at most six lines that say how it ended,
//! for whom it ended otherwise, and what to type next.

use sternway_core::exit;
use sternway_core::rollout::{End, State};
use sternway_core::wire::RolloutView;

use super::text::{Line, Tone, clock};
use super::words::{self, Keep};

/// Lines of the whole block.
pub const LINES_MAX: usize = 6;
const EXCEPTIONS_MAX: usize = 3;
const WORD_COLUMNS: usize = 10;

/// How it stands when the watching ends.
pub fn block(view: &RolloutView) -> Vec<Line> {
    let mut lines = vec![headline(view)];
    lines.extend(reason(view));
    lines.extend(exceptions(view, if lines.len() > 1 { EXCEPTIONS_MAX - 1 } else { EXCEPTIONS_MAX }));
    lines.extend(kept(view).filter(|_| lines.len() + 1 < LINES_MAX));
    let next = next(view);
    for (at, command) in next.iter().take(LINES_MAX - lines.len()).enumerate() {
        let word = if at == 0 { "next" } else { "" };
        lines.push(Line::new().add(Tone::Strong, word).pad_to(WORD_COLUMNS).plain(command));
    }
    lines
}

fn headline(view: &RolloutView) -> Line {
    let (tone, word) = match (&view.status.state, view.status.exit_code()) {
        (_, exit::STUCK) => (Tone::Bad, "stuck"),
        (State::Ended(End::Done | End::DoneWithExceptions), exit::DONE) => (Tone::Good, "done"),
        (State::Ended(End::Done | End::DoneWithExceptions), _) => (Tone::Warn, "done"),
        (State::Ended(End::UndoneAll | End::UndoneWithExceptions), _) => (Tone::Warn, "undone"),
        (State::Halted, _) => (Tone::Bad, "halted"),
        (State::Held | State::AwaitsApproval { .. }, _) => (Tone::Warn, "held"),
        _ => (Tone::Plain, "running"),
    };
    let totals = words::totals(view);
    let elapsed = clock(words::elapsed(view));
    let time =
        view.budget.map_or_else(|| elapsed.clone(), |budget| format!("{elapsed} of {}", clock(budget)));
    let hosts = match &view.status.state {
        State::Ended(End::UndoneAll | End::UndoneWithExceptions) => {
            let back = totals.hosts - view.status.exceptions.len().min(totals.hosts);
            format!("{back} of {} hosts are where they were", totals.hosts)
        }
        _ => format!("{} of {} hosts", totals.done, totals.hosts),
    };
    let line = Line::new().add(tone, word).pad_to(WORD_COLUMNS);
    let line = match view.urgency.is_emergency() {
        true => line.add(Tone::Bad, words::EMERGENCY).plain("   "),
        false => line,
    };
    line.plain(format!("{}   {} {} → {}   {hosts}   {time}", view.rollout, view.service, view.from, view.to))
}

/// Why nothing goes on, when nothing does.
fn reason(view: &RolloutView) -> Option<Line> {
    let status = &view.status;
    let (word, words) = match &status.state {
        State::Halted => ("because", words::halt_words(&status.halt.as_ref()?.cause)),
        State::Held => {
            let reasons = &status.hold.as_ref()?.reasons;
            let all: Vec<String> = reasons.iter().map(words::hold_words).collect();
            ("because", all.join("; "))
        }
        State::AwaitsApproval { wave, group } => {
            ("because", format!("{} waits for someone of {group}", words::wave_name(view, *wave)))
        }
        _ => return None,
    };
    Some(Line::new().plain(word).pad_to(WORD_COLUMNS).plain(words))
}

fn exceptions(view: &RolloutView, lines_max: usize) -> Vec<Line> {
    let mut groups = words::groups(&view.status.hosts, view);
    groups.retain(|group| group.keep >= Keep::Doubtful);
    let fits = groups.len() <= lines_max;
    let shown = if fits { groups.len() } else { lines_max.saturating_sub(1) };
    let mut lines: Vec<Line> = groups[..shown]
        .iter()
        .map(|group| {
            let mut words = words::names(&group.hosts, 40);
            for said in [group.step.map(|step| words::step_of(view, step)), Some(group.message.clone())] {
                if let Some(said) = said.filter(|said| !said.is_empty()) {
                    words = format!("{words}: {said}");
                }
            }
            let word = match group.word {
                "cannot take part" => "refused",
                "failed, putting back" => "failing",
                "declared dead" => "dead",
                "halted on the host" => "halted",
                word => word,
            };
            Line::new().add(group.tone, word).pad_to(WORD_COLUMNS).plain(words)
        })
        .collect();
    if !fits {
        let hosts: usize = groups[shown..].iter().map(|group| group.hosts.len()).sum();
        let more = format!("{hosts} hosts more: sternway status {}", view.rollout);
        lines.push(Line::new().plain("and").pad_to(WORD_COLUMNS).plain(more));
    }
    lines
}

/// Where that is which was overwritten.
fn kept(view: &RolloutView) -> Option<Line> {
    let is_done = matches!(view.status.state, State::Ended(End::Done | End::DoneWithExceptions));
    let words = format!("what was overwritten: safety-{} among each host's points", view.rollout);
    is_done.then(|| Line::new().plain("kept").pad_to(WORD_COLUMNS).plain(words))
}

/// Commands that make sense now, the likeliest first.
fn next(view: &RolloutView) -> Vec<String> {
    let (status, rollout) = (&view.status, &view.rollout);
    let worst = words::groups(&status.hosts, view).into_iter().find(|group| group.keep >= Keep::Failed);
    let look = worst.and_then(|group| Some((group.keep, group.hosts.first()?.clone())));
    let look = look.map(|(keep, host)| match keep {
        Keep::Stuck => format!("sternway unstick {rollout} {host}"),
        _ => format!("sternway log {rollout} {host}"),
    });
    let then = match &status.state {
        State::Halted => {
            let in_flight = words::names(&status.in_flight, usize::MAX);
            let confirmed = if in_flight.is_empty() { "none" } else { &in_flight };
            vec![
                format!("sternway undo {rollout}"),
                format!("sternway resume {rollout} --confirm-in-flight '{confirmed}'"),
            ]
        }
        State::Held => vec![format!("sternway go {rollout}")],
        State::AwaitsApproval { .. } => vec![format!("sternway approve {rollout}")],
        State::Ended(_) if look.is_none() => vec![format!("sternway log {rollout}")],
        State::Ended(_) => Vec::new(),
        _ => vec![format!("sternway watch {rollout}")],
    };
    look.into_iter().chain(then).take(2).collect()
}
