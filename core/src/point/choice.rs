//! Which points of a host a run may go back to when nobody has named one: the
//! newest whole one first, so that whoever finds it damaged takes the next.

use super::{Kind, Origin, Point};
use crate::plan::{Plan, PointChoice, PointWanted};

/// What a point has to be good for.
#[derive(Debug, Clone, Copy)]
pub struct Back<'a> {
    pub service: &'a str,
    /// The version that is left: a point of it leads nowhere.
    pub from: &'a str,
    /// What is restored, as the host knows it.
    pub paths: &'a [String],
}

/// The points of a host that a plan means, best first; how old they may be is
/// for the caller, who has a clock. `restored` are the paths that its steps
/// bring back, as the host knows them.
pub fn meant(points: &[Point], plan: &Plan, wanted: &PointWanted, restored: &[String]) -> Vec<Point> {
    match &wanted.choice {
        PointChoice::Tagged(tag) => {
            let mut tagged: Vec<Point> =
                points.iter().filter(|point| point.tags.contains(tag)).cloned().collect();
            tagged.sort_by_key(|point| (std::cmp::Reverse(point.made), point.id));
            tagged
        }
        PointChoice::NewestWhole => {
            let back = Back { service: &plan.service, from: &plan.from, paths: restored };
            newest_whole(points, back).into_iter().cloned().collect()
        }
    }
}

/// Points of the whole service, newest first; then components that hold every
/// path that is wanted, newest first. Left out are points that somebody found
/// damaged, that hold what a rollback was about to overwrite, and that are of
/// the version which is left.
pub fn newest_whole<'a>(points: &'a [Point], back: Back<'_>) -> Vec<&'a Point> {
    let mut fit: Vec<&Point> = points.iter().filter(|point| leads_back(point, back)).collect();
    fit.sort_by(|a, b| {
        (a.kind, std::cmp::Reverse(a.made), a.id).cmp(&(b.kind, std::cmp::Reverse(b.made), b.id))
    });
    fit
}

fn leads_back(point: &Point, back: Back<'_>) -> bool {
    let is_whole = match point.kind {
        Kind::Full => true,
        Kind::Component => back.paths.iter().all(|path| holds(point, path)),
        Kind::Config | Kind::Data => false,
    };
    let is_safety = matches!(point.origin, Origin::Safety { .. });
    is_whole && !is_safety && point.is_good() && point.service == back.service && point.version != back.from
}

fn holds(point: &Point, path: &str) -> bool {
    point.paths.iter().any(|top| {
        let rest = path.strip_prefix(top.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{PlanId, PointId};
    use crate::point::{Checked, Depth};
    use crate::time::Timestamp;

    fn point(id: u8, made: u64, kind: Kind, paths: &[&str]) -> Point {
        Point {
            id: PointId([id; 32]),
            made: Timestamp(made),
            service: "agora".into(),
            version: "1.1".into(),
            kind,
            origin: Origin::Person,
            tags: vec!["nightly".into()],
            kept: None,
            reason: String::new(),
            by: "ada".into(),
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            bytes: 1,
            files: 1,
            checked: None,
        }
    }

    fn chosen(points: &[Point], paths: &[&str]) -> Vec<u8> {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let back = Back { service: "agora", from: "1.3", paths: &paths };
        newest_whole(points, back).iter().map(|point| point.id.0[0]).collect()
    }

    #[test]
    fn the_newest_of_the_whole_service_comes_before_any_newer_component() {
        let points = [
            point(1, 10, Kind::Full, &["/opt/agora"]),
            point(2, 20, Kind::Full, &["/opt/agora"]),
            point(3, 90, Kind::Component, &["/opt/agora"]),
            point(4, 95, Kind::Config, &["/opt/agora"]),
            point(5, 96, Kind::Data, &["/opt/agora"]),
        ];
        assert_eq!(chosen(&points, &["/opt/agora/bin"]), [2, 1, 3]);
        assert_eq!(chosen(&points[2..], &["/opt/agora/bin"]), [3]);
        assert_eq!(chosen(&points[3..], &["/opt/agora/bin"]), [0_u8; 0]);
    }

    #[test]
    fn a_component_counts_only_with_everything_that_is_restored() {
        let points = [
            point(1, 10, Kind::Component, &["/opt/agora/api"]),
            point(2, 9, Kind::Component, &["/opt/agora", "/etc/a"]),
        ];
        assert_eq!(chosen(&points, &["/opt/agora/api", "/etc/a"]), [2]);
        assert_eq!(chosen(&points, &["/opt/agora/api"]), [1, 2]);
        assert_eq!(chosen(&points, &["/opt/agora/apiary"]), [2], "a name that only begins the same");
        assert_eq!(chosen(&[point(1, 1, Kind::Component, &["/"])], &["/etc/a"]), [1]);
    }

    #[test]
    fn what_leads_nowhere_is_left_out_however_new() {
        let good = point(1, 10, Kind::Full, &[]);
        let mut damaged = point(2, 20, Kind::Full, &[]);
        damaged.checked =
            Some(Checked { at: Timestamp(21), depth: Depth::Full, finding: Some("a pack is gone".into()) });
        let mut safety = point(3, 30, Kind::Full, &[]);
        safety.origin = Origin::Safety { plan: PlanId([0; 32]) };
        let mut bad_version = point(4, 40, Kind::Full, &[]);
        bad_version.version = "1.3".into();
        let mut other = point(5, 50, Kind::Full, &[]);
        other.service = "relay".into();
        assert_eq!(chosen(&[good, damaged, safety, bad_version, other], &[]), [1]);
    }
}
