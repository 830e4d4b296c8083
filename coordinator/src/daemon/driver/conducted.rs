//! One rollout as the driver holds it: the machine, the bytes it is about, and
//! what people see of it beyond the machine's own state.

use std::collections::BTreeMap;
use std::sync::Arc;

use sternway_core::ids::{HostName, Person, PlanId, RolloutId};
use sternway_core::plan::Plan;
use sternway_core::rollout::{HostState, Rollout, State};
use sternway_core::run::Input;
use sternway_core::time::Timestamp;
use sternway_core::trust::{Sealed, Signer};
use sternway_core::wire::{AtWork, HostLine, LogLine, RolloutLine, RolloutView};
use tokio::sync::watch;

use super::super::database::{Database, RolloutRow};
use super::DriverError;

#[derive(Debug)]
pub(super) struct Conducted {
    pub(super) id: RolloutId,
    pub(super) plan_id: PlanId,
    pub(super) plan: Plan,
    /// What the operator sent, byte for byte; this is relayed.
    pub(super) sealed: Arc<[u8]>,
    pub(super) launched_by: Person,
    pub(super) launched_at: Timestamp,
    signers: Vec<Signer>,
    pub(super) undo_order: Option<Vec<u8>>,
    /// What persons decided about stuck hosts, signed.
    pub(super) host_orders: BTreeMap<HostName, Vec<u8>>,
    pub(super) machine: Rollout,
    /// An invariant was found broken; said once.
    pub(super) is_odd: bool,
    at_work: BTreeMap<HostName, AtWork>,
    newest_line: u64,
    /// Counts whatever a watcher could want to see.
    pub(super) news: watch::Sender<u64>,
}

impl Conducted {
    /// A rollout before its first entry. `plan` is what `row.sealed` holds.
    pub(super) fn new(row: RolloutRow, plan: Plan) -> Self {
        Self {
            machine: Rollout::new(row.id.clone(), row.plan, &plan, &row.without),
            id: row.id,
            plan_id: row.plan,
            plan,
            sealed: row.sealed,
            launched_by: row.launched_by,
            launched_at: row.launched_at,
            signers: row.signers,
            undo_order: row.undo_order,
            host_orders: BTreeMap::new(),
            is_odd: false,
            at_work: BTreeMap::new(),
            newest_line: 0,
            news: watch::Sender::new(0),
        }
    }

    /// The rollout after all its entries. Its signatures were judged before it
    /// was stored; hosts judge them again.
    pub(super) fn load(
        row: RolloutRow,
        database: &Database,
        news: Option<watch::Sender<u64>>,
    ) -> Result<Self, DriverError> {
        let id = row.id.clone();
        let plan = Sealed::<Plan>::parse(&row.sealed).ok().and_then(|sealed| sealed.claim().ok());
        let plan = plan.ok_or_else(|| DriverError::Plan { rollout: id.clone() })?;
        let mut conducted = Self::new(row, plan);
        for entry in database.entries(&id).map_err(DriverError::Load)? {
            conducted.machine.handle(&entry);
        }
        conducted.host_orders = database.host_orders(&id).map_err(DriverError::Load)?;
        if conducted.has_ended() {
            conducted.newest_line = database.newest_line(&id).map_err(DriverError::Load)?;
        } else {
            conducted.read_lines(database)?;
        }
        conducted.news = news.unwrap_or(conducted.news);
        Ok(conducted)
    }

    fn read_lines(&mut self, database: &Database) -> Result<(), DriverError> {
        loop {
            let page = database.lines(&self.id, None, self.newest_line).map_err(DriverError::Load)?;
            page.items.iter().for_each(|line| self.note_line(line));
            if !page.more {
                return Ok(());
            }
        }
    }

    /// Keeps what the line says of where a host is.
    pub(super) fn note_line(&mut self, line: &LogLine) {
        self.newest_line = line.sequence;
        let HostLine::Host { host, input, .. } = &line.what else { return };
        match input {
            Input::Began { step, phase, .. } => {
                let at_work =
                    AtWork { step: *step, phase: phase.name().into(), since: line.at, progress: None };
                self.at_work.insert(host.clone(), at_work);
            }
            Input::Settled { .. } | Input::Unfit { .. } | Input::Released => {
                self.at_work.remove(host);
            }
            _ => {}
        }
    }

    /// Newest droppable progress of a host; false when it is not in that step.
    pub(super) fn note_progress(&mut self, host: &HostName, step: u32, text: String) -> bool {
        match self.at_work.get_mut(host).filter(|at_work| at_work.step == step) {
            Some(at_work) => {
                at_work.progress = Some(text);
                true
            }
            None => false,
        }
    }

    pub(super) fn view(&self, now: Timestamp) -> RolloutView {
        RolloutView {
            rollout: self.id.clone(),
            plan: self.plan_id,
            plan_name: self.plan.name.to_string(),
            service: self.plan.service.clone(),
            from: self.plan.from.clone(),
            to: self.plan.to.clone(),
            launched_by: self.launched_by.clone(),
            signers: self.signers.iter().map(|signer| signer.person.clone()).collect(),
            launched_at: self.launched_at,
            now,
            budget: self.plan.budget,
            steps: self.plan.steps.iter().map(|step| step.name.to_string()).collect(),
            status: self.machine.status(),
            at_work: self.at_work.clone(),
            sequence: self.newest_line,
        }
    }

    pub(super) fn summary(&self) -> RolloutLine {
        let status = self.machine.status();
        let count = |is: &dyn Fn(&HostState) -> bool| {
            u32::try_from(status.hosts.iter().filter(|host| is(&host.state)).count()).unwrap_or(u32::MAX)
        };
        RolloutLine {
            rollout: self.id.clone(),
            plan_name: self.plan.name.to_string(),
            service: self.plan.service.clone(),
            from: self.plan.from.clone(),
            to: self.plan.to.clone(),
            launched_by: self.launched_by.clone(),
            launched_at: self.launched_at,
            state: word_of(&status.state).into(),
            hosts: count(&|state| !matches!(state, HostState::Without)),
            finished: count(&|state| matches!(state, HostState::Done)),
            exit: status.exit_code(),
        }
    }
}

fn word_of(state: &State) -> &'static str {
    use sternway_core::rollout::End;
    match state {
        State::Ready => "ready",
        State::Running { .. } => "running",
        State::AwaitsApproval { .. } => "awaits approval",
        State::Held => "held",
        State::Halted => "halted",
        State::Undoing => "undoing",
        State::Ended(End::Done) => "done",
        State::Ended(End::DoneWithExceptions) => "done with exceptions",
        State::Ended(End::UndoneAll) => "undone",
        State::Ended(End::UndoneWithExceptions) => "undone with exceptions",
    }
}
