//! One rollout as the driver holds it: the machine, the bytes it is about, and
//! what people see of it beyond the machine's own state.

use std::collections::BTreeMap;
use std::sync::Arc;

use sternway_core::ids::{HostName, Person, PlanId, RolloutId};
use sternway_core::plan::Plan;
use sternway_core::rollout::{Entry, HostState, Place, Rollout, Standing, State, WaveMarks};
use sternway_core::run::Input;
use sternway_core::time::Timestamp;
use sternway_core::trust::{Sealed, Signer};
use sternway_core::wire::{AtWork, HostLine, LogLine, RolloutLine, RolloutView};
use tokio::sync::watch;

use super::super::database::{Database, Move, RolloutRow};
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
    /// What stands, or is about to stand, beside the entries in the database.
    books: Books,
    /// An invariant was found broken; said once.
    pub(super) is_odd: bool,
    at_work: BTreeMap<HostName, AtWork>,
    newest_line: u64,
    /// Counts whatever a watcher could want to see.
    pub(super) news: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Books {
    standing: Option<Standing>,
    waves: Vec<WaveMarks>,
    places: BTreeMap<HostName, Place>,
}

impl Books {
    fn of(machine: &Rollout) -> Self {
        Self {
            standing: Some(machine.standing()),
            waves: machine.wave_marks().collect(),
            places: machine.places().map(|(host, place)| (host.clone(), place)).collect(),
        }
    }
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
            books: Books::default(),
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
        let sealed = Sealed::<Plan>::parse(&row.sealed).ok().filter(|sealed| sealed.id() == row.plan);
        let plan = sealed.and_then(|sealed| sealed.claim().ok());
        let plan = plan.ok_or_else(|| DriverError::Plan { rollout: id.clone() })?;
        let mut conducted = Self::new(row, plan);
        for entry in database.entries(&id).map_err(DriverError::Load)? {
            conducted.machine.handle(&entry);
        }
        conducted.host_orders = database.host_orders(&id).map_err(DriverError::Load)?;
        conducted.books = Books::of(&conducted.machine);
        conducted.compare_books(database)?;
        if conducted.has_ended() {
            conducted.newest_line = database.newest_line(&id).map_err(DriverError::Load)?;
        } else {
            conducted.read_lines(database)?;
        }
        conducted.news = news.unwrap_or(conducted.news);
        Ok(conducted)
    }

    /// (I16) The entries, handled again, lead to what stood there.
    fn compare_books(&self, database: &Database) -> Result<(), DriverError> {
        let Some(standing) = &self.books.standing else { return Ok(()) };
        let found = database
            .differences(&self.id, standing, &self.books.waves, &self.books.places)
            .map_err(DriverError::Load)?;
        match found.is_empty() {
            true => Ok(()),
            false => Err(DriverError::Books { rollout: self.id.clone(), found }),
        }
    }

    /// What an entry, which the machine has just handled, changed of the books.
    pub(super) fn moved(&mut self, entry: Entry) -> Move {
        let Self { machine, books, .. } = self;
        let standing = Some(machine.standing()).filter(|standing| books.standing.as_ref() != Some(standing));
        books.standing = standing.or(books.standing);
        let mut waves = Vec::new();
        for (index, marks) in machine.wave_marks().enumerate() {
            match books.waves.get_mut(index) {
                Some(known) if *known == marks => {}
                Some(known) => {
                    *known = marks;
                    waves.push((index, marks));
                }
                None => {
                    books.waves.push(marks);
                    waves.push((index, marks));
                }
            }
        }
        let mut places = Vec::new();
        for (host, place) in machine.places() {
            match books.places.get_mut(host) {
                Some(known) if *known == place => {}
                Some(known) => {
                    *known = place;
                    places.push((host.clone(), place));
                }
                None => {
                    books.places.insert(host.clone(), place);
                    places.push((host.clone(), place));
                }
            }
        }
        Move { rollout: self.id.clone(), entry, standing, waves, places }
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
            urgency: self.plan.urgency,
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
            urgency: self.plan.urgency,
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
