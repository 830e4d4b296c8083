//! Which points are kept. The rules are those of the runbook for rollback
//! points: the ten newest, everything of the last thirty days, and what is
//! tagged to be kept, for ever; and never the last good one or one in use.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Origin, Point};
use crate::ids::PointId;
use crate::time::{Millis, Timestamp};

/// What a host keeps, by service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// So many newest points of a service.
    pub newest: u32,
    /// Every point younger than this.
    pub within: Millis,
    /// Bytes that the repository may take; the oldest go first, as far as the
    /// other rules let them.
    pub budget: Option<u64>,
}

impl Default for Retention {
    fn default() -> Self {
        Self { newest: 10, within: Millis::hours(30 * 24), budget: None }
    }
}

/// Why a point stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// A run goes back to it, or may still go back to it.
    InUse,
    /// Somebody wants it for ever.
    Kept,
    /// The newest of its service that nobody found damaged.
    LastGood,
    /// Among the newest.
    Newest,
    /// Young enough.
    Young,
}

impl Why {
    /// No budget takes such a point.
    pub fn is_for_ever(self) -> bool {
        matches!(self, Self::InUse | Self::Kept | Self::LastGood)
    }
}

/// The points to drop, and why each of the others stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Newest first.
    pub drop: Vec<PointId>,
    pub stay: BTreeMap<PointId, BTreeSet<Why>>,
}

impl Retention {
    /// Judges all points of one host. `used` is what the repository takes now,
    /// in bytes, and `own` what each point takes alone: what its going would
    /// free at the least.
    pub fn judge(
        &self,
        points: &[Point],
        in_use: &BTreeSet<PointId>,
        now: Timestamp,
        used: u64,
        own: &BTreeMap<PointId, u64>,
    ) -> Judgement {
        let mut newest_first: Vec<&Point> = points.iter().collect();
        newest_first.sort_by(|a, b| b.made.cmp(&a.made).then_with(|| a.id.cmp(&b.id)));
        let mut counted: BTreeMap<(&str, bool), u32> = BTreeMap::new();
        let mut has_good: BTreeSet<(&str, super::Kind)> = BTreeSet::new();
        let mut judgement = Judgement::default();
        for point in &newest_first {
            let is_safety = matches!(point.origin, Origin::Safety { .. });
            let mut why = BTreeSet::new();
            if in_use.contains(&point.id) {
                why.insert(Why::InUse);
            }
            if point.kept.is_some() {
                why.insert(Why::Kept);
            }
            // A safety point is the way back of one plan, not a good state.
            if !is_safety && point.is_good() && has_good.insert((&point.service, point.kind)) {
                why.insert(Why::LastGood);
            }
            let count = counted.entry((&point.service, is_safety)).or_default();
            *count += 1;
            if *count <= self.newest {
                why.insert(Why::Newest);
            }
            if now.since(point.made) <= self.within {
                why.insert(Why::Young);
            }
            match why.is_empty() {
                true => judgement.drop.push(point.id),
                false => _ = judgement.stay.insert(point.id, why),
            }
        }
        self.judge_budget(&newest_first, used, own, &mut judgement);
        judgement
    }

    fn judge_budget(
        &self,
        newest_first: &[&Point],
        used: u64,
        own: &BTreeMap<PointId, u64>,
        judgement: &mut Judgement,
    ) {
        let Some(budget) = self.budget else { return };
        let freed = |id: &PointId| own.get(id).copied().unwrap_or_default();
        let mut left = judgement.drop.iter().fold(used, |left, id| left.saturating_sub(freed(id)));
        for point in newest_first.iter().rev() {
            if left <= budget {
                break;
            }
            let Some(why) = judgement.stay.get(&point.id) else { continue };
            if why.iter().any(|why| why.is_for_ever()) {
                continue;
            }
            left = left.saturating_sub(freed(&point.id));
            judgement.stay.remove(&point.id);
            judgement.drop.push(point.id);
        }
        let order: BTreeMap<PointId, usize> =
            newest_first.iter().enumerate().map(|(at, point)| (point.id, at)).collect();
        judgement.drop.sort_by_key(|id| order.get(id).copied());
    }
}

#[cfg(test)]
mod tests;
