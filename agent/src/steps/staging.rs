//! Everything a run will need, before it may ask for a permit: from here on it
//! needs no download, and what can be known to be missing is known.

use std::time::Duration;

use sternway_core::plan::{PointCheck, PointWanted};
use sternway_core::point::Depth;
use sternway_core::run::{Answer, Phase, Run};
use sternway_core::trust::Admitted;

use super::{PhaseCall, Steps, in_full};
use crate::durable;
use crate::gate::Cancel;
use crate::outbox::Outbox;
use crate::points::making::nobody;

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
        let point = plan.plan().point.as_ref().map(|wanted| self.stage_point(wanted));
        let point = point.transpose().unwrap_or_else(|reason| {
            problems.push(reason);
            None
        });
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

    fn stage_point(&self, wanted: &PointWanted) -> Result<String, String> {
        let points = self.host.points().map_err(|error| in_full(&error))?;
        let age_max = wanted.age_max.map(|age| Duration::from_millis(age.0));
        let found = points.newest(&wanted.tag, age_max).map_err(|error| in_full(&error))?;
        let point = found.ok_or_else(|| match wanted.age_max {
            Some(age) => format!("no rollback point `{}` that is at most {age} old", wanted.tag),
            None => format!("no rollback point `{}`", wanted.tag),
        })?;
        let depth = if wanted.verify == PointCheck::Full { Depth::Full } else { Depth::Quick };
        points.verify(point.id, depth, &nobody()).map_err(|error| in_full(&error))?;
        Ok(point.id.to_string())
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
