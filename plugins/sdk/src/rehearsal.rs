//! A host made of maps, for tests of whole plugins without wasm: it dies at
//! any call one likes. A plugin's phases call it through [`crate::host`] as
//! they call the agent when they run as a component.

pub mod forms;
pub mod host;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::bindings::exports::sternway::step::lifecycle::Guest;
use crate::bindings::sternway::step::types as wire;
use crate::{Error, Failure, Invocation, Plugin};

use host::in_phase;
pub use world::{Model, Phase, Service, UnitModel, World};

/// What a call throws where the agent is to die.
#[derive(Debug, Clone, Copy)]
struct Killed;

/// How far a run is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// `look`, `prepare`, `apply`, `verify`.
    Applied,
    /// The same, and then `undo`.
    Undone,
    /// As `Applied`, but after a kill there is no second try: `undo` at once.
    GivenUp,
}

/// The agent's own notes: what each finished phase answered.
#[derive(Debug, Clone, Default)]
struct Notes {
    looked: Option<wire::Looked>,
    prepared: Option<wire::Prepared>,
    applied: bool,
    undone: bool,
}

/// Runs plugin `P` on `world`, killed at each of its host calls in turn, before
/// and after its effect, and taken up again from the phase that did not end.
/// Each of those worlds has to end as the undisturbed one does, and an undone
/// one as it began, also when it is undone right after the kill. Answers how many kills were tried.
///
/// # Panics
/// With the call after which the plugin ended otherwise.
pub fn crash_matrix<P: Plugin>(world: &World, settings: &str, undo: Option<&str>) -> usize {
    let mut tried = 0;
    for goal in [Goal::Applied, Goal::Undone] {
        let clean = run::<P>(world.clone(), settings, undo, goal, None);
        if goal == Goal::Undone {
            assert_eq!(clean.content(), world.content(), "undo does not restore what was");
        }
        for call in 0..clean.calls {
            for after in [false, true] {
                let ended = run::<P>(world.clone(), settings, undo, goal, Some((call, after)));
                let when = if after { "after" } else { "before" };
                assert_eq!(
                    ended.content(),
                    clean.content(),
                    "killed {when} call {call} ({}) on the way to {goal:?}",
                    clean.log[call]
                );
                tried += 1;
            }
        }
    }
    let calls = run::<P>(world.clone(), settings, undo, Goal::Applied, None).calls;
    for kill in (0..calls).flat_map(|call| [(call, false), (call, true)]) {
        let ended = run::<P>(world.clone(), settings, undo, Goal::GivenUp, Some(kill));
        assert_eq!(ended.content(), world.content(), "given up when killed at {kill:?} of {:?}", ended.log);
        tried += 1;
    }
    tried
}

/// Runs plugin `P` as an agent does, and answers the world it leaves.
///
/// # Panics
/// When a phase fails.
pub fn run<P: Plugin>(
    world: World,
    settings: &str,
    undo: Option<&str>,
    goal: Goal,
    kill: Option<(usize, bool)>,
) -> World {
    match try_run::<P>(World { kill, ..world }, settings, undo, goal) {
        (world, Ok(())) => world,
        (world, Err(failure)) => {
            panic!("{}: {} after {:?}", failure.error.code, failure.error.message, world.log)
        }
    }
}

/// Runs plugin `P` as an agent does; answers the world it leaves, and the
/// failure it ended with.
pub fn try_run<P: Plugin>(
    world: World,
    settings: &str,
    undo: Option<&str>,
    goal: Goal,
) -> (World, Result<(), Failure>) {
    host::enter(world);
    let mut notes = Notes::default();
    let mut attempt = 1;
    loop {
        let on = invocation(settings, undo, attempt);
        match catch_unwind(AssertUnwindSafe(|| phases::<P>(&on, &mut notes, goal))) {
            Ok(ended) => return (host::leave(), ended),
            Err(thrown) if thrown.is::<Killed>() => attempt += 1,
            Err(thrown) => resume_unwind(thrown),
        }
    }
}

/// `undo` of plugin `P` on a world that an earlier run left, with the state
/// `prepare` answered then.
pub fn undo_alone<P: Plugin>(
    world: World,
    settings: &str,
    prepared: &impl serde::Serialize,
) -> Result<(), Failure> {
    host::enter(world);
    let state = crate::guest::encode(prepared)?;
    let looked = wire::Looked { findings: vec![], actions: vec![], state: state.clone() };
    let prepared = wire::Prepared { summary: String::new(), state };
    let ended =
        in_phase(Phase::Changing, <P as Guest>::undo)(invocation(settings, None, 1), looked, prepared)
            .map(|_| ());
    host::leave();
    ended
}

fn phases<P: Plugin>(on: &Invocation, notes: &mut Notes, goal: Goal) -> Result<(), Failure> {
    if goal == Goal::GivenUp && on.attempt > 1 && notes.prepared.is_none() {
        return Ok(());
    }
    if notes.looked.is_none() {
        let looked = in_phase(Phase::Reading, <P as Guest>::look)(on.clone())?;
        if let Some(finding) = looked.findings.iter().find(|finding| finding.blocking) {
            return Err(Error::invalid(&finding.code, &finding.message).into());
        }
        notes.looked = Some(looked);
    }
    let looked = notes.looked.clone().expect("looked above");
    if notes.prepared.is_none() {
        notes.prepared = Some(in_phase(Phase::Staging, <P as Guest>::prepare)(on.clone(), looked.clone())?);
    }
    let prepared = notes.prepared.clone().expect("prepared above");
    if goal == Goal::GivenUp && on.attempt > 1 {
        return in_phase(Phase::Changing, <P as Guest>::undo)(on.clone(), looked, prepared).map(|_| ());
    }
    if !notes.applied {
        host::disturb(|world| &mut world.meddles);
        let outcome =
            in_phase(Phase::Changing, <P as Guest>::apply)(on.clone(), looked.clone(), prepared.clone())?;
        for proof in in_phase(Phase::Reading, <P as Guest>::verify)(on.clone(), outcome)? {
            assert_eq!(proof.verdict, wire::Verdict::Pass, "{proof:?}");
        }
        notes.applied = true;
        // Programs run again and write: undo has to bear that.
        host::disturb(|world| &mut world.writes);
    }
    if goal == Goal::Undone && !notes.undone {
        in_phase(Phase::Changing, <P as Guest>::undo)(on.clone(), looked, prepared)?;
        notes.undone = true;
    }
    Ok(())
}

fn invocation(settings: &str, undo: Option<&str>, attempt: u32) -> Invocation {
    Invocation {
        run_id: "run-1".to_owned(),
        step: "step".to_owned(),
        host: "host".to_owned(),
        idempotency_key: "run-1/step".to_owned(),
        attempt,
        settings: settings.to_owned(),
        undo_settings: undo.map(str::to_owned),
        point: Some("point".to_owned()),
        facts: vec![],
    }
}

fn kill() -> ! {
    resume_unwind(Box::new(Killed))
}
