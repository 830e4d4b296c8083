//! One path of a point for a person in need: beside what is there, where
//! nothing is, or in its place with what was there kept. Nobody ever sees half
//! of it: it is restored under a hidden name and gets its own in one step.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::RenameFlags;
use rustix::io::Errno;
use sternway_core::ids::Digest;
use sternway_core::point::{Answer, Point, Want};

use super::{Custodian, CustodianError, Listener, Word, short};
use crate::capabilities::files::{HostPath, Spot, tree};

/// Names that are tried for what is put beside.
const NAMES_MAX: u32 = 100;

enum Goal {
    Beside,
    InPlace,
    Elsewhere(HostPath),
}

impl Custodian {
    pub(super) fn put(
        &self,
        which: &Want,
        path: &str,
        into: &str,
        word: &Word,
        listener: &Listener,
    ) -> Result<(), CustodianError> {
        let path = HostPath::parse(path)?;
        self.check_permitted(word, &["points", "files"], &path)?;
        let goal = match into {
            "" => Goal::Beside,
            into if into == path.as_str() => Goal::InPlace,
            into => Goal::Elsewhere(HostPath::parse(into)?),
        };
        let near = match &goal {
            Goal::Elsewhere(into) => into,
            Goal::Beside | Goal::InPlace => &path,
        };
        let points = self.points()?;
        let point = self.newest(&points, which)?;
        let _putting = self.lock("putting.lock", "lock the restoring of paths", listener)?;
        let spot = self.host.root().spot(near)?;
        let final_name = match &goal {
            Goal::Elsewhere(_) => {
                must_be_free(&spot, near)?;
                spot.name.clone()
            }
            Goal::Beside => free_name(&spot, &format!("{}.from-{}", spot.name, short(&point.id)))?,
            Goal::InPlace => spot.name.clone(),
        };
        let lies_at = beside(near, &final_name)?;
        self.check_permitted(word, &["files"], &lies_at)?;
        listener.is_there()?;

        let hidden = hidden_name(&point, &spot.name);
        let hidden_path = beside(near, &hidden)?;
        // Of an earlier try that came to a sudden end: nothing else has such a name.
        remove(&spot, &hidden)?;
        let restored = points.restore_path(point.id, &path, &hidden_path, &listener.watch());
        let (entries, bytes) = match restored {
            Ok(restored) => restored,
            Err(error) => {
                remove(&spot, &hidden)?;
                return Err(error.into());
            }
        };
        let is_there =
            tree::stat(spot.directory.as_fd(), &spot.name).map_err(io_failed("look at what is there"))?;
        let old = match (&goal, is_there) {
            (Goal::InPlace, Some(_)) => Some(self.exchange(&spot, near, &hidden, &point, word)?),
            _ => {
                rename(&spot, &hidden, &final_name, RenameFlags::NOREPLACE)?;
                None
            }
        };
        tracing::warn!(
            by = word.by,
            reason = word.reason,
            point = short(&point.id),
            path = path.as_str(),
            at = lies_at.as_str(),
            old,
            "restored a path from a rollback point"
        );
        listener.say(Answer::Restored { path: lies_at.to_string(), entries, bytes, old });
        Ok(())
    }

    /// The restored one and the live one change names. Before that it gets the
    /// name under which the old one stays, so that no crash leaves the old one
    /// where a later try would clear away.
    fn exchange(
        &self,
        spot: &Spot,
        path: &HostPath,
        hidden: &str,
        point: &Point,
        word: &Word,
    ) -> Result<String, CustodianError> {
        let other = free_name(spot, &format!("{}.other-{}", spot.name, short(&point.id)))?;
        let old = beside(path, &other)?;
        self.check_permitted(word, &["files"], &old)?;
        rename(spot, hidden, &other, RenameFlags::NOREPLACE)?;
        rename(spot, &other, &spot.name, RenameFlags::EXCHANGE)?;
        Ok(old.to_string())
    }
}

/// Hidden, and its own for each point and name.
fn hidden_name(point: &Point, name: &str) -> String {
    format!(".sternway-put-{}-{}", short(&point.id), Digest::of(name.as_bytes()).short())
}

fn beside(path: &HostPath, name: &str) -> Result<HostPath, CustodianError> {
    let (parent, _) = path.parent_and_name()?;
    Ok(HostPath::parse(&format!("{}/{name}", parent.as_str().trim_end_matches('/')))?)
}

fn must_be_free(spot: &Spot, path: &HostPath) -> Result<(), CustodianError> {
    match tree::stat(spot.directory.as_fd(), &spot.name).map_err(io_failed("look at what is there"))? {
        None => Ok(()),
        Some(_) => Err(CustodianError::refused(
            "in-the-way",
            format!(
                "there is something at `{path}`, and nothing is written over: name a path where nothing is, or the restored path itself to put it in its place and keep the old one"
            ),
        )),
    }
}

fn free_name(spot: &Spot, wish: &str) -> Result<String, CustodianError> {
    for number in 1..=NAMES_MAX {
        let name = if number == 1 { wish.to_owned() } else { format!("{wish}-{number}") };
        let taken = tree::stat(spot.directory.as_fd(), &name).map_err(io_failed("look for a free name"))?;
        if taken.is_none() {
            return Ok(name);
        }
    }
    Err(CustodianError::refused("in-the-way", format!("`{wish}` and {NAMES_MAX} names like it are taken")))
}

fn remove(spot: &Spot, name: &str) -> Result<(), CustodianError> {
    tree::remove(spot.directory.as_fd(), OsStr::new(name)).map_err(io_failed("clear an earlier try away"))?;
    Ok(())
}

/// On disk when it returns.
fn rename(spot: &Spot, from: &str, to: &str, how: RenameFlags) -> Result<(), CustodianError> {
    let directory = spot.directory.as_fd();
    match rustix::fs::renameat_with(directory, from, directory, to, how) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            return Err(CustodianError::refused(
                "in-the-way",
                format!("`{to}` was made by somebody else meanwhile"),
            ));
        }
        Err(Errno::INVAL) => {
            return Err(CustodianError::refused(
                "unsupported",
                "this file system cannot exchange two names in one step: restore it beside, and exchange them yourself",
            ));
        }
        Err(errno) => return Err(io_failed("give what was restored its name")(errno.into())),
    }
    rustix::fs::fsync(directory).map_err(|errno| io_failed("make the new names durable")(errno.into()))
}

fn io_failed(step: &'static str) -> impl FnOnce(io::Error) -> CustodianError {
    move |cause| CustodianError::Io { step, cause }
}
