//! What differs: a point against the host as it is, or against another point.
//! Content is compared by its digests, never by times.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustic_core::repofile::{Node, NodeType};
use rustic_core::{DataId, ReadSource, ReadSourceOpen, TreeId};
use sha2::{Digest as _, Sha256};
use sternway_core::ids::PointId;
use sternway_core::point::{Difference, DifferenceKind};

use super::making::Watch;
use super::pace::Pace;
use super::source::Source;
use super::{Indexed, LibraryError, Points, PointsError, guarded, inside, label, mode};
use crate::capabilities::files::{HostPath, tree};

/// What a point is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// The host as it is now.
    Host,
    Point(PointId),
}

impl Points {
    /// Everything that differs, sorted by path: what is `Added` is not in `from`.
    ///
    /// # Errors
    /// No such point, or one side cannot be read.
    pub fn diff(&self, from: PointId, to: Against, watch: &Watch) -> Result<Vec<Difference>, PointsError> {
        let session = self.session(None)?;
        let (now, snapshot) = self.snapshot(&session, from)?;
        let indexed = self.index()?;
        let mut found = Findings::default();
        match to {
            Against::Point(other) => {
                let (_, other) = self.snapshot(&session, other)?;
                let pace = Pace::new(watch, "comparing", "folders", None);
                compare_trees(&indexed, (Path::new("/"), snapshot.tree, other.tree), &mut found, &pace)?;
                pace.end();
            }
            Against::Host => {
                let point = label::read(now, &snapshot);
                let pace = Pace::new(watch, "comparing", "bytes", Some(point.bytes));
                for path in point.paths.iter().filter_map(|path| HostPath::parse(path).ok()) {
                    self.compare_with_host(&indexed, (snapshot.tree, &path), &mut found, &pace)?;
                }
                pace.end();
            }
        }
        Ok(found.0.into_values().collect())
    }

    fn compare_with_host(
        &self,
        indexed: &Indexed,
        (tree, top): (TreeId, &HostPath),
        found: &mut Findings,
        pace: &Pace,
    ) -> Result<(), PointsError> {
        let mut kept: BTreeMap<PathBuf, Node> = BTreeMap::new();
        let top_path = PathBuf::from(top.as_str());
        if let Some(node) = inside::node_at(indexed, tree, top)? {
            list_below(indexed, &top_path, node, &mut kept)?;
        }
        if self.is_there(top)? {
            let source = Source::of(&self.root, std::slice::from_ref(top), Vec::new())?;
            for entry in source.entries() {
                let entry = guarded("read the host beside", || entry)?;
                if !entry.path.starts_with(&top_path) {
                    continue;
                }
                match kept.remove(&entry.path) {
                    None => found.add(&entry.path, DifferenceKind::Added, what(&entry.node)),
                    Some(node) => {
                        let is_same = match (node.is_file() && entry.node.is_file(), entry.open) {
                            (true, _) if node.meta.size != entry.node.meta.size => Some(false),
                            (true, Some(open)) => {
                                let mut file = guarded("read the host beside", || open.open())?;
                                Some(holds(indexed, &node, &mut file, pace)?)
                            }
                            _ => None,
                        };
                        compare_nodes(&entry.path, &node, &entry.node, is_same, found);
                    }
                }
            }
            if let Some((_, first)) = source.problems().summary() {
                return Err(PointsError::Incomplete { count: 1, first });
            }
        }
        for (path, node) in kept {
            found.add(&path, DifferenceKind::Removed, what(&node));
        }
        Ok(())
    }

    fn is_there(&self, path: &HostPath) -> Result<bool, PointsError> {
        use std::os::fd::AsFd;
        let Some(spot) = self.root.spot_if_any(path)? else { return Ok(false) };
        let stat = tree::stat(spot.directory.as_fd(), &spot.name);
        Ok(stat.map_err(|cause| PointsError::File { path: path.as_str().into(), cause })?.is_some())
    }
}

#[derive(Debug, Default)]
struct Findings(BTreeMap<PathBuf, Difference>);

impl Findings {
    fn add(&mut self, path: &Path, kind: DifferenceKind, detail: String) {
        let difference = Difference { path: path.to_string_lossy().into_owned(), kind, detail };
        self.0.insert(path.to_path_buf(), difference);
    }
}

fn compare_trees(
    indexed: &Indexed,
    (path, from, to): (&Path, TreeId, TreeId),
    found: &mut Findings,
    pace: &Pace,
) -> Result<(), PointsError> {
    if from == to {
        return Ok(());
    }
    let mut before: BTreeMap<PathBuf, Node> = BTreeMap::new();
    for node in guarded("read", || indexed.get_tree(&from))?.nodes {
        before.insert(path.join(node.name()), node);
    }
    for node in guarded("read", || indexed.get_tree(&to))?.nodes {
        let at = path.join(node.name());
        if at == Path::new(label::MANIFEST) {
            before.remove(&at);
            continue;
        }
        match before.remove(&at) {
            None => add_below(indexed, &at, node, DifferenceKind::Added, found)?,
            Some(old) => {
                let is_same = (old.is_file() && node.is_file()).then(|| old.content == node.content);
                compare_nodes(&at, &old, &node, is_same, found);
                match (old.subtree, node.subtree) {
                    (Some(old), Some(new)) => compare_trees(indexed, (&at, old, new), found, pace)?,
                    (Some(_), None) => add_children(indexed, &at, &old, DifferenceKind::Removed, found)?,
                    (None, Some(_)) => add_children(indexed, &at, &node, DifferenceKind::Added, found)?,
                    (None, None) => {}
                }
            }
        }
    }
    for (at, node) in before {
        if at != Path::new(label::MANIFEST) {
            add_below(indexed, &at, node, DifferenceKind::Removed, found)?;
        }
    }
    pace.add(1);
    Ok(())
}

fn add_below(
    indexed: &Indexed,
    path: &Path,
    node: Node,
    kind: DifferenceKind,
    found: &mut Findings,
) -> Result<(), PointsError> {
    let mut below = BTreeMap::new();
    list_below(indexed, path, node, &mut below)?;
    for (path, node) in below {
        found.add(&path, kind, what(&node));
    }
    Ok(())
}

fn add_children(
    indexed: &Indexed,
    path: &Path,
    node: &Node,
    kind: DifferenceKind,
    found: &mut Findings,
) -> Result<(), PointsError> {
    let mut below = BTreeMap::new();
    list_below(indexed, path, node.clone(), &mut below)?;
    below.remove(path);
    for (path, node) in below {
        found.add(&path, kind, what(&node));
    }
    Ok(())
}

fn list_below(
    indexed: &Indexed,
    path: &Path,
    node: Node,
    list: &mut BTreeMap<PathBuf, Node>,
) -> Result<(), PointsError> {
    let mut left = vec![(path.to_path_buf(), node)];
    while let Some((path, node)) = left.pop() {
        if let Some(subtree) = node.subtree {
            for below in guarded("read", || indexed.get_tree(&subtree))?.nodes {
                left.push((path.join(below.name()), below));
            }
        }
        list.insert(path, node);
    }
    Ok(())
}

/// `is_same` says whether two files hold the same bytes.
fn compare_nodes(path: &Path, from: &Node, to: &Node, is_same: Option<bool>, found: &mut Findings) {
    if std::mem::discriminant(&from.node_type) != std::mem::discriminant(&to.node_type) {
        let detail = format!("was {}, is {}", what(from), what(to));
        return found.add(path, DifferenceKind::Content, detail);
    }
    if is_same == Some(false) {
        let detail = match from.meta.size == to.meta.size {
            true => format!("{} bytes, other ones", to.meta.size),
            false => format!("{} bytes, were {}", to.meta.size, from.meta.size),
        };
        return found.add(path, DifferenceKind::Content, detail);
    }
    if from.node_type != to.node_type {
        return found.add(path, DifferenceKind::Content, format!("was {}, is {}", what(from), what(to)));
    }
    let detail = metadata_detail(from, to);
    // What a program said has the time at which it was asked.
    if !detail.is_empty() && !path.starts_with(label::OURS) {
        found.add(path, DifferenceKind::Metadata, detail.join(", "));
    }
}

fn metadata_detail(from: &Node, to: &Node) -> Vec<String> {
    let mut detail = Vec::new();
    let permissions = |node: &Node| node.meta.mode.map(mode::permissions_from_go);
    // Of a link nothing but its owner and times can be set.
    if !from.is_symlink() && permissions(from) != permissions(to) {
        let show = |node| permissions(node).map_or_else(|| "none".to_owned(), |mode| format!("{mode:04o}"));
        detail.push(format!("mode {}, was {}", show(to), show(from)));
    }
    let owner =
        |node: &Node| format!("{}:{}", node.meta.uid.unwrap_or_default(), node.meta.gid.unwrap_or_default());
    if owner(from) != owner(to) {
        detail.push(format!("owner {}, was {}", owner(to), owner(from)));
    }
    // A folder's time says that entries came or went, which is listed itself.
    if !from.is_dir() && from.meta.mtime != to.meta.mtime {
        let show = |node: &Node| node.meta.mtime.map_or_else(|| "none".to_owned(), |time| time.to_string());
        detail.push(format!("changed {}, was {}", show(to), show(from)));
    }
    if from.meta.extended_attributes != to.meta.extended_attributes {
        detail.push("extended attributes".to_owned());
    }
    detail
}

fn what(node: &Node) -> String {
    match &node.node_type {
        NodeType::File => format!("a file of {} bytes", node.meta.size),
        NodeType::Dir => "a folder".to_owned(),
        NodeType::Symlink { .. } => format!("a link to `{}`", node.node_type.to_link().display()),
        NodeType::Dev { .. } | NodeType::Chardev { .. } => "a device".to_owned(),
        NodeType::Fifo => "a pipe".to_owned(),
        NodeType::Socket => "a socket".to_owned(),
    }
}

/// Whether a file of the host holds exactly the blobs of a node.
fn holds(indexed: &Indexed, node: &Node, file: &mut impl Read, pace: &Pace) -> Result<bool, PointsError> {
    let failed = |cause: std::io::Error| PointsError::Repository {
        step: "read the host beside",
        cause: LibraryError(cause.to_string()),
    };
    for id in node.content.iter().flatten() {
        let length = guarded("read", || indexed.get_index_entry(id))?.data_length();
        let mut bytes = Vec::new();
        file.by_ref().take(u64::from(length)).read_to_end(&mut bytes).map_err(failed)?;
        pace.add(bytes.len() as u64);
        if bytes.len() != length as usize || !is_blob(id, &bytes) {
            return Ok(false);
        }
    }
    let mut more = [0];
    Ok(file.read(&mut more).map_err(failed)? == 0)
}

fn is_blob(id: &DataId, bytes: &[u8]) -> bool {
    let digest = Sha256::digest(bytes);
    crate::capabilities::files::hex(digest.as_slice()) == id.into_inner().to_hex().as_str()
}
