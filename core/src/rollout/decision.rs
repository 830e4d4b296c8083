//! What was decided and why, as values: the journal, the report and the screen
//! all read these.

use serde::{Deserialize, Serialize};

use super::gate::{Evidence, Verdict};
use super::wave::Mark;
use crate::ids::{Group, HostName, Person, RolloutId};
use crate::run::Choice;
use crate::time::{Millis, Timestamp};

/// How a rollout ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    Done,
    DoneWithExceptions,
    UndoneAll,
    UndoneWithExceptions,
}

impl End {
    /// One word for records.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::DoneWithExceptions => "done-with-exceptions",
            Self::UndoneAll => "undone",
            Self::UndoneWithExceptions => "undone-with-exceptions",
        }
    }
}

/// Waves are counted from 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    Launched {
        by: Person,
    },
    AwaitsApproval {
        wave: usize,
        group: Group,
    },
    Approved {
        wave: usize,
        by: Person,
        group: Group,
    },
    WaveOpened {
        wave: usize,
        hosts: Vec<HostName>,
    },
    /// Late hosts that are here now get a wave of their own.
    LateWave {
        wave: usize,
        hosts: Vec<HostName>,
    },
    /// Every host of the wave is final or counted as silent; the soak begins.
    WaveSettled {
        wave: usize,
        soak: Millis,
    },
    SoakRestarted {
        wave: usize,
        restarts: u32,
        hosts: Vec<HostName>,
    },
    Judged {
        wave: usize,
        evidence: Evidence,
        verdict: Verdict,
    },
    Held {
        reasons: Vec<HoldReason>,
    },
    Went {
        by: Person,
        reason: String,
        accepted: Vec<HoldReason>,
    },
    Halted {
        cause: HaltCause,
        in_flight: Vec<HostName>,
    },
    Resumed {
        by: Person,
        reason: String,
        in_flight: Vec<HostName>,
    },
    HostLate {
        host: HostName,
        wave: usize,
        why: Late,
    },
    HostSilent {
        host: HostName,
        wave: usize,
        last_seen: Timestamp,
    },
    HostDead {
        host: HostName,
        by: Person,
        reason: String,
    },
    /// A person answered what a stuck host asks.
    Unstuck {
        host: HostName,
        by: Person,
        reason: String,
        choice: Choice,
    },
    /// It was given up as dead, and goes on.
    HostReturned {
        host: HostName,
    },
    HostQuarantined {
        host: HostName,
        reason: String,
    },
    UndoBegan {
        by: Person,
        reason: String,
        hosts: Vec<HostName>,
        in_flight: Vec<HostName>,
    },
    Ended {
        end: End,
        exceptions: Vec<HostName>,
    },
}

/// Why a host left its wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Late {
    /// It did not hold everything it needs in time.
    NotStaged { within: Millis },
    /// It was away when its wave passed, and had not begun.
    Away,
}

/// Nothing new starts; running hosts go on; a person says go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub since: Mark,
    pub reasons: Vec<HoldReason>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoldReason {
    Person {
        by: Person,
        reason: String,
    },
    TooManySilent {
        wave: usize,
        silent: u32,
        max: u32,
    },
    TooManySilentInAll {
        silent: u32,
        max: u32,
    },
    /// A wave without a single finished host proves nothing.
    NobodyFinished {
        wave: usize,
        failed: u32,
        silent: u32,
        late: u32,
    },
    SoakKeepsRestarting {
        wave: usize,
        restarts: u32,
        after: Millis,
        limit: Millis,
        hosts: Vec<HostName>,
    },
    /// A person halted these on the host.
    HaltedOnHost {
        hosts: Vec<HostName>,
    },
    /// Every slot is held by a host that is stuck or away: only hands free one.
    SlotsTaken {
        holders: Vec<HostName>,
        max: u32,
    },
}

impl HoldReason {
    /// Whether both ask a person the same question, perhaps with other figures.
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::TooManySilent { wave: a, .. }, Self::TooManySilent { wave: b, .. })
            | (Self::NobodyFinished { wave: a, .. }, Self::NobodyFinished { wave: b, .. })
            | (Self::SoakKeepsRestarting { wave: a, .. }, Self::SoakKeepsRestarting { wave: b, .. }) => {
                a == b
            }
            (Self::Person { .. }, Self::Person { .. })
            | (Self::TooManySilentInAll { .. }, Self::TooManySilentInAll { .. })
            | (Self::HaltedOnHost { .. }, Self::HaltedOnHost { .. })
            | (Self::SlotsTaken { .. }, Self::SlotsTaken { .. }) => true,
            _ => false,
        }
    }
}

/// No permit ever again, until a named person resumes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halt {
    pub since: Mark,
    pub cause: HaltCause,
    /// The newest word for it: who resumes has to know this one.
    pub last: Mark,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HaltCause {
    Person {
        by: Person,
        reason: String,
    },
    TooManyFailed {
        wave: usize,
        failed: u32,
        max: u32,
    },
    TooManyFailedInAll {
        failed: u32,
        max: u32,
    },
    /// The host began without a permit that these books know of: one of the two was set back.
    BeganUnpermitted {
        host: HostName,
    },
    /// These hosts know more than the books do: the database was set back.
    WentBack {
        hosts: Vec<Ahead>,
    },
}

/// What a host said, and what was known here when it said so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ahead {
    pub host: HostName,
    /// The highest epoch the host saw.
    pub epoch: u64,
    pub epoch_here: u64,
    /// The newest record that a coordinator acknowledged to the host.
    pub acked: u64,
    pub acked_here: u64,
    /// A rollout that the host is in and that is not on record here.
    pub unknown: Option<RolloutId>,
}

/// Why an input changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Note {
    OldEntry {
        sequence: u64,
        seen: u64,
    },
    OldEpoch {
        epoch: u64,
        seen: u64,
    },
    UnknownHost {
        host: HostName,
    },
    AlreadyLaunched,
    NotLaunched,
    /// Said before; nothing new.
    Repeated {
        host: HostName,
    },
    /// A request or statement older than one already heard.
    OldNonce {
        host: HostName,
        nonce: u64,
        seen: u64,
    },
    /// It does not fit what is known of the host.
    OutOfPlace {
        host: HostName,
    },
    /// The host is not, or no longer, part of the rollout.
    NotTakingPart {
        host: HostName,
    },
    /// It asks nobody anything, or something else by now.
    NothingAsked {
        host: HostName,
        choices: Vec<Choice>,
    },
    NotHeld,
    NotHalted,
    AlreadyHalted {
        in_flight: Vec<HostName>,
    },
    AlreadyEnded {
        end: End,
    },
    AlreadyUndoing,
    /// A resume counts only with exactly these confirmed.
    ConfirmInFlight {
        in_flight: Vec<HostName>,
    },
    NothingToApprove {
        wave: usize,
    },
    NeedsGroup {
        wave: usize,
        group: Group,
    },
    /// A host that is connected is not dead.
    HostIsHere {
        host: HostName,
    },
}
