use super::making::{Making, nobody};
use super::*;
use crate::capabilities::files::{HostPath, HostRoot};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use sternway_core::ids::HostName;
use sternway_core::point::{Depth, Kind, Origin, PieceKind, Point};

struct Host {
    directory: tempfile::TempDir,
    points: Points,
}

fn path(text: &str) -> HostPath {
    HostPath::parse(text).unwrap()
}

fn open_as(directory: &Path, host: &str, repository: &str) -> Result<Points, PointsError> {
    let root = HostRoot::open(&directory.join("root")).unwrap();
    let host: HostName = host.parse().unwrap();
    let password = directory.join("points.password");
    let mut place = Place::folder(&directory.join("points"), &password);
    if !repository.is_empty() {
        place.repository = repository.to_owned();
    }
    Points::open_or_create(root, &host, &place)
}

fn open(directory: &Path) -> Result<Points, PointsError> {
    open_as(directory, "web-1", "")
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

fn making(tag: &str, paths: &[&str]) -> Making {
    Making {
        service: "hello".into(),
        version: "1.2".into(),
        kind: Kind::Full,
        origin: Origin::Person,
        tags: vec![tag.to_owned()],
        reason: "before the upgrade".into(),
        by: "ada".into(),
        paths: paths.iter().map(|text| (PieceKind::Files, path(text))).collect(),
        extras: Vec::new(),
    }
}

impl Host {
    fn make(&self, tag: &str, paths: &[&str]) -> Result<Point, PointsError> {
        self.points.make(making(tag, paths), &nobody())
    }

    fn root(&self, below: &str) -> PathBuf {
        self.directory.path().join("root").join(below)
    }

    fn files(&self) -> crate::capabilities::files::Files {
        let root = HostRoot::open(&self.directory.path().join("root")).unwrap();
        crate::capabilities::files::Files::new(root, "run", "step")
    }
}

#[test]
fn a_host_that_was_given_another_name_keeps_its_points_and_a_neighbour_never_sees_them() {
    let host = host();
    let made = host.make("nightly", &["/etc"]).unwrap();
    let renamed: HostName = "web-one".parse().unwrap();
    let reopen = |is_own| {
        let root = HostRoot::open(&host.directory.path().join("root")).unwrap();
        let password = host.directory.path().join("points.password");
        let place = Place { is_own, ..Place::folder(&host.directory.path().join("points"), &password) };
        Points::open_or_create(root, &renamed, &place).unwrap()
    };
    assert_eq!(reopen(true).list().unwrap()[0].id, made.id);
    assert_eq!(reopen(false).list().unwrap(), []);
}

mod changes;
mod elsewhere;
mod keeping;
mod life;
mod pruning;
mod rest;
mod rot;
mod unfinished;

/// Runs `restic` on a host's repository; none, with a word why, where there is no such program.
fn restic(host: &Host, arguments: &[&str]) -> Option<String> {
    let output = std::process::Command::new("restic")
        .args(["--no-cache", "--repo"])
        .arg(host.directory.path().join("points"))
        .arg("--password-file")
        .arg(host.directory.path().join("points.password"))
        .args(arguments)
        .output();
    match output {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "restic {arguments:?}: {said}");
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Err(_) => {
            tracing::warn!("skipped: there is no `restic` here");
            None
        }
    }
}

/// Every file of a kind in a host's repository, the longest first.
fn stored(host: &Host, kind: &str) -> Vec<PathBuf> {
    let mut left = vec![host.directory.path().join("points").join(kind)];
    let mut files = Vec::new();
    while let Some(path) = left.pop() {
        match fs::read_dir(&path) {
            Ok(entries) => left.extend(entries.map(|entry| entry.unwrap().path())),
            Err(_) => files.push(path),
        }
    }
    files.sort_by_key(|path| (std::cmp::Reverse(fs::metadata(path).unwrap().len()), path.clone()));
    files
}
