//! Once the faults stop and somebody answers what is asked, every rollout ends
//! and every living host is at rest.

use crate::Seen;

use super::Invariant;

pub(super) struct AtRest;

impl Invariant for AtRest {
    fn observe(&mut self, seen: &Seen) -> Result<(), String> {
        let Seen::AtRest { status, unsettled, .. } = seen else { return Ok(()) };
        if !status.is_ended() {
            let waves: Vec<_> = status.waves.iter().map(|wave| (&wave.state, &wave.hosts)).collect();
            let hosts: Vec<_> =
                status.hosts.iter().map(|host| (&host.host, &host.state, host.connected)).collect();
            return Err(format!(
                "the rollout hangs in {:?} (hold {:?}, halt {:?}): {waves:?} {hosts:?}",
                status.state, status.hold, status.halt
            ));
        }
        match unsettled.is_empty() {
            true => Ok(()),
            false => Err(format!("{unsettled:?} never came to rest, and the rollout is {:?}", status.state)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use sternway_core::rollout::{End, State};

    use super::super::made::{breaks_at_last, holds, host, status};
    use super::*;

    #[test]
    fn it_fires() {
        let status = status();
        let settled = |state, unsettled| {
            let mut status = status.clone();
            status.state = state;
            Seen::AtRest { rollout: 0, status: Box::new(status), unsettled }
        };
        let ended = State::Ended(End::Done);
        holds(AtRest, &[settled(ended.clone(), BTreeSet::new())]);
        breaks_at_last(AtRest, &[settled(State::Held, BTreeSet::new())]);
        breaks_at_last(AtRest, &[settled(ended, BTreeSet::from([host("a")]))]);
    }
}
