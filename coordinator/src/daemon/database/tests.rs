use sternway_core::ids::{HostName, JournalId};
use sternway_core::run::Told;
use sternway_core::time::Timestamp;
use sternway_core::wire::Event;

use super::*;

fn event(sequence: u64) -> (HostName, JournalId, Event) {
    let event = Event { sequence, at: Timestamp(sequence), told: Told::Internal };
    ("web-1".parse().unwrap(), JournalId([1; 16]), event)
}

#[test]
fn a_second_coordinator_on_one_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = Database::open(dir.path()).unwrap();
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
    database.commit(&Commit { events: vec![event(1)], ..Commit::default() }).unwrap();
    let host = HostRow { journal: JournalId([1; 16]), acked: 2, last_heard: Timestamp(9) };
    // Record 1 is there already: the whole is refused, and record 2 with it.
    let twice = Commit {
        events: vec![event(2), event(1)],
        hosts: [("web-1".parse().unwrap(), host)].into(),
        ..Commit::default()
    };
    assert!(database.commit(&twice).is_err());
    assert!(database.load().unwrap().hosts.is_empty());
    database.commit(&Commit { events: vec![event(2)], ..Commit::default() }).unwrap();
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
