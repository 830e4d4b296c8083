//! A journal replayed gives the machine that wrote it, on both sides.

use crate::Seen;

use super::Invariant;

pub(super) struct Replay;

impl Invariant for Replay {
    fn observe(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Rebuilt { who, same: false } => Err(format!("{who} came back as something else")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{breaks_at_last, holds};
    use super::*;

    #[test]
    fn it_fires() {
        let rebuilt = |same| Seen::Rebuilt { who: "a".into(), same };
        holds(Replay, &[rebuilt(true)]);
        breaks_at_last(Replay, &[rebuilt(true), rebuilt(false)]);
    }
}
