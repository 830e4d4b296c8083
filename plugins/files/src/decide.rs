//! What the settings and the facts of the host mean. Pure.

use serde::Deserialize;
use sternway_plugin::host::files::Ownership;
use sternway_plugin::{Action, Error, Finding, Risk, Texts, Verdict, Verification, owned, paths};

/// Restores files from the rollback point and takes others away.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("anyOf" = [{"required": ["restore"]}, {"required": ["remove"]}])))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// A path or a list of paths, each a tree or a single file, to bring back from the rollback point.
    pub(crate) restore: Option<Texts>,
    /// A path or a list of paths to take away; kept aside for undo.
    pub(crate) remove: Option<Texts>,
    /// Owner of all that is restored: `user` or `user:group`. Left out: as the point holds it.
    #[cfg_attr(test, schemars(regex(pattern = r"^[^:\s]+(:[^:\s]+)?$")))]
    pub(crate) owner: Option<String>,
    /// Mode of the files restored, in octal: `0644`.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-7]{3,4}$")))]
    pub(crate) mode: Option<String>,
    /// Mode of the directories restored, in octal: `0755`.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-7]{3,4}$")))]
    pub(crate) directory_mode: Option<String>,
}

/// The settings, found sound.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) restore: Vec<String>,
    pub(crate) remove: Vec<String>,
    pub(crate) ownership: Option<Ownership>,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

impl Settings {
    pub(crate) fn task(&self) -> Result<Task, Error> {
        let restore = paths::all(self.restore.as_ref())?;
        let remove = paths::all(self.remove.as_ref())?;
        if restore.is_empty() && remove.is_empty() {
            return Err(Error::invalid("files/nothing-asked", "neither `restore` nor `remove` is set"));
        }
        refuse_overlaps(&restore, &remove)?;
        Ok(Task { restore, remove, ownership: self.ownership()? })
    }

    fn ownership(&self) -> Result<Option<Ownership>, Error> {
        owned::ownership(self.owner.as_deref(), self.mode.as_deref(), self.directory_mode.as_deref())
    }
}

impl Task {
    pub(crate) fn paths(&self) -> usize {
        self.restore.len() + self.remove.len()
    }

    /// Whether `path` lies within a tree that is restored.
    pub(crate) fn restores_around(&self, path: &str) -> bool {
        self.restore.iter().any(|tree| paths::is_within(path, tree))
    }
}

pub(crate) fn finding_without_point(task: &Task) -> Option<Finding> {
    (!task.restore.is_empty())
        .then(|| Finding::blocking("files/no-point", "there is no rollback point to restore files from"))
}

pub(crate) fn finding_not_in_point(path: &str, point: &str) -> Finding {
    Finding::blocking("files/not-in-point", format!("point {point} holds nothing at {path}"))
}

pub(crate) fn finding_on_remove(path: &str, there: bool, in_point: Option<u64>) -> Option<Finding> {
    match (in_point, there) {
        (Some(_), _) => Some(Finding::blocking(
            "files/comes-back",
            format!("{path} is to be removed, but the point holds it: restoring would bring it back"),
        )),
        (None, false) => Some(Finding::note("files/gone-already", format!("{path} is not there"))),
        (None, true) => None,
    }
}

pub(crate) fn restoration(path: &str, live: Option<&Held>, entries: u64, point: &str) -> Action {
    Action {
        summary: format!("restore {path}"),
        target: path.to_owned(),
        before: live.map(describe),
        after: Some(format!("{} from point {point}", count(entries))),
        risk: Risk::Low,
    }
}

pub(crate) fn removal(path: &str, live: &Held) -> Action {
    Action {
        summary: format!("take {path} away"),
        target: path.to_owned(),
        before: Some(describe(live)),
        after: None,
        risk: Risk::Low,
    }
}

pub(crate) fn proof_of_restore(path: &str, live: Option<&str>, staged: &str) -> Verification {
    let same = live == Some(staged);
    Verification {
        name: format!("{path} is as restored"),
        verdict: if same { Verdict::Pass } else { Verdict::Fail },
        measured: Some(live.map_or_else(|| "nothing there".to_owned(), short)),
        expected: Some(short(staged)),
        message: if same {
            format!("{path} holds what was staged")
        } else {
            format!("{path} does not hold what was staged")
        },
    }
}

pub(crate) fn proof_of_removal(path: &str, there: bool) -> Verification {
    Verification {
        name: format!("{path} is gone"),
        verdict: if there { Verdict::Fail } else { Verdict::Pass },
        measured: Some(if there { "there" } else { "gone" }.to_owned()),
        expected: Some("gone".to_owned()),
        message: if there { format!("{path} is there again") } else { format!("{path} is gone") },
    }
}

fn refuse_overlaps(restore: &[String], remove: &[String]) -> Result<(), Error> {
    let overlap = |one: &str, other: &str| {
        Error::invalid("files/overlap", format!("`{one}` and `{other}` cannot stand in one step"))
    };
    for paths in [restore, remove] {
        for (at, one) in paths.iter().enumerate() {
            for other in &paths[at + 1..] {
                if one == other || paths::is_within(one, other) || paths::is_within(other, one) {
                    return Err(overlap(one, other));
                }
            }
        }
    }
    for gone in remove {
        for back in restore {
            if gone == back || paths::is_within(back, gone) {
                return Err(overlap(back, gone));
            }
        }
    }
    Ok(())
}

fn describe(held: &Held) -> String {
    format!("{}, {} bytes, {}", count(held.entries), held.bytes, short(&held.sha256))
}

fn count(entries: u64) -> String {
    if entries == 1 { "1 entry".to_owned() } else { format!("{entries} entries") }
}

fn short(sha256: &str) -> String {
    format!("sha256 {}", sha256.get(..12).unwrap_or(sha256))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(json: &str) -> Settings {
        serde_json::from_str(json).unwrap()
    }

    fn refusal(json: &str) -> String {
        settings(json).task().unwrap_err().code
    }

    #[test]
    fn the_schema_file_says_what_the_settings_take() {
        sternway_plugin::schema::assert_current::<Settings>(
            concat!(env!("CARGO_MANIFEST_DIR"), "/settings.schema.json"),
            include_str!("../settings.schema.json"),
        );
    }

    #[test]
    fn unsound_settings_are_refused_by_code() {
        assert_eq!(refusal("{}"), "files/nothing-asked");
        assert_eq!(refusal(r#"{"restore":"/opt/../etc"}"#), "step/path");
        assert_eq!(refusal(r#"{"restore":"/a","mode":"0999"}"#), "step/mode");
        assert!(serde_json::from_str::<Settings>(r#"{"restor":"/a"}"#).is_err());
    }

    #[test]
    fn paths_that_would_work_against_each_other_are_refused() {
        for bad in [
            r#"{"restore":["/opt/a","/opt/a"]}"#,
            r#"{"restore":["/opt/a","/opt/a/b"]}"#,
            r#"{"remove":["/opt/a/b","/opt/a"]}"#,
            r#"{"restore":"/opt/a","remove":"/opt/a"}"#,
            r#"{"restore":"/opt/a/b","remove":"/opt/a"}"#,
        ] {
            assert_eq!(refusal(bad), "files/overlap", "{bad}");
        }
        let nested = settings(r#"{"restore":"/opt/a","remove":"/opt/a/b"}"#).task().unwrap();
        assert!(nested.restores_around("/opt/a/b"));
        assert!(!nested.restores_around("/opt/ab"));
    }

    #[test]
    fn what_a_restore_would_bring_back_cannot_be_removed() {
        assert!(finding_on_remove("/a/b", true, Some(3)).unwrap().blocking);
        assert!(!finding_on_remove("/a/b", false, None).unwrap().blocking);
        assert_eq!(finding_on_remove("/a/b", true, None), None);
    }

    #[test]
    fn only_a_restore_needs_a_point() {
        let removes = settings(r#"{"remove":"/a"}"#).task().unwrap();
        let restores = settings(r#"{"restore":"/a"}"#).task().unwrap();
        assert_eq!(finding_without_point(&removes), None);
        assert!(finding_without_point(&restores).unwrap().blocking);
    }

    #[test]
    fn proof_is_the_digest_and_nothing_less() {
        assert_eq!(proof_of_restore("/a", Some("d1"), "d1").verdict, Verdict::Pass);
        assert_eq!(proof_of_restore("/a", Some("d2"), "d1").verdict, Verdict::Fail);
        assert_eq!(proof_of_restore("/a", None, "d1").verdict, Verdict::Fail);
        assert_eq!(proof_of_removal("/a", true).verdict, Verdict::Fail);
        assert_eq!(proof_of_removal("/a", false).verdict, Verdict::Pass);
    }
}
