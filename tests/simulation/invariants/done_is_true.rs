//! A run that goes on or finishes has looked at each step after its last change
//! and found it good; a run that says it is undone has left everything as it was.

use sternway_core::run::Ending;

use super::Invariant;
use crate::Seen;

pub(super) struct DoneIsTrue;

impl Invariant for DoneIsTrue {
    fn observe(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::StepsDone { host, truths, .. }
            | Seen::Settled { host, ending: Ending::Finished, truths, .. } => {
                match truths.iter().find(|truth| !truth.proven) {
                    Some(truth) => Err(format!("{host} counts step {} as done, unverified", truth.step)),
                    None => Ok(()),
                }
            }
            Seen::Settled {
                host,
                ending: ending @ (Ending::Undone { .. } | Ending::Unfit { .. }),
                truths,
                ..
            } => match truths.iter().find(|truth| !truth.as_found) {
                Some(truth) => Err(format!("{host} says {ending:?}, and step {} is not back", truth.step)),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use sternway_core::run::Because;

    use super::super::made::{breaks_at_last, host, truth};
    use super::*;

    #[test]
    fn it_fires() {
        let settled = |ending, truths| Seen::Settled { rollout: 0, host: host("a"), ending, truths };
        let (good, bad) = (truth(0, true, true), truth(1, false, false));
        breaks_at_last(
            DoneIsTrue,
            &[settled(Ending::Finished, vec![good.clone()]), settled(Ending::Finished, vec![bad.clone()])],
        );
        let undone = || Ending::Undone { because: Because::CutOff };
        breaks_at_last(
            DoneIsTrue,
            &[settled(undone(), vec![good.clone()]), settled(undone(), vec![good, bad.clone()])],
        );
        let went_on = Seen::StepsDone { rollout: 0, host: host("a"), truths: vec![bad] };
        breaks_at_last(DoneIsTrue, &[went_on]);
    }
}
