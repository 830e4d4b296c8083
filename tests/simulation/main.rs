//! Simulated fleets: a seed makes a schedule of a fleet and its troubles; first
//! the faults rage and only safety is asked for, then they stop and everything
//! must come to rest. How to run more, one, or one again: docs/testing.md.

#![expect(clippy::print_stdout, reason = "a schedule that is run alone says how it went")]

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sternway_core::rollout::{End, State};
use sternway_simulation::schedule::Schedule;
use sternway_simulation::shrink::shrink;
use sternway_simulation::survive::{Broken, Survived, survive, survive_traced};

/// The same for ever.
const FIXED: u64 = 200;
/// And these, which each commit has of its own.
const FRESH: u64 = 400;
/// A known mistake must be found within so many.
const MUTANT_WITHIN: u64 = 500;
const SHRINK_FOR: Duration = Duration::from_secs(40);

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a whole number"))
}

/// Where seeds of this commit's own begin: away from the fixed ones.
fn base() -> u64 {
    let text = std::env::var("STERNWAY_SEED_BASE").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(10).collect();
    u64::from_str_radix(&digits, 16).unwrap_or(0) + FIXED
}

fn seeds() -> Vec<u64> {
    if let Some(seed) = number("STERNWAY_SEED") {
        return vec![seed];
    }
    let fresh = number("STERNWAY_SEEDS").unwrap_or(FRESH);
    (0..FIXED).chain(base()..base() + fresh).collect()
}

/// Runs all on as many threads as there are; the earliest that breaks, or how each ended.
fn survive_all(seeds: &[u64]) -> Result<Vec<Survived>, (u64, Broken)> {
    let next = AtomicU64::new(0);
    let broken: Mutex<Option<(usize, Broken)>> = Mutex::new(None);
    let survived = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).expect("few seeds");
                    let is_over = broken
                        .lock()
                        .expect("no thread panics while it holds it")
                        .as_ref()
                        .is_some_and(|(first, _)| *first < at);
                    let Some(seed) = seeds.get(at).filter(|_| !is_over) else { return };
                    match survive(&Schedule::of_seed(*seed)) {
                        Ok(one) => survived.lock().expect("no thread panics while it holds it").push(one),
                        Err(how) => {
                            let mut broken = broken.lock().expect("no thread panics while it holds it");
                            if broken.as_ref().is_none_or(|(first, _)| at < *first) {
                                *broken = Some((at, how));
                            }
                        }
                    }
                }
            });
        }
    });
    match broken.into_inner().expect("no thread panics while it holds it") {
        Some((at, how)) => Err((seeds[at], how)),
        None => Ok(survived.into_inner().expect("no thread panics while it holds it")),
    }
}

/// Makes it small, writes it down, and says how to see it again.
fn report(schedule: &Schedule, broken: &Broken) -> String {
    let out = std::env::var_os("STERNWAY_SCHEDULE_OUT").map_or_else(
        || Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("schedule-{}.json", schedule.seed)),
        PathBuf::from,
    );
    let mut small = shrink(schedule, &broken.invariant, SHRINK_FOR);
    small.about = format!("{}, shrunk: breaks `{}`", schedule.about, broken.invariant);
    let last = survive(&small).err().unwrap_or_else(|| broken.clone());
    let entries = last.entries.join("\n");
    let kept = match small.save(&out) {
        Ok(()) => format!(
            "{} faults of {} are enough; again:\n  STERNWAY_SCHEDULE={} cargo test -p sternway-simulation one_schedule -- --nocapture",
            small.faults.len(),
            schedule.faults.len(),
            out.display()
        ),
        Err(reason) => format!("the schedule could not be written: {reason}"),
    };
    format!(
        "entries:\n{entries}\n\n{} breaks `{}`: {}\nshrunk: {}\n{kept}\n",
        schedule.about, broken.invariant, broken.how, last.how
    )
}

fn saved() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schedules");
    let entries = std::fs::read_dir(&folder).expect("there are saved schedules");
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("the folder is readable").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    paths.sort();
    paths
}

#[test]
fn no_seed_breaks_an_invariant_and_every_rollout_comes_to_rest() {
    if std::env::var_os("STERNWAY_MUTANT").is_some() {
        // This build is wrong on purpose: see below.
        return;
    }
    let seeds = seeds();
    let survived = match survive_all(&seeds) {
        Ok(survived) => survived,
        Err((seed, broken)) => panic!("{}", report(&Schedule::of_seed(seed), &broken)),
    };
    // A simulation that never gets anywhere would find nothing either.
    for end in [End::Done, End::DoneWithExceptions, End::UndoneAll, End::UndoneWithExceptions] {
        let reached = survived.iter().flat_map(|one| &one.ends).any(|state| *state == State::Ended(end));
        assert!(reached || seeds.len() < FIXED as usize, "no seed ended in {end:?}");
    }
}

/// Turned round for `cargo xtask mutants`: built with a known mistake, this must find it.
#[test]
fn a_known_mistake_is_found() {
    let Some(mutant) = std::env::var_os("STERNWAY_MUTANT") else { return };
    let mutant = mutant.to_string_lossy();
    let seeds: Vec<u64> = (0..MUTANT_WITHIN).collect();
    let Err((seed, broken)) = survive_all(&seeds) else { panic!("{mutant} survives {MUTANT_WITHIN} seeds") };
    println!("found {mutant} seed {seed} invariant {} how {}", broken.invariant, broken.how);
    if let Some(out) = std::env::var_os("STERNWAY_SCHEDULE_OUT") {
        let mut small = shrink(&Schedule::of_seed(seed), &broken.invariant, SHRINK_FOR);
        small.about = format!("shows {mutant}, which breaks `{}`; from seed {seed}", broken.invariant);
        small.save(Path::new(&out)).expect("the schedule can be written");
    }
}

#[test]
fn every_saved_schedule_is_survived() {
    if std::env::var_os("STERNWAY_MUTANT").is_some() {
        return;
    }
    for path in saved() {
        let schedule = Schedule::load(&path).expect("a saved schedule can be read");
        if let Err(broken) = survive(&schedule) {
            panic!(
                "{}: breaks `{}`: {}\n{}",
                path.display(),
                broken.invariant,
                broken.how,
                broken.entries.join("\n")
            );
        }
    }
}

/// The one that `STERNWAY_SCHEDULE` names, or else the first that was saved.
#[test]
fn one_schedule() {
    let named = std::env::var_os("STERNWAY_SCHEDULE").map(PathBuf::from);
    let Some(path) = named.or_else(|| saved().into_iter().next()) else { panic!("there is no schedule") };
    let schedule = Schedule::load(&path).expect("the schedule can be read");
    match survive_traced(&schedule) {
        Ok(survived) => println!("{}: {} survives: {survived:?}", path.display(), schedule.about),
        Err(_) if std::env::var_os("STERNWAY_MUTANT").is_some() => {}
        Err(broken) => panic!(
            "entries:\n{}\n\n{}: `{}` is broken: {}",
            broken.entries.join("\n"),
            path.display(),
            broken.invariant,
            broken.how
        ),
    }
}

#[test]
fn without_faults_every_rollout_is_done() {
    for seed in 0..20 {
        let survived = survive(&Schedule::of_seed(seed).calm()).expect("nothing goes wrong");
        let done = State::Ended(End::Done);
        assert!(survived.ends.iter().all(|end| *end == done), "seed {seed}: {:?}", survived.ends);
    }
}

#[test]
fn the_same_schedule_gives_the_same_history() {
    for seed in (0..FIXED).step_by(40) {
        let history = || survive_traced(&Schedule::of_seed(seed));
        assert_eq!(history(), history(), "seed {seed}");
    }
}

#[test]
fn a_schedule_is_what_its_file_says() {
    for seed in 0..20 {
        let schedule = Schedule::of_seed(seed);
        let text = serde_json::to_string(&schedule).expect("plain data");
        assert_eq!(serde_json::from_str::<Schedule>(&text).expect("as it was written"), schedule);
    }
}
