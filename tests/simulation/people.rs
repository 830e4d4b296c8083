//! People: those who meddle while the faults rage, and somebody competent who
//! looks after it when they have stopped.

use sternway_core::ids::HostName;
use sternway_core::rollout::{HostState, Input, State, Status};
use sternway_core::run::Question;
use sternway_core::time::Millis;

use super::fleet::{Event, SimFleet};
use super::person;
use super::schedule::Act;

/// Answers to one stuck host before it is taken out of the rack.
const TRIES_MAX: usize = 12;

impl SimFleet {
    /// Somebody looks, and makes up his mind.
    pub(super) fn thinks(&mut self, act: &Act, thinks: Millis, again: Option<Millis>) {
        if !self.conductor.up {
            return;
        }
        // The newest rollout is what people look at.
        let Some((plan, status)) = self.statuses().into_iter().max_by_key(|(plan, _)| *plan) else { return };
        if let Some(input) = input_of(act, &status) {
            self.agenda.after(thinks, Event::Says { plan, input, again });
        }
    }

    pub(super) fn says(&mut self, plan: usize, input: Input, again: Option<Millis>) {
        if let Some(length) = again {
            self.agenda.after(length, Event::Says { plan, input: input.clone(), again: None });
        }
        if self.conductor.up {
            let out = self.conductor.said(plan, input, self.agenda.now());
            self.carry_out(out);
        }
    }

    /// Does what a person would who reads `status`, one thing at a time.
    pub(super) fn operator(&mut self) {
        self.look_again_soon();
        if !self.conductor.up {
            return;
        }
        for (plan, status) in self.statuses() {
            if let Some((host, input)) = answer_of(&status, None) {
                let tries = self.operator_tries.entry(host.clone()).or_default();
                *tries += 1;
                let tries = *tries as usize;
                return match input(tries) {
                    Some(input) if tries <= TRIES_MAX => self.says(plan, input, None),
                    _ => self.take_out(&host),
                };
            }
            if let Some(input) = self.next_word(plan, &status) {
                return self.says(plan, input, None);
            }
        }
        self.put_hands_on();
    }

    fn next_word(&self, plan: usize, status: &Status) -> Option<Input> {
        let (by, reason) = (person("maria"), String::from("looked at it"));
        let machine = self.conductor.machine(plan)?;
        let living = |host: &HostName| {
            machine.host(host).is_some_and(|host| {
                !matches!(host.state, HostState::Dead { .. } | HostState::Without) && !host.connected
            })
        };
        let gone = self.agents.iter().filter(|(_, agent)| agent.gone).map(|(host, _)| host);
        if let Some(host) = gone.filter(|host| living(host)).find(|host| status.in_flight.contains(*host)) {
            return Some(Input::ExcludeDead { host: host.clone(), by, reason });
        }
        match &status.state {
            State::Halted => Some(Input::Resume { by, reason, confirmed: status.in_flight.clone() }),
            State::Held => Some(Input::Go { by, reason }),
            State::AwaitsApproval { wave, group } => {
                Some(Input::Approve { by, group: group.clone(), wave: *wave })
            }
            State::Ready | State::Running { .. } | State::Undoing | State::Ended(_) => None,
        }
    }

    /// On the hosts themselves: what was set back is taken out.
    fn put_hands_on(&mut self) {
        let set_apart = |host: &HostName| self.conductor.quarantine.contains(host);
        let mut living = self.agents.iter().filter(|(_, agent)| !agent.gone);
        let odd = living.find(|(host, agent)| agent.was_set_back || set_apart(host));
        if let Some(host) = odd.map(|(host, _)| host.clone()) {
            self.take_out(&host);
        }
    }

    /// Nothing runs there any more; what is left to do is to say so.
    fn take_out(&mut self, host: &HostName) {
        self.end_agent(host, false, Millis::ZERO);
        self.agent(host).gone = true;
    }
}

fn input_of(act: &Act, status: &Status) -> Option<Input> {
    let (by, reason) = (person("jonas"), String::from("it seemed right"));
    Some(match act {
        Act::Hold => Input::Hold { by, reason },
        Act::Go => Input::Go { by, reason },
        Act::Halt => Input::Halt { by, reason },
        Act::Resume { confirms: true } => Input::Resume { by, reason, confirmed: status.in_flight.clone() },
        Act::Resume { confirms: false } => Input::Resume { by, reason, confirmed: Vec::new() },
        Act::Approve { ahead } => {
            let asks = match &status.state {
                State::AwaitsApproval { wave, .. } => *wave,
                _ => status.waves.len(),
            };
            Input::Approve { by, group: person_group(), wave: asks + ahead }
        }
        Act::UndoAll => Input::UndoAll { by, reason },
        Act::Unstick { nth, choice } => return answer_of(status, Some(*nth))?.1(*choice),
        Act::DeclareDead { nth } => {
            let away: Vec<&HostName> =
                status.hosts.iter().filter(|host| !host.connected).map(|host| &host.host).collect();
            let host = (*away.get(nth % away.len().max(1))?).clone();
            Input::ExcludeDead { host, by, reason }
        }
    })
}

/// The so-manieth host that asks something (or the first that is here), and how it may be answered.
fn answer_of(status: &Status, nth: Option<usize>) -> Option<(HostName, impl Fn(usize) -> Option<Input>)> {
    let asking: Vec<(&HostName, &Question)> = status
        .hosts
        .iter()
        .filter(|host| nth.is_some() || host.connected)
        .filter_map(|host| match &host.state {
            HostState::NeedsOperator { question: Some(question), .. } => Some((&host.host, question)),
            _ => None,
        })
        .collect();
    let (host, question) = *asking.get(nth.unwrap_or(0) % asking.len().max(1))?;
    let (host, question) = (host.clone(), question.clone());
    Some((host.clone(), move |choice: usize| {
        let choice = *question.choices.get(choice % question.choices.len().max(1))?;
        let (by, reason) = (person("maria"), "looked at it".to_owned());
        Some(Input::Unstick { host: host.clone(), by, reason, choice, asked: question.asked })
    }))
}

fn person_group() -> sternway_core::ids::Group {
    "sre".parse().expect("a group")
}
