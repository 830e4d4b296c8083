use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

struct Host {
    directory: tempfile::TempDir,
    files: Files,
}

impl Host {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("opt/hello/bin")).unwrap();
        fs::write(directory.path().join("opt/hello/bin/run"), "v1").unwrap();
        fs::write(directory.path().join("opt/hello/config"), "a = 1").unwrap();
        symlink("bin/run", directory.path().join("opt/hello/run")).unwrap();
        let files = Files::new(HostRoot::open(directory.path()).unwrap(), "run-1", "restore");
        Self { directory, files }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn digest(&self, place: Place, path: &str) -> Option<Digest> {
        self.files.digest(place, &path_of(path)).unwrap()
    }

    fn names_in_opt(&self) -> Vec<String> {
        self.files.names(Place::Live, &path_of("/opt")).unwrap()
    }
}

fn path_of(text: &str) -> HostPath {
    HostPath::parse(text).unwrap()
}

#[test]
fn a_copy_has_the_digest_of_its_original_and_any_difference_shows() {
    let host = Host::new();
    let live = host.digest(Place::Live, "/opt/hello").unwrap();
    assert_eq!((live.entries, live.bytes), (5, 7));
    let copy = host.files.stage_copy(&path_of("/opt/hello")).unwrap();
    assert_eq!(copy, live);

    let side = format!("opt/{}hello", host.files.side_prefix);
    let mut seen = vec![live.sha256];
    fs::write(host.at(&side).join("config"), "a = 2").unwrap();
    seen.push(host.digest(Place::Side, "/opt/hello").unwrap().sha256);
    fs::set_permissions(host.at(&side).join("config"), fs::Permissions::from_mode(0o600)).unwrap();
    seen.push(host.digest(Place::Side, "/opt/hello").unwrap().sha256);
    fs::rename(host.at(&side).join("config"), host.at(&side).join("confih")).unwrap();
    seen.push(host.digest(Place::Side, "/opt/hello").unwrap().sha256);
    fs::remove_file(host.at(&side).join("run")).unwrap();
    symlink("bin/ruN", host.at(&side).join("run")).unwrap();
    seen.push(host.digest(Place::Side, "/opt/hello").unwrap().sha256);
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), count);
}

#[test]
fn a_copy_keeps_modes_times_links_owners_and_extended_attributes() {
    let host = Host::new();
    let file = host.at("opt/hello/bin/run");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4751)).unwrap();
    let opened = fs::File::options().write(true).open(&file).unwrap();
    opened.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_600_000_000_123)).unwrap();
    let attribute = [(b"user.sternway".to_vec(), b"kept".to_vec())];
    let supported = tree::write_xattrs(opened.as_fd(), &attribute).is_ok();
    host.files.stage_copy(&path_of("/opt/hello")).unwrap();

    let side = host.at(&format!("opt/{}hello", host.files.side_prefix));
    let copied = fs::metadata(side.join("bin/run")).unwrap();
    assert_eq!(copied.permissions().mode() & 0o7777, 0o4751);
    assert_eq!(copied.mtime_nsec(), 123_000_000);
    assert_eq!(copied.uid(), fs::metadata(&file).unwrap().uid());
    assert_eq!(fs::read_link(side.join("run")).unwrap(), PathBuf::from("bin/run"));
    if supported {
        let mut value = [0; 16];
        let read = rustix::fs::getxattr(side.join("bin/run"), "user.sternway", &mut value[..]);
        assert_eq!(&value[..read.unwrap()], b"kept");
    }
}

#[test]
fn a_switch_exchanges_once_and_answers_false_ever_after() {
    let host = Host::new();
    let path = path_of("/opt/hello/config");
    let before = host.digest(Place::Live, "/opt/hello/config").unwrap();
    let staged = host.files.stage_bytes(&path, b"a = 2").unwrap();
    assert_eq!(fs::read(host.at("opt/hello/config")).unwrap(), b"a = 1");
    assert!(host.files.switch_to(&path, &staged.sha256).unwrap());
    assert!(!host.files.switch_to(&path, &staged.sha256).unwrap());
    assert_eq!(fs::read(host.at("opt/hello/config")).unwrap(), b"a = 2");
    assert_eq!(host.digest(Place::Side, "/opt/hello/config").unwrap(), before);

    assert!(host.files.switch_to(&path, &before.sha256).unwrap(), "undo is the same exchange");
    assert_eq!(fs::read(host.at("opt/hello/config")).unwrap(), b"a = 1");
    host.files.discard(&path).unwrap();
    host.files.discard(&path).unwrap();
    let error = host.files.switch_to(&path, &staged.sha256).unwrap_err();
    assert_eq!(error.code, "files/not-as-staged");
}

#[test]
fn a_side_copy_that_changed_since_it_was_staged_is_never_switched_in() {
    let host = Host::new();
    let path = path_of("/opt/hello");
    let staged = host.files.stage_copy(&path).unwrap();
    fs::write(host.at("opt/hello/config"), "live changed").unwrap();
    fs::write(host.at(&format!("opt/{}hello/config", host.files.side_prefix)), "evil").unwrap();
    let error = host.files.switch_to(&path, &staged.sha256).unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Conflict, "files/not-as-staged"));
    assert_eq!(fs::read(host.at("opt/hello/config")).unwrap(), b"live changed");
}

#[test]
fn a_new_file_is_switched_in_and_taken_away_again() {
    let host = Host::new();
    let path = path_of("/opt/new");
    let staged = host.files.stage_bytes(&path, b"new").unwrap();
    assert!(host.files.switch_to(&path, &staged.sha256).unwrap());
    assert_eq!(fs::metadata(host.at("opt/new")).unwrap().permissions().mode() & 0o7777, 0o644);
    assert_eq!(host.digest(Place::Side, "/opt/new"), None);
    assert!(host.files.take_away(&path).unwrap());
    assert!(!host.files.take_away(&path).unwrap());
    assert_eq!(host.digest(Place::Side, "/opt/new").unwrap(), staged);

    fs::write(host.at("opt/new"), "made again").unwrap();
    assert_eq!(host.files.take_away(&path).unwrap_err().code, "files/side-in-use");
    assert_eq!(fs::read(host.at("opt/new")).unwrap(), b"made again");
}

#[test]
fn a_kept_copy_has_one_name_and_is_made_once() {
    let host = Host::new();
    let path = path_of("/opt/hello");
    let name = host.files.keep_copy(&path, ".20260102T030405Z").unwrap();
    assert_eq!(name, "/opt/hello.20260102T030405Z");
    let kept = host.digest(Place::Live, &name);
    assert_eq!(kept, host.digest(Place::Live, "/opt/hello"));
    fs::write(host.at("opt/hello/config"), "later").unwrap();
    assert_eq!(host.files.keep_copy(&path, ".20260102T030405Z").unwrap(), name);
    assert_eq!(host.digest(Place::Live, &name), kept);
    assert_eq!(host.names_in_opt(), ["hello", "hello.20260102T030405Z"]);
}

#[test]
fn ownership_changes_files_and_directories_apart_and_leaves_links() {
    let host = Host::new();
    let path = path_of("/opt/hello");
    host.files.stage_copy(&path).unwrap();
    let to = Ownership { file_mode: Some(0o640), directory_mode: Some(0o750), ..Ownership::default() };
    host.files.stage_ownership(&path, &to).unwrap();
    let side = host.at(&format!("opt/{}hello", host.files.side_prefix));
    let mode = |path: PathBuf| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(side.clone()), 0o750);
    assert_eq!(mode(side.join("bin")), 0o750);
    assert_eq!(mode(side.join("bin/run")), 0o640);
    assert_eq!(fs::read_link(side.join("run")).unwrap(), PathBuf::from("bin/run"));
}

#[test]
fn reading_is_capped_and_never_follows_a_link_or_waits_for_a_pipe() {
    let host = Host::new();
    let read = |path: &str, bytes_max| host.files.read(Place::Live, &path_of(path), bytes_max);
    assert_eq!(read("/opt/hello/config", 5).unwrap(), b"a = 1");
    assert_eq!(read("/opt/hello/config", 4).unwrap_err().code, "files/too-large");
    assert_eq!(read("/opt/absent", 4).unwrap_err().kind, ErrorKind::NotFound);
    assert!(read("/opt/hello/run", 100).is_err(), "a link is not read through");
    rustix::fs::mkfifoat(rustix::fs::CWD, host.at("opt/pipe"), Mode::RUSR).unwrap();
    assert!(read("/opt/pipe", 100).is_err(), "a pipe is not waited for");
    let error = host.files.stage_copy(&path_of("/opt/pipe")).unwrap_err();
    assert!(error.message.contains("cannot be copied"), "{error}");
}

#[test]
fn a_link_at_the_path_itself_is_what_is_switched_not_its_target() {
    let host = Host::new();
    symlink("hello", host.at("opt/current")).unwrap();
    let path = path_of("/opt/current");
    let attributes = host.files.attributes(Place::Live, &path).unwrap().unwrap();
    assert_eq!(attributes.node, Node::Symlink);
    let staged = host.files.stage_copy(&path).unwrap();
    fs::remove_file(host.at("opt/current")).unwrap();
    symlink("elsewhere", host.at("opt/current")).unwrap();
    assert!(host.files.switch_to(&path, &staged.sha256).unwrap());
    assert_eq!(fs::read_link(host.at("opt/current")).unwrap(), PathBuf::from("hello"));
}

#[test]
fn two_steps_of_a_run_never_share_a_side_copy() {
    let host = Host::new();
    let root = HostRoot::open(host.directory.path()).unwrap();
    let other = Files::new(root, "run-1", "another");
    host.files.stage_copy(&path_of("/opt/hello")).unwrap();
    assert_eq!(other.digest(Place::Side, &path_of("/opt/hello")).unwrap(), None);
}

/// What this thread has had the kernel read and write, in bytes.
fn traffic() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/thread-self/io").ok()?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    Some((field("rchar:")?, field("wchar:")?))
}

/// All that a step asks between the stop and the start of its service.
fn bytes_of_a_switch(megabytes: usize) -> Option<(u64, u64)> {
    let host = Host::new();
    let top = host.at("opt/large");
    fs::create_dir(&top).unwrap();
    for at in 0..megabytes {
        fs::write(top.join(format!("{at:03}")), vec![at as u8; 1 << 20]).unwrap();
    }
    let path = path_of("/opt/large");
    // As a step does that looks before it prepares.
    host.files.digest(Place::Live, &path).unwrap();
    let staged = host
        .files
        .stage_with(&path, |directory, side, live| {
            tree::copy((directory, OsStr::new(live)), (directory, OsStr::new(side))).unwrap();
            let changed = tree::open_directory(directory, OsStr::new(side)).unwrap();
            rustix::fs::unlinkat(&changed, "000", rustix::fs::AtFlags::empty()).unwrap();
            Ok(())
        })
        .unwrap();
    host.files.digest(Place::Side, &path).unwrap();
    let before = traffic()?;
    let old = host.files.digest(Place::Live, &path).unwrap().unwrap();
    assert!(host.files.switch_to(&path, &staged.sha256).unwrap());
    assert_eq!(host.files.digest(Place::Side, &path).unwrap().unwrap(), old);
    assert_eq!(host.files.digest(Place::Live, &path).unwrap().unwrap(), staged);
    let after = traffic()?;
    Some((after.0 - before.0, after.1 - before.1))
}

/// Says why and passes where the kernel does not count.
#[test]
fn a_switch_reads_and_writes_no_more_for_a_large_tree_than_for_a_small_one() {
    let (Some(small), Some(large)) = (bytes_of_a_switch(2), bytes_of_a_switch(40)) else {
        tracing::warn!("skipped: this kernel does not count what a thread reads");
        return;
    };
    assert!(large.0 < small.0 + 10_000 && large.1 < small.1 + 10_000, "{small:?} {large:?}");
}

#[test]
fn what_a_program_writes_after_its_tree_was_read_is_seen_by_the_switch() {
    let host = Host::new();
    let path = path_of("/opt/hello");
    let staged = host
        .files
        .stage_with(&path, |directory, side, live| {
            tree::copy((directory, OsStr::new(live)), (directory, OsStr::new(side))).unwrap();
            Ok(())
        })
        .unwrap();
    assert_eq!(host.digest(Place::Live, "/opt/hello").unwrap(), staged);
    fs::write(host.at("opt/hello/config"), "a = 9").unwrap();
    let written = host.digest(Place::Live, "/opt/hello").unwrap();
    assert_ne!(written, staged);
    assert!(host.files.switch_to(&path, &staged.sha256).unwrap());
    assert_eq!(host.digest(Place::Side, "/opt/hello").unwrap(), written);
    assert_eq!(fs::read(host.at("opt/hello/config")).unwrap(), b"a = 1");
}
