//! The rollout as a few columns: what a store keeps beside the entries, so that
//! the transaction which writes them can check slots, gates and halts by itself
//! and a later start can check them again. Always as the entries say.

use super::gate::Verdict;
use super::{Host, HostState, Phase, Rollout, Slot, Wave};
use crate::ids::HostName;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub phase: &'static str,
    /// The entry of the halt in force.
    pub halted: Option<u64>,
    pub held: bool,
    /// Hosts that may be disturbed at a time.
    pub slots_max: u32,
    pub failed: u32,
    /// By the plan, or more where a person accepted it.
    pub failed_max: u32,
    pub silent: u32,
    pub silent_max: u32,
}

/// Entries, as all numbers here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaveMarks {
    pub opened: Option<u64>,
    pub passed: Option<u64>,
}

/// What a host is at, and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Counted from 0.
    pub wave: usize,
    pub state: &'static str,
    pub slot: &'static str,
    /// The entry by which the slot is what it is.
    pub slot_entry: Option<u64>,
    /// The entry of the last permit.
    pub permit_entry: Option<u64>,
    /// The question that is answered with a permit now.
    pub nonce: Option<u64>,
}

impl Place {
    /// The host is disturbed, or may be so at any moment.
    pub fn holds(&self) -> bool {
        matches!(self.slot, "granted" | "taken")
    }

    /// Its slot was given by exactly this entry.
    pub fn is_granted_by(&self, entry: u64) -> bool {
        self.slot == "granted" && self.slot_entry == Some(entry)
    }
}

impl Rollout {
    pub fn standing(&self) -> Standing {
        Standing {
            phase: match self.phase {
                Phase::Ready => "ready",
                Phase::Running => "running",
                Phase::Undoing => "undoing",
                Phase::Ended(end) => end.word(),
            },
            halted: self.halt.as_ref().map(|halt| halt.since.sequence),
            held: self.hold.is_some(),
            slots_max: self.at_once(),
            failed: super::wave::count(self.hosts.values().filter(|host| host.has_failed())),
            failed_max: self.pace.failed.max(self.accepted.failed),
            silent: self.silent_in_all(),
            silent_max: self.pace.silent.max(self.accepted.silent),
        }
    }

    /// In the order of the waves.
    pub fn wave_marks(&self) -> impl Iterator<Item = WaveMarks> {
        self.waves.iter().map(Wave::marks)
    }

    pub fn places(&self) -> impl Iterator<Item = (&HostName, Place)> {
        self.hosts.iter().map(|(name, host)| (name, host.place()))
    }
}

impl Wave {
    fn marks(&self) -> WaveMarks {
        let passed = self.judged.as_ref().filter(|judged| judged.verdict == Verdict::Pass);
        WaveMarks {
            opened: self.opened.map(|mark| mark.sequence),
            passed: passed.map(|judged| judged.mark.sequence),
        }
    }
}

impl Host {
    fn place(&self) -> Place {
        let (slot, slot_entry) = match self.slot {
            Slot::None => ("none", None),
            Slot::Granted(entry) => ("granted", Some(entry)),
            Slot::Taken(entry) => ("taken", Some(entry)),
            Slot::Returned(entry) => ("returned", Some(entry)),
            Slot::Waived(entry) => ("waived", Some(entry)),
        };
        Place {
            wave: self.wave,
            state: self.state.word(),
            slot,
            slot_entry,
            permit_entry: self.permitted.map(|(entry, _)| entry),
            nonce: match self.state {
                HostState::Permitted { nonce } => Some(nonce),
                _ => None,
            },
        }
    }
}

impl HostState {
    /// One word for records; no two states share one.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Staged => "staged",
            Self::Asked { .. } => "asked",
            Self::Permitted { .. } => "permitted",
            Self::Running { .. } => "running",
            Self::Failing { .. } => "failing",
            Self::Done => "done",
            Self::Undone { .. } => "undone",
            Self::Refused { .. } => "refused",
            Self::NeedsOperator { .. } => "needs-operator",
            Self::PuttingBack => "putting-back",
            Self::PutBack => "put-back",
            Self::Without => "without",
            Self::Dead { .. } => "dead",
        }
    }
}
