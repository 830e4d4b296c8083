//! `plan.toml` to a judged draft, and its problems as pictures of the file.
//!
//! The only module that reads TOML plans: [`sternway_core::plan`] sees a tree
//! with places, whatever the notation.

use std::ops::Range;

use sternway_core::manifest::Catalogue;
use sternway_core::plan::check::check;
use sternway_core::plan::draft::Draft;
use sternway_core::plan::problem::{self, Problem};
use sternway_core::plan::tree::{Entry, Node, Table, Value};
use sternway_core::plan::{InventoryHost, TEXT_BYTES_MAX};
use toml::de::{DeTable, DeValue};

mod inventory;
mod picture;

pub(crate) use inventory::read_inventory;
pub(crate) use picture::{JsonProblem, render, to_json};

/// A draft and everything that is wrong with it, in the order of the file.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) draft: Draft,
    pub(crate) problems: Vec<Problem>,
}

impl Loaded {
    pub(crate) fn has_errors(&self) -> bool {
        self.problems.iter().any(Problem::is_error)
    }
}

/// Reads and judges a plan; with an inventory also against the fleet. Any bytes will do.
pub(crate) fn load(bytes: &[u8], catalogue: &Catalogue, inventory: Option<&[InventoryHost]>) -> Loaded {
    let draft = read(bytes);
    let problems = check(&draft, catalogue, inventory);
    Loaded { draft, problems }
}

fn read(bytes: &[u8]) -> Draft {
    if bytes.len() > TEXT_BYTES_MAX {
        return Draft::unreadable("", too_long(bytes.len()));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let text = String::from_utf8_lossy(bytes);
            let at = error.valid_up_to();
            let problem =
                Problem::error("P101", at..at + '\u{fffd}'.len_utf8(), "the file is not UTF-8 text")
                    .label("no character of UTF-8")
                    .help("save the file as UTF-8");
            return Draft::unreadable(&text, problem);
        }
    };
    match parse(text) {
        Ok(document) => Draft::read(text, &document),
        Err(problem) => Draft::unreadable(text, *problem),
    }
}

fn too_long(length: usize) -> Problem {
    Problem::error("P101", 0..0, format!("a plan has at most {TEXT_BYTES_MAX} bytes"))
        .label(format!("this file has {length}"))
        .help("keep data out of the plan: settings name it, points hold it")
}

/// The document as a tree, or the first mistake of its notation: what follows
/// such a mistake is guesswork.
fn parse(text: &str) -> Result<Table, Box<Problem>> {
    let document = DeTable::parse(text).map_err(|error| Box::new(syntax(text, &error)))?;
    Ok(table(text, document.get_ref()))
}

fn table(text: &str, read: &DeTable<'_>) -> Table {
    let mut entries: Vec<Entry> = read
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_span: on_characters(text, key.span()),
            node: node(text, value.get_ref(), value.span()),
        })
        .collect();
    entries.sort_by_key(|entry| entry.key_span.start);
    Table { entries }
}

fn node(text: &str, read: &DeValue<'_>, span: Range<usize>) -> Node {
    let value = match read {
        DeValue::String(string) => Value::Text(string.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Whole(number),
            // No key of a plan is that large; as a real number it is refused with its place.
            Err(_) => Value::Real(f64::INFINITY),
        },
        DeValue::Float(number) => Value::Real(number.as_str().parse().unwrap_or(f64::INFINITY)),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(moment) => Value::Moment(moment.to_string()),
        DeValue::Array(items) => {
            Value::List(items.iter().map(|item| node(text, item.get_ref(), item.span())).collect())
        }
        DeValue::Table(inner) => Value::Table(table(text, inner)),
    };
    Node { span: on_characters(text, span), value }
}

/// The nearest range that cuts no character in two.
fn on_characters(text: &str, span: Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let end = text.ceil_char_boundary(span.end.clamp(start, text.len()));
    start..end
}

fn syntax(text: &str, error: &toml::de::Error) -> Problem {
    let span = on_characters(text, error.span().unwrap_or(0..0));
    let message = error.message().lines().next().unwrap_or("not TOML");
    if message.contains("duplicate key") {
        return duplicate(text, span);
    }
    let line = line_of(text, span.start);
    let problem = Problem::error("P101", span.clone(), "this is not TOML").label(message.to_owned());
    match unquoted(line) {
        Some((value, at)) => {
            let start = line.start + at;
            problem.replace("texts stand in quotes", start..start + value.len(), format!("\"{value}\""))
        }
        None => problem.note("what follows was not read: a mistake here can hide others"),
    }
}

#[derive(Clone, Copy)]
struct Line<'a> {
    start: usize,
    text: &'a str,
}

fn line_of(text: &str, at: usize) -> Line<'_> {
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
    Line { start, text: &text[start..end] }
}

/// `soak = 10m`: a bare word or length where a text in quotes was meant.
fn unquoted(line: Line<'_>) -> Option<(String, usize)> {
    let (_, value) = line.text.split_once('=')?;
    let value = value.split('#').next().unwrap_or_default();
    let word = value.trim();
    let is_word = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "._-%@".contains(c));
    let at = line.text.find('=')? + 1 + (value.len() - value.trim_start().len());
    is_word.then(|| (word.to_owned(), at))
}

fn duplicate(text: &str, span: Range<usize>) -> Problem {
    let key = text.get(span.clone()).unwrap_or_default().trim().to_owned();
    let line = line_of(text, span.start);
    let in_header = line.text.trim_start().starts_with('[');
    let shown = sternway_core::plan::secret::shown(&key);
    let what = if in_header { "the table" } else { "the key" };
    let problem = Problem::error("P102", span.clone(), format!("{what} {shown} is written twice"))
        .label("again here")
        .help("keep one of the two");
    match first_of(text, &key, line.start, in_header) {
        Some(first) => problem.see(first, "first here"),
        None => problem,
    }
}

/// Where the key was written before, within the same table when it is a plain line.
fn first_of(text: &str, key: &str, before: usize, in_header: bool) -> Option<Range<usize>> {
    let mut found = None;
    let mut at = 0;
    for line in text[..before].split_inclusive('\n') {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        if in_header {
            let inside = trimmed.trim_start_matches('[').trim_start();
            if trimmed.starts_with('[') && inside.trim_end().trim_end_matches(']').trim_end().ends_with(key) {
                found =
                    trimmed.find(key).map(|offset| at + indent + offset..at + indent + offset + key.len());
            }
        } else if trimmed.starts_with('[') {
            found = None;
        } else if trimmed.split('=').next().is_some_and(|written| written.trim() == key) {
            found = Some(at + indent..at + indent + key.len());
        }
        at += line.len();
    }
    found.filter(|_| !key.is_empty())
}

/// `2 problems, 1 warning`.
pub(crate) fn tally(problems: &[Problem]) -> String {
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let warnings = problems.len() - errors;
    match (errors, warnings) {
        (errors, 0) => problem::count(errors, "problem"),
        (0, warnings) => problem::count(warnings, "warning"),
        (errors, warnings) => {
            format!("{}, {}", problem::count(errors, "problem"), problem::count(warnings, "warning"))
        }
    }
}
