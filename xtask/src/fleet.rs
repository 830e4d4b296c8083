//! `cargo xtask fleet`: hosts that are containers with systemd, a network of
//! their own, and the product installed on them as a user would. Plugins are
//! proved here on the services they are for; links are cut and hosts killed.

mod delay;
mod docker;
mod founding;
mod image;
mod links;
mod machines;
mod needs;
mod process;
mod state;
mod up;
mod words;

use std::io::IsTerminal;
use std::path::Path;

use serde_json::{Value, json};

use crate::Done;
use docker::Docker;
use state::State;
use words::Words;

pub(crate) const USAGE: &str = "\
cargo xtask fleet up [--hosts N|NAME,NAME,...] [--docker NAME,...|all|none] [--label KEY=VALUE ...]
                     [--policy FILE] [--bin-dir DIR] [--mirror ADDRESS] [--install]
                        a test fleet of containers with systemd (docs/test-fleet.md)
cargo xtask fleet status [--json] | exec HOST -- PROGRAM ... | down [--all]
cargo xtask fleet cut|heal|pause|resume|kill|boot HOST
cargo xtask fleet slow HOST [--delay 200ms] [--loss 5%]
                        all of them take --name NAME, for more than one fleet";

/// What the program ends with when this machine cannot carry a fleet: nothing
/// failed, and who asked for it skips what needs one.
pub(crate) const CANNOT: i32 = 77;
const NAME: &str = "test";
/// So that a container's name stays readable, in letters.
const NAME_MAX: usize = 16;

/// Why there is no fleet.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// This machine is not made for it.
    Cannot(String),
    Failed(String),
}

impl From<String> for Trouble {
    fn from(reason: String) -> Self {
        Self::Failed(reason)
    }
}

impl From<&str> for Trouble {
    fn from(reason: &str) -> Self {
        Self::Failed(reason.into())
    }
}

pub(crate) fn run(words: &[String]) -> Done {
    match verb(words) {
        Ok(()) => Ok(()),
        Err(Trouble::Failed(reason)) => Err(reason),
        Err(Trouble::Cannot(why)) => {
            eprintln!("skipped  fleet: {why}");
            std::process::exit(CANNOT)
        }
    }
}

fn verb(words: &[String]) -> Result<(), Trouble> {
    let (verb, rest) = words.split_first().ok_or_else(|| format!("what shall the fleet do?\n\n{USAGE}"))?;
    if verb == "delay-queue" {
        return Ok(delay::run(rest)?);
    }
    let mut words = Words::of(rest);
    let name = words.value("--name")?.unwrap_or_else(|| NAME.into());
    let is_plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(is_plain) {
        return Err(format!("`{name}` is no name of a fleet: 1 to {NAME_MAX} of a-z, 0-9 and -").into());
    }
    match verb.as_str() {
        "up" => up::up(&name, words),
        "down" => Ok(down(&name, words)?),
        "status" => Ok(status(&name, words)?),
        "exec" => Ok(exec(&name, words)?),
        "cut" | "heal" | "slow" => Ok(link(&name, verb, words)?),
        "pause" | "resume" | "kill" | "boot" => Ok(power(&name, verb, words)?),
        _ => Err(format!("a fleet cannot `{verb}`\n\n{USAGE}").into()),
    }
}

/// The fleet and the Docker it is on, for verbs that need both.
fn standing(name: &str) -> Result<(State, Docker), String> {
    let state = State::load(&state::folder(name)?)?;
    let state = state.ok_or_else(|| format!("no fleet `{name}` is up; cargo xtask fleet up starts one"))?;
    let docker =
        Docker::find().ok_or("the Docker of the fleet does not answer; cargo xtask fleet down clears up")?;
    Ok((state, docker))
}

fn known(state: &State, machine: &str) -> Done {
    state.last_part(machine).map(drop).ok_or_else(|| state.no_such(machine))
}

fn down(name: &str, mut words: Words) -> Done {
    let all = words.flag("--all");
    words.none_left()?;
    let folder = state::folder(name)?;
    // A fleet that never came to stand has no state, and is taken away all the same.
    let state = State::load(&folder).unwrap_or_default();
    if let Some(state) = &state {
        links::clear(state)?;
    }
    let docker = Docker::find();
    if docker.is_none() && state.is_some() && docker::is_ours() {
        // Ours was killed: its containers are only known to it.
        let docker = Docker::start()?;
        take_away(name, &folder, Some(&docker), all)?;
    } else {
        take_away(name, &folder, docker.as_ref(), all)?;
    }
    Ok(())
}

fn take_away(name: &str, folder: &Path, docker: Option<&Docker>, all: bool) -> Done {
    let removed = docker.map_or(Ok(0), |docker| machines::remove_all(docker, name))?;
    let was_there = folder.exists();
    remove_folder(folder)?;
    match (removed, was_there) {
        (0, false) => eprintln!("no fleet `{name}` is up"),
        _ => eprintln!("fleet `{name}` is down, {removed} machines"),
    }
    if let Some(docker) = docker {
        if all {
            image::forget(docker)?;
        }
        if let Some(said) = docker.end_unless_used()? {
            eprintln!("{said}");
        }
    }
    if all && !docker::is_ours() {
        remove_folder(&state::cache()?)?;
    }
    Ok(())
}

fn remove_folder(folder: &Path) -> Done {
    match std::fs::remove_dir_all(folder) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("could not remove {}: {cause}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn status(name: &str, mut words: Words) -> Done {
    let as_json = words.flag("--json");
    words.none_left()?;
    let folder = state::folder(name)?;
    let Some(state) = State::load(&folder)? else {
        match as_json {
            true => println!("{}", json!({ "format": "sternway.test-fleet/1.0", "name": name, "up": false })),
            false => println!("no fleet `{name}` is up{}", others()),
        }
        return Ok(());
    };
    let docker =
        Docker::find().ok_or("the Docker of the fleet does not answer; cargo xtask fleet down clears up")?;
    let record = machines::status(&docker, &state, &folder)?;
    match as_json {
        true => println!("{record}"),
        false => print_status(&record),
    }
    Ok(())
}

/// What else could have been meant.
fn others() -> String {
    let fleets = state::cache().ok().and_then(|cache| std::fs::read_dir(cache.join("fleets")).ok());
    let names = fleets.into_iter().flatten().flatten().map(|entry| entry.file_name());
    let names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    match names.is_empty() {
        true => String::new(),
        false => format!("; there are: {}", names.join(", ")),
    }
}

fn print_status(record: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    println!("fleet {} on {}", text(&record["name"]), text(&record["subnet"]));
    println!("{:<14}{:<15}{:<10}{:<11}{:<14}LINK", "MACHINE", "ADDRESS", "STATE", "AGENT", "CONTAINER");
    let hosts = record["hosts"].as_array().into_iter().flatten();
    for machine in std::iter::once(&record["coordinator"]).chain(hosts) {
        let agent = match machine["connected"].as_bool() {
            None => "-",
            Some(true) => "connected",
            Some(false) => "away",
        };
        println!(
            "{:<14}{:<15}{:<10}{agent:<11}{:<14}{}",
            text(&machine["name"]),
            text(&machine["address"]),
            text(&machine["state"]),
            text(&machine["container"]),
            link_in_words(&machine["link"])
        );
    }
}

fn link_in_words(link: &Value) -> String {
    if link["cut"] == true {
        return "cut".into();
    }
    let (delay, loss) =
        (link["delay_ms"].as_u64().unwrap_or(0), link["loss_percent"].as_f64().unwrap_or(0.0));
    let mut said = Vec::new();
    if delay > 0 {
        said.push(match link["delayed"] == true {
            true => format!("{delay} ms late"),
            false => "nothing gets through: who delays it has died; heal it".into(),
        });
    }
    if loss > 0.0 {
        said.push(format!("{loss} % lost"));
    }
    if said.is_empty() { "good".into() } else { said.join(", ") }
}

fn exec(name: &str, mut words: Words) -> Done {
    let machine = words.first("a machine of the fleet")?;
    let program = words.rest_after_dashes()?;
    let (state, docker) = standing(name)?;
    known(&state, &machine)?;
    let container = state.container(&machine);
    let mut command = docker.command(&["exec", "--interactive", "--workdir", "/root", "--env", "HOME=/root"]);
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        command.args(["--tty", "--env", "TERM"]);
    }
    command.arg(container).args(program);
    let status = command.status().map_err(|cause| format!("could not start docker: {cause}"))?;
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => std::process::exit(code),
        None => Err("docker exec was ended by a signal".into()),
    }
}

fn link(name: &str, verb: &str, mut words: Words) -> Done {
    let machine = words.first("a machine of the fleet")?;
    let (delay, lost) = match verb {
        "slow" => (words.milliseconds("--delay")?, words.per_cent("--loss")?),
        _ => (None, None),
    };
    words.none_left()?;
    if verb == "slow" && delay.is_none() && lost.is_none() {
        return Err("slow takes --delay 200ms, --loss 5% or both".into());
    }
    let (mut state, docker) = standing(name)?;
    known(&state, &machine)?;
    links::change(&docker, &mut state, &state::folder(name)?, &machine, |link| match verb {
        "cut" => link.cut = true,
        "slow" => (link.delay, link.lost) = (delay.unwrap_or(0), lost.unwrap_or(0)),
        _ => (link.cut, link.delay, link.lost) = (false, 0, 0),
    })
}

fn power(name: &str, verb: &str, mut words: Words) -> Done {
    let machine = words.first("a machine of the fleet")?;
    words.none_left()?;
    let (mut state, docker) = standing(name)?;
    known(&state, &machine)?;
    let container = state.container(&machine);
    match verb {
        "pause" => docker.ask(&["pause", &container]).map(drop),
        "resume" => docker.ask(&["unpause", &container]).map(drop),
        "kill" => docker.ask(&["kill", "--signal", "KILL", &container]).map(drop),
        _ => {
            docker.ask(&["start", &container])?;
            // Its network is a new one.
            links::change(&docker, &mut state, &state::folder(name)?, &machine, |_| ())?;
            machines::wait_for_boot(&docker, &container)
        }
    }
}
