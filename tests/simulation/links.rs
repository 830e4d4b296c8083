//! The link of one host: connections with two ends that notice their end at
//! different times, cuts in either direction, and strays that outlive their
//! connection. Within a connection words arrive in order, as over one stream.

use sternway_core::time::{Millis, Timestamp};

use super::Chance;

/// A connection over which nothing came for this long is given up.
pub(super) const IDLE: Millis = Millis::seconds(15);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Up,
    Down,
}

#[derive(Debug, Default)]
struct Direction {
    cut_until: Timestamp,
    /// Nothing that is sent later arrives before this.
    clear_at: Timestamp,
}

#[derive(Debug)]
pub(super) struct Link {
    up: Direction,
    down: Direction,
    weather_until: Timestamp,
    weather: (u64, u64, u64),
    /// The agent's end of the newest connection.
    pub(super) session: Option<u64>,
    sessions: u64,
    /// Connections up to this one carry nothing any more.
    broken: u64,
    pub(super) dialling: bool,
    pub(super) chance: Chance,
}

/// When a word arrives, if it does.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) at: Option<Timestamp>,
    /// Once more, whatever became of the connection.
    pub(super) stray_at: Option<Timestamp>,
}

impl Link {
    pub(super) fn new(chance: Chance) -> Self {
        Self {
            up: Direction::default(),
            down: Direction::default(),
            weather_until: Timestamp::default(),
            weather: (0, 0, 0),
            session: None,
            sessions: 0,
            broken: 0,
            dialling: false,
            chance,
        }
    }

    fn direction(&mut self, way: Way) -> &mut Direction {
        match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        }
    }

    pub(super) fn cut(&mut self, way: Way, until: Timestamp) {
        let direction = self.direction(way);
        direction.cut_until = direction.cut_until.max(until);
    }

    pub(super) fn weather(&mut self, until: Timestamp, breaks: u64, strays: u64, slow: u64) {
        self.weather_until = until;
        self.weather = (breaks, strays, slow);
    }

    pub(super) fn heal(&mut self, now: Timestamp) {
        self.weather_until = now;
        self.up.cut_until = self.up.cut_until.min(now);
        self.down.cut_until = self.down.cut_until.min(now);
    }

    pub(super) fn is_cut(&self, now: Timestamp) -> bool {
        self.up.cut_until > now || self.down.cut_until > now
    }

    pub(super) fn connect(&mut self) -> u64 {
        self.sessions += 1;
        self.broken = self.sessions - 1;
        self.session = Some(self.sessions);
        (self.up.clear_at, self.down.clear_at) = Default::default();
        self.sessions
    }

    pub(super) fn break_off(&mut self) {
        self.broken = self.sessions;
    }

    pub(super) fn carries(&self, session: u64) -> bool {
        session > self.broken
    }

    /// Sends one word. None for `at`: the connection breaks by it.
    pub(super) fn send(&mut self, way: Way, now: Timestamp) -> Flight {
        let (breaks, strays, slow) = if now < self.weather_until { self.weather } else { (0, 0, 0) };
        let delay = Millis(match self.chance.per_mille(slow) {
            true => self.chance.between(100, 5_000),
            false => self.chance.between(1, 50),
        });
        let stray = self.chance.per_mille(strays);
        let stray_at = stray.then(|| now + Millis(self.chance.between(500, 40_000)));
        if self.chance.per_mille(breaks) {
            return Flight { at: None, stray_at };
        }
        let direction = self.direction(way);
        let at = (now.max(direction.cut_until) + delay).max(direction.clear_at);
        direction.clear_at = at;
        Flight { at: Some(at), stray_at }
    }
}
