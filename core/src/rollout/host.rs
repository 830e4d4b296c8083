//! One host as the coordinator knows it: a table of what each word of the host
//! means in each state, and who holds a slot.

use serde::{Deserialize, Serialize};

use super::Word;
use super::wave::Mark;
use crate::ids::Person;
use crate::run::Question;
use crate::time::{Millis, Timestamp};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostState {
    /// Offered the plan, not ready.
    Waiting,
    /// Ready, asks for nothing.
    Staged,
    /// Ready and asking, since this entry.
    Asked {
        nonce: u64,
        since: u64,
    },
    /// It may begin, or may have begun.
    Permitted {
        nonce: u64,
    },
    Running {
        step: u32,
    },
    /// A step failed; it is putting back what it did.
    Failing {
        step: u32,
        reason: String,
    },
    /// Every step is verified.
    Done,
    /// It failed and is verified back where it was.
    Undone {
        step: u32,
        reason: String,
    },
    /// It changed nothing and will not.
    Refused {
        reason: String,
    },
    /// Hands are needed on the host; it may be anywhere.
    NeedsOperator {
        reason: String,
        question: Option<Question>,
    },
    /// Finished once; told to put everything back.
    PuttingBack,
    PutBack,
    /// Left out at launch.
    Without,
    Dead {
        by: Person,
        reason: String,
    },
}

/// A slot is the right to disturb one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Slot {
    /// Never had one.
    None,
    /// By a permit or an order to undo, in this entry.
    Granted(u64),
    /// The host says it is disturbed without our leave, in this entry.
    Taken(u64),
    /// Had one; it came back by the host's own word, in this entry.
    Returned(u64),
    /// Had one; a person vouched that the host is dead, in this entry.
    Waived(u64),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Counted from 0; a late host moves to a late wave.
    pub wave: usize,
    pub state: HostState,
    pub slot: Slot,
    /// The entry of the last permit, and the slots held then, with it.
    pub permitted: Option<(u64, u32)>,
    /// Highest nonce the host has named.
    pub nonce: Option<u64>,
    pub connected: bool,
    pub last_seen: Timestamp,
    /// Away for longer than the plan allows.
    pub silent: bool,
    /// Why a finished host is unwell, in its own words.
    pub unwell: Option<String>,
    /// Halted by a person on the host itself.
    pub halted: bool,
    /// It left its wave and waits for a late one.
    pub late: bool,
    /// Late waves it has been in.
    pub late_waves: u32,
    /// Ordered to put back, at some time.
    pub undo_ordered: bool,
    /// The question of a stuck host that a person answered last.
    pub decided: Option<u64>,
}

/// What a word did to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    Moved,
    /// It asks again what was answered: the same answer is due.
    SameAgain,
    Repeated,
    OldNonce {
        nonce: u64,
        seen: u64,
    },
    OutOfPlace,
    NotTakingPart,
    /// It was declared dead while disturbed, and is not.
    Returned,
    /// It began though no permit of it is known here.
    Unpermitted,
}

impl Host {
    pub(super) fn new(wave: usize, without: bool) -> Self {
        Self {
            wave,
            state: if without { HostState::Without } else { HostState::Waiting },
            slot: Slot::None,
            permitted: None,
            nonce: None,
            connected: false,
            last_seen: Timestamp::default(),
            silent: false,
            unwell: None,
            halted: false,
            late: false,
            late_waves: 0,
            undo_ordered: false,
            decided: None,
        }
    }

    /// The host or its link showed itself.
    pub(super) fn seen(&mut self, now: Timestamp) {
        self.last_seen = self.last_seen.max(now);
        self.silent = false;
    }

    pub fn holds_slot(&self) -> bool {
        matches!(self.slot, Slot::Granted(_) | Slot::Taken(_))
    }

    /// Disturbed, or perhaps so: what a person confirms before a resume.
    pub fn is_in_flight(&self) -> bool {
        self.holds_slot()
    }

    pub fn is_stuck(&self) -> bool {
        matches!(self.state, HostState::NeedsOperator { .. })
    }

    pub fn has_failed(&self) -> bool {
        matches!(
            self.state,
            HostState::Undone { .. } | HostState::Refused { .. } | HostState::NeedsOperator { .. }
        )
    }

    /// Stuck with a question that a person has answered, and has not said more.
    pub(super) fn is_decided(&self) -> bool {
        let HostState::NeedsOperator { question: Some(question), .. } = &self.state else { return false };
        self.decided == Some(question.asked)
    }

    /// Nothing more is to be expected of it, unless a person acts.
    pub fn is_final(&self) -> bool {
        self.has_failed()
            || matches!(
                self.state,
                HostState::Done | HostState::PutBack | HostState::Without | HostState::Dead { .. }
            )
    }

    /// Nobody can count on it now: it is silent, or halted by hand.
    pub fn is_absent(&self) -> bool {
        self.silent || self.halted
    }

    pub(super) fn is_wanted(&self) -> bool {
        !matches!(self.state, HostState::Without | HostState::Dead { .. })
    }

    /// At the end: whether nothing more is wanted of it.
    pub(super) fn is_released(&self) -> bool {
        self.is_wanted() && !self.holds_slot() && self.state != HostState::Done
    }

    /// Whether it could still begin its run.
    pub(super) fn may_start(&self) -> bool {
        matches!(
            self.state,
            HostState::Waiting | HostState::Staged | HostState::Asked { .. } | HostState::Permitted { .. }
        )
    }

    /// Ready, whether it asks or not, and holding nothing.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.state, HostState::Staged | HostState::Asked { .. })
    }

    pub(super) fn silent_at(&self, silent_after: Millis) -> Option<Timestamp> {
        (!self.connected && !self.silent).then(|| self.last_seen + silent_after)
    }

    /// Takes the slot for an order or a permit.
    pub(super) fn grant(&mut self, state: HostState, mark: Mark) {
        self.state = state;
        self.slot = Slot::Granted(mark.sequence);
    }

    pub(super) fn declare_dead(&mut self, by: Person, reason: String, mark: Mark) {
        if self.slot != Slot::None {
            self.slot = Slot::Waived(mark.sequence);
        }
        self.late = false;
        self.silent = false;
        self.halted = false;
        self.state = HostState::Dead { by, reason };
    }

    /// The whole table: what a word means depends on the state and nothing else.
    pub(super) fn hear(&mut self, word: &Word, mark: Mark) -> Heard {
        match self.state {
            HostState::Without => Heard::NotTakingPart,
            HostState::Dead { .. } => self.hear_dead(word, mark),
            _ => self.hear_living(word, mark),
        }
    }

    /// It was disturbed when a person gave it up, and lives: what it says of its
    /// run counts. One that had not begun stays out.
    fn hear_dead(&mut self, word: &Word, mark: Mark) -> Heard {
        match word {
            Word::Began { .. }
            | Word::StepDone { .. }
            | Word::StepFailed { .. }
            | Word::Finished
            | Word::Undone { .. }
            | Word::NeedsOperator { .. } => {}
            Word::Refused { .. }
            | Word::Staged
            | Word::AsksPermit { .. }
            | Word::Idle { .. }
            | Word::Healthy
            | Word::Unhealthy { .. }
            | Word::HaltedLocally => return Heard::NotTakingPart,
        }
        let unpermitted = self.slot == Slot::None;
        let state = if self.undo_ordered { HostState::PuttingBack } else { HostState::Running { step: 0 } };
        self.take(state, mark);
        self.hear_living(word, mark);
        if unpermitted { Heard::Unpermitted } else { Heard::Returned }
    }

    fn hear_living(&mut self, word: &Word, mark: Mark) -> Heard {
        self.seen(mark.at);
        match word {
            Word::Staged => self.hear_staged(),
            Word::AsksPermit { nonce } => self.hear_asks(*nonce, mark),
            Word::Idle { nonce } => self.hear_idle(*nonce, mark),
            Word::Refused { reason } => self.hear_refused(reason, mark),
            Word::Began { step } | Word::StepDone { step } => {
                self.hear_underway(HostState::Running { step: *step }, mark)
            }
            Word::StepFailed { step, reason } => {
                self.hear_underway(HostState::Failing { step: *step, reason: reason.clone() }, mark)
            }
            Word::Finished => self.hear_end(HostState::Done, mark),
            Word::Undone { step, reason } => {
                self.hear_end(HostState::Undone { step: *step, reason: reason.clone() }, mark)
            }
            Word::NeedsOperator { reason, question } => self.hear_stuck(reason, question.as_ref(), mark),
            Word::Healthy => self.hear_health(None),
            Word::Unhealthy { reason } => self.hear_health(Some(reason.clone())),
            Word::HaltedLocally => self.hear_halted(),
        }
    }

    fn hear_staged(&mut self) -> Heard {
        if self.state == HostState::Waiting {
            self.state = HostState::Staged;
            return Heard::Moved;
        }
        Heard::Repeated
    }

    fn hear_asks(&mut self, nonce: u64, mark: Mark) -> Heard {
        let seen = self.nonce.unwrap_or(0);
        match self.state {
            HostState::Waiting
            | HostState::Staged
            | HostState::Asked { .. }
            | HostState::Permitted { .. }
                if nonce < seen && !cfg!(feature = "mutant-old-nonce-answered") =>
            {
                return Heard::OldNonce { nonce, seen };
            }
            HostState::Waiting | HostState::Staged => {
                self.state = HostState::Asked { nonce, since: mark.sequence };
            }
            HostState::Asked { nonce: asked, .. } if nonce == asked => return Heard::SameAgain,
            // It keeps its place in the queue.
            HostState::Asked { since, .. } => self.state = HostState::Asked { nonce, since },
            HostState::Permitted { nonce: permitted } if nonce == permitted => return Heard::SameAgain,
            HostState::Permitted { .. } => {
                self.give_back(mark);
                self.state = HostState::Asked { nonce, since: mark.sequence };
            }
            _ => return Heard::OutOfPlace,
        }
        self.nonce = Some(nonce);
        self.halted = false;
        Heard::Moved
    }

    fn hear_idle(&mut self, nonce: u64, mark: Mark) -> Heard {
        let seen = self.nonce.unwrap_or(0);
        if !self.may_start() {
            return Heard::OutOfPlace;
        }
        if nonce < seen {
            return Heard::OldNonce { nonce, seen };
        }
        match self.state {
            // The same nonce may have been said before the permit was asked for.
            HostState::Permitted { nonce: held } | HostState::Asked { nonce: held, .. } if nonce == held => {
                return Heard::Repeated;
            }
            HostState::Permitted { .. } => {
                self.give_back(mark);
                self.state = HostState::Staged;
            }
            HostState::Asked { .. } => self.state = HostState::Staged,
            _ => {}
        }
        self.nonce = Some(nonce);
        Heard::Moved
    }

    fn hear_refused(&mut self, reason: &str, mark: Mark) -> Heard {
        match self.state {
            HostState::Waiting
            | HostState::Staged
            | HostState::Asked { .. }
            | HostState::Permitted { .. } => {
                self.give_back(mark);
                self.halted = false;
                self.state = HostState::Refused { reason: reason.to_owned() };
                Heard::Moved
            }
            // It will not go back either: only a person can say what now.
            HostState::PuttingBack => {
                self.state = HostState::NeedsOperator { reason: reason.to_owned(), question: None };
                Heard::Moved
            }
            HostState::Refused { .. } => Heard::Repeated,
            _ => Heard::OutOfPlace,
        }
    }

    fn hear_underway(&mut self, next: HostState, mark: Mark) -> Heard {
        match self.state {
            HostState::Waiting | HostState::Staged | HostState::Asked { .. } => {
                self.take(next, mark);
                Heard::Unpermitted
            }
            HostState::Permitted { .. } | HostState::Running { .. } | HostState::Failing { .. } => {
                let same = self.state == next;
                self.halted = false;
                self.state = next;
                if same { Heard::Repeated } else { Heard::Moved }
            }
            // A person decided on the host, and it goes on.
            HostState::NeedsOperator { .. } if self.undo_ordered => {
                self.state = HostState::PuttingBack;
                Heard::Moved
            }
            HostState::NeedsOperator { .. } => {
                self.state = next;
                Heard::Moved
            }
            HostState::PuttingBack => Heard::Repeated,
            _ => Heard::OutOfPlace,
        }
    }

    fn hear_end(&mut self, end: HostState, mark: Mark) -> Heard {
        let unpermitted = match self.state {
            HostState::Waiting | HostState::Staged | HostState::Asked { .. } => {
                self.take(end.clone(), mark);
                true
            }
            HostState::PuttingBack if end == HostState::Done => return Heard::Repeated,
            HostState::Permitted { .. }
            | HostState::Running { .. }
            | HostState::Failing { .. }
            | HostState::NeedsOperator { .. }
            | HostState::PuttingBack => false,
            // It finished, and then somebody had it undone.
            HostState::Done if end != HostState::Done => false,
            _ if self.state == end => return Heard::Repeated,
            _ => return Heard::OutOfPlace,
        };
        let put_back = self.undo_ordered && end != HostState::Done;
        self.give_back(mark);
        self.halted = false;
        self.state = if put_back { HostState::PutBack } else { end };
        if unpermitted { Heard::Unpermitted } else { Heard::Moved }
    }

    fn hear_stuck(&mut self, reason: &str, question: Option<&Question>, mark: Mark) -> Heard {
        let next = HostState::NeedsOperator { reason: reason.to_owned(), question: question.cloned() };
        if self.state == next {
            return Heard::Repeated;
        }
        if self.holds_slot() {
            self.state = next;
        } else {
            self.take(next, mark);
        }
        self.halted = false;
        Heard::Moved
    }

    /// As if it had said that hands are needed; false when that is known.
    pub(super) fn quarantine(&mut self, reason: &str, mark: Mark) -> bool {
        matches!(self.hear_stuck(reason, None, mark), Heard::Moved)
    }

    fn hear_health(&mut self, unwell: Option<String>) -> Heard {
        if self.state != HostState::Done {
            return Heard::OutOfPlace;
        }
        if self.unwell == unwell {
            return Heard::Repeated;
        }
        self.unwell = unwell;
        Heard::Moved
    }

    fn hear_halted(&mut self) -> Heard {
        if self.is_final() {
            return Heard::OutOfPlace;
        }
        if self.halted {
            return Heard::Repeated;
        }
        self.halted = true;
        Heard::Moved
    }

    fn take(&mut self, state: HostState, mark: Mark) {
        self.state = state;
        self.slot = Slot::Taken(mark.sequence);
        self.late = false;
    }

    fn give_back(&mut self, mark: Mark) {
        if self.holds_slot() {
            self.slot = Slot::Returned(mark.sequence);
        }
    }
}
