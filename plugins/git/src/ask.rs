//! The forms of git, as functions.

use sternway_plugin::Error;
use sternway_plugin::host::programs::{self, Call, Ended, Hole};

const ASK_TIMEOUT_MS: u64 = 60_000;
const STAGE_TIMEOUT_MS: u64 = 600_000;

/// Holes by name; the tree is the scope as well.
type Holes<'a> = &'a [(&'a str, &'a [String])];

/// Its output; an error when it ended otherwise than `codes` has it.
pub(crate) fn ask(form: &str, tree: &str, holes: Holes<'_>, codes: &[i32]) -> Result<(i32, String), Error> {
    end(form, &programs::ask(&call(form, tree, holes, ASK_TIMEOUT_MS))?, codes)
}

pub(crate) fn stage(form: &str, tree: &str, holes: Holes<'_>) -> Result<String, Error> {
    end(form, &programs::stage(&call(form, tree, holes, STAGE_TIMEOUT_MS))?, &[0]).map(|(_, text)| text)
}

/// As [`stage`], for a form that ends with 1 when it found nothing.
pub(crate) fn stage_any(form: &str, tree: &str, holes: Holes<'_>) -> Result<String, Error> {
    end(form, &programs::stage(&call(form, tree, holes, STAGE_TIMEOUT_MS))?, &[0, 1]).map(|(_, text)| text)
}

/// The full name of the commit; none when there is no such revision.
pub(crate) fn resolve(tree: &str, to: &str) -> Result<Option<String>, Error> {
    let (code, text) = ask("git.resolve", tree, &[tree_hole(&own(tree)), ("to", &own(to))], &[0, 1, 128])?;
    Ok((code == 0).then(|| text.trim().to_owned()).filter(|text| !text.is_empty()))
}

pub(crate) fn resolve_staged(tree: &str, to: &str) -> Result<String, Error> {
    let text = stage("git.resolve-staged", tree, &[tree_hole(&own(tree)), ("to", &own(to))]);
    text.map(|text| text.trim().to_owned())
        .map_err(|error| Error { code: "git/unknown-revision".to_owned(), ..error })
}

pub(crate) fn tree_hole(tree: &[String; 1]) -> (&str, &[String]) {
    ("tree", tree)
}

pub(crate) fn own(text: &str) -> [String; 1] {
    [text.to_owned()]
}

fn call(form: &str, tree: &str, holes: Holes<'_>, timeout_ms: u64) -> Call {
    let hole =
        |(name, values): &(&str, &[String])| Hole { name: (*name).to_owned(), values: values.to_vec() };
    Call { form: form.to_owned(), on: tree.to_owned(), holes: holes.iter().map(hole).collect(), timeout_ms }
}

fn end(form: &str, ended: &Ended, codes: &[i32]) -> Result<(i32, String), Error> {
    match ended.code {
        Some(code) if codes.contains(&code) => {
            Ok((code, String::from_utf8_lossy(&ended.output).into_owned()))
        }
        code => {
            let how = code.map_or_else(|| "was killed".to_owned(), |code| format!("ended with {code}"));
            let said = ended.complaint.trim().lines().last().unwrap_or("nothing").to_owned();
            Err(Error::failed("git/failed", format!("{form} {how} and said: {said}")))
        }
    }
}
