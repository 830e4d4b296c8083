//! Putting finished hosts back, newest wave first, no more at once than the
//! plan allows. Nothing forward starts any more; what runs is waited for.

use super::decision::{Decision, End};
use super::{Effect, HostState, Phase, Rollout, Slot, Turn};
use crate::ids::HostName;

impl Rollout {
    pub(super) fn advance_undo(&mut self, turn: &mut Turn) {
        if self.halt.is_some() || self.hold.is_some() || self.waits_for_return().is_some() {
            return;
        }
        let mut finished: Vec<(usize, HostName)> = self
            .hosts
            .iter()
            .filter(|(_, host)| host.state == HostState::Done)
            .map(|(name, host)| (host.wave, name.clone()))
            .collect();
        finished.sort_by(|(wave_a, name_a), (wave_b, name_b)| wave_b.cmp(wave_a).then(name_a.cmp(name_b)));
        if cfg!(feature = "mutant-undo-oldest-wave-first") {
            finished.sort();
        }
        let mut held = self.slots_held();
        for (_, name) in finished {
            if held >= self.at_once() {
                return self.ask_when_slots_are_stuck(turn);
            }
            let Some(host) = self.hosts.get_mut(&name) else { continue };
            held += 1;
            host.undo_ordered = true;
            host.grant(HostState::PuttingBack, turn.mark);
            turn.effects.push(Effect::OrderUndo { host: name });
        }
        let waits = self.hosts.values().any(|host| host.holds_slot() && !host.is_stuck());
        if !waits {
            let exceptions = self.undo_exceptions();
            let end = if exceptions.is_empty() { End::UndoneAll } else { End::UndoneWithExceptions };
            self.finish(end, exceptions, turn);
        }
    }

    /// Hosts of which nobody can say that they are back where they were.
    pub(super) fn undo_exceptions(&self) -> Vec<HostName> {
        self.names_of(|host| match host.state {
            HostState::Dead { .. } => host.slot != Slot::None,
            _ => host.holds_slot() || host.state == HostState::Done,
        })
    }

    /// A host may say something after the end that the end did not know.
    pub(super) fn correct_the_end(&mut self, turn: &mut Turn) {
        let (end, exceptions) = match self.phase {
            Phase::Ended(End::Done) => (End::DoneWithExceptions, self.exceptions()),
            Phase::Ended(End::UndoneAll) => (End::UndoneWithExceptions, self.undo_exceptions()),
            _ => return,
        };
        if !exceptions.is_empty() {
            self.phase = Phase::Ended(end);
            turn.decided(Decision::Ended { end, exceptions });
        }
    }
}
