//! One thing of a host as the restic format describes it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use rustic_core::jiff::Timestamp;
use rustic_core::repofile::{Metadata, Node, NodeType};
use rustix::fs::{FileType, Stat};

use super::super::mode;

/// The first and the last second that both this program and `restic` can
/// write: the years 1 and 9999, less a day for the time zone.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_510_400..=253_402_128_000;

type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

/// None for a socket, which is nothing without the program that listens.
pub(super) fn node_type(
    stat: &Stat,
    target: impl FnOnce() -> std::io::Result<Vec<u8>>,
) -> std::io::Result<Option<NodeType>> {
    Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => NodeType::File,
        FileType::Directory => NodeType::Dir,
        FileType::Symlink => NodeType::from_link(OsStr::from_bytes(&target()?).as_ref()),
        FileType::Fifo => NodeType::Fifo,
        FileType::BlockDevice => NodeType::Dev { device: stat.st_rdev },
        FileType::CharacterDevice => NodeType::Chardev { device: stat.st_rdev },
        _ => return Ok(None),
    }))
}

/// # Errors
/// The name of an attribute is not UTF-8, which the format cannot hold.
pub(super) fn node(
    name: &OsStr,
    node_type: NodeType,
    stat: &Stat,
    attributes: Attributes,
) -> Result<Node, String> {
    let folder = node_type == NodeType::Dir;
    let time = |seconds: i64, nanoseconds: u64| {
        let clamped = seconds.clamp(*SECONDS.start(), *SECONDS.end());
        Timestamp::new(clamped, i32::try_from(nanoseconds).unwrap_or_default()).ok()
    };
    let modified = time(stat.st_mtime, stat.st_mtime_nsec);
    let linked = !folder && stat.st_nlink > 1;
    let mut metadata = Metadata {
        mode: Some(mode::to_go(stat.st_mode)),
        mtime: modified,
        // As `restic` does: or else reading a tree would change its point.
        atime: modified,
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        uid: Some(stat.st_uid),
        gid: Some(stat.st_gid),
        inode: stat.st_ino,
        // Only hard links need it, and it may change when a host starts.
        device_id: if linked { stat.st_dev } else { 0 },
        size: if node_type == NodeType::File { u64::try_from(stat.st_size).unwrap_or_default() } else { 0 },
        links: if folder { 0 } else { stat.st_nlink },
        ..Metadata::default()
    };
    // The type of an attribute has no public name; its form in JSON has.
    let mut named = Vec::with_capacity(attributes.len());
    for (attribute, _) in &attributes {
        let attribute = std::str::from_utf8(attribute).map_err(|_| {
            let shown = String::from_utf8_lossy(attribute);
            format!("the name of its extended attribute `{shown}` is not UTF-8")
        })?;
        named.push(serde_json::json!({ "name": attribute, "value": null }));
    }
    metadata.extended_attributes =
        serde_json::from_value(named.into()).expect("the format of an attribute is fixed");
    for (attribute, (_, value)) in metadata.extended_attributes.iter_mut().zip(attributes) {
        attribute.value = Some(value);
    }
    Ok(Node::new_node(name, node_type, metadata))
}

/// A file or folder that no host has: root's, and of this very moment, so that
/// it is never taken for one of an earlier point.
pub(super) fn made(name: &OsStr, node_type: NodeType, size: u64) -> Node {
    let folder = node_type == NodeType::Dir;
    let kernel = if folder { 0o040_700 } else { 0o100_600 };
    let now = Some(Timestamp::now());
    let metadata = Metadata {
        mode: Some(mode::to_go(kernel)),
        mtime: now,
        atime: now,
        ctime: now,
        uid: Some(0),
        gid: Some(0),
        size,
        ..Metadata::default()
    };
    Node::new_node(name, node_type, metadata)
}
