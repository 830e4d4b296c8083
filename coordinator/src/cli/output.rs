//! The only place where words leave the process: data to stdout, talk to
//! stderr, so that a pipe gets the one and a person sees both.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;
use serde_json::Value;
use sternway_core::ids::is_disguise;

use super::text::{Line, Look};

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set or TERM is `dumb`
    #[default]
    Auto,
    Always,
    Never,
}

/// What of the surroundings decides how words look; read once, at the start.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    pub no_color: bool,
    pub dumb: bool,
    pub utf8: bool,
    pub stdout_is_terminal: bool,
    pub stderr_is_terminal: bool,
    pub columns: Option<usize>,
    pub rows: Option<usize>,
}

impl Surroundings {
    pub fn read() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable).unwrap_or_default();
        let locale = locale.to_lowercase();
        let terminal = io::stdout().is_terminal() || io::stderr().is_terminal();
        let size = terminal.then(|| crossterm::terminal::size().ok()).flatten();
        let size = size.filter(|(columns, rows)| *columns > 0 && *rows > 0);
        Self {
            no_color: variable("NO_COLOR").is_some(),
            dumb: variable("TERM").is_some_and(|term| term == "dumb"),
            utf8: locale.contains("utf-8") || locale.contains("utf8"),
            stdout_is_terminal: io::stdout().is_terminal(),
            stderr_is_terminal: io::stderr().is_terminal(),
            columns: size.map(|(columns, _)| columns.into()),
            rows: size.map(|(_, rows)| rows.into()),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Output {
    json: bool,
    quiet: bool,
    data: Look,
    talk: Look,
    around: Surroundings,
}

impl Output {
    pub fn new(around: Surroundings, color: Color, json: bool, quiet: bool) -> Self {
        let look = |is_terminal: bool| Look {
            color: match color {
                Color::Always => true,
                Color::Never => false,
                Color::Auto => is_terminal && !around.no_color && !around.dumb,
            },
            // A file or a pipe is read by programs that expect UTF-8; a terminal says what it can show.
            utf8: around.utf8 || !is_terminal,
            width: if is_terminal { around.columns } else { None },
        };
        let (data, talk) = (look(around.stdout_is_terminal), look(around.stderr_is_terminal));
        Self { json, quiet, data, talk, around }
    }

    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a screen can be redrawn in place: not for pipes, records or dumb terminals.
    pub fn redraws(&self) -> bool {
        self.around.stdout_is_terminal && !self.around.dumb && !self.json && !self.quiet
    }

    /// How data looks on stdout.
    pub fn look(&self) -> Look {
        self.data
    }

    /// How talk looks on stderr.
    pub fn talk_look(&self) -> Look {
        self.talk
    }

    /// What was asked for, in words. Nothing with `--json`, whose reader gets [`Output::record`].
    pub fn data(&self, line: impl Into<Line>) {
        if !self.json {
            write_line(&mut io::stdout().lock(), &line.into().paint(self.data));
        }
    }

    pub fn lines(&self, lines: impl IntoIterator<Item = Line>) {
        lines.into_iter().for_each(|line| self.data(line));
    }

    /// One record of what was asked for; nothing without `--json`.
    pub fn record(&self, record: &impl Serialize) {
        if !self.json {
            return;
        }
        write_line(&mut io::stdout().lock(), &json_line(record));
    }

    /// One object for verbs that answer once: `format` first, then its fields.
    pub fn object(&self, format: &str, fields: Value) {
        self.record(&Versioned { format, fields });
    }

    /// What is going on, for the person who waits; `--quiet` silences it.
    pub fn talk(&self, line: impl Into<Line>) {
        if !self.quiet {
            write_line(&mut io::stderr().lock(), &line.into().paint(self.talk));
        }
    }

    /// A warning or an error: never silenced.
    pub fn complain(&self, line: impl Into<Line>) {
        write_line(&mut io::stderr().lock(), &line.into().paint(self.talk));
    }

    /// Data of which not a letter may be cut at the screen's edge.
    pub fn data_whole(&self, line: impl Into<Line>) {
        if !self.json {
            write_line(&mut io::stdout().lock(), &line.into().paint(Look { width: None, ..self.data }));
        }
    }

    /// Talk of which not a letter may be cut, nor silenced: somebody is about to sign it.
    pub fn talk_whole(&self, line: impl Into<Line>) {
        write_line(&mut io::stderr().lock(), &line.into().paint(Look { width: None, ..self.talk }));
    }

    /// A complaint that another renderer has laid out already: a plan's problems.
    pub fn raw_complaint(&self, text: &str) {
        write_line(&mut io::stderr().lock(), text.trim_end_matches('\n'));
    }

    /// A question, left without a line feed.
    pub fn question(&self, words: &str) {
        let mut stderr = io::stderr().lock();
        _ = write!(stderr, "{}", Line::from(words).paint(Look { width: None, ..self.talk }));
        _ = write!(stderr, " ");
        _ = stderr.flush();
    }

    pub fn rows(&self) -> usize {
        self.around.rows.unwrap_or(24)
    }
}

/// JSON in which no character can disguise another: what JSON itself leaves bare is escaped as well.
pub fn json_line(record: &impl Serialize) -> String {
    let text = serde_json::to_string(record).expect("records have text keys only");
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        // Outside of its strings JSON is ASCII, so this is always inside of one.
        if is_disguise(c) {
            safe.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            safe.push(c);
        }
    }
    safe
}

#[derive(Serialize)]
struct Versioned<'a> {
    format: &'a str,
    #[serde(flatten)]
    fields: Value,
}

/// A reader that went away (`| head`) ends the verb quietly, as it ends `cat`.
fn write_line(stream: &mut impl io::Write, text: &str) {
    let written = writeln!(stream, "{text}").and_then(|()| stream.flush());
    if let Err(error) = written
        && error.kind() == io::ErrorKind::BrokenPipe
    {
        std::process::exit(i32::from(sternway_core::exit::DONE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(stdout_is_terminal: bool) -> Surroundings {
        Surroundings { utf8: true, stdout_is_terminal, columns: Some(80), ..Surroundings::default() }
    }

    #[test]
    fn colour_is_for_terminals_that_want_it() {
        let color = |around: Surroundings, color| Output::new(around, color, false, false).look().color;
        assert!(color(around(true), Color::Auto));
        assert!(!color(around(false), Color::Auto));
        assert!(color(around(false), Color::Always));
        assert!(!color(around(true), Color::Never));
        assert!(!color(Surroundings { no_color: true, ..around(true) }, Color::Auto));
        assert!(!color(Surroundings { dumb: true, ..around(true) }, Color::Auto));
        assert!(color(Surroundings { no_color: true, ..around(true) }, Color::Always));
    }

    #[test]
    fn only_a_terminal_cuts_lines_and_only_an_old_one_gets_ascii() {
        let look = |around: Surroundings| Output::new(around, Color::Auto, false, false).look();
        assert_eq!(look(around(true)).width, Some(80));
        assert_eq!(look(around(false)).width, None);
        assert!(!look(Surroundings { utf8: false, ..around(true) }).utf8);
        assert!(look(Surroundings { utf8: false, ..around(false) }).utf8);
    }

    #[test]
    fn a_record_is_the_same_json_without_characters_that_turn_a_line_round() {
        let record = serde_json::json!({ "text": "a\u{202e}b\u{1b}[2J\u{feff}" });
        let line = json_line(&record);
        assert!(line.is_ascii(), "{line}");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), record);
    }

    #[test]
    fn a_screen_is_redrawn_only_where_somebody_looks() {
        let redraws =
            |around: Surroundings, json, quiet| Output::new(around, Color::Auto, json, quiet).redraws();
        assert!(redraws(around(true), false, false));
        assert!(!redraws(around(true), true, false));
        assert!(!redraws(around(true), false, true));
        assert!(!redraws(around(false), false, false));
        assert!(!redraws(Surroundings { dumb: true, ..around(true) }, false, false));
    }
}
