//! On a host that a person halted there, no run begins and no further step.

use std::collections::BTreeMap;

use sternway_core::ids::HostName;
use sternway_core::rollout::Input;

use super::Invariant;
use crate::Seen;

#[derive(Default)]
pub(super) struct HaltedHere {
    halted: BTreeMap<HostName, bool>,
}

impl Invariant for HaltedHere {
    fn observe(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::HaltedHere { host, halts, .. } => {
                self.halted.insert(host.clone(), *halts);
            }
            // Who answers what this host asks knows of its halt.
            Seen::Committed { entry, .. } => {
                if let Input::Unstick { host, .. } = &entry.input {
                    self.halted.remove(host);
                }
            }
            // What its disk forgot, the host forgot.
            Seen::SetBack { host, .. } => {
                self.halted.remove(host);
            }
            Seen::Permitted { host, .. } if self.halted.get(host) == Some(&true) => {
                return Err(format!("{host} begins, and a person halted it there"));
            }
            // The step in hand is carried through; this record says that another follows.
            Seen::StepsDone { host, .. } if self.halted.get(host) == Some(&true) => {
                return Err(format!("{host} goes on to its next step, and a person halted it there"));
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{breaks_at_last, holds, host};
    use super::*;

    #[test]
    fn it_fires() {
        let halts = |halts| Seen::HaltedHere { rollout: 0, host: host("a"), halts };
        let begins = || Seen::Permitted {
            rollout: 0,
            host: host("a"),
            nonce: 1,
            epoch: 1,
            asked: Some(1),
            seen_epoch: 1,
        };
        let goes_on = || Seen::StepsDone { rollout: 0, host: host("a"), truths: vec![] };
        holds(HaltedHere::default(), &[halts(true), halts(false), begins()]);
        breaks_at_last(HaltedHere::default(), &[halts(true), begins()]);
        breaks_at_last(HaltedHere::default(), &[begins(), halts(true), goes_on()]);
    }
}
