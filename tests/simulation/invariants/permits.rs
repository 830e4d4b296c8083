//! No run begins under the permit of an older question, or of a coordinator
//! older than one the host has obeyed.

use super::Invariant;
use crate::Seen;

pub(super) struct Permits;

impl Invariant for Permits {
    fn observe(&mut self, seen: &Seen) -> Result<(), String> {
        if let Seen::Obeyed { host, epoch, seen_epoch } = seen
            && epoch < seen_epoch
        {
            return Err(format!("{host} obeys epoch {epoch}, and has obeyed {seen_epoch}"));
        }
        let Seen::Permitted { host, nonce, epoch, asked, seen_epoch, .. } = seen else { return Ok(()) };
        if *asked != Some(*nonce) {
            return Err(format!("{host} begins under permit {nonce}, and asked {asked:?} last"));
        }
        if epoch < seen_epoch {
            return Err(format!("{host} begins under epoch {epoch}, and has obeyed {seen_epoch}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{breaks_at_last, host};
    use super::*;

    #[test]
    fn it_fires() {
        let begins = |nonce, epoch| Seen::Permitted {
            rollout: 0,
            host: host("a"),
            nonce,
            epoch,
            asked: Some(2),
            seen_epoch: 5,
        };
        breaks_at_last(Permits, &[begins(2, 5), begins(1, 5)]);
        breaks_at_last(Permits, &[begins(2, 6), begins(2, 4)]);
        let obeys = |epoch| Seen::Obeyed { host: host("a"), epoch, seen_epoch: 5 };
        breaks_at_last(Permits, &[obeys(5), obeys(4)]);
    }
}
