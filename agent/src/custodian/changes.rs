//! What is done to points on a person's word, at this host or from afar.

use std::path::PathBuf;
use std::time::Duration;

use sternway_core::grant::Grant;
use sternway_core::ids::{Person, PointId};
use sternway_core::point::{Answer, Change, Kept, Kind, Order, Origin, PieceKind, Point, Want};

use super::lock::Lock;
use super::{Custodian, CustodianError, Listener, as_person, folder_of};
use crate::capabilities::files::HostPath;
use crate::clock;
use crate::config::PointService;
use crate::durable;
use crate::points::Points;
use crate::points::making::Making;
use crate::points::pieces::{self, Wish};

/// While another point is made here, this often it is asked whether it is done.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// On whose word something is done.
#[derive(Debug, Clone)]
pub struct Word {
    /// A person's name.
    pub by: String,
    /// Who a point that is kept for ever belongs to.
    pub owner: Option<Person>,
    pub reason: String,
    /// From afar: only what this host permits.
    is_bound: bool,
}

impl Word {
    pub(super) fn signed(order: &Order) -> Self {
        let (by, owner) = (order.person.to_string(), Some(order.person.clone()));
        Self { by, owner, reason: order.reason.clone(), is_bound: true }
    }

    /// Of somebody who has this host in hands, and could do it without us.
    pub fn at_hand(by: String, reason: String) -> Self {
        let owner = as_person(&by);
        Self { by, owner, reason, is_bound: false }
    }
}

/// A point that is wanted.
struct Wanted<'a> {
    service: Option<&'a str>,
    paths: &'a [String],
    kind: Kind,
    component: Option<&'a str>,
    tag: &'a str,
    version: Option<&'a str>,
    origin: Origin,
}

impl Custodian {
    /// Carries a change out and says what came of it.
    ///
    /// # Errors
    /// A reasoned no, or what went wrong; nothing is half done.
    pub fn carry_out(&self, change: &Change, word: &Word, listener: &Listener) -> Result<(), CustodianError> {
        match change {
            Change::Create { service, paths, kind, component, tag, version, hook } => {
                let wanted = Wanted {
                    service: service.as_deref(),
                    paths,
                    kind: *kind,
                    component: component.as_deref(),
                    tag,
                    version: version.as_deref(),
                    origin: if *hook { Origin::Hook } else { Origin::Person },
                };
                let point = self.create(&wanted, word, listener)?;
                listener.say(Answer::Points(vec![point]));
                Ok(())
            }
            Change::Tag { which, tag, keep } => {
                let kept = keep.then(|| self.kept(word)).transpose()?;
                self.each_meant(which, listener, |points, id| Ok(points.tag(id, tag, kept.clone())?))
            }
            Change::Untag { which, tag } => {
                self.each_meant(which, listener, |points, id| Ok(points.untag(id, tag.as_deref())?))
            }
            Change::Prune { confirmed } => {
                let (points, bytes) = self.prune_confirmed(*confirmed, listener)?;
                listener.say(Answer::Dropped { points, bytes });
                Ok(())
            }
            Change::Restore { which, path, into } => self.put(which, path, into, word, listener),
            Change::Drill { service } => {
                let drill = self.drill(service, listener)?;
                listener.say(Answer::Drilled { service: service.clone(), drill });
                Ok(())
            }
        }
    }

    fn kept(&self, word: &Word) -> Result<Kept, CustodianError> {
        let Some(owner) = word.owner.clone() else {
            return Err(CustodianError::refused(
                "owner",
                format!("`{}` is no person's name: say whose the point is", word.by),
            ));
        };
        if word.reason.trim().is_empty() {
            return Err(CustodianError::refused("reason", "a point is kept for ever for a reason: say it"));
        }
        Ok(Kept { owner, reason: word.reason.clone(), since: clock::now() })
    }

    fn each_meant(
        &self,
        which: &Want,
        listener: &Listener,
        change: impl Fn(&Points, PointId) -> Result<Point, CustodianError>,
    ) -> Result<(), CustodianError> {
        let points = self.points()?;
        // One is meant: the newest, when it is not named by its id.
        let id = self.newest(&points, which)?.id;
        let changed = change(&points, id)?;
        listener.say(Answer::Points(vec![self.filled_one(changed)]));
        Ok(())
    }

    fn create(&self, wanted: &Wanted<'_>, word: &Word, listener: &Listener) -> Result<Point, CustodianError> {
        let points = self.points()?;
        let _making = self.making_lock(listener)?;
        let making = match wanted.service {
            Some(service) => self.of_service(service, wanted, word)?,
            None => self.of_paths(wanted, word)?,
        };
        let made = points.make(making, &listener.watch())?;
        self.check_fresh(&points, made)
    }

    /// One point at a time is made or dropped on a host, by whichever process.
    pub(super) fn making_lock(&self, listener: &Listener) -> Result<Lock, CustodianError> {
        self.lock("making.lock", "lock the making of points", listener)
    }

    /// Waits for whoever holds it, as long as somebody listens.
    pub(super) fn lock(
        &self,
        name: &str,
        step: &'static str,
        listener: &Listener,
    ) -> Result<Lock, CustodianError> {
        let folder = folder_of(&self.state());
        durable::create_directories(&folder, 0o700)?;
        loop {
            let tried = Lock::try_take(&folder.join(name));
            match tried.map_err(|cause| CustodianError::Io { step, cause })? {
                Some(lock) => return Ok(lock),
                None => {
                    listener.is_there()?;
                    std::thread::sleep(ASK_AGAIN);
                }
            }
        }
    }

    pub(super) fn service(&self, name: &str) -> Result<&PointService, CustodianError> {
        let services = &self.host.config().points.services;
        services.iter().find(|service| service.name == name).ok_or_else(|| {
            let known: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            CustodianError::refused(
                "unknown-service",
                format!("`{name}` is no `[[points.service]]` of this host; there is: {known}"),
            )
        })
    }

    fn of_service(&self, name: &str, wanted: &Wanted<'_>, word: &Word) -> Result<Making, CustodianError> {
        if !wanted.paths.is_empty() {
            return Err(CustodianError::refused("paths", "either a service or paths, not both"));
        }
        self.making_of(
            self.service(name)?,
            Wish {
                kind: wanted.kind,
                component: wanted.component.map(str::to_owned),
                origin: wanted.origin.clone(),
                tags: vec![wanted.tag.to_owned()],
                reason: word.reason.clone(),
                by: word.by.clone(),
                version: wanted.version.map(str::to_owned),
            },
        )
    }

    pub(super) fn making_of(&self, service: &PointService, wish: Wish) -> Result<Making, CustodianError> {
        pieces::making(service, self.host.root(), wish)
            .map_err(|cause| CustodianError::Pieces { service: service.name.clone(), cause: Box::new(cause) })
    }

    fn of_paths(&self, wanted: &Wanted<'_>, word: &Word) -> Result<Making, CustodianError> {
        if wanted.paths.is_empty() {
            return Err(CustodianError::refused("paths", "neither a service nor a path is named"));
        }
        let paths = wanted.paths.iter().map(|path| HostPath::parse(path)).collect::<Result<Vec<_>, _>>()?;
        for path in &paths {
            self.check_permitted(word, &["points", "files"], path)?;
        }
        Ok(Making {
            service: String::new(),
            version: wanted.version.unwrap_or_default().to_owned(),
            kind: wanted.kind,
            origin: wanted.origin.clone(),
            tags: vec![wanted.tag.to_owned()],
            reason: word.reason.clone(),
            by: word.by.clone(),
            paths: paths.into_iter().map(|path| (PieceKind::Files, path)).collect(),
            extras: Vec::new(),
        })
    }

    /// Points are read and written with root's rights: what comes from afar
    /// stays within what this host lends to plugins.
    pub(super) fn check_permitted(
        &self,
        word: &Word,
        powers: &[&str],
        path: &HostPath,
    ) -> Result<(), CustodianError> {
        let policy = self.host.policy();
        let is_permitted = |power: &&str| {
            let grant = Grant { power: (*power).to_owned(), scopes: vec![path.as_str().to_owned()] };
            policy.refused(&grant).is_empty()
        };
        match !word.is_bound || powers.iter().any(is_permitted) {
            true => Ok(()),
            false => Err(CustodianError::refused(
                "not-permitted",
                format!("this host does not permit {} on `{path}`", powers.join(" or ")),
            )),
        }
    }

    pub(super) fn state(&self) -> PathBuf {
        self.host.config().state.clone()
    }
}
