//! The settings as one task on one project. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use sternway_plugin::{Error, Texts, duration_ms, paths};

const TIMEOUT_MS: u64 = 300_000;
const WITHIN_MS: u64 = 60_000;
const FOR_MS: u64 = 5_000;
const EVERY_MS: u64 = 500;
/// A host allows 10 000 calls in one phase, and each look at the containers takes three.
const LOOKS_MAX: u64 = 1_500;
/// Beside the compose file; it holds nothing but images pinned by digest.
pub(crate) const PINS: &str = "compose.sternway.yaml";
/// As compose looks for them, each with what is read along with it.
pub(crate) const USUAL: [(&str, &str); 4] = [
    ("compose.yaml", "compose.override.yaml"),
    ("compose.yml", "compose.override.yml"),
    ("docker-compose.yml", "docker-compose.override.yml"),
    ("docker-compose.yaml", "docker-compose.override.yaml"),
];

/// Works on one compose project; exactly one of the six, whose value is the project's folder.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("oneOf" = [
    {"required": ["down"]}, {"required": ["up"]}, {"required": ["restart"]},
    {"required": ["scale"]}, {"required": ["restore"]}, {"required": ["check"]},
])))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Folder of a project to take down: containers and networks; volumes stay.
    /// With `services`: those are stopped, and the rest stays up.
    pub(crate) down: Option<String>,
    /// Folder of a project to bring up as its files say.
    pub(crate) up: Option<String>,
    /// Folder of a project whose services are made anew one by one, each well before the next.
    pub(crate) restart: Option<String>,
    /// Folder of a project whose `replicas` change.
    pub(crate) scale: Option<String>,
    /// Folder of a project whose files go back to what the rollback point holds; then it is brought up.
    pub(crate) restore: Option<String>,
    /// Folder of a project that has to be up and well.
    pub(crate) check: Option<String>,
    /// Compose files in that folder, in order. Left out: the usual one and its override.
    pub(crate) files: Option<Texts>,
    /// The file with variables in that folder. Left out: `.env` when it is there.
    pub(crate) env_file: Option<String>,
    /// Other files of the project that `restore` switches back with these, such as those under `env_file:`.
    pub(crate) also: Option<Texts>,
    /// Only these services. Left out: all.
    pub(crate) services: Option<Texts>,
    /// The project's name. Left out: what its files say, else the folder's name.
    pub(crate) project: Option<String>,
    /// Images by service, pinned: `repo@sha256:...`, or `sha256:...` for one that is only here.
    pub(crate) images: Option<BTreeMap<String, String>>,
    /// How many containers a service has, by service.
    pub(crate) replicas: Option<BTreeMap<String, u32>>,
    /// When a service counts as well.
    pub(crate) health: Option<Health>,
    /// How long a container may take to end before it is made to. Left out: as its compose file says.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$")))]
    pub(crate) grace: Option<String>,
    /// How long one command may take. Left out: `5m`.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$")))]
    pub(crate) timeout: Option<String>,
}

/// A container with a health check is well when that says so; another one when
/// it runs and has not restarted for a while.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Health {
    /// How long to wait for it. Left out: `60s`.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$")))]
    pub(crate) within: Option<String>,
    /// How long a container without a health check has to run. Left out: `5s`.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$")))]
    pub(crate) r#for: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Down,
    Up,
    Restart,
    Scale,
    Restore,
    Check,
}

/// The settings, found sound.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) wish: Wish,
    pub(crate) folder: String,
    /// As paths of the host; empty: the usual ones.
    pub(crate) files: Vec<String>,
    pub(crate) env_file: Option<String>,
    pub(crate) also: Vec<String>,
    /// Empty: all.
    pub(crate) services: Vec<String>,
    pub(crate) project: Option<String>,
    pub(crate) images: BTreeMap<String, String>,
    pub(crate) replicas: BTreeMap<String, u32>,
    pub(crate) patience: Patience,
    /// Seconds.
    pub(crate) grace: Option<u64>,
    pub(crate) timeout_ms: u64,
}

/// How long to wait for health, counted in looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    pub(crate) every_ms: u64,
    /// Looks until a service has to be well.
    pub(crate) looks_max: u64,
    /// Looks in a row that have to find the same.
    pub(crate) steady: u64,
    pub(crate) within_ms: u64,
}

impl Settings {
    pub(crate) fn task(&self) -> Result<Task, Error> {
        let (wish, folder) = self.wish_and_folder()?;
        let folder = paths::path(folder)?;
        let task = Task {
            wish,
            files: within(&folder, self.files.as_ref())?,
            env_file: self.env_file.as_deref().map(|name| inside(&folder, name)).transpose()?,
            also: within(&folder, self.also.as_ref())?,
            folder,
            services: self.services.iter().flat_map(Texts::iter).map(str::to_owned).collect(),
            project: self.project.clone(),
            images: self.images.clone().unwrap_or_default(),
            replicas: self.replicas.clone().unwrap_or_default(),
            patience: self.health.clone().unwrap_or_default().patience()?,
            grace: duration(self.grace.as_deref())?.map(|ms| ms.div_ceil(1_000)),
            timeout_ms: duration(self.timeout.as_deref())?.unwrap_or(TIMEOUT_MS),
        };
        task.fits_together()?;
        Ok(task)
    }

    fn wish_and_folder(&self) -> Result<(Wish, &str), Error> {
        let wishes = [
            (Wish::Down, &self.down),
            (Wish::Up, &self.up),
            (Wish::Restart, &self.restart),
            (Wish::Scale, &self.scale),
            (Wish::Restore, &self.restore),
            (Wish::Check, &self.check),
        ];
        let mut asked = wishes.iter().filter_map(|(wish, folder)| Some((*wish, folder.as_deref()?)));
        match (asked.next(), asked.next()) {
            (Some(one), None) => Ok(one),
            _ => Err(Error::invalid(
                "docker-compose/one-of",
                "exactly one of `down`, `up`, `restart`, `scale`, `restore` and `check` has to be set",
            )),
        }
    }
}

impl Task {
    fn fits_together(&self) -> Result<(), Error> {
        let refuse = |code: &str, message: String| Err(Error::invalid(code, message));
        if self.wish == Wish::Scale && self.replicas.is_empty() {
            return refuse(
                "docker-compose/no-replicas",
                "`scale` needs `replicas`: how many of which".into(),
            );
        }
        let takes_replicas = matches!(self.wish, Wish::Up | Wish::Scale | Wish::Restore | Wish::Check);
        if !self.replicas.is_empty() && !takes_replicas {
            return refuse(
                "docker-compose/replicas",
                "`replicas` goes with `scale`, `up` and `restore`".into(),
            );
        }
        if self.wish == Wish::Scale && !self.services.is_empty() {
            return refuse("docker-compose/services", "`scale` names its services in `replicas`".into());
        }
        if !self.images.is_empty() && !matches!(self.wish, Wish::Up | Wish::Restore | Wish::Check) {
            return refuse("docker-compose/images", "`images` goes with `up`, `restore` and `check`".into());
        }
        if !self.also.is_empty() && self.wish != Wish::Restore {
            return refuse("docker-compose/also", "`also` goes with `restore`".into());
        }
        if self.wish == Wish::Restore && !self.services.is_empty() {
            return refuse(
                "docker-compose/services",
                "`restore` brings up all services: files of then with containers of now are neither".into(),
            );
        }
        for (service, image) in &self.images {
            if !is_pinned(image) {
                return refuse(
                    "docker-compose/not-pinned",
                    format!("`{image}` of `{service}` names no digest: write `repo@sha256:...`"),
                );
            }
        }
        for name in self.named_services().chain(self.project.as_deref()) {
            if !is_name(name) {
                return refuse(
                    "docker-compose/name",
                    format!("`{name}` is not a name of a service or project"),
                );
            }
        }
        Ok(())
    }

    /// All services that the settings name.
    pub(crate) fn named_services(&self) -> impl Iterator<Item = &str> {
        let keyed = self.images.keys().chain(self.replicas.keys());
        self.services.iter().chain(keyed).map(String::as_str)
    }

    /// Whether `service` is one of those the step is about.
    pub(crate) fn is_about(&self, service: &str) -> bool {
        match self.wish {
            Wish::Scale => self.replicas.contains_key(service),
            _ => self.services.is_empty() || self.services.iter().any(|name| name == service),
        }
    }

    pub(crate) fn pins_path(&self) -> String {
        format!("{}/{PINS}", self.folder)
    }

    /// What compose makes of the folder's name.
    pub(crate) fn folder_project(&self) -> String {
        let name = self.folder.rsplit('/').next().unwrap_or_default().to_lowercase();
        let plain = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(*c);
        name.chars().filter(plain).collect::<String>().trim_start_matches(['-', '_']).to_owned()
    }
}

impl Health {
    fn patience(&self) -> Result<Patience, Error> {
        let within_ms = duration(self.within.as_deref())?.unwrap_or(WITHIN_MS);
        let for_ms = duration(self.r#for.as_deref())?.unwrap_or(FOR_MS);
        let every_ms = EVERY_MS.max((within_ms + for_ms) / LOOKS_MAX);
        Ok(Patience {
            every_ms,
            looks_max: within_ms.div_ceil(every_ms).max(1),
            steady: for_ms.div_ceil(every_ms).max(1),
            within_ms,
        })
    }
}

/// The override that pins images: nothing else is in it.
pub(crate) fn pins(images: &BTreeMap<String, String>) -> String {
    let mut text =
        String::from("# Images pinned by digest. Without this file the tags count again.\nservices:\n");
    for (service, image) in images {
        text.push_str(&format!("  \"{service}\":\n    image: \"{image}\"\n"));
    }
    text
}

/// `COMPOSE_PROJECT_NAME` of a file with variables.
pub(crate) fn project_of_env(text: &str) -> Option<String> {
    let mut values = text.lines().filter_map(|line| line.trim().strip_prefix("COMPOSE_PROJECT_NAME="));
    values
        .next_back()
        .map(|value| value.trim().trim_matches(['"', '\'']).to_owned())
        .filter(|name| is_name(name))
}

fn within(folder: &str, names: Option<&Texts>) -> Result<Vec<String>, Error> {
    names.into_iter().flat_map(Texts::iter).map(|name| inside(folder, name)).collect()
}

fn inside(folder: &str, name: &str) -> Result<String, Error> {
    let path =
        if name.starts_with('/') { paths::path(name)? } else { paths::path(&format!("{folder}/{name}"))? };
    if !paths::is_within(&path, folder) {
        return Err(Error::invalid("docker-compose/outside", format!("`{name}` does not lie in {folder}")));
    }
    Ok(path)
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=200).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with(['-', '.'])
}

/// Names exactly one image for ever.
fn is_pinned(image: &str) -> bool {
    let digest = match image.rsplit_once('@') {
        Some((repository, digest)) => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:".contains(&byte);
            if repository.is_empty() || !repository.bytes().all(plain) || repository.starts_with('-') {
                return false;
            }
            digest
        }
        None => image,
    };
    digest.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn duration(text: Option<&str>) -> Result<Option<u64>, Error> {
    text.map(duration_ms)
        .transpose()
        .map_err(|cause| Error::invalid("docker-compose/duration", cause.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(json: &str) -> Result<Task, Error> {
        serde_json::from_str::<Settings>(json).unwrap().task()
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
            ("{}", "docker-compose/one-of"),
            (r#"{"up":"/a","down":"/a"}"#, "docker-compose/one-of"),
            (r#"{"up":"srv"}"#, "step/path"),
            (r#"{"up":"/srv/a","files":"../b/compose.yaml"}"#, "step/path"),
            (r#"{"up":"/srv/a","files":"/srv/b/compose.yaml"}"#, "docker-compose/outside"),
            (r#"{"scale":"/a"}"#, "docker-compose/no-replicas"),
            (r#"{"down":"/a","replicas":{"b":1}}"#, "docker-compose/replicas"),
            (r#"{"restore":"/a","services":"b"}"#, "docker-compose/services"),
            (r#"{"restart":"/a","images":{"b":"c@sha256:d"}}"#, "docker-compose/images"),
            (r#"{"up":"/a","also":"b"}"#, "docker-compose/also"),
            (r#"{"up":"/a","images":{"b":"shop/api:1.1"}}"#, "docker-compose/not-pinned"),
            (r#"{"up":"/a","images":{"b":"shop/api@sha256:12"}}"#, "docker-compose/not-pinned"),
            (r#"{"up":"/a","services":"--all"}"#, "docker-compose/name"),
            (r#"{"up":"/a","timeout":"soon"}"#, "docker-compose/duration"),
        ] {
            assert_eq!(task(json).unwrap_err().code, code, "{json}");
        }
        assert!(serde_json::from_str::<Settings>(r#"{"upp":"/a"}"#).is_err());
    }

    #[test]
    fn names_of_files_are_of_the_projects_folder() {
        let task = task(r#"{"restore":"/srv/shop/","files":["compose.yaml","/srv/shop/b.yaml"],"env-file":".env","also":"api.env"}"#).unwrap();
        assert_eq!(task.files, ["/srv/shop/compose.yaml", "/srv/shop/b.yaml"]);
        assert_eq!(task.env_file.as_deref(), Some("/srv/shop/.env"));
        assert_eq!(task.also, ["/srv/shop/api.env"]);
        assert_eq!(task.pins_path(), "/srv/shop/compose.sternway.yaml");
    }

    #[test]
    fn the_folders_name_is_read_as_compose_reads_it() {
        for (folder, name) in [("/srv/shop", "shop"), ("/srv/My.Shop-2", "myshop-2"), ("/srv/_x", "x")] {
            assert_eq!(task(&format!(r#"{{"up":"{folder}"}}"#)).unwrap().folder_project(), name);
        }
        assert_eq!(project_of_env("A=1\nCOMPOSE_PROJECT_NAME=\"blue\"\n").as_deref(), Some("blue"));
        assert_eq!(project_of_env("COMPOSE_PROJECT_NAME=${X}"), None);
    }

    #[test]
    fn waiting_is_bounded_in_looks() {
        let quick = task(r#"{"up":"/a","health":{"within":"2s","for":"1s"}}"#).unwrap().patience;
        assert_eq!((quick.looks_max, quick.steady, quick.every_ms), (4, 2, 500));
        let long = task(r#"{"up":"/a","health":{"within":"10h"}}"#).unwrap().patience;
        assert!(long.looks_max <= LOOKS_MAX && long.every_ms > 20_000, "{long:?}");
    }
}
