//! Who is here: the sessions of connected agents, by host.

use std::collections::BTreeMap;

use sternway_core::ids::HostName;

use super::outbox::Outbox;

/// Tells a session from an older one of the same host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(pub u64);

#[derive(Debug, Clone)]
pub(crate) struct Here {
    pub(crate) session: SessionId,
    pub(crate) outbox: Outbox,
    pub(crate) version: String,
}

#[derive(Debug, Default)]
pub(crate) struct Fleet {
    here: BTreeMap<HostName, Here>,
}

impl Fleet {
    /// The newest session of a host counts; the one before it is told and let go.
    pub(crate) fn arrive(&mut self, host: HostName, here: Here) {
        if let Some(older) = self.here.insert(host, here) {
            older.outbox.close("replaced by a newer connection of the same host");
        }
    }

    /// False when the session was not the host's newest.
    pub(crate) fn leave(&mut self, host: &HostName, session: SessionId) -> bool {
        let is_newest = self.find(host, session).is_some();
        if is_newest {
            self.here.remove(host);
        }
        is_newest
    }

    /// The host's session, if it is this one.
    pub(crate) fn find(&self, host: &HostName, session: SessionId) -> Option<&Here> {
        self.here.get(host).filter(|here| here.session == session)
    }

    pub(crate) fn get(&self, host: &HostName) -> Option<&Here> {
        self.here.get(host)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&HostName, &Here)> {
        self.here.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::super::outbox::Next;
    use super::*;

    #[test]
    fn a_newer_connection_replaces_the_older_and_the_older_cannot_take_it_away() {
        let mut fleet = Fleet::default();
        let host: HostName = "web-1".parse().unwrap();
        let here =
            |number| Here { session: SessionId(number), outbox: Outbox::default(), version: String::new() };
        let first = here(1);
        fleet.arrive(host.clone(), first.clone());
        fleet.arrive(host.clone(), here(2));
        assert!(matches!(first.outbox.take(), Some(Next::Close(_))));
        assert!(!fleet.leave(&host, SessionId(1)));
        assert!(fleet.get(&host).is_some());
        assert!(fleet.leave(&host, SessionId(2)));
        assert!(fleet.get(&host).is_none());
    }
}
