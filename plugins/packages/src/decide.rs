//! What dpkg and apt say, and what is to be done. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sternway_plugin::{Action, Error, Finding, Kind, Risk, Verdict, Verification};

/// Version by name; none for a package that is not installed.
pub(crate) type Versions = BTreeMap<String, Option<String>>;

/// Brings Debian packages to pinned versions, and holds them there.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Package to version: `{ nginx = "1.22.1-9" }`.
    #[cfg_attr(test, schemars(extend("minProperties" = 1)))]
    install: BTreeMap<String, String>,
    /// Whether the packages are held at these versions. Left out: yes.
    hold: Option<bool>,
    /// Whether other packages may be removed on the way. Left out: no.
    #[serde(default)]
    pub(crate) may_remove: bool,
}

/// What stood before, and what stands afterwards.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Before {
    /// Of every package that changes, also of those that change along with others.
    pub(crate) versions: Versions,
    pub(crate) held: BTreeSet<String>,
    pub(crate) automatic: BTreeSet<String>,
}

/// One line of a simulation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) name: String,
    pub(crate) before: Option<String>,
    /// None for a package that goes.
    pub(crate) after: Option<String>,
}

impl Settings {
    pub(crate) fn wanted(&self) -> Result<BTreeMap<String, String>, Error> {
        if self.install.is_empty() {
            return Err(Error::invalid("packages/nothing-asked", "`install` names no package"));
        }
        for (name, version) in &self.install {
            let is_name = name.len() > 1
                && name.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
                && name.bytes().all(|byte| {
                    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.:".contains(&byte)
                });
            let is_version = version.starts_with(|first: char| first.is_ascii_digit())
                && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+-~:".contains(&byte));
            if !is_name {
                return Err(Error::invalid("packages/bad-name", format!("`{name}` is no name of a package")));
            }
            if !is_version {
                let message = format!("`{version}` of {name} is no version; write the whole of it");
                return Err(Error::invalid("packages/bad-version", message));
            }
        }
        Ok(self.install.clone())
    }

    pub(crate) fn holds(&self) -> bool {
        self.hold.unwrap_or(true)
    }
}

/// Of `names`, what is installed; a package half installed counts as installed.
pub(crate) fn installed(names: &[String], text: &str) -> Versions {
    let mut found: Versions = names.iter().map(|name| (name.clone(), None)).collect();
    for line in text.lines() {
        let mut fields = line.split('\t');
        let (Some(status), Some(name), Some(version)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let state = status.chars().nth(1).unwrap_or('n');
        if let (Some(place), false, false) =
            (found.get_mut(name), matches!(state, 'n' | 'c'), version.is_empty())
        {
            *place = Some(version.to_owned());
        }
    }
    found
}

/// Versions by name, as `apt-cache madison` lists them, the newest first.
pub(crate) fn available(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.split('|').map(str::trim);
        let (name, version, place) = (fields.next(), fields.next(), fields.next());
        // What only dpkg knows can be installed from nowhere.
        let is_archive = place.is_none_or(|place| !place.contains("/var/lib/dpkg/status"));
        if let (Some(name), Some(version), true) = (name, version, is_archive) {
            let versions = found.entry(name.to_owned()).or_default();
            if !versions.iter().any(|known| known == version) {
                versions.push(version.to_owned());
            }
        }
    }
    found
}

/// `Inst name [old] (new where)`, `Remv name [old]`.
pub(crate) fn simulated(text: &str) -> Vec<Change> {
    let change = |line: &str| {
        let mut words = line.split(' ');
        let (verb, name) = (words.next()?, words.next()?.to_owned());
        let name = name.split(':').next().unwrap_or_default().to_owned();
        let within = |open: char, close: char| {
            let inner = line.split_once(open)?.1.split(close).next()?;
            inner.split(' ').next().map(str::to_owned)
        };
        // Brackets of an architecture stand behind the new version.
        let before =
            line.split('(').next().filter(|start| start.contains('[')).and_then(|_| within('[', ']'));
        match verb {
            "Inst" => Some(Change { name, before, after: within('(', ')') }),
            "Remv" => Some(Change { name, before, after: None }),
            _ => None,
        }
    };
    text.lines().filter_map(change).collect()
}

pub(crate) fn names(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(|name| name.split(':').next().unwrap_or_default().to_owned()).collect()
}

/// `name=version` of all that have a version.
pub(crate) fn pins(versions: &Versions) -> Vec<String> {
    versions.iter().filter_map(|(name, version)| Some(format!("{name}={}", version.as_ref()?))).collect()
}

pub(crate) fn finding_unavailable(name: &str, version: &str, known: &[String]) -> Finding {
    let choices = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Finding::blocking(
        "packages/not-available",
        format!("{name} {version} is in no archive this host knows; there are: {choices}"),
    )
}

/// Undo must be able to install what is installed now.
pub(crate) fn findings_no_way_back(
    before: &Versions,
    available: &BTreeMap<String, Vec<String>>,
) -> Vec<Finding> {
    let lost = before.iter().filter_map(|(name, version)| {
        let version = version.as_ref()?;
        let is_there = available.get(name).is_some_and(|all| all.contains(version));
        (!is_there).then(|| {
            Finding::blocking(
                "packages/no-way-back",
                format!("{name} {version}, which is installed, is in no archive this host knows: undo could not install it"),
            )
        })
    });
    lost.collect()
}

pub(crate) fn finding_removes(changes: &[Change], wanted: &BTreeMap<String, String>) -> Option<Finding> {
    let gone: Vec<&str> = changes
        .iter()
        .filter(|change| change.after.is_none() && !wanted.contains_key(&change.name))
        .map(|change| change.name.as_str())
        .collect();
    (!gone.is_empty()).then(|| {
        Finding::blocking(
            "packages/removes",
            format!("this would remove {}; set may-remove = true to allow it", gone.join(", ")),
        )
    })
}

pub(crate) fn finding_refused(complaint: &str) -> Finding {
    let said: Vec<&str> = complaint.lines().map(str::trim).filter(|line| line.starts_with("E:")).collect();
    Finding::blocking("packages/refused", format!("apt would not do it: {}", said.join(" ")))
}

pub(crate) fn finding_interrupted() -> Finding {
    Finding::note(
        "packages/interrupted",
        "an earlier work of dpkg was interrupted; it is finished first (dpkg --configure --pending)",
    )
}

pub(crate) fn action(change: &Change, is_wanted: bool) -> Action {
    let along = if is_wanted { "" } else { " along with others" };
    let verb = match (&change.before, &change.after) {
        (_, None) => "remove",
        (None, Some(_)) => "install",
        (Some(_), Some(_)) => "change",
    };
    Action {
        summary: format!("{verb} {}{along}", change.name),
        target: change.name.clone(),
        before: change.before.clone(),
        after: change.after.clone(),
        risk: if is_wanted { Risk::Low } else { Risk::High },
    }
}

pub(crate) fn proof(name: &str, now: Option<&str>, wanted: &str) -> Verification {
    let same = now == Some(wanted);
    Verification {
        name: format!("{name} is {wanted}"),
        verdict: if same { Verdict::Pass } else { Verdict::Fail },
        measured: Some(now.unwrap_or("not installed").to_owned()),
        expected: Some(wanted.to_owned()),
        message: format!("{name} is {}", now.unwrap_or("not installed")),
    }
}

pub(crate) fn proof_of(name: &str, is_so: bool) -> Verification {
    Verification {
        name: name.to_owned(),
        verdict: if is_so { Verdict::Pass } else { Verdict::Fail },
        measured: Some(if is_so { "yes" } else { "no" }.to_owned()),
        expected: Some("yes".to_owned()),
        message: name.to_owned(),
    }
}

/// Another program that works with packages ends at some time; all else does not.
pub(crate) fn error_of(form: &str, code: Option<i32>, complaint: &str) -> Error {
    let said = complaint.trim().lines().rev().find(|line| line.starts_with("E:")).unwrap_or(complaint.trim());
    let is_lock = ["Could not get lock", "Unable to acquire", "is another process using it", "is locked by"]
        .iter()
        .any(|mark| complaint.contains(mark));
    let how = code.map_or_else(|| "was killed".to_owned(), |code| format!("ended with {code}"));
    let message = format!("{form} {how}: {said}");
    if is_lock {
        return Error { kind: Kind::Transient, code: "packages/locked".to_owned(), message };
    }
    Error::failed("packages/failed", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(json: &str) -> String {
        serde_json::from_str::<Settings>(json).unwrap().wanted().unwrap_err().code
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
        assert_eq!(refusal(r#"{"install":{}}"#), "packages/nothing-asked");
        assert_eq!(refusal(r#"{"install":{"-x":"1"}}"#), "packages/bad-name");
        assert_eq!(refusal(r#"{"install":{"nginx/stable":"1"}}"#), "packages/bad-name");
        assert_eq!(refusal(r#"{"install":{"nginx":"latest"}}"#), "packages/bad-version");
        assert_eq!(refusal(r#"{"install":{"nginx":"1.*"}}"#), "packages/bad-version");
        assert!(serde_json::from_str::<Settings>(r#"{"instal":{}}"#).is_err());
    }

    #[test]
    fn a_simulation_tells_all_that_changes() {
        let text = "NOTE: This is only a simulation!\n\
                    Remv old-lib [0.9]\n\
                    Inst app [1.3] (1.1 Debian:12 [amd64])\n\
                    Inst new-lib (2:1.0-1 localhost [all])\n\
                    Conf app (1.1 Debian:12 [amd64])\n";
        let change = |name: &str, before: Option<&str>, after: Option<&str>| Change {
            name: name.to_owned(),
            before: before.map(Into::into),
            after: after.map(Into::into),
        };
        assert_eq!(
            simulated(text),
            [
                change("old-lib", Some("0.9"), None),
                change("app", Some("1.3"), Some("1.1")),
                change("new-lib", None, Some("2:1.0-1")),
            ]
        );
    }

    #[test]
    fn what_is_removed_but_configured_counts_as_not_installed() {
        let names = ["a", "b", "c", "d"].map(String::from);
        let found = installed(&names, "ii \ta\t1\nrc \tb\t2\niU \tc\t3\nun \td\t\n");
        let versions: Vec<Option<&str>> = found.values().map(Option::as_deref).collect();
        assert_eq!(versions, [Some("1"), None, Some("3"), None]);
    }

    #[test]
    fn a_lock_held_by_another_is_a_matter_of_time() {
        let locked =
            error_of("x", Some(100), "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by 7\n");
        assert_eq!((locked.kind, locked.code.as_str()), (Kind::Transient, "packages/locked"));
        assert_eq!(error_of("x", Some(100), "E: no space left").kind, Kind::Failed);
    }
}
