//! One job from the asking to the settled unit. systemd says on the bus when a
//! job is over; whoever only listens misses that when the bus is restarted, so
//! the job itself is looked at as well, and then the unit.

use std::time::{Duration, Instant};

use zbus::zvariant::{OwnedObjectPath, Value};

use super::bus::{Bus, JOB, UNIT};
use super::ended::Ends;
use super::properties::{Seen, see};
use super::{Active, Job, Load, Unit, errors, log, now_ms};
use crate::capabilities::{ErrorKind, HostError};

const POLL: Duration = Duration::from_millis(50);
/// How often a job is looked at in case its end was not heard of.
const LOOK: Duration = Duration::from_secs(1);
/// How long the word of an end may come after the end.
const WORD: Duration = Duration::from_millis(500);
/// What ends or is started again within this did not start.
const SETTLE: Duration = Duration::from_millis(500);
/// A transient unit has nothing to wait for but its own execution.
const TRANSIENT: Duration = Duration::from_secs(60);
/// How long last words may take to the journal.
const LAST_WORDS: Duration = Duration::from_millis(200);
const LINES_IN_ERROR: u32 = 5;
const LINE_CHARS_IN_ERROR: usize = 300;

/// How long to wait and who may end that.
struct Patience<'a> {
    until: Instant,
    give_up: &'a dyn Fn() -> bool,
}

/// One job of one unit.
struct Asked<'a> {
    bus: &'a Bus,
    name: &'a str,
    job: Job,
    since_ms: u64,
}

pub(super) fn run(
    bus: &Bus,
    name: &str,
    job: Job,
    timeout: Duration,
    give_up: &dyn Fn() -> bool,
) -> Result<Unit, HostError> {
    let patience = Patience { until: Instant::now() + timeout, give_up };
    let before = see(bus, name)?;
    if before.is_unknown() {
        return Err(errors::unknown(name));
    }
    if before.unit.load == Load::Masked && job != Job::Stop {
        return Err(errors::masked(name));
    }
    let asked = Asked { bus, name, job, since_ms: now_ms() };
    let ends = Ends::listen(bus)?;
    let _pinned = Pin::new(bus, &before.object)?;
    let path = asked.queue(&patience)?;
    let result = asked.result_of(&path, ends, &patience)?;
    asked.settled(&result, &before, &patience)
}

pub(super) fn run_transient(
    bus: &Bus,
    name: &str,
    properties: Vec<(String, Value<'static>)>,
) -> Result<(), HostError> {
    let never = || false;
    let patience = Patience { until: Instant::now() + TRANSIENT, give_up: &never };
    let asked = Asked { bus, name, job: Job::Start, since_ms: now_ms() };
    let ends = Ends::listen(bus)?;
    let auxiliary: Vec<(String, Vec<(String, Value<'static>)>)> = vec![];
    let body = (name.to_owned(), "fail".to_owned(), properties, auxiliary);
    let path: OwnedObjectPath = bus.manager("StartTransientUnit", body)?;
    match asked.result_of(&path, ends, &patience)?.as_str() {
        // What ended well before we could look is gone by now.
        "done" | GONE => Ok(()),
        result => Err(asked.failed(result, &see(bus, name)?)),
    }
}

/// systemd forgets how a unit ended as soon as nothing runs and nobody asks. This
/// keeps it in mind until dropped, or until our connection ends.
struct Pin<'a> {
    bus: &'a Bus,
    object: OwnedObjectPath,
}

impl<'a> Pin<'a> {
    fn new(bus: &'a Bus, object: &OwnedObjectPath) -> Result<Self, HostError> {
        let () = bus.call(object, UNIT, "Ref", ())?;
        Ok(Self { bus, object: object.clone() })
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        // With another connection than at first there is nothing to take back.
        let _: Result<(), HostError> = self.bus.call(&self.object, UNIT, "Unref", ());
    }
}

/// In the place of `failed` for a start that systemd did not even try.
const LIMIT: &str = "start-limit-hit";

/// In the place of a result nobody heard.
const GONE: &str = "gone";

impl Asked<'_> {
    /// Puts the job into systemd's queue. Another job may be in the way: a stop
    /// takes its place, anything else waits for its end.
    fn queue(&self, patience: &Patience<'_>) -> Result<OwnedObjectPath, HostError> {
        let method = match self.job {
            Job::Start => "StartUnit",
            Job::Stop => "StopUnit",
            Job::Restart => "RestartUnit",
            Job::Reload => "ReloadUnit",
        };
        let mode = if self.job == Job::Stop { "replace" } else { "fail" };
        loop {
            let queued = self.bus.manager(method, (self.name.to_owned(), mode.to_owned()));
            match queued {
                Err(error) if error.code == "systemd/busy" && Instant::now() < patience.until => {}
                Err(error) => {
                    return Err(HostError { message: format!("{}: {}", self.name, error.message), ..error });
                }
                Ok(path) => return Ok(path),
            }
            if (patience.give_up)() {
                return Err(self.cancelled("it was not queued, since another job is in the way"));
            }
            std::thread::sleep(POLL);
        }
    }

    /// What systemd says of the job at its end, or [`GONE`].
    fn result_of(
        &self,
        path: &OwnedObjectPath,
        mut ends: Ends,
        patience: &Patience<'_>,
    ) -> Result<String, HostError> {
        let mut look = Instant::now() + LOOK;
        loop {
            match ends.next(POLL) {
                Some(ended) if ended.job == *path => return Ok(ended.result),
                Some(_) => continue,
                None => {}
            }
            if ends.is_deaf() {
                ends = Ends::listen(self.bus)?;
                look = Instant::now();
            }
            if Instant::now() >= look {
                look = Instant::now() + LOOK;
                if self.state(path)?.is_none() {
                    return Ok(ends.word_of(path, WORD).unwrap_or_else(|| GONE.to_owned()));
                }
            }
            let waited_out = Instant::now() >= patience.until;
            if waited_out || (patience.give_up)() {
                let left = self.leave(path)?;
                if waited_out {
                    let message = format!("{} of {} took too long: {left}", self.verb(), self.name);
                    return Err(HostError::new(
                        ErrorKind::TimedOut,
                        "systemd/timed-out",
                        self.with_lines(message),
                    ));
                }
                return Err(self.cancelled(&left));
            }
        }
    }

    /// `waiting` or `running`; none when there is no such job any more.
    fn state(&self, path: &OwnedObjectPath) -> Result<Option<String>, HostError> {
        let asked = self.bus.call(path, "org.freedesktop.DBus.Properties", "Get", (JOB, "State"));
        match asked {
            Ok(state) => {
                let state: zbus::zvariant::OwnedValue = state;
                Ok(String::try_from(state).ok())
            }
            Err(error) if error.code == "systemd/gone" => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Leaves a job that was not waited for. One that still waits for others would
    /// surprise people later, so it is taken out of the queue; one that runs goes
    /// on, since no word to its job would end what the unit does.
    fn leave(&self, path: &OwnedObjectPath) -> Result<String, HostError> {
        let waits = self.state(path)?.as_deref() == Some("waiting");
        if waits {
            let taken: Result<(), HostError> = self.bus.call(path, JOB, "Cancel", ());
            match taken {
                Err(error) if error.code != "systemd/gone" => return Err(error),
                _ => {}
            }
        }
        let unit = see(self.bus, self.name)?.unit;
        let now = format!("it is {} ({})", unit.active.word(), unit.sub);
        Ok(if waits {
            format!("{now}, and its job was taken out of the queue, where it waited for others")
        } else {
            format!("{now}, and systemd goes on with the job")
        })
    }

    fn settled(&self, result: &str, before: &Seen, patience: &Patience<'_>) -> Result<Unit, HostError> {
        let seen = see(self.bus, self.name)?;
        if result != "done" && result != GONE {
            // The outcome stays that of the last start, so the limit shows in that
            // there was none.
            let never_began = result == "failed"
                && seen.began_us == before.began_us
                && seen.unit.outcome == before.unit.outcome
                && matches!(self.job, Job::Start | Job::Restart);
            let result = if never_began { LIMIT } else { result };
            return Err(self.failed(result, &seen));
        }
        match self.job {
            Job::Stop if seen.unit.active.is_down() => Ok(seen.unit),
            Job::Reload if seen.unit.active == Active::Active => Ok(seen.unit),
            Job::Stop | Job::Reload => Err(self.failed(result, &seen)),
            Job::Start | Job::Restart => self.stays_up(seen, before, patience),
        }
    }

    /// A service that ends at once has a start job that is done all the same.
    fn stays_up(&self, first: Seen, before: &Seen, patience: &Patience<'_>) -> Result<Unit, HostError> {
        let was_up = self.job == Job::Start && !before.unit.active.is_down();
        let restarts = if was_up { before.unit.restarts } else { 0 };
        let until = Instant::now() + SETTLE;
        let mut seen = first;
        loop {
            let unit = &seen.unit;
            let did_its_work = seen.kind == "oneshot"
                && unit.active == Active::Inactive
                && unit.outcome == "success"
                && seen.conditions_met;
            if did_its_work {
                return Ok(seen.unit);
            }
            let up = matches!(unit.active, Active::Active | Active::Reloading);
            if !up || unit.restarts > restarts {
                return Err(self.failed("done", &seen));
            }
            if Instant::now() >= until {
                return Ok(seen.unit);
            }
            if (patience.give_up)() {
                return Err(self.cancelled("it is active, and was not waited for to settle"));
            }
            std::thread::sleep(POLL);
            seen = see(self.bus, self.name)?;
        }
    }

    fn failed(&self, result: &str, seen: &Seen) -> HostError {
        let unit = &seen.unit;
        let (kind, code) = match (unit.outcome.as_str(), result) {
            (LIMIT, _) | (_, LIMIT) => (ErrorKind::Failed, "systemd/start-limit"),
            (_, "canceled") => (ErrorKind::Conflict, "systemd/busy"),
            _ => (ErrorKind::Failed, "systemd/job-failed"),
        };
        let what = match result {
            "done" | GONE if !seen.conditions_met => "a condition of the unit is not met".to_owned(),
            "done" | GONE if self.job == Job::Stop => "it was started again".to_owned(),
            "done" | GONE if self.job == Job::Reload => "it did not stay up".to_owned(),
            "done" | GONE if unit.restarts > 0 => {
                format!("it does not stay up, and was started again {} times", unit.restarts)
            }
            "done" | GONE => "it did not stay up".to_owned(),
            LIMIT => "it was started too often, and systemd tries no more".to_owned(),
            "dependency" => "a unit it needs failed".to_owned(),
            "canceled" => "somebody else's job took its place".to_owned(),
            "timeout" => "systemd's own time for the job was over".to_owned(),
            other => format!("the job ended as `{other}`"),
        };
        let exit = unit.last_exit.as_ref().map(|exit| format!(", {exit}")).unwrap_or_default();
        let message = format!(
            "{} of {} failed: {what}; it is {} ({}), last outcome {}{exit}",
            self.verb(),
            self.name,
            unit.active.word(),
            unit.sub,
            unit.outcome
        );
        HostError::new(kind, code, self.with_lines(message))
    }

    /// A unit explains itself best in its own words.
    fn with_lines(&self, message: String) -> String {
        std::thread::sleep(LAST_WORDS);
        match log::lines(self.name, self.since_ms, LINES_IN_ERROR) {
            Ok(lines) if !lines.is_empty() => {
                let short = |line: &String| line.chars().take(LINE_CHARS_IN_ERROR).collect::<String>();
                let lines: Vec<String> = lines.iter().map(short).collect();
                format!("{message}; its last lines: {}", lines.join(" | "))
            }
            _ => message,
        }
    }

    fn cancelled(&self, left: &str) -> HostError {
        let message = format!("{} of {} was no longer waited for: {left}", self.verb(), self.name);
        HostError::new(ErrorKind::Cancelled, "systemd/cancelled", message)
    }

    fn verb(&self) -> &'static str {
        match self.job {
            Job::Start => "the start",
            Job::Stop => "the stop",
            Job::Restart => "the restart",
            Job::Reload => "the reload",
        }
    }
}
