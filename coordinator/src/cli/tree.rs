//! A rollout as a tree of lines that is never taller than the screen: hosts in
//! the same state are one line, so 10 000 of them fill what ten do.
//!
//! When room is short, lines go in this order: hosts that are done or put
//! back, hosts that wait, hosts at work; waves to come, then waves that passed
//! become one line each; then hosts in doubt, failures and stuck hosts go.

use std::collections::BTreeMap;

use sternway_core::ids::HostName;
use sternway_core::rollout::{HostStatus, State, WaveState, WaveStatus};
use sternway_core::wire::RolloutView;

use super::text::{Line, Tone, clock, count};
use super::words::{self, Group, Keep};

/// Columns for a wave's number and name, counts, and a group's hosts.
const NAME_COLUMNS: usize = 16;
const HOSTS_COLUMNS: usize = 30;
const BAR_CELLS: usize = 8;
/// Questions to a person that are written out; more are counted.
const QUESTIONS_MAX: usize = 3;
/// The least that says anything: two lines of header and one of waves.
pub const HEIGHT_MIN: usize = 4;

/// The rollout in at most `height` lines.
pub fn render(view: &RolloutView, height: usize) -> Vec<Line> {
    let height = height.max(HEIGHT_MIN);
    let mut lines = header(view);
    lines.extend(questions(view));
    lines.truncate(height - 1);
    let room = height - lines.len();
    lines.extend(forest(view, room));
    lines
}

/// Two lines: what and where; how many.
fn header(view: &RolloutView) -> Vec<Line> {
    let totals = words::totals(view);
    let (sign, tone, state) = state_of(view);
    let elapsed = clock(words::elapsed(view));
    let time = match view.budget {
        Some(budget) => format!("{elapsed} of {}", clock(budget)),
        None => elapsed,
    };
    let is_over = view.budget.is_some_and(|budget| words::elapsed(view) > budget);
    let mut what = Line::new().add(Tone::Strong, &view.rollout);
    if view.urgency.is_emergency() {
        what = what.plain("  ").add(Tone::Bad, words::EMERGENCY);
    }
    let what = what
        .plain(format!("  {}   ", view.plan_name))
        .add(tone, format!("{sign} {state}"))
        .plain("   ")
        .add(if is_over { Tone::Warn } else { Tone::Plain }, time)
        .plain(format!("   {} {} → {}", view.service, view.from, view.to));
    let mut counts = Line::new().plain(format!("  {} done · {} running", totals.done, totals.running));
    let bad = |line: Line, number: usize, word: &str, tone: Tone| {
        line.plain(" · ").add(if number > 0 { tone } else { Tone::Plain }, format!("{number} {word}"))
    };
    counts = bad(counts, totals.undone + totals.refused, "failed", Tone::Bad);
    counts = bad(counts, totals.silent, "silent", Tone::Warn);
    if totals.stuck > 0 {
        counts = bad(counts, totals.stuck, "stuck", Tone::Bad);
    }
    for (number, word) in [(totals.put_back, "put back"), (totals.dead, "dead")] {
        if number > 0 {
            counts = counts.plain(format!(" · {number} {word}"));
        }
    }
    vec![what, counts.plain(format!(" · {} to go · {}", totals.to_go, count(totals.hosts, "host")))]
}

fn state_of(view: &RolloutView) -> (char, Tone, String) {
    let planned = view.status.waves.len();
    match &view.status.state {
        State::Ready => ('○', Tone::Plain, "ready".to_owned()),
        State::Running { wave } => ('●', Tone::Plain, format!("wave {} of {planned}", wave + 1)),
        State::AwaitsApproval { wave, .. } => {
            ('‖', Tone::Warn, format!("wave {} of {planned} waits for a person", wave + 1))
        }
        State::Held => ('‖', Tone::Warn, "held".to_owned()),
        State::Halted => ('✘', Tone::Bad, "halted".to_owned()),
        State::Undoing => ('↶', Tone::Warn, "undoing".to_owned()),
        State::Ended(end) => {
            let tone =
                if view.status.exit_code() == sternway_core::exit::DONE { Tone::Good } else { Tone::Warn };
            let sign = if tone == Tone::Good { '✔' } else { '▲' };
            (sign, tone, words::end_word(*end).replace('-', " "))
        }
    }
}

/// What a person is asked, or has to know, before anything goes on.
fn questions(view: &RolloutView) -> Vec<Line> {
    let status = &view.status;
    let mut asked: Vec<String> = Vec::new();
    let mut lines = Vec::new();
    if let Some(halt) = &status.halt {
        let since = clock(view.now.since(halt.since.at));
        let words = format!("  halted {since}: {}", words::halt_words(&halt.cause));
        lines.push(Line::new().add(Tone::Bad, words));
    }
    if let Some(hold) = status.hold.as_ref().filter(|_| !status.is_ended()) {
        let since = clock(view.now.since(hold.since.at));
        asked
            .extend(hold.reasons.iter().map(|reason| format!("held {since}: {}", words::hold_words(reason))));
    }
    let more = asked.len().saturating_sub(QUESTIONS_MAX);
    lines.extend(
        asked.iter().take(QUESTIONS_MAX).map(|words| Line::new().add(Tone::Warn, format!("  {words}"))),
    );
    if more > 0 {
        lines.push(Line::new().add(Tone::Warn, format!("  + {more} more reasons")));
    }
    lines
}

/// One wave's lines before they are cut to size.
struct Branch<'a> {
    index: usize,
    wave: &'a WaveStatus,
    groups: Vec<Group>,
    /// Groups shown, the first so many; they are sorted by what matters.
    shown: usize,
}

impl Branch<'_> {
    fn hidden(&self) -> usize {
        self.groups.len() - self.shown
    }

    fn height(&self) -> usize {
        1 + self.shown + usize::from(self.hidden() > 0)
    }
}

fn forest(view: &RolloutView, room: usize) -> Vec<Line> {
    let mut branches = branches(view);
    let (passed, closed) = join(&mut branches, room);
    let joined = usize::from(passed.is_some()) + usize::from(closed.is_some());
    shrink(&mut branches, room.saturating_sub(joined));
    let mut blocks: Vec<Vec<Line>> = branches.iter().map(|branch| branch_lines(view, branch)).collect();
    blocks.splice(0..0, passed.map(|line| vec![line]));
    blocks.extend(closed.map(|line| vec![line]));
    let height = |blocks: &[Vec<Line>]| blocks.iter().map(Vec::len).sum::<usize>();
    if height(&blocks) > room {
        // Even the lines that count what is hidden are too many.
        blocks.iter_mut().for_each(|block| block.truncate(1));
    }
    while height(&blocks) > room {
        blocks.pop();
    }
    draw(blocks)
}

/// When there is no room for each wave and all that went wrong, the waves to
/// come become one line, then those that passed do; none of them has anything to tell.
fn join(branches: &mut Vec<Branch<'_>>, room: usize) -> (Option<Line>, Option<Line>) {
    let wanted = |branches: &[Branch<'_>]| -> usize {
        let important = |branch: &Branch<'_>| {
            let important = branch.groups.iter().filter(|group| group.keep >= Keep::Doubtful).count();
            1 + important + usize::from(important < branch.groups.len())
        };
        branches.iter().map(important).sum()
    };
    let mut taken = |state: WaveState, room: usize| {
        let is_quiet = |branch: &Branch<'_>| branch.wave.state == state && branch.groups.is_empty();
        let quiet: Vec<&Branch<'_>> = branches.iter().filter(|branch| is_quiet(branch)).collect();
        if wanted(branches) <= room || quiet.len() < 2 {
            return None;
        }
        let hosts: usize = quiet.iter().map(|branch| branch.wave.hosts.len()).sum();
        let waves = quiet.len();
        branches.retain(|branch| !is_quiet(branch));
        Some((waves, count(hosts, "host")))
    };
    let closed = taken(WaveState::Closed, room);
    let passed = taken(WaveState::Passed, room.saturating_sub(usize::from(closed.is_some())));
    (
        passed.map(|(waves, hosts)| {
            Line::new().add(Tone::Good, "✔").plain(format!(" {waves} waves passed, {hosts}"))
        }),
        closed.map(|(waves, hosts)| Line::new().add(Tone::Dim, format!("○ {waves} waves to come, {hosts}"))),
    )
}

fn branches(view: &RolloutView) -> Vec<Branch<'_>> {
    let by_wave = view.status.hosts.iter().fold(BTreeMap::new(), |mut by_wave, host| {
        by_wave.entry(host.wave).or_insert_with(Vec::new).push(host);
        by_wave
    });
    view.status
        .waves
        .iter()
        .enumerate()
        .map(|(index, wave)| {
            let hosts: Vec<&HostStatus> = by_wave.get(&index).cloned().unwrap_or_default();
            let mut groups = words::groups(hosts, view);
            let is_open = matches!(wave.state, WaveState::Open | WaveState::Soaking(_));
            let undoing = matches!(view.status.state, State::Undoing);
            // Of a wave that is not open, only what is out of the ordinary.
            groups
                .retain(|group| is_open || group.keep >= if undoing { Keep::AtWork } else { Keep::Doubtful });
            Branch { index, wave, shown: groups.len(), groups }
        })
        .collect()
}

/// Hides groups, those that matter least first and of these the later waves' first.
fn shrink(branches: &mut [Branch<'_>], room: usize) {
    let mut height: usize = branches.iter().map(Branch::height).sum();
    for keep in [Keep::Rest, Keep::Waiting, Keep::AtWork, Keep::Doubtful, Keep::Failed, Keep::Stuck] {
        for branch in branches.iter_mut().rev() {
            while height > room && branch.shown > 0 && branch.groups[branch.shown - 1].keep == keep {
                height -= branch.height();
                branch.shown -= 1;
                height += branch.height();
            }
        }
    }
}

/// Puts the branches' strokes before the lines.
fn draw(blocks: Vec<Vec<Line>>) -> Vec<Line> {
    let last = blocks.len().saturating_sub(1);
    let mut lines = Vec::new();
    for (at, block) in blocks.into_iter().enumerate() {
        let inner = block.len().saturating_sub(1);
        for (row, line) in block.into_iter().enumerate() {
            let stroke = match (row, at == last) {
                (0, false) => "├─ ".to_owned(),
                (0, true) => "└─ ".to_owned(),
                (row, false) if row == inner => "│  └─ ".to_owned(),
                (_, false) => "│  ├─ ".to_owned(),
                (row, true) if row == inner => "   └─ ".to_owned(),
                (_, true) => "   ├─ ".to_owned(),
            };
            lines.push(line.after(Tone::Dim, &stroke));
        }
    }
    lines
}

fn branch_lines(view: &RolloutView, branch: &Branch<'_>) -> Vec<Line> {
    let mut lines = vec![wave_line(view, branch.index, branch.wave)];
    lines.extend(branch.groups[..branch.shown].iter().map(|group| group_line(view, group)));
    if branch.hidden() > 0 {
        let hosts: usize = branch.groups[branch.shown..].iter().map(|group| group.hosts.len()).sum();
        lines.push(Line::new().add(Tone::Dim, format!("+ {} more", count(hosts, "host"))));
    }
    lines
}

fn wave_line(view: &RolloutView, index: usize, wave: &WaveStatus) -> Line {
    let left_out = wave.hosts.iter().filter(|name| is_without(view, name)).count();
    let hosts = wave.hosts.len() - left_out;
    let name = match (&wave.name, wave.is_late) {
        (Some(name), _) => format!("{} {name}", index + 1),
        (None, true) => format!("{} late hosts", index + 1),
        (None, false) => format!("{}", index + 1),
    };
    let (sign, tone) = wave_sign(view, wave);
    let dim = if wave.state == WaveState::Closed { Tone::Dim } else { Tone::Plain };
    let line = Line::new().add(tone, sign.to_string()).plain(" ").add(dim, name).pad_to(NAME_COLUMNS);
    let line = line.add(dim, format!("{}/{hosts}", wave.tally.finished)).pad_to(NAME_COLUMNS + 12);
    let line = wave_progress(line, view, index, wave, hosts);
    match &wave.judged {
        Some(judged) => line
            .plain(format!("   gate {}: ", wave.gate.name))
            .add(verdict_tone(words::verdict_word(&judged.verdict)), words::verdict_word(&judged.verdict)),
        None => line,
    }
}

fn is_without(view: &RolloutView, name: &HostName) -> bool {
    let hosts = &view.status.hosts;
    hosts
        .binary_search_by(|host| host.host.cmp(name))
        .is_ok_and(|at| matches!(hosts[at].state, sternway_core::rollout::HostState::Without))
}

fn verdict_tone(word: &str) -> Tone {
    match word {
        "pass" => Tone::Good,
        "hold" => Tone::Warn,
        _ => Tone::Bad,
    }
}

fn wave_sign(view: &RolloutView, wave: &WaveStatus) -> (char, Tone) {
    match wave.state {
        WaveState::Passed if wave.tally.failed > 0 => ('▲', Tone::Warn),
        WaveState::Passed => ('✔', Tone::Good),
        WaveState::Closed => ('○', Tone::Dim),
        WaveState::AwaitsApproval => ('‖', Tone::Warn),
        _ if view.status.halt.is_some() => ('✘', Tone::Bad),
        WaveState::Open => ('●', Tone::Plain),
        WaveState::Soaking(_) => ('◌', Tone::Plain),
    }
}

/// Work, soak and waiting for a person each look different: who waits, and for what, is the question.
fn wave_progress(line: Line, view: &RolloutView, index: usize, wave: &WaveStatus, hosts: usize) -> Line {
    match wave.state {
        WaveState::Closed => match &wave.approve {
            Some(group) => line.add(Tone::Dim, format!("then someone of {group} says go")),
            None => line,
        },
        WaveState::AwaitsApproval => {
            let group = wave.approve.as_ref().map_or("a person", |group| group.as_str());
            let since = match index.checked_sub(1).and_then(|before| view.status.waves.get(before)) {
                Some(before) => before.judged.as_ref().map_or(view.launched_at, |judged| judged.mark.at),
                None => view.launched_at,
            };
            let waited = clock(view.now.since(since));
            line.add(Tone::Warn, format!("waits {waited} for someone of {group}"))
                .plain(format!("   sternway approve {}", view.rollout))
        }
        WaveState::Open => {
            let open_for = wave.opened.map(|opened| clock(view.now.since(opened))).unwrap_or_default();
            line.plain(bar(wave.tally.finished as usize, hosts)).plain(format!("   {open_for}"))
        }
        WaveState::Soaking(_) => soak_words(line, view, wave),
        WaveState::Passed => match (&wave.judged, wave.opened) {
            (Some(judged), Some(opened)) => {
                line.plain(format!("took {}", clock(judged.mark.at.since(opened))))
            }
            _ => line,
        },
    }
}

fn soak_words(line: Line, view: &RolloutView, wave: &WaveStatus) -> Line {
    let Some(soak) = &wave.soak else { return line };
    let line = match soak.well_since {
        Some(since) => {
            let (soaked, length) = (clock(view.now.since(since).min(soak.length)), clock(soak.length));
            line.plain(format!("soaking {soaked} of {length}"))
        }
        None => line.add(Tone::Warn, "soak waits until all are well"),
    };
    match soak.restarts {
        0 => line,
        restarts => line.add(Tone::Warn, format!("   {}", count(restarts as usize, "restart"))),
    }
}

fn bar(done: usize, of: usize) -> String {
    let full = (done * BAR_CELLS).checked_div(of).unwrap_or(0).min(BAR_CELLS);
    "▰".repeat(full) + &"▱".repeat(BAR_CELLS - full)
}

fn group_line(view: &RolloutView, group: &Group) -> Line {
    let hosts = words::names(&group.hosts, HOSTS_COLUMNS);
    let line = Line::new().add(group.tone, group.sign.to_string()).plain(format!(" {}", group.hosts.len()));
    let line = line.pad_to(6).plain(hosts).pad_to(HOSTS_COLUMNS + 8);
    let mut said = vec![group.word.to_owned()];
    // The word alone says what such hosts are at, unless they are in a step.
    if group.word == "running" && group.step.is_some() {
        said.clear();
    }
    said.extend(group.step.map(|step| words::step_of(view, step)));
    let line = line.add(if group.keep >= Keep::Doubtful { group.tone } else { Tone::Plain }, said.join(" "));
    let line = match group.message.as_str() {
        "" => line,
        message => line.plain(": ").plain(message),
    };
    match group.since {
        Some(since) => line.plain(format!("   {}", clock(view.now.since(since)))),
        None => line,
    }
}
