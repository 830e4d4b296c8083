//! Staging ahead: what later steps bring back from the rollback point is put
//! beside while the old version still serves, before anything is changed. A
//! plan stops its service in one step and switches in another; what the second
//! stages only when its turn comes is staged while the service is down.
//!
//! It is the plugin's own `prepare`, called early. Only a `prepare` that looks
//! at nothing but the point can be early: what earlier steps change, it must
//! not have seen. Its marks are held back until it has come through, so a try
//! that saw too much, or was cut short, never happened.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sternway_core::grant::Grant;
use sternway_core::ids::Digest;
use sternway_core::manifest::Class;
use sternway_core::run::{Answer, Looked, Phase, StepError};
use sternway_core::trust::Admitted;

use super::recorder::JournalRecorder;
use super::{CallPrepareError, PhaseCall, Steps, fault_of, in_full};
use crate::capabilities::files::{HostPath, Place};
use crate::capabilities::{ErrorKind, HostError};
use crate::gate::{CallRecorder, Gate, Interceptor, Mark, RecordError, Reply, Request, Told};
use crate::sandbox::Limits;
use crate::sandbox::types::{Answer as PluginAnswer, PhaseCall as PluginCall};

/// What came of one step.
enum Came {
    Staged,
    /// It has to wait for its turn.
    NotYet,
}

impl Steps {
    /// Stages what the steps after the one of `call` bring back from the point.
    ///
    /// # Errors
    /// What would fail in the middle fails here, and nothing stays behind.
    pub(super) fn stage_ahead(&self, plan: &Admitted, call: &PhaseCall) -> Result<(), StepError> {
        for at in call.step + 1..plan.plan().steps.len() as u32 {
            if !self.may_be_early(plan, at, call) {
                continue;
            }
            match self.stage_early(plan, at, call) {
                Ok(Came::Staged) => tracing::info!(plan = %plan.id().short(), step = at + 1, "staged ahead"),
                Ok(Came::NotYet) => self.discard(plan, at),
                Err(error) => {
                    // The run goes no further, and the room may be wanted.
                    (call.step + 1..=at).for_each(|early| self.discard(plan, early));
                    let name = &plan.plan().steps[at as usize].name;
                    let message = format!("`{name}` cannot be staged: {}", error.message);
                    return Err(StepError { message, ..error });
                }
            }
        }
        Ok(())
    }

    /// Built beside out of the point, not begun yet, and nothing around it is
    /// exchanged by another step, which would take its side copy along.
    fn may_be_early(&self, plan: &Admitted, at: u32, call: &PhaseCall) -> bool {
        let steps = &plan.plan().steps;
        let step = &steps[at as usize];
        let has_point = step.grants.iter().any(|grant| grant.power == "points") && call.point.is_some();
        if !has_point || step.class != Class::StagedSwap || self.has_marks(plan, at) {
            return false;
        }
        let others = steps
            .iter()
            .enumerate()
            .filter(|(other, step)| *other != at as usize && step.class != Class::Observe);
        let Ok(others) = others.map(|(_, step)| self.grants_here(step)).collect::<Result<Vec<_>, _>>() else {
            return false;
        };
        let others: Vec<HostPath> = others.iter().flat_map(|grants| file_scopes(grants)).collect();
        let Ok(grants) = self.grants_here(step) else { return false };
        file_scopes(&grants).iter().all(|path| {
            let is_inside = others.iter().any(|other| path != other && path.is_within(other));
            let has_parent = matches!(self.host.root().spot_if_any(path), Ok(Some(_)));
            has_parent && !is_inside
        })
    }

    fn has_marks(&self, plan: &Admitted, at: u32) -> bool {
        let journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.run(plan.id()).is_some_and(|run| run.marks.keys().any(|(step, _)| *step == at))
    }

    fn stage_early(&self, plan: &Admitted, at: u32, call: &PhaseCall) -> Result<Came, StepError> {
        let early = PhaseCall { step: at, phase: Phase::Look, looked: None, ..call.clone() };
        // Its own look judges it when its turn comes; here it only has to be possible.
        let looked = match self.try_call(plan, &early, None) {
            Ok(Answer::Looked(looked)) => looked,
            Ok(_) => return Ok(Came::NotYet),
            Err(error) => return Err(cannot_call(&error)),
        };
        if looked.actions.is_empty() || looked.findings.iter().any(|finding| finding.blocking) {
            return Ok(Came::NotYet);
        }
        self.prepare_early(plan, &PhaseCall { phase: Phase::Prepare, ..early }, looked)
    }

    fn prepare_early(&self, plan: &Admitted, early: &PhaseCall, looked: Looked) -> Result<Came, StepError> {
        let step = &plan.plan().steps[early.step as usize];
        let recorder = Arc::new(HeldBack::default());
        let door = Arc::new(OnlyThePoint::default());
        let call = || -> Result<_, CallPrepareError> {
            let mut parts = self.gate_parts(plan, step, early)?;
            parts.recorder = Arc::clone(&recorder) as Arc<dyn CallRecorder>;
            let gate = Gate::intercepted(parts, Arc::clone(&door) as Arc<dyn Interceptor>);
            let limits = Limits {
                time: Duration::from_millis(step.timeout.0),
                cancel: early.cancel.clone(),
                ..Limits::default()
            };
            let invocation = self.invocation(plan, step, early)?;
            Ok(self.plugin(plan, step)?.call(&invocation, &PluginCall::Prepare { looked }, gate, &limits))
        };
        let answer = call().map_err(|error| cannot_call(&error))?;
        if door.saw_more() {
            return Ok(Came::NotYet);
        }
        match answer {
            Ok(PluginAnswer::Prepare(Ok(_))) => {}
            Ok(PluginAnswer::Prepare(Err(error))) => {
                return Err(StepError { code: error.code, message: error.message, undo_advised: true });
            }
            Ok(_) => return Ok(Came::NotYet),
            Err(fault) => return Err(fault_of(&fault)),
        }
        let journal = JournalRecorder::new(Arc::clone(&self.journal), plan.id(), early.step);
        recorder.let_go(&journal).map_err(|error| StepError {
            code: "journal/not-written".into(),
            message: in_full(&error),
            undo_advised: true,
        })?;
        Ok(Came::Staged)
    }
}

pub(super) fn file_scopes(grants: &[Grant]) -> Vec<HostPath> {
    let scopes = grants.iter().filter(|grant| grant.power == "files").flat_map(|grant| &grant.scopes);
    scopes.filter_map(|scope| HostPath::parse(scope).ok()).collect()
}

fn cannot_call(error: &CallPrepareError) -> StepError {
    StepError { code: "agent/cannot-call".into(), message: in_full(error), undo_advised: true }
}

/// Turns away whatever depends on how the host stands now.
#[derive(Debug, Default)]
struct OnlyThePoint {
    turned_away: AtomicBool,
}

impl OnlyThePoint {
    fn saw_more(&self) -> bool {
        self.turned_away.load(Ordering::Relaxed)
    }
}

fn depends_on_the_point_alone(request: &Request) -> bool {
    match request {
        Request::JournalBegin { .. }
        | Request::JournalFinish { .. }
        | Request::FilesStageOwnership { .. }
        | Request::FilesDiscard { .. }
        | Request::PointsGet { .. }
        | Request::PointsEntries { .. }
        | Request::PointsStage { .. } => true,
        Request::FilesGetAttributes { at, .. }
        | Request::FilesGetDigest { at, .. }
        | Request::FilesRead { at, .. }
        | Request::FilesNames { at, .. }
        | Request::DatabasesInspect { at, .. }
        | Request::DatabasesAsk { at, .. } => *at == Place::Side,
        _ => false,
    }
}

impl Interceptor for OnlyThePoint {
    fn before(&self, request: &Request) -> Option<Result<Reply, HostError>> {
        if depends_on_the_point_alone(request) {
            return None;
        }
        self.turned_away.store(true, Ordering::Relaxed);
        let message = format!("{} has to wait until the step's turn comes", request.name());
        Some(Err(HostError::new(ErrorKind::Denied, "ahead/not-yet", message)))
    }

    fn after(&self, _: &Request, answer: Result<Reply, HostError>) -> Result<Reply, HostError> {
        answer
    }

    fn told(&self, _: Told, real: &mut dyn FnMut() -> u64) -> u64 {
        real()
    }
}

/// A mark: its key, the note it began with, and the value it ended with.
type HeldMark = (String, Vec<u8>, Option<Vec<u8>>);

/// Keeps marks in memory until what they speak of has come through.
#[derive(Debug, Default)]
struct HeldBack {
    marks: Mutex<Vec<HeldMark>>,
}

impl HeldBack {
    fn lock(&self) -> MutexGuard<'_, Vec<HeldMark>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn let_go(&self, journal: &JournalRecorder) -> Result<(), RecordError> {
        for (key, note, value) in self.lock().drain(..) {
            journal.begin(&key, &note)?;
            if let Some(value) = value {
                journal.finish(&key, &value)?;
            }
        }
        Ok(())
    }
}

impl CallRecorder for HeldBack {
    fn begin(&self, key: &str, note: &[u8]) -> Result<Mark, RecordError> {
        let mut marks = self.lock();
        match marks.iter().find(|(known, ..)| known == key) {
            Some((_, _, Some(value))) => Ok(Mark::Finished(value.clone())),
            Some((_, note, None)) => Ok(Mark::Started(note.clone())),
            None => {
                marks.push((key.to_owned(), note.to_vec(), None));
                Ok(Mark::Fresh)
            }
        }
    }

    fn finish(&self, key: &str, value: &[u8]) -> Result<(), RecordError> {
        match self.lock().iter_mut().find(|(known, ..)| known == key) {
            Some((_, _, finished)) => {
                finished.get_or_insert_with(|| value.to_vec());
                Ok(())
            }
            None => Err(RecordError::NotBegun { key: key.to_owned() }),
        }
    }

    // Nothing that changes the host passes in `prepare`.
    fn intent(&self, _: u32, _: &str, _: &str, _: &Digest) -> Result<(), RecordError> {
        Ok(())
    }

    fn result(&self, _: u32, _: bool, _: &Digest) -> Result<(), RecordError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_early_prepare_sees_the_point_and_its_own_side_copy_and_nothing_live() {
        let path = || "/opt/hello".to_owned();
        let door = OnlyThePoint::default();
        for passes in [
            Request::PointsStage { id: "1".into(), path: path() },
            Request::FilesGetDigest { at: Place::Side, path: path() },
            Request::FilesDiscard { path: path() },
        ] {
            assert!(door.before(&passes).is_none(), "{}", passes.name());
        }
        assert!(!door.saw_more());
        for waits in [
            Request::FilesRead { at: Place::Live, path: path(), bytes_max: 1 },
            Request::FilesStageBytes { path: path(), data: vec![] },
            Request::FilesStageCopy { path: path() },
            Request::ServicesGetStatus { name: "hello".into() },
            Request::DatabasesSettle { path: path() },
        ] {
            let door = OnlyThePoint::default();
            assert_eq!(door.before(&waits).unwrap().unwrap_err().code, "ahead/not-yet", "{}", waits.name());
            assert!(door.saw_more());
        }
    }

    #[test]
    fn marks_held_back_are_found_again_by_whoever_began_them() {
        let held = HeldBack::default();
        assert_eq!(held.begin("prepare", b"").unwrap(), Mark::Fresh);
        assert_eq!(held.begin("prepare", b"later").unwrap(), Mark::Started(vec![]));
        held.finish("prepare", b"first").unwrap();
        held.finish("prepare", b"second").unwrap();
        assert_eq!(held.begin("prepare", b"").unwrap(), Mark::Finished(b"first".to_vec()));
        assert!(held.finish("apply", b"").is_err());
    }
}
