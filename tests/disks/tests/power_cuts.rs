//! The power goes while a plan runs, and between any two system calls of a
//! durable write: what was promised is there, and what is there is whole.
//! A process that is killed loses nothing, so only these tests see a missing sync.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sternway_agent::{crash, durable};
use sternway_core::run::Ending;
use sternway_disks::acked::acked_and_had;
use sternway_disks::disk::{Disk, Kind};
use sternway_disks::draw::Draw;
use sternway_disks::ground::Ground;
use sternway_disks::host::{Host, wait_until};
use sternway_disks::tree::{self, Tree};
use sternway_disks::{is_long, plans, skip};

fn finished(host: &mut Host) -> Tree {
    let ending = host.wait_for_ending();
    assert_eq!(ending, Ending::Finished, "{}\n{}", host.name, host.account());
    host.stop_agent();
    tree::without_kept(host.tree())
}

/// Cuts the power of one host some time after its permit, brings it back, and
/// waits for the end.
fn cut_and_go_on(ground: &Ground, at: usize, kind: Kind, after: Duration, expected: &Tree) {
    let mut host = ground.bare_host(at);
    let mut disk = Disk::make(kind, host.folder.join("image"), &host.disk(), 0, &[]);
    ground.fill(&host);
    disk.sync();
    host.start_agent(&[]);
    let permitted = wait_until(|| host.records().iter().any(|record| crash::record(record) == "permitted"));
    assert!(permitted, "no permit\n{}", host.account());
    std::thread::sleep(after);
    disk.cut_power();
    host.kill_agent();
    disk.unmount();
    disk.mount();
    let before = host.account();
    host.start_agent(&[]);
    let case = format!("{kind:?}, power cut {after:?} after the permit");
    let is_back = wait_until(|| acked_and_had(ground, &host).len() > 1);
    assert!(is_back, "{case}: it did not come back to the coordinator\n{}", host.account());
    let end = finished(&mut host);
    let difference = tree::difference(expected, &end);
    assert!(
        difference.is_empty(),
        "{case}:\n{}\nbefore: {before}\n{}",
        difference.join("\n"),
        host.account()
    );
    let known = acked_and_had(ground, &host);
    assert!(
        known.iter().all(|(acked, had)| acked <= had),
        "{case}: acknowledged and lost: {known:?}\n{before}"
    );
    disk.unmount();
}

fn cut_at_random(steps: &str, cuts: &[(Kind, u64)]) {
    let ground = Ground::of(1 + cuts.len());
    ground.launch(steps);
    let mut host = ground.host(0);
    host.start_agent(&[]);
    let expected = finished(&mut host);
    drop(host);
    let mut draw = Draw::of(cuts.len() as u64);
    for (at, (kind, within_ms)) in cuts.iter().enumerate() {
        let after = Duration::from_millis(draw.between(0, *within_ms));
        cut_and_go_on(&ground, at + 1, *kind, after, &expected);
    }
}

fn available() -> Vec<Kind> {
    let (there, lacking): (Vec<Kind>, Vec<Kind>) =
        [Kind::Xfs, Kind::Ext4].into_iter().partition(|kind| kind.lacks().is_none());
    for kind in lacking {
        println!("skipped: power cuts on {kind:?}: {}", kind.lacks().unwrap_or_default());
    }
    there
}

/// So many of each kind that is available.
fn cuts(xfs: usize, ext4: usize, within_ms: u64) -> Vec<(Kind, u64)> {
    let times = if is_long() { 20 } else { 1 };
    let of = |kind| if kind == Kind::Xfs { xfs * times } else { ext4 * times };
    let there = available();
    there.into_iter().flat_map(|kind| std::iter::repeat_n((kind, within_ms), of(kind))).collect()
}

#[test]
fn a_host_without_power_in_a_plan_of_eight_steps_comes_to_the_same_end() {
    let cuts = cuts(4, 2, 700);
    if cuts.is_empty() {
        skip!("power cuts of a plan of eight steps");
    }
    cut_at_random(plans::FILES, &cuts);
}

#[test]
fn a_host_without_power_in_a_plan_of_one_step_comes_to_the_same_end() {
    let cuts = cuts(2, 1, 100);
    if cuts.is_empty() {
        skip!("power cuts of a plan of one step");
    }
    cut_at_random(plans::ONE, &cuts);
}

const OLD: &[u8] = b"old, and long enough to be told from nothing at all";
const NEW: &[u8] = b"new, and written by somebody who was told that it is safe";

/// The sequence of `durable::write`, to be spoiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sequence {
    Ours,
    /// A copy of it that leaves out the sync of the file.
    WithoutFileSync,
    /// A copy of it that leaves out the sync of the folder.
    WithoutFolderSync,
}

const PLACES: [&str; 5] = ["created", "written", "synced", "renamed", "done"];

/// Which of [`Sequence`] the child of this test carries out, where it dies, and on which file.
const CHILD: &str = "STERNWAY_DURABLE_CHILD";

/// Not a test by itself: the process that dies in the middle of writing.
#[test]
fn writes_and_dies() {
    let Ok(told) = std::env::var(CHILD) else { return };
    let mut words = told.splitn(3, ' ');
    let (sequence, place) = (words.next().expect("a sequence"), words.next().expect("a place"));
    let path = Path::new(words.next().expect("a path"));
    match sequence {
        "Ours" => {
            crash::arm();
            durable::write(path, 0o600, NEW).expect("it can be written");
        }
        _ => copied_write(sequence, place, path),
    }
    panic!("it was to die at {place}");
}

/// `durable::write` without one of its steps.
fn copied_write(sequence: &str, place: &str, path: &Path) {
    let die_at = |here: &str| {
        if here == place {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL).expect("it may kill itself");
        }
    };
    let beside = path.with_extension("new");
    let mut file = File::create_new(&beside).expect("it can be made");
    die_at("created");
    file.write_all(NEW).expect("it can be written");
    die_at("written");
    if sequence != "WithoutFileSync" {
        file.sync_all().expect("it can be synced");
    }
    die_at("synced");
    fs::rename(&beside, path).expect("it can be renamed");
    die_at("renamed");
    if sequence != "WithoutFolderSync" {
        let folder = File::open(path.parent().expect("it stands in a folder")).expect("it can be opened");
        folder.sync_all().expect("it can be synced");
    }
    die_at("done");
}

/// Writes the old file, dies at `place` while the new one is written, cuts the
/// power, and answers what is wrong with what is there then.
fn cut_in_write(disk: &mut Disk, sequence: Sequence, place: &str) -> Option<String> {
    let folder = disk.at().join(format!("{sequence:?}-{place}"));
    fs::create_dir(&folder).expect("a folder can be made");
    let path = folder.join("file");
    fs::write(&path, OLD).expect("it can be written");
    disk.sync();
    let child = Command::new(std::env::current_exe().expect("a test knows itself"))
        .args(["writes_and_dies", "--exact", "--nocapture"])
        .env(CHILD, format!("{sequence:?} {place} {}", path.display()))
        .env("STERNWAY_CRASH_AT", format!("durable.{place}#1"))
        .stdin(Stdio::null())
        .output()
        .expect("it can be started");
    disk.cut_power();
    assert_eq!(child.status.signal(), Some(9), "{place}: {}", String::from_utf8_lossy(&child.stdout));
    disk.unmount();
    disk.mount();
    let found = fs::read(&path);
    let was_told = place == "done";
    match found.as_deref() {
        Ok(NEW) => None,
        Ok(OLD) if !was_told => None,
        Ok(OLD) => Some("the old file, after the write was said to be done".into()),
        Ok(b"") => Some("an empty file".into()),
        Ok(_) => Some("a blend".into()),
        Err(error) => Some(error.to_string()),
    }
}

fn small(kind: Kind, folder: &Path) -> Disk {
    Disk::make(kind, folder.join("image"), &folder.join("mounted"), 0, &[])
}

#[test]
fn a_durable_write_is_old_or_new_wherever_the_power_goes() {
    let there = available();
    if there.is_empty() {
        skip!("power cuts in a durable write");
    }
    for kind in there {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut disk = small(kind, folder.path());
        for place in PLACES {
            let wrong = cut_in_write(&mut disk, Sequence::Ours, place);
            assert_eq!(wrong, None, "{kind:?}, power cut at {place}");
        }
    }
}

#[test]
fn a_write_that_leaves_out_a_sync_is_caught() {
    if let Some(why) = Kind::Xfs.lacks() {
        skip!("writes with a step left out: {why}");
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut disk = small(Kind::Xfs, folder.path());
    for (sequence, expected) in [
        (Sequence::WithoutFileSync, "an empty file"),
        (Sequence::WithoutFolderSync, "the old file, after the write was said to be done"),
    ] {
        let found: Vec<String> =
            PLACES.iter().filter_map(|place| cut_in_write(&mut disk, sequence, place)).collect();
        assert!(found.iter().any(|wrong| wrong == expected), "{sequence:?} was not caught: {found:?}");
    }
}

/// What was removed durably stays away, and made folders stay.
#[test]
fn a_removal_and_a_new_folder_outlive_the_power() {
    let there = available();
    if there.is_empty() {
        skip!("power cuts after a removal");
    }
    for kind in there {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut disk = small(kind, folder.path());
        let gone: PathBuf = disk.at().join("gone");
        fs::write(&gone, OLD).expect("it can be written");
        disk.sync();
        durable::remove(&gone).expect("it can be removed");
        let made = disk.at().join("made/within");
        durable::create_directories(&made, 0o700).expect("it can be made");
        disk.cut_power();
        disk.unmount();
        disk.mount();
        assert!(!gone.exists(), "{kind:?}: what was removed is back");
        assert!(made.is_dir(), "{kind:?}: a folder is lost");
    }
}
