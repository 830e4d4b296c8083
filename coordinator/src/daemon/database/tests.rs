use sternway_core::ids::{HostName, JournalId};
use sternway_core::run::Told;
use sternway_core::time::Timestamp;
use sternway_core::wire::Event;

use super::*;

fn event(sequence: u64) -> (HostName, JournalId, Event) {
    let event = Event { sequence, at: Timestamp(sequence), told: Told::Internal };
    ("web-1".parse().unwrap(), JournalId([1; 16]), event)
}

fn events(count: u64, sequences: &[u64]) -> Commit {
    let id = TransitionId { opening: 1, count };
    Commit { id, events: sequences.iter().map(|sequence| event(*sequence)).collect(), ..Commit::default() }
}

#[test]
fn a_second_coordinator_on_one_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = Database::open(dir.path()).unwrap();
    assert!(matches!(Database::open(dir.path()), Err(OpenError::Held(_))));
    // Even when the lock is gone: SQLite's own lock holds.
    std::fs::remove_file(dir.path().join("coordinator.lock")).unwrap();
    assert!(matches!(Database::open(dir.path()), Err(OpenError::Held(_))));
    drop(first);
    assert!(Database::open(dir.path()).is_ok());
}

#[test]
fn the_epoch_grows_with_each_start_and_the_keys_stay() {
    let dir = tempfile::tempdir().unwrap();
    let first = Database::open(dir.path()).unwrap();
    let (epoch, keys) = (first.epoch(), first.keys());
    first.close().unwrap();
    let mut second = Database::open(dir.path()).unwrap();
    assert_eq!(second.epoch(), epoch + 1);
    assert_eq!(second.keys().reset, keys.reset);
    assert_eq!(second.keys().connection_id, keys.connection_id);
    second.commit(&Commit { epoch: Some(40), ..Commit::default() }).unwrap();
    drop(second);
    assert_eq!(Database::open(dir.path()).unwrap().epoch(), 41);
}

#[test]
fn a_commit_is_whole_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut database = Database::open(dir.path()).unwrap();
    database.commit(&events(1, &[1])).unwrap();
    let host = HostRow { journal: JournalId([1; 16]), acked: 2, claimed: 0, last_heard: Timestamp(9) };
    // Record 1 is there already: the whole is refused, and record 2 with it.
    let mut twice = events(2, &[2, 1]);
    twice.hosts.insert("web-1".parse().unwrap(), Some(host));
    assert!(database.commit(&twice).is_err());
    assert!(database.load().unwrap().hosts.is_empty());
    database.commit(&events(3, &[2])).unwrap();
}

#[test]
fn a_commit_whose_answer_was_lost_is_done_once_however_often_it_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut database = Database::open(dir.path()).unwrap();
    let commit = events(1, &[1, 2]);
    database.commit(&commit).unwrap();
    database.commit(&commit).unwrap();
    let count = "SELECT count(*) FROM host_events";
    assert_eq!(database.connection.query_row(count, [], |row| row.get::<_, u64>(0)).unwrap(), 2);
    // Another one with the same rows is another matter.
    assert!(database.commit(&events(2, &[1, 2])).is_err());
}

#[test]
fn a_coordinator_whose_epoch_was_passed_by_writes_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut database = Database::open(dir.path()).unwrap();
    database.connection.execute("UPDATE counters SET value = value + 1 WHERE name = 'epoch'", []).unwrap();
    let refused = database.commit(&events(1, &[1]));
    assert!(matches!(refused, Err(StoreError::Superseded(_))), "{refused:?}");
    assert_eq!(database.newest_event(&"web-1".parse().unwrap(), JournalId([1; 16])).unwrap(), 0);
}

#[test]
fn a_coordinator_whose_folder_was_taken_over_writes_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut frozen = Database::open(&data).unwrap();
    frozen.commit(&events(1, &[1])).unwrap();
    std::fs::rename(&data, dir.path().join("old")).unwrap();
    let newer = Database::open(&data).unwrap();
    let refused = frozen.commit(&events(2, &[2]));
    assert!(matches!(refused, Err(StoreError::Superseded(_))), "{refused:?}");
    drop((frozen, newer));
}

#[test]
fn another_format_is_named_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(Database::open(dir.path()).unwrap());
    let connection = Connection::open(dir.path().join("coordinator.db")).unwrap();
    connection.execute_batch("PRAGMA user_version = 9").unwrap();
    drop(connection);
    assert!(matches!(Database::open(dir.path()), Err(OpenError::Format { found: 9, .. })));
}

#[test]
fn flipped_pages_are_found_before_anything_is_begun() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("coordinator.db");
    let mut database = Database::open(dir.path()).unwrap();
    for count in 1..=40 {
        let first = (count - 1) * 50 + 1;
        database.commit(&events(count, &(first..first + 50).collect::<Vec<u64>>())).unwrap();
    }
    database.close().unwrap();
    let whole = std::fs::read(&path).unwrap();
    let pages = whole.len() / 4096;
    assert!(pages > 30, "{pages} pages");
    // Every page in its turn: what holds the tree together is found at once.
    let mut refused = 0;
    for page in 0..pages {
        let mut flipped = whole.clone();
        flipped[page * 4096..page * 4096 + 64].iter_mut().for_each(|byte| *byte ^= 0xff);
        std::fs::write(&path, &flipped).unwrap();
        match Database::open(dir.path()) {
            Err(OpenError::Damaged { .. } | OpenError::Broken { .. }) => {
                refused += 1;
                assert_eq!(std::fs::read(&path).unwrap(), flipped, "page {page}: it was left alone");
            }
            other => panic!("page {page}: {other:?}"),
        }
        for beside in ["coordinator.db-wal", "coordinator.db-shm"] {
            let _ = std::fs::remove_file(dir.path().join(beside));
        }
    }
    assert_eq!(refused, pages);
    std::fs::write(&path, &whole).unwrap();
    assert!(Database::open(dir.path()).is_ok());
}
