use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

struct Host {
    directory: tempfile::TempDir,
    points: Points,
}

fn path(text: &str) -> HostPath {
    HostPath::parse(text).unwrap()
}

fn open(directory: &Path) -> Result<Points, PointsError> {
    let root = HostRoot::open(&directory.join("root")).unwrap();
    Points::open_or_create(root, "web-1", &directory.join("points"), &directory.join("password"))
}

fn host() -> Host {
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path().join("root/opt/hello");
    fs::create_dir_all(top.join("bin")).unwrap();
    fs::write(top.join("bin/run"), "v1").unwrap();
    fs::write(top.join("large"), vec![7; 3_000_000]).unwrap();
    fs::set_permissions(top.join("bin/run"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::set_permissions(&top, fs::Permissions::from_mode(0o2750)).unwrap();
    symlink("bin/run", top.join("run")).unwrap();
    fs::create_dir_all(directory.path().join("root/etc")).unwrap();
    fs::write(directory.path().join("root/etc/hello.toml"), "a = 1").unwrap();
    let points = open(directory.path()).unwrap();
    Host { directory, points }
}

fn files(host: &Host) -> crate::capabilities::files::Files {
    let root = HostRoot::open(&host.directory.path().join("root")).unwrap();
    crate::capabilities::files::Files::new(root, "run", "step")
}

#[test]
fn a_point_gives_back_exactly_what_was_there() {
    use crate::capabilities::files::Place;
    let host = host();
    let files = files(&host);
    let before = files.digest(Place::Live, &path("/opt/hello")).unwrap();
    let modified = fs::metadata(host.directory.path().join("root/opt/hello/large")).unwrap();
    let made = host
        .points
        .create("nightly", "before the upgrade", &[path("/opt/hello"), path("/etc/hello.toml")])
        .unwrap();
    assert_eq!(made.paths, ["/etc/hello.toml", "/opt/hello"]);
    assert_eq!((made.tag.as_str(), made.reason.as_str()), ("nightly", "before the upgrade"));

    fs::remove_dir_all(host.directory.path().join("root/opt/hello/bin")).unwrap();
    host.points.stage(&made.id, &path("/opt/hello"), &path("/opt/back")).unwrap();
    assert_eq!(files.digest(Place::Live, &path("/opt/back")).unwrap(), before);
    let back = fs::metadata(host.directory.path().join("root/opt/back/large")).unwrap();
    assert_eq!((back.mtime(), back.mtime_nsec()), (modified.mtime(), modified.mtime_nsec()));

    host.points.stage(&made.id, &path("/etc/hello.toml"), &path("/etc/one")).unwrap();
    assert_eq!(fs::read(host.directory.path().join("root/etc/one")).unwrap(), b"a = 1");
    assert_eq!(host.points.entries(&made.id, &path("/opt/hello")).unwrap(), Some(5));
    assert_eq!(host.points.entries(&made.id, &path("/etc/hello.toml")).unwrap(), Some(1));
    assert_eq!(host.points.entries(&made.id, &path("/opt/hello2")).unwrap(), None);
    let error = host.points.stage(&made.id, &path("/opt/none"), &path("/opt/n")).unwrap_err();
    assert_eq!(error.code, "points/nothing-there");
    let error = host.points.stage(&made.id, &path("/opt/hello"), &path("/opt/back")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "what is there is not written over: {error}");
}

#[test]
fn the_newest_of_a_tag_is_found_and_the_repository_opens_again() {
    let host = host();
    let first = host.points.create("nightly", "", &[path("/etc")]).unwrap();
    let second = host.points.create("nightly", "", &[path("/etc")]).unwrap();
    let other = host.points.create("weekly", "", &[path("/etc")]).unwrap();
    let again = open(host.directory.path()).unwrap();
    let mut listed: Vec<_> = again.list().unwrap().into_iter().map(|point| point.id).collect();
    listed.sort();
    let mut expected = vec![first.id.clone(), second.id.clone(), other.id];
    expected.sort();
    assert_eq!(listed, expected);
    let newest = again.newest("nightly", None).unwrap().unwrap();
    assert!(newest.made_ms >= first.made_ms && [&first.id, &second.id].contains(&&newest.id));
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(again.newest("nightly", Some(Duration::from_millis(1))).unwrap(), None);
    assert_eq!(again.newest("monthly", None).unwrap(), None);
    assert_eq!(again.get(&second.id).unwrap(), second);
    assert_eq!(again.get("00").unwrap_err().code, "points/not-found");
    let mode = fs::metadata(host.directory.path().join("password")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_cannot_be_stored_whole_is_not_offered() {
    let host = host();
    let pipe = host.directory.path().join("root/opt/hello/pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
    let error = host.points.create("nightly", "", &[path("/opt/hello")]).unwrap_err();
    assert!(error.to_string().contains("/opt/hello/pipe"), "{error}");
    assert_eq!(host.points.list().unwrap(), []);
    let error = host.points.create("nightly", "", &[path("/opt/absent")]).unwrap_err();
    assert!(matches!(error, PointsError::Nothing { .. }), "{error}");
    for tag in ["", "a,b", "incomplete", "a b"] {
        let error = host.points.create(tag, "", &[path("/etc")]).unwrap_err();
        assert!(matches!(error, PointsError::Tag { .. }), "{tag}");
    }
}

#[test]
fn damage_is_found_before_anybody_relies_on_a_point() {
    let host = host();
    let made = host.points.create("nightly", "", &[path("/opt/hello")]).unwrap();
    host.points.verify(&made.id, false).unwrap();
    host.points.verify(&made.id, true).unwrap();
    let mut packs: Vec<_> = fs::read_dir(host.directory.path().join("points/data"))
        .unwrap()
        .flat_map(|shelf| fs::read_dir(shelf.unwrap().path()).unwrap())
        .map(|pack| pack.unwrap().path())
        .collect();
    packs.sort_by_key(|pack| fs::metadata(pack).unwrap().len());
    let pack = packs.last().unwrap();
    let mut bytes = fs::read(pack).unwrap();
    bytes[40] ^= 1;
    fs::set_permissions(pack, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(pack, bytes).unwrap();
    let again = open(host.directory.path()).unwrap();
    let error = again.verify(&made.id, true).unwrap_err();
    assert!(matches!(error, PointsError::Damaged { .. }), "{error}");
    assert!(again.stage(&made.id, &path("/opt/hello"), &path("/opt/back")).is_err());
    fs::remove_file(pack).unwrap();
    let error = again.verify(&made.id, false).unwrap_err();
    assert!(matches!(error, PointsError::Damaged { .. }), "{error}");
}

#[test]
fn a_repository_without_its_password_is_not_made_anew() {
    let host = host();
    host.points.create("nightly", "", &[path("/etc")]).unwrap();
    fs::remove_file(host.directory.path().join("password")).unwrap();
    let error = open(host.directory.path()).unwrap_err();
    assert!(matches!(error, PointsError::PasswordLost { .. }), "{error}");
    assert!(!host.directory.path().join("password").exists());
    fs::write(host.directory.path().join("password"), "wrong").unwrap();
    assert!(open(host.directory.path()).is_err());
}

/// Says why and passes when this machine has no `restic`.
#[test]
fn restic_itself_finds_the_repository_whole_and_restores_the_same_tree() {
    use crate::capabilities::files::Place;
    let host = host();
    let restic = |arguments: &[&str]| {
        std::process::Command::new("restic")
            .arg("--no-cache")
            .arg("--repo")
            .arg(host.directory.path().join("points"))
            .arg("--password-file")
            .arg(host.directory.path().join("password"))
            .args(arguments)
            .output()
    };
    if restic(&["version"]).is_err() {
        tracing::warn!("skipped: there is no `restic` here");
        return;
    }
    let made = host.points.create("nightly", "", &[path("/opt/hello")]).unwrap();
    let checked = restic(&["check", "--read-data"]).unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let listed = restic(&["snapshots", "--tag", "nightly", "--json"]).unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains(&made.id) && listed.contains("/opt/hello"), "{listed}");
    let into = host.directory.path().join("root/restored");
    let restored = restic(&["restore", &made.id, "--target", into.to_str().unwrap()]).unwrap();
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    let files = files(&host);
    assert_eq!(
        files.digest(Place::Live, &path("/restored/opt/hello")).unwrap(),
        files.digest(Place::Live, &path("/opt/hello")).unwrap(),
    );
}
