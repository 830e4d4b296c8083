//! Resolves paths below the host root so that nothing a path or a symbolic
//! link says can lead outside: the kernel walks from an open directory and
//! refuses every link on the way.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use super::known::Known;
use crate::capabilities::{ErrorKind, HostError};

const PATH_BYTES_MAX: usize = 4_096;
const NAME_BYTES_MAX: usize = 255;
/// What a rollback point holds beside files lies below here, in the point alone.
const PIECES: &str = "/.sternway";

/// An absolute path of the host: no `.`, `..`, empty or over-long component.
/// Compared by components, so `/opt/hello` does not cover `/opt/hello2`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPath(String);

impl HostPath {
    /// Parses what a plan or a plugin wrote.
    ///
    /// # Errors
    /// `files/bad-path` with the reason, when it is not exactly one plain path.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let refuse = |reason: &str| {
            let shown: String = text.chars().take(200).flat_map(char::escape_debug).collect();
            Err(HostError::new(
                ErrorKind::Invalid,
                "files/bad-path",
                format!("`{shown}` is not a path this host accepts: {reason}"),
            ))
        };
        if text.len() > PATH_BYTES_MAX {
            return refuse("it is longer than 4096 bytes");
        }
        if text.contains('\0') {
            return refuse("it holds a NUL");
        }
        let Some(below) = text.strip_prefix('/') else {
            return refuse("it is not absolute");
        };
        if below.is_empty() {
            return Ok(Self("/".to_owned()));
        }
        for component in below.split('/') {
            match component {
                "" => return refuse("it has an empty component"),
                "." | ".." => return refuse("`.` and `..` are not followed"),
                long if long.len() > NAME_BYTES_MAX => return refuse("a name is too long"),
                _ => {}
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// The path as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `self` is `other` or lies below it.
    pub fn is_within(&self, other: &Self) -> bool {
        Path::new(&self.0).starts_with(&other.0)
    }

    pub(crate) fn parent_and_name(&self) -> Result<(Self, &str), HostError> {
        match self.0.rsplit_once('/') {
            Some((_, "")) | None => Err(HostError::new(
                ErrorKind::Invalid,
                "files/bad-path",
                "the root of the host cannot be staged or switched",
            )),
            Some(("", name)) => Ok((Self("/".to_owned()), name)),
            Some((parent, name)) => Ok((Self(parent.to_owned()), name)),
        }
    }

    fn relative(&self) -> &str {
        match self.0.trim_start_matches('/') {
            "" => ".",
            below => below,
        }
    }
}

impl std::fmt::Display for HostPath {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The directory below which everything this host lends lies; `/` outside of
/// rehearsals.
#[derive(Debug, Clone)]
pub struct HostRoot {
    directory: Arc<OwnedFd>,
    known: Arc<Known>,
    /// Where side copies of pieces are laid, as no folder of the host is theirs.
    pieces: Option<Arc<PathBuf>>,
}

/// A name in an open directory: the unit every operation works upon.
#[derive(Debug)]
pub(crate) struct Spot {
    pub(crate) directory: OwnedFd,
    pub(crate) name: String,
}

impl HostRoot {
    /// Opens the directory once; it may be renamed later without effect.
    ///
    /// # Errors
    /// When it is not a directory that can be opened.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self { directory: Arc::new(directory), known: Arc::default(), pieces: None })
    }

    /// The same, with a folder of the agent's own for side copies of what a
    /// rollback point holds beside files; it is made when it is needed.
    #[must_use]
    pub fn with_pieces(self, folder: PathBuf) -> Self {
        Self { pieces: Some(Arc::new(folder)), ..self }
    }

    /// What was read below it before.
    pub(crate) fn known(&self) -> &Known {
        &self.known
    }

    /// Opens the directory that holds `path`, following no link.
    pub(crate) fn spot(&self, path: &HostPath) -> Result<Spot, HostError> {
        let (parent, name) = path.parent_and_name()?;
        let directory = self.open_directory(&parent)?;
        Ok(Spot { directory, name: name.to_owned() })
    }

    /// As [`Self::spot`], and none when the directory itself is absent.
    pub(crate) fn spot_if_any(&self, path: &HostPath) -> Result<Option<Spot>, HostError> {
        match self.spot(path) {
            Ok(spot) => Ok(Some(spot)),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open_directory(&self, path: &HostPath) -> Result<OwnedFd, HostError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if let Some(pieces) = &self.pieces
            && let Ok(below) = Path::new(path.as_str()).strip_prefix(PIECES)
        {
            let folder = pieces.join(below);
            let opened = crate::durable::create_directories(&folder, 0o700)
                .map_err(std::io::Error::other)
                .and_then(|()| Ok(rustix::fs::open(&folder, flags, Mode::empty())?));
            return opened.map_err(|cause| {
                HostError::from_io("files", &format!("could not make room for `{path}`"), &cause)
            });
        }
        self.open_beneath(path, flags)
    }

    pub(crate) fn open_beneath(&self, path: &HostPath, flags: OFlags) -> Result<OwnedFd, HostError> {
        self.open_relative(OsStr::new(path.relative()), flags).map_err(|errno| match errno {
            Errno::LOOP => HostError::new(
                ErrorKind::Denied,
                "files/symlink-in-path",
                format!("`{path}` leads through a symbolic link, which is not followed"),
            ),
            Errno::XDEV => HostError::new(
                ErrorKind::Denied,
                "files/outside-root",
                format!("`{path}` leads out of the host's root"),
            ),
            errno => HostError::from_io("files", &format!("`{path}`"), &errno.into()),
        })
    }

    /// As the kernel answers; for names that are not text.
    pub(crate) fn open_relative(&self, path: &OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
        loop {
            match openat2(&*self.directory, path, flags, Mode::empty(), resolve) {
                // The kernel asks for another try when a name moved meanwhile.
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_plain_absolute_paths_are_paths() {
        for bad in ["", "opt", "./opt", "/opt/", "//opt", "/opt//x", "/opt/../etc", "/..", "/.", "/a\0b"] {
            let error = HostPath::parse(bad).unwrap_err();
            assert_eq!(error.code, "files/bad-path", "{bad:?}");
        }
        assert!(HostPath::parse(&"/x".repeat(3_000)).is_err());
        assert!(HostPath::parse(&format!("/{}", "n".repeat(256))).is_err());
        for good in ["/", "/opt", "/opt/...", "/opt/a b", "/opt/ä"] {
            assert_eq!(HostPath::parse(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn a_neighbour_with_the_same_beginning_is_not_within() {
        let within = |path: &str, scope: &str| {
            HostPath::parse(path).unwrap().is_within(&HostPath::parse(scope).unwrap())
        };
        assert!(within("/opt/hello", "/opt/hello"));
        assert!(within("/opt/hello/a/b", "/opt/hello"));
        assert!(within("/opt", "/"));
        assert!(!within("/opt/hello2", "/opt/hello"));
        assert!(!within("/opt", "/opt/hello"));
    }

    #[test]
    fn a_link_on_the_way_is_refused_wherever_it_points() {
        let directory = tempfile::tempdir().unwrap();
        let root_path = directory.path().join("root");
        std::fs::create_dir_all(root_path.join("opt/real")).unwrap();
        std::fs::write(root_path.join("opt/real/x"), "x").unwrap();
        for (name, target) in [("out", "/etc"), ("up", "../../.."), ("in", "real")] {
            std::os::unix::fs::symlink(target, root_path.join("opt").join(name)).unwrap();
        }
        let root = HostRoot::open(&root_path).unwrap();
        for name in ["out", "up", "in"] {
            let path = HostPath::parse(&format!("/opt/{name}/x")).unwrap();
            let error = root.spot(&path).unwrap_err();
            assert_eq!(error.code, "files/symlink-in-path", "{name}");
        }
        root.spot(&HostPath::parse("/opt/real/x").unwrap()).unwrap();
    }

    proptest! {
        /// Whatever parses stays below the scope that covers it, also as the
        /// operating system's own path arithmetic sees it.
        #[test]
        fn what_is_within_a_scope_never_climbs_out(
            text in "(/(\\.|\\.\\.|a|b|hello|hello2|)){0,6}",
        ) {
            let scope = HostPath::parse("/a/hello").unwrap();
            if let Ok(path) = HostPath::parse(&text)
                && path.is_within(&scope)
            {
                let mut depth = Vec::new();
                for component in text.split('/').filter(|c| !c.is_empty() && *c != ".") {
                    if component == ".." { depth.pop(); } else { depth.push(component); }
                }
                prop_assert!(depth.starts_with(&["a", "hello"]));
            }
        }
    }
}
