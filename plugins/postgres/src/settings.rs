//! What a plan may ask of this plugin, and whether it makes sense. Pure.

use serde::Deserialize;
use sternway_plugin::checks::Check;
use sternway_plugin::{Error, duration_ms, paths};

/// PostgreSQL cuts longer names short, and two could then be one.
const NAME_BYTES_MAX: usize = 63;
/// `__sternway_` and eight digits.
const SUFFIX_BYTES: usize = 19;
const JOBS_MAX: u32 = 64;

/// Restores, dumps, migrates, checks or tidies one database; exactly one of them.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("oneOf" = [
    {"required": ["restore"]}, {"required": ["dump"]}, {"required": ["migrate"]},
    {"required": ["check"]}, {"required": ["drop-kept"]},
])))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Database to restore from a dump: beside the live one, then switched by renaming.
    #[cfg_attr(test, schemars(regex(pattern = "^[A-Za-z0-9_][A-Za-z0-9_.-]*$")))]
    pub restore: Option<String>,
    /// Database to dump in `pg_dump`'s custom format to the file `to`.
    #[cfg_attr(test, schemars(regex(pattern = "^[A-Za-z0-9_][A-Za-z0-9_.-]*$")))]
    pub dump: Option<String>,
    /// Database whose migrations above `to-version` are taken back.
    #[cfg_attr(test, schemars(regex(pattern = "^[A-Za-z0-9_][A-Za-z0-9_.-]*$")))]
    pub migrate: Option<String>,
    /// Database that is asked the `checks`, and changed in nothing.
    #[cfg_attr(test, schemars(regex(pattern = "^[A-Za-z0-9_][A-Za-z0-9_.-]*$")))]
    pub check: Option<String>,
    /// Database beside which everything that earlier runs set aside is removed for good.
    #[cfg_attr(test, schemars(regex(pattern = "^[A-Za-z0-9_][A-Za-z0-9_.-]*$")))]
    pub drop_kept: Option<String>,
    /// Path of the dump in the rollback point: `/.sternway/database/orders.pgdump`, or that of a file that the point holds.
    #[cfg_attr(test, schemars(regex(pattern = "^/")))]
    pub from_point: Option<String>,
    /// Path of a dump on the host: an archive or a folder of `pg_dump`, or plain SQL.
    #[cfg_attr(test, schemars(regex(pattern = "^/")))]
    pub from_file: Option<String>,
    /// What the dump is. Left out: `archive`, and plain SQL where it begins as `pg_dump` writes it.
    pub format: Option<Format>,
    /// Questions to the restored database before and after the switch, or to the live one.
    pub checks: Option<Vec<Check>>,
    /// Everything belongs to whom the host connects as, whatever the dump says.
    pub no_owner: Option<bool>,
    /// Rights that the dump grants are left out.
    pub no_privileges: Option<bool>,
    /// Connections that restore at the same time; for an archive or folder that the host's database user can read.
    #[cfg_attr(test, schemars(range(min = 1, max = 64)))]
    pub jobs: Option<u32>,
    /// Folder in which the server keeps its data, on this host: too little room there is found out before anything is done.
    #[cfg_attr(test, schemars(regex(pattern = "^/")))]
    pub data_directory: Option<String>,
    /// Where `dump` writes.
    #[cfg_attr(test, schemars(regex(pattern = "^/")))]
    pub to: Option<String>,
    /// The version that `migrate` goes back to.
    pub to_version: Option<u64>,
    /// Table with the version: `schema_version`, or `app.schema_version`.
    #[cfg_attr(test, schemars(regex(pattern = r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?$")))]
    pub table: Option<String>,
    /// Its column. Left out: `version`.
    #[cfg_attr(test, schemars(regex(pattern = "^[A-Za-z0-9_]+$")))]
    pub column: Option<String>,
    /// Whether the table has one row for each migration, or one row with the newest. Left out: `rows`.
    pub keeps: Option<Keeps>,
    /// Folder with `NUMBER_anything.down.sql` and `NUMBER_anything.up.sql`.
    #[cfg_attr(test, schemars(regex(pattern = "^/")))]
    pub scripts: Option<String>,
    /// How far a replica may be behind, for `check`: `30s`.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$")))]
    pub lag_max: Option<String>,
}

/// Which program reads the dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(inline))]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    Archive,
    Plain,
}

/// How a table notes migrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(inline))]
#[serde(rename_all = "kebab-case")]
pub enum Keeps {
    One,
    Rows,
}

/// Where a dump lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Point(String),
    File(String),
}

#[derive(Debug, Clone)]
pub(crate) struct Restore {
    pub(crate) on: String,
    pub(crate) source: Source,
    pub(crate) format: Option<Format>,
    pub(crate) checks: Vec<Check>,
    pub(crate) options: Vec<String>,
    pub(crate) jobs: Option<u32>,
    pub(crate) data_directory: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Migrate {
    pub(crate) on: String,
    pub(crate) to: u64,
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) column: String,
    pub(crate) keeps: Keeps,
    pub(crate) scripts: String,
}

/// The settings, found sound.
#[derive(Debug, Clone)]
pub(crate) enum Task {
    Restore(Restore),
    Dump { on: String, to: String },
    Migrate(Migrate),
    Check { on: String, checks: Vec<Check>, lag_max_ms: Option<u64> },
    DropKept { on: String },
}

impl Settings {
    pub(crate) fn task(&self) -> Result<Task, Error> {
        let wishes = [&self.restore, &self.dump, &self.migrate, &self.check, &self.drop_kept];
        let mut named = wishes.into_iter().flatten();
        let (Some(on), None) = (named.next(), named.next()) else {
            let message =
                "exactly one of `restore`, `dump`, `migrate`, `check` and `drop-kept` has to be set";
            return Err(Error::invalid("postgres/one-of", message));
        };
        let on = database(on)?;
        for check in self.checks.iter().flatten() {
            check.sound()?;
        }
        if self.restore.is_some() {
            self.restore(on).map(Task::Restore)
        } else if self.dump.is_some() {
            Ok(Task::Dump { on, to: self.path("to", self.to.as_ref())? })
        } else if self.migrate.is_some() {
            self.migrate(on).map(Task::Migrate)
        } else if self.check.is_some() {
            self.check(on)
        } else {
            Ok(Task::DropKept { on })
        }
    }

    fn restore(&self, on: String) -> Result<Restore, Error> {
        let source = match (&self.from_point, &self.from_file) {
            (Some(path), None) => Source::Point(paths::path(path)?),
            (None, Some(path)) => Source::File(paths::path(path)?),
            _ => {
                let message = "exactly one of `from-point` and `from-file` says where the dump is";
                return Err(Error::invalid("postgres/from", message));
            }
        };
        if self.jobs.is_some_and(|jobs| jobs == 0 || jobs > JOBS_MAX) {
            return Err(Error::invalid("postgres/jobs", format!("`jobs` is 1 to {JOBS_MAX}")));
        }
        let options = [("no-owner", self.no_owner), ("no-privileges", self.no_privileges)];
        let options = options.into_iter().filter(|(_, wanted)| *wanted == Some(true));
        Ok(Restore {
            on,
            source,
            format: self.format,
            checks: self.checks.clone().unwrap_or_default(),
            options: options.map(|(name, _)| name.to_owned()).collect(),
            jobs: self.jobs,
            data_directory: self.data_directory.as_deref().map(paths::path).transpose()?,
        })
    }

    fn migrate(&self, on: String) -> Result<Migrate, Error> {
        let lacking = |name: &str| Error::invalid("postgres/lacking", format!("`migrate` needs `{name}`"));
        let table = self.table.as_deref().ok_or_else(|| lacking("table"))?;
        let (schema, table) = table.split_once('.').unwrap_or(("public", table));
        let column = self.column.as_deref().unwrap_or("version");
        for name in [schema, table, column] {
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                let message = format!("`{name}` is no name of a table or column: letters, digits and `_`");
                return Err(Error::invalid("postgres/table", message));
            }
        }
        Ok(Migrate {
            on,
            to: self.to_version.ok_or_else(|| lacking("to-version"))?,
            schema: schema.to_owned(),
            table: table.to_owned(),
            column: column.to_owned(),
            keeps: self.keeps.unwrap_or(Keeps::Rows),
            scripts: self.path("scripts", self.scripts.as_ref())?,
        })
    }

    fn check(&self, on: String) -> Result<Task, Error> {
        let lag_max_ms = match &self.lag_max {
            None => None,
            Some(text) => {
                Some(duration_ms(text).map_err(|cause| Error::invalid("postgres/lag", cause.to_string()))?)
            }
        };
        let checks = self.checks.clone().unwrap_or_default();
        if checks.is_empty() && lag_max_ms.is_none() {
            return Err(Error::invalid("postgres/lacking", "`check` needs `checks` or `lag-max`"));
        }
        Ok(Task::Check { on, checks, lag_max_ms })
    }

    fn path(&self, name: &str, value: Option<&String>) -> Result<String, Error> {
        let lacking = || Error::invalid("postgres/lacking", format!("`{name}` has to be set"));
        paths::path(value.ok_or_else(lacking)?)
    }
}

/// A name that has room for what stands beside it, and is nobody's own.
fn database(name: &str) -> Result<String, Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let refused = |why: &str| Err(Error::invalid("postgres/name", format!("the database `{name}` {why}")));
    if name.is_empty() || name.starts_with(['-', '.']) || !name.bytes().all(plain) {
        return refused("needs a name of letters, digits, `_`, `.` and `-`");
    }
    if name.len() + SUFFIX_BYTES > NAME_BYTES_MAX {
        return refused("has too long a name: 44 characters leave room for what stands beside it");
    }
    if ["postgres", "template0", "template1"].contains(&name) {
        return refused("is one that every connection for maintenance needs");
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(json: &str) -> Result<Task, Error> {
        serde_json::from_str::<Settings>(json).unwrap().task()
    }

    fn code(json: &str) -> String {
        task(json).unwrap_err().code
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
        assert_eq!(code("{}"), "postgres/one-of");
        assert_eq!(code(r#"{"restore":"a","dump":"a"}"#), "postgres/one-of");
        assert_eq!(code(r#"{"restore":"a"}"#), "postgres/from");
        assert_eq!(code(r#"{"restore":"a","from-point":"/a","from-file":"/a"}"#), "postgres/from");
        assert_eq!(code(r#"{"restore":"a","from-file":"a"}"#), "step/path");
        assert_eq!(code(r#"{"restore":"a","from-file":"/a","jobs":0}"#), "postgres/jobs");
        assert_eq!(code(r#"{"restore":"a","from-file":"/a","checks":[{"sql":"s"}]}"#), "step/check");
        assert_eq!(code(r#"{"dump":"a"}"#), "postgres/lacking");
        assert_eq!(code(r#"{"check":"a"}"#), "postgres/lacking");
        assert_eq!(code(r#"{"check":"a","lag-max":"soon"}"#), "postgres/lag");
        assert_eq!(code(r#"{"migrate":"a","to-version":1,"scripts":"/s"}"#), "postgres/lacking");
        assert_eq!(code(r#"{"migrate":"a","to-version":1,"scripts":"/s","table":"a b"}"#), "postgres/table");
        assert!(task(r#"{"restore":"a","from-file":"/a","no-owner":true}"#).is_ok());
    }

    #[test]
    fn a_name_that_would_be_cut_short_or_is_the_servers_own_is_refused() {
        let long = "o".repeat(45);
        for name in ["", "a b", "a\"b", "-a", "postgres", "template1", &long] {
            assert_eq!(database(name).unwrap_err().code, "postgres/name", "{name}");
        }
        assert!(database(&"o".repeat(44)).is_ok() && database("agora-2.main_db").is_ok());
    }
}
