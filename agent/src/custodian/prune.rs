//! Which points go, and that nothing goes which somebody may still need.

use std::collections::BTreeSet;

use sternway_core::ids::PointId;
use sternway_core::point::retention::{Judgement, Why};
use sternway_core::point::{Dropped, Point};

use super::{Custodian, CustodianError, Listener, short};
use crate::clock;
use crate::points::Points;
use crate::points::lease::Leases;

/// What would go, and why each of the others stays.
pub(super) type WouldPrune = (Vec<Dropped>, Vec<(PointId, Vec<Why>)>);

struct Weighed {
    points: Vec<Point>,
    judgement: Judgement,
    own: std::collections::BTreeMap<PointId, u64>,
}

impl Custodian {
    pub(super) fn would_prune(&self) -> Result<WouldPrune, CustodianError> {
        let points = self.points()?;
        let leased = self.leases()?.points()?;
        let weighed = self.weigh(&points, &leased)?;
        let drop = weighed.judgement.drop.iter().filter_map(|id| {
            let point = weighed.points.iter().find(|point| point.id == *id)?.clone();
            Some(Dropped { point, bytes: weighed.own.get(id).copied().unwrap_or_default() })
        });
        let stay = weighed.judgement.stay.iter().map(|(id, why)| (*id, why.iter().copied().collect()));
        Ok((drop.collect(), stay.collect()))
    }

    /// Drops exactly as many as somebody saw and confirmed, or none.
    pub(super) fn prune_confirmed(
        &self,
        confirmed: u32,
        listener: &Listener,
    ) -> Result<(u32, u64), CustodianError> {
        self.prune(listener, |count| match count == confirmed {
            true => Ok(()),
            false => Err(CustodianError::refused(
                "count",
                format!("{count} points would go now, and {confirmed} were confirmed: look again"),
            )),
        })
    }

    /// Drops what the rules do not keep, when `is_well` says so to their number.
    pub(super) fn prune(
        &self,
        listener: &Listener,
        is_well: impl FnOnce(u32) -> Result<(), CustodianError>,
    ) -> Result<(u32, u64), CustodianError> {
        let points = self.points()?;
        let _making = self.making_lock(listener)?;
        // Nobody begins to use a point between the judgement and its end.
        self.leases()?.while_pruning(|leased| {
            let weighed = self.weigh(&points, leased)?;
            let drop = &weighed.judgement.drop;
            let count = u32::try_from(drop.len()).unwrap_or(u32::MAX);
            is_well(count)?;
            if drop.is_empty() {
                return Ok((0, 0));
            }
            for id in drop {
                tracing::info!(point = short(id), "lets a rollback point go");
            }
            let bytes = points.drop_points(drop, &listener.watch())?;
            self.catalogue.retain(&weighed.judgement.stay.keys().copied().collect());
            Ok((count, bytes))
        })?
    }

    fn leases(&self) -> Result<Leases, CustodianError> {
        Ok(Leases::open(&self.state())?)
    }

    fn weigh(&self, points: &Points, leased: &BTreeSet<PointId>) -> Result<Weighed, CustodianError> {
        let listed = self.filled(points.list()?);
        let weights = points.weigh()?;
        let retention = self.host.config().points.keep.retention();
        let judgement = retention.judge(&listed, leased, clock::now(), weights.used, &weights.own);
        Ok(Weighed { points: listed, judgement, own: weights.own })
    }
}
