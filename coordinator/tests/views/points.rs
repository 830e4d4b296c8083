//! What hosts say of their rollback points, made by hand.

use sternway_coordinator::cli::points::asking::{End, Heard, Told};
use sternway_core::ids::{HostName, PointId};
use sternway_core::point::readiness::{Drill, Facts, Wishes};
use sternway_core::point::{Answer, Checked, Depth, Kept, Kind, Origin, Point};
use sternway_core::time::{Millis, Timestamp};

use super::{at, host};

/// 21 Nov 2026, 17:21:00Z.
pub(crate) fn now() -> Timestamp {
    at(21 * 60)
}

fn ago(hours: u64) -> Timestamp {
    now() - Millis::hours(hours)
}

/// The nightly point of a service, made at so many hours before now.
pub(crate) fn nightly(number: usize, service: &str, hours: u64) -> Point {
    let mut id = [0; 32];
    (id[0], id[1], id[2]) = (number as u8, service.len() as u8, hours as u8);
    Point {
        id: PointId(id),
        made: ago(hours),
        service: service.into(),
        version: "1.3".into(),
        kind: Kind::Full,
        origin: Origin::Schedule { name: "nightly".into() },
        tags: vec!["nightly".into()],
        kept: None,
        reason: "nightly".into(),
        by: "schedule nightly".into(),
        paths: vec![format!("/opt/{service}")],
        bytes: 1_750_000_000,
        files: 9214,
        checked: Some(Checked { at: ago(hours - 1), depth: Depth::Full, finding: None }),
    }
}

fn tagged(number: usize) -> Point {
    Point {
        tags: vec!["before-1.3".into()],
        kept: Some(Kept { owner: "ada".parse().unwrap(), reason: "INC-4127".into(), since: ago(140) }),
        origin: Origin::Person,
        by: "ada".into(),
        checked: Some(Checked { at: ago(2), depth: Depth::Quick, finding: None }),
        ..nightly(number, "agora", 159)
    }
}

/// Forty-one hosts: one point rotted, two never checked, one host away.
pub(crate) fn points() -> Vec<(HostName, Point)> {
    let mut all = Vec::new();
    for number in (1..=41).filter(|number| *number != 40) {
        let mut newest = nightly(number, "agora", 15);
        match number {
            12 => {
                newest.checked = Some(Checked {
                    at: ago(3),
                    depth: Depth::Full,
                    finding: Some("1 of 9214 files differs\u{1b}[2J".into()),
                });
            }
            20 | 21 => newest.checked = None,
            _ => {}
        }
        all.push((host(number), newest));
        all.push((host(number), nightly(number, "agora", 39)));
        if number != 9 && number != 23 {
            all.push((host(number), tagged(number)));
        }
    }
    all
}

fn ready(number: usize, service: &str) -> Facts {
    Facts {
        service: service.into(),
        point: Some(nightly(number, service, 15)),
        checked_full: Some(ago(14)),
        damaged: vec![],
        plugins_missing: vec![],
        space_needed: 1_750_000_000,
        space_free: 40_000_000_000,
        drill: Some(Drill { at: ago(24 * 30), took: Millis::seconds(41), finding: None }),
        hindered: vec![],
        wishes: Wishes::default(),
    }
}

fn told(facts: Vec<Facts>) -> Told {
    Told { answers: vec![Answer::Ready(facts)], end: End::Done }
}

/// `count` hosts with a service, every eighth of them with a second one; no trouble yet.
pub(crate) fn all_ready(count: usize) -> Heard {
    let mut heard = Heard::default();
    for number in 1..=count {
        let mut facts = vec![ready(number, "agora")];
        if number % 8 == 1 {
            facts.push(ready(number, "mail"));
        }
        heard.told.insert(host(number), told(facts));
    }
    heard
}

/// The same, with every trouble there is.
pub(crate) fn some_ready(count: usize) -> Heard {
    let mut heard = all_ready(count);
    let mut change = |number: usize, change: fn(&mut Facts)| {
        let Some(told) = heard.told.get_mut(&host(number)) else { return };
        if let Some(Answer::Ready(facts)) = told.answers.first_mut() {
            change(&mut facts[0]);
        }
    };
    change(2, |facts| (facts.point, facts.checked_full) = (None, None));
    change(3, |facts| facts.point = Some(nightly(3, "agora", 27)));
    change(4, |facts| facts.point = Some(nightly(4, "agora", 90)));
    change(5, |facts| facts.checked_full = Some(Timestamp(0)));
    change(6, |facts| facts.space_free = 650_000_000);
    change(7, |facts| facts.plugins_missing = vec!["sqlite".parse().unwrap()]);
    change(8, |facts| facts.hindered = vec!["halted by ada: looking".into()]);
    change(9, |facts| facts.drill = None);
    change(10, |facts| facts.damaged = vec!["3fa2".into()]);
    if count > 11 {
        heard.told.insert(host(11), Told { answers: vec![], end: End::Away });
        heard.told.insert(host(12), told(vec![]));
    }
    heard
}
