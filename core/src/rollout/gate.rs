//! The decision after a wave: evidence in, verdict out, nothing else looked at,
//! so that every verdict can be recomputed from what is stored with it.

use serde::{Deserialize, Serialize};

use super::decision::{HaltCause, HoldReason};

/// The hosts of a wave, each counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub finished: u32,
    /// Undone, refused, or in need of an operator.
    pub failed: u32,
    /// No word and no connection for too long.
    pub silent: u32,
    /// Halted by a person on the host itself.
    pub halted: u32,
    /// Declared dead by a person.
    pub dead: u32,
    /// Left the wave because it was not ready or not there.
    pub late: u32,
    /// Everything else: not yet final.
    pub underway: u32,
}

/// All that a verdict rests on. The maxima are the plan's, or what a person accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    pub wave: usize,
    /// Whether the wave's own limits count yet.
    pub is_open: bool,
    pub tally: Tally,
    pub failed_max: u32,
    pub silent_max: u32,
    pub failed_in_all: u32,
    pub failed_in_all_max: u32,
    pub silent_in_all: u32,
    pub silent_in_all_max: u32,
    /// A person accepted that nobody finished.
    pub nobody_accepted: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Pass,
    Hold(Vec<HoldReason>),
    Halt(HaltCause),
}

/// The verdict on a wave that settled and soaked.
pub fn judge(evidence: &Evidence) -> Verdict {
    if let Some(cause) = must_halt(evidence) {
        return Verdict::Halt(cause);
    }
    let mut reasons = must_hold(evidence);
    reasons.extend(nobody_finished(evidence));
    if reasons.is_empty() { Verdict::Pass } else { Verdict::Hold(reasons) }
}

/// Looked at after every entry: a broken limit does not wait for the wave's end.
pub(super) fn must_halt(evidence: &Evidence) -> Option<HaltCause> {
    let Evidence { wave, tally, failed_max, failed_in_all, failed_in_all_max, .. } = *evidence;
    if evidence.is_open && tally.failed > failed_max {
        return Some(HaltCause::TooManyFailed { wave, failed: tally.failed, max: failed_max });
    }
    (failed_in_all > failed_in_all_max)
        .then_some(HaltCause::TooManyFailedInAll { failed: failed_in_all, max: failed_in_all_max })
}

/// Looked at after every entry, as [`must_halt`].
pub(super) fn must_hold(evidence: &Evidence) -> Vec<HoldReason> {
    let Evidence { wave, tally, silent_max, silent_in_all, silent_in_all_max, .. } = *evidence;
    if cfg!(feature = "mutant-silence-is-fine") {
        return Vec::new();
    }
    let in_wave = (evidence.is_open && tally.silent > silent_max).then_some(HoldReason::TooManySilent {
        wave,
        silent: tally.silent,
        max: silent_max,
    });
    let in_all = (silent_in_all > silent_in_all_max)
        .then_some(HoldReason::TooManySilentInAll { silent: silent_in_all, max: silent_in_all_max });
    in_wave.into_iter().chain(in_all).collect()
}

fn nobody_finished(evidence: &Evidence) -> Option<HoldReason> {
    let Tally { finished, failed, silent, halted, dead, late, underway } = evidence.tally;
    let anybody = failed + silent + halted + dead + late + underway > 0;
    let anybody = anybody && !cfg!(feature = "mutant-no-data-passes");
    (finished == 0 && anybody && !evidence.nobody_accepted).then_some(HoldReason::NobodyFinished {
        wave: evidence.wave,
        failed,
        silent,
        late,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn evidence(tally: Tally) -> Evidence {
        Evidence {
            wave: 0,
            is_open: true,
            tally,
            failed_max: 1,
            silent_max: 1,
            failed_in_all: tally.failed,
            failed_in_all_max: 2,
            silent_in_all: tally.silent,
            silent_in_all_max: 2,
            nobody_accepted: false,
        }
    }

    #[test]
    fn a_limit_is_what_is_allowed_and_one_more_is_too_many() {
        let good = Tally { finished: 3, failed: 1, silent: 1, ..Tally::default() };
        assert_eq!(judge(&evidence(good)), Verdict::Pass);
        assert_eq!(
            judge(&evidence(Tally { failed: 2, ..good })),
            Verdict::Halt(HaltCause::TooManyFailed { wave: 0, failed: 2, max: 1 })
        );
        assert_eq!(
            judge(&evidence(Tally { silent: 2, ..good })),
            Verdict::Hold(vec![HoldReason::TooManySilent { wave: 0, silent: 2, max: 1 }])
        );
    }

    #[test]
    fn a_failure_outranks_a_silence() {
        let tally = Tally { finished: 1, failed: 2, silent: 2, ..Tally::default() };
        assert!(matches!(judge(&evidence(tally)), Verdict::Halt(_)));
    }

    #[test]
    fn the_whole_rollout_has_its_own_limits() {
        let mut all = evidence(Tally { finished: 1, ..Tally::default() });
        all.failed_in_all = 3;
        assert_eq!(judge(&all), Verdict::Halt(HaltCause::TooManyFailedInAll { failed: 3, max: 2 }));
        all.failed_in_all = 0;
        all.silent_in_all = 3;
        assert_eq!(judge(&all), Verdict::Hold(vec![HoldReason::TooManySilentInAll { silent: 3, max: 2 }]));
    }

    #[test]
    fn a_wave_in_which_nobody_finished_asks_a_person() {
        let late = evidence(Tally { late: 2, ..Tally::default() });
        assert_eq!(
            judge(&late),
            Verdict::Hold(vec![HoldReason::NobodyFinished { wave: 0, failed: 0, silent: 0, late: 2 }])
        );
        assert_eq!(judge(&Evidence { nobody_accepted: true, ..late }), Verdict::Pass);
        assert_eq!(judge(&evidence(Tally::default())), Verdict::Pass, "a wave of nobody is nobody's doubt");
    }

    proptest! {
        #[test]
        fn more_failures_never_turn_a_halt_into_something_milder(
            finished in 0u32..5, failed in 0u32..5, silent in 0u32..5, more in 0u32..5,
        ) {
            let rank = |verdict: &Verdict| match verdict {
                Verdict::Pass => 0,
                Verdict::Hold(_) => 1,
                Verdict::Halt(_) => 2,
            };
            let before = evidence(Tally { finished, failed, silent, ..Tally::default() });
            let mut after = before;
            after.tally.failed += more;
            after.failed_in_all += more;
            // Somebody finished in both or in neither: only the failures differ.
            prop_assert!(rank(&judge(&after)) >= rank(&judge(&before)) || finished == 0);
        }
    }
}
