//! The coordinator's machine: one plan being carried out over the fleet.
//!
//! [`Rollout::handle`] takes one durable [`Entry`] and returns what to do. It
//! is total (an input that is out of place is answered with a [`Note`], never
//! with a panic) and deterministic: replaying the entries and dropping the
//! effects gives the same value again. Three rules carry the rest:
//!
//! - a slot is taken by a permit and comes back by the host's own word, or by a
//!   named person who declares the host dead; no clock ever frees one;
//! - silence is never success: it holds, and a person looks;
//! - every pass, hold and halt is a value with its counts and maxima in it.
//!
//! ```text
//!  Ready --Launched--> Running --last gate--> Ended(Done | DoneWithExceptions)
//!                        |  \                    |
//!        overlays: hold, halt \----UndoAll---> Undoing --> Ended(UndoneAll | UndoneWithExceptions)
//!
//!  wave: Closed -> AwaitsApproval -> Open <-> Soaking -> Passed
//!  host: Waiting -> Staged -> Asked -> Permitted -> Running -> Done -> PuttingBack -> PutBack
//!                        \-> Refused        \-> Failing -> Undone        any: NeedsOperator, Dead
//! ```

mod books;
mod decision;
mod gate;
mod host;
mod invariant;
mod late;
mod permit;
mod person;
mod set_back;
mod status;
#[cfg(test)]
mod tests;
mod undo;
mod wave;
mod word;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ids::{Group, HostName, Person, PlanId, RolloutId};
use crate::plan::{Pace, Plan};
use crate::run::{Choice, Question};
use crate::time::{Millis, Timestamp};

pub use books::{Place, Standing, WaveMarks};
pub use decision::{Ahead, Decision, End, Halt, HaltCause, Hold, HoldReason, Note};
pub use gate::{Evidence, Tally, Verdict, judge};
pub use host::{Host, HostState, Slot};
pub use invariant::Violation;
pub use status::{HostStatus, SoakStatus, State, Status, WaveStatus};
pub use wave::{Judged, Mark, Soak, Wave, WaveState};
pub use word::word_of;

/// Agents that live are back long before this.
const RETURN_WITHIN: Millis = Millis::seconds(5);

/// One line of the rollout's journal, durable before it is handled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Rises with every entry of the rollout; the cause of everything that follows.
    pub sequence: u64,
    pub at: Timestamp,
    pub input: Input,
}

/// What happened. Who may say it was checked before it became an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    Launched {
        by: Person,
    },
    /// A host's own statement, from its journal or its request.
    Host {
        host: HostName,
        word: Word,
    },
    Connected {
        host: HostName,
    },
    Lost {
        host: HostName,
    },
    /// Time passed; see [`Rollout::wake_at`].
    Tick,
    Hold {
        by: Person,
        reason: String,
    },
    Go {
        by: Person,
        reason: String,
    },
    Halt {
        by: Person,
        reason: String,
    },
    /// Counts only when `confirmed` is exactly the list of hosts in flight.
    Resume {
        by: Person,
        reason: String,
        confirmed: Vec<HostName>,
    },
    /// `by` speaks for `group`; the wave is counted from 0.
    Approve {
        by: Person,
        group: Group,
        wave: usize,
    },
    UndoAll {
        by: Person,
        reason: String,
    },
    /// A named person vouches that the host is dead and holds nothing up any more.
    ExcludeDead {
        host: HostName,
        by: Person,
        reason: String,
    },
    /// A person's signed answer to what a stuck host asks.
    Unstick {
        host: HostName,
        by: Person,
        reason: String,
        choice: Choice,
        asked: u64,
    },
    /// The coordinator came back; what it did not observe it does not count.
    Restarted {
        epoch: u64,
    },
    /// A host knows more than these books: they were set back.
    WentBack {
        ahead: Ahead,
    },
    /// What comes in the host's name cannot be believed until a person has looked at it.
    Quarantined {
        host: HostName,
        reason: String,
    },
}

/// What a host says of itself. Steps are counted from 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// It will not do it, and has changed nothing.
    Refused {
        reason: String,
    },
    /// It holds everything it needs.
    Staged,
    /// It has begun nothing and will use no permit below this nonce.
    AsksPermit {
        nonce: u64,
    },
    /// As `AsksPermit`, without asking.
    Idle {
        nonce: u64,
    },
    Began {
        step: u32,
    },
    StepDone {
        step: u32,
    },
    /// It is putting back what it did.
    StepFailed {
        step: u32,
        reason: String,
    },
    /// Every step is verified.
    Finished,
    /// It is verified back where it was.
    Undone {
        step: u32,
        reason: String,
    },
    NeedsOperator {
        reason: String,
        /// What it asks; none when it only refused.
        question: Option<Question>,
    },
    Healthy,
    Unhealthy {
        reason: String,
    },
    /// A person halted it on the host itself; it begins nothing.
    HaltedLocally,
}

/// What to do. Each may be done again without harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Give the host the sealed plan, so that it stages.
    Offer {
        host: HostName,
    },
    /// Answers the request with this nonce and no other.
    Permit {
        host: HostName,
        nonce: u64,
    },
    /// No more starts: a permit not yet used is void, the next request has a higher nonce.
    TellHalt {
        hosts: Vec<HostName>,
    },
    /// Put back a finished run.
    OrderUndo {
        host: HostName,
    },
    /// Tell a stuck host what a person decided.
    OrderUnstick {
        host: HostName,
    },
    /// This rollout wants nothing more of the host, which did not finish in it.
    /// (A finished host keeps its way back for as long as no other plan comes.)
    Release {
        host: HostName,
    },
    Decided(Decision),
    /// An input that changed nothing, and why.
    Note(Note),
}

/// Where the rollout as a whole stands; hold and halt lie over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    Ready,
    Running,
    Undoing,
    Ended(End),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    id: RolloutId,
    plan_id: PlanId,
    pace: Pace,
    /// The plan's waves; late waves are appended.
    waves: Vec<Wave>,
    hosts: BTreeMap<HostName, Host>,
    phase: Phase,
    hold: Option<Hold>,
    halt: Option<Halt>,
    /// Halts that a person resumed or turned into an undo: from, until (entries).
    halts_past: Vec<(u64, u64)>,
    accepted: Accepted,
    epoch: u64,
    /// After a restart nobody new begins before this, unless everybody is back: a
    /// host may know what these books have forgotten.
    waits_until: Option<Timestamp>,
    sequence: u64,
    now: Timestamp,
}

/// What persons said yes to, so that it is not asked again at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Accepted {
    failed: u32,
    silent: u32,
    slot_holders: BTreeSet<HostName>,
    halted_hosts: BTreeSet<HostName>,
}

/// One call of `handle`: the entry's place and time, and what comes of it.
struct Turn {
    mark: Mark,
    effects: Vec<Effect>,
}

impl Turn {
    fn now(&self) -> Timestamp {
        self.mark.at
    }

    fn decided(&mut self, decision: Decision) {
        self.effects.push(Effect::Decided(decision));
    }

    fn note(&mut self, note: Note) {
        self.effects.push(Effect::Note(note));
    }
}

impl Rollout {
    /// The hosts of `without` are left out from the start: a person's choice, not an exception.
    pub fn new(id: RolloutId, plan_id: PlanId, plan: &Plan, without: &[HostName]) -> Self {
        let without: BTreeSet<&HostName> = without.iter().collect();
        let waves: Vec<Wave> = plan.waves.iter().map(|wave| Wave::planned(wave, &without)).collect();
        let mut hosts = BTreeMap::new();
        for (index, wave) in plan.waves.iter().enumerate() {
            for name in &wave.hosts {
                hosts.insert(name.clone(), Host::new(index, without.contains(name)));
            }
        }
        Self {
            id,
            plan_id,
            pace: plan.pace.clone(),
            waves,
            hosts,
            phase: Phase::Ready,
            hold: None,
            halt: None,
            halts_past: Vec::new(),
            accepted: Accepted::default(),
            epoch: 0,
            waits_until: None,
            sequence: 0,
            now: Timestamp::default(),
        }
    }

    /// Takes one entry, which must be durable, and says what to do.
    pub fn handle(&mut self, entry: &Entry) -> Vec<Effect> {
        if entry.sequence <= self.sequence {
            return vec![Effect::Note(Note::OldEntry { sequence: entry.sequence, seen: self.sequence })];
        }
        self.sequence = entry.sequence;
        // A wall clock set back must not lengthen or shorten anybody's wait.
        self.now = self.now.max(entry.at);
        let mut turn = Turn { mark: Mark { sequence: entry.sequence, at: self.now }, effects: Vec::new() };
        self.route(&entry.input, &mut turn);
        self.advance(&mut turn);
        debug_assert_eq!(self.violations(), [], "after entry {entry:?}");
        turn.effects
    }

    fn route(&mut self, input: &Input, turn: &mut Turn) {
        match input {
            Input::Launched { by } => self.launched(by, turn),
            Input::Host { host, word } => self.heard(host, word, turn),
            Input::Connected { host } => self.connected(host, turn),
            Input::Lost { host } => self.lost(host, turn),
            Input::Tick => {}
            Input::Hold { by, reason } => self.person_holds(by, reason, turn),
            Input::Go { by, reason } => self.person_goes(by, reason, turn),
            Input::Halt { by, reason } => self.person_halts(by, reason, turn),
            Input::Resume { by, reason, confirmed } => self.person_resumes(by, reason, confirmed, turn),
            Input::Approve { by, group, wave } => self.person_approves(by, group, *wave, turn),
            Input::UndoAll { by, reason } => self.person_undoes(by, reason, turn),
            Input::ExcludeDead { host, by, reason } => self.person_excludes(host, by, reason, turn),
            Input::Unstick { host, by, reason, choice, asked } => {
                self.person_unsticks(host, by, reason, (*choice, *asked), turn)
            }
            Input::Restarted { epoch } => self.restarted(*epoch, turn),
            Input::WentBack { ahead } => self.went_back(ahead, turn),
            Input::Quarantined { host, reason } => self.quarantined(host, reason, turn),
        }
    }

    /// Everything that follows from the state and the time, until nothing more does.
    fn advance(&mut self, turn: &mut Turn) {
        match self.phase {
            Phase::Ready => {}
            Phase::Ended(_) => self.correct_the_end(turn),
            Phase::Running => {
                self.mark_silent(turn);
                self.mark_late(turn);
                while self.advance_wave(turn) {}
                self.grant_permits(turn);
            }
            Phase::Undoing => {
                self.mark_silent(turn);
                self.advance_undo(turn);
                // A host that is told to put back may have been away for long.
                if self.phase == Phase::Undoing && self.mark_silent(turn) {
                    self.advance_undo(turn);
                }
            }
        }
    }

    /// What must be said again after a restart: everything whose answer may be lost.
    pub fn owed(&self) -> Vec<Effect> {
        self.hosts.iter().flat_map(|(name, host)| self.owed_to(name, host)).collect()
    }

    fn owed_to(&self, name: &HostName, host: &Host) -> Vec<Effect> {
        let one = || name.clone();
        if matches!(host.state, HostState::Without) || self.phase == Phase::Ready {
            return Vec::new();
        }
        if matches!(host.state, HostState::Dead { .. }) {
            return vec![Effect::TellHalt { hosts: vec![one()] }];
        }
        let mut owed = Vec::new();
        match self.phase {
            Phase::Running if self.halt.is_none() => {}
            Phase::Running | Phase::Undoing if host.may_start() => {
                owed.push(Effect::TellHalt { hosts: vec![one()] });
            }
            Phase::Ended(_) if host.is_released() => owed.push(Effect::Release { host: one() }),
            _ => {}
        }
        match host.state {
            HostState::Waiting if self.phase == Phase::Running => owed.push(Effect::Offer { host: one() }),
            HostState::Permitted { nonce } if self.may_start() => {
                owed.push(Effect::Permit { host: one(), nonce });
            }
            HostState::NeedsOperator { .. } if host.is_decided() => {
                owed.push(Effect::OrderUnstick { host: one() });
            }
            HostState::PuttingBack if self.halt.is_none() && self.hold.is_none() => {
                owed.push(Effect::OrderUndo { host: one() })
            }
            _ => {}
        }
        owed
    }

    fn launched(&mut self, by: &Person, turn: &mut Turn) {
        if self.phase != Phase::Ready {
            return turn.note(Note::AlreadyLaunched);
        }
        self.phase = Phase::Running;
        turn.decided(Decision::Launched { by: by.clone() });
        for (name, host) in &mut self.hosts {
            host.last_seen = host.last_seen.max(turn.mark.at);
            turn.effects.extend(host.is_wanted().then(|| Effect::Offer { host: name.clone() }));
        }
        if self.halt.is_some() {
            self.tell_halt(turn);
        }
    }

    fn connected(&mut self, name: &HostName, turn: &mut Turn) {
        let now = turn.now();
        let Some(host) = self.hosts.get_mut(name) else {
            return turn.note(Note::UnknownHost { host: name.clone() });
        };
        host.connected = true;
        host.seen(now);
        let host = host.clone();
        turn.effects.extend(self.owed_to(name, &host));
    }

    fn lost(&mut self, name: &HostName, turn: &mut Turn) {
        let now = turn.now();
        let Some(host) = self.hosts.get_mut(name) else {
            return turn.note(Note::UnknownHost { host: name.clone() });
        };
        if host.connected {
            host.connected = false;
            host.last_seen = now;
        }
    }

    fn restarted(&mut self, epoch: u64, turn: &mut Turn) {
        if epoch <= self.epoch {
            return turn.note(Note::OldEpoch { epoch, seen: self.epoch });
        }
        self.epoch = epoch;
        if cfg!(feature = "mutant-halt-forgotten") {
            self.halt = None;
        }
        let now = turn.now();
        self.waits_until = (self.phase != Phase::Ready).then_some(now + RETURN_WITHIN);
        for host in self.hosts.values_mut() {
            host.connected = false;
            host.last_seen = now;
        }
        if let Some(wave) = self.current_mut() {
            wave.restart_clocks(now);
        }
    }

    /// Until when the hosts that are counted on may still come back after a restart.
    fn waits_for_return(&self) -> Option<Timestamp> {
        let until = self.waits_until.filter(|until| self.now < *until)?;
        let away = |host: &Host| !host.connected && !host.silent && !host.late && !host.is_final();
        self.hosts.values().any(away).then_some(until)
    }

    /// Whether anything new may start.
    fn may_start(&self) -> bool {
        let halted = self.halt.is_some() && !cfg!(feature = "mutant-permit-after-halt");
        self.phase == Phase::Running && self.hold.is_none() && !halted
    }
}
