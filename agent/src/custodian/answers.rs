//! Looking: what may be asked of the points without anybody's signature.

use sternway_core::point::{Answer, Ask, Checked, Depth, Point, Want};

use super::{Custodian, CustodianError, Listener, short};
use crate::clock;
use crate::points::{Against, Points, PointsError};

impl Custodian {
    /// Answers what needs no signature. Not [`Ask::Ready`], for which there is
    /// [`Self::facts`], and no order.
    ///
    /// # Errors
    /// What was tried and why not; a damaged point is an answer and no error.
    pub fn look(&self, ask: &Ask, listener: &Listener) -> Result<(), CustodianError> {
        match ask {
            Ask::List(want) => {
                listener.say(Answer::Points(self.filled(self.points()?.find(want)?)));
                Ok(())
            }
            Ask::Show(want) => self.show(want, listener),
            Ask::Verify { which, depth } => {
                let points = self.points()?;
                let meant = points.find(which)?;
                if meant.is_empty() {
                    return Err(nothing_meant(which));
                }
                for point in meant {
                    listener.is_there()?;
                    listener.say(Answer::Checked(Box::new(self.check(&points, point, *depth, listener)?)));
                }
                Ok(())
            }
            Ask::Diff { from, to } => {
                let points = self.points()?;
                let from = self.newest(&points, from)?.id;
                let against = match to {
                    None => Against::Host,
                    Some(to) => Against::Point(self.newest(&points, to)?.id),
                };
                listener.say(Answer::Differences(points.diff(from, against, &listener.watch())?));
                Ok(())
            }
            Ask::WouldPrune => {
                let (drop, stay) = self.would_prune()?;
                listener.say(Answer::WouldDrop { drop, stay });
                Ok(())
            }
            Ask::Ready { .. } | Ask::Order(_) => {
                Err(CustodianError::refused("not-understood", "this is not answered by looking"))
            }
        }
    }

    fn show(&self, want: &Want, listener: &Listener) -> Result<(), CustodianError> {
        let points = self.points()?;
        let point = self.newest(&points, want)?;
        let (manifest, snapshot) = points.manifest(point.id)?;
        listener.say(Answer::Manifest {
            point: Box::new(point),
            manifest: Box::new(manifest),
            location: points.location(),
            snapshot,
        });
        Ok(())
    }

    /// The newest that is meant, with what checks found.
    pub(super) fn newest(&self, points: &Points, want: &Want) -> Result<Point, CustodianError> {
        let found = points.find(want)?.into_iter().next().ok_or_else(|| nothing_meant(want))?;
        Ok(self.filled_one(found))
    }

    /// Checks a point and keeps what was found. A repository that cannot be
    /// asked at all says nothing about its points, and nothing is kept.
    pub(super) fn check(
        &self,
        points: &Points,
        point: Point,
        depth: Depth,
        listener: &Listener,
    ) -> Result<Point, CustodianError> {
        let finding = match points.verify(point.id, depth, &listener.watch()) {
            Ok(()) => None,
            Err(PointsError::Damaged { finding, .. }) => Some(finding),
            Err(error) => return Err(error.into()),
        };
        if let Some(finding) = &finding {
            self.alarm(&point, finding);
        }
        let checked = Checked { at: clock::now(), depth, finding };
        self.catalogue.record(point.id, checked.clone());
        Ok(Point { checked: Some(checked), ..point })
    }

    /// Damage is never only an answer to who happened to ask.
    pub(super) fn alarm(&self, point: &Point, finding: &str) {
        tracing::error!(
            point = short(&point.id),
            service = point.service,
            tags = point.tags.join(","),
            finding,
            "a rollback point is damaged"
        );
    }

    /// Checks that a fresh point is there, and says so in the catalogue.
    pub(super) fn check_fresh(&self, points: &Points, point: Point) -> Result<Point, CustodianError> {
        let checked = self.check(points, point, Depth::Quick, &Listener::nobody())?;
        match checked.checked.as_ref().and_then(|checked| checked.finding.clone()) {
            None => Ok(checked),
            Some(finding) => Err(CustodianError::refused(
                "damaged",
                format!("the point {} was made and is damaged: {finding}", short(&checked.id)),
            )),
        }
    }
}

fn nothing_meant(want: &Want) -> CustodianError {
    let mut words: Vec<String> = Vec::new();
    words.extend(want.id.iter().map(|id| format!("whose id begins with `{id}`")));
    words.extend(want.tag.iter().map(|tag| format!("tagged `{tag}`")));
    words.extend(want.service.iter().map(|service| format!("of `{service}`")));
    words.extend(want.kind.iter().map(|kind| format!("of kind {}", kind.name())));
    match words.is_empty() {
        true => CustodianError::refused("not-found", "there is no rollback point"),
        false => {
            CustodianError::refused("not-found", format!("there is no rollback point {}", words.join(", ")))
        }
    }
}
