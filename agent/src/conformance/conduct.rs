//! One step, carried out as the agent's own rules have it (`core/src/run`):
//! what was interrupted runs again when its class says so, what failed is
//! undone, an undo is tried three times.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sternway_core::manifest::{Class, Reversibility};

use super::door::{Door, Event, What};
use super::stage::{RUN, STEP, Stage};
use super::{ConformanceError, Subject};
use crate::capabilities::HostError;
use crate::gate::{Gate, MemoryRecorder, Phase};
use crate::sandbox::Limits;
use crate::sandbox::types::{
    Answer, CallError, Fault, Invocation, Looked, Outcome, PhaseCall, Prepared, Verdict,
};

const UNDO_TRIES_MAX: u32 = 3;
/// More than any phase of a case needs.
const TIME: Duration = Duration::from_secs(20);
/// In which a cancelled phase has to end by itself.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// What is to happen to a step.
#[derive(Debug, Clone, Default)]
pub(super) struct Script {
    /// Phases that run twice, the second time as after a crash.
    pub(super) doubled: Vec<Phase>,
    pub(super) trouble: Option<Trouble>,
    /// After a kill there is no second try: it is undone at once.
    pub(super) give_up: bool,
    /// After a kill a person says `retry`: the step begins anew, with a look.
    pub(super) anew: bool,
    /// Undone when it has finished.
    pub(super) undo: bool,
    /// A power that is withheld.
    pub(super) without: Option<String>,
    /// Nothing after this phase.
    pub(super) stop_after: Option<Phase>,
}

/// Where, and what; the call is counted from 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trouble {
    pub(super) phase: Phase,
    pub(super) call: usize,
    pub(super) what: What,
}

/// Why a phase did not do what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) phase: Phase,
    pub(super) code: String,
    pub(super) message: String,
    undo_advised: bool,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum How {
    Finished,
    Undone(Option<Failed>),
    /// A person is asked, with the reason.
    NeedsPerson(Failed),
}

/// One phase as it went.
#[derive(Debug, Clone)]
pub(super) struct Went {
    pub(super) call: PhaseCall,
    pub(super) invocation: Invocation,
    pub(super) events: Vec<Event>,
    pub(super) answer: Option<Answer>,
}

/// All that is known at the end.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) how: How,
    pub(super) went: Vec<Went>,
    /// The call at which the trouble came.
    pub(super) tripped: Option<String>,
    pub(super) kept: BTreeMap<String, String>,
    /// A phase that had to be ended from outside after it was cancelled.
    pub(super) dragged: bool,
}

enum Got {
    Killed,
    Done(Answer),
    Failed(Failed),
}

struct Conduct<'a> {
    subject: &'a dyn Subject,
    stage: &'a Stage,
    script: &'a Script,
    recorder: Arc<MemoryRecorder>,
    ended: Ended,
    looked: Option<Looked>,
    prepared: Option<Prepared>,
    outcome: Option<Outcome>,
    touched: bool,
}

/// Carries the step out on a stage that stands at its beginning.
pub(super) fn carry_out(
    subject: &dyn Subject,
    stage: &Stage,
    script: &Script,
) -> Result<Ended, ConformanceError> {
    let ended =
        Ended { how: How::Finished, went: Vec::new(), tripped: None, kept: BTreeMap::new(), dragged: false };
    let recorder = Arc::new(MemoryRecorder::new());
    let (looked, prepared, outcome, touched) = (None, None, None, false);
    let mut conduct = Conduct { subject, stage, script, recorder, ended, looked, prepared, outcome, touched };
    conduct.ended.how = conduct.forward()?;
    Ok(conduct.ended)
}

/// Runs a phase again with the answers it got; tells how it strayed.
pub(super) fn replay(
    subject: &dyn Subject,
    stage: &Stage,
    went: &Went,
) -> Result<Option<String>, ConformanceError> {
    let door = Door::replaying(&went.events);
    let parts = stage.gate_parts(Arc::new(MemoryRecorder::new()), None)?;
    let limits = Limits { time: TIME, cancel: door.cancel(), grace: Duration::ZERO, ..Limits::default() };
    let answer = subject.call(&went.invocation, &went.call, Gate::intercepted(parts, door.clone()), &limits);
    if let Some(strayed) = door.heard().strayed {
        return Ok(Some(strayed));
    }
    let same = matches!((&answer, &went.answer), (Ok(now), Some(then)) if now == then);
    Ok((!same).then(|| "its calls were the same, and its answer is another".to_owned()))
}

/// Where the way forward goes after a phase.
enum Next {
    Phase(Phase),
    Over(How),
}

impl Conduct<'_> {
    fn forward(&mut self) -> Result<How, ConformanceError> {
        let mut phase = Phase::Look;
        let how = loop {
            let next = match self.through(phase, 1)? {
                Got::Done(answer) => self.answered(phase, answer)?,
                Got::Failed(failed) => Next::Over(self.failed(failed)?),
                Got::Killed => self.in_doubt()?,
            };
            match next {
                Next::Over(how) => break how,
                Next::Phase(_) if self.script.stop_after == Some(phase) => break How::Finished,
                Next::Phase(next) => phase = next,
            }
        };
        match how {
            How::Finished if self.script.undo => self.back(None),
            how => Ok(how),
        }
    }

    fn answered(&mut self, phase: Phase, answer: Answer) -> Result<Next, ConformanceError> {
        let fails =
            |code: &str, message: String| Failed { phase, code: code.into(), message, undo_advised: true };
        Ok(match answer {
            Answer::Look(Ok(looked)) => {
                if let Some(finding) = looked.findings.iter().find(|finding| finding.blocking) {
                    let failed = fails(&finding.code, finding.message.clone());
                    return Ok(Next::Over(self.failed(failed)?));
                }
                let next = match (looked.actions.is_empty(), self.touched) {
                    (true, false) => Next::Over(How::Finished),
                    (true, true) => {
                        let summary = "found done".to_owned();
                        self.outcome = Some(Outcome { changed: true, summary, state: looked.state.clone() });
                        Next::Phase(Phase::Verify)
                    }
                    (false, _) => Next::Phase(Phase::Prepare),
                };
                self.looked = Some(looked);
                next
            }
            Answer::Prepare(Ok(prepared)) => {
                self.prepared = Some(prepared);
                Next::Phase(Phase::Apply)
            }
            Answer::Apply(Ok(outcome)) => {
                self.outcome = Some(outcome);
                Next::Phase(Phase::Verify)
            }
            Answer::Verify(Ok(checks)) => match checks.iter().find(|check| check.verdict != Verdict::Pass) {
                None => Next::Over(How::Finished),
                Some(bad) => {
                    let failed = fails("verify/not-so", format!("{}: {}", bad.name, bad.message));
                    Next::Over(self.failed(failed)?)
                }
            },
            _ => Next::Over(self.failed(fails("run/wrong-answer", "another phase answered".into()))?),
        })
    }

    /// Killed, and not simply taken up again: it is given up, begun anew, or
    /// probed by a second look when its class can tell.
    fn in_doubt(&mut self) -> Result<Next, ConformanceError> {
        if self.script.give_up {
            return Ok(Next::Over(self.back(None)?));
        }
        if self.script.anew {
            return Ok(Next::Phase(Phase::Look));
        }
        if self.stage.class != Class::Probe {
            // A person is asked, and says `undo`.
            return Ok(Next::Over(self.back(None)?));
        }
        let first = self.looked.clone();
        let looked = match self.through(Phase::Look, 1)? {
            Got::Done(Answer::Look(Ok(looked))) => looked,
            Got::Failed(failed) => return Ok(Next::Over(How::NeedsPerson(failed))),
            Got::Done(_) | Got::Killed => return Ok(Next::Phase(Phase::Look)),
        };
        if looked.actions.is_empty() {
            let summary = "found done after an interruption".to_owned();
            self.outcome = Some(Outcome { changed: true, summary, state: looked.state });
            return Ok(Next::Phase(Phase::Verify));
        }
        if first.is_some_and(|first| first.actions == looked.actions) {
            self.touched = false;
            return Ok(Next::Phase(Phase::Prepare));
        }
        // Partial: undone, and begun anew.
        match self.back(None)? {
            How::NeedsPerson(failed) => Ok(Next::Over(How::NeedsPerson(failed))),
            How::Undone(_) | How::Finished => {
                self.touched = false;
                Ok(Next::Phase(Phase::Look))
            }
        }
    }

    /// Through one phase, whatever happens on the way; `Killed` when it is not
    /// to be taken up again.
    fn through(&mut self, phase: Phase, first: u32) -> Result<Got, ConformanceError> {
        let mut doubled = self.script.doubled.contains(&phase);
        for attempt in first.. {
            match self.call(phase, attempt)? {
                Got::Killed if self.script.give_up || self.script.anew => return Ok(Got::Killed),
                Got::Killed if phase == Phase::Apply && !self.stage.class.may_run_again() => {
                    return Ok(Got::Killed);
                }
                Got::Killed => {}
                Got::Done(_) if doubled => doubled = false,
                got => return Ok(got),
            }
        }
        unreachable!("a trial kills once and doubles once")
    }

    fn failed(&mut self, failed: Failed) -> Result<How, ConformanceError> {
        if self.touched && !failed.undo_advised {
            return Ok(How::NeedsPerson(failed));
        }
        if failed.phase == Phase::Prepare {
            self.stage.sweep()?;
        }
        self.back(Some(failed))
    }

    fn back(&mut self, because: Option<Failed>) -> Result<How, ConformanceError> {
        if !self.touched || self.stage.class == Class::Observe {
            return Ok(How::Undone(because));
        }
        if !way_back(self.stage) {
            let (code, message) = ("run/no-way-back".into(), "nobody can put it back".into());
            let none = Failed { phase: Phase::Undo, code, message, undo_advised: false };
            return Ok(How::NeedsPerson(because.unwrap_or(none)));
        }
        let mut failures = 0;
        loop {
            match self.through(Phase::Undo, failures + 1)? {
                Got::Done(Answer::Undo(Ok(_))) => return Ok(How::Undone(because)),
                Got::Killed => {}
                Got::Failed(failed) => {
                    failures += 1;
                    if failures >= UNDO_TRIES_MAX || !self.stage.class.may_run_again() {
                        return Ok(How::NeedsPerson(failed));
                    }
                }
                Got::Done(_) => {
                    let (code, message) = ("run/wrong-answer".into(), "another phase answered".into());
                    let phase = Phase::Undo;
                    return Ok(How::NeedsPerson(Failed { phase, code, message, undo_advised: false }));
                }
            }
        }
    }

    fn phase_call(&self, phase: Phase) -> PhaseCall {
        let looked = || self.looked.clone().expect("phases come in their order");
        let prepared = || self.prepared.clone().expect("phases come in their order");
        match phase {
            Phase::Prepare => PhaseCall::Prepare { looked: looked() },
            Phase::Apply => PhaseCall::Apply { looked: looked(), prepared: prepared() },
            Phase::Verify => {
                PhaseCall::Verify { outcome: self.outcome.clone().expect("phases come in their order") }
            }
            Phase::Undo => PhaseCall::Undo { looked: looked(), prepared: prepared() },
            Phase::Look | Phase::Describe => PhaseCall::Look,
        }
    }

    fn call(&mut self, phase: Phase, attempt: u32) -> Result<Got, ConformanceError> {
        self.touched |= phase == Phase::Apply;
        let trouble = self
            .script
            .trouble
            .filter(|trouble| trouble.phase == phase && self.ended.tripped.is_none())
            .map(|trouble| (trouble.call, trouble.what));
        let kills = matches!(trouble, Some((_, What::KillBefore | What::KillAfter)));
        let time = if matches!(trouble, Some((_, What::TimeUp))) { GRACE } else { TIME };
        let door = Door::new(trouble);
        let grace = if kills { Duration::ZERO } else { GRACE };
        let limits = Limits { time, cancel: door.cancel(), grace, ..Limits::default() };
        let parts = self.stage.gate_parts(self.recorder.clone(), self.script.without.as_deref())?;
        let (call, invocation) = (self.phase_call(phase), self.invocation(attempt));
        let gate = Gate::intercepted(parts, door.clone());
        let begun = Instant::now();
        let answer = self.subject.call(&invocation, &call, gate, &limits);
        let heard = door.heard();
        self.ended.kept.extend(heard.kept);
        self.ended.tripped = self.ended.tripped.take().or(heard.tripped);
        let cancelled = matches!(trouble, Some((_, What::Cancel)));
        let ended_from_outside = matches!(&answer, Err(error) if error.fault == Fault::Cancelled);
        self.ended.dragged |= cancelled && (ended_from_outside || begun.elapsed() > GRACE);
        let went = Went { call, invocation, events: heard.events, answer: answer.as_ref().ok().cloned() };
        self.ended.went.push(went);
        Ok(match answer {
            _ if heard.killed => Got::Killed,
            Ok(answer) => refusal(phase, &answer).map_or(Got::Done(answer), Got::Failed),
            Err(error) => Got::Failed(broke(phase, &error)),
        })
    }

    fn invocation(&self, attempt: u32) -> Invocation {
        Invocation {
            run_id: RUN.to_owned(),
            step: STEP.to_owned(),
            host: "host".to_owned(),
            idempotency_key: format!("{RUN}-1-host"),
            attempt,
            settings: self.stage.settings.clone(),
            undo_settings: self.stage.undo.clone(),
            point: self.stage.point.clone(),
            facts: [("hostname", "host"), ("os", std::env::consts::OS), ("arch", std::env::consts::ARCH)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        }
    }
}

/// Whether anybody can put it back: the plugin itself, or the plan's `undo`.
pub(super) fn way_back(stage: &Stage) -> bool {
    match stage.reversibility {
        Reversibility::Reversible => true,
        Reversibility::Compensatable => stage.undo.is_some(),
        Reversibility::Irreversible => false,
    }
}

fn refusal(phase: Phase, answer: &Answer) -> Option<Failed> {
    let of = |error: &HostError, undo_advised| {
        let (code, message) = (error.code.clone(), error.message.clone());
        Some(Failed { phase, code, message, undo_advised })
    };
    match answer {
        Answer::Look(Err(error)) | Answer::Prepare(Err(error)) | Answer::Verify(Err(error)) => {
            of(error, true)
        }
        Answer::Apply(Err(failure)) | Answer::Undo(Err(failure)) => of(&failure.error, failure.undo_advised),
        _ => None,
    }
}

fn broke(phase: Phase, error: &CallError) -> Failed {
    let last = error.stderr_tail.lines().rev().take(3).collect::<Vec<_>>();
    let said = last.into_iter().rev().collect::<Vec<_>>().join(" / ");
    let message = if said.is_empty() { error.to_string() } else { format!("{error}; it said: {said}") };
    Failed { phase, code: "sandbox/no-answer".into(), message, undo_advised: true }
}
