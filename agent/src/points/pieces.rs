//! What a point of a service holds: from a service as the host's configuration
//! describes it to everything that goes into its point. What programs know is
//! asked here; files and dumps are read only when their turn comes.

mod compose;
mod databases;
mod flags;
mod git;
pub(crate) mod packages;
mod program;
mod units;
mod version;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use sternway_core::point::{Kind, Origin, PieceKind};

use crate::capabilities::files::{Files, HostPath, HostRoot, Node, Place, READ_BYTES_MAX};
use crate::capabilities::{ErrorKind, HostError};
use crate::config::{Component, PointService};
use crate::processes::accounts::Account;
pub use program::ProgramError;
use program::Programs;

use super::making::{Extra, Making};

const FILE_NAME_MAX: usize = 100;

/// What somebody wants a point of.
#[derive(Debug, Clone)]
pub struct Wish {
    pub kind: Kind,
    /// One part of the service, for [`Kind::Component`] and for nothing else.
    pub component: Option<String>,
    pub origin: Origin,
    pub tags: Vec<String>,
    pub reason: String,
    /// A person's name, or what else wants it.
    pub by: String,
    /// None: as the host finds it out.
    pub version: Option<String>,
}

/// Why it cannot be said what a point of a service holds.
#[derive(Debug, thiserror::Error)]
pub enum PiecesError {
    #[error("a point of a component needs its name; `{service}` has {known}")]
    ComponentUnnamed { service: String, known: String },
    #[error("`{service}` has no component `{component}`; it has {known}")]
    NoComponent { service: String, component: String, known: String },
    #[error("a point of kind `{}` is not of one component: say `component`, or name none", kind.name())]
    ComponentOdd { kind: Kind },
    #[error("a point of kind `{}` would hold nothing: `{service}` has no {lacking}", kind.name())]
    Nothing { service: String, kind: Kind, lacking: &'static str },
    #[error("there is nothing at `{path}`")]
    Absent { path: String },
    #[error("this host has no unit `{unit}`")]
    NoUnit { unit: String },
    #[error("could not read the unit `{unit}`")]
    Unit {
        unit: String,
        #[source]
        cause: ProgramError,
    },
    #[error("could not read the containers of `{path}`")]
    Compose {
        path: String,
        #[source]
        cause: ProgramError,
    },
    #[error("could not dump the database `{database}`")]
    Database {
        database: String,
        #[source]
        cause: ProgramError,
    },
    #[error("the database `{database}` cannot be dumped as `{user}`: no such user, or not ours to become")]
    User { database: String, user: String },
    #[error("could not read the working tree `{path}`")]
    Git {
        path: String,
        #[source]
        cause: ProgramError,
    },
    #[error("could not list the packages of `{what}`")]
    Packages {
        what: String,
        #[source]
        cause: ProgramError,
    },
    #[error("`{path}` is no Python environment")]
    NoEnvironment { path: String },
    #[error("could not find out which version of `{service}` runs")]
    Version {
        service: String,
        #[source]
        cause: ProgramError,
    },
    #[error("nothing says which version of `{service}` runs")]
    NoVersion { service: String },
    #[error("the command for {what} is empty")]
    NoCommand { what: String },
    #[error(transparent)]
    Host(#[from] HostError),
}

/// Everything that goes into a point of `service`. Takes as long as its
/// programs take to answer: seconds.
///
/// # Errors
/// What is not there or cannot be asked, by name; a point that would hold nothing.
pub fn making(service: &PointService, root: &HostRoot, wish: Wish) -> Result<Making, PiecesError> {
    let programs = Programs::of_host();
    making_on(&Ground { root, programs: &programs, scratch: &service.scratch }, service, wish)
}

fn making_on(ground: &Ground<'_>, service: &PointService, wish: Wish) -> Result<Making, PiecesError> {
    if wish.component.is_some() && wish.kind != Kind::Component {
        return Err(PiecesError::ComponentOdd { kind: wish.kind });
    }
    let mut basket = Basket::default();
    match wish.kind {
        Kind::Full => {
            basket.program(service)?;
            basket.settings(ground, service, true)?;
            basket.facts(ground, service)?;
            basket.databases(ground, service)?;
        }
        Kind::Component => {
            let component = component(service, wish.component.as_deref())?;
            basket.paths(PieceKind::Files, &component.files)?;
        }
        Kind::Config => basket.settings(ground, service, false)?,
        Kind::Data => basket.databases(ground, service)?,
    }
    if basket.paths.is_empty() && basket.extras.is_empty() {
        return Err(PiecesError::Nothing {
            service: service.name.clone(),
            kind: wish.kind,
            lacking: match wish.kind {
                Kind::Full => "files, nor anything else",
                Kind::Component => "files in that component",
                Kind::Config => "configuration, unit, compose file, flags or environment",
                Kind::Data => "database",
            },
        });
    }
    let version = match wish.version {
        Some(version) => version,
        None => version::version(ground, service)?,
    };
    Ok(Making {
        service: service.name.clone(),
        version,
        kind: wish.kind,
        origin: wish.origin,
        tags: wish.tags,
        reason: wish.reason,
        by: wish.by,
        paths: basket.paths,
        extras: basket.extras,
    })
}

fn component<'a>(service: &'a PointService, name: Option<&str>) -> Result<&'a Component, PiecesError> {
    let known = || match service.components.as_slice() {
        [] => "none".to_owned(),
        some => some.iter().map(|component| format!("`{}`", component.name)).collect::<Vec<_>>().join(", "),
    };
    let Some(name) = name else {
        return Err(PiecesError::ComponentUnnamed { service: service.name.clone(), known: known() });
    };
    service.components.iter().find(|component| component.name == name).ok_or_else(|| {
        PiecesError::NoComponent { service: service.name.clone(), component: name.to_owned(), known: known() }
    })
}

/// What goes into a point, as it is gathered.
#[derive(Default)]
struct Basket {
    paths: Vec<(PieceKind, HostPath)>,
    extras: Vec<Extra>,
    names: Names,
}

impl Basket {
    fn path(&mut self, kind: PieceKind, path: HostPath) {
        if !self.paths.iter().any(|(_, known)| *known == path) {
            self.paths.push((kind, path));
        }
    }

    fn paths(&mut self, kind: PieceKind, paths: &[String]) -> Result<(), PiecesError> {
        for path in paths {
            self.path(kind, HostPath::parse(path)?);
        }
        Ok(())
    }

    /// The program itself; parts that lie elsewhere belong to it too.
    fn program(&mut self, service: &PointService) -> Result<(), PiecesError> {
        self.paths(PieceKind::Files, &service.files)?;
        for path in service.components.iter().flat_map(|component| &component.files) {
            let path = HostPath::parse(path)?;
            if !self.paths.iter().any(|(_, known)| path.is_within(known)) {
                self.path(PieceKind::Files, path);
            }
        }
        Ok(())
    }

    /// Configuration, units, compose files, flags, environment; with
    /// `containers` also what runs of a compose file.
    fn settings(
        &mut self,
        ground: &Ground<'_>,
        service: &PointService,
        containers: bool,
    ) -> Result<(), PiecesError> {
        self.paths(PieceKind::Config, &service.config)?;
        for unit in &service.units {
            let found = units::pieces(ground, &mut self.names, unit)?;
            self.extras.extend(found.extras);
            found.files.into_iter().for_each(|path| self.path(PieceKind::Unit, path));
        }
        for path in &service.compose {
            let path = HostPath::parse(path)?;
            let described = compose::described(ground, &path)?;
            if containers {
                self.extras.extend(compose::pieces(ground, &mut self.names, &path, &described)?);
            }
            described.compose.into_iter().for_each(|path| self.path(PieceKind::Compose, path));
            described.environment.into_iter().for_each(|path| self.path(PieceKind::Environment, path));
        }
        for (kind, paths) in
            [(PieceKind::Flags, &service.flags), (PieceKind::Environment, &service.environment)]
        {
            for path in paths {
                let path = HostPath::parse(path)?;
                self.extras.extend(flags::keys_of(ground, &mut self.names, kind, &path)?);
                self.path(kind, path);
            }
        }
        Ok(())
    }

    /// Commits and packages.
    fn facts(&mut self, ground: &Ground<'_>, service: &PointService) -> Result<(), PiecesError> {
        for path in &service.git {
            self.extras.extend(git::pieces(ground, &mut self.names, &HostPath::parse(path)?)?);
        }
        for what in &service.packages {
            self.extras.push(packages::piece(ground, &mut self.names, what)?);
        }
        Ok(())
    }

    fn databases(&mut self, ground: &Ground<'_>, service: &PointService) -> Result<(), PiecesError> {
        for database in &service.databases {
            self.extras.push(databases::piece(ground, &mut self.names, database)?);
        }
        Ok(())
    }
}

/// Names of files for what is no file of the host; each is used once.
#[derive(Debug, Default)]
struct Names(BTreeSet<(PieceKind, String)>);

impl Names {
    fn file(&mut self, kind: PieceKind, name: &str, ending: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
        let stem: String =
            name.trim_start_matches(['/', '.', '-']).chars().map(plain).take(FILE_NAME_MAX).collect();
        let stem = if stem.is_empty() { "piece" } else { &stem };
        let mut file = format!("{stem}.{ending}");
        for number in 2_u32.. {
            if self.0.insert((kind, file.clone())) {
                break;
            }
            file = format!("{stem}-{number}.{ending}");
        }
        file
    }
}

/// Where pieces are taken from.
struct Ground<'a> {
    root: &'a HostRoot,
    programs: &'a Programs,
    /// For what has to lie somewhere while it is read.
    scratch: &'a Path,
}

/// A folder of the host, for programs that need its name.
struct Folder {
    place: PathBuf,
    /// Who runs programs in it; none when that can only be us.
    owner: Option<Account>,
}

impl Ground<'_> {
    fn files(&self) -> Files {
        Files::new(self.root.clone(), "points", "pieces")
    }

    fn kind_of(&self, path: &HostPath) -> Result<Option<Node>, PiecesError> {
        Ok(self.files().attributes(Place::Live, path)?.map(|found| found.node))
    }

    fn is_file(&self, path: &HostPath) -> Result<bool, PiecesError> {
        Ok(self.kind_of(path)? == Some(Node::File))
    }

    fn is_folder(&self, path: &HostPath) -> Result<bool, PiecesError> {
        Ok(self.kind_of(path)? == Some(Node::Directory))
    }

    /// The whole of a file that is not larger than a few MiB.
    fn text(&self, path: &HostPath) -> Result<String, PiecesError> {
        match self.files().read(Place::Live, path, READ_BYTES_MAX) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind == ErrorKind::NotFound => {
                Err(PiecesError::Absent { path: path.to_string() })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// None when it is larger than what may be read at once.
    fn short_text(&self, path: &HostPath) -> Result<Option<String>, PiecesError> {
        match self.text(path) {
            Ok(text) => Ok(Some(text)),
            Err(PiecesError::Host(error)) if error.code == "files/too-large" => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The name that a program needs for a file which is there; no link leads to it.
    fn real(&self, path: &HostPath) -> Result<PathBuf, PiecesError> {
        let found = self.files().real_file(Place::Live, path)?;
        found.ok_or_else(|| PiecesError::Absent { path: path.to_string() })
    }

    fn folder(&self, path: &HostPath) -> Result<Folder, PiecesError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = self.root.open_beneath(path, flags).map_err(|error| match error.kind {
            ErrorKind::NotFound => PiecesError::Absent { path: path.to_string() },
            _ => error.into(),
        })?;
        let failed =
            |cause: std::io::Error| HostError::from_io("points", &format!("could not find `{path}`"), &cause);
        let stat = rustix::fs::fstat(&opened).map_err(|errno| failed(errno.into()))?;
        let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&opened));
        let place = std::fs::read_link(link).map_err(failed)?;
        Ok(Folder { place, owner: Account::owner(stat.st_uid, stat.st_gid) })
    }
}

#[cfg(test)]
mod tests;
