//! What is staged beside each path, and what `look` sees before.

use sternway_plugin::host::files::{self, Node, Place};
use sternway_plugin::host::programs::{self, Call, Hole};
use sternway_plugin::host::{points, progress};
use sternway_plugin::{Action, Error, Finding, Kind, Step, recopy};

use crate::decide::{self, Held};
use crate::settings::{Change, Copy, Settings, Task, Unpack};
use crate::{Staged, go_on};

const SUM_TIMEOUT_MS: u64 = 600_000;

/// What would be done with archives, copies and links, and what speaks against it.
pub(crate) fn look(task: &Task) -> Result<Vec<Result<Action, Finding>>, Error> {
    let mut seen = Vec::new();
    if let Some(unpack) = &task.unpack {
        seen.push(look_at_archive(unpack)?);
    }
    for copy in &task.copies {
        seen.push(match names(copy) {
            Ok(names) => {
                // After a crash the old tree waits at the side, and nothing is left to do.
                let is_begun = names.is_empty() && files::get_attributes(Place::Side, &copy.path)?.is_some();
                decide::copy(&copy.path, &copy.change, &names, is_begun)
            }
            // Nothing there, or no directory.
            Err(error) if matches!(error.kind, Kind::NotFound | Kind::Conflict) => {
                Err(decide::finding_no_tree(&copy.path))
            }
            Err(error) => return Err(error),
        });
    }
    if let Some((link, target)) = &task.link {
        seen.push(look_at_link(link, target, task)?);
    }
    Ok(seen)
}

fn look_at_archive(unpack: &Unpack) -> Result<Result<Action, Finding>, Error> {
    let found = files::get_attributes(Place::Live, &unpack.archive)?;
    let Some(archive) = found.filter(|found| found.node == Node::File) else {
        return Ok(Err(decide::finding_no_archive(unpack)));
    };
    if let Some(other) = other_sum(unpack)? {
        return Ok(Err(decide::finding_other_archive(unpack, &other)));
    }
    let live = files::get_digest(Place::Live, &unpack.path)?.map(held);
    Ok(Ok(decide::unpacking(unpack, live.as_ref(), archive.bytes)))
}

fn look_at_link(link: &str, target: &str, task: &Task) -> Result<Result<Action, Finding>, Error> {
    let is_coming = task.unpack.iter().any(|unpack| unpack.path == target);
    if !is_coming && files::get_attributes(Place::Live, target)?.is_none() {
        return Ok(Err(decide::finding_no_target(link, target)));
    }
    let live = files::get_attributes(Place::Live, link)?;
    if live.as_ref().is_some_and(|live| live.node != Node::Symlink) {
        return Ok(Err(decide::finding_no_link(link)));
    }
    Ok(Ok(decide::linking(link, target, live.is_some())))
}

/// The names a copy is about, as they are in the live tree now.
pub(crate) fn names(copy: &Copy) -> Result<Vec<String>, Error> {
    let (endings, is_copy): (&[String], bool) = match &copy.change {
        Change::PutBack(suffix) => (std::slice::from_ref(suffix), true),
        Change::Clear(endings) => (endings, false),
    };
    let mut all = Vec::new();
    for ending in endings {
        let found = files::find(Place::Live, &copy.path, ending)?;
        // A name that is nothing but the suffix is the copy of nothing.
        all.extend(found.into_iter().filter(|name| !is_copy || name.rsplit('/').next() != Some(ending)));
    }
    all.sort();
    all.dedup();
    Ok(all)
}

/// What the side copy of a tree gets.
pub(crate) fn change(copy: &Copy) -> Result<(), Error> {
    match &copy.change {
        Change::PutBack(suffix) => files::stage_put_back(&copy.path, suffix).map(drop),
        Change::Clear(endings) => {
            for ending in endings {
                let names = files::find(Place::Side, &copy.path, ending)?;
                // What lies in a folder that goes is gone when its turn comes.
                files::stage_removal(&copy.path, &names)?;
            }
            Ok(())
        }
    }
}

pub(crate) fn stage(on: &Step<Settings>, task: &Task) -> Result<Staged, Error> {
    let mut staged = Staged::default();
    let total = task.restore.len() as u64;
    for (done, path) in (0..).zip(&task.restore) {
        go_on(path)?;
        progress::report("stage", done, Some(total), "paths");
        let digest = points::stage(on.point()?, path)?;
        staged.0.insert(path.clone(), own(task, path, digest.sha256)?);
    }
    for copy in &task.copies {
        go_on(&copy.path)?;
        staged.0.insert(copy.path.clone(), recopy::stage(&copy.path, || change(copy))?);
    }
    if let Some(unpack) = &task.unpack {
        go_on(&unpack.path)?;
        if let Some(other) = other_sum(unpack)? {
            let message = format!("{} has {other}", unpack.archive);
            return Err(Error::conflict("files/other-archive", message));
        }
        let digest = files::stage_archive(&unpack.path, &unpack.archive, unpack.bytes_max)?;
        staged.0.insert(unpack.path.clone(), own(task, &unpack.path, digest.sha256)?);
    }
    if let Some((link, target)) = &task.link {
        staged.0.insert(link.clone(), files::stage_link(link, target)?.sha256);
    }
    for path in &task.remove {
        files::discard(path)?;
    }
    Ok(staged)
}

fn own(task: &Task, path: &str, digest: String) -> Result<String, Error> {
    match &task.ownership {
        Some(ownership) => Ok(files::stage_ownership(path, ownership)?.sha256),
        None => Ok(digest),
    }
}

/// None when the archive is the one that is meant, or when none in particular is.
fn other_sum(unpack: &Unpack) -> Result<Option<String>, Error> {
    let Some(expected) = &unpack.sha256 else { return Ok(None) };
    let hole = Hole { name: "file".to_owned(), values: vec![unpack.archive.clone()] };
    let ended = programs::ask(&Call {
        form: "archive.sha256".to_owned(),
        on: unpack.archive.clone(),
        holes: vec![hole],
        timeout_ms: SUM_TIMEOUT_MS,
    })?;
    let output = String::from_utf8_lossy(&ended.output);
    let found = output.split_whitespace().next().unwrap_or_default();
    if ended.code != Some(0) || found.len() != 64 {
        let message = format!("sha256sum of {} said: {}", unpack.archive, ended.complaint.trim());
        return Err(Error::failed("files/no-sha256", message));
    }
    Ok((found != expected).then(|| format!("sha256 {found} and not {expected}")))
}

pub(crate) fn held(digest: files::Digest) -> Held {
    Held { entries: digest.entries, bytes: digest.bytes, sha256: digest.sha256 }
}
