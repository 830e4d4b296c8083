use std::collections::BTreeSet;
use std::path::Path;

use super::super::{Database, OpenError};
use super::*;

/// Two rollouts as a coordinator would have stored them: one done, one under way.
const SOUND: &str = "
INSERT INTO rollouts (id, plan, sealed, launched_by, launched_at, signers, without, phase, slots_max)
    VALUES ('r-1', zeroblob(32), x'', 'ada', 1, x'80', x'80', 'done', 1),
           ('r-2', randomblob(32), x'', 'ada', 1, x'80', x'80', 'running', 1);
INSERT INTO entries (rollout, sequence, epoch, at, input)
    VALUES ('r-1', 1, 1, 1, x''), ('r-1', 2, 1, 1, x''), ('r-2', 1, 1, 1, x''), ('r-2', 2, 1, 1, x''),
           ('r-2', 3, 1, 1, x''), ('r-2', 4, 1, 1, x'');
INSERT INTO gates (rollout, wave, opened, passed) VALUES ('r-2', 0, 1, 2), ('r-2', 1, 2, NULL);
INSERT INTO halts (rollout, since, until) VALUES ('r-2', 2, 3);
INSERT INTO places (rollout, host, wave, state, slot, holds, slot_entry, permit_entry, nonce)
    VALUES ('r-1', 'a', 0, 'done', 'returned', 0, 2, 1, NULL),
           ('r-2', 'b', 0, 'done', 'returned', 0, 2, 1, NULL),
           ('r-2', 'c', 1, 'permitted', 'granted', 1, 4, 4, 1),
           ('r-2', 'd', 1, 'staged', 'none', 0, NULL, NULL, NULL);
INSERT INTO host_events (host, journal, sequence, at, plan, finished, told)
    SELECT 'a', zeroblob(16), 1, 1, plan, 1, x'' FROM rollouts WHERE id = 'r-1';
INSERT INTO host_events (host, journal, sequence, at, plan, finished, told)
    SELECT 'b', zeroblob(16), 1, 1, plan, 1, x'' FROM rollouts WHERE id = 'r-2';
INSERT INTO hosts (name, journal, acked, claimed, last_heard)
    VALUES ('a', zeroblob(16), 1, 1, 1), ('b', zeroblob(16), 1, 1, 1);
INSERT INTO transitions (opening, count, epoch) VALUES (1, 1, 1), (1, 2, 1);
";

fn stored(folder: &Path, statements: &str) -> Result<Database, OpenError> {
    drop(Database::open(folder).unwrap());
    let connection = Connection::open(folder.join("coordinator.db")).unwrap();
    connection.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    connection.execute_batch(SOUND).unwrap();
    connection.execute_batch(statements).unwrap();
    drop(connection);
    Database::open(folder)
}

#[test]
fn rows_as_they_should_be_are_gone_on_from() {
    let dir = tempfile::tempdir().unwrap();
    let opened = stored(dir.path(), "");
    assert!(opened.is_ok(), "{opened:?}");
}

#[test]
fn the_plan_of_a_rollout_is_never_changed() {
    let dir = tempfile::tempdir().unwrap();
    let database = stored(dir.path(), "").unwrap();
    let changed = database.connection.execute("UPDATE rollouts SET plan = randomblob(32)", []);
    assert!(changed.is_err_and(|cause| cause.to_string().contains("never changes")));
}

#[test]
fn every_check_refuses_rows_that_were_broken_by_hand_and_names_them() {
    let cases = [
        ("I1", "UPDATE rollouts SET slots_max = 0 WHERE id = 'r-2'", "r-2: 1 of 0"),
        ("I2", "UPDATE gates SET passed = NULL, opened = NULL WHERE rollout = 'r-2'", "c in wave 2"),
        ("I3", "UPDATE halts SET until = 9", "c after the halt of entry 2"),
        ("I3 (flag)", "UPDATE rollouts SET halted = 1 WHERE id = 'r-2'", "r-2"),
        (
            "I4",
            "INSERT INTO places SELECT 'r-1', host, 0, state, slot, holds, 1, 1, nonce FROM places WHERE host = 'c'",
            "c in ",
        ),
        ("I5", "UPDATE host_events SET finished = 0 WHERE host = 'b'", "r-2: b"),
        ("I6", "UPDATE gates SET passed = 3 WHERE wave = 0", "wave 2"),
        ("I6 (slots)", "UPDATE places SET state = 'running', nonce = NULL WHERE host = 'd'", "d is running"),
        ("I7", "UPDATE host_events SET sequence = 2 WHERE host = 'a'", "a: 1 records from 2 to 2"),
        ("I7 (acknowledged)", "UPDATE hosts SET acked = 2 WHERE name = 'a'", "a: 2 acknowledged"),
        ("I8", "UPDATE entries SET epoch = 7 WHERE rollout = 'r-2' AND sequence = 2", "entry 3 of epoch 1"),
        ("I8", "UPDATE transitions SET epoch = 5 WHERE number = 1", "transition 2: 1 after 5"),
        ("I8", "UPDATE counters SET value = 0 WHERE name = 'epoch'", "epoch 0 after 1"),
        ("I9", "UPDATE rollouts SET failed = 2, failed_max = 1 WHERE id = 'r-2'", "r-2: 2 failed"),
        ("I10", "DELETE FROM entries WHERE rollout = 'r-2' AND sequence = 3", "r-2: 3 entries from 1 to 4"),
        ("I10", "UPDATE places SET slot_entry = 99 WHERE host = 'c'", "c rests on entry 99"),
        ("I11", "UPDATE places SET slot = 'none', slot_entry = NULL WHERE host = 'b'", "r-2: b"),
        (
            "I12",
            "INSERT INTO rollouts (id, plan, sealed, launched_by, launched_at, signers, without)
                 VALUES ('r-3', x'00', x'', 'ada', 1, x'80', x'80')",
            "r-3",
        ),
        ("I14", "UPDATE places SET state = 'undone' WHERE host = 'a'", "a is undone"),
        (
            "I16",
            "INSERT INTO audit (sequence, at, person, action, detail, hash) VALUES (1, 1, 'ada', 'halt', '', 'x')",
            "line 1",
        ),
    ];
    let mut seen = BTreeSet::new();
    for (wanted, statements, row) in cases {
        let dir = tempfile::tempdir().unwrap();
        match stored(dir.path(), statements) {
            Err(OpenError::Broken { name, rows, .. }) => {
                assert_eq!(name, wanted, "{statements}: {rows:?}");
                assert!(rows.iter().any(|found| found.contains(row)), "{wanted}: {rows:?}");
                seen.insert(name);
            }
            other => panic!("{wanted}: {other:?}"),
        }
    }
    let checks: BTreeSet<_> = CHECKS.iter().map(|check| check.name).chain(["I16"]).collect();
    assert_eq!(seen, checks, "a check that nothing makes fire");
}
