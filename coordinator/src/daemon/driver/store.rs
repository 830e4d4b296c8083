//! Commits, and what becomes of the driver when one is refused: it steps down
//! when somebody else conducts, halts a rollout whose rows do not agree with its
//! machine, and otherwise only answers questions until it can write again.

use std::time::{Duration, Instant};

use sternway_core::exit;
use sternway_core::ids::RolloutId;
use sternway_core::rollout::Input;
use sternway_core::wire::{Answer, OperatorError};

use super::super::database::{StoreError, TransitionId};
use super::super::outbox::Outbox;
use super::super::points::Reach;
use super::{After, Command, Driver, DriverError, HostSaid, Message, Turn, coordinator};

/// After a failed commit the disk gets this long before the next try.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Nothing could be written the last time it was tried.
#[derive(Debug)]
pub(super) struct Reset {
    cause: String,
    tried_at: Instant,
    /// Rollouts whose rows refused what the machine decided.
    halts: Vec<(RolloutId, String)>,
}

impl Reset {
    pub(super) fn words(&self) -> String {
        self.cause.clone()
    }

    pub(super) fn patience(&self) -> Duration {
        AGAIN_AFTER.saturating_sub(self.tried_at.elapsed())
    }
}

impl Driver {
    /// Commits, then does what follows. A commit that fails is followed by nothing.
    pub(super) fn finish(&mut self, turn: Turn) -> Result<bool, DriverError> {
        let Turn { mut commit, after } = turn;
        if !commit.is_empty() {
            self.commits += 1;
            commit.id = TransitionId { opening: self.opening, count: self.commits };
        }
        let cause = match self.database.commit(&commit) {
            Ok(()) => {
                after.into_iter().for_each(|after| self.perform(after));
                return Ok(true);
            }
            Err(cause) => cause,
        };
        tracing::error!(error = &cause as &dyn std::error::Error, "could not commit; nothing of it is done");
        after.into_iter().for_each(|after| give_up(after, &cause.to_string()));
        for (_, here) in std::mem::take(&mut self.fleet).all() {
            here.outbox.close("the coordinator could not write down what was said");
        }
        if matches!(cause, StoreError::Superseded(_)) {
            return Err(DriverError::Superseded(cause));
        }
        self.rebuild()?;
        // What is stored may hold the epoch of this commit, whatever the error says.
        self.epoch = self.epoch.max(self.database.epoch());
        let words = cause.to_string();
        let halts = match cause {
            StoreError::Guard { rollout, .. } => vec![(rollout, words.clone())],
            _ => Vec::new(),
        };
        let mut older = self.reset.take().map(|reset| reset.halts).unwrap_or_default();
        older.extend(halts);
        self.reset = Some(Reset { cause: words, tried_at: Instant::now(), halts: older });
        Ok(false)
    }

    /// After a failed commit: as after a restart, once something can be written again.
    pub(super) fn begin_again(&mut self) -> Result<(), DriverError> {
        let due = self.reset.as_ref().is_some_and(|reset| reset.patience().is_zero());
        let Some(reset) = self.reset.take_if(|_| due) else { return Ok(()) };
        let mut turn = Turn::default();
        self.epoch += 1;
        turn.commit.epoch = Some(self.epoch);
        self.restarted(&mut turn);
        for (id, why) in &reset.halts {
            let reason = format!("this is a bug, please report it: {why}");
            self.apply(id, Input::Halt { by: coordinator(), reason }, &mut turn);
        }
        let halts = reset.halts.clone();
        if self.finish(turn)? {
            tracing::info!("what is said can be written down again");
        } else if let Some(again) = &mut self.reset {
            again.halts = halts;
        }
        Ok(())
    }

    /// While nothing can be written: questions are answered, everything else is
    /// refused and told so. True when this was the last message to be taken.
    pub(super) fn take_read_only(&mut self, message: Message, why: &str, turn: &mut Turn) -> bool {
        match message {
            Message::Ask {
                command: Command::Inventory | Command::Rollouts | Command::Fleet | Command::Status { .. },
                ..
            }
            | Message::Lines { .. }
            | Message::Audit { .. }
            | Message::Reach { .. }
            | Message::Stop => self.take(message, turn),
            Message::Points { ref claims, .. } if claims.is_empty() => self.take(message, turn),
            Message::Points { reply, .. } => {
                drop(reply.send(Err(not_done(why))));
                false
            }
            Message::Ask { command, reply, .. } => {
                // Whoever asked may have gone away meanwhile.
                drop(reply.send(Answer::Error(read_only(&command, why))));
                false
            }
            Message::Host { said: HostSaid::Arrived { outbox, .. }, .. } => {
                let_go(&outbox);
                false
            }
            Message::Host { .. } => false,
        }
    }
}

fn let_go(outbox: &Outbox) {
    outbox.close("the coordinator can write nothing down; come back later");
}

/// What was asked is not done, in so many words.
fn read_only(command: &Command, why: &str) -> OperatorError {
    let (message, hint) = match command {
        Command::Halt { rollout, .. } => (
            format!("rollout {rollout} is NOT halted: the coordinator is read-only: {why}"),
            "no host gets leave to begin while that lasts; to stop a host itself: sternway-agent halt, on it",
        ),
        _ => return not_done(why),
    };
    OperatorError { exit: exit::UNREACHABLE, message, hint: Some(hint.into()) }
}

fn not_done(why: &str) -> OperatorError {
    OperatorError {
        exit: exit::UNREACHABLE,
        message: format!("it was not done: the coordinator is read-only: {why}"),
        hint: Some("is its disk full? it goes on by itself once it can write again".into()),
    }
}

fn give_up(after: After, why: &str) {
    let error = || OperatorError {
        exit: exit::UNREACHABLE,
        message: format!("it could not be written down, so it was NOT done: {why}"),
        hint: Some(
            "is the coordinator's disk full? no host gets leave to begin while that lasts; \
             to stop a host itself: sternway-agent halt, on it"
                .into(),
        ),
    };
    match after {
        After::Reply { reply, .. } => drop(reply.send(Answer::Error(error()))),
        After::Lines { reply, .. } => drop(reply.send(Err(error()))),
        After::Audit { reply, .. } => drop(reply.send(Err(error()))),
        After::Allowed { reply, .. } => drop(reply.send(Err(error()))),
        After::Reach { reply, .. } => drop(reply.send(Reach::Away)),
        After::Perform { .. } | After::Ack { .. } | After::Wake { .. } => {}
        After::Welcome { outbox, .. } | After::Unwelcome { outbox, .. } => let_go(&outbox),
    }
}
