use std::fs;
use std::os::unix::fs::FileExt;

use sternway_core::run::Phase;

use super::*;

const HOST: &str = "demo-01";

/// A program that another test starts at this moment holds every lock of this
/// process until it has become that program.
fn open(path: &Path) -> Result<Journal, JournalError> {
    let once = || Journal::open(path, &HOST.parse().unwrap(), JournalId([7; 16]), Timestamp(1_000));
    (0..50)
        .find_map(|_| match once() {
            Err(JournalError::Locked { .. }) => {
                std::thread::sleep(std::time::Duration::from_millis(20));
                None
            }
            opened => Some(opened),
        })
        .unwrap_or_else(once)
}

fn plan() -> PlanId {
    PlanId([3; 32])
}

fn began(step: u32) -> Input {
    Input::Began { step, phase: Phase::Apply, attempt: 1 }
}

fn fill(path: &Path, records: u32) {
    let mut journal = open(path).unwrap();
    for step in 0..records {
        journal.append_input(Timestamp(2_000), plan(), began(step)).unwrap();
    }
}

fn steps(journal: &Journal) -> Vec<Input> {
    journal
        .run(plan())
        .map(|run| run.entries.iter().map(|entry| entry.input.clone()).collect())
        .unwrap_or_default()
}

#[test]
fn what_was_appended_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    fill(&path, 3);
    let journal = open(&path).unwrap();
    assert_eq!(journal.last(), 4);
    assert_eq!(steps(&journal), [began(0), began(1), began(2)]);
    assert_eq!(journal.id(), JournalId([7; 16]));
}

#[test]
fn a_second_agent_on_the_same_journal_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let _first = open(&path).unwrap();
    assert!(matches!(open(&path), Err(JournalError::Locked { .. })));
}

/// Where each record of the file ends.
fn ends(path: &Path) -> Vec<usize> {
    let bytes = fs::read(path).unwrap();
    let mut ends = vec![0];
    let mut at = 0;
    while bytes[at..].starts_with(b"SWJ1") {
        let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        at += 56 + length + 32;
        ends.push(at);
    }
    ends
}

#[test]
fn a_tail_torn_at_any_byte_is_dropped_and_the_rest_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    fill(&path, 3);
    let whole = fs::read(&path).unwrap();
    let ends = ends(&path);
    let (start, end) = (ends[3], ends[4]);
    for cut in start..end {
        let mut torn = whole.clone();
        torn[cut..end].fill(0);
        fs::write(&path, &torn).unwrap();
        let mut journal = open(&path).unwrap();
        assert_eq!(steps(&journal), [began(0), began(1)], "cut at byte {cut}");
        journal.append_input(Timestamp(3_000), plan(), began(9)).unwrap();
        drop(journal);
        assert_eq!(steps(&open(&path).unwrap()), [began(0), began(1), began(9)], "cut at byte {cut}");
    }
}

#[test]
fn damage_before_whole_records_is_shown_and_nothing_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    fill(&path, 4);
    let whole = fs::read(&path).unwrap();
    let ends = ends(&path);
    for at in [ends[1] + 2, ends[1] + 60, ends[2] - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&path, &damaged).unwrap();
        assert!(matches!(open(&path), Err(JournalError::Corrupt { sequence: 2, .. })), "byte {at}");
        assert_eq!(fs::read(&path).unwrap(), damaged);
    }
}

#[test]
fn records_of_another_chain_are_not_taken_in() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("journal"), folder.path().join("other"));
    fill(&path, 2);
    fill(&other, 2);
    let foreign = fs::read(&other).unwrap();
    let end = *ends(&path).last().unwrap();
    let mut journal = open(&other).unwrap();
    journal.append_input(Timestamp(9_000), plan(), began(5)).unwrap();
    drop(journal);
    let longer = fs::read(&other).unwrap();
    // The foreign third record fits by number, but is chained to other bytes.
    let mut bytes = fs::read(&path).unwrap();
    let foreign_end = foreign.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes[56 + 4] ^= 0;
    let tail = longer[foreign_end..foreign_end + 400].to_vec();
    bytes[end..end + tail.len()].copy_from_slice(&tail);
    let same_chain = bytes[..end] == longer[..end];
    fs::write(&path, &bytes).unwrap();
    assert_eq!(open(&path).is_ok(), same_chain);
}

#[test]
fn nothing_is_told_before_it_is_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(&folder.path().join("journal")).unwrap();
    let looking = Input::Began { step: 0, phase: Phase::Look, attempt: 1 };
    journal.append_input(Timestamp(2_000), plan(), looking).unwrap();
    assert_eq!(journal.told().events_after(0, 10).unwrap().len(), 1, "the unsynced record is held back");
    journal.append_input(Timestamp(2_000), plan(), began(0)).unwrap();
    assert_eq!(journal.told().events_after(0, 10).unwrap().len(), 3);
}

#[test]
fn a_coordinator_that_forgot_is_told_everything_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    fill(&path, 5);
    let journal = open(&path).unwrap();
    journal.told().acked(4);
    let numbers = |after| -> Vec<u64> {
        journal.told().events_after(after, 100).unwrap().iter().map(|event| event.sequence).collect()
    };
    assert_eq!(numbers(4), [5, 6]);
    assert_eq!(numbers(0), [1, 2, 3, 4, 5, 6]);
    assert_eq!(numbers(6), [0; 0]);
}

#[test]
fn the_file_grows_in_pieces_that_are_written_beforehand() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let mut journal = open(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 4 * 1024 * 1024);
    let note = vec![1; 1024 * 1024];
    for at in 0..4 {
        let record = Record::MarkBegan { plan: plan(), step: 0, key: format!("k{at}"), note: note.clone() };
        journal.append(Timestamp(2_000), record).unwrap();
    }
    assert_eq!(fs::metadata(&path).unwrap().len(), 8 * 1024 * 1024);
    drop(journal);
    assert_eq!(open(&path).unwrap().run(plan()).unwrap().marks.len(), 4);
}

#[test]
fn a_clock_that_steps_back_does_not_make_records_older() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(&folder.path().join("journal")).unwrap();
    journal.append_input(Timestamp(9_000), plan(), began(0)).unwrap();
    let entry = journal.append_input(Timestamp(4_000), plan(), began(1)).unwrap();
    assert_eq!(entry.at, Timestamp(9_000));
    assert_eq!(journal.time_floor(), Timestamp(9_000));
}

#[test]
fn a_record_past_the_end_of_the_zeros_is_no_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    fill(&path, 1);
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"SWJ1 not a record at all", 3 * 1024 * 1024).unwrap();
    drop(file);
    assert_eq!(steps(&open(&path).unwrap()), [began(0)]);
}

#[test]
fn what_was_acknowledged_is_remembered_and_a_note_of_it_calls_for_no_other_note() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    fill(&path, 12);
    let mut journal = open(&path).unwrap();
    assert_eq!(journal.newest_acked(), 0);
    journal.acked(ACKED_APART - 1);
    let before = journal.last();
    journal.append_input(Timestamp(3_000), plan(), began(12)).unwrap();
    assert_eq!(journal.last(), before + 1, "too little is new to be worth a note");
    journal.acked(u64::MAX);
    assert_eq!(journal.newest_acked(), journal.last(), "no more than there is");
    let acked = journal.last();
    journal.append_input(Timestamp(3_000), plan(), began(13)).unwrap();
    assert_eq!(journal.last(), acked + 2, "the note rides with the record");
    journal.acked(acked + 2);
    journal.append_input(Timestamp(3_000), plan(), began(14)).unwrap();
    assert_eq!(journal.last(), acked + 3);
    drop(journal);
    assert_eq!(open(&path).unwrap().newest_acked(), acked);
}
