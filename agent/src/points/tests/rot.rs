//! Every kind of stored file, damaged or missing, is found.

use super::*;
use crate::points::Share;

const ALL: Share = Share { part: 0, parts: 1 };

/// What is done to a file, and what is put back.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn shorten(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
}

fn remove(path: &Path) {
    fs::remove_file(path).unwrap();
}

#[test]
fn every_kind_of_file_that_rots_or_is_lost_is_found() {
    let host = host();
    let made = host.make("nightly", &["/opt/hello"]).unwrap();
    let all = host.points.scrub(ALL, &nobody()).unwrap();
    assert!(all.damaged.is_empty() && all.points.is_empty() && all.packs >= 2, "{all:?}");
    let packs = stored(&host, "data");
    let (data, tree) = (packs.first().unwrap().clone(), packs.last().unwrap().clone());
    let mut targets = vec![("data pack", data), ("tree pack", tree)];
    targets.push(("config", host.directory.path().join("points/config")));
    for (what, kind) in [("key", "keys"), ("index", "index"), ("snapshot", "snapshots")] {
        targets.push((what, stored(&host, kind).remove(0)));
    }
    type Damage = fn(&Path);
    let ways: [(&str, Damage); 3] = [("flipped", flip), ("shortened", shorten), ("removed", remove)];
    for (what, path) in targets {
        for (how, damage) in ways {
            let whole = fs::read(&path).unwrap();
            damage(&path);
            let full = host.points.verify(made.id, Depth::Full, &nobody());
            let is_known = matches!(&full, Err(PointsError::Damaged { .. }));
            // A snapshot that is gone is nobody's point any more.
            let is_gone =
                matches!(&full, Err(PointsError::Unknown { .. })) && (what, how) == ("snapshot", "removed");
            assert!(is_known || is_gone, "{what} {how}: {full:?}");
            if how != "flipped" {
                let quick = host.points.verify(made.id, Depth::Quick, &nobody());
                assert!(quick.is_err(), "{what} {how}, looked at quickly");
            }
            let scrubbed = host.points.scrub(ALL, &nobody()).unwrap();
            assert!(is_gone || !scrubbed.damaged.is_empty(), "{what} {how}");
            if what.ends_with("pack") {
                assert_eq!(scrubbed.points, [made.id], "{what} {how}: {scrubbed:?}");
                assert!(
                    host.points.stage(made.id, &path_of(), &super::path("/opt/back")).is_err()
                        || how == "shortened"
                );
                let _ = fs::remove_dir_all(host.root("opt/back"));
            }
            fs::write(&path, whole).unwrap();
        }
    }
    host.points.verify(made.id, Depth::Full, &nobody()).unwrap();
}

fn path_of() -> HostPath {
    path("/opt/hello")
}

#[test]
fn data_that_was_lost_is_stored_again_by_the_next_making() {
    let host = host();
    let first = host.make("nightly", &["/opt/hello"]).unwrap();
    let whole = host.points.scrub(ALL, &nobody()).unwrap();
    // One at a time: data, trees, the manifest.
    for pack in stored(&host, "data") {
        let kept = fs::read(&pack).unwrap();
        remove(&pack);
        assert!(host.points.verify(first.id, Depth::Quick, &nobody()).is_err());
        let next = host.make("nightly", &["/opt/hello"]).unwrap();
        host.points.verify(next.id, Depth::Full, &nobody()).unwrap();
        host.points.stage(next.id, &path_of(), &path("/opt/back")).unwrap();
        fs::remove_dir_all(host.root("opt/back")).unwrap();
        fs::write(&pack, kept).unwrap();
    }
    assert!(whole.packs > 2);
}

#[test]
fn damage_that_one_point_does_not_need_is_not_its_damage() {
    let host = host();
    let whole = host.make("small", &["/etc"]).unwrap();
    let before = stored(&host, "data");
    let hurt = host.make("large", &["/opt"]).unwrap();
    let pack = stored(&host, "data").into_iter().find(|pack| !before.contains(pack)).unwrap();
    flip(&pack);
    host.points.verify(whole.id, Depth::Full, &nobody()).unwrap();
    assert!(host.points.verify(hurt.id, Depth::Full, &nobody()).is_err());
    let scrubbed = host.points.scrub(ALL, &nobody()).unwrap();
    assert_eq!(scrubbed.points, [hurt.id], "{scrubbed:?}");
    remove(&stored(&host, "snapshots")[0]);
    assert_eq!(host.points.list().unwrap().len(), 1, "the others are still listed");
}

#[test]
fn the_parts_of_a_scrub_are_the_whole() {
    let host = host();
    for at in 0..6 {
        fs::write(host.root("etc/more"), format!("{at}")).unwrap();
        host.make("nightly", &["/etc"]).unwrap();
    }
    let all = host.points.scrub(ALL, &nobody()).unwrap();
    let parts: Vec<_> =
        (0..3).map(|part| host.points.scrub(Share { part, parts: 3 }, &nobody()).unwrap()).collect();
    assert_eq!(parts.iter().map(|part| part.packs).sum::<u64>(), all.packs);
    assert_eq!(parts.iter().map(|part| part.bytes).sum::<u64>(), all.bytes);
}
