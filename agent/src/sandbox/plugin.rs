//! One loaded plugin, and the calls into it. Every call gets an instance of
//! its own, which is dropped when the call ends, however it ends.

use std::time::{Duration, Instant};

use sternway_core::manifest::{Class, Manifest, Mode, PowerAsk, Reversibility};
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Store, Trap, UpdateDeadline};
use wasmtime_wasi::WasiCtx;

use super::bindings::contract::sternway::step::types as step;
use super::bindings::contract::{Step, StepPre};
use super::bindings::{Context, translate};
use super::limits::{ANSWER_BYTES_MAX, HANDED_OVER_BYTES_MAX, HANDLES_MAX, Limits, Meter};
use super::output::Tail;
use super::types::{Answer, CallError, Fault, Invocation, PhaseCall};
use crate::gate::{Gate, Phase};

const DESCRIBE_TIME: Duration = Duration::from_secs(5);
const RANDOM_BYTES_MAX: u64 = 64 * 1024;

/// Why a plugin's own description cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// It did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Its name is none.
    #[error("the plugin's name cannot be used")]
    Name(#[source] sternway_core::ids::NameError),
    /// Its schema is no JSON.
    #[error("the settings schema of the plugin is not JSON")]
    Schema(#[source] serde_json::Error),
}

/// The interrupt for a call whose time is up.
#[derive(Debug, thiserror::Error)]
#[error("the time is up")]
struct TimeUp;

/// The interrupt for a call that did not end within the grace.
#[derive(Debug, thiserror::Error)]
#[error("the grace is over")]
struct GraceOver;

/// A component that was checked and compiled. Cheap to clone.
#[derive(Clone)]
pub struct Plugin {
    pub(super) engine: Engine,
    pub(super) ready: StepPre<Context>,
    pub(super) name: String,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Plugin").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Plugin {
    /// As reports name it.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// What the plugin says of itself, with no power at all.
    ///
    /// # Errors
    /// It does not answer, or its answer makes no sense.
    pub fn describe(&self) -> Result<Manifest, DescribeError> {
        let limits = Limits { time: DESCRIBE_TIME, ..Limits::default() };
        let described = self.run(Phase::Describe, None, &limits, |instance, store| {
            instance.sternway_step_lifecycle().call_describe(store)
        })?;
        manifest(described)
    }

    /// Runs one phase on this thread, which waits as long as the phase does.
    /// The gate is entered here and dropped at the end.
    ///
    /// # Errors
    /// The plugin ended without an answer; what it did before is journalled.
    pub fn call(
        &self,
        invocation: &Invocation,
        call: &PhaseCall,
        mut gate: Gate,
        limits: &Limits,
    ) -> Result<Answer, CallError> {
        let phase = call.phase();
        gate.enter(phase, Instant::now() + limits.time, limits.cancel.clone());
        let on = translate::invocation(invocation);
        let answer = self.run(phase, Some(gate), limits, |instance, store| {
            let guest = instance.sternway_step_lifecycle();
            Ok(match call {
                PhaseCall::Look => Answer::Look(
                    guest.call_look(store, &on)?.map(translate::looked_in).map_err(translate::error),
                ),
                PhaseCall::Prepare { looked } => Answer::Prepare(
                    guest
                        .call_prepare(store, &on, &translate::looked_out(looked))?
                        .map(translate::prepared_in)
                        .map_err(translate::error),
                ),
                PhaseCall::Apply { looked, prepared } => {
                    let (looked, prepared) =
                        (translate::looked_out(looked), translate::prepared_out(prepared));
                    Answer::Apply(
                        guest
                            .call_apply(store, &on, &looked, &prepared)?
                            .map(translate::outcome_in)
                            .map_err(translate::failure),
                    )
                }
                PhaseCall::Verify { outcome } => Answer::Verify(
                    guest
                        .call_verify(store, &on, &translate::outcome_out(outcome))?
                        .map(|checks| checks.into_iter().map(translate::verification).collect())
                        .map_err(translate::error),
                ),
                PhaseCall::Undo { looked, prepared } => {
                    let (looked, prepared) =
                        (translate::looked_out(looked), translate::prepared_out(prepared));
                    Answer::Undo(
                        guest
                            .call_undo(store, &on, &looked, &prepared)?
                            .map(translate::outcome_in)
                            .map_err(translate::failure),
                    )
                }
            })
        })?;
        self.check_size(phase, answer)
    }

    fn run<T>(
        &self,
        phase: Phase,
        gate: Option<Gate>,
        limits: &Limits,
        call: impl FnOnce(&Step, &mut Store<Context>) -> wasmtime::Result<T>,
    ) -> Result<T, CallError> {
        let (stdout, stderr) = (Tail::default(), Tail::default());
        let wasi = WasiCtx::builder()
            .stdout(stdout)
            .stderr(stderr.clone())
            .max_random_size(RANDOM_BYTES_MAX)
            .build();
        let context = Context {
            wasi,
            table: table(),
            meter: Meter::new(limits.memory_bytes_max),
            gate,
            memory_bytes_max: limits.memory_bytes_max,
            lines: 0,
        };
        let mut store = Store::new(&self.engine, context);
        store.limiter(|context| &mut context.meter);
        store.set_hostcall_fuel(HANDED_OVER_BYTES_MAX);
        store.set_max_component_handles(HANDLES_MAX);
        // Before the instance is made: its start functions are the plugin's, too.
        watch(&mut store, limits);
        let answered = match self.ready.instantiate(&mut store) {
            Ok(instance) => call(&instance, &mut store),
            Err(error) => Err(error),
        };
        answered.map_err(|error| CallError {
            plugin: self.name.clone(),
            phase,
            fault: fault(&error, &store, limits),
            last_call: store.data().gate.as_ref().and_then(Gate::last_call).map(str::to_owned),
            stderr_tail: stderr.text(),
        })
    }

    fn check_size(&self, phase: Phase, answer: Answer) -> Result<Answer, CallError> {
        if answer_bytes(&answer) <= ANSWER_BYTES_MAX {
            return Ok(answer);
        }
        Err(CallError {
            plugin: self.name.clone(),
            phase,
            fault: Fault::OutputOverrun { limit_bytes: ANSWER_BYTES_MAX as u64 },
            last_call: None,
            stderr_tail: String::new(),
        })
    }
}

fn table() -> ResourceTable {
    let mut table = ResourceTable::new();
    table.set_max_capacity(HANDLES_MAX);
    table
}

/// Compares clocks rather than counting ticks, which come late under load.
fn watch(store: &mut Store<Context>, limits: &Limits) {
    let deadline = Instant::now() + limits.time;
    let (cancel, grace) = (limits.cancel.clone(), limits.grace);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| {
        if Instant::now() >= deadline {
            return Err(wasmtime::Error::new(TimeUp));
        }
        if cancel.cancelled_for().is_some_and(|since| since >= grace) {
            return Err(wasmtime::Error::new(GraceOver));
        }
        Ok(UpdateDeadline::Continue(1))
    });
}

fn fault(error: &wasmtime::Error, store: &Store<Context>, limits: &Limits) -> Fault {
    if error.is::<TimeUp>() {
        return Fault::DeadlinePassed { limit_ms: limits.time.as_millis().try_into().unwrap_or(u64::MAX) };
    }
    if error.is::<GraceOver>() {
        return Fault::Cancelled;
    }
    if store.data().meter.overrun {
        return Fault::MemoryOverrun { limit_bytes: limits.memory_bytes_max };
    }
    let reason = error.root_cause().to_string();
    // The engine's type for it is private; a test holds the words to it.
    if reason.contains("fuel allocated for hostcalls") {
        return Fault::OutputOverrun { limit_bytes: HANDED_OVER_BYTES_MAX as u64 };
    }
    match error.downcast_ref::<Trap>() {
        Some(trap) => Fault::Trapped { reason: trap.to_string() },
        None => Fault::Trapped { reason },
    }
}

fn answer_bytes(answer: &Answer) -> usize {
    let mut counted = Counter(0);
    ciborium::into_writer(answer, &mut counted).expect("counting cannot fail");
    counted.0
}

struct Counter(usize);

impl std::io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn manifest(of: step::Manifest) -> Result<Manifest, DescribeError> {
    let modes = of.modes.into_iter().map(|mode| Mode {
        setting: mode.setting,
        class: match mode.class {
            step::Class::Observe => Class::Observe,
            step::Class::Converge => Class::Converge,
            step::Class::StagedSwap => Class::StagedSwap,
            step::Class::Probe => Class::Probe,
            step::Class::Keyed => Class::Keyed,
            step::Class::OneShot => Class::OneShot,
        },
        reversibility: match mode.reversibility {
            step::Reversibility::Reversible => Reversibility::Reversible,
            step::Reversibility::Compensatable => Reversibility::Compensatable,
            step::Reversibility::Irreversible => Reversibility::Irreversible,
        },
        summary: mode.summary,
    });
    let powers = of.powers.into_iter().map(|power| PowerAsk {
        name: power.name,
        scope_from: power.scope_from,
        reason: power.reason,
    });
    Ok(Manifest {
        name: of.name.parse().map_err(DescribeError::Name)?,
        version: of.version,
        summary: of.summary,
        settings_schema: serde_json::from_str(&of.settings_schema).map_err(DescribeError::Schema)?,
        modes: modes.collect(),
        powers: powers.collect(),
        default_timeout_ms: of.default_timeout_ms,
    })
}
