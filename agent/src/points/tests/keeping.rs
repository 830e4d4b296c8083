//! Tags, ids that stay, and `restic` beside us.

use super::*;
use sternway_core::point::{Kept, PieceKind, Want};
use sternway_core::time::Timestamp;

use crate::capabilities::files::Place as At;
use crate::points::making::{Content, Extra};

fn kept() -> Kept {
    Kept { owner: "ada".parse().unwrap(), reason: "the audit, 2026".into(), since: Timestamp(5) }
}

#[test]
fn a_point_keeps_its_id_whatever_is_tagged() {
    let host = host();
    let made = host.make("nightly", &["/etc"]).unwrap();
    let tagged = host.points.tag(made.id, "audit", Some(kept())).unwrap();
    assert_eq!((tagged.id, tagged.kept.clone()), (made.id, Some(kept())));
    assert_eq!(tagged.tags, ["audit", "nightly"]);
    let (manifest, now) = host.points.manifest(made.id).unwrap();
    assert_ne!(now, made.id.to_string(), "`restic` shows another id");
    assert_eq!(manifest.reason, "before the upgrade");
    assert_eq!(host.points.get(now.parse().unwrap()).unwrap(), tagged, "either id finds it");
    let found = host.points.find(&Want { id: Some(now[..6].to_owned()), ..Want::default() }).unwrap();
    assert_eq!(found, std::slice::from_ref(&tagged));
    let plain = host.points.untag(made.id, Some("nightly")).unwrap();
    assert_eq!((plain.tags.as_slice(), plain.kept.is_some()), (&["audit".to_owned()][..], true));
    let plain = host.points.untag(made.id, None).unwrap();
    assert_eq!((plain.id, plain.kept), (made.id, None));
    assert_eq!(host.points.list().unwrap().len(), 1);
    assert_eq!(stored(&host, "snapshots").len(), 1);
    host.points.verify(made.id, Depth::Full, &nobody()).unwrap();
    assert!(matches!(host.points.tag(made.id, "a,b", None), Err(PointsError::Tag { .. })));
}

#[test]
fn the_beginning_of_an_id_means_one_point_or_none() {
    let host = host();
    let made = host.make("nightly", &["/etc"]).unwrap();
    let find = |id: &str| host.points.find(&Want { id: Some(id.into()), ..Want::default() });
    assert_eq!(find(&made.id.short().to_uppercase()).unwrap(), std::slice::from_ref(&made));
    assert!(matches!(find("abc"), Err(PointsError::Beginning { .. })));
    assert!(matches!(find("../../x"), Err(PointsError::Beginning { .. })));
    let other = if made.id.to_string().starts_with("0000") { "ffff" } else { "0000" };
    assert!(matches!(find(other), Err(PointsError::Unknown { .. })));
    let by = |want: Want| host.points.find(&want).unwrap().len();
    assert_eq!(by(Want { service: Some("hello".into()), ..Want::default() }), 1);
    assert_eq!(by(Want { service: Some("agora".into()), ..Want::default() }), 0);
    assert_eq!(by(Want { tag: Some("nightly".into()), kind: Some(Kind::Full), ..Want::default() }), 1);
    assert_eq!(by(Want { kind: Some(Kind::Data), ..Want::default() }), 0);
}

#[test]
fn a_manifest_says_what_every_piece_holds() {
    let host = host();
    let mut making = making("nightly", &["/opt/hello", "/etc/hello.toml"]);
    making.paths[1].0 = PieceKind::Config;
    making.extras.push(Extra {
        kind: PieceKind::Unit,
        name: "hello.service".into(),
        file: "hello.service".into(),
        note: "active enabled".into(),
        content: Content::Bytes(b"[Unit]".to_vec()),
    });
    making.extras.push(Extra {
        kind: PieceKind::Database,
        name: "main".into(),
        file: "main.dump".into(),
        note: String::new(),
        content: Content::Stream(Box::new(|| Ok(Box::new(std::io::Cursor::new(vec![9; 70_000]))))),
    });
    let made = host.points.make(making, &nobody()).unwrap();
    assert_eq!(made.paths, ["/etc/hello.toml", "/opt/hello"]);
    let (manifest, _) = host.points.manifest(made.id).unwrap();
    assert_eq!((manifest.service.as_str(), manifest.by.as_str()), ("hello", "ada"));
    let piece = |at: &str| manifest.pieces.iter().find(|piece| piece.at == at).unwrap();
    assert_eq!((piece("/opt/hello").entries, piece("/opt/hello").bytes), (5, 3_000_002));
    assert_eq!((piece("/etc/hello.toml").entries, piece("/etc/hello.toml").bytes), (1, 5));
    assert_eq!(piece("/etc/hello.toml").digest, sternway_core::ids::Digest::of(b"a = 1"));
    let unit = piece("/.sternway/unit/hello.service");
    assert_eq!((unit.bytes, unit.note.as_str()), (6, "active enabled"));
    assert_eq!(piece("/.sternway/database/main.dump").bytes, 70_000);
    let all = HostPath::parse("/.sternway").unwrap();
    host.points.stage(made.id, &all, &path("/opt/ours")).unwrap();
    assert_eq!(fs::read(host.root("opt/ours/unit/hello.service")).unwrap(), b"[Unit]");
    assert_eq!(fs::read(host.root("opt/ours/database/main.dump")).unwrap(), vec![9; 70_000]);
    let error = host.points.make(super::making("x", &["/.sternway/unit"]), &nobody()).unwrap_err();
    assert!(matches!(error, PointsError::Ours { .. }), "{error}");
}

#[test]
fn a_stream_that_breaks_off_makes_no_point() {
    struct Broken(u8);
    impl std::io::Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0 += 1;
            match self.0 {
                1 => Ok(buffer.len().min(100)),
                _ => Err(std::io::Error::other("pg_dump ended with code 1")),
            }
        }
    }
    let host = host();
    let mut making = making("nightly", &["/etc"]);
    making.extras.push(Extra {
        kind: PieceKind::Database,
        name: "main".into(),
        file: "main.dump".into(),
        note: String::new(),
        content: Content::Stream(Box::new(|| Ok(Box::new(Broken(0))))),
    });
    let error = host.points.make(making, &nobody()).unwrap_err();
    assert!(error.to_string().contains("pg_dump ended with code 1"), "{error}");
    assert_eq!(host.points.list().unwrap(), []);
}

#[test]
fn restic_itself_finds_the_repository_whole_and_restores_the_same_tree() {
    let host = host();
    let made = host.make("nightly", &["/opt/hello"]).unwrap();
    let Some(_) = restic(&host, &["check", "--read-data"]) else { return };
    let listed = restic(&host, &["snapshots", "--tag", "nightly", "--json"]).unwrap();
    assert!(listed.contains(&made.id.to_string()) && listed.contains("/opt/hello"), "{listed}");
    let into = host.root("restored");
    restic(&host, &["restore", &made.id.to_string(), "--target", into.to_str().unwrap()]).unwrap();
    let files = host.files();
    assert_eq!(
        files.digest(At::Live, &path("/restored/opt/hello")).unwrap(),
        files.digest(At::Live, &path("/opt/hello")).unwrap(),
    );
}

#[test]
fn what_restic_makes_and_tags_is_a_point_here_too() {
    let host = host();
    let made = host.make("nightly", &["/opt/hello"]).unwrap();
    let top = host.root("opt/hello");
    let top = top.to_str().unwrap();
    let arguments = ["backup", "--host", "web-1", "--tag", "by-hand", top];
    let Some(_) = restic(&host, &arguments) else { return };
    let theirs = host.points.newest("by-hand", None).unwrap().unwrap();
    assert_eq!((theirs.service.as_str(), theirs.paths.as_slice()), ("", &[top.to_owned()][..]));
    assert!(!theirs.by.is_empty());
    host.points.verify(theirs.id, Depth::Full, &nobody()).unwrap();
    let (manifest, _) = host.points.manifest(theirs.id).unwrap();
    assert_eq!((manifest.pieces.len(), manifest.pieces[0].entries), (1, 5));
    host.points.stage(theirs.id, &path(top), &path("/opt/theirs")).unwrap();
    let files = host.files();
    assert_eq!(
        files.digest(At::Live, &path("/opt/theirs")).unwrap(),
        files.digest(At::Live, &path("/opt/hello")).unwrap(),
    );

    restic(&host, &["tag", "--add", "seen", &made.id.short()]).unwrap();
    let tagged = host.points.get(made.id).unwrap();
    assert_eq!(tagged.tags, ["nightly", "seen"]);
    let same = Point { tags: made.tags.clone(), ..tagged };
    assert_eq!(same, made, "nothing is lost, though `restic` knows of no reason");
    assert!(restic(&host, &["check"]).is_some());
}

#[test]
fn hosts_that_share_a_repository_see_their_own_points() {
    let host = host();
    let made = host.make("nightly", &["/etc"]).unwrap();
    let other = open_as(host.directory.path(), "web-12", "").unwrap();
    assert_eq!(other.list().unwrap(), []);
    let theirs = other.make(making("nightly", &["/opt"]), &nobody()).unwrap();
    assert_eq!(other.list().unwrap(), std::slice::from_ref(&theirs));
    assert_eq!(host.points.list().unwrap(), std::slice::from_ref(&made));
    assert!(matches!(host.points.drop_points(&[theirs.id], &nobody()), Err(PointsError::Unknown { .. })));
    host.points.drop_points_within(&[made.id], Duration::ZERO, &nobody()).unwrap();
    host.points.drop_points_within(&[], Duration::ZERO, &nobody()).unwrap();
    other.verify(theirs.id, Depth::Full, &nobody()).unwrap();
    assert_eq!(host.points.list().unwrap(), []);
}
