use super::super::{Checked, Kind, Origin};
use super::*;
use crate::ids::PointId;

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const DAY: u64 = 24;

fn ago(hours: u64) -> Timestamp {
    NOW - Millis::hours(hours)
}

fn point() -> Point {
    Point {
        id: PointId([1; 32]),
        made: ago(10),
        service: "shop".into(),
        version: "1.3".into(),
        kind: Kind::Full,
        origin: Origin::Schedule { name: "nightly".into() },
        tags: vec!["nightly".into()],
        kept: None,
        reason: String::new(),
        by: "schedule nightly".into(),
        paths: vec!["/opt/shop".into()],
        bytes: 1000,
        files: 10,
        checked: Some(Checked { at: ago(5), depth: Depth::Full, finding: None }),
    }
}

/// Everything is as it should be.
fn ready() -> Facts {
    Facts {
        service: "shop".into(),
        point: Some(point()),
        checked_full: Some(ago(5)),
        damaged: vec![],
        plugins_missing: vec![],
        space_needed: 1000,
        space_free: 1000,
        drill: Some(Drill { at: ago(20 * DAY), took: Millis::seconds(12), finding: None }),
        hindered: vec![],
        wishes: Wishes::default(),
    }
}

fn of_point(change: impl FnOnce(&mut Point)) -> Facts {
    let mut point = point();
    change(&mut point);
    Facts { point: Some(point), ..ready() }
}

fn lacks(text: &[&str]) -> Vec<String> {
    text.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn every_no_has_its_reason() {
    let quick = Some(Checked { at: ago(1), depth: Depth::Quick, finding: None });
    let no_point = Facts { point: None, checked_full: None, ..ready() };
    let cases: Vec<(&str, Facts, &[&str])> = vec![
        ("all is well", ready(), &[]),
        ("nothing to go back to", no_point.clone(), &["no rollback point"]),
        (
            "nothing whole to go back to",
            Facts { damaged: vec!["3fa2".into(), "77aa".into()], ..no_point },
            &["every rollback point is damaged (3fa2, 77aa)"],
        ),
        ("two hours to spare after a night", of_point(|point| point.made = ago(26)), &[]),
        (
            "a night was missed",
            of_point(|point| point.made = ago(27)),
            &["the newest point is 1d 3h old, at most 1d 2h is wanted"],
        ),
        (
            "its bytes were never read",
            Facts { checked_full: None, ..of_point(|point| point.checked = quick.clone()) },
            &["no check has read every byte of the newest point"],
        ),
        (
            "nor when nobody ever looked",
            Facts { checked_full: None, ..of_point(|point| point.checked = None) },
            &["no check has read every byte of the newest point"],
        ),
        ("the point's own full check counts", Facts { checked_full: None, ..ready() }, &[]),
        (
            "a quick check since does not hide the full one",
            Facts { checked_full: Some(ago(7 * DAY)), ..of_point(|point| point.checked = quick.clone()) },
            &[],
        ),
        (
            "a check of last month",
            Facts { checked_full: Some(ago(9 * DAY)), ..ready() },
            &["every byte was last checked 9d ago, at most 8d is wanted"],
        ),
        (
            "a plugin is missing",
            Facts { plugins_missing: vec!["sqlite".parse().unwrap()], ..ready() },
            &["plugin `sqlite` is not here"],
        ),
        ("room to the byte", Facts { space_needed: 7, space_free: 7, ..ready() }, &[]),
        (
            "a byte short",
            Facts { space_needed: 8, space_free: 7, ..ready() },
            &["7 bytes are free, the way back needs 8"],
        ),
        (
            "somebody halted the host",
            Facts { hindered: vec!["halted by ada".into()], ..ready() },
            &["halted by ada"],
        ),
        (
            "whoever wishes for nothing lacks nothing",
            Facts {
                checked_full: None,
                wishes: Wishes { point_age_max: None, check_age_max: None, drill_age_max: None },
                ..of_point(|point| (point.made, point.checked) = (ago(900 * DAY), None))
            },
            &[],
        ),
        (
            "all of it at once, in this order",
            Facts {
                checked_full: None,
                plugins_missing: vec!["http".parse().unwrap()],
                space_free: 0,
                hindered: vec!["busy".into()],
                ..of_point(|point| (point.made, point.checked) = (ago(3 * DAY), None))
            },
            &[
                "the newest point is 3d old, at most 1d 2h is wanted",
                "no check has read every byte of the newest point",
                "plugin `http` is not here",
                "0 bytes are free, the way back needs 1000",
                "busy",
            ],
        ),
    ];
    for (claim, facts, wanted) in cases {
        let verdict = facts.judge(NOW);
        let said: Vec<String> = verdict.lacks.iter().map(ToString::to_string).collect();
        assert_eq!(said, lacks(wanted), "{claim}");
        assert_eq!(verdict.can(), wanted.is_empty(), "{claim}");
    }
}

#[test]
fn a_rehearsal_is_a_remark_and_never_a_no() {
    let drill = |hours, finding: Option<&str>| {
        Some(Drill { at: ago(hours), took: Millis::seconds(1), finding: finding.map(str::to_owned) })
    };
    let nobody_minds = Wishes { drill_age_max: None, ..Wishes::default() };
    let cases: Vec<(&str, Facts, Option<&str>)> = vec![
        ("this quarter", ready(), None),
        ("never", Facts { drill: None, ..ready() }, Some("never rehearsed")),
        ("unasked", Facts { drill: None, wishes: nobody_minds, ..ready() }, None),
        ("to the hour", Facts { drill: drill(92 * DAY, None), ..ready() }, None),
        (
            "too long ago",
            Facts { drill: drill(93 * DAY, None), ..ready() },
            Some("last rehearsed 93d ago, at most 92d is wanted"),
        ),
        (
            "it went wrong",
            Facts { drill: drill(1, Some("/opt/shop/a differs")), ..ready() },
            Some("the last rehearsal failed: /opt/shop/a differs"),
        ),
        ("an older point rotted", Facts { damaged: vec!["3fa2".into()], ..ready() }, Some("damaged: 3fa2")),
    ];
    for (claim, facts, wanted) in cases {
        let verdict = facts.judge(NOW);
        assert!(verdict.can(), "{claim}");
        let said: Vec<String> = verdict.remarks.iter().map(ToString::to_string).collect();
        assert_eq!(said.first().map(String::as_str), wanted, "{claim}");
    }
}

#[test]
fn a_host_that_says_nothing_cannot() {
    assert!(!Verdict::away().can());
}

#[test]
fn a_clock_that_is_behind_makes_nothing_old() {
    let facts = of_point(|point| point.made = NOW + Millis::hours(3));
    assert!(facts.judge(NOW).can());
}
