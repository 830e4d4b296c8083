//! Lines of words before they meet a terminal: tones instead of colours, one
//! twin in ASCII for every sign, and nothing that a host or plugin said may
//! move a cursor or turn the reading direction.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use jiff::tz::TimeZone;
use sternway_core::ids::is_disguise;
use sternway_core::time::{Millis, Timestamp};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// What a word means to its reader; colour is only one way to show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Strong,
    Dim,
    Good,
    Bad,
    Warn,
}

impl Tone {
    fn style(self) -> Style {
        let colour = |colour: AnsiColor| Style::new().fg_color(Some(colour.into()));
        match self {
            Self::Plain => Style::new(),
            Self::Strong => Style::new().bold(),
            Self::Dim => Style::new().dimmed(),
            Self::Good => colour(AnsiColor::Green),
            Self::Bad => colour(AnsiColor::Red).bold(),
            Self::Warn => colour(AnsiColor::Yellow),
        }
    }
}

/// How lines are put on a medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    pub color: bool,
    pub utf8: bool,
    /// Longer lines are cut; none: never.
    pub width: Option<usize>,
}

impl Look {
    /// As it is written into files and pipes.
    pub const PLAIN: Self = Self { color: false, utf8: true, width: None };
}

/// One line, made of words with tones. Has no line feed in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    spans: Vec<(Tone, String)>,
}

impl Line {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds words; whatever could disguise them is escaped.
    #[must_use]
    pub fn add(mut self, tone: Tone, words: impl AsRef<str>) -> Self {
        self.spans.push((tone, escape(words.as_ref())));
        self
    }

    #[must_use]
    pub fn plain(self, words: impl AsRef<str>) -> Self {
        self.add(Tone::Plain, words)
    }

    /// Puts words before the line.
    #[must_use]
    pub fn after(mut self, tone: Tone, words: &str) -> Self {
        self.spans.insert(0, (tone, escape(words)));
        self
    }

    /// Columns taken by what is there.
    pub fn width(&self) -> usize {
        self.spans.iter().map(|(_, words)| words.width()).sum()
    }

    /// Fills with blanks up to this column; at least one blank.
    #[must_use]
    pub fn pad_to(self, column: usize) -> Self {
        let blanks = column.saturating_sub(self.width()).max(1);
        self.plain(" ".repeat(blanks))
    }

    /// The line as it is written, without its line feed.
    pub fn paint(&self, look: Look) -> String {
        let mut room = look.width.unwrap_or(usize::MAX);
        let spans: Vec<(Tone, String)> = self
            .spans
            .iter()
            .map(|(tone, words)| (*tone, if look.utf8 { words.clone() } else { twins(words) }))
            .collect();
        let cut = spans.iter().map(|(_, words)| words.width()).sum::<usize>() > room;
        let mark = if look.utf8 { "…" } else { "~" };
        if cut {
            room = room.saturating_sub(1);
        }
        let mut out = String::new();
        for (tone, words) in &spans {
            let words = take_columns(words, room);
            room -= words.width();
            if words.is_empty() {
                continue;
            }
            let style = tone.style();
            match look.color && *tone != Tone::Plain {
                true => _ = write!(out, "{style}{words}{style:#}"),
                false => out.push_str(words),
            }
        }
        if cut {
            out.push_str(mark);
        }
        out.truncate(out.trim_end_matches(' ').len());
        out
    }
}

impl<T: AsRef<str>> From<T> for Line {
    fn from(words: T) -> Self {
        Self::new().plain(words)
    }
}

fn take_columns(words: &str, room: usize) -> &str {
    let mut taken = 0;
    for (at, c) in words.char_indices() {
        taken += c.width().unwrap_or(0);
        if taken > room {
            return &words[..at];
        }
    }
    words
}

/// The ASCII twin of every sign that is drawn; other letters become `?`.
fn twins(words: &str) -> String {
    let mut out = String::with_capacity(words.len());
    for c in words.chars() {
        match c {
            c if c.is_ascii() => out.push(c),
            '✔' => out.push('+'),
            '✘' => out.push('x'),
            '●' => out.push('*'),
            '○' => out.push('o'),
            '▲' => out.push('!'),
            '↶' => out.push('<'),
            '‖' => out.push('='),
            '◌' => out.push('~'),
            '▰' => out.push('#'),
            '▱' => out.push('.'),
            '├' | '│' => out.push('|'),
            '└' => out.push('`'),
            '─' => out.push('-'),
            '→' => out.push_str("->"),
            '…' => out.push_str("..."),
            '≤' => out.push_str("<="),
            '–' | '·' => out.push('-'),
            c => out.extend(std::iter::repeat_n('?', c.width().unwrap_or(1).max(1))),
        }
    }
    out
}

/// The same words with control and direction characters written out.
pub fn escape(words: &str) -> String {
    let mut out = String::with_capacity(words.len());
    for c in words.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push(' '),
            c if is_disguise(c) => _ = write!(out, "\\u{{{:x}}}", u32::from(c)),
            c => out.push(c),
        }
    }
    out
}

/// `00:41`, `19:36`, `1:19:21`: for clocks that run.
pub fn clock(length: Millis) -> String {
    let seconds = length.0 / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes:02}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// `0.4s`, `1m12s`, `3h05m`: for lengths that are over.
pub fn took(length: Millis) -> String {
    let ms = length.0;
    match ms {
        0..10_000 => format!("{}.{}s", ms / 1000, ms / 100 % 10),
        10_000..60_000 => format!("{}s", ms / 1000),
        60_000..3_600_000 => format!("{}m{:02}s", ms / 60_000, ms / 1000 % 60),
        _ => format!("{}h{:02}m", ms / 3_600_000, ms / 60_000 % 60),
    }
}

/// `42s`, `17m`, `19h`, `6d`: how old something is, roughly.
pub fn age(length: Millis) -> String {
    let seconds = length.0 / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `512 B`, `4.0 KiB`, `68.4 GiB`.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    // Tenths of the unit, rounded down: what is shown is there.
    let (mut tenths, mut unit) = (u128::from(number) * 10 / 1024, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

fn zoned(at: Timestamp) -> Option<jiff::Zoned> {
    let ms = i64::try_from(at.0).ok()?;
    Some(jiff::Timestamp::from_millisecond(ms).ok()?.to_zoned(TimeZone::UTC))
}

/// `2026-11-21T17:21:08.114Z`, for machines.
pub fn iso(at: Timestamp) -> String {
    zoned(at).map_or_else(|| at.0.to_string(), |at| at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

/// `17:21:08Z`, for a line among others of the same day.
pub fn time_of_day(at: Timestamp) -> String {
    zoned(at).map_or_else(|| at.0.to_string(), |at| at.strftime("%H:%M:%SZ").to_string())
}

/// `22 Nov 04:40Z`.
pub fn day_and_time(at: Timestamp) -> String {
    zoned(at).map_or_else(|| at.0.to_string(), |at| at.strftime("%-d %b %H:%MZ").to_string())
}

/// `1 host`, `2 hosts`.
pub fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// Columns as wide as their widest word, two blanks between; the last is free.
pub fn table(rows: &[Vec<(Tone, String)>]) -> Vec<Line> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width_of = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|(_, words)| escape(words).width()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width_of(column).unwrap_or(0)).collect();
    rows.iter()
        .map(|row| {
            let mut end = 0;
            row.iter().enumerate().fold(Line::new(), |line, (column, (tone, words))| {
                end += widths[column] + 2;
                let line = line.add(*tone, words);
                if column + 1 == row.len() { line } else { line.pad_to(end) }
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_said_cannot_move_the_cursor_or_turn_the_line_round() {
        assert_eq!(escape("a\u{1b}[2Jb\nc\u{202e}d\u{200b}"), "a\\u{1b}[2Jb\\nc\\u{202e}d\\u{200b}");
        let line = Line::new().add(Tone::Bad, "\u{1b}]0;x\u{7}");
        assert_eq!(line.paint(Look::PLAIN), "\\u{1b}]0;x\\u{7}");
    }

    #[test]
    fn every_sign_has_a_twin_and_colour_adds_nothing_but_colour() {
        let line = Line::new().add(Tone::Good, "✔").plain(" 1.3 → 1.1 ").add(Tone::Dim, "│é");
        let look = Look { color: false, utf8: false, width: None };
        assert_eq!(line.paint(look), "+ 1.3 -> 1.1 |?");
        assert!(line.paint(look).is_ascii());
        let painted = line.paint(Look { color: true, ..Look::PLAIN });
        assert_eq!(anstream::adapter::strip_str(&painted).to_string(), line.paint(Look::PLAIN));
        assert!(painted.contains('\u{1b}'));
    }

    #[test]
    fn a_long_line_is_cut_at_the_screens_edge() {
        let line = Line::new().plain("agora-[01-08] ").add(Tone::Strong, "停停停");
        let cut = |width| line.paint(Look { width: Some(width), ..Look::PLAIN });
        assert_eq!(cut(20), "agora-[01-08] 停停停");
        assert_eq!(cut(19), "agora-[01-08] 停停…");
        assert_eq!(cut(18), "agora-[01-08] 停…");
        assert_eq!(cut(5), "agor…");
        for width in 1..30 {
            assert!(cut(width).width() <= width, "{width}");
        }
    }

    #[test]
    fn lengths_of_time_read_like_a_clock_or_like_a_word() {
        assert_eq!(clock(Millis::seconds(41)), "00:41");
        assert_eq!(clock(Millis::seconds(4761)), "1:19:21");
        assert_eq!(took(Millis(450)), "0.4s");
        assert_eq!(took(Millis(72_276)), "1m12s");
        assert_eq!(took(Millis::minutes(185)), "3h05m");
        assert_eq!([0, 61, 7200, 172_800].map(|s| age(Millis::seconds(s))), ["0s", "1m", "2h", "2d"]);
        assert_eq!(iso(Timestamp(1_795_281_668_114)), "2026-11-21T17:21:08.114Z");
    }

    #[test]
    fn sizes_are_never_rounded_up() {
        let sizes = [0, 1023, 1024, 1_048_575, 73_400_320, 1 << 40].map(bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1023.9 KiB", "70.0 MiB", "1.0 TiB"]);
        assert_eq!(bytes(u64::MAX), "15.9 EiB");
    }

    #[test]
    fn columns_line_up() {
        let row = |a: &str, b: &str| vec![(Tone::Plain, a.to_owned()), (Tone::Plain, b.to_owned())];
        let lines = table(&[row("WAVE", "HOSTS"), row("1", "2")]);
        let text: Vec<String> = lines.iter().map(|line| line.paint(Look::PLAIN)).collect();
        assert_eq!(text, ["WAVE  HOSTS", "1     2"]);
    }
}
