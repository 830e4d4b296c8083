//! What `status` and `watch` show, as values, and when time alone will change it.

use serde::{Deserialize, Serialize};

use super::decision::{End, Halt, Hold};
use super::gate::Tally;
use super::wave::{Judged, WaveState};
use super::{Host, HostState, Phase, Rollout};
use crate::exit;
use crate::ids::{Group, HostName, Person, PlanId, RolloutId};
use crate::plan::Gate;
use crate::time::{Millis, Timestamp};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Ready,
    Running {
        wave: usize,
    },
    AwaitsApproval {
        wave: usize,
        group: Group,
    },
    Held,
    /// Hosts in flight are listed until they are final.
    Halted,
    Undoing,
    Ended(End),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub rollout: RolloutId,
    pub plan: PlanId,
    pub at: Timestamp,
    pub state: State,
    pub hold: Option<Hold>,
    pub halt: Option<Halt>,
    pub waves: Vec<WaveStatus>,
    /// Sorted by name.
    pub hosts: Vec<HostStatus>,
    /// Hosts that hold a slot: disturbed, or perhaps so.
    pub in_flight: Vec<HostName>,
    pub at_once: u32,
    /// Hands are needed on these.
    pub stuck: Vec<HostName>,
    /// Left their wave and wait for a late one.
    pub late: Vec<HostName>,
    /// At the end: hosts for which the plan did not come true.
    pub exceptions: Vec<HostName>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaveStatus {
    pub name: Option<String>,
    pub state: WaveState,
    pub is_late: bool,
    pub hosts: Vec<HostName>,
    pub left: Vec<HostName>,
    pub tally: Tally,
    pub gate: Gate,
    pub opened: Option<Timestamp>,
    pub approve: Option<Group>,
    pub approved_by: Option<Person>,
    pub soak: Option<SoakStatus>,
    pub judged: Option<Judged>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoakStatus {
    pub length: Millis,
    pub restarts: u32,
    pub well_since: Option<Timestamp>,
    /// When it ends if everybody stays well.
    pub ends: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    pub host: HostName,
    pub wave: usize,
    pub state: HostState,
    pub connected: bool,
    pub silent: bool,
    pub late: bool,
    pub halted: bool,
    pub unwell: Option<String>,
    pub last_seen: Timestamp,
}

impl Status {
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended(_))
    }

    /// As in [`crate::exit`]; hands needed outrank every other ending.
    pub fn exit_code(&self) -> u8 {
        if !self.stuck.is_empty() {
            return exit::STUCK;
        }
        match self.state {
            State::Ready | State::Running { .. } | State::Undoing | State::Ended(End::Done) => exit::DONE,
            State::AwaitsApproval { .. } | State::Held => exit::HELD,
            State::Ended(End::DoneWithExceptions) => exit::DONE_WITH_EXCEPTIONS,
            State::Halted | State::Ended(End::UndoneAll | End::UndoneWithExceptions) => exit::HALTED,
        }
    }
}

impl Rollout {
    pub fn id(&self) -> &RolloutId {
        &self.id
    }

    pub fn plan_id(&self) -> PlanId {
        self.plan_id
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The last entry handled.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    pub fn host(&self, name: &HostName) -> Option<&Host> {
        self.hosts.get(name)
    }

    pub fn hosts(&self) -> impl Iterator<Item = (&HostName, &Host)> {
        self.hosts.iter()
    }

    pub fn status(&self) -> Status {
        Status {
            rollout: self.id.clone(),
            plan: self.plan_id,
            at: self.now,
            state: self.state(),
            hold: self.hold.clone(),
            halt: self.halt.clone(),
            waves: (0..self.waves.len()).map(|index| self.wave_status(index)).collect(),
            hosts: self.hosts.iter().map(|(name, host)| host_status(name, host)).collect(),
            in_flight: self.in_flight(),
            at_once: self.at_once(),
            stuck: self.names_of(Host::is_stuck),
            late: self.names_of(|host| host.late),
            exceptions: match self.phase {
                Phase::Ended(End::Done | End::DoneWithExceptions) => self.exceptions(),
                Phase::Ended(_) => self.undo_exceptions(),
                _ => Vec::new(),
            },
        }
    }

    fn state(&self) -> State {
        match self.phase {
            Phase::Ended(end) => return State::Ended(end),
            _ if self.halt.is_some() => return State::Halted,
            _ if self.hold.is_some() => return State::Held,
            Phase::Ready => return State::Ready,
            Phase::Undoing => return State::Undoing,
            Phase::Running => {}
        }
        let wave = self.current().unwrap_or(self.waves.len().saturating_sub(1));
        match self.waves.get(wave) {
            Some(current) if current.state == WaveState::AwaitsApproval => match &current.approve {
                Some(group) => State::AwaitsApproval { wave, group: group.clone() },
                None => State::Running { wave },
            },
            _ => State::Running { wave },
        }
    }

    fn wave_status(&self, index: usize) -> WaveStatus {
        let wave = &self.waves[index];
        let soak = match wave.state {
            WaveState::Soaking(soak) => Some(SoakStatus {
                length: wave.soak,
                restarts: wave.restarts,
                well_since: soak.well_since,
                ends: soak.well_since.map(|since| since + wave.soak),
            }),
            _ => None,
        };
        WaveStatus {
            name: wave.name.clone(),
            state: wave.state,
            is_late: wave.is_late,
            hosts: wave.hosts.iter().cloned().collect(),
            left: wave.left.iter().cloned().collect(),
            tally: self.tally(index),
            gate: wave.gate.clone(),
            opened: wave.opened.map(|mark| mark.at),
            approve: wave.approve.clone(),
            approved_by: wave.approved.as_ref().map(|(by, _)| by.clone()),
            soak,
            judged: wave.judged.clone(),
        }
    }

    /// When a tick is next needed, if time alone will change anything.
    pub fn wake_at(&self) -> Option<Timestamp> {
        if !matches!(self.phase, Phase::Running | Phase::Undoing) {
            return None;
        }
        let open = self.current().filter(|index| self.waves[*index].is_open());
        let silences = self
            .hosts
            .values()
            .filter(|host| host.is_wanted())
            .filter(|host| host.holds_slot() || (open == Some(host.wave) && !host.late))
            .filter_map(|host| host.silent_at(self.pace.silent_after))
            .min();
        let forward = self.phase == Phase::Running;
        let late = self.late_at().filter(|_| forward);
        let soak = open.filter(|_| self.may_start()).and_then(|index| self.soak_wakes_at(index));
        // What is already due and still undone waits for something else than time.
        let returns = self.waits_for_return();
        [silences, late, soak, returns].into_iter().flatten().filter(|at| *at > self.now).min()
    }

    fn soak_wakes_at(&self, index: usize) -> Option<Timestamp> {
        let wave = &self.waves[index];
        let WaveState::Soaking(soak) = wave.state else { return None };
        let asks = soak.began + wave.soak_limit() + Millis(1);
        Some(soak.well_since.map_or(asks, |since| (since + wave.soak).min(asks)))
    }
}

fn host_status(name: &HostName, host: &Host) -> HostStatus {
    HostStatus {
        host: name.clone(),
        wave: host.wave,
        state: host.state.clone(),
        connected: host.connected,
        silent: host.silent,
        late: host.late,
        halted: host.halted,
        unwell: host.unwell.clone(),
        last_seen: host.last_seen,
    }
}
