//! What is wrong with a draft, where, why, and what to write instead.

use std::ops::Range;

use serde::Serialize;

use super::tree::Place;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The plan cannot be sealed.
    Error,
    /// It can, but a person should know.
    Warning,
}

/// One finding: a sentence in the reader's words, the place, the reason there,
/// and a way out. Codes are stable: P1xx shape and meaning, P2xx against the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub code: &'static str,
    pub level: Level,
    pub message: String,
    pub span: Place,
    pub label: String,
    /// Other places that explain this one.
    pub related: Vec<(Place, String)>,
    pub notes: Vec<String>,
    pub help: Option<Fix>,
}

/// Advice, and the replacements that carry it out when they are known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fix {
    pub text: String,
    /// Byte ranges of the text and what to write there; never overlapping.
    pub patches: Vec<(Range<usize>, String)>,
}

impl Problem {
    pub fn error(code: &'static str, span: Place, message: impl Into<String>) -> Self {
        Self {
            code,
            level: Level::Error,
            message: message.into(),
            span,
            label: String::new(),
            related: Vec::new(),
            notes: Vec::new(),
            help: None,
        }
    }

    pub fn warning(code: &'static str, span: Place, message: impl Into<String>) -> Self {
        Self { level: Level::Warning, ..Self::error(code, span, message) }
    }

    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    #[must_use]
    pub fn see(mut self, span: Place, label: impl Into<String>) -> Self {
        self.related.push((span, label.into()));
        self
    }

    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Advice without a ready replacement.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(Fix { text: text.into(), patches: Vec::new() });
        self
    }

    /// Advice with the text to write at `span`.
    #[must_use]
    pub fn replace(mut self, text: impl Into<String>, span: Place, with: impl Into<String>) -> Self {
        self.help = Some(Fix { text: text.into(), patches: vec![(span, with.into())] });
        self
    }

    /// Puts `with` at `span` when the nearest known word is known, with the usual question.
    #[must_use]
    pub fn suggest(self, nearest: Option<&str>, span: Place, quote: bool) -> Self {
        match nearest {
            None => self,
            Some(word) => {
                let with = if quote { format!("\"{word}\"") } else { word.to_owned() };
                self.replace(format!("did you mean `{word}`?"), span, with)
            }
        }
    }

    pub fn is_error(&self) -> bool {
        self.level == Level::Error
    }
}

/// By place, then by code: the order in which a person goes through the file.
pub fn sort(problems: &mut Vec<Problem>) {
    problems.sort_by(|a, b| {
        (a.span.start, a.span.end, a.level, a.code).cmp(&(b.span.start, b.span.end, b.level, b.code))
    });
    problems.dedup();
}

/// `1 host`, `2 hosts`.
pub fn count(number: usize, thing: &str) -> String {
    match (number, thing.strip_suffix('y')) {
        (1, _) => format!("1 {thing}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        _ => format!("{number} {thing}s"),
    }
}
