//! From a form and a call to the words of a program. Every value is judged
//! here, by the rule of its hole; what is refused names the hole and the reason.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use super::form::{Argument, Form, FormEffect, HoleKind, HoleRule, Part, parts, sole_hole};
use super::{Call, FileScopes, Resolve};
use crate::capabilities::files::{HostPath, Place};
use crate::capabilities::{ErrorKind, HostError};

const NAME_CHARACTERS_MAX: usize = 200;
const NUMBER_DIGITS_MAX: usize = 18;
/// What one argument may hold on Linux, with its NUL.
const TEXT_BYTES_MAX: usize = 128 * 1024 - 1;
const INPUT_BYTES_MAX: usize = 1 << 20;
const WORDS_BYTES_MAX: usize = 1 << 20;
/// Commands of database clients, which are no SQL, at the beginning of a line.
const CLIENT_COMMANDS: [&str; 5] = ["system", "source", "pager", "tee", "edit"];

/// A form with its holes filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filled {
    pub(super) words: Vec<OsString>,
    pub(super) input: Input,
    /// Where its output goes.
    pub(super) output: Option<PathBuf>,
}

/// What a program reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    Nothing,
    File(PathBuf),
    Text(String),
}

/// The values of a call, each judged. Nothing of the host was looked at yet.
#[derive(Debug)]
pub(super) struct Values<'a> {
    form: &'a Form,
    by_hole: BTreeMap<&'a str, &'a [String]>,
    on: &'a [String],
}

impl<'a> Values<'a> {
    /// # Errors
    /// `programs/bad-hole`, with the hole and the reason.
    pub(super) fn judge(form: &'a Form, call: &'a Call) -> Result<Self, HostError> {
        let mut by_hole = BTreeMap::new();
        for hole in &call.holes {
            let refuse = |reason: &str| Err(bad_hole(form, &hole.name, reason));
            let Some((name, rule)) = form.holes.get_key_value(&hole.name) else {
                return refuse("the form has no such hole");
            };
            if by_hole.insert(name.as_str(), hole.values.as_slice()).is_some() {
                return refuse("it is filled twice");
            }
            if hole.values.len() > 1 && !rule.many {
                return refuse("it takes one value");
            }
            for value in &hole.values {
                if let Err(reason) = judge(rule, value) {
                    return refuse(&reason);
                }
            }
        }
        let is_open = |name: &str| by_hole.get(name).is_none_or(|values| values.is_empty());
        for (name, rule) in &form.holes {
            if !rule.many && !rule.optional && is_open(name) {
                return Err(bad_hole(form, name, "it is not filled"));
            }
        }
        let scope = HoleRule { kind: form.on.kind, choices: vec![], many: false, optional: false };
        judge(&scope, &call.on).map_err(|reason| bad_hole(form, "on", &reason))?;
        Ok(Self { form, by_hole, on: std::slice::from_ref(&call.on) })
    }

    /// Paths that grants must cover. What is live is only read, unless the form
    /// may change what is live.
    pub(super) fn paths(&self) -> FileScopes {
        let mut scopes = FileScopes::default();
        for (name, values) in &self.by_hole {
            let Some(rule) = self.form.holes.get(*name).filter(|rule| rule.kind.is_path()) else {
                continue;
            };
            let only_reads = match self.form.effect {
                FormEffect::Read => true,
                FormEffect::Stage => rule.kind != HoleKind::Side,
                FormEffect::Change => false,
            };
            let list = if only_reads { &mut scopes.read } else { &mut scopes.changed };
            list.extend(values.iter().cloned());
        }
        scopes
    }

    /// # Errors
    /// `programs/bad-hole`, `programs/no-file`, or what `resolve` says.
    pub(super) fn fill(&self, resolve: Resolve<'_>) -> Result<Filled, HostError> {
        let filling = Filling { values: self, resolve };
        let mut words = Vec::new();
        for argument in &self.form.arguments {
            filling.argument(argument, &mut words)?;
        }
        let bytes: usize = words.iter().map(|word| word.len() + 1).sum();
        if bytes > WORDS_BYTES_MAX {
            return Err(bad_hole(self.form, "on", "all arguments together are longer than 1 MiB"));
        }
        let input = match (&self.form.stdin, &self.form.stdin_text) {
            (Some(text), _) => filling.file(text)?.map_or(Input::Nothing, Input::File),
            (None, Some(text)) => filling.text(text)?.map_or(Input::Nothing, Input::Text),
            (None, None) => Input::Nothing,
        };
        let output = match &self.form.stdout {
            Some(text) => filling.file(text)?,
            None => None,
        };
        Ok(Filled { words, input, output })
    }

    fn of(&self, name: &str) -> (&HoleKind, &'a [String]) {
        match self.form.holes.get(name) {
            Some(rule) => (&rule.kind, self.by_hole.get(name).copied().unwrap_or_default()),
            None => (&self.form.on.kind, self.on),
        }
    }

    fn is_many(&self, name: &str) -> bool {
        self.form.holes.get(name).is_some_and(|rule| rule.many)
    }

    /// Whether what holds this text stays: each of its holes has a value, but
    /// for one with many, which may have none.
    fn stays(&self, text: &str) -> bool {
        super::form::holes_in(text).all(|name| {
            let is_optional = self.form.holes.get(name).is_some_and(|rule| rule.optional);
            !self.of(name).1.is_empty() || (self.is_many(name) && !is_optional)
        })
    }
}

struct Filling<'f, 'a> {
    values: &'f Values<'a>,
    resolve: Resolve<'f>,
}

impl Filling<'_, '_> {
    fn argument(&self, argument: &Argument, words: &mut Vec<OsString>) -> Result<(), HostError> {
        if !argument.texts().iter().all(|text| self.values.stays(text)) {
            return Ok(());
        }
        for text in argument.texts() {
            let many = super::form::holes_in(text).find(|name| self.values.is_many(name));
            let times = many.map_or(1, |name| self.values.of(name).1.len());
            for nth in 0..times {
                words.push(self.word(text, nth)?);
            }
        }
        Ok(())
    }

    /// One word; `nth` chooses the value of a hole with many.
    fn word(&self, text: &str, nth: usize) -> Result<OsString, HostError> {
        let is_sole = sole_hole(text).is_some();
        let mut word = OsString::new();
        for part in parts(text) {
            match part {
                Part::Plain(plain) => word.push(plain),
                Part::Hole(name) => {
                    let (kind, values) = self.values.of(name);
                    let value = values.get(if self.values.is_many(name) { nth } else { 0 });
                    let value = value.map(String::as_str).unwrap_or_default();
                    if is_sole && value.starts_with('-') {
                        return Err(self.refuse(name, "it begins with `-`, which would make it an option"));
                    }
                    if !is_sole && word.is_empty() && value.starts_with('-') {
                        return Err(self.refuse(name, "it begins with `-` at the beginning of an argument"));
                    }
                    word.push(self.given(name, *kind, value)?);
                }
            }
        }
        if word.len() > TEXT_BYTES_MAX {
            return Err(self.refuse(text, "the argument is longer than 128 KiB"));
        }
        Ok(word)
    }

    fn given(&self, name: &str, kind: HoleKind, value: &str) -> Result<OsString, HostError> {
        let place = match kind {
            HoleKind::Path | HoleKind::Live => Place::Live,
            HoleKind::Side => Place::Side,
            _ => return Ok(value.into()),
        };
        let path = (self.resolve)(place, value)?;
        if kind == HoleKind::Live && !path.exists() {
            let message = format!("nothing is at `{}`, which `{name}` names", shown(value));
            return Err(HostError::new(ErrorKind::NotFound, "programs/no-file", message));
        }
        Ok(path.into_os_string())
    }

    fn file(&self, text: &str) -> Result<Option<PathBuf>, HostError> {
        match sole_hole(text).filter(|_| self.values.stays(text)) {
            Some(_) => Ok(Some(PathBuf::from(self.word(text, 0)?))),
            None => Ok(None),
        }
    }

    fn text(&self, text: &str) -> Result<Option<String>, HostError> {
        if !self.values.stays(text) {
            return Ok(None);
        }
        let mut said = String::new();
        for part in parts(text) {
            match part {
                Part::Plain(plain) => said.push_str(plain),
                Part::Hole(name) => {
                    let (kind, values) = self.values.of(name);
                    let value = values.first().map(String::as_str).unwrap_or_default();
                    said.push_str(&self.given(name, *kind, value)?.to_string_lossy());
                }
            }
        }
        if said.len() > INPUT_BYTES_MAX {
            return Err(self.refuse(text, "the input is longer than 1 MiB"));
        }
        Ok(Some(said))
    }

    fn refuse(&self, hole: &str, reason: &str) -> HostError {
        bad_hole(self.values.form, hole, reason)
    }
}

fn bad_hole(form: &Form, hole: &str, reason: &str) -> HostError {
    let message = format!("`{}` of the form `{}` is refused: {reason}", shown(hole), form.name);
    HostError::new(ErrorKind::Invalid, "programs/bad-hole", message)
}

pub(super) fn shown(text: &str) -> String {
    text.chars().take(100).flat_map(char::escape_debug).collect()
}

fn judge(rule: &HoleRule, value: &str) -> Result<(), String> {
    if value.contains('\0') {
        return Err("it holds a NUL".into());
    }
    match rule.kind {
        HoleKind::Name => judge_name(value),
        HoleKind::Text => judge_text(value),
        HoleKind::Sql => judge_text(value).and_then(|()| judge_sql(value)),
        HoleKind::Number => match value.len() {
            1..=NUMBER_DIGITS_MAX if value.bytes().all(|byte| byte.is_ascii_digit()) => Ok(()),
            _ => Err(format!("`{}` is no number: digits only, {NUMBER_DIGITS_MAX} at most", shown(value))),
        },
        HoleKind::Choice if rule.choices.iter().any(|choice| choice == value) => Ok(()),
        HoleKind::Choice => Err(format!("`{}` is none of {}", shown(value), rule.choices.join(", "))),
        HoleKind::Path | HoleKind::Live | HoleKind::Side => judge_path(value),
    }
}

fn judge_name(value: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.@:+-".contains(&byte);
    if value.starts_with('-') {
        return Err("a name does not begin with `-`".into());
    }
    match value.len() {
        1..=NAME_CHARACTERS_MAX if value.bytes().all(is_plain) && value != "." && value != ".." => Ok(()),
        _ => Err(format!(
            "`{}` is no name: letters, digits and `_.@:+-`, {NAME_CHARACTERS_MAX} at most",
            shown(value)
        )),
    }
}

fn judge_text(value: &str) -> Result<(), String> {
    match value.len() {
        0..=INPUT_BYTES_MAX => Ok(()),
        _ => Err("it is longer than 1 MiB".into()),
    }
}

/// What reads SQL is a client with commands of its own: psql and mysql take
/// `\!` anywhere outside of quotes, of which each has its own idea, and mysql
/// some words at the beginning of a line. All of them can start a shell.
fn judge_sql(value: &str) -> Result<(), String> {
    if value.trim().is_empty() {
        return Err("there is no SQL in it".into());
    }
    if value.contains('\\') {
        return Err("it holds a backslash, which a client takes for a command: write chr(92)".into());
    }
    let first_word = |line: &str| line.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
    for line in value.split(['\n', '\r']) {
        let word = first_word(line);
        if CLIENT_COMMANDS.contains(&word.as_str()) {
            return Err(format!("a line begins with `{word}`, which is a command of the client"));
        }
    }
    Ok(())
}

fn judge_path(value: &str) -> Result<(), String> {
    if value.chars().any(char::is_control) {
        return Err("a control character stands in the path".into());
    }
    HostPath::parse(value).map(drop).map_err(|error| error.message)
}
