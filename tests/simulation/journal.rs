//! A host's step journal: records that are written, and of those the ones that
//! are synced. Follows the agent's own journal in what is synced when.

use sternway_core::ids::{HostName, JournalId, PlanId};
use sternway_core::run::{Entry, Input, Record};
use sternway_core::time::Timestamp;
use sternway_core::wire::{Event, TIMES_MAX};

use super::schedule::Death;
use super::world::World;

/// The agent does not live to see what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// As the fault said, with or without the power.
    Dies,
    /// Nothing can be recorded, so the agent ends by itself and is started again.
    CannotRecord,
}

#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) at: Timestamp,
    pub(super) record: Record,
    /// The host as it was then: a snapshot of the machine holds both.
    world: World,
}

#[derive(Debug)]
pub(super) struct SimJournal {
    pub(super) id: JournalId,
    records: Vec<Kept>,
    /// What the agent takes to be on disk, and what is.
    durable: usize,
    on_disk: usize,
    /// Said to the observer so far.
    shown: usize,
    pub(super) armed: Option<Death>,
    /// The next sync fails and this many of its records are there later.
    pub(super) sync_fails: Option<u64>,
    pub(super) syncs: u64,
    /// Newest record that a coordinator acknowledged, and the newest such note written down.
    pub(super) acked: u64,
    noted: u64,
}

/// An acknowledgement this much newer than the one written down rides with the
/// next record that is synced anyway.
const ACKED_APART: u64 = 8;

impl SimJournal {
    pub(super) fn open(id: JournalId, host: &HostName, now: Timestamp, world: &World) -> Self {
        let opened = Record::Opened { journal: id, host: host.clone() };
        Self {
            id,
            records: vec![Kept { at: now, record: opened, world: world.clone() }],
            durable: 1,
            on_disk: 1,
            shown: 0,
            armed: None,
            sync_fails: None,
            syncs: 0,
            acked: 0,
            noted: 0,
        }
    }

    pub(super) fn last(&self) -> u64 {
        self.records.len() as u64
    }

    pub(super) fn epoch(&self) -> u64 {
        let epochs = self.records.iter().filter_map(|kept| match kept.record {
            Record::EpochSeen { epoch } => Some(epoch),
            _ => None,
        });
        epochs.max().unwrap_or(0)
    }

    fn time_floor(&self) -> Timestamp {
        self.records.last().map_or(Timestamp::default(), |kept| kept.at)
    }

    pub(super) fn entries_of(&self, plan: PlanId) -> Vec<Entry> {
        let of_plan = self.records.iter().enumerate().filter_map(|(index, kept)| match &kept.record {
            Record::Run { plan: of, input } if *of == plan => {
                Some(Entry { sequence: index as u64 + 1, at: kept.at, input: input.clone() })
            }
            _ => None,
        });
        of_plan.collect()
    }

    /// Plans of which anything is recorded, the newest last.
    pub(super) fn plans(&self) -> Vec<PlanId> {
        let mut plans: Vec<PlanId> = Vec::new();
        for kept in &self.records {
            if let Record::Run { plan, input: Input::Accepted { .. } } = kept.record
                && !plans.contains(&plan)
            {
                plans.push(plan);
            }
        }
        plans
    }

    /// What is known to be on disk of the records that say so.
    pub(super) fn intends(&self, is: impl Fn(&Record) -> bool) -> bool {
        self.records[..self.durable].iter().any(|kept| is(&kept.record))
    }

    pub(super) fn append(&mut self, now: Timestamp, record: Record, world: &World) -> Result<Entry, Ends> {
        let at = now.max(self.time_floor());
        let rides = matches!(record, Record::Run { .. }) && record.must_be_durable();
        if rides && self.acked >= self.noted + ACKED_APART {
            self.noted = self.acked;
            let note = Record::Acked { sequence: self.acked };
            self.records.push(Kept { at, record: note, world: world.clone() });
        }
        let input = match &record {
            Record::Run { input, .. } => input.clone(),
            _ => Input::HaltTold,
        };
        let must = record.must_be_durable();
        if self.is_due(|death| matches!(death, Death::BeforeRecord(0))) {
            return Err(Ends::Dies);
        }
        self.records.push(Kept { at, record, world: world.clone() });
        if self.is_due(|death| matches!(death, Death::BeforeSync(0))) {
            return Err(Ends::Dies);
        }
        if must {
            self.sync()?;
        }
        if self.is_due(|death| matches!(death, Death::AfterSync(0))) {
            return Err(Ends::Dies);
        }
        self.count_down();
        Ok(Entry { sequence: self.records.len() as u64, at, input })
    }

    fn is_due(&mut self, due: impl Fn(Death) -> bool) -> bool {
        let is_due = self.armed.is_some_and(due);
        if is_due {
            self.armed = None;
        }
        is_due
    }

    fn count_down(&mut self) {
        if let Some(Death::BeforeRecord(left) | Death::BeforeSync(left) | Death::AfterSync(left)) =
            &mut self.armed
        {
            *left = left.saturating_sub(1);
        }
    }

    fn sync(&mut self) -> Result<(), Ends> {
        self.syncs += 1;
        if let Some(kept) = self.sync_fails.take() {
            // The pages are marked clean all the same: only a new reading tells what is there.
            self.records.truncate(self.on_disk + kept as usize);
            return Err(Ends::CannotRecord);
        }
        self.durable = self.records.len();
        self.on_disk = self.durable;
        Ok(())
    }

    /// What is there when it is opened again is what counts, once it is synced.
    pub(super) fn reopen(&mut self) {
        self.durable = self.records.len();
        self.on_disk = self.durable;
        self.armed = None;
        let notes = self.records.iter().filter_map(|kept| match kept.record {
            Record::Acked { sequence } => Some(sequence),
            _ => None,
        });
        self.noted = notes.max().unwrap_or(0);
        self.acked = self.noted;
    }

    /// When each record after this was written, as far as it may be told.
    pub(super) fn times_after(&self, sequence: u64) -> Vec<Timestamp> {
        let events = self.events_after(sequence, TIMES_MAX);
        events.iter().map(|event| event.at).collect()
    }

    /// What was not synced is lost, or some of it.
    pub(super) fn power_cut(&mut self, kept: u64) {
        self.records.truncate(self.on_disk + kept as usize);
        self.durable = self.durable.min(self.records.len());
    }

    /// The disk as it was so many records ago, and the host with it.
    pub(super) fn set_back(&mut self, by: u64) -> World {
        let left = self.records.len().saturating_sub(by as usize).max(1);
        self.records.truncate(left);
        (self.durable, self.on_disk) = (left, left);
        self.shown = self.shown.min(left);
        self.records[left - 1].world.clone()
    }

    /// Records after `sequence` that may be told.
    pub(super) fn events_after(&self, sequence: u64, max: usize) -> Vec<Event> {
        let until =
            if cfg!(feature = "mutant-told-before-synced") { self.records.len() } else { self.durable };
        let range = (sequence as usize).min(until)..until.min(sequence as usize + max);
        self.events(range)
    }

    /// Records that became durable since this was asked last.
    pub(super) fn newly_durable(&mut self) -> Vec<Event> {
        let events = self.events(self.shown.min(self.durable)..self.durable);
        self.shown = self.durable;
        events
    }

    fn events(&self, range: std::ops::Range<usize>) -> Vec<Event> {
        let first = range.start as u64 + 1;
        let told = self.records[range].iter().zip(first..);
        told.map(|(kept, sequence)| Event { sequence, at: kept.at, told: kept.record.told() }).collect()
    }
}
