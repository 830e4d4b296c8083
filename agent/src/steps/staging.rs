//! Everything a run will need, before it may ask for a permit: from here on it
//! needs no download, and what can be known to be missing is known.

use std::time::Duration;

use sternway_core::ids::PointId;
use sternway_core::plan::{Plan, PointCheck, PointChoice, PointWanted};
use sternway_core::point::{Checked, Depth, Point, choice};
use sternway_core::run::{Answer, Phase, Remark, Run};
use sternway_core::trust::Admitted;

use super::{PhaseCall, Steps, in_full};
use crate::clock;
use crate::custodian::Catalogue;
use crate::durable;
use crate::gate::Cancel;
use crate::outbox::Outbox;
use crate::points::{Points, PointsError};

/// A link that is down comes back; staging waits for it between tries.
const FETCH_AGAIN: Duration = Duration::from_millis(500);
const FETCH_TRIES_MAX: u32 = 20;

impl Steps {
    /// Measures what the run needs, finds and verifies the point, fetches and
    /// checks plugins, and looks at every step once. Answers the point's id, or
    /// why this host cannot take part: everything that was found at once.
    pub fn stage(&self, plan: &Admitted, outbox: &Outbox) -> Result<Option<String>, String> {
        let mut problems: Vec<String> = Vec::new();
        problems.extend(plan.plan().steps.iter().filter_map(|step| self.check_permitted(step).err()));
        let point = plan.plan().point.as_ref().map(|wanted| self.stage_point(plan, wanted));
        let point = point.transpose().unwrap_or_else(|reason| {
            problems.push(reason);
            None
        });
        let point = point.map(|point| point.to_string());
        problems.extend(self.preflight(plan, point.as_deref()));
        if !problems.is_empty() {
            return Err(problems.join("; "));
        }
        for pin in &plan.plan().plugins {
            self.stage_plugin(pin, outbox)?;
        }
        for step in &plan.plan().steps {
            self.plugin(plan, step).map_err(|error| in_full(&error))?;
        }
        self.look_at_all(plan, point.as_deref())?;
        Ok(point)
    }

    fn stage_plugin(&self, pin: &sternway_core::plan::PluginPin, outbox: &Outbox) -> Result<(), String> {
        let path = self.host.config().plugins_path().join(format!("{}.wasm", pin.sha256));
        let is_right = |bytes: &[u8]| sternway_core::ids::Digest::of(bytes) == pin.sha256;
        if std::fs::read(&path).is_ok_and(|bytes| is_right(&bytes)) {
            return Ok(());
        }
        for _ in 0..FETCH_TRIES_MAX {
            if !outbox.has_link() {
                break;
            }
            match outbox.fetch(pin.sha256) {
                Some(bytes) if is_right(&bytes) => {
                    return durable::write(&path, 0o600, &bytes).map_err(|error| in_full(&error));
                }
                Some(_) => tracing::warn!(plugin = %pin.name, "other bytes came than the plan names"),
                None => tracing::debug!(plugin = %pin.name, "not here yet"),
            }
            std::thread::sleep(FETCH_AGAIN);
        }
        Err(format!("plugin `{}` ({}) could not be fetched", pin.name, pin.sha256.short()))
    }

    /// What this host would deny in the middle is refused at the beginning.
    fn check_permitted(&self, step: &sternway_core::plan::Step) -> Result<(), String> {
        let policy = self.host.policy();
        for grant in self.grants_here(step).map_err(|error| format!("`{}`: {error}", step.name))? {
            if let Some(scope) = policy.refused(&grant).first() {
                return Err(format!(
                    "`{}`: this host does not permit {} on `{scope}`",
                    step.name, grant.power
                ));
            }
        }
        Ok(())
    }

    /// The newest point that is wanted and comes through its check. It is in use
    /// before it is checked, so what was checked is what the run goes back to.
    fn stage_point(&self, plan: &Admitted, wanted: &PointWanted) -> Result<PointId, String> {
        let points = self.host.points().map_err(|error| in_full(&error))?;
        let leases = self.host.leases().map_err(|error| in_full(&error))?;
        let depth = match wanted.verify {
            PointCheck::Quick => Depth::Quick,
            PointCheck::Full => Depth::Full,
        };
        let catalogue = Catalogue::of(&self.host.config().state);
        let found = meant(&points, &catalogue, plan.plan(), wanted, &self.restored(plan.plan())?)?;
        let now = clock::now();
        let is_young = |point: &Point| wanted.age_max.is_none_or(|age| now.since(point.made) <= age);
        let mut damaged = Vec::new();
        for point in found.into_iter().filter(is_young) {
            let (id, short) = (point.id, point.id.short());
            leases.take(plan.id(), id).map_err(|error| in_full(&error))?;
            let known = point.checked.and_then(|checked| checked.finding);
            let checked = match known {
                Some(finding) => Err(finding),
                None => {
                    let checked = points.verify(id, depth, &self.ticks(plan, 0));
                    record(&catalogue, id, depth, &checked);
                    checked.map_err(|error| in_full(&error))
                }
            };
            let Err(finding) = checked else { return Ok(id) };
            tracing::error!(point = short, finding, "a rollback point is damaged; an older one is tried");
            damaged.push(format!("{short}: {finding}"));
            self.remark(plan, Remark::PointDamaged { point: id, finding })
                .map_err(|error| in_full(&error))?;
            leases.let_go(plan.id(), id).map_err(|error| in_full(&error))?;
        }
        let which = match wanted.age_max {
            Some(age) => format!("rollback point ({}) that is at most {age} old", wanted.choice),
            None => format!("rollback point ({})", wanted.choice),
        };
        match damaged.is_empty() {
            true => Err(format!("no {which}")),
            false => Err(format!("no {which} can be used: {}", damaged.join("; "))),
        }
    }

    /// Paths of the point that the plan's steps bring back.
    fn restored(&self, plan: &Plan) -> Result<Vec<String>, String> {
        let mut paths = Vec::new();
        for step in &plan.steps {
            let grants = self.grants_here(step).map_err(|error| format!("`{}`: {error}", step.name))?;
            let of_points = grants.into_iter().filter(|grant| grant.power == "points");
            paths.extend(of_points.flat_map(|grant| grant.scopes));
        }
        Ok(paths)
    }

    /// Read only. What an earlier step will change is not judged here, only
    /// what the plugins themselves call blocking.
    fn look_at_all(&self, plan: &Admitted, point: Option<&str>) -> Result<(), String> {
        let run = Run::new(plan.plan());
        for (at, step) in plan.plan().steps.iter().enumerate() {
            let mut call = PhaseCall::of(&run, at as u32, Phase::Look, 0, Cancel::new());
            call.point = point.map(str::to_owned);
            match self.call(plan, &call) {
                Answer::Looked(looked) => {
                    if let Some(finding) = looked.findings.iter().find(|finding| finding.blocking) {
                        return Err(format!("`{}`: {}", step.name, finding.message));
                    }
                }
                Answer::Failed(error) => return Err(format!("`{}`: {}", step.name, error.message)),
                _ => return Err(format!("`{}` answered another question", step.name)),
            }
        }
        Ok(())
    }
}

/// Whole and damaged are kept for the next who asks; a repository that could not
/// be read says nothing about a point.
fn record(catalogue: &Catalogue, id: PointId, depth: Depth, checked: &Result<(), PointsError>) {
    let finding = match checked {
        Ok(()) => None,
        Err(PointsError::Damaged { finding, .. }) => Some(finding.clone()),
        Err(_) => return,
    };
    catalogue.record(id, Checked { at: clock::now(), depth, finding });
}

/// The points that the plan may go back to, best first, with what is known of them.
fn meant(
    points: &Points,
    catalogue: &Catalogue,
    plan: &Plan,
    wanted: &PointWanted,
    restored: &[String],
) -> Result<Vec<Point>, String> {
    let mut all = points.list().map_err(|error| in_full(&error))?;
    catalogue.read().fill(&mut all);
    let found = choice::meant(&all, plan, wanted, restored);
    let PointChoice::Tagged(tag) = &wanted.choice else { return Ok(found) };
    let is_other = |point: &&Point| !point.version.is_empty() && point.version != plan.to;
    match found.first().filter(is_other) {
        Some(point) => Err(format!(
            "rollback point {} (`{tag}`) holds {} {}, and the plan goes back to {}",
            point.id.short(),
            point.service,
            point.version,
            plan.to
        )),
        None => Ok(found),
    }
}
