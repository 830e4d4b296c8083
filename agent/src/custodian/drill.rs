//! A rehearsal: the newest point of a service is restored into a scratch
//! folder, compared with the point, and taken away again. Nothing that serves
//! is touched.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use sternway_core::point::readiness::Drill;
use sternway_core::point::{Difference, Point};
use sternway_core::time::Millis;

use super::{Custodian, CustodianError, Listener, folder_of, in_full, short};
use crate::capabilities::files::{HostPath, HostRoot};
use crate::clock;
use crate::points::{Against, Place, Points};

/// What a point holds besides the files of the host.
const EXTRAS: &str = "/.sternway";

/// Removed when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    /// What an earlier rehearsal left when it came to a sudden end goes first.
    fn new(path: PathBuf) -> Result<Self, CustodianError> {
        let failed = |step| move |cause| CustodianError::Io { step, cause };
        if path.exists() {
            std::fs::remove_dir_all(&path).map_err(failed("clear an earlier rehearsal away"))?;
        }
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(failed("make a scratch folder"))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(cause) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%cause, path = %self.0.display(), "the scratch folder of a rehearsal stays behind");
        }
    }
}

impl Custodian {
    /// Rehearses the way back of a service and keeps how it went.
    pub(super) fn drill(&self, service: &str, listener: &Listener) -> Result<Drill, CustodianError> {
        self.service(service)?;
        let points = self.points()?;
        let point = self.way_back(&self.filled(points.list()?), service).cloned().ok_or_else(|| {
            CustodianError::refused("not-found", format!("there is no good rollback point of `{service}`"))
        })?;
        let _drill = self.lock("drill.lock", "lock the rehearsals", listener)?;
        let folder = folder_of(&self.state());
        let free = super::ready::free_at(&folder)
            .map_err(|cause| CustodianError::Io { step: "measure the space for a rehearsal", cause })?;
        let needed = super::ready::with_a_tenth(point.bytes);
        if free < needed {
            return Err(CustodianError::refused(
                "no-space",
                format!(
                    "a rehearsal of {} needs {needed} bytes free in `{}`, and {free} are",
                    short(&point.id),
                    folder.display()
                ),
            ));
        }
        let scratch = Scratch::new(folder.join("drill"))?;
        let began = Instant::now();
        let finding = match self.rehearse(&scratch.0, &point, listener) {
            Ok(differences) => in_words(&differences),
            Err(CustodianError::Refused { code: "called-off", reason }) => {
                return Err(CustodianError::refused("called-off", reason));
            }
            Err(error) => Some(in_full(&error)),
        };
        let took = Millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
        drop(scratch);
        if let Some(finding) = &finding {
            tracing::error!(
                service,
                point = short(&point.id),
                finding,
                "the rehearsal of the way back failed"
            );
        }
        let drill = Drill { at: clock::now(), took, finding };
        self.catalogue.record_drill(service, drill.clone());
        Ok(drill)
    }

    /// Restores everything to the same paths below the scratch folder, which
    /// stands in for the host when it is compared.
    fn rehearse(
        &self,
        scratch: &Path,
        point: &Point,
        listener: &Listener,
    ) -> Result<Vec<Difference>, CustodianError> {
        let config = self.host.config();
        let opened = HostRoot::open(scratch)
            .map_err(|cause| CustodianError::Io { step: "open the scratch folder", cause })?;
        let points = Points::open_or_create(opened, &config.host, &Place::of(config)?)?;
        for path in &point.paths {
            listener.is_there()?;
            self.rehearse_path(&points, scratch, point, path, listener)?;
        }
        // Dumps and lists must be readable too; with what they differ there is nothing to compare.
        if points.entries(point.id, &HostPath::parse(EXTRAS)?)?.is_some() {
            self.rehearse_path(&points, scratch, point, EXTRAS, listener)?;
        }
        listener.is_there()?;
        let mut differences = points.diff(point.id, Against::Host, &listener.watch())?;
        differences.retain(|difference| !Path::new(&difference.path).starts_with(EXTRAS));
        Ok(differences)
    }

    fn rehearse_path(
        &self,
        points: &Points,
        scratch: &Path,
        point: &Point,
        path: &str,
        listener: &Listener,
    ) -> Result<(), CustodianError> {
        let path = HostPath::parse(path)?;
        let (parent, _) = path.parent_and_name()?;
        let parent = scratch.join(parent.as_str().trim_start_matches('/'));
        std::fs::create_dir_all(parent)
            .map_err(|cause| CustodianError::Io { step: "make a folder for the rehearsal", cause })?;
        points.restore_path(point.id, &path, &path, &listener.watch())?;
        Ok(())
    }
}

fn in_words(differences: &[Difference]) -> Option<String> {
    let first = differences.first()?;
    Some(format!(
        "{} entries came back otherwise than they were, the first `{}`: {}",
        differences.len(),
        first.path,
        first.detail
    ))
}
