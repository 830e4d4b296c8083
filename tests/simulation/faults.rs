//! The faults of a schedule, when their time comes; and their end.

use sternway_core::ids::HostName;
use sternway_core::time::{Millis, Timestamp};

use super::Seen;
use super::fleet::{Event, SimFleet};
use super::links::{IDLE, Way};
use super::schedule::{CommitDeath, Death, Trouble};

/// After the faults stop, somebody looks after it this often.
const LOOKED_AFTER_EVERY: Millis = Millis::seconds(15);
const RESTARTS_AFTER: Millis = Millis::seconds(2);

impl SimFleet {
    pub(super) fn strike(&mut self, index: usize) {
        let now = self.agenda.now();
        let what = self.schedule.faults[index].what.clone();
        let host = what.host().cloned();
        if host.as_ref().is_some_and(|host| self.agents.get(host).is_none_or(|agent| agent.gone)) {
            return;
        }
        match (what, host) {
            (Trouble::Person { act, thinks, again }, _) => self.thinks(&act, thinks, again),
            (Trouble::CoordinatorDies { when, away }, _) => self.coordinator_dies(when, away),
            (Trouble::CommitFails { after, stored }, _) => {
                self.conductor.store.armed_failure = Some((after, stored));
            }
            (Trouble::ClockJumps { by_ms, .. }, None) => self.conductor.next_clock_ms += by_ms,
            (what, Some(host)) => self.strike_host(&host, what, now),
            _ => {}
        }
    }

    fn strike_host(&mut self, host: &HostName, what: Trouble, now: Timestamp) {
        match what {
            Trouble::Cut { up, down, lasts, .. } => self.cut(host, up, down, lasts, now),
            Trouble::Weather { lasts, breaks, strays, slow, .. } => {
                self.link(host).weather(now + lasts, breaks, strays, slow);
            }
            Trouble::AgentDies { when, away, .. } => self.agent_dies(host, when, false, away),
            Trouble::PowerCut { when, away, .. } => self.agent_dies(host, when, true, away),
            Trouble::HostGone { .. } => {
                self.end_agent(host, true, Millis::ZERO);
                self.agent(host).gone = true;
            }
            Trouble::Freezes { lasts, .. } => {
                if lasts > IDLE {
                    self.break_off(host);
                }
                let troubles = &mut self.agent(host).troubles;
                troubles.frozen_until = troubles.frozen_until.max(now + lasts);
            }
            Trouble::SetBack { records, .. } => self.set_back(host, records),
            Trouble::SyncFails { kept, .. } => self.agent(host).journal.sync_fails = Some(kept),
            Trouble::CloneAsks { .. } => {
                for plan in 0..self.schedule.plans.len() {
                    if self.conductor.up {
                        let out = self.conductor.clone_asks(plan, host, now);
                        self.carry_out(out);
                    }
                }
            }
            Trouble::HaltsHere { lasts, .. } => {
                self.agenda.after(lasts, Event::ResumesHere { host: host.clone() });
                if self.agents[host].up {
                    self.with_agent(host, |agent| agent.halted_here(true, now));
                }
            }
            Trouble::Drift { plan, step, .. } => {
                if let Some(thing) = self.agent(host).world.thing(plan, step) {
                    thing.drift();
                }
            }
            other => self.trouble(host, &other, now),
        }
    }

    /// What only changes how a host answers from now on.
    fn trouble(&mut self, host: &HostName, what: &Trouble, now: Timestamp) {
        let troubles = &mut self.agent(host).troubles;
        match what {
            Trouble::DiskFull { lasts, .. } => troubles.full_until = now + *lasts,
            Trouble::DiskSlow { lasts, sync, .. } => {
                (troubles.slow_until, troubles.sync) = (now + *lasts, *sync);
            }
            Trouble::ClockJumps { by_ms, .. } => troubles.clock_ms += by_ms,
            Trouble::StepFails { plan, step, phase, times, undo_advised, .. } => {
                troubles.fails.insert((*plan, *step, *phase), (*times, *undo_advised));
            }
            Trouble::Unfit { plan, .. } => troubles.unfit.push(*plan),
            Trouble::Unwell { lasts, .. } => troubles.unwell_until = now + *lasts,
            _ => {}
        }
    }

    fn cut(&mut self, host: &HostName, up: bool, down: bool, lasts: Millis, now: Timestamp) {
        let link = self.link(host);
        for way in [(up, Way::Up), (down, Way::Down)].into_iter().filter(|(is, _)| *is).map(|(_, way)| way) {
            link.cut(way, now + lasts);
        }
        if lasts > IDLE && (up || down) {
            // Words on their way wait for its end, and by then nobody listens.
            self.break_off(host);
        }
    }

    fn agent_dies(&mut self, host: &HostName, when: Death, power: bool, away: Millis) {
        if !self.agents[host].up {
            return;
        }
        match when {
            Death::Now => self.end_agent(host, power, away),
            later => {
                self.agent(host).journal.armed = Some(later);
                self.agent_away.insert(host.clone(), (power, away));
            }
        }
    }

    fn coordinator_dies(&mut self, when: CommitDeath, away: Millis) {
        self.coordinator_away = away;
        match when {
            CommitDeath::Now => self.kill_coordinator(),
            later => self.conductor.store.armed_death = Some(later),
        }
    }

    fn set_back(&mut self, host: &HostName, records: u64) {
        self.end_agent(host, true, RESTARTS_AFTER);
        let agent = self.agent(host);
        agent.world = agent.journal.set_back(records);
        agent.forget_run();
        let (journal, last) = (agent.journal.id, agent.journal.last());
        self.seen.push(Seen::SetBack { host: host.clone(), journal, last });
    }

    /// The faults stop: what is gone stays gone, the rest comes back.
    pub(super) fn heal(&mut self) {
        self.healed = true;
        let now = self.agenda.now();
        self.conductor.store.armed_death = None;
        self.conductor.store.armed_failure = None;
        for host in self.schedule.hosts() {
            self.link(&host).heal(now);
            let agent = self.agent(&host);
            agent.troubles.heal();
            agent.journal.armed = None;
            agent.journal.sync_fails = None;
            self.agent_starts(&host);
            if self.agents[&host].up {
                self.with_agent(&host, |agent| agent.halted_here(false, now));
            }
        }
        self.coordinator_starts();
        self.agenda.after(LOOKED_AFTER_EVERY, Event::Operator);
    }

    pub(super) fn look_again_soon(&mut self) {
        self.agenda.after(LOOKED_AFTER_EVERY, Event::Operator);
    }
}
