//! How a point comes to be, in five moves: everything is stored under a
//! snapshot that is not offered, the point describes itself, its manifest is
//! stored in one tree with the rest, a snapshot of that is saved, which is the
//! moment from which the point is there, and the unfinished ones go. Whoever
//! dies in between leaves what nobody is offered and the next making takes away.
//!
//! The index is read whole twice: for packs that are lost, and to store. What
//! comes after looks into the part that was written since, and asks the rest
//! only for what is not in it.

mod join;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use rustic_core::jiff::{self, SignedDuration};
use rustic_core::repofile::{IndexId, Node, SnapshotFile, SnapshotId};
use rustic_core::{
    BackupOptions, FileType, IndexedIdsStatus, ParentOptions, ReadSource, ReadSourceEntry, Repository,
    RusticResult, TreeId,
};
use sternway_core::ids::Digest;
use sternway_core::point::{FORMAT, Manifest, Piece, Point};

use super::locks::Maker;
use super::making::{Making, Watch};
use super::pace::Pace;
use super::repository::Session;
use super::source::{Single, Source};
use super::{Indexed, LibraryError, Points, PointsError, guarded, inside, label};
use crate::capabilities::files::HostPath;
use crate::crash;

/// Earlier points that a making looks at for files that have not changed.
const PARENTS_MAX: usize = 3;
/// Two changes of a file can have one time when they are this close.
const RACY: SignedDuration = SignedDuration::from_secs(2);
/// What stands for a time that must not be taken for the file's: no file was changed then.
const LONG_BEFORE: SignedDuration = SignedDuration::from_hours(100 * 365 * 24);

type Snapshots = Vec<(SnapshotId, SnapshotFile)>;
/// The index as it was when a making began.
type IndexFiles = BTreeSet<IndexId>;
/// Reads trees, and knows of everything else whether it is there.
type Writer = Repository<IndexedIdsStatus>;

/// Trees by their ids: those written since a moment, and all of before.
struct Trees<'a> {
    fresh: &'a Indexed,
    old: &'a Writer,
}

impl Trees<'_> {
    fn nodes(&self, id: &TreeId) -> Result<Vec<Node>, PointsError> {
        let is_fresh = self.fresh.get_index_entry(id).is_ok();
        let tree = guarded("read", || if is_fresh { self.fresh.get_tree(id) } else { self.old.get_tree(id) });
        Ok(tree?.nodes)
    }
}

/// What was stored, under a snapshot that is not offered.
struct Stored {
    snapshot: SnapshotFile,
    writer: Writer,
}

impl Points {
    /// Makes a point. It is there, on disk and whole, when this returns it.
    ///
    /// # Errors
    /// Anything that could not be read or stored: then there is no point.
    pub fn make(&self, making: Making, watch: &Watch) -> Result<Point, PointsError> {
        making.tags.iter().try_for_each(|tag| label::check_tag(tag))?;
        check_paths(&making)?;
        let maker = self.locks.make()?;
        let offered = self.sweep()?;
        if self.mend_index()? {
            self.distrusts.store(true, Ordering::Relaxed);
        }
        let index = self.index_files()?;
        let mut unfinished = Vec::new();
        let made = self.make_as((&maker, &offered, &index), making, watch, &mut unfinished);
        self.forget_index();
        // Not being offered is what matters; the rest is tidiness.
        if !unfinished.is_empty()
            && let Err(error) = self.delete(&unfinished)
        {
            tracing::warn!(error = %super::list::deepest(&error), "an unfinished point was left behind");
        }
        // Whatever is wrong with the repository, the next making reads everything.
        self.distrusts.store(matches!(made, Err(PointsError::Repository { .. })), Ordering::Relaxed);
        let made = made?;
        if !index.is_subset(&self.index_files()?) {
            // Another host that shares the repository has pruned it meanwhile.
            self.recover(made.id)?;
        }
        Ok(made)
    }

    fn make_as(
        &self,
        (maker, offered, before): (&Maker, &Snapshots, &IndexFiles),
        making: Making,
        watch: &Watch,
        unfinished: &mut Vec<SnapshotId>,
    ) -> Result<Point, PointsError> {
        let mut pieces = Pieces::of(&making);
        let Making { service, version, kind, origin, tags, reason, by, paths, extras } = making;
        let mut snapshot = SnapshotFile {
            hostname: self.host.as_str().to_owned(),
            program_version: concat!("sternway ", env!("CARGO_PKG_VERSION")).to_owned(),
            ..SnapshotFile::default()
        };
        label::mark_incomplete(&mut snapshot, &maker.name);
        let paths: Vec<HostPath> = paths.into_iter().map(|(_, path)| path).collect();
        let source = Source::of(&self.root, &paths, extras)?;
        let Stored { snapshot: stored, writer } =
            self.store(&snapshot, (source, offered), &pieces, watch, unfinished)?;
        crash::point("points.archived", "");

        let pace = Pace::new(watch, "describing", "pieces", Some(pieces.list.len() as u64));
        let fresh = self.fresh(before)?;
        let trees = Trees { fresh: &fresh, old: &writer };
        pieces.describe(&trees, &stored, &pace)?;
        let (files, of_host) = pieces.seen();
        let of_extras: u64 = pieces
            .list
            .iter()
            .filter(|piece| Path::new(&piece.at).starts_with(label::OURS))
            .map(|piece| piece.bytes)
            .sum();
        let tags: BTreeSet<String> = tags.into_iter().collect();
        let point = Point {
            id: sternway_core::ids::PointId([0; 32]),
            made: label::made(&snapshot),
            service,
            version,
            kind,
            origin,
            tags: tags.into_iter().collect(),
            kept: None,
            reason,
            by,
            paths: stored.paths.iter().filter(|path| *path != label::OURS).cloned().collect(),
            bytes: of_host + of_extras,
            files,
            checked: None,
        };
        let manifest = self.manifest_of(&point, pieces.list);
        let text = serde_json::to_vec_pretty(&manifest).expect("a manifest has no keys but texts");
        crash::point("points.described", "");
        let tree = self.join(&trees, &stored, text, before, (&snapshot, unfinished))?;
        crash::point("points.merged", "");
        self.offer(&point, SnapshotFile { tree, original: None, ..stored })
    }

    /// Only what was written since.
    fn fresh(&self, before: &IndexFiles) -> Result<Indexed, PointsError> {
        let session = self.session_since(before)?;
        guarded("read the index of", || session.repository.to_indexed())
    }

    /// Everything but the manifest, under a snapshot that is not offered.
    fn store(
        &self,
        snapshot: &SnapshotFile,
        (mut source, offered): (Source, &Snapshots),
        pieces: &Pieces,
        watch: &Watch,
        unfinished: &mut Vec<SnapshotId>,
    ) -> Result<Stored, PointsError> {
        let began = jiff::Timestamp::now();
        source.learn(&mut |stream| self.store_stream(snapshot, stream, unfinished))?;
        let problems = source.problems();
        let mut tops = source.tops();
        if tops.is_empty() {
            tops.push(PathBuf::from(label::OURS));
        }
        // The library takes a tree of an earlier point for stored without looking.
        let parents = match self.distrusts.load(Ordering::Relaxed) {
            true => Vec::new(),
            false => parents(offered, &tops),
        };
        // About as much as the last time, or else the tree is walked twice.
        let summary = parents.first().and_then(|(_, parent)| parent.summary.as_ref());
        let about = summary.map(|summary| summary.total_bytes_processed);
        let name = |(id, _): &(SnapshotId, SnapshotFile)| id.into_inner().to_hex().as_str().to_owned();
        let names: Vec<String> = parents.iter().map(|parent| name(parent)).collect();
        let options = BackupOptions::default()
            .no_scan(about.is_some())
            .parent_opts(ParentOptions::default().force(names.is_empty()).parents(names));
        let Session { repository, shelf } = self.session_of((watch, "reading"), about)?;
        let writer = guarded("read the index of", || repository.to_indexed_ids())?;
        let sifted = Sifted { source, began, pieces: pieces.clone() };
        let stored = guarded("write to", || writer.archive(&options, &sifted, snapshot.clone(), &tops))?;
        unfinished.push(stored.id);
        if let Some((count, first)) = problems.summary() {
            return Err(PointsError::Incomplete { count, first });
        }
        if let Some(failure) = shelf.failure() {
            return Err(PointsError::Repository { step: "write to", cause: LibraryError(failure) });
        }
        let (seen, _) = pieces.seen();
        let files = stored.summary.as_ref().map_or(0, |summary| summary.total_files_processed);
        if files != seen {
            let first = format!("of {seen} files {files} were stored");
            return Err(PointsError::Incomplete { count: 1, first });
        }
        Ok(Stored { snapshot: stored, writer })
    }

    /// A long stream alone, so that its length is known; not offered either.
    fn store_stream(
        &self,
        snapshot: &SnapshotFile,
        stream: &Single,
        unfinished: &mut Vec<SnapshotId>,
    ) -> Result<(Arc<Indexed>, TreeId), PointsError> {
        let session = self.session(None)?;
        let writer = guarded("read the index of", || session.repository.to_indexed_ids())?;
        let options =
            BackupOptions::default().no_scan(true).parent_opts(ParentOptions::default().force(true));
        let top = [PathBuf::from(label::OURS)];
        let stored = guarded("write to", || writer.archive(&options, stream, snapshot.clone(), &top))?;
        unfinished.push(stored.id);
        if let Some(failure) = session.shelf.failure() {
            return Err(PointsError::Repository { step: "write to", cause: LibraryError(failure) });
        }
        Ok((self.index()?, stored.tree))
    }

    fn manifest_of(&self, point: &Point, pieces: Vec<Piece>) -> Manifest {
        Manifest {
            format: FORMAT,
            host: self.host.clone(),
            service: point.service.clone(),
            version: point.version.clone(),
            kind: point.kind,
            origin: point.origin.clone(),
            reason: point.reason.clone(),
            by: point.by.clone(),
            made: point.made,
            pieces,
        }
    }

    /// From here on the point is there.
    fn offer(&self, point: &Point, mut snapshot: SnapshotFile) -> Result<Point, PointsError> {
        label::write(&mut snapshot, point);
        let id = self.save(&snapshot)?;
        crash::point("points.offered", "");
        Ok(Point { id: label::own_id(id), ..point.clone() })
    }

    /// Saves one snapshot file, on disk when this returns.
    pub(super) fn save(&self, snapshot: &SnapshotFile) -> Result<SnapshotId, PointsError> {
        let session = self.session(None)?;
        guarded("write to", || session.repository.save_snapshots(vec![snapshot.clone()]))?;
        let id = session.shelf.newest_written(FileType::Snapshot);
        let id = id.ok_or_else(|| PointsError::Repository {
            step: "write to",
            cause: LibraryError("the snapshot was not written".into()),
        })?;
        Ok(SnapshotId::from(id))
    }

    pub(super) fn delete(&self, ids: &[SnapshotId]) -> Result<(), PointsError> {
        let session = self.session(None)?;
        guarded("tidy", || session.repository.delete_snapshots(ids))
    }

    /// Takes away what dead makers of this host left. Answers the points there are.
    fn sweep(&self) -> Result<Snapshots, PointsError> {
        let _change = self.locks.change()?;
        let session = self.session(None)?;
        let all = self.all_snapshots(&session)?.found;
        let points = self.offered_among(all.clone());
        let offered: BTreeSet<SnapshotId> = points.iter().map(|(id, _)| *id).collect();
        let mut left = Vec::new();
        for (id, snapshot) in all.iter().filter(|(_, snapshot)| self.is_ours(snapshot)) {
            let is_left = match label::is_incomplete(snapshot) {
                true => !self.locks.is_alive(&label::maker(snapshot).unwrap_or_default())?,
                // An earlier turn of a point that was being tagged.
                false => !offered.contains(id),
            };
            if is_left {
                left.push(*id);
            }
        }
        self.locks.sweep()?;
        if !left.is_empty() {
            tracing::info!(
                snapshots = left.len(),
                "unfinished points of a maker that is gone are taken away"
            );
            self.delete(&left)?;
        }
        Ok(points)
    }
}

/// Earlier points that hold the same paths, or some of them: the newest of those
/// that hold the most, and what is newer still.
fn parents<'a>(offered: &'a Snapshots, tops: &[PathBuf]) -> Vec<&'a (SnapshotId, SnapshotFile)> {
    let wanted: BTreeSet<String> = tops.iter().map(|top| top.to_string_lossy().into_owned()).collect();
    let lacks = |snapshot: &SnapshotFile| {
        let paths: BTreeSet<String> = snapshot.paths.iter().cloned().collect();
        if paths == wanted {
            return 0;
        }
        let meets = |top: &&PathBuf| {
            paths.iter().any(|path| top.starts_with(path) || Path::new(path).starts_with(top))
        };
        1 + tops.iter().filter(|top| !meets(top)).count()
    };
    let mut ranked: Vec<(usize, &(SnapshotId, SnapshotFile))> = offered
        .iter()
        .map(|offered| (lacks(&offered.1), offered))
        .filter(|(lacks, _)| *lacks < 1 + tops.len())
        .collect();
    ranked.sort_by(|(a, (_, first)), (b, (_, second))| a.cmp(b).then_with(|| second.time.cmp(&first.time)));
    if let Some((0, (_, same))) = ranked.first().copied() {
        ranked
            .retain(|(lacks, (_, other))| (*lacks == 0 && other.time == same.time) || other.time > same.time);
    }
    ranked.into_iter().take(PARENTS_MAX).map(|(_, offered)| offered).collect()
}

fn check_paths(making: &Making) -> Result<(), PointsError> {
    if making.paths.is_empty() && making.extras.is_empty() {
        return Err(PointsError::Empty);
    }
    let ours = HostPath::parse(label::OURS)?;
    match making.paths.iter().find(|(_, path)| path.is_within(&ours)) {
        Some((_, path)) => Err(PointsError::Ours { path: path.as_str().to_owned() }),
        None => Ok(()),
    }
}

/// The pieces of a point while they are counted.
#[derive(Debug, Clone)]
struct Pieces {
    list: Vec<Piece>,
    /// Entries and bytes, for each piece.
    counts: Arc<Mutex<Vec<(u64, u64)>>>,
    /// Everything that is no folder, and the bytes of the host's files.
    seen: Arc<Mutex<(u64, u64)>>,
}

impl Pieces {
    fn of(making: &Making) -> Self {
        let piece = |kind, name: &str, at: String, note: &str| Piece {
            kind,
            name: name.to_owned(),
            at,
            entries: 0,
            bytes: 0,
            digest: Digest([0; 32]),
            note: note.to_owned(),
        };
        let mut list: Vec<Piece> = Vec::new();
        for (kind, path) in &making.paths {
            list.push(piece(*kind, path.as_str(), path.as_str().to_owned(), ""));
        }
        for extra in &making.extras {
            let at = format!("{}/{}/{}", label::OURS, extra.kind.name(), extra.file);
            list.push(piece(extra.kind, &extra.name, at, &extra.note));
        }
        let counts = Arc::new(Mutex::new(vec![(0, 0); list.len()]));
        Self { list, counts, seen: Arc::default() }
    }

    fn seen(&self) -> (u64, u64) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, path: &Path, node: &Node) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.0 += u64::from(!node.is_dir());
        seen.1 += if node.is_file() && !path.starts_with(label::OURS) { node.meta.size } else { 0 };
        drop(seen);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for (piece, (entries, bytes)) in self.list.iter().zip(counts.iter_mut()) {
            if path.starts_with(&piece.at) {
                *entries += 1;
                *bytes += if node.is_file() { node.meta.size } else { 0 };
            }
        }
    }

    /// Fills in what was stored.
    fn describe(&mut self, trees: &Trees<'_>, stored: &SnapshotFile, pace: &Pace) -> Result<(), PointsError> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (piece, (entries, bytes)) in self.list.iter_mut().zip(counts) {
            let at = HostPath::parse(&piece.at)?;
            let node = inside::node_among(&|tree| trees.nodes(tree), stored.tree, &at)?
                .ok_or_else(|| PointsError::Incomplete { count: 1, first: format!("`{}`", piece.at) })?;
            piece.entries = entries;
            piece.bytes = if node.is_file() { node.meta.size } else { bytes };
            piece.digest = inside::digest(&node);
            pace.add(1);
        }
        Ok(())
    }
}

/// A source whose entries are counted, and where no file that may still be
/// changing looks as if its times could be trusted the next time.
struct Sifted {
    source: Source,
    began: jiff::Timestamp,
    pieces: Pieces,
}

struct SiftedEntries {
    entries: <Source as ReadSource>::Iter,
    began: jiff::Timestamp,
    pieces: Pieces,
}

impl ReadSource for Sifted {
    type Open = <Source as ReadSource>::Open;
    type Iter = SiftedEntries;

    fn size(&self) -> RusticResult<Option<u64>> {
        self.source.size()
    }

    fn entries(&self) -> Self::Iter {
        SiftedEntries { entries: self.source.entries(), began: self.began, pieces: self.pieces.clone() }
    }
}

impl Iterator for SiftedEntries {
    type Item = RusticResult<ReadSourceEntry<<Source as ReadSource>::Open>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut entry = match self.entries.next()? {
            Ok(entry) => entry,
            Err(error) => return Some(Err(error)),
        };
        self.pieces.count(&entry.path, &entry.node);
        let meta = &mut entry.node.meta;
        // Reading a file changes this one; every tree would be new each time.
        meta.atime = meta.mtime;
        // The library takes a time that is not there for one that fits, so it
        // gets one that fits nowhere: of this making, and no file's.
        if meta.ctime.is_some_and(|ctime| ctime >= self.began - RACY) {
            meta.ctime = Some(self.began - LONG_BEFORE);
        }
        Some(Ok(entry))
    }
}
