//! Would a rollback work right now? Gathers what this host knows; the verdict
//! is made of it in `core`.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::OFlags;
use sternway_core::ids::{Digest, PluginName};
use sternway_core::point::readiness::Facts;
use sternway_core::point::{Kind, Origin, Point};

use super::{Custodian, CustodianError, in_full, short};
use crate::capabilities::files::HostPath;
use crate::config::PointService;
use crate::control::{self, ControlError};
use crate::driver;
use crate::halt::HaltFlag;
use crate::message::{Ask, Said};
use crate::points::Points;
use crate::report::Report;

/// Stages of a run between which another plan may begin.
const AT_REST: [&str; 4] = ["finished", "undone", "unfit", "closed"];

impl Custodian {
    /// Of one service of this host, or of all. `plugins` are those that the
    /// coordinator would send.
    pub fn facts(&self, service: Option<&str>, plugins: &[(PluginName, Digest)]) -> Vec<Facts> {
        let services = self.host.config().points.services.iter();
        let asked: Vec<&PointService> =
            services.filter(|known| service.is_none_or(|service| known.name == service)).collect();
        if asked.is_empty() {
            return Vec::new();
        }
        let mut hindered = self.hindered();
        let opened = self.points().and_then(|points| {
            let listed = self.filled(points.list()?);
            Ok((points, listed))
        });
        let (points, listed) = match opened {
            Ok((points, listed)) => (Some(points), listed),
            Err(error) => {
                hindered.push(format!("the rollback points cannot be read: {}", in_full(&error)));
                (None, Vec::new())
            }
        };
        asked
            .into_iter()
            .map(|service| {
                let mut facts = self.facts_of(service, &listed, plugins);
                facts.hindered.extend(hindered.iter().cloned());
                if let (Some(points), Some(point)) = (&points, facts.point.clone()) {
                    match self.space(points, &point) {
                        Ok((needed, free)) => (facts.space_needed, facts.space_free) = (needed, free),
                        Err(error) => facts.hindered.push(in_full(&error)),
                    }
                }
                facts
            })
            .collect()
    }

    fn facts_of(&self, service: &PointService, listed: &[Point], plugins: &[(PluginName, Digest)]) -> Facts {
        let checks = self.catalogue.read();
        let point = self.way_back(listed, &service.name).cloned();
        let of_service = listed.iter().filter(|point| point.service == service.name);
        Facts {
            service: service.name.clone(),
            checked_full: point.as_ref().and_then(|point| checks.whole_at(point)),
            damaged: of_service.filter(|point| !point.is_good()).map(|point| short(&point.id)).collect(),
            plugins_missing: self.missing(service, plugins),
            space_needed: 0,
            space_free: 0,
            drill: checks.drills.get(&service.name).cloned(),
            hindered: Vec::new(),
            wishes: self.host.config().points.ready.wishes(),
            point,
        }
    }

    /// The newest that nobody found damaged: whole, or else a component.
    pub(super) fn way_back<'a>(&self, listed: &'a [Point], service: &str) -> Option<&'a Point> {
        let is_meant = |point: &&Point| {
            point.service == service && point.is_good() && !matches!(point.origin, Origin::Safety { .. })
        };
        let newest = |kind| {
            listed.iter().filter(is_meant).filter(|point| point.kind == kind).max_by_key(|point| point.made)
        };
        newest(Kind::Full).or_else(|| newest(Kind::Component))
    }

    /// A plugin counts when its very bytes are here: what has to be fetched
    /// first may not come. Nobody said which bytes: nothing is known to be missing.
    fn missing(&self, service: &PointService, plugins: &[(PluginName, Digest)]) -> Vec<PluginName> {
        if plugins.is_empty() {
            return Vec::new();
        }
        let folder = self.host.config().plugins_path();
        let names = service.plugins.iter().filter_map(|name| name.parse::<PluginName>().ok());
        names
            .filter(|name| {
                let mut digests = plugins.iter().filter(|(known, _)| known == name).map(|(_, digest)| digest);
                !digests.any(|digest| folder.join(format!("{digest}.wasm")).is_file())
            })
            .collect()
    }

    fn hindered(&self) -> Vec<String> {
        let mut hindered = Vec::new();
        if let Some(halt) = HaltFlag::of(&self.state()).read() {
            hindered.push(format!("halted by {}: {}", halt.by, halt.reason));
        }
        match self.report() {
            Ok(report) => {
                hindered.extend(report.and_then(|report| report.run).and_then(
                    |run| match run.stage.as_str() {
                        "stuck" => Some(format!("stuck in the rollout {}", run.rollout)),
                        stage if AT_REST.contains(&stage) => None,
                        stage => Some(format!("{stage} in the rollout {}", run.rollout)),
                    },
                ))
            }
            Err(reason) => hindered.push(format!("its runs cannot be looked at: {reason}")),
        }
        hindered
    }

    /// How the runs of this host stand; none when it never had one.
    fn report(&self) -> Result<Option<Report>, String> {
        let config = self.host.config();
        match control::ask(&config.state, &Ask::Status) {
            Ok(Said::Report(report)) => return Ok(Some(*report)),
            Ok(_) => return Err("the agent answered another question".into()),
            Err(ControlError::NotRunning) => {}
            Err(error) => return Err(in_full(&error)),
        }
        if !config.journal_path().exists() {
            return Ok(None);
        }
        let keyring = config.load_keyring().map_err(|error| in_full(&error))?;
        driver::look(config, &keyring).map(Some).map_err(|error| in_full(&error))
    }

    /// What staging the point beside takes, and what is free there. Where its
    /// paths lie on several file systems: of the one that is the shortest.
    fn space(&self, points: &Points, point: &Point) -> Result<(u64, u64), CustodianError> {
        let mut systems: BTreeMap<u64, (u64, Vec<HostPath>)> = BTreeMap::new();
        for path in &point.paths {
            let path = HostPath::parse(path)?;
            let (device, free) = self.free_near(&path)?;
            systems.entry(device).or_insert((free, Vec::new())).1.push(path);
        }
        if let [(free, _)] = systems.values().collect::<Vec<_>>()[..] {
            return Ok((with_a_tenth(point.bytes), *free));
        }
        let mut tightest: Option<(u64, u64)> = None;
        for (free, paths) in systems.into_values() {
            let mut bytes = 0;
            for path in &paths {
                bytes += points.weight(point.id, path)?.0;
            }
            let needed = with_a_tenth(bytes);
            let room = |(needed, free): (u64, u64)| i128::from(free) - i128::from(needed);
            if tightest.is_none_or(|tightest| room((needed, free)) < room(tightest)) {
                tightest = Some((needed, free));
            }
        }
        Ok(tightest.unwrap_or_default())
    }

    /// The file system of the nearest directory above a path that is there.
    fn free_near(&self, path: &HostPath) -> Result<(u64, u64), CustodianError> {
        let failed = |cause| CustodianError::Io { step: "measure the space for the way back", cause };
        let mut path = path.clone();
        loop {
            let (parent, _) = path.parent_and_name()?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            match self.host.root().open_beneath(&parent, flags) {
                Ok(opened) => {
                    let stat = rustix::fs::fstat(opened.as_fd()).map_err(|errno| failed(errno.into()))?;
                    let system =
                        rustix::fs::fstatvfs(opened.as_fd()).map_err(|errno| failed(errno.into()))?;
                    return Ok((stat.st_dev, system.f_bavail * system.f_frsize));
                }
                Err(error) if parent.as_str() == "/" => return Err(error.into()),
                Err(_) => path = parent,
            }
        }
    }
}

/// With some to spare for what the file system itself takes.
pub(super) fn with_a_tenth(bytes: u64) -> u64 {
    bytes.saturating_add(bytes / 10)
}

pub(super) fn free_at(folder: &Path) -> std::io::Result<u64> {
    let system = rustix::fs::statvfs(folder)?;
    Ok(system.f_bavail * system.f_frsize)
}
