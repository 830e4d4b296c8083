//! Sealed plans of open runs, as they came, so that a restarted agent judges
//! the same bytes again.

use std::path::{Path, PathBuf};

use sternway_core::ids::{HostName, PlanId};
use sternway_core::run::{Because, Ending, Entry, Input};
use sternway_core::trust::{Admitted, Keyring, Sealed};

use super::{Driver, DriverError};
use crate::clock;
use crate::crash;
use crate::durable::{self, DurableError};

#[derive(Debug, Clone)]
pub struct PlanStore {
    folder: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("could not keep the plan")]
    Write(#[from] DurableError),
    #[error("could not read the plan at `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("the plan at `{}` is not what was accepted: {reason}", path.display())]
    Other { path: PathBuf, reason: String },
}

/// Whether a run left nothing to be done: it settled well, or was released.
pub(super) fn is_over(entries: &[Entry]) -> bool {
    let settled = |input: &Input| match input {
        Input::Settled { ending } => Some(!matches!(ending, Ending::NeedsOperator { .. })),
        Input::Released => Some(true),
        Input::Began { .. } => Some(false),
        _ => None,
    };
    entries.iter().rev().find_map(|entry| settled(&entry.input)).unwrap_or(false)
}

impl Driver {
    /// Without its plan nobody can say how the run goes on. It is stuck where
    /// people see it, and taken up again once the plan is back.
    pub(super) fn plan_lost(
        &mut self,
        plan: PlanId,
        entries: &[Entry],
        evidence: Vec<String>,
        error: &PlanError,
    ) -> Result<(), DriverError> {
        self.lost = Some(plan);
        let path = self.parts.plans.path(plan);
        let reason = format!(
            "{}; put the sealed plan back as `{}` and start the agent again",
            super::chain(error),
            path.display()
        );
        tracing::error!(plan = %plan.short(), reason, "the run is stuck");
        let because = Because::PlanLost { reason };
        let ending = Ending::NeedsOperator { because, undo_of: None, choices: Vec::new(), evidence };
        let is_known = matches!(
            entries.last().map(|entry| &entry.input),
            Some(Input::Settled { ending: Ending::NeedsOperator { because: Because::PlanLost { .. }, .. } })
        );
        if !is_known {
            self.journal(|journal| journal.append_input(clock::now(), plan, Input::Settled { ending }))?;
        }
        Ok(())
    }
}

impl PlanStore {
    pub fn open(folder: &Path) -> Result<Self, DurableError> {
        durable::create_directories(folder, 0o700)?;
        Ok(Self { folder: folder.to_path_buf() })
    }

    /// Makes no folder.
    pub(super) fn look(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf() }
    }

    fn path(&self, plan: PlanId) -> PathBuf {
        self.folder.join(format!("{plan}.sealed"))
    }

    pub(super) fn holds(&self, plan: PlanId) -> bool {
        self.path(plan).exists()
    }

    pub(super) fn keep(&self, plan: PlanId, sealed: &[u8]) -> Result<(), PlanError> {
        Ok(durable::write(&self.path(plan), 0o600, sealed).inspect(|()| crash::point("plan.kept", ""))?)
    }

    /// Nothing depends on its absence.
    pub(super) fn remove(&self, plan: PlanId) {
        if let Err(error) = durable::remove(&self.path(plan)) {
            tracing::warn!(%error, "a finished plan stays on disk");
        }
        crash::point("plan.removed", "");
    }

    /// The signatures are proven again; validity was judged when it was accepted.
    pub(super) fn readmit(
        &self,
        plan: PlanId,
        keyring: &Keyring,
        host: &HostName,
    ) -> Result<Admitted, PlanError> {
        let path = self.path(plan);
        let bytes = std::fs::read(&path).map_err(|cause| PlanError::Read { path: path.clone(), cause })?;
        let other = |reason: String| PlanError::Other { path: path.clone(), reason };
        let sealed = Sealed::parse(&bytes).map_err(|error| other(error.to_string()))?;
        if sealed.id() != plan {
            return Err(other("it has another id".into()));
        }
        let verified = sealed.open(keyring, clock::now()).map_err(|error| other(error.to_string()))?;
        verified.readmit(host).map_err(|refusal| other(refusal.to_string()))
    }
}
