//! Readiness as people look at it: how many can, a matrix where it fits, and
//! every reason against once, with its hosts and what to do about it.

use std::collections::{BTreeMap, BTreeSet};

use sternway_core::ids::HostName;
use sternway_core::plan::select::fold;
use sternway_core::point::Depth;
use sternway_core::point::readiness::{Lack, Remark};
use sternway_core::time::Timestamp;

use super::{Judged, NOTHING_DESCRIBED};
use crate::cli::text::{Line, Tone, age, bytes, count, table, took};
use crate::cli::words::names;

/// What there is to draw on; no columns are a pipe.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    pub columns: Option<usize>,
    pub rows: usize,
}

const BAR_SIGNS: usize = 24;
const NAMES_COLUMNS: usize = 48;
/// A matrix in a pipe is as wide as people can still read.
const COLUMNS_USUAL: usize = 100;
/// Lines that are not the matrix: what is left of the screen must hold them.
const OTHER_ROWS: usize = 8;
const SERVICE_COLUMNS_MAX: usize = 24;
/// What a host of which nothing is known is listed under.
const UNKNOWN: &str = "-";

/// Never 100 when one cannot, never 0 when one can.
pub fn percent(can: usize, all: usize) -> usize {
    match (can, all) {
        (_, 0) | (0, _) => 0,
        (can, all) => (can * 100 / all).max(1),
    }
}

pub fn lines(judged: &[Judged], now: Timestamp, room: Room, all: bool) -> Vec<Line> {
    let mut lines = vec![head(judged), Line::new()];
    let matrix = matrix(judged, room);
    if !matrix.is_empty() {
        lines.extend(matrix);
        lines.push(Line::new());
    }
    if all {
        lines.extend(each(judged, now));
        lines.push(Line::new());
    }
    let lacks = reasons(judged, |one| one.verdict.lacks.iter().map(against).collect());
    section(&mut lines, "CANNOT", Tone::Bad, &lacks);
    let remarks = reasons(judged, |one| one.verdict.remarks.iter().map(beside).collect());
    section(&mut lines, "REMARKS", Tone::Warn, &remarks);
    while lines.last() == Some(&Line::new()) {
        lines.pop();
    }
    lines
}

fn head(judged: &[Judged]) -> Line {
    let can = judged.iter().filter(|one| one.verdict.can()).count();
    let percent = percent(can, judged.len());
    let hosts = judged.iter().map(|one| &one.host).collect::<BTreeSet<_>>().len();
    let signs = match can == judged.len() {
        true => BAR_SIGNS,
        false => percent * BAR_SIGNS / 100,
    };
    let tone = if can == judged.len() { Tone::Good } else { Tone::Bad };
    Line::new()
        .add(Tone::Strong, format!("{percent} % can"))
        .plain(", ")
        .add(tone, format!("{} % cannot", 100 - percent))
        .plain("   ")
        .add(Tone::Good, "▰".repeat(signs))
        .add(Tone::Bad, "▱".repeat(BAR_SIGNS - signs))
        .plain(format!("   {can} of {} on {}", count(judged.len(), "service"), count(hosts, "host")))
}

/// A reason that several services on several hosts share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Reason {
    /// The same for all that share it: no figures that differ from host to host.
    words: String,
    /// The worst of the figures, and how it reads.
    worst: Option<(u64, String)>,
    /// What to type, with `{select}` and `{service}` in it.
    advice: &'static str,
}

fn reason(words: impl Into<String>, advice: &'static str) -> Reason {
    Reason { words: words.into(), worst: None, advice }
}

fn aged(words: String, age: sternway_core::time::Millis, advice: &'static str) -> Reason {
    Reason { words, worst: Some((age.0, format!("up to {}", crate::cli::text::age(age)))), advice }
}

const CREATE: &str = "sternway points create {select} --service {service} --tag by-hand";
const VERIFY: &str = "sternway points verify {select} --service {service} --newest --full";
const DRILL: &str = "sternway points drill {select} --service {service}";
const LIST: &str = "sternway points list {select} --service {service} --all";

fn against(lack: &Lack) -> Reason {
    match lack {
        Lack::NoPoint => reason("no rollback point", CREATE),
        Lack::OnlyDamaged(_) => reason("every rollback point is damaged", CREATE),
        Lack::PointTooOld { age, max } => aged(format!("the newest point is older than {max}"), *age, CREATE),
        Lack::NeverChecked => reason("no check has read every byte of the newest point", VERIFY),
        Lack::CheckTooOld { age, max } => {
            aged(format!("every byte was last checked longer than {max} ago"), *age, VERIFY)
        }
        Lack::PluginMissing(plugin) => {
            let words =
                format!("plugin `{plugin}` is not on the host, in the version that plans are signed with");
            reason(words, "a plan that uses it brings it along: sternway launch")
        }
        Lack::NoSpace { needed, free } => Reason {
            words: "too little space to stage the point beside what runs".into(),
            worst: Some((
                needed.saturating_sub(*free),
                format!("up to {} short", bytes(needed.saturating_sub(*free))),
            )),
            advice: "sternway points prune {select}",
        },
        Lack::Hindered(words) if words == NOTHING_DESCRIBED => {
            reason(words, "describe it in [[points.service]] of the agent's configuration")
        }
        Lack::Hindered(words) => {
            reason(words, "sternway fleet list {select}; on the host: sternway-agent status")
        }
        Lack::Away => reason("the host is away", "sternway fleet list {select}"),
    }
}

fn beside(remark: &Remark) -> Reason {
    match remark {
        Remark::NeverRehearsed => reason("never rehearsed", DRILL),
        Remark::DrillTooOld { age, max } => {
            aged(format!("last rehearsed longer than {max} ago"), *age, DRILL)
        }
        Remark::DrillFailed(finding) => reason(format!("the last rehearsal failed: {finding}"), DRILL),
        Remark::Damaged(_) => reason("an older point is damaged", LIST),
    }
}

/// Reasons of a service with their hosts; what concerns most hosts first.
type Reasons = Vec<(String, Reason, Vec<HostName>)>;

fn reasons(judged: &[Judged], of: impl Fn(&Judged) -> Vec<Reason>) -> Reasons {
    let mut folded: BTreeMap<(String, String), (Reason, BTreeSet<HostName>)> = BTreeMap::new();
    for one in judged {
        for reason in of(one) {
            let key = (service(one).to_owned(), reason.words.clone());
            let (known, hosts) = folded.entry(key).or_insert_with(|| (reason.clone(), BTreeSet::new()));
            if known.worst < reason.worst {
                known.worst = reason.worst;
            }
            hosts.insert(one.host.clone());
        }
    }
    let mut reasons: Reasons = folded
        .into_iter()
        .map(|((service, _), (reason, hosts))| (service, reason, hosts.into_iter().collect()))
        .collect();
    reasons.sort_by(|a, b| (&a.0, b.2.len(), &a.1).cmp(&(&b.0, a.2.len(), &b.1)));
    reasons
}

fn service(one: &Judged) -> &str {
    one.service.as_deref().unwrap_or(UNKNOWN)
}

/// One line for each reason, and below it what to do.
fn section(lines: &mut Vec<Line>, title: &str, tone: Tone, reasons: &Reasons) {
    if reasons.is_empty() {
        return;
    }
    let rows: Vec<Vec<(Tone, String)>> = reasons
        .iter()
        .map(|(service, reason, hosts)| {
            let worst = reason.worst.as_ref().map_or(String::new(), |(_, words)| format!(", {words}"));
            vec![
                (Tone::Plain, String::new()),
                (Tone::Strong, service.clone()),
                (tone, count(hosts.len(), "host")),
                (Tone::Plain, names(hosts, NAMES_COLUMNS)),
                (Tone::Plain, format!("{}{worst}", reason.words)),
            ]
        })
        .collect();
    lines.push(Line::new().add(Tone::Dim, title));
    for (line, (service, reason, hosts)) in table(&rows).into_iter().zip(reasons) {
        lines.push(line);
        let select = fold(hosts.iter().map(HostName::as_str));
        let select = if select.contains(['[', ',']) { format!("'{select}'") } else { select };
        let advice = reason.advice.replace("{select}", &select).replace("{service}", service);
        lines.push(Line::new().plain("    ").add(Tone::Dim, advice));
    }
    lines.push(Line::new());
}

/// One letter for a service on a host: it reads without colour.
fn cell(one: Option<&Judged>) -> (Tone, char) {
    let Some(one) = one else { return (Tone::Dim, '·') };
    match one.verdict.lacks.first() {
        None if one.verdict.remarks.is_empty() => (Tone::Good, 'y'),
        None => (Tone::Warn, 'r'),
        Some(lack) => (Tone::Bad, letter(lack)),
    }
}

fn letter(lack: &Lack) -> char {
    match lack {
        Lack::NoPoint => 'N',
        Lack::OnlyDamaged(_) => 'D',
        Lack::PointTooOld { .. } => 'O',
        Lack::NeverChecked | Lack::CheckTooOld { .. } => 'C',
        Lack::PluginMissing(_) => 'P',
        Lack::NoSpace { .. } => 'S',
        Lack::Hindered(_) => 'H',
        Lack::Away => 'A',
    }
}

const LEGEND: [(char, &str); 11] = [
    ('y', "can"),
    ('r', "can, with a remark"),
    ('N', "no point"),
    ('D', "damaged"),
    ('O', "too old"),
    ('C', "not checked"),
    ('P', "plugin missing"),
    ('S', "no space"),
    ('H', "hindered"),
    ('A', "away"),
    ('·', "not there"),
];

/// Services by hosts, in the first of three forms that fits: hosts by name
/// across, hosts as single letters across, or hosts down. Nothing when none does.
fn matrix(judged: &[Judged], room: Room) -> Vec<Line> {
    let hosts: Vec<&HostName> =
        judged.iter().map(|one| &one.host).collect::<BTreeSet<_>>().into_iter().collect();
    let services: Vec<&str> = judged.iter().map(service).collect::<BTreeSet<_>>().into_iter().collect();
    if hosts.len() < 2 {
        return Vec::new();
    }
    let cells: BTreeMap<(&str, &HostName), &Judged> =
        judged.iter().map(|one| ((service(one), &one.host), one)).collect();
    let at = |service: &str, host: &HostName| {
        // Whoever says nothing says nothing of any service.
        let silent = cells.get(&(UNKNOWN, host));
        cell(cells.get(&(service, host)).or(silent).copied())
    };
    let named: Vec<&str> = match services.iter().all(|service| *service == UNKNOWN) {
        true => services.clone(),
        false => services.into_iter().filter(|service| *service != UNKNOWN).collect(),
    };
    let columns = room.columns.unwrap_or(COLUMNS_USUAL);
    let rows = room.rows.saturating_sub(OTHER_ROWS);
    let first = named.iter().map(|name| name.len()).max().unwrap_or(0).min(SERVICE_COLUMNS_MAX) + 2;
    let wide = first + hosts.iter().map(|host| host.as_str().len() + 2).sum::<usize>();
    let ends = match (hosts.first(), hosts.last()) {
        (Some(from), Some(to)) => format!("{from} … {to}, in tens"),
        _ => String::new(),
    };
    let narrow = first + (hosts.len() + hosts.len() / 10).max(ends.chars().count());
    let down = hosts.iter().map(|host| host.as_str().len() + 2).max().unwrap_or(0)
        + named.iter().map(|name| name.len() + 2).sum::<usize>();
    let mut lines = if wide <= columns && named.len() <= rows {
        by_name(&hosts, &named, first, at)
    } else if narrow <= columns && named.len() <= rows {
        by_letter(&hosts, &named, (first, &ends), at)
    } else if down <= columns && hosts.len() <= rows {
        downwards(&hosts, &named, at)
    } else {
        return Vec::new();
    };
    let used: BTreeSet<char> =
        named.iter().flat_map(|service| hosts.iter().map(|host| at(service, host).1)).collect();
    let legend = LEGEND.iter().filter(|(letter, _)| used.contains(letter));
    let legend: Vec<String> = legend.map(|(letter, words)| format!("  {letter} {words}")).collect();
    let mut line = String::new();
    for words in legend {
        if line.chars().count() + words.chars().count() > columns {
            lines.push(Line::new().add(Tone::Dim, &line));
            line.clear();
        }
        line.push_str(&words);
    }
    lines.push(Line::new().add(Tone::Dim, line));
    lines
}

fn by_name(
    hosts: &[&HostName],
    services: &[&str],
    first: usize,
    at: impl Fn(&str, &HostName) -> (Tone, char),
) -> Vec<Line> {
    let mut head = Line::new().pad_to(first);
    for host in hosts {
        head = head.add(Tone::Dim, host.as_str()).plain("  ");
    }
    let mut lines = vec![head];
    for service in services {
        let name: String = service.chars().take(SERVICE_COLUMNS_MAX).collect();
        let mut line = Line::new().add(Tone::Strong, name).pad_to(first);
        for host in hosts {
            let (tone, letter) = at(service, host);
            line = line.add(tone, letter.to_string()).plain(" ".repeat(host.as_str().len() + 1));
        }
        lines.push(line);
    }
    lines
}

/// In tens, from the first host to the last.
fn by_letter(
    hosts: &[&HostName],
    services: &[&str],
    (first, ends): (usize, &str),
    at: impl Fn(&str, &HostName) -> (Tone, char),
) -> Vec<Line> {
    let mut lines = vec![Line::new().pad_to(first).add(Tone::Dim, ends)];
    for service in services {
        let name: String = service.chars().take(SERVICE_COLUMNS_MAX).collect();
        let mut line = Line::new().add(Tone::Strong, name).pad_to(first);
        for (index, host) in hosts.iter().enumerate() {
            let (tone, letter) = at(service, host);
            let gap = if index > 0 && index.is_multiple_of(10) { " " } else { "" };
            line = line.plain(gap).add(tone, letter.to_string());
        }
        lines.push(line);
    }
    lines
}

fn downwards(
    hosts: &[&HostName],
    services: &[&str],
    at: impl Fn(&str, &HostName) -> (Tone, char),
) -> Vec<Line> {
    let mut rows = vec![
        std::iter::once("")
            .chain(services.iter().copied())
            .map(|word| (Tone::Dim, word.to_owned()))
            .collect::<Vec<_>>(),
    ];
    rows.extend(hosts.iter().map(|host| {
        let cells = services.iter().map(|service| {
            let (tone, letter) = at(service, host);
            (tone, letter.to_string())
        });
        std::iter::once((Tone::Strong, host.to_string())).chain(cells).collect()
    }));
    table(&rows)
}

/// Each service of each host with its figures.
fn each(judged: &[Judged], now: Timestamp) -> Vec<Line> {
    let mut rows = vec![
        ["SERVICE", "HOST", "", "POINT", "AGE", "EVERY BYTE", "SPACE", "DRILL"]
            .map(|word| (Tone::Dim, word.to_owned()))
            .to_vec(),
    ];
    rows.extend(judged.iter().map(|one| {
        let (tone, letter) = cell(Some(one));
        let facts = one.facts.as_deref();
        let point = facts.and_then(|facts| facts.point.as_ref());
        let own = point.and_then(|point| point.checked.as_ref()).filter(|check| check.depth == Depth::Full);
        let checked = facts.and_then(|facts| facts.checked_full).or(own.map(|check| check.at));
        let drill = facts.and_then(|facts| facts.drill.as_ref());
        let dash = || "-".to_owned();
        vec![
            (Tone::Strong, service(one).to_owned()),
            (Tone::Plain, one.host.to_string()),
            (tone, if one.verdict.can() { "can".into() } else { format!("cannot {letter}") }),
            (Tone::Plain, point.map_or_else(dash, |point| point.id.short())),
            (Tone::Plain, point.map_or_else(dash, |point| age(now.since(point.made)))),
            (Tone::Plain, checked.map_or_else(dash, |at| format!("{} ago", age(now.since(at))))),
            (
                Tone::Plain,
                facts.map_or_else(dash, |facts| {
                    format!("{} of {}", bytes(facts.space_needed), bytes(facts.space_free))
                }),
            ),
            (
                Tone::Plain,
                drill.map_or_else(dash, |drill| {
                    let verdict = if drill.finding.is_none() { "" } else { "FAILED, " };
                    format!("{verdict}{} ago, {}", age(now.since(drill.at)), took(drill.took))
                }),
            ),
        ]
    }));
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_cannot_is_never_rounded_away() {
        let cases = [(0, 0, 0), (0, 5, 0), (1, 1000, 1), (999, 1000, 99), (78, 80, 97), (5, 5, 100)];
        for (can, all, wanted) in cases {
            assert_eq!(percent(can, all), wanted, "{can} of {all}");
        }
    }

    #[test]
    fn every_reason_has_a_letter_in_the_legend() {
        let lacks = [
            Lack::NoPoint,
            Lack::OnlyDamaged(String::new()),
            Lack::NeverChecked,
            Lack::PluginMissing("files".parse().unwrap()),
            Lack::NoSpace { needed: 1, free: 0 },
            Lack::Hindered(String::new()),
            Lack::Away,
        ];
        for lack in lacks {
            assert!(LEGEND.iter().any(|(known, _)| *known == letter(&lack)), "{lack}");
        }
    }
}
