//! Points go, and nobody loses what he is reading.

use super::*;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::capabilities::files::Place as At;

#[test]
fn what_a_point_weighs_alone_comes_free_when_it_goes() {
    let host = host();
    let random: Vec<u8> = (0..400_000_u32).flat_map(|at| sha2_of(at)[..4].to_vec()).collect();
    fs::write(host.root("etc/random"), &random).unwrap();
    let first = host.make("a", &["/etc"]).unwrap();
    fs::write(host.root("etc/random"), &random[..1000]).unwrap();
    let second = host.make("b", &["/etc"]).unwrap();
    let before = host.points.weigh().unwrap();
    assert!(before.own[&first.id] > 1_500_000, "{before:?}");
    assert!(before.own[&second.id] < 20_000, "{before:?}");
    assert!(before.used > before.own[&first.id] + before.own[&second.id]);
    let freed = host.points.drop_points_within(&[first.id], Duration::ZERO, &nobody()).unwrap();
    assert!(freed > 1_500_000, "{freed}");
    host.points.drop_points_within(&[], Duration::ZERO, &nobody()).unwrap();
    let after = host.points.weigh().unwrap();
    assert!(after.used + 1_500_000 < before.used, "{before:?} {after:?}");
    host.points.verify(second.id, Depth::Full, &nobody()).unwrap();
    assert_eq!(host.points.list().unwrap(), [second]);
}

fn sha2_of(number: u32) -> [u8; 32] {
    sternway_core::ids::Digest::of(&number.to_le_bytes()).0
}

#[test]
fn a_restore_in_hand_loses_nothing_to_a_prune() {
    let host = host();
    let files = host.files();
    let before = files.digest(At::Live, &path("/opt/hello")).unwrap();
    let going = host.make("going", &["/opt/hello"]).unwrap();
    host.make("staying", &["/etc"]).unwrap();
    let is_over = AtomicBool::new(false);
    // Found while it is offered, and read to its end while it goes.
    let (indexed, node) = host.points.found(going.id, &path("/opt/hello")).unwrap();
    std::thread::scope(|scope| {
        let restoring = scope.spawn(|| {
            let mut rounds = 0;
            while !is_over.load(Ordering::Relaxed) || rounds == 0 {
                let into = format!("back-{rounds}");
                let spot = host.points.root.spot(&path(&format!("/opt/{into}"))).unwrap();
                use std::os::fd::AsFd;
                restore::restore(&indexed, &node, spot.directory.as_fd(), &into).unwrap();
                rounds += 1;
            }
            rounds
        });
        host.points.drop_points(&[going.id], &nobody()).unwrap();
        host.points.drop_points(&[], &nobody()).unwrap();
        is_over.store(true, Ordering::Relaxed);
        assert!(restoring.join().unwrap() > 0);
    });
    assert_eq!(files.digest(At::Live, &path("/opt/back-0")).unwrap(), before);
    assert!(matches!(host.points.get(going.id), Err(PointsError::Unknown { .. })));
}

#[test]
fn a_making_after_a_prune_does_not_build_on_what_was_given_up() {
    let host = host();
    let going = host.make("going", &["/opt/hello"]).unwrap();
    host.points.drop_points(&[going.id], &nobody()).unwrap();
    let made = host.make("again", &["/opt/hello"]).unwrap();
    host.points.drop_points_within(&[], Duration::ZERO, &nobody()).unwrap();
    host.points.drop_points_within(&[], Duration::ZERO, &nobody()).unwrap();
    host.points.verify(made.id, Depth::Full, &nobody()).unwrap();
}

#[test]
fn what_another_host_marked_by_mistake_is_taken_back() {
    let host = host();
    let made = host.make("nightly", &["/opt/hello"]).unwrap();
    let session = host.points.session(None).unwrap();
    let (_, snapshot) = host.points.snapshot(&session, made.id).unwrap();
    host.points.drop_points(&[made.id], &nobody()).unwrap();
    // As if it had been offered while the other one was pruning.
    let late = label::own_id(host.points.save(&snapshot).unwrap());
    assert!(host.points.verify(late, Depth::Quick, &nobody()).is_err());
    host.points.recover(late).unwrap();
    host.points.verify(late, Depth::Full, &nobody()).unwrap();
}

#[test]
fn a_prune_does_not_wait_for_a_making_and_takes_nothing_from_it() {
    let host = host();
    let going = host.make("going", &["/opt/hello"]).unwrap();
    let making = host.points.locks.make().unwrap();
    let packs = stored(&host, "data");
    assert_eq!(host.points.drop_points_within(&[going.id], Duration::ZERO, &nobody()).unwrap(), 0);
    assert_eq!((host.points.list().unwrap(), stored(&host, "data")), (Vec::new(), packs));
    drop(making);
    assert!(host.points.drop_points(&[], &nobody()).unwrap() > 0);
}

#[test]
fn dropping_one_that_is_none_drops_nothing() {
    let host = host();
    let made = host.make("nightly", &["/etc"]).unwrap();
    let none = PointId([1; 32]);
    assert!(matches!(host.points.drop_points(&[made.id, none], &nobody()), Err(PointsError::Unknown { .. })));
    assert_eq!(host.points.list().unwrap(), [made]);
}
