//! The settings of a step, and the sound task they make.

use serde::Deserialize;
use sternway_plugin::host::files::Ownership;
use sternway_plugin::{Error, Texts, owned, paths};

/// Brings a git working tree, or single paths of it, to a commit; or makes a release folder of a commit and leads a link to it.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("anyOf" = [
    {"required": ["checkout"]}, {"required": ["release", "from"]},
])))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// The working tree to bring to `to`.
    #[cfg_attr(test, schemars(regex(pattern = "^/")))]
    checkout: Option<String>,
    /// A tag, branch, commit or `HEAD~1`. Left out: the step is refused, and the newest tags are listed.
    #[cfg_attr(test, schemars(regex(pattern = "^[^-]")))]
    to: Option<String>,
    /// Only these paths, relative to the tree, come from `to`; the branch and all else stay.
    paths: Option<Texts>,
    /// Which tags to list when `to` cannot be used: `backup-*`. Left out: all.
    tags: Option<String>,
    /// `detach` (left out) leaves every branch where it is; `branch` moves the branch that is checked out to `to`.
    #[serde(default)]
    head: Head,
    /// Whether files that git does not know and does not ignore go.
    #[serde(default)]
    clean: bool,
    /// Whether to fetch from the remote first, into the staged copy.
    #[serde(default)]
    fetch: bool,
    /// Left out: `origin`.
    #[cfg_attr(test, schemars(regex(pattern = "^[A-Za-z0-9_.@:+][A-Za-z0-9_.@:+-]*$")))]
    remote: Option<String>,
    /// A folder to make of what `to` holds, without `.git`.
    #[cfg_attr(test, schemars(regex(pattern = "^/")))]
    release: Option<String>,
    /// The working tree whose repository `release` is made from; it is only read.
    #[cfg_attr(test, schemars(regex(pattern = "^/")))]
    from: Option<String>,
    /// A symbolic link that is to lead to `release`; switched last.
    #[cfg_attr(test, schemars(regex(pattern = "^/")))]
    link: Option<String>,
    /// Owner of the whole tree or release: `user` or `user:group`. Left out: kept; what git writes belongs to who runs it.
    #[cfg_attr(test, schemars(regex(pattern = r"^[^:\s]+(:[^:\s]+)?$")))]
    owner: Option<String>,
}

/// Where HEAD points afterwards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Head {
    /// At the commit itself.
    #[default]
    Detach,
    /// At the branch it is on, which moves.
    Branch,
}

/// The settings, found sound.
#[derive(Debug)]
pub(crate) struct Task {
    /// The tree whose repository is asked.
    pub(crate) tree: String,
    pub(crate) to: Option<String>,
    pub(crate) tags: String,
    pub(crate) deed: Deed,
    pub(crate) ownership: Option<Ownership>,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Deed {
    Checkout { head: Head, clean: bool, fetch: Option<String> },
    Paths(Vec<String>),
    Release { folder: String, link: Option<String> },
}

impl Settings {
    pub(crate) fn task(&self) -> Result<Task, Error> {
        let (tree, deed) = match (&self.checkout, &self.release, &self.from) {
            (Some(tree), None, None) if self.link.is_none() => (tree, self.checkout()?),
            (None, Some(folder), Some(from)) if !self.speaks_of_a_checkout() => (from, self.release(folder)?),
            _ => {
                let message = "either `checkout` or `release` and `from`, each with its own settings";
                return Err(Error::invalid("git/nothing-asked", message));
            }
        };
        Ok(Task {
            tree: paths::path(tree)?,
            to: self.to.as_deref().map(revision).transpose()?,
            tags: pattern(self.tags.as_deref().unwrap_or("*"))?,
            deed,
            ownership: owned::ownership(self.owner.as_deref(), None, None)?,
        })
    }

    fn speaks_of_a_checkout(&self) -> bool {
        self.paths.is_some() || self.clean || self.fetch || self.head != Head::Detach
    }

    fn checkout(&self) -> Result<Deed, Error> {
        let Some(texts) = &self.paths else {
            let remote = self.remote.clone().unwrap_or_else(|| "origin".to_owned());
            return Ok(Deed::Checkout {
                head: self.head,
                clean: self.clean,
                fetch: self.fetch.then_some(remote),
            });
        };
        if self.clean || self.fetch || self.head != Head::Detach {
            let message = "`paths` stands without `clean`, `fetch` and `head`";
            return Err(Error::invalid("git/paths-alone", message));
        }
        let inside = |path: &str| {
            // As a path of a host it must be one that leads nowhere else.
            paths::path(&format!("/{path}")).map_err(|_| {
                let message = format!("`{path}` is not a path inside the tree");
                Error::invalid("git/path-outside", message)
            })?;
            if path.starts_with(".git/") || path == ".git" || path.starts_with('-') {
                let message = format!("`{path}` is no path of a commit");
                return Err(Error::invalid("git/path-outside", message));
            }
            Ok(path.trim_end_matches('/').to_owned())
        };
        Ok(Deed::Paths(texts.iter().map(inside).collect::<Result<_, _>>()?))
    }

    fn release(&self, folder: &str) -> Result<Deed, Error> {
        let folder = paths::path(folder)?;
        let link = self.link.as_deref().map(paths::path).transpose()?;
        let tree = self.from.as_deref().unwrap_or_default();
        let touches = |one: &str, other: &str| one == other || paths::is_within(one, other);
        if touches(&folder, tree)
            || touches(tree, &folder)
            || link.as_deref().is_some_and(|l| touches(l, &folder))
        {
            let message = "`release`, `from` and `link` cannot lie within each other";
            return Err(Error::invalid("git/overlap", message));
        }
        Ok(Deed::Release { folder, link })
    }
}

/// Git judges what a revision is; what could be an option or a range is refused here.
fn revision(text: &str) -> Result<String, Error> {
    let is_odd =
        text.is_empty() || text.starts_with('-') || text.contains("..") || text.contains(['\0', '\n', ' ']);
    if is_odd {
        return Err(Error::invalid("git/bad-revision", format!("`{text}` is not one revision")));
    }
    Ok(text.to_owned())
}

fn pattern(text: &str) -> Result<String, Error> {
    if text.is_empty() || text.starts_with('-') || text.contains(['\0', '\n', ' ']) {
        return Err(Error::invalid("git/bad-pattern", format!("`{text}` is no pattern of tags")));
    }
    Ok(text.to_owned())
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
        for (bad, code) in [
            ("{}", "git/nothing-asked"),
            (r#"{"checkout":"/a","release":"/b"}"#, "git/nothing-asked"),
            (r#"{"release":"/b","to":"x"}"#, "git/nothing-asked"),
            (r#"{"release":"/b","from":"/a","clean":true}"#, "git/nothing-asked"),
            (r#"{"checkout":"/a","to":"--all"}"#, "git/bad-revision"),
            (r#"{"checkout":"/a","to":"a..b"}"#, "git/bad-revision"),
            (r#"{"checkout":"a","to":"x"}"#, "step/path"),
            (r#"{"checkout":"/a","paths":"../x"}"#, "git/path-outside"),
            (r#"{"checkout":"/a","paths":".git/config"}"#, "git/path-outside"),
            (r#"{"checkout":"/a","paths":"x","clean":true}"#, "git/paths-alone"),
            (r#"{"release":"/a/b","from":"/a","to":"x"}"#, "git/overlap"),
            (r#"{"checkout":"/a","tags":"-d"}"#, "git/bad-pattern"),
        ] {
            assert_eq!(task(bad).unwrap_err().code, code, "{bad}");
        }
        assert!(serde_json::from_str::<Settings>(r#"{"checkuot":"/a"}"#).is_err());
    }

    #[test]
    fn what_is_left_out_is_the_careful_way() {
        let task = task(r#"{"checkout":"/a","to":"HEAD~1"}"#).unwrap();
        assert_eq!(task.deed, Deed::Checkout { head: Head::Detach, clean: false, fetch: None });
    }
}
