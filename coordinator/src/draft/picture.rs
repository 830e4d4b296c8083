//! Problems as a person sees them (the line, a caret, the reason, what to
//! write instead), and as a program reads them.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Patch, Renderer, Snippet};
use serde::Serialize;
use sternway_core::plan::problem::{Fix, Level as Gravity, Problem};
use sternway_core::plan::secret;

/// Every problem as a picture of the file, and a last line that counts them.
/// Values that look like keys are starred out.
pub(crate) fn render(problems: &[Problem], file: &str, text: &str, color: bool) -> String {
    let raw = text;
    let text = secret::masked(raw);
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for problem in problems {
        out.push_str(&renderer.render(&groups(problem, file, &Shown { raw, text: &text })));
        out.push_str("\n\n");
    }
    let level = if problems.iter().any(Problem::is_error) { Level::ERROR } else { Level::WARNING };
    if !problems.is_empty() {
        let title = format!("{} in {file}", super::tally(problems));
        out.push_str(&renderer.render(&[Group::with_title(level.primary_title(title))]));
        out.push('\n');
    }
    out
}

/// The file as it is, and as it may be shown.
struct Shown<'a> {
    raw: &'a str,
    text: &'a str,
}

/// The replacements that may be shown: none where one would repeat a value that looks like a key.
fn patches<'a>(fix: &'a Fix, raw: &str, masked: &str) -> &'a [(Range<usize>, String)] {
    let hides = |span: &Range<usize>| raw.get(span.clone()) != masked.get(span.clone());
    if fix.patches.iter().any(|(span, with)| hides(&within(span, raw)) || secret::masked(with) != *with) {
        &[]
    } else {
        &fix.patches
    }
}

fn groups<'a>(problem: &'a Problem, file: &'a str, shown: &Shown<'a>) -> Vec<Group<'a>> {
    let text = shown.text;
    let level = if problem.is_error() { Level::ERROR } else { Level::WARNING };
    let mut annotations = vec![annotation(AnnotationKind::Primary, &problem.span, &problem.label, text)];
    for (span, label) in &problem.related {
        annotations.push(annotation(AnnotationKind::Context, span, label, text));
    }
    let mut main = level
        .primary_title(problem.message.as_str())
        .id(problem.code)
        .element(Snippet::source(text).path(file).annotations(annotations));
    for note in &problem.notes {
        main = main.element(Level::NOTE.message(note.as_str()));
    }
    let mut groups = Vec::new();
    match problem.help.as_ref().map(|fix| (fix, patches(fix, shown.raw, text))) {
        None => groups.push(main),
        Some((fix, [])) => groups.push(main.element(Level::HELP.message(fix.text.as_str()))),
        Some((fix, patches)) => {
            let patches = patches.iter().map(|(span, with)| Patch::new(within(span, text), with.as_str()));
            groups.push(main);
            groups.push(
                Level::HELP
                    .secondary_title(fix.text.as_str())
                    .element(Snippet::source(text).path(file).patches(patches)),
            );
        }
    }
    groups
}

fn annotation<'a>(
    kind: AnnotationKind,
    span: &Range<usize>,
    label: &'a str,
    text: &str,
) -> annotate_snippets::Annotation<'a> {
    let annotation = kind.span(first_line(&within(span, text), text));
    if label.is_empty() { annotation } else { annotation.label(label) }
}

/// The renderer wants places inside the text.
fn within(span: &Range<usize>, text: &str) -> Range<usize> {
    let start = text.floor_char_boundary(span.start.min(text.len()));
    start..text.ceil_char_boundary(span.end.clamp(start, text.len()))
}

/// A table is pointed at by its first line; its body would fill the screen.
fn first_line(span: &Range<usize>, text: &str) -> Range<usize> {
    let length = text[span.clone()].find('\n').unwrap_or(span.len());
    span.start..span.start + length
}

/// One problem for programs: places as bytes and as line and column (from 1, in characters).
#[derive(Debug, Serialize)]
pub(crate) struct JsonProblem<'a> {
    code: &'static str,
    level: Gravity,
    message: &'a str,
    place: JsonPlace,
    label: &'a str,
    related: Vec<(JsonPlace, &'a str)>,
    notes: &'a [String],
    help: Option<JsonFix<'a>>,
}

#[derive(Debug, Serialize)]
struct JsonPlace {
    from_byte: usize,
    to_byte: usize,
    line: usize,
    column: usize,
}

#[derive(Debug, Serialize)]
struct JsonFix<'a> {
    text: &'a str,
    replace: Vec<(JsonPlace, &'a str)>,
}

pub(crate) fn to_json<'a>(problems: &'a [Problem], text: &str) -> Vec<JsonProblem<'a>> {
    let place = |span: &Range<usize>| {
        let span = within(span, text);
        let line_start = text[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
        JsonPlace {
            from_byte: span.start,
            to_byte: span.end,
            line: text[..span.start].matches('\n').count() + 1,
            column: text[line_start..span.start].chars().count() + 1,
        }
    };
    let masked = secret::masked(text);
    problems
        .iter()
        .map(|problem| JsonProblem {
            code: problem.code,
            level: problem.level,
            message: &problem.message,
            place: place(&problem.span),
            label: &problem.label,
            related: problem.related.iter().map(|(span, label)| (place(span), label.as_str())).collect(),
            notes: &problem.notes,
            help: problem.help.as_ref().map(|fix| JsonFix {
                text: &fix.text,
                replace: patches(fix, text, &masked)
                    .iter()
                    .map(|(span, with)| (place(span), with.as_str()))
                    .collect(),
            }),
        })
        .collect()
}
