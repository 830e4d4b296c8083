//! The coordinator: the real rollout machines over a database that survives its
//! death. Does what the coordinator's driver does, in its order: machines are
//! handled, the turn is committed, and only then anything leaves.

use std::collections::{BTreeMap, BTreeSet};

use sternway_core::ids::{HostName, PlanId, RolloutId};
use sternway_core::plan::Plan;
use sternway_core::rollout::{Effect, Entry, HostState, Input, Phase, Rollout, Word, word_of};
use sternway_core::run::Told;
use sternway_core::time::{Millis, Timestamp};
use sternway_core::wire::{Event, FromAgent, Greeting, ToAgent};

use super::agent::Down;
use super::schedule::{Schedule, plan_id};
use super::store::{Commit, Committed, HostRow, Store};
use super::{Seen, person};

const PERMIT_VALID: Millis = Millis::seconds(60);

/// What happens once the commit is on disk.
pub(super) enum After {
    Perform {
        rollout: RolloutId,
        effect: Effect,
    },
    Welcome {
        host: HostName,
        acked: u64,
    },
    Ack {
        host: HostName,
        sequence: u64,
    },
    /// A person hears that it was taken.
    Reply {
        rollout: RolloutId,
        sequence: u64,
    },
}

#[derive(Default)]
pub(super) struct Turn {
    pub(super) commit: Commit,
    pub(super) after: Vec<After>,
    /// In the order of the entries, for the observer.
    effects: Vec<(RolloutId, Vec<Effect>)>,
    /// Sessions that end with this turn.
    pub(super) closes: Vec<HostName>,
}

/// What left the coordinator.
#[derive(Debug, Default)]
pub(super) struct Out {
    pub(super) downs: Vec<(HostName, Down)>,
    pub(super) closes: Vec<HostName>,
    pub(super) died: bool,
}

#[derive(Debug)]
pub(super) struct Conductor {
    plans: Vec<(Plan, Vec<HostName>)>,
    pub(super) store: Store,
    pub(super) rollouts: BTreeMap<RolloutId, Rollout>,
    pub(super) hosts: BTreeMap<HostName, HostRow>,
    host_orders: BTreeMap<(RolloutId, HostName), Vec<u8>>,
    pub(super) quarantine: BTreeSet<HostName>,
    /// Who was told the epoch in force, or is about to be.
    pub(super) greeted: BTreeSet<HostName>,
    pub(super) has_gone_back: bool,
    /// Sessions, by the number of their connection.
    pub(super) fleet: BTreeMap<HostName, u64>,
    pub(super) epoch: u64,
    was_reset: bool,
    pub(super) up: bool,
    pub(super) life: u64,
    /// Its clock against the true one; it never goes back in one life.
    clock_ms: i64,
    pub(super) next_clock_ms: i64,
    pub(super) seen: Vec<Seen>,
}

impl Conductor {
    pub(super) fn new(schedule: &Schedule) -> Self {
        let plans = schedule.plans.iter().map(|shape| (shape.plan(), shape.without.clone()));
        let mut store = Store::default();
        let epoch = store.open();
        Self {
            plans: plans.collect(),
            store,
            rollouts: BTreeMap::new(),
            hosts: BTreeMap::new(),
            host_orders: BTreeMap::new(),
            quarantine: BTreeSet::new(),
            greeted: BTreeSet::new(),
            has_gone_back: false,
            fleet: BTreeMap::new(),
            epoch,
            was_reset: false,
            up: true,
            life: 0,
            clock_ms: 0,
            next_clock_ms: 0,
            seen: Vec::new(),
        }
    }

    pub(super) fn clock(&self, now: Timestamp) -> Timestamp {
        Timestamp(now.0.saturating_add_signed(self.clock_ms))
    }

    /// When, by the true clock, a machine wants to be woken.
    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        let at = self.rollouts.values().filter_map(Rollout::wake_at).min()?;
        Some(Timestamp(at.0.saturating_add_signed(-self.clock_ms)))
    }

    pub(super) fn machine(&self, plan: usize) -> Option<&Rollout> {
        self.rollouts.values().find(|machine| machine.plan_id() == plan_id(plan))
    }

    pub(super) fn machines(&self) -> impl Iterator<Item = (usize, &Rollout)> {
        self.rollouts.values().map(|machine| (plan_of(machine.plan_id()), machine))
    }

    fn fresh(&self, id: &RolloutId, plan: usize) -> Rollout {
        let (of, without) = &self.plans[plan];
        Rollout::new(id.clone(), plan_id(plan), of, without)
    }

    pub(super) fn id_of(&self, plan: usize) -> Option<RolloutId> {
        self.machine(plan).map(|machine| machine.id().clone())
    }

    pub(super) fn kill(&mut self) {
        self.up = false;
        self.life += 1;
        self.fleet.clear();
        self.store.armed_death = None;
    }

    /// Back from its database, under a higher epoch.
    pub(super) fn start(&mut self, now: Timestamp) -> Out {
        self.up = true;
        self.epoch = self.store.open();
        self.greeted.clear();
        self.has_gone_back = false;
        self.clock_ms = self.next_clock_ms;
        self.rebuild(now);
        self.turn(now, |this, turn| this.restarted(turn, now))
    }

    /// Makes everything in memory again from the database.
    fn rebuild(&mut self, now: Timestamp) {
        self.hosts = self.store.hosts.clone();
        self.host_orders = self.store.host_orders.clone();
        self.quarantine = self.store.quarantine.clone();
        self.rollouts.clear();
        let mut newest = Timestamp::default();
        for (id, stored) in &self.store.rollouts {
            let mut machine = self.fresh(id, stored.plan);
            for entry in &stored.entries {
                newest = newest.max(entry.at);
                machine.handle(entry);
            }
            self.seen.push(Seen::Rebuilt { who: format!("rollout {id}"), same: machine == stored.machine });
            let sequences = stored.entries.iter().map(|entry| entry.sequence).collect();
            self.seen.push(Seen::Read { rollout: stored.plan, sequences });
            self.rollouts.insert(id.clone(), machine);
        }
        let acked = self.hosts.iter().map(|(host, row)| (host.clone(), row.journal, row.acked)).collect();
        self.seen.push(Seen::ReadHosts { acked });
        if self.clock(now) < newest {
            self.clock_ms = newest.0.saturating_sub(now.0).try_into().unwrap_or(i64::MAX);
        }
    }

    /// One batch of the driver's loop: takes, ticks, commits, then performs.
    fn turn(&mut self, now: Timestamp, take: impl FnOnce(&mut Self, &mut Turn)) -> Out {
        let mut turn = Turn::default();
        if std::mem::take(&mut self.was_reset) {
            self.epoch += 1;
            self.greeted.clear();
            turn.commit.epoch = Some(self.epoch);
            self.restarted(&mut turn, now);
        }
        take(self, &mut turn);
        let clock = self.clock(now);
        for id in self.open_rollouts() {
            if self.rollouts[&id].wake_at().is_some_and(|at| at <= clock) {
                self.apply(&id, Input::Tick, &mut turn, now);
            }
        }
        self.finish(turn, now)
    }

    pub(super) fn wake(&mut self, now: Timestamp) -> Out {
        self.turn(now, |_, _| {})
    }

    fn finish(&mut self, mut turn: Turn, now: Timestamp) -> Out {
        let mut out = Out::default();
        if cfg!(feature = "mutant-told-before-commit") {
            self.perform_all(&mut turn, &mut out);
        }
        let plans = self.plans.clone();
        let fresh = |id: &RolloutId, plan: usize| {
            Rollout::new(id.clone(), plan_id(plan), &plans[plan].0, &plans[plan].1)
        };
        let committed = self.store.commit(&turn.commit, fresh);
        let is_stored =
            !matches!(committed, Committed::Failed { stored: false } | Committed::Died { stored: false });
        if is_stored {
            self.show(&mut turn);
        }
        match committed {
            Committed::Stored => self.perform_all(&mut turn, &mut out),
            Committed::Died { .. } => out.died = true,
            Committed::Failed { .. } => {
                out.closes.extend(std::mem::take(&mut self.fleet).into_keys());
                self.rebuild(now);
                // What is stored may hold this epoch, whatever the error said.
                self.epoch = self.epoch.max(self.store.known_epoch());
                self.was_reset = true;
            }
        }
        out
    }

    fn show(&mut self, turn: &mut Turn) {
        let entries = turn.commit.entries.iter();
        for ((id, entry), (_, effects)) in entries.zip(std::mem::take(&mut turn.effects)) {
            let Some(rollout) = self.store.rollouts.get(id).map(|stored| stored.plan) else { continue };
            self.seen.push(Seen::Committed { rollout, entry: entry.clone(), effects });
        }
        for (host, journal, event) in std::mem::take(&mut turn.commit.events) {
            self.seen.push(Seen::Stored { host, journal, event });
        }
        for (id, machine) in &self.rollouts {
            let violations = machine.violations();
            if !violations.is_empty() {
                self.seen.push(Seen::Checked { violations: format!("{id}: {violations:?}") });
            }
        }
    }

    fn perform_all(&mut self, turn: &mut Turn, out: &mut Out) {
        for after in std::mem::take(&mut turn.after) {
            match after {
                After::Perform { rollout, effect } => self.perform(&rollout, effect, out),
                After::Welcome { host, acked } => {
                    let reconnect_within = Millis::seconds(1);
                    let welcome = ToAgent::Welcome { epoch: self.epoch, acked, reconnect_within };
                    out.downs.push((host, Down::Said(welcome)));
                }
                After::Ack { host, sequence } => {
                    if let Some(row) = self.hosts.get(&host) {
                        let journal = row.journal;
                        self.seen.push(Seen::Acked { host: host.clone(), journal, sequence });
                    }
                    out.downs.push((host, Down::Said(ToAgent::Acked { sequence })));
                }
                After::Reply { rollout, sequence } => {
                    if let Some(machine) = self.rollouts.get(&rollout) {
                        let rollout = plan_of(machine.plan_id());
                        self.seen.push(Seen::Answered { rollout, sequence });
                    }
                }
            }
        }
        out.closes.append(&mut turn.closes);
    }

    fn perform(&self, rollout: &RolloutId, effect: Effect, out: &mut Out) {
        let Some(machine) = self.rollouts.get(rollout) else { return };
        let (plan, epoch) = (machine.plan_id(), self.epoch);
        let mut say = |host: HostName, said| out.downs.push((host, Down::Said(said)));
        match effect {
            Effect::Offer { host } => {
                out.downs.push((host, Down::Plan { rollout: rollout.clone(), plan: plan_of(plan) }));
            }
            Effect::Permit { host, nonce } => {
                say(host, ToAgent::Permit { plan, nonce, epoch, valid_for: PERMIT_VALID });
            }
            Effect::TellHalt { hosts } => {
                hosts.into_iter().for_each(|host| say(host, ToAgent::Halt { plan, epoch }));
            }
            Effect::OrderUndo { host } => say(host, ToAgent::Order { plan, sealed: Vec::new() }),
            Effect::OrderUnstick { host } => {
                if let Some(sealed) = self.host_orders.get(&(rollout.clone(), host.clone())).cloned() {
                    say(host, ToAgent::Order { plan, sealed });
                }
            }
            Effect::Release { host } => say(host, ToAgent::Release { plan, epoch }),
            Effect::Decided(_) | Effect::Note(_) => {}
        }
    }

    pub(super) fn open_rollouts(&self) -> Vec<RolloutId> {
        let is_open = |machine: &Rollout| !matches!(machine.phase(), Phase::Ended(_));
        let open = self.rollouts.iter().filter(|(_, machine)| is_open(machine));
        open.map(|(id, _)| id.clone()).collect()
    }

    fn restarted(&mut self, turn: &mut Turn, now: Timestamp) {
        for id in self.open_rollouts() {
            self.apply(&id, Input::Restarted { epoch: self.epoch }, turn, now);
        }
    }

    pub(super) fn apply(&mut self, id: &RolloutId, input: Input, turn: &mut Turn, now: Timestamp) -> u64 {
        let at = self.clock(now);
        let Some(machine) = self.rollouts.get_mut(id) else { return 0 };
        let entry = Entry { sequence: machine.sequence() + 1, at, input };
        let effects = machine.handle(&entry);
        let sequence = entry.sequence;
        turn.commit.entries.push((id.clone(), entry));
        for effect in &effects {
            turn.after.push(After::Perform { rollout: id.clone(), effect: effect.clone() });
        }
        turn.effects.push((id.clone(), effects));
        sequence
    }

    /// False as long as a host of the plan belongs to another rollout.
    pub(super) fn may_launch(&self, plan: usize) -> bool {
        let (of, without) = &self.plans[plan];
        let holds = |host: &HostName| {
            self.rollouts.values().any(|machine| {
                let ended = matches!(machine.phase(), Phase::Ended(_));
                machine.host(host).is_some_and(|host| {
                    let wanted = !matches!(host.state, HostState::Without | HostState::Dead { .. });
                    wanted && (!ended || host.holds_slot())
                })
            })
        };
        self.id_of(plan).is_none() && !of.hosts.iter().filter(|host| !without.contains(host)).any(holds)
    }

    pub(super) fn launch(&mut self, plan: usize, now: Timestamp) -> Out {
        self.turn(now, |this, turn| {
            let id: RolloutId = format!("r-{}", this.rollouts.len() + 1).parse().expect("a name");
            let machine = this.fresh(&id, plan);
            turn.commit.launched.push((id.clone(), plan));
            this.rollouts.insert(id.clone(), machine);
            this.apply(&id, Input::Restarted { epoch: this.epoch }, turn, now);
            for host in this.fleet.keys().cloned().collect::<Vec<_>>() {
                if this.takes_part(&id, &host) {
                    this.apply(&id, Input::Connected { host }, turn, now);
                }
            }
            this.apply(&id, Input::Launched { by: person("maria") }, turn, now);
        })
    }

    pub(super) fn takes_part(&self, id: &RolloutId, host: &HostName) -> bool {
        self.rollouts.get(id).is_some_and(|machine| machine.host(host).is_some())
    }

    /// A person's word.
    pub(super) fn said(&mut self, plan: usize, input: Input, now: Timestamp) -> Out {
        self.turn(now, |this, turn| {
            let Some(id) = this.id_of(plan) else { return };
            this.say_who_is_here(&id, turn, now);
            let unsticks = match &input {
                Input::Unstick { host, choice, asked, .. } => Some((host.clone(), (*choice, *asked))),
                _ => None,
            };
            let sequence = this.apply(&id, input, turn, now);
            let decided = turn.effects.last().is_some_and(|(_, effects)| {
                effects.iter().any(|effect| matches!(effect, Effect::Decided(_)))
            });
            if let Some((host, order)) = unsticks.filter(|_| decided) {
                let sealed = serde_json::to_vec(&order).expect("plain data");
                turn.commit.host_orders.push((id.clone(), host.clone(), sealed.clone()));
                this.host_orders.insert((id.clone(), host), sealed);
            }
            turn.after.push(After::Reply { rollout: id, sequence });
        })
    }

    /// A rollout that has ended is not told who comes and goes; it is before it
    /// judges anything again.
    fn say_who_is_here(&mut self, id: &RolloutId, turn: &mut Turn, now: Timestamp) {
        let machine = &self.rollouts[id];
        if !matches!(machine.phase(), Phase::Ended(_)) {
            return;
        }
        let hosts = machine.hosts().map(|(name, host)| (name.clone(), host.connected));
        let known_wrongly: Vec<(HostName, bool)> =
            hosts.filter(|(name, connected)| self.fleet.contains_key(name) != *connected).collect();
        for (host, connected) in known_wrongly {
            let input = if connected { Input::Lost { host } } else { Input::Connected { host } };
            self.apply(id, input, turn, now);
        }
    }

    /// A host greets over this connection. A refusal closes it.
    pub(super) fn arrived(&mut self, greeting: &Greeting, session: u64, now: Timestamp) -> Out {
        self.turn(now, |this, turn| this.admit(greeting, session, turn, now))
    }

    pub(super) fn rollouts_of(&self, host: &HostName, plan: Option<PlanId>) -> Vec<RolloutId> {
        let concerned = |id: &RolloutId, machine: &Rollout| {
            self.takes_part(id, host)
                && (plan == Some(machine.plan_id()) || !matches!(machine.phase(), Phase::Ended(_)))
        };
        let all = self.rollouts.iter().filter(|(id, machine)| concerned(id, machine));
        all.map(|(id, _)| id.clone()).collect()
    }

    /// The connection ended, as far as the coordinator noticed.
    pub(super) fn left(&mut self, host: &HostName, session: u64, now: Timestamp) -> Out {
        if self.fleet.get(host) != Some(&session) {
            return Out::default();
        }
        self.fleet.remove(host);
        self.turn(now, |this, turn| {
            for id in this.rollouts_of(host, None) {
                this.apply(&id, Input::Lost { host: host.clone() }, turn, now);
            }
        })
    }

    pub(super) fn heard(&mut self, host: &HostName, session: u64, said: FromAgent, now: Timestamp) -> Out {
        if self.fleet.get(host) != Some(&session) || self.quarantine.contains(host) {
            return Out::default();
        }
        self.turn(now, |this, turn| match said {
            FromAgent::Events(events) => this.told(host, events, turn, now),
            FromAgent::Refused { plan, reason, .. } => this.refused(host, plan, reason, turn, now),
            FromAgent::Hello(_) | FromAgent::Stalled { .. } | FromAgent::Tick { .. } => {}
        })
    }

    fn told(&mut self, host: &HostName, events: Vec<Event>, turn: &mut Turn, now: Timestamp) {
        let Some(mut row) = self.hosts.get(host).cloned() else { return };
        for event in events {
            if event.sequence <= row.acked {
                continue;
            }
            if event.sequence != row.acked + 1 {
                turn.closes.push(host.clone());
                break;
            }
            row.acked = event.sequence;
            if let Told::Run { plan, .. } = &event.told
                && let Some(word) = word_of(event.sequence, &event.told)
                && let Some(id) = self.id_of(plan_of(*plan))
            {
                self.apply(&id, Input::Host { host: host.clone(), word }, turn, now);
            }
            turn.commit.events.push((host.clone(), row.journal, event));
        }
        turn.after.push(After::Ack { host: host.clone(), sequence: row.acked });
        self.hosts.insert(host.clone(), row.clone());
        turn.commit.hosts.insert(host.clone(), row);
    }

    fn refused(&mut self, host: &HostName, plan: PlanId, reason: String, turn: &mut Turn, now: Timestamp) {
        let Some(machine) = self.machine(plan_of(plan)) else { return };
        if machine.host(host).is_none_or(|known| matches!(known.state, HostState::Refused { .. })) {
            return;
        }
        let id = machine.id().clone();
        let input = Input::Host { host: host.clone(), word: Word::Refused { reason } };
        self.apply(&id, input, turn, now);
    }

    /// A question that this host asked first is heard again, from a copy of it.
    pub(super) fn clone_asks(&mut self, plan: usize, host: &HostName, now: Timestamp) -> Out {
        let first = self.id_of(plan).and_then(|id| {
            self.store.rollouts.get(&id)?.entries.iter().find_map(|entry| match &entry.input {
                Input::Host { host: of, word: word @ Word::AsksPermit { .. } } if of == host => {
                    Some(word.clone())
                }
                _ => None,
            })
        });
        let Some(word) = first else { return Out::default() };
        self.turn(now, |this, turn| {
            if let Some(id) = this.id_of(plan) {
                this.apply(&id, Input::Host { host: host.clone(), word }, turn, now);
            }
        })
    }
}

pub(super) fn plan_of(id: PlanId) -> usize {
    usize::from(id.0[0]).saturating_sub(1)
}
