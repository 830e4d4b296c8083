//! Rollback points under bad nights: the power goes while they are made,
//! tagged and dropped; they are dropped while others are restored. A point
//! that was promised is there, and what is listed is whole.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sternway_disks::disk::{Disk, Kind};
use sternway_disks::draw::Draw;
use sternway_disks::ground::Ground;
use sternway_disks::host::Host;
use sternway_disks::tree;
use sternway_disks::{is_long, skip};
use sternway_tests::fleet::text;

/// Two newest points stay, and nothing else for its age.
const KEEP: &str = "\n[points]\nkeep = { newest = 2, within = \"0s\" }\n";

fn keep_few(host: &Host) {
    let path = host.folder.join("agent.toml");
    let config = fs::read_to_string(&path).expect("the ground wrote it");
    fs::write(path, config + KEEP).expect("it can be changed");
}

/// The ids of all points that are listed, by a tag or all.
fn listed(host: &Host) -> Vec<(String, Vec<String>)> {
    let output = host.verb(&["points", "list", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let point = |line: &str| {
        let point: serde_json::Value = serde_json::from_str(line).expect("one object a line");
        let tags = point["tags"].as_array().expect("it has tags").iter();
        let tags = tags.map(|tag| tag.as_str().expect("a tag is a text").to_owned()).collect();
        (point["id"].as_str().expect("it has an id").to_owned(), tags)
    };
    text(&output.stdout).lines().map(point).collect()
}

fn all_are_whole(host: &Host, case: &str) {
    let verified = host.verb(&["points", "verify", "--full", "--json"]);
    assert!(verified.status.success(), "{case}: {}{}", text(&verified.stdout), text(&verified.stderr));
}

fn change_something(host: &Host, draw: &mut Draw) {
    let name = format!("opt/hello/part-{}", draw.between(0, 5));
    let bytes: Vec<u8> = (0..draw.between(1, 400_000)).map(|_| draw.between(0, 255) as u8).collect();
    fs::write(host.root().join(name), bytes).expect("the host can be changed");
}

fn available() -> Vec<Kind> {
    let kinds = [Kind::Xfs, Kind::Ext4];
    for kind in kinds {
        if let Some(lack) = kind.lacks() {
            println!("skipped: power cuts while points are made on {kind:?}: {lack}");
        }
    }
    kinds.into_iter().filter(|kind| kind.lacks().is_none()).collect()
}

/// Makes points, drops points, and loses power in the middle of one of them.
fn cut_once(ground: &Ground, kind: Kind, seed: u64) {
    let mut draw = Draw::of(seed);
    let host = ground.bare_host(0);
    let mut disk = Disk::make(kind, host.folder.join("image"), &host.disk(), 0, &[]);
    ground.fill(&host);
    keep_few(&host);
    for tag in ["first", "second", "third"] {
        change_something(&host, &mut draw);
        let made = host.verb(&["points", "create", "--tag", tag, "/opt/hello", "/etc/hello"]);
        assert!(made.status.success(), "{}", text(&made.stderr));
    }
    disk.sync();
    change_something(&host, &mut draw);
    let promised = host.verb(&["points", "create", "--tag", "promised", "/opt/hello"]);
    assert!(promised.status.success(), "{}", text(&promised.stderr));
    let known = listed(&host);
    let promised = known.iter().find(|(_, tags)| tags.iter().any(|tag| tag == "promised"));
    let promised = promised.expect("it was made").0.clone();

    let drops = draw.between(0, 1) == 0;
    let dropped = would_drop(&host);
    let count = dropped.to_string();
    change_something(&host, &mut draw);
    let words: Vec<&str> = match drops {
        true => vec!["points", "prune", "--confirm", &count],
        false => vec!["points", "create", "--tag", "cut", "/opt/hello", "/etc/hello"],
    };
    let mut verb = host.agent_verb(&words).spawn().expect("the agent's program can be started");
    let after = Duration::from_millis(draw.between(0, 900));
    std::thread::sleep(after);
    disk.cut_power();
    let _ = verb.kill();
    verb.wait().expect("it is our child");
    disk.unmount();
    disk.mount();

    let case = format!("{kind:?}, seed {seed}: power cut {after:?} into {words:?}");
    let there: BTreeSet<String> = listed(&host).into_iter().map(|(id, _)| id).collect();
    assert!(there.contains(&promised), "{case}: promised and lost; there is {there:?}");
    let gone = known.iter().filter(|(id, _)| !there.contains(id)).count() as u64;
    assert!(gone <= if drops { dropped } else { 0 }, "{case}: {gone} points are gone");
    all_are_whole(&host, &case);
    let again = host.verb(&["points", "create", "--tag", "again", "/opt/hello", "/etc/hello"]);
    assert!(again.status.success(), "{case}: {}", text(&again.stderr));
    all_are_whole(&host, &case);
    disk.unmount();
}

/// How many points the rules would drop now.
fn would_drop(host: &Host) -> u64 {
    let shown = host.verb(&["points", "prune", "--json"]);
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    let goes = |line: &&str| {
        let point: serde_json::Value = serde_json::from_str(line).expect("one object a line");
        point["would_drop"] == true
    };
    text(&shown.stdout).lines().filter(goes).count() as u64
}

#[test]
fn points_are_whole_or_absent_when_the_power_goes_while_they_are_made_or_dropped() {
    let kinds = available();
    if kinds.is_empty() {
        skip!("power cuts while points are made");
    }
    let ground = Ground::of(1);
    let rounds = if is_long() { 60 } else { 4 };
    for seed in 0..rounds {
        for kind in &kinds {
            cut_once(&ground, *kind, seed);
        }
    }
}

/// Restores the newest point again and again while others make and drop points.
#[test]
fn what_is_restored_is_never_lost_to_a_prune() {
    let ground = Ground::of(1);
    let host = ground.host(0);
    keep_few(&host);
    let over = AtomicBool::new(false);
    let rounds = if is_long() { 40 } else { 6 };
    std::thread::scope(|threads| {
        let pruner = threads.spawn(|| {
            let mut draw = Draw::of(7);
            for _ in 0..rounds {
                change_something(&host, &mut draw);
                let made = host.verb(&["points", "create", "--tag", "now", "/opt/hello", "/etc/hello"]);
                assert!(made.status.success(), "{}", text(&made.stderr));
                let count = would_drop(&host).to_string();
                let pruned = host.verb(&["points", "prune", "--confirm", &count]);
                assert!(pruned.status.success(), "{}", text(&pruned.stderr));
            }
            over.store(true, Ordering::Relaxed);
        });
        let mut restored = 0;
        while !over.load(Ordering::Relaxed) && !pruner.is_finished() {
            restored += usize::from(restore_oldest(&host, restored));
        }
        pruner.join().expect("points are made and dropped");
        assert!(restored > 0, "nothing was restored meanwhile");
    });
    all_are_whole(&host, "after all");
}

/// The oldest goes first, so it is the one most in danger. One that was gone
/// before it was asked for does not count.
fn restore_oldest(host: &Host, turn: usize) -> bool {
    let points = listed(host);
    let (id, _) = points.last().expect("the ground made one");
    let into = format!("/opt/restored-{turn}");
    let restored = host.verb(&["points", "restore", id, "/opt/hello", "--into", &into]);
    let path = host.root().join(into.trim_start_matches('/'));
    if !restored.status.success() {
        let is_gone = !listed(host).iter().any(|(known, _)| known == id);
        assert!(is_gone, "{id} is listed and cannot be restored: {}", text(&restored.stderr));
        assert!(!path.exists(), "half a restore was left at {}", path.display());
        return false;
    }
    assert!(!tree::read(&path).is_empty(), "{} was restored empty", path.display());
    remove(&path);
    true
}

fn remove(path: &Path) {
    fs::remove_dir_all(PathBuf::from(path)).expect("what was restored can be removed");
}
