//! The settings, and what a sound reading of them asks for. Pure.

use serde::Deserialize;
use sternway_plugin::{Error, Texts, duration_ms, paths};

use crate::groups::Groups;

const TIMEOUT_MS: u64 = 60_000;
const SETTLE_MS: u64 = 2_000;
const SUFFIXES: [&str; 6] = [".service", ".socket", ".timer", ".path", ".target", ".mount"];
const UNITS: &str = "/etc/systemd/system/";

/// Moves, links and checks units of systemd, or restores their files; exactly one of the ten.
///
/// A name without a suffix is a service. Lists are gone through one by one; a
/// list in a list is a group, whose own order does not matter.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("oneOf" = [
    {"required": ["stop"]}, {"required": ["start"]}, {"required": ["restart"]}, {"required": ["reload"]},
    {"required": ["enable"]}, {"required": ["disable"]}, {"required": ["mask"]}, {"required": ["unmask"]},
    {"required": ["check"]}, {"required": ["unit-files"]},
])))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Units to stop, the last named first.
    pub(crate) stop: Option<Groups>,
    /// Units to start, in the order named.
    pub(crate) start: Option<Groups>,
    /// Units to restart, in the order named, each up again before the next.
    pub(crate) restart: Option<Groups>,
    /// Units that are to read their configuration again.
    pub(crate) reload: Option<Groups>,
    /// Units that are to start with the host.
    pub(crate) enable: Option<Groups>,
    /// Units that are not to start with the host.
    pub(crate) disable: Option<Groups>,
    /// Units that nobody is to start; one that runs goes on.
    pub(crate) mask: Option<Groups>,
    /// Units that can be started again.
    pub(crate) unmask: Option<Groups>,
    /// Units that have to be active and to stay so.
    pub(crate) check: Option<Groups>,
    /// Unit files, drop-ins and their folders below `/etc/systemd/system` to bring back from the rollback point.
    pub(crate) unit_files: Option<Texts>,
    /// How long one unit may take to start, stop or reload. Left out: `60s`.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$")))]
    pub(crate) timeout: Option<String>,
    /// How long a unit has to stay up, and not be started again by systemd, to count as up. Left out: `2s`.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$")))]
    pub(crate) settle: Option<String>,
    /// Whether a unit that has not stopped within the time-out is killed.
    pub(crate) kill: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Stop,
    Start,
    Restart,
    Reload,
    Enable,
    Disable,
    Mask,
    Unmask,
    Check,
}

/// The settings, found sound.
#[derive(Debug)]
pub(crate) enum Task {
    Units(Units),
    /// Paths to restore.
    Files(Vec<String>),
}

#[derive(Debug)]
pub(crate) struct Units {
    pub(crate) wish: Wish,
    /// With their suffixes, in the order named.
    pub(crate) names: Vec<String>,
    pub(crate) timeout_ms: u64,
    pub(crate) settle_ms: u64,
    pub(crate) kill: bool,
}

impl Settings {
    pub(crate) fn task(&self) -> Result<Task, Error> {
        let wishes = [
            (Wish::Stop, &self.stop),
            (Wish::Start, &self.start),
            (Wish::Restart, &self.restart),
            (Wish::Reload, &self.reload),
            (Wish::Enable, &self.enable),
            (Wish::Disable, &self.disable),
            (Wish::Mask, &self.mask),
            (Wish::Unmask, &self.unmask),
            (Wish::Check, &self.check),
        ];
        let mut asked = wishes.iter().filter_map(|(wish, names)| Some((*wish, names.as_ref()?)));
        match (asked.next(), asked.next(), &self.unit_files) {
            (Some((wish, groups)), None, None) => Ok(Task::Units(self.units(wish, groups)?)),
            (None, None, Some(files)) => Ok(Task::Files(unit_files(files)?)),
            _ => Err(Error::invalid(
                "systemd/one-of",
                "exactly one of `stop`, `start`, `restart`, `reload`, `enable`, `disable`, `mask`, `unmask`, \
                 `check` and `unit-files` has to be set",
            )),
        }
    }

    fn units(&self, wish: Wish, groups: &Groups) -> Result<Units, Error> {
        let names = groups.iter().map(full_name).collect::<Result<Vec<_>, _>>()?;
        if let Some(name) =
            (1..names.len()).find_map(|at| names[..at].contains(&names[at]).then(|| &names[at]))
        {
            return Err(Error::invalid("systemd/twice", format!("`{name}` is named twice")));
        }
        if self.kill.is_some() && wish != Wish::Stop {
            return Err(Error::invalid(
                "systemd/kill",
                "`kill` says how to stop; set it together with `stop`",
            ));
        }
        Ok(Units {
            wish,
            names,
            timeout_ms: time("timeout", self.timeout.as_deref(), TIMEOUT_MS)?,
            settle_ms: time("settle", self.settle.as_deref(), SETTLE_MS)?,
            kill: self.kill.unwrap_or(false),
        })
    }
}

fn time(setting: &str, text: Option<&str>, left_out: u64) -> Result<u64, Error> {
    text.map_or(Ok(left_out), duration_ms)
        .map_err(|cause| Error::invalid("systemd/duration", format!("`{setting}`: {cause}")))
}

/// As systemd knows it: a name without a suffix is a service.
fn full_name(name: &str) -> Result<String, Error> {
    let full = if SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
        name.to_owned()
    } else {
        format!("{name}.service")
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if full.starts_with('.') || full.len() > 255 || !full.chars().all(plain) {
        return Err(Error::invalid("systemd/name", format!("`{name}` is not the name of a unit")));
    }
    Ok(full)
}

/// Units, drop-ins and their folders, none within another.
fn unit_files(texts: &Texts) -> Result<Vec<String>, Error> {
    let paths = paths::all(Some(texts))?;
    for (at, path) in paths.iter().enumerate() {
        let parts: Vec<&str> = path.strip_prefix(UNITS).unwrap_or_default().split('/').collect();
        let unit = |name: &str| SUFFIXES.iter().any(|suffix| name.ends_with(suffix) && name != *suffix);
        let folder = |name: &str| name.strip_suffix(".d").is_some_and(unit);
        let sound = match parts.as_slice() {
            [one] => unit(one) || folder(one),
            [inside, file] => folder(inside) && file.ends_with(".conf"),
            _ => false,
        };
        if !sound {
            return Err(Error::invalid(
                "systemd/no-unit-file",
                format!("`{path}` is no unit file, drop-in or folder of drop-ins below {UNITS}"),
            ));
        }
        let overlaps =
            |other: &String| other == path || paths::is_within(other, path) || paths::is_within(path, other);
        if let Some(other) = paths[..at].iter().find(|other| overlaps(other)) {
            return Err(Error::invalid(
                "systemd/overlap",
                format!("`{other}` and `{path}` cannot stand in one step"),
            ));
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(json: &str) -> Result<Task, Error> {
        serde_json::from_str::<Settings>(json).unwrap().task()
    }

    fn units(json: &str) -> Units {
        match task(json).unwrap() {
            Task::Units(units) => units,
            Task::Files(files) => panic!("{files:?}"),
        }
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
        for (json, code) in [
            ("{}", "systemd/one-of"),
            (r#"{"stop":"a","start":"a"}"#, "systemd/one-of"),
            (r#"{"stop":"a","unit-files":"/etc/systemd/system/a.service"}"#, "systemd/one-of"),
            (r#"{"start":["a",["b","a.service"]]}"#, "systemd/twice"),
            (r#"{"start":"a/b"}"#, "systemd/name"),
            (r#"{"start":""}"#, "systemd/name"),
            (r#"{"start":"a b"}"#, "systemd/name"),
            (r#"{"start":"a","timeout":"soon"}"#, "systemd/duration"),
            (r#"{"start":"a","settle":"1.5s"}"#, "systemd/duration"),
            (r#"{"start":"a","kill":true}"#, "systemd/kill"),
            (r#"{"unit-files":"/etc/passwd"}"#, "systemd/no-unit-file"),
            (r#"{"unit-files":"/etc/systemd/system"}"#, "systemd/no-unit-file"),
            (r#"{"unit-files":"/etc/systemd/systematic/a.service"}"#, "systemd/no-unit-file"),
            (
                r#"{"unit-files":"/etc/systemd/system/multi-user.target.wants/a.service"}"#,
                "systemd/no-unit-file",
            ),
            (r#"{"unit-files":"/etc/systemd/system/a.service.d/b.txt"}"#, "systemd/no-unit-file"),
            (r#"{"unit-files":"/etc/systemd/system/../a.service"}"#, "step/path"),
            (
                r#"{"unit-files":["/etc/systemd/system/a.service.d","/etc/systemd/system/a.service.d/b.conf"]}"#,
                "systemd/overlap",
            ),
        ] {
            assert_eq!(task(json).unwrap_err().code, code, "{json}");
        }
        assert!(serde_json::from_str::<Settings>(r#"{"strat":"a"}"#).is_err());
    }

    #[test]
    fn a_name_without_a_suffix_is_a_service() {
        let units = units(r#"{"start":["db",["api@1","web.socket"],"all.target","a.b"]}"#);
        assert_eq!(units.names, ["db.service", "api@1.service", "web.socket", "all.target", "a.b.service"]);
        assert_eq!((units.timeout_ms, units.settle_ms, units.kill), (TIMEOUT_MS, SETTLE_MS, false));
    }

    #[test]
    fn unit_files_and_drop_ins_are_taken() {
        let json = r#"{"unit-files":["/etc/systemd/system/a.service","/etc/systemd/system/b.timer.d/x.conf",
            "/etc/systemd/system/c.service.d"]}"#;
        assert!(matches!(task(json).unwrap(), Task::Files(files) if files.len() == 3));
    }
}
