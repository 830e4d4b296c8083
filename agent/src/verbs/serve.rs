//! Assembles the agent, runs it, stops it in order.

use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};

use sternway_agent::config::Config;
use sternway_agent::control::Door;
use sternway_agent::custodian::{Custodian, OnRounds, Rounds};
use sternway_agent::driver::{Driver, Parts, PlanStore};
use sternway_agent::halt::HaltFlag;
use sternway_agent::journal::{self, Journal};
use sternway_agent::message::Message;
use sternway_agent::outbox::Outbox;
use sternway_agent::steps::Steps;
use sternway_agent::{ballast, clock, crash, durable, link};
use sternway_core::ids::JournalId;
use sternway_core::time::Millis;
use sternway_core::wire::FromAgent;

use crate::output::Failure;

pub(crate) fn serve(config_path: &Path) -> Result<(), Failure> {
    start_telemetry("info");
    crash::arm();
    let config = Config::load(config_path)?;
    Agent::assemble(&config, true)?.work()
}

/// An agent that is ready to work; the journal's lock is its own.
pub(crate) struct Agent {
    driver: Driver,
    inbox: mpsc::Receiver<Message>,
    messages: mpsc::Sender<Message>,
    /// Ends with the agent.
    rounds: Option<OnRounds>,
}

impl Agent {
    pub(crate) fn assemble(config: &Config, with_link: bool) -> Result<Self, Failure> {
        let keyring = config.load_keyring()?;
        for folder in [&config.state, &config.plugins_path()] {
            durable::create_directories(folder, 0o700)?;
        }
        // Before the journal is opened, which may need it.
        ballast::keep(&config.state);
        let mut fresh = [0; 16];
        getrandom::fill(&mut fresh).map_err(std::io::Error::other)?;
        let journal = Journal::open(&config.journal_path(), &config.host, JournalId(fresh), clock::now())?;
        tracing::info!(host = %config.host, journal = %journal.id().short(), records = journal.last(), "starts");
        let told = journal.told();
        let journal = Arc::new(Mutex::new(journal));
        let (messages, inbox) = mpsc::channel();
        // Before the halt flag is read: who sets it now is either read or heard.
        let door = Door::open(&config.state)?;
        let steps = Arc::new(Steps::new(config, Arc::clone(&journal))?);
        let custodian = Arc::new(Custodian::new(steps.host(), keyring.clone()));
        let rounds = with_link.then(|| Rounds::of(Arc::clone(&custodian))).transpose()?;
        let outbox = match with_link {
            true => link::start(config, keyring.fleet(), Arc::clone(&journal), messages.clone(), custodian)?,
            false => Outbox::nowhere(),
        };
        let to_coordinator = outbox.clone();
        journal::watch(told, config.state.clone(), move |since| {
            let since = since.map(|length| Millis(u64::try_from(length.as_millis()).unwrap_or(u64::MAX)));
            to_coordinator.say(FromAgent::Stalled { since });
        })?;
        steps.report_to(outbox.clone());
        stop_on_signal(messages.clone())?;
        let driver = Driver::new(Parts {
            host: config.host.clone(),
            keyring,
            journal,
            plans: PlanStore::open(&config.plans_path())?,
            steps,
            outbox,
            halt: HaltFlag::of(&config.state),
            watch_every: config.watch_every,
            messages: messages.clone(),
        })?;
        door.serve(messages.clone())?;
        ballast::keep_filled(config.state.clone())?;
        let rounds = rounds.map(Rounds::begin).transpose()?;
        Ok(Self { driver, inbox, messages, rounds })
    }

    /// Ends the work of this agent between two records.
    pub(crate) fn stopper(&self) -> impl Fn() + Send + 'static {
        let messages = self.messages.clone();
        move || {
            if messages.send(Message::Stop).is_err() {
                tracing::debug!("the driver has ended already");
            }
        }
    }

    pub(crate) fn work(self) -> Result<(), Failure> {
        let worked = self.driver.work(&self.inbox);
        drop(self.rounds);
        Ok(worked?)
    }
}

/// Ends between two records; a step in hand is taken up at the next start.
fn stop_on_signal(messages: mpsc::Sender<Message>) -> Result<(), std::io::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut stop), Ok(mut interrupt)) =
                (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
            else {
                return tracing::error!("cannot listen for signals");
            };
            tokio::select! {
                _ = stop.recv() => {}
                _ = interrupt.recv() => {}
            }
            if messages.send(Message::Stop).is_err() {
                tracing::debug!("the driver has ended already");
            }
        });
    })?;
    Ok(())
}

pub(crate) fn start_telemetry(otherwise: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("STERNWAY_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(otherwise));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}
