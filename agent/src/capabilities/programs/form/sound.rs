//! Whether a form makes sense, said when the agent starts and not in the night.

use std::collections::BTreeSet;

use super::{Argument, Form, FormEffect, FormError, HoleKind, OUTPUT_BYTES_MAX, holes_in, sole_hole};

impl Form {
    /// # Errors
    /// Why it cannot be used.
    pub(crate) fn check(&self) -> Result<(), FormError> {
        self.problem().map_or(Ok(()), |problem| Err(self.unsound(problem)))
    }

    pub(in super::super) fn unsound(&self, problem: impl Into<String>) -> FormError {
        FormError::Unsound { form: self.name.clone(), problem: problem.into() }
    }

    fn problem(&self) -> Option<String> {
        self.name_problem()
            .or_else(|| self.program_problem())
            .or_else(|| self.hole_problem())
            .or_else(|| self.stream_problem())
    }

    fn name_problem(&self) -> Option<String> {
        let is_power = |part: &str| {
            part.starts_with(|first: char| first.is_ascii_lowercase())
                && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        let is_deed = |part: &str| {
            part.starts_with(|first: char| first.is_ascii_alphanumeric())
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte))
        };
        match self.name.split_once('.') {
            Some((power, deed)) if is_power(power) && is_deed(deed) && self.name.len() <= 100 => None,
            _ => Some("a form is called `power.deed`".into()),
        }
    }

    fn program_problem(&self) -> Option<String> {
        let candidates = &self.program.0;
        let is_program = |words: &Vec<String>| match words.first() {
            None => false,
            Some(first) if first.contains('/') => first.starts_with('/') && !first.contains("/../"),
            Some(first) => !first.is_empty() && !first.starts_with(['.', '-']),
        };
        if candidates.is_empty() || !candidates.iter().all(is_program) {
            return Some("a program is a name, or an absolute path".into());
        }
        if candidates.len() > 1 && self.probe.is_empty() {
            return Some("several programs need `probe`, the words that tell which of them is there".into());
        }
        if !self.search.iter().all(|folder| folder.starts_with('/') && !folder.contains("..")) {
            return Some("a folder in `search` is an absolute path".into());
        }
        let is_variable = |name: &String| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if !self.environment.keys().all(is_variable) {
            return Some("a name in `environment` is letters, digits and `_`".into());
        }
        let fixed = candidates.iter().flatten().chain(&self.probe).chain(self.environment.values());
        let texts = self.arguments.iter().flat_map(Argument::texts);
        fixed.chain(texts).any(|text| text.contains('\0')).then(|| "a text holds a NUL".into())
    }

    fn hole_problem(&self) -> Option<String> {
        if !matches!(self.on.kind, HoleKind::Name | HoleKind::Text | HoleKind::Path) {
            return Some("the kind of `on` is `name`, `text` or `path`".into());
        }
        let mut used = BTreeSet::new();
        let texts = self.arguments.iter().flat_map(Argument::texts);
        for text in texts.chain(&self.stdin).chain(&self.stdin_text).chain(&self.stdout) {
            for name in holes_in(text) {
                if name != "on" && !self.holes.contains_key(name) {
                    return Some(format!("nothing says what `{{{name}}}` is"));
                }
                used.insert(name);
            }
        }
        for (name, rule) in &self.holes {
            if name == "on" {
                return Some("`on` is the call's scope, and no hole".into());
            }
            if !used.contains(name.as_str()) {
                return Some(format!("the hole `{name}` stands nowhere"));
            }
            if (rule.kind == HoleKind::Choice) == rule.choices.is_empty() {
                return Some(format!("the hole `{name}`: `choices` belong to the kind `choice`"));
            }
        }
        self.arguments.iter().find_map(|argument| self.argument_problem(argument))
    }

    fn argument_problem(&self, argument: &Argument) -> Option<String> {
        let is_many = |name: &str| self.holes.get(name).is_some_and(|rule| rule.many);
        let many = |text: &String| holes_in(text).filter(|name| is_many(name)).count();
        match argument {
            Argument::Group(texts) if texts.is_empty() => Some("a group is empty".into()),
            Argument::Group(texts)
                if texts.iter().any(|text| many(text) > 0 && sole_hole(text).is_none()) =>
            {
                Some("in a group, a hole with many values is an argument of its own".into())
            }
            _ => argument
                .texts()
                .iter()
                .any(|text| many(text) > 1)
                .then(|| "one argument holds two holes with many values".into()),
        }
    }

    fn stream_problem(&self) -> Option<String> {
        let kind =
            |text: &String| sole_hole(text).and_then(|name| self.holes.get(name)).map(|rule| rule.kind);
        if self.stdin.is_some() && self.stdin_text.is_some() {
            return Some("`stdin` and `stdin_text` are one input".into());
        }
        if self.stdin.as_ref().is_some_and(|text| !kind(text).is_some_and(HoleKind::is_path)) {
            return Some("`stdin` is a hole of kind `path`, `live` or `side`".into());
        }
        if self.stdout.as_ref().is_some_and(|text| kind(text) != Some(HoleKind::Side)) {
            return Some("`stdout` is a hole of kind `side`".into());
        }
        if self.stdout.is_some() && self.effect == FormEffect::Read {
            return Some("what only reads writes no side copy".into());
        }
        let streams = self.stdin.iter().chain(&self.stdin_text).chain(&self.stdout);
        let is_many = |name: &str| self.holes.get(name).is_some_and(|rule| rule.many);
        if streams.flat_map(|text| holes_in(text)).any(is_many) {
            return Some("an input or output is no hole with many values".into());
        }
        if !(1..=OUTPUT_BYTES_MAX).contains(&self.output_bytes_max) {
            return Some(format!("`output_bytes_max` is 1 to {OUTPUT_BYTES_MAX}"));
        }
        self.codes.is_empty().then(|| "`codes` names no code that means well".into())
    }
}
