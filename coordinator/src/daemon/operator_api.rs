//! One operator: a stream per request, answered until it ends.
//!
//! A watcher is given pages of the record, each read when it has taken the one
//! before: whoever is slow costs nobody memory and misses no line.

use std::sync::Arc;

use quinn::{Connection, ReadExactError, RecvStream, SendStream};
use sternway_core::exit;
use sternway_core::ids::{HostName, Person, RolloutId};
use sternway_core::wire::{
    Answer, FrameError, OPERATOR_FRAME_BYTES_MAX, OperatorError, PointAsk, Request, decode_frame,
    encode_frame,
};
use tokio::sync::{Semaphore, oneshot};

use super::driver::{Command, Lines, Message};
use super::points::{self, Relay};
use super::session::Sessions;

/// Requests of one operator that are answered at the same time.
const REQUESTS_MAX: usize = 16;

#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error("the operator went away")]
    Gone,
    #[error("the request cannot be read")]
    Frame(#[from] FrameError),
}

/// Serves one operator until the connection ends.
pub(crate) async fn serve(connection: Connection, person: Person, sessions: Arc<Sessions>) {
    let room = Arc::new(Semaphore::new(REQUESTS_MAX));
    while let Ok((send, receive)) = connection.accept_bi().await {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let (person, sessions) = (person.clone(), Arc::clone(&sessions));
        tokio::spawn(async move {
            if let Err(cause) = answer(send, receive, &person, sessions).await {
                tracing::debug!(%person, error = &cause as &dyn std::error::Error, "a request was not answered");
            }
            drop(permit);
        });
    }
}

/// The end of one request's stream.
struct Reply(SendStream);

impl Reply {
    async fn send(&mut self, answer: &Answer) -> Result<(), RequestError> {
        let frame = encode_frame(answer, OPERATOR_FRAME_BYTES_MAX)?;
        self.0.write_all(&frame).await.map_err(|_| RequestError::Gone)
    }
}

async fn answer(
    send: SendStream,
    mut receive: RecvStream,
    person: &Person,
    sessions: Arc<Sessions>,
) -> Result<(), RequestError> {
    let mut reply = Reply(send);
    let request = match read_request(&mut receive).await {
        Ok(request) => request,
        Err(cause @ RequestError::Gone) => return Err(cause),
        Err(RequestError::Frame(cause)) => {
            let message = format!("the request cannot be read: {cause}");
            let hint = Some("do both ends have the same version?".into());
            return reply.send(&Answer::Error(OperatorError { exit: exit::USAGE, message, hint })).await;
        }
    };
    let asker = Asker { person, sessions };
    match request {
        Request::Inventory => asker.ask(Command::Inventory, &mut reply).await,
        Request::Launch { sealed, without } => {
            asker.ask(Command::Launch { sealed, without }, &mut reply).await
        }
        Request::Order { rollout, sealed } => asker.ask(Command::Order { rollout, sealed }, &mut reply).await,
        Request::Hold { rollout, reason } => asker.ask(Command::Hold { rollout, reason }, &mut reply).await,
        Request::Go { rollout, reason } => asker.ask(Command::Go { rollout, reason }, &mut reply).await,
        Request::Halt { rollout, reason } => asker.ask(Command::Halt { rollout, reason }, &mut reply).await,
        Request::Resume { rollout, reason, confirmed, halt } => {
            asker.ask(Command::Resume { rollout, reason, confirmed, halt }, &mut reply).await
        }
        Request::Readmit { host, reason } => asker.ask(Command::Readmit { host, reason }, &mut reply).await,
        Request::DeclareDead { rollout, host, reason } => {
            asker.ask(Command::DeclareDead { rollout, host, reason }, &mut reply).await
        }
        Request::Status { rollout } => asker.ask(Command::Status { rollout }, &mut reply).await,
        Request::Rollouts => asker.ask(Command::Rollouts, &mut reply).await,
        Request::Fleet => asker.ask(Command::Fleet, &mut reply).await,
        Request::Watch { rollout, from } => asker.watch(&rollout, from, &mut reply).await,
        Request::Log { rollout, host } => asker.log(&rollout, host, &mut reply).await,
        Request::Audit { rollout } => asker.audit(rollout, &mut reply).await,
        Request::Points(asks) => asker.points(asks, &mut reply).await,
    }
}

async fn read_request(receive: &mut RecvStream) -> Result<Request, RequestError> {
    let gone = |_: ReadExactError| RequestError::Gone;
    let mut head = [0; 4];
    receive.read_exact(&mut head).await.map_err(gone)?;
    let bytes = u32::from_be_bytes(head) as usize;
    if bytes > OPERATOR_FRAME_BYTES_MAX {
        return Err(FrameError::TooLarge { bytes, max: OPERATOR_FRAME_BYTES_MAX }.into());
    }
    let mut payload = vec![0; bytes];
    receive.read_exact(&mut payload).await.map_err(gone)?;
    Ok(decode_frame(&payload)?)
}

struct Asker<'a> {
    person: &'a Person,
    sessions: Arc<Sessions>,
}

/// The driver has ended, and the process with it.
fn stopping() -> OperatorError {
    OperatorError { exit: exit::UNREACHABLE, message: "the coordinator stops".into(), hint: None }
}

impl Asker<'_> {
    async fn told<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Result<T, OperatorError> {
        let (reply, answered) = oneshot::channel();
        self.sessions.driver.send(message(reply)).await.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())
    }

    async fn ask(&self, command: Command, reply: &mut Reply) -> Result<(), RequestError> {
        let person = self.person.clone();
        let answer = self.told(|reply| Message::Ask { person, command, reply }).await;
        reply.send(&answer.unwrap_or_else(Answer::Error)).await
    }

    async fn lines(
        &self,
        rollout: &RolloutId,
        host: Option<HostName>,
        after: u64,
    ) -> Result<Lines, OperatorError> {
        let rollout = rollout.clone();
        self.told(|reply| Message::Lines { rollout, host, after, reply }).await?
    }

    /// A status, then every line after `from`, with a status after each burst,
    /// until the rollout has ended and its last line is told.
    async fn watch(&self, rollout: &RolloutId, from: u64, reply: &mut Reply) -> Result<(), RequestError> {
        let mut after = from;
        let mut is_first = true;
        loop {
            let lines = match self.lines(rollout, None, after).await {
                Ok(lines) => lines,
                Err(error) => return reply.send(&Answer::Error(error)).await,
            };
            let Lines { page, view, has_ended, mut news } = lines;
            // What comes from here on counts as new; what is in the page does not.
            if std::mem::take(&mut is_first) {
                reply.send(&Answer::Status(view.clone())).await?;
            }
            for line in page.items {
                after = line.sequence;
                reply.send(&Answer::Line(line)).await?;
            }
            if page.more {
                continue;
            }
            reply.send(&Answer::Status(view)).await?;
            if has_ended {
                return Ok(());
            }
            tokio::select! {
                changed = news.changed() => if changed.is_err() {
                    return reply.send(&Answer::Error(stopping())).await;
                },
                _ = reply.0.stopped() => return Err(RequestError::Gone),
            }
        }
    }

    async fn log(
        &self,
        rollout: &RolloutId,
        host: Option<HostName>,
        reply: &mut Reply,
    ) -> Result<(), RequestError> {
        let mut after = 0;
        loop {
            let page = match self.lines(rollout, host.clone(), after).await {
                Ok(lines) => lines.page,
                Err(error) => return reply.send(&Answer::Error(error)).await,
            };
            for line in page.items {
                after = line.sequence;
                reply.send(&Answer::Line(line)).await?;
            }
            if !page.more {
                return Ok(());
            }
        }
    }

    /// Everything the hosts answer, as it comes; what is not done when the
    /// operator goes away is called off.
    async fn points(&self, asks: Vec<PointAsk>, reply: &mut Reply) -> Result<(), RequestError> {
        if let Err(error) = self.allow_points(&asks).await {
            return reply.send(&Answer::Error(error)).await;
        }
        let mut relay = Relay::start(asks, self.person, &self.sessions);
        loop {
            let answer = tokio::select! {
                answer = relay.next() => answer,
                _ = reply.0.stopped() => return Err(RequestError::Gone),
            };
            match answer {
                Some(answer) => reply.send(&answer).await?,
                None => return Ok(()),
            }
        }
    }

    async fn allow_points(&self, asks: &[PointAsk]) -> Result<(), OperatorError> {
        points::check(asks)?;
        let (person, claims) = (self.person.clone(), points::claims(asks));
        let hosts = asks.iter().map(|ask| ask.host.clone()).collect();
        self.told(|reply| Message::Points { person, hosts, claims, reply }).await?
    }

    async fn audit(&self, rollout: Option<RolloutId>, reply: &mut Reply) -> Result<(), RequestError> {
        let mut after = 0;
        loop {
            let wanted = rollout.clone();
            let page = match self.told(|reply| Message::Audit { rollout: wanted, after, reply }).await {
                Ok(Ok(page)) => page,
                Ok(Err(error)) | Err(error) => return reply.send(&Answer::Error(error)).await,
            };
            for line in page.items {
                after = line.sequence;
                reply.send(&Answer::Audit(line)).await?;
            }
            if !page.more {
                return Ok(());
            }
        }
    }
}
