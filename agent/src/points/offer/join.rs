//! One tree of what was stored and of what it says about itself. The trees of
//! the host are put in by name, whole and unread, so that this takes no longer
//! for a large point than for a small one.

use std::ffi::OsStr;
use std::io::Cursor;
use std::path::PathBuf;

use rustic_core::jiff;
use rustic_core::repofile::{Metadata, Node, NodeType, SnapshotFile, SnapshotId, SnapshotSummary};
use rustic_core::{
    BackupOptions, ParentOptions, ReadSource, ReadSourceEntry, ReadSourceOpen, RusticResult, TreeId,
};

use super::super::repository::Session;
use super::super::{LibraryError, Points, PointsError, guarded, label, mode};
use super::{IndexFiles, Trees};

const ROOT: &str = "/";

impl Points {
    /// The tree `stored` with the manifest in it, on disk; nobody is offered it.
    pub(super) fn join(
        &self,
        trees: &Trees<'_>,
        stored: &SnapshotFile,
        text: Vec<u8>,
        before: &IndexFiles,
        (snapshot, unfinished): (&SnapshotFile, &mut Vec<SnapshotId>),
    ) -> Result<TreeId, PointsError> {
        let Some(joined) = Joined::of(trees, stored.tree, text.clone())? else {
            return self.merge(stored, text, (snapshot, unfinished));
        };
        let session = self.session_since(before)?;
        let made = self.archive_joined(session, &joined, snapshot, unfinished)?;
        let fresh = self.fresh(before)?;
        let trees = Trees { fresh: &fresh, old: trees.old };
        match joined.is_held_by(&trees, made.tree)? {
            true => Ok(made.tree),
            false => Err(PointsError::Repository {
                step: "write to",
                cause: LibraryError("what was put together is not what was stored".into()),
            }),
        }
    }

    fn archive_joined<S>(
        &self,
        session: Session,
        source: &S,
        snapshot: &SnapshotFile,
        unfinished: &mut Vec<SnapshotId>,
    ) -> Result<SnapshotFile, PointsError>
    where
        S: ReadSource<Open: Send, Iter: Send> + 'static,
    {
        let Session { repository, shelf } = session;
        let writer = guarded("read the index of", || repository.to_indexed_ids())?;
        let options =
            BackupOptions::default().no_scan(true).parent_opts(ParentOptions::default().force(true));
        let top = [PathBuf::from(label::OURS)];
        let made = guarded("write to", || writer.archive(&options, source, snapshot.clone(), &top))?;
        unfinished.push(made.id);
        match shelf.failure() {
            Some(failure) => Err(PointsError::Repository { step: "write to", cause: LibraryError(failure) }),
            None => Ok(made),
        }
    }

    /// For files that lie in the root itself, which cannot be put in unread.
    fn merge(
        &self,
        stored: &SnapshotFile,
        text: Vec<u8>,
        (snapshot, unfinished): (&SnapshotFile, &mut Vec<SnapshotId>),
    ) -> Result<TreeId, PointsError> {
        let alone = Joined { root: Vec::new(), folder: folder(), ours: Vec::new(), text };
        let described = self.archive_joined(self.session(None)?, &alone, snapshot, unfinished)?;
        let session = self.session(None)?;
        let writer = guarded("read the index of", || session.repository.to_indexed_ids())?;
        // Of two folders `/.sternway` it matters not which one's times are kept.
        let either = |_: &Node, _: &Node| std::cmp::Ordering::Equal;
        let trees = [stored.tree, described.tree];
        let mut summary = SnapshotSummary::default();
        let tree = guarded("write to", || writer.merge_trees(&trees, &either, &mut summary))?;
        match session.shelf.failure() {
            Some(failure) => Err(PointsError::Repository { step: "write to", cause: LibraryError(failure) }),
            None => Ok(tree),
        }
    }
}

/// The root of a point, and its folder that is no host's.
struct Joined {
    /// Without that folder.
    root: Vec<Node>,
    folder: Node,
    /// What is in it already.
    ours: Vec<Node>,
    text: Vec<u8>,
}

impl Joined {
    /// None when something in the two folders has content of its own.
    fn of(trees: &Trees<'_>, tree: TreeId, text: Vec<u8>) -> Result<Option<Self>, PointsError> {
        let ours = label::OURS.trim_start_matches('/');
        let (held, root): (Vec<Node>, Vec<Node>) =
            trees.nodes(&tree)?.into_iter().partition(|node| *node.name() == *ours);
        let held = held.into_iter().next();
        let below = match held.as_ref().and_then(|held| held.subtree) {
            Some(subtree) => trees.nodes(&subtree)?,
            None => Vec::new(),
        };
        let has_content = |node: &Node| node.is_file() || (node.is_dir() && node.subtree.is_none());
        if root.iter().chain(&below).any(has_content) {
            return Ok(None);
        }
        Ok(Some(Self { root, folder: held.unwrap_or_else(folder), ours: below, text }))
    }

    /// Whether a tree holds all that was put in, and the manifest.
    fn is_held_by(&self, trees: &Trees<'_>, tree: TreeId) -> Result<bool, PointsError> {
        let is_ours = |node: &Node| *node.name() == *self.folder.name();
        let (held, root): (Vec<Node>, Vec<Node>) = trees.nodes(&tree)?.into_iter().partition(is_ours);
        let [folder] = &held[..] else { return Ok(false) };
        let Some(subtree) = folder.subtree else { return Ok(false) };
        let (manifest, ours): (Vec<Node>, Vec<Node>) =
            trees.nodes(&subtree)?.into_iter().partition(|node| node.is_file());
        let is_manifest = |node: &Node| *node.name() == *name_of(label::MANIFEST) && node.content.is_some();
        Ok(root == self.root && ours == self.ours && manifest.len() == 1 && manifest.iter().all(is_manifest))
    }

    fn entries_within(&self) -> Vec<ReadSourceEntry<Text>> {
        // A folder that is given with the path of the one around it is taken as it is.
        let as_it_is = |around: &str, node: &Node| {
            let around = PathBuf::from(around);
            let path = if node.is_dir() { around } else { around.join(node.name()) };
            ReadSourceEntry { path, node: node.clone(), open: None }
        };
        let mut below: Vec<ReadSourceEntry<Text>> =
            self.ours.iter().map(|node| as_it_is(label::OURS, node)).collect();
        below.push(ReadSourceEntry {
            path: PathBuf::from(label::MANIFEST),
            node: made(label::MANIFEST, NodeType::File, 0o100_600, self.text.len() as u64),
            open: Some(Text(self.text.clone())),
        });
        below.sort_by(|a, b| a.node.name().cmp(&b.node.name()));
        let at = self.root.partition_point(|node| node.name() < self.folder.name());
        let (first, last) = self.root.split_at(at);
        let mut folder = self.folder.clone();
        folder.subtree = None;
        let folder = ReadSourceEntry { path: PathBuf::from(label::OURS), node: folder, open: None };
        let around = |nodes: &[Node]| nodes.iter().map(|node| as_it_is(ROOT, node)).collect::<Vec<_>>();
        [around(first), vec![folder], below, around(last)].into_iter().flatten().collect()
    }
}

fn name_of(path: &str) -> &OsStr {
    std::path::Path::new(path).file_name().unwrap_or_default()
}

fn folder() -> Node {
    made(label::OURS, NodeType::Dir, 0o040_700, 0)
}

fn made(path: &str, kind: NodeType, kernel: u32, size: u64) -> Node {
    let now = Some(jiff::Timestamp::now());
    let links = u64::from(kind == NodeType::File);
    let meta = Metadata {
        mode: Some(mode::to_go(kernel)),
        mtime: now,
        atime: now,
        ctime: now,
        uid: Some(0),
        gid: Some(0),
        size,
        links,
        ..Metadata::default()
    };
    Node::new_node(name_of(path), kind, meta)
}

#[derive(Clone)]
struct Text(Vec<u8>);

impl ReadSourceOpen for Text {
    type Reader = Cursor<Vec<u8>>;

    fn open(self) -> RusticResult<Self::Reader> {
        Ok(Cursor::new(self.0))
    }
}

impl ReadSource for Joined {
    type Open = Text;
    type Iter = std::vec::IntoIter<RusticResult<ReadSourceEntry<Text>>>;

    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(Some(self.text.len() as u64))
    }

    fn entries(&self) -> Self::Iter {
        self.entries_within().into_iter().map(Ok).collect::<Vec<_>>().into_iter()
    }
}
