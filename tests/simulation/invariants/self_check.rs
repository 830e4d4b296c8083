//! The machine finds no violation of its own invariants.

use crate::Seen;

use super::Invariant;

pub(super) struct SelfCheck;

impl Invariant for SelfCheck {
    fn observe(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Checked { violations } => Err(violations.clone()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::breaks_at_last;
    use super::*;

    #[test]
    fn it_fires() {
        breaks_at_last(SelfCheck, &[Seen::Checked { violations: "one".into() }]);
    }
}
