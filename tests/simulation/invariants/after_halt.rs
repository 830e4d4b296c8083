//! After a halt is committed nothing begins, except hosts that the answer to the
//! halt named as in flight (and hosts a person vouched are dead); for ever, or until a person resumes and confirms
//! exactly the hosts in flight then.

use std::collections::BTreeSet;

use crate::{Seen, Why};
use sternway_core::ids::HostName;
use sternway_core::rollout::{Decision, Effect, Input};

use super::Invariant;

#[derive(Default)]
pub(super) struct AfterHalt {
    /// While halted: who may still begin, under a permit that is out.
    in_flight: Option<BTreeSet<HostName>>,
    /// A person vouched for these, and answers for what they do.
    dead: BTreeSet<HostName>,
}

impl Invariant for AfterHalt {
    fn observe(&mut self, seen: &Seen) -> Result<(), String> {
        if let Seen::Committed { entry, effects, .. } = seen {
            // An entry may resume and then permit, or permit and then halt: in that order.
            for effect in effects {
                match effect {
                    Effect::Decided(
                        Decision::Halted { in_flight, .. } | Decision::UndoBegan { in_flight, .. },
                    ) => self.in_flight = Some(in_flight.iter().cloned().collect()),
                    Effect::Decided(Decision::Resumed { in_flight, .. }) => {
                        self.in_flight = None;
                        check_confirmed(&entry.input, in_flight)?;
                    }
                    Effect::Decided(Decision::HostDead { host, .. }) => {
                        self.dead.insert(host.clone());
                    }
                    Effect::Permit { host, .. } if self.in_flight.is_some() => {
                        return Err(format!("{host} is permitted after a halt"));
                    }
                    _ => {}
                }
            }
        }
        match (seen, &self.in_flight) {
            (Seen::Disturbed { host, why: Why::Permit, .. }, Some(named))
                if !named.contains(host) && !self.dead.contains(host) =>
            {
                Err(format!("{host} begins after a halt that named only {named:?}"))
            }
            _ => Ok(()),
        }
    }
}

fn check_confirmed(input: &Input, in_flight: &[HostName]) -> Result<(), String> {
    let all: BTreeSet<&HostName> = in_flight.iter().collect();
    match input {
        Input::Resume { confirmed, .. } if confirmed.iter().collect::<BTreeSet<_>>() == all => Ok(()),
        other => Err(format!("{other:?} resumed with {in_flight:?} in flight")),
    }
}

#[cfg(test)]
mod tests {
    use sternway_core::rollout::HaltCause;

    use super::super::made::{begins, breaks_at_last, committed, decided, holds, host, maria, permit};
    use super::*;

    #[test]
    fn it_fires() {
        let cause = HaltCause::Person { by: maria(), reason: String::new() };
        let halt = decided(Decision::Halted { cause, in_flight: vec![host("a")] });
        let resume = |confirmed| {
            let input = Input::Resume { by: maria(), reason: String::new(), confirmed };
            let decision =
                Decision::Resumed { by: maria(), reason: String::new(), in_flight: vec![host("a")] };
            committed(input, vec![Effect::Decided(decision)])
        };
        holds(
            AfterHalt::default(),
            &[halt.clone(), begins("a"), resume(vec![host("a")]), permit("b", 1), begins("b")],
        );
        breaks_at_last(AfterHalt::default(), &[halt.clone(), begins("b")]);
        breaks_at_last(AfterHalt::default(), &[halt.clone(), permit("a", 1)]);
        breaks_at_last(AfterHalt::default(), &[halt, resume(vec![])]);
    }
}
