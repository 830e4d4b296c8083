//! What was acknowledged is found later: to a person that an entry is taken, to
//! a host that its records are on record.

use std::collections::{BTreeMap, BTreeSet};

use sternway_core::ids::{HostName, JournalId};

use super::Invariant;
use crate::Seen;

#[derive(Default)]
pub(super) struct Kept {
    answered: BTreeSet<(usize, u64)>,
    acked: BTreeMap<(HostName, JournalId), u64>,
}

impl Invariant for Kept {
    fn observe(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Answered { rollout, sequence } => {
                self.answered.insert((*rollout, *sequence));
            }
            Seen::Acked { host, journal, sequence } => {
                let newest = self.acked.entry((host.clone(), *journal)).or_default();
                *newest = (*newest).max(*sequence);
            }
            Seen::Read { rollout, sequences } => {
                let there: BTreeSet<u64> = sequences.iter().copied().collect();
                let answered = self.answered.range((*rollout, 0)..=(*rollout, u64::MAX));
                if let Some((_, lost)) = answered.into_iter().find(|(_, sequence)| !there.contains(sequence))
                {
                    return Err(format!("entry {lost} was answered for, and is not there any more"));
                }
            }
            Seen::ReadHosts { acked } => {
                for (host, journal, there) in acked {
                    let said = self.acked.get(&(host.clone(), *journal)).copied().unwrap_or(0);
                    if said > *there {
                        return Err(format!("{host} was told that {said} is on record, and it is {there}"));
                    }
                }
            }
            _ => {}
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
        let answered = Seen::Answered { rollout: 0, sequence: 2 };
        let read = |sequences| Seen::Read { rollout: 0, sequences };
        breaks_at_last(Kept::default(), &[read(vec![1]), answered, read(vec![1, 2]), read(vec![1])]);
        let journal = JournalId([0; 16]);
        let acked = Seen::Acked { host: host("a"), journal, sequence: 7 };
        let read = |last| Seen::ReadHosts { acked: vec![(host("a"), journal, last)] };
        breaks_at_last(Kept::default(), &[read(6), acked, read(7), read(6)]);
    }
}
