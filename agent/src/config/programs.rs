//! The part of the agent's configuration about programs: the host's own ones,
//! which plans may have run by name, and as whom those of each power run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Deserialize;

use crate::capabilities::programs::{
    self, Argument, Form, FormEffect, FormError, HoleRule, OWN_POWER, PowerSettings,
};

/// `[[program]]`: one program that plans may have run.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// As plans name it; letters, digits, `-`, `_`, `.` and `@`.
    pub name: String,
    /// `read`, `stage` or `change`.
    pub effect: FormEffect,
    /// An absolute path, or a name that is looked for in the usual folders.
    pub program: String,
    /// Word by word, with holes; no shell.
    #[serde(default)]
    pub arguments: Vec<Argument>,
    /// What may stand in its holes, by name.
    #[serde(default)]
    pub holes: BTreeMap<String, HoleRule>,
    /// A hole with a path: that file is its input.
    pub stdin: Option<String>,
    /// A text with holes: its input.
    pub stdin_text: Option<String>,
    /// A hole with a side copy: what it says goes there.
    pub stdout: Option<String>,
    /// How much of the end of its output is answered, in bytes; 1 MiB when it is not named.
    pub output_bytes_max: Option<u32>,
    /// Exit codes that mean well; 0 when none is named.
    pub codes: Option<Vec<i32>>,
    /// The user as whom it runs; before what `[power.command]` says.
    pub run_as: Option<String>,
    /// Where it runs; likewise.
    pub directory: Option<PathBuf>,
    /// Beside `PATH`, `LC_ALL` and `HOME`, which are all it has.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

impl Program {
    fn form(&self) -> Form {
        let usual = Form::of_one_program(&self.program);
        Form {
            name: format!("{OWN_POWER}.{}", self.name),
            effect: self.effect,
            arguments: self.arguments.clone(),
            stdin: self.stdin.clone(),
            stdin_text: self.stdin_text.clone(),
            stdout: self.stdout.clone(),
            output_bytes_max: self.output_bytes_max.unwrap_or(usual.output_bytes_max),
            codes: self.codes.clone().unwrap_or_else(|| usual.codes.clone()),
            environment: self.environment.clone(),
            holes: self.holes.clone(),
            run_as: self.run_as.clone(),
            directory: self.directory.clone(),
            ..usual
        }
    }
}

/// The programs of the configuration as the forms they are.
pub(super) fn forms(programs: &[Program]) -> Vec<Form> {
    programs.iter().map(Program::form).collect()
}

/// What cannot be right, each with its place; found when the file is read and
/// not in the night when a plan needs it.
pub(super) fn problems(own: &[Program], powers: &BTreeMap<String, PowerSettings>) -> Vec<String> {
    let mut found = Vec::new();
    let mut names = BTreeSet::new();
    for program in own {
        let place = format!("the program `{}`", program.name.escape_debug());
        if !names.insert(&program.name) {
            found.push(format!("{place}: it is there twice"));
        }
        match program.form().check() {
            Ok(()) => {}
            Err(FormError::Unsound { problem, .. }) => found.push(format!("{place}: {problem}")),
            Err(error) => found.push(format!("{place}: {error}")),
        }
        if program.directory.as_ref().is_some_and(|directory| !directory.is_absolute()) {
            found.push(format!("{place}: `directory` is not an absolute path"));
        }
    }
    let known: BTreeSet<&str> = programs::known_powers().collect();
    for (power, settings) in powers {
        let place = format!("[power.{power}]");
        if !known.contains(power.as_str()) {
            let known: Vec<&str> = known.iter().copied().collect();
            found.push(format!("{place}: no program is of this power; known: {}", known.join(", ")));
        }
        if settings.directory.as_ref().is_some_and(|directory| !directory.is_absolute()) {
            found.push(format!("{place}: `directory` is not an absolute path"));
        }
        let is_variable = |name: &String| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        for name in settings.environment.keys().filter(|name| !is_variable(name)) {
            found.push(format!("{place}: `{}` cannot name a variable", name.escape_debug()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct File {
        #[serde(default, rename = "program")]
        programs: Vec<Program>,
        #[serde(default, rename = "power")]
        powers: BTreeMap<String, PowerSettings>,
    }

    fn read(text: &str) -> Result<File, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.to_string())
    }

    const GOOD: &str = r#"
        [[program]]
        name      = "reindex"
        effect    = "change"
        program   = "/opt/shop/bin/reindex"
        arguments = ["--shard={shard}", ["--since", "{since}"]]
        run_as    = "shop"
        directory = "/opt/shop"
        [program.holes]
        shard = { kind = "number" }
        since = { kind = "name", optional = true }

        [power.command]
        environment = { RAILS_ENV = "production" }
    "#;

    #[test]
    fn a_program_is_a_form_of_the_power_command() {
        let file = read(GOOD).unwrap();
        assert_eq!(problems(&file.programs, &file.powers), Vec::<String>::new());
        let form = &forms(&file.programs)[0];
        assert_eq!((form.name.as_str(), form.effect), ("command.reindex", FormEffect::Change));
        assert_eq!((form.run_as.as_deref(), form.codes.as_slice()), (Some("shop"), &[0][..]));
    }

    #[test]
    fn a_misspelt_key_or_value_is_an_error_with_its_line() {
        for (right, wrong) in [
            ("run_as", "user"),
            ("\"number\"", "\"integer\""),
            ("optional = true", "optinal = true"),
            ("\"change\"", "\"write\""),
            ("\"/opt/shop/bin/reindex\"", "[\"a\"]"),
            ("environment = {", "environnement = {"),
        ] {
            let error = read(&GOOD.replacen(right, wrong, 1)).unwrap_err();
            assert!(error.contains("line "), "{wrong}: {error}");
        }
    }

    #[test]
    fn everything_wrong_is_said_at_once_with_its_place() {
        let text = format!(
            "{GOOD}\n[[program]]\nname = \"a b\"\neffect = \"read\"\nprogram = \"x\"\n\
             [[program]]\nname = \"reindex\"\neffect = \"read\"\nprogram = \"./x\"\ndirectory = \"opt\"\n\
             [[program]]\nname = \"c\"\neffect = \"read\"\nprogram = \"x\"\narguments = [\"{{what}}\"]\n\
             [power.postgrse]\ndirectory = \"here\"\nenvironment = {{ \"A B\" = \"1\" }}\n"
        );
        let file = read(&text).unwrap();
        let found = problems(&file.programs, &file.powers);
        for part in [
            "the program `a b`: a form is called",
            "the program `reindex`: it is there twice",
            "the program `reindex`: a program is a name, or an absolute path",
            "the program `reindex`: `directory` is not",
            "the program `c`: nothing says what `{what}` is",
            "[power.postgrse]: no program is of this power; known: ",
            "[power.postgrse]: `directory` is not",
            "[power.postgrse]: `A B` cannot name a variable",
        ] {
            assert!(found.iter().any(|problem| problem.contains(part)), "{part}\n{found:#?}");
        }
        assert_eq!(found.len(), 8, "{found:#?}");
    }
}
