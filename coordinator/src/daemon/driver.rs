//! The one thread that owns every rollout: write it down, then do it.
//!
//! Whatever arrived while the last commit was on its way to the disk becomes
//! the next one: entries, lines, records of hosts and their acknowledgements in
//! a single transaction. Machines are handled before it, but nothing they want
//! done leaves this thread before it; when it fails, the machines are thrown
//! away and made again from what the database holds, and until something can be
//! written again the coordinator only answers questions.

mod conducted;
mod hosts;
mod identity;
mod people;
mod points;
mod store;
mod views;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use sternway_core::exit;
use sternway_core::ids::{HostName, Person, PlanId, RolloutId};
use sternway_core::rollout::{Decision, Effect, Entry, Input, Note, Phase};
use sternway_core::time::{Millis, Timestamp};
use sternway_core::trust::Keyring;
use sternway_core::wire::{
    Answer, AuditLine, Event, Greeting, HostLine, LogLine, OperatorError, PlanHeader, RolloutView, ToAgent,
};
use tokio::sync::{mpsc, oneshot, watch};

use super::clock::Clock;
use super::config::Inventory;
use super::database::{Commit, Database, HostRow, Page, Quarantine, StoreError, StrangeRun};
use super::fleet::{Fleet, SessionId};
use super::outbox::{Down, Outbox};
use super::points::{Claim, Reach};
use conducted::Conducted;

pub use people::Command;

/// Messages that may wait for the driver; whoever sends more waits too.
pub const INBOX_MAX: usize = 1024;
/// Messages of one transaction.
const BATCH_MAX: usize = 512;
/// An agent does not act upon a permit that took longer than this.
const PERMIT_VALID: Millis = Millis::seconds(60);
/// Hosts that can be admitted per second, with room to spare: from measurements.
const ADMISSIONS_PER_SECOND: u64 = 1_800;

/// Everything the driver hears.
#[derive(Debug)]
pub enum Message {
    Host {
        host: HostName,
        session: SessionId,
        said: HostSaid,
    },
    Ask {
        person: Person,
        command: Command,
        reply: oneshot::Sender<Answer>,
    },
    Lines {
        rollout: RolloutId,
        host: Option<HostName>,
        after: u64,
        reply: oneshot::Sender<Result<Lines, OperatorError>>,
    },
    Audit {
        rollout: Option<RolloutId>,
        after: u64,
        reply: oneshot::Sender<Result<Page<AuditLine>, OperatorError>>,
    },
    /// May this person ask these hosts about their points, and order this?
    Points {
        person: Person,
        hosts: Vec<HostName>,
        claims: Vec<Claim>,
        reply: oneshot::Sender<Result<(), OperatorError>>,
    },
    /// Is this host here?
    Reach {
        host: HostName,
        reply: oneshot::Sender<Reach>,
    },
    /// Tell everybody to come back, close the database, end.
    Stop,
}

#[derive(Debug)]
pub enum HostSaid {
    Arrived { greeting: Box<Greeting>, outbox: Outbox },
    Events(Vec<Event>),
    Refused { plan: PlanId, code: String, reason: String },
    Progress { plan: PlanId, step: u32, text: String },
    Left,
}

/// A page of a rollout's lines, with the rollout as it is now.
#[derive(Debug)]
pub struct Lines {
    pub page: Page<LogLine>,
    pub view: Box<RolloutView>,
    pub has_ended: bool,
    /// Changes whenever there is something new to see.
    pub news: watch::Receiver<u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    #[error("could not read the rollouts from the database")]
    Load(#[source] StoreError),
    #[error("rollout {rollout} is stored with a plan that cannot be read")]
    Plan { rollout: RolloutId },
    #[error("rollout {rollout} does not stand as its entries say: {}", found.join("; "))]
    Books { rollout: RolloutId, found: Vec<String> },
    #[error("this coordinator steps down")]
    Superseded(#[source] StoreError),
    #[error("no runtime for the driver's thread")]
    Runtime(#[source] std::io::Error),
    #[error("could not close the database")]
    Close(#[source] StoreError),
}

/// What happens once the commit is on disk.
enum After {
    Perform {
        rollout: RolloutId,
        effect: Effect,
    },
    Welcome {
        outbox: Outbox,
        acked: u64,
    },
    Unwelcome {
        outbox: Outbox,
        reason: String,
    },
    Ack {
        host: HostName,
        sequence: u64,
    },
    Reply {
        reply: oneshot::Sender<Answer>,
        answer: Answer,
    },
    Lines {
        rollout: RolloutId,
        host: Option<HostName>,
        after: u64,
        reply: oneshot::Sender<Result<Lines, OperatorError>>,
    },
    Audit {
        rollout: Option<RolloutId>,
        after: u64,
        reply: oneshot::Sender<Result<Page<AuditLine>, OperatorError>>,
    },
    Allowed {
        reply: oneshot::Sender<Result<(), OperatorError>>,
        outcome: Result<(), OperatorError>,
    },
    Reach {
        host: HostName,
        reply: oneshot::Sender<Reach>,
    },
    Wake {
        rollout: RolloutId,
    },
}

/// What is collected until it can be committed.
#[derive(Default)]
struct Turn {
    commit: Commit,
    after: Vec<After>,
}

/// What a machine made of an input.
#[derive(Default)]
struct Taken {
    sequence: u64,
    decisions: Vec<Decision>,
    notes: Vec<Note>,
}

#[derive(Debug)]
pub struct Driver {
    inbox: mpsc::Receiver<Message>,
    database: Database,
    keyring: Keyring,
    inventory: Inventory,
    clock: Clock,
    fleet: Fleet,
    epoch: u64,
    rollouts: BTreeMap<RolloutId, Conducted>,
    by_plan: HashMap<PlanId, RolloutId>,
    hosts: BTreeMap<HostName, HostRow>,
    quarantine: BTreeMap<HostName, Quarantine>,
    strange_runs: BTreeMap<HostName, StrangeRun>,
    /// Who was told the epoch in force, or is about to be.
    greeted: BTreeSet<HostName>,
    /// It was noticed in this life that the database was set back.
    has_gone_back: bool,
    last_line: u64,
    last_audit: (u64, String),
    /// Commits so far, and the epoch in which the database was opened: they name a commit.
    commits: u64,
    opening: u64,
    /// A commit failed: what was observed since is forgotten, as after a restart.
    reset: Option<store::Reset>,
}

/// The name under which the coordinator itself stands in records.
fn coordinator() -> Person {
    "coordinator".parse().expect("a name of lower-case letters")
}

impl Driver {
    pub fn new(
        database: Database,
        keyring: Keyring,
        inventory: Inventory,
        inbox: mpsc::Receiver<Message>,
    ) -> Result<Self, DriverError> {
        let mut driver = Self {
            inbox,
            keyring,
            inventory,
            clock: Clock::start(Timestamp::default()),
            fleet: Fleet::default(),
            epoch: database.epoch(),
            opening: database.epoch(),
            database,
            rollouts: BTreeMap::new(),
            by_plan: HashMap::new(),
            hosts: BTreeMap::new(),
            quarantine: BTreeMap::new(),
            strange_runs: BTreeMap::new(),
            greeted: BTreeSet::new(),
            has_gone_back: false,
            last_line: 0,
            last_audit: (0, String::new()),
            commits: 0,
            reset: None,
        };
        driver.rebuild()?;
        Ok(driver)
    }

    /// Makes everything in memory again from the database, as after a restart.
    fn rebuild(&mut self) -> Result<(), DriverError> {
        let stored = self.database.load().map_err(DriverError::Load)?;
        (self.last_line, self.last_audit, self.hosts) = (stored.last_line, stored.last_audit, stored.hosts);
        (self.quarantine, self.strange_runs) = (stored.quarantine, stored.strange_runs);
        let mut news: BTreeMap<RolloutId, watch::Sender<u64>> =
            std::mem::take(&mut self.rollouts).into_iter().map(|(id, old)| (id, old.news)).collect();
        self.by_plan.clear();
        let mut newest = Timestamp::default();
        for row in stored.rollouts {
            let id = row.id.clone();
            let conducted = Conducted::load(row, &self.database, news.remove(&id))?;
            newest = newest.max(conducted.machine.status().at);
            self.by_plan.insert(conducted.plan_id, id.clone());
            self.rollouts.insert(id, conducted);
        }
        if self.clock.now() < newest {
            self.clock = Clock::start(newest);
        }
        Ok(())
    }

    /// Runs until it is told to stop.
    pub async fn run(mut self) -> Result<(), DriverError> {
        let mut turn = Turn::default();
        self.restarted(&mut turn);
        self.finish(turn)?;
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            let arrived = match self.patience() {
                None => Some(self.inbox.recv_many(&mut batch, BATCH_MAX).await),
                Some(patience) => {
                    tokio::time::timeout(patience, self.inbox.recv_many(&mut batch, BATCH_MAX)).await.ok()
                }
            };
            self.begin_again()?;
            let mut turn = Turn::default();
            let mut stop = arrived == Some(0);
            for message in batch.drain(..) {
                stop |= match &self.reset {
                    None => self.take(message, &mut turn),
                    Some(reset) => self.take_read_only(message, &reset.words(), &mut turn),
                };
            }
            if self.reset.is_none() {
                self.tick(&mut turn);
            }
            self.finish(turn)?;
            if stop {
                return self.stop();
            }
        }
    }

    /// Until when nothing has to be done by itself.
    fn patience(&self) -> Option<Duration> {
        match &self.reset {
            Some(reset) => Some(reset.patience()),
            None => self.wake_at().map(|at| self.clock.until(at)),
        }
    }

    /// Nobody is connected yet, so nothing is owed to anybody here: each machine
    /// says what it owes a host when that host comes back.
    fn restarted(&mut self, turn: &mut Turn) {
        for id in self.open_rollouts() {
            self.apply(&id, Input::Restarted { epoch: self.epoch }, turn);
        }
    }

    fn open_rollouts(&self) -> Vec<RolloutId> {
        let open = self.rollouts.iter().filter(|(_, conducted)| !conducted.has_ended());
        open.map(|(id, _)| id.clone()).collect()
    }

    fn wake_at(&self) -> Option<Timestamp> {
        self.rollouts.values().filter_map(|conducted| conducted.machine.wake_at()).min()
    }

    fn tick(&mut self, turn: &mut Turn) {
        let now = self.clock.now();
        for id in self.open_rollouts() {
            let due = self.rollouts.get(&id).and_then(|conducted| conducted.machine.wake_at());
            if due.is_some_and(|at| at <= now) {
                self.apply(&id, Input::Tick, turn);
            }
        }
    }

    /// True when this was the last message to be taken.
    fn take(&mut self, message: Message, turn: &mut Turn) -> bool {
        match message {
            Message::Host { host, session, said } => self.heard(&host, session, said, turn),
            Message::Ask { person, command, reply } => {
                let answer = self.asked(&person, command, turn).unwrap_or_else(Answer::Error);
                turn.after.push(After::Reply { reply, answer });
            }
            Message::Lines { rollout, host, after, reply } => {
                turn.after.push(After::Lines { rollout, host, after, reply });
            }
            Message::Audit { rollout, after, reply } => {
                turn.after.push(After::Audit { rollout, after, reply })
            }
            Message::Points { person, hosts, claims, reply } => {
                let outcome = self.allow_points(&person, &hosts, &claims, turn);
                turn.after.push(After::Allowed { reply, outcome });
            }
            Message::Reach { host, reply } => turn.after.push(After::Reach { host, reply }),
            Message::Stop => return true,
        }
        false
    }

    /// One entry of one rollout: handled now, durable and performed with the turn.
    fn apply(&mut self, id: &RolloutId, input: Input, turn: &mut Turn) -> Taken {
        let now = self.clock.now();
        let Some(conducted) = self.rollouts.get_mut(id) else { return Taken::default() };
        let entry = Entry { sequence: conducted.machine.sequence() + 1, at: now, input };
        let mut taken = Taken { sequence: entry.sequence, ..Taken::default() };
        let effects = conducted.machine.handle(&entry);
        turn.commit.moves.push(conducted.moved(entry));
        let violations = conducted.machine.violations();
        let halts =
            !violations.is_empty() && !std::mem::replace(&mut conducted.is_odd, !violations.is_empty());
        for effect in effects {
            match effect {
                Effect::Decided(decision) => {
                    tracing::info!(rollout = %id, ?decision, "decided");
                    self.line(id, HostLine::Decided(decision.clone()), turn);
                    taken.decisions.push(decision);
                }
                Effect::Note(note) => {
                    tracing::debug!(rollout = %id, ?note, "nothing changed");
                    taken.notes.push(note);
                }
                effect => turn.after.push(After::Perform { rollout: id.clone(), effect }),
            }
        }
        if halts {
            tracing::error!(rollout = %id, ?violations, "the rollout's books do not agree; it is halted");
            let reason = format!("this is a bug, please report it: {violations:?}");
            self.apply(id, Input::Halt { by: coordinator(), reason }, turn);
        }
        taken
    }

    /// One line of a rollout's record.
    fn line(&mut self, id: &RolloutId, what: HostLine, turn: &mut Turn) {
        self.last_line += 1;
        let line = LogLine { sequence: self.last_line, at: self.clock.now(), what };
        if let Some(conducted) = self.rollouts.get_mut(id) {
            conducted.note_line(&line);
        }
        turn.commit.lines.push((id.clone(), line));
        if !matches!(turn.after.last(), Some(After::Wake { rollout }) if rollout == id) {
            turn.after.push(After::Wake { rollout: id.clone() });
        }
    }

    fn perform(&mut self, after: After) {
        match after {
            After::Perform { rollout, effect } => self.perform_effect(&rollout, effect),
            After::Welcome { outbox, acked } => {
                let hosts = self.inventory.hosts.len() as u64;
                let reconnect_within = Millis((hosts * 1000 / ADMISSIONS_PER_SECOND).max(20));
                outbox.welcome(self.epoch, acked, reconnect_within);
            }
            After::Unwelcome { outbox, reason } => {
                outbox.push_urgent(ToAgent::Unwelcome { reason: reason.clone() });
                outbox.close(&reason);
            }
            After::Ack { host, sequence } => {
                if let Some(here) = self.fleet.get(&host) {
                    here.outbox.ack(sequence);
                }
            }
            // Whoever asked may have gone away meanwhile.
            After::Reply { reply, answer } => drop(reply.send(answer)),
            After::Lines { rollout, host, after, reply } => {
                drop(reply.send(self.lines(&rollout, host, after)))
            }
            After::Audit { rollout, after, reply } => {
                drop(
                    reply.send(
                        self.database.audit(rollout.as_ref(), after).map_err(|cause| unreadable(&cause)),
                    ),
                );
            }
            After::Allowed { reply, outcome } => drop(reply.send(outcome)),
            After::Reach { host, reply } => drop(reply.send(self.reach(&host))),
            After::Wake { rollout } => {
                if let Some(conducted) = self.rollouts.get(&rollout) {
                    conducted.news.send_modify(|count| *count += 1);
                }
            }
        }
    }

    fn perform_effect(&self, rollout: &RolloutId, effect: Effect) {
        let Some(conducted) = self.rollouts.get(rollout) else { return };
        let (plan, epoch) = (conducted.plan_id, self.epoch);
        // Whoever is away is owed it, and gets it when it is back.
        let outbox = |host: &HostName| self.fleet.get(host).map(|here| &here.outbox);
        let push = |host: &HostName, down| {
            if let Some(outbox) = outbox(host) {
                outbox.push(down);
            }
        };
        match effect {
            Effect::Offer { host } => {
                let header =
                    PlanHeader { rollout: rollout.clone(), plan, bytes: conducted.sealed.len() as u64 };
                push(&host, Down::Plan { header, sealed: conducted.sealed.clone() });
            }
            Effect::Permit { host, nonce } => {
                push(&host, Down::Message(ToAgent::Permit { plan, nonce, epoch, valid_for: PERMIT_VALID }));
            }
            Effect::TellHalt { hosts } => {
                for outbox in hosts.iter().filter_map(outbox) {
                    outbox.push_urgent(ToAgent::Halt { plan, epoch });
                }
            }
            Effect::OrderUndo { host } => match &conducted.undo_order {
                Some(sealed) => push(&host, Down::Message(ToAgent::Order { plan, sealed: sealed.clone() })),
                None => tracing::error!(%rollout, %host, "an undo without a signed order cannot be told"),
            },
            Effect::OrderUnstick { host } => match conducted.host_orders.get(&host) {
                Some(sealed) => push(&host, Down::Message(ToAgent::Order { plan, sealed: sealed.clone() })),
                None => tracing::error!(%rollout, %host, "a decision without a signed order cannot be told"),
            },
            Effect::Release { host } => push(&host, Down::Message(ToAgent::Release { plan, epoch })),
            Effect::Decided(_) | Effect::Note(_) => {}
        }
    }

    fn stop(self) -> Result<(), DriverError> {
        for (_, here) in self.fleet.all() {
            here.outbox.push(Down::Message(ToAgent::ComeBack { after: Millis::seconds(1) }));
            here.outbox.close("the coordinator stops");
        }
        self.database.close().map_err(DriverError::Close)
    }
}

fn unreadable(cause: &StoreError) -> OperatorError {
    OperatorError { exit: exit::BUG, message: format!("the record could not be read: {cause}"), hint: None }
}

impl Conducted {
    fn has_ended(&self) -> bool {
        matches!(self.machine.phase(), Phase::Ended(_))
    }
}
