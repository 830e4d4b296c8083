//! Is this the host that was here before, and does it know more than these
//! books? As the coordinator's driver judges a greeting.

use sternway_core::ids::HostName;
use sternway_core::rollout::{Ahead, Input};
use sternway_core::time::Timestamp;
use sternway_core::wire::Greeting;

use super::conductor::{After, Conductor, Turn, plan_of};
use super::store::HostRow;

impl Conductor {
    pub(super) fn admit(&mut self, greeting: &Greeting, session: u64, turn: &mut Turn, now: Timestamp) {
        let host = &greeting.host;
        let acked = match self.recognise(greeting) {
            Ok(acked) => acked,
            Err(reason) => {
                self.set_apart(host, &reason, turn, now);
                return turn.closes.push(host.clone());
            }
        };
        let ahead = self.ahead(greeting, acked);
        let claimed = greeting.acked.max(acked);
        let row = HostRow { journal: greeting.journal, acked, claimed };
        self.hosts.insert(host.clone(), row.clone());
        turn.commit.hosts.insert(host.clone(), row);
        self.fleet.insert(host.clone(), session);
        turn.after.push(After::Welcome { host: host.clone(), acked });
        if let Some(ahead) = &ahead {
            self.went_back(ahead, turn, now);
        }
        self.greeted.insert(host.clone());
        for id in self.rollouts_of(host, greeting.plan) {
            self.apply(&id, Input::Connected { host: host.clone() }, turn, now);
        }
    }

    /// Number of the newest record on record of this journal.
    fn recognise(&self, greeting: &Greeting) -> Result<u64, String> {
        let host = &greeting.host;
        if self.quarantine.contains(host) {
            return Err("nobody has looked at it yet".into());
        }
        let held = self.store.newest_event(host, greeting.journal);
        if greeting.last < held {
            return Err(format!("it ends at record {} and told {held}", greeting.last));
        }
        let told = self.store.times_after(host, greeting.journal, greeting.acked);
        match greeting.acked < held && told.iter().zip(&greeting.times).any(|(told, says)| told != says) {
            true => Err("it was set back and has gone on since".into()),
            false => Ok(held),
        }
    }

    /// Signs that this database was set back.
    fn ahead(&self, greeting: &Greeting, held: u64) -> Option<Ahead> {
        let host = &greeting.host;
        let row = self.hosts.get(host).filter(|row| row.journal == greeting.journal);
        let claimed = row.map_or(0, |row| row.claimed);
        let saw_ours = greeting.epoch == self.epoch && !self.greeted.contains(host);
        let unknown = greeting.plan.filter(|plan| self.machine(plan_of(*plan)).is_none());
        let is_ahead = greeting.epoch > self.epoch
            || saw_ours
            || greeting.acked > held.max(claimed)
            || unknown.is_some();
        is_ahead.then(|| Ahead {
            host: host.clone(),
            epoch: greeting.epoch,
            epoch_here: self.epoch,
            acked: greeting.acked,
            acked_here: held,
            unknown: unknown.and(greeting.rollout.clone()),
        })
    }

    fn went_back(&mut self, ahead: &Ahead, turn: &mut Turn, now: Timestamp) {
        if !std::mem::replace(&mut self.has_gone_back, true) || ahead.epoch >= self.epoch {
            self.epoch = ahead.epoch.max(self.epoch) + 1;
            // Whoever is here may hear of it by the next permit or halt.
            self.greeted = self.fleet.keys().cloned().collect();
            turn.commit.epoch = Some(self.epoch);
            for id in self.open_rollouts() {
                self.apply(&id, Input::Restarted { epoch: self.epoch }, turn, now);
                for other in self.fleet.keys().cloned().collect::<Vec<_>>() {
                    if other != ahead.host && self.takes_part(&id, &other) {
                        self.apply(&id, Input::Connected { host: other }, turn, now);
                    }
                }
            }
        }
        for id in self.open_rollouts() {
            self.apply(&id, Input::WentBack { ahead: ahead.clone() }, turn, now);
        }
    }

    /// The host is out until a person has looked; in open rollouts it needs hands.
    fn set_apart(&mut self, host: &HostName, reason: &str, turn: &mut Turn, now: Timestamp) {
        if !self.quarantine.insert(host.clone()) {
            return;
        }
        turn.commit.quarantine.push(host.clone());
        for id in self.open_rollouts() {
            if self.takes_part(&id, host) {
                let input = Input::Quarantined { host: host.clone(), reason: reason.to_owned() };
                self.apply(&id, input, turn, now);
            }
        }
    }
}
