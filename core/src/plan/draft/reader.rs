//! One table read key by key: kinds, units, limits and unknown keys, each told at its place.

use std::ops::RangeInclusive;
use std::str::FromStr;

use super::super::keys::{SECTIONS, Section};
use super::super::nearest::nearest;
use super::super::problem::Problem;
use super::super::secret::{secret_part, shown};
use super::super::tree::{Entry, Node, Place, Table, Value};
use super::{Amount, At};
use crate::ids::{NameError, is_disguise};
use crate::time::{DurationError, Millis};

pub(super) struct Reader<'t, 'p> {
    section: Section,
    table: &'t Table,
    span: Place,
    text: &'t str,
    problems: &'p mut Vec<Problem>,
}

impl<'t, 'p> Reader<'t, 'p> {
    pub(super) fn new(
        section: Section,
        table: &'t Table,
        span: Place,
        text: &'t str,
        problems: &'p mut Vec<Problem>,
    ) -> Self {
        Self { section, table, span, text, problems }
    }

    pub(super) fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// A reader of a table below this one.
    pub(super) fn inner<'q>(&'q mut self, section: Section, table: &At<&'t Table>) -> Reader<'t, 'q> {
        Reader::new(section, table.value, table.span.clone(), self.text, self.problems)
    }

    pub(super) fn section<'q>(&'q mut self, key: &str, section: Section) -> Option<Reader<'t, 'q>> {
        let table = self.table(key)?;
        Some(self.inner(section, &table))
    }

    /// Reports the key as missing when it is not there at all.
    pub(super) fn need(&mut self, key: &str, example: &str) {
        if self.table.get(key).is_none() {
            let what = self.section.what;
            self.problems.push(
                Problem::error("P103", self.span.clone(), format!("{what} needs `{key}`"))
                    .label(format!(
                        "no `{key}` in {}",
                        if self.section.header.is_empty() { "this file" } else { what }
                    ))
                    .help(format!("add: {}", example.replace('\n', " then "))),
            );
        }
    }

    /// Whether the key is there, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.get(key).is_some()
    }

    /// The entry as it stands; the key counts as known.
    pub(super) fn take(&mut self, key: &str) -> Option<&'t Entry> {
        debug_assert!(self.section.keys.contains(&key), "`{key}` is missing from plan::keys");
        self.table.get(key)
    }

    fn wrong_kind(&mut self, entry: &Entry, wanted: &str) -> Problem {
        Problem::error("P105", entry.node.span.clone(), format!("`{}` wants {wanted}", entry.key))
            .label(format!("this is {}", entry.node.value.kind()))
    }

    pub(super) fn line(&mut self, key: &str, bytes_max: usize) -> Option<At<String>> {
        let entry = self.take(key)?;
        let line = self.line_of(entry, bytes_max)?;
        if let Some(at) = line.value.find("${") {
            let name = &line.value[at..];
            self.problems.push(
                Problem::error("P107", line.span.clone(), format!("`{key}` is taken as written"))
                    .label(format!("{} would stay like this", shown(name)))
                    .help("variables are put into the settings of steps only: write the value itself here"),
            );
        }
        Some(line)
    }

    /// Any one-line text.
    pub(super) fn line_of(&mut self, entry: &Entry, bytes_max: usize) -> Option<At<String>> {
        let span = entry.node.span.clone();
        match &entry.node.value {
            Value::Text(text) => {
                let what = format!("`{}`", entry.key);
                self.check_line(text, &span, bytes_max, &what);
                Some(At { value: text.clone(), span })
            }
            other => {
                let literal = self.text.get(span.clone()).unwrap_or_default().to_owned();
                let plain =
                    matches!(other, Value::Whole(_) | Value::Real(_) | Value::Flag(_) | Value::Moment(_));
                let mut problem = self.wrong_kind(entry, "a text");
                if plain {
                    problem = problem.replace("put it in quotes", span, format!("\"{literal}\""));
                }
                self.problems.push(problem);
                None
            }
        }
    }

    pub(super) fn check_line(&mut self, text: &str, span: &Place, bytes_max: usize, what: &str) {
        if text.is_empty() {
            let problem = Problem::error("P109", span.clone(), format!("{what} cannot be empty"));
            self.problems.push(problem.label("nothing is written here"));
        }
        if text.len() > bytes_max {
            self.problems.push(
                Problem::error("P109", span.clone(), format!("{what} has at most {bytes_max} bytes"))
                    .label(format!("this has {}", text.len())),
            );
        }
        if let Some(odd) = text.chars().find(|c| is_disguise(*c)) {
            self.problems.push(disguise(odd, span.clone(), what));
        }
    }

    pub(super) fn name<T: FromStr<Err = NameError>>(&mut self, key: &str) -> Option<At<T>> {
        let entry = self.take(key)?;
        self.name_of(&entry.node, &entry.key)
    }

    pub(super) fn names<T: FromStr<Err = NameError>>(&mut self, key: &str) -> Vec<At<T>> {
        let Some(entry) = self.take(key) else { return Vec::new() };
        match &entry.node.value {
            Value::List(items) => items.iter().filter_map(|item| self.name_of(item, key)).collect(),
            Value::Text(_) => {
                let literal = self.text.get(entry.node.span.clone()).unwrap_or_default().to_owned();
                let problem = self.wrong_kind(entry, "a list");
                let with = format!("[{literal}]");
                self.problems.push(problem.replace("write a list of one", entry.node.span.clone(), with));
                Vec::new()
            }
            _ => {
                let problem = self.wrong_kind(entry, "a list of texts");
                self.problems.push(problem);
                Vec::new()
            }
        }
    }

    fn name_of<T: FromStr<Err = NameError>>(&mut self, node: &Node, key: &str) -> Option<At<T>> {
        let span = node.span.clone();
        let Value::Text(text) = &node.value else {
            self.problems.push(
                Problem::error("P105", span, format!("`{key}` wants a text"))
                    .label(format!("this is {}", node.value.kind())),
            );
            return None;
        };
        match text.parse() {
            Ok(value) => Some(At { value, span }),
            Err(error) => {
                let message = format!("{} cannot be a name for `{key}`", shown(text));
                let problem = Problem::error("P112", span.clone(), message).label(error.to_string());
                let lower = text.to_lowercase().replace(' ', "-");
                self.problems.push(match lower.parse::<T>() {
                    Ok(_) if lower != *text && secret_part(text).is_none() => {
                        problem.suggest(Some(&lower), span, true)
                    }
                    _ => problem,
                });
                None
            }
        }
    }

    pub(super) fn whole(&mut self, key: &str, range: RangeInclusive<u32>) -> Option<At<u32>> {
        let entry = self.take(key)?;
        let span = entry.node.span.clone();
        match &entry.node.value {
            Value::Whole(number) => match u32::try_from(*number).ok().filter(|number| range.contains(number))
            {
                Some(value) => Some(At { value, span }),
                None => {
                    let problem = Problem::error("P108", span, format!("`{key}` is out of bounds"));
                    self.problems.push(problem.label(format!("{} to {}", range.start(), range.end())));
                    None
                }
            },
            Value::Text(text) if text.trim().parse::<u32>().is_ok() => {
                let problem = self.wrong_kind(entry, "a whole number");
                self.problems.push(problem.replace("write it without quotes", span, text.trim()));
                None
            }
            _ => {
                let problem = self.wrong_kind(entry, "a whole number");
                self.problems.push(problem);
                None
            }
        }
    }

    pub(super) fn flag(&mut self, key: &str) -> Option<At<bool>> {
        let entry = self.take(key)?;
        let span = entry.node.span.clone();
        match &entry.node.value {
            Value::Flag(value) => Some(At { value: *value, span }),
            other => {
                let meant = match other {
                    Value::Text(text) if matches!(text.as_str(), "true" | "yes" | "on") => Some("true"),
                    Value::Text(text) if matches!(text.as_str(), "false" | "no" | "off") => Some("false"),
                    _ => None,
                };
                let mut problem = self.wrong_kind(entry, "true or false");
                if let Some(meant) = meant {
                    problem = problem.replace("write it without quotes", span, meant);
                }
                self.problems.push(problem);
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Option<At<T>> {
        let line = self.line(key, 64)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == line.value) {
            return Some(At { value: *value, span: line.span });
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let message = format!("`{key}` cannot be {}", shown(&line.value));
        self.problems.push(
            Problem::error("P108", line.span.clone(), message)
                .label(format!("one of {}", known.join(", ")))
                .suggest(nearest(&line.value, known.iter().copied()), line.span, true),
        );
        None
    }

    /// A length of time with its unit.
    pub(super) fn length(&mut self, key: &str) -> Option<At<Millis>> {
        let entry = self.take(key)?;
        let span = entry.node.span.clone();
        let text = match &entry.node.value {
            Value::Text(text) => text.clone(),
            Value::Whole(number) => number.to_string(),
            _ => {
                let problem = self.wrong_kind(entry, "a length of time");
                self.problems
                    .push(problem.help("write a number with its unit, in quotes: \"90s\", \"10m\", \"12h\""));
                return None;
            }
        };
        match text.parse() {
            Ok(value) => Some(At { value, span }),
            Err(error) => {
                self.problems.push(length_problem(key, &text, &error, span));
                None
            }
        }
    }

    /// Hosts as a whole count or as per cent of the selection; never nobody.
    pub(super) fn amount(&mut self, key: &str) -> Option<At<Amount>> {
        let amount = self.tolerance(key)?;
        if matches!(amount.value, Amount::Count(0)) {
            let problem = Problem::error("P133", amount.span, format!("`{key}` cannot be 0"));
            self.problems.push(problem.label("that is nobody").note("the least is 1, or \"1%\""));
            return None;
        }
        Some(amount)
    }

    /// Like [`Reader::amount`], and 0 is allowed.
    pub(super) fn tolerance(&mut self, key: &str) -> Option<At<Amount>> {
        let entry = self.take(key)?;
        let span = entry.node.span.clone();
        let wrong = |label: String| {
            Problem::error("P133", span.clone(), format!("`{key}` is a number of hosts or per cent"))
                .label(label)
        };
        let problem = match &entry.node.value {
            Value::Whole(number) => match u32::try_from(*number) {
                Ok(count) => return Some(At { value: Amount::Count(count), span }),
                Err(_) => wrong("no number of hosts".into()),
            },
            Value::Text(text) => {
                match text.trim_end().strip_suffix('%').map(|number| number.trim().parse::<u32>()) {
                    Some(Ok(percent @ 1..=100)) => return Some(At { value: Amount::Percent(percent), span }),
                    Some(Ok(_)) => wrong("per cent go from 1% to 100%".into()),
                    Some(Err(_)) => wrong("a whole number before the %".into()),
                    None if text.trim().parse::<u32>().is_ok() => {
                        let number = text.trim();
                        wrong("hosts or per cent?".into()).replace(
                            format!("for per cent write \"{number}%\"; for {number} hosts"),
                            span.clone(),
                            number,
                        )
                    }
                    None => wrong(format!("{} is neither", shown(text))).help("write 3, or \"25%\""),
                }
            }
            Value::Real(real) if *real > 0.0 && *real <= 1.0 => {
                let percent = format!("\"{}%\"", (real * 100.0).ceil());
                wrong("a fraction".into()).replace("write it as per cent", span.clone(), percent)
            }
            other => wrong(format!("this is {}", other.kind())).help("write 3, or \"25%\""),
        };
        self.problems.push(problem);
        None
    }

    pub(super) fn table(&mut self, key: &str) -> Option<At<&'t Table>> {
        let entry = self.take(key)?;
        match &entry.node.value {
            Value::Table(table) => Some(At { value: table, span: entry.node.span.clone() }),
            Value::List(_) => {
                let problem = self.wrong_kind(entry, "one table");
                self.problems.push(problem.help(format!("write [{key}] with single brackets, once")));
                None
            }
            _ => {
                let problem = self.wrong_kind(entry, "a table");
                self.problems.push(problem);
                None
            }
        }
    }

    pub(super) fn tables(&mut self, key: &str) -> Vec<At<&'t Table>> {
        let Some(entry) = self.take(key) else { return Vec::new() };
        let Value::List(items) = &entry.node.value else {
            let problem = self.wrong_kind(entry, "a list of tables");
            self.problems.push(problem.help(format!("write [[{key}]] with double brackets, once for each")));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in items {
            match &item.value {
                Value::Table(table) => tables.push(At { value: table, span: item.span.clone() }),
                other => self.problems.push(
                    Problem::error("P105", item.span.clone(), format!("`{key}` is a list of tables"))
                        .label(format!("this is {}", other.kind())),
                ),
            }
        }
        tables
    }

    /// Reports the keys that this table does not have.
    pub(super) fn finish(self) {
        for entry in &self.table.entries {
            let key = entry.key.as_str();
            if self.section.keys.contains(&key) {
                continue;
            }
            let problem = if self.section.later.contains(&key) {
                Problem::error(
                    "P110",
                    entry.key_span.clone(),
                    format!("this version does not carry out `{key}` yet"),
                )
                .label("known, but not yet carried out")
                .help("take it out: a plan is signed only for what is really done")
            } else {
                self.unknown(entry)
            };
            self.problems.push(problem);
        }
    }

    fn unknown(&self, entry: &Entry) -> Problem {
        let message = format!("{} has no key {}", self.section.what, shown(&entry.key));
        let problem = Problem::error("P104", entry.key_span.clone(), message).label("unknown key");
        let elsewhere = SECTIONS
            .iter()
            .find(|other| other.header != self.section.header && other.keys.contains(&entry.key.as_str()));
        match (nearest(&entry.key, self.section.keys.iter().copied()), elsewhere) {
            (Some(word), _) => problem.suggest(Some(word), entry.key_span.clone(), false),
            (None, Some(other)) if other.header.is_empty() => problem
                .help(format!("`{}` stands at the top of the file, before the first [table]", entry.key)),
            (None, Some(other)) => problem.help(format!("`{}` belongs to {}", entry.key, other.header)),
            (None, None) => problem.note(format!("its keys are: {}", self.section.keys.join(", "))),
        }
    }
}

pub(crate) fn disguise(odd: char, span: Place, what: &str) -> Problem {
    let message = format!("{what} holds a character that people cannot see");
    Problem::error("P109", span, message)
        .label(format!("U+{:04X} stands here", u32::from(odd)))
        .note("what one reads must be what one signs")
        .help("take the character out")
}

fn length_problem(key: &str, text: &str, error: &DurationError, span: Place) -> Problem {
    let message = format!("`{key}` cannot be {}", shown(text));
    let problem = Problem::error("P106", span.clone(), message).label(error.to_string());
    let joined: String = text.split_whitespace().collect();
    let weeks = joined.trim_end_matches("eeks").trim_end_matches("eek").strip_suffix('w');
    let meant = match error {
        _ if joined.parse::<Millis>().is_ok() => Some(joined),
        _ if weeks.is_some() => weeks
            .and_then(|weeks| weeks.parse::<u16>().ok())
            .map(|weeks| format!("{}d", u32::from(weeks) * 7)),
        DurationError::Unit(unit) => match unit.to_lowercase().trim_end_matches('s') {
            "min" | "minute" => Some("m"),
            "sec" | "second" => Some("s"),
            "hr" | "hour" | "h" => Some("h"),
            "day" | "d" => Some("d"),
            "milli" | "msec" | "millisecond" => Some("ms"),
            _ => None,
        }
        .map(|short| text.replacen(unit.as_str(), short, 1))
        .filter(|meant| meant.parse::<Millis>().is_ok()),
        _ => None,
    };
    match (meant, error) {
        (Some(meant), _) => problem.suggest(Some(&meant), span, true),
        (None, DurationError::UnitMissing(number)) => problem.help(format!(
            "write \"{number}s\" for seconds, \"{number}m\" for minutes or \"{number}h\" for hours"
        )),
        (None, _) => problem.help("write a number with its unit: \"90s\", \"10m\", \"1h 30m\""),
    }
}
