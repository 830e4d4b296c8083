//! Archives by the programs that people make them with, and hostile ones by hand.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::capabilities::files::HostRoot;

const PLENTY: u64 = 1 << 30;

struct Host {
    directory: tempfile::TempDir,
    files: Files,
}

impl Host {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let app = directory.path().join("from/app");
        fs::create_dir_all(app.join("bin/deep")).unwrap();
        fs::create_dir_all(directory.path().join("opt")).unwrap();
        fs::write(app.join("bin/run"), "v1").unwrap();
        // Hard to compress, so that the middle of an archive is content.
        let mut state = 7_u32;
        let letter = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b'A' + (state >> 27) as u8
        };
        fs::write(app.join("big"), (0..300_000).map(letter).collect::<Vec<u8>>()).unwrap();
        fs::set_permissions(app.join("bin/run"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("bin/run", app.join("run")).unwrap();
        fs::hard_link(app.join("bin/run"), app.join("bin/deep/same")).unwrap();
        fs::write(app.join(format!("bin/{}", "n".repeat(200))), "long").unwrap();
        fs::set_permissions(app.join("bin/deep"), fs::Permissions::from_mode(0o555)).unwrap();
        let files = Files::new(HostRoot::open(directory.path()).unwrap(), "run-1", "unpack");
        Self { directory, files }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn stage(&self, archive: &str, bytes_max: u64) -> Result<Digest, HostError> {
        self.files.stage_archive(&path_of("/opt/app"), &path_of(&format!("/{archive}")), bytes_max)
    }

    fn side(&self) -> PathBuf {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().path();
        let found: Vec<PathBuf> = fs::read_dir(self.at("opt")).unwrap().map(name).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found.into_iter().next().unwrap()
    }

    fn refusal(&self, archive: &[u8]) -> String {
        fs::write(self.at("hostile"), archive).unwrap();
        let error = self.stage("hostile", PLENTY).unwrap_err();
        assert_eq!(fs::read_dir(self.at("opt")).unwrap().count(), 0, "{error} left something");
        error.code
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // So that the folder itself can be removed by who is not root.
        let _ = Command::new("chmod").args(["-R", "u+w"]).arg(self.directory.path()).status();
    }
}

fn path_of(text: &str) -> HostPath {
    HostPath::parse(text).unwrap()
}

fn program(folder: &Path, words: &[&str]) {
    let done = Command::new(words[0]).args(&words[1..]).current_dir(folder).output().unwrap();
    assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Name, mode, owner, time and content of all there is; times of links are theirs.
fn told(top: &Path) -> BTreeMap<PathBuf, (u32, u32, i64, String)> {
    let mut all = BTreeMap::new();
    let mut open = vec![top.to_path_buf()];
    while let Some(path) = open.pop() {
        let found = fs::symlink_metadata(&path).unwrap();
        let content = if found.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            "folder".to_owned()
        } else if found.is_symlink() {
            fs::read_link(&path).unwrap().display().to_string()
        } else {
            String::from_utf8(fs::read(&path).unwrap()).unwrap()
        };
        let name = path.strip_prefix(top).unwrap().to_path_buf();
        let time = if found.is_symlink() { 0 } else { found.mtime() };
        all.insert(name, (found.mode(), found.uid(), time, content));
    }
    all
}

#[test]
fn every_kind_of_archive_gives_the_tree_it_was_made_of() {
    let host = Host::new();
    let from = host.at("from");
    for words in [
        &["tar", "-cf", "../a", "app"][..],
        &["tar", "--format=posix", "-cf", "../a", "app"],
        &["tar", "--format=ustar", "--exclude=n*", "-cf", "../a", "app"],
        &["tar", "--format=posix", "-czf", "../a", "app"],
        &["tar", "--zstd", "-cf", "../a", "app"],
        &["tar", "-C", "app", "-cf", "../a", "."],
        &["zip", "-qry", "../a.zip", "app"],
    ] {
        program(&from, words);
        if words[0] == "zip" {
            fs::rename(host.at("a.zip"), host.at("a")).unwrap();
        }
        host.stage("a", PLENTY).unwrap();
        let mut expected = told(&host.at("from/app"));
        if words.contains(&"--exclude=n*") {
            expected.retain(|name, _| !name.starts_with(format!("bin/{}", "n".repeat(200))));
        }
        assert_eq!(told(&host.side()), expected, "{words:?}");
    }
    assert_eq!(host.files.digest(Place::Live, &path_of("/opt/app")).unwrap(), None);
}

#[test]
fn hard_links_stay_one_file_and_holes_stay_holes() {
    let host = Host::new();
    let sparse = File::create(host.at("from/app/holes")).unwrap();
    sparse.set_len(40 << 20).unwrap();
    for at in 0..8 {
        FileExt::write_at(&sparse, b"island", at * (5 << 20)).unwrap();
    }
    for format in ["--format=gnu", "--format=posix"] {
        program(&host.at("from"), &["tar", "-S", format, "-cf", "../a", "app"]);
        host.stage("a", 8 << 20).unwrap();
        assert_eq!(told(&host.side()), told(&host.at("from/app")), "{format}");
        assert!(fs::metadata(host.side().join("holes")).unwrap().blocks() < 4096, "{format}");
        let links = |name: &str| fs::metadata(host.side().join(name)).unwrap().ino();
        assert_eq!(links("bin/run"), links("bin/deep/same"));
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "what is left out is said")]
fn attributes_and_owners_come_along_when_they_can() {
    let host = Host::new();
    let file = host.at("from/app/bin/run");
    if let Err(errno) = rustix::fs::setxattr(&file, "user.note", b"a\nb", rustix::fs::XattrFlags::empty()) {
        println!(
            "skipped  attributes_and_owners_come_along_when_they_can: no extended attributes here: {errno}"
        );
        return;
    }
    program(&host.at("from"), &["tar", "--xattrs", "--owner=:4711", "--group=:4712", "-cf", "../a", "app"]);
    host.stage("a", PLENTY).unwrap();
    let staged = host.side().join("bin/run");
    let mut value = [0; 16];
    let length = rustix::fs::getxattr(&staged, "user.note", &mut value).unwrap();
    assert_eq!(&value[..length], b"a\nb");
    let found = fs::metadata(&staged).unwrap();
    if rustix::process::geteuid().is_root() {
        assert_eq!((found.uid(), found.gid()), (4711, 4712));
    } else {
        assert_eq!(found.uid(), rustix::process::geteuid().as_raw());
    }
}

#[test]
fn an_archive_that_is_cut_or_changed_anywhere_is_never_staged() {
    let host = Host::new();
    let from = host.at("from");
    program(&from, &["tar", "-cf", "../plain", "app"]);
    program(&from, &["tar", "-czf", "../gzip", "app"]);
    program(&from, &["tar", "--zstd", "-cf", "../zstd", "app"]);
    program(&from, &["zip", "-qry", "../zip.zip", "app"]);
    for name in ["plain", "gzip", "zstd", "zip.zip"] {
        let whole = fs::read(host.at(name)).unwrap();
        // Behind the end of a tar is padding that nobody misses.
        let content = if name == "plain" {
            whole.iter().rposition(|byte| *byte != 0).unwrap()
        } else {
            whole.len() - 1
        };
        for cut in [600, content / 2, content] {
            assert_eq!(host.refusal(&whole[..cut.min(content)]), "files/broken-archive", "{name} at {cut}");
        }
        if name != "plain" {
            let mut changed = whole.clone();
            changed[whole.len() / 2] ^= 0x55;
            let code = host.refusal(&changed);
            assert!(code == "files/broken-archive" || code == "files/not-an-archive", "{name}: {code}");
        }
    }
    assert_eq!(host.refusal(b"#!/bin/sh\n"), "files/not-an-archive");
    assert_eq!(host.refusal(b""), "files/not-an-archive");
}

#[test]
fn what_is_larger_unpacked_than_allowed_stops_there() {
    let host = Host::new();
    fs::write(host.at("from/bomb"), vec![0; 20 << 20]).unwrap();
    program(&host.at("from"), &["tar", "-czf", "../a", "bomb"]);
    program(&host.at("from"), &["zip", "-qr", "../b.zip", "bomb"]);
    for name in ["a", "b.zip"] {
        assert!(fs::metadata(host.at(name)).unwrap().len() < 100_000);
        assert_eq!(host.stage(name, 1 << 20).unwrap_err().code, "files/too-large");
        assert_eq!(fs::read_dir(host.at("opt")).unwrap().count(), 0);
        host.stage(name, 21 << 20).unwrap();
        host.files.discard(&path_of("/opt/app")).unwrap();
    }
}

/// One entry by hand: name, kind, target, content.
fn entry(name: &str, kind: u8, target: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..107].copy_from_slice(b"0000644");
    header[108..115].copy_from_slice(b"0000000");
    header[116..123].copy_from_slice(b"0000000");
    header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    header[136..147].copy_from_slice(b"00000000000");
    header[156] = kind;
    header[157..157 + target.len()].copy_from_slice(target.as_bytes());
    header[257..263].copy_from_slice(b"ustar\0");
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let padding = vec![0; content.len().next_multiple_of(512) - content.len()];
    [&header[..], content, &padding].concat()
}

fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.extend([0; 1024]);
    bytes
}

#[test]
fn what_would_leave_the_tree_is_refused_and_nothing_outside_is_touched() {
    let host = Host::new();
    fs::write(host.at("outside"), "untouched").unwrap();
    let file = |name: &str| entry(name, b'0', "", b"x");
    let link = |name: &str, target: &str| entry(name, b'2', target, b"");
    for (what, entries) in [
        ("absolute", vec![file("/etc/x")]),
        ("upwards", vec![file("a/../../outside")]),
        ("upwards at once", vec![file("../outside")]),
        ("through a link", vec![link("l", ".."), entry("l/outside", b'0', "", b"x")]),
        ("through a link inside", vec![entry("d/", b'5', "", b""), link("l", "d"), file("l/x")]),
        ("link out", vec![file("a"), link("l", "../outside")]),
        ("absolute link", vec![file("a"), link("l", "/etc/passwd")]),
        ("links together", vec![file("d/x"), file("a"), link("d/up", ".."), link("l", "d/up/../outside")]),
        ("hard link out", vec![entry("h", b'1', "../outside", b"")]),
        ("hard link absolute", vec![entry("h", b'1', "/etc/passwd", b"")]),
        ("hard link to nothing", vec![entry("h", b'1', "not-there", b"")]),
        ("hard link to itself", vec![file("h"), entry("h", b'1', "h", b"")]),
        ("hard link to a link", vec![link("l", "a"), file("a"), entry("h", b'1', "l", b"")]),
        ("device", vec![entry("zero", b'3', "", b"")]),
        ("pipe", vec![entry("pipe", b'6', "", b"")]),
        ("file over a folder", vec![file("d/x"), file("d")]),
        ("long", vec![entry("x", b'L', "", &vec![b'n'; 2 << 20])]),
    ] {
        assert_eq!(host.refusal(&archive(&entries)), "files/unsafe-archive", "{what}");
    }
    assert_eq!(fs::read_to_string(host.at("outside")).unwrap(), "untouched");
}

#[test]
fn links_that_stay_inside_are_kept_also_when_they_name_nothing() {
    let host = Host::new();
    let link = |name: &str, target: &str| entry(name, b'2', target, b"");
    let good = archive(&[
        entry("top/d/x", b'0', "", b"x"),
        link("top/l", "d/x"),
        link("top/d/up", "../d"),
        link("top/none", "not-there"),
        link("top/round", "round"),
    ]);
    fs::write(host.at("good"), good).unwrap();
    assert_eq!(host.stage("good", PLENTY).unwrap().entries, 7);
    assert_eq!(fs::read_link(host.side().join("d/up")).unwrap(), Path::new("../d"));
    // The folder around it is not part of the tree, so what leads to it leads out.
    assert_eq!(host.refusal(&archive(&[entry("top/x", b'0', "", b"x"), link("top/l", "../top/x")])), {
        "files/unsafe-archive"
    });
}

#[test]
fn the_later_of_two_entries_with_one_name_counts() {
    let host = Host::new();
    let twice = archive(&[
        entry("./", b'5', "", b""),
        entry("a", b'0', "", b"first"),
        entry("l", b'2', "a", b""),
        entry("a", b'0', "", b"second"),
        entry("l", b'0', "", b"a file now"),
    ]);
    fs::write(host.at("twice"), twice).unwrap();
    host.stage("twice", PLENTY).unwrap();
    assert_eq!(fs::read_to_string(host.side().join("a")).unwrap(), "second");
    assert_eq!(fs::read_to_string(host.side().join("l")).unwrap(), "a file now");
}

#[test]
fn a_link_in_the_way_of_the_archive_itself_is_not_followed() {
    let host = Host::new();
    program(&host.at("from"), &["tar", "-cf", "../a", "app"]);
    symlink(host.at("a"), host.at("l")).unwrap();
    assert!(host.stage("l", PLENTY).is_err());
    assert_eq!(host.stage("not-there", PLENTY).unwrap_err().code, "files/not-found");
}
