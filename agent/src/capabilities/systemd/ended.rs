//! The ends of jobs, as systemd tells them on the bus.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;
use zbus::export::ordered_stream::OrderedStreamExt;
use zbus::message::Type;
use zbus::zvariant::OwnedObjectPath;
use zbus::{MatchRule, MessageStream};

use super::bus::{Bus, MANAGER, SYSTEMD};
use super::errors;
use crate::capabilities::HostError;

const CONNECT: Duration = Duration::from_secs(10);

/// One job that is over.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) job: OwnedObjectPath,
    /// `done`, `failed`, `timeout`, `dependency`, `canceled`, `skipped` ...
    pub(super) result: String,
}

/// Hears of every job that ends from the moment it was made, until dropped.
#[derive(Debug)]
pub(super) struct Ends {
    heard: Receiver<Ended>,
    listener: AbortHandle,
    deaf: bool,
}

impl Ends {
    pub(super) fn listen(bus: &Bus) -> Result<Self, HostError> {
        let until = Instant::now() + CONNECT;
        let mut stream = loop {
            let connection = bus.connection(until)?;
            let made = bus.wait(async move {
                let rule = MatchRule::builder()
                    .msg_type(Type::Signal)
                    .sender(SYSTEMD)?
                    .interface(MANAGER)?
                    .member("JobRemoved")?
                    .build();
                MessageStream::for_match_rule(rule, &connection, None).await
            })?;
            match made {
                Ok(stream) => break stream,
                Err(error) if Instant::now() >= until => return Err(errors::no_bus(&error.to_string())),
                Err(_) => bus.forget(),
            }
        };
        let (said, heard) = mpsc::channel();
        let listener = bus.spawn(async move {
            while let Some(Ok(message)) = stream.next().await {
                let ended: Result<(u32, OwnedObjectPath, String, String), _> = message.body().deserialize();
                let Ok((_, job, _, result)) = ended else { continue };
                if said.send(Ended { job, result }).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { heard, listener, deaf: false })
    }

    /// The next end, if one comes within `wait`.
    pub(super) fn next(&mut self, wait: Duration) -> Option<Ended> {
        match self.heard.recv_timeout(wait) {
            Ok(ended) => Some(ended),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                self.deaf = true;
                None
            }
        }
    }

    /// The bus went away: nothing more will be heard.
    pub(super) fn is_deaf(&self) -> bool {
        self.deaf
    }

    /// The result of one job, if it comes within `wait`.
    pub(super) fn word_of(&mut self, job: &OwnedObjectPath, wait: Duration) -> Option<String> {
        let until = Instant::now() + wait;
        while !self.deaf && Instant::now() < until {
            match self.next(until.saturating_duration_since(Instant::now())) {
                Some(ended) if ended.job == *job => return Some(ended.result),
                _ => {}
            }
        }
        None
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.listener.abort();
    }
}
