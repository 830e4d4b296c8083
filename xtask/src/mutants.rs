//! Known mistakes, one after the other, built into the machines: the simulator
//! must find each, or it has stopped looking.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::{Done, cargo, root};

/// The features by which mistakes are built in, as the simulator's manifest names them.
fn mutants() -> Result<Vec<String>, String> {
    let path = root().join("tests/simulation/Cargo.toml");
    let text = std::fs::read_to_string(&path).map_err(|cause| format!("{}: {cause}", path.display()))?;
    let names = text.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    Ok(names.filter(|name| name.starts_with("mutant-")).map(str::to_owned).collect())
}

/// `save`: a folder for the shrunk schedules that show them.
pub(crate) fn run(words: &[String]) -> Done {
    let (wanted, save) = match words {
        [flag, folder, wanted @ ..] if flag == "--save" => (wanted, Some(folder)),
        wanted => (wanted, None),
    };
    let all = mutants()?;
    if let Some(odd) = wanted.iter().find(|name| !all.contains(name)) {
        return Err(format!("`{odd}` is no mutant; there are {}", all.join(", ")));
    }
    let chosen: Vec<String> =
        all.into_iter().filter(|name| wanted.is_empty() || wanted.contains(name)).collect();
    let mut found: BTreeMap<String, Result<String, String>> = BTreeMap::new();
    for mutant in &chosen {
        let began = Instant::now();
        let outcome = find(mutant, save.map(String::as_str));
        let verdict = outcome.as_deref().unwrap_or("NOT FOUND");
        println!("{mutant}: {verdict} ({} s)", began.elapsed().as_secs());
        found.insert(mutant.clone(), outcome);
    }
    println!("\n{:<34} {:>5}  invariant", "mutant", "seed");
    for (mutant, outcome) in &found {
        let (seed, invariant) =
            outcome.as_deref().ok().and_then(|text| text.split_once(' ')).unwrap_or(("-", "NOT FOUND"));
        println!("{mutant:<34} {seed:>5}  {invariant}");
    }
    let missed: Vec<&str> =
        found.iter().filter(|(_, outcome)| outcome.is_err()).map(|(name, _)| name.as_str()).collect();
    match found.iter().find_map(|(_, outcome)| outcome.as_ref().err()) {
        Some(reason) => Err(format!("the simulator does not find {}\n{reason}", missed.join(", "))),
        None => Ok(()),
    }
}

/// Seed and invariant.
fn find(mutant: &str, save: Option<&str>) -> Result<String, String> {
    let mut test = cargo();
    // The machines' own assertions are left out: something else than the mistaken machine must see it.
    // Each is built once and runs for a moment: what builds fastest is best.
    test.args(["test", "--locked", "--quiet", "--package", "sternway-simulation", "--test", "simulation"])
        .args(["--config", "profile.dev.package.sternway-core.debug-assertions=false"])
        .args(["--config", "profile.dev.package.sternway-core.opt-level=0"])
        .args(["--config", "profile.dev.package.sternway-simulation.opt-level=0"])
        .env("CARGO_INCREMENTAL", "0")
        .args(["--features", mutant, "a_known_mistake_is_found", "--", "--nocapture"])
        .env("STERNWAY_MUTANT", mutant)
        .env_remove("STERNWAY_SCHEDULE_OUT");
    if let Some(folder) = save {
        test.env("STERNWAY_SCHEDULE_OUT", root().join(folder).join(format!("{mutant}.json")));
    }
    let output = test.output().map_err(|cause| format!("could not start cargo: {cause}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.split_once(&format!("found {mutant} seed ")));
    let words: Vec<&str> = line.map(|(_, rest)| rest.split(' ').collect()).unwrap_or_default();
    match (output.status.success(), words.as_slice()) {
        (true, [seed, "invariant", invariant, ..]) => Ok(format!("{seed} {invariant}")),
        _ => Err(format!("{text}\n{}", String::from_utf8_lossy(&output.stderr))),
    }
}
