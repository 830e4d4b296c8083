//! What the coordinator has on record of a host is a gap-free prefix of what is
//! on the host's disk, record by record.

use std::collections::BTreeMap;

use sternway_core::ids::{HostName, JournalId};
use sternway_core::wire::Event;

use super::Invariant;
use crate::Seen;

type Key = (HostName, JournalId);

#[derive(Default)]
pub(super) struct Prefix {
    on_disk: BTreeMap<Key, Vec<Event>>,
    on_record: BTreeMap<Key, u64>,
    /// Its disk was put back: what it writes then is another history.
    set_back: Vec<Key>,
}

impl Prefix {
    fn stored(&mut self, key: Key, event: &Event) -> Result<(), String> {
        let host = &key.0;
        let newest = self.on_record.entry(key.clone()).or_default();
        if event.sequence != *newest + 1 {
            return Err(format!("record {} of {host} is stored after {newest}", event.sequence));
        }
        *newest = event.sequence;
        let on_disk = self.on_disk.get(&key).and_then(|events| events.get(event.sequence as usize - 1));
        match on_disk {
            Some(known) if known == event => Ok(()),
            Some(known) => Err(format!("{host} has {known:?} on its disk, and on record is {event:?}")),
            None => Err(format!("record {} of {host} is stored, and not on its disk", event.sequence)),
        }
    }
}

impl Invariant for Prefix {
    fn observe(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Synced { host, journal, event } => {
                let events = self.on_disk.entry((host.clone(), *journal)).or_default();
                match event.sequence as usize == events.len() + 1 {
                    true => events.push(event.clone()),
                    false => {
                        return Err(format!("record {} of {host} follows {}", event.sequence, events.len()));
                    }
                }
            }
            Seen::SetBack { host, journal, last } => {
                let key = (host.clone(), *journal);
                self.on_disk.entry(key.clone()).or_default().truncate(*last as usize);
                self.set_back.push(key);
            }
            Seen::Stored { host, journal, event } => {
                let key = (host.clone(), *journal);
                if !self.set_back.contains(&key) {
                    return self.stored(key, event);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sternway_core::run::Told;
    use sternway_core::time::Timestamp;

    use super::super::made::{breaks_at_last, holds, host};
    use super::*;

    #[test]
    fn it_fires() {
        let event = |sequence, at| Event { sequence, at: Timestamp(at), told: Told::Internal };
        let journal = JournalId([0; 16]);
        let synced = |event| Seen::Synced { host: host("a"), journal, event };
        let stored = |event| Seen::Stored { host: host("a"), journal, event };
        holds(Prefix::default(), &[synced(event(1, 5)), synced(event(2, 6)), stored(event(1, 5))]);
        breaks_at_last(Prefix::default(), &[stored(event(1, 5))]);
        breaks_at_last(Prefix::default(), &[synced(event(1, 5)), stored(event(1, 6))]);
        breaks_at_last(Prefix::default(), &[synced(event(1, 5)), synced(event(2, 6)), stored(event(2, 6))]);
    }
}
