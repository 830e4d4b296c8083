//! When a schedule is next due. Nothing here reads a clock or waits: the
//! moment, and what is remembered of the schedule, come in.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use sternway_core::ids::Digest;
use sternway_core::time::{Millis, Timestamp};

/// Waits after the first failure, then twice as long each time.
const BACK_OFF_MIN: Millis = Millis::minutes(1);
const BACK_OFF_MAX: Millis = Millis::hours(1);
/// A clock may be set back so far without a schedule's past counting as future.
const CLOCK_SLACK: Millis = Millis::hours(1);
/// Between the latest beginning of one occurrence and the next occurrence.
const APART_MIN: Millis = Millis::seconds(1);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimetableError {
    #[error("`{0}` has not the five fields minute, hour, day, month and weekday, such as `0 2 * * *`")]
    Fields(String),
    #[error("`{cron}` cannot be understood: {reason}")]
    Cron { cron: String, reason: String },
    #[error("`{0}` never comes")]
    Never(String),
    #[error("`{zone}` is no time zone that this host knows: {reason}")]
    Zone { zone: String, reason: String },
}

/// The times of one schedule.
#[derive(Debug, Clone)]
pub struct Timetable {
    cron: Cron,
    zone: TimeZone,
    jitter: Millis,
    /// Of this schedule on this host: from it comes what each occurrence is put off by.
    seed: String,
}

/// What is remembered of one schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// When it was first seen: what was due before is not made up for.
    pub since: Timestamp,
    /// The occurrence that was last done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Timestamp>,
    /// Of the tries since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failed>,
}

/// Tries in vain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    pub times: u32,
    /// Of the last of them.
    pub at: Timestamp,
    pub why: String,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The time that the five fields name.
    pub occurrence: Timestamp,
    /// When to begin: later by the jitter, or by what a failure makes it wait.
    pub at: Timestamp,
}

impl Past {
    pub fn new(now: Timestamp) -> Self {
        Self { since: now, done: None, failed: None }
    }

    pub fn done(&mut self, occurrence: Timestamp) {
        (self.done, self.failed) = (Some(occurrence), None);
    }

    pub fn failed(&mut self, now: Timestamp, why: String) {
        let times = self.failed.as_ref().map_or(0, |failed| failed.times).saturating_add(1);
        self.failed = Some(Failed { times, at: now, why });
    }

    /// A clock that was ahead and was set right again must not silence a
    /// schedule until that time comes. Says whether anything was put right.
    pub fn set_right(&mut self, now: Timestamp) -> bool {
        let limit = now + CLOCK_SLACK;
        let mut moments = vec![&mut self.since];
        moments.extend(&mut self.done);
        moments.extend(self.failed.as_mut().map(|failed| &mut failed.at));
        let mut was_ahead = false;
        for moment in moments.into_iter().filter(|moment| **moment > limit) {
            *moment = now;
            was_ahead = true;
        }
        was_ahead
    }
}

impl Timetable {
    /// Reads five fields. `zone` is UTC when it is not named.
    pub fn parse(
        cron: &str,
        zone: Option<&str>,
        jitter: Millis,
        seed: String,
    ) -> Result<Self, TimetableError> {
        if cron.split_whitespace().count() != 5 {
            return Err(TimetableError::Fields(cron.to_owned()));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let parsed = parser
            .parse(cron)
            .map_err(|cause| TimetableError::Cron { cron: cron.to_owned(), reason: cause.to_string() })?;
        let zone = match zone {
            None => TimeZone::UTC,
            Some(zone) => TimeZone::get(zone)
                .map_err(|cause| TimetableError::Zone { zone: zone.to_owned(), reason: cause.to_string() })?,
        };
        let timetable = Self { cron: parsed, zone, jitter, seed };
        // The thirtieth of February parses; any moment will do to find that out.
        match timetable.first_after(Timestamp(1_700_000_000_000)) {
            Some(_) => Ok(timetable),
            None => Err(TimetableError::Never(cron.to_owned())),
        }
    }

    /// The next beginning, which lies in the past when one was missed: then the
    /// newest is made up for, once, however many there were. `awake` is when
    /// this agent began to look; hosts that come back at one moment do not make
    /// up for what they missed at one moment. None: there is no next.
    pub fn next(&self, past: &Past, awake: Timestamp, now: Timestamp) -> Option<Due> {
        let basis = past.done.unwrap_or(past.since);
        let missed = self.last_until(now).filter(|occurrence| *occurrence > basis);
        let occurrence = match missed {
            Some(occurrence) => occurrence,
            None => self.first_after(now.max(basis))?,
        };
        let begin = occurrence.max(awake.min(now));
        let at = begin + self.put_off(occurrence, begin);
        let at = match &past.failed {
            Some(failed) => at.max(failed.at + back_off(failed.times)),
            None => at,
        };
        Some(Due { occurrence, at })
    }

    /// Anything up to the jitter, and so that the next occurrence comes after
    /// it; the same for an occurrence however often it is asked, over restarts too.
    fn put_off(&self, occurrence: Timestamp, begin: Timestamp) -> Millis {
        let room = self.first_after(occurrence).map_or(self.jitter, |next| next.since(begin + APART_MIN));
        let most = self.jitter.min(room);
        let digest = Digest::of(format!("{}\n{}", self.seed, occurrence.0).as_bytes());
        let chance = digest.0.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Millis(chance % (most.0 + 1))
    }

    fn first_after(&self, moment: Timestamp) -> Option<Timestamp> {
        let found = self.cron.find_next_occurrence(&self.zoned(moment)?, false).ok()?;
        u64::try_from(found.timestamp().as_millisecond()).ok().map(Timestamp)
    }

    fn last_until(&self, moment: Timestamp) -> Option<Timestamp> {
        let found = self.cron.find_previous_occurrence(&self.zoned(moment)?, true).ok()?;
        u64::try_from(found.timestamp().as_millisecond()).ok().map(Timestamp)
    }

    fn zoned(&self, moment: Timestamp) -> Option<jiff::Zoned> {
        let second = i64::try_from(moment.0 / 1000).ok()?;
        Some(jiff::Timestamp::from_second(second).ok()?.to_zoned(self.zone.clone()))
    }
}

fn back_off(times: u32) -> Millis {
    let doublings = times.saturating_sub(1).min(16);
    Millis((BACK_OFF_MIN.0 << doublings).min(BACK_OFF_MAX.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        let moment: jiff::Timestamp = format!("{}:00Z", text.replace(' ', "T")).parse().unwrap();
        Timestamp(moment.as_millisecond() as u64)
    }

    fn table(cron: &str, jitter: Millis) -> Timetable {
        Timetable::parse(cron, None, jitter, "db-1/nightly".into()).unwrap()
    }

    fn past(since: &str, done: Option<&str>) -> Past {
        Past { since: at(since), done: done.map(at), failed: None }
    }

    #[test]
    fn the_next_beginning_is_as_the_table_says() {
        let (daily, hourly, monday) = ("0 2 * * *", "15 * * * *", "30 4 * * MON");
        let cases = [
            // What is asked, the past, awake, now, and the occurrence.
            (
                "first seen: the next one, not the last",
                daily,
                past("2026-03-10 12:00", None),
                "2026-03-10 12:00",
                "2026-03-10 12:00",
                "2026-03-11 02:00",
            ),
            (
                "done today: tomorrow",
                daily,
                past("2026-03-01 00:00", Some("2026-03-10 02:00")),
                "2026-03-01 00:00",
                "2026-03-10 02:05",
                "2026-03-11 02:00",
            ),
            (
                "its minute has come",
                daily,
                past("2026-03-01 00:00", Some("2026-03-09 02:00")),
                "2026-03-01 00:00",
                "2026-03-10 02:00",
                "2026-03-10 02:00",
            ),
            (
                "one minute before",
                daily,
                past("2026-03-01 00:00", Some("2026-03-09 02:00")),
                "2026-03-01 00:00",
                "2026-03-10 01:59",
                "2026-03-10 02:00",
            ),
            (
                "a week asleep: the newest once",
                daily,
                past("2026-03-01 00:00", Some("2026-03-03 02:00")),
                "2026-03-10 09:00",
                "2026-03-10 09:00",
                "2026-03-10 02:00",
            ),
            (
                "hours asleep: the newest once",
                hourly,
                past("2026-03-01 00:00", Some("2026-03-10 01:15")),
                "2026-03-10 09:00",
                "2026-03-10 09:00",
                "2026-03-10 08:15",
            ),
            (
                "the clock went back a little: not twice",
                daily,
                past("2026-03-01 00:00", Some("2026-03-10 02:00")),
                "2026-03-01 00:00",
                "2026-03-10 01:58",
                "2026-03-11 02:00",
            ),
            (
                "the clock went forward over three: one",
                daily,
                past("2026-03-01 00:00", Some("2026-03-10 02:00")),
                "2026-03-01 00:00",
                "2026-03-13 12:00",
                "2026-03-13 02:00",
            ),
            (
                "weekdays by name",
                monday,
                past("2026-03-01 00:00", Some("2026-03-09 04:30")),
                "2026-03-01 00:00",
                "2026-03-10 00:00",
                "2026-03-16 04:30",
            ),
        ];
        for (name, cron, past, awake, now, wanted) in cases {
            let due = table(cron, Millis::ZERO).next(&past, at(awake), at(now)).unwrap();
            assert_eq!(due.occurrence, at(wanted), "{name}");
            assert_eq!(due.at, at(wanted).max(at(awake)), "{name}");
        }
    }

    #[test]
    fn hosts_that_come_back_at_one_moment_make_up_for_the_night_at_different_ones() {
        let (past, back) = (past("2026-03-01 00:00", Some("2026-03-09 02:00")), at("2026-03-10 09:00"));
        let begins: std::collections::BTreeSet<_> = (0..50)
            .map(|host| {
                let seed = format!("db-{host}/nightly");
                let table = Timetable::parse("0 2 * * *", None, Millis::minutes(15), seed).unwrap();
                let due = table.next(&past, back, back).unwrap();
                assert_eq!(due, table.next(&past, back, back + Millis::minutes(3)).unwrap());
                assert!(due.at >= back && due.at <= back + Millis::minutes(15));
                due.at
            })
            .collect();
        assert!(begins.len() > 40, "{begins:?}");
    }

    #[test]
    fn a_jitter_longer_than_the_period_never_skips_an_occurrence() {
        let table = table("*/5 * * * *", Millis::hours(3));
        let mut past = past("2026-03-10 00:00", None);
        let mut now = at("2026-03-10 00:00");
        for _ in 0..50 {
            let due = table.next(&past, at("2026-03-10 00:00"), now).unwrap();
            assert!(due.at.since(due.occurrence) < Millis::minutes(5), "{due:?}");
            assert_eq!(due.occurrence.since(past.done.unwrap_or(past.since)), Millis::minutes(5));
            now = due.at;
            past.done(due.occurrence);
        }
    }

    #[test]
    fn a_failure_waits_longer_each_time_and_is_over_with_the_first_success() {
        let table = table("0 2 * * *", Millis::ZERO);
        let mut past = past("2026-03-01 00:00", Some("2026-03-09 02:00"));
        let (mut now, awake) = (at("2026-03-10 02:00"), at("2026-03-01 00:00"));
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            past.failed(now, "no space".into());
            let due = table.next(&past, awake, now).unwrap();
            assert_eq!((due.occurrence, due.at), (at("2026-03-10 02:00"), now + Millis::minutes(minutes)));
            now = due.at;
        }
        assert_eq!(past.failed.as_ref().map(|failed| failed.times), Some(8));
        past.done(at("2026-03-10 02:00"));
        let due = table.next(&past, awake, now).unwrap();
        assert_eq!((due.at, past.failed), (at("2026-03-11 02:00"), None));
    }

    #[test]
    fn a_clock_that_was_years_ahead_silences_nothing_once_it_is_right() {
        let table = table("0 2 * * *", Millis::ZERO);
        let now = at("2026-03-10 12:00");
        let mut past = past("2026-03-01 00:00", Some("2036-01-01 02:00"));
        past.failed(at("2036-01-01 02:00"), "x".into());
        assert!(past.set_right(now));
        assert!(!past.set_right(now), "once is enough");
        let tomorrow = table.next(&past, now, now + Millis::hours(24)).unwrap();
        assert_eq!(tomorrow.occurrence, at("2026-03-11 02:00"));
        let mut fresh = Past { since: now, done: Some(now + Millis::minutes(30)), failed: None };
        assert!(!fresh.set_right(now), "a clock that is set back a little is ordinary");
    }

    #[test]
    fn daylight_saving_neither_loses_a_night_nor_doubles_one() {
        let table = Timetable::parse("30 2 * * *", Some("Europe/Vienna"), Millis::ZERO, "s".into()).unwrap();
        let mut past = past("2026-03-27 12:00", None);
        let (mut now, mut days) = (past.since, Vec::new());
        for _ in 0..4 {
            let due = table.next(&past, past.since, now).unwrap();
            days.push(due.occurrence);
            past.done(due.occurrence);
            now = due.at;
        }
        assert!(days.windows(2).all(|pair| pair[1].since(pair[0]) >= Millis::hours(22)), "{days:?}");
        assert!(days[3].since(days[0]) <= Millis::hours(72), "{days:?}");
    }

    #[test]
    fn what_is_no_timetable_is_refused_with_the_reason() {
        let refused =
            |cron: &str, zone| Timetable::parse(cron, zone, Millis::ZERO, String::new()).unwrap_err();
        for cron in ["", "@daily", "0 2 * *", "0 0 2 * * *", "0 0 2 * * * 2026"] {
            assert!(matches!(refused(cron, None), TimetableError::Fields(_)), "{cron}");
        }
        assert!(matches!(refused("61 2 * * *", None), TimetableError::Cron { .. }));
        assert!(matches!(refused("0 0 30 2 *", None), TimetableError::Never(_)));
        assert!(matches!(refused("0 2 * * *", Some("Europe/Atlantis")), TimetableError::Zone { .. }));
    }

    proptest! {
        /// Whoever does what is due when it is due gets every occurrence once.
        #[test]
        fn each_occurrence_is_done_once_in_order(
            minute in 0_u32..60, hour in 0_u32..24, jitter in 0_u64..7_200_000, late in 0_u64..600_000,
        ) {
            let table = table(&format!("{minute} {hour} * * *"), Millis(jitter));
            let start = at("2026-03-10 00:00");
            let (mut past, mut now) = (Past::new(start), start);
            for _ in 0..5 {
                let due = table.next(&past, start, now).unwrap();
                prop_assert!(due.at >= due.occurrence && due.occurrence > past.done.unwrap_or(start));
                now = due.at + Millis(late);
                let again = table.next(&past, start, now).unwrap();
                prop_assert_eq!(again, due, "still the same when it is looked at late");
                past.done(due.occurrence);
            }
            prop_assert!(now.since(start) < Millis::hours(24 * 6));
        }
    }
}
