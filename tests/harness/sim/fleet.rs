//! The loop: one thing after the other, as the agenda says.

use std::collections::{BTreeMap, BTreeSet};

use sternway_core::ids::{HostName, Person, PlanId};
use sternway_core::rollout::{Effect, Entry, Input, State, Status};
use sternway_core::run::Told;
use sternway_core::time::{Millis, Timestamp};

use super::agenda::Agenda;
use super::agent::{SimAgent, ToAgent, Work};
use super::conductor::Conductor;
use super::swarm::{Faults, Swarm};
use super::{Chance, Given, Seen, Why};

const BEGAN: Timestamp = Timestamp(1_700_000_000_000);
/// After the faults stop, everything must come to rest within this.
const REST_WITHIN: Millis = Millis::hours(3);

#[derive(Debug)]
enum Event {
    /// The faults of this second.
    Trouble,
    Handshake {
        host: HostName,
    },
    /// The coordinator notices that a connection is gone.
    NoticeLost {
        host: HostName,
        connection: u64,
    },
    Up {
        host: HostName,
        told: Vec<(u64, Told)>,
    },
    Down {
        host: HostName,
        said: ToAgent,
    },
    /// An agent says again what was not acknowledged.
    SayAgain {
        host: HostName,
        life: u64,
    },
    /// The coordinator says again what was not answered.
    OweAgain {
        life: u64,
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
    CoordinatorStarts,
    LinkHeals {
        host: HostName,
    },
    /// Somebody competent looks after it.
    Operator,
}

#[derive(Debug, Default)]
struct Link {
    cut: bool,
    /// The connection there is.
    connection: Option<u64>,
    /// Connections so far.
    connections: u64,
    handshaking: bool,
}

#[derive(Debug)]
pub struct SimFleet {
    seed: u64,
    swarm: Swarm,
    faults: Faults,
    agenda: Agenda<Event>,
    conductor: Conductor,
    agents: BTreeMap<HostName, SimAgent>,
    links: BTreeMap<HostName, Link>,
    woken_for: Option<Timestamp>,
    on_links: Chance,
    on_faults: Chance,
    on_people: Chance,
    /// Not yet handed to the observer.
    seen: Vec<Seen>,
    disturbed: BTreeSet<HostName>,
}

impl SimFleet {
    pub fn of_seed(seed: u64) -> Self {
        Self::new(seed, Swarm::of_seed(seed))
    }

    pub fn new(seed: u64, swarm: Swarm) -> Self {
        let mut fleet = Self {
            seed,
            faults: swarm.faults,
            agenda: Agenda::starting(BEGAN),
            conductor: Conductor::new(&swarm),
            agents: BTreeMap::new(),
            links: BTreeMap::new(),
            woken_for: None,
            on_links: Chance::new(seed, "links"),
            on_faults: Chance::new(seed, "faults"),
            on_people: Chance::new(seed, "people"),
            seen: Vec::new(),
            disturbed: BTreeSet::new(),
            swarm,
        };
        for host in fleet.swarm.plan.hosts.clone() {
            let agent = SimAgent::new(fleet.swarm.plan.clone(), Chance::new(seed, host.as_str()));
            fleet.agents.insert(host.clone(), agent);
            fleet.links.insert(host.clone(), Link::default());
            fleet.agenda.after(Millis::seconds(5), Event::SayAgain { host: host.clone(), life: 0 });
            fleet.relink(&host);
        }
        fleet.agenda.after(Millis::seconds(1), Event::Trouble);
        fleet.agenda.after(Millis::seconds(20), Event::OweAgain { life: 0 });
        fleet.take(Input::Launched { by: person("maria") });
        fleet
    }

    pub fn given(&self) -> Given {
        Given { plan: self.swarm.plan.clone(), began: BEGAN }
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    pub fn entries(&self) -> &[Entry] {
        &self.conductor.entries
    }

    pub fn status(&self) -> Status {
        self.conductor.rollout.status()
    }

    /// Runs the history to its end and shows everything to the observer, who may stop it.
    pub fn run<E>(&mut self, mut observe: impl FnMut(&Seen) -> Result<(), E>) -> Result<(), E> {
        let trouble_ends = BEGAN + self.swarm.trouble;
        let rest_by = trouble_ends + REST_WITHIN;
        let mut healed = false;
        while let Some(event) = self.agenda.pop() {
            if !healed && self.agenda.now() >= trouble_ends {
                healed = true;
                self.heal();
            }
            self.happen(event);
            self.look_at_the_world();
            for seen in std::mem::take(&mut self.seen) {
                observe(&seen)?;
            }
            if healed && (self.is_at_rest() || self.agenda.now() >= rest_by) {
                break;
            }
        }
        let replayed = self.conductor.replayed();
        observe(&Seen::Rebuilt { who: "the coordinator".into(), same: replayed == self.conductor.rollout })?;
        observe(&Seen::Settled { status: Box::new(self.status()), unsettled: self.unsettled() })
    }

    fn is_at_rest(&self) -> bool {
        self.status().is_ended() && self.unsettled().is_empty()
    }

    /// Living hosts whose run is neither over nor never begun.
    fn unsettled(&self) -> BTreeSet<HostName> {
        let excluded = |name: &HostName| {
            let host = self.conductor.rollout.host(name);
            host.is_some_and(|host| matches!(host.state, sternway_core::rollout::HostState::Dead { .. }))
        };
        self.agents
            .iter()
            .filter(|(name, agent)| !agent.dead && !agent.is_settled() && !excluded(name))
            .map(|(name, _)| name.clone())
            .collect()
    }

    fn happen(&mut self, event: Event) {
        let now = self.agenda.now();
        match event {
            Event::Trouble => self.trouble(),
            Event::Handshake { host } => self.handshake(&host),
            Event::NoticeLost { host, connection } => {
                let replaced =
                    self.links[&host].connection.is_some() || self.links[&host].connections != connection;
                if self.conductor.up && !replaced {
                    self.take(Input::Lost { host });
                }
            }
            Event::Up { host, told } if self.conductor.up => {
                let (acked, effects) = self.conductor.hear(&host, &told, now, &mut self.seen);
                self.send(&host, ToAgent::Acked { sequence: acked });
                self.perform(effects);
            }
            Event::Down { host, said } if self.agents[&host].up => {
                self.with_agent(&host, |agent, _| agent.hear(said, now));
            }
            Event::SayAgain { host, life } if self.agents[&host].life == life => {
                self.say(&host);
                self.agenda.after(Millis::seconds(5), Event::SayAgain { host, life });
            }
            Event::OweAgain { life } if self.conductor.life == life && self.conductor.up => {
                let owed = self.conductor.rollout.owed();
                self.perform(owed);
                self.agenda.after(Millis::seconds(20), Event::OweAgain { life });
            }
            Event::Work { host, life, work } if self.agents[&host].life == life => {
                self.with_agent(&host, |agent, faults| agent.worked(work, faults, now));
            }
            Event::Wake { life } if self.conductor.life == life && self.conductor.up => {
                self.woken_for = None;
                self.take(Input::Tick);
            }
            Event::AgentStarts { host } => self.agent_starts(&host),
            Event::CoordinatorStarts => self.coordinator_starts(),
            Event::LinkHeals { host } => {
                self.link(&host).cut = false;
                self.relink(&host);
            }
            Event::Operator => self.operator(),
            Event::Up { .. }
            | Event::Down { .. }
            | Event::SayAgain { .. }
            | Event::OweAgain { .. }
            | Event::Work { .. }
            | Event::Wake { .. } => {}
        }
    }

    fn link(&mut self, host: &HostName) -> &mut Link {
        self.links.entry(host.clone()).or_default()
    }

    /// Lets an agent do something, then puts down the work it began and says what is new.
    fn with_agent(&mut self, host: &HostName, act: impl FnOnce(&mut SimAgent, &Faults)) {
        let Some(agent) = self.agents.get_mut(host) else { return };
        act(agent, &self.faults);
        let life = agent.life;
        for (length, work) in agent.take_work() {
            self.agenda.after(length, Event::Work { host: host.clone(), life, work });
        }
        self.say(host);
    }

    /// What an agent has to say, if there is a connection.
    fn say(&mut self, host: &HostName) {
        let told = self.agents[host].unacked(PlanId([7; 32]));
        if self.links[host].connection.is_none() || told.is_empty() || !self.agents[host].up {
            return;
        }
        for delay in self.arrivals() {
            self.agenda.after(delay, Event::Up { host: host.clone(), told: told.clone() });
        }
    }

    fn send(&mut self, host: &HostName, said: ToAgent) {
        if self.links.get(host).is_none_or(|link| link.connection.is_none()) {
            return;
        }
        for delay in self.arrivals() {
            self.agenda.after(delay, Event::Down { host: host.clone(), said: said.clone() });
        }
    }

    /// When a message arrives: never, once, or twice; soon, or after others.
    fn arrivals(&mut self) -> Vec<Millis> {
        let copies = 1 + usize::from(self.on_links.per_mille(self.faults.message_twice));
        let mut arrivals = Vec::new();
        for _ in 0..copies {
            if self.on_links.per_mille(self.faults.message_lost) {
                continue;
            }
            let late = self.on_links.per_mille(self.faults.message_late);
            arrivals.push(Millis(self.on_links.between(1, if late { 40_000 } else { 50 })));
        }
        arrivals
    }

    /// Makes the connection what agent, coordinator and link allow.
    fn relink(&mut self, host: &HostName) {
        let possible = self.conductor.up && self.agents[host].up && !self.links[host].cut;
        let delay = Millis(self.on_links.between(50, 3_000));
        let notice = Millis(self.on_links.between(10, 15_000));
        let link = self.link(host);
        if possible && link.connection.is_none() && !link.handshaking {
            link.handshaking = true;
            return self.agenda.after(delay, Event::Handshake { host: host.clone() });
        }
        if !possible && let Some(connection) = link.connection.take() {
            self.agenda.after(notice, Event::NoticeLost { host: host.clone(), connection });
            let now = self.agenda.now();
            self.with_agent(host, |agent, _| agent.link(false, now));
        }
    }

    fn handshake(&mut self, host: &HostName) {
        self.link(host).handshaking = false;
        if !(self.conductor.up && self.agents[host].up) || self.links[host].cut {
            return;
        }
        let link = self.link(host);
        if link.connection.is_none() {
            link.connections += 1;
            link.connection = Some(link.connections);
            self.take(Input::Connected { host: host.clone() });
            let now = self.agenda.now();
            self.with_agent(host, |agent, _| agent.link(true, now));
        }
    }

    fn take(&mut self, input: Input) {
        let effects = self.conductor.take(input, self.agenda.now(), &mut self.seen);
        self.perform(effects);
    }

    /// The coordinator may die between writing down and doing.
    fn perform(&mut self, effects: Vec<Effect>) {
        if self.conductor.up && self.on_faults.per_mille(self.faults.coordinator_killed / 4) {
            return self.kill_coordinator();
        }
        for effect in effects {
            let epoch = self.conductor.epoch;
            match effect {
                Effect::Offer { host } => {
                    let rollout = self.conductor.rollout.id().clone();
                    self.send(&host, ToAgent::Offer { rollout });
                }
                Effect::Permit { host, nonce } => self.send(&host, ToAgent::Permit { nonce, epoch }),
                Effect::TellHalt { hosts } => {
                    hosts.iter().for_each(|host| self.send(host, ToAgent::Halt { epoch }));
                }
                Effect::OrderUndo { host } => {
                    self.send(&host, ToAgent::Undo { by: person("maria"), reason: "all back".into() });
                }
                // Nobody decides anything here yet.
                Effect::OrderUnstick { .. } => {}
                Effect::Release { host } => self.send(&host, ToAgent::Release { epoch }),
                Effect::Decided(_) | Effect::Note(_) => {}
            }
        }
        let wake_at = self.conductor.rollout.wake_at();
        if let Some(at) = wake_at
            && self.woken_for.is_none_or(|set| at < set)
        {
            self.woken_for = Some(at);
            self.agenda.at(at, Event::Wake { life: self.conductor.life });
        }
    }

    fn agent_starts(&mut self, host: &HostName) {
        let now = self.agenda.now();
        let agent = self.agents.get_mut(host).expect("the fleet has this host");
        if agent.up || agent.dead {
            return;
        }
        let same = agent.start(now);
        let life = agent.life;
        self.seen.push(Seen::Rebuilt { who: host.to_string(), same });
        self.with_agent(host, |_, _| {});
        self.agenda.after(Millis::seconds(5), Event::SayAgain { host: host.clone(), life });
        self.relink(host);
    }

    fn coordinator_starts(&mut self) {
        if self.conductor.up {
            return;
        }
        let effects = self.conductor.start(self.agenda.now(), &mut self.seen);
        self.woken_for = None;
        self.perform(effects);
        self.agenda.after(Millis::seconds(20), Event::OweAgain { life: self.conductor.life });
        self.relink_all();
    }

    fn kill_coordinator(&mut self) {
        let pause = Millis(self.on_faults.between(100, 90_000));
        self.conductor.kill();
        self.relink_all();
        self.agenda.after(pause, Event::CoordinatorStarts);
    }

    fn relink_all(&mut self) {
        for host in self.swarm.plan.hosts.clone() {
            self.relink(&host);
        }
    }

    fn trouble(&mut self) {
        let faults = self.faults;
        let hosts = self.swarm.plan.hosts.clone();
        let host = self.on_faults.pick(&hosts).expect("a fleet has hosts").clone();
        let pause = Millis(self.on_faults.between(100, 90_000));
        if self.on_faults.per_mille(faults.agent_killed) && self.agents[&host].up {
            let dies = self.on_faults.per_mille(faults.host_dies);
            let agent = self.agents.get_mut(&host).expect("the fleet has this host");
            agent.kill();
            agent.dead = dies;
            self.relink(&host);
            self.agenda.after(pause, Event::AgentStarts { host: host.clone() });
        }
        if self.on_faults.per_mille(faults.link_cut) && !self.links[&host].cut {
            self.link(&host).cut = true;
            self.relink(&host);
            self.agenda.after(pause, Event::LinkHeals { host });
        }
        if self.on_faults.per_mille(faults.coordinator_killed) && self.conductor.up {
            self.kill_coordinator();
        }
        if self.on_people.per_mille(faults.people) {
            self.meddle();
        }
        if self.agenda.now() < BEGAN + self.swarm.trouble {
            self.agenda.after(Millis::seconds(1), Event::Trouble);
        }
    }

    /// Somebody does something, wise or not.
    fn meddle(&mut self) {
        if !self.conductor.up {
            return;
        }
        let status = self.status();
        let (by, reason) = (person("jonas"), String::from("it seemed right"));
        let away: Vec<HostName> =
            status.hosts.iter().filter(|host| !host.connected).map(|host| host.host.clone()).collect();
        let input = match self.on_people.between(0, 15) {
            0..=2 => Input::Hold { by, reason },
            3..=6 => Input::Go { by, reason },
            7 => Input::Halt { by, reason },
            8 => Input::Resume { by, reason, confirmed: Vec::new() },
            9..=10 => Input::Resume { by, reason, confirmed: status.in_flight },
            11..=13 => {
                let wave = self.on_people.between(0, status.waves.len() as u64) as usize;
                Input::Approve { by, group: "sre".parse().expect("a group"), wave }
            }
            14 => Input::UndoAll { by, reason },
            _ => match self.on_people.pick(&away) {
                Some(host) => Input::ExcludeDead { host: host.clone(), by, reason },
                None => Input::Tick,
            },
        };
        self.take(input);
    }

    /// The faults stop: what is dead stays dead, the rest comes back.
    fn heal(&mut self) {
        self.faults = Faults::default();
        for host in self.swarm.plan.hosts.clone() {
            self.link(&host).cut = false;
            self.agent_starts(&host);
        }
        self.coordinator_starts();
        self.relink_all();
        self.agenda.after(Millis::seconds(15), Event::Operator);
    }

    /// Does what a person would who reads `status`, one thing at a time.
    fn operator(&mut self) {
        self.agenda.after(Millis::seconds(15), Event::Operator);
        let now = self.agenda.now();
        let status = self.status();
        let (by, reason) = (person("maria"), String::from("looked at it"));
        let dead = |host: &&HostName| self.agents[*host].dead;
        if let Some(host) = status.in_flight.iter().find(dead).cloned() {
            return self.take(Input::ExcludeDead { host, by, reason });
        }
        let stuck = |host: &&HostName| self.agents[*host].up && self.agents[*host].needs_operator();
        if let Some(host) = self.swarm.plan.hosts.iter().find(stuck).cloned() {
            let order = sternway_core::run::Input::UndoOrdered { by, reason };
            return self.with_agent(&host, |agent, _| agent.note(order, now));
        }
        match status.state {
            State::Halted => self.take(Input::Resume { by, reason, confirmed: status.in_flight }),
            State::Held => self.take(Input::Go { by, reason }),
            State::AwaitsApproval { wave, group } => self.take(Input::Approve { by, group, wave }),
            State::Ready | State::Running { .. } | State::Undoing | State::Ended(_) => {}
        }
    }

    /// Compares what is true of each host with what was true before.
    fn look_at_the_world(&mut self) {
        for (name, agent) in &self.agents {
            match (agent.is_disturbed(), self.disturbed.contains(name)) {
                (true, false) => {
                    self.disturbed.insert(name.clone());
                    let why = if agent.was_permitted_last() { Why::Permit } else { Why::Undo };
                    self.seen.push(Seen::Disturbed { host: name.clone(), why });
                }
                (false, true) => {
                    self.disturbed.remove(name);
                    self.seen.push(Seen::Calm { host: name.clone() });
                }
                _ => {}
            }
        }
    }
}

fn person(name: &str) -> Person {
    name.parse().expect("a name")
}
