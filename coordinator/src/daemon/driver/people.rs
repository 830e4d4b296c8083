//! What persons ask for and order: who may was checked by certificate and, for
//! orders, by signature; every one of them leaves a line in the audit.

use sternway_core::exit;
use sternway_core::ids::{HostName, Person, PlanId, RolloutId, is_disguise};
use sternway_core::plan::{Plan, REASON_BYTES_MAX, Urgency};
use sternway_core::rollout::{Ahead, Input};
use sternway_core::time::Timestamp;
use sternway_core::trust::{HostFacts, Order, Sealed, Verb, Verified};
use sternway_core::wire::{Answer, AuditLine, OperatorError};

use super::super::database::RolloutRow;
use super::conducted::Conducted;
use super::{Driver, Taken, Turn};
use crate::audit;

/// What is asked of the driver; the rest of the operators' requests only reads.
#[derive(Debug)]
pub enum Command {
    Inventory,
    Launch { sealed: Vec<u8>, without: Vec<HostName> },
    Order { rollout: RolloutId, sealed: Vec<u8> },
    Hold { rollout: RolloutId, reason: String },
    Go { rollout: RolloutId, reason: String },
    Halt { rollout: RolloutId, reason: String },
    Resume { rollout: RolloutId, reason: String, confirmed: Vec<HostName>, halt: u64 },
    DeclareDead { rollout: RolloutId, host: HostName, reason: String },
    Readmit { host: HostName, reason: String },
    Status { rollout: RolloutId },
    Rollouts,
    Fleet,
}

type Refused = OperatorError;

pub(super) fn refuse(exit: u8, message: impl Into<String>) -> Refused {
    OperatorError { exit, message: message.into(), hint: None }
}

pub(super) fn with_hint(exit: u8, message: impl Into<String>, hint: &str) -> Refused {
    OperatorError { exit, message: message.into(), hint: Some(hint.into()) }
}

/// An error and everything under it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(under) = cause {
        text.push_str(": ");
        text.push_str(&under.to_string());
        cause = under.source();
    }
    text
}

pub(super) fn check_reason(reason: &str) -> Result<(), Refused> {
    if reason.trim().is_empty() {
        return Err(with_hint(
            exit::USAGE,
            "a reason is wanted: it stays in the record",
            "add --reason \"...\"",
        ));
    }
    if reason.len() > REASON_BYTES_MAX {
        return Err(refuse(exit::USAGE, format!("a reason has at most {REASON_BYTES_MAX} bytes")));
    }
    match reason.chars().any(is_disguise) {
        true => Err(refuse(exit::USAGE, "a reason has no control or direction characters")),
        false => Ok(()),
    }
}

impl Driver {
    pub(super) fn asked(
        &mut self,
        person: &Person,
        command: Command,
        turn: &mut Turn,
    ) -> Result<Answer, Refused> {
        let by = person.clone();
        match command {
            Command::Inventory => Ok(self.inventory_answer()),
            Command::Rollouts => Ok(self.rollouts_answer()),
            Command::Fleet => Ok(self.fleet_answer()),
            Command::Status { rollout } => Ok(Answer::Status(self.view(&rollout)?)),
            Command::Launch { sealed, without } => {
                let outcome = self.launch(person, &sealed, without, turn);
                if let Err(error) = &outcome {
                    self.audit(person, "launch refused", None, &error.message, turn);
                }
                outcome
            }
            Command::Order { rollout, sealed } => {
                let outcome = self.order(person, &rollout, sealed, turn);
                if let Err(error) = &outcome {
                    self.audit(person, "order refused", Some(&rollout), &error.message, turn);
                }
                outcome
            }
            Command::Hold { rollout, reason } => {
                check_reason(&reason)?;
                self.said("hold", person, &rollout, reason.clone(), Input::Hold { by, reason }, turn)
            }
            Command::Go { rollout, reason } => {
                check_reason(&reason)?;
                self.said("go", person, &rollout, reason.clone(), Input::Go { by, reason }, turn)
            }
            Command::Halt { rollout, reason } => {
                check_reason(&reason)?;
                self.said("halt", person, &rollout, reason.clone(), Input::Halt { by, reason }, turn)
            }
            Command::Resume { rollout, reason, confirmed, halt } => {
                check_reason(&reason)?;
                self.check_halt(&rollout, halt)?;
                let detail = format!("{reason} (confirmed: {})", names(&confirmed));
                self.said("resume", person, &rollout, detail, Input::Resume { by, reason, confirmed }, turn)
            }
            Command::DeclareDead { rollout, host, reason } => {
                check_reason(&reason)?;
                let detail = format!("{host}: {reason}");
                self.said(
                    "declare dead",
                    person,
                    &rollout,
                    detail,
                    Input::ExcludeDead { host, by, reason },
                    turn,
                )
            }
            Command::Readmit { host, reason } => self.readmit(person, &host, &reason, turn),
        }
    }

    /// A halt wins against a resume that does not know of it.
    fn check_halt(&self, rollout: &RolloutId, named: u64) -> Result<(), Refused> {
        let halt = self.find(rollout)?.machine.status().halt;
        match halt.filter(|halt| halt.last.sequence != named) {
            None => Ok(()),
            Some(halt) => Err(with_hint(
                exit::USAGE,
                format!(
                    "nothing was resumed: {rollout} was halted again, in entry {}, and what is to be resumed is \
                     the halt of entry {named}",
                    halt.last.sequence
                ),
                "read why, look again, and then resume: sternway status",
            )),
        }
    }

    /// A person has looked at a host in quarantine: the next journal that comes in its name is believed.
    fn readmit(
        &mut self,
        person: &Person,
        host: &HostName,
        reason: &str,
        turn: &mut Turn,
    ) -> Result<Answer, Refused> {
        check_reason(reason)?;
        if self.quarantine.remove(host).is_none() {
            return Err(with_hint(
                exit::USAGE,
                format!("{host} is not in quarantine"),
                "look: sternway fleet list",
            ));
        }
        self.hosts.remove(host);
        turn.commit.quarantine.insert(host.clone(), None);
        turn.commit.hosts.insert(host.clone(), None);
        self.audit(person, "readmit", None, &format!("{host}: {reason}"), turn);
        Ok(Answer::Readmitted { host: host.clone() })
    }

    /// Records a person's word and lets the machine hear it.
    fn said(
        &mut self,
        action: &str,
        person: &Person,
        rollout: &RolloutId,
        detail: String,
        input: Input,
        turn: &mut Turn,
    ) -> Result<Answer, Refused> {
        self.find(rollout)?;
        self.audit(person, action, Some(rollout), &detail, turn);
        self.say_who_is_here(rollout, turn);
        let Taken { sequence, decisions, notes } = self.apply(rollout, input, turn);
        Ok(Answer::Taken { sequence, decisions, notes, status: self.view(rollout)? })
    }

    /// A rollout that has ended is not told who comes and goes; it is before it
    /// judges anything again.
    fn say_who_is_here(&mut self, rollout: &RolloutId, turn: &mut Turn) {
        let Some(conducted) = self.rollouts.get(rollout).filter(|conducted| conducted.has_ended()) else {
            return;
        };
        let hosts = conducted.machine.hosts().map(|(name, host)| (name, host.connected));
        let known_wrongly = hosts.filter(|(name, connected)| self.fleet.get(name).is_some() != *connected);
        let changes: Vec<Input> = known_wrongly
            .map(|(name, connected)| match connected {
                true => Input::Lost { host: name.clone() },
                false => Input::Connected { host: name.clone() },
            })
            .collect();
        for change in changes {
            self.apply(rollout, change, turn);
        }
    }

    pub(super) fn find(&self, rollout: &RolloutId) -> Result<&Conducted, Refused> {
        self.rollouts.get(rollout).ok_or_else(|| {
            with_hint(
                exit::USAGE,
                format!("there is no rollout `{rollout}` here"),
                "list them: sternway rollouts",
            )
        })
    }

    fn launch(
        &mut self,
        person: &Person,
        bytes: &[u8],
        without: Vec<HostName>,
        turn: &mut Turn,
    ) -> Result<Answer, Refused> {
        let now = self.clock.now();
        let verified = self.open_plan(bytes, now)?;
        let (plan, plan_id) = (verified.value().clone(), verified.id());
        self.check_hosts(&plan, &without)?;
        self.check_strange(&plan, plan_id, &without)?;
        let id = self.id_for(plan_id);
        let row = RolloutRow {
            id: id.clone(),
            plan: plan_id,
            sealed: bytes.into(),
            launched_by: person.clone(),
            launched_at: now,
            signers: verified.signers().to_vec(),
            without,
            undo_order: None,
        };
        let hosts = u32::try_from(plan.hosts.len() - row.without.len()).unwrap_or(u32::MAX);
        let without = names(&row.without);
        let (action, detail) = match plan.urgency {
            Urgency::Normal => {
                ("launch", format!("plan {} ({plan_id}), {hosts} hosts, without: {without}", plan.name))
            }
            Urgency::Emergency => {
                let signers: Vec<&str> = row.signers.iter().map(|signer| signer.person.as_str()).collect();
                let signers = signers.join(", ");
                let words = format!(
                    "plan {} ({plan_id}), {hosts} hosts, without: {without}, signed by {signers}: {}",
                    plan.name, plan.reason
                );
                (audit::LAUNCH_EMERGENCY, words)
            }
        };
        turn.commit.rollouts.push(row.clone());
        self.by_plan.insert(plan_id, id.clone());
        self.rollouts.insert(id.clone(), Conducted::new(row, plan));
        self.audit(person, action, Some(&id), &detail, turn);
        self.apply(&id, Input::Restarted { epoch: self.epoch }, turn);
        let here = self.fleet.all().map(|(name, _)| name.clone());
        let here: Vec<HostName> = here.filter(|host| self.takes_part(&id, host)).collect();
        for host in here {
            self.apply(&id, Input::Connected { host }, turn);
        }
        self.apply(&id, Input::Launched { by: person.clone() }, turn);
        self.take_up_strange(&id, plan_id, turn)?;
        Ok(Answer::Launched { rollout: id, plan: plan_id, hosts })
    }

    /// A number that no rollout had, also none that this database has forgotten;
    /// but a forgotten rollout of this very plan keeps its own, by which hosts know it.
    fn id_for(&self, plan: PlanId) -> RolloutId {
        let forgotten = self.strange_runs.values().filter(|run| number_of(&run.rollout).is_some());
        let own = forgotten.clone().find(|run| run.plan == plan).map(|run| &run.rollout);
        if let Some(own) = own.filter(|own| !self.rollouts.contains_key(own)) {
            return own.clone();
        }
        let known = self.rollouts.keys().chain(forgotten.map(|run| &run.rollout));
        let highest = known.filter_map(number_of).max();
        format!("r-{}", highest.unwrap_or(0).saturating_add(1)).parse().expect("a number is a name")
    }

    /// A run that this database has forgotten goes on all the same.
    fn check_strange(&self, plan: &Plan, id: PlanId, without: &[HostName]) -> Result<(), Refused> {
        let takes_part = |host: &&HostName| !without.contains(host);
        for host in plan.hosts.iter().filter(takes_part) {
            if let Some(quarantine) = self.quarantine.get(host) {
                let message = format!("{host} is in quarantine: {}", quarantine.reason);
                return Err(with_hint(exit::BUSY, message, "readmit it, or leave it out: --without"));
            }
            let run = self.strange_runs.get(host).filter(|run| !run.settled && run.plan != id);
            if let Some(run) = run {
                let message = format!("{host} is in rollout {}, which is not on record here", run.rollout);
                let hint = "launch that very plan again to take it up, or wait for the host's end, or leave it out: --without";
                return Err(with_hint(exit::BUSY, message, hint));
            }
        }
        Ok(())
    }

    /// What hosts told of this plan before it was on record here counts, and a person looks at it first.
    fn take_up_strange(&mut self, id: &RolloutId, plan: PlanId, turn: &mut Turn) -> Result<(), Refused> {
        let of_plan = self.strange_runs.iter().filter(|(_, run)| run.plan == plan && run.rollout == *id);
        let runs: Vec<_> = of_plan.map(|(host, run)| (host.clone(), run.rollout.clone())).collect();
        for (host, rollout) in runs {
            let acked = self.hosts.get(&host).map_or(0, |row| row.acked);
            let (epoch, unknown) = (self.epoch, Some(rollout));
            let ahead =
                Ahead { host: host.clone(), epoch, epoch_here: epoch, acked, acked_here: acked, unknown };
            self.apply(id, Input::WentBack { ahead }, turn);
            let stored = self.database.events_of(&host, plan).map_err(|cause| super::unreadable(&cause))?;
            let in_turn = turn.commit.events.iter().filter(|(name, ..)| *name == host);
            let in_turn: Vec<_> = in_turn.map(|(_, _, event)| event.clone()).collect();
            for event in stored.iter().chain(&in_turn) {
                self.record(&host, event, turn);
            }
            self.note_strange(&host, None, turn);
        }
        Ok(())
    }

    /// The checks each host makes again for itself; here they only save everybody the way.
    fn open_plan(&self, bytes: &[u8], now: Timestamp) -> Result<Verified<Plan>, Refused> {
        let refused = |message: String| with_hint(exit::REFUSED, message, "every host would refuse it too");
        let sealed = Sealed::<Plan>::parse(bytes).map_err(|cause| refused(chain(&cause)))?;
        let verified = sealed.open(&self.keyring, now).map_err(|cause| refused(chain(&cause)))?;
        let plan = verified.value();
        let Some(host) = plan.hosts.first() else { return Err(refused("the plan names no host".into())) };
        if let Some(rollout) = self.by_plan.get(&verified.id()) {
            let message = format!("this very plan was launched before, as {rollout}, and runs once");
            let hint = format!("look on: sternway watch {rollout}; or sign the plan again to get a new one");
            return Err(with_hint(exit::REFUSED, message, &hint));
        }
        let facts = HostFacts {
            host,
            now,
            time_floor: Timestamp::default(),
            accepted_before: false,
            busy_with: None,
        };
        verified.clone().admit(facts).map_err(|cause| refused(chain(&cause)))?;
        Ok(verified)
    }

    fn check_hosts(&self, plan: &Plan, without: &[HostName]) -> Result<(), Refused> {
        if let Some(odd) = without.iter().find(|host| !plan.is_for(host)) {
            return Err(refuse(exit::USAGE, format!("`{odd}` is to be left out and is not in the plan")));
        }
        if without.iter().collect::<std::collections::BTreeSet<_>>().len() != without.len() {
            return Err(refuse(exit::USAGE, "a host is to be left out twice"));
        }
        if without.len() == plan.hosts.len() {
            return Err(refuse(exit::USAGE, "with all its hosts left out, nothing remains of the plan"));
        }
        let unknown: Vec<HostName> =
            plan.hosts.iter().filter(|host| self.inventory.find(host.as_str()).is_none()).cloned().collect();
        if !unknown.is_empty() {
            let message = format!("the inventory does not know {}", names(&unknown));
            return Err(with_hint(exit::INVALID, message, "was the plan drafted for another fleet?"));
        }
        let in_waves = plan.waves.iter().map(|wave| wave.hosts.len()).sum::<usize>();
        if in_waves != plan.hosts.len()
            || plan.waves.iter().flat_map(|wave| &wave.hosts).any(|host| !plan.is_for(host))
        {
            return Err(refuse(exit::INVALID, "the plan's waves and its hosts do not agree"));
        }
        for host in plan.hosts.iter().filter(|host| !without.contains(host)) {
            if let Some(busy) = self.rollout_holding(host) {
                let message = format!("{host} belongs to rollout {} of {}", busy.id, busy.launched_by);
                return Err(with_hint(
                    exit::BUSY,
                    message,
                    "wait for its end, or leave the host out: --without",
                ));
            }
        }
        Ok(())
    }

    /// The rollout that still wants something of the host, or holds its slot.
    pub(super) fn rollout_holding(&self, name: &HostName) -> Option<&Conducted> {
        use sternway_core::rollout::HostState;
        self.rollouts.values().find(|conducted| {
            conducted.machine.host(name).is_some_and(|host| {
                let wanted = !matches!(host.state, HostState::Without | HostState::Dead { .. });
                wanted && (!conducted.has_ended() || host.holds_slot())
            })
        })
    }

    /// A signed order: approve a wave, undo, or say how a stuck host goes on. The certificate says who carries
    /// it, the signature who ordered it; the latter counts.
    fn order(
        &mut self,
        carrier: &Person,
        rollout: &RolloutId,
        bytes: Vec<u8>,
        turn: &mut Turn,
    ) -> Result<Answer, Refused> {
        let now = self.clock.now();
        let conducted = self.find(rollout)?;
        let refused = |message: String| refuse(exit::REFUSED, message);
        let sealed = Sealed::<Order>::parse(&bytes).map_err(|cause| refused(chain(&cause)))?;
        let order = sealed.open_order(&self.keyring, now).map_err(|cause| refused(chain(&cause)))?;
        order.admit_for(conducted.plan_id, now).map_err(|cause| refused(chain(&cause)))?;
        let Some(signer) = order.signers().iter().find(|signer| signer.person == order.value().person) else {
            return Err(refused(format!(
                "the order is in the name of {}, who has not signed it",
                order.value().person
            )));
        };
        let (by, reason) = (signer.person.clone(), order.value().reason.clone());
        check_reason(&reason)?;
        let detail = format!("signed by {by}: {reason}");
        match order.value().verb.clone() {
            Verb::Approve { wave } => {
                let index = wave.checked_sub(1).map_or(usize::MAX, |index| index as usize);
                let wanted = conducted.machine.status().waves.get(index).map(|wave| wave.approve.clone());
                let group = match wanted {
                    None => return Err(refuse(exit::USAGE, format!("there is no wave {wave}"))),
                    Some(None) => {
                        return Err(refuse(exit::USAGE, format!("wave {wave} waits for nobody's approval")));
                    }
                    Some(Some(group)) => group,
                };
                if !signer.groups.contains(&group) {
                    let message = format!("{by} is not of group `{group}`, which approves wave {wave}");
                    return Err(refuse(exit::NOT_PERMITTED, message));
                }
                let input = Input::Approve { by, group, wave: index };
                self.said(&format!("approve wave {wave}"), carrier, rollout, detail, input, turn)
            }
            Verb::Undo => {
                turn.commit.undo_orders.push((rollout.clone(), bytes.clone()));
                if let Some(conducted) = self.rollouts.get_mut(rollout) {
                    conducted.undo_order = Some(bytes);
                }
                self.said("undo", carrier, rollout, detail, Input::UndoAll { by, reason }, turn)
            }
            Verb::Unstick { host, choice, asked } => {
                let action = format!("unstick {host}: {}", choice.name());
                let input = Input::Unstick { host: host.clone(), by, reason, choice, asked };
                let answer = self.said(&action, carrier, rollout, detail, input, turn)?;
                // An order that changed nothing must not take the place of one that did.
                if matches!(&answer, Answer::Taken { decisions, .. } if !decisions.is_empty()) {
                    turn.commit.host_orders.push((rollout.clone(), host.clone(), bytes.clone()));
                    if let Some(conducted) = self.rollouts.get_mut(rollout) {
                        conducted.host_orders.insert(host, bytes);
                    }
                }
                Ok(answer)
            }
        }
    }

    /// A line of the audit, chained to the one before.
    pub(super) fn audit(
        &mut self,
        person: &Person,
        action: &str,
        rollout: Option<&RolloutId>,
        detail: &str,
        turn: &mut Turn,
    ) {
        let (sequence, before) = (self.last_audit.0 + 1, &self.last_audit.1);
        let mut line = AuditLine {
            sequence,
            at: self.clock.now(),
            person: person.clone(),
            action: action.into(),
            rollout: rollout.cloned(),
            detail: detail.into(),
            hash: String::new(),
        };
        line.hash = audit::link(before, &line);
        self.last_audit = (sequence, line.hash.clone());
        turn.commit.audit.push(line);
    }
}

/// Of a rollout that a coordinator launched; a run by hand has none.
pub(super) fn number_of(rollout: &RolloutId) -> Option<u64> {
    rollout.as_str().strip_prefix("r-")?.parse().ok()
}

fn names(hosts: &[HostName]) -> String {
    if hosts.is_empty() {
        return "nobody".into();
    }
    hosts.iter().map(HostName::as_str).collect::<Vec<_>>().join(", ")
}
