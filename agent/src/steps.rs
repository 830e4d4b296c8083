//! A phase of a step, from the signed plan to the plugin's answer: which
//! component, which settings on this host, which powers, for how long.

mod ahead;
mod needs;
mod places;
mod recorder;
mod safety;
mod staging;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use sternway_core::grant::Grant;
use sternway_core::ids::{Digest, PlanId};
use sternway_core::manifest::Class;
use sternway_core::plan::{self, Undo};
use sternway_core::run::{Answer, Looked, Outcome, Phase, Prepared, Run, StepError, Verdict};
use sternway_core::trust::Admitted;
use sternway_core::wire::FromAgent;

use crate::capabilities::files::{Files, HostPath};
use crate::capabilities::http::HttpClient;
use crate::config::Config;
use crate::gate::{Cancel, Gate, GateParts, Level, Powers, Progress, Sink};
use crate::host::{Host, HostError};
use crate::journal::Journal;
use crate::outbox::Outbox;
use crate::points::PointsError;
use crate::sandbox::types::{Answer as PluginAnswer, CallError, Fault, Invocation, PhaseCall as PluginCall};
use crate::sandbox::{Limits, LoadError, Plugin, Sandbox, SandboxError};

pub use places::PlaceError;
pub use safety::SAFETY;

/// A look at a finished host must not hold the next one up.
const LOOK_AGAIN_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum StepsError {
    #[error("this host cannot be described")]
    Host(#[from] HostError),
    #[error("plugins cannot run here")]
    Sandbox(#[from] SandboxError),
}

/// Why a phase could not be called at all.
#[derive(Debug, thiserror::Error)]
enum CallPrepareError {
    #[error("the plan has no step {0}")]
    NoStep(u32),
    #[error("plugin `{0}` is not here")]
    NoPlugin(String),
    #[error("plugin `{name}` cannot be loaded")]
    Load {
        name: String,
        #[source]
        cause: LoadError,
    },
    #[error("could not read plugin `{name}`")]
    Read {
        name: String,
        #[source]
        cause: std::io::Error,
    },
    #[error("the settings cannot be filled in on this host")]
    Places(#[from] PlaceError),
    #[error("the rollback points of this host cannot be opened")]
    Points(#[from] PointsError),
    #[error("{} was asked for before the phases it rests on", .0.name())]
    OutOfOrder(Phase),
}

/// One phase to call, with what the earlier phases of the step answered.
#[derive(Debug, Clone)]
pub struct PhaseCall {
    step: u32,
    phase: Phase,
    attempt: u32,
    point: Option<String>,
    looked: Option<Looked>,
    prepared: Option<Prepared>,
    outcome: Option<Outcome>,
    cancel: Cancel,
}

impl PhaseCall {
    pub fn of(run: &Run, step: u32, phase: Phase, attempt: u32, cancel: Cancel) -> Self {
        Self {
            step,
            phase,
            attempt,
            point: run.point().map(str::to_owned),
            looked: run.looked(step).cloned(),
            prepared: run.prepared(step).cloned(),
            outcome: run.outcome(step).cloned(),
            cancel,
        }
    }

    fn to_plugin(&self) -> Result<PluginCall, CallPrepareError> {
        let missing = || CallPrepareError::OutOfOrder(self.phase);
        let looked = || self.looked.clone().ok_or_else(missing);
        let prepared = || self.prepared.clone().ok_or_else(missing);
        Ok(match self.phase {
            Phase::Look => PluginCall::Look,
            Phase::Prepare => PluginCall::Prepare { looked: looked()? },
            Phase::Apply => PluginCall::Apply { looked: looked()?, prepared: prepared()? },
            Phase::Verify => PluginCall::Verify { outcome: self.outcome.clone().ok_or_else(missing)? },
            Phase::Undo => PluginCall::Undo { looked: looked()?, prepared: prepared()? },
        })
    }
}

/// Everything a phase needs of this host.
#[derive(Debug)]
pub struct Steps {
    host: Arc<Host>,
    sandbox: Sandbox,
    journal: Arc<Mutex<Journal>>,
    loaded: Mutex<BTreeMap<Digest, Plugin>>,
    outbox: OnceLock<Outbox>,
}

impl Steps {
    pub fn new(config: &Config, journal: Arc<Mutex<Journal>>) -> Result<Self, StepsError> {
        Ok(Self {
            host: Arc::new(Host::new(config)?),
            sandbox: Sandbox::new(&config.cache_path())?,
            journal,
            loaded: Mutex::new(BTreeMap::new()),
            outbox: OnceLock::new(),
        })
    }

    /// The host that steps act upon; its repository is opened once for all.
    pub fn host(&self) -> Arc<Host> {
        Arc::clone(&self.host)
    }

    /// Where progress goes once there is a link.
    pub fn report_to(&self, outbox: Outbox) {
        // A second link would be a second agent; the first stays.
        let _ = self.outbox.set(outbox);
    }

    /// Runs one phase on this thread.
    pub fn call(&self, plan: &Admitted, call: &PhaseCall) -> Answer {
        match self.try_call(plan, call, None) {
            Ok(answer) => answer,
            Err(error) => Answer::Failed(StepError {
                code: "agent/cannot-call".into(),
                message: in_full(&error),
                undo_advised: true,
            }),
        }
    }

    fn try_call(
        &self,
        plan: &Admitted,
        call: &PhaseCall,
        within: Option<Duration>,
    ) -> Result<Answer, CallPrepareError> {
        let step = plan.plan().steps.get(call.step as usize).ok_or(CallPrepareError::NoStep(call.step))?;
        match call.phase {
            Phase::Prepare => {
                if let Err(error) = self.before_change(plan, call) {
                    return Ok(Answer::Failed(error));
                }
            }
            Phase::Undo => self.mend_side_copies(plan, call),
            Phase::Look | Phase::Apply | Phase::Verify => {}
        }
        let plugin = self.plugin(plan, step)?;
        let invocation = self.invocation(plan, step, call)?;
        let plugin_call = call.to_plugin()?;
        let gate = Gate::new(self.gate_parts(plan, step, call)?);
        let limits = Limits {
            time: within.unwrap_or(Duration::from_millis(step.timeout.0)),
            cancel: call.cancel.clone(),
            ..Limits::default()
        };
        Ok(match plugin.call(&invocation, &plugin_call, gate, &limits) {
            Ok(answer) => answer_of(answer),
            Err(error) => Answer::Failed(fault_of(&error)),
        })
    }

    fn plugin(&self, plan: &Admitted, step: &plan::Step) -> Result<Plugin, CallPrepareError> {
        let name = step.uses.to_string();
        let pin = plan.plan().pin(&step.uses).ok_or_else(|| CallPrepareError::NoPlugin(name.clone()))?;
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plugin) = loaded.get(&pin.sha256) {
            return Ok(plugin.clone());
        }
        let path = self.host.config().plugins_path().join(format!("{}.wasm", pin.sha256));
        let bytes =
            std::fs::read(path).map_err(|cause| CallPrepareError::Read { name: name.clone(), cause })?;
        let plugin = self
            .sandbox
            .load(&pin.sha256, &bytes)
            .map_err(|cause| CallPrepareError::Load { name: name.clone(), cause })?
            .named(&name);
        loaded.insert(pin.sha256, plugin.clone());
        Ok(plugin)
    }

    fn invocation(
        &self,
        plan: &Admitted,
        step: &plan::Step,
        call: &PhaseCall,
    ) -> Result<Invocation, CallPrepareError> {
        let config = self.host.config();
        let undo_settings = match &step.undo {
            Undo::Settings(text) => Some(places::fill(text, config)?),
            Undo::ByPlugin | Undo::Nothing => None,
        };
        let mut facts = vec![
            ("hostname".to_owned(), config.host.to_string()),
            ("os".to_owned(), std::env::consts::OS.to_owned()),
            ("arch".to_owned(), std::env::consts::ARCH.to_owned()),
        ];
        facts.extend(config.labels.iter().map(|(name, value)| (format!("label.{name}"), value.clone())));
        Ok(Invocation {
            run_id: plan.id().to_string(),
            step: step.name.to_string(),
            host: config.host.to_string(),
            idempotency_key: format!("{}-{}-{}", plan.id().short(), call.step + 1, config.host),
            attempt: call.attempt,
            settings: places::fill(&step.settings, config)?,
            undo_settings,
            point: call.point.clone(),
            facts,
        })
    }

    fn gate_parts(
        &self,
        plan: &Admitted,
        step: &plan::Step,
        call: &PhaseCall,
    ) -> Result<GateParts, CallPrepareError> {
        let grants = self.grants_here(step)?;
        let points = match grants.iter().any(|grant| grant.power == "points") {
            true => Some(self.host.points()?),
            false => None,
        };
        let powers = Powers {
            files: self.files_of(plan, call.step),
            points,
            services: self.host.services().clone(),
            http: HttpClient::new(),
            outside: Arc::clone(self.host.outside()),
        };
        let recorder = recorder::JournalRecorder::new(Arc::clone(&self.journal), plan.id(), call.step);
        let sink = StepSink { outbox: self.outbox.get().cloned(), plan: plan.id(), step: call.step };
        Ok(GateParts {
            grants,
            policy: self.host.policy(),
            point: call.point.clone(),
            step: format!("{}-{}", plan.id().short(), call.step + 1),
            attempt: call.attempt,
            powers,
            recorder: Arc::new(recorder),
            sink: Arc::new(sink),
        })
    }

    /// The plan's grants with this host's own values put in.
    fn grants_here(&self, step: &plan::Step) -> Result<Vec<Grant>, PlaceError> {
        let config = self.host.config();
        step.grants
            .iter()
            .map(|grant| {
                let scopes = grant.scopes.iter().map(|scope| places::fill_text(scope, config));
                Ok(Grant { power: grant.power.clone(), scopes: scopes.collect::<Result<_, _>>()? })
            })
            .collect()
    }

    fn files_of(&self, plan: &Admitted, step: u32) -> Files {
        self.files_named(plan, &step.to_string())
    }

    fn files_named(&self, plan: &Admitted, step: &str) -> Files {
        Files::new(self.host.root().clone(), &plan.id().to_string(), step)
    }

    /// Removes what a step staged or kept aside.
    pub fn discard(&self, plan: &Admitted, step: u32) {
        let Some(signed) = plan.plan().steps.get(step as usize) else { return };
        let Ok(grants) = self.grants_here(signed) else { return };
        let files = self.files_of(plan, step);
        let paths = grants.iter().filter(|grant| grant.power == "files").flat_map(|grant| &grant.scopes);
        for path in paths {
            let discarded = HostPath::parse(path).and_then(|path| files.discard(&path));
            if let Err(error) = discarded {
                tracing::warn!(%error, path, "a side copy stays behind");
            }
        }
    }

    /// Removes what all steps of a closed run kept for undo, and gives back the
    /// points it had in use.
    pub fn sweep(&self, plan: &Admitted) {
        (0..plan.plan().steps.len()).for_each(|step| self.discard(plan, step as u32));
        self.host.root().known().forget();
        let given_back = self.host.leases().and_then(|leases| leases.give_back(plan.id()));
        if let Err(error) = given_back {
            tracing::warn!(error = in_full(&error), "points stay in use");
        }
    }

    /// Gives back points in use by runs that are not among these.
    pub fn give_back_but(&self, open: &BTreeSet<PlanId>) {
        let given_back = self.host.leases().and_then(|leases| leases.give_back_but(open));
        if let Err(error) = given_back {
            tracing::warn!(error = in_full(&error), "points stay in use");
        }
    }

    /// Whether what only observes still says that the host is well.
    pub fn look_again(&self, plan: &Admitted, run: &Run, cancel: &Cancel) -> Result<(), String> {
        let steps = plan.plan().steps.iter().enumerate();
        for (at, step) in steps.filter(|(_, step)| step.class == Class::Observe) {
            let call = PhaseCall::of(run, at as u32, Phase::Verify, 1, cancel.clone());
            if call.outcome.is_none() {
                continue;
            }
            match self.try_call(plan, &call, Some(LOOK_AGAIN_WITHIN)) {
                Ok(Answer::Verified(checks)) => {
                    if let Some(bad) = checks.iter().find(|check| check.verdict != Verdict::Pass) {
                        return Err(format!("{}: {}: {}", step.name, bad.name, bad.message));
                    }
                }
                Ok(Answer::Failed(error)) => return Err(format!("{}: {}", step.name, error.message)),
                Ok(_) => return Err(format!("{}: an answer to another question", step.name)),
                Err(error) => return Err(format!("{}: {}", step.name, in_full(&error))),
            }
        }
        Ok(())
    }
}

fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

fn answer_of(answer: PluginAnswer) -> Answer {
    let failed = |error: crate::capabilities::HostError, undo_advised| {
        Answer::Failed(StepError { code: error.code, message: error.message, undo_advised })
    };
    match answer {
        PluginAnswer::Look(Ok(looked)) => Answer::Looked(looked),
        PluginAnswer::Prepare(Ok(prepared)) => Answer::Prepared(prepared),
        PluginAnswer::Apply(Ok(outcome)) => Answer::Applied(outcome),
        PluginAnswer::Verify(Ok(checks)) => Answer::Verified(checks),
        PluginAnswer::Undo(Ok(outcome)) => Answer::Undone(outcome),
        PluginAnswer::Look(Err(error))
        | PluginAnswer::Prepare(Err(error))
        | PluginAnswer::Verify(Err(error)) => failed(error, true),
        PluginAnswer::Apply(Err(failure)) | PluginAnswer::Undo(Err(failure)) => {
            failed(failure.error, failure.undo_advised)
        }
    }
}

fn fault_of(error: &CallError) -> StepError {
    let code = match error.fault {
        Fault::Trapped { .. } => "sandbox/trapped",
        Fault::DeadlinePassed { .. } => "sandbox/deadline",
        Fault::Cancelled => "sandbox/cancelled",
        Fault::MemoryOverrun { .. } => "sandbox/memory",
        Fault::OutputOverrun { .. } => "sandbox/output",
        Fault::NotStarted { .. } => "sandbox/not-started",
    };
    let mut message = error.to_string();
    if let Some(call) = &error.last_call {
        message = format!("{message}; last call {call}");
    }
    if !error.stderr_tail.is_empty() {
        let tail: Vec<&str> = error.stderr_tail.lines().rev().take(3).collect();
        message = format!("{message}; it said: {}", tail.into_iter().rev().collect::<Vec<_>>().join(" / "));
    }
    StepError { code: code.into(), message, undo_advised: true }
}

/// Where a plugin's lines and progress go.
struct StepSink {
    outbox: Option<Outbox>,
    plan: PlanId,
    step: u32,
}

impl Sink for StepSink {
    fn line(&self, level: Level, line: &str) {
        let (plan, step) = (self.plan.short(), self.step + 1);
        match level {
            Level::Debug => tracing::debug!(plan, step, "{line}"),
            Level::Info => tracing::info!(plan, step, "{line}"),
            Level::Warn => tracing::warn!(plan, step, "{line}"),
            Level::Error => tracing::error!(plan, step, "{line}"),
        }
    }

    fn progress(&self, progress: &Progress) {
        if let Some(outbox) = &self.outbox {
            outbox.say(FromAgent::Tick {
                plan: self.plan,
                step: self.step,
                stage: progress.stage.clone(),
                done: progress.done,
                total: progress.total,
                unit: progress.unit.clone(),
            });
        }
    }
}
