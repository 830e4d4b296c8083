//! Points go. First they are no longer offered; then what only they needed is
//! marked, and removed by a later prune when no restore that began before can
//! still be reading it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use rustic_core::jiff::Span;
use rustic_core::repofile::{IndexId, PackId, SnapshotFile, SnapshotId};
use rustic_core::{BlobId, FileType, LimitOption, PruneOptions, ReadBackend, RepairIndexOptions, TreeId};
use sternway_core::ids::PointId;
use sternway_core::point::Depth;

use super::list::deepest;
use super::making::{Watch, nobody};
use super::register::{Pack, Register};
use super::{Indexed, LibraryError, Points, PointsError, guarded, label};
use crate::crash;

/// What is marked stays this long, for whoever is still reading it.
const MARKED_STAYS: Duration = Duration::from_secs(23 * 3_600);
/// A century: longer ones cannot be taken from a date.
const STAYS_SECONDS_MAX: i64 = 100 * 365 * 86_400;
/// Of all stored bytes: rewriting more for little gain would only wear the disk.
const REPACK_PER_CENT: u64 = 10;
const UNUSED_PER_CENT: u64 = 5;

/// What the repository takes, for judging what has to go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Weights {
    /// Bytes of all files of the repository.
    pub used: u64,
    /// Bytes that only this point needs: what its going frees at the least.
    pub own: BTreeMap<PointId, u64>,
}

impl Points {
    /// What everything takes, and each point of this host alone.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub fn weigh(&self) -> Result<Weights, PointsError> {
        let session = self.session(None)?;
        let kinds = [FileType::Config, FileType::Key, FileType::Snapshot, FileType::Index, FileType::Pack];
        let mut used = 0;
        for kind in kinds {
            let files = guarded("list the files of", || session.shelf.list_with_size(kind))?;
            used += files.iter().map(|(_, size)| u64::from(*size)).sum::<u64>();
        }
        let indexed = self.index()?;
        let ours: BTreeMap<SnapshotId, PointId> =
            self.offered(&session)?.iter().map(|(id, file)| (*id, label::point_id(*id, file))).collect();
        let mut owners = Owners { indexed: &indexed, of: HashMap::new(), own: Vec::new() };
        let mut names = Vec::new();
        for (id, snapshot) in self.all_snapshots(&session)?.found {
            names.push(ours.get(&id).copied());
            if let Err(finding) = owners.take(&snapshot) {
                tracing::warn!(finding, "a point could not be weighed whole");
            }
        }
        let own = names.into_iter().zip(owners.own).filter_map(|(name, own)| Some((name?, own)));
        Ok(Weights { used, own: own.collect() })
    }

    /// Drops points and gives their space free, as far as nobody needs it. A
    /// second prune, a day later, removes what the first one marked; so call
    /// it with no points now and then. Answers how many bytes are free or marked;
    /// none while a point is being made, which a prune does not wait for.
    ///
    /// # Errors
    /// No such point: then none is dropped. The repository cannot be changed.
    pub fn drop_points(&self, ids: &[PointId], watch: &Watch) -> Result<u64, PointsError> {
        self.drop_points_within(ids, MARKED_STAYS, watch)
    }

    /// As [`Self::drop_points`], where what is marked stays for `stays` only:
    /// when space is short. A restore that takes longer than that may fail.
    ///
    /// # Errors
    /// As [`Self::drop_points`].
    pub fn drop_points_within(
        &self,
        ids: &[PointId],
        stays: Duration,
        watch: &Watch,
    ) -> Result<u64, PointsError> {
        self.forget(ids)?;
        crash::point("points.forgotten", "");
        let Some(_alone) = self.locks.prune()? else {
            tracing::info!("a point is being made: the next prune gives the space free");
            return Ok(0);
        };
        let freed = self.prune(stays, watch);
        self.forget_index();
        freed
    }

    /// A pack that is lost is taken out of the index, so that what was in it is
    /// stored again with the next point that holds it. Only where what is there
    /// is known for sure: another machine's list may be short for a while. Says
    /// whether anything was lost.
    pub(super) fn mend_index(&self) -> Result<bool, PointsError> {
        if self.place.as_folder().is_none() {
            return Ok(false);
        }
        let session = self.session(None)?;
        let register = Register::read(&session)?;
        let is_lost =
            |(id, pack): (&PackId, &Pack)| (!pack.is_marked).then(|| register.finding(id)).flatten();
        let lost: Vec<String> = register.packs.iter().filter_map(is_lost).collect();
        let Some(first) = lost.first() else { return Ok(false) };
        tracing::error!(
            packs = lost.len(),
            first,
            "the repository has lost data; it is stored again where the host has it"
        );
        guarded("mend the index of", || {
            session.repository.repair_index(&RepairIndexOptions::default(), false)
        })?;
        self.forget_index();
        Ok(true)
    }

    pub(super) fn index_files(&self) -> Result<BTreeSet<IndexId>, PointsError> {
        let session = self.session(None)?;
        Ok(guarded("list the index of", || session.repository.list::<IndexId>())?.collect())
    }

    /// Takes back what a prune that did not know of a point has marked.
    pub(super) fn recover(&self, id: PointId) -> Result<(), PointsError> {
        let watch = nobody();
        if self.verify(id, Depth::Quick, &watch).is_ok() {
            return Ok(());
        }
        let session = self.session(None)?;
        let options = PruneOptions::default()
            .keep_delete(Span::new().seconds(STAYS_SECONDS_MAX))
            .max_repack(LimitOption::Percentage(0))
            .max_unused(LimitOption::Unlimited)
            .no_resize(true);
        let plan = guarded("look for what can stay in", || session.repository.prune_plan(&options))?;
        guarded("take back what was marked in", || session.repository.prune(&options, plan))?;
        self.forget_index();
        self.verify(id, Depth::Quick, &watch)
    }

    fn forget(&self, ids: &[PointId]) -> Result<(), PointsError> {
        if ids.is_empty() {
            return Ok(());
        }
        let _change = self.locks.change()?;
        let session = self.session(None)?;
        let mut snapshots = Vec::new();
        for id in ids {
            snapshots.push(self.snapshot(&session, *id)?.0);
        }
        self.delete(&snapshots)
    }

    fn prune(&self, stays: Duration, watch: &Watch) -> Result<u64, PointsError> {
        let session = self.session(Some((watch, "repacking")))?;
        let seconds = i64::try_from(stays.as_secs()).unwrap_or(i64::MAX).min(STAYS_SECONDS_MAX);
        let options = PruneOptions::default()
            .keep_delete(Span::new().seconds(seconds))
            .max_repack(LimitOption::Percentage(REPACK_PER_CENT))
            .max_unused(LimitOption::Percentage(UNUSED_PER_CENT));
        let plan = guarded("look for what can go from", || session.repository.prune_plan(&options))?;
        let freed = plan.stats.size_to_delete.remove
            + plan.stats.size_sum().remove
            + plan.stats.size_sum().repackrm
            + plan.stats.size_unref;
        guarded("prune", || session.repository.prune(&options, plan))?;
        match session.shelf.failure() {
            Some(failure) => Err(PointsError::Repository { step: "prune", cause: LibraryError(failure) }),
            None => Ok(freed),
        }
    }
}

/// Who needs a blob: one snapshot, by its number, or more than one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    One(usize),
    Many,
}

struct Owners<'a> {
    indexed: &'a Indexed,
    of: HashMap<BlobId, Owner>,
    /// By the number of the snapshot.
    own: Vec<u64>,
}

impl Owners<'_> {
    /// Every tree is read twice at most: when it has its first owner, and when
    /// it gets its second.
    fn take(&mut self, snapshot: &SnapshotFile) -> Result<(), String> {
        let number = self.own.len();
        self.own.push(0);
        let mut left: Vec<TreeId> = Vec::new();
        if self.own_tree(number, snapshot.tree)? {
            left.push(snapshot.tree);
        }
        while let Some(tree) = left.pop() {
            let nodes =
                guarded("read", || self.indexed.get_tree(&tree)).map_err(|error| deepest(&error))?.nodes;
            for node in nodes {
                for id in node.content.iter().flatten() {
                    let indexed = self.indexed;
                    let length =
                        || guarded("read", || indexed.get_index_entry(id)).map(|entry| entry.location.length);
                    self.own_blob(number, BlobId::from(*id), length)?;
                }
                if let Some(subtree) = node.subtree
                    && self.own_tree(number, subtree)?
                {
                    left.push(subtree);
                }
            }
        }
        Ok(())
    }

    fn own_tree(&mut self, number: usize, tree: TreeId) -> Result<bool, String> {
        let indexed = self.indexed;
        let length = || guarded("read", || indexed.get_index_entry(&tree)).map(|entry| entry.location.length);
        self.own_blob(number, BlobId::from(tree), length)
    }

    /// Says whether the owner of the blob has changed.
    fn own_blob(
        &mut self,
        number: usize,
        blob: BlobId,
        length: impl FnOnce() -> Result<u32, PointsError>,
    ) -> Result<bool, String> {
        let before = self.of.get(&blob).copied();
        let (now, weight): (Owner, Option<(usize, bool)>) = match before {
            None => (Owner::One(number), Some((number, true))),
            Some(Owner::One(other)) if other != number => (Owner::Many, Some((other, false))),
            Some(_) => return Ok(false),
        };
        let length = u64::from(length().map_err(|error| deepest(&error))?);
        if let Some((of, is_more)) = weight {
            let own = &mut self.own[of];
            *own = if is_more { *own + length } else { own.saturating_sub(length) };
        }
        self.of.insert(blob, now);
        Ok(true)
    }
}
