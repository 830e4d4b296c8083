//! How a snapshot of the restic format says that it is a rollback point, so
//! that points are listed from the snapshot files alone. What people wrote are
//! plain tags; the rest are tags `key=value`, because `restic tag` keeps tags
//! and drops what it does not know.

use std::collections::BTreeSet;

use rustic_core::repofile::{SnapshotFile, SnapshotId};
use sternway_core::ids::{PlanId, PointId};
use sternway_core::point::{Kept, Kind, Origin, Point};
use sternway_core::time::Timestamp;

use super::PointsError;

/// The tag of a point that is not offered.
pub const INCOMPLETE: &str = "incomplete";
const TAG_MAX: usize = 64;
/// Kept by somebody whose name cannot be read any more.
const SOMEBODY: &str = "somebody";

const SERVICE: &str = "service";
const VERSION: &str = "version";
const KIND: &str = "kind";
const ORIGIN: &str = "origin";
const BY: &str = "by";
const FILES: &str = "files";
const BYTES: &str = "bytes";
const KEPT_BY: &str = "kept-by";
const KEPT_FOR: &str = "kept-for";
const KEPT_SINCE: &str = "kept-since";
/// How often it was tagged: the higher of two with one id is the newer.
const TURN: &str = "turn";
/// Of an incomplete one: who makes it.
const MAKER: &str = "maker";
const KEYS: [&str; 12] =
    [SERVICE, VERSION, KIND, ORIGIN, BY, FILES, BYTES, KEPT_BY, KEPT_FOR, KEPT_SINCE, TURN, MAKER];

/// Refuses what `restic` or we could misread.
pub(super) fn check_tag(tag: &str) -> Result<(), PointsError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if tag.is_empty() || tag.len() > TAG_MAX || tag == INCOMPLETE || !tag.chars().all(plain) {
        return Err(PointsError::Tag { tag: tag.escape_debug().collect() });
    }
    Ok(())
}

pub(super) fn is_incomplete(snapshot: &SnapshotFile) -> bool {
    snapshot.tags.contains(INCOMPLETE)
}

pub(super) fn mark_incomplete(snapshot: &mut SnapshotFile, maker: &str) {
    snapshot.tags.add(INCOMPLETE.to_owned());
    set(snapshot, MAKER, Some(maker));
}

pub(super) fn maker(snapshot: &SnapshotFile) -> Option<String> {
    get(snapshot, MAKER)
}

pub(super) fn turn(snapshot: &SnapshotFile) -> u64 {
    get(snapshot, TURN).and_then(|turn| turn.parse().ok()).unwrap_or_default()
}

pub(super) fn set_turn(snapshot: &mut SnapshotFile, turn: u64) {
    set(snapshot, TURN, Some(&turn.to_string()));
}

/// Writes down everything of a point but its id, its time and its paths.
pub(super) fn write(snapshot: &mut SnapshotFile, point: &Point) {
    snapshot.tags = rustic_core::StringList::default();
    for tag in &point.tags {
        snapshot.tags.add(tag.clone());
    }
    set(snapshot, SERVICE, Some(&point.service));
    set(snapshot, VERSION, Some(&point.version));
    set(snapshot, KIND, Some(point.kind.name()));
    set(snapshot, ORIGIN, Some(&write_origin(&point.origin)));
    set(snapshot, BY, Some(&point.by));
    set(snapshot, FILES, Some(&point.files.to_string()));
    set(snapshot, BYTES, Some(&point.bytes.to_string()));
    write_kept(snapshot, point.kept.as_ref());
    snapshot.username = point.by.clone();
    snapshot.description = Some(point.reason.clone());
}

pub(super) fn write_kept(snapshot: &mut SnapshotFile, kept: Option<&Kept>) {
    set(snapshot, KEPT_BY, kept.map(|kept| kept.owner.as_str()));
    set(snapshot, KEPT_FOR, kept.map(|kept| kept.reason.as_str()));
    set(snapshot, KEPT_SINCE, kept.map(|kept| kept.since.0.to_string()).as_deref());
}

pub(super) fn point_id(id: SnapshotId, snapshot: &SnapshotFile) -> PointId {
    own_id(snapshot.original.unwrap_or(id))
}

pub(super) fn own_id(id: SnapshotId) -> PointId {
    id.into_inner().to_hex().as_str().parse().expect("both are 32 bytes in hexadecimal")
}

/// What a snapshot file says of its point. One that `restic` made is the point
/// of no service, made by the user it names.
pub(super) fn read(id: SnapshotId, snapshot: &SnapshotFile) -> Point {
    let summary = snapshot.summary.as_ref();
    let number = |key, or: Option<u64>| {
        get(snapshot, key).and_then(|text| text.parse().ok()).or(or).unwrap_or_default()
    };
    Point {
        id: point_id(id, snapshot),
        made: made(snapshot),
        service: get(snapshot, SERVICE).unwrap_or_default(),
        version: get(snapshot, VERSION).unwrap_or_default(),
        kind: get(snapshot, KIND).as_deref().and_then(read_kind).unwrap_or(Kind::Full),
        origin: get(snapshot, ORIGIN).as_deref().and_then(read_origin).unwrap_or(Origin::Person),
        tags: plain_tags(snapshot).into_iter().collect(),
        kept: read_kept(snapshot),
        reason: snapshot.description.clone().unwrap_or_default(),
        by: get(snapshot, BY).unwrap_or_else(|| snapshot.username.clone()),
        paths: snapshot.paths.iter().filter(|path| !is_ours(path)).cloned().collect(),
        bytes: number(BYTES, summary.map(|summary| summary.total_bytes_processed)),
        files: number(FILES, summary.map(|summary| summary.total_files_processed)),
        checked: None,
    }
}

/// Says that it is one of ours, and has lost what only its manifest holds now.
pub(super) fn has_lost_its_words(snapshot: &SnapshotFile) -> bool {
    snapshot.description.is_none() && get(snapshot, SERVICE).is_some()
}

pub(super) fn plain_tags(snapshot: &SnapshotFile) -> BTreeSet<String> {
    let is_plain =
        |tag: &&String| tag.split_once('=').is_none_or(|(key, _)| !KEYS.contains(&key)) && *tag != INCOMPLETE;
    snapshot.tags.iter().filter(is_plain).filter(|tag| !tag.is_empty()).cloned().collect()
}

/// Adds and takes away plain tags; what else the snapshot says stays.
pub(super) fn change_tag(snapshot: &mut SnapshotFile, tag: &str, is_wanted: bool) {
    let keep = |other: &&String| *other != tag;
    let mut tags = rustic_core::StringList::default();
    for other in snapshot.tags.iter().filter(keep) {
        tags.add(other.clone());
    }
    if is_wanted {
        tags.add(tag.to_owned());
    }
    snapshot.tags = tags;
}

pub(super) fn made(snapshot: &SnapshotFile) -> Timestamp {
    Timestamp(u64::try_from(snapshot.time.timestamp().as_millisecond()).unwrap_or_default())
}

/// Where a point keeps what is no file of the host.
pub(super) const OURS: &str = "/.sternway";
/// Where the manifest lies in a point.
pub(super) const MANIFEST: &str = "/.sternway/manifest.json";

fn is_ours(path: &str) -> bool {
    path == OURS
}

fn read_kept(snapshot: &SnapshotFile) -> Option<Kept> {
    let owner = get(snapshot, KEPT_BY)?;
    let since = get(snapshot, KEPT_SINCE).and_then(|since| since.parse().ok()).unwrap_or_default();
    let owner = owner.parse().unwrap_or_else(|_| SOMEBODY.parse().expect("it is a plain word"));
    Some(Kept { owner, reason: get(snapshot, KEPT_FOR).unwrap_or_default(), since: Timestamp(since) })
}

pub(super) fn read_kind(text: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| kind.name() == text)
}

fn write_origin(origin: &Origin) -> String {
    match origin {
        Origin::Person => "person".into(),
        Origin::Hook => "hook".into(),
        Origin::Schedule { name } => format!("schedule:{name}"),
        Origin::Safety { plan } => format!("safety:{plan}"),
    }
}

fn read_origin(text: &str) -> Option<Origin> {
    Some(match text.split_once(':') {
        None if text == "person" => Origin::Person,
        None if text == "hook" => Origin::Hook,
        Some(("schedule", name)) => Origin::Schedule { name: name.into() },
        Some(("safety", plan)) => Origin::Safety { plan: plan.parse::<PlanId>().ok()? },
        _ => return None,
    })
}

fn get(snapshot: &SnapshotFile, key: &str) -> Option<String> {
    let values = snapshot.tags.iter().filter_map(|tag| tag.split_once('='));
    values.filter(|(found, _)| *found == key).map(|(_, value)| unescaped(value)).last()
}

fn set(snapshot: &mut SnapshotFile, key: &str, value: Option<&str>) {
    let mut tags = rustic_core::StringList::default();
    let is_other = |tag: &&String| tag.split_once('=').is_none_or(|(found, _)| found != key);
    for tag in snapshot.tags.iter().filter(is_other) {
        tags.add(tag.clone());
    }
    if let Some(value) = value.filter(|value| !value.is_empty() || key == SERVICE || key == KEPT_BY) {
        tags.add(format!("{key}={}", escaped(value)));
    }
    snapshot.tags = tags;
}

/// A tag holds no comma, which parts tags for `restic`, and nothing that a
/// terminal acts on.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for (at, c) in value.char_indices() {
        let is_inside = at > 0 && at + c.len_utf8() < value.len();
        match c {
            '%' | ',' => text.push_str(&format!("%{:02X}", u32::from(c))),
            ' ' if is_inside => text.push(c),
            c if c.is_control() || c.is_whitespace() => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    text.push_str(&format!("%{byte:02X}"));
                }
            }
            c => text.push(c),
        }
    }
    text
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'%').then(|| after.get(..2)).flatten();
        let byte = code.and_then(|code| std::str::from_utf8(code).ok());
        match byte.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_point_says_comes_back_from_its_snapshot() {
        let point = Point {
            id: PointId([7; 32]),
            made: Timestamp(1),
            service: "agora".into(),
            version: "1.2, the \u{1b}[31mred 100 % one ".into(),
            kind: Kind::Data,
            origin: Origin::Safety { plan: PlanId([9; 32]) },
            tags: vec!["before-1.3".into(), "nightly".into()],
            kept: Some(Kept {
                owner: "ada".parse().unwrap(),
                reason: "the audit, 2026".into(),
                since: Timestamp(5),
            }),
            reason: "before, after".into(),
            by: "ada".into(),
            paths: Vec::new(),
            bytes: 12,
            files: 3,
            checked: None,
        };
        let mut snapshot = SnapshotFile::default();
        write(&mut snapshot, &point);
        for tag in snapshot.tags.iter() {
            assert!(!tag.contains(',') && !tag.contains('\u{1b}') && tag.trim() == tag, "{tag:?}");
        }
        let mut back = read(SnapshotId::default(), &snapshot);
        (back.id, back.made) = (point.id, point.made);
        assert_eq!(back, point);
        write_kept(&mut snapshot, None);
        change_tag(&mut snapshot, "nightly", false);
        let back = read(SnapshotId::default(), &snapshot);
        assert_eq!((back.kept, back.tags), (None, vec!["before-1.3".to_owned()]));
        assert_eq!(back.service, "agora");
    }

    #[test]
    fn a_snapshot_of_restic_is_the_point_of_no_service() {
        let mut snapshot = SnapshotFile { username: "root".into(), ..SnapshotFile::default() };
        snapshot.tags.add("a=b".into());
        snapshot.tags.add(String::new());
        let point = read(SnapshotId::default(), &snapshot);
        assert_eq!((point.service.as_str(), point.by.as_str(), point.kind), ("", "root", Kind::Full));
        assert_eq!(point.tags, ["a=b"]);
        assert!(!has_lost_its_words(&snapshot));
    }
}
