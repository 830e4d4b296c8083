//! What all measurements of one check add up to. Pure.

use sternway_plugin::Verdict;

use crate::sample::Judged;

#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    taken: u32,
    wrong: u32,
    missing: u32,
    /// The last of each kind.
    told: Option<String>,
    told_missing: Option<String>,
    last: String,
}

impl Tally {
    pub(crate) fn add(&mut self, judged: &Judged) {
        self.taken += 1;
        self.last.clone_from(&judged.measured);
        match judged.verdict {
            Verdict::Pass => {}
            Verdict::Fail => {
                self.wrong += 1;
                self.told = Some(judged.measured.clone());
            }
            Verdict::Inconclusive => {
                self.missing += 1;
                self.told_missing = Some(judged.measured.clone());
            }
        }
    }

    /// As many as `allowed` may be wrong and as many may be missing, but a check
    /// that never was right is not one that passed.
    pub(crate) fn verdict(&self, allowed: u32) -> Verdict {
        if self.wrong > allowed {
            Verdict::Fail
        } else if self.missing > allowed || self.wrong + self.missing >= self.taken {
            Verdict::Inconclusive
        } else {
            Verdict::Pass
        }
    }

    pub(crate) fn measured(&self, allowed: u32) -> String {
        let told = match self.verdict(allowed) {
            Verdict::Pass => None,
            Verdict::Fail => self.told.as_ref().map(|told| (self.wrong, told)),
            Verdict::Inconclusive => {
                let missing = self.told_missing.as_ref().map(|told| (self.missing, told));
                missing.or_else(|| self.told.as_ref().map(|told| (self.wrong, told)))
            }
        };
        match told {
            Some((count, told)) if self.taken > 1 => {
                format!("{told} ({count} of {} measurements)", self.taken)
            }
            Some((_, told)) => told.clone(),
            None => self.last.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(verdicts: &[Verdict]) -> Tally {
        let mut tally = Tally::default();
        for (at, verdict) in verdicts.iter().enumerate() {
            tally.add(&Judged { verdict: *verdict, measured: format!("value {at}") });
        }
        tally
    }

    #[test]
    fn limits_are_exceeded_and_not_reached() {
        use Verdict::{Fail, Inconclusive, Pass};
        for (verdicts, allowed, verdict) in [
            (&[Pass, Pass][..], 0, Pass),
            (&[Pass, Fail][..], 0, Fail),
            (&[Pass, Fail][..], 1, Pass),
            (&[Pass, Fail, Inconclusive][..], 1, Pass),
            (&[Pass, Inconclusive, Inconclusive][..], 1, Inconclusive),
            (&[Fail, Fail, Inconclusive, Inconclusive][..], 1, Fail),
            (&[Fail][..], 1, Inconclusive),
            (&[Inconclusive][..], 5, Inconclusive),
        ] {
            assert_eq!(tally(verdicts).verdict(allowed), verdict, "{verdicts:?} with {allowed}");
        }
        assert_eq!(tally(&[Pass, Fail, Pass]).measured(0), "value 1 (1 of 3 measurements)");
        assert_eq!(tally(&[Pass, Fail, Pass]).measured(1), "value 2");
    }
}
