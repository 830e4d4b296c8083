//! Journals, entries and queues stay small, whatever happens for however long.

use super::Invariant;
use crate::Seen;

/// A run of three steps writes some thirty; the rest is room for troubles.
const RECORDS_MAX: usize = 3_000;
const ENTRIES_MAX: usize = 10_000;
const UNDER_WAY_MAX: usize = 3_000;

pub(super) struct Bounded;

impl Invariant for Bounded {
    fn observe(&mut self, seen: &Seen) -> Result<(), String> {
        let Seen::Sizes { records, entries, under_way } = seen else { return Ok(()) };
        for (what, is, max) in [
            ("records of one host", records, RECORDS_MAX),
            ("entries of one rollout", entries, ENTRIES_MAX),
            ("things under way", under_way, UNDER_WAY_MAX),
        ] {
            if *is > max {
                return Err(format!("{is} {what}, and {max} is more than enough"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::breaks_at_last;
    use super::*;

    #[test]
    fn it_fires() {
        let sizes = |records| Seen::Sizes { records, entries: 1, under_way: 1 };
        breaks_at_last(Bounded, &[sizes(RECORDS_MAX), sizes(RECORDS_MAX + 1)]);
    }
}
