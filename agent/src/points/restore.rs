//! Puts what a point holds into an open directory, exactly or not at all: the
//! library's own restore only warns when an owner or a mode cannot be set.
//!
//! One thread reads the folders of the point and makes them, several write
//! files, large ones in parts. Hard links are made when all files are there,
//! and folders get their times last, from the innermost outwards.

mod content;
mod folders;
mod node;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use rustic_core::TreeId;
use rustic_core::repofile::{Node, NodeType};
use rustix::fs::Mode;

use super::{Indexed, unreadable};
use crate::capabilities::files::tree;
use crate::capabilities::{ErrorKind, HostError};
use content::{Blob, Target};
use folders::{Folder, Folders, Link};

/// So many files wait for a writer, each with its folder open.
const WAITING_MAX: usize = 64;
const WRITERS_MAX: usize = 16;
/// A file of more blobs is written in parts of so many.
const PART_BLOBS: usize = 8;
/// So few are synced one by one; more are left to one sync of their file system.
const SYNCED_ALONE: usize = 16;

/// Restores a file, link or tree to a name that does not exist; synced bottom-up.
pub(super) fn restore(
    indexed: &Indexed,
    node: &Node,
    directory: BorrowedFd<'_>,
    name: &str,
) -> Result<(), HostError> {
    restore_beside(indexed, node, (directory, name), None)
}

/// As [`restore`], taking what it can from what stands at the name `live` in
/// the same directory: shared blocks where the file system has them, and bytes
/// that need not be fetched from the repository. Nothing is taken that has not
/// the digest the point holds, and no file is ever linked to a live one.
pub(super) fn restore_beside(
    indexed: &Indexed,
    node: &Node,
    (directory, name): (BorrowedFd<'_>, &str),
    live: Option<&str>,
) -> Result<(), HostError> {
    let work = Work {
        indexed,
        clones: AtomicBool::new(true),
        finished: AtomicUsize::new(0),
        failure: Mutex::new(None),
    };
    let writers = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, WRITERS_MAX);
    let (jobs, waiting) = sync_channel::<Job>(WAITING_MAX);
    let waiting = Mutex::new(waiting);
    let planned: Result<(Folders, Vec<Link>), HostError> = std::thread::scope(|scope| {
        for _ in 0..writers {
            scope.spawn(|| write_all(&work, &waiting));
        }
        let mut plan =
            Plan { work: &work, jobs, folders: Folders::default(), links: Vec::new(), first: HashMap::new() };
        let top = At {
            directory: Arc::new(directory.try_clone_to_owned().map_err(|cause| work.failed(name, &cause))?),
            live: match live {
                None => None,
                Some(live) => {
                    let opened = directory.try_clone_to_owned().map_err(|cause| work.failed(live, &cause))?;
                    Some((Arc::new(opened), OsString::from(live)))
                }
            },
            folder: None,
        };
        if let Err(error) = work.guarded(|| plan.add(node, &top, OsStr::new(name), 0)) {
            work.fail(error);
        }
        let Plan { folders, links, jobs, .. } = plan;
        // The writers end when nothing can come any more.
        drop(jobs);
        Ok((folders, links))
    });
    let (folders, links) = planned?;
    if let Some(failure) = work.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(failure);
    }
    let few = work.finished.into_inner() + folders.len() <= SYNCED_ALONE;
    let failed = |cause: io::Error| failed(OsStr::new(name), &cause);
    folders.link(directory, &links).map_err(failed)?;
    folders.finish(directory, few).map_err(failed)?;
    if !few {
        rustix::fs::syncfs(directory).map_err(|errno| failed(errno.into()))?;
    }
    Ok(())
}

/// What all threads share.
struct Work<'a> {
    indexed: &'a Indexed,
    /// Until the file system has said that it cannot share blocks.
    clones: AtomicBool,
    /// Files that have all they are to have.
    finished: AtomicUsize,
    failure: Mutex<Option<HostError>>,
}

impl Work<'_> {
    fn failed(&self, name: impl AsRef<OsStr>, cause: &io::Error) -> HostError {
        failed(name.as_ref(), cause)
    }

    /// The first failure is the one that is told.
    fn fail(&self, error: HostError) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    fn has_failed(&self) -> bool {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The library panics on some kinds of damage.
    fn guarded<T>(&self, work: impl FnOnce() -> Result<T, HostError>) -> Result<T, HostError> {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
            Err(HostError::new(
                ErrorKind::Failed,
                "points/unreadable",
                "the rollback point cannot be read: its repository is damaged",
            ))
        })
    }

    /// Whether this one is synced by itself.
    fn count(&self) -> bool {
        self.finished.fetch_add(1, Ordering::SeqCst) < SYNCED_ALONE
    }
}

fn failed(name: &OsStr, cause: &io::Error) -> HostError {
    HostError::from_io("points", &format!("could not restore `{}`", name.display()), cause)
}

/// What a writer does next.
enum Job {
    Whole { at: At, name: OsString, node: Box<Node> },
    Part { target: Arc<Target>, blobs: Vec<Blob> },
}

/// Where a thing is restored: in which folder, and where its live counterpart
/// would be.
#[derive(Clone)]
struct At {
    directory: Arc<OwnedFd>,
    /// None for the top's own directory, which is not ours.
    folder: Option<usize>,
    live: Option<(Arc<OwnedFd>, OsString)>,
}

fn write_all(work: &Work<'_>, waiting: &Mutex<Receiver<Job>>) {
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        // What is left is taken and dropped, or the planner would wait for ever.
        if work.has_failed() {
            continue;
        }
        let done = work.guarded(|| match job {
            Job::Whole { at, name, node } => {
                let blobs = content::blobs_of(work.indexed, &node)?;
                let target = Target::begin(work, &at, &name, *node, &blobs)?;
                target.write(work, &blobs)?;
                target.finish(work)
            }
            Job::Part { target, blobs } => {
                target.write(work, &blobs)?;
                finish_if_last(work, target)
            }
        });
        if let Err(error) = done {
            work.fail(error);
        }
    }
}

/// Whoever holds a file last gives it what it gets when its content is there.
fn finish_if_last(work: &Work<'_>, target: Arc<Target>) -> Result<(), HostError> {
    Arc::into_inner(target).map_or(Ok(()), |target| target.finish(work))
}

/// Reads the folders of the point, makes them, and hands out the files.
struct Plan<'a> {
    work: &'a Work<'a>,
    jobs: SyncSender<Job>,
    folders: Folders,
    links: Vec<Link>,
    /// Where a file with several names was met first, by device and inode.
    first: HashMap<(u64, u64), (Option<usize>, OsString)>,
}

impl Plan<'_> {
    fn add(&mut self, node: &Node, at: &At, name: &OsStr, depth: usize) -> Result<(), HostError> {
        if depth > tree::DEPTH_MAX {
            return Err(self.work.failed(name, &io::Error::other("the tree is nested too deeply")));
        }
        if !node.is_dir() && node.meta.links > 1 && node.meta.inode != 0 {
            let here = (at.folder, name.to_owned());
            let key = (node.meta.device_id, node.meta.inode);
            if let Some(first) = self.first.get(&key) {
                self.links.push(Link { to: first.clone(), at: here });
                return Ok(());
            }
            self.first.insert(key, here);
        }
        match &node.node_type {
            NodeType::Dir => self.add_folder(node, at, name, depth),
            NodeType::File => self.add_file(node, at, name),
            NodeType::Socket => {
                tracing::info!(name = %name.display(), "a socket is not restored: its program makes it anew");
                Ok(())
            }
            NodeType::Symlink { .. } | NodeType::Dev { .. } | NodeType::Chardev { .. } | NodeType::Fifo => {
                node::make_special(at.directory.as_fd(), name, node)
                    .map_err(|cause| self.work.failed(name, &cause))
            }
        }
    }

    fn add_folder(&mut self, node: &Node, at: &At, name: &OsStr, depth: usize) -> Result<(), HostError> {
        let failed = |cause: io::Error| failed(name, &cause);
        rustix::fs::mkdirat(&at.directory, name, Mode::RWXU).map_err(|errno| failed(errno.into()))?;
        let opened = Arc::new(tree::open_directory(at.directory.as_fd(), name).map_err(failed)?);
        // What stands there and is no folder is of no use.
        let live = at
            .live
            .as_ref()
            .and_then(|(directory, live)| tree::open_directory(directory.as_fd(), live).ok().map(Arc::new));
        let folder = self.folders.add(Folder {
            parent: at.folder,
            name: name.to_owned(),
            metadata: node::metadata_of(node),
            attributes: node::attributes_of(node),
        });
        let Some(subtree) = node.subtree else { return Ok(()) };
        for child in self.read(&subtree)? {
            if self.work.has_failed() {
                return Ok(());
            }
            let child_name = child.name().into_owned();
            check_name(&child_name)?;
            let live = live.as_ref().map(|live| (Arc::clone(live), child_name.clone()));
            let below = At { directory: Arc::clone(&opened), folder: Some(folder), live };
            self.add(&child, &below, &child_name, depth + 1)?;
        }
        Ok(())
    }

    fn add_file(&mut self, node: &Node, at: &At, name: &OsStr) -> Result<(), HostError> {
        if node.content.as_ref().is_none_or(|content| content.len() <= PART_BLOBS) {
            self.hand_out(Job::Whole { at: at.clone(), name: name.to_owned(), node: Box::new(node.clone()) });
            return Ok(());
        }
        let blobs = content::blobs_of(self.work.indexed, node)?;
        let target = Arc::new(Target::begin(self.work, at, name, node.clone(), &blobs)?);
        for part in blobs.chunks(PART_BLOBS) {
            self.hand_out(Job::Part { target: Arc::clone(&target), blobs: part.to_vec() });
        }
        finish_if_last(self.work, target)
    }

    fn hand_out(&self, job: Job) {
        self.jobs.send(job).expect("the writers wait until nothing can come");
    }

    fn read(&self, subtree: &TreeId) -> Result<Vec<Node>, HostError> {
        Ok(self.work.indexed.get_tree(subtree).map_err(unreadable)?.nodes)
    }
}

/// A repository is data: a name in it must not lead anywhere.
fn check_name(name: &OsStr) -> Result<(), HostError> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') || bytes.contains(&0) {
        return Err(HostError::new(
            ErrorKind::Failed,
            "points/unreadable",
            "the rollback point holds a name that is none",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
