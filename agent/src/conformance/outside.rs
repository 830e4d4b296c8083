//! Real parts of a case that are no files: its own programs put them back to
//! the beginning and say how they stand.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::ConformanceError;
use super::case::{Case, OutsideCase};

const TAIL_CHARS: usize = 400;

/// Why the case cannot be run here, if it cannot.
pub(super) fn cannot(case: &Case) -> Option<String> {
    let outside = case.file.outside.as_ref()?;
    match called(case, &outside.can, Path::new("/")) {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(last_line(&output).unwrap_or_else(|| "its `can` says no".to_owned())),
        Err(cause) => Some(format!("`{}` cannot be run: {cause}", outside.can.join(" "))),
    }
}

pub(super) fn reset(case: &Case, outside: &OutsideCase, root: &Path) -> Result<(), ConformanceError> {
    said(case, &outside.reset, root).map(drop)
}

/// Name to state.
pub(super) fn picture(
    case: &Case,
    outside: &OutsideCase,
    root: &Path,
) -> Result<BTreeMap<String, String>, ConformanceError> {
    let lines = said(case, &outside.picture, root)?;
    let line = |line: &str| match line.split_once(" = ") {
        Some((name, state)) => Ok((format!("outside {name}"), state.to_owned())),
        None => Err(case.wrong(&format!("`picture` says `{line}`, which is no `name = state`"))),
    };
    lines.lines().filter(|line| !line.trim().is_empty()).map(line).collect()
}

fn said(case: &Case, words: &[String], root: &Path) -> Result<String, ConformanceError> {
    let command = words.join(" ");
    let output = called(case, words, root)
        .map_err(|cause| case.wrong(&format!("`{command}` cannot be run: {cause}")))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        let from = why.char_indices().rev().nth(TAIL_CHARS).map_or(0, |(at, _)| at);
        return Err(case.wrong(&format!("`{command}` failed ({}): {}", output.status, why[from..].trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn called(case: &Case, words: &[String], root: &Path) -> std::io::Result<Output> {
    let (program, arguments) = words.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    let folder = case.folder().canonicalize()?;
    let program = match program.strip_prefix("./") {
        Some(own) => folder.join(own).into_os_string(),
        None => program.into(),
    };
    Command::new(program).args(arguments).current_dir(folder).env("ROOT", root).stdin(Stdio::null()).output()
}

fn last_line(output: &Output) -> Option<String> {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned)
}
