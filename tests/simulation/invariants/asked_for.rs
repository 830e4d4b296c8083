//! A permit answers the newest question of its host: an old answer is void.

use std::collections::BTreeMap;

use crate::Seen;
use sternway_core::ids::HostName;
use sternway_core::rollout::{Effect, Input, Word};

use super::Invariant;

#[derive(Default)]
pub(super) struct AskedFor {
    asked: BTreeMap<HostName, u64>,
}

impl Invariant for AskedFor {
    fn observe(&mut self, seen: &Seen) -> Result<(), String> {
        let Seen::Committed { entry, effects, .. } = seen else { return Ok(()) };
        if let Input::Host { host, word: Word::AsksPermit { nonce } } = &entry.input {
            let newest = self.asked.entry(host.clone()).or_default();
            *newest = (*newest).max(*nonce);
        }
        for effect in effects {
            if let Effect::Permit { host, nonce } = effect
                && self.asked.get(host) != Some(nonce)
            {
                return Err(format!("{host} is answered {nonce}, and asked {:?}", self.asked.get(host)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{breaks_at_last, holds, permit, said};
    use super::*;

    #[test]
    fn it_fires() {
        let asks = |nonce| said("a", Word::AsksPermit { nonce });
        holds(AskedFor::default(), &[asks(1), permit("a", 1), asks(2), asks(1), permit("a", 2)]);
        breaks_at_last(AskedFor::default(), &[asks(1), asks(2), permit("a", 1)]);
        breaks_at_last(AskedFor::default(), &[permit("a", 0)]);
    }
}
