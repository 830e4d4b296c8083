//! While it is held nothing new starts and no gate passes.

use crate::Seen;
use sternway_core::rollout::{Decision, Effect, Verdict};

use super::Invariant;

#[derive(Default)]
pub(super) struct WhileHeld {
    held: bool,
}

impl Invariant for WhileHeld {
    fn observe(&mut self, seen: &Seen) -> Result<(), String> {
        let Seen::Committed { effects, .. } = seen else { return Ok(()) };
        for effect in effects {
            match effect {
                Effect::Decided(Decision::Held { .. }) => self.held = true,
                Effect::Decided(Decision::Went { .. } | Decision::UndoBegan { .. }) => self.held = false,
                Effect::Permit { host, .. } | Effect::OrderUndo { host } if self.held => {
                    return Err(format!("{host} starts while held"));
                }
                Effect::Decided(Decision::WaveOpened { wave, .. }) if self.held => {
                    return Err(format!("wave {wave} opens while held"));
                }
                Effect::Decided(Decision::Judged { wave, verdict: Verdict::Pass, .. }) if self.held => {
                    return Err(format!("gate {wave} passes while held"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sternway_core::rollout::Tally;

    use super::super::made::{breaks_at_last, decided, holds, judged, maria, order, permit};
    use super::*;

    #[test]
    fn it_fires() {
        let held = || decided(Decision::Held { reasons: vec![] });
        let went = decided(Decision::Went { by: maria(), reason: String::new(), accepted: vec![] });
        holds(WhileHeld::default(), &[held(), went, permit("a", 1)]);
        breaks_at_last(WhileHeld::default(), &[held(), permit("a", 1)]);
        breaks_at_last(WhileHeld::default(), &[held(), order("a")]);
        let opens = decided(Decision::WaveOpened { wave: 1, hosts: vec![] });
        breaks_at_last(WhileHeld::default(), &[held(), opens]);
        let tally = Tally { finished: 1, ..Tally::default() };
        breaks_at_last(WhileHeld::default(), &[held(), judged(0, tally, Verdict::Pass)]);
    }
}
