//! Slots and permits: a host asks with a nonce, and the answer is good for that
//! nonce only. At most `at_once` hosts are disturbed, whatever was lost on the way.

use super::decision::{Decision, HaltCause, HoldReason, Note};
use super::host::Heard;
use super::wave::count;
use super::{Effect, Host, HostState, Phase, Rollout, Turn, Word};
use crate::ids::HostName;

impl Rollout {
    pub(super) fn at_once(&self) -> u32 {
        self.pace.at_once.max(1)
    }

    pub(super) fn slots_held(&self) -> u32 {
        let counts = |host: &&Host| !(cfg!(feature = "mutant-slot-freed-by-time") && host.silent);
        count(self.hosts.values().filter(|host| host.holds_slot()).filter(counts))
    }

    pub(super) fn heard(&mut self, name: &HostName, word: &Word, turn: &mut Turn) {
        let Some(host) = self.hosts.get_mut(name) else {
            return turn.note(Note::UnknownHost { host: name.clone() });
        };
        let held_slot = host.holds_slot();
        let late = host.late;
        let index = host.wave;
        let heard = host.hear(word, turn.mark);
        let host = host.clone();
        if late && !host.late {
            // It began though it had left: it counts in its wave again.
            self.waves[index].left.remove(name);
            self.waves[index].hosts.insert(name.clone());
        }
        match heard {
            Heard::Moved => {
                let returned = held_slot && !host.holds_slot();
                if matches!(self.phase, Phase::Ended(_)) && (returned || host.is_ready()) {
                    turn.effects.extend(self.owed_to(name, &host));
                }
            }
            Heard::Returned => turn.decided(Decision::HostReturned { host: name.clone() }),
            Heard::SameAgain => turn.effects.extend(self.owed_to(name, &host)),
            Heard::Repeated => turn.note(Note::Repeated { host: name.clone() }),
            Heard::OldNonce { nonce, seen } => {
                turn.note(Note::OldNonce { host: name.clone(), nonce, seen });
            }
            Heard::OutOfPlace => turn.note(Note::OutOfPlace { host: name.clone() }),
            Heard::NotTakingPart => turn.note(Note::NotTakingPart { host: name.clone() }),
            Heard::Unpermitted => self.halt_for(HaltCause::BeganUnpermitted { host: name.clone() }, turn),
        }
    }

    /// Answers those who ask, oldest request first, while there is room.
    pub(super) fn grant_permits(&mut self, turn: &mut Turn) {
        let Some(index) = self.current().filter(|index| self.waves[*index].is_open()) else { return };
        if !self.may_start() || self.waits_for_return().is_some() {
            return;
        }
        let mut asking: Vec<(u64, HostName)> = self
            .members(index)
            .filter_map(|(name, host)| match host.state {
                HostState::Asked { since, .. } if !host.is_absent() => Some((since, name.clone())),
                _ => None,
            })
            .collect();
        asking.sort();
        let mut held = self.slots_held();
        for (_, name) in asking {
            if held >= self.at_once() + u32::from(cfg!(feature = "mutant-one-more-at-once")) {
                return self.ask_when_slots_are_stuck(turn);
            }
            let Some(host) = self.hosts.get_mut(&name) else { continue };
            let HostState::Asked { nonce, .. } = host.state else { continue };
            held += 1;
            host.grant(HostState::Permitted { nonce }, turn.mark);
            host.permitted = Some((turn.mark.sequence, held));
            turn.effects.push(Effect::Permit { host: name, nonce });
        }
    }

    /// Somebody waits for a slot, and no slot comes back without hands.
    pub(super) fn ask_when_slots_are_stuck(&mut self, turn: &mut Turn) {
        let holders: Vec<HostName> =
            self.hosts.iter().filter(|(_, host)| host.holds_slot()).map(|(name, _)| name.clone()).collect();
        let stuck =
            |name: &HostName| self.hosts.get(name).is_some_and(|host| host.is_stuck() || host.is_absent());
        let accepted = |name: &HostName| self.accepted.slot_holders.contains(name);
        if holders.iter().all(stuck) && !holders.iter().all(accepted) {
            self.add_hold(HoldReason::SlotsTaken { holders, max: self.at_once() }, turn);
        }
    }

    pub(super) fn in_flight(&self) -> Vec<HostName> {
        self.names_of(Host::is_in_flight)
    }

    pub(super) fn names_of(&self, is: impl Fn(&Host) -> bool) -> Vec<HostName> {
        self.hosts.iter().filter(|(_, host)| is(host)).map(|(name, _)| name.clone()).collect()
    }
}
