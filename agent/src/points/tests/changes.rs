//! What is read again, what differs, and who hears how far it is.

use super::*;
use std::sync::{Arc, Mutex};

use sternway_core::point::{DifferenceKind, Progress};

use crate::points::Against;

fn set_back(path: &Path) {
    let past = std::time::SystemTime::now() - Duration::from_secs(3600);
    fs::File::options().write(true).open(path).unwrap().set_modified(past).unwrap();
}

#[test]
fn a_file_that_changed_within_one_moment_is_read_again() {
    let host = host();
    let file = host.root("etc/hello.toml");
    fs::write(&file, "a = 1").unwrap();
    let time = fs::metadata(&file).unwrap().modified().unwrap();
    let mut last = host.make("first", &["/etc"]).unwrap();
    // Same length, same time, and for all that a clock of ticks can tell the same change.
    for text in ["b = 2", "c = 3", "d = 4"] {
        fs::write(&file, text).unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        last = host.make("next", &["/etc"]).unwrap();
        host.points.stage(last.id, &path("/etc/hello.toml"), &path(&format!("/etc/{}", &text[..1]))).unwrap();
        assert_eq!(fs::read_to_string(host.root(&format!("etc/{}", &text[..1]))).unwrap(), text);
        fs::remove_file(host.root(&format!("etc/{}", &text[..1]))).unwrap();
    }
    host.points.verify(last.id, Depth::Full, &nobody()).unwrap();
}

#[test]
fn unchanged_files_are_not_read_again_and_cost_no_space() {
    let host = host();
    // Older than the moments that one tick of the clock may hide.
    std::thread::sleep(Duration::from_millis(2_200));
    host.make("first", &["/opt/hello"]).unwrap();
    let packs = stored(&host, "data").len();
    let made = host.make("second", &["/opt/hello"]).unwrap();
    let (_, snapshot) = host.points.snapshot(&host.points.session(None).unwrap(), made.id).unwrap();
    let summary = snapshot.summary.unwrap();
    assert_eq!((summary.files_unmodified, summary.files_new, summary.files_changed), (3, 0, 0));
    assert_eq!(made.bytes, 3_000_002);
    assert!(stored(&host, "data").len() <= packs + 3, "only what names the new point is stored");
    // A part of it, and more than it, know it too.
    let part = host.make("part", &["/opt/hello/large", "/etc"]).unwrap();
    let (_, snapshot) = host.points.snapshot(&host.points.session(None).unwrap(), part.id).unwrap();
    assert_eq!(snapshot.summary.unwrap().files_unmodified, 1);
}

#[test]
fn what_differs_from_the_host_is_told_by_content_and_not_by_time() {
    let host = host();
    let made = host.make("nightly", &["/opt/hello", "/etc"]).unwrap();
    assert_eq!(host.points.diff(made.id, Against::Host, &nobody()).unwrap(), []);
    let large = host.root("opt/hello/large");
    let time = fs::metadata(&large).unwrap().modified().unwrap();
    let mut bytes = vec![7; 3_000_000];
    bytes[2_999_999] = 8;
    fs::write(&large, bytes).unwrap();
    fs::File::options().write(true).open(&large).unwrap().set_modified(time).unwrap();
    fs::remove_file(host.root("opt/hello/run")).unwrap();
    fs::write(host.root("opt/hello/new"), "x").unwrap();
    fs::set_permissions(host.root("opt/hello/bin/run"), fs::Permissions::from_mode(0o700)).unwrap();
    set_back(&host.root("etc/hello.toml"));
    let found = host.points.diff(made.id, Against::Host, &nobody()).unwrap();
    let brief: Vec<_> = found.iter().map(|found| (found.path.as_str(), found.kind)).collect();
    assert_eq!(
        brief,
        [
            ("/etc/hello.toml", DifferenceKind::Metadata),
            ("/opt/hello/bin/run", DifferenceKind::Metadata),
            ("/opt/hello/large", DifferenceKind::Content),
            ("/opt/hello/new", DifferenceKind::Added),
            ("/opt/hello/run", DifferenceKind::Removed),
        ]
    );
    assert_eq!(found[1].detail, "mode 0700, was 4755");
    assert!(found[0].detail.starts_with("changed "), "{}", found[0].detail);
    let later = host.make("later", &["/opt/hello", "/etc"]).unwrap();
    assert_eq!(host.points.diff(made.id, Against::Point(later.id), &nobody()).unwrap(), found);
    let back = host.points.diff(later.id, Against::Point(made.id), &nobody()).unwrap();
    assert_eq!(back[3].kind, DifferenceKind::Removed);
    fs::remove_dir_all(host.root("opt/hello")).unwrap();
    let gone = host.points.diff(later.id, Against::Host, &nobody()).unwrap();
    assert!(gone.iter().all(|found| found.kind == DifferenceKind::Removed) && gone.len() == 5, "{gone:?}");
}

#[test]
fn who_watches_hears_of_bytes() {
    let host = host();
    let heard: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let watch: making::Watch = {
        let heard = Arc::clone(&heard);
        Arc::new(move |progress| heard.lock().unwrap().push(progress))
    };
    let made = host.points.make(making("nightly", &["/opt/hello"]), &watch).unwrap();
    host.points.verify(made.id, Depth::Full, &watch).unwrap();
    host.points.restore_path(made.id, &path("/opt/hello"), &path("/opt/back"), &watch).unwrap();
    let heard = heard.lock().unwrap();
    let last = |stage: &str| heard.iter().rev().find(|progress| progress.stage == stage).unwrap().clone();
    assert_eq!((last("reading").done, last("reading").unit.as_str()), (3_000_002, "bytes"));
    let checked = last("checking");
    assert_eq!((Some(checked.done), checked.unit.as_str()), (checked.total, "bytes"));
    assert_eq!((last("restoring").done, last("restoring").total), (3_000_002, Some(3_000_002)));
}
