//! Which keys change, and what the file says afterwards. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use sternway_plugin::{Action, Error, Finding, Risk, Verdict, Verification, paths};

use crate::document::Format;
use crate::env;
use crate::tree::{self, Edit};

/// Changes keys of one configuration file: first `rename`, then `keep`, `drop` and `set`.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("anyOf" = [
    {"required": ["rename"]}, {"required": ["keep"]}, {"required": ["drop"]}, {"required": ["set"]},
])))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Path of the file.
    #[cfg_attr(test, schemars(regex(pattern = "^/")))]
    file: String,
    /// How to read it. Left out: by the extension `.json`, `.yaml`, `.yml`, `.toml` or `.env`.
    format: Option<Format>,
    /// Old dotted key to new dotted key. An old key that is not there is passed over.
    rename: Option<BTreeMap<String, String>>,
    /// Keys at the top that stay; every other one goes.
    keep: Option<Vec<String>>,
    /// Dotted keys that go.
    drop: Option<Vec<String>>,
    /// Dotted key to its value; tables on the way are made.
    set: Option<BTreeMap<String, Value>>,
    /// Name of a `[[program]]` of the host with `effect = "stage"` that judges the new file before it is used; it gets the file's path in its hole `file`, and ends with 0 when the file is sound.
    #[cfg_attr(test, schemars(regex(pattern = "^[A-Za-z0-9][A-Za-z0-9_.@-]*$")))]
    pub(crate) validate: Option<String>,
}

/// What a file says now and shall say.
#[derive(Debug)]
pub(crate) struct Decided {
    /// None when nothing is left to change.
    pub(crate) text: Option<String>,
    pub(crate) changes: Vec<Change>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Change {
    key: String,
    before: Option<Value>,
    after: Option<Value>,
}

impl Settings {
    pub(crate) fn path(&self) -> Result<String, Error> {
        paths::path(&self.file)
    }

    pub(crate) fn decide(&self, text: &str) -> Result<Decided, Error> {
        let format = self.format()?;
        let before = format.read(text)?;
        let mut after = before.clone();
        let mut edits = Vec::new();
        let mut make = |after: &mut Value, edit: Edit| {
            let done = tree::apply(after, &edit);
            edits.push(edit);
            done
        };
        for (from, to) in self.rename.iter().flatten() {
            if let Some(edit) = renaming(format, &after, from, to)? {
                make(&mut after, edit)?;
            }
        }
        if let Some(keep) = &self.keep {
            let gone = top_keys(&after).into_iter().filter(|key| !keep.contains(key));
            for key in gone.collect::<Vec<_>>() {
                make(&mut after, Edit::Remove(vec![key]))?;
            }
        }
        for key in self.drop.iter().flatten() {
            let path = format.path(&after, key);
            if tree::get(&after, &path).is_some() {
                make(&mut after, Edit::Remove(path))?;
            }
        }
        for (key, value) in self.set.iter().flatten() {
            let value = if format == Format::Env { env::plain(key, value)?.into() } else { value.clone() };
            let path = format.path(&after, key);
            if tree::get(&after, &path) != Some(&value) {
                make(&mut after, Edit::Set(path, value))?;
            }
        }
        let changes = changes(&before, &after);
        let text = match changes.is_empty() {
            true => None,
            false => Some(format.edit(text, &edits, &after)?),
        };
        Ok(Decided { text, changes })
    }

    fn format(&self) -> Result<Format, Error> {
        self.format.or_else(|| Format::of(&self.file)).ok_or_else(|| {
            Error::invalid("config/format", format!("`{}` does not tell its format; set `format`", self.file))
        })
    }
}

fn renaming(format: Format, root: &Value, from: &str, to: &str) -> Result<Option<Edit>, Error> {
    let (from_path, to_path) = (format.path(root, from), format.path(root, to));
    match (tree::get(root, &from_path), tree::get(root, &to_path)) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(Error::conflict(
            "config/both-there",
            format!("`{from}` cannot become `{to}`: both are there"),
        )),
        (Some(_), None) => Ok(Some(Edit::Rename { from: from_path, to: to_path })),
    }
}

fn top_keys(root: &Value) -> Vec<String> {
    root.as_object().into_iter().flat_map(|table| table.keys().cloned()).collect()
}

fn changes(before: &Value, after: &Value) -> Vec<Change> {
    let (mut old, new) = (tree::leaves(before), tree::leaves(after));
    let mut changes = Vec::new();
    for (key, after) in new {
        let before = old.remove(&key);
        // A table left empty is told by the keys it lost.
        let inner = format!("{key}.");
        if before.is_none() && after.is_object() && old.keys().any(|gone| gone.starts_with(&inner)) {
            continue;
        }
        if before.as_ref() != Some(&after) {
            changes.push(Change { key, before, after: Some(after) });
        }
    }
    changes.extend(old.into_iter().map(|(key, before)| Change { key, before: Some(before), after: None }));
    changes.sort_by(|one, other| one.key.cmp(&other.key));
    changes
}

impl Change {
    pub(crate) fn action(&self, file: &str) -> Action {
        let verb = match (&self.before, &self.after) {
            (None, _) => "add",
            (Some(_), None) => "drop",
            (Some(_), Some(_)) => "set",
        };
        Action {
            summary: format!("{verb} {} in {file}", self.key),
            target: file.to_owned(),
            before: self.before.as_ref().map(|value| shown(&self.key, value)),
            after: self.after.as_ref().map(|value| shown(&self.key, value)),
            risk: Risk::Low,
        }
    }
}

/// People see previews in places where secrets must not stand.
fn shown(key: &str, value: &Value) -> String {
    const MARKS: [&str; 9] =
        ["passw", "secret", "token", "credential", "apikey", "api_key", "api-key", "private", "dsn"];
    let key = key.to_ascii_lowercase();
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let last = key.rsplit(['.', '_', '-']).next().unwrap_or_default();
    let in_url = text
        .split_once("://")
        .is_some_and(|(_, rest)| rest.split('/').next().is_some_and(|host| host.contains('@')));
    if MARKS.iter().any(|mark| key.contains(mark)) || last == "key" || in_url {
        return "(hidden)".to_owned();
    }
    match text.char_indices().nth(200) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

pub(crate) fn finding_no_file(file: &str) -> Finding {
    Finding::blocking("config/no-file", format!("{file} is not there or is no regular file"))
}

pub(crate) fn finding_no_validator(name: &str) -> Finding {
    Finding::blocking(
        "config/no-validator",
        format!("this host has no program `{name}` to judge the new file by, or not what it runs"),
    )
}

/// What a program that judged the new file said against it; none when it is sound.
/// Values of the file may stand in what it says, so only its complaint is told.
pub(crate) fn refusal(file: &str, name: &str, code: Option<i32>, complaint: &str) -> Option<Error> {
    if code == Some(0) {
        return None;
    }
    let how = code.map_or_else(|| "was killed".to_owned(), |code| format!("ended with {code}"));
    let said = complaint.trim().lines().last().unwrap_or_default();
    let said: String = said.chars().take(300).collect();
    let message = format!("{file} as it would be is not sound: `{name}` {how}: {said}");
    Some(Error::failed("config/not-valid", message))
}

/// The host may go on once the file or the plan is put right.
pub(crate) fn finding_of(file: &str, error: &Error) -> Finding {
    Finding::blocking(&error.code, format!("{file}: {}", error.message))
}

pub(crate) fn proof(file: &str, decided: &Result<Decided, Error>) -> Verification {
    let (verdict, measured) = match decided {
        Ok(decided) if decided.changes.is_empty() => (Verdict::Pass, "all keys as asked".to_owned()),
        Ok(decided) => {
            let keys: Vec<&str> = decided.changes.iter().map(|change| change.key.as_str()).collect();
            (Verdict::Fail, format!("not as asked: {}", keys.join(", ")))
        }
        Err(error) => (Verdict::Fail, error.message.clone()),
    };
    Verification {
        name: format!("{file} says what was asked"),
        verdict,
        message: format!("{file}: {measured}"),
        measured: Some(measured),
        expected: Some("all keys as asked".to_owned()),
    }
}

#[cfg(test)]
mod tests;
