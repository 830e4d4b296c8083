//! What a plan may ask of this plugin, and whether it makes sense. Pure.

use serde::Deserialize;
use sternway_plugin::checks::Check;
use sternway_plugin::{Error, paths};

/// Of a name; `__sternway_` and eight digits are put behind it.
const NAME_BYTES_MAX: usize = 64 - 19;

/// Restores, dumps, checks or tidies one database; exactly one of them.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("oneOf" = [
    {"required": ["restore"]}, {"required": ["dump"]}, {"required": ["check"]}, {"required": ["drop-kept"]},
])))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Database to restore from a dump: beside the live one, then exchanged table by table in one statement.
    #[cfg_attr(test, schemars(regex(pattern = "^[A-Za-z0-9_]+$")))]
    pub restore: Option<String>,
    /// Database to dump to the file `to`.
    #[cfg_attr(test, schemars(regex(pattern = "^[A-Za-z0-9_]+$")))]
    pub dump: Option<String>,
    /// Database that is asked the `checks`, and changed in nothing.
    #[cfg_attr(test, schemars(regex(pattern = "^[A-Za-z0-9_]+$")))]
    pub check: Option<String>,
    /// Database beside which everything that earlier runs set aside is removed for good.
    #[cfg_attr(test, schemars(regex(pattern = "^[A-Za-z0-9_]+$")))]
    pub drop_kept: Option<String>,
    /// Path of the dump in the rollback point: `/.sternway/database/orders.sql`, or that of a file that the point holds.
    #[cfg_attr(test, schemars(regex(pattern = "^/")))]
    pub from_point: Option<String>,
    /// Path of a dump on the host, as `mysqldump` or `mariadb-dump` writes it.
    #[cfg_attr(test, schemars(regex(pattern = "^/")))]
    pub from_file: Option<String>,
    /// A path beside which the dump of a point is written again without the name of its database; nothing comes to stand at it.
    #[cfg_attr(test, schemars(regex(pattern = "^/")))]
    pub scratch: Option<String>,
    /// Questions to the restored database before and after the switch, or to the live one.
    pub checks: Option<Vec<Check>>,
    /// Folder in which the server keeps its data, on this host: too little room there is found out before anything is done.
    #[cfg_attr(test, schemars(regex(pattern = "^/")))]
    pub data_directory: Option<String>,
    /// Where `dump` writes.
    #[cfg_attr(test, schemars(regex(pattern = "^/")))]
    pub to: Option<String>,
}

/// Where a dump lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Point(String),
    File(String),
}

#[derive(Debug, Clone)]
pub(crate) struct Restore {
    pub(crate) source: Source,
    pub(crate) scratch: Option<String>,
    pub(crate) checks: Vec<Check>,
    pub(crate) data_directory: Option<String>,
}

/// The settings, found sound.
#[derive(Debug, Clone)]
pub(crate) enum Task {
    Restore(Restore),
    Dump { to: String },
    Check { checks: Vec<Check> },
    DropKept,
}

impl Source {
    pub(crate) fn path(&self) -> &str {
        match self {
            Self::Point(path) | Self::File(path) => path,
        }
    }
}

impl Settings {
    /// The database and what is wished of it.
    pub(crate) fn task(&self) -> Result<(String, Task), Error> {
        let wishes = [&self.restore, &self.dump, &self.check, &self.drop_kept];
        let mut named = wishes.into_iter().flatten();
        let (Some(on), None) = (named.next(), named.next()) else {
            let message = "exactly one of `restore`, `dump`, `check` and `drop-kept` has to be set";
            return Err(Error::invalid("mysql/one-of", message));
        };
        let on = database(on)?;
        let checks = self.checks.clone().unwrap_or_default();
        for check in &checks {
            check.sound()?;
            if check.sql.contains(';') {
                let message = format!("`{}` is more than one statement: leave `;` out", check.sql);
                return Err(Error::invalid("mysql/one-statement", message));
            }
        }
        let task = if self.restore.is_some() {
            let source = match (&self.from_point, &self.from_file) {
                (Some(path), None) => Source::Point(paths::path(path)?),
                (None, Some(path)) => Source::File(paths::path(path)?),
                _ => {
                    let message = "exactly one of `from-point` and `from-file` says where the dump is";
                    return Err(Error::invalid("mysql/from", message));
                }
            };
            let scratch = self.scratch.as_deref().map(paths::path).transpose()?;
            let data_directory = self.data_directory.as_deref().map(paths::path).transpose()?;
            Task::Restore(Restore { source, scratch, checks, data_directory })
        } else if self.dump.is_some() {
            let lacking = || Error::invalid("mysql/lacking", "`dump` needs `to`");
            Task::Dump { to: paths::path(self.to.as_deref().ok_or_else(lacking)?)? }
        } else if self.check.is_some() {
            if checks.is_empty() {
                return Err(Error::invalid("mysql/lacking", "`check` needs `checks`"));
            }
            Task::Check { checks }
        } else {
            Task::DropKept
        };
        Ok((on, task))
    }
}

fn database(name: &str) -> Result<String, Error> {
    let refused = |why: &str| Err(Error::invalid("mysql/name", format!("the database `{name}` {why}")));
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return refused("needs a name of letters, digits and `_`");
    }
    if name.len() > NAME_BYTES_MAX {
        return refused("has too long a name: 45 characters leave room for what stands beside it");
    }
    if ["mysql", "sys", "information_schema", "performance_schema"]
        .contains(&name.to_ascii_lowercase().as_str())
    {
        return refused("is the server's own");
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(json: &str) -> String {
        serde_json::from_str::<Settings>(json).unwrap().task().unwrap_err().code
    }

    #[test]
    fn the_schema_file_says_what_the_settings_take() {
        sternway_plugin::schema::assert_current::<Settings>(
            concat!(env!("CARGO_MANIFEST_DIR"), "/settings.schema.json"),
            include_str!("../settings.schema.json"),
        );
    }

    #[test]
    fn exactly_one_wish_with_what_it_needs_is_taken() {
        assert_eq!(code("{}"), "mysql/one-of");
        assert_eq!(code(r#"{"restore":"a"}"#), "mysql/from");
        assert_eq!(code(r#"{"restore":"a`b","from-file":"/a"}"#), "mysql/name");
        assert_eq!(code(r#"{"restore":"mysql","from-file":"/a"}"#), "mysql/name");
        assert_eq!(code(r#"{"dump":"a"}"#), "mysql/lacking");
        assert_eq!(code(r#"{"check":"a"}"#), "mysql/lacking");
        assert_eq!(
            code(r#"{"check":"a","checks":[{"sql":"select 1; drop table x","equals":"1"}]}"#),
            "mysql/one-statement"
        );
    }
}
