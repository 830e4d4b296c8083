//! Hosts that were not ready or not there when their wave went on: they are
//! listed, hold nobody up, and get small waves of their own at the end.

use std::collections::BTreeSet;

use super::decision::{Decision, Late};
use super::wave::Wave;
use super::{HostState, Rollout, Turn};
use crate::ids::HostName;
use crate::time::Timestamp;

/// Late waves a host may take part in; one that comes and goes is an exception in the end.
pub(super) const LATE_WAVES_MAX: u32 = 2;

impl Rollout {
    /// Hosts of the open wave that did not stage in time leave it.
    pub(super) fn mark_late(&mut self, turn: &mut Turn) {
        let Some(index) = self.current().filter(|index| self.waves[*index].is_open()) else { return };
        let within = self.pace.stage_within;
        if turn.now() < self.waves[index].stage_from + within {
            return;
        }
        let late: Vec<HostName> = self
            .members(index)
            .filter(|(_, host)| host.state == HostState::Waiting)
            .map(|(name, _)| name.clone())
            .collect();
        for name in late {
            self.leave_wave(&name, index, Late::NotStaged { within }, turn);
        }
    }

    pub(super) fn leave_wave(&mut self, name: &HostName, index: usize, why: Late, turn: &mut Turn) {
        let Some(host) = self.hosts.get_mut(name) else { return };
        host.late = true;
        host.silent = false;
        host.permitted = None;
        self.waves[index].hosts.remove(name);
        self.waves[index].left.insert(name.clone());
        turn.decided(Decision::HostLate { host: name.clone(), wave: index, why });
    }

    /// When the hosts of the open wave must have staged, if one has not.
    pub(super) fn late_at(&self) -> Option<Timestamp> {
        let index = self.current().filter(|index| self.waves[*index].is_open())?;
        let waits = self.members(index).any(|(_, host)| host.state == HostState::Waiting);
        waits.then(|| self.waves[index].stage_from + self.pace.stage_within)
    }

    /// After the last wave: the late hosts that are ready and here, under the last gate.
    pub(super) fn open_late_wave(&mut self, turn: &mut Turn) -> bool {
        let here: BTreeSet<HostName> = self
            .hosts
            .iter()
            .filter(|(_, host)| host.late && host.connected && !host.halted && host.is_ready())
            .filter(|(_, host)| host.late_waves < LATE_WAVES_MAX)
            .map(|(name, _)| name.clone())
            .collect();
        let last = self.waves.iter().rfind(|wave| !wave.is_late);
        let (Some(last), false) = (last, here.is_empty()) else { return false };
        let wave = Wave { is_late: true, ..Wave::of(here.clone(), last.soak, last.gate.clone()) };
        let index = self.waves.len();
        self.waves.push(wave);
        for name in &here {
            if let Some(host) = self.hosts.get_mut(name) {
                host.wave = index;
                host.late = false;
                host.late_waves += 1;
            }
        }
        turn.decided(Decision::LateWave { wave: index, hosts: here.into_iter().collect() });
        true
    }
}
