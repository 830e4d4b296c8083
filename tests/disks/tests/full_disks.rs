//! No space, no inodes, no right to write, no descriptors left: what must go on
//! goes on, and the rest fails in words, with nothing half done.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use sternway_agent::crash;
use sternway_agent::journal::{Journal, JournalError};
use sternway_core::ids::{JournalId, PlanId};
use sternway_core::run::{Ending, Input, Phase, Record};
use sternway_core::time::Timestamp;
use sternway_disks::disk::{Disk, Kind};
use sternway_disks::ground::Ground;
use sternway_disks::host::{Host, wait_until};
use sternway_disks::{plans, skip, tree};

const PLAN: PlanId = PlanId([3; 32]);

fn open(path: &Path) -> Result<Journal, JournalError> {
    let host = "db-01".parse().expect("a name");
    Journal::open(path, &host, JournalId([7; 16]), Timestamp(1_000))
}

fn append(journal: &mut Journal, records: u32) -> Result<(), JournalError> {
    (0..records).try_for_each(|step| {
        let began = Input::Began { step, phase: Phase::Apply, attempt: 1 };
        journal.append_input(Timestamp(2_000), PLAN, began).map(drop)
    })
}

/// Takes everything that is left, to the last byte; again and again, because
/// some file systems find a little more when they have synced.
fn fill(folder: &Path) {
    let mut filler =
        File::options().create(true).append(true).open(folder.join("filler")).expect("a name is left");
    let mut take = || -> u64 {
        let before = filler.metadata().map_or(0, |about| about.len());
        for size in [1 << 20, 64 << 10, 4 << 10, 512, 1] {
            let bytes = vec![1; size];
            while filler.write_all(&bytes).is_ok() {}
        }
        // A full disk may say so only now.
        let _ = filler.sync_all();
        filler.metadata().map_or(0, |about| about.len()) - before
    };
    let is_full = (0..50).any(|_| take() == 0);
    assert!(is_full, "{} does not get full", folder.display());
}

#[test]
fn the_journal_goes_on_on_a_disk_that_is_full_to_the_last_byte() {
    for kind in [Kind::Ext4, Kind::Xfs, Kind::Btrfs] {
        if let Some(why) = kind.lacks() {
            println!("skipped: a full disk of {kind:?}: {why}");
            continue;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut disk = Disk::make(kind, folder.path().join("image"), &folder.path().join("mounted"), 0, &[]);
        let path = disk.at().join("journal");
        let mut journal = open(&path).expect("there is room");
        fill(disk.at());
        append(&mut journal, 500).unwrap_or_else(|error| {
            panic!("{kind:?}: {error}: {:?}", std::error::Error::source(&error).map(ToString::to_string))
        });
        drop(journal);
        let mut again = open(&path).unwrap_or_else(|error| panic!("{kind:?}, opened again: {error}"));
        assert_eq!(again.last(), 501, "{kind:?}");
        append(&mut again, 10).unwrap_or_else(|error| panic!("{kind:?}, after opening again: {error}"));
        drop(again);
        disk.unmount();
    }
}

#[test]
fn a_journal_that_cannot_grow_is_opened_and_used_while_there_is_room() {
    if let Some(why) = Kind::Ext4.lacks() {
        skip!("a journal that cannot grow: {why}");
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut disk =
        Disk::make(Kind::Ext4, folder.path().join("image"), &folder.path().join("mounted"), 0, &[]);
    let path = disk.at().join("journal");
    let mut journal = open(&path).expect("there is room");
    fill(disk.at());
    // Beyond the place where it would add the next piece.
    let note = vec![1; 250 * 1024];
    for at in 0..16 {
        let record = Record::MarkBegan { plan: PLAN, step: 0, key: format!("k{at}"), note: note.clone() };
        journal.append(Timestamp(2_000), record).expect("it fits into what was written beforehand");
    }
    append(&mut journal, 100).expect("a small record fits");
    drop(journal);
    let mut again = open(&path).expect("it can be opened on a full disk");
    append(&mut again, 100).expect("a small record fits");
    let too_much = Record::MarkBegan { plan: PLAN, step: 0, key: "last".into(), note };
    let last = again.last();
    again.append(Timestamp(2_000), too_much).expect_err("nothing is left for it");
    drop(again);
    fs::remove_file(disk.at().join("filler")).expect("it can be removed");
    let mut healed = open(&path).expect("with room again it opens");
    assert_eq!(healed.last(), last, "what did not fit is not there, the rest is");
    append(&mut healed, 10).expect("there is room again");
    drop(healed);
    disk.unmount();
}

fn has(host: &Host, kind: &str) -> bool {
    host.records().iter().any(|record| crash::record(record) == kind)
}

/// A host on a disk of its own that `spoil` made unusable before the plan came.
fn unfit_after(what: &str, options: &[&str], spoil: impl Fn(&Path)) {
    if let Some(why) = Kind::Ext4.lacks() {
        skip!("{what}: {why}");
    }
    let ground = Ground::of(1);
    let mut host = ground.bare_host(0);
    let mut disk = Disk::make(Kind::Ext4, host.folder.join("image"), &host.disk(), 0, options);
    ground.fill(&host);
    let before = host.tree();
    host.start_agent(&[]);
    assert!(wait_until(|| has(&host, "opened")), "{}", host.account());
    spoil(disk.at());
    ground.launch(plans::FILES);
    let refused = || {
        let log = ground.fleet.sternway("ada", &["log", "r-1", "--json"]);
        String::from_utf8_lossy(&log.stdout).into_owned()
    };
    let words = |text: &str| text.contains("No space left") || text.contains("no space");
    let settled = wait_until(|| host.ending().is_some() || host.agent_ended().is_some() || words(&refused()));
    assert!(settled, "{what}\n{}\n{}", host.account(), refused());
    assert!(host.agent_pid().is_some(), "{what}: the agent ended\n{}", host.account());
    match host.ending() {
        Some(Ending::Unfit { reason }) => {
            let says_so =
                reason.contains("No space left") || reason.contains(" free") && reason.contains("needs ");
            assert!(says_so, "{what}: {reason}");
        }
        // It could not even keep the plan.
        None => assert!(words(&refused()), "{what}: {}", refused()),
        Some(odd) => panic!("{what}: {odd:?}\n{}", host.account()),
    }
    let difference = tree::difference(&before, &host.tree());
    assert!(difference.is_empty(), "{what}: {}", difference.join("\n"));
    host.stop_agent();
    // No crash loop either: it starts, and says where it stands.
    host.start_agent(&[]);
    assert!(wait_until(|| host.log().contains("starts")), "{}", host.log());
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(host.agent_ended().is_none(), "{what}: it does not stay up\n{}", host.log());
    host.stop_agent();
    disk.unmount();
}

#[test]
fn a_host_without_space_is_unfit_and_untouched() {
    unfit_after("a full disk", &[], fill);
}

#[test]
fn a_host_without_inodes_is_unfit_and_untouched() {
    unfit_after("no inodes", &["-N", "1024"], |folder| {
        let more = folder.join("more");
        fs::create_dir(&more).expect("one is left");
        let made = (0..).take_while(|at| File::create(more.join(at.to_string())).is_ok()).count();
        assert!(made > 0, "there were some left");
    });
}

const SLOWLY: &str = r#"
[[step]]
name = "mark"
uses = "config@0"
with = { file = "/etc/hello/config.json", set = { mark = 1 } }
wait = "3s"
[[step]]
name = "mark again"
uses = "config@0"
with = { file = "/etc/hello/config.json", set = { mark = 2 } }
"#;

/// Waits until the first step is done, which then is waited after.
fn wait_for_the_pause(host: &Host) {
    let paused = wait_until(|| has(host, "ended-verify"));
    assert!(paused, "{}", host.account());
}

#[test]
fn a_file_system_that_turns_read_only_in_mid_plan_is_put_before_a_person() {
    if let Some(why) = Kind::Ext4.lacks() {
        skip!("a disk that turns read-only: {why}");
    }
    let ground = Ground::of(1);
    let mut host = ground.host(0);
    let root = host.root();
    let kept = host.folder.join("kept");
    fs::rename(&root, &kept).expect("it can be put aside");
    let mut disk = Disk::make(Kind::Ext4, host.folder.join("image"), &root, 0, &[]);
    let copied = Command::new("cp").arg("-a").arg(kept.join(".")).arg(&root).status();
    assert!(copied.is_ok_and(|status| status.success()));
    host.start_agent(&[]);
    ground.launch(SLOWLY);
    wait_for_the_pause(&host);
    disk.make_read_only();
    let ending = host.wait_for_ending();
    let Ending::NeedsOperator { because, .. } = &ending else { panic!("{ending:?}\n{}", host.account()) };
    assert!(because.to_string().contains("Read-only file system"), "{because}");
    assert!(host.agent_ended().is_none(), "{}", host.account());
    host.stop_agent();
    host.start_agent(&[]);
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(host.agent_ended().is_none(), "it does not stay up\n{}", host.account());
    assert_eq!(host.ending(), Some(ending), "it stays with the person");
    host.stop_agent();
    disk.unmount();
}

fn limit_descriptors(pid: u32, limit: usize) -> bool {
    let limit = format!("--nofile={limit}:1024");
    Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &limit])
        .status()
        .is_ok_and(|status| status.success())
}

#[test]
fn an_agent_without_descriptors_fails_the_step_and_lives() {
    if Command::new("prlimit").arg("--version").output().is_err() {
        skip!("no descriptors left: prlimit is not installed");
    }
    let ground = Ground::of(1);
    let mut host = ground.host(0);
    let before = tree::without_kept(host.tree());
    host.start_agent(&[]);
    ground.launch(SLOWLY);
    wait_for_the_pause(&host);
    let pid = host.agent_pid().expect("it runs");
    let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("it is ours").count();
    assert!(limit_descriptors(pid, open), "the limit can be set");
    let ending = host.wait_for_ending();
    assert!(host.agent_ended().is_none(), "{}", host.account());
    assert!(limit_descriptors(pid, 1024), "the limit can be lifted");
    match ending {
        Ending::Undone { .. } => {
            let difference = tree::difference(&before, &without_side(tree::without_kept(host.tree())));
            assert!(difference.is_empty(), "{}", difference.join("\n"));
        }
        Ending::NeedsOperator { because, .. } => {
            assert!(because.to_string().contains("Too many open files"), "{because}");
        }
        odd => panic!("{odd:?}\n{}", host.account()),
    }
    host.stop_agent();
}

/// What undo keeps until the coordinator lets the host go.
fn without_side(tree: tree::Tree) -> tree::Tree {
    tree.into_iter().filter(|(name, _)| !name.contains(".sternway-")).collect()
}
