//! Proves a plugin against the contract: its real component, the real gate and
//! the real powers, on a small host made for it. Each phase is doubled, each
//! call killed and failed, each undo doubled and cut, and the end has to be the
//! same; whatever was done has to be undone to the byte.
//!
//! Reading order: [`case`] (what an author writes), [`trees`] (a tree laid out,
//! and the picture taken of it), [`peer`] (what answers HTTP), [`outside`]
//! (real units, containers, databases), [`stage`] (the host itself), [`door`] (who stops, fails and answers calls), [`conduct`]
//! (the step as an agent carries it out), [`checks`], [`report`].

mod case;
mod checks;
mod conduct;
mod door;
mod outside;
mod peer;
mod report;
mod stage;
mod trees;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sternway_core::ids::{Digest, HostName};
use sternway_core::manifest::Manifest;

use crate::capabilities::HostError;
use crate::capabilities::files::HostRoot;
use crate::capabilities::services::DefinitionError;
use crate::durable::DurableError;
use crate::gate::Gate;
use crate::points::{Place, Points, PointsError};
use crate::sandbox::types::{Answer, CallError, Invocation, PhaseCall};
use crate::sandbox::{DescribeError, Limits, LoadError, Plugin, Sandbox, SandboxError};

pub use case::{Case, cases};
pub use report::{Problem, Report, Row};

/// Why a plugin could not even be put to the proof.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say it")]
pub enum ConformanceError {
    #[error("could not {step} `{}`", path.display())]
    Io {
        step: &'static str,
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("`{}` is not a case: {reason}", path.display())]
    Case { path: PathBuf, reason: String },
    #[error("there is no case in `{}`: a case is a folder with a case.toml", path.display())]
    NoCase { path: PathBuf },
    #[error("the sandbox cannot be made")]
    Sandbox(#[from] SandboxError),
    #[error("the plugin cannot be loaded")]
    Load(#[from] LoadError),
    #[error("the plugin does not describe itself")]
    Describe(#[from] DescribeError),
    #[error("the services of the case are not as they should be")]
    Services(#[from] DefinitionError),
    #[error("the service `{name}` of the case cannot be {wanted}")]
    Service {
        name: String,
        wanted: &'static str,
        #[source]
        cause: HostError,
    },
    #[error("the rollback point of the case cannot be made")]
    Points(#[from] PointsError),
    #[error("the database `{path}` of the case cannot be made or read")]
    Database {
        path: String,
        #[source]
        cause: rusqlite::Error,
    },
    #[error("a path of the case is refused")]
    Path(#[from] HostError),
    #[error("could not make a folder to work in")]
    Folder(#[from] DurableError),
    #[error("`{only}` names no check of this case; the first are {}", .known.join(", "))]
    NoSuchCheck { only: String, known: Vec<String> },
}

fn io<'a>(step: &'static str, path: &'a Path) -> impl Fn(std::io::Error) -> ConformanceError + 'a {
    move |cause| ConformanceError::Io { step, path: path.to_path_buf(), cause }
}

/// What is put to the proof: a component, or a test's stand-in for one.
pub trait Subject: Send + Sync {
    /// What it says of itself.
    fn manifest(&self) -> &Manifest;

    /// Runs one phase, as [`Plugin::call`] does.
    ///
    /// # Errors
    /// It ended without an answer.
    fn call(
        &self,
        invocation: &Invocation,
        call: &PhaseCall,
        gate: Gate,
        limits: &Limits,
    ) -> Result<Answer, CallError>;
}

/// A component, loaded and described.
#[derive(Debug)]
pub struct Component {
    plugin: Plugin,
    manifest: Manifest,
}

impl Component {
    /// Loads the component in a file and asks it what it is.
    ///
    /// # Errors
    /// It cannot be read, loaded or asked.
    pub fn load(path: &Path) -> Result<Self, ConformanceError> {
        let bytes = std::fs::read(path).map_err(io("read", path))?;
        let plugin = Sandbox::without_cache()?.load(&Digest::of(&bytes), &bytes)?;
        let manifest = plugin.describe()?;
        Ok(Self { plugin: plugin.named(manifest.name.as_str()), manifest })
    }
}

impl Subject for Component {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn call(
        &self,
        invocation: &Invocation,
        call: &PhaseCall,
        gate: Gate,
        limits: &Limits,
    ) -> Result<Answer, CallError> {
        self.plugin.call(invocation, call, gate, limits)
    }
}

/// A folder that goes when it is dropped.
#[derive(Debug)]
struct Scratch(PathBuf);

/// In memory, where syncing costs nothing: a trial syncs as often as a host does.
const MEMORY: &str = "/dev/shm";

impl Scratch {
    fn new() -> Result<Self, ConformanceError> {
        let mut bytes = [0_u8; 8];
        getrandom::fill(&mut bytes).map_err(|cause| ConformanceError::Io {
            step: "name a folder in",
            path: std::env::temp_dir(),
            cause: std::io::Error::other(cause),
        })?;
        let name = format!("sternway-plugin-test-{:016x}", u64::from_be_bytes(bytes));
        let in_memory = Path::new(MEMORY).join(&name);
        // Services of a case may be programs in its tree.
        let runs_programs = rustix::fs::statvfs(MEMORY)
            .is_ok_and(|about| !about.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC));
        if std::env::var_os("TMPDIR").is_none()
            && runs_programs
            && crate::durable::create_directories(&in_memory, 0o700).is_ok()
        {
            return Ok(Self(in_memory));
        }
        let path = std::env::temp_dir().join(name);
        crate::durable::create_directories(&path, 0o700)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "a folder stays behind");
        }
    }
}

/// Proves cases one after the other; what is slow to make is made once.
#[derive(Debug)]
pub struct Harness {
    scratch: Scratch,
    keeper: Vec<OsString>,
    /// Opening takes as long as a password's scrypt.
    points: Mutex<Option<Arc<Points>>>,
}

impl Harness {
    /// `keeper` is the program that looks after services: our own.
    ///
    /// # Errors
    /// There is no folder to work in.
    pub fn new(keeper: OsString) -> Result<Self, ConformanceError> {
        Ok(Self { scratch: Scratch::new()?, keeper: vec![keeper], points: Mutex::new(None) })
    }

    /// Proves one case, or only those of its checks whose name begins with `only`.
    ///
    /// # Errors
    /// The case makes no sense, or its host could not be made. What the plugin
    /// does wrong stands in the report.
    pub fn prove(
        &self,
        subject: &dyn Subject,
        case: &Case,
        only: Option<&str>,
    ) -> Result<Report, ConformanceError> {
        if case.needs_root() && !rustix::process::geteuid().is_root() {
            return Ok(Report::skipped(case, subject.manifest(), "it needs root"));
        }
        if let Some(why) = outside::cannot(case) {
            return Ok(Report::skipped(case, subject.manifest(), &why));
        }
        let stage = stage::Stage::new(self, case, subject.manifest())?;
        checks::Proof::new(subject, case, stage).run(only)
    }

    /// A point of the tree that now stands in [`Self::points_root`].
    fn points(&self) -> Result<Arc<Points>, ConformanceError> {
        let mut points = self.points.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(points) = &*points {
            return Ok(Arc::clone(points));
        }
        let root = self.points_root();
        crate::durable::create_directories(&root, 0o755)?;
        let opened = HostRoot::open(&root).map_err(io("open", &root))?;
        let place = Place::folder(&self.scratch.0.join("points"), &self.scratch.0.join("points.password"));
        let host = "host".parse::<HostName>().expect("it is a plain word");
        let opened = Arc::new(Points::open_or_create(opened, &host, &place)?);
        *points = Some(Arc::clone(&opened));
        Ok(opened)
    }

    fn points_root(&self) -> PathBuf {
        self.scratch.0.join("points-root")
    }
}
