//! What agents say: records of their journals, each exactly once and without
//! gaps; who came and who went.

use sternway_core::ids::{HostName, PlanId, RolloutId};
use sternway_core::rollout::{HostState, Input, Word, word_of};
use sternway_core::run::{Input as RunInput, Told};
use sternway_core::wire::{Event, Greeting, HostLine};

use super::super::database::{HostRow, StrangeRun};
use super::super::fleet::{Here, SessionId};
use super::super::outbox::Outbox;
use super::identity::Known;
use super::{After, Driver, HostSaid, Turn};

impl Driver {
    pub(super) fn heard(&mut self, host: &HostName, session: SessionId, said: HostSaid, turn: &mut Turn) {
        match said {
            HostSaid::Arrived { greeting, outbox } => self.arrived(host, session, &greeting, outbox, turn),
            HostSaid::Left => self.left(host, session, turn),
            _ if self.quarantine.contains_key(host) => {}
            // What an older connection still had to say comes again on the newer one.
            _ if self.fleet.find(host, session).is_none() => {}
            HostSaid::Events(events) => self.told(host, events, turn),
            HostSaid::Refused { plan, code, reason } => self.refused(host, plan, code, reason, turn),
            HostSaid::Progress { plan, step, text } => self.progressed(host, plan, step, text, turn),
        }
    }

    fn arrived(
        &mut self,
        host: &HostName,
        session: SessionId,
        greeting: &Greeting,
        outbox: Outbox,
        turn: &mut Turn,
    ) {
        let (acked, ahead) = match self.recognise(host, greeting) {
            Ok(Known::As { acked, ahead }) => (acked, ahead),
            Ok(Known::Odd { reason }) => {
                self.quarantine(host, greeting.journal, &reason, turn);
                return turn.after.push(After::Unwelcome {
                    outbox,
                    reason: format!("{reason}; a person has to look, then: sternway readmit {host}"),
                });
            }
            Err(cause) => {
                let reason = format!("the record of the host could not be read: {cause}");
                return turn.after.push(After::Unwelcome { outbox, reason });
            }
        };
        tracing::info!(%host, version = greeting.version, acked, last = greeting.last, "a host is here");
        let claimed = greeting.acked.max(acked);
        let row = HostRow { journal: greeting.journal, acked, claimed, last_heard: self.clock.now() };
        self.hosts.insert(host.clone(), row.clone());
        turn.commit.hosts.insert(host.clone(), Some(row));
        self.fleet.arrive(
            host.clone(),
            Here { session, outbox: outbox.clone(), version: greeting.version.clone() },
        );
        // Performed in this order: nothing is said to a host before its welcome.
        turn.after.push(After::Welcome { outbox, acked });
        if let Some(ahead) = &ahead {
            self.went_back(ahead, greeting, turn);
        }
        self.greeted.insert(host.clone());
        for id in self.rollouts_of(host, greeting.plan) {
            self.apply(&id, Input::Connected { host: host.clone() }, turn);
        }
    }

    /// Open rollouts of the host, and the one its own plan belongs to: it may be owed a release.
    fn rollouts_of(&self, host: &HostName, plan: Option<PlanId>) -> Vec<RolloutId> {
        let of_plan = plan.and_then(|plan| self.by_plan.get(&plan));
        let concerned = |id: &RolloutId| {
            self.takes_part(id, host)
                && (of_plan == Some(id)
                    || self.rollouts.get(id).is_some_and(|conducted| !conducted.has_ended()))
        };
        self.rollouts.keys().filter(|id| concerned(id)).cloned().collect()
    }

    pub(super) fn takes_part(&self, id: &RolloutId, host: &HostName) -> bool {
        self.rollouts.get(id).is_some_and(|conducted| conducted.machine.host(host).is_some())
    }

    fn left(&mut self, host: &HostName, session: SessionId, turn: &mut Turn) {
        if !self.fleet.leave(host, session) {
            return;
        }
        tracing::info!(%host, "a host is gone");
        for id in self.rollouts_of(host, None) {
            self.apply(&id, Input::Lost { host: host.clone() }, turn);
        }
    }

    fn told(&mut self, host: &HostName, events: Vec<Event>, turn: &mut Turn) {
        let now = self.clock.now();
        let Some(mut row) = self.hosts.get(host).cloned() else { return };
        row.last_heard = now;
        for event in events {
            // Said again, since the acknowledgement was lost.
            if event.sequence <= row.acked {
                continue;
            }
            if event.sequence != row.acked + 1 {
                if let Some(here) = self.fleet.get(host) {
                    here.outbox.close(&format!("record {} came after {}", event.sequence, row.acked));
                }
                break;
            }
            row.acked = event.sequence;
            self.record(host, &event, turn);
            turn.commit.events.push((host.clone(), row.journal, event));
        }
        turn.after.push(After::Ack { host: host.clone(), sequence: row.acked });
        self.hosts.insert(host.clone(), row.clone());
        turn.commit.hosts.insert(host.clone(), Some(row));
    }

    /// The line people read, and the word the machine hears.
    pub(super) fn record(&mut self, host: &HostName, event: &Event, turn: &mut Turn) {
        let (plan, line) = match &event.told {
            Told::Internal => return,
            Told::Run { plan, input } => {
                (plan, HostLine::Host { host: host.clone(), at: event.at, input: input.clone() })
            }
            Told::Call { plan, step, name, subject } => {
                let (name, subject) = (name.clone(), subject.clone());
                (plan, HostLine::Call { host: host.clone(), at: event.at, step: *step, name, subject })
            }
            Told::Remarked { plan, remark } => {
                (plan, HostLine::Remarked { host: host.clone(), at: event.at, remark: remark.clone() })
            }
        };
        let Some(id) = self.by_plan.get(plan).cloned() else {
            return self.record_strange(host, *plan, &event.told, turn);
        };
        if matches!(&event.told, Told::Run { input: RunInput::Accepted { .. }, .. })
            && self.strange_runs.contains_key(host)
        {
            self.note_strange(host, None, turn);
        }
        self.line(&id, line, turn);
        if let Some(word) = word_of(event.sequence, &event.told) {
            self.apply(&id, Input::Host { host: host.clone(), word }, turn);
        }
    }

    /// Of a run whose rollout is not on record here, what matters is whether it goes on.
    fn record_strange(&mut self, host: &HostName, plan: PlanId, told: &Told, turn: &mut Turn) {
        let Told::Run { input, .. } = told else { return };
        let known = self.strange_runs.get(host).filter(|run| run.plan == plan).cloned();
        let run = match (input, known) {
            (RunInput::Accepted { rollout, .. }, None) => {
                tracing::warn!(%host, plan = %plan.short(), %rollout, "a host speaks of a rollout that is not on record");
                StrangeRun { plan, rollout: rollout.clone(), settled: false }
            }
            (RunInput::Settled { .. }, Some(run)) => StrangeRun { settled: true, ..run },
            _ => return,
        };
        self.note_strange(host, Some(run), turn);
    }

    fn refused(&mut self, host: &HostName, plan: PlanId, code: String, reason: String, turn: &mut Turn) {
        let Some(id) = self.by_plan.get(&plan).cloned() else { return };
        let known = self.rollouts.get(&id).and_then(|conducted| conducted.machine.host(host));
        // It is offered again with each connection, and refused again.
        if known.is_none_or(|known| matches!(known.state, HostState::Refused { .. })) {
            return;
        }
        tracing::warn!(rollout = %id, %host, code, reason, "a host refused");
        self.line(&id, HostLine::Refused { host: host.clone(), code, reason: reason.clone() }, turn);
        self.apply(&id, Input::Host { host: host.clone(), word: Word::Refused { reason } }, turn);
    }

    fn progressed(&mut self, host: &HostName, plan: PlanId, step: u32, text: String, turn: &mut Turn) {
        let Some(id) = self.by_plan.get(&plan).cloned() else { return };
        let Some(conducted) = self.rollouts.get_mut(&id) else { return };
        if conducted.note_progress(host, step, text) {
            turn.after.push(After::Wake { rollout: id });
        }
    }
}
