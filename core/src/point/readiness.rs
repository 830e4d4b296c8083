//! Would a rollback work right now? Judged from what a host knows of itself;
//! every no has a reason that a person can act on.

use serde::{Deserialize, Serialize};

use super::{Depth, Point};
use crate::ids::PluginName;
use crate::time::{Millis, Timestamp};

/// What a host knows about one of its services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    pub service: String,
    /// The newest point, whole service or else a component, that nobody found damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<Point>,
    /// When a check of every byte of that point last came to an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_full: Option<Timestamp>,
    /// Points of the service that were found damaged, by the beginning of their ids.
    pub damaged: Vec<String>,
    /// Plugins that bringing the service back takes, and this host does not hold.
    pub plugins_missing: Vec<PluginName>,
    /// Bytes that have to be free to stage that point beside, and how many are.
    pub space_needed: u64,
    pub space_free: u64,
    /// The newest rehearsal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill: Option<Drill>,
    /// Anything else that stands in the way: a halt on the host, a run in hand.
    pub hindered: Vec<String>,
    /// What this host wants to be true; from its configuration.
    pub wishes: Wishes,
}

/// A rehearsal: the point was restored beside, compared and taken away again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drill {
    pub at: Timestamp,
    pub took: Millis,
    /// What went wrong; none when it came back the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<String>,
}

/// How old things may be. None: no matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wishes {
    /// The newest point.
    pub point_age_max: Option<Millis>,
    /// Its newest check of every byte.
    pub check_age_max: Option<Millis>,
    /// The newest rehearsal; an old one is a remark and not a no.
    pub drill_age_max: Option<Millis>,
}

/// Nightly points with two hours to spare, a check within the week, a drill
/// within the quarter, as the runbooks want them.
impl Default for Wishes {
    fn default() -> Self {
        Self {
            point_age_max: Some(Millis::hours(26)),
            check_age_max: Some(Millis::hours(8 * 24)),
            drill_age_max: Some(Millis::hours(92 * 24)),
        }
    }
}

/// Why a rollback of a service would not work, or is not known to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Lack {
    #[error("no rollback point")]
    NoPoint,
    #[error("every rollback point is damaged ({0})")]
    OnlyDamaged(String),
    #[error("the newest point is {age} old, at most {max} is wanted")]
    PointTooOld { age: Millis, max: Millis },
    #[error("no check has read every byte of the newest point")]
    NeverChecked,
    #[error("every byte was last checked {age} ago, at most {max} is wanted")]
    CheckTooOld { age: Millis, max: Millis },
    #[error("plugin `{0}` is not here")]
    PluginMissing(PluginName),
    #[error("{free} bytes are free, the way back needs {needed}")]
    NoSpace { needed: u64, free: u64 },
    #[error("{0}")]
    Hindered(String),
    /// Of a host that does not answer.
    #[error("the host is away")]
    Away,
}

/// What does not stand in the way, and should be seen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Remark {
    #[error("never rehearsed")]
    NeverRehearsed,
    #[error("last rehearsed {age} ago, at most {max} is wanted")]
    DrillTooOld { age: Millis, max: Millis },
    #[error("the last rehearsal failed: {0}")]
    DrillFailed(String),
    #[error("damaged: {0}")]
    Damaged(String),
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Empty: a rollback would work.
    pub lacks: Vec<Lack>,
    pub remarks: Vec<Remark>,
}

impl Verdict {
    pub fn can(&self) -> bool {
        self.lacks.is_empty()
    }

    /// Of a host that said nothing.
    pub fn away() -> Self {
        Self { lacks: vec![Lack::Away], remarks: Vec::new() }
    }
}

impl Facts {
    /// Would it work at `now`? Every reason against, not only the first.
    pub fn judge(&self, now: Timestamp) -> Verdict {
        let mut verdict = Verdict::default();
        self.judge_point(now, &mut verdict);
        let missing = self.plugins_missing.iter().cloned().map(Lack::PluginMissing);
        verdict.lacks.extend(missing);
        if self.space_free < self.space_needed {
            let (needed, free) = (self.space_needed, self.space_free);
            verdict.lacks.push(Lack::NoSpace { needed, free });
        }
        verdict.lacks.extend(self.hindered.iter().cloned().map(Lack::Hindered));
        self.judge_drill(now, &mut verdict);
        verdict
    }

    fn judge_point(&self, now: Timestamp, verdict: &mut Verdict) {
        let Some(point) = &self.point else {
            verdict.lacks.push(match self.damaged.is_empty() {
                true => Lack::NoPoint,
                false => Lack::OnlyDamaged(self.damaged.join(", ")),
            });
            return;
        };
        if !self.damaged.is_empty() {
            verdict.remarks.push(Remark::Damaged(self.damaged.join(", ")));
        }
        let age = now.since(point.made);
        if let Some(max) = self.wishes.point_age_max.filter(|max| age > *max) {
            verdict.lacks.push(Lack::PointTooOld { age, max });
        }
        let Some(max) = self.wishes.check_age_max else { return };
        let found = point.checked.as_ref().filter(|checked| checked.depth == Depth::Full);
        match self.checked_full.or(found.map(|checked| checked.at)).map(|at| now.since(at)) {
            None => verdict.lacks.push(Lack::NeverChecked),
            Some(age) if age > max => verdict.lacks.push(Lack::CheckTooOld { age, max }),
            Some(_) => {}
        }
    }

    fn judge_drill(&self, now: Timestamp, verdict: &mut Verdict) {
        let Some(max) = self.wishes.drill_age_max else { return };
        verdict.remarks.extend(match &self.drill {
            None => Some(Remark::NeverRehearsed),
            Some(Drill { finding: Some(finding), .. }) => Some(Remark::DrillFailed(finding.clone())),
            Some(drill) => {
                let age = now.since(drill.at);
                (age > max).then_some(Remark::DrillTooOld { age, max })
            }
        });
    }
}

#[cfg(test)]
mod tests;
