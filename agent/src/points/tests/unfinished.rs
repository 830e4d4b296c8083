//! What a process that died leaves behind, and repositories that are not what
//! they were.

use super::*;
use rustic_core::repofile::SnapshotFile;

fn all(host: &Host) -> Vec<(rustic_core::repofile::SnapshotId, SnapshotFile)> {
    host.points.all_snapshots(&host.points.session(None).unwrap()).unwrap().found
}

#[test]
fn what_a_dead_maker_left_is_never_offered_and_goes_with_the_next_making() {
    let host = host();
    let made = host.make("nightly", &["/etc"]).unwrap();
    let (_, mut left) = all(&host).remove(0);
    left.tags = rustic_core::StringList::default();
    label::mark_incomplete(&mut left, "0123456789abcdef");
    host.points.save(&left).unwrap();
    let alive = host.points.locks.make().unwrap();
    label::mark_incomplete(&mut left, &alive.name);
    host.points.save(&left).unwrap();
    assert_eq!(host.points.list().unwrap(), std::slice::from_ref(&made));
    host.make("weekly", &["/etc"]).unwrap();
    assert_eq!(all(&host).len(), 3, "who still works keeps what is unfinished");
    drop(alive);
    host.make("weekly", &["/etc"]).unwrap();
    assert_eq!(all(&host).len(), 3);
    assert_eq!(host.points.list().unwrap().len(), 3);
    assert_eq!(fs::read_dir(host.directory.path().join("points.makers")).unwrap().count(), 0);
}

#[test]
fn a_tag_that_was_cut_short_leaves_one_point_with_its_new_tags() {
    let host = host();
    let made = host.make("nightly", &["/etc"]).unwrap();
    let (_, before) = all(&host).remove(0);
    host.points.tag(made.id, "audit", None).unwrap();
    host.points.save(&SnapshotFile { original: Some(all(&host)[0].1.original.unwrap()), ..before }).unwrap();
    assert_eq!(all(&host).len(), 2);
    let points = host.points.list().unwrap();
    assert_eq!(points.len(), 1);
    assert_eq!((points[0].id, points[0].tags.len()), (made.id, 2));
    host.make("weekly", &["/etc"]).unwrap();
    assert_eq!(all(&host).len(), 2, "the earlier turn goes with the next making");
    assert_eq!(host.points.get(made.id).unwrap().tags, ["audit", "nightly"]);
}

#[test]
fn makings_at_one_time_do_not_disturb_each_other() {
    let host = host();
    std::thread::scope(|scope| {
        for tag in ["a", "b", "c"] {
            scope.spawn(|| {
                open(host.directory.path()).unwrap().make(making(tag, &["/opt"]), &nobody()).unwrap()
            });
        }
    });
    let points = host.points.list().unwrap();
    assert_eq!(points.len(), 3);
    for point in points {
        host.points.verify(point.id, Depth::Full, &nobody()).unwrap();
    }
    assert_eq!(all(&host).len(), 3);
}

#[test]
fn a_repository_without_its_password_is_not_made_anew() {
    let host = host();
    host.make("nightly", &["/etc"]).unwrap();
    let password = host.directory.path().join("points.password");
    fs::remove_file(&password).unwrap();
    let error = open(host.directory.path()).unwrap_err();
    assert!(matches!(error, PointsError::PasswordLost { .. }), "{error}");
    assert!(!password.exists());
    fs::write(&password, "wrong").unwrap();
    let error = open(host.directory.path()).unwrap_err();
    assert!(matches!(error, PointsError::PasswordWrong { .. }), "{error}");
}

#[test]
fn a_repository_that_is_gone_is_not_begun_anew_in_silence() {
    let host = host();
    host.make("nightly", &["/etc"]).unwrap();
    let (folder, away) = (host.directory.path().join("points"), host.directory.path().join("away"));
    fs::rename(folder.join("config"), &away).unwrap();
    let error = open(host.directory.path()).unwrap_err();
    assert!(matches!(error, PointsError::ConfigLost { .. }), "{error}");
    fs::rename(&away, folder.join("config")).unwrap();
    // A disk that is not mounted is an empty folder.
    fs::rename(&folder, &away).unwrap();
    fs::create_dir(&folder).unwrap();
    let error = open(host.directory.path()).unwrap_err();
    assert!(matches!(&error, PointsError::RepositoryLost { .. }), "{error}");
    assert!(error.to_string().contains("mount"), "{error}");
    let marker = host.directory.path().join("points.repository");
    let known = fs::read(&marker).unwrap();
    fs::remove_file(&marker).unwrap();
    open(host.directory.path()).unwrap();
    fs::write(&marker, known).unwrap();
    let error = open(host.directory.path()).unwrap_err();
    assert!(matches!(error, PointsError::AnotherRepository { .. }), "{error}");
}

#[test]
fn a_creation_that_was_cut_short_is_done_again() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("root/etc")).unwrap();
    drop(open(directory.path()).unwrap());
    fs::remove_file(directory.path().join("points.repository")).unwrap();
    fs::remove_file(directory.path().join("points/config")).unwrap();
    // The key alone is there, and leads nowhere.
    let points = open(directory.path()).unwrap();
    points.make(making("nightly", &["/etc"]), &nobody()).unwrap();
    assert_eq!(open(directory.path()).unwrap().list().unwrap().len(), 1);
}
