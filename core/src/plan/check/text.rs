//! The text itself: what people read must be what they sign, and a plan is no
//! place for secrets.

use crate::ids::is_disguise;
use crate::plan::TEXT_BYTES_MAX;
use crate::plan::draft::{Draft, UndoDraft, disguise};
use crate::plan::problem::Problem;
use crate::plan::secret::looks_secret;
use crate::plan::tree::{Table, Value};

pub(crate) fn check(draft: &Draft, problems: &mut Vec<Problem>) {
    if draft.text.len() > TEXT_BYTES_MAX {
        problems.push(too_long(draft.text.len()));
    }
    for (at, odd) in draft.text.char_indices().filter(|(_, c)| is_disguise(*c)) {
        let crlf = odd == '\r' && draft.text[at + 1..].starts_with('\n');
        if !matches!(odd, '\n' | '\t') && !crlf {
            problems.push(disguise(odd, at..at + odd.len_utf8(), "the file"));
            break;
        }
    }
    for (key, value) in &draft.vars {
        secret(key, &value.value, &value.span, problems);
    }
    for step in &draft.steps {
        let undo = match &step.undo {
            Some(UndoDraft::Settings(settings)) => Some(&settings.value),
            _ => None,
        };
        for table in step.with.iter().map(|with| &with.value).chain(undo) {
            settings(table, problems);
        }
    }
}

/// A file that is not even read.
pub(crate) fn too_long(bytes: usize) -> Problem {
    Problem::error("P109", 0..0, format!("a plan has at most {TEXT_BYTES_MAX} bytes"))
        .label(format!("this one has {bytes}"))
        .help("keep data out of the plan: settings name it, points hold it")
}

fn settings(table: &Table, problems: &mut Vec<Problem>) {
    for entry in &table.entries {
        if let Value::Table(inner) = &entry.node.value {
            settings(inner, problems);
            continue;
        }
        entry.node.each_text(&mut |text, span| {
            secret(&entry.key, text, span, problems);
            if let Some(odd) = text.chars().find(|c| is_disguise(*c) && !matches!(c, '\n' | '\t')) {
                problems.push(disguise(odd, span.clone(), &format!("`{}`", entry.key)));
            }
        });
        if let Some(odd) = entry.key.chars().find(|c| is_disguise(*c)) {
            problems.push(disguise(odd, entry.key_span.clone(), "a key"));
        }
    }
}

fn secret(key: &str, value: &str, span: &std::ops::Range<usize>, problems: &mut Vec<Problem>) {
    if looks_secret(key, value) {
        problems.push(
            Problem::warning(
                "P140",
                span.clone(),
                "a plan is read by everybody who reviews or carries it out",
            )
            .label("a value that looks like a key")
            .help("leave secrets on the hosts, and let the service read them there"),
        );
    }
}
