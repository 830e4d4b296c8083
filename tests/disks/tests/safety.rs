//! What a plan overwrites is kept first, and comes back by `undo` and by an
//! ordinary plan; points that rotted are found before anything is touched; and
//! a service is down for the switch only, however much is switched.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sternway_core::run::{Ending, Record, Remark};
use sternway_disks::ground::Ground;
use sternway_disks::host::{Host, wait_until};
use sternway_disks::plans;
use sternway_disks::tree::{self, Tree};
use sternway_tests::fleet::text;

const MEBIBYTE: u64 = 1 << 20;

/// Restores a folder, edits a file and takes another away.
const RESTORE: &str = r#"
[[step]]
name = "restore files"
uses = "files@0"
with = { restore = "/opt/hello", remove = "/etc/hello/extra.toml" }
[[step]]
name = "drop the keys of 1.3"
uses = "config@0"
with = { file = "/etc/hello/config.json", drop = ["accent_folder"] }
"#;

/// Bytes that neither shrink nor repeat, the same for the same seed.
fn noise(bytes: u64, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut made = Vec::with_capacity(bytes as usize);
    while (made.len() as u64) < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        made.extend_from_slice(&state.to_le_bytes());
    }
    made.truncate(bytes as usize);
    made
}

/// What stands below the root, without what we keep beside.
fn state(host: &Host) -> Tree {
    let is_ours = |name: &str| name.contains(".sternway-") || name.contains(".KEPT");
    host.tree().into_iter().filter(|(name, _)| !is_ours(name)).collect()
}

/// When each entry below a path was modified, to the nanosecond.
fn times(root: &Path, below: &str) -> BTreeMap<PathBuf, (i64, i64)> {
    let mut times = BTreeMap::new();
    let mut left = vec![root.join(below)];
    while let Some(path) = left.pop() {
        let stat = path.symlink_metadata().expect("it is there");
        times.insert(path.clone(), (stat.mtime(), stat.mtime_nsec()));
        if stat.is_dir() {
            left.extend(std::fs::read_dir(&path).expect("a folder").flatten().map(|entry| entry.path()));
        }
    }
    times
}

fn side_copies(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with(".sternway-") {
            found.push(path);
        } else if path.is_dir() && !path.is_symlink() {
            found.extend(side_copies(&path));
        }
    }
    found
}

fn remove(path: &Path) {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    removed.expect("it can be removed");
}

fn remarks(host: &Host) -> Vec<Remark> {
    let of_remark = |record| match record {
        Record::Remarked { remark, .. } => Some(remark),
        _ => None,
    };
    host.records().into_iter().filter_map(of_remark).collect()
}

fn keep(host: &Host, tag: &str) {
    let paths = ["/opt/hello", "/etc/hello", "/var/lib/hello"];
    let output = host.verb(&[&["points", "create", "--tag", tag][..], &paths].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// Length of all files below.
fn size_of(folder: &Path) -> u64 {
    let mut size = 0;
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let stat = entry.metadata().expect("it is there");
        size += if stat.is_dir() { size_of(&entry.path()) } else { stat.len() };
    }
    size
}

fn finish(ground: &Ground, host: &mut Host, runs: usize) {
    let settled = |host: &Host| {
        let is_settled = |record: &&Record| sternway_agent::crash::record(record) == "settled";
        host.records().iter().filter(is_settled).count()
    };
    let came = wait_until(|| settled(host) >= runs || host.agent_ended().is_some());
    assert!(came && settled(host) == runs, "{}\n{}", host.account(), ground.fleet.logs());
    assert_eq!(host.ending(), Some(Ending::Finished), "{}", host.account());
    let rollout = format!("r-{runs}");
    let ended = || ground.fleet.sternway("ada", &["status", &rollout]).status.code() == Some(0);
    assert!(wait_until(ended), "{}", ground.fleet.logs());
}

fn undo(ground: &Ground, host: &mut Host) {
    let ordered = ground.fleet.sternway("ada", &["undo", "r-1", "--confirm", "1", "--reason", "a test"]);
    let undone = wait_until(|| matches!(host.ending(), Some(Ending::Undone { .. })));
    assert!(undone, "{}{}\n{}", text(&ordered.stdout), text(&ordered.stderr), host.account());
}

#[test]
fn an_undo_brings_everything_back_when_the_side_copies_are_gone_or_damaged() {
    let ground = Ground::of(1);
    let mut host = ground.host(0);
    let (before, before_times) = (state(&host), times(&host.root(), "opt/hello"));
    host.start_agent(&[]);
    ground.launch(RESTORE);
    finish(&ground, &mut host, 1);
    assert_ne!(state(&host), before);

    let copies = side_copies(&host.root());
    assert_eq!(copies.len(), 3, "{copies:?}");
    for copy in copies {
        match copy.to_string_lossy().ends_with("config.json") {
            true => std::fs::write(&copy, "somebody wrote here").expect("it can be written"),
            false => remove(&copy),
        }
    }
    undo(&ground, &mut host);
    assert_eq!(tree::difference(&before, &state(&host)), [""; 0], "{}", host.account());
    assert_eq!(times(&host.root(), "opt/hello"), before_times);
    let made_again =
        remarks(&host).into_iter().filter(|it| matches!(it, Remark::SideMadeAgain { .. })).count();
    assert_eq!(made_again, 3, "{:?}", remarks(&host));

    let log = text(&ground.fleet.sternway("ada", &["log", "r-1"]).stdout);
    assert!(log.contains("safety point ") && log.contains("was made again"), "{log}");
    let report = text(&ground.fleet.sternway("ada", &["report", "r-1"]).stdout);
    assert!(report.contains("safety point "), "{report}");
}

#[test]
fn what_was_overwritten_comes_back_by_an_ordinary_plan_when_the_rollout_is_over() {
    let ground = Ground::of(1);
    let mut host = ground.host(0);
    std::fs::write(host.root().join("opt/hello/large"), noise(20 * MEBIBYTE, 7)).expect("it can be written");
    let before = state(&host);
    host.start_agent(&[]);
    ground.launch(RESTORE);
    finish(&ground, &mut host, 1);
    assert!(!host.root().join("opt/hello/large").exists());

    let repository = host.disk().join("state/points");
    let stored = size_of(&repository);
    let back = RESTORE.replace("/opt/hello\", remove = \"/etc/hello/extra.toml", "/opt/hello");
    let back = back.split("[[step]]\nname = \"drop").next().expect("the first step").to_owned();
    let config = "[[step]]\nname = \"restore the configuration\"\nuses = \"files@0\"\n\
                  with = { restore = [\"/etc/hello/config.json\", \"/etc/hello/extra.toml\"] }\n";
    ground.launch_from("safety-r-1", &format!("{back}{config}"));
    finish(&ground, &mut host, 2);
    assert_eq!(tree::difference(&before, &state(&host)), [""; 0], "{}", host.account());
    // All that this plan overwrote was in the repository already.
    let more = size_of(&repository) - stored;
    assert!(more < 20 * MEBIBYTE / 100, "{more} bytes for a tree that the repository knew");

    // The tree of now is that of the first safety point: once more, it costs nothing.
    let stored = size_of(&repository);
    ground.launch(RESTORE);
    finish(&ground, &mut host, 3);
    let more = size_of(&repository) - stored;
    assert!(more < 20 * MEBIBYTE / 100, "{more} bytes for a tree that nobody changed");
    let safety = remarks(&host).into_iter().filter(|it| matches!(it, Remark::Safety { .. })).count();
    assert_eq!(safety, 3);
}

#[test]
fn a_point_of_another_version_is_refused_before_anything_is_touched() {
    let ground = Ground::of(1);
    let mut host = ground.host(0);
    let paths = ["/opt/hello", "/etc/hello", "/var/lib/hello"];
    let words = ["points", "create", "--tag", "before-1.3", "--version", "0.9"];
    let made = host.verb(&[&words[..], &paths[..]].concat());
    assert!(made.status.success(), "{}", sternway_tests::fleet::text(&made.stderr));
    let before = state(&host);
    host.start_agent(&[]);
    ground.launch(RESTORE);
    let ending = host.wait_for_ending();
    let Ending::Unfit { reason } = &ending else { panic!("{ending:?}\n{}", host.account()) };
    assert!(reason.contains("0.9, and the plan goes back to 1.1"), "{reason}");
    assert_eq!(tree::difference(&before, &state(&host)), [""; 0]);
}

#[test]
fn without_a_safety_point_nothing_is_changed() {
    let ground = Ground::of(1);
    let mut host = ground.host(0);
    // The service may write to its database until it is stopped.
    let state = |host: &Host| {
        let files = state(host).into_iter();
        files.filter(|(name, _)| !name.contains("hello.db")).collect::<Tree>()
    };
    let before = state(&host);
    host.start_service();
    host.start_agent(&[]);
    let look =
        "[[step]]\nname = \"it runs\"\nuses = \"service@0\"\nwith = { check = \"hello\" }\nwait = \"3s\"\n";
    ground.launch(&format!("{look}{RESTORE}"));
    let has_looked = |host: &Host| {
        host.records().iter().any(|record| sternway_agent::crash::record(record) == "ended-verify")
    };
    assert!(wait_until(|| has_looked(&host)), "{}", host.account());
    // The point it goes back to was checked and can be read; no other can be made any more.
    let lock = host.disk().join("state/points.storing.lock");
    let _ = std::fs::remove_file(&lock);
    std::fs::create_dir_all(lock.join("in the way")).expect("a folder can stand there");
    let ending = host.wait_for_ending();
    let Ending::Undone { because } = &ending else { panic!("{ending:?}\n{}", host.account()) };
    assert!(because.to_string().contains("nothing is changed"), "{because}");
    host.stop_service();
    assert_eq!(tree::difference(&before, &state(&host)), [""; 0]);
    assert_eq!(side_copies(&host.root()), Vec::<PathBuf>::new());
}

/// Changes one byte in the middle of a file.
fn rot(path: &Path) {
    let stat = path.metadata().unwrap_or_else(|cause| panic!("{}: {cause}", path.display()));
    let mut permissions = stat.permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
    std::fs::set_permissions(path, permissions).expect("it is ours");
    let file = std::fs::File::options().read(true).write(true).open(path).expect("it can be opened");
    let (at, mut byte) = (stat.len() / 2, [0]);
    file.read_exact_at(&mut byte, at).expect("it is that long");
    file.write_all_at(&[byte[0] ^ 0x10], at).expect("it can be written");
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap_or_else(|cause| panic!("{}: {cause}", folder.display())) {
        let path = entry.expect("it can be read").path();
        match path.is_dir() {
            true => files.extend(files_below(&path)),
            false => files.push(path),
        }
    }
    files.sort_by_key(|path| path.metadata().map(|stat| stat.len()).unwrap_or_default());
    files
}

#[test]
fn bit_rot_in_every_kind_of_stored_object_is_found_before_anything_is_touched() {
    let kinds = ["config", "keys", "snapshots", "index", "data smallest", "data largest"];
    let ground = Ground::of(kinds.len());
    let mut hosts: Vec<Host> = (0..kinds.len()).map(|at| ground.host(at)).collect();
    let mut before = Vec::new();
    for (host, kind) in hosts.iter_mut().zip(kinds) {
        let (folder, which) = kind.split_once(' ').unwrap_or((kind, "all"));
        let stored = host.disk().join("state/points").join(folder);
        let files = if stored.is_file() { vec![stored] } else { files_below(&stored) };
        let rotten: Vec<&PathBuf> = match which {
            "smallest" => files.first().into_iter().collect(),
            "largest" => files.last().into_iter().collect(),
            _ => files.iter().collect(),
        };
        assert!(!rotten.is_empty(), "{kind}: nothing is stored");
        rotten.into_iter().for_each(|path| rot(path));
        before.push(host.tree());
        host.start_agent(&[]);
    }
    ground.launch_checked("before-1.3", "full", plans::ONE);
    for ((host, kind), before) in hosts.iter_mut().zip(kinds).zip(before) {
        let ending = host.wait_for_ending();
        let Ending::Unfit { reason } = &ending else { panic!("{kind}: {ending:?}\n{}", host.account()) };
        // There was a point, and it is what is wrong; without its snapshot there is none to name.
        let is_found = !reason.contains("no rollback point") || reason.contains("can be used");
        assert!(is_found || kind == "snapshots", "{kind}: {reason}");
        assert_eq!(tree::difference(&before, &host.tree()), [""; 0], "{kind}: {reason}");
    }
}

#[test]
fn a_damaged_point_is_passed_over_for_the_next_newest_that_is_whole() {
    let ground = Ground::of(1);
    let mut host = ground.host(0);
    let packs = |host: &Host| files_below(&host.disk().join("state/points/data"));
    let old = packs(&host);
    std::fs::write(host.root().join("opt/hello/new"), noise(MEBIBYTE, 3)).expect("it can be written");
    keep(&host, "before-1.3");
    let new: Vec<PathBuf> = packs(&host).into_iter().filter(|pack| !old.contains(pack)).collect();
    rot(new.last().expect("the second point stored something"));
    host.start_agent(&[]);
    ground.launch_checked("before-1.3", "full", plans::ONE);
    finish(&ground, &mut host, 1);
    assert!(!host.root().join("opt/hello/new").exists(), "it went back to the damaged point");
    let readme = std::fs::read_to_string(host.root().join("opt/hello/README")).expect("it is there");
    assert_eq!(readme, "hello 1.1\n");
    assert!(
        remarks(&host)
            .iter()
            .any(|remark| matches!(remark, Remark::PointDamaged { finding, .. } if !finding.is_empty())),
        "{:?}",
        remarks(&host)
    );
    let log = text(&ground.fleet.sternway("ada", &["log", "r-1"]).stdout);
    assert!(log.contains("is not used"), "{log}");
}

/// A service that writes down how much its agent had read and written when it
/// was told to stop, and when it was started.
fn serve_and_count(host: &Host) {
    let folder = host.folder.display().to_string();
    let script = format!(
        "note() {{ cat /proc/$(cat {folder}/agent.pid)/io > {folder}/$1 2>/dev/null; }}\n\
         trap 'note at-stop; exit 0' TERM\n\
         note at-start\n\
         while :; do sleep 0.05; done\n"
    );
    std::fs::write(host.folder.join("serve.sh"), script).expect("it can be written");
    let config = host.folder.join("agent.toml");
    let old = std::fs::read_to_string(&config).expect("it was written");
    let command = format!("command = [\"/bin/sh\", \"{folder}/serve.sh\"]");
    let lines = old.lines().map(|line| if line.starts_with("command = ") { command.as_str() } else { line });
    std::fs::write(&config, lines.collect::<Vec<_>>().join("\n")).expect("it can be written");
}

fn counted(host: &Host, when: &str) -> (u64, u64) {
    let text = std::fs::read_to_string(host.folder.join(when)).expect("the service wrote it down");
    let number = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel counts it");
        line.trim_start_matches(':').trim().parse::<u64>().expect("a number")
    };
    (number("rchar"), number("wchar"))
}

/// Bytes that the agent read and wrote while the service was down, and how long that was.
fn down(mebibytes: u64) -> (u64, u64, Duration) {
    let ground = Ground::of(1);
    let mut host = ground.host(0);
    serve_and_count(&host);
    let large = host.root().join("opt/hello/large");
    std::fs::write(&large, noise(mebibytes * MEBIBYTE, 1)).expect("it can be written");
    keep(&host, "large");
    std::fs::write(&large, noise(mebibytes * MEBIBYTE, 2)).expect("it can be written");
    host.start_service();
    host.start_agent(&[]);
    let pid = host.agent_pid().expect("it runs").to_string();
    std::fs::write(host.folder.join("agent.pid"), pid).expect("it can be written");
    let _ = std::fs::remove_file(host.folder.join("at-start"));
    ground.launch_from(
        "large",
        "[[step]]\nname = \"stop hello\"\nuses = \"service@0\"\nwith = { stop = \"hello\" }\n\
         [[step]]\nname = \"restore files\"\nuses = \"files@0\"\nwith = { restore = \"/opt/hello\" }\n\
         [[step]]\nname = \"start hello\"\nuses = \"service@0\"\nwith = { start = \"hello\" }\n",
    );
    finish(&ground, &mut host, 1);
    assert!(std::fs::read(&large).expect("it is there") == noise(mebibytes * MEBIBYTE, 1));
    let when = |name: &str| {
        let stat = host.folder.join(name).metadata().expect("the service wrote it down");
        stat.modified().expect("files have times")
    };
    let took = when("at-start").duration_since(when("at-stop")).expect("it stops before it starts");
    let ((read_before, written_before), (read, written)) =
        (counted(&host, "at-stop"), counted(&host, "at-start"));
    host.stop_service();
    (read - read_before, written - written_before, took)
}

#[test]
fn a_service_is_down_for_the_switch_only_however_much_is_switched() {
    let (small, large) = (down(2), down(64));
    println!("down for 2 MiB: {small:?}, for 64 MiB: {large:?} (bytes read, bytes written, time)");
    assert!(large.1 < MEBIBYTE, "{} bytes written while the service was down", large.1);
    assert!(large.0 < small.0 + 2 * MEBIBYTE, "{} bytes read for 64 MiB, {} for 2 MiB", large.0, small.0);
}
