//! Who holds a slot and is away for longer than the plan allows is called
//! silent, as soon as anything happens. Nobody waits for ever unseen.

use std::collections::BTreeMap;

use sternway_core::ids::HostName;
use sternway_core::rollout::{Decision, Effect, Input, Word};
use sternway_core::time::{Millis, Timestamp};

use super::Invariant;
use crate::{Given, Seen};

pub(super) struct Silence {
    hosts: Vec<HostName>,
    after: Millis,
    now: Timestamp,
    ended: bool,
    /// Who holds a slot: the nonce of the permit, or none for an order to undo.
    holders: BTreeMap<HostName, Option<u64>>,
    /// Who is away, since when; none once that was said.
    away: BTreeMap<HostName, Option<Timestamp>>,
}

impl Silence {
    pub(super) fn new(given: &Given) -> Self {
        let away = given.plan.hosts.iter().map(|host| (host.clone(), Some(Timestamp::default())));
        Self {
            hosts: given.plan.hosts.clone(),
            after: given.plan.pace.silent_after,
            now: Timestamp::default(),
            ended: false,
            holders: BTreeMap::new(),
            away: away.collect(),
        }
    }

    fn heard(&mut self, input: &Input) {
        match input {
            Input::Connected { host } => {
                self.away.remove(host);
            }
            Input::Lost { host } => {
                self.away.insert(host.clone(), Some(self.now));
            }
            Input::Restarted { .. } => {
                for host in &self.hosts {
                    let since = self.away.entry(host.clone()).or_insert(Some(self.now));
                    // Who was silent stays so.
                    *since = since.map(|_| self.now);
                }
            }
            Input::Host { host, word } => {
                // It is there after all, whether a connection is known or not.
                self.away.entry(host.clone()).and_modify(|since| *since = Some(self.now));
                let frees = match (word, self.holders.get(host)) {
                    (Word::AsksPermit { nonce } | Word::Idle { nonce }, Some(Some(permitted))) => {
                        nonce > permitted
                    }
                    (Word::Finished, Some(Some(_))) => true,
                    (Word::Undone { .. } | Word::Refused { .. }, Some(_)) => true,
                    _ => false,
                };
                if frees {
                    self.holders.remove(host);
                }
            }
            _ => {}
        }
    }

    fn decided(&mut self, decision: &Decision) {
        match decision {
            // Silence counts from the release.
            Decision::WaveOpened { hosts, .. } => {
                for host in hosts {
                    self.away.entry(host.clone()).and_modify(|since| *since = Some(self.now));
                }
            }
            Decision::HostSilent { host, .. } => {
                self.away.insert(host.clone(), None);
            }
            Decision::HostDead { host, .. } => {
                self.holders.remove(host);
            }
            Decision::Ended { .. } => self.ended = true,
            Decision::UndoBegan { .. } => self.ended = false,
            _ => {}
        }
    }
}

impl Invariant for Silence {
    fn observe(&mut self, seen: &Seen) -> Result<(), String> {
        let Seen::Committed { entry, effects, .. } = seen else { return Ok(()) };
        self.now = self.now.max(entry.at);
        self.heard(&entry.input);
        for effect in effects {
            match effect {
                Effect::Permit { host, nonce } => {
                    self.holders.insert(host.clone(), Some(*nonce));
                }
                Effect::OrderUndo { host } => {
                    self.holders.insert(host.clone(), None);
                }
                Effect::Decided(decision) => self.decided(decision),
                _ => {}
            }
        }
        if self.ended {
            return Ok(());
        }
        let unseen = self.holders.keys().find(|host| match self.away.get(*host) {
            Some(Some(since)) => self.now >= *since + self.after,
            _ => false,
        });
        match unseen {
            Some(host) => {
                Err(format!("{host} holds a slot and is away for more than {}, unseen", self.after))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{at, breaks_at_last, committed, decided, given, holds, host, permit};
    use super::*;

    #[test]
    fn it_fires() {
        let here = || at(1, committed(Input::Connected { host: host("a") }, vec![]));
        let lost = || at(5, committed(Input::Lost { host: host("a") }, vec![]));
        let tick = |seconds| at(seconds, committed(Input::Tick, vec![]));
        let silence = || Silence::new(&given());
        breaks_at_last(silence(), &[here(), at(2, permit("a", 1)), lost(), tick(14), tick(15)]);
        let last_seen = Timestamp(5_000);
        let silent = decided(Decision::HostSilent { host: host("a"), wave: 0, last_seen });
        holds(silence(), &[here(), at(2, permit("a", 1)), lost(), at(15, silent), tick(60)]);
    }
}
