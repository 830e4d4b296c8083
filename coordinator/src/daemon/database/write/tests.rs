//! The transaction refuses what the machine in memory must not have decided.

use sternway_core::ids::Person;
use sternway_core::time::Timestamp;

use super::*;

const STANDING: Standing = Standing {
    phase: "running",
    halted: None,
    held: false,
    slots_max: 1,
    failed: 0,
    failed_max: 0,
    silent: 0,
    silent_max: 0,
};

fn ada() -> Person {
    "ada".parse().unwrap()
}

fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

fn granted(entry: u64, wave: usize) -> Place {
    Place {
        wave,
        state: "permitted",
        slot: "granted",
        slot_entry: Some(entry),
        permit_entry: Some(entry),
        nonce: Some(1),
    }
}

/// A database with two rollouts of one slot each, and commits to it one entry at a time.
struct Desk {
    database: Database,
    count: u64,
    entries: BTreeMap<RolloutId, u64>,
    _folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path()).unwrap();
        let mut desk = Self { database, count: 0, entries: BTreeMap::new(), _folder: folder };
        for number in [1, 2] {
            let row = RolloutRow {
                id: format!("r-{number}").parse().unwrap(),
                plan: PlanId([number; 32]),
                sealed: vec![].into(),
                launched_by: ada(),
                launched_at: Timestamp(1),
                signers: vec![],
                without: vec![],
                undo_order: None,
            };
            let commit = Commit { rollouts: vec![row], ..desk.commit() };
            desk.database.commit(&commit).unwrap();
            desk.take(&format!("r-{number}"), Input::Tick, Some(STANDING), &[]).unwrap();
        }
        desk
    }

    fn commit(&mut self) -> Commit {
        self.count += 1;
        Commit { id: TransitionId { opening: 1, count: self.count }, ..Commit::default() }
    }

    fn next(&self, rollout: &str) -> u64 {
        self.entries.get(&rollout.parse::<RolloutId>().unwrap()).copied().unwrap_or(0) + 1
    }

    fn take(
        &mut self,
        rollout: &str,
        input: Input,
        standing: Option<Standing>,
        places: &[(&str, Place)],
    ) -> Result<(), StoreError> {
        let sequence = self.next(rollout);
        let rollout: RolloutId = rollout.parse().unwrap();
        let moved = Move {
            rollout: rollout.clone(),
            entry: Entry { sequence, at: Timestamp(sequence), input },
            standing,
            waves: vec![],
            places: places.iter().map(|(name, place)| (host(name), *place)).collect(),
        };
        let commit = Commit { moves: vec![moved], ..self.commit() };
        self.database.commit(&commit)?;
        self.entries.insert(rollout, sequence);
        Ok(())
    }

    fn grant(&mut self, rollout: &str, name: &str, wave: usize) -> Result<(), StoreError> {
        let entry = self.next(rollout);
        self.take(rollout, Input::Tick, None, &[(name, granted(entry, wave))])
    }

    fn halted(&mut self, input: Input, since: Option<u64>) -> Result<(), StoreError> {
        self.take("r-1", input, Some(Standing { halted: since, ..STANDING }), &[])
    }
}

fn refused_by(refused: Result<(), StoreError>) -> &'static str {
    match refused {
        Err(StoreError::Guard { invariant, .. }) => invariant,
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_more_slots_are_given_than_there_are_and_none_twice_to_a_host() {
    let mut desk = Desk::new();
    desk.grant("r-1", "web-1", 0).unwrap();
    assert_eq!(refused_by(desk.grant("r-1", "web-2", 0)), "I1");
    assert_eq!(refused_by(desk.grant("r-2", "web-1", 0)), "I4");
    // By its word in this very entry it comes back, and can be given again.
    let entry = desk.next("r-1");
    let back = Place { state: "done", slot: "returned", nonce: None, ..granted(2, 0) };
    desk.take("r-1", Input::Tick, None, &[("web-2", granted(entry, 0)), ("web-1", back)]).unwrap();
    desk.grant("r-2", "web-1", 0).unwrap();
}

#[test]
fn nobody_is_let_go_against_a_halt_and_only_a_person_ends_it() {
    let mut desk = Desk::new();
    let halt = Input::Halt { by: ada(), reason: "odd".into() };
    let since = desk.next("r-1");
    desk.halted(halt, Some(since)).unwrap();
    assert_eq!(refused_by(desk.grant("r-1", "web-1", 0)), "I3");
    assert_eq!(refused_by(desk.halted(Input::Tick, None)), "G12");
    assert_eq!(refused_by(desk.halted(Input::Tick, Some(since + 1))), "G12");
    let resume = Input::Resume { by: ada(), reason: "fine".into(), confirmed: vec![] };
    desk.halted(resume, None).unwrap();
    desk.grant("r-1", "web-1", 0).unwrap();
}

#[test]
fn nobody_is_let_go_before_the_gate_before_its_wave() {
    let mut desk = Desk::new();
    assert_eq!(refused_by(desk.grant("r-1", "web-1", 1)), "I2");
    let entry = desk.next("r-1");
    let passed = Move {
        rollout: "r-1".parse().unwrap(),
        entry: Entry { sequence: entry, at: Timestamp(1), input: Input::Tick },
        standing: None,
        waves: vec![(0, WaveMarks { opened: Some(1), passed: Some(entry) })],
        places: vec![("web-1".parse().unwrap(), granted(entry, 1))],
    };
    let commit = Commit { moves: vec![passed], ..desk.commit() };
    desk.database.commit(&commit).unwrap();
}

#[test]
fn what_was_refused_left_nothing_behind() {
    let mut desk = Desk::new();
    desk.grant("r-1", "web-1", 0).unwrap();
    let before = desk.database.entries(&"r-1".parse().unwrap()).unwrap().len();
    assert_eq!(refused_by(desk.grant("r-1", "web-2", 0)), "I1");
    assert_eq!(desk.database.entries(&"r-1".parse().unwrap()).unwrap().len(), before);
}
