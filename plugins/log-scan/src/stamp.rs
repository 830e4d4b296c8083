//! When a line was written, as the usual formats say it at its beginning. Pure.

/// A moment as a line gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stamp {
    /// Milliseconds since 1970 in UTC.
    Moment(i64),
    /// The same, by a clock whose zone the line does not tell.
    Local(i64),
    /// The same without a year: milliseconds since the year began, were it a leap year.
    Yearless { month: u32, day: u32, ms: i64 },
}

const DAY_MS: i64 = 86_400_000;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
/// An access log has the address and the name of who asked before its stamp.
const BRACKET_WITHIN: usize = 200;

impl Stamp {
    /// What `line` begins with, if it is one of: RFC 3339 and its looser kin, syslog
    /// with and without a year, seconds or milliseconds since 1970, and the stamps of
    /// nginx and Apache.
    pub(crate) fn of(line: &str) -> Option<Self> {
        let line = line.trim_start();
        let mut text = Text(line);
        text.priority();
        text.take('[');
        let begun = text;
        iso(begun).or_else(|| named(begun)).or_else(|| epoch(begun)).or_else(|| common(line))
    }

    /// The moment in UTC, for a clock that is `offset_ms` ahead of it. `near`: a moment
    /// in UTC that lies close, by which a missing year is found.
    pub(crate) fn moment(self, offset_ms: i64, near: i64) -> i64 {
        match self {
            Self::Moment(ms) => ms,
            Self::Local(ms) => ms - offset_ms,
            Self::Yearless { month, day, ms } => {
                let (year, _, _) = civil((near + offset_ms).div_euclid(DAY_MS));
                let moments =
                    (year - 1..=year + 1).map(|year| days(year, month, day) * DAY_MS + ms - offset_ms);
                moments.min_by_key(|moment| (moment - near).abs()).expect("three years")
            }
        }
    }

    pub(crate) fn is_local(self) -> bool {
        !matches!(self, Self::Moment(_))
    }
}

/// What is left of a line.
#[derive(Debug, Clone, Copy)]
struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    fn take(&mut self, c: char) -> bool {
        let rest = self.0.strip_prefix(c);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn spaces(&mut self) {
        self.0 = self.0.trim_start_matches(' ');
    }

    /// As many digits as there are, within bounds.
    fn digits(&mut self, least: usize, most: usize) -> Option<i64> {
        let count = self.0.bytes().take_while(u8::is_ascii_digit).count();
        if count < least || count > most {
            return None;
        }
        let (digits, rest) = self.0.split_at(count);
        self.0 = rest;
        digits.parse().ok()
    }

    /// The place of the word the text begins with, from one.
    fn word(&mut self, words: &[&str]) -> Option<u32> {
        let at = words.iter().position(|word| self.0.starts_with(word))?;
        self.0 = &self.0[words[at].len()..];
        u32::try_from(at + 1).ok()
    }

    /// `<13>` of syslog on the wire.
    fn priority(&mut self) {
        let mut rest = *self;
        if rest.take('<') && rest.digits(1, 3).is_some() && rest.take('>') {
            *self = rest;
        }
    }

    /// `20:31:08`, `20:31:08.123456`, `20:31:08,123`.
    fn time(&mut self) -> Option<i64> {
        let hour = self.digits(2, 2).filter(|hour| *hour < 24)?;
        let minute = self.take(':').then(|| self.digits(2, 2)).flatten().filter(|minute| *minute < 60)?;
        let second = self.take(':').then(|| self.digits(2, 2)).flatten().filter(|second| *second < 61)?;
        Some((hour * 3_600 + minute * 60 + second) * 1_000 + self.fraction())
    }

    fn fraction(&mut self) -> i64 {
        let mut rest = *self;
        if !(rest.take('.') || rest.take(',')) {
            return 0;
        }
        let digits: String = rest.0.chars().take_while(char::is_ascii_digit).collect();
        if digits.is_empty() {
            return 0;
        }
        self.0 = &rest.0[digits.len()..];
        format!("{digits:0<3}")[..3].parse().unwrap_or(0)
    }

    /// `Z`, `+01:00`, `-0530`; in milliseconds.
    fn zone(&mut self) -> Option<i64> {
        if self.take('Z') {
            return Some(0);
        }
        let sign = if self.take('+') {
            1
        } else if self.take('-') {
            -1
        } else {
            return None;
        };
        let (hours, minutes) = match self.0.as_bytes().get(2) {
            Some(b':') => {
                let hours = self.digits(2, 2)?;
                self.take(':');
                (hours, self.digits(2, 2)?)
            }
            _ => {
                let both = self.digits(4, 4)?;
                (both / 100, both % 100)
            }
        };
        (hours < 15 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60_000)
    }
}

/// `2026-11-21T20:31:08.123Z`, `2026-11-21 20:31:08,123`, `2026/11/21 20:31:08`.
fn iso(mut text: Text<'_>) -> Option<Stamp> {
    let year = text.digits(4, 4)?;
    let between = if text.take('-') {
        '-'
    } else if text.take('/') {
        '/'
    } else {
        return None;
    };
    let month = text.digits(2, 2)?;
    let day = text.take(between).then(|| text.digits(2, 2)).flatten()?;
    let date = date(year, month, day)?;
    if !text.take('T') && !text.take(' ') {
        return None;
    }
    let local = date + text.time()?;
    // Python and others put a space before the zone, where no other word is taken for one.
    let mut spaced = text;
    spaced.spaces();
    Some(match text.zone().or_else(|| spaced.zone()) {
        Some(offset_ms) => Stamp::Moment(local - offset_ms),
        None => Stamp::Local(local),
    })
}

/// `Nov 21 20:31:08`, `Nov 21 2026 20:31:08`, `Sat Nov 21 20:31:08.123456 2026`.
fn named(mut text: Text<'_>) -> Option<Stamp> {
    if text.word(&WEEKDAYS).is_some() {
        text.take(',');
        text.spaces();
    }
    let month = text.word(&MONTHS)?;
    text.spaces();
    let day = text.digits(1, 2)?;
    date(2_000, i64::from(month), day)?;
    text.spaces();
    let mut with_year = text;
    let before = with_year.digits(4, 4);
    if before.is_some() {
        text = with_year;
        text.spaces();
    }
    let ms = text.time()?;
    text.spaces();
    match before.or_else(|| year_after(text)) {
        Some(year) => Some(Stamp::Local(date(year, i64::from(month), day)? + ms)),
        None => Some(Stamp::Yearless { month, day: u32::try_from(day).ok()?, ms }),
    }
}

/// Apache closes its bracket after the year; a host's name may begin with digits.
fn year_after(mut text: Text<'_>) -> Option<i64> {
    let year = text.digits(4, 4)?;
    (text.0.is_empty() || text.0.starts_with([']', ' '])).then_some(year)
}

/// `1795293068`, `1795293068.123`, `1795293068123`.
fn epoch(mut text: Text<'_>) -> Option<Stamp> {
    let mut seconds = text;
    if let Some(s) = seconds.digits(10, 10) {
        let ms = s * 1_000 + seconds.fraction();
        return seconds.0.chars().next().is_none_or(is_end).then_some(Stamp::Moment(ms));
    }
    let ms = text.digits(13, 13)?;
    text.0.chars().next().is_none_or(is_end).then_some(Stamp::Moment(ms))
}

fn is_end(c: char) -> bool {
    c.is_whitespace() || matches!(c, ']' | ',' | ';' | '|' | ':')
}

/// `127.0.0.1 - - [21/Nov/2026:20:31:08 +0000] "GET / HTTP/1.1" 500`.
fn common(line: &str) -> Option<Stamp> {
    let at = line.char_indices().take(BRACKET_WITHIN).find(|(_, c)| *c == '[')?.0;
    let mut text = Text(&line[at + 1..]);
    let day = text.digits(2, 2)?;
    let month = text.take('/').then(|| text.word(&MONTHS)).flatten()?;
    let year = text.take('/').then(|| text.digits(4, 4)).flatten()?;
    let date = date(year, i64::from(month), day)?;
    let local = date + text.take(':').then(|| text.time()).flatten()?;
    text.spaces();
    Some(match text.zone() {
        Some(offset_ms) => Stamp::Moment(local - offset_ms),
        None => Stamp::Local(local),
    })
}

/// Milliseconds from 1970 to the beginning of that day.
fn date(year: i64, month: i64, day: i64) -> Option<i64> {
    let (month, day) = (u32::try_from(month).ok()?, u32::try_from(day).ok()?);
    let known = (1_970..10_000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    known.then(|| days(year, month, day) * DAY_MS)
}

/// Days from 1970 to that day. The year begins in March, so that leap days come last.
fn days(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = i64::from((153 * ((month + 9) % 12) + 2) / 5 + day - 1);
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a number of days from 1970.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12 + 1;
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests;
