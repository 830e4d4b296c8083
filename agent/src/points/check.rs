//! Is a point whole? Every file that restoring it takes is looked at, and when
//! it is asked for, every byte of them is compared with the digest that is the
//! file's name.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rustic_core::repofile::{IndexId, KeyId, PackId, SnapshotFile, SnapshotId};
use rustic_core::{FileType, Id, ReadBackend, TreeId};
use sha2::{Digest as _, Sha256};
use sternway_core::ids::PointId;
use sternway_core::point::Depth;

use super::list::deepest;
use super::making::Watch;
use super::pace::Pace;
use super::register::{Register, name};
use super::repository::Session;
use super::shelf::Shelf;
use super::{Indexed, Points, PointsError, guarded, inside, label};

/// Read in one go while a pack is compared with its digest.
const READ_BYTES: u32 = 4 << 20;
const READERS_MAX: usize = 8;

/// Packs whose id falls into `part` of `parts`, counted from 0: reading all
/// parts, one after the other, reads everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    pub part: u32,
    pub parts: u32,
}

/// What reading a share of the repository found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scrubbed {
    pub packs: u64,
    pub bytes: u64,
    /// Each file that is not as it was stored, and what is wrong with it.
    pub damaged: Vec<String>,
    /// This host's points that are hurt by it.
    pub points: Vec<PointId>,
}

impl Points {
    /// Checks that a point can be restored. Quick: the repository opens, the
    /// point's trees are read, every blob they name is in the index and every
    /// pack that holds one is there with the right length. Full: every byte of
    /// those packs is read too.
    ///
    /// # Errors
    /// `Damaged` with the first finding; `Unknown`.
    pub fn verify(&self, id: PointId, depth: Depth, watch: &Watch) -> Result<(), PointsError> {
        let damaged = |finding: String| PointsError::Damaged { id, finding };
        let session = self.session(None).map_err(|error| damaged(deepest(&error)))?;
        let (now, snapshot) = self.snapshot_or_finding(&session, id)?;
        let pace = Pace::new(watch, "looking", "files", None);
        check_frame(&session, self.key_id().as_ref(), Some(now), &pace).map_err(damaged)?;
        let register = Register::read(&session).map_err(|error| damaged(deepest(&error)))?;
        let indexed = self.fresh_index().map_err(|error| damaged(deepest(&error)))?;
        let needed = packs_of(&indexed, &snapshot, &pace).map_err(damaged)?;
        if let Some(finding) = needed.iter().find_map(|pack| register.finding(pack)) {
            return Err(damaged(finding));
        }
        pace.end();
        if depth == Depth::Quick {
            return Ok(());
        }
        let packs: Vec<(PackId, u32)> = needed
            .iter()
            .map(|pack| (*pack, register.there.get(pack).copied().unwrap_or_default()))
            .collect();
        let bytes = packs.iter().map(|(_, size)| u64::from(*size)).sum();
        let pace = Pace::new(watch, "checking", "bytes", Some(bytes));
        let findings = read_packs(&session.shelf, &packs, &pace, true);
        pace.end();
        match findings.into_iter().next() {
            Some((_, finding)) => Err(damaged(finding)),
            None => Ok(()),
        }
    }

    /// Reads a share of all packs, and everything else that is stored, again.
    ///
    /// # Errors
    /// The repository cannot be reached; damage is no error here.
    pub fn scrub(&self, share: Share, watch: &Watch) -> Result<Scrubbed, PointsError> {
        let mut scrubbed = Scrubbed::default();
        let session = match self.session(None) {
            Ok(session) => session,
            Err(error) => {
                scrubbed.damaged.push(deepest(&error));
                return Ok(scrubbed);
            }
        };
        let pace = Pace::new(watch, "looking", "files", None);
        scrubbed.damaged.extend(check_frame(&session, self.key_id().as_ref(), None, &pace).err());
        let all = self.all_snapshots(&session)?;
        scrubbed.damaged.extend(all.unread);
        let register = match Register::read(&session) {
            Ok(register) => register,
            Err(error) => {
                scrubbed.damaged.push(deepest(&error));
                scrubbed.points =
                    self.offered(&session)?.iter().map(|(id, file)| label::point_id(*id, file)).collect();
                return Ok(scrubbed);
            }
        };
        let mut hurt: BTreeSet<PackId> = BTreeSet::new();
        for pack in register.packs.iter().filter(|(_, pack)| !pack.is_marked).map(|(id, _)| id) {
            if let Some(finding) = register.finding(pack) {
                scrubbed.damaged.push(finding);
                hurt.insert(*pack);
            }
        }
        let parts = share.parts.max(1);
        let is_meant = |id: &PackId| id.as_u32() % parts == share.part % parts && !hurt.contains(id);
        let packs: Vec<(PackId, u32)> = register
            .there
            .iter()
            .filter(|(id, _)| register.packs.get(id).is_some_and(|pack| !pack.is_marked) && is_meant(id))
            .map(|(id, size)| (*id, *size))
            .collect();
        scrubbed.packs = packs.len() as u64;
        scrubbed.bytes = packs.iter().map(|(_, size)| u64::from(*size)).sum();
        let pace = Pace::new(watch, "scrubbing", "bytes", Some(scrubbed.bytes));
        for (pack, finding) in read_packs(&session.shelf, &packs, &pace, false) {
            scrubbed.damaged.push(finding);
            hurt.insert(pack);
        }
        pace.end();
        let lost = self.lost(&session);
        if !hurt.is_empty() || lost.is_some() {
            scrubbed.points = self.hurt_by(&session, &hurt)?;
        }
        scrubbed.damaged.extend(lost);
        Ok(scrubbed)
    }

    /// What a point of this host names and the index does not; each tree is
    /// looked at once, however many points have it.
    fn lost(&self, session: &Session) -> Option<String> {
        let look = || -> Result<(), String> {
            let indexed = self.fresh_index().map_err(|error| deepest(&error))?;
            let pace = Pace::new(&super::making::nobody(), "looking", "files", None);
            let mut seen = HashSet::new();
            for (_, snapshot) in self.offered(session).map_err(|error| deepest(&error))? {
                packs_of_new(&indexed, &snapshot, &pace, &mut seen)?;
            }
            Ok(())
        };
        look().err()
    }

    fn hurt_by(&self, session: &Session, packs: &BTreeSet<PackId>) -> Result<Vec<PointId>, PointsError> {
        let indexed = self.fresh_index()?;
        let pace = Pace::new(&super::making::nobody(), "looking", "files", None);
        let mut points = Vec::new();
        for (id, snapshot) in self.offered(session)? {
            let is_hurt =
                packs_of(&indexed, &snapshot, &pace).map_or(true, |needed| !needed.is_disjoint(packs));
            if is_hurt {
                points.push(label::point_id(id, &snapshot));
            }
        }
        Ok(points)
    }

    fn fresh_index(&self) -> Result<super::SharedIndexed, PointsError> {
        self.forget_index();
        self.index()
    }

    /// A point whose snapshot file is damaged is not unknown, it is damaged.
    fn snapshot_or_finding(
        &self,
        session: &Session,
        id: PointId,
    ) -> Result<(SnapshotId, SnapshotFile), PointsError> {
        let found = self.snapshot(session, id);
        if let Err(PointsError::Unknown { .. }) = &found
            && let Some(finding) = self.all_snapshots(session)?.unread.into_iter().next()
        {
            let finding = format!("it is not among those that can be read; {finding}");
            return Err(PointsError::Damaged { id, finding });
        }
        found
    }
}

/// The small files without which nothing is found: the key, the index and one
/// snapshot or all of them, each compared with its name. `config` was read when
/// the session began.
fn check_frame(
    session: &Session,
    key: Option<&KeyId>,
    only: Option<SnapshotId>,
    pace: &Pace,
) -> Result<(), String> {
    let list = |kind| session.shelf.list(kind).map_err(|error| super::in_a_line(&error));
    let mut files: Vec<(FileType, Id)> = Vec::new();
    match key {
        Some(key) => files.push((FileType::Key, key.into_inner())),
        None => files.extend(list(FileType::Key)?.into_iter().map(|id| (FileType::Key, id))),
    }
    match only {
        Some(snapshot) => files.push((FileType::Snapshot, snapshot.into_inner())),
        None => files.extend(list(FileType::Snapshot)?.into_iter().map(|id| (FileType::Snapshot, id))),
    }
    let index: Vec<IndexId> = list(FileType::Index)?.into_iter().map(IndexId::from).collect();
    files.extend(index.into_iter().map(|id| (FileType::Index, id.into_inner())));
    for (kind, id) in files {
        let what = match kind {
            FileType::Key => "key",
            FileType::Index => "index",
            _ => "snapshot",
        };
        let bytes = session
            .shelf
            .read_full(kind, &id)
            .map_err(|error| format!("{what} `{}`: {}", name(&id), super::in_a_line(&error)))?;
        if hex_of(Sha256::digest(&bytes).as_slice()) != name(&id) {
            return Err(format!("{what} `{}` does not hold what was stored", name(&id)));
        }
        pace.add(1);
    }
    Ok(())
}

/// The packs that hold anything of a point.
pub(super) fn packs_of(
    indexed: &Indexed,
    snapshot: &SnapshotFile,
    pace: &Pace,
) -> Result<BTreeSet<PackId>, String> {
    packs_of_new(indexed, snapshot, pace, &mut HashSet::new())
}

/// Of those trees that were not seen before.
fn packs_of_new(
    indexed: &Indexed,
    snapshot: &SnapshotFile,
    pace: &Pace,
    seen: &mut HashSet<TreeId>,
) -> Result<BTreeSet<PackId>, String> {
    let mut packs = BTreeSet::new();
    let mut last_data = None;
    let entry = |error: PointsError| deepest(&error);
    packs.insert(guarded("read", || indexed.get_index_entry(&snapshot.tree)).map_err(entry)?.pack);
    let mut add = |path: &std::path::Path, node: &rustic_core::repofile::Node| {
        let missing = |error: PointsError| format!("`{}`: {}", path.display(), deepest(&error));
        if node.is_file() && node.content.is_none() && node.meta.size > 0 {
            return Err(format!("`{}` has no content", path.display()));
        }
        for id in node.content.iter().flatten() {
            let pack = guarded("read", || indexed.get_index_entry(id)).map_err(missing)?.pack;
            if last_data.replace(pack) != Some(pack) {
                packs.insert(pack);
            }
        }
        if let Some(tree) = &node.subtree {
            packs.insert(guarded("read", || indexed.get_index_entry(tree)).map_err(missing)?.pack);
        }
        pace.add(1);
        Ok(())
    };
    inside::walk(indexed, snapshot.tree, seen, &mut add)?;
    Ok(packs)
}

/// Compares packs with their names, several at a time.
fn read_packs(
    shelf: &Shelf,
    packs: &[(PackId, u32)],
    pace: &Pace,
    is_first_enough: bool,
) -> Vec<(PackId, String)> {
    let next = AtomicUsize::new(0);
    let findings = Mutex::new(Vec::new());
    let readers =
        std::thread::available_parallelism().map_or(1, usize::from).min(READERS_MAX).min(packs.len());
    let read = || {
        while let Some((pack, size)) = packs.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(finding) = read_pack(shelf, pack, *size, pace) {
                findings.lock().unwrap_or_else(PoisonError::into_inner).push((*pack, finding));
                if is_first_enough {
                    next.store(packs.len(), Ordering::Relaxed);
                }
            }
        }
    };
    std::thread::scope(|scope| (0..readers).for_each(|_| drop(scope.spawn(read))));
    let mut findings = findings.into_inner().unwrap_or_else(PoisonError::into_inner);
    findings.sort();
    findings
}

fn read_pack(shelf: &Shelf, pack: &PackId, size: u32, pace: &Pace) -> Result<(), String> {
    let mut hasher = Sha256::new();
    let mut offset = 0;
    while offset < size {
        let length = READ_BYTES.min(size - offset);
        let bytes = guarded("read", || shelf.read_partial(FileType::Pack, pack, false, offset, length))
            .map_err(|error| format!("pack `{}`: {}", name(pack), deepest(&error)))?;
        if bytes.len() != length as usize {
            return Err(format!("pack `{}` is shorter than it should be", name(pack)));
        }
        hasher.update(&bytes);
        pace.add(u64::from(length));
        offset += length;
    }
    match hex_of(hasher.finalize().as_slice()) == name(pack) {
        true => Ok(()),
        false => Err(format!("pack `{}` does not hold what was stored", name(pack))),
    }
}

fn hex_of(bytes: &[u8]) -> String {
    crate::capabilities::files::hex(bytes)
}
