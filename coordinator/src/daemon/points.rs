//! What people ask of hosts about their rollback points, carried to each host
//! on a stream of its own, and what it answers carried back.
//!
//! Nothing here is decided: whether a host does what an order says is judged by
//! that host. What a person wants changed is in the audit before it is carried.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::{Connection, RecvStream, SendStream, VarInt};
use sternway_core::exit;
use sternway_core::ids::{HostName, Person};
use sternway_core::point::{Answer as Said, Ask, Order};
use sternway_core::trust::Sealed;
use sternway_core::wire::{
    Answer, Decoder, FRAME_BYTES_MAX, OperatorError, POINT_ASKS_MAX, PointAnswer, PointAsk, PointSaid,
    encode_frame,
};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::driver::Message;
use super::fleet::SessionId;
use super::session::Sessions;

/// Hosts of one request that are asked at the same time.
const HOSTS_AT_ONCE: usize = 64;
/// Answers that wait for an operator who reads slowly; progress is dropped then.
const ANSWERS_WAITING_MAX: usize = 128;
/// A host that has no room for another stream within this time is busy.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// What one host may say to one ask, progress apart, in bytes.
const SAID_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What a stream is reset with when nobody wants its answers any more.
const CALLED_OFF: VarInt = VarInt::from_u32(1);

/// The connections of agents, by session.
#[derive(Debug, Default)]
pub(crate) struct Lines(Mutex<BTreeMap<SessionId, Connection>>);

impl Lines {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<SessionId, Connection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Known until what is returned is dropped.
    pub(crate) fn register(&self, session: SessionId, connection: Connection) -> Registered<'_> {
        self.lock().insert(session, connection);
        Registered { lines: self, session }
    }

    fn find(&self, session: SessionId) -> Option<Connection> {
        self.lock().get(&session).cloned()
    }
}

#[derive(Debug)]
pub(crate) struct Registered<'a> {
    lines: &'a Lines,
    session: SessionId,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.lines.lock().remove(&self.session);
    }
}

/// Whether a host can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    Here(SessionId),
    Away,
    /// With the reason.
    Quarantined(String),
}

/// A wish of a person to change something on a host, as its bytes claim.
#[derive(Debug)]
pub struct Claim {
    pub host: HostName,
    /// Why the bytes are no order, otherwise.
    pub order: Result<Box<Order>, String>,
}

/// The orders among what is asked.
pub(crate) fn claims(asks: &[PointAsk]) -> Vec<Claim> {
    let orders = asks.iter().filter_map(|ask| match &ask.ask {
        Ask::Order(sealed) => Some((&ask.host, sealed)),
        _ => None,
    });
    let claim = |sealed: &[u8]| {
        let sealed = Sealed::<Order>::parse(sealed).map_err(|cause| cause.to_string())?;
        sealed.claim().map(Box::new).map_err(|cause| cause.to_string())
    };
    orders.map(|(host, sealed)| Claim { host: host.clone(), order: claim(sealed) }).collect()
}

/// One ask for each host, and not too many.
pub(crate) fn check(asks: &[PointAsk]) -> Result<(), OperatorError> {
    let wrong = |message: String| Err(OperatorError { exit: exit::USAGE, message, hint: None });
    if asks.len() > POINT_ASKS_MAX {
        return wrong(format!("{} hosts in one request, at most {POINT_ASKS_MAX} are asked", asks.len()));
    }
    let mut hosts: Vec<&HostName> = asks.iter().map(|ask| &ask.host).collect();
    hosts.sort();
    match hosts.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => wrong(format!("{} is asked twice in one request", pair[0])),
        None => Ok(()),
    }
}

/// Answers of all hosts as they come. Dropped, it calls off what is not done.
#[derive(Debug)]
pub(crate) struct Relay {
    answers: mpsc::Receiver<PointAnswer>,
    /// Ended with this.
    _asking: JoinSet<()>,
}

impl Sessions {
    /// Is this host here, now that its turn has come?
    async fn reach(&self, host: HostName) -> Reach {
        let (reply, answered) = oneshot::channel();
        match self.driver.send(Message::Reach { host, reply }).await {
            Ok(()) => answered.await.unwrap_or(Reach::Away),
            Err(_) => Reach::Away,
        }
    }
}

impl Relay {
    pub(crate) fn start(asks: Vec<PointAsk>, person: &Person, sessions: &Arc<Sessions>) -> Self {
        let (say, answers) = mpsc::channel(ANSWERS_WAITING_MAX);
        let room = Arc::new(Semaphore::new(HOSTS_AT_ONCE));
        let mut asking = JoinSet::new();
        tracing::debug!(%person, hosts = asks.len(), "hosts are asked about their points");
        for PointAsk { host, ask } in asks {
            let (room, sessions) = (Arc::clone(&room), Arc::clone(sessions));
            let listener = Listener { host, say: say.clone() };
            asking.spawn(async move {
                let Ok(_permit) = room.acquire_owned().await else { return };
                put(&ask, &listener, &sessions).await;
            });
        }
        Self { answers, _asking: asking }
    }

    /// The next answer of any host; none when all have said all.
    pub(crate) async fn next(&mut self) -> Option<Answer> {
        self.answers.recv().await.map(Answer::Point)
    }
}

/// Where one host's answers go.
struct Listener {
    host: HostName,
    say: mpsc::Sender<PointAnswer>,
}

impl Listener {
    async fn tell(&self, said: PointSaid) {
        let answer = PointAnswer { host: self.host.clone(), said };
        // Whoever listened has gone, and this task with it.
        let _ = self.say.send(answer).await;
    }

    async fn hear(&self, answer: Said) {
        if matches!(answer, Said::Progress(_)) {
            let said = PointSaid::Answer(answer);
            // Droppable: who reads slowly gets a newer one later.
            let _ = self.say.try_send(PointAnswer { host: self.host.clone(), said });
        } else {
            self.tell(PointSaid::Answer(answer)).await;
        }
    }

    async fn refuse(&self, code: &str, reason: String) {
        self.hear(Said::Refused { code: code.into(), reason }).await;
        self.hear(Said::Done).await;
    }
}

/// Why a host's answer came to no end.
enum Cut {
    /// The connection or the stream broke.
    Broken,
    Refused {
        code: &'static str,
        reason: String,
    },
}

async fn put(ask: &Ask, listener: &Listener, sessions: &Sessions) {
    let line = match sessions.reach(listener.host.clone()).await {
        Reach::Here(session) => sessions.lines.find(session),
        Reach::Away => None,
        Reach::Quarantined(reason) => {
            let reason = format!("{} is in quarantine: {reason}", listener.host);
            return listener.refuse("quarantine", reason).await;
        }
    };
    let Some(line) = line else { return listener.tell(PointSaid::Away).await };
    match converse(&line, ask, listener).await {
        Ok(()) => listener.hear(Said::Done).await,
        Err(Cut::Broken) => listener.tell(PointSaid::Away).await,
        Err(Cut::Refused { code, reason }) => {
            tracing::warn!(host = %listener.host, reason, "an ask about points came to nothing");
            listener.refuse(code, reason).await;
        }
    }
}

/// Both halves of a stream; dropped before the host is done, it calls the ask off.
struct Conversation {
    send: SendStream,
    receive: RecvStream,
    is_over: bool,
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // Either fails only on a half that has ended already.
        if self.is_over {
            let _ = self.send.finish();
        } else {
            let _ = self.send.reset(CALLED_OFF);
            let _ = self.receive.stop(CALLED_OFF);
        }
    }
}

/// Puts the ask and passes on everything before [`Said::Done`].
async fn converse(line: &Connection, ask: &Ask, listener: &Listener) -> Result<(), Cut> {
    let refused = |code, reason: String| Cut::Refused { code, reason };
    let frame =
        encode_frame(ask, FRAME_BYTES_MAX).map_err(|cause| refused("too-large", cause.to_string()))?;
    let opened = timeout(OPEN_WITHIN, line.open_bi()).await;
    let (send, receive) = match opened {
        Ok(opened) => opened.map_err(|_| Cut::Broken)?,
        Err(_) => return Err(refused("busy", "it is busy with what it was asked before".into())),
    };
    let mut conversation = Conversation { send, receive, is_over: false };
    // It stays open: its end before the host's would call the ask off.
    conversation.send.write_all(&frame).await.map_err(|_| Cut::Broken)?;
    let mut decoder = Decoder::new(FRAME_BYTES_MAX);
    let mut said_bytes = 0;
    loop {
        let frame = decoder.next_frame::<Said>();
        match frame.map_err(|cause| refused("unreadable", format!("its answer cannot be read: {cause}")))? {
            Some(Said::Done) => {
                conversation.is_over = true;
                return Ok(());
            }
            Some(answer) => {
                listener.hear(answer).await;
                continue;
            }
            None => {}
        }
        if said_bytes > SAID_BYTES_MAX {
            return Err(refused("too-long", format!("its answer is longer than {SAID_BYTES_MAX} bytes")));
        }
        match conversation.receive.read_chunk(FRAME_BYTES_MAX, true).await {
            Ok(Some(chunk)) => {
                said_bytes += chunk.bytes.len();
                decoder.push(&chunk.bytes);
            }
            Ok(None) | Err(_) => return Err(Cut::Broken),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sternway_core::point::Want;

    fn ask(host: &str) -> PointAsk {
        PointAsk { host: host.parse().unwrap(), ask: Ask::List(Want::default()) }
    }

    #[test]
    fn a_request_asks_each_host_once_and_not_too_many() {
        assert!(check(&[ask("web-1"), ask("web-2")]).is_ok());
        assert_eq!(check(&[ask("web-1"), ask("web-2"), ask("web-1")]).unwrap_err().exit, exit::USAGE);
        let many = |count| (0..count).map(|at| ask(&format!("web-{at}"))).collect::<Vec<_>>();
        assert!(check(&many(POINT_ASKS_MAX)).is_ok());
        assert_eq!(check(&many(POINT_ASKS_MAX + 1)).unwrap_err().exit, exit::USAGE);
    }

    #[test]
    fn bytes_that_are_no_order_are_told_from_orders() {
        let asks =
            [ask("web-1"), PointAsk { host: "web-2".parse().unwrap(), ask: Ask::Order(b"no".to_vec()) }];
        let claims = claims(&asks);
        assert_eq!(claims.len(), 1);
        assert!(claims[0].order.is_err());
    }
}
