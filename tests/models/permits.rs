//! Who may disturb a host: hosts ask with a number, coordinators answer out of
//! one database, and the network does what it likes.
//!
//! ```text
//!  host                    coordinator                       database (one truth)
//!   │ asks, number n  ─────────▶│                                  │
//!   │                           │── one transaction ──────────────▶│ my epoch is the highest?
//!   │                           │                                  │ not halted? wave released?
//!   │                           │                                  │ fewer than `at_once` rows out?
//!   │                           │◀───────────────── row: out, n ───│
//!   │◀── permit (epoch, n) ─────│
//!   │ begins only if idle, n is the newest number it asked with,
//!   │ and no higher epoch was seen
//!   │ finished  ───────────────▶│── row: finished ────────────────▶│ the slot is back
//!   │ asks, number n+1 (idle) ─▶│── row: waiting ─────────────────▶│ the slot is back
//! ```
//!
//! The network loses, doubles, reorders and delays for ever: whatever was said
//! once may arrive at any later time, again and again, or never. What a host
//! said is implied by where it stands (it asked with every number up to its
//! newest), so that only permits need to be remembered as under way.
//!
//! A coordinator that crashes is one that does nothing more; one that starts
//! again takes over with a higher epoch, from the database. A coordinator of the right protocol decides on nothing but what stands in the
//! database inside the transaction, so its memory is not modelled. Three of the
//! shortcuts decide from memory; only they carry one.

mod step;

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};

use stateright::{Model, Property};

/// The protocol as it is, or with one shortcut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortcut {
    None,
    /// Leadership is looked up before the transaction and not inside it.
    LeadershipBefore,
    /// A host that says nothing for long loses its slot.
    SlotFreedOnTimeout,
    /// A permit is good for any question of the host.
    PermitWithoutNonce,
    /// Whether the rollout is halted is kept in memory.
    HaltFromMemory,
    /// The permit is sent before its row is committed.
    ToldBeforeRecorded,
    /// A wave passes although not all of its hosts have said how it went.
    SilenceIsSuccess,
    /// A host obeys a coordinator that it knows to be superseded.
    LowerEpochObeyed,
}

impl Shortcut {
    /// Whether a coordinator decides from what it remembers.
    fn keeps_memory(self) -> bool {
        matches!(self, Self::LeadershipBefore | Self::HaltFromMemory | Self::ToldBeforeRecorded)
    }
}

/// How large a world is tried.
#[derive(Debug, Clone, Copy)]
pub struct Permits {
    pub shortcut: Shortcut,
    /// The first is the canary, all others are the second wave.
    pub hosts: u8,
    pub epochs: u8,
    /// Questions that one host asks at most.
    pub questions: u8,
    pub at_once: usize,
}

impl Permits {
    pub fn small(shortcut: Shortcut) -> Self {
        Self { shortcut, hosts: 3, epochs: 2, questions: 2, at_once: 1 }
    }

    /// The smallest world in which the shortcut goes wrong; memories make it large.
    pub fn enough_for(shortcut: Shortcut) -> Self {
        let questions = if shortcut.keeps_memory() { 1 } else { 2 };
        Self { questions, ..Self::small(shortcut) }
    }

    pub fn large(shortcut: Shortcut) -> Self {
        Self { hosts: 4, epochs: 3, ..Self::small(shortcut) }
    }
}

const COORDINATORS: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Row {
    /// Nothing is granted; the newest question that was heard.
    Waiting {
        heard: u8,
    },
    /// A permit is out for this question: the slot is taken.
    Out {
        nonce: u8,
    },
    Finished,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Database {
    pub epoch: u8,
    pub rows: Vec<Row>,
    /// The canary wave has its PASS.
    pub passed: bool,
    pub halted: bool,
    /// A rollout is halted once and resumed once here.
    pub resumed: bool,
}

impl Database {
    fn slots_out(&self) -> usize {
        self.rows.iter().filter(|row| matches!(row, Row::Out { .. })).count()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Coordinator {
    /// 0: it has not led.
    pub epoch: u8,
    /// What a shortcut decides from.
    pub memory: Option<Database>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    Idle,
    Disturbed,
    Finished,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host {
    pub phase: Phase,
    /// The newest question, kept in its journal.
    pub nonce: u8,
    /// The highest epoch it heard of, kept in its journal.
    pub epoch: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permit {
    pub host: u8,
    pub nonce: u8,
    pub epoch: u8,
}

/// What no participant knows: seen by whoever watches everything at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Watcher {
    pub permitted_while_halted: bool,
    /// Hosts with a slot when the halt was committed, which is what its answer names.
    pub named_by_halt: BTreeSet<u8>,
    pub began_unnamed: bool,
    pub committed_below_epoch: bool,
    pub used_lower_epoch: bool,
    pub used_old_nonce: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub database: Database,
    pub coordinators: Vec<Coordinator>,
    pub hosts: Vec<Host>,
    /// Permits under way; none leaves, so each may arrive late and twice. Those
    /// for a host that has begun are left out: it begins once.
    pub sent: BTreeSet<Permit>,
    pub watcher: Watcher,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    TakesOver { coordinator: usize },
    HearsQuestion { coordinator: usize, host: u8, nonce: u8 },
    CommitsLate { coordinator: usize },
    PermitArrives(Permit),
    HearsGreeting { host: u8, coordinator: usize },
    AsksAgain { host: u8 },
    Finishes { host: u8 },
    HearsFinished { coordinator: usize, host: u8 },
    GivesUpOn { coordinator: usize, host: u8 },
    Judges { coordinator: usize },
    Halts { coordinator: usize },
    Resumes { coordinator: usize },
}

impl Display for Event {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::TakesOver { coordinator } => write!(f, "coordinator {coordinator} takes over"),
            Self::HearsQuestion { coordinator, host, nonce } => {
                write!(f, "coordinator {coordinator} hears question {nonce} of host {host}")
            }
            Self::CommitsLate { coordinator } => write!(f, "coordinator {coordinator} commits what it told"),
            Self::PermitArrives(Permit { host, nonce, epoch }) => {
                write!(f, "host {host} receives the permit for question {nonce} of epoch {epoch}")
            }
            Self::HearsGreeting { host, coordinator } => {
                write!(f, "host {host} is greeted by coordinator {coordinator}")
            }
            Self::AsksAgain { host } => write!(f, "host {host}, idle, asks anew"),
            Self::Finishes { host } => write!(f, "host {host} finishes"),
            Self::HearsFinished { coordinator, host } => {
                write!(f, "coordinator {coordinator} hears that host {host} finished")
            }
            Self::GivesUpOn { coordinator, host } => {
                write!(f, "coordinator {coordinator} gives up waiting for host {host}")
            }
            Self::Judges { coordinator } => write!(f, "coordinator {coordinator} lets the canary wave pass"),
            Self::Halts { coordinator } => write!(f, "a person halts, through coordinator {coordinator}"),
            Self::Resumes { coordinator } => write!(f, "a person resumes, through coordinator {coordinator}"),
        }
    }
}

impl Model for Permits {
    type State = State;
    type Action = Event;

    fn init_states(&self) -> Vec<State> {
        let hosts = usize::from(self.hosts);
        vec![State {
            database: Database {
                epoch: 0,
                rows: vec![Row::Waiting { heard: 0 }; hosts],
                passed: false,
                halted: false,
                resumed: false,
            },
            coordinators: vec![Coordinator { epoch: 0, memory: None }; COORDINATORS],
            hosts: vec![Host { phase: Phase::Idle, nonce: 1, epoch: 0 }; hosts],
            sent: BTreeSet::new(),
            watcher: Watcher::default(),
        }]
    }

    fn actions(&self, state: &State, events: &mut Vec<Event>) {
        for coordinator in 0..COORDINATORS {
            events.push(Event::TakesOver { coordinator });
            if state.coordinators[coordinator].epoch == 0 {
                continue;
            }
            let one = [
                Event::CommitsLate { coordinator },
                Event::Judges { coordinator },
                Event::Halts { coordinator },
                Event::Resumes { coordinator },
            ];
            events.extend(one);
            for host in 0..self.hosts {
                let asked = 1..=state.hosts[usize::from(host)].nonce;
                events.extend(asked.map(|nonce| Event::HearsQuestion { coordinator, host, nonce }));
                events.push(Event::HearsFinished { coordinator, host });
                events.push(Event::GivesUpOn { coordinator, host });
                events.push(Event::HearsGreeting { host, coordinator });
            }
        }
        events.extend(state.sent.iter().copied().map(Event::PermitArrives));
        for host in 0..self.hosts {
            events.extend([Event::AsksAgain { host }, Event::Finishes { host }]);
        }
    }

    fn next_state(&self, before: &State, event: Event) -> Option<State> {
        let mut state = before.clone();
        self.happen(&mut state, event);
        let changed = state != *before;
        if self.shortcut == Shortcut::None {
            state.name_alike();
        }
        changed.then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(AT_MOST, |model: &Self, state: &State| {
                state.disturbed().count() <= model.at_once
            }),
            Property::always(ONLY_WITH_A_SLOT, |_, state: &State| {
                state.disturbed().all(|host| matches!(state.database.rows[host], Row::Out { .. }))
            }),
            Property::always(WAVE_AFTER_WAVE, |_, state: &State| {
                let begun = |host: &Host| host.phase != Phase::Idle;
                let canary_is_well = state.hosts[0].phase == Phase::Finished;
                !state.hosts[1..].iter().any(begun) || canary_is_well
            }),
            Property::always(HALT_STICKS, |_, state: &State| !state.watcher.permitted_while_halted),
            Property::always(HALT_NAMES_ALL, |_, state: &State| !state.watcher.began_unnamed),
            Property::always(ONE_WRITER, |_, state: &State| !state.watcher.committed_below_epoch),
            Property::always(NO_LOWER_EPOCH, |_, state: &State| !state.watcher.used_lower_epoch),
            Property::always(NO_OLD_NONCE, |_, state: &State| !state.watcher.used_old_nonce),
            Property::sometimes("everybody finishes", |_, state: &State| state.is_complete()),
            Property::sometimes("everybody finishes after a take-over", |_, state: &State| {
                state.is_complete() && state.database.epoch > 1
            }),
            Property::sometimes("everybody finishes after a halt", |_, state: &State| {
                state.is_complete() && state.database.resumed
            }),
        ]
    }
}

/// I1, in the world and not only in the books.
pub const AT_MOST: &str = "at most `at_once` hosts are disturbed";
/// I11: a slot comes back by the host's own word only.
pub const ONLY_WITH_A_SLOT: &str = "a disturbed host has a slot in the books";
/// I2.
pub const WAVE_AFTER_WAVE: &str = "no host of the second wave begins before the canary is well";
/// I3.
pub const HALT_STICKS: &str = "no permit is committed while halted";
pub const HALT_NAMES_ALL: &str = "while halted, only hosts that the halt named begin";
/// I8.
pub const ONE_WRITER: &str = "nothing is committed by a superseded coordinator";
/// S8.
pub const NO_LOWER_EPOCH: &str = "no host obeys a lower epoch than it has seen";
pub const NO_OLD_NONCE: &str = "no host begins by the answer to an older question";

impl State {
    fn disturbed(&self) -> impl Iterator<Item = usize> {
        let hosts = self.hosts.iter().enumerate();
        hosts.filter(|(_, host)| host.phase == Phase::Disturbed).map(|(number, _)| number)
    }

    /// Hosts of the second wave differ by name only: two states that differ in
    /// who is who count as one. Not done for shortcuts, whose stories name hosts.
    fn name_alike(&mut self) {
        let mut hosts: Vec<_> = (1..self.hosts.len())
            .map(|at| {
                let number = at as u8;
                let sent = self.sent.iter().filter(|permit| permit.host == number).copied();
                let sent: Vec<Permit> = sent.map(|permit| Permit { host: 0, ..permit }).collect();
                let named = self.watcher.named_by_halt.contains(&number);
                (self.hosts[at], self.database.rows[at], sent, named)
            })
            .collect();
        hosts.sort();
        self.sent.retain(|permit| permit.host == 0);
        self.watcher.named_by_halt.retain(|host| *host == 0);
        for (number, (host, row, sent, named)) in (1..).zip(hosts) {
            self.hosts[usize::from(number)] = host;
            self.database.rows[usize::from(number)] = row;
            self.sent.extend(sent.into_iter().map(|permit| Permit { host: number, ..permit }));
            self.watcher.named_by_halt.extend(named.then_some(number));
        }
    }

    fn is_complete(&self) -> bool {
        self.database.rows.iter().all(|row| *row == Row::Finished)
    }
}
