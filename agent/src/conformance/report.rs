//! What came of it, for people and as JSON.

use std::fmt::Write as _;

use serde::Serialize;
use sternway_core::manifest::Manifest;

use super::case::Case;

/// Of a row's problems, as many are shown to people.
const PROBLEMS_SHOWN: usize = 5;
const DIFFERENCES_SHOWN: usize = 8;

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// A path, a service or a URL.
    pub what: String,
    /// As it should be.
    pub wanted: String,
    /// As it is.
    pub found: String,
}

/// A trial that did not end as it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// By which it is run alone: `kill:apply:7:after`.
    pub check: String,
    /// The host call at which something was done to the plugin.
    pub call: Option<String>,
    /// What is wrong.
    pub message: String,
    /// In detail.
    pub differences: Vec<Difference>,
}

/// One kind of check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The first word of its checks' names.
    pub name: &'static str,
    /// What it asks, for people.
    pub asks: &'static str,
    /// How many trials were run.
    pub tried: usize,
    /// Those that did not end as they should.
    pub problems: Vec<Problem>,
}

/// One case, proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The plugin's name and version.
    pub plugin: String,
    /// The case's name.
    pub case: String,
    /// Its folder.
    pub folder: String,
    /// What it shows.
    pub summary: String,
    /// Why it was left out, if it was.
    pub skipped: Option<String>,
    /// Worth knowing, and no failure.
    pub notes: Vec<String>,
    /// By kind of check.
    pub rows: Vec<Row>,
}

impl Report {
    pub(super) fn new(case: &Case, manifest: &Manifest) -> Self {
        Self {
            plugin: format!("{} {}", manifest.name, manifest.version),
            case: case.name(),
            folder: case.folder().display().to_string(),
            summary: case.file.summary.clone(),
            skipped: None,
            notes: Vec::new(),
            rows: Vec::new(),
        }
    }

    pub(super) fn skipped(case: &Case, manifest: &Manifest, why: &str) -> Self {
        Self { skipped: Some(why.to_owned()), ..Self::new(case, manifest) }
    }

    /// How many trials were run.
    pub fn tried(&self) -> usize {
        self.rows.iter().map(|row| row.tried).sum()
    }

    /// All that is wrong.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.rows.iter().flat_map(|row| &row.problems)
    }

    /// As a table; `again` is the command that runs one check, its name left out.
    pub fn table(&self, again: &str) -> String {
        let mut text = format!("{} with {}: {}\n", self.plugin, self.case, self.summary);
        if let Some(why) = &self.skipped {
            let _ = writeln!(text, "  skipped: {why}");
        }
        for note in &self.notes {
            let _ = writeln!(text, "  note: {note}");
        }
        for row in &self.rows {
            let word = if row.problems.is_empty() { "ok    " } else { "FAILED" };
            let good = row.tried - row.problems.len();
            let _ = writeln!(text, "  {word}  {:<7} {:>4} of {:<4} {}", row.name, good, row.tried, row.asks);
            for problem in row.problems.iter().take(PROBLEMS_SHOWN) {
                problem.write(&mut text, again);
            }
            if row.problems.len() > PROBLEMS_SHOWN {
                let _ = writeln!(text, "          and {} more", row.problems.len() - PROBLEMS_SHOWN);
            }
        }
        text
    }
}

impl Problem {
    fn write(&self, text: &mut String, again: &str) {
        let at = self.call.as_ref().map_or_else(String::new, |call| format!(" at {call}"));
        let _ = writeln!(text, "          {}{at}: {}", self.check, self.message);
        for difference in self.differences.iter().take(DIFFERENCES_SHOWN) {
            let Difference { what, wanted, found } = difference;
            let _ = writeln!(text, "            {what}");
            let _ = writeln!(text, "              should be {wanted}");
            let _ = writeln!(text, "              but is    {found}");
        }
        if self.differences.len() > DIFFERENCES_SHOWN {
            let more = self.differences.len() - DIFFERENCES_SHOWN;
            let _ = writeln!(text, "            and {more} more");
        }
        let _ = writeln!(text, "            again: {again} --only {}", self.check);
    }
}
