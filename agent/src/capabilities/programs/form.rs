//! Forms: what a plugin may have a program of this host do. A form fixes the
//! program and the shape of its arguments; a plugin only fills the holes. So the
//! host's side of a power stands in a file that people can read.

mod read;
mod sound;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use read::{Argument, Candidates};

/// The most that one form lets a program answer, in bytes.
pub(super) const OUTPUT_BYTES_MAX: u32 = 1 << 20;
/// Of what a program complains the last so many bytes are kept.
pub(super) const COMPLAINT_BYTES_MAX: u32 = 16 << 10;

/// What a form may do to the world, and by which call it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FormEffect {
    /// Nothing: `programs.ask`.
    Read,
    /// Works on side copies: `programs.stage`.
    Stage,
    /// Changes what is live: `programs.run`.
    Change,
}

impl FormEffect {
    /// The call of the contract that carries out such forms.
    pub fn call(self) -> &'static str {
        match self {
            Self::Read => "programs.ask",
            Self::Stage => "programs.stage",
            Self::Change => "programs.run",
        }
    }
}

/// What may stand in a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoleKind {
    /// Letters, digits and `_.@:+-`, 200 at most, not beginning with `-`.
    Name,
    /// Anything without NUL; as an argument of its own it does not begin with `-`.
    Text,
    /// Text without a backslash and without a command of a database client.
    Sql,
    /// Digits.
    Number,
    /// One of `choices`.
    Choice,
    /// A path of this host; a grant of `files` must cover it.
    Path,
    /// A path whose live file is given; it must be there.
    Live,
    /// A path whose side copy is given.
    Side,
}

impl HoleKind {
    /// Whether its value is a path, which needs a grant of `files`.
    pub fn is_path(self) -> bool {
        matches!(self, Self::Path | Self::Live | Self::Side)
    }
}

/// One hole of a form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoleRule {
    /// What may stand in it.
    pub kind: HoleKind,
    /// The values of a [`HoleKind::Choice`].
    #[serde(default)]
    pub choices: Vec<String>,
    /// It takes any number of values, also none.
    #[serde(default)]
    pub many: bool,
    /// What holds it disappears when it is not filled.
    #[serde(default)]
    pub optional: bool,
}

/// What the scope of a call is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// [`HoleKind::Name`], [`HoleKind::Text`] or [`HoleKind::Path`].
    pub kind: HoleKind,
}

/// A program of this host with its shape.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Form {
    /// `postgres.query`: the first part is the power that must be granted.
    pub name: String,
    /// What it may do.
    pub effect: FormEffect,
    /// One program, or several of which the first that is there is taken.
    pub program: Candidates,
    /// Words after which a candidate that is there ends with 0.
    #[serde(default)]
    pub probe: Vec<String>,
    /// Folders to look in first; `*` stands for one name, the highest version wins.
    #[serde(default)]
    pub search: Vec<String>,
    /// In order, with holes.
    #[serde(default)]
    pub arguments: Vec<Argument>,
    /// A hole with a path: that file is its input.
    #[serde(default)]
    pub stdin: Option<String>,
    /// A text with holes: its input. At most 1 MiB.
    #[serde(default)]
    pub stdin_text: Option<String>,
    /// A hole with a side copy: what it says goes there.
    #[serde(default)]
    pub stdout: Option<String>,
    /// How much of the end of its output is answered.
    #[serde(default = "output_bytes_max")]
    pub output_bytes_max: u32,
    /// Exit codes that mean well; what the host's own log says depends on them.
    #[serde(default = "codes")]
    pub codes: Vec<i32>,
    /// Beside `PATH`, `LC_ALL` and `HOME`.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// What the call's scope is.
    #[serde(default = "scope")]
    pub on: Scope,
    /// By name.
    #[serde(default)]
    pub holes: BTreeMap<String, HoleRule>,
    /// As whom it runs; only for a host's own program, before what its power says.
    #[serde(default)]
    pub run_as: Option<String>,
    /// Where it runs; likewise.
    #[serde(default)]
    pub directory: Option<PathBuf>,
}

fn output_bytes_max() -> u32 {
    OUTPUT_BYTES_MAX
}

fn codes() -> Vec<i32> {
    vec![0]
}

fn scope() -> Scope {
    Scope { kind: HoleKind::Name }
}

impl Form {
    /// A form that reads by one program with no words.
    pub(crate) fn of_one_program(program: &str) -> Self {
        Self {
            name: String::new(),
            effect: FormEffect::Read,
            program: Candidates(vec![vec![program.to_owned()]]),
            probe: Vec::new(),
            search: Vec::new(),
            arguments: Vec::new(),
            stdin: None,
            stdin_text: None,
            stdout: None,
            output_bytes_max: output_bytes_max(),
            codes: codes(),
            environment: BTreeMap::new(),
            on: scope(),
            holes: BTreeMap::new(),
            run_as: None,
            directory: None,
        }
    }
}

/// A part of a text of a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Plain(&'a str),
    Hole(&'a str),
}

/// A text as plain parts and holes. `{name}` is a hole, `{{name}}` the text
/// `{name}`; other braces stand for themselves, as templates of programs have them.
pub(super) fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut plain = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find('{') {
        let open = at + found;
        let doubled = text[open..].starts_with("{{");
        let begin = open + if doubled { 2 } else { 1 };
        let length = text[begin..].bytes().take_while(|byte| is_of_name(*byte)).count();
        let name = &text[begin..begin + length];
        let close = if doubled { "}}" } else { "}" };
        let is_name = name.starts_with(|first: char| first.is_ascii_lowercase());
        if !is_name || !text[begin + length..].starts_with(close) {
            at = open + if doubled { 2 } else { 1 };
            continue;
        }
        at = begin + length + close.len();
        // Of doubled braces the inner pair stays.
        let (before, after) = if doubled { (open + 1, at - 1) } else { (open, at) };
        if doubled {
            parts.push(Part::Plain(&text[plain..open]));
            parts.push(Part::Plain(&text[before..after]));
        } else {
            parts.push(Part::Plain(&text[plain..before]));
            parts.push(Part::Hole(name));
        }
        plain = at;
    }
    parts.push(Part::Plain(&text[plain..]));
    parts.retain(|part| *part != Part::Plain(""));
    parts
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-'
}

/// The holes in a text.
pub(super) fn holes_in(text: &str) -> impl Iterator<Item = &str> {
    parts(text).into_iter().filter_map(|part| match part {
        Part::Hole(name) => Some(name),
        Part::Plain(_) => None,
    })
}

/// The hole that is the whole of a text.
pub(super) fn sole_hole(text: &str) -> Option<&str> {
    match parts(text)[..] {
        [Part::Hole(name)] => Some(name),
        _ => None,
    }
}

/// The power of a form: the first part of its name.
pub(super) fn power_of(form: &str) -> &str {
    form.split('.').next().unwrap_or_default()
}

/// Why forms cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    /// The file is not as expected.
    #[error("the forms of `{power}` are not as expected")]
    Parse {
        /// The power whose file it is.
        power: String,
        /// With the place.
        #[source]
        cause: toml::de::Error,
    },
    /// One form makes no sense.
    #[error("the form `{form}` cannot be used: {problem}")]
    Unsound {
        /// Its name.
        form: String,
        /// For people.
        problem: String,
    },
    /// Which of the two is meant?
    #[error("the form `{form}` is there twice")]
    Twice {
        /// Its name.
        form: String,
    },
    /// Nobody of that name is on this host.
    #[error("programs of the power `{power}` are to run as `{user}`, and this host has no such user")]
    NoUser {
        /// As configured.
        power: String,
        /// As configured.
        user: String,
    },
}

/// The forms in one file, found sound. `power` is what all of them must be of.
///
/// # Errors
/// The text is no such file, or a form in it makes no sense.
pub(super) fn parse(power: &str, text: &str) -> Result<Vec<Form>, FormError> {
    let file: File =
        toml::from_str(text).map_err(|cause| FormError::Parse { power: power.to_owned(), cause })?;
    for form in &file.forms {
        form.check()?;
        if power_of(&form.name) != power {
            return Err(form.unsound(format!("it stands among the forms of `{power}`")));
        }
        if form.run_as.is_some() || form.directory.is_some() {
            return Err(form.unsound("as whom and where it runs is the host's own affair"));
        }
    }
    Ok(file.forms)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "form")]
    forms: Vec<Form>,
}

#[cfg(test)]
mod tests;
