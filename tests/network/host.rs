//! A host: the real link and journal, the real machine of a run, and steps that
//! take a while and do nothing. What a driver does with the machine's effects is
//! done here in one task, so that time is the simulation's.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use sternway_agent::journal::Journal;
use sternway_agent::link::Link;
use sternway_agent::message::{FromLink, Message};
use sternway_agent::outbox::Outbox;
use sternway_core::ids::JournalId;
use sternway_core::run::{
    Action, Answer, Effect, Input, Looked, Outcome, Phase, Prepared, Record, Risk, Run, Stage,
};
use sternway_core::time::Timestamp;
use sternway_core::wire::{Event, ToAgent};
use tokio::time::Instant;

use crate::randomness::mixed;
use crate::site::{FLEET, HOSTS, Site, host_name};
use crate::socket::{Sky, Socket};

/// What one host showed to whoever watches the night.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown {
    pub(crate) disturbed: bool,
    /// Its run has an ending.
    pub(crate) settled: bool,
    /// Of the records that a run is made of; the journal's own may follow.
    pub(crate) last: u64,
    /// Sockets it opened to connect.
    pub(crate) attempts: u64,
    /// When it was last welcomed, in milliseconds of the night.
    pub(crate) up_at: Option<u64>,
    pub(crate) records: Vec<Event>,
}

/// Everything that was seen, with the night's own time: the same again for the same seed.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    pub(crate) lines: Vec<String>,
    pub(crate) shown: [Shown; HOSTS.len()],
}

pub(crate) type Seen = Arc<Mutex<Trace>>;

pub(crate) fn now_ms() -> u64 {
    turmoil::sim_elapsed().map_or(0, |elapsed| elapsed.as_millis() as u64)
}

/// Lives until it is killed.
pub(crate) async fn live(site: Arc<Site>, number: usize, sky: Sky, seen: Seen) -> turmoil::Result {
    let config = site.agent(HOSTS[number]);
    let fresh = JournalId([number as u8 + 1; 16]);
    let journal = Journal::open(&config.journal_path(), &host_name(HOSTS[number]), fresh, site.began)?;
    let journal = Arc::new(Mutex::new(journal));
    let (messages, inbox) = mpsc::channel();
    let (link, outbox) = Link::new(&config, FLEET, Arc::clone(&journal), messages)?;
    let attempts = Arc::clone(&seen);
    let open = move |_| {
        attempts.lock().unwrap().shown[number].attempts += 1;
        let socket = Socket::bind(0, &sky)?;
        let runtime = Arc::new(quinn::TokioRuntime);
        quinn::Endpoint::new_with_abstract_socket(quinn::EndpointConfig::default(), None, socket, runtime)
    };
    let run = Run::new(&site.plan);
    let mut host = Host { site, number, journal, outbox, inbox, run, due: vec![], seen, known: false };
    host.take_up();
    tokio::select! {
        () = link.keep_connected(open) => {}
        () = host.work() => {}
    }
    Ok(())
}

struct Host {
    site: Arc<Site>,
    number: usize,
    journal: Arc<Mutex<Journal>>,
    outbox: Outbox,
    inbox: mpsc::Receiver<Message>,
    run: Run,
    /// What ends later.
    due: Vec<(Instant, Input)>,
    seen: Seen,
    /// The plan was accepted.
    known: bool,
}

impl Host {
    fn take_up(&mut self) {
        let records = self.journal.lock().unwrap().run(self.site.id).cloned().unwrap_or_default();
        let (entries, unfinished) = (records.entries.clone(), records.unfinished());
        for entry in &entries {
            self.known = true;
            self.run.handle(entry);
        }
        self.trace("starts");
        if self.known && *self.run.stage() != Stage::Closed {
            self.note(Input::Resumed { unfinished });
        }
        self.show();
    }

    async fn work(&mut self) {
        loop {
            while let Ok(message) = self.inbox.try_recv() {
                self.hear(message);
            }
            let now = Instant::now();
            while let Some(at) = self.due.iter().position(|(due, _)| *due <= now) {
                let (_, input) = self.due.remove(at);
                self.note(input);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn hear(&mut self, message: Message) {
        let Message::Link(message) = message else { return };
        match message {
            FromLink::Up { epoch, .. } => {
                self.seen.lock().unwrap().shown[self.number].up_at = Some(now_ms());
                self.trace(&format!("up, epoch {epoch}"));
                let seen = self.journal.lock().unwrap().epoch();
                if epoch > seen {
                    self.append(Record::EpochSeen { epoch });
                }
                if self.run.is_disturbed() {
                    self.note(Input::Rejoined);
                }
            }
            FromLink::Down => {
                self.trace("down");
                if self.run.is_disturbed() {
                    self.note(Input::CutOff);
                }
            }
            FromLink::Plan { rollout, plan, sealed } => {
                assert_eq!((plan, &sealed), (self.site.id, &self.site.sealed), "another plan arrived");
                if !std::mem::replace(&mut self.known, true) {
                    self.note(Input::Accepted { rollout, signers: vec![] });
                }
            }
            FromLink::Said(ToAgent::Permit { nonce, epoch, .. }) => {
                self.note(Input::Permitted { nonce, epoch });
            }
            FromLink::Said(ToAgent::Halt { .. }) => self.note(Input::HaltTold),
            FromLink::Said(ToAgent::Release { .. }) => self.note(Input::Released),
            FromLink::Said(_) => {}
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.site.began.0 + now_ms())
    }

    fn trace(&self, what: &str) {
        let line = format!("{:>8} {} {what}", now_ms(), HOSTS[self.number]);
        self.seen.lock().unwrap().lines.push(line);
    }

    fn append(&mut self, record: Record) -> u64 {
        let told = record.told();
        let now = self.now();
        let mut journal = self.journal.lock().unwrap();
        let sequence = journal.append(now, record).expect("the disk of a test takes it");
        let at = journal.time_floor();
        drop(journal);
        self.outbox.journal_grew(sequence);
        let shown = &mut self.seen.lock().unwrap().shown[self.number];
        shown.last = sequence;
        shown.records.push(Event { sequence, at, told });
        sequence
    }

    /// Written down, told to the machine, and done what follows.
    fn note(&mut self, input: Input) {
        let effects = self.written(input);
        effects.into_iter().for_each(|effect| self.perform(effect));
        self.show();
    }

    fn written(&mut self, input: Input) -> Vec<Effect> {
        let sequence = self.append(Record::Run { plan: self.site.id, input: input.clone() });
        match &input {
            Input::Ended { step, phase, .. } => self.trace(&format!("{sequence} Ended {step} {phase:?}")),
            other => self.trace(&format!("{sequence} {other:?}")),
        }
        let at = self.now();
        self.run.handle(&sternway_core::run::Entry { sequence, at, input })
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Stage => self.later(200, Input::Staged { point: None }),
            Effect::Ask { nonce } => self.note(Input::PermitAsked { nonce }),
            Effect::Call { step, phase, attempt } => {
                self.written(Input::Began { step, phase, attempt });
                let length = 20 + mixed(self.journal.lock().unwrap().last() ^ self.number as u64) % 400;
                self.later(length, Input::Ended { step, phase, answer: good(phase) });
            }
            Effect::Settle(ending) => self.note(Input::Settled { ending }),
            _ => {}
        }
    }

    fn later(&mut self, ms: u64, input: Input) {
        self.due.push((Instant::now() + Duration::from_millis(ms), input));
    }

    fn show(&self) {
        let mut seen = self.seen.lock().unwrap();
        let shown = &mut seen.shown[self.number];
        shown.disturbed = self.run.is_disturbed();
        shown.settled = matches!(self.run.stage(), Stage::Settled(_) | Stage::Closed);
    }
}

fn good(phase: Phase) -> Answer {
    let outcome = Outcome { changed: true, summary: "done".into(), state: vec![] };
    match phase {
        Phase::Look => Answer::Looked(Looked {
            findings: vec![],
            actions: vec![Action {
                summary: "change".into(),
                target: "all".into(),
                before: None,
                after: None,
                risk: Risk::Low,
            }],
            state: vec![],
        }),
        Phase::Prepare => Answer::Prepared(Prepared { summary: String::new(), state: vec![] }),
        Phase::Apply => Answer::Applied(outcome),
        Phase::Verify => Answer::Verified(vec![]),
        Phase::Undo => Answer::Undone(outcome),
    }
}
