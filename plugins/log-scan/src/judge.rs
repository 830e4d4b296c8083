//! What was read of one log, and the verdict on it. Pure.

use sternway_plugin::{Verdict, Verification};

use crate::settings::Task;
use crate::stamp::Stamp;

const EVIDENCE_MAX: usize = 5;
const EVIDENCE_CHARS: usize = 200;
const QUARTER_MS: i64 = 15 * 60_000;
/// How far the last line and the last write of a file may lie apart.
const DRIFT_MS: i64 = 120_000;
/// No clock on earth is farther from UTC.
const OFFSET_MS_MAX: i64 = 14 * 3_600_000;

/// The last part of a log file.
#[derive(Debug)]
pub(crate) struct Tail<'a> {
    pub(crate) text: &'a str,
    /// Where in the file it begins.
    pub(crate) from: u64,
    /// When the file was last written, in milliseconds since 1970.
    pub(crate) written_ms: i64,
    /// How long the file was when the step began.
    pub(crate) bytes_before: u64,
}

/// What one log has to say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Count {
    /// Lines that count.
    pub(crate) counted: u64,
    /// Lines looked at.
    pub(crate) looked_at: u64,
    /// The first lines that count.
    pub(crate) evidence: Vec<String>,
    /// Why what was read does not tell; none when it does.
    pub(crate) unknown: Option<String>,
}

impl Count {
    pub(crate) fn untold(why: impl Into<String>) -> Self {
        Self { unknown: Some(why.into()), ..Self::default() }
    }

    pub(crate) fn add(&mut self, task: &Task, line: &str) {
        self.looked_at += 1;
        if task.counts(line) {
            self.counted += 1;
            if self.evidence.len() < EVIDENCE_MAX {
                self.evidence.push(shown(line));
            }
        }
    }

    /// Too many are too many, whatever else could not be read.
    pub(crate) fn verdict(&self, max: u64) -> Verdict {
        if self.counted > max {
            Verdict::Fail
        } else if self.unknown.is_some() {
            Verdict::Inconclusive
        } else {
            Verdict::Pass
        }
    }

    /// `3 of 120 lines count: ERROR a | ERROR b`.
    pub(crate) fn words(&self) -> String {
        let lines = format!("{} of {} lines count", self.counted, self.looked_at);
        let why = self.unknown.as_ref().map(|why| format!("; {why}")).unwrap_or_default();
        if self.evidence.is_empty() {
            format!("{lines}{why}")
        } else {
            format!("{lines}{why}: {}", self.evidence.join(" | "))
        }
    }

    pub(crate) fn proof(&self, log: &str, max: u64) -> Verification {
        let verdict = self.verdict(max);
        let told = match verdict {
            Verdict::Pass => "is quiet",
            Verdict::Fail => "is not quiet",
            Verdict::Inconclusive => "does not tell",
        };
        Verification {
            name: format!("{log} has at most {max} such lines"),
            verdict,
            measured: Some(self.counted.to_string()),
            expected: Some(format!("at most {max}")),
            message: format!("{log} {told}: {}", self.words()),
        }
    }
}

/// Counts the lines of a file from `since_ms` on. A line without a stamp belongs
/// to the one before. In a file without stamps what was written since the step
/// began counts.
pub(crate) fn file(task: &Task, tail: &Tail<'_>, since_ms: i64) -> Count {
    if tail.text.is_empty() {
        return Count::untold("it is empty");
    }
    let stamps: Vec<Option<Stamp>> = tail.text.lines().map(Stamp::of).collect();
    let offset_ms = offset(&stamps, tail.written_ms);
    let moment = |stamp: Stamp| {
        let offset_ms = if stamp.is_local() { offset_ms? } else { 0 };
        Some(stamp.moment(offset_ms, tail.written_ms))
    };
    let mut moments = stamps.iter().map(|stamp| stamp.and_then(moment));
    let Some(first) = moments.clone().flatten().next() else { return undated(task, tail) };
    let mut count = Count::default();
    let mut current = None;
    for line in tail.text.lines() {
        current = moments.next().flatten().or(current);
        if current.is_some_and(|moment| moment >= since_ms) {
            count.add(task, line);
        }
    }
    if tail.from > 0 && first > since_ms {
        count.unknown = Some("more was written than can be read at once".to_owned());
    }
    count
}

/// What was written since the step began, by its place in the file.
fn undated(task: &Task, tail: &Tail<'_>) -> Count {
    let end = tail.from + tail.text.len() as u64;
    // Shorter than before: it was begun anew.
    let before = if end < tail.bytes_before { 0 } else { tail.bytes_before };
    let mut count = Count::default();
    let mut at = tail.from;
    for line in tail.text.split_inclusive('\n') {
        at += line.len() as u64;
        if at > before {
            count.add(task, line.trim_end());
        }
    }
    if count.looked_at == 0 {
        return Count::untold("no line tells when it was written, and none came since the step began");
    }
    if tail.from > before {
        count.unknown = Some("more was written than can be read at once".to_owned());
    }
    count
}

/// How far the clock of the stamps without a zone is ahead of UTC: the last line was
/// written when the file was. None when that makes no zone.
fn offset(stamps: &[Option<Stamp>], written_ms: i64) -> Option<i64> {
    let last = stamps.iter().rev().flatten().find(|stamp| stamp.is_local())?;
    let ahead = last.moment(0, written_ms) - written_ms;
    let offset_ms = (ahead + QUARTER_MS / 2).div_euclid(QUARTER_MS) * QUARTER_MS;
    ((ahead - offset_ms).abs() <= DRIFT_MS && offset_ms.abs() <= OFFSET_MS_MAX).then_some(offset_ms)
}

/// What a terminal can show and do no more with.
fn shown(line: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    line.trim().chars().take(EVIDENCE_CHARS).map(plain).collect()
}

#[cfg(test)]
mod tests;
