//! Reading what is stored again, a share at a time, before anybody needs it.

use std::collections::BTreeSet;

use sternway_core::point::{Checked, Depth, Kind, Origin, Point};

use super::memory::Cycle;
use super::{Custodian, CustodianError, Listener};
use crate::clock;
use crate::points::Share;

/// What one share brought to light.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) packs: u64,
    pub(super) bytes: u64,
    pub(super) is_clean: bool,
}

impl Custodian {
    /// Reads the next part of a cycle. What is damaged is an error in the log,
    /// and the points that it hurts count as damaged from now on.
    pub(super) fn scrub(&self, cycle: &Cycle, listener: &Listener) -> Result<Read, CustodianError> {
        let points = self.points()?;
        let share = Share { part: cycle.next, parts: cycle.parts };
        let scrubbed = points.scrub(share, &listener.watch())?;
        let is_clean = scrubbed.damaged.is_empty() && scrubbed.points.is_empty();
        if !is_clean {
            let finding = match scrubbed.damaged.first() {
                Some(first) if scrubbed.damaged.len() == 1 => {
                    format!("damaged when it was read again: {first}")
                }
                Some(first) => format!(
                    "damaged when it was read again: {first}, and {} more",
                    scrubbed.damaged.len() - 1
                ),
                None => "damaged when it was read again".to_owned(),
            };
            tracing::error!(
                finding,
                points = scrubbed.points.len(),
                "what is stored of rollback points is damaged"
            );
            for point in points.list()?.iter().filter(|point| scrubbed.points.contains(&point.id)) {
                self.alarm(point, &finding);
                let finding = Some(finding.clone());
                self.catalogue.record(point.id, Checked { at: clock::now(), depth: Depth::Full, finding });
            }
        }
        Ok(Read { packs: scrubbed.packs, bytes: scrubbed.bytes, is_clean })
    }

    /// The newest points, whole or of a component, of which nobody has read
    /// every byte yet: what the next rollback would go back to.
    pub(super) fn unread(&self) -> Result<Vec<Point>, CustodianError> {
        let points = self.points()?;
        let listed = self.filled(points.list()?);
        let checks = self.catalogue.read();
        let services: BTreeSet<&str> = listed
            .iter()
            .filter(|point| !point.service.is_empty() && !matches!(point.origin, Origin::Safety { .. }))
            .filter(|point| matches!(point.kind, Kind::Full | Kind::Component))
            .map(|point| point.service.as_str())
            .collect();
        let newest = services.into_iter().filter_map(|service| self.way_back(&listed, service));
        Ok(newest.filter(|point| checks.whole_at(point).is_none()).cloned().collect())
    }
}
