//! What people and programs read, kept as files in `tests/cli`: on a terminal,
//! in a pipe and as records. `STERNWAY_BLESS=1` writes them anew.

#![expect(clippy::unwrap_used, reason = "what cannot be had breaks the test off")]

mod views;

use std::fs;
use std::path::Path;

use sternway_coordinator::cli::points::list;
use sternway_coordinator::cli::ready::picture::Room;
use sternway_coordinator::cli::story::{Story, detail};
use sternway_coordinator::cli::text::Look;
use sternway_coordinator::cli::{ending, ready, record, tree};
use sternway_core::exit;
use sternway_core::rollout::{
    Decision, End, Halt, HaltCause, Hold, HoldReason, HostState, HostStatus, State, Tally, Verdict,
    WaveState, WaveStatus,
};
use sternway_core::run::{Answer, Because, Choice, Ending, Input, Phase, Question, StepError};
use sternway_core::time::Millis;
use sternway_core::wire::{HostLine, LogLine, RolloutView};
use views::*;

const TERMINAL: Look = Look { color: false, utf8: true, width: Some(100) };
const OLD_TERMINAL: Look = Look { color: false, utf8: false, width: Some(80) };

/// The rollout in the other moments that people meet.
fn awaits_approval() -> RolloutView {
    let mut view = second_wave();
    view.status.waves[1] = passed(1, view.status.waves[1].clone(), 891, 1100);
    view.status.waves[1].tally = Tally { finished: 7, failed: 1, ..Tally::default() };
    view.status.waves[2].state = WaveState::AwaitsApproval;
    for name in [8, 9, 10].map(host) {
        let known = view.status.hosts.iter_mut().find(|known| known.host == name).unwrap();
        known.state = HostState::Done;
    }
    view.at_work.clear();
    view.status.in_flight.clear();
    view.status.state = State::AwaitsApproval { wave: 2, group: "sre".parse().unwrap() };
    view
}

fn soaks() -> RolloutView {
    let mut view = awaits_approval();
    let opened = WaveStatus { opened: Some(at(891)), judged: None, ..view.status.waves[1].clone() };
    view.status.waves[1] = soaking(opened, 986, Millis::minutes(10), 1);
    view.status.waves[2].state = WaveState::Closed;
    view.status.hosts[3].unwell = Some("health answers 503".into());
    view.status.state = State::Running { wave: 1 };
    view
}

fn held() -> RolloutView {
    let mut view = second_wave();
    for host in &mut view.status.hosts[8..10] {
        *host = HostStatus { silent: true, connected: false, last_seen: at(950), ..host.clone() };
    }
    let reason = HoldReason::TooManySilent { wave: 1, silent: 2, max: 1 };
    view.status.hold = Some(Hold { since: mark(1150, 1070), reasons: vec![reason] });
    view.status.state = State::Held;
    view
}

fn halted() -> RolloutView {
    let mut view = second_wave();
    view.status.hosts[8].state =
        HostState::Undone { step: 4, reason: "pg_restore: out of shared memory".into() };
    view.status.halt = Some(Halt {
        since: mark(1150, 1100),
        cause: HaltCause::TooManyFailed { wave: 1, failed: 2, max: 1 },
        last: mark(1150, 1100),
    });
    view.status.waves[1].tally.failed = 2;
    view.status.in_flight = vec![host(8), host(10)];
    view.status.state = State::Halted;
    view
}

fn stuck() -> RolloutView {
    let mut view = halted();
    view.status.hosts[9].state = HostState::NeedsOperator {
        reason: "undoing `restore the database` failed: disk full\u{1b}[2J".into(),
        question: Some(Question {
            asked: 41,
            choices: vec![Choice::Retry, Choice::PutBack],
            evidence: vec![],
        }),
    };
    view.status.stuck = vec![host(10)];
    view.status.in_flight = vec![host(10)];
    view.at_work.clear();
    view
}

fn ended() -> RolloutView {
    let mut view = awaits_approval();
    view.status.waves[2] = passed(2, view.status.waves[2].clone(), 1100, 2400);
    view.status.waves[3] = passed(3, view.status.waves[3].clone(), 2400, 4761);
    for host in &mut view.status.hosts[10..] {
        host.state = HostState::Done;
    }
    view.now = at(4761);
    view.status.at = at(4761);
    view.status.state = State::Ended(End::DoneWithExceptions);
    view.status.exceptions = vec![host(7)];
    view
}

fn undone() -> RolloutView {
    let mut view = ended();
    view.status.state = State::Ended(End::UndoneAll);
    for host in &mut view.status.hosts {
        if host.state == HostState::Done {
            host.state = HostState::PutBack;
        }
    }
    view.status.exceptions.clear();
    view
}

fn moments() -> Vec<(&'static str, RolloutView)> {
    vec![
        ("second-wave", second_wave()),
        ("soaking", soaks()),
        ("awaits-approval", awaits_approval()),
        ("held", held()),
        ("halted", halted()),
        ("stuck", stuck()),
        ("ended", ended()),
        ("undone", undone()),
    ]
}

/// What the record of the second wave says.
fn lines() -> Vec<LogLine> {
    let line = |sequence, seconds, what| LogLine { sequence, at: at(seconds), what };
    let said = |sequence, seconds, number, input| {
        line(sequence, seconds, HostLine::Host { host: host(number), at: at(seconds), input })
    };
    let failed = |number, sequence, seconds| {
        let error = StepError {
            code: "sqlite/not-restored".into(),
            message: "pg_restore: out of shared memory".into(),
            undo_advised: true,
        };
        said(
            sequence,
            seconds,
            number,
            Input::Ended { step: 4, phase: Phase::Apply, answer: Answer::Failed(error) },
        )
    };
    let because = Because::StepFailed {
        step: 4,
        name: "restore the database".parse().unwrap(),
        phase: Phase::Apply,
        code: "sqlite/not-restored".into(),
        message: "pg_restore: out of shared memory".into(),
    };
    let tally = Tally { finished: 7, failed: 1, ..Tally::default() };
    vec![
        line(1, 0, HostLine::Decided(Decision::Launched { by: "maria".parse().unwrap() })),
        line(2, 891, HostLine::Decided(Decision::WaveOpened { wave: 1, hosts: hosts(3..=10) })),
        said(3, 900, 7, Input::Began { step: 4, phase: Phase::Apply, attempt: 1 }),
        line(
            4,
            910,
            HostLine::Call {
                host: host(7),
                at: at(910),
                step: 4,
                name: "databases.restore".into(),
                subject: "agora".into(),
            },
        ),
        failed(7, 5, 1000),
        failed(8, 6, 1001),
        said(7, 1072, 7, Input::Settled { ending: Ending::Undone { because } }),
        said(8, 1080, 4, Input::Health { healthy: false, message: "answers 503\u{202e}".into() }),
        line(
            9,
            1090,
            HostLine::Refused { host: host(9), code: "expired".into(), reason: "the plan expired".into() },
        ),
        line(10, 1100, HostLine::Decided(Decision::WaveSettled { wave: 1, soak: Millis::minutes(10) })),
        line(
            11,
            1700,
            HostLine::Decided(Decision::Judged {
                wave: 1,
                evidence: evidence(1, tally),
                verdict: Verdict::Pass,
            }),
        ),
        line(
            12,
            1700,
            HostLine::Decided(Decision::AwaitsApproval { wave: 2, group: "sre".parse().unwrap() }),
        ),
        line(
            13,
            1800,
            HostLine::Decided(Decision::Held {
                reasons: vec![HoldReason::TooManySilent { wave: 2, silent: 2, max: 1 }],
            }),
        ),
    ]
}

fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cli").join(name);
    if std::env::var_os("STERNWAY_BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(golden, text, "{name} changed: look at it, then STERNWAY_BLESS=1 writes it");
}

fn painted(lines: Vec<sternway_coordinator::cli::text::Line>, look: Look) -> String {
    lines.iter().map(|line| line.paint(look) + "\n").collect()
}

#[test]
fn every_moment_looks_on_a_terminal_as_it_should() {
    for (name, view) in moments() {
        let mut text = painted(tree::render(&view, 24), TERMINAL);
        text.push_str("----\n");
        text.push_str(&painted(ending::block(&view), TERMINAL));
        compare(&format!("terminal-{name}.txt"), &text);
    }
    compare("terminal-ascii.txt", &painted(tree::render(&second_wave(), 24), OLD_TERMINAL));
}

#[test]
fn a_pipe_gets_one_dated_line_per_transition() {
    let view = second_wave();
    let mut story = Story::default();
    lines().iter().for_each(|line| story.take(line, &view));
    compare("pipe.txt", &painted(story.lines(&view), Look::PLAIN));
    compare("log.txt", &painted(lines().iter().map(|line| detail(line, &view)).collect(), Look::PLAIN));
}

#[test]
fn programs_get_one_object_a_line() {
    let view = second_wave();
    let mut records = vec![record::opening(&view, 0)];
    records.extend(lines().iter().map(|line| record::event(line, &view)));
    records.push(record::closing(&view, exit::TIMED_OUT));
    let text: String =
        records.iter().map(|record| sternway_coordinator::cli::output::json_line(record) + "\n").collect();
    compare("events.jsonl", &text);
    compare("status.json", &format!("{:#}\n", record::rollout(&held())));
}

#[test]
fn the_end_is_at_most_six_lines_and_its_commands_exist() {
    for (name, view) in moments() {
        let block = ending::block(&view);
        assert!(block.len() <= ending::LINES_MAX, "{name}");
        for line in block.iter().map(|line| line.paint(Look::PLAIN)) {
            if let Some((_, command)) = line.split_once("sternway ") {
                let verb = command.split(' ').next().unwrap();
                assert!(
                    ["log", "undo", "resume", "go", "approve", "watch", "status", "unstick"].contains(&verb),
                    "{line}"
                );
            }
        }
    }
}

#[test]
fn every_state_has_the_exit_code_of_the_table() {
    let codes: Vec<(&str, u8)> =
        moments().iter().map(|(name, view)| (*name, view.status.exit_code())).collect();
    let wanted = [
        ("second-wave", exit::DONE),
        ("soaking", exit::DONE),
        ("awaits-approval", exit::HELD),
        ("held", exit::HELD),
        ("halted", exit::HALTED),
        ("stuck", exit::STUCK),
        ("ended", exit::DONE_WITH_EXCEPTIONS),
        ("undone", exit::HALTED),
    ];
    assert_eq!(codes, wanted);
}

#[test]
fn a_tree_is_never_taller_than_the_screen_and_failures_stay_longest() {
    for (name, view) in moments() {
        for height in tree::HEIGHT_MIN..30 {
            let lines = tree::render(&view, height);
            assert!(lines.len() <= height, "{name} at {height}: {}", lines.len());
        }
    }
    let text = painted(tree::render(&stuck(), 9), TERMINAL);
    assert!(text.contains("stuck"), "{text}");
    assert!(text.contains("more"), "what is left out is counted: {text}");
}

#[test]
fn ten_thousand_hosts_fill_what_ten_do() {
    let mut view = second_wave();
    let name =
        |number: usize| -> sternway_core::ids::HostName { format!("web-{number:05}").parse().unwrap() };
    view.status.waves = (0..20usize)
        .map(|index| {
            let names = (index * 500..(index + 1) * 500).map(name).collect();
            match index {
                0..5 => passed(index, wave(None, names, WaveState::Closed), 10, 60 + index as u64),
                5 => WaveStatus { opened: Some(at(900)), ..wave(None, names, WaveState::Open) },
                _ => wave(None, names, WaveState::Closed),
            }
        })
        .collect();
    view.status.hosts = (0..10_000usize)
        .map(|number| {
            let (index, base) = (number / 500, done(name(number), number / 500));
            match (index, number % 7) {
                (0..5, _) => base,
                // No two alike: the worst that can be folded.
                (5, 0) => HostStatus {
                    state: HostState::Undone { step: 3, reason: format!("reason {number}") },
                    ..base
                },
                (5, 1) => HostStatus { state: HostState::Running { step: number as u32 % 9 }, ..base },
                (5, _) => HostStatus { silent: number % 2 == 0, ..base },
                _ => waiting(name(number), index),
            }
        })
        .collect();
    view.at_work.clear();
    for height in [4, 10, 24, 50] {
        assert!(tree::render(&view, height).len() <= height, "{height}");
    }
    compare("terminal-10000-hosts.txt", &painted(tree::render(&view, 24), TERMINAL));
}

#[test]
fn a_thousand_hosts_with_one_trouble_are_one_line() {
    let view = second_wave();
    let mut story = Story::default();
    for number in 0..1000 {
        let input = Input::Health { healthy: false, message: "no answer".into() };
        let what = HostLine::Host { host: host(number % 38 + 1), at: at(1000), input };
        story.take(&LogLine { sequence: number as u64, at: at(1000), what }, &view);
    }
    assert_eq!(story.lines(&view).len(), 1);
}

#[test]
fn the_points_of_a_fleet_are_folded_with_the_oldest_worry_first() {
    let points = points::points();
    let points: Vec<_> = points.iter().map(|(host, point)| (host, point)).collect();
    let mut text = painted(list::folded(&points, points::now()), TERMINAL);
    text.push_str("----\n");
    text.push_str(&painted(list::each(&points[33..39], points::now()), Look::PLAIN));
    compare("points-list.txt", &text);
}

#[test]
fn readiness_is_one_picture_however_many_hosts_there_are() {
    let show = |heard, columns, rows, all| {
        let judged = ready::judge(&heard, None, points::now());
        painted(ready::picture::lines(&judged, points::now(), Room { columns, rows }, all), Look::PLAIN)
    };
    let mut text = show(points::all_ready(5), Some(100), 24, false);
    for (heard, columns, rows, all) in [
        (points::some_ready(10), Some(100), 24, false),
        (points::some_ready(41), Some(100), 24, false),
        (points::some_ready(16), Some(24), 40, false),
        (points::some_ready(3), None, 24, true),
    ] {
        text.push_str("----\n");
        text.push_str(&show(heard, columns, rows, all));
    }
    compare("ready.txt", &text);
    for (count, columns) in [(16, 24), (60, 80), (99, 120), (99, 40)] {
        let text = show(points::some_ready(count), Some(columns), 40, false);
        let picture = text.lines().skip(1).take_while(|line| *line != "CANNOT");
        let widest = picture.map(|line| line.chars().count()).max();
        assert!(widest <= Some(columns), "{count} hosts on {columns} columns: {text}");
    }
    let ascii = ready::judge(&points::some_ready(10), None, points::now());
    let lines = ready::picture::lines(&ascii, points::now(), Room { columns: Some(80), rows: 24 }, false);
    assert!(painted(lines, OLD_TERMINAL).is_ascii());
}

#[test]
fn every_hint_of_readiness_is_a_verb_that_exists() {
    let judged = ready::judge(&points::some_ready(20), None, points::now());
    let lines = ready::picture::lines(&judged, points::now(), Room { columns: None, rows: 24 }, false);
    let text = painted(lines, Look::PLAIN);
    let commands: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("sternway ")).collect();
    assert!(commands.len() >= 8, "{text}");
    for command in commands {
        let words: Vec<&str> = command.split(' ').take(2).collect();
        let known =
            ["points create", "points verify", "points drill", "points list", "points prune", "fleet list"];
        assert!(known.contains(&words.join(" ").as_str()), "{command}");
    }
}
