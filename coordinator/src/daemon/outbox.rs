//! What waits to go down to one agent. Halts overtake everything, the newest
//! acknowledgement replaces older ones, and an agent that does not read is let
//! go instead of being remembered without end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use sternway_core::time::Millis;
use sternway_core::wire::{PlanHeader, ToAgent};
use tokio::sync::{Notify, watch};

/// Messages that may wait for one agent.
const WAITING_MAX: usize = 256;

/// The driver's end and the session's end are clones of one another.
#[derive(Debug, Clone, Default)]
pub struct Outbox(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Notify,
    /// Number of the newest record on disk here.
    committed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Queue {
    /// The welcome, then halts: nothing goes before them.
    urgent: VecDeque<ToAgent>,
    rest: VecDeque<Down>,
    acked: Option<u64>,
    closed: Option<String>,
}

/// One thing to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Down {
    Message(ToAgent),
    /// On a stream of its own.
    Plan {
        header: PlanHeader,
        sealed: Arc<[u8]>,
    },
}

/// What the session does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Send(Down),
    /// Only this waits; it may wait a little longer for a newer one.
    Ack(u64),
    Close(String),
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn push_urgent(&self, message: ToAgent) {
        let mut queue = self.lock();
        if queue.urgent.len() >= WAITING_MAX {
            queue.close("it does not read what it is told");
        } else if !queue.urgent.contains(&message) {
            queue.urgent.push_back(message);
        }
        self.0.changed.notify_one();
    }

    pub fn push(&self, down: Down) {
        let mut queue = self.lock();
        if queue.rest.len() >= WAITING_MAX {
            queue.close("it does not read what it is told");
        } else if !queue.rest.contains(&down) {
            queue.rest.push_back(down);
        }
        self.0.changed.notify_one();
    }

    /// The first word: events go on after `acked`.
    pub fn welcome(&self, epoch: u64, acked: u64, reconnect_within: Millis) {
        self.0.committed.send_replace(acked);
        self.push_urgent(ToAgent::Welcome { epoch, acked, reconnect_within });
    }

    /// Everything up to here is committed.
    pub fn ack(&self, sequence: u64) {
        self.0.committed.send_if_modified(|known| {
            let newer = *known < sequence;
            *known = sequence.max(*known);
            newer
        });
        let mut queue = self.lock();
        queue.acked = Some(queue.acked.map_or(sequence, |older| older.max(sequence)));
        self.0.changed.notify_one();
    }

    /// What waits is still sent, then the connection ends with this reason.
    pub fn close(&self, reason: &str) {
        self.lock().close(reason);
        self.0.changed.notify_one();
    }

    /// The next thing to do, or none yet.
    pub fn take(&self) -> Option<Next> {
        let mut queue = self.lock();
        if let Some(message) = queue.urgent.pop_front() {
            return Some(Next::Send(Down::Message(message)));
        }
        if let Some(down) = queue.rest.pop_front() {
            return Some(Next::Send(down));
        }
        if let Some(sequence) = queue.acked.take() {
            return Some(Next::Ack(sequence));
        }
        queue.closed.clone().map(Next::Close)
    }

    /// Waits until `due`, or until something more than an acknowledgement waits.
    pub async fn rest_until(&self, due: tokio::time::Instant) {
        while !self.has_more_than_an_ack() {
            tokio::select! {
                () = tokio::time::sleep_until(due) => return,
                () = self.changed() => {}
            }
        }
    }

    fn has_more_than_an_ack(&self) -> bool {
        let queue = self.lock();
        !queue.urgent.is_empty() || !queue.rest.is_empty() || queue.closed.is_some()
    }

    pub fn committed(&self) -> watch::Receiver<u64> {
        self.0.committed.subscribe()
    }

    /// Returns when there is something to take; wakes one waiter.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }
}

impl Queue {
    fn close(&mut self, reason: &str) {
        if self.closed.is_none() {
            self.closed = Some(reason.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use sternway_core::ids::PlanId;

    use super::*;

    const PLAN: PlanId = PlanId([1; 32]);

    fn permit(nonce: u64) -> Down {
        Down::Message(ToAgent::Permit { plan: PLAN, nonce, epoch: 1, valid_for: Millis(1) })
    }

    #[test]
    fn a_halt_overtakes_permits_and_acknowledgements() {
        let outbox = Outbox::default();
        outbox.push(permit(1));
        outbox.ack(7);
        let halt = ToAgent::Halt { plan: PLAN, epoch: 1 };
        outbox.push_urgent(halt.clone());
        assert_eq!(outbox.take(), Some(Next::Send(Down::Message(halt))));
        assert_eq!(outbox.take(), Some(Next::Send(permit(1))));
        assert_eq!(outbox.take(), Some(Next::Ack(7)));
        assert_eq!(outbox.take(), None);
    }

    #[test]
    fn only_the_newest_acknowledgement_is_sent() {
        let outbox = Outbox::default();
        [3, 9, 5].into_iter().for_each(|sequence| outbox.ack(sequence));
        assert_eq!(outbox.take(), Some(Next::Ack(9)));
        assert_eq!(outbox.take(), None);
    }

    #[test]
    fn an_agent_that_does_not_read_is_let_go() {
        let outbox = Outbox::default();
        (0..=WAITING_MAX as u64).for_each(|nonce| outbox.push(permit(nonce)));
        for nonce in 0..WAITING_MAX as u64 {
            assert_eq!(outbox.take(), Some(Next::Send(permit(nonce))));
        }
        assert!(matches!(outbox.take(), Some(Next::Close(_))));
    }
}
