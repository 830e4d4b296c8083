//! The host's own forms, filled and run for real by a test: what a plugin asks
//! for is then what a program gets on a host. The agent judges holes far more
//! strictly (`agent/src/capabilities/programs`); here a form only has to work.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use toml_edit::{Array, DocumentMut, Table, Value};

use super::host::programs::{Call, Ended};

/// Runs the call's form out of `forms` (the text of a file of forms). `place`
/// tells the real path of a hole of kind `path`, `live` or `side`.
///
/// # Panics
/// When the form is not there, a hole is not filled, or the program cannot start.
pub fn run(forms: &str, call: &Call, place: &dyn Fn(&str, &str) -> PathBuf) -> Ended {
    run_with(forms, call, place, &[])
}

/// As [`run`], with more variables in the program's environment, as a host's
/// configuration of the power gives them.
///
/// # Panics
/// As [`run`] does.
pub fn run_with(
    forms: &str,
    call: &Call,
    place: &dyn Fn(&str, &str) -> PathBuf,
    variables: &[(&str, PathBuf)],
) -> Ended {
    let document: DocumentMut = forms.parse().expect("the forms are TOML");
    let all = document["form"].as_array_of_tables().expect("forms");
    let form = all
        .iter()
        .find(|form| form["name"].as_str() == Some(&call.form))
        .unwrap_or_else(|| panic!("no form {}", call.form));
    let filling = Filling { form, call, place };
    let mut command = Command::new(form["program"].as_str().expect("one program"));
    command.args(filling.arguments()).env_clear().current_dir("/");
    command
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("LC_ALL", "C.UTF-8")
        .env("HOME", "/nonexistent");
    for (name, value) in
        form.get("environment").and_then(|item| item.as_table_like()).into_iter().flat_map(|t| t.iter())
    {
        command.env(name, value.as_str().expect("a text"));
    }
    let input = form.get("stdin").and_then(|item| item.as_str()).map(|text| {
        let path = filling.fill(text, 0).expect("a path");
        std::fs::File::open(path).expect("the input can be read").into()
    });
    let input = input.unwrap_or_else(Stdio::null);
    command.envs(variables.iter().map(|(name, value)| (name, value))).stdin(input);
    let ended = command.output().unwrap_or_else(|cause| panic!("{}: {cause}", call.form));
    if let Some(text) = form.get("stdout").and_then(|item| item.as_str()) {
        let path = filling.fill(text, 0).expect("a path");
        std::fs::write(path, &ended.stdout).expect("the output can be written");
    }
    Ended {
        code: ended.status.code(),
        signal: None,
        output: if form.contains_key("stdout") { vec![] } else { ended.stdout },
        complaint: String::from_utf8_lossy(&ended.stderr).into_owned(),
        elapsed_ms: 1,
    }
}

struct Filling<'a> {
    form: &'a Table,
    call: &'a Call,
    place: &'a dyn Fn(&str, &str) -> PathBuf,
}

impl Filling<'_> {
    fn arguments(&self) -> Vec<String> {
        let listed = self.form.get("arguments").and_then(|item| item.as_array());
        let mut words = Vec::new();
        for argument in listed.map(Array::iter).into_iter().flatten() {
            let texts: Vec<&str> = match argument {
                Value::Array(group) => group.iter().filter_map(Value::as_str).collect(),
                text => text.as_str().into_iter().collect(),
            };
            let filled: Option<Vec<Vec<String>>> = texts.iter().map(|text| self.all(text)).collect();
            words.extend(filled.into_iter().flatten().flatten());
        }
        words
    }

    /// One argument, several for a hole with many values; none when an optional hole is open.
    fn all(&self, text: &str) -> Option<Vec<String>> {
        match holes(text).find(|name| self.rule(name, "many")) {
            Some(name) => (0..self.values(&name).len()).map(|nth| self.fill(text, nth)).collect(),
            None => self.fill(text, 0).map(|word| vec![word]),
        }
    }

    fn fill(&self, text: &str, nth: usize) -> Option<String> {
        let mut word = text.to_owned();
        for name in holes(text) {
            let values = if name == "on" { vec![self.call.on.clone()] } else { self.values(&name) };
            let value = match values.get(nth.min(values.len().saturating_sub(1))) {
                Some(value) => value.clone(),
                None if self.rule(&name, "optional") => return None,
                None => panic!("{}: nothing fills {name}", self.call.form),
            };
            let value = match self.kind(&name).as_str() {
                kind @ ("path" | "live" | "side") => (self.place)(kind, &value).display().to_string(),
                _ => value,
            };
            word = word.replace(&format!("{{{name}}}"), &value);
        }
        Some(word.replace("{{", "{").replace("}}", "}"))
    }

    fn values(&self, name: &str) -> Vec<String> {
        let hole = self.call.holes.iter().find(|hole| hole.name == name);
        hole.map(|hole| hole.values.clone()).unwrap_or_default()
    }

    fn rule(&self, name: &str, of: &str) -> bool {
        let hole = self.form.get("holes").and_then(|holes| holes.get(name));
        hole.and_then(|rule| rule.get(of)).and_then(|item| item.as_bool()).unwrap_or_default()
    }

    fn kind(&self, name: &str) -> String {
        let hole =
            if name == "on" { self.form.get("on") } else { self.form.get("holes").and_then(|h| h.get(name)) };
        hole.and_then(|rule| rule.get("kind")).and_then(|item| item.as_str()).unwrap_or_default().to_owned()
    }
}

/// Names in single braces; doubled ones are text.
fn holes(text: &str) -> impl Iterator<Item = String> {
    let text = text.replace("{{", "\u{1}").replace("}}", "\u{2}");
    let pieces: Vec<String> = text
        .split('{')
        .skip(1)
        .filter_map(|piece| piece.split_once('}'))
        .map(|(name, _)| name.to_owned())
        .collect();
    let is_name =
        |name: &String| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    pieces.into_iter().filter(is_name)
}
