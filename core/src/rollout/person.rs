//! What persons decide: hold, go, halt, resume, approve, undo, exclude. Anyone
//! may pull the brake in every state; going on asks for more.

use std::collections::BTreeSet;

use super::decision::{Decision, End, Halt, HaltCause, Hold, HoldReason, Note};
use super::wave::{Soak, WaveState, count};
use super::{Effect, Host, HostState, Phase, Rollout, Turn};
use crate::ids::{Group, HostName, Person};
use crate::run::Choice;

impl Rollout {
    pub(super) fn person_holds(&mut self, by: &Person, reason: &str, turn: &mut Turn) {
        if let Phase::Ended(end) = self.phase {
            return turn.note(Note::AlreadyEnded { end });
        }
        self.add_hold(HoldReason::Person { by: by.clone(), reason: reason.to_owned() }, turn);
    }

    /// Adds a question to the hold, or puts new figures to one already asked.
    pub(super) fn add_hold(&mut self, reason: HoldReason, turn: &mut Turn) {
        let hold = self.hold.get_or_insert_with(|| Hold { since: turn.mark, reasons: Vec::new() });
        match hold.reasons.iter_mut().find(|known| known.is_like(&reason)) {
            // Its length alone is no news.
            Some(HoldReason::SoakKeepsRestarting { hosts: known, .. }) if matches!(&reason, HoldReason::SoakKeepsRestarting { hosts, .. } if hosts == known) =>
            {
                return;
            }
            Some(known) if *known == reason => return,
            Some(known) => *known = reason,
            None => hold.reasons.push(reason),
        }
        turn.decided(Decision::Held { reasons: hold.reasons.clone() });
    }

    /// Go accepts what was asked: the same reason does not hold again at once.
    pub(super) fn person_goes(&mut self, by: &Person, reason: &str, turn: &mut Turn) {
        let Some(hold) = self.hold.take() else {
            return turn.note(Note::NotHeld);
        };
        for accepted in &hold.reasons {
            self.accept(accepted, turn);
        }
        turn.decided(Decision::Went { by: by.clone(), reason: reason.to_owned(), accepted: hold.reasons });
        self.say_permits_again(turn);
    }

    fn accept(&mut self, reason: &HoldReason, turn: &Turn) {
        match reason {
            HoldReason::Person { .. } => {}
            HoldReason::TooManySilent { wave, silent, .. } => {
                let silent = self.tally(*wave).silent.max(*silent);
                self.waves[*wave].accepted.silent = silent;
            }
            HoldReason::TooManySilentInAll { silent, .. } => {
                self.accepted.silent = self.silent_in_all().max(*silent);
            }
            HoldReason::NobodyFinished { wave, .. } => self.waves[*wave].accepted.nobody = true,
            HoldReason::SoakKeepsRestarting { wave, hosts, .. } => {
                let wave = &mut self.waves[*wave];
                wave.accepted.unwell.extend(hosts.iter().cloned());
                if let WaveState::Soaking(soak) = wave.state {
                    wave.state = WaveState::Soaking(Soak { began: turn.now(), ..soak });
                }
            }
            HoldReason::HaltedOnHost { hosts } => {
                self.accepted.halted_hosts.extend(hosts.iter().cloned());
            }
            HoldReason::SlotsTaken { holders, .. } => {
                self.accepted.slot_holders.extend(holders.iter().cloned());
            }
        }
    }

    pub(super) fn person_halts(&mut self, by: &Person, reason: &str, turn: &mut Turn) {
        if let Phase::Ended(end) = self.phase {
            return turn.note(Note::AlreadyEnded { end });
        }
        if let Some(halt) = &mut self.halt {
            halt.last = turn.mark;
            turn.note(Note::AlreadyHalted { in_flight: self.in_flight() });
            return self.tell_halt(turn);
        }
        self.halt_for(HaltCause::Person { by: by.clone(), reason: reason.to_owned() }, turn);
    }

    pub(super) fn halt_for(&mut self, cause: HaltCause, turn: &mut Turn) {
        if self.halt.is_some() || matches!(self.phase, Phase::Ended(_)) {
            return;
        }
        self.halt = Some(Halt { since: turn.mark, cause: cause.clone(), last: turn.mark });
        turn.decided(Decision::Halted { cause, in_flight: self.in_flight() });
        self.tell_halt(turn);
    }

    /// Told to every host that could still begin, not only to those with a permit.
    pub(super) fn tell_halt(&self, turn: &mut Turn) {
        let hosts = self.names_of(Host::may_start);
        if !hosts.is_empty() && self.phase != Phase::Ready {
            turn.effects.push(Effect::TellHalt { hosts });
        }
    }

    pub(super) fn person_resumes(
        &mut self,
        by: &Person,
        reason: &str,
        confirmed: &[HostName],
        turn: &mut Turn,
    ) {
        let in_flight = self.in_flight();
        let Some(halt) = &self.halt else {
            return turn.note(Note::NotHalted);
        };
        if confirmed.iter().collect::<BTreeSet<_>>() != in_flight.iter().collect() {
            return turn.note(Note::ConfirmInFlight { in_flight });
        }
        self.halts_past.push((halt.since.sequence, turn.mark.sequence));
        self.halt = None;
        // The person knows how many failed, and goes on.
        self.accepted.failed =
            self.accepted.failed.max(count(self.hosts.values().filter(|host| host.has_failed())));
        if let Some(index) = self.current() {
            let failed = self.tally(index).failed;
            let wave = &mut self.waves[index];
            wave.accepted.failed = wave.accepted.failed.max(failed);
        }
        turn.decided(Decision::Resumed { by: by.clone(), reason: reason.to_owned(), in_flight });
        self.say_permits_again(turn);
    }

    /// Those who asked while nothing might start were not answered.
    fn say_permits_again(&self, turn: &mut Turn) {
        for (name, host) in self.hosts.iter().filter(|(_, host)| host.holds_slot()) {
            turn.effects.extend(self.owed_to(name, host));
        }
    }

    pub(super) fn person_approves(&mut self, by: &Person, group: &Group, index: usize, turn: &mut Turn) {
        let awaited = self.phase == Phase::Running
            && self.waves.get(index).is_some_and(|wave| wave.state == WaveState::AwaitsApproval);
        let Some(wave) = self.waves.get_mut(index).filter(|_| awaited) else {
            return turn.note(Note::NothingToApprove { wave: index });
        };
        match &wave.approve {
            Some(needed) if needed == group && wave.approved.is_none() => {
                wave.approved = Some((by.clone(), turn.mark));
                turn.decided(Decision::Approved { wave: index, by: by.clone(), group: group.clone() });
            }
            Some(needed) if needed != group => {
                turn.note(Note::NeedsGroup { wave: index, group: needed.clone() });
            }
            _ => turn.note(Note::NothingToApprove { wave: index }),
        }
    }

    pub(super) fn person_undoes(&mut self, by: &Person, reason: &str, turn: &mut Turn) {
        match self.phase {
            Phase::Undoing => return turn.note(Note::AlreadyUndoing),
            Phase::Ended(end @ (End::UndoneAll | End::UndoneWithExceptions)) => {
                return turn.note(Note::AlreadyEnded { end });
            }
            Phase::Ready | Phase::Running | Phase::Ended(_) => {}
        }
        if let Some(halt) = self.halt.take() {
            self.halts_past.push((halt.since.sequence, turn.mark.sequence));
        }
        self.hold = None;
        let launched = self.phase != Phase::Ready;
        self.phase = Phase::Undoing;
        turn.decided(Decision::UndoBegan {
            by: by.clone(),
            reason: reason.to_owned(),
            hosts: self.names_of(|host| host.state == HostState::Done),
            in_flight: self.in_flight(),
        });
        if launched {
            self.tell_halt(turn);
        }
    }

    /// Which answers are sound was decided by the host when it asked; the host
    /// judges this one again, signature and all.
    pub(super) fn person_unsticks(
        &mut self,
        name: &HostName,
        by: &Person,
        reason: &str,
        (choice, asked): (Choice, u64),
        turn: &mut Turn,
    ) {
        let Some(host) = self.hosts.get_mut(name) else {
            return turn.note(Note::UnknownHost { host: name.clone() });
        };
        let HostState::NeedsOperator { question: Some(question), .. } = &host.state else {
            return turn.note(Note::NothingAsked { host: name.clone(), choices: Vec::new() });
        };
        if question.asked != asked || !question.choices.contains(&choice) {
            let choices = question.choices.clone();
            return turn.note(Note::NothingAsked { host: name.clone(), choices });
        }
        host.decided = Some(asked);
        let (host, by, reason) = (name.clone(), by.clone(), reason.to_owned());
        turn.effects.push(Effect::OrderUnstick { host: host.clone() });
        turn.decided(Decision::Unstuck { host, by, reason, choice });
    }

    pub(super) fn person_excludes(&mut self, name: &HostName, by: &Person, reason: &str, turn: &mut Turn) {
        let Some(host) = self.hosts.get_mut(name) else {
            return turn.note(Note::UnknownHost { host: name.clone() });
        };
        if matches!(host.state, HostState::Without | HostState::Dead { .. }) {
            return turn.note(Note::NotTakingPart { host: name.clone() });
        }
        if host.connected {
            return turn.note(Note::HostIsHere { host: name.clone() });
        }
        host.declare_dead(by.clone(), reason.to_owned(), turn.mark);
        turn.decided(Decision::HostDead { host: name.clone(), by: by.clone(), reason: reason.to_owned() });
    }
}
