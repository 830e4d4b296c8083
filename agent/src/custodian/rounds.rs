//! What the custodian does by itself: points on schedule, a share of all bytes
//! read again every day, and every new point read in full once, soon after it
//! was made. One thread, one thing at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sternway_core::point::{Depth, Origin, Point};
use sternway_core::time::{Millis, Timestamp};

use super::memory::{Cycle, Memory, MemoryFile, parts_of};
use super::schedule::{Due, Past, Timetable};
use super::{Custodian, CustodianError, Listener, in_full, short};
use crate::clock;
use crate::config::{Config, Schedule};
use crate::halt::HaltFlag;
use crate::points::pieces::Wish;

/// The wall clock may jump, and a halt may end: longer nobody sleeps.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// New points are looked for so often.
const UNREAD_EVERY: Millis = Millis::minutes(5);
/// What cannot be read is tried again after so long.
const UNREAD_AGAIN: Millis = Millis::hours(1);
/// Who stops the agent waits no longer for what is in hand: it may end anywhere.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// Times in `[points]` that are none, all of them.
#[derive(Debug, thiserror::Error)]
#[error("`[points]` in the configuration names times that are none: {}", problems.join("; "))]
pub struct RoundsError {
    pub problems: Vec<String>,
}

/// A schedule with its times.
#[derive(Debug)]
struct Timed {
    schedule: Schedule,
    times: Timetable,
}

/// On its way; dropping this ends it.
#[derive(Debug)]
pub struct OnRounds {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Stop {
    is_set: Mutex<bool>,
    news: Condvar,
}

impl Stop {
    /// Whether it was asked for meanwhile.
    fn wait(&self, length: Duration) -> bool {
        let is_set = self.is_set.lock().unwrap_or_else(PoisonError::into_inner);
        let (is_set, _) = self
            .news
            .wait_timeout_while(is_set, length, |is_set| !*is_set)
            .unwrap_or_else(PoisonError::into_inner);
        *is_set
    }
}

impl Drop for OnRounds {
    fn drop(&mut self) {
        *self.stop.is_set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.news.notify_all();
        let until = Instant::now() + STOP_WITHIN;
        let Some(thread) = self.thread.take() else { return };
        while !thread.is_finished() {
            if Instant::now() >= until {
                tracing::info!(
                    "what is being done about rollback points ends in the middle, which they bear"
                );
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if thread.join().is_err() {
            tracing::error!("the care for rollback points had ended by a bug");
        }
    }
}

/// What is to be done by itself, read and found sound.
#[derive(Debug)]
pub struct Rounds {
    custodian: Arc<Custodian>,
    plan: Plan,
}

impl Rounds {
    /// # Errors
    /// The configuration names a time that is none.
    pub fn of(custodian: Arc<Custodian>) -> Result<Self, RoundsError> {
        let plan = Plan::of(custodian.host.config())?;
        Ok(Self { custodian, plan })
    }

    /// # Errors
    /// There is no thread for it.
    pub fn begin(self) -> std::io::Result<OnRounds> {
        let stop = Arc::new(Stop::default());
        let mut round = Round {
            file: MemoryFile::of(&self.custodian.state()),
            custodian: self.custodian,
            plan: self.plan,
            awake: clock::now(),
            stop: Arc::clone(&stop),
            unread_next: BTreeMap::new(),
            unread_at: Timestamp::default(),
        };
        let thread = std::thread::Builder::new().name("custodian".into()).spawn(move || round.go())?;
        Ok(OnRounds { stop, thread: Some(thread) })
    }
}

/// What there is to do, as configured.
#[derive(Debug)]
struct Plan {
    timed: Vec<Timed>,
    scrub: Option<(Timetable, u32)>,
}

impl Plan {
    /// Reads the times in `[points]`; every problem at once, each with its place.
    fn of(config: &Config) -> Result<Self, RoundsError> {
        let points = &config.points;
        let mut problems = Vec::new();
        let mut timed = Vec::new();
        for schedule in &points.schedules {
            let place = format!("`[[points.schedule]]` `{}`", schedule.name);
            let seed = format!("{}/{}", config.host, schedule.name);
            match Timetable::parse(&schedule.cron, points.zone.as_deref(), schedule.jitter, seed) {
                Ok(times) => timed.push(Timed { schedule: schedule.clone(), times }),
                Err(error) => problems.push(format!("{place}: {error}")),
            }
        }
        let seed = format!("{}/scrub", config.host);
        let scrub = match Timetable::parse(&points.scrub.cron, points.zone.as_deref(), SCRUB_JITTER, seed) {
            Ok(times) => parts_of(points.scrub.share).map(|parts| (times, parts)),
            Err(error) => {
                problems.push(format!("`[points.scrub]`: {error}"));
                None
            }
        };
        match problems.is_empty() {
            true => Ok(Self { timed, scrub }),
            false => Err(RoundsError { problems }),
        }
    }
}

/// A fleet's stores need not all be read at one moment.
const SCRUB_JITTER: Millis = Millis::minutes(30);

enum Work {
    Make { at: usize, occurrence: Timestamp },
    Scrub { occurrence: Timestamp },
}

struct Round {
    custodian: Arc<Custodian>,
    file: MemoryFile,
    plan: Plan,
    /// When it began to look.
    awake: Timestamp,
    stop: Arc<Stop>,
    /// Points that could not be read, and when each is tried again.
    unread_next: BTreeMap<sternway_core::ids::PointId, Timestamp>,
    unread_at: Timestamp,
}

impl Round {
    fn go(&mut self) {
        loop {
            let length = match self.look() {
                Ok(length) => length,
                Err(error) => {
                    tracing::error!(
                        error = in_full(&error),
                        "cannot keep what was done about rollback points"
                    );
                    LOOK_AGAIN
                }
            };
            if self.stop.wait(length) {
                return;
            }
        }
    }

    /// Does what is due, and says how long nothing is.
    fn look(&mut self) -> Result<Duration, CustodianError> {
        let now = clock::now();
        let mut memory = self.file.read();
        let before = memory.clone();
        self.put_right(&mut memory, now);
        if memory != before {
            self.file.write(&memory)?;
        }
        // A halted host begins nothing; what it misses is made up for.
        if HaltFlag::of(&self.custodian.state()).read().is_some() {
            return Ok(LOOK_AGAIN);
        }
        match self.next(&memory, now) {
            Some((due, work)) if due.at <= now => {
                self.work(work, &mut memory);
                self.file.write(&memory)?;
                Ok(Duration::ZERO)
            }
            next => {
                if self.read_unread(now) {
                    return Ok(Duration::ZERO);
                }
                let length = next.map(|(due, _)| Duration::from_millis(due.at.since(now).0));
                Ok(length.unwrap_or(LOOK_AGAIN).min(LOOK_AGAIN))
            }
        }
    }

    /// Schedules that are new begin now, those that are gone are forgotten, and
    /// nothing lies in the future.
    fn put_right(&self, memory: &mut Memory, now: Timestamp) {
        memory.schedules.retain(|name, _| self.plan.timed.iter().any(|timed| timed.schedule.name == *name));
        for timed in &self.plan.timed {
            memory.schedules.entry(timed.schedule.name.clone()).or_insert_with(|| Past::new(now));
        }
        if self.plan.scrub.is_some() {
            memory.scrub.get_or_insert_with(|| Past::new(now));
        }
        for past in memory.schedules.values_mut().chain(&mut memory.scrub) {
            if past.set_right(now) {
                tracing::warn!(
                    "this host's clock went back; the schedules of rollback points go on from now"
                );
            }
        }
    }

    fn next(&self, memory: &Memory, now: Timestamp) -> Option<(Due, Work)> {
        let makings = self.plan.timed.iter().enumerate().filter_map(|(at, timed)| {
            let past = memory.schedules.get(&timed.schedule.name)?;
            let due = timed.times.next(past, self.awake, now)?;
            Some((due, Work::Make { at, occurrence: due.occurrence }))
        });
        let scrub = self.plan.scrub.as_ref().and_then(|(times, _)| {
            let due = times.next(memory.scrub.as_ref()?, self.awake, now)?;
            Some((due, Work::Scrub { occurrence: due.occurrence }))
        });
        makings.chain(scrub).min_by_key(|(due, _)| due.at)
    }

    fn work(&self, work: Work, memory: &mut Memory) {
        match work {
            Work::Make { at, occurrence } => {
                let Some(timed) = self.plan.timed.get(at) else { return };
                let name = &timed.schedule.name;
                let made = self.custodian.make_on_schedule(&timed.schedule);
                let Some(past) = memory.schedules.get_mut(name) else { return };
                match made {
                    Ok(point) => {
                        tracing::info!(
                            schedule = name,
                            point = short(&point.id),
                            bytes = point.bytes,
                            "made a rollback point"
                        );
                        past.done(occurrence);
                    }
                    Err(error) => {
                        let why = in_full(&error);
                        tracing::error!(schedule = name, error = why, "could not make a rollback point");
                        past.failed(clock::now(), why);
                    }
                }
            }
            Work::Scrub { occurrence } => self.scrub(occurrence, memory),
        }
    }

    fn scrub(&self, occurrence: Timestamp, memory: &mut Memory) {
        let (Some((_, parts)), Some(past)) = (&self.plan.scrub, &mut memory.scrub) else { return };
        if !self.custodian.keeps_points() {
            return past.done(occurrence);
        }
        let cycle = Cycle::go_on(memory.cycle, *parts, clock::now());
        match self.custodian.scrub(&cycle, &Listener::nobody()) {
            Ok(read) => {
                tracing::info!(
                    part = cycle.next + 1,
                    parts,
                    packs = read.packs,
                    bytes = read.bytes,
                    "read a share of the rollback points again"
                );
                let (next, whole_since) = cycle.after(read.is_clean);
                memory.cycle = next;
                past.done(occurrence);
                if let Some(since) = whole_since {
                    self.custodian.catalogue.record_scrubbed(since);
                }
            }
            Err(error) => {
                let why = in_full(&error);
                tracing::error!(error = why, "could not read the rollback points again");
                past.failed(clock::now(), why);
            }
        }
    }

    /// Reads one point of which nobody has read every byte; says whether there
    /// was one.
    fn read_unread(&mut self, now: Timestamp) -> bool {
        // Whoever wants nothing read by itself says so with a share of 0.
        let is_time = now >= self.unread_at || self.unread_at > now + UNREAD_EVERY;
        if self.plan.scrub.is_none() || self.plan.timed.is_empty() || !is_time {
            return false;
        }
        let unread = match self.custodian.unread() {
            Ok(unread) => unread,
            Err(error) => {
                tracing::warn!(error = in_full(&error), "cannot tell which rollback points nobody has read");
                Vec::new()
            }
        };
        self.unread_next.retain(|id, _| unread.iter().any(|point| point.id == *id));
        let is_due = |point: &&Point| self.unread_next.get(&point.id).is_none_or(|again| now >= *again);
        let Some(point) = unread.iter().find(is_due).cloned() else {
            self.unread_at = now + UNREAD_EVERY;
            return false;
        };
        // Whatever comes of it, it is not tried again at once.
        self.unread_next.insert(point.id, now + UNREAD_AGAIN);
        if let Err(error) = self.custodian.read_in_full(point.clone()) {
            tracing::warn!(
                point = short(&point.id),
                error = in_full(&error),
                "a new rollback point could not be read"
            );
        }
        true
    }
}

impl Custodian {
    /// A host that never had to do with points gets no repository by a scrub.
    fn keeps_points(&self) -> bool {
        let config = self.host.config();
        let points = &config.points;
        points.repository.is_some() || !points.services.is_empty() || config.points_path().exists()
    }

    /// Makes a point, looks at it, and then lets go what the rules do not keep.
    fn make_on_schedule(&self, schedule: &Schedule) -> Result<Point, CustodianError> {
        let listener = Listener::nobody();
        let points = self.points()?;
        let made = {
            let _making = self.making_lock(&listener)?;
            let wish = Wish {
                kind: schedule.kind,
                component: schedule.component.clone(),
                origin: Origin::Schedule { name: schedule.name.clone() },
                tags: vec![schedule.tag.clone().unwrap_or_else(|| schedule.name.clone())],
                reason: format!("schedule {}", schedule.name),
                by: "schedule".into(),
                version: None,
            };
            let making = self.making_of(self.service(&schedule.service)?, wish)?;
            let made = points.make(making, &listener.watch())?;
            self.check_fresh(&points, made)?
        };
        // A point was made and is good: that old ones stay is no failure of it.
        match self.prune(&listener, |_| Ok(())) {
            Ok((0, _)) => {}
            Ok((count, bytes)) => tracing::info!(count, bytes, "let old rollback points go"),
            Err(error) => tracing::error!(error = in_full(&error), "could not let old rollback points go"),
        }
        Ok(made)
    }

    fn read_in_full(&self, point: Point) -> Result<(), CustodianError> {
        let points = self.points()?;
        let id = point.id;
        let checked = self.check(&points, point, Depth::Full, &Listener::nobody())?;
        if checked.is_good() {
            tracing::info!(point = short(&id), "read every byte of a new rollback point");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(points: &str) -> Vec<String> {
        let config: Config = toml::from_str(&format!(
            r#"
            host = "db-1"
            coordinator = "127.0.0.1:1"
            state = "s"
            keyring = "k"
            identity = {{ certificate = "c", key = "k", server_authority = "a" }}
            {points}
            "#
        ))
        .unwrap();
        Plan::of(&config).map_or_else(|error| error.problems, |_| Vec::new())
    }

    #[test]
    fn every_time_that_is_none_is_said_at_once_with_its_place() {
        assert_eq!(problems(""), [""; 0]);
        let found = problems(
            r#"
            [points]
            scrub = { cron = "x" }
            [[points.service]]
            name = "agora"
            [[points.schedule]]
            name = "nightly"
            service = "agora"
            cron = "0 2 * *"
            [[points.schedule]]
            name = "never"
            service = "agora"
            cron = "0 0 30 2 *"
            "#,
        );
        let fields = "has not the five fields minute, hour, day, month and weekday, such as `0 2 * * *`";
        let expected = [
            format!("`[[points.schedule]]` `nightly`: `0 2 * *` {fields}"),
            "`[[points.schedule]]` `never`: `0 0 30 2 *` never comes".into(),
            format!("`[points.scrub]`: `x` {fields}"),
        ];
        assert_eq!(found, expected);
        let found = problems("[points]\nzone = \"Europe/Atlantis\"");
        assert!(found[0].contains("no time zone"), "{found:?}");
    }
}
