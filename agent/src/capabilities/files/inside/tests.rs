use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::*;
use crate::capabilities::files::HostRoot;

struct Host {
    directory: tempfile::TempDir,
    files: Files,
}

impl Host {
    fn with(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("opt/app")).unwrap();
        for (name, content) in files {
            let path = directory.path().join("opt/app").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let files = Files::new(HostRoot::open(directory.path()).unwrap(), "run-1", "inside");
        Self { directory, files }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join("opt/app").join(path)
    }

    fn put_back(&self) -> Result<Vec<String>, HostError> {
        self.files.stage_copy(&app()).unwrap();
        self.files.stage_put_back(&app(), ".backup")
    }

    fn switch(&self) {
        let side = self.files.digest(Place::Side, &app()).unwrap().unwrap();
        self.files.switch_to(&app(), &side.sha256).unwrap();
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }
}

fn app() -> HostPath {
    HostPath::parse("/opt/app").unwrap()
}

#[test]
fn every_kept_copy_takes_its_place_at_any_depth_and_none_is_left() {
    let host = Host::with(&[
        ("a.py", "new"),
        ("a.py.backup", "old"),
        ("core/rag/b.py", "new"),
        ("core/rag/b.py.backup", "old"),
        ("core/gone.py.backup", "only the copy is there"),
        ("packages.backup/x.py.backup", "in a folder that is a copy"),
        ("packages/y.py", "new"),
        ("packages/never.backup", "goes with its folder"),
        (".backup", "a name of its own"),
        ("plain", "stays"),
    ]);
    let answer = host.put_back().unwrap();
    assert_eq!(answer, ["a.py", "core/gone.py", "core/rag/b.py", "packages", "packages/x.py"]);
    assert_eq!(host.files.stage_put_back(&app(), ".backup").unwrap(), Vec::<String>::new(), "twice is once");
    assert_eq!(host.text("a.py"), "new", "what is live is not touched");
    host.switch();
    assert_eq!(host.files.find(Place::Live, &app(), ".backup").unwrap(), [".backup"]);
    for (path, content) in [
        ("a.py", "old"),
        ("core/rag/b.py", "old"),
        ("core/gone.py", "only the copy is there"),
        ("packages/x.py", "in a folder that is a copy"),
        ("plain", "stays"),
    ] {
        assert_eq!(host.text(path), content, "{path}");
    }
    assert!(!host.at("packages/y.py").exists());
}

#[test]
fn a_copy_that_is_a_link_is_put_back_as_a_link_and_followed_nowhere() {
    let host = Host::with(&[("real", "r")]);
    let outside = host.directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("x.backup"), "not ours").unwrap();
    symlink("real", host.at("l.backup")).unwrap();
    symlink(&outside, host.at("folder")).unwrap();
    assert_eq!(host.put_back().unwrap(), ["l"]);
    host.switch();
    assert_eq!(fs::read_link(host.at("l")).unwrap(), PathBuf::from("real"));
    assert!(outside.join("x.backup").exists());
}

#[test]
fn two_copies_of_one_file_and_ends_that_are_none_are_refused() {
    let host = Host::with(&[("d/a.backup", "1"), ("d/a.backup.backup", "2")]);
    assert_eq!(host.put_back().unwrap_err().code, "files/two-copies");
    for bad in ["", "/x", "a\0"] {
        assert_eq!(host.files.stage_put_back(&app(), bad).unwrap_err().code, "files/bad-suffix");
    }
    host.files.discard(&app()).unwrap();
    assert_eq!(host.files.stage_put_back(&app(), ".backup").unwrap_err().code, "files/not-found");
}

#[test]
fn names_are_found_at_any_depth_and_a_link_is_a_name() {
    let host = Host::with(&[("b/x.log", ""), ("a/b/c.log", ""), ("a.txt", "")]);
    symlink("/etc", host.at("l.log")).unwrap();
    assert_eq!(host.files.find(Place::Live, &app(), ".log").unwrap(), ["a/b/c.log", "b/x.log", "l.log"]);
    assert_eq!(host.files.find(Place::Live, &app(), ".none").unwrap(), Vec::<String>::new());
    let file = HostPath::parse("/opt/app/a.txt").unwrap();
    assert!(host.files.find(Place::Live, &file, "").is_err());
}

#[test]
fn single_things_go_from_the_side_copy_and_only_from_there() {
    let host = Host::with(&[("a", "1"), ("d/b", "2"), ("d/e/f", "3"), ("keep", "4")]);
    symlink("d", host.at("l")).unwrap();
    host.files.stage_copy(&app()).unwrap();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let gone = host.files.stage_removal(&app(), &names(&["a", "d/e", "never", "no/such", "l"])).unwrap();
    assert_eq!(gone, ["a", "d/e", "l"]);
    for bad in ["../x", "/a", "", "d/", ".", "d//b"] {
        let refused = host.files.stage_removal(&app(), &names(&["keep", bad])).unwrap_err();
        assert_eq!(refused.code, "files/bad-path", "{bad:?}");
    }
    host.switch();
    assert_eq!(host.files.find(Place::Live, &app(), "").unwrap(), ["d", "d/b", "keep"]);
}

#[test]
fn nothing_is_removed_through_a_link() {
    let host = Host::with(&[("d/b", "2")]);
    symlink("d", host.at("l")).unwrap();
    host.files.stage_copy(&app()).unwrap();
    let refused = host.files.stage_removal(&app(), &["l/b".to_owned()]).unwrap_err();
    assert_eq!(refused.code, "files/symlink-in-path");
}

#[test]
fn a_link_is_switched_in_one_step_and_back() {
    let host = Host::with(&[("releases/1/x", ""), ("releases/2/x", "")]);
    let current = HostPath::parse("/opt/app/current").unwrap();
    symlink("releases/2", host.at("current")).unwrap();
    let old = host.files.digest(Place::Live, &current).unwrap().unwrap();
    let new = host.files.stage_link(&current, "releases/1").unwrap();
    assert!(host.files.switch_to(&current, &new.sha256).unwrap());
    assert_eq!(fs::read_link(host.at("current")).unwrap(), PathBuf::from("releases/1"));
    assert!(host.files.switch_to(&current, &old.sha256).unwrap());
    assert_eq!(fs::read_link(host.at("current")).unwrap(), PathBuf::from("releases/2"));
    let folder = HostPath::parse("/opt/app/releases").unwrap();
    assert_eq!(host.files.stage_link(&folder, "x").unwrap_err().code, "files/not-a-link");
    assert_eq!(host.files.stage_link(&current, "").unwrap_err().code, "files/bad-target");
}

#[test]
fn a_tail_begins_with_a_line() {
    let host = Host::with(&[("log", "first\nsecond\nthird\n"), ("long", "abcdefghij"), ("empty", "")]);
    let tail = |name: &str, bytes_max: u32| {
        let path = HostPath::parse(&format!("/opt/app/{name}")).unwrap();
        String::from_utf8(host.files.read_tail(Place::Live, &path, bytes_max).unwrap()).unwrap()
    };
    assert_eq!(tail("log", 100), "first\nsecond\nthird\n");
    assert_eq!(tail("log", 19), "first\nsecond\nthird\n");
    assert_eq!(tail("log", 18), "second\nthird\n");
    assert_eq!(tail("log", 13), "second\nthird\n");
    assert_eq!(tail("log", 12), "third\n");
    assert_eq!(tail("log", 6), "third\n");
    assert_eq!(tail("long", 4), "ghij");
    assert_eq!(tail("empty", 4), "");
}
