//! This host as its configuration describes it: the powers there are to lend.

use std::ffi::OsString;
use std::sync::{Arc, Mutex, PoisonError};

use crate::capabilities::clusters::Clusters;
use crate::capabilities::files::HostRoot;
use crate::capabilities::mail::Mailer;
use crate::capabilities::programs::{FormError, Launcher, Programs, StartTransient};
use crate::capabilities::secrets::Secrets;
use crate::capabilities::services::{DefinitionError, ServiceDefinition, Services};
use crate::capabilities::systemd::Systemd;
use crate::config::Config;
use crate::durable;
use crate::gate::{HostPolicy, Outside};
use crate::points::lease::{LeaseError, Leases};
use crate::points::{Place, Points, PointsError};

#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("could not open the host's root `{}`", path.display())]
    Root {
        path: std::path::PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("the services in the configuration are not as they should be")]
    Services(#[from] DefinitionError),
    #[error("the programs in the configuration are not as they should be")]
    Programs(#[from] FormError),
    #[error("could not tell which program this is")]
    Program(#[source] std::io::Error),
}

/// What a gate acts with on this host.
#[derive(Debug)]
pub struct Host {
    config: Config,
    root: HostRoot,
    services: Services,
    outside: Arc<Outside>,
    /// Opening takes as long as a password's scrypt, so it is done once, when first needed.
    points: Mutex<Option<Arc<Points>>>,
}

impl Host {
    pub fn new(config: &Config) -> Result<Self, HostError> {
        let root = HostRoot::open(&config.root)
            .map_err(|cause| HostError::Root { path: config.root.clone(), cause })?
            .with_pieces(config.state.join("pieces"));
        let program: OsString = std::env::current_exe().map_err(HostError::Program)?.into();
        let definitions = config.services.iter().map(|service| ServiceDefinition {
            name: service.name.clone(),
            command: service.command.clone(),
            directory: service.directory.clone(),
            environment: service.environment.clone(),
            settle_ms: service.settle.0,
            stop_ms: service.stop.0,
            output: None,
        });
        let services = Services::new(config.state.join("services"), definitions, vec![program.clone()])?;
        let outside = Arc::new(outside_of(config, program)?);
        Ok(Self { config: config.clone(), root, services, outside, points: Mutex::new(None) })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn root(&self) -> &HostRoot {
        &self.root
    }

    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Its service manager, programs and credentials.
    pub fn outside(&self) -> &Arc<Outside> {
        &self.outside
    }

    /// This host's rollback points; the repository is made when there is none.
    pub fn points(&self) -> Result<Arc<Points>, PointsError> {
        let mut points = self.points.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(points) = &*points {
            return Ok(Arc::clone(points));
        }
        durable::create_directories(&self.config.state, 0o700).map_err(PointsError::Durable)?;
        let place = Place::of(&self.config)?;
        let opened = Arc::new(Points::open_or_create(self.root.clone(), &self.config.host, &place)?);
        *points = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// Which of them are in use.
    ///
    /// # Errors
    /// The state directory cannot be written.
    pub fn leases(&self) -> Result<Leases, LeaseError> {
        Leases::open(&self.config.state)
    }

    /// What this host permits, whoever signs.
    pub fn policy(&self) -> HostPolicy {
        HostPolicy { permits: self.config.permit.grants() }
    }
}

fn outside_of(config: &Config, program: OsString) -> Result<Outside, FormError> {
    let (powers, own) = (config.powers.clone(), config.own_forms());
    let programs = Programs::new(config.state.clone(), vec![program], powers, own)?;
    let programs = match Systemd::is_here() {
        false => programs,
        true => {
            let systemd = Systemd::new();
            let start: StartTransient =
                Arc::new(move |unit| systemd.start_transient(&unit.name, &unit.command, &unit.description));
            programs.launched_by(Launcher::Transient(start))
        }
    };
    let mailer = config.mail.as_ref().map(|mail| Mailer::new(mail.settings(config.host.as_str())));
    Ok(Outside {
        systemd: Systemd::new(),
        programs,
        mailer: mailer.unwrap_or_default(),
        secrets: Secrets::new(config.secret_files()),
        clusters: Clusters::new(config.clusters.clone()),
    })
}
