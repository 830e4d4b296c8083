//! Safety points: what a plan may overwrite is kept in a rollback point of its
//! own before the first step that may change something touches anything. A side
//! copy is the quick way back and as close to harm as what it lies beside; the
//! safety point is the way back when the side copy is gone.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use sternway_core::ids::PointId;
use sternway_core::manifest::Class;
use sternway_core::point::{Depth, Kind, Origin, PieceKind, Point, Progress};
use sternway_core::run::{Input, Phase, Record, Remark, StepError};
use sternway_core::trust::Admitted;
use sternway_core::wire::FromAgent;

use super::ahead::file_scopes;
use super::{PhaseCall, Steps, in_full};
use crate::capabilities::HostError;
use crate::capabilities::databases;
use crate::capabilities::files::tree;
use crate::capabilities::files::{HostPath, Place};
use crate::clock;
use crate::journal::JournalError;
use crate::points::lease::LeaseError;
use crate::points::making::{Making, Watch};
use crate::points::{Points, PointsError};

/// The tag of every safety point; those of one rollout also bear `safety-<rollout>`.
pub const SAFETY: &str = "safety";
const TAG_BYTES_MAX: usize = 64;
/// Tries to keep a database that is written to meanwhile.
const TRIES_MAX: u32 = 3;
/// Longest wait for a database's lock.
const STILL_WITHIN: Duration = Duration::from_secs(10);
/// Side copies of this name are looked at before they count.
const AGAIN: &str = "again";

#[derive(Debug, thiserror::Error)]
enum SafetyError {
    #[error("what the plan may overwrite cannot be told")]
    Host(#[from] HostError),
    #[error("what the plan may overwrite cannot be told")]
    Place(#[from] super::PlaceError),
    #[error("the safety point could not be made")]
    Points(#[from] PointsError),
    #[error("the safety point could not be kept from being pruned")]
    Lease(#[from] LeaseError),
    #[error("the safety point could not be written down")]
    Journal(#[from] JournalError),
    #[error("`{0}` is written to all the time and could not be kept whole")]
    NeverStill(HostPath),
}

/// What the plan's steps may overwrite and is there now.
#[derive(Debug)]
struct Overwritten {
    /// None lies below another.
    tops: Vec<(PieceKind, HostPath)>,
    databases: Vec<HostPath>,
}

/// What the journal keeps of an exchange by the plugins' own library, and what
/// an undo by it looks for.
#[derive(Debug, Deserialize)]
struct Exchanged {
    to: Option<String>,
    old: Option<String>,
    back: bool,
}

impl Steps {
    /// Once in a run, before anything that it may change has changed: stages
    /// ahead what later steps need, and keeps what the plan may overwrite.
    ///
    /// # Errors
    /// The run must not begin to change anything.
    pub(super) fn before_change(&self, plan: &Admitted, call: &PhaseCall) -> Result<(), StepError> {
        let is_changing =
            |step: u32| plan.plan().steps.get(step as usize).is_some_and(|step| step.class != Class::Observe);
        if !is_changing(call.step) || self.has_begun(plan, &is_changing) {
            return Ok(());
        }
        self.stage_ahead(plan, call)?;
        self.keep_safe(plan, call.step).map_err(|error| StepError {
            code: "safety/not-made".into(),
            message: format!("nothing is changed: {}", in_full(&error)),
            undo_advised: true,
        })
    }

    fn has_begun(&self, plan: &Admitted, is_changing: &dyn Fn(u32) -> bool) -> bool {
        let journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.run(plan.id()).is_some_and(|run| {
            run.entries.iter().any(|entry| match entry.input {
                Input::Began { step, phase: Phase::Apply | Phase::Undo, .. } => is_changing(step),
                _ => false,
            })
        })
    }

    fn keep_safe(&self, plan: &Admitted, step: u32) -> Result<(), SafetyError> {
        if self.safety_of(plan).is_some() {
            return Ok(());
        }
        let overwritten = self.overwritten(plan)?;
        if overwritten.tops.is_empty() {
            return Ok(());
        }
        let points = self.host.points()?;
        // An agent that died after making it has it already.
        let known = points.list()?.into_iter().find(|point| is_safety_of(point, plan));
        let point = match known {
            Some(point) => point,
            None => self.make_safety_point(plan, step, &points, &overwritten)?,
        };
        self.host.leases()?.take_safety(plan.id(), point.id)?;
        points.verify(point.id, Depth::Quick, &self.ticks(plan, step))?;
        let remark = Remark::Safety { point: point.id, bytes: point.bytes };
        tracing::info!(plan = %plan.id().short(), "{remark}");
        self.remark(plan, remark)?;
        Ok(())
    }

    fn make_safety_point(
        &self,
        plan: &Admitted,
        step: u32,
        points: &Arc<Points>,
        overwritten: &Overwritten,
    ) -> Result<Point, SafetyError> {
        for _ in 0..TRIES_MAX {
            let mut still = Vec::new();
            let mut paths = overwritten.tops.clone();
            for database in &overwritten.databases {
                let until = Instant::now() + STILL_WITHIN;
                let held = databases::hold_still(&self.files_of(plan, step), database, until)?;
                let logs = held.logs(database)?.into_iter();
                // A folder that is kept as a whole holds them already.
                let logs = logs.filter(|log| !overwritten.tops.iter().any(|(_, top)| log.is_within(top)));
                paths.extend(logs.map(|log| (PieceKind::Database, log)));
                still.push(held);
            }
            let made = points.make(self.making(plan, paths), &self.ticks(plan, step))?;
            if still.iter().all(databases::Still::held) {
                return Ok(made);
            }
            // A torn database is no way back.
            points.drop_points(&[made.id], &self.ticks(plan, step))?;
        }
        let database = overwritten.databases.first().expect("only a database that moves comes here");
        Err(SafetyError::NeverStill(database.clone()))
    }

    fn making(&self, plan: &Admitted, paths: Vec<(PieceKind, HostPath)>) -> Making {
        let signed = plan.plan();
        let mut tags = vec![SAFETY.to_owned()];
        let (rollout, by) = self.accepted_as(plan);
        let of_rollout = format!("{SAFETY}-{rollout}");
        if !rollout.is_empty() && of_rollout.len() <= TAG_BYTES_MAX {
            tags.push(of_rollout);
        }
        Making {
            service: signed.service.clone(),
            version: signed.from.clone(),
            kind: Kind::Component,
            origin: Origin::Safety { plan: plan.id() },
            tags,
            reason: format!("{}: {}", signed.name, signed.reason),
            by,
            paths,
            extras: Vec::new(),
        }
    }

    /// The rollout, and who signed.
    fn accepted_as(&self, plan: &Admitted) -> (String, String) {
        let journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let accepted = journal.run(plan.id()).and_then(|run| run.entries.first());
        match accepted.map(|entry| &entry.input) {
            Some(Input::Accepted { rollout, signers }) => {
                let persons: Vec<&str> = signers.iter().map(|signer| signer.person.as_str()).collect();
                (rollout.to_string(), persons.join(", "))
            }
            _ => (String::new(), String::new()),
        }
    }

    fn overwritten(&self, plan: &Admitted) -> Result<Overwritten, SafetyError> {
        let mut found: Vec<(PieceKind, HostPath)> = Vec::new();
        for step in plan.plan().steps.iter().filter(|step| step.class != Class::Observe) {
            for grant in self.grants_here(step)? {
                let kind = match grant.power.as_str() {
                    "databases" => PieceKind::Database,
                    "files" => PieceKind::Files,
                    _ => continue,
                };
                for scope in &grant.scopes {
                    let path = HostPath::parse(scope)?;
                    if self.is_there(&path)? {
                        found.push((kind, path));
                    }
                }
            }
        }
        // A database is one, whatever else may touch it.
        found.sort_by(|(a, one), (b, other)| one.cmp(other).then_with(|| b.cmp(a)));
        found.dedup_by(|(_, one), (_, other)| one == other);
        let is_database = |(kind, _): &&(PieceKind, HostPath)| *kind == PieceKind::Database;
        let databases = found.iter().filter(is_database).map(|(_, path)| path.clone()).collect();
        let is_top = |path: &HostPath| !found.iter().any(|(_, other)| path != other && path.is_within(other));
        let tops = found.iter().filter(|(_, path)| is_top(path)).cloned().collect();
        Ok(Overwritten { tops, databases })
    }

    fn is_there(&self, path: &HostPath) -> Result<bool, HostError> {
        let Some(spot) = self.host.root().spot_if_any(path)? else { return Ok(false) };
        let found = tree::stat(spot.directory.as_fd(), &spot.name);
        let found = found
            .map_err(|cause| HostError::from_io("files", &format!("could not look at `{path}`"), &cause))?;
        Ok(found.is_some())
    }

    /// The point that holds what this plan overwrites, once there is one.
    pub(super) fn safety_of(&self, plan: &Admitted) -> Option<PointId> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).run(plan.id())?.safety
    }

    pub(super) fn remark(&self, plan: &Admitted, remark: Remark) -> Result<(), JournalError> {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.append(clock::now(), Record::Remarked { plan: plan.id(), remark })?;
        if let Some(outbox) = self.outbox.get() {
            outbox.journal_grew(journal.last());
        }
        Ok(())
    }

    /// Where a long piece of work says how far it is.
    pub(super) fn ticks(&self, plan: &Admitted, step: u32) -> Watch {
        let (outbox, plan) = (self.outbox.get().cloned(), plan.id());
        Arc::new(move |progress: Progress| {
            if let Some(outbox) = &outbox {
                let Progress { stage, done, total, unit } = progress;
                outbox.say(FromAgent::Tick { plan, step, stage, done, total, unit });
            }
        })
    }

    /// Before a step's undo: a side copy that is gone, or is not what was put
    /// aside, is made again out of the safety point, so that the plugin's own
    /// undo finds what it left. What cannot be mended is left for the plugin to
    /// refuse.
    pub(super) fn mend_side_copies(&self, plan: &Admitted, call: &PhaseCall) {
        // Before its end, what an exchange noted may still change.
        if call.outcome.is_none() {
            return;
        }
        let Some(step) = plan.plan().steps.get(call.step as usize) else { return };
        let Ok(scopes) = self.grants_here(step).map(|grants| file_scopes(&grants)) else { return };
        for (path, exchanged) in self.exchanges(plan, call.step) {
            if scopes.iter().any(|scope| path.is_within(scope))
                && let Err(error) = self.mend(plan, call.step, &path, &exchanged)
            {
                tracing::error!(
                    path = path.as_str(),
                    error = in_full(&error),
                    "a side copy cannot be made again"
                );
            }
        }
    }

    /// The newest note of each exchange of a step.
    fn exchanges(&self, plan: &Admitted, step: u32) -> Vec<(HostPath, Exchanged)> {
        let journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(run) = journal.run(plan.id()) else { return Vec::new() };
        let mut newest: BTreeMap<&str, (u32, Exchanged)> = BTreeMap::new();
        for ((_, key), mark) in run.marks.iter().filter(|((of, _), _)| *of == step) {
            let Some((path, place)) =
                key.strip_prefix("step/exchange ").and_then(|key| key.rsplit_once(" #"))
            else {
                continue;
            };
            let Ok(place) = place.parse::<u32>() else { continue };
            let noted =
                if mark.note.is_empty() { mark.value.as_deref().unwrap_or_default() } else { &mark.note };
            let Ok(exchanged) = serde_json::from_slice::<Exchanged>(noted) else { continue };
            if newest.get(path).is_none_or(|(known, _)| *known < place) {
                newest.insert(path, (place, exchanged));
            }
        }
        let parsed =
            newest.into_iter().map(|(path, (_, exchanged))| Some((HostPath::parse(path).ok()?, exchanged)));
        parsed.flatten().collect()
    }

    fn mend(
        &self,
        plan: &Admitted,
        step: u32,
        path: &HostPath,
        exchanged: &Exchanged,
    ) -> Result<(), SafetyError> {
        let Exchanged { to, old: Some(old), back: false } = exchanged else { return Ok(()) };
        let files = self.files_of(plan, step);
        let digest = |at| files.digest(at, path).map(|found| found.map(|found| found.sha256));
        let side = digest(Place::Side)?;
        if to.as_ref() == Some(old) || side.as_ref() == Some(old) || side.is_some() && side == *to {
            return Ok(());
        }
        if digest(Place::Live)?.as_ref() == Some(old) {
            return Ok(());
        }
        let Some(point) = self.safety_of(plan) else { return Ok(()) };
        let points = self.host.points()?;
        let again = self.files_named(plan, &format!("{step}-{AGAIN}"));
        let restored =
            again.stage_with(path, |directory, name, _| points.restore(point, path, directory, name));
        let name = path.to_string();
        let remark = if matches!(&restored, Ok(found) if found.sha256 == *old) {
            files.take_side_of(&again, path)?;
            Remark::SideMadeAgain { step, path: name, point }
        } else {
            again.discard(path)?;
            Remark::SideLost { step, path: name, point }
        };
        tracing::warn!(plan = %plan.id().short(), "{remark}");
        self.remark(plan, remark)?;
        restored.map(drop).map_err(SafetyError::from)
    }
}

fn is_safety_of(point: &Point, plan: &Admitted) -> bool {
    point.origin == Origin::Safety { plan: plan.id() }
}
