//! What a host writes down before and after it changes something, with a crash
//! at any point: the agent's real machine (`core::run`) and its real rule of
//! what must be on disk first, under a driver small enough to try everything.
//!
//! ```text
//!   PERMIT ─▶ BEGAN apply ─▶ (the host changes, by halves) ─▶ ENDED apply ─▶ BEGAN verify ─▶ ENDED verify ─▶ next step
//!             on disk first                                    on disk        ...              on disk
//!   killed:     every line written so far is read again
//!   power cut:  lines that were not synced may be gone, any number of the last
//!   start:      read, sync, replay, RESUMED; what began without an end is in doubt, and its class decides
//! ```
//!
//! Two steps: files that are switched, then a step of the class in question. The
//! second stands on the first, so that the order of undo matters.

mod driver;

use std::fmt::{self, Display, Formatter};

use stateright::{Model, Property};
use sternway_core::ids::{FleetId, Nonce};
use sternway_core::manifest::Class;
use sternway_core::plan::{Approval, CutOff, Pace, Plan, Severity, Step, Undo};
use sternway_core::run::{Ending, Input, Phase, Stage};
use sternway_core::time::{Millis, Timestamp};

/// The driver as it is, or with one shortcut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortcut {
    None,
    /// The end is written down, and the effect follows.
    DoneBeforeEffect,
    /// What a step says of itself is believed, without a look.
    ExitCodeIsEnough,
    /// The beginning of an effect is not written down.
    NoIntent,
    /// Records are written and not synced.
    NoSync,
    /// What is read at a start is taken for synced.
    NoSyncAtStart,
    /// What was interrupted runs again, whatever its class.
    BlindRedo,
    /// The key by which a peer removes duplicates changes with each attempt.
    KeyOfTheAttempt,
}

/// A line of the journal, as small as the machine allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Line {
    Accepted,
    Staged,
    Asked { nonce: u64 },
    Permitted { nonce: u64 },
    Began { step: u32, phase: Phase, attempt: u32 },
    Ended { step: u32, phase: Phase, answer: Said },
    Resumed,
    Settled,
}

/// What a phase answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Said {
    Good,
    /// A look that finds less to do than on a clean host, or nothing.
    SeesPartial,
    SeesFull,
    /// Verify found that it is not so.
    NotSo,
    Failed,
}

/// What a step is about, as it really stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum World {
    Clean,
    Partial,
    Full,
}

/// What the process is at; gone when it dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Doing {
    /// It does what the machine owes next.
    Next,
    AwaitsPermit {
        nonce: u64,
    },
    Calls {
        step: u32,
        phase: Phase,
        attempt: u32,
        /// The effect has begun.
        half: bool,
    },
    /// The effect is over, its end is not written down yet.
    Returns {
        step: u32,
        phase: Phase,
        answer: Said,
    },
    Rests,
    /// It started and has read the journal; the link is up already.
    TakesUp,
    /// It is dead; what starts next knows only the journal.
    Dead,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// As a reader of the file sees it.
    pub lines: Vec<Line>,
    /// So many of them would survive a power cut.
    pub synced: usize,
    /// So many of them the coordinator was told: at once, what the process believes synced.
    pub told: usize,
    pub doing: Doing,
    pub world: [World; 2],
    /// How often each effect began.
    pub begun: [u8; 2],
    /// How many effects a peer counted, which removes duplicates by key.
    pub keys: Vec<u32>,
    /// An effect that comes after its end was written down (a shortcut).
    pub belated: Option<u32>,
    pub crashes: u8,
    pub failures: u8,
    pub ran_over_unclean: bool,
    pub out_of_order: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    GoesOn,
    Fails,
    Lies,
    BelatedEffect,
    Killed,
    PowerCut { kept: usize },
    Starts,
}

impl Display for Event {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::GoesOn => write!(f, "the agent goes on"),
            Self::Fails => write!(f, "the call fails half-way"),
            Self::Lies => write!(f, "the call does half and says that all is well"),
            Self::BelatedEffect => write!(f, "the effect follows"),
            Self::Killed => write!(f, "the agent is killed"),
            Self::PowerCut { kept } => write!(f, "the power is cut; {kept} lines are kept"),
            Self::Starts => write!(f, "the agent starts"),
        }
    }
}

/// One host, one plan of two steps.
#[derive(Debug, Clone)]
pub struct Journal {
    pub shortcut: Shortcut,
    /// Of the second step.
    pub class: Class,
    pub crashes: u8,
    pub failures: u8,
    plan: Plan,
}

impl Journal {
    pub fn small(shortcut: Shortcut, class: Class) -> Self {
        // Who redoes blindly treats every step as one that may run again.
        let believed = match shortcut {
            Shortcut::BlindRedo => Class::Converge,
            _ => class,
        };
        Self { shortcut, class, crashes: 2, failures: 1, plan: plan([Class::StagedSwap, believed]) }
    }

    pub fn large(shortcut: Shortcut, class: Class) -> Self {
        Self { crashes: 5, failures: 2, ..Self::small(shortcut, class) }
    }

    fn class_of(&self, step: u32) -> Class {
        if step == 0 { Class::StagedSwap } else { self.class }
    }
}

impl Model for Journal {
    type State = State;
    type Action = Event;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            lines: vec![Line::Accepted],
            synced: 1,
            told: 1,
            doing: Doing::Next,
            world: [World::Clean; 2],
            begun: [0; 2],
            keys: vec![],
            belated: None,
            crashes: 0,
            failures: 0,
            ran_over_unclean: false,
            out_of_order: false,
        }]
    }

    fn actions(&self, state: &State, events: &mut Vec<Event>) {
        events.extend([Event::Starts, Event::GoesOn, Event::BelatedEffect]);
        if state.failures < self.failures {
            events.extend([Event::Fails, Event::Lies]);
        }
        if state.crashes < self.crashes {
            events.push(Event::Killed);
            events.extend((state.synced..=state.lines.len()).map(|kept| Event::PowerCut { kept }));
        }
    }

    fn next_state(&self, before: &State, event: Event) -> Option<State> {
        let mut state = before.clone();
        self.happen(&mut state, event);
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(INTENT_FIRST, |_, state: &State| {
                (0..2).all(|step| {
                    state.begun[step as usize] == 0 || state.is_intended(step, &state.lines[..state.synced])
                })
            }),
            Property::always(DONE_IS_TRUE, |model: &Self, state: &State| {
                (0..2).all(|step| !state.is_called_done(step) || model.stands(state, step, World::Full))
            }),
            Property::always(FINISHED_IS_TRUE, |model: &Self, state: &State| match model.ending(state) {
                Some(Ending::Finished) => (0..2).all(|step| model.stands(state, step, World::Full)),
                Some(Ending::Undone { .. } | Ending::Unfit { .. }) => {
                    (0..2).all(|step| model.stands(state, step, World::Clean))
                }
                Some(Ending::NeedsOperator { .. }) | None => true,
            }),
            Property::always(ONCE, |model: &Self, state: &State| {
                model.class != Class::OneShot || state.begun[1] <= 1
            }),
            Property::always(ONCE_AT_THE_PEER, |_, state: &State| state.keys.len() <= 1),
            Property::always(NOT_OVER_UNCLEAN, |_, state: &State| !state.ran_over_unclean),
            Property::always(IN_ORDER, |_, state: &State| !state.out_of_order),
            Property::always(TOLD_STAYS, |_, state: &State| state.told <= state.lines.len()),
            Property::always(RESTS_ONLY_AT_AN_END, |model: &Self, state: &State| {
                state.doing != Doing::Rests || model.ending(state).is_some()
            }),
            Property::sometimes("finished after every crash allowed", |model: &Self, state: &State| {
                state.crashes == model.crashes && model.ending(state) == Some(Ending::Finished)
            }),
            Property::sometimes("undone after a crash", |model: &Self, state: &State| {
                state.crashes > 0 && matches!(model.ending(state), Some(Ending::Undone { .. }))
            }),
        ]
    }
}

/// G1, S1.
pub const INTENT_FIRST: &str = "no effect begins before its beginning is on disk";
/// G2, S2.
pub const DONE_IS_TRUE: &str = "a step called done is done";
pub const FINISHED_IS_TRUE: &str = "a run called finished is finished, one called undone is undone";
/// G4, S3.
pub const ONCE: &str = "an opaque step begins once";
pub const ONCE_AT_THE_PEER: &str = "a peer that removes duplicates by key counts one effect";
pub const NOT_OVER_UNCLEAN: &str = "a step that cannot be repeated never runs over its own traces";
pub const IN_ORDER: &str = "steps are done in order and put back in reverse";
/// G16, S6, S7.
pub const TOLD_STAYS: &str = "what the coordinator was told is still in the journal";
/// G3.
pub const RESTS_ONLY_AT_AN_END: &str = "the agent rests only when the run has an ending";

impl State {
    fn is_intended(&self, step: u32, lines: &[Line]) -> bool {
        let mut began = lines.iter().filter_map(|line| match line {
            Line::Began { step, phase: Phase::Apply, .. } => Some(*step),
            _ => None,
        });
        began.any(|began| began == step)
    }

    /// Verified, and no undo began since.
    fn is_called_done(&self, step: u32) -> bool {
        let of_step = self.lines.iter().rev().filter_map(|line| match line {
            Line::Began { step, phase: Phase::Undo, .. } => Some((*step, false)),
            Line::Ended { step, phase: Phase::Verify, answer: Said::Good } => Some((*step, true)),
            _ => None,
        });
        let mut of_step = of_step.filter(|(about, _)| *about == step);
        of_step.next().is_some_and(|(_, done)| done)
    }
}

impl Journal {
    fn ending(&self, state: &State) -> Option<Ending> {
        match self.replayed(&state.lines).stage() {
            Stage::Settled(ending) => Some(ending.clone()),
            _ => None,
        }
    }

    /// A step that only reads stands as it should, always.
    fn stands(&self, state: &State, step: u32, world: World) -> bool {
        self.class_of(step) == Class::Observe || state.world[step as usize] == world
    }
}

fn plan(classes: [Class; 2]) -> Plan {
    let steps = ["first", "second"].into_iter().zip(classes).map(|(name, class)| Step {
        name: name.parse().expect("a good name"),
        uses: "files".parse().expect("a good name"),
        settings: "{}".into(),
        undo: if class == Class::OneShot { Undo::Nothing } else { Undo::ByPlugin },
        timeout: Millis::seconds(60),
        wait: None,
        class,
        grants: vec![],
        confirm: None,
        pivot: false,
    });
    Plan {
        format: 1,
        fleet: FleetId([0; 16]),
        nonce: Nonce([0; 16]),
        name: "model".parse().expect("a good name"),
        reason: String::new(),
        severity: Severity::High,
        urgency: Default::default(),
        service: String::new(),
        from: String::new(),
        to: String::new(),
        author: "ada".parse().expect("a good name"),
        issued: Timestamp(0),
        expires: Timestamp(1),
        budget: None,
        hosts: vec![],
        approval: Approval { signatures: 1, from: vec![], author: true },
        point: None,
        steps: steps.collect(),
        pace: Pace {
            at_once: 1,
            cut_off: CutOff::FinishHost,
            failed: 0,
            silent: 0,
            stage_within: Millis::seconds(1),
            silent_after: Millis::seconds(1),
        },
        waves: vec![],
        plugins: vec![],
        text: String::new(),
    }
}

/// A line as the machine's input; how a run ended is the machine's own word.
fn input(line: Line, stage: &Stage) -> Input {
    match line {
        Line::Accepted => Input::Accepted { rollout: "r-1".parse().expect("a good name"), signers: vec![] },
        Line::Staged => Input::Staged { point: None },
        Line::Asked { nonce } => Input::PermitAsked { nonce },
        Line::Permitted { nonce } => Input::Permitted { nonce, epoch: 1 },
        Line::Began { step, phase, attempt } => Input::Began { step, phase, attempt },
        Line::Ended { step, phase, answer } => {
            Input::Ended { step, phase, answer: driver::answer(phase, answer) }
        }
        Line::Resumed => Input::Resumed { unfinished: vec![] },
        Line::Settled => match stage {
            Stage::Settling(ending) => Input::Settled { ending: ending.clone() },
            _ => Input::Settled { ending: Ending::Finished },
        },
    }
}
