//! Which points there are. Nothing but snapshot files is read, and one that
//! cannot be read hides no other.

use std::collections::BTreeMap;
use std::time::Duration;

use rustic_core::repofile::{SnapshotFile, SnapshotId};
use sternway_core::ids::PointId;
use sternway_core::point::{BEGINNING_MIN, Point, Want};

use super::repository::Session;
use super::{Points, PointsError, guarded, label, shown};

/// All snapshot files that can be read, and what is wrong with the others.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    pub(super) found: Vec<(SnapshotId, SnapshotFile)>,
    pub(super) unread: Vec<String>,
}

impl Points {
    /// All that are offered, newest first; nothing is said about their checks.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub fn list(&self) -> Result<Vec<Point>, PointsError> {
        let mut points = Vec::new();
        for (id, snapshot) in self.offered(&self.session(None)?)? {
            let mut point = label::read(id, &snapshot);
            if label::has_lost_its_words(&snapshot) {
                self.fill_from_manifest(&mut point, &snapshot);
            }
            points.push(point);
        }
        points.sort_by(|a, b| b.made.cmp(&a.made).then_with(|| a.id.cmp(&b.id)));
        Ok(points)
    }

    /// Those that are meant, newest first.
    ///
    /// # Errors
    /// The beginning of an id that is too short, or that of none or of several.
    pub fn find(&self, want: &Want) -> Result<Vec<Point>, PointsError> {
        let mut points = self.list()?;
        if let Some(beginning) = &want.id {
            points = self.begun(points, &beginning.to_ascii_lowercase())?;
        }
        points.retain(|point| {
            want.service.as_ref().is_none_or(|service| *service == point.service)
                && want.tag.as_ref().is_none_or(|tag| point.tags.contains(tag))
                && want.kind.is_none_or(|kind| kind == point.kind)
        });
        Ok(points)
    }

    /// The newest of a tag that is no older than `max_age`.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub fn newest(&self, tag: &str, max_age: Option<Duration>) -> Result<Option<Point>, PointsError> {
        let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default();
        let oldest =
            max_age.map_or(0, |age| now.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)));
        let is_meant = |point: &Point| point.tags.iter().any(|found| found == tag) && point.made.0 >= oldest;
        Ok(self.list()?.into_iter().find(is_meant))
    }

    /// By its id, or by the one that `restic` shows now.
    ///
    /// # Errors
    /// There is none, or the repository cannot be read.
    pub fn get(&self, id: PointId) -> Result<Point, PointsError> {
        let (now, snapshot) = self.snapshot(&self.session(None)?, id)?;
        let mut point = label::read(now, &snapshot);
        if label::has_lost_its_words(&snapshot) {
            self.fill_from_manifest(&mut point, &snapshot);
        }
        Ok(point)
    }

    pub(super) fn snapshot(
        &self,
        session: &Session,
        id: PointId,
    ) -> Result<(SnapshotId, SnapshotFile), PointsError> {
        let is_meant = |(now, snapshot): &(SnapshotId, SnapshotFile)| {
            label::point_id(*now, snapshot) == id || label::own_id(*now) == id
        };
        let found = self.offered(session)?.into_iter().find(is_meant);
        found.ok_or_else(|| PointsError::Unknown { id: id.to_string() })
    }

    /// The snapshots of this host's points, each point once.
    pub(super) fn offered(&self, session: &Session) -> Result<Vec<(SnapshotId, SnapshotFile)>, PointsError> {
        Ok(self.offered_among(self.all_snapshots(session)?.found))
    }

    /// As [`Self::offered`], of snapshots that were read already.
    pub(super) fn offered_among(
        &self,
        all: Vec<(SnapshotId, SnapshotFile)>,
    ) -> Vec<(SnapshotId, SnapshotFile)> {
        let mut newest: BTreeMap<PointId, (SnapshotId, SnapshotFile)> = BTreeMap::new();
        for (id, snapshot) in all {
            if label::is_incomplete(&snapshot) || !self.is_ours(&snapshot) {
                continue;
            }
            let point = label::point_id(id, &snapshot);
            let is_newer =
                |(_, other): &(SnapshotId, SnapshotFile)| label::turn(&snapshot) > label::turn(other);
            if newest.get(&point).is_none_or(is_newer) {
                newest.insert(point, (id, snapshot));
            }
        }
        newest.into_values().collect()
    }

    /// Of every host that shares the repository.
    pub(super) fn all_snapshots(&self, session: &Session) -> Result<Snapshots, PointsError> {
        let ids: Vec<SnapshotId> =
            guarded("list the points in", || session.repository.list::<SnapshotId>())?.collect();
        let mut snapshots = Snapshots::default();
        for id in ids {
            let file = guarded("read a point in", || session.repository.get_file::<SnapshotFile>(&id));
            match file {
                Ok(snapshot) => snapshots.found.push((id, snapshot)),
                Err(error) => {
                    let name = id.into_inner().to_hex();
                    // Tagged or dropped since it was listed.
                    let gone = guarded("list the points in", || session.repository.list::<SnapshotId>())?
                        .all(|other| other != id);
                    if !gone {
                        let finding = format!("snapshot `{}`: {}", name.as_str(), deepest(&error));
                        tracing::error!(finding, "a rollback point cannot be read");
                        snapshots.unread.push(finding);
                    }
                }
            }
        }
        Ok(snapshots)
    }

    /// A repository may be shared: only points of this host are its own. One
    /// that `restic` made names the whole name of the machine.
    pub(super) fn is_ours(&self, snapshot: &SnapshotFile) -> bool {
        let host = self.host.as_str();
        let rest = snapshot.hostname.strip_prefix(host);
        self.place.is_own || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    fn begun(&self, points: Vec<Point>, beginning: &str) -> Result<Vec<Point>, PointsError> {
        let is_hex = beginning.bytes().all(|byte| byte.is_ascii_hexdigit());
        if beginning.len() < BEGINNING_MIN || !is_hex {
            return Err(PointsError::Beginning { beginning: shown(beginning), least: BEGINNING_MIN });
        }
        let mut found: Vec<Point> =
            points.into_iter().filter(|point| point.id.to_string().starts_with(beginning)).collect();
        if found.is_empty() {
            // As `restic` shows it after a tag.
            for (now, snapshot) in self.offered(&self.session(None)?)? {
                if label::own_id(now).to_string().starts_with(beginning) {
                    found.push(label::read(now, &snapshot));
                }
            }
        }
        match found.len() {
            0 => Err(PointsError::Unknown { id: beginning.to_owned() }),
            1 => Ok(found),
            count => Err(PointsError::Ambiguous { beginning: beginning.to_owned(), count }),
        }
    }
}

/// What an error says at its very end.
pub(super) fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(deeper) = error.source() {
        error = deeper;
    }
    error.to_string()
}
