//! What the steps of a plan need of this host before the first of them begins.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::OFlags;
use sternway_core::manifest::Class;
use sternway_core::plan::Step;
use sternway_core::run::Record;
use sternway_core::trust::Admitted;

use super::{Limits, Steps, in_full};
use crate::capabilities::files::HostPath;
use crate::capabilities::files::tree::{self, Kind};
use crate::clock;
use crate::points;
use crate::preflight::{Preflight, Survey};

impl Steps {
    /// Measures, writes down what was measured, and answers every problem.
    pub(super) fn preflight(&self, plan: &Admitted, point: Option<&str>) -> Vec<String> {
        let mut preflight = Preflight::default();
        preflight.want_memory(Limits::default().memory_bytes_max);
        self.want_state(&mut preflight);
        for step in plan.plan().steps.iter().filter(|step| step.class != Class::Observe) {
            if let Err(reason) = self.want_step(step, point, &mut preflight) {
                preflight.problem(format!("`{}`: {reason}", step.name));
            }
        }
        let Survey { needs, mut problems } = preflight.judge();
        let record = Record::Measured { plan: plan.id(), needs };
        let mut journal = self.journal.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Err(error) = journal.append(clock::now(), record) {
            problems.push(in_full(&error));
        }
        problems
    }

    fn want_state(&self, preflight: &mut Preflight) {
        let state = &self.host.config().state;
        let name = state.display().to_string();
        let wanted = std::fs::File::open(state)
            .and_then(|opened| preflight.want(opened.as_fd(), &name, "the agent's state", (0, 0)));
        if let Err(cause) = wanted {
            preflight.problem(format!("`{name}` cannot be looked at: {cause}"));
        }
    }

    fn want_step(&self, step: &Step, point: Option<&str>, preflight: &mut Preflight) -> Result<(), String> {
        let grants = self.grants_here(step).map_err(|error| error.to_string())?;
        let reads_point = grants.iter().any(|grant| grant.power == "points");
        for grant in &grants {
            match grant.power.as_str() {
                "files" => {
                    for scope in &grant.scopes {
                        let path = HostPath::parse(scope).map_err(|error| error.message)?;
                        self.want_path(&path, point.filter(|_| reads_point), preflight)?;
                    }
                }
                "services" => {
                    let known: Vec<&str> = self.host.services().names().collect();
                    for name in grant.scopes.iter().filter(|name| !known.contains(&name.as_str())) {
                        preflight.problem(format!(
                            "`{}`: this host has no service `{name}`: name it in the agent's configuration",
                            step.name
                        ));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A side copy is built beside what is live, and the live one is kept until
    /// the run is closed; what is edited in place is also kept for good.
    fn want_path(
        &self,
        path: &HostPath,
        point: Option<&str>,
        preflight: &mut Preflight,
    ) -> Result<(), String> {
        let weight = match point {
            Some(point) => {
                let kept = self.host.points().map_err(|error| in_full(&error))?;
                let id = points::read_id(point).map_err(|error| error.message)?;
                kept.weight(id, path).map_err(|error| error.message)?
            }
            None => {
                let (bytes, entries) =
                    self.live_weight(path).map_err(|cause| format!("`{path}`: {cause}"))?;
                (2 * bytes, 2 * entries)
            }
        };
        let Some((directory, name)) = self.directory_of(path) else { return Ok(()) };
        preflight
            .want(directory.as_fd(), &name, path.as_str(), weight)
            .map_err(|cause| format!("`{name}` cannot be looked at: {cause}"))
    }

    fn live_weight(&self, path: &HostPath) -> io::Result<(u64, u64)> {
        let Ok(Some(spot)) = self.host.root().spot_if_any(path) else { return Ok((0, 0)) };
        let (mut bytes, mut entries) = (0, 0);
        tree::walk(spot.directory.as_fd(), &spot.name, &mut |entry| {
            entries += 1;
            if entry.kind == Kind::File {
                bytes += u64::try_from(entry.stat.st_size).unwrap_or_default();
            }
            Ok(())
        })?;
        Ok((bytes, entries))
    }

    /// The nearest directory above a path that is there.
    fn directory_of(&self, path: &HostPath) -> Option<(OwnedFd, String)> {
        let mut path = path.clone();
        while let Ok((parent, _)) = path.parent_and_name() {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            if let Ok(opened) = self.host.root().open_beneath(&parent, flags) {
                return Some((opened, parent.to_string()));
            }
            path = parent;
        }
        None
    }
}
