//! What a thing in a point has beside its content.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use rustic_core::repofile::{Node, NodeType};
use rustix::fs::{FileType, Mode, Timespec};

use super::super::mode;
use crate::capabilities::files::tree::{self, Metadata};

const NANOSECONDS: i128 = 1_000_000_000;

pub(super) fn metadata_of(node: &Node) -> Metadata {
    // Before 1970 the library counts nanoseconds backwards, the kernel never.
    let modified = node.meta.mtime.unwrap_or_default().as_nanosecond();
    let seconds = i64::try_from(modified.div_euclid(NANOSECONDS));
    let nanoseconds = i64::try_from(modified.rem_euclid(NANOSECONDS));
    Metadata {
        mode: mode::permissions_from_go(node.meta.mode.unwrap_or(0o600)),
        uid: node.meta.uid.unwrap_or_default(),
        gid: node.meta.gid.unwrap_or_default(),
        modified: Timespec {
            tv_sec: seconds.expect("no time of the library is beyond these"),
            tv_nsec: nanoseconds.expect("less than a second"),
        },
    }
}

pub(super) fn attributes_of(node: &Node) -> Vec<(Vec<u8>, Vec<u8>)> {
    let attributes = node.meta.extended_attributes.iter();
    attributes
        .map(|attribute| (attribute.name.clone().into_bytes(), attribute.value.clone().unwrap_or_default()))
        .collect()
}

/// Links, pipes and devices.
pub(super) fn make_special(directory: BorrowedFd<'_>, name: &OsStr, node: &Node) -> io::Result<()> {
    let metadata = metadata_of(node);
    match &node.node_type {
        NodeType::Symlink { .. } => {
            let target = CString::new(node.node_type.to_link().as_os_str().as_bytes())?;
            rustix::fs::symlinkat(&target, directory, name)?;
        }
        other => {
            let (kind, device) = match other {
                NodeType::Dev { device } => (FileType::BlockDevice, *device),
                NodeType::Chardev { device } => (FileType::CharacterDevice, *device),
                _ => (FileType::Fifo, 0),
            };
            rustix::fs::mknodat(directory, name, kind, Mode::RUSR | Mode::WUSR, device)?;
        }
    }
    tree::finish_at(directory, name, &attributes_of(node), &metadata)
}
