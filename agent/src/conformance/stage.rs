//! The host of a case: a root of its own, real services, a rollback point and
//! a peer, put back to the beginning before each trial.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use sternway_core::grant::{self, Grant};
use sternway_core::manifest::{Class, Manifest, Reversibility};
use sternway_core::point::{Kind, Origin, PieceKind};

use super::case::{Case, ServiceCase, Tree, Wanted};
use super::peer::Peer;
use super::report::Difference;
use super::{ConformanceError, Harness, Scratch, io, outside, trees};
use crate::capabilities::files::{Files, HostPath, HostRoot};
use crate::capabilities::http::HttpClient;
use crate::capabilities::programs::Programs;
use crate::capabilities::services::{ServiceDefinition, Services, State};
use crate::gate::{CallRecorder, GateParts, HostPolicy, Outside, Powers, Silent};
use crate::points::Points;
use crate::points::making::{Making, nobody};

pub(super) const RUN: &str = "proof-run";
pub(super) const STEP: &str = "step";
const POINT_TAG: &str = "before";
const SERVICE_PATIENCE: Duration = Duration::from_secs(20);
const VERSION_PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);
const STOP_MS: u64 = 2_000;
const LINES_MAX: u32 = 1_000;
/// Ends the name of a copy that stays for people.
const KEPT: &str = " (kept copy)";

/// All that must be as it should: paths, services and what the peer keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Picture {
    things: BTreeMap<String, String>,
    /// Services that run in another process than at the beginning.
    renewed: BTreeSet<String>,
    pub(super) beside: BTreeSet<String>,
}

impl Picture {
    /// Where `found` is not as this one.
    pub(super) fn differences(&self, found: &Self) -> Vec<Difference> {
        let mut differences = Self::compare(&self.things, &found.things);
        let process =
            |renewed: bool| if renewed { "another process than before" } else { "the same process" };
        for name in self.renewed.symmetric_difference(&found.renewed) {
            differences.push(Difference {
                what: format!("service {name}"),
                wanted: process(self.renewed.contains(name)).into(),
                found: process(found.renewed.contains(name)).into(),
            });
        }
        differences
    }

    /// As [`Self::differences`], for what was undone: copies kept for people
    /// may stay, and a service may run in another process.
    pub(super) fn differences_undone(&self, found: &Self) -> Vec<Difference> {
        let found = found.things.iter().filter(|(what, _)| !what.contains(KEPT));
        Self::compare(&self.things, &found.map(|(what, is)| (what.clone(), is.clone())).collect())
    }

    fn compare(wanted: &BTreeMap<String, String>, found: &BTreeMap<String, String>) -> Vec<Difference> {
        let names: BTreeSet<&String> = wanted.keys().chain(found.keys()).collect();
        let told = |of: &BTreeMap<String, String>, name: &String| {
            of.get(name).cloned().unwrap_or_else(|| "nothing".to_owned())
        };
        names
            .into_iter()
            .filter(|name| wanted.get(*name) != found.get(*name))
            .map(|name| Difference {
                what: name.clone(),
                wanted: told(wanted, name),
                found: told(found, name),
            })
            .collect()
    }
}

/// The host of one case.
#[derive(Debug)]
pub(super) struct Stage {
    case: Case,
    outside: Arc<Outside>,
    /// Each trial is a run of its own to the host's programs.
    trial: AtomicU64,
    scratch: Scratch,
    services: Services,
    kept: Vec<ServiceCase>,
    peer: Peer,
    points: Option<Arc<Points>>,
    databases: BTreeSet<String>,
    pids: Mutex<BTreeMap<String, Option<u32>>>,
    pub(super) point: Option<String>,
    pub(super) settings: String,
    pub(super) undo: Option<String>,
    pub(super) grants: Vec<Grant>,
    pub(super) class: Class,
    pub(super) reversibility: Reversibility,
}

impl Stage {
    pub(super) fn new(harness: &Harness, case: &Case, manifest: &Manifest) -> Result<Self, ConformanceError> {
        let scratch = Scratch::new()?;
        let (root, file) = (scratch.0.join("root"), &case.file);
        trees::lay(case, "host", &file.host, &scratch.0.join("template"))?;
        let peer = Peer::new(&file.answers)?;
        let settings = filled(&file.settings, &peer);
        let undo = file.undo.as_ref().map(|undo| filled(undo, &peer));
        let mut modes: Vec<_> = manifest.modes_of(&settings).collect();
        modes.sort_by_key(|mode| mode.class);
        let Some(class) = modes.last().map(|mode| mode.class) else {
            return Err(case.wrong("its settings select no mode of the plugin"));
        };
        let reversibility =
            modes.iter().map(|mode| mode.reversibility).max().unwrap_or(Reversibility::Irreversible);
        let grants = match &file.grants {
            Some(grants) => grants.clone(),
            None => grant::asked(&manifest.powers, &settings, undo.as_ref()),
        };
        let definitions = file.services.iter().map(|service| ServiceDefinition {
            name: service.name.clone(),
            command: service
                .command
                .iter()
                .map(|word| word.replace("${root}", &root.to_string_lossy()))
                .collect(),
            directory: service.directory.as_ref().map(|path| root.join(path.trim_start_matches('/'))),
            environment: BTreeMap::new(),
            settle_ms: service.settle_ms,
            stop_ms: STOP_MS,
            output: None,
        });
        let services = Services::new(scratch.0.join("services"), definitions, harness.keeper.clone())?;
        let trees = [Some(&file.host), file.point.as_ref(), file.after.as_ref()];
        let databases = trees.into_iter().flatten().flat_map(|tree| &tree.databases);
        let databases = databases.map(|database| database.path.clone()).collect();
        let (points, point) = match &file.point {
            None => (None, None),
            Some(tree) => {
                let (points, id) = made_point(harness, case, tree)?;
                (Some(points), Some(id))
            }
        };
        let outside = Arc::new(outside_of(harness, case, &scratch)?);
        Ok(Self {
            case: case.clone(),
            outside,
            trial: AtomicU64::new(0),
            scratch,
            services,
            kept: file.services.clone(),
            peer,
            points,
            databases,
            pids: Mutex::default(),
            point,
            settings: settings.to_string(),
            undo: undo.map(|undo| undo.to_string()),
            grants,
            class,
            reversibility,
        })
    }

    fn root(&self) -> PathBuf {
        self.scratch.0.join("root")
    }

    /// Everything as the case begins.
    pub(super) fn reset(&self) -> Result<(), ConformanceError> {
        let mut pids = self.pids.lock().unwrap_or_else(PoisonError::into_inner);
        for service in &self.kept {
            let status = self.services.status(&service.name)?;
            let same = pids.get(&service.name).is_some_and(|pid| *pid == status.pid);
            if status.state != State::Stopped && !(same && status.state == State::Running) {
                self.services.stop(&service.name, SERVICE_PATIENCE, &|| false).map_err(|cause| {
                    ConformanceError::Service { name: service.name.clone(), wanted: "stopped", cause }
                })?;
            }
        }
        let root = self.root();
        if root.exists() {
            std::fs::remove_dir_all(&root).map_err(io("clear", &root))?;
        }
        trees::copy(&self.scratch.0.join("template"), &root)?;
        if let Some(parts) = &self.case.file.outside {
            outside::reset(&self.case, parts, &root)?;
        }
        self.trial.fetch_add(1, Ordering::Relaxed);
        for service in &self.kept {
            let mut status = self.services.status(&service.name)?;
            if service.before == Wanted::Running && status.state != State::Running {
                status =
                    self.services.start(&service.name, SERVICE_PATIENCE, &|| false).map_err(|cause| {
                        ConformanceError::Service { name: service.name.clone(), wanted: "started", cause }
                    })?;
            }
            // A program that has not begun to read its files could not bear the next reset.
            self.standing(service)?;
            pids.insert(service.name.clone(), status.pid);
        }
        self.peer.reset();
        Ok(())
    }

    /// `kept`: copies that stay for people, to the path each is a copy of.
    pub(super) fn picture(&self, kept: &BTreeMap<String, String>) -> Result<Picture, ConformanceError> {
        let kept = kept.iter().map(|(name, path)| (name.clone(), format!("{path}{KEPT}"))).collect();
        let trees::Taken { entries: mut things, beside } =
            trees::picture(&self.root(), &self.databases, &kept)?;
        let mut renewed = BTreeSet::new();
        let pids = self.pids.lock().unwrap_or_else(PoisonError::into_inner);
        for service in &self.kept {
            let (said, pid) = self.standing(service)?;
            if pid.is_some() && pids.get(&service.name).is_some_and(|before| *before != pid) {
                renewed.insert(service.name.clone());
            }
            things.insert(format!("service {}", service.name), said);
        }
        things.extend(self.peer.kept());
        if let Some(parts) = &self.case.file.outside {
            things.extend(outside::picture(&self.case, parts, &self.root())?);
        }
        Ok(Picture { things, renewed, beside })
    }

    fn standing(&self, service: &ServiceCase) -> Result<(String, Option<u32>), ConformanceError> {
        let status = self.services.status(&service.name)?;
        let mut said = format!("{:?}", status.state).to_lowercase();
        if let (Some(prefix), Some(pid)) = (&service.version, status.pid) {
            let prefix = prefix.replace("${pid}", &pid.to_string());
            let version = self.version(&service.name, &prefix)?;
            said = format!("{said}, version {}", version.as_deref().unwrap_or("unknown"));
        }
        Ok((said, status.pid))
    }

    /// It has settled, and may still be about to say which version it is.
    fn version(&self, name: &str, prefix: &str) -> Result<Option<String>, ConformanceError> {
        let begun = Instant::now();
        loop {
            let lines = self.services.lines(name, LINES_MAX)?;
            let newest = lines.iter().rev().find_map(|line| line.strip_prefix(prefix));
            if newest.is_some() || begun.elapsed() > VERSION_PATIENCE {
                return Ok(newest.map(str::to_owned));
            }
            std::thread::sleep(POLL);
        }
    }

    /// What the case itself says about the end.
    pub(super) fn expected(&self, case: &Case, end: &Picture) -> Result<Vec<Difference>, ConformanceError> {
        let mut wanted = end.clone();
        if let Some(tree) = &case.file.after {
            let laid = self.scratch.0.join("after");
            trees::lay(case, "after", tree, &laid)?;
            let after = trees::picture(&laid, &self.databases, &BTreeMap::new())?;
            wanted.things.retain(|what, _| !what.starts_with('/') || what.contains(KEPT));
            wanted.things.extend(after.entries);
        }
        for service in &case.file.services {
            let name = format!("service {}", service.name);
            let Some(after) = service.after else { continue };
            let (state, renewed) = match after {
                Wanted::Running => ("running", end.renewed.contains(&service.name)),
                Wanted::Renewed => ("running", true),
                Wanted::Stopped => ("stopped", false),
            };
            let is = end.things.get(&name).cloned().unwrap_or_default();
            wanted.things.insert(name, if is.starts_with(state) { is } else { state.to_owned() });
            match renewed {
                true => wanted.renewed.insert(service.name.clone()),
                false => wanted.renewed.remove(&service.name),
            };
        }
        for line in case.file.outside.iter().flat_map(|outside| &outside.after) {
            let Some((name, state)) = line.split_once(" = ") else {
                return Err(case.wrong(&format!("`{line}` in `after` is no `name = state`")));
            };
            wanted.things.insert(format!("outside {name}"), state.to_owned());
        }
        for answer in &case.file.answers {
            if let Some(after) = &answer.after {
                wanted.things.insert(format!("http {}", answer.path), format!("{after:?}"));
            }
        }
        Ok(wanted.differences(end))
    }

    /// The gate's parts; `without` is a power that is withheld.
    pub(super) fn gate_parts(
        &self,
        recorder: Arc<dyn CallRecorder>,
        without: Option<&str>,
    ) -> Result<GateParts, ConformanceError> {
        let any = |grant: &Grant| Grant { power: grant.power.clone(), scopes: vec!["*".to_owned()] };
        let granted = self.grants.iter().filter(|grant| Some(grant.power.as_str()) != without);
        Ok(GateParts {
            grants: granted.cloned().collect(),
            policy: HostPolicy { permits: self.grants.iter().map(any).collect() },
            point: self.point.clone(),
            step: format!("{RUN}-{}", self.trial.load(Ordering::Relaxed)),
            attempt: 1,
            powers: Powers {
                files: self.files()?,
                points: self.points.clone(),
                services: self.services.clone(),
                http: HttpClient::new(),
                outside: Arc::clone(&self.outside),
            },
            recorder,
            sink: Arc::new(Silent),
        })
    }

    fn files(&self) -> Result<Files, ConformanceError> {
        let root = self.root();
        let opened = HostRoot::open(&root).map_err(io("open", &root))?;
        Ok(Files::new(opened.with_pieces(self.scratch.0.join("pieces")), RUN, STEP))
    }

    /// As the agent does when `prepare` failed, and when a run is closed.
    pub(super) fn sweep(&self) -> Result<(), ConformanceError> {
        let files = self.files()?;
        let grants = self.grants.iter().filter(|grant| grant.power == "files");
        for path in grants.flat_map(|grant| &grant.scopes) {
            files.discard(&HostPath::parse(path)?)?;
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for service in &self.kept {
            if let Err(error) = self.services.stop(&service.name, SERVICE_PATIENCE, &|| false) {
                tracing::warn!(%error, "a service stays behind");
            }
        }
    }
}

/// As a host that is configured as the case says.
fn outside_of(harness: &Harness, case: &Case, scratch: &Scratch) -> Result<Outside, ConformanceError> {
    let bare = Outside::bare(&scratch.0);
    let Some(parts) = &case.file.outside else { return Ok(bare) };
    let state = scratch.0.clone();
    let programs = Programs::new(state, harness.keeper.clone(), parts.power.clone(), parts.programs.clone());
    let programs = programs.map_err(|cause| case.wrong(&cause.to_string()))?;
    Ok(Outside { programs, ..bare })
}

/// `${http}` is the peer, `${user}` and `${group}` who runs the harness.
fn filled(value: &Value, peer: &Peer) -> Value {
    match value {
        Value::String(text) => {
            let user = rustix::process::geteuid().as_raw().to_string();
            let group = rustix::process::getegid().as_raw().to_string();
            let text = text.replace("${http}", &peer.url());
            Value::String(text.replace("${user}", &user).replace("${group}", &group))
        }
        Value::Array(items) => items.iter().map(|item| filled(item, peer)).collect(),
        Value::Object(table) => table.iter().map(|(key, item)| (key.clone(), filled(item, peer))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn made_point(
    harness: &Harness,
    case: &Case,
    tree: &Tree,
) -> Result<(Arc<Points>, String), ConformanceError> {
    let points = harness.points()?;
    let (laid, root) = (harness.scratch.0.join("laid"), harness.points_root());
    trees::lay(case, "point", tree, &laid)?;
    let mut tops = Vec::new();
    for entry in std::fs::read_dir(&laid).map_err(io("list", &laid))? {
        let entry = entry.map_err(io("list", &laid))?;
        // The repository has the root open, so the tree moves into it.
        trees::copy(&entry.path(), &root.join(entry.file_name()))?;
        tops.push(HostPath::parse(&format!("/{}", entry.file_name().to_string_lossy()))?);
    }
    let made = points.make(
        Making {
            service: String::new(),
            version: String::new(),
            kind: Kind::Full,
            origin: Origin::Person,
            tags: vec![POINT_TAG.to_owned()],
            reason: case.file.summary.clone(),
            by: "conformance".to_owned(),
            paths: tops.iter().cloned().map(|top| (PieceKind::Files, top)).collect(),
            extras: Vec::new(),
        },
        &nobody(),
    );
    std::fs::remove_dir_all(&laid).map_err(io("clear", &laid))?;
    for top in tops {
        let path = root.join(&top.as_str()[1..]);
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.map_err(io("clear", &path))?;
    }
    Ok((points, made?.id.to_string()))
}
