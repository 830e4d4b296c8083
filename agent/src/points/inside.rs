//! What a point holds: looking at it, and giving it back.

use std::collections::HashSet;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustic_core::repofile::{Node, NodeType, SnapshotFile};
use rustic_core::{LsOptions, TreeId};
use sternway_core::ids::{Digest, PointId};
use sternway_core::point::{FORMAT, Manifest, Piece, PieceKind, Point};

use super::label::MANIFEST;
use super::making::Watch;
use super::pace::Pace;
use super::{Indexed, Points, PointsError, SharedIndexed, for_plugin, guarded, label, restore};
use crate::capabilities::files::HostPath;
use crate::capabilities::{ErrorKind, HostError};

/// A manifest is read into memory.
const MANIFEST_BYTES_MAX: u64 = 16 << 20;

impl Points {
    /// What a point says of itself, and what `restic` calls it now. One that
    /// `restic` made is described as far as its snapshot goes.
    ///
    /// # Errors
    /// There is no such point, or it cannot be read.
    pub fn manifest(&self, id: PointId) -> Result<(Manifest, String), PointsError> {
        let (now, snapshot) = self.snapshot(&self.session(None)?, id)?;
        let name = now.into_inner().to_hex().as_str().to_owned();
        let indexed = self.index()?;
        if let Some(manifest) = read_manifest(&indexed, &snapshot, id)? {
            return Ok((manifest, name));
        }
        let point = label::read(now, &snapshot);
        let mut pieces = Vec::new();
        for path in &point.paths {
            let Ok(path) = HostPath::parse(path) else { continue };
            if let Some(node) = node_at(&indexed, snapshot.tree, &path)? {
                let (bytes, entries) = weigh(&indexed, &node)?;
                let (name, at) = (path.as_str().to_owned(), path.as_str().to_owned());
                let (kind, note, digest) = (PieceKind::Files, String::new(), digest(&node));
                pieces.push(Piece { kind, name, at, entries, bytes, digest, note });
            }
        }
        let Point { service, version, kind, origin, reason, by, made, .. } = point;
        let host = self.host.clone();
        let manifest =
            Manifest { format: FORMAT, host, service, version, kind, origin, reason, by, made, pieces };
        Ok((manifest, name))
    }

    /// `restic tag` has rewritten the snapshot file and left out what it does not know.
    pub(super) fn fill_from_manifest(&self, point: &mut Point, snapshot: &SnapshotFile) {
        let read = self.index().and_then(|indexed| read_manifest(&indexed, snapshot, point.id));
        match read {
            Ok(Some(manifest)) => point.reason = manifest.reason,
            Ok(None) => {}
            Err(error) => {
                let error = super::list::deepest(&error);
                tracing::warn!(point = %point.id.short(), error, "a point's manifest cannot be read");
            }
        }
    }

    /// How many entries the point holds at `path`, the top included; none
    /// when it holds nothing there.
    ///
    /// # Errors
    /// `points/not-found`, or the repository cannot be read.
    pub fn entries(&self, id: PointId, path: &HostPath) -> Result<Option<u64>, HostError> {
        let (indexed, node) = self.at(id, path).map_err(for_plugin)?;
        let Some(node) = node else { return Ok(None) };
        weigh(&indexed, &node).map(|(_, entries)| Some(entries)).map_err(for_plugin)
    }

    /// Length of all files that the point holds at `path`, in bytes, and how many
    /// entries; nothing there is nothing to weigh.
    ///
    /// # Errors
    /// `points/not-found`, or the repository cannot be read.
    pub fn weight(&self, id: PointId, path: &HostPath) -> Result<(u64, u64), HostError> {
        let (indexed, node) = self.at(id, path).map_err(for_plugin)?;
        let Some(node) = node else { return Ok((0, 0)) };
        weigh(&indexed, &node).map_err(for_plugin)
    }

    /// Restores what the point holds at `path` to `name` in an open directory,
    /// with owners, modes, times, links and extended attributes; `name` must
    /// not exist. Synced bottom-up.
    ///
    /// # Errors
    /// `points/nothing-there`, or anything that cannot be put as it was.
    pub fn restore(
        &self,
        id: PointId,
        path: &HostPath,
        directory: BorrowedFd<'_>,
        name: &str,
    ) -> Result<(), HostError> {
        let (indexed, node) = self.found(id, path)?;
        restore::restore(&indexed, &node, directory, name)
    }

    /// As [`Self::restore`], taking what it can from what stands at the name
    /// `live` in the same directory: blocks are shared where the file system
    /// can, and only bytes with the digest that the point holds.
    ///
    /// # Errors
    /// As [`Self::restore`].
    pub fn restore_beside(
        &self,
        id: PointId,
        path: &HostPath,
        into: (BorrowedFd<'_>, &str),
        live: &str,
    ) -> Result<(), HostError> {
        let (indexed, node) = self.found(id, path)?;
        restore::restore_beside(&indexed, &node, into, Some(live))
    }

    /// Restores what the point holds at `path` to the path `into`, which must
    /// not exist; for the agent's own use, outside of any step.
    ///
    /// # Errors
    /// As [`Self::restore`].
    pub fn stage(&self, id: PointId, path: &HostPath, into: &HostPath) -> Result<(), HostError> {
        let spot = self.root.spot(into)?;
        self.restore(id, path, spot.directory.as_fd(), &spot.name)
    }

    /// As [`Self::stage`], for a person in need, who is told how far it is.
    /// Answers how many entries and bytes came back.
    ///
    /// # Errors
    /// As [`Self::restore`]; what was restored so far is then taken away again.
    pub fn restore_path(
        &self,
        id: PointId,
        path: &HostPath,
        into: &HostPath,
        watch: &Watch,
    ) -> Result<(u64, u64), HostError> {
        let (indexed, node) = self.found(id, path)?;
        let (bytes, entries) = weigh(&indexed, &node).map_err(for_plugin)?;
        let pace = Pace::new(watch, "restoring", "bytes", Some(bytes));
        let spot = self.root.spot(into)?;
        restore::restore(&indexed, &node, spot.directory.as_fd(), &spot.name)?;
        pace.add(bytes);
        pace.end();
        Ok((entries, bytes))
    }

    pub(super) fn found(&self, id: PointId, path: &HostPath) -> Result<(SharedIndexed, Node), HostError> {
        let (indexed, node) = self.at(id, path).map_err(for_plugin)?;
        let node = node.ok_or_else(|| {
            HostError::new(
                ErrorKind::NotFound,
                "points/nothing-there",
                format!("the rollback point {} holds nothing at `{path}`", id.short()),
            )
        })?;
        Ok((indexed, node))
    }

    fn at(&self, id: PointId, path: &HostPath) -> Result<(SharedIndexed, Option<Node>), PointsError> {
        let (_, snapshot) = self.snapshot(&self.session(None)?, id)?;
        let indexed = self.index()?;
        let node = node_at(&indexed, snapshot.tree, path)?;
        Ok((indexed, node))
    }
}

pub(super) fn node_at(indexed: &Indexed, tree: TreeId, path: &HostPath) -> Result<Option<Node>, PointsError> {
    node_among(&|tree| Ok(guarded("read", || indexed.get_tree(tree))?.nodes), tree, path)
}

/// As [`node_at`], where `nodes_of` reads a tree.
pub(super) fn node_among(
    nodes_of: &dyn Fn(&TreeId) -> Result<Vec<Node>, PointsError>,
    tree: TreeId,
    path: &HostPath,
) -> Result<Option<Node>, PointsError> {
    let mut tree = tree;
    let mut found = None;
    let mut names = path.as_str().split('/').filter(|name| !name.is_empty()).peekable();
    if names.peek().is_none() {
        let mut top = Node::new_node("".as_ref(), NodeType::Dir, rustic_core::repofile::Metadata::default());
        top.subtree = Some(tree);
        return Ok(Some(top));
    }
    while let Some(name) = names.next() {
        let nodes = nodes_of(&tree)?;
        let Some(node) = nodes.into_iter().find(|node| *node.name() == *name) else {
            return Ok(None);
        };
        if names.peek().is_some() {
            let Some(below) = node.subtree else { return Ok(None) };
            tree = below;
        } else {
            found = Some(node);
        }
    }
    Ok(found)
}

/// Bytes of all files at a node, and entries.
fn weigh(indexed: &Indexed, node: &Node) -> Result<(u64, u64), PointsError> {
    if !node.is_dir() {
        return Ok((if node.is_file() { node.meta.size } else { 0 }, 1));
    }
    guarded("read", || {
        let (mut bytes, mut entries) = (0, 1);
        for entry in indexed.ls(node, &LsOptions::default())? {
            let (_, below) = entry?;
            entries += 1;
            bytes += if below.is_file() { below.meta.size } else { 0 };
        }
        Ok((bytes, entries))
    })
}

/// Of a folder its tree's; of a file in one blob that blob's, which is that of
/// its content; of other files that of their blobs' digests, one after the other.
pub(super) fn digest(node: &Node) -> Digest {
    let of_id = |id: rustic_core::Id| -> Digest {
        id.to_hex().as_str().parse().expect("both are 32 bytes in hexadecimal")
    };
    if let Some(tree) = node.subtree {
        return of_id(tree.into_inner());
    }
    if node.is_symlink() {
        use std::os::unix::ffi::OsStrExt;
        return Digest::of(node.node_type.to_link().as_os_str().as_bytes());
    }
    match node.content.as_deref().unwrap_or_default() {
        [only] => of_id(only.into_inner()),
        several => {
            let ids = several.iter().flat_map(|id| of_id(id.into_inner()).0);
            Digest::of(&ids.collect::<Vec<u8>>())
        }
    }
}

fn read_manifest(
    indexed: &Indexed,
    snapshot: &SnapshotFile,
    id: PointId,
) -> Result<Option<Manifest>, PointsError> {
    let path = HostPath::parse(MANIFEST)?;
    let Some(node) = node_at(indexed, snapshot.tree, &path)? else { return Ok(None) };
    let unusable = |finding: String| PointsError::Manifest { id, finding };
    if node.meta.size > MANIFEST_BYTES_MAX {
        return Err(unusable(format!("it has {} bytes", node.meta.size)));
    }
    let mut text = Vec::new();
    guarded("read", || indexed.dump(&node, &mut text))?;
    text.flush().expect("writing to memory cannot fail");
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| unusable(error.to_string()))?;
    if manifest.format > FORMAT {
        let finding =
            format!("it has format {}, this agent reads {FORMAT}: bring it up to date", manifest.format);
        return Err(unusable(finding));
    }
    Ok(Some(manifest))
}

/// Every node below a tree once, however often its tree is in there. The
/// visitor says whether to go on.
pub(super) fn walk(
    indexed: &Indexed,
    tree: TreeId,
    seen: &mut HashSet<TreeId>,
    visit: &mut dyn FnMut(&Path, &Node) -> Result<(), String>,
) -> Result<(), String> {
    let mut left = vec![(PathBuf::from("/"), tree)];
    while let Some((path, tree)) = left.pop() {
        if !seen.insert(tree) {
            continue;
        }
        let nodes = guarded("read", || indexed.get_tree(&tree))
            .map_err(|error| format!("`{}`: {}", path.display(), super::list::deepest(&error)))?
            .nodes;
        for node in nodes {
            let below = path.join(node.name());
            visit(&below, &node)?;
            match (node.is_dir(), node.subtree) {
                (true, Some(subtree)) => left.push((below, subtree)),
                (true, None) => return Err(format!("the folder `{}` has no tree", below.display())),
                (false, _) => {}
            }
        }
    }
    Ok(())
}
