//! What must be true of the stored rows before a coordinator goes on from them.
//! One statement for each invariant of the design that rows can show; what only
//! the machine can show (I9's cause, I13) it shows when its entries are replayed.

use rusqlite::Connection;

use super::OpenError;
use crate::audit;

/// Rows that are named in a refusal, at most.
const ROWS_MAX: usize = 8;

/// A statement that finds the rows which break one invariant, each as a text.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) means: &'static str,
    sql: &'static str,
}

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "I1",
        means: "no more hosts are disturbed by our leave than the plan allows",
        sql: "SELECT p.rollout || ': ' || count(*) || ' of ' || r.slots_max
              FROM places p JOIN rollouts r ON r.id = p.rollout WHERE p.slot = 'granted'
              GROUP BY p.rollout HAVING count(*) > r.slots_max",
    },
    Check {
        name: "I2",
        means: "no permit in a wave before the gate of the wave before it has passed",
        sql: "SELECT p.rollout || ': ' || p.host || ' in wave ' || (p.wave + 1)
              FROM places p WHERE p.permit_entry IS NOT NULL AND p.wave > 0 AND NOT EXISTS (
                  SELECT 1 FROM gates g WHERE g.rollout = p.rollout AND g.wave = p.wave - 1
                  AND g.passed <= p.permit_entry)",
    },
    Check {
        name: "I3",
        means: "no permit and no order after a halt and before its resume",
        sql: "SELECT p.rollout || ': ' || p.host || ' after the halt of entry ' || h.since
              FROM places p JOIN halts h ON h.rollout = p.rollout
              WHERE (p.permit_entry >= h.since AND p.permit_entry < coalesce(h.until, 9223372036854775807))
                 OR (p.slot = 'granted' AND p.slot_entry >= h.since
                     AND p.slot_entry < coalesce(h.until, 9223372036854775807))",
    },
    Check {
        name: "I3 (flag)",
        means: "a rollout is marked halted exactly while a halt is in force",
        sql: "SELECT r.id FROM rollouts r WHERE r.halted <> EXISTS (
                  SELECT 1 FROM halts h WHERE h.rollout = r.id AND h.until IS NULL)",
    },
    Check {
        name: "I4",
        means: "a host holds a slot of one rollout at the most",
        sql: "SELECT host || ' in ' || group_concat(rollout, ' and ')
              FROM places WHERE slot = 'granted' GROUP BY host HAVING count(*) > 1",
    },
    Check {
        name: "I5",
        means: "a host is done only by a record of its own journal",
        sql: "SELECT p.rollout || ': ' || p.host FROM places p JOIN rollouts r ON r.id = p.rollout
              WHERE p.state = 'done' AND NOT EXISTS (
                  SELECT 1 FROM host_events e WHERE e.host = p.host AND e.plan = r.plan AND e.finished = 1)",
    },
    Check {
        name: "I6",
        means: "waves open and pass in their order",
        sql: "SELECT g.rollout || ': wave ' || (g.wave + 1) FROM gates g
              WHERE (g.opened IS NOT NULL AND g.wave > 0 AND NOT EXISTS (
                  SELECT 1 FROM gates b WHERE b.rollout = g.rollout AND b.wave = g.wave - 1
                  AND b.passed <= g.opened)) OR (g.passed IS NOT NULL AND g.passed < coalesce(g.opened, g.passed + 1))",
    },
    Check {
        name: "I6 (slots)",
        means: "what a host does and the slot it holds fit together",
        sql: "SELECT rollout || ': ' || host || ' is ' || state || ' with its slot ' || slot FROM places
              WHERE holds <> (slot IN ('granted', 'taken')) OR holds <> (state IN
                  ('permitted', 'running', 'failing', 'needs-operator', 'putting-back'))
                 OR (nonce IS NOT NULL) <> (state = 'permitted')",
    },
    Check {
        name: "I7",
        means: "records of a host's journal are there from 1 on without a gap",
        sql: "SELECT host || ': ' || count(*) || ' records from ' || min(sequence) || ' to ' || max(sequence)
              FROM host_events GROUP BY host, journal HAVING min(sequence) <> 1 OR max(sequence) <> count(*)",
    },
    Check {
        name: "I7 (acknowledged)",
        means: "what a host was told is on record is on record",
        sql: "SELECT h.name || ': ' || h.acked || ' acknowledged' FROM hosts h WHERE h.acked <> (
                  SELECT coalesce(max(e.sequence), 0) FROM host_events e
                  WHERE e.host = h.name AND e.journal = h.journal)",
    },
    Check {
        name: "I8",
        means: "the epoch never falls",
        sql: "SELECT 'transition ' || b.number || ': ' || b.epoch || ' after ' || a.epoch
              FROM transitions a JOIN transitions b ON b.number = a.number + 1 WHERE b.epoch < a.epoch
              UNION ALL
              SELECT e.rollout || ': entry ' || e.sequence || ' of epoch ' || e.epoch || ' before ' || b.epoch
              FROM entries e JOIN entries b ON b.rollout = e.rollout AND b.sequence = e.sequence - 1
              WHERE b.epoch > e.epoch
              UNION ALL
              SELECT 'epoch ' || c.value || ' after ' || (SELECT max(epoch) FROM transitions)
              FROM counters c WHERE c.name = 'epoch' AND c.value < (SELECT max(epoch) FROM transitions)",
    },
    Check {
        name: "I9",
        means: "a rollout whose budget is spent stands still",
        sql: "SELECT id || ': ' || failed || ' failed, ' || silent || ' silent' FROM rollouts
              WHERE phase = 'running' AND halted = 0
                AND (failed > failed_max OR (silent > silent_max AND held = 0))",
    },
    Check {
        name: "I10",
        means: "entries are there from 1 on without a gap, and nothing rests on one that is not",
        sql: "SELECT rollout || ': ' || count(*) || ' entries from ' || min(sequence) || ' to ' || max(sequence)
              FROM entries GROUP BY rollout HAVING min(sequence) <> 1 OR max(sequence) <> count(*)
              UNION ALL
              SELECT p.rollout || ': ' || p.host || ' rests on entry ' || max(p.slot_entry, coalesce(p.permit_entry, 0))
              FROM places p WHERE max(p.slot_entry, coalesce(p.permit_entry, 0)) > (
                  SELECT coalesce(max(e.sequence), 0) FROM entries e WHERE e.rollout = p.rollout)",
    },
    Check {
        name: "I11",
        means: "no slot is free without the host's word or a person's",
        sql: "SELECT rollout || ': ' || host FROM places WHERE permit_entry IS NOT NULL AND slot = 'none'
              UNION ALL
              SELECT rollout || ': ' || host || ' waived while ' || state
              FROM places WHERE slot = 'waived' AND state <> 'dead'",
    },
    Check {
        name: "I12",
        means: "every rollout was begun, and its plan is one no other rollout has",
        sql: "SELECT r.id FROM rollouts r WHERE length(r.plan) <> 32
                 OR NOT EXISTS (SELECT 1 FROM entries e WHERE e.rollout = r.id)",
    },
    Check {
        name: "I14",
        means: "a rollout is done only with every host done or left out",
        sql: "SELECT p.rollout || ': ' || p.host || ' is ' || p.state FROM places p
              JOIN rollouts r ON r.id = p.rollout
              WHERE r.phase = 'done' AND p.state NOT IN ('done', 'without')",
    },
];

/// Refuses a file whose pages do not hold together.
pub(super) fn pages(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("PRAGMA quick_check({ROWS_MAX})"))?;
    let found = statement.query_map([], |row| row.get::<_, String>(0))?;
    let found: Vec<String> = found.collect::<rusqlite::Result<_>>()?;
    Ok(found.into_iter().filter(|line| line != "ok").collect())
}

fn rows(connection: &Connection, check: &Check) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("{} LIMIT {ROWS_MAX}", check.sql))?;
    let found = statement.query_map([], |row| row.get::<_, String>(0))?;
    found.collect()
}

/// The first invariant that the rows break, and the rows.
pub(super) fn broken(connection: &Connection) -> rusqlite::Result<Option<(&'static Check, Vec<String>)>> {
    for check in CHECKS {
        let found = rows(connection, check)?;
        if !found.is_empty() {
            return Ok(Some((check, found)));
        }
    }
    Ok(None)
}

/// I16 for what persons did: the chain of the audit is whole.
pub(super) fn audit_is_whole(database: &super::Database) -> Result<(), OpenError> {
    let mut previous = audit::FIRST.to_owned();
    let mut after = 0;
    loop {
        let page = database.audit(None, after).map_err(|cause| OpenError::Unreadable {
            path: database.path(),
            what: "the audit",
            cause,
        })?;
        for line in page.items {
            if line.sequence != after + 1 || line.hash != audit::link(&previous, &line) {
                return Err(OpenError::Broken {
                    path: database.path(),
                    name: "I16",
                    means: "every line of the audit follows from the one before it",
                    rows: vec![format!("line {}", line.sequence)],
                });
            }
            (after, previous) = (line.sequence, line.hash);
        }
        if !page.more {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
