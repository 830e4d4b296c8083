//! Repositories behind a back end.

use super::*;
use crate::capabilities::files::Place as At;
use crate::points::Share;

#[test]
fn a_repository_behind_a_back_end_does_everything_that_one_in_a_folder_does() {
    let host = host();
    let mut place = Place::folder(Path::new("opendal:fs"), &host.directory.path().join("away.password"));
    place.options.insert("root".into(), host.directory.path().join("away").to_string_lossy().into_owned());
    everything(&host, &place);
}

#[test]
fn a_repository_on_a_rest_server_does_too_and_its_rot_is_found() {
    let host = host();
    let (address, files) = rest::serve();
    let place = Place::folder(Path::new(&address), &host.directory.path().join("away.password"));
    everything(&host, &place);
    let root = HostRoot::open(&host.directory.path().join("root")).unwrap();
    let points = Points::open_or_create(root, &"web-1".parse().unwrap(), &place).unwrap();
    let id = points.list().unwrap()[0].id;
    let mut held = files.lock().unwrap();
    let packs = held.iter_mut().filter(|(name, _)| name.starts_with("data/"));
    let (_, largest) = packs.max_by_key(|(_, bytes)| bytes.len()).unwrap();
    largest[40] ^= 1;
    drop(held);
    let error = points.verify(id, Depth::Full, &nobody()).unwrap_err();
    assert!(matches!(error, PointsError::Damaged { .. }), "{error}");
}

fn everything(host: &Host, place: &Place) {
    let root = || HostRoot::open(&host.directory.path().join("root")).unwrap();
    let name: HostName = "web-1".parse().unwrap();
    let points = Points::open_or_create(root(), &name, place).unwrap();
    let first = points.make(making("nightly", &["/opt/hello"]), &nobody()).unwrap();
    let second = points.make(making("nightly", &["/etc"]), &nobody()).unwrap();
    let points = Points::open_or_create(root(), &name, place).unwrap();
    assert_eq!(points.list().unwrap(), [second.clone(), first.clone()]);
    points.verify(first.id, Depth::Full, &nobody()).unwrap();
    points.tag(first.id, "audit", None).unwrap();
    points.drop_points_within(&[second.id], Duration::ZERO, &nobody()).unwrap();
    points.drop_points_within(&[], Duration::ZERO, &nobody()).unwrap();
    let scrubbed = points.scrub(Share { part: 0, parts: 1 }, &nobody()).unwrap();
    assert!(scrubbed.damaged.is_empty() && scrubbed.packs > 0, "{scrubbed:?}");
    assert!(points.weigh().unwrap().used > 0);
    points.stage(first.id, &path("/opt/hello"), &path("/opt/from-away")).unwrap();
    let files = host.files();
    assert_eq!(
        files.digest(At::Live, &path("/opt/from-away")).unwrap(),
        files.digest(At::Live, &path("/opt/hello")).unwrap(),
    );
}

#[test]
fn an_address_that_is_none_says_what_would_be_one() {
    let host = host();
    let error = open_as(host.directory.path(), "web-1", "s3:bucket").unwrap_err();
    assert!(error.to_string().contains("opendal:s3"), "{error}");
    let mut place =
        Place::folder(Path::new("rest:http://127.0.0.1:1/"), &host.directory.path().join("p.password"));
    place.options.insert("retry".into(), "false".into());
    let root = HostRoot::open(&host.directory.path().join("root")).unwrap();
    let error = Points::open_or_create(root, &"web-1".parse().unwrap(), &place).unwrap_err();
    assert!(matches!(error, PointsError::Repository { .. }), "{error}");
}

#[test]
fn a_place_never_tells_its_secrets() {
    let mut place = Place::folder(Path::new("rest:http://ada:hunter2@h/"), Path::new("p"));
    place.options.insert("secret_access_key".into(), "hunter2".into());
    assert!(!format!("{place:?}").contains("hunter2"), "{place:?}");
}
