//! What the settings mean, and what changes. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use sternway_plugin::{Action, Error, Finding, Risk, Texts, Verdict, Verification, paths};

/// Builds a virtual environment of Python anew from pinned requirements, and switches to it.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Path of the virtual environment.
    #[cfg_attr(test, schemars(regex(pattern = "^/[^=]*$")))]
    venv: String,
    /// The file of requirements, each pinned with `==`: what `pip freeze` wrote.
    #[cfg_attr(test, schemars(regex(pattern = "^/")))]
    requirements: String,
    /// Which Python makes it. Left out: `python3`.
    #[cfg_attr(test, schemars(regex(pattern = r"^python3(\.(8|9|10|11|12|13|14))?$")))]
    python: Option<String>,
    /// A folder of wheels to install from, and from nowhere else. Left out: the index of the host's own pip settings.
    #[cfg_attr(test, schemars(regex(pattern = "^/")))]
    wheels: Option<String>,
    /// Whether every requirement must have a hash.
    #[serde(default)]
    pub(crate) require_hashes: bool,
    /// Modules that the new environment must be able to import before it is switched to.
    imports: Option<Texts>,
    /// Folders to look for these modules in first: where the application lies.
    imports_from: Option<Texts>,
    /// Trees whose caches (`__pycache__`) go as well.
    clear_caches: Option<Texts>,
}

/// The settings, found sound.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) venv: String,
    pub(crate) requirements: String,
    pub(crate) python: String,
    pub(crate) wheels: Option<String>,
    pub(crate) imports: Vec<String>,
    pub(crate) folders: Vec<String>,
    pub(crate) caches: Vec<String>,
}

impl Settings {
    pub(crate) fn task(&self) -> Result<Task, Error> {
        let task = Task {
            venv: paths::path(&self.venv)?,
            requirements: paths::path(&self.requirements)?,
            python: self.python.clone().unwrap_or_else(|| "python3".to_owned()),
            wheels: self.wheels.as_deref().map(paths::path).transpose()?,
            imports: self.imports.iter().flat_map(Texts::iter).map(str::to_owned).collect(),
            folders: paths::all(self.imports_from.as_ref())?,
            caches: paths::all(self.clear_caches.as_ref())?,
        };
        if task.venv.contains('=') {
            return Err(Error::invalid("python/bad-path", "a path with `=` cannot be an environment's"));
        }
        for name in &task.imports {
            let is_part = |part: &str| {
                part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
                    && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            };
            if !name.split('.').all(is_part) {
                return Err(Error::invalid("python/bad-module", format!("`{name}` is no name of a module")));
            }
        }
        let all: Vec<&String> = task.caches.iter().chain([&task.venv]).collect();
        for (at, one) in all.iter().enumerate() {
            for other in &all[at + 1..] {
                if one == other || paths::is_within(one, other) || paths::is_within(other, one) {
                    let message = format!("`{one}` and `{other}` cannot stand in one step");
                    return Err(Error::invalid("python/overlap", message));
                }
            }
        }
        Ok(task)
    }
}

/// One action for each package that differs; those of pip itself are left out.
pub(crate) fn actions(
    venv: &str,
    now: &BTreeMap<String, String>,
    wanted: &BTreeMap<String, String>,
) -> Vec<Action> {
    const OF_VENV: [&str; 3] = ["pip", "setuptools", "wheel"];
    let mut names: Vec<&String> = now.keys().chain(wanted.keys()).collect();
    names.sort();
    names.dedup();
    let differs = |name: &&&String| {
        now.get(**name) != wanted.get(**name)
            && (wanted.contains_key(**name) || !OF_VENV.contains(&name.as_str()))
    };
    let action = |name: &&String| Action {
        summary: format!(
            "{} in {venv}: {name}",
            if wanted.contains_key(*name) { "have" } else { "do without" }
        ),
        target: venv.to_owned(),
        before: now.get(*name).cloned(),
        after: wanted.get(*name).cloned(),
        risk: Risk::Low,
    };
    let mut actions: Vec<Action> = names.iter().filter(differs).map(action).collect();
    if actions.is_empty() {
        actions.push(Action {
            summary: format!("build {venv} anew with the same packages"),
            target: venv.to_owned(),
            before: Some(format!("{} packages", now.len())),
            after: Some(format!("{} packages", wanted.len())),
            risk: Risk::Low,
        });
    }
    actions
}

pub(crate) fn finding_no_file(path: &str) -> Finding {
    Finding::blocking("python/no-requirements", format!("{path} is not there or is no file"))
}

pub(crate) fn finding_no_wheels(path: &str) -> Finding {
    Finding::blocking("python/no-wheels", format!("{path}, the folder of wheels, is not there"))
}

pub(crate) fn finding_no_hashes(names: &[String]) -> Finding {
    let first: Vec<&str> = names.iter().take(5).map(String::as_str).collect();
    Finding::blocking(
        "python/no-hash",
        format!("{} requirements have no hash: {}", names.len(), first.join(", ")),
    )
}

pub(crate) fn finding_no_python(python: &str, said: &str) -> Finding {
    Finding::blocking(
        "python/no-venv",
        format!("{python} cannot make virtual environments here ({said}); on Debian install python3-venv"),
    )
}

pub(crate) fn finding_broken(venv: &str) -> Finding {
    Finding::note(
        "python/broken-now",
        format!("what {venv} holds now cannot be told: its Python does not run"),
    )
}

pub(crate) fn proof_of_digest(venv: &str, live: Option<&str>, to: &str) -> Verification {
    let same = live == Some(to);
    Verification {
        name: format!("{venv} is the one that was built"),
        verdict: if same { Verdict::Pass } else { Verdict::Fail },
        measured: live.map(str::to_owned),
        expected: Some(to.to_owned()),
        message: format!("{venv} is {} was built", if same { "what" } else { "not what" }),
    }
}

pub(crate) fn proof_of_versions(
    venv: &str,
    now: &BTreeMap<String, String>,
    wanted: &BTreeMap<String, String>,
) -> Verification {
    let wrong: Vec<&str> = wanted
        .iter()
        .filter(|(name, version)| now.get(*name) != Some(*version))
        .map(|(name, _)| name.as_str())
        .collect();
    Verification {
        name: format!("{venv} has each package as pinned"),
        verdict: if wrong.is_empty() { Verdict::Pass } else { Verdict::Fail },
        measured: Some(format!("{} of {}", wanted.len() - wrong.len(), wanted.len())),
        expected: Some(format!("{} of {}", wanted.len(), wanted.len())),
        message: if wrong.is_empty() {
            format!("{venv} runs and has each package as pinned")
        } else {
            format!("{venv} does not have as pinned: {}", wrong.join(", "))
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_file_says_what_the_settings_take() {
        sternway_plugin::schema::assert_current::<Settings>(
            concat!(env!("CARGO_MANIFEST_DIR"), "/settings.schema.json"),
            include_str!("../settings.schema.json"),
        );
    }

    #[test]
    fn unsound_settings_are_refused_by_code() {
        for (more, code) in [
            (r#""venv":"opt/v""#, "step/path"),
            (r#""venv":"/opt/a=b""#, "python/bad-path"),
            (r#""venv":"/opt/v","imports":"os; x""#, "python/bad-module"),
            (r#""venv":"/opt/v","imports":"-c""#, "python/bad-module"),
            (r#""venv":"/opt/a/v","clear-caches":"/opt/a""#, "python/overlap"),
        ] {
            let json = format!(r#"{{{more},"requirements":"/r"}}"#);
            let settings: Settings = serde_json::from_str(&json).unwrap();
            assert_eq!(settings.task().unwrap_err().code, code, "{json}");
        }
    }

    #[test]
    fn the_preview_names_each_package_that_differs() {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect()
        };
        let now = map(&[("a", "2"), ("gone", "1"), ("pip", "23"), ("same", "1")]);
        let wanted = map(&[("a", "1"), ("new", "1"), ("same", "1")]);
        let told: Vec<String> = actions("/v", &now, &wanted)
            .into_iter()
            .map(|action| format!("{} {:?} {:?}", action.summary, action.before, action.after))
            .collect();
        assert_eq!(
            told,
            [
                r#"have in /v: a Some("2") Some("1")"#,
                r#"do without in /v: gone Some("1") None"#,
                r#"have in /v: new None Some("1")"#,
            ]
        );
        assert_eq!(actions("/v", &wanted, &wanted).len(), 1);
    }
}
