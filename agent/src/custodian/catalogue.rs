//! What checks and rehearsals found, beside the repository: it can be lost
//! without any point being lost, and then no check is known.
//!
//! Several processes write it (the agent, and verbs of people at the host), so
//! each change is made under a lock.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sternway_core::ids::PointId;
use sternway_core::point::readiness::Drill;
use sternway_core::point::{Checked, Depth, Point};
use sternway_core::time::Timestamp;

use super::lock::Lock;
use crate::durable;

const FORMAT: &str = "sternway.checks/1";

/// What is known of one point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The newest check; a finding stays until a check as deep does not have it.
    pub checked: Checked,
    /// When a check of every byte last found it whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<Timestamp>,
}

/// Everything that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checks {
    format: String,
    #[serde(default)]
    pub points: BTreeMap<PointId, Known>,
    /// The newest rehearsal of each service.
    #[serde(default)]
    pub drills: BTreeMap<String, Drill>,
    /// All stored bytes were read since this moment and were right: what was
    /// stored before it is whole, unless something is known against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scrubbed_since: Option<Timestamp>,
}

impl Checks {
    /// The newest check of every byte, by itself or as a part of everything.
    pub fn whole_at(&self, point: &Point) -> Option<Timestamp> {
        let own = self.points.get(&point.id).and_then(|known| known.whole);
        let scrubbed = self.scrubbed_since.filter(|since| point.made < *since);
        own.max(scrubbed)
    }

    /// Puts what is known into points as they are listed.
    pub fn fill(&self, points: &mut [Point]) {
        for point in points {
            point.checked = self.points.get(&point.id).map(|known| known.checked.clone());
        }
    }

    fn record(&mut self, id: PointId, checked: Checked) {
        let is_whole = checked.depth == Depth::Full && checked.finding.is_none();
        let whole = is_whole.then_some(checked.at);
        let Some(known) = self.points.get_mut(&id) else {
            self.points.insert(id, Known { checked, whole });
            return;
        };
        known.whole = known.whole.max(whole);
        // A look at the index alone cannot clear what reading the bytes has found.
        let stays = known.checked.finding.is_some()
            && checked.finding.is_none()
            && checked.depth < known.checked.depth;
        if !stays {
            known.checked = checked;
        }
    }
}

/// The file.
#[derive(Debug, Clone)]
pub struct Catalogue {
    folder: PathBuf,
}

impl Catalogue {
    /// Of the agent whose state is in this folder.
    pub fn of(state: &Path) -> Self {
        Self { folder: super::folder_of(state) }
    }

    /// What is known; nothing when the file is missing or damaged.
    pub fn read(&self) -> Checks {
        let fresh = Checks { format: FORMAT.into(), ..Checks::default() };
        let bytes = match std::fs::read(self.path()) {
            Ok(bytes) => bytes,
            Err(cause) => {
                if cause.kind() != std::io::ErrorKind::NotFound {
                    tracing::warn!(%cause, "what checks of rollback points found cannot be read");
                }
                return fresh;
            }
        };
        match serde_json::from_slice::<Checks>(&bytes) {
            Ok(checks) if checks.format == FORMAT => checks,
            Ok(checks) => {
                tracing::warn!(
                    format = checks.format,
                    "what checks found is in another format, and begins anew"
                );
                fresh
            }
            Err(cause) => {
                tracing::warn!(%cause, "what checks found is damaged, and begins anew");
                fresh
            }
        }
    }

    /// Keeps what a check found. A catalogue that cannot be written is worth a
    /// line and nothing more: the check itself stands.
    pub fn record(&self, point: PointId, checked: Checked) {
        self.change(|checks| checks.record(point, checked));
    }

    pub fn record_drill(&self, service: &str, drill: Drill) {
        self.change(|checks| _ = checks.drills.insert(service.to_owned(), drill));
    }

    /// Every stored byte was read since `began`, and nothing was wrong.
    pub fn record_scrubbed(&self, began: Timestamp) {
        self.change(|checks| checks.scrubbed_since = Some(began));
    }

    /// Forgets points that are gone.
    pub fn retain(&self, there: &BTreeSet<PointId>) {
        self.change(|checks| checks.points.retain(|id, _| there.contains(id)));
    }

    fn change(&self, change: impl FnOnce(&mut Checks)) {
        let kept = (|| -> Result<(), Box<dyn std::error::Error>> {
            durable::create_directories(&self.folder, 0o700)?;
            let _lock = Lock::wait(&self.folder.join("checks.lock"))?;
            let mut checks = self.read();
            let before = checks.clone();
            change(&mut checks);
            if checks != before {
                let text = serde_json::to_string(&checks)?;
                durable::write(&self.path(), 0o600, format!("{text}\n").as_bytes())?;
            }
            Ok(())
        })();
        if let Err(error) = kept {
            tracing::warn!(%error, "what a check of a rollback point found cannot be kept");
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join("checks.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sternway_core::time::Millis;

    const ID: PointId = PointId([1; 32]);

    fn checked(at: u64, depth: Depth, finding: Option<&str>) -> Checked {
        Checked { at: Timestamp(at), depth, finding: finding.map(str::to_owned) }
    }

    #[test]
    fn what_reading_the_bytes_found_is_not_cleared_by_a_look_at_the_index() {
        let state = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::of(state.path());
        let known = || catalogue.read().points[&ID].clone();
        catalogue.record(ID, checked(1, Depth::Full, None));
        catalogue.record(ID, checked(2, Depth::Quick, None));
        assert_eq!(known(), Known { checked: checked(2, Depth::Quick, None), whole: Some(Timestamp(1)) });
        catalogue.record(ID, checked(3, Depth::Full, Some("pack 9a is damaged")));
        catalogue.record(ID, checked(4, Depth::Quick, None));
        assert_eq!(known().checked, checked(3, Depth::Full, Some("pack 9a is damaged")));
        catalogue.record(ID, checked(5, Depth::Quick, Some("pack 9a is gone")));
        assert_eq!(known().checked.finding.as_deref(), Some("pack 9a is gone"));
        catalogue.record(ID, checked(6, Depth::Full, None));
        assert_eq!(known(), Known { checked: checked(6, Depth::Full, None), whole: Some(Timestamp(6)) });
    }

    #[test]
    fn a_lost_or_damaged_catalogue_only_means_that_no_check_is_known() {
        let state = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::of(state.path());
        assert!(catalogue.read().points.is_empty());
        let drill = Drill { at: Timestamp(1), took: Millis(2), finding: None };
        catalogue.record_drill("agora", drill.clone());
        assert_eq!(catalogue.read().drills["agora"], drill);
        for bad in ["", "{\"format\":", "{\"format\":\"sternway.checks/9\"}", "[]"] {
            std::fs::write(catalogue.path(), bad).unwrap();
            assert!(catalogue.read().drills.is_empty(), "{bad}");
        }
        catalogue.record(ID, checked(1, Depth::Full, None));
        catalogue.retain(&BTreeSet::new());
        assert!(catalogue.read().points.is_empty());
    }

    #[test]
    fn many_writers_lose_nothing() {
        let state = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for writer in 0..8_u8 {
                let catalogue = Catalogue::of(state.path());
                scope.spawn(move || {
                    for number in 0..8 {
                        catalogue.record(PointId([writer * 8 + number; 32]), checked(1, Depth::Quick, None));
                    }
                });
            }
        });
        assert_eq!(Catalogue::of(state.path()).read().points.len(), 64);
    }
}
