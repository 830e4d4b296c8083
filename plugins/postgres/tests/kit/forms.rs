//! The host's own forms, filled and run as a host does it, for tests of plugins
//! against real programs. Files of the pretended host are texts: one that begins
//! with `@` stands for the real file at the rest of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sternway_plugin::Error;
use sternway_plugin::host::programs::{Call, Ended};
use sternway_plugin::rehearsal::World;
use toml_edit::{DocumentMut, Table, Value};

/// What a host's configuration says of a power.
pub(crate) struct Host {
    pub(crate) forms: DocumentMut,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) user: Option<(u32, u32)>,
    /// For real files.
    pub(crate) folder: PathBuf,
    made: usize,
}

impl Host {
    pub(crate) fn new(
        forms: &str,
        environment: &[(&str, &str)],
        user: Option<(u32, u32)>,
        folder: &Path,
    ) -> Self {
        let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Self {
            forms: forms.parse().unwrap(),
            environment: environment.collect(),
            user,
            folder: folder.to_owned(),
            made: 0,
        }
    }

    fn form(&self, name: &str) -> Option<Table> {
        let forms = self.forms["form"].as_array_of_tables()?;
        forms.iter().find(|form| form["name"].as_str() == Some(name)).cloned()
    }

    pub(crate) fn new_file(&mut self) -> PathBuf {
        self.made += 1;
        self.folder.join(format!("file-{}", self.made))
    }

    /// The real file that a text of the pretended host stands for.
    fn real(&mut self, content: &str) -> PathBuf {
        if let Some(path) = content.strip_prefix('@') {
            return PathBuf::from(path);
        }
        let path = self.new_file();
        std::fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn carry_out(&mut self, world: &mut World, call: &Call) -> Result<Ended, Error> {
        let form = self.form(&call.form).ok_or_else(|| Error::not_found("programs/unknown", &call.form))?;
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for hole in &call.holes {
            let rule = &form["holes"][hole.name.as_str()];
            let kind =
                rule["kind"].as_str().unwrap_or_else(|| panic!("{} has no hole {}", call.form, hole.name));
            for value in &hole.values {
                judge(kind, rule.get("choices").and_then(|item| item.as_value()), value);
                let given = match kind {
                    "live" => {
                        let content =
                            world.live.get(value).unwrap_or_else(|| panic!("nothing at {value}")).clone();
                        self.real(&content).display().to_string()
                    }
                    "side" if !is_output(&form, &hole.name) => {
                        let content =
                            world.side.get(value).unwrap_or_else(|| panic!("no side of {value}")).clone();
                        self.real(&content).display().to_string()
                    }
                    _ => value.clone(),
                };
                values.entry(hole.name.clone()).or_default().push(given);
            }
        }
        values.insert("on".to_owned(), vec![call.on.clone()]);
        let mut words = Vec::new();
        for argument in form["arguments"].as_array().unwrap() {
            words.extend(fill(argument.as_str().unwrap(), &values, &form));
        }
        let mut program = program(&form).into_iter();
        let mut command = Command::new(program.next().unwrap());
        command
            .args(program)
            .args(words)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C.UTF-8");
        command.current_dir(&self.folder);
        if let Some(environment) = form.get("environment").and_then(|item| item.as_inline_table()) {
            command.envs(environment.iter().map(|(name, value)| (name.to_owned(), value.as_str().unwrap())));
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command.stdin(self.input(&form, &values));
        let output = form.get("stdout").map(|_| self.new_file());
        if let Some(path) = &output {
            command.stdout(File::create(path).unwrap());
        }
        let ended =
            command.output().map_err(|cause| Error::not_found("programs/missing", cause.to_string()))?;
        if let Some(path) = output {
            let hole = form["stdout"].as_str().unwrap().trim_matches(['{', '}']);
            world.side.insert(values[hole][0].clone(), format!("@{}", path.display()));
        }
        Ok(Ended {
            code: ended.status.code(),
            signal: ended.status.signal(),
            output: ended.stdout,
            complaint: String::from_utf8_lossy(&ended.stderr).into_owned(),
            elapsed_ms: 1,
        })
    }

    fn input(&mut self, form: &Table, values: &BTreeMap<String, Vec<String>>) -> Stdio {
        if let Some(hole) = form.get("stdin").and_then(|item| item.as_str()) {
            return Stdio::from(File::open(&values[hole.trim_matches(['{', '}'])][0]).unwrap());
        }
        if let Some(text) = form.get("stdin_text").and_then(|item| item.as_str()) {
            let path = self.new_file();
            std::fs::write(&path, fill(text, values, form).remove(0)).unwrap();
            return Stdio::from(File::open(path).unwrap());
        }
        Stdio::null()
    }
}

fn is_output(form: &Table, hole: &str) -> bool {
    form.get("stdout").and_then(|item| item.as_str()) == Some(format!("{{{hole}}}").as_str())
}

/// One argument, or as many as its hole has values.
fn fill(text: &str, values: &BTreeMap<String, Vec<String>>, form: &Table) -> Vec<String> {
    let mut filled = vec![text.to_owned()];
    let holes = form.get("holes").and_then(|item| item.as_table());
    let names = holes.into_iter().flat_map(|holes| holes.iter().map(|(name, _)| name)).chain(["on"]);
    for name in names {
        let mark = format!("{{{name}}}");
        if !text.contains(&mark) {
            continue;
        }
        let none = Vec::new();
        let given = values.get(name).unwrap_or(&none);
        let many = name != "on" && form["holes"][name].get("many").is_some();
        assert!(many || given.len() == 1, "{name} of `{text}` has {} values", given.len());
        filled =
            filled.iter().flat_map(|text| given.iter().map(|value| text.replace(&mark, value))).collect();
    }
    filled
}

fn judge(kind: &str, choices: Option<&Value>, value: &str) {
    let sound = match kind {
        "name" => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.@:+-".contains(&byte);
            (1..=200).contains(&value.len()) && !value.starts_with('-') && value.bytes().all(plain)
        }
        "number" => (1..=18).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_digit()),
        "choice" => choices.unwrap().as_array().unwrap().iter().any(|choice| choice.as_str() == Some(value)),
        "sql" => !value.contains('\\') && !value.trim().is_empty(),
        _ => true,
    };
    assert!(sound, "`{value}` is no {kind}");
}

/// The program with its own first words.
fn program(form: &Table) -> Vec<PathBuf> {
    let program = form["program"].as_value().unwrap();
    if let Some(candidates) = program.as_array() {
        let words = |candidate: &Value| -> Vec<PathBuf> {
            candidate.as_array().unwrap().iter().map(|word| word.as_str().unwrap().into()).collect()
        };
        let is_there = |words: &Vec<PathBuf>| Path::new("/usr/bin").join(&words[0]).exists();
        let mut found = candidates.iter().map(words).filter(is_there);
        return found.next().expect("one of the candidates is here");
    }
    let name = program.as_str().unwrap();
    let search = form.get("search").and_then(|item| item.as_array());
    for pattern in search.into_iter().flatten().filter_map(Value::as_str) {
        let (parent, rest) = pattern.split_once("/*/").unwrap();
        let folders = std::fs::read_dir(parent).into_iter().flatten().flatten();
        let mut found: Vec<PathBuf> = folders.map(|folder| folder.path().join(rest).join(name)).collect();
        found.retain(|path| path.exists());
        found.sort();
        if let Some(path) = found.pop() {
            return vec![path];
        }
    }
    vec![PathBuf::from(name)]
}
