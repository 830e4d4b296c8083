//! The settings of a step, and the sound task they make.

use std::collections::BTreeMap;

use serde::Deserialize;
use sternway_plugin::host::files::Ownership;
use sternway_plugin::{Error, Texts, owned, paths};

const UNPACKED_BYTES_MAX: u64 = 16 << 30;

/// Restores files from the rollback point or an archive, puts kept copies back, and takes others away.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("anyOf" = [
    {"required": ["restore"]}, {"required": ["remove"]}, {"required": ["unpack", "archive"]},
    {"required": ["put-back"]}, {"required": ["clear", "endings"]}, {"required": ["link", "target"]},
])))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// A path or a list of paths, each a tree or a single file, to bring back from the rollback point.
    restore: Option<Texts>,
    /// A path or a list of paths to take away; kept aside for undo.
    remove: Option<Texts>,
    /// A path that is to hold what `archive` holds.
    #[cfg_attr(test, schemars(regex(pattern = "^/")))]
    unpack: Option<String>,
    /// The archive for `unpack`: tar, tar.gz, tar.zst or zip, told by its content.
    #[cfg_attr(test, schemars(regex(pattern = "^/")))]
    archive: Option<String>,
    /// The archive's path and the SHA-256 it must have, as `sha256sum` prints it.
    sha256: Option<BTreeMap<String, String>>,
    /// Most bytes the archive may unpack to. Left out: 16 GiB.
    #[cfg_attr(test, schemars(range(min = 1)))]
    bytes_max: Option<u64>,
    /// A tree or a list of trees in which every kept copy (`X.backup`) takes the place of `X`, at any depth.
    put_back: Option<Texts>,
    /// How the names of kept copies end. Left out: `.backup`.
    #[cfg_attr(test, schemars(regex(pattern = "^[^/]+$")))]
    suffix: Option<String>,
    /// A tree or a list of trees in which everything whose name ends with one of `endings` goes, at any depth.
    clear: Option<Texts>,
    /// For `clear`: `.log`, `.pyc`, `__pycache__`.
    endings: Option<Texts>,
    /// A symbolic link to switch, or to make.
    #[cfg_attr(test, schemars(regex(pattern = "^/")))]
    link: Option<String>,
    /// Where `link` is to lead; it must be there.
    #[cfg_attr(test, schemars(regex(pattern = "^/")))]
    target: Option<String>,
    /// Owner of all that is restored or unpacked: `user` or `user:group`. Left out: as the point or the archive holds it.
    #[cfg_attr(test, schemars(regex(pattern = r"^[^:\s]+(:[^:\s]+)?$")))]
    owner: Option<String>,
    /// Mode of the files restored or unpacked, in octal: `0644`.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-7]{3,4}$")))]
    mode: Option<String>,
    /// Mode of the directories restored or unpacked, in octal: `0755`.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-7]{3,4}$")))]
    directory_mode: Option<String>,
}

/// The settings, found sound.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) restore: Vec<String>,
    pub(crate) remove: Vec<String>,
    pub(crate) unpack: Option<Unpack>,
    pub(crate) copies: Vec<Copy>,
    pub(crate) link: Option<(String, String)>,
    pub(crate) ownership: Option<Ownership>,
}

#[derive(Debug)]
pub(crate) struct Unpack {
    pub(crate) path: String,
    pub(crate) archive: String,
    pub(crate) sha256: Option<String>,
    pub(crate) bytes_max: u64,
}

/// A tree staged as a copy of itself with a change.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) path: String,
    pub(crate) change: Change,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Kept copies with this suffix take their places.
    PutBack(String),
    /// What ends so goes.
    Clear(Vec<String>),
}

impl Settings {
    pub(crate) fn task(&self) -> Result<Task, Error> {
        let task = Task {
            restore: paths::all(self.restore.as_ref())?,
            remove: paths::all(self.remove.as_ref())?,
            unpack: self.unpack()?,
            copies: self.copies()?,
            link: self.link()?,
            ownership: owned::ownership(
                self.owner.as_deref(),
                self.mode.as_deref(),
                self.directory_mode.as_deref(),
            )?,
        };
        if task.paths() == 0 {
            return Err(Error::invalid(
                "files/nothing-asked",
                "none of `restore`, `remove`, `unpack`, `put-back`, `clear` and `link` is set",
            ));
        }
        task.refuse_overlaps()?;
        Ok(task)
    }

    fn unpack(&self) -> Result<Option<Unpack>, Error> {
        let (Some(path), Some(archive)) = (&self.unpack, &self.archive) else {
            return alone("unpack", "archive", self.unpack.is_some() || self.archive.is_some());
        };
        let archive = paths::path(archive)?;
        let mut sums = self.sha256.iter().flatten();
        let sha256 = match (sums.next(), sums.next()) {
            (None, _) => None,
            (Some((of, sum)), None) if *of == archive => Some(checked_sum(sum)?),
            _ => {
                return Err(Error::invalid(
                    "files/sha256-of-what",
                    "`sha256` names another file than `archive`",
                ));
            }
        };
        let bytes_max = self.bytes_max.unwrap_or(UNPACKED_BYTES_MAX);
        Ok(Some(Unpack { path: paths::path(path)?, archive, sha256, bytes_max }))
    }

    fn copies(&self) -> Result<Vec<Copy>, Error> {
        let suffix = self.suffix.clone().unwrap_or_else(|| ".backup".to_owned());
        let endings: Vec<String> = self.endings.iter().flat_map(Texts::iter).map(str::to_owned).collect();
        for ending in endings.iter().chain([&suffix]) {
            if ending.is_empty() || ending.contains('/') {
                return Err(Error::invalid("files/bad-ending", format!("`{ending}` is no end of a name")));
            }
        }
        if self.clear.is_some() != self.endings.is_some() {
            return alone("clear", "endings", true).map(|_: Option<()>| vec![]);
        }
        let back = paths::all(self.put_back.as_ref())?.into_iter();
        let clear = paths::all(self.clear.as_ref())?.into_iter();
        Ok(back
            .map(|path| Copy { path, change: Change::PutBack(suffix.clone()) })
            .chain(clear.map(|path| Copy { path, change: Change::Clear(endings.clone()) }))
            .collect())
    }

    fn link(&self) -> Result<Option<(String, String)>, Error> {
        let (Some(link), Some(target)) = (&self.link, &self.target) else {
            return alone("link", "target", self.link.is_some() || self.target.is_some());
        };
        let (link, target) = (paths::path(link)?, paths::path(target)?);
        if link == target || paths::is_within(&target, &link) {
            return Err(Error::invalid("files/round", format!("{link} cannot lead into itself")));
        }
        Ok(Some((link, target)))
    }
}

impl Task {
    pub(crate) fn paths(&self) -> usize {
        self.replaced().count() + self.remove.len()
    }

    /// Whether `path` lies within a tree that is restored.
    pub(crate) fn restores_around(&self, path: &str) -> bool {
        self.restore.iter().any(|tree| paths::is_within(path, tree))
    }

    /// Every path that holds something else afterwards.
    pub(crate) fn replaced(&self) -> impl Iterator<Item = &str> {
        let copies = self.copies.iter().map(|copy| &copy.path);
        let unpack = self.unpack.iter().map(|unpack| &unpack.path);
        let link = self.link.iter().map(|(link, _)| link);
        self.restore.iter().chain(copies).chain(unpack).chain(link).map(String::as_str)
    }

    fn refuse_overlaps(&self) -> Result<(), Error> {
        let replaced: Vec<&str> = self.replaced().collect();
        let removed: Vec<&str> = self.remove.iter().map(String::as_str).collect();
        for paths in [&replaced, &removed] {
            for (at, one) in paths.iter().enumerate() {
                for other in &paths[at + 1..] {
                    if one == other || paths::is_within(one, other) || paths::is_within(other, one) {
                        return Err(overlap(one, other));
                    }
                }
            }
        }
        for gone in &removed {
            for back in &replaced {
                let in_a_copy = self.restores_around(gone) || !paths::is_within(gone, back);
                if gone == back || paths::is_within(back, gone) || !in_a_copy {
                    return Err(overlap(back, gone));
                }
            }
        }
        Ok(())
    }
}

fn overlap(one: &str, other: &str) -> Error {
    Error::invalid("files/overlap", format!("`{one}` and `{other}` cannot stand in one step"))
}

/// Two settings that mean nothing without each other.
fn alone<T>(one: &str, other: &str, either: bool) -> Result<Option<T>, Error> {
    if either {
        let message = format!("`{one}` and `{other}` stand together or not at all");
        return Err(Error::invalid("files/half-asked", message));
    }
    Ok(None)
}

fn checked_sum(text: &str) -> Result<String, Error> {
    let sum = text.to_ascii_lowercase();
    if sum.len() != 64 || !sum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Error::invalid("files/bad-sha256", format!("`{text}` is no SHA-256")));
    }
    Ok(sum)
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
        for (bad, code) in [
            ("{}", "files/nothing-asked"),
            (r#"{"restore":"/opt/../etc"}"#, "step/path"),
            (r#"{"restore":"/a","mode":"0999"}"#, "step/mode"),
            (r#"{"unpack":"/a"}"#, "files/half-asked"),
            (r#"{"link":"/a"}"#, "files/half-asked"),
            (r#"{"clear":"/a"}"#, "files/half-asked"),
            (r#"{"link":"/a","target":"/a/b"}"#, "files/round"),
            (r#"{"put-back":"/a","suffix":"a/b"}"#, "files/bad-ending"),
            (r#"{"clear":"/a","endings":[""]}"#, "files/bad-ending"),
            (r#"{"unpack":"/a","archive":"/b","sha256":{"/b":"12"}}"#, "files/bad-sha256"),
            (r#"{"unpack":"/a","archive":"/b","sha256":{"/c":"12"}}"#, "files/sha256-of-what"),
        ] {
            assert_eq!(refusal(bad), code, "{bad}");
        }
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
            r#"{"restore":"/opt/a","put-back":"/opt/a/b"}"#,
            r#"{"put-back":"/opt/a","remove":"/opt/a/b"}"#,
            r#"{"unpack":"/opt/a","archive":"/x","link":"/opt/a/b","target":"/y"}"#,
        ] {
            assert_eq!(refusal(bad), "files/overlap", "{bad}");
        }
        let nested = settings(r#"{"restore":"/opt/a","remove":"/opt/a/b"}"#).task().unwrap();
        assert!(nested.restores_around("/opt/a/b"));
        assert!(!nested.restores_around("/opt/ab"));
    }
}
