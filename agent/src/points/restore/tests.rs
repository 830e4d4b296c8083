use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use proptest::prelude::*;

use super::super::trees::{self, Placed, Thing, Vault};
use super::*;
use crate::capabilities::files::HostPath;

fn path(text: &str) -> HostPath {
    HostPath::parse(text).unwrap()
}

/// Stores `/host/top` and restores it to `/host/back`.
fn there_and_back(vault: &Vault) {
    let tree = vault.store(&[path("/host/top")]).unwrap();
    let node = vault.node(tree, "host/top");
    let directory = fs::File::open(vault.path("host")).unwrap();
    restore(&vault.indexed(), &node, directory.as_fd(), "back").unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, max_shrink_iters: 60, ..Default::default() })]

    #[test]
    fn any_tree_comes_back_identical(things in prop::collection::vec(trees::thing(), 0..24)) {
        let vault = Vault::new();
        trees::build(&vault.path("host/top"), &things);
        there_and_back(&vault);
        let (before, after) = (trees::seen(&vault.path("host/top")), trees::seen(&vault.path("host/back")));
        prop_assert_eq!(trees::without_sockets(&before), after);
        let after = trees::space(&vault.path("host/back"));
        for (name, bytes) in trees::space(&vault.path("host/top")) {
            // How a file system keeps its books is its own affair.
            prop_assert!(after[&name] <= bytes + (16 << 10), "{name:?}: {} of {bytes}", after[&name]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3, failure_persistence: None, max_shrink_iters: 10, ..Default::default() })]

    /// Says why and passes when this machine has no `restic`.
    #[test]
    fn restic_itself_brings_any_tree_back_identical(things in prop::collection::vec(trees::thing(), 0..24)) {
        let vault = Vault::new();
        if vault.restic(&["version"]).is_none() {
            tracing::warn!("skipped: there is no `restic` here");
            return Ok(());
        }
        trees::build(&vault.path("host/top"), &trees::with_plain_targets(&things));
        vault.store(&[path("/host/top")]).unwrap();
        vault.restic(&["check", "--read-data"]).unwrap().unwrap();
        let target = vault.path("restored");
        vault.restic(&["restore", "latest", "--target", target.to_str().unwrap()]).unwrap().unwrap();
        let before = trees::without_sockets(&trees::seen(&vault.path("host/top")));
        let after = trees::seen(&target.join("host/top"));
        prop_assert_eq!(before, after);
    }
}

#[test]
fn a_large_file_is_written_in_parts_and_its_holes_stay_holes() {
    let vault = Vault::new();
    fs::create_dir_all(vault.path("host/top")).unwrap();
    let file = fs::File::create(vault.path("host/top/large")).unwrap();
    let mut noise = vec![0; 14 << 20];
    getrandom::fill(&mut noise).unwrap();
    file.write_all_at(&noise, 5_000_000).unwrap();
    file.set_len(60 << 20).unwrap();
    let end = (60 << 20) - 3;
    file.write_all_at(b"end", end).unwrap();
    there_and_back(&vault);
    let (before, after) = (trees::seen(&vault.path("host/top")), trees::seen(&vault.path("host/back")));
    assert_eq!(before, after);
    let blocks = fs::metadata(vault.path("host/back/large")).unwrap().blocks();
    assert!(blocks * 512 < 16 << 20, "{blocks}");
}

#[test]
fn paths_longer_than_the_kernel_takes_in_one_call_come_back() {
    let vault = Vault::new();
    let name = "n".repeat(250);
    let top = vault.path("host/top");
    fs::create_dir_all(&top).unwrap();
    let mut directory: OwnedFd = fs::File::open(&top).unwrap().into();
    for _ in 0..20 {
        rustix::fs::mkdirat(&directory, name.as_str(), Mode::RWXU).unwrap();
        directory = tree::open_directory(directory.as_fd(), OsStr::new(&name)).unwrap();
    }
    let file = tree::create_file(directory.as_fd(), OsStr::new("deep")).unwrap();
    file.write_all_at(b"down here", 0).unwrap();
    there_and_back(&vault);
    let mut directory: OwnedFd = fs::File::open(vault.path("host/back")).unwrap().into();
    for _ in 0..20 {
        directory = tree::open_directory(directory.as_fd(), OsStr::new(&name)).unwrap();
    }
    let mut text = String::new();
    tree::open_file(directory.as_fd(), OsStr::new("deep")).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "down here");
    // The temporary folder's own way of taking things away is too simple for these.
    for each in ["top", "back"] {
        tree::remove(fs::File::open(vault.path("host")).unwrap().as_fd(), OsStr::new(each)).unwrap();
    }
}

#[test]
fn access_lists_and_capabilities_come_back_where_the_file_system_has_them() {
    let vault = Vault::new();
    let file = vault.path("host/top/run");
    fs::create_dir_all(vault.path("host/top")).unwrap();
    fs::write(&file, "program").unwrap();
    let entry = |tag: u16, perm: u16, id: u32| {
        [&tag.to_le_bytes()[..], &perm.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let nobody = u32::MAX;
    let list = [
        2_u32.to_le_bytes().to_vec(),
        entry(0x01, 6, nobody),
        entry(0x02, 5, 4321),
        entry(0x04, 4, nobody),
        entry(0x10, 7, nobody),
        entry(0x20, 4, nobody),
    ]
    .concat();
    // Version 2, effective: to bind low ports.
    let capability = [0x0200_0001_u32, 1 << 10, 0, 0, 0].map(u32::to_le_bytes).concat();
    let none = rustix::fs::XattrFlags::empty();
    for (name, value) in [("system.posix_acl_access", &list), ("security.capability", &capability)] {
        if let Err(errno) = rustix::fs::setxattr(&file, name, value, none) {
            tracing::warn!(%errno, name, "skipped: this file system or user cannot set it");
        }
    }
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(vault.path("host/top"), Some(77), Some(88)).unwrap();
    }
    there_and_back(&vault);
    assert_eq!(trees::seen(&vault.path("host/top")), trees::seen(&vault.path("host/back")));
}

#[test]
fn what_a_folder_gives_its_children_by_itself_is_not_kept_in_a_restored_tree() {
    let vault = Vault::new();
    fs::create_dir_all(vault.path("host/top")).unwrap();
    fs::write(vault.path("host/top/file"), "plain").unwrap();
    let entry =
        |tag: u16, perm: u16| [&tag.to_le_bytes()[..], &perm.to_le_bytes(), &u32::MAX.to_le_bytes()].concat();
    let list = [2_u32.to_le_bytes().to_vec(), entry(0x01, 7), entry(0x04, 7), entry(0x20, 7)].concat();
    let none = rustix::fs::XattrFlags::empty();
    if rustix::fs::setxattr(vault.path("host"), "system.posix_acl_default", &list, none).is_err() {
        tracing::warn!("skipped: this file system has no access lists");
        return;
    }
    there_and_back(&vault);
    assert_eq!(trees::seen(&vault.path("host/top")), trees::seen(&vault.path("host/back")));
}

#[test]
fn hard_links_are_links_within_a_tree_and_apart_between_two() {
    let vault = Vault::new();
    for folder in ["host/top/a", "host/top/z", "host/other"] {
        fs::create_dir_all(vault.path(folder)).unwrap();
    }
    fs::write(vault.path("host/top/z/one"), "shared").unwrap();
    fs::hard_link(vault.path("host/top/z/one"), vault.path("host/top/a/two")).unwrap();
    fs::hard_link(vault.path("host/top/z/one"), vault.path("host/other/three")).unwrap();
    let tree = vault.store(&[path("/host/top"), path("/host/other")]).unwrap();
    let directory = fs::File::open(vault.path("host")).unwrap();
    for (from, to) in [("host/top", "back"), ("host/other", "apart")] {
        restore(&vault.indexed(), &vault.node(tree, from), directory.as_fd(), to).unwrap();
    }
    let inode = |name: &str| fs::metadata(vault.path(name)).unwrap().ino();
    assert_eq!(inode("host/back/z/one"), inode("host/back/a/two"));
    assert_ne!(inode("host/back/z/one"), inode("host/apart/three"));
    assert_ne!(inode("host/back/z/one"), inode("host/top/z/one"), "never a link to what is live");
    assert_eq!(fs::read(vault.path("host/apart/three")).unwrap(), b"shared");
}

#[test]
fn what_cannot_be_restored_whole_fails_and_says_what() {
    let vault = Vault::new();
    fs::create_dir_all(vault.path("host/top/below")).unwrap();
    for at in 0..200 {
        fs::write(vault.path("host/top/below").join(at.to_string()), vec![at as u8; 5000]).unwrap();
    }
    let tree = vault.store(&[path("/host/top")]).unwrap();
    let node = vault.node(tree, "host/top");
    let indexed = vault.indexed();
    let directory = fs::File::open(vault.path("host")).unwrap();
    restore(&indexed, &node, directory.as_fd(), "back").unwrap();
    let error = restore(&indexed, &node, directory.as_fd(), "back").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "what is there is not written over: {error}");
    let indexed = vault.indexed();
    vault.damage();
    let error = restore(&indexed, &node, directory.as_fd(), "again").unwrap_err();
    assert_eq!(error.code, "points/unreadable", "{error}");
}

#[test]
fn what_is_live_helps_only_as_far_as_it_is_what_the_point_holds() {
    let vault = Vault::new();
    let top = vault.path("host/top");
    fs::create_dir_all(top.join("folder")).unwrap();
    let mut noise = vec![0; 12 << 20];
    getrandom::fill(&mut noise).unwrap();
    fs::write(top.join("same"), &noise).unwrap();
    fs::write(top.join("changed"), &noise).unwrap();
    fs::write(top.join("small"), "as it was").unwrap();
    fs::write(top.join("longer"), "short").unwrap();
    fs::write(top.join("folder/file"), "in a folder").unwrap();
    let before = trees::seen(&top);
    let tree = vault.store(&[path("/host/top")]).unwrap();
    noise[7_000_000] ^= 1;
    fs::write(top.join("changed"), &noise).unwrap();
    fs::write(top.join("small"), "as it is!").unwrap();
    fs::write(top.join("longer"), "long, longer").unwrap();
    fs::remove_dir_all(top.join("folder")).unwrap();
    symlink("/etc", top.join("folder")).unwrap();
    let directory = fs::File::open(vault.path("host")).unwrap();
    let node = vault.node(tree, "host/top");
    restore_beside(&vault.indexed(), &node, (directory.as_fd(), "back"), Some("top")).unwrap();
    assert_eq!(trees::seen(&vault.path("host/back")), before);
    // Whatever is live may be nothing of the kind.
    restore_beside(&vault.indexed(), &node, (directory.as_fd(), "again"), Some("nothing")).unwrap();
    fs::write(vault.path("host/file"), "no folder").unwrap();
    restore_beside(&vault.indexed(), &node, (directory.as_fd(), "third"), Some("file")).unwrap();
    assert_eq!(trees::seen(&vault.path("host/third")), before);
}

/// What is mounted for a test.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let done = std::process::Command::new("umount").arg(self.0).status();
        assert!(done.is_ok_and(|status| status.success()) || std::thread::panicking(), "not unmounted");
    }
}

fn free_bytes(at: &Path) -> u64 {
    let file = fs::File::open(at).unwrap();
    rustix::fs::syncfs(&file).unwrap();
    let state = rustix::fs::statvfs(at).unwrap();
    state.f_bfree * state.f_frsize
}

/// Says why and passes without root, loop devices or such a file system.
#[test]
fn unchanged_files_share_their_blocks_with_the_live_ones_and_are_not_written() {
    let scratch = tempfile::tempdir().unwrap();
    let image = scratch.path().join("image");
    fs::File::create(&image).unwrap().set_len(600 << 20).unwrap();
    let host = scratch.path().join("mounted");
    fs::create_dir(&host).unwrap();
    let run = |program: &str, arguments: &[&OsStr]| {
        let done = std::process::Command::new(program).args(arguments).output();
        done.is_ok_and(|done| done.status.success())
    };
    let made = run("mkfs.xfs", &["-q".as_ref(), "-m".as_ref(), "reflink=1".as_ref(), image.as_ref()])
        || run("mkfs.btrfs", &["-q".as_ref(), image.as_ref()]);
    if !made || !run("mount", &["-o".as_ref(), "loop".as_ref(), image.as_ref(), host.as_ref()]) {
        tracing::warn!("skipped: no file system that shares blocks can be made and mounted here");
        return;
    }
    let _mounted = Mounted(&host);
    let vault = Vault::beside(&host);
    let top = host.join("host/top");
    fs::create_dir_all(&top).unwrap();
    let mut noise = vec![0; 24 << 20];
    getrandom::fill(&mut noise).unwrap();
    fs::write(top.join("same"), &noise).unwrap();
    fs::write(top.join("changed"), &noise[1..]).unwrap();
    let before = trees::seen(&top);
    let tree = vault.store(&[path("/host/top")]).unwrap();
    fs::File::options().write(true).open(top.join("changed")).unwrap().write_all_at(b"!", 100).unwrap();
    let free = free_bytes(&host);
    let directory = fs::File::open(host.join("host")).unwrap();
    let node = vault.node(tree, "host/top");
    restore_beside(&vault.indexed(), &node, (directory.as_fd(), "back"), Some("top")).unwrap();
    let used = free.saturating_sub(free_bytes(&host));
    assert_eq!(trees::seen(&host.join("host/back")), before);
    assert!(used < 12 << 20, "of 48 MB {used} bytes were written");
    // Each is the other's no more than before.
    fs::File::options().write(true).open(top.join("same")).unwrap().write_all_at(b"later", 0).unwrap();
    assert_eq!(fs::read(host.join("host/back/same")).unwrap(), noise);
    drop(directory);
    drop(vault);
}

#[test]
fn a_time_before_1970_is_the_kernels() {
    let vault = Vault::new();
    fs::create_dir_all(vault.path("host/top")).unwrap();
    let times = [(-1, 250_000_000), (-2_000_000_000, 1), (0, 999_999_999), (8_000_000_000, 5)];
    for (at, (seconds, nanoseconds)) in times.iter().enumerate() {
        let file = vault.path("host/top").join(at.to_string());
        fs::write(&file, "").unwrap();
        trees::set_modified(&file, (*seconds, *nanoseconds));
    }
    trees::set_modified(&vault.path("host/top"), (-77, 77));
    there_and_back(&vault);
    assert_eq!(trees::seen(&vault.path("host/top")), trees::seen(&vault.path("host/back")));
    let metadata = fs::metadata(vault.path("host/back/0")).unwrap();
    assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (-1, 250_000_000));
}

#[test]
fn a_lone_file_a_lone_link_and_an_empty_folder_are_trees_too() {
    let vault = Vault::new();
    fs::create_dir_all(vault.path("host/empty")).unwrap();
    fs::set_permissions(vault.path("host/empty"), fs::Permissions::from_mode(0o1755)).unwrap();
    fs::write(vault.path("host/file"), vec![1; 3_000_000]).unwrap();
    symlink("file", vault.path("host/link")).unwrap();
    let names = ["empty", "file", "link"];
    let paths: Vec<HostPath> = names.iter().map(|name| path(&format!("/host/{name}"))).collect();
    let tree = vault.store(&paths).unwrap();
    let directory = fs::File::open(vault.path("host")).unwrap();
    for name in names {
        let node = vault.node(tree, &format!("host/{name}"));
        restore(&vault.indexed(), &node, directory.as_fd(), &format!("{name}-back")).unwrap();
        let back = vault.path("host").join(format!("{name}-back"));
        assert_eq!(trees::seen(&back), trees::seen(&vault.path("host").join(name)), "{name}");
    }
}

#[test]
fn sockets_are_left_out_and_nothing_else_is() {
    let vault = Vault::new();
    let things = [(Thing::Socket, "left"), (Thing::Fifo, "pipe")];
    trees::build(&vault.path("host/top"), &things.map(|(thing, name)| Placed::named(thing, name)));
    let _listening = std::os::unix::net::UnixListener::bind(vault.path("host/top/socket")).unwrap();
    there_and_back(&vault);
    let names: Vec<_> =
        fs::read_dir(vault.path("host/back")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["pipe"]);
}
