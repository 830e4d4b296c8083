//! Puts what a point holds into an open directory, exactly or not at all: the
//! library's own restore only warns when an owner or a mode cannot be set.

use std::ffi::{CString, OsStr};
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use rustic_core::repofile::{Node, NodeType};
use rustix::fs::{Mode, Timespec};

use super::{Indexed, mode, unreadable};
use crate::capabilities::files::tree::{self, Metadata};
use crate::capabilities::{ErrorKind, HostError};
use crate::crash;

/// Restores a file, link or tree to a name that does not exist; synced bottom-up.
pub(super) fn restore(
    indexed: &Indexed,
    node: &Node,
    directory: BorrowedFd<'_>,
    name: &str,
) -> Result<(), HostError> {
    restore_node(indexed, node, directory, OsStr::new(name))
}

fn restore_node(
    indexed: &Indexed,
    node: &Node,
    directory: BorrowedFd<'_>,
    name: &OsStr,
) -> Result<(), HostError> {
    let failed = |cause: io::Error| {
        HostError::from_io("points", &format!("could not restore `{}`", name.display()), &cause)
    };
    let metadata = metadata_of(node);
    match &node.node_type {
        NodeType::File => {
            let file = tree::create_file(directory, name).map_err(failed)?;
            let mut writer = BufWriter::with_capacity(256 * 1024, &file);
            indexed.dump(node, &mut writer).map_err(unreadable)?;
            writer.flush().map_err(failed)?;
            drop(writer);
            crash::point("files.restored", "");
            finish(file.as_fd(), node, &metadata).map_err(failed)?;
            file.sync_all().map_err(failed)
        }
        NodeType::Dir => {
            rustix::fs::mkdirat(directory, name, Mode::RWXU).map_err(|e| failed(e.into()))?;
            let opened = tree::open_directory(directory, name).map_err(failed)?;
            if let Some(subtree) = node.subtree {
                for child in indexed.get_tree(&subtree).map_err(unreadable)?.nodes {
                    let child_name = child.name();
                    check_name(&child_name)?;
                    restore_node(indexed, &child, opened.as_fd(), &child_name)?;
                }
            }
            finish(opened.as_fd(), node, &metadata).map_err(failed)?;
            rustix::fs::fsync(&opened).map_err(|errno| failed(errno.into()))
        }
        NodeType::Symlink { .. } => {
            let target = node.node_type.to_link().as_os_str().as_bytes();
            let target = CString::new(target).map_err(|cause| failed(io::Error::other(cause)))?;
            tree::make_link(directory, name, &target, &metadata).map_err(failed)
        }
        NodeType::Dev { .. } | NodeType::Chardev { .. } | NodeType::Fifo | NodeType::Socket => {
            Err(HostError::new(
                ErrorKind::Unsupported,
                "points/unsupported-node",
                format!("`{}` is a socket, pipe or device in the point", name.display()),
            ))
        }
    }
}

fn finish(file: BorrowedFd<'_>, node: &Node, metadata: &Metadata) -> io::Result<()> {
    let attributes: Vec<_> = node
        .meta
        .extended_attributes
        .iter()
        .map(|attribute| (attribute.name.clone().into_bytes(), attribute.value.clone().unwrap_or_default()))
        .collect();
    tree::write_xattrs(file, &attributes)?;
    tree::set_metadata(file, metadata)
}

fn metadata_of(node: &Node) -> Metadata {
    let modified = node.meta.mtime.unwrap_or_default();
    Metadata {
        mode: mode::permissions_from_go(node.meta.mode.unwrap_or(0o600)),
        uid: node.meta.uid.unwrap_or_default(),
        gid: node.meta.gid.unwrap_or_default(),
        modified: Timespec { tv_sec: modified.as_second(), tv_nsec: modified.subsec_nanosecond().into() },
    }
}

/// A repository is data: a name in it must not lead anywhere.
fn check_name(name: &OsStr) -> Result<(), HostError> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') {
        return Err(HostError::new(
            ErrorKind::Failed,
            "points/unreadable",
            "the rollback point holds a name that is none",
        ));
    }
    Ok(())
}
