//! Tags, and points that are kept for ever. A snapshot file is never changed:
//! a new one is stored, which names the first, and then the old one goes, so a
//! point keeps its id whatever is tagged.

use rustic_core::repofile::SnapshotFile;
use sternway_core::ids::PointId;
use sternway_core::point::{Kept, Point};

use super::{Points, PointsError, label};
use crate::crash;

impl Points {
    /// Adds a tag, and says who wants the point for ever when `kept` is given.
    ///
    /// # Errors
    /// A tag that is none; no such point; the repository cannot be written to.
    pub fn tag(&self, id: PointId, tag: &str, kept: Option<Kept>) -> Result<Point, PointsError> {
        label::check_tag(tag)?;
        self.change(id, |snapshot| {
            label::change_tag(snapshot, tag, true);
            if let Some(kept) = &kept {
                label::write_kept(snapshot, Some(kept));
            }
        })
    }

    /// Takes a tag away; without one, the wish to keep the point for ever.
    ///
    /// # Errors
    /// As [`Self::tag`].
    pub fn untag(&self, id: PointId, tag: Option<&str>) -> Result<Point, PointsError> {
        self.change(id, |snapshot| match tag {
            Some(tag) => label::change_tag(snapshot, tag, false),
            None => label::write_kept(snapshot, None),
        })
    }

    fn change(&self, id: PointId, change: impl FnOnce(&mut SnapshotFile)) -> Result<Point, PointsError> {
        let _change = self.locks.change()?;
        let (old, before) = self.snapshot(&self.session(None)?, id)?;
        let mut snapshot = before.clone();
        change(&mut snapshot);
        if snapshot.tags == before.tags {
            return Ok(label::read(old, &before));
        }
        snapshot.original = Some(before.original.unwrap_or(old));
        label::set_turn(&mut snapshot, label::turn(&before) + 1);
        let new = self.save(&snapshot)?;
        crash::point("points.tagged", "");
        if let Err(error) = self.delete(&[old]) {
            // The newer one counts, and the next making takes the older one away.
            tracing::warn!(error = %super::list::deepest(&error), "an earlier turn of a point was left behind");
        }
        Ok(label::read(new, &snapshot))
    }
}
