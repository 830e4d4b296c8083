//! The real link over a network that loses, delays, cuts and repeats, replayed
//! exactly.
//!
//! Real: QUIC and TLS, the agent's link and journal, the coordinator's endpoint,
//! sessions, driver and database. Simulated: datagrams and time (`turmoil`), and
//! what the steps do on a host, which is nothing. A night is made of a seed; each
//! runs in a process of its own, since randomness and hash keys belong to one.
//!
//! `STERNWAY_SEEDS=3000` tries more nights, `STERNWAY_SEED=17` one, with its trace.

mod books;
mod host;
mod night;
mod randomness;
mod site;
mod socket;

use std::process::{Command, Stdio};

use night::{Trouble, live_through};

const NIGHTS: u64 = 60;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a whole number"))
}

/// This program again, for one night only.
fn start(seed: u64) -> std::process::Child {
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(program);
    command.args(["--exact", "a_night_of_its_own", "--nocapture", "--test-threads=1"]);
    command.env("STERNWAY_NIGHT", seed.to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts again")
}

/// The line with the trace's hash, or everything it said.
fn end(night: std::process::Child) -> Result<String, String> {
    let output = night.wait_with_output().expect("it ends");
    let (said, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let line = said.lines().find_map(|line| line.split_once("night: ")).map(|(_, line)| line.to_owned());
    match (output.status.success(), line) {
        (true, Some(line)) => Ok(line),
        _ => Err(format!("{said}\n{failed}")),
    }
}

/// Run by the others, with a seed in `STERNWAY_NIGHT`; without one, an untroubled night.
#[test]
fn a_night_of_its_own() {
    let seed = number("STERNWAY_NIGHT").unwrap_or(0);
    match live_through(seed, Trouble::of_seed(seed)) {
        Ok(outcome) => {
            if std::env::var_os("STERNWAY_SEED").is_some() {
                println!("{}", outcome.lines.join("\n"));
            }
            let (lines, elapsed) = (outcome.lines.len(), outcome.elapsed.as_millis());
            let (hash, attempts) = (outcome.hash(), outcome.attempts);
            println!(
                "night: {seed} {:?} {hash:016x}: {lines} lines, {elapsed} ms, {attempts} connections",
                Trouble::of_seed(seed)
            );
        }
        Err(broken) => panic!("{broken}"),
    }
}

#[test]
fn no_weather_loses_a_record_or_disturbs_too_many_and_all_nights_end() {
    if let Some(seed) = number("STERNWAY_SEED") {
        let output = start(seed).wait_with_output().expect("it ends");
        println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "seed {seed}");
        return;
    }
    let nights = number("STERNWAY_SEEDS").unwrap_or(NIGHTS);
    for pair in (0..nights).collect::<Vec<_>>().chunks(2) {
        let started: Vec<_> = pair.iter().map(|seed| (*seed, start(*seed))).collect();
        for (seed, night) in started {
            match end(night) {
                Ok(line) => println!("{line}"),
                Err(said) => panic!("{said}\nagain with STERNWAY_SEED={seed}"),
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_night() {
    for seed in [3, 8, 12] {
        let twice = [start(seed), start(seed)].map(|night| end(night).expect("it ends well"));
        assert_eq!(twice[0], twice[1], "seed {seed}");
    }
}
