//! The driver of the model: what `agent::driver` does with the machine's
//! effects, one small move at a time, so that a crash fits between any two.

use sternway_core::ids::PlanId;
use sternway_core::manifest::Class;
use sternway_core::run::{
    Action, Answer, Effect, Entry, Looked, Outcome, Phase, Prepared, Record, Risk, Run, StepError, Verdict,
    Verification,
};
use sternway_core::time::Timestamp;

use super::{Doing, Event, Journal, Line, Said, Shortcut, State, World, input};

impl Journal {
    pub(super) fn happen(&self, state: &mut State, event: Event) {
        match event {
            Event::GoesOn => self.go_on(state),
            Event::Fails => end_half(state, Said::Failed),
            Event::Lies => end_half(state, Said::Good),
            Event::BelatedEffect => {
                if let Some(step) = state.belated.take() {
                    state.world[step as usize] = World::Full;
                }
            }
            Event::Killed => die(state),
            Event::PowerCut { kept } => {
                state.lines.truncate(kept);
                state.synced = kept;
                die(state);
            }
            Event::Starts => self.start(state),
        }
    }

    pub(super) fn replayed(&self, lines: &[Line]) -> Run {
        let mut run = Run::new(&self.plan);
        for (sequence, line) in (1..).zip(lines) {
            let input = input(*line, run.stage());
            run.handle(&Entry { sequence, at: Timestamp(sequence), input });
        }
        run
    }

    fn start(&self, state: &mut State) {
        if state.doing != Doing::Dead {
            return;
        }
        if self.shortcut != Shortcut::NoSyncAtStart {
            state.synced = state.lines.len();
        }
        state.told = state.told.max(state.lines.len());
        state.doing = Doing::TakesUp;
    }

    /// Appends; what the product syncs before it goes on is synced here.
    fn write(&self, state: &mut State, line: Line) {
        let stage = self.replayed(&state.lines).stage().clone();
        let record = Record::Run { plan: PlanId([0; 32]), input: input(line, &stage) };
        state.lines.push(line);
        if record.must_be_durable() {
            if self.shortcut != Shortcut::NoSync {
                state.synced = state.lines.len();
            }
            state.told = state.told.max(state.lines.len());
        }
    }

    fn go_on(&self, state: &mut State) {
        match state.doing {
            Doing::Dead | Doing::Rests => {}
            Doing::TakesUp => {
                self.write(state, Line::Resumed);
                state.doing = Doing::Next;
            }
            Doing::Next => self.take_next(state),
            Doing::AwaitsPermit { nonce } => {
                self.write(state, Line::Permitted { nonce });
                state.doing = Doing::Next;
            }
            Doing::Calls { step, phase: phase @ (Phase::Apply | Phase::Undo), attempt, half: false } => {
                self.begin_effect(state, step, phase, attempt);
            }
            Doing::Calls { step, phase, half: true, .. } => {
                state.world[step as usize] = match phase {
                    Phase::Undo => World::Clean,
                    _ => World::Full,
                };
                state.doing = Doing::Returns { step, phase, answer: Said::Good };
            }
            Doing::Calls { step, phase, half: false, .. } => {
                let trusts =
                    [Shortcut::ExitCodeIsEnough, Shortcut::DoneBeforeEffect].contains(&self.shortcut);
                let is_so = self.stands(state, step, World::Full);
                let answer = match (phase, state.world[step as usize]) {
                    (Phase::Look, World::Partial) => Said::SeesPartial,
                    (Phase::Look, World::Full) => Said::SeesFull,
                    (Phase::Verify, _) if !is_so && !trusts => Said::NotSo,
                    _ => Said::Good,
                };
                state.doing = Doing::Returns { step, phase, answer };
            }
            Doing::Returns { step, phase, answer } => {
                if self.shortcut == Shortcut::NoIntent && phase == Phase::Apply {
                    self.write(state, Line::Began { step, phase, attempt: 1 });
                }
                self.write(state, Line::Ended { step, phase, answer });
                state.doing = Doing::Next;
            }
        }
    }

    /// What the machine owes, as the driver performs it.
    fn take_next(&self, state: &mut State) {
        let run = self.replayed(&state.lines);
        match run.owed().first() {
            Some(Effect::Stage) => self.write(state, Line::Staged),
            Some(Effect::Ask { nonce }) => {
                self.write(state, Line::Asked { nonce: *nonce });
                state.doing = Doing::AwaitsPermit { nonce: *nonce };
            }
            Some(Effect::Call { step, phase, attempt }) => {
                self.call(state, *step, *phase, *attempt);
            }
            Some(Effect::Settle(_)) => self.write(state, Line::Settled),
            _ => state.doing = Doing::Rests,
        }
    }

    fn call(&self, state: &mut State, step: u32, phase: Phase, attempt: u32) {
        let is_effect = phase == Phase::Apply && self.class_of(step) != Class::Observe;
        if self.shortcut != Shortcut::NoIntent || phase != Phase::Apply {
            self.write(state, Line::Began { step, phase, attempt });
        }
        if self.shortcut == Shortcut::DoneBeforeEffect && is_effect {
            self.write(state, Line::Ended { step, phase, answer: Said::Good });
            state.belated = Some(step);
            state.doing = Doing::Next;
            return;
        }
        state.doing = Doing::Calls { step, phase, attempt, half: false };
    }

    fn begin_effect(&self, state: &mut State, step: u32, phase: Phase, attempt: u32) {
        let at = step as usize;
        let class = self.class_of(step);
        if class == Class::Observe {
            state.doing = Doing::Returns { step, phase, answer: Said::Good };
            return;
        }
        match phase {
            Phase::Undo => state.out_of_order |= state.world[at + 1..].iter().any(|it| *it != World::Clean),
            _ => {
                state.out_of_order |= state.world[..at].iter().any(|it| *it != World::Full);
                state.begun[at] += 1;
                state.ran_over_unclean |= class == Class::Probe && state.world[at] != World::Clean;
                let key = if self.shortcut == Shortcut::KeyOfTheAttempt { attempt } else { 0 };
                if class == Class::Keyed && !state.keys.contains(&key) {
                    state.keys.push(key);
                }
            }
        }
        state.world[at] = World::Partial;
        state.doing = Doing::Calls { step, phase, attempt, half: true };
    }
}

fn end_half(state: &mut State, answer: Said) {
    if let Doing::Calls { step, phase: phase @ Phase::Apply, half: true, .. } = state.doing {
        state.failures += 1;
        state.doing = Doing::Returns { step, phase, answer };
    }
}

fn die(state: &mut State) {
    state.crashes += 1;
    state.belated = None;
    state.doing = Doing::Dead;
}

/// What a plugin would answer.
pub(super) fn answer(phase: Phase, said: Said) -> Answer {
    let outcome = Outcome { changed: true, summary: String::new(), state: vec![] };
    match (said, phase) {
        (Said::Failed, _) => Answer::Failed(StepError {
            code: "model/failed".into(),
            message: String::new(),
            undo_advised: true,
        }),
        (said, Phase::Look) => {
            let actions = match said {
                Said::SeesFull => vec![],
                Said::SeesPartial => vec![action("the rest")],
                _ => vec![action("all of it")],
            };
            Answer::Looked(Looked { findings: vec![], actions, state: vec![] })
        }
        (_, Phase::Prepare) => Answer::Prepared(Prepared { summary: String::new(), state: vec![] }),
        (_, Phase::Apply) => Answer::Applied(outcome),
        (_, Phase::Undo) => Answer::Undone(outcome),
        (said, Phase::Verify) => Answer::Verified(vec![Verification {
            name: "state".into(),
            verdict: if said == Said::Good { Verdict::Pass } else { Verdict::Fail },
            measured: None,
            expected: None,
            message: String::new(),
        }]),
    }
}

fn action(what: &str) -> Action {
    Action { summary: what.into(), target: String::new(), before: None, after: None, risk: Risk::Low }
}
