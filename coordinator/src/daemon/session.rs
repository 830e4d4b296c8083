//! One connected agent: hello, then records up and orders down until one side ends it.
//!
//! Nothing here decides anything. What an agent says is read only as fast as it
//! is committed; what goes down waits in an [`Outbox`], halts first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quinn::{Connection, RecvStream, SendStream};
use sternway_core::ids::{FleetId, HostName, is_disguise};
use sternway_core::wire::{
    Decoder, FRAME_BYTES_MAX, FrameError, FromAgent, Greeting, PROTOCOL, PluginAnswer, PluginAsk, ToAgent,
    encode_frame,
};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout};

use super::driver::{HostSaid, Message};
use super::fleet::SessionId;
use super::outbox::{Down, Next, Outbox};
use super::plugin_store::PluginStore;
use super::points::Lines;

/// From the end of the handshake to the hello.
const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// Records that are read before the oldest of them is committed.
const UNACKED_MAX: u64 = 256;
/// Acknowledgements that carry nothing else are at least this far apart.
const ACK_APART: Duration = Duration::from_millis(3);
/// What was said last gets this long to arrive.
const FLUSH_WITHIN: Duration = Duration::from_millis(500);
/// Plugins that one agent fetches at a time.
const FETCHES_MAX: usize = 2;
/// A plugin that takes an agent longer than this is asked for again.
const FETCH_WITHIN: Duration = Duration::from_secs(120);
/// Longest progress text that is shown, in characters.
const PROGRESS_CHARS_MAX: usize = 80;
/// Bytes taken off a stream at once.
const READ_BYTES: usize = FRAME_BYTES_MAX;

/// Codes with which connections are closed.
pub(crate) const CLOSED_NORMALLY: u8 = 0;
pub(crate) const CLOSED_NOT_ADMITTED: u8 = 1;
pub(crate) const CLOSED_FOR_CAUSE: u8 = 2;

#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("no hello within {} s", HELLO_WITHIN.as_secs())]
    NoHello,
    #[error("the first message is not a hello")]
    NotAHello,
    #[error("a second hello")]
    SecondHello,
    #[error("a frame is wrong")]
    Frame(#[from] FrameError),
    #[error("the agent ended its stream")]
    Ended,
    #[error("the connection was lost")]
    Lost(#[from] quinn::ConnectionError),
    #[error("the stream was cut")]
    Cut(#[from] quinn::ReadError),
    #[error("the coordinator stops")]
    Stopping,
}

/// What all sessions share.
#[derive(Debug)]
pub struct Sessions {
    pub fleet: FleetId,
    pub driver: mpsc::Sender<Message>,
    pub plugins: PluginStore,
    pub(crate) lines: Lines,
    pub last: AtomicU64,
}

/// Serves one agent, whose certificate says `host`, until the connection ends.
pub(crate) async fn serve(connection: Connection, host: HostName, sessions: Arc<Sessions>) {
    let session = SessionId(sessions.last.fetch_add(1, Ordering::Relaxed) + 1);
    let greeted = match timeout(HELLO_WITHIN, hello(&connection)).await {
        Ok(greeted) => greeted,
        Err(_) => Err(SessionError::NoHello),
    };
    let (send, reader, greeting) = match greeted {
        Ok(greeted) => greeted,
        Err(cause) => return close_for(&connection, &host, &cause),
    };
    let outbox = Outbox::default();
    let writer = tokio::spawn(write(connection.clone(), send, outbox.clone()));
    if let Some(reason) = unwelcome(&greeting, &host, sessions.fleet) {
        tracing::warn!(%host, reason, "a host is not welcome");
        outbox.push_urgent(ToAgent::Unwelcome { reason: reason.clone() });
        outbox.close(&reason);
        // It only fails when the task was ended from outside, and then nothing is left to do.
        let _ = writer.await;
        return;
    }
    let link = Link { host: host.clone(), session, driver: sessions.driver.clone() };
    // The driver alone says whether this session is the host's, and admitted.
    let registered = sessions.lines.register(session, connection.clone());
    let arrived = HostSaid::Arrived { greeting: Box::new(greeting), outbox: outbox.clone() };
    let ended = tokio::select! {
        ended = link.read(reader, arrived, &outbox) => ended,
        ended = serve_plugins(&connection, &sessions) => ended,
    };
    if let Err(cause) = ended {
        close_for(&connection, &host, &cause);
    }
    drop(registered);
    // The driver may have ended first; then nobody counts hosts any more.
    let _ = link.tell(HostSaid::Left).await;
    outbox.close("the connection ended");
    let _ = writer.await;
}

fn close_for(connection: &Connection, host: &HostName, cause: &SessionError) {
    match cause {
        SessionError::Lost(_) | SessionError::Cut(_) | SessionError::Ended | SessionError::Stopping => {
            tracing::debug!(%host, error = cause as &dyn std::error::Error, "a session ended");
        }
        _ => tracing::warn!(%host, error = cause as &dyn std::error::Error, "an agent was let go"),
    }
    connection.close(CLOSED_FOR_CAUSE.into(), cause.to_string().as_bytes());
}

/// Why this greeting is not good enough, in words for the agent's log.
fn unwelcome(greeting: &Greeting, host: &HostName, fleet: FleetId) -> Option<String> {
    if greeting.protocol != PROTOCOL {
        return Some(format!("protocol {} is spoken there, {PROTOCOL} here", greeting.protocol));
    }
    if greeting.fleet != fleet {
        return Some(format!("fleet {} is not this one, {}", greeting.fleet.short(), fleet.short()));
    }
    (greeting.host != *host)
        .then(|| format!("the greeting says {} and the certificate {host}", greeting.host))
}

struct Reader {
    receive: RecvStream,
    decoder: Decoder,
}

impl Reader {
    async fn next(&mut self) -> Result<FromAgent, SessionError> {
        loop {
            if let Some(message) = self.decoder.next_frame()? {
                return Ok(message);
            }
            match self.receive.read_chunk(READ_BYTES, true).await? {
                Some(chunk) => self.decoder.push(&chunk.bytes),
                None => return Err(SessionError::Ended),
            }
        }
    }
}

async fn hello(connection: &Connection) -> Result<(SendStream, Reader, Greeting), SessionError> {
    let (send, receive) = connection.accept_bi().await?;
    let mut reader = Reader { receive, decoder: Decoder::new(FRAME_BYTES_MAX) };
    match reader.next().await? {
        FromAgent::Hello(greeting) => Ok((send, reader, greeting)),
        FromAgent::Events(_)
        | FromAgent::Refused { .. }
        | FromAgent::Stalled { .. }
        | FromAgent::Tick { .. } => Err(SessionError::NotAHello),
    }
}

struct Link {
    host: HostName,
    session: SessionId,
    driver: mpsc::Sender<Message>,
}

impl Link {
    async fn tell(&self, said: HostSaid) -> Result<(), SessionError> {
        let message = Message::Host { host: self.host.clone(), session: self.session, said };
        self.driver.send(message).await.map_err(|_| SessionError::Stopping)
    }

    async fn read(&self, mut reader: Reader, arrived: HostSaid, outbox: &Outbox) -> Result<(), SessionError> {
        let mut committed = outbox.committed();
        self.tell(arrived).await?;
        loop {
            match reader.next().await? {
                FromAgent::Hello(_) => return Err(SessionError::SecondHello),
                FromAgent::Events(events) => {
                    let Some(newest) = events.last().map(|event| event.sequence) else { continue };
                    self.tell(HostSaid::Events(events)).await?;
                    // Flow control does the rest: what is not read here waits at the agent.
                    let is_near = |known: &u64| newest.saturating_sub(*known) < UNACKED_MAX;
                    committed.wait_for(is_near).await.map_err(|_| SessionError::Stopping)?;
                }
                FromAgent::Refused { plan, code, reason } => {
                    self.tell(HostSaid::Refused { plan, code, reason }).await?;
                }
                FromAgent::Stalled { since: Some(since) } => {
                    tracing::error!(host = %self.host, %since, "journal stalled: this host's disk does not answer");
                }
                FromAgent::Stalled { since: None } => {
                    tracing::info!(host = %self.host, "this host's disk answers again");
                }
                FromAgent::Tick { plan, step, stage, done, total, unit } => {
                    let text = progress_text(&stage, done, total, &unit);
                    let message = HostSaid::Progress { plan, step, text };
                    let message =
                        Message::Host { host: self.host.clone(), session: self.session, said: message };
                    // Droppable: when the driver is busy, nobody looks.
                    if let Err(mpsc::error::TrySendError::Closed(_)) = self.driver.try_send(message) {
                        return Err(SessionError::Stopping);
                    }
                }
            }
        }
    }
}

fn progress_text(stage: &str, done: u64, total: Option<u64>, unit: &str) -> String {
    let text = match total {
        Some(total) => format!("{stage} {done}/{total} {unit}"),
        None => format!("{stage} {done} {unit}"),
    };
    text.chars().filter(|c| !is_disguise(*c)).take(PROGRESS_CHARS_MAX).collect()
}

/// Sends what the outbox holds until it is closed or the connection ends.
async fn write(connection: Connection, mut send: SendStream, outbox: Outbox) {
    // Orders before plans and plugins. It only fails on a stream that has ended.
    let _ = send.set_priority(1);
    let mut acked_at: Option<Instant> = None;
    loop {
        let Some(next) = outbox.take() else {
            tokio::select! {
                () = outbox.changed() => continue,
                _ = connection.closed() => return,
            }
        };
        let sent = match next {
            Next::Send(Down::Message(message)) => say(&mut send, &message).await,
            Next::Send(Down::Plan { header, sealed }) => {
                let connection = connection.clone();
                // On a stream and a task of its own: a plan that is read slowly holds up no halt.
                tokio::spawn(async move {
                    let Ok(frame) = encode_frame(&header, FRAME_BYTES_MAX) else { return };
                    let Ok(mut stream) = connection.open_uni().await else { return };
                    if stream.write_all(&frame).await.is_ok() && stream.write_all(&sealed).await.is_ok() {
                        // It fails when the agent stopped the stream: it has refused.
                        let _ = stream.finish();
                    }
                });
                Ok(())
            }
            Next::Ack(sequence) => {
                let due = acked_at.map_or_else(Instant::now, |at| at + ACK_APART);
                if Instant::now() < due {
                    // A newer one may come meanwhile and takes its place.
                    outbox.ack(sequence);
                    outbox.rest_until(due).await;
                    continue;
                }
                acked_at = Some(Instant::now());
                say(&mut send, &ToAgent::Acked { sequence }).await
            }
            Next::Close(reason) => {
                if send.finish().is_ok() {
                    // Returns when the agent has everything; whatever it says then, it is over.
                    let _ = timeout(FLUSH_WITHIN, send.stopped()).await;
                }
                return connection.close(CLOSED_NORMALLY.into(), reason.as_bytes());
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn say(send: &mut SendStream, message: &ToAgent) -> Result<(), ()> {
    let frame = encode_frame(message, FRAME_BYTES_MAX).map_err(|cause| {
        tracing::error!(error = &cause as &dyn std::error::Error, "a message does not fit its frame");
    })?;
    // The reader tells why the connection ended.
    send.write_all(&frame).await.map_err(|_| ())
}

/// Answers what the agent asks for on streams of its own.
async fn serve_plugins(connection: &Connection, sessions: &Arc<Sessions>) -> Result<(), SessionError> {
    let room = Arc::new(Semaphore::new(FETCHES_MAX));
    loop {
        let (send, receive) = connection.accept_bi().await?;
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return Err(SessionError::Stopping) };
        let sessions = Arc::clone(sessions);
        tokio::spawn(async move {
            // Whatever goes wrong here, the agent asks again.
            let _ = timeout(FETCH_WITHIN, send_plugin(send, receive, &sessions.plugins)).await;
            drop(permit);
        });
    }
}

async fn send_plugin(
    mut send: SendStream,
    mut receive: RecvStream,
    plugins: &PluginStore,
) -> Result<(), SessionError> {
    let mut decoder = Decoder::new(FRAME_BYTES_MAX);
    let ask: PluginAsk = loop {
        match decoder.next_frame()? {
            Some(ask) => break ask,
            None => match receive.read_chunk(READ_BYTES, true).await? {
                Some(chunk) => decoder.push(&chunk.bytes),
                None => return Err(SessionError::Ended),
            },
        }
    };
    let found = plugins.find(ask.sha256).await;
    let answer = match &found {
        Some(bytes) => PluginAnswer::Here { bytes: bytes.len() as u64 },
        None => PluginAnswer::Unknown,
    };
    let frame = encode_frame(&answer, FRAME_BYTES_MAX)?;
    for part in [frame, found.unwrap_or_default()] {
        send.write_all(&part).await.map_err(|_| SessionError::Ended)?;
    }
    send.finish().map_err(|_| SessionError::Ended)
}
