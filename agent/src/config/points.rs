//! The part of the agent's configuration about rollback points: where they
//! are kept, of what, when, and for how long.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sternway_core::point::Kind;
use sternway_core::point::readiness::Wishes;
use sternway_core::point::retention::Retention;
use sternway_core::time::Millis;

mod problems;

/// `[points]` of the agent's configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointsConfig {
    /// A folder, or a back end's address such as `opendal:s3` or
    /// `rest:https://…`; `points` in the state directory when it is not named.
    pub repository: Option<String>,
    /// The file with the repository's password; made with a random one, mode
    /// 0600, when the repository is made. `points.password` in the state
    /// directory when it is not named.
    pub password: Option<PathBuf>,
    /// Options of the back end, as it names them: bucket, region, endpoint.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// A file of further options in TOML, mode 0600, for those that are secret.
    pub secrets: Option<PathBuf>,
    /// Of all times of schedules and scrubs, such as `Europe/Vienna`; UTC when it is not named.
    pub zone: Option<String>,
    #[serde(default)]
    pub keep: Keep,
    #[serde(default)]
    pub scrub: Scrub,
    #[serde(default)]
    pub ready: Ready,
    #[serde(default, rename = "service")]
    pub services: Vec<PointService>,
    #[serde(default, rename = "schedule")]
    pub schedules: Vec<Schedule>,
}

/// Why the secret options of the repository cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    #[error("could not read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("others can read `{}` (mode {mode:04o}): run `chmod 600` on it, and change what is in it", path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error("`{}` is not as expected, lines of `name = \"value\"`: line {line}", path.display())]
    Parse { path: PathBuf, line: usize },
}

impl PointsConfig {
    /// What the file of secret options holds.
    pub fn secret_options(&self) -> Result<BTreeMap<String, String>, SecretsError> {
        match &self.secrets {
            Some(path) => read_secrets(path),
            None => Ok(BTreeMap::new()),
        }
    }
}

fn read_secrets(path: &Path) -> Result<BTreeMap<String, String>, SecretsError> {
    let read = |cause| SecretsError::Read { path: path.to_path_buf(), cause };
    // Judged by what is opened, not by what stands there a moment later.
    let mut file = std::fs::File::open(path).map_err(read)?;
    let mode = file.metadata().map_err(read)?.mode() & 0o7777;
    if ![0o600, 0o400].contains(&mode) {
        return Err(SecretsError::Open { path: path.to_path_buf(), mode });
    }
    let mut text = String::new();
    std::io::Read::read_to_string(&mut file, &mut text).map_err(read)?;
    // What is wrong is a secret too: only its place is told.
    toml::from_str(&text).map_err(|error: toml::de::Error| {
        let before = error.span().map_or(0, |span| span.start.min(text.len()));
        SecretsError::Parse { path: path.to_path_buf(), line: text[..before].matches('\n').count() + 1 }
    })
}

/// What is kept; see [`Retention`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    pub newest: Option<u32>,
    #[serde(default, deserialize_with = "optional_duration")]
    pub within: Option<Millis>,
    /// Such as `20GiB`.
    #[serde(default, deserialize_with = "optional_bytes")]
    pub budget: Option<u64>,
}

impl Keep {
    pub fn retention(&self) -> Retention {
        let usual = Retention::default();
        Retention {
            newest: self.newest.unwrap_or(usual.newest),
            within: self.within.unwrap_or(usual.within),
            budget: self.budget,
        }
    }
}

/// Reading a share of all stored bytes again, day by day.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scrub {
    /// Five fields.
    #[serde(default = "scrub_cron")]
    pub cron: String,
    /// Per cent of all stored bytes at a time; 0 is never.
    #[serde(default = "scrub_share")]
    pub share: u8,
}

impl Default for Scrub {
    fn default() -> Self {
        Self { cron: scrub_cron(), share: scrub_share() }
    }
}

fn scrub_cron() -> String {
    "30 3 * * *".into()
}

/// Everything is read once a week.
fn scrub_share() -> u8 {
    15
}

/// How old things may be; see [`Wishes`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    #[serde(default, deserialize_with = "optional_duration")]
    pub point_age_max: Option<Millis>,
    #[serde(default, deserialize_with = "optional_duration")]
    pub check_age_max: Option<Millis>,
    #[serde(default, deserialize_with = "optional_duration")]
    pub drill_age_max: Option<Millis>,
}

impl Ready {
    pub fn wishes(&self) -> Wishes {
        let usual = Wishes::default();
        Wishes {
            point_age_max: self.point_age_max.or(usual.point_age_max),
            check_age_max: self.check_age_max.or(usual.check_age_max),
            drill_age_max: self.drill_age_max.or(usual.drill_age_max),
        }
    }
}

/// `[[points.service]]`: what a point of a service holds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointService {
    pub name: String,
    /// How the host finds out which version runs.
    pub version: Option<Version>,
    /// Files and folders of the program itself.
    #[serde(default)]
    pub files: Vec<String>,
    /// Files and folders of its configuration.
    #[serde(default)]
    pub config: Vec<String>,
    /// systemd units: their files, drop-ins and state.
    #[serde(default)]
    pub units: Vec<String>,
    /// Compose files: the files, and the digests of the images that run.
    #[serde(default)]
    pub compose: Vec<String>,
    /// Working trees: commit, branch, what is changed.
    #[serde(default)]
    pub git: Vec<String>,
    /// `dpkg`, and folders of Python environments: names and versions.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Files with flags, and files with the environment.
    #[serde(default)]
    pub flags: Vec<String>,
    #[serde(default)]
    pub environment: Vec<String>,
    #[serde(default, rename = "database")]
    pub databases: Vec<Database>,
    #[serde(default, rename = "component")]
    pub components: Vec<Component>,
    /// Plugins that bringing it back takes; `files` when it is not said.
    #[serde(default = "usual_plugins")]
    pub plugins: Vec<String>,
    /// Where copies of SQLite files lie while they are read: in the state
    /// directory, once the configuration was loaded.
    #[serde(skip, default = "std::env::temp_dir")]
    pub scratch: PathBuf,
}

fn usual_plugins() -> Vec<String> {
    vec!["files".into()]
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Version {
    /// The first line of a file.
    File(String),
    /// What `git describe --tags --always` says of a working tree.
    Git(String),
    /// The first line that a program prints.
    Command(Vec<String>),
}

/// A database, dumped as a stream while it serves.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    pub name: String,
    /// `source = { postgres = "dbname=agora" }`.
    pub source: DatabaseSource,
    /// Whom of this host's users the dumping program runs as; the agent's own when it is not said.
    pub user: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DatabaseSource {
    /// A file; copied consistently while it is written to.
    Sqlite(String),
    /// A connection text for `pg_dump`, in its custom format. Holds no
    /// password: every user of the host sees the words of a running program.
    Postgres(String),
    Mysql(Mysql),
    /// A program whose output is the dump.
    Command(Vec<String>),
}

/// `source = { mysql = { defaults = "/etc/agora/my.cnf" } }`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mysql {
    /// A defaults file for `mysqldump`, which holds user, password and host.
    pub defaults: String,
    /// All of them when none is named.
    #[serde(default)]
    pub databases: Vec<String>,
}

/// One part of a service, for points of kind `component`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    pub name: String,
    pub files: Vec<String>,
}

/// `[[points.schedule]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    pub name: String,
    /// A `[[points.service]]`.
    pub service: String,
    /// Five fields; daily at 02:00 when it is not said.
    #[serde(default = "daily_at_two")]
    pub cron: String,
    /// Put off by a random time up to this, so that a fleet does not begin at one moment.
    #[serde(default = "usual_jitter", deserialize_with = "super::duration")]
    pub jitter: Millis,
    #[serde(default = "whole")]
    pub kind: Kind,
    pub component: Option<String>,
    /// The schedule's name when it is not said.
    pub tag: Option<String>,
}

fn daily_at_two() -> String {
    "0 2 * * *".into()
}

fn usual_jitter() -> Millis {
    Millis::minutes(15)
}

fn whole() -> Kind {
    Kind::Full
}

fn optional_duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Millis>, D::Error> {
    super::duration(deserializer).map(Some)
}

/// Reads `512`, `64KiB`, `20GiB`, `1TB`: units of 1024 with an `i`, of 1000 without.
fn optional_bytes<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    read_bytes(&text).map(Some).ok_or_else(|| {
        serde::de::Error::custom(format!("`{text}` is no size: write a number and B, KiB, MiB, GiB or TiB"))
    })
}

fn read_bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_described_once_and_kept_every_night_at_two() {
        let config: PointsConfig = toml::from_str(
            r#"
            keep = { newest = 3, within = "7d", budget = "20GiB" }
            [[service]]
            name = "agora"
            version = { git = "/opt/agora" }
            files = ["/opt/agora"]
            database = [
                { name = "main", source = { postgres = "dbname=agora" } },
                { name = "cache", source = { sqlite = "/var/a.db" } },
            ]
            component = [{ name = "api", files = ["/opt/agora/api"] }]
            [[schedule]]
            name = "nightly"
            service = "agora"
            "#,
        )
        .unwrap();
        assert_eq!(config.keep.retention().budget, Some(20 << 30));
        assert_eq!(config.keep.retention().within, Millis::hours(7 * 24));
        assert_eq!((config.schedules[0].cron.as_str(), config.schedules[0].kind), ("0 2 * * *", Kind::Full));
        assert!(matches!(&config.services[0].databases[1].source, DatabaseSource::Sqlite(_)));
        assert_eq!(config.services[0].plugins, ["files"]);
        assert_eq!(Keep::default().retention(), Retention::default());
    }

    #[test]
    fn secrets_that_others_can_read_are_refused_and_never_told() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets.toml");
        let config = PointsConfig { secrets: Some(path.clone()), ..PointsConfig::default() };
        let write = |text: &str, mode| {
            let _ = std::fs::remove_file(&path);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            config.secret_options()
        };
        assert!(matches!(config.secret_options(), Err(SecretsError::Read { .. })));
        for mode in [0o600, 0o400] {
            assert_eq!(write("secret_access_key = \"k\"", mode).unwrap()["secret_access_key"], "k");
        }
        for mode in [0o640, 0o604, 0o644] {
            let error = write("secret_access_key = \"k\"", mode).unwrap_err();
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
        let error = write("a = \"b\"\nhunter2", 0o600).unwrap_err();
        assert!(matches!(error, SecretsError::Parse { line: 2, .. }), "{error:?}");
        assert!(!format!("{error:?} {error}").contains("hunter2"));
    }

    #[test]
    fn sizes_need_units_that_are_known() {
        assert_eq!(read_bytes("64KiB"), Some(65_536));
        assert_eq!(read_bytes("1 GB"), Some(1_000_000_000));
        assert_eq!(read_bytes("7"), Some(7));
        assert_eq!(read_bytes("7x"), None);
        assert_eq!(read_bytes("GiB"), None);
        assert_eq!(read_bytes("99999999999TiB"), None);
    }
}
