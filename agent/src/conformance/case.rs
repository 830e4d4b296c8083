//! A case as its author writes it: a folder with a `case.toml` and the trees
//! `host/`, `point/` and `after/` beside it, those that it needs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use sternway_core::grant::Grant;

use super::{ConformanceError, io};
use crate::capabilities::programs::{Form, PowerSettings};

/// One case.
#[derive(Debug, Clone)]
pub struct Case {
    pub(super) folder: PathBuf,
    pub(super) file: CaseFile,
}

/// `case.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseFile {
    /// What the case shows, for people.
    pub(super) summary: String,
    /// The step's `with`.
    pub(super) settings: Value,
    /// The step's own `undo`.
    pub(super) undo: Option<Value>,
    /// The code of the finding or error with which the plugin has to refuse.
    pub(super) refused: Option<String>,
    /// `root`, when owners are changed.
    pub(super) needs: Option<Needs>,
    /// Granted in place of what the settings ask for.
    #[serde(rename = "grant")]
    pub(super) grants: Option<Vec<Grant>>,
    #[serde(default)]
    pub(super) host: Tree,
    pub(super) point: Option<Tree>,
    pub(super) after: Option<Tree>,
    #[serde(default, rename = "service")]
    pub(super) services: Vec<ServiceCase>,
    #[serde(default, rename = "http")]
    pub(super) answers: Vec<AnswerCase>,
    /// What stands outside of files: units, containers, databases.
    pub(super) outside: Option<OutsideCase>,
}

/// Real parts that the case itself knows how to put back and to describe. Words
/// that begin with `./` are programs of the case's folder; `ROOT` in their
/// environment is the host's root.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutsideCase {
    /// Ends well where the case can be run; its last line says why it cannot.
    pub(super) can: Vec<String>,
    /// Puts everything back to the beginning, whatever a trial left.
    pub(super) reset: Vec<String>,
    /// Says how it stands, a line `name = state` for each thing.
    pub(super) picture: Vec<String>,
    /// Lines that have to stand in the picture after the step.
    #[serde(default)]
    pub(super) after: Vec<String>,
    /// Power to whom and how its programs run, as in the agent's configuration.
    #[serde(default)]
    pub(super) power: BTreeMap<String, PowerSettings>,
    /// Forms of the host's own, as in the agent's configuration.
    #[serde(default, rename = "program")]
    pub(super) programs: Vec<Form>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Needs {
    Root,
}

/// What a folder under version control cannot say of a tree.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tree {
    /// Path to mode, in octal. Others: 0755 for folders and programs, 0644.
    #[serde(default)]
    pub(super) modes: BTreeMap<String, String>,
    /// Path to `user:group`. Others: whoever runs the harness.
    #[serde(default)]
    pub(super) owners: BTreeMap<String, String>,
    /// Folders that are empty.
    #[serde(default)]
    pub(super) folders: Vec<String>,
    #[serde(default, rename = "database")]
    pub(super) databases: Vec<DatabaseCase>,
}

/// An SQLite database, made by its SQL and compared by what it says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DatabaseCase {
    pub(super) path: String,
    pub(super) sql: String,
    /// The rows of `wal_sql` stand only in the log beside the file.
    pub(super) wal_sql: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceCase {
    pub(super) name: String,
    /// No shell; `${root}` is the host's root.
    pub(super) command: Vec<String>,
    /// As the host knows it.
    pub(super) directory: Option<String>,
    pub(super) before: Wanted,
    /// After the step; nothing is asked when it is left out.
    pub(super) after: Option<Wanted>,
    /// What the line begins with in which it says its version; `${pid}` is its process.
    pub(super) version: Option<String>,
    /// How long it must stay up to count as started.
    #[serde(default = "settle_ms")]
    pub(super) settle_ms: u64,
}

fn settle_ms() -> u64 {
    20
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Wanted {
    Running,
    Stopped,
    /// Running, in another process than before.
    Renewed,
}

/// What the local HTTP peer answers at `${http}<path>`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AnswerCase {
    pub(super) path: String,
    #[serde(default = "ok")]
    pub(super) status: u16,
    /// What GET brings; with `keeps`, what stands there at the beginning.
    pub(super) body: Option<String>,
    /// PUT replaces, DELETE removes, and POST adds a line once for each key.
    #[serde(default)]
    pub(super) keeps: bool,
    /// Each GET adds a line, as no good peer does.
    #[serde(default)]
    pub(super) counts: bool,
    /// What stands there after the step.
    pub(super) after: Option<String>,
}

fn ok() -> u16 {
    200
}

impl Case {
    fn load(folder: &Path) -> Result<Self, ConformanceError> {
        let path = folder.join("case.toml");
        let text = std::fs::read_to_string(&path).map_err(io("read", &path))?;
        let file: CaseFile = toml::from_str(&text)
            .map_err(|cause| ConformanceError::Case { path: path.clone(), reason: cause.to_string() })?;
        let case = Self { folder: folder.to_path_buf(), file };
        for (name, asked) in [("point", case.file.point.is_some()), ("after", case.file.after.is_some())] {
            if !asked && case.folder.join(name).exists() {
                return Err(case.wrong(&format!("there is a folder `{name}` and no table `[{name}]`")));
            }
        }
        Ok(case)
    }

    /// Its folder's name.
    pub fn name(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Where it stands.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn needs_root(&self) -> bool {
        self.file.needs == Some(Needs::Root)
    }

    pub(super) fn tree(&self, name: &str) -> Option<PathBuf> {
        let path = self.folder.join(name);
        path.is_dir().then_some(path)
    }

    pub(super) fn wrong(&self, reason: &str) -> ConformanceError {
        ConformanceError::Case { path: self.folder.join("case.toml"), reason: reason.to_owned() }
    }
}

/// The case in a folder, or all cases in the folders below it, by name.
///
/// # Errors
/// There is none, or one makes no sense.
pub fn cases(at: &Path) -> Result<Vec<Case>, ConformanceError> {
    if at.join("case.toml").exists() {
        return Ok(vec![Case::load(at)?]);
    }
    let mut folders: Vec<PathBuf> = std::fs::read_dir(at)
        .map_err(io("list", at))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("case.toml").exists())
        .collect();
    folders.sort();
    if folders.is_empty() {
        return Err(ConformanceError::NoCase { path: at.to_path_buf() });
    }
    folders.iter().map(|folder| Case::load(folder)).collect()
}
