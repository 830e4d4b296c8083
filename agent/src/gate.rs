//! The one door between a plugin and the host.
//!
//! Every host call is a message that passes here: granted by the signed plan?
//! permitted by this host? right for this phase? Then, when it mutates, its
//! intent is durable before anything happens, and its result before the
//! plugin learns of it. Whatever version of the contract a plugin speaks, and
//! whatever runs it, there is no other way in.

mod act;
mod cancel;
mod interceptor;
mod outside;
mod policy;
mod recorder;
mod request;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sternway_core::grant::Grant;
use sternway_core::ids::Digest;

pub use cancel::Cancel;
pub use interceptor::{Interceptor, Told};
pub use outside::{ProgramCall, SocketCall, SystemdCall};
pub use policy::HostPolicy;
pub use recorder::{CallRecorder, MemoryRecorder, RecordError};
pub use request::{Effect, Mark, Reply, Request};

use crate::capabilities::clusters::Clusters;
use crate::capabilities::files::Files;
use crate::capabilities::http::HttpClient;
use crate::capabilities::mail::Mailer;
use crate::capabilities::programs::Programs;
use crate::capabilities::secrets::Secrets;
use crate::capabilities::services::Services;
use crate::capabilities::systemd::Systemd;
use crate::capabilities::{ErrorKind, HostError};
use crate::crash;
use crate::points::Points;

/// How many host calls one phase may make.
pub const CALLS_MAX: u64 = 10_000;
const KEY_BYTES_MAX: usize = 256;
const NOTE_BYTES_MAX: usize = 64 * 1024;
/// Marks of our own, which no plugin can name because its keys are prefixed.
const KEPT_COPY: &str = "host/keep-copy/";
const PLUGIN_KEY: &str = "step/";
const FILES: &str = "files";
const FILES_READ: &str = "files-read";

/// What a plugin is being asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Says what the plugin is; no power at all.
    Describe,
    /// Read only: what is there, and what would change?
    Look,
    /// Stages beside; nothing live is touched.
    Prepare,
    /// The change itself.
    Apply,
    /// Read only: is it so now?
    Verify,
    /// Puts back what `apply` did.
    Undo,
}

impl Phase {
    /// As people and logs name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Describe => "describe",
            Self::Look => "look",
            Self::Prepare => "prepare",
            Self::Apply => "apply",
            Self::Verify => "verify",
            Self::Undo => "undo",
        }
    }

    fn allows(self, effect: Effect) -> bool {
        match self {
            Self::Describe => false,
            Self::Look | Self::Verify => effect == Effect::Read,
            Self::Prepare => matches!(effect, Effect::Read | Effect::Note | Effect::Stage),
            Self::Apply | Self::Undo => true,
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// How important a line of a plugin is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// For the plugin's author.
    Debug,
    /// For people who watch.
    Info,
    /// Something to look at.
    Warn,
    /// Something went wrong.
    Error,
}

/// How far a phase is; the newest replaces all before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done.
    pub stage: String,
    /// In `unit`.
    pub done: u64,
    /// In `unit`, when it is known.
    pub total: Option<u64>,
    /// `bytes`, `files` ...
    pub unit: String,
}

/// Where lines and progress of a running phase go. Must not wait.
pub trait Sink: Send + Sync {
    /// One line, already capped and free of control characters.
    fn line(&self, level: Level, line: &str);
    /// The newest progress.
    fn progress(&self, progress: &Progress);
}

/// A sink that keeps nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Sink for Silent {
    fn line(&self, _: Level, _: &str) {}
    fn progress(&self, _: &Progress) {}
}

/// What acts when the gate says yes.
#[derive(Debug)]
pub struct Powers {
    /// Files, as this step of this run names its side copies.
    pub files: Files,
    /// Rollback points; none when this host keeps none.
    pub points: Option<Arc<Points>>,
    /// Services of this host.
    pub services: Services,
    /// Connections of this phase.
    pub http: HttpClient,
    /// What is there once on a host, for all its steps.
    pub outside: Arc<Outside>,
}

/// What is there once on a host: its service manager, programs and credentials.
#[derive(Debug)]
pub struct Outside {
    /// The system's units.
    pub systemd: Systemd,
    /// Programs by their forms.
    pub programs: Programs,
    /// The relay for mail.
    pub mailer: Mailer,
    /// What is filled in where a plugin writes a name.
    pub secrets: Secrets,
    /// Kubernetes.
    pub clusters: Clusters,
}

impl Outside {
    /// With nothing configured: our own forms of programs, and no credentials.
    ///
    /// # Panics
    /// Our own forms make no sense, which a test of theirs would have told.
    pub fn bare(state: &Path) -> Self {
        let programs = Programs::new(state.to_owned(), Vec::new(), BTreeMap::new(), Vec::new());
        Self {
            systemd: Systemd::new(),
            programs: programs.expect("our own forms are sound"),
            mailer: Mailer::default(),
            secrets: Secrets::new(BTreeMap::new()),
            clusters: Clusters::new(Vec::new()),
        }
    }
}

/// What the gate decides by and acts with, for one phase of one step.
pub struct GateParts {
    /// From the signed plan.
    pub grants: Vec<Grant>,
    /// What this host permits.
    pub policy: HostPolicy,
    /// The rollback point of this run; no other can be named.
    pub point: Option<String>,
    /// Names this step of this run, and no other: programs run under it.
    pub step: String,
    /// 1 for the first try.
    pub attempt: u32,
    /// What acts.
    pub powers: Powers,
    /// Where marks, intents and results are made durable.
    pub recorder: Arc<dyn CallRecorder>,
    /// Where lines and progress go.
    pub sink: Arc<dyn Sink>,
}

impl std::fmt::Debug for GateParts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("GateParts")
            .field("grants", &self.grants)
            .field("policy", &self.policy)
            .field("point", &self.point)
            .finish_non_exhaustive()
    }
}

/// The door, open for one phase.
pub struct Gate {
    parts: GateParts,
    phase: Phase,
    deadline: Instant,
    cancel: Cancel,
    calls: u64,
    ordinal: u32,
    last_call: Option<String>,
    interceptor: Option<Arc<dyn Interceptor>>,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Gate")
            .field("phase", &self.phase)
            .field("grants", &self.parts.grants)
            .field("calls", &self.calls)
            .finish_non_exhaustive()
    }
}

impl Gate {
    /// A gate that is shut until a phase is entered.
    pub fn new(parts: GateParts) -> Self {
        Self {
            parts,
            phase: Phase::Describe,
            deadline: Instant::now(),
            cancel: Cancel::new(),
            calls: 0,
            ordinal: 0,
            last_call: None,
            interceptor: None,
        }
    }

    /// A gate with somebody in its door.
    pub fn intercepted(parts: GateParts, interceptor: Arc<dyn Interceptor>) -> Self {
        Self { interceptor: Some(interceptor), ..Self::new(parts) }
    }

    /// Opens the gate for `phase` until `deadline`; after `cancel`, what
    /// mutates is refused and reading goes on.
    pub fn enter(&mut self, phase: Phase, deadline: Instant, cancel: Cancel) {
        self.phase = phase;
        self.deadline = deadline;
        self.cancel = cancel;
    }

    /// The phase it was opened for.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Name and scope of the newest call, for the report of a trap.
    pub fn last_call(&self) -> Option<&str> {
        self.last_call.as_deref()
    }

    /// How many host calls passed or were refused.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// Where lines and progress of this phase go.
    pub fn sink(&self) -> &dyn Sink {
        &*self.parts.sink
    }

    /// Decides about one host call and, when it may, carries it out.
    ///
    /// # Errors
    /// `denied` names the call, its scope and what is granted; everything else
    /// comes from the power itself.
    pub fn pass(&mut self, request: &Request) -> Result<Reply, HostError> {
        let Some(interceptor) = self.interceptor.clone() else { return self.decide(request) };
        if let Some(answer) = interceptor.before(request) {
            return answer;
        }
        let answer = self.decide(request);
        interceptor.after(request, answer)
    }

    fn decide(&mut self, request: &Request) -> Result<Reply, HostError> {
        let scope = request.scope();
        let call = request.name();
        self.calls += 1;
        self.last_call = Some(match &scope {
            Some(scope) => format!("{call}({})", policy::shown(scope)),
            None => call.to_owned(),
        });
        if self.calls > CALLS_MAX {
            return Err(HostError::new(
                ErrorKind::Denied,
                "gate/too-many-calls",
                format!("a phase may make {CALLS_MAX} host calls"),
            ));
        }
        let effect = request.effect();
        if !self.phase.allows(effect) {
            return Err(HostError::new(
                ErrorKind::Denied,
                &format!("{}/wrong-phase", request.interface()),
                format!("{call} {}, which {} may not", effect.in_words(), self.phase),
            ));
        }
        self.check_grants(request, scope.as_deref())?;
        if self.cancel.is_cancelled() && matches!(effect, Effect::Stage | Effect::Mutate) {
            return Err(HostError::new(
                ErrorKind::Cancelled,
                "gate/cancelled",
                format!("{call} was refused, because the run was cancelled"),
            ));
        }
        if Instant::now() >= self.deadline {
            return Err(HostError::new(
                ErrorKind::TimedOut,
                "gate/timed-out",
                format!("{call} came after the end of the time of {}", self.phase),
            ));
        }
        let changes = matches!(effect, Effect::Stage | Effect::Mutate);
        if changes {
            crash::point("call.begins", call);
        }
        let answer = if effect == Effect::Mutate { self.act_recorded(request) } else { self.act(request) };
        if changes {
            crash::point("call.ended", call);
        }
        answer
    }

    fn check_grants(&self, request: &Request, scope: Option<&str>) -> Result<(), HostError> {
        let Some(power) = request.power() else { return Ok(()) };
        let name = request.name();
        match power == FILES && request.effect() == Effect::Read {
            true => self.check_reading(name, scope)?,
            false => self.check_grant(power, name, scope)?,
        }
        for (power, scope) in request.further()? {
            match power == FILES {
                true => self.check_reading(name, Some(&scope))?,
                false => self.check_grant(power, name, Some(&scope))?,
            }
        }
        if let Request::Programs(called) = request
            && let Some(call) = called.call()
        {
            let scopes = self.parts.powers.outside.programs.file_scopes(call)?;
            for path in scopes.read {
                self.check_reading(name, Some(&path))?;
            }
            for path in scopes.changed {
                self.check_grant(FILES, name, Some(&path))?;
            }
        }
        if let Some(id) = request.point()
            && self.parts.point.as_deref() != Some(id)
        {
            return Err(HostError::new(
                ErrorKind::Denied,
                "points/not-this-run",
                format!(
                    "{name} names the rollback point `{}`, which is not that of this run",
                    policy::shown(id)
                ),
            ));
        }
        Ok(())
    }

    /// To read, either of the two powers over files will do.
    fn check_reading(&self, call: &str, scope: Option<&str>) -> Result<(), HostError> {
        if self.check_grant(FILES_READ, call, scope).is_ok() {
            return Ok(());
        }
        self.check_grant(FILES, call, scope).map_err(|denied| HostError {
            message: format!(
                "{}; {}",
                denied.message,
                policy::granted_in_words(FILES_READ, &self.parts.grants)
            ),
            ..denied
        })
    }

    fn check_grant(&self, power: &str, call: &str, scope: Option<&str>) -> Result<(), HostError> {
        policy::check(power, call, scope, &self.parts.grants, "granted to this step")?;
        policy::check_host(power, call, scope, &self.parts.policy)
    }

    fn act_recorded(&mut self, request: &Request) -> Result<Reply, HostError> {
        let ordinal = self.ordinal;
        self.ordinal += 1;
        let arguments = digest_of(request);
        self.parts
            .recorder
            .intent(ordinal, request.name(), &request.scope().unwrap_or_default(), &arguments)
            .map_err(|error| not_written(&error))?;
        let answer = self.act(request);
        self.parts
            .recorder
            .result(ordinal, answer.is_ok(), &digest_of(&answer))
            .map_err(|error| not_written(&error))?;
        answer
    }

    fn within(&self, timeout_ms: u64) -> Duration {
        self.deadline.saturating_duration_since(Instant::now()).min(Duration::from_millis(timeout_ms))
    }

    /// Milliseconds left of the phase.
    pub fn remaining_ms(&self) -> u64 {
        let left = self.deadline.saturating_duration_since(Instant::now());
        self.told(Told::RemainingMs, &mut || u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
    }

    /// Whether the run was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.told(Told::Cancelled, &mut || self.cancel.is_cancelled().into()) == 1
    }

    /// Waits, at most until the phase must end; false when cancelled meanwhile.
    pub fn sleep(&mut self, milliseconds: u64) -> bool {
        if self.phase == Phase::Describe {
            return false;
        }
        self.last_call = Some("control.sleep".to_owned());
        let until = Instant::now() + self.within(milliseconds);
        self.told(Told::Slept(milliseconds), &mut || self.cancel.wait_until(until).into()) == 1
    }

    /// The host's clock, as milliseconds since 1970 in UTC.
    pub fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.told(Told::NowMs, &mut || u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn told(&self, what: Told, real: &mut dyn FnMut() -> u64) -> u64 {
        match &self.interceptor {
            Some(interceptor) => interceptor.told(what, real),
            None => real(),
        }
    }
}

fn digest_of(value: &impl Serialize) -> Digest {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("requests and replies are plain data");
    Digest::of(&bytes)
}

fn not_written(error: &RecordError) -> HostError {
    tracing::error!(error = error as &dyn std::error::Error, "the journal refused");
    HostError::new(ErrorKind::Failed, "journal/not-written", error.to_string())
}

#[cfg(test)]
mod tests;
