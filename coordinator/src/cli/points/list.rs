//! Which points there are: the newest of each host, folded, oldest worry
//! first; or each of them; or the hosts that have none.

use std::collections::{BTreeMap, BTreeSet};

use sternway_core::exit;
use sternway_core::ids::HostName;
use sternway_core::point::{Depth, Kind, Point};
use sternway_core::time::Timestamp;

use super::asking::{End, Heard, choose};
use super::{ListArgs, list_of, origin_words, points_of, record, tags_words};
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::text::{Line, Tone, age, bytes, count, day_and_time, table};
use crate::cli::words::names;

const NAMES_COLUMNS: usize = 40;

pub(super) async fn list(context: &Context, args: ListArgs) -> Result<u8, Failure> {
    let want = args.which.want(None)?;
    let client = context.connect().await?;
    let chosen = choose(&client, args.hosts.select.as_deref()).await?;
    let heard = list_of(context, &client, &chosen.hosts, want.clone(), args.hosts.timeout).await?;
    client.close().await;
    let points = points_of(&heard);
    let output = &context.output;
    if args.missing {
        return Ok(missing(context, &heard, &points, &want.to_string()));
    }
    points.iter().for_each(|(host, point)| output.object("sternway.point/1.0", record(host, point)));
    let now = context.now();
    let lines = if args.all || chosen.hosts.len() == 1 { each(&points, now) } else { folded(&points, now) };
    output.lines(lines);
    if points.is_empty() && heard.exit_code() == exit::DONE {
        output.talk(format!("no host has a point ({want})"));
    }
    let none = without(&heard, &points);
    if !none.is_empty() && !points.is_empty() {
        output.talk(Line::new().add(Tone::Warn, "none on ").plain(format!(
            "{}   {}",
            count(none.len(), "host"),
            names(&none, NAMES_COLUMNS)
        )));
    }
    heard.complain(context);
    Ok(heard.exit_code())
}

/// Hosts that answered, and have no such point.
fn without(heard: &Heard, points: &[(&HostName, &Point)]) -> Vec<HostName> {
    let with: BTreeSet<&HostName> = points.iter().map(|(host, _)| *host).collect();
    let done = heard.told.iter().filter(|(_, told)| told.end == End::Done);
    done.map(|(host, _)| host).filter(|host| !with.contains(host)).cloned().collect()
}

fn missing(context: &Context, heard: &Heard, points: &[(&HostName, &Point)], want: &str) -> u8 {
    let none = without(heard, points);
    let output = &context.output;
    output.object("sternway.points-missing/1.0", serde_json::json!({ "want": want, "hosts": none }));
    match none.len() {
        0 => output.talk(format!(
            "{} such a point ({want})",
            match heard.exit_code() {
                exit::DONE => "every host has",
                _ => "every host that answered has",
            }
        )),
        number => output.data(
            Line::new()
                .add(Tone::Bad, "missing")
                .plain(format!("   {}   ", count(number, "host")))
                .add(Tone::Strong, names(&none, usize::MAX))
                .plain(format!("   {want}")),
        ),
    }
    heard.complain(context);
    match (heard.exit_code(), none.is_empty()) {
        (exit::DONE, false) => exit::DONE_WITH_EXCEPTIONS,
        (code, _) => code,
    }
}

/// What its newest check says; the less is known, the sooner it is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Worry {
    Damaged,
    Unchecked,
    /// The index and the trees were looked at, and not every byte.
    Quick,
    None,
}

fn worry(point: &Point) -> Worry {
    match &point.checked {
        None => Worry::Unchecked,
        Some(checked) if checked.finding.is_some() => Worry::Damaged,
        Some(checked) if checked.depth == Depth::Quick => Worry::Quick,
        Some(_) => Worry::None,
    }
}

fn checked_words(point: &Point, now: Timestamp) -> (Tone, String) {
    let Some(checked) = &point.checked else { return (Tone::Warn, "never".into()) };
    let ago = age(now.since(checked.at));
    match (&checked.finding, checked.depth) {
        (Some(_), _) => (Tone::Bad, format!("BAD, {ago} ago")),
        (None, Depth::Quick) => (Tone::Plain, format!("index good, {ago} ago")),
        (None, Depth::Full) => (Tone::Good, format!("good, {ago} ago")),
    }
}

/// What is wrong with it; may be long, so it stands last.
fn finding_words(point: &Point) -> Option<(Tone, String)> {
    let finding = point.checked.as_ref()?.finding.clone()?;
    Some((Tone::Bad, finding))
}

fn kept_words(point: &Point) -> (Tone, String) {
    match &point.kept {
        Some(kept) => (Tone::Plain, format!("for ever, {}: {}", kept.owner, kept.reason)),
        None => (Tone::Dim, "-".into()),
    }
}

type Row = Vec<(Tone, String)>;

fn head(words: &[&str]) -> Row {
    words.iter().map(|word| (Tone::Dim, (*word).to_owned())).collect()
}

/// Points that are alike on several hosts.
struct Group<'a> {
    /// The oldest of them: the one to worry about.
    oldest: &'a Point,
    /// The one whose check is the longest ago.
    stale: &'a Point,
    hosts: Vec<HostName>,
    bytes: u64,
}

/// The newest of each host, service and tags; equal ones in one line.
pub fn folded(points: &[(&HostName, &Point)], now: Timestamp) -> Vec<Line> {
    let mut newest: BTreeMap<(&HostName, &str, &[String]), &Point> = BTreeMap::new();
    for (host, point) in points {
        let known = newest.entry((*host, &point.service, &point.tags)).or_insert(point);
        if known.made < point.made {
            *known = point;
        }
    }
    type Key<'a> = (Worry, &'a str, &'a [String], &'a str, bool);
    let mut groups: BTreeMap<Key<'_>, Group<'_>> = BTreeMap::new();
    for ((host, service, tags), point) in newest {
        let key = (worry(point), service, tags, point.kind.name(), point.kept.is_some());
        let group = groups.entry(key).or_insert_with(|| Group {
            oldest: point,
            stale: point,
            hosts: Vec::new(),
            bytes: 0,
        });
        let checked = |point: &Point| point.checked.as_ref().map(|checked| checked.at);
        if point.made < group.oldest.made {
            group.oldest = point;
        }
        if checked(point) < checked(group.stale) {
            group.stale = point;
        }
        group.hosts.push(host.clone());
        group.bytes += point.bytes;
    }
    if groups.is_empty() {
        return Vec::new();
    }
    let mut groups: Vec<(Key<'_>, Group<'_>)> = groups.into_iter().collect();
    groups.sort_by(|(a, x), (b, y)| (a.0, x.oldest.made, a.1, a.2).cmp(&(b.0, y.oldest.made, b.1, b.2)));
    let mut rows = vec![head(&["SERVICE", "TAGS", "AGE", "SIZE", "CHECKED", "KEPT", "HOSTS"])];
    rows.extend(groups.iter().map(|((_, service, tags, kind, is_kept), group)| {
        let kind = if *kind == Kind::Full.name() { String::new() } else { format!(" {kind}") };
        let hosts = format!("{:<4}{}", group.hosts.len(), names(&group.hosts, NAMES_COLUMNS));
        let mut row = vec![
            (Tone::Strong, format!("{service}{kind}")),
            (Tone::Plain, tags_words(tags)),
            (Tone::Plain, age(now.since(group.oldest.made))),
            (Tone::Plain, bytes(group.bytes)),
            checked_words(group.stale, now),
            (Tone::Plain, if *is_kept { "for ever" } else { "-" }.to_owned()),
            (Tone::Plain, hosts),
        ];
        row.extend(finding_words(group.stale));
        row
    }));
    table(&rows)
}

/// One line for each point.
pub fn each(points: &[(&HostName, &Point)], now: Timestamp) -> Vec<Line> {
    if points.is_empty() {
        return Vec::new();
    }
    let mut rows = vec![head(&[
        "HOST", "POINT", "MADE", "AGE", "SERVICE", "VERSION", "KIND", "TAGS", "SIZE", "KEPT", "MADE FOR",
        "CHECKED",
    ])];
    rows.extend(points.iter().map(|(host, point)| {
        let mut row = vec![
            (Tone::Plain, host.to_string()),
            (Tone::Strong, point.id.short()),
            (Tone::Plain, day_and_time(point.made)),
            (Tone::Plain, age(now.since(point.made))),
            (Tone::Plain, point.service.clone()),
            (Tone::Plain, point.version.clone()),
            (Tone::Plain, point.kind.name().to_owned()),
            (Tone::Plain, tags_words(&point.tags)),
            (Tone::Plain, bytes(point.bytes)),
            kept_words(point),
            (Tone::Dim, origin_words(point)),
            checked_words(point, now),
        ];
        row.extend(finding_words(point));
        row
    }));
    table(&rows)
}
