//! Simulated fleets: a seed makes a plan, a fleet and its troubles; first the
//! faults rage and only safety is asked for, then they stop and everything must
//! come to rest. `STERNWAY_SEEDS=5000` runs more, `STERNWAY_SEED=17` only one.

mod invariants;

use sternway_core::rollout::{End, State};
use sternway_core::time::Millis;
use sternway_tests::sim::{Chance, Faults, SimFleet, Swarm};

const SEEDS: u64 = 200;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a whole number"))
}

/// Runs one history under every invariant; a broken one fails with its entries.
fn survive(mut fleet: SimFleet) -> State {
    let mut invariants = invariants::all(&fleet.given());
    let outcome = fleet.run(|seen| invariants.iter_mut().try_for_each(|invariant| invariant.observe(seen)));
    if let Err(broken) = outcome {
        let entries: Vec<String> = fleet
            .entries()
            .iter()
            .map(|entry| serde_json::to_string(entry).expect("entries are plain data"))
            .collect();
        panic!("seed {}: {broken}\nentries:\n{}\n(seed {})", fleet.seed(), entries.join("\n"), fleet.seed());
    }
    fleet.status().state
}

#[test]
fn no_seed_breaks_an_invariant_and_every_rollout_comes_to_rest() {
    if let Some(seed) = number("STERNWAY_SEED") {
        survive(SimFleet::of_seed(seed));
        return;
    }
    let seeds = number("STERNWAY_SEEDS").unwrap_or(SEEDS);
    let mut ends: Vec<State> = Vec::new();
    for seed in 0..seeds {
        let end = survive(SimFleet::of_seed(seed));
        if !ends.contains(&end) {
            ends.push(end);
        }
    }
    // A simulation that never gets anywhere would find nothing either.
    for end in [End::Done, End::DoneWithExceptions, End::UndoneAll] {
        assert!(seeds < SEEDS || ends.contains(&State::Ended(end)), "no seed ended in {end:?}");
    }
}

#[test]
fn without_faults_every_rollout_is_done() {
    for seed in 0..20 {
        let mut swarm = Swarm::of_seed(seed);
        swarm.faults = Faults::default();
        swarm.trouble = Millis::ZERO;
        assert_eq!(survive(SimFleet::new(seed, swarm)), State::Ended(End::Done), "seed {seed}");
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in [3, 14, 15] {
        let history = || {
            let mut fleet = SimFleet::of_seed(seed);
            let mut seen = Vec::new();
            let outcome: Result<(), String> = fleet.run(|one| {
                seen.push(format!("{one:?}"));
                Ok(())
            });
            assert_eq!(outcome, Ok(()));
            seen
        };
        assert_eq!(history(), history(), "seed {seed}");
    }
}

#[test]
fn a_seed_and_a_stream_give_the_same_draws_again() {
    let draws = |seed, stream| {
        let mut chance = Chance::new(seed, stream);
        [chance.draw(), chance.draw(), chance.draw()]
    };
    assert_eq!(draws(7, "links"), draws(7, "links"));
    assert_ne!(draws(7, "links"), draws(8, "links"));
    assert_ne!(draws(7, "links"), draws(7, "people"));
}
