//! The loop: one thing after the other, as the agenda says.

use std::collections::{BTreeMap, BTreeSet};

use sternway_core::ids::HostName;
use sternway_core::rollout::{Entry, HostState, Input, Status};
use sternway_core::time::{Millis, Timestamp};
use sternway_core::wire::FromAgent;

use super::agenda::Agenda;
use super::agent::{Down, SimAgent, Work};
use super::conductor::{Conductor, Out};
use super::journal::Ends;
use super::links::{IDLE, Link, Way};
use super::schedule::Schedule;
use super::{Chance, Given, Seen};

pub(super) const BEGAN: Timestamp = Timestamp(1_700_000_000_000);
/// After the faults stop, everything must come to rest within this.
const REST_WITHIN: Millis = Millis::hours(3);
/// Things that happen between two looks at what has piled up.
const SIZED_EVERY: u64 = 500;

#[derive(Debug)]
pub(super) enum Event {
    /// The fault of this place in the schedule.
    Fault(usize),
    /// The faults stop.
    Heal,
    /// What a person thought of is said, and perhaps said again.
    Says {
        plan: usize,
        input: Input,
        again: Option<Millis>,
    },
    Launch {
        plan: usize,
    },
    /// The agent tries to connect.
    Dial {
        host: HostName,
        life: u64,
    },
    Up {
        host: HostName,
        session: u64,
        said: FromAgent,
    },
    Down {
        host: HostName,
        session: u64,
        down: Down,
        stray: bool,
    },
    AgentNotices {
        host: HostName,
        session: u64,
    },
    CoordinatorNotices {
        host: HostName,
        session: u64,
    },
    Work {
        host: HostName,
        life: u64,
        work: Work,
    },
    Wake {
        life: u64,
    },
    AgentStarts {
        host: HostName,
    },
    /// A person at the host ends its halt.
    ResumesHere {
        host: HostName,
    },
    CoordinatorStarts,
    /// Somebody competent looks after it.
    Operator,
}

impl Event {
    /// The host in which it happens, if in one.
    fn inside(&self) -> Option<&HostName> {
        match self {
            Self::Dial { host, .. }
            | Self::Down { host, .. }
            | Self::AgentNotices { host, .. }
            | Self::Work { host, .. }
            | Self::ResumesHere { host }
            | Self::AgentStarts { host } => Some(host),
            _ => None,
        }
    }
}

#[derive(Debug)]
pub struct SimFleet {
    pub(super) schedule: Schedule,
    pub(super) agenda: Agenda<Event>,
    pub(super) conductor: Conductor,
    pub(super) agents: BTreeMap<HostName, SimAgent>,
    pub(super) links: BTreeMap<HostName, Link>,
    pub(super) healed: bool,
    /// How long a process stays away that dies next.
    pub(super) agent_away: BTreeMap<HostName, (bool, Millis)>,
    pub(super) coordinator_away: Millis,
    pub(super) operator_tries: BTreeMap<HostName, u32>,
    pub(super) on_faults: Chance,
    woken_for: Option<Timestamp>,
    unlaunched: BTreeSet<usize>,
    /// Not yet handed to the observer.
    pub(super) seen: Vec<Seen>,
    disturbed: BTreeMap<HostName, usize>,
    happened: u64,
}

impl SimFleet {
    pub fn new(schedule: Schedule) -> Self {
        let mut fleet = Self {
            agenda: Agenda::starting(BEGAN),
            conductor: Conductor::new(&schedule),
            agents: BTreeMap::new(),
            links: BTreeMap::new(),
            healed: false,
            agent_away: BTreeMap::new(),
            coordinator_away: Millis::ZERO,
            operator_tries: BTreeMap::new(),
            on_faults: Chance::new(schedule.seed, "faults"),
            woken_for: None,
            unlaunched: (0..schedule.plans.len()).collect(),
            seen: Vec::new(),
            disturbed: BTreeMap::new(),
            happened: 0,
            schedule,
        };
        for (index, host) in fleet.schedule.hosts().into_iter().enumerate() {
            let mut agent = SimAgent::new(host.clone(), index, &fleet.schedule, BEGAN);
            let mut of_host = Chance::new(fleet.schedule.seed, &format!("clock {host}"));
            agent.troubles.clock_rate = of_host.between(0, 40) as i64 - 20;
            agent.troubles.clock_ms = of_host.between(0, 7_200_000) as i64 - 3_600_000;
            fleet.agents.insert(host.clone(), agent);
            let chance = Chance::new(fleet.schedule.seed, &format!("link {host}"));
            fleet.links.insert(host.clone(), Link::new(chance));
            fleet.dial_soon(&host, 3_000);
        }
        for (index, fault) in fleet.schedule.faults.iter().enumerate() {
            fleet.agenda.at(BEGAN + fault.at, Event::Fault(index));
        }
        fleet.agenda.at(BEGAN + fleet.schedule.trouble, Event::Heal);
        for plan in 0..fleet.schedule.plans.len() {
            fleet.agenda.after(Millis::ZERO, Event::Launch { plan });
        }
        fleet
    }

    /// What the observers of its rollouts know beforehand.
    pub fn given(&self) -> Vec<Given> {
        let plans = self.schedule.plans.iter().enumerate();
        plans.map(|(rollout, shape)| Given { rollout, plan: shape.plan() }).collect()
    }

    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// All committed entries, by rollout.
    pub fn entries(&self) -> impl Iterator<Item = (usize, &Entry)> {
        let all = self.conductor.store.rollouts.values();
        all.flat_map(|stored| stored.entries.iter().map(|entry| (stored.plan, entry)))
    }

    /// How each launched rollout stands, by the place of its plan.
    pub fn statuses(&self) -> Vec<(usize, Status)> {
        self.conductor.machines().map(|(plan, machine)| (plan, machine.status())).collect()
    }

    /// Runs the history to its end and shows everything to the observer, who may stop it.
    ///
    /// # Errors
    /// What the observer says.
    pub fn run<E>(&mut self, mut observe: impl FnMut(&Seen) -> Result<(), E>) -> Result<(), E> {
        let rest_by = BEGAN + self.schedule.trouble + REST_WITHIN;
        while let Some(event) = self.agenda.pop() {
            self.happen(event);
            self.look_at_the_world();
            for seen in std::mem::take(&mut self.seen) {
                observe(&seen)?;
            }
            if self.healed && (self.is_at_rest() || self.agenda.now() >= rest_by) {
                break;
            }
        }
        self.end();
        std::mem::take(&mut self.seen).iter().try_for_each(observe)
    }

    fn end(&mut self) {
        for (host, agent) in &self.agents {
            let same = agent.is_what_its_journal_says();
            self.seen.push(Seen::Rebuilt { who: host.to_string(), same });
        }
        for (rollout, status) in self.statuses() {
            let (status, unsettled) = (Box::new(status), self.unsettled());
            self.seen.push(Seen::AtRest { rollout, status, unsettled });
        }
    }

    fn is_at_rest(&self) -> bool {
        let ended = self.conductor.machines().all(|(_, machine)| machine.status().is_ended());
        ended && self.unlaunched.is_empty() && self.unsettled().is_empty()
    }

    /// Living hosts whose run is neither over nor never begun.
    fn unsettled(&self) -> BTreeSet<HostName> {
        let unsettled = self
            .agents
            .iter()
            .filter(|(name, agent)| !agent.gone && !agent.is_settled() && !self.is_given_up(name));
        unsettled.map(|(name, _)| name.clone()).collect()
    }

    /// A person declared it dead, so it is no longer waited for.
    fn is_given_up(&self, name: &HostName) -> bool {
        self.conductor.machines().any(|(_, machine)| {
            machine.host(name).is_some_and(|host| matches!(host.state, HostState::Dead { .. }))
        })
    }

    fn happen(&mut self, event: Event) {
        self.happened += 1;
        if self.happened.is_multiple_of(SIZED_EVERY) {
            self.size();
        }
        let now = self.agenda.now();
        if let Some(host) = event.inside()
            && self.agents[host].troubles.frozen_until > now
        {
            let thaws = self.agents[host].troubles.frozen_until;
            return self.agenda.at(thaws, event);
        }
        match event {
            Event::Fault(index) => self.strike(index),
            Event::Heal => self.heal(),
            Event::Says { plan, input, again } => self.says(plan, input, again),
            Event::Launch { plan } => self.launch(plan),
            Event::Dial { host, life } => self.dial(&host, life),
            Event::Up { host, session, said } => self.arrives_up(&host, session, said),
            Event::Down { host, session, down, stray } => {
                let current =
                    self.links[&host].session == Some(session) && self.links[&host].carries(session);
                if self.agents[&host].up && (current || stray) {
                    self.with_agent(&host, |agent| agent.hear(down, now));
                }
            }
            Event::AgentNotices { host, session } => self.agent_notices(&host, session),
            Event::CoordinatorNotices { host, session } => {
                if self.conductor.up {
                    let out = self.conductor.left(&host, session, now);
                    self.carry_out(out);
                }
            }
            Event::Work { host, life, work } => {
                if self.agents[&host].life == life {
                    self.with_agent(&host, |agent| agent.worked(work, now));
                }
            }
            Event::Wake { life } => {
                if self.conductor.life == life && self.conductor.up {
                    self.woken_for = None;
                    let out = self.conductor.wake(now);
                    self.carry_out(out);
                }
            }
            Event::AgentStarts { host } => self.agent_starts(&host),
            Event::ResumesHere { host } => match self.agents[&host].up {
                true => self.with_agent(&host, |agent| agent.halted_here(false, now)),
                // Whoever halted it comes back for it.
                false if !self.agents[&host].gone => {
                    self.agenda.after(Millis::seconds(5), Event::ResumesHere { host });
                }
                false => {}
            },
            Event::CoordinatorStarts => self.coordinator_starts(),
            Event::Operator => self.operator(),
        }
    }

    fn size(&mut self) {
        let records = self.agents.values().map(|agent| agent.journal.last() as usize).max().unwrap_or(0);
        let entries = self.conductor.store.rollouts.values().map(|stored| stored.entries.len()).max();
        let under_way = self.agenda.len();
        self.seen.push(Seen::Sizes { records, entries: entries.unwrap_or(0), under_way });
    }

    fn launch(&mut self, plan: usize) {
        let now = self.agenda.now();
        if self.conductor.up && self.conductor.may_launch(plan) {
            let out = self.conductor.launch(plan, now);
            self.carry_out(out);
        }
        if self.conductor.machine(plan).is_some() {
            self.unlaunched.remove(&plan);
        } else if self.healed && self.is_hopeless() {
            // A host of it stays with an earlier rollout for ever.
            self.unlaunched.remove(&plan);
        } else {
            self.agenda.after(Millis::seconds(10), Event::Launch { plan });
        }
    }

    /// Everything launched has ended, and still hosts are not free.
    fn is_hopeless(&self) -> bool {
        let mut machines = self.conductor.machines().peekable();
        self.conductor.up
            && machines.peek().is_some()
            && machines.all(|(_, machine)| machine.status().is_ended())
            && self.agents.values().all(|agent| agent.up || agent.gone)
            && self.unsettled().is_empty()
    }

    pub(super) fn link(&mut self, host: &HostName) -> &mut Link {
        self.links.get_mut(host).expect("each host has a link")
    }

    pub(super) fn agent(&mut self, host: &HostName) -> &mut SimAgent {
        self.agents.get_mut(host).expect("the fleet has this host")
    }

    /// Lets an agent do something, then puts down the work it began and says what is new.
    pub(super) fn with_agent(
        &mut self,
        host: &HostName,
        act: impl FnOnce(&mut SimAgent) -> Result<(), Ends>,
    ) {
        let now = self.agenda.now();
        let agent = self.agent(host);
        agent.troubles.now = now;
        let syncs = agent.journal.syncs;
        let done = act(agent);
        let (life, journal) = (agent.life, agent.journal.id);
        let slept = Millis(agent.troubles.sync_takes().0 * (agent.journal.syncs - syncs));
        let seen = std::mem::take(&mut agent.seen);
        let synced = agent.journal.newly_durable();
        let work = agent.take_work();
        self.seen.extend(seen);
        self.seen.extend(synced.into_iter().map(|event| Seen::Synced { host: host.clone(), journal, event }));
        if let Err(ends) = done {
            return self.agent_ends(host, ends);
        }
        for (length, work) in work {
            self.agenda.after(length, Event::Work { host: host.clone(), life, work });
        }
        self.speak(host);
        if std::mem::take(&mut self.agent(host).wants_reconnect)
            && let Some(session) = self.links[host].session
        {
            self.agent_notices(host, session);
        }
        if slept > Millis::ZERO {
            // Nothing else is done until the disk has answered.
            let agent = self.agent(host);
            agent.troubles.frozen_until = agent.troubles.frozen_until.max(now + slept);
        }
    }

    /// What an agent has to say, if there is a connection.
    fn speak(&mut self, host: &HostName) {
        let Some(session) = self.links[host].session else { return };
        for said in self.agent(host).take_says() {
            self.send_up(host, session, said);
        }
    }

    fn send_up(&mut self, host: &HostName, session: u64, said: FromAgent) {
        let now = self.agenda.now();
        let flight = self.link(host).send(Way::Up, now);
        let event = |said| Event::Up { host: host.clone(), session, said };
        // A greeting opens its connection and is nothing without it.
        let may_stray = !matches!(said, FromAgent::Hello(_));
        if let Some(at) = flight.stray_at.filter(|_| may_stray) {
            self.agenda.at(at, event(said.clone()));
        }
        match flight.at {
            Some(at) => self.agenda.at(at, event(said)),
            None => self.break_off(host),
        }
    }

    fn send_down(&mut self, host: &HostName, session: u64, down: Down) {
        let now = self.agenda.now();
        let flight = self.link(host).send(Way::Down, now);
        let event = |down, stray| Event::Down { host: host.clone(), session, down, stray };
        // A welcome belongs to its connection and to nothing else.
        let may_stray = !matches!(
            down,
            Down::Said(
                sternway_core::wire::ToAgent::Welcome { .. } | sternway_core::wire::ToAgent::Acked { .. }
            )
        );
        if let Some(at) = flight.stray_at.filter(|_| may_stray) {
            self.agenda.at(at, event(down.clone(), true));
        }
        match flight.at {
            Some(at) => self.agenda.at(at, event(down, false)),
            None => self.break_off(host),
        }
    }

    /// The connection carries nothing any more; both ends notice some time.
    pub(super) fn break_off(&mut self, host: &HostName) {
        let link = self.link(host);
        link.break_off();
        let (agent_in, coordinator_in) =
            (Millis(link.chance.between(10, IDLE.0)), Millis(link.chance.between(10, IDLE.0)));
        if let Some(session) = link.session {
            self.agenda.after(agent_in, Event::AgentNotices { host: host.clone(), session });
        }
        if let Some(session) = self.conductor.fleet.get(host).copied() {
            self.agenda.after(coordinator_in, Event::CoordinatorNotices { host: host.clone(), session });
        }
    }

    fn agent_notices(&mut self, host: &HostName, session: u64) {
        let now = self.agenda.now();
        if self.links[host].session != Some(session) {
            return;
        }
        self.link(host).session = None;
        self.link(host).break_off();
        if let Some(known) = self.conductor.fleet.get(host).copied() {
            self.agenda.after(IDLE, Event::CoordinatorNotices { host: host.clone(), session: known });
        }
        if self.agents[host].up {
            self.with_agent(host, |agent| agent.cut_off(now));
        }
        self.dial_soon(host, 5_000);
    }

    pub(super) fn dial_soon(&mut self, host: &HostName, within: u64) {
        let link = self.link(host);
        if std::mem::replace(&mut link.dialling, true) {
            return;
        }
        let wait = Millis(link.chance.between(50, within));
        let life = self.agents[host].life;
        self.agenda.after(wait, Event::Dial { host: host.clone(), life });
    }

    fn dial(&mut self, host: &HostName, life: u64) {
        self.link(host).dialling = false;
        let now = self.agenda.now();
        let agent = &self.agents[host];
        if !agent.up || agent.life != life || self.links[host].session.is_some() {
            return;
        }
        if !self.conductor.up || self.links[host].is_cut(now) {
            return self.dial_soon(host, 10_000);
        }
        let greeting = agent.greeting();
        let session = self.link(host).connect();
        self.send_up(host, session, FromAgent::Hello(greeting));
    }

    fn arrives_up(&mut self, host: &HostName, session: u64, said: FromAgent) {
        let now = self.agenda.now();
        if !self.conductor.up || !self.links[host].carries(session) {
            return;
        }
        let out = match said {
            FromAgent::Hello(greeting) => self.conductor.arrived(&greeting, session, now),
            said => self.conductor.heard(host, session, said, now),
        };
        self.carry_out(out);
    }

    /// What left the coordinator goes its ways.
    pub(super) fn carry_out(&mut self, out: Out) {
        self.seen.append(&mut self.conductor.seen);
        for (host, down) in out.downs {
            if let Some(session) = self.conductor.fleet.get(&host).copied() {
                self.send_down(&host, session, down);
            }
        }
        for host in out.closes {
            self.break_off(&host);
        }
        if out.died {
            return self.kill_coordinator();
        }
        if let Some(at) = self.conductor.wake_at()
            && self.woken_for.is_none_or(|set| at < set)
        {
            self.woken_for = Some(at);
            self.agenda.at(at, Event::Wake { life: self.conductor.life });
        }
    }

    pub(super) fn kill_coordinator(&mut self) {
        if !self.conductor.up {
            return;
        }
        for host in self.schedule.hosts() {
            self.break_off(&host);
        }
        self.conductor.kill();
        self.agenda.after(self.coordinator_away, Event::CoordinatorStarts);
    }

    pub(super) fn coordinator_starts(&mut self) {
        if self.conductor.up {
            return;
        }
        let out = self.conductor.start(self.agenda.now());
        self.woken_for = None;
        self.carry_out(out);
    }

    fn agent_ends(&mut self, host: &HostName, ends: Ends) {
        let (power, away) = match ends {
            Ends::Dies => self.agent_away.get(host).copied().unwrap_or((false, Millis::seconds(1))),
            Ends::CannotRecord => (false, Millis::seconds(1)),
        };
        self.end_agent(host, power, away);
    }

    /// The process ends, and with the power also what was not synced.
    pub(super) fn end_agent(&mut self, host: &HostName, power: bool, away: Millis) {
        let kept = self.on_faults.between(0, 2);
        let agent = self.agent(host);
        if power {
            agent.journal.power_cut(kept);
        }
        agent.stop();
        self.break_off(host);
        self.link(host).session = None;
        self.agenda.after(away, Event::AgentStarts { host: host.clone() });
    }

    pub(super) fn agent_starts(&mut self, host: &HostName) {
        let now = self.agenda.now();
        if self.agents[host].up || self.agents[host].gone {
            return;
        }
        self.link(host).dialling = false;
        self.with_agent(host, |agent| agent.start(now));
        let same = self.agents[host].is_what_its_journal_says();
        self.seen.push(Seen::Rebuilt { who: host.to_string(), same });
        self.dial_soon(host, 1_000);
    }

    /// Compares what is true of each host with what was true before.
    fn look_at_the_world(&mut self) {
        for (host, agent) in &self.agents {
            // What a host does whose disk was put back is nobody's promise.
            let is = agent.disturbed_by().filter(|_| !agent.was_set_back);
            let was = self.disturbed.get(host).copied();
            if is == was {
                continue;
            }
            if let Some(rollout) = was {
                self.disturbed.remove(host);
                self.seen.push(Seen::Calm { rollout, host: host.clone() });
            }
            if let Some(rollout) = is {
                self.disturbed.insert(host.clone(), rollout);
                let why = agent.why_disturbed(rollout);
                self.seen.push(Seen::Disturbed { rollout, host: host.clone(), why });
            }
        }
    }
}
