//! A slot comes back by its host's own word, or by a person who declares the
//! host dead. Kept as books of our own, from entries and orders alone.

use std::collections::BTreeMap;

use crate::{Given, Seen};
use sternway_core::ids::HostName;
use sternway_core::rollout::{Decision, Effect, Input, Word};

use super::Invariant;

pub(super) struct SlotByWord {
    max: usize,
    /// Who holds a slot: the nonce of the permit, or none for an order to undo.
    holders: BTreeMap<HostName, Option<u64>>,
}

impl SlotByWord {
    pub(super) fn new(given: &Given) -> Self {
        Self { max: given.plan.pace.at_once as usize, holders: BTreeMap::new() }
    }

    fn heard(&mut self, host: &HostName, word: &Word) {
        let frees = match (word, self.holders.get(host)) {
            (Word::AsksPermit { nonce } | Word::Idle { nonce }, Some(Some(permitted))) => nonce > permitted,
            (Word::Finished, Some(Some(_))) => true,
            (Word::Undone { .. } | Word::Refused { .. }, Some(_)) => true,
            _ => false,
        };
        if frees {
            self.holders.remove(host);
        }
    }

    fn take(&mut self, host: &HostName, nonce: Option<u64>) -> Result<(), String> {
        self.holders.insert(host.clone(), nonce);
        match self.holders.len() > self.max {
            true => Err(format!("{host} gets a slot, and {:?} hold {}", self.holders, self.max)),
            false => Ok(()),
        }
    }
}

impl Invariant for SlotByWord {
    fn observe(&mut self, seen: &Seen) -> Result<(), String> {
        let Seen::Committed { entry, effects, .. } = seen else { return Ok(()) };
        if let Input::Host { host, word } = &entry.input {
            self.heard(host, word);
        }
        for effect in effects {
            match effect {
                Effect::Permit { host, nonce } => self.take(host, Some(*nonce))?,
                Effect::OrderUndo { host } => self.take(host, None)?,
                Effect::Decided(Decision::HostDead { host, .. }) => {
                    self.holders.remove(host);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{breaks_at_last, given, holds, order, permit, said};
    use super::*;

    #[test]
    fn it_fires() {
        let books = || SlotByWord::new(&given());
        holds(books(), &[permit("a", 1), said("a", Word::Finished), permit("b", 1)]);
        breaks_at_last(books(), &[permit("a", 1), said("a", Word::Began { step: 0 }), permit("b", 1)]);
        breaks_at_last(books(), &[permit("a", 1), said("a", Word::AsksPermit { nonce: 1 }), permit("b", 1)]);
        breaks_at_last(books(), &[order("a"), said("a", Word::Finished), order("b")]);
    }
}
