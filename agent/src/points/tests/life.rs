//! A point is made, found, checked and given back.

use super::*;
use crate::capabilities::ErrorKind;
use crate::capabilities::files::Place as At;

#[test]
fn a_point_gives_back_exactly_what_was_there() {
    let host = host();
    let files = host.files();
    let before = files.digest(At::Live, &path("/opt/hello")).unwrap();
    let modified = fs::metadata(host.root("opt/hello/large")).unwrap();
    let made = host.make("nightly", &["/opt/hello", "/etc/hello.toml"]).unwrap();
    assert_eq!(made.paths, ["/etc/hello.toml", "/opt/hello"]);
    assert_eq!(
        (made.tags.as_slice(), made.reason.as_str()),
        (&["nightly".to_owned()][..], "before the upgrade")
    );
    assert_eq!((made.files, made.bytes), (4, 3_000_007));
    assert_eq!(host.points.list().unwrap(), std::slice::from_ref(&made));

    fs::remove_dir_all(host.root("opt/hello/bin")).unwrap();
    host.points.stage(made.id, &path("/opt/hello"), &path("/opt/back")).unwrap();
    assert_eq!(files.digest(At::Live, &path("/opt/back")).unwrap(), before);
    let back = fs::metadata(host.root("opt/back/large")).unwrap();
    assert_eq!((back.mtime(), back.mtime_nsec()), (modified.mtime(), modified.mtime_nsec()));

    host.points.stage(made.id, &path("/etc/hello.toml"), &path("/etc/one")).unwrap();
    assert_eq!(fs::read(host.root("etc/one")).unwrap(), b"a = 1");
    assert_eq!(host.points.entries(made.id, &path("/opt/hello")).unwrap(), Some(5));
    assert_eq!(host.points.entries(made.id, &path("/etc/hello.toml")).unwrap(), Some(1));
    assert_eq!(host.points.entries(made.id, &path("/opt/hello2")).unwrap(), None);
    let error = host.points.stage(made.id, &path("/opt/none"), &path("/opt/n")).unwrap_err();
    assert_eq!(error.code, "points/nothing-there");
    let error = host.points.stage(made.id, &path("/opt/hello"), &path("/opt/back")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "what is there is not written over: {error}");
}

#[test]
fn the_newest_of_a_tag_is_found_and_the_repository_opens_again() {
    let host = host();
    let first = host.make("nightly", &["/etc"]).unwrap();
    let second = host.make("nightly", &["/etc"]).unwrap();
    let other = host.make("weekly", &["/etc"]).unwrap();
    let again = open(host.directory.path()).unwrap();
    assert_eq!(again.list().unwrap(), [other, second.clone(), first], "newest first");
    assert_eq!(again.newest("nightly", None).unwrap().unwrap(), second);
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(again.newest("nightly", Some(Duration::from_millis(1))).unwrap(), None);
    assert_eq!(again.newest("monthly", None).unwrap(), None);
    assert_eq!(again.get(second.id).unwrap(), second);
    let error = for_plugin(again.get(PointId([0; 32])).unwrap_err());
    assert_eq!(error.code, "points/not-found");
    let mode = fs::metadata(host.directory.path().join("points.password")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_cannot_be_stored_whole_is_not_offered() {
    let host = host();
    // A name that is no text is one that the format cannot hold.
    let (odd, name) = (host.root("opt/hello/bin"), &b"user.\xff"[..]);
    let none = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&odd, name, b"1", none).expect("the temporary folder has extended attributes");
    let error = host.make("nightly", &["/opt/hello"]).unwrap_err();
    assert!(error.to_string().contains("/opt/hello/bin"), "{error}");
    assert_eq!(host.points.list().unwrap(), []);
    let left = host.points.all_snapshots(&host.points.session(None).unwrap()).unwrap();
    assert!(left.found.is_empty(), "nothing unfinished is left");
    let error = host.make("nightly", &["/opt/absent"]).unwrap_err();
    assert!(matches!(error, PointsError::Nothing { .. }), "{error}");
    for tag in ["", "a,b", "incomplete", "a b", "service=x"] {
        let error = host.make(tag, &["/etc"]).unwrap_err();
        assert!(matches!(error, PointsError::Tag { .. }), "{tag}");
    }
    let error = host.make("nightly", &[]).unwrap_err();
    assert!(matches!(error, PointsError::Empty), "{error}");
}

#[test]
fn damage_is_found_before_anybody_relies_on_a_point() {
    let host = host();
    let made = host.make("nightly", &["/opt/hello"]).unwrap();
    host.points.verify(made.id, Depth::Quick, &nobody()).unwrap();
    host.points.verify(made.id, Depth::Full, &nobody()).unwrap();
    let mut packs: Vec<_> = fs::read_dir(host.directory.path().join("points/data"))
        .unwrap()
        .flat_map(|shelf| fs::read_dir(shelf.unwrap().path()).unwrap())
        .map(|pack| pack.unwrap().path())
        .collect();
    packs.sort_by_key(|pack| fs::metadata(pack).unwrap().len());
    let pack = packs.last().unwrap();
    let mut bytes = fs::read(pack).unwrap();
    bytes[40] ^= 1;
    fs::write(pack, bytes).unwrap();
    let again = open(host.directory.path()).unwrap();
    let error = again.verify(made.id, Depth::Full, &nobody()).unwrap_err();
    assert!(matches!(error, PointsError::Damaged { .. }), "{error}");
    fs::remove_file(pack).unwrap();
    let error = again.verify(made.id, Depth::Quick, &nobody()).unwrap_err();
    assert!(matches!(error, PointsError::Damaged { .. }), "{error}");
}
