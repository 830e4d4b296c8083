//! One connection, from hello to its end.

use std::net::SocketAddr;
use std::time::Duration;

use sternway_core::ids::Digest;
use sternway_core::run::{Input, Told};
use sternway_core::trust::ENVELOPE_BYTES_MAX;
use sternway_core::wire::{
    Decoder, Event, FRAME_BYTES_MAX, FromAgent, Greeting, PLUGIN_BYTES_MAX, PROTOCOL, PlanHeader,
    PluginAnswer, PluginAsk, TIMES_MAX, ToAgent, decode_frame, encode_frame,
};

use super::{CONNECT_WITHIN, Shared};
use crate::journal::{JournalError, Shown};
use crate::message::FromLink;
use crate::outbox::{Fetch, Inbox};

/// Events that carry no decision wait this long for company.
const COALESCE: Duration = Duration::from_millis(3);
/// Records told but not yet acknowledged, at most.
const UNACKED_MAX: u64 = 256;
/// Records in one frame, at most; a frame that grows too large is halved.
const BATCH_MAX: usize = 64;

pub(super) enum Ended {
    /// The coordinator said when to come back.
    Told {
        after: Duration,
    },
    Broke {
        was_up: bool,
        reason: String,
    },
}

fn broke(was_up: bool, reason: impl std::fmt::Display) -> Ended {
    Ended::Broke { was_up, reason: reason.to_string() }
}

pub(super) async fn run(
    endpoint: quinn::Endpoint,
    address: SocketAddr,
    client: &quinn::ClientConfig,
    shared: &Shared,
    inbox: &mut Inbox,
) -> Ended {
    let connection = *inbox.reconnect.borrow_and_update();
    let greeted = tokio::time::timeout(CONNECT_WITHIN, greet(&endpoint, address, client, shared)).await;
    let mut session = match greeted {
        Ok(Ok(session)) => session,
        Ok(Err(reason)) => return broke(false, reason),
        Err(_) => return broke(false, "no answer in time"),
    };
    shared.tell_driver(FromLink::Up { epoch: session.epoch, connection });
    let ended = session.carry(shared, inbox).await;
    session.connection.close(0_u8.into(), b"agent leaves");
    shared.tell_driver(FromLink::Down);
    ended
}

struct Session {
    connection: quinn::Connection,
    send: quinn::SendStream,
    ear: Ear,
    epoch: u64,
    told: u64,
    acked: u64,
}

async fn greet(
    endpoint: &quinn::Endpoint,
    address: SocketAddr,
    client: &quinn::ClientConfig,
    shared: &Shared,
) -> Result<Session, String> {
    let connecting = endpoint
        .connect_with(client.clone(), address, "sternway-coordinator")
        .map_err(|error| error.to_string())?;
    let connection = connecting.await.map_err(|error| error.to_string())?;
    let (mut send, receive) = connection.open_bi().await.map_err(|error| error.to_string())?;
    let greeting =
        shared.with_journal(|journal| greeting(shared, journal)).map_err(|error| error.to_string())?;
    let hello =
        encode_frame(&FromAgent::Hello(greeting), FRAME_BYTES_MAX).map_err(|error| error.to_string())?;
    send.write_all(&hello).await.map_err(|error| error.to_string())?;
    let mut session = Session {
        connection,
        send,
        ear: Ear { receive, decoder: Decoder::new(FRAME_BYTES_MAX) },
        epoch: 0,
        told: 0,
        acked: 0,
    };
    // A client believes itself connected before the server has judged its
    // certificate; only this answer means admitted.
    match session.ear.next().await? {
        ToAgent::Welcome { epoch, acked, .. } => {
            (session.epoch, session.told, session.acked) = (epoch, acked, acked);
            shared.with_journal(|journal| journal.acked(acked));
            Ok(session)
        }
        ToAgent::Unwelcome { reason } => Err(format!("not admitted: {reason}")),
        other => Err(format!("unexpected first words: {other:?}")),
    }
}

fn greeting(shared: &Shared, journal: &Shown) -> Result<Greeting, JournalError> {
    let acked = journal.newest_acked();
    let (plan, rollout) = journal.open_run();
    Ok(Greeting {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").into(),
        fleet: shared.fleet,
        host: shared.host.clone(),
        journal: journal.id(),
        last: journal.last(),
        epoch: journal.epoch(),
        acked,
        times: journal.events_after(acked, TIMES_MAX)?.iter().map(|event| event.at).collect(),
        plan,
        rollout,
    })
}

/// The control stream's lower half.
struct Ear {
    receive: quinn::RecvStream,
    decoder: Decoder,
}

impl Ear {
    /// Cancel-safe: bytes that arrived stay in the decoder.
    async fn next(&mut self) -> Result<ToAgent, String> {
        loop {
            if let Some(message) = self.decoder.next_frame().map_err(|error| error.to_string())? {
                return Ok(message);
            }
            match self.receive.read_chunk(16 * 1024, true).await {
                Ok(Some(chunk)) => self.decoder.push(&chunk.bytes),
                Ok(None) => return Err("the coordinator closed the stream".into()),
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

impl Session {
    async fn say(&mut self, message: &FromAgent) -> Result<(), String> {
        let frame = encode_frame(message, FRAME_BYTES_MAX).map_err(|error| error.to_string())?;
        self.send.write_all(&frame).await.map_err(|error| error.to_string())
    }

    async fn carry(&mut self, shared: &Shared, inbox: &mut Inbox) -> Ended {
        if let Err(reason) = self.tell_events(shared).await {
            return broke(true, reason);
        }
        loop {
            let step = tokio::select! {
                // Commands first: a halt must not wait behind our own words.
                biased;
                message = self.ear.next() => match message {
                    Ok(ToAgent::ComeBack { after }) => {
                        return Ended::Told { after: Duration::from_millis(after.0) };
                    }
                    Ok(ToAgent::Acked { sequence }) => {
                        self.acked = self.acked.max(sequence);
                        shared.with_journal(|journal| journal.acked(sequence));
                        self.tell_events(shared).await
                    }
                    Ok(message) => {
                        shared.tell_driver(FromLink::Said(message));
                        Ok(())
                    }
                    Err(reason) => Err(reason),
                },
                plan = self.connection.accept_uni() => match plan {
                    Ok(stream) => receive_plan(stream, shared).await,
                    Err(error) => Err(error.to_string()),
                },
                asked = self.connection.accept_bi() => match asked {
                    Ok((send, receive)) => {
                        if let Some(asks) = shared.asks.clone() {
                            tokio::spawn(asks.serve(send, receive));
                        }
                        Ok(())
                    }
                    Err(error) => Err(error.to_string()),
                },
                Some(fetch) = inbox.fetches.recv() => {
                    tokio::spawn(fetch_plugin(self.connection.clone(), fetch));
                    Ok(())
                }
                Some(message) = inbox.said.recv() => self.say(&message).await,
                changed = inbox.reconnect.changed() => match changed {
                    Ok(()) => return Ended::Told { after: Duration::ZERO },
                    Err(_) => Err("the agent ends".into()),
                },
                changed = inbox.written.changed() => match changed {
                    Ok(()) => self.coalesce(shared, inbox).await,
                    Err(_) => Err("the agent ends".into()),
                },
            };
            if let Err(reason) = step {
                return broke(true, reason);
            }
        }
    }

    /// Lets a burst gather, unless somebody waits for what is in it.
    async fn coalesce(&mut self, shared: &Shared, inbox: &mut Inbox) -> Result<(), String> {
        let waiting = shared
            .with_journal(|journal| journal.events_after(self.told, BATCH_MAX))
            .map_err(|error| error.to_string())?;
        if !waiting.is_empty() && !waiting.iter().any(is_urgent) {
            tokio::time::sleep(COALESCE).await;
            inbox.written.mark_unchanged();
        }
        self.tell_events(shared).await
    }

    async fn tell_events(&mut self, shared: &Shared) -> Result<(), String> {
        while self.told.saturating_sub(self.acked) < UNACKED_MAX {
            let events = shared
                .with_journal(|journal| journal.events_after(self.told, BATCH_MAX))
                .map_err(|error| error.to_string())?;
            let Some(last) = events.last().map(|event| event.sequence) else { break };
            self.tell_batch(events).await?;
            self.told = last;
        }
        Ok(())
    }

    async fn tell_batch(&mut self, events: Vec<Event>) -> Result<(), String> {
        let mut batches = vec![events];
        while let Some(batch) = batches.pop() {
            match encode_frame(&FromAgent::Events(batch.clone()), FRAME_BYTES_MAX) {
                Ok(frame) => self.send.write_all(&frame).await.map_err(|error| error.to_string())?,
                Err(_) if batch.len() > 1 => {
                    let (first, second) = batch.split_at(batch.len() / 2);
                    batches.push(second.to_vec());
                    batches.push(first.to_vec());
                }
                // One record that is too large to tell: its number is told, so that no gap stays.
                Err(_) => batches
                    .extend(batch.into_iter().map(|event| vec![Event { told: Told::Internal, ..event }])),
            }
        }
        Ok(())
    }
}

/// Whether somebody waits for it.
fn is_urgent(event: &Event) -> bool {
    match &event.told {
        Told::Run { input, .. } => !matches!(input, Input::Began { .. } | Input::Ended { .. }),
        Told::Call { .. } | Told::Remarked { .. } | Told::Internal => false,
    }
}

async fn receive_plan(mut stream: quinn::RecvStream, shared: &Shared) -> Result<(), String> {
    let read = tokio::time::timeout(CONNECT_WITHIN, stream.read_to_end(ENVELOPE_BYTES_MAX + 4096)).await;
    let bytes = match read {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => return Err(format!("a plan that cannot be received: {error}")),
        Err(_) => return Err("a plan that does not arrive".into()),
    };
    let head = bytes.first_chunk::<4>().map_or(0, |head| u32::from_be_bytes(*head) as usize);
    let header = bytes.get(4..4 + head).ok_or("a plan without its header")?;
    let header: PlanHeader = decode_frame(header).map_err(|error| error.to_string())?;
    shared.tell_driver(FromLink::Plan {
        rollout: header.rollout,
        plan: header.plan,
        sealed: bytes[4 + head..].to_vec(),
    });
    Ok(())
}

async fn fetch_plugin(connection: quinn::Connection, fetch: Fetch) {
    let fetched = tokio::time::timeout(CONNECT_WITHIN, ask_for_plugin(&connection, fetch.sha256)).await;
    let bytes = match fetched {
        Ok(Ok(bytes)) => Some(bytes),
        Ok(Err(reason)) => {
            tracing::warn!(reason, plugin = %fetch.sha256.short(), "could not fetch a plugin");
            None
        }
        Err(_) => None,
    };
    // Whoever asked may have given up.
    let _ = fetch.answer.send(bytes);
}

async fn ask_for_plugin(connection: &quinn::Connection, sha256: Digest) -> Result<Vec<u8>, String> {
    let (mut send, mut receive) = connection.open_bi().await.map_err(|error| error.to_string())?;
    let ask = encode_frame(&PluginAsk { sha256 }, FRAME_BYTES_MAX).map_err(|error| error.to_string())?;
    send.write_all(&ask).await.map_err(|error| error.to_string())?;
    send.finish().map_err(|error| error.to_string())?;
    let bytes = receive.read_to_end(PLUGIN_BYTES_MAX + 4096).await.map_err(|error| error.to_string())?;
    let head = bytes.first_chunk::<4>().map_or(0, |head| u32::from_be_bytes(*head) as usize);
    let answer = bytes.get(4..4 + head).ok_or("no answer")?;
    match decode_frame(answer).map_err(|error| error.to_string())? {
        PluginAnswer::Here { bytes: length } if length == (bytes.len() - 4 - head) as u64 => {
            Ok(bytes[4 + head..].to_vec())
        }
        PluginAnswer::Here { .. } => Err("fewer or more bytes than announced".into()),
        PluginAnswer::Unknown => Err("the coordinator has no such plugin".into()),
    }
}
