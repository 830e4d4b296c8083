//! What answers about points look like: rows for people, one object a line for
//! programs (`sternway.point/1.0`; fields are only ever added).

use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use sternway_agent::clock;
use sternway_core::point::readiness::{Drill, Facts};
use sternway_core::point::retention::Why;
use sternway_core::point::{
    Answer, Checked, Depth, Difference, DifferenceKind, Dropped, Manifest, Origin, Point,
};
use sternway_core::time::{Millis, Timestamp};

use super::super::clock_time;
use super::progress::Meter;
use crate::output::{self, Failure};

const POINT: &str = "sternway.point/1.0";

/// What the exit code hangs on.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcome {
    pub(super) checked: usize,
    pub(super) bad: usize,
    pub(super) drill_failed: Option<String>,
}

/// Shows answers as they come.
#[derive(Debug)]
pub(super) struct Teller {
    json: bool,
    meter: Option<Mutex<Meter>>,
    outcome: Mutex<Outcome>,
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no `[[points.service]]` of this host")]
struct NoService(String);

impl Teller {
    pub(super) fn new(json: bool, is_drawn: bool) -> Self {
        Self { json, meter: is_drawn.then(Mutex::default), outcome: Mutex::default() }
    }

    pub(super) fn outcome(&self) -> Outcome {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, note: impl FnOnce(&mut Outcome)) {
        note(&mut self.outcome.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn end(&self) {
        if let Some(meter) = &self.meter {
            meter.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    pub(super) fn hear(&self, answer: Answer) {
        if let Answer::Progress(progress) = &answer {
            if let Some(meter) = &self.meter {
                meter.lock().unwrap_or_else(PoisonError::into_inner).hear(progress);
            }
            return;
        }
        self.end();
        match answer {
            Answer::Points(points) => points.iter().for_each(|point| self.point(point, false)),
            Answer::Checked(point) => {
                let is_bad = !point.is_good();
                self.note(|outcome| {
                    outcome.checked += 1;
                    outcome.bad += usize::from(is_bad);
                });
                self.point(&point, true);
            }
            Answer::Manifest { point, manifest, location, snapshot } => {
                self.manifest(&point, &manifest, &location, &snapshot);
            }
            Answer::Differences(differences) => self.differences(&differences),
            Answer::WouldDrop { drop, stay } => self.would_drop(&drop, &stay),
            Answer::Dropped { points, bytes } => match self.json {
                true => self.object(&json!({ "format": POINT, "dropped": points, "bytes": bytes })),
                false => output::line(&format!(
                    "{points} points are gone, {} are free or will be after the next time",
                    bytes_in_words(bytes)
                )),
            },
            Answer::Restored { path, entries, bytes, old } => match self.json {
                true => self.object(&json!({
                    "format": POINT, "restored": path, "entries": entries, "bytes": bytes, "old": old,
                })),
                false => {
                    output::line(&format!("{entries} entries, {}, are at {path}", bytes_in_words(bytes)));
                    if let Some(old) = old {
                        output::line(&format!("what was there before is at {old}"));
                    }
                }
            },
            Answer::Drilled { service, drill } => self.drilled(&service, &drill),
            // These three are not for people at the host.
            Answer::Ready(_) | Answer::Refused { .. } | Answer::Progress(_) | Answer::Done => {}
        }
    }

    fn object(&self, value: &Value) {
        output::line(&value.to_string());
    }

    fn point(&self, point: &Point, is_checked: bool) {
        match self.json {
            true => {
                let mut value = as_json(point);
                if is_checked {
                    value["good"] = point.is_good().into();
                    let finding = point.checked.as_ref().and_then(|checked| checked.finding.clone());
                    value["finding"] = finding.into();
                }
                self.object(&value);
            }
            false => output::line(&row(point)),
        }
    }

    fn manifest(&self, point: &Point, manifest: &Manifest, location: &str, snapshot: &str) {
        if self.json {
            let mut value = as_json(point);
            value["location"] = location.into();
            value["snapshot"] = snapshot.into();
            value["pieces"] = json!(manifest.pieces);
            return self.object(&value);
        }
        let row = |name: &str, text: String| output::line(&format!("{name:<12} {text}"));
        row("point", point.id.to_string());
        row("made", format!("{}, {} ago", clock_time(point.made), age(point.made)));
        row("for", origin_in_words(&point.origin));
        row("service", named(&point.service));
        row("version", named(&point.version));
        row("kind", point.kind.name().into());
        row("tags", named(&point.tags.join(", ")));
        if let Some(kept) = &point.kept {
            row(
                "kept",
                format!("for ever, by {} since {}: {}", kept.owner, clock_time(kept.since), kept.reason),
            );
        }
        row("by", named(&point.by));
        row("reason", named(&point.reason));
        row("size", format!("{} in {} files", bytes_in_words(point.bytes), point.files));
        row("checked", check_in_words(point.checked.as_ref()));
        row("location", format!("{location}, where restic calls it {snapshot}"));
        row("paths", point.paths.join(" "));
        for piece in &manifest.pieces {
            let note = if piece.note.is_empty() { String::new() } else { format!("  {}", piece.note) };
            row(
                piece.kind.name(),
                format!(
                    "{}  {} in {} entries  sha256 {}{note}",
                    piece.name,
                    bytes_in_words(piece.bytes),
                    piece.entries,
                    piece.digest.short()
                ),
            );
        }
    }

    fn differences(&self, differences: &[Difference]) {
        for difference in differences {
            if self.json {
                self.object(&json!({
                    "format": POINT, "path": difference.path, "difference": difference.kind, "detail": difference.detail,
                }));
                continue;
            }
            let sign = match difference.kind {
                DifferenceKind::Added => '+',
                DifferenceKind::Removed => '-',
                DifferenceKind::Content => 'M',
                DifferenceKind::Metadata => 'm',
            };
            output::line(&format!("{sign} {}  {}", difference.path, difference.detail));
        }
        if differences.is_empty() && !self.json {
            output::line("nothing differs");
        }
    }

    fn would_drop(&self, drop: &[Dropped], stay: &[(sternway_core::ids::PointId, Vec<Why>)]) {
        if self.json {
            for dropped in drop {
                let mut value = as_json(&dropped.point);
                value["would_drop"] = true.into();
                value["frees_bytes"] = dropped.bytes.into();
                self.object(&value);
            }
            for (id, why) in stay {
                self.object(&json!({ "format": POINT, "id": id, "would_drop": false, "why": why }));
            }
            return;
        }
        for (id, why) in stay {
            let why: Vec<&str> = why.iter().copied().map(why_in_words).collect();
            output::line(&format!("stays  {}  {}", id.short(), why.join(", ")));
        }
        for dropped in drop {
            output::line(&format!("goes   {}", row(&dropped.point)));
        }
        let bytes: u64 = drop.iter().map(|dropped| dropped.bytes).sum();
        match drop.len() {
            0 => output::line("the rules keep every point"),
            count => output::talk(&format!(
                "{count} points would go, which frees {} at the least; `points prune --confirm {count}` lets them go",
                bytes_in_words(bytes)
            )),
        }
    }

    fn drilled(&self, service: &str, drill: &Drill) {
        if let Some(finding) = &drill.finding {
            self.note(|outcome| outcome.drill_failed = Some(finding.clone()));
        }
        match (self.json, &drill.finding) {
            (true, _) => self.object(&json!({
                "format": POINT, "service": service, "drill": "done", "at_ms": drill.at, "took_ms": drill.took,
                "good": drill.finding.is_none(), "finding": drill.finding,
            })),
            (false, None) => output::line(&format!("{service}: came back the same in {}", drill.took)),
            (false, Some(finding)) => output::line(&format!("{service}: BAD after {}: {finding}", drill.took)),
        }
    }

    /// Says whether every service could go back.
    pub(super) fn ready(&self, facts: &[Facts], service: Option<&str>) -> Result<bool, Failure> {
        if let (true, Some(service)) = (facts.is_empty(), service) {
            return Err(NoService(service.to_owned()).into());
        }
        if facts.is_empty() && !self.json {
            output::talk("no `[[points.service]]` is configured here, so there is nothing to go back to");
        }
        let now = clock::now();
        let mut all_can = true;
        for facts in facts {
            let verdict = facts.judge(now);
            all_can &= verdict.can();
            if self.json {
                self.object(&json!({
                    "format": "sternway.ready/1.0",
                    "service": facts.service,
                    "can": verdict.can(),
                    "lacks": verdict.lacks.iter().map(ToString::to_string).collect::<Vec<_>>(),
                    "remarks": verdict.remarks.iter().map(ToString::to_string).collect::<Vec<_>>(),
                    "facts": facts,
                }));
                continue;
            }
            let point = match &facts.point {
                Some(point) => format!("  {} of {} ago", point.id.short(), age(point.made)),
                None => String::new(),
            };
            let can = if verdict.can() { "can go back" } else { "CANNOT go back" };
            output::line(&format!("{:<16} {can}{point}", facts.service));
            for lack in &verdict.lacks {
                output::line(&format!("{:<16}   because {lack}", ""));
            }
            for remark in &verdict.remarks {
                output::line(&format!("{:<16}   note: {remark}", ""));
            }
        }
        Ok(all_can)
    }
}

fn as_json(point: &Point) -> Value {
    json!({
        "format": POINT, "id": point.id, "tag": point.tags.first().cloned().unwrap_or_default(),
        "tags": point.tags, "reason": point.reason, "made_ms": point.made, "paths": point.paths,
        "bytes": point.bytes, "files": point.files, "service": point.service, "version": point.version,
        "kind": point.kind, "origin": point.origin, "by": point.by, "kept": point.kept,
        "checked": point.checked.as_ref().map(|checked| json!({
            "at_ms": checked.at, "depth": checked.depth, "finding": checked.finding,
        })),
    })
}

fn row(point: &Point) -> String {
    let what = match point.service.is_empty() {
        true => point.paths.join(" "),
        false => format!("{} {} {}", point.service, point.version, point.kind.name()),
    };
    let kept = if point.kept.is_some() { "kept for ever, " } else { "" };
    format!(
        "{}  {}  {:<20}  {:>10}  {what}  {kept}{}",
        point.id.short(),
        clock_time(point.made),
        point.tags.join(","),
        bytes_in_words(point.bytes),
        check_in_words(point.checked.as_ref())
    )
}

fn check_in_words(checked: Option<&Checked>) -> String {
    let Some(checked) = checked else { return "not checked".into() };
    let ago = age(checked.at);
    match (&checked.finding, checked.depth) {
        (Some(finding), _) => format!("BAD: {finding}"),
        (None, Depth::Quick) => format!("good {ago} ago"),
        (None, Depth::Full) => format!("good {ago} ago, every byte"),
    }
}

fn origin_in_words(origin: &Origin) -> String {
    match origin {
        Origin::Person => "a person".into(),
        Origin::Hook => "a hook, before a deployment".into(),
        Origin::Schedule { name } => format!("the schedule {name}"),
        Origin::Safety { plan } => format!("the way back from plan {}", plan.short()),
    }
}

fn why_in_words(why: Why) -> &'static str {
    match why {
        Why::InUse => "in use",
        Why::Kept => "kept for ever",
        Why::LastGood => "the last good one",
        Why::Newest => "among the newest",
        Why::Young => "young",
    }
}

fn named(text: &str) -> String {
    if text.is_empty() { "-".into() } else { text.to_owned() }
}

/// In its largest unit.
fn age(since: Timestamp) -> String {
    let Millis(ms) = clock::now().since(since);
    match ms / 1000 {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds @ 3_600..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

pub(super) fn bytes_in_words(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut amount = bytes as f64 / 1024.0;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_at_a_glance() {
        let cases =
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1 << 30, "1.0 GiB"), (5 << 50, "5120.0 TiB")];
        for (bytes, words) in cases {
            assert_eq!(bytes_in_words(bytes), words);
        }
    }
}
