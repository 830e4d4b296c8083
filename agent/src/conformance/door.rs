//! Who stands in the door of a phase: hears every call, and stops, fails or
//! answers the one that the trial is about.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::capabilities::{ErrorKind, HostError};
use crate::gate::{Cancel, Interceptor, Reply, Request, Told};

/// What happens at one call of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// The agent dies before the call does anything.
    KillBefore,
    /// The agent dies when the call has done its work, and nobody hears of it.
    KillAfter,
    /// The call fails and has done nothing.
    Fail(ErrorKind),
    /// The call has done its work and fails all the same.
    FailLate(ErrorKind),
    /// The run is cancelled just before.
    Cancel,
    /// The time of the phase is up just before.
    TimeUp,
}

/// What a phase asked and heard.
#[derive(Debug, Clone)]
pub(super) enum Event {
    Call { request: Box<Request>, answer: Result<Reply, HostError> },
    Told { what: Told, value: u64 },
}

impl Event {
    /// As reports name it: `files.switch-to(/opt/hello)`.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Call { request, .. } => call_name(request),
            Self::Told { what, .. } => format!("control.{what:?}"),
        }
    }
}

pub(super) fn call_name(request: &Request) -> String {
    let subject = match request {
        Request::JournalBegin { key, .. } | Request::JournalFinish { key, .. } => Some(key.clone()),
        _ => request.scope(),
    };
    let subject: String =
        subject.unwrap_or_default().chars().take(120).flat_map(char::escape_debug).collect();
    format!("{}({subject})", request.name())
}

#[derive(Debug, Default)]
struct State {
    events: Vec<Event>,
    calls: usize,
    trouble: Option<(usize, What)>,
    tripped: Option<String>,
    dead: bool,
    out_of_time: bool,
    kept: BTreeMap<String, String>,
    replayed: Option<VecDeque<Event>>,
    strayed: Option<String>,
}

/// What the door heard of one phase.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) events: Vec<Event>,
    /// The call at which the trouble came, when it came.
    pub(super) tripped: Option<String>,
    pub(super) killed: bool,
    /// Name of each kept copy to the path it is a copy of.
    pub(super) kept: BTreeMap<String, String>,
    /// How a replay went astray.
    pub(super) strayed: Option<String>,
}

/// In the door of one phase.
#[derive(Debug, Default)]
pub(super) struct Door {
    state: Mutex<State>,
    cancel: Cancel,
}

impl Door {
    /// With trouble at the call of that number, counted from 1.
    pub(super) fn new(trouble: Option<(usize, What)>) -> Arc<Self> {
        let state = State { trouble, ..State::default() };
        Arc::new(Self { state: Mutex::new(state), cancel: Cancel::new() })
    }

    /// Answers what was recorded, and lets nothing happen.
    pub(super) fn replaying(events: &[Event]) -> Arc<Self> {
        let state = State { replayed: Some(events.iter().cloned().collect()), ..State::default() };
        Arc::new(Self { state: Mutex::new(state), cancel: Cancel::new() })
    }

    pub(super) fn cancel(&self) -> Cancel {
        self.cancel.clone()
    }

    /// What was heard; the phase has ended.
    pub(super) fn heard(&self) -> Heard {
        let state = std::mem::take(&mut *self.lock());
        let left = state.replayed.and_then(|left| left.front().map(Event::name));
        Heard {
            events: state.events,
            tripped: state.tripped,
            killed: state.dead && state.strayed.is_none(),
            kept: state.kept,
            strayed: state.strayed.or_else(|| left.map(|call| format!("it did not come to {call}"))),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn die(&self, state: &mut State) {
        state.dead = true;
        // Also ends what calls nobody any more.
        self.cancel.cancel();
    }

    fn replay(&self, state: &mut State, request: &Request) -> Option<Result<Reply, HostError>> {
        let next = state.replayed.as_mut()?.pop_front();
        if let Some(Event::Call { request: recorded, answer }) = &next
            && **recorded == *request
        {
            return Some(answer.clone());
        }
        let expected = next.as_ref().map_or("nothing more".into(), in_full);
        let now = Event::Call { request: Box::new(request.clone()), answer: Ok(Reply::Done) };
        state.strayed = Some(format!("it made the call {}; at first it was {expected}", in_full(&now)));
        self.die(state);
        Some(Err(gone()))
    }
}

impl Interceptor for Door {
    fn before(&self, request: &Request) -> Option<Result<Reply, HostError>> {
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.dead {
            return Some(Err(gone()));
        }
        if state.replayed.is_some() {
            return self.replay(state, request);
        }
        state.calls += 1;
        if let Some((at, what)) = state.trouble
            && at == state.calls
        {
            state.tripped = Some(call_name(request));
            match what {
                What::KillBefore => {
                    self.die(state);
                    return Some(Err(gone()));
                }
                What::Fail(kind) => {
                    let answer = Err(injected(kind));
                    state
                        .events
                        .push(Event::Call { request: Box::new(request.clone()), answer: answer.clone() });
                    return Some(answer);
                }
                What::Cancel => self.cancel.cancel(),
                What::TimeUp => state.out_of_time = true,
                What::KillAfter | What::FailLate(_) => {}
            }
        }
        state.out_of_time.then(|| {
            let answer = Err(injected(ErrorKind::TimedOut));
            state.events.push(Event::Call { request: Box::new(request.clone()), answer: answer.clone() });
            answer
        })
    }

    fn after(&self, request: &Request, answer: Result<Reply, HostError>) -> Result<Reply, HostError> {
        let mut state = self.lock();
        if let (Request::FilesKeepCopy { path }, Ok(Reply::Text(name))) = (request, &answer) {
            state.kept.insert(name.clone(), path.clone());
        }
        let answer = match state.trouble {
            Some((at, What::KillAfter)) if at == state.calls => {
                self.die(&mut state);
                return Err(gone());
            }
            // What did nothing cannot have done its work and failed.
            Some((at, What::FailLate(kind))) if at == state.calls => answer.and(Err(injected(kind))),
            _ => answer,
        };
        state.events.push(Event::Call { request: Box::new(request.clone()), answer: answer.clone() });
        answer
    }

    fn told(&self, what: Told, real: &mut dyn FnMut() -> u64) -> u64 {
        {
            let mut guard = self.lock();
            let state = &mut *guard;
            let gone = u64::from(what == Told::Cancelled);
            if state.dead {
                return gone;
            }
            if let Some(recorded) = &mut state.replayed {
                match recorded.pop_front() {
                    Some(Event::Told { what: then, value }) if then == what => return value,
                    other => {
                        let expected = other.as_ref().map_or("nothing more".into(), Event::name);
                        state.strayed = Some(format!("it asked {what:?}; at first it was {expected}"));
                        self.die(state);
                        return gone;
                    }
                }
            }
            if state.out_of_time && matches!(what, Told::RemainingMs | Told::Slept(_)) {
                return 0;
            }
        }
        let value = real();
        self.lock().events.push(Event::Told { what, value });
        value
    }
}

/// With the arguments that its name does not show.
fn in_full(event: &Event) -> String {
    let Event::Call { request, .. } = event else { return event.name() };
    let text = serde_json::to_string(request).unwrap_or_default();
    match text.len() {
        ..400 => format!("{} as {text}", event.name()),
        _ => event.name(),
    }
}

fn injected(kind: ErrorKind) -> HostError {
    HostError::new(kind, "proof/injected", "this call was made to fail, to see what the plugin does")
}

fn gone() -> HostError {
    HostError::new(ErrorKind::Failed, "proof/killed", "the agent is gone")
}
