//! Assembles the agent, runs it, stops it in order.

use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};

use sternway_agent::config::Config;
use sternway_agent::driver::{Driver, Message, Parts, PlanStore};
use sternway_agent::journal::Journal;
use sternway_agent::steps::Steps;
use sternway_agent::{clock, durable, link};
use sternway_core::ids::JournalId;

use crate::output::Failure;

pub(crate) fn serve(config_path: &Path) -> Result<(), Failure> {
    start_telemetry();
    let config = Config::load(config_path)?;
    let keyring = config.load_keyring()?;
    for folder in [&config.state, &config.plugins_path()] {
        durable::create_directories(folder, 0o700)?;
    }
    let mut fresh = [0; 16];
    getrandom::fill(&mut fresh).map_err(std::io::Error::other)?;
    let journal = Journal::open(&config.journal_path(), &config.host, JournalId(fresh), clock::now())?;
    tracing::info!(host = %config.host, journal = %journal.id().short(), records = journal.last(), "starts");
    let journal = Arc::new(Mutex::new(journal));
    let (messages, inbox) = mpsc::channel();
    let steps = Arc::new(Steps::new(&config, Arc::clone(&journal))?);
    let outbox = link::start(&config, keyring.fleet(), Arc::clone(&journal), messages.clone())?;
    steps.report_to(outbox.clone());
    stop_on_signal(messages.clone())?;
    let driver = Driver::new(Parts {
        host: config.host.clone(),
        keyring,
        journal,
        plans: PlanStore::open(&config.plans_path())?,
        steps,
        outbox,
        watch_every: config.watch_every,
        messages,
    })?;
    Ok(driver.work(&inbox)?)
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

fn start_telemetry() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("STERNWAY_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}
