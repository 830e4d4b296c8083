use proptest::prelude::*;

use super::super::{Checked, Depth, Kept, Kind};
use super::*;
use crate::ids::PlanId;

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const DAY: u64 = 24;

fn id(number: usize) -> PointId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
    PointId(bytes)
}

/// Point `number` of `service`, made so many hours ago.
fn point(number: usize, service: &str, hours: u64) -> Point {
    Point {
        id: id(number),
        made: NOW - Millis::hours(hours),
        service: service.into(),
        version: "1.3".into(),
        kind: Kind::Full,
        origin: Origin::Schedule { name: "nightly".into() },
        tags: vec!["nightly".into()],
        kept: None,
        reason: String::new(),
        by: "schedule nightly".into(),
        paths: vec![format!("/opt/{service}")],
        bytes: 1000,
        files: 10,
        checked: None,
    }
}

fn damaged(point: Point) -> Point {
    let checked = Checked { at: NOW, depth: Depth::Full, finding: Some("pack 3f is short".into()) };
    Point { checked: Some(checked), ..point }
}

fn kept(point: Point) -> Point {
    let kept = Kept { owner: "ada".parse().unwrap(), reason: "INC-4127".into(), since: NOW };
    Point { kept: Some(kept), ..point }
}

fn safety(point: Point) -> Point {
    Point { origin: Origin::Safety { plan: PlanId([7; 32]) }, ..point }
}

/// A point a night for so many nights, newest first; number 0 is of last night.
fn nights(count: usize) -> Vec<Point> {
    (0..count).map(|night| point(night, "shop", night as u64 * DAY)).collect()
}

fn judge(retention: &Retention, points: &[Point], in_use: &[usize]) -> Judgement {
    let in_use = in_use.iter().map(|number| id(*number)).collect();
    let own = points.iter().map(|point| (point.id, 100)).collect();
    retention.judge(points, &in_use, NOW, 100 * points.len() as u64, &own)
}

fn dropped(judgement: &Judgement) -> Vec<usize> {
    judgement
        .drop
        .iter()
        .map(|id| u64::from_be_bytes(*id.0.first_chunk().expect("32 bytes")) as usize)
        .collect()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<usize> {
    range.collect()
}

struct Case {
    claim: &'static str,
    retention: Retention,
    points: Vec<Point>,
    in_use: Vec<usize>,
    dropped: Vec<usize>,
}

fn case(claim: &'static str, points: Vec<Point>, dropped: Vec<usize>) -> Case {
    Case { claim, retention: Retention::default(), points, in_use: vec![], dropped }
}

/// Runbook 004, "Rollback Point Cleanup": keeps the 10 most recent, retains for
/// 30 days, preserves tagged points indefinitely. Ours besides: the last good
/// one, those in use, and a budget.
#[test]
fn the_runbooks_rules_as_a_table() {
    let ancient = |number| point(number, "shop", (100 + number as u64) * DAY);
    let ancients: Vec<Point> = (0..14).map(ancient).collect();
    let with = |at: usize, change: fn(Point) -> Point| {
        let mut points = ancients.clone();
        points[at] = change(points[at].clone());
        points
    };
    let hours = |hours: u64| vec![point(0, "shop", 0), point(1, "shop", hours)];
    let one = Retention { newest: 1, ..Retention::default() };
    let small = Retention { newest: 0, within: Millis::ZERO, budget: None };
    let cases = [
        case("nothing is kept of nothing", vec![], vec![]),
        case("the ten newest stay, however old", ancients.clone(), numbers(10..14)),
        case("ten are not eleven", (0..10).map(ancient).collect(), vec![]),
        case("everything of thirty days stays, however many", nights(31), vec![]),
        case("the thirty-first day is over", nights(33), vec![31, 32]),
        Case {
            retention: one.clone(),
            ..case("thirty days to the hour are within thirty days", hours(30 * DAY), vec![])
        },
        Case { retention: one.clone(), ..case("an hour more is not", hours(30 * DAY + 1), vec![1]) },
        case("who is kept for ever stays", with(13, kept), vec![10, 11, 12]),
        Case {
            in_use: vec![12],
            ..case("what a run goes back to stays", ancients.clone(), vec![10, 11, 13])
        },
        Case {
            retention: small.clone(),
            ..case("the last good one stays when nothing else would keep it", nights(4), vec![1, 2, 3])
        },
        Case {
            retention: small.clone(),
            ..case(
                "a damaged one is not the last good one",
                vec![damaged(point(0, "shop", 1)), damaged(point(1, "shop", 2)), point(2, "shop", 3)],
                vec![0, 1],
            )
        },
        Case {
            retention: small.clone(),
            ..case(
                "nor is what a plan was about to overwrite",
                vec![safety(point(0, "shop", 1)), point(1, "shop", 2)],
                vec![0],
            )
        },
        Case {
            retention: small.clone(),
            ..case(
                "each service and each kind has a last good one",
                vec![
                    point(0, "shop", 1),
                    point(1, "mail", 2),
                    Point { kind: Kind::Data, ..point(2, "shop", 3) },
                    point(3, "mail", 4),
                ],
                vec![3],
            )
        },
        Case {
            retention: one.clone(),
            ..case(
                "each service counts its own newest",
                vec![ancient(0), ancient(1), point(2, "mail", 200 * DAY), point(3, "mail", 201 * DAY)],
                vec![1, 3],
            )
        },
        Case {
            retention: one.clone(),
            ..case(
                "safety points do not push others out",
                vec![safety(ancient(0)), safety(ancient(1)), ancient(2), ancient(3)],
                vec![1, 3],
            )
        },
        Case {
            retention: Retention { budget: Some(500), ..Retention::default() },
            ..case("a budget takes the oldest first", nights(8), vec![5, 6, 7])
        },
        Case {
            retention: Retention { budget: Some(1000), ..Retention::default() },
            ..case("what the rules drop counts for the budget", ancients.clone(), numbers(10..14))
        },
        Case {
            retention: Retention { budget: Some(0), ..Retention::default() },
            in_use: vec![6],
            ..case(
                "no budget takes what stays for ever",
                [nights(7), vec![kept(ancient(7))]].concat(),
                vec![1, 2, 3, 4, 5],
            )
        },
        Case {
            retention: Retention { newest: 0, within: Millis::hours(48), budget: Some(100) },
            in_use: vec![5],
            ..case(
                "all together",
                vec![
                    damaged(point(0, "shop", 1)),
                    point(1, "shop", 2),
                    point(2, "shop", 3),
                    safety(point(3, "shop", 4)),
                    kept(point(4, "shop", 400 * DAY)),
                    point(5, "shop", 401 * DAY),
                    point(6, "shop", 402 * DAY),
                ],
                vec![0, 2, 3, 6],
            )
        },
    ];
    for Case { claim, retention, points, in_use, dropped: wanted } in cases {
        assert_eq!(dropped(&judge(&retention, &points, &in_use)), wanted, "{claim}");
    }
}

#[test]
fn every_point_that_stays_says_every_reason() {
    let points = vec![point(0, "shop", 1), kept(point(1, "shop", 40 * DAY)), point(2, "shop", 41 * DAY)];
    let judgement = judge(&Retention { newest: 2, ..Retention::default() }, &points, &[1]);
    let why = |number: usize| judgement.stay[&id(number)].iter().copied().collect::<Vec<_>>();
    assert_eq!(why(0), [Why::LastGood, Why::Newest, Why::Young]);
    assert_eq!(why(1), [Why::InUse, Why::Kept, Why::Newest]);
    assert_eq!(dropped(&judgement), [2]);
}

#[test]
fn a_point_from_the_future_is_young() {
    let ahead = Point { made: NOW + Millis::hours(5), ..point(1, "shop", 0) };
    let retention = Retention { newest: 0, ..Retention::default() };
    assert_eq!(dropped(&judge(&retention, &[point(0, "shop", 60 * DAY), ahead], &[])), [0]);
}

fn any_point(number: usize) -> impl Strategy<Value = Point> {
    let service = prop::sample::select(vec!["shop", "mail"]);
    let kind = prop::sample::select(Kind::ALL.to_vec());
    (service, 0u64..60 * DAY, kind, prop::bool::weighted(0.2), prop::bool::weighted(0.2), prop::bool::ANY)
        .prop_map(move |(service, hours, kind, is_kept, is_damaged, is_safety)| {
            let mut point = Point { kind, ..point(number, service, hours) };
            if is_kept {
                point = kept(point);
            }
            if is_damaged {
                point = damaged(point);
            }
            if is_safety && number.is_multiple_of(3) { safety(point) } else { point }
        })
}

fn any_points() -> impl Strategy<Value = Vec<Point>> {
    (0usize..40).prop_flat_map(|count| (0..count).map(any_point).collect::<Vec<_>>())
}

fn any_retention() -> impl Strategy<Value = Retention> {
    (0u32..15, 0u64..40 * DAY, prop::option::of(0u64..4000)).prop_map(|(newest, hours, budget)| Retention {
        newest,
        within: Millis::hours(hours),
        budget,
    })
}

proptest! {
    #[test]
    fn what_is_in_use_kept_or_the_last_good_one_is_never_dropped(
        points in any_points(),
        retention in any_retention(),
        in_use in prop::collection::vec(0usize..40, 0..6),
    ) {
        let judgement = judge(&retention, &points, &in_use);
        let drop: BTreeSet<PointId> = judgement.drop.iter().copied().collect();
        prop_assert_eq!(drop.len() + judgement.stay.len(), points.len(), "each is judged once");
        prop_assert!(judgement.drop.iter().all(|id| !judgement.stay.contains_key(id)));
        for number in in_use {
            prop_assert!(!drop.contains(&id(number)), "{} is in use", number);
        }
        for point in &points {
            prop_assert!(point.kept.is_none() || !drop.contains(&point.id), "{} is kept", point.id.short());
        }
        // Whoever had a good point of a service has one afterwards, and it is the newest of before.
        for (service, kind) in points.iter().map(|point| (&point.service, point.kind)) {
            let good = |point: &&Point| {
                let is_safety = matches!(point.origin, Origin::Safety { .. });
                point.service == *service && point.kind == kind && point.is_good() && !is_safety
            };
            let newest = points.iter().filter(good).map(|point| point.made).max();
            let left = points.iter().filter(good).filter(|point| !drop.contains(&point.id));
            prop_assert_eq!(left.map(|point| point.made).max(), newest);
        }
    }

    #[test]
    fn whoever_wants_to_keep_more_loses_nothing_by_it(
        points in any_points(),
        retention in any_retention(),
        more in 0u32..10,
        longer in 0u64..20 * DAY,
        budget in 0u64..4000,
    ) {
        let drops = |retention: &Retention| {
            judge(retention, &points, &[]).drop.into_iter().collect::<BTreeSet<PointId>>()
        };
        let without = Retention { budget: None, ..retention.clone() };
        let generous = Retention {
            newest: without.newest + more,
            within: Millis(without.within.0 + Millis::hours(longer).0),
            budget: None,
        };
        prop_assert!(drops(&generous).is_subset(&drops(&without)));
        let tight = Retention { budget: Some(budget), ..retention.clone() };
        let wide = Retention { budget: Some(budget + 500), ..retention };
        prop_assert!(drops(&wide).is_subset(&drops(&tight)));
        let bounded = Retention { budget: Some(budget), ..without.clone() };
        let is_subset = drops(&without).is_subset(&drops(&bounded));
        prop_assert!(is_subset, "a budget only takes more");
    }

    #[test]
    fn what_was_pruned_once_is_not_pruned_again(points in any_points(), retention in any_retention()) {
        let retention = Retention { budget: None, ..retention };
        let first = judge(&retention, &points, &[]);
        let left: Vec<Point> = points.into_iter().filter(|point| first.stay.contains_key(&point.id)).collect();
        prop_assert_eq!(judge(&retention, &left, &[]).drop, []);
    }
}
