//! One of two records was set back: the coordinator's, or a host's. Neither is
//! repaired by guessing; the first halts everything, the second takes the host out.

use super::decision::{Ahead, Decision, HaltCause, Note};
use super::{HostState, Phase, Rollout, Turn};
use crate::ids::HostName;

impl Rollout {
    /// Halts, or adds the host to a halt there is: whoever resumes reads all of it.
    pub(super) fn went_back(&mut self, ahead: &Ahead, turn: &mut Turn) {
        if let Phase::Ended(end) = self.phase {
            return turn.note(Note::AlreadyEnded { end });
        }
        let Some(halt) = &mut self.halt else {
            return self.halt_for(HaltCause::WentBack { hosts: vec![ahead.clone()] }, turn);
        };
        halt.last = turn.mark;
        match &mut halt.cause {
            HaltCause::WentBack { hosts } => {
                hosts.retain(|known| known.host != ahead.host);
                hosts.push(ahead.clone());
            }
            // Graver than whatever it was halted for; that stays in the record.
            cause => *cause = HaltCause::WentBack { hosts: vec![ahead.clone()] },
        }
        let cause = halt.cause.clone();
        turn.decided(Decision::Halted { cause, in_flight: self.in_flight() });
        self.tell_halt(turn);
    }

    /// The host may be anywhere, so it holds a place until a person frees it.
    pub(super) fn quarantined(&mut self, name: &HostName, reason: &str, turn: &mut Turn) {
        let Some(host) = self.hosts.get_mut(name) else {
            return turn.note(Note::UnknownHost { host: name.clone() });
        };
        if matches!(host.state, HostState::Without | HostState::Dead { .. }) {
            return turn.note(Note::NotTakingPart { host: name.clone() });
        }
        let (late, wave) = (host.late, host.wave);
        let moved = host.quarantine(reason, turn.mark);
        if late && !host.late {
            self.waves[wave].left.remove(name);
            self.waves[wave].hosts.insert(name.clone());
        }
        match moved {
            true => {
                turn.decided(Decision::HostQuarantined { host: name.clone(), reason: reason.to_owned() });
            }
            false => turn.note(Note::Repeated { host: name.clone() }),
        }
    }
}
