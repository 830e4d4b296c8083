//! `run SEALED`: carries out a signed plan on this host with no coordinator.
//!
//! The signatures are the authority; a person at this host takes the place of
//! the permit. Waves, gates and soaks are the coordinator's, and nobody keeps
//! them here: that is said, and the host's name is asked for.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sternway_agent::config::Config;
use sternway_agent::control::{self, ControlError};
use sternway_agent::durable;
use sternway_agent::halt::HaltFlag;
use sternway_agent::message::{Ask, Said};
use sternway_core::exit;
use sternway_core::ids::{Digest, PlanId, PointId};
use sternway_core::plan::Plan;
use sternway_core::run::{Answer, Ending, Entry, Input};
use sternway_core::trust::{Sealed, Verified};

use super::person;
use super::serve::{Agent, start_telemetry};
use crate::output::{self, Failure};

/// How often the story is asked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// The sealed plan.
    sealed: PathBuf,
    /// The name of this host: says that you mean it.
    #[arg(long, value_name = "HOSTNAME")]
    confirm: Option<String>,
    /// Where the plan's plugins are, by whatever name; they are found by digest.
    #[arg(long, value_name = "FOLDER")]
    plugins: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("could not read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("refused: {0}")]
    Refused(String),
    #[error(
        "not confirmed: waves and gates are not kept here, so say that you mean this host: --confirm {host}"
    )]
    NotConfirmed { host: String },
    #[error("`{given}` is not this host, which is {host}; nothing was done")]
    OtherHost { given: String, host: String },
    #[error("plugin `{name}` ({digest}) is not on this host; give the folder it is in with --plugins")]
    NoPlugin { name: String, digest: String },
    #[error("the agent stopped before the run had ended; `sternway-agent status` says where it is")]
    Left,
}

fn failure(cause: RunError, exit: u8) -> Failure {
    Failure { cause: Box::new(cause), exit }
}

fn refused(reason: impl Into<String>) -> Failure {
    failure(RunError::Refused(reason.into()), exit::REFUSED)
}

pub(crate) fn run(verb: &Run, config: &Path, json: bool) -> Result<u8, Failure> {
    let config = Config::load(config)?;
    let bytes =
        std::fs::read(&verb.sealed).map_err(|cause| RunError::Read { path: verb.sealed.clone(), cause })?;
    let verified = judge(&config, &bytes)?;
    if let Some(halt) = HaltFlag::of(&config.state).read() {
        let reason = format!("this host is halted by {}: {}", halt.by, halt.reason);
        return Err(failure(RunError::Refused(reason), exit::HALTED));
    }
    confirm(verb, &config, &verified)?;
    put_plugins(verb, &config, verified.value())?;
    let ask = Ask::Run { sealed: bytes, by: person() };
    let said = match control::ask(&config.state, &ask) {
        Err(ControlError::NotRunning) => return serve_and_run(&config, &ask, verified.value(), json),
        said => said?,
    };
    watch(&config, &said, verified.value(), json)
}

/// Says early, and before anybody is asked, what the agent would say.
fn judge(config: &Config, bytes: &[u8]) -> Result<Verified<Plan>, Failure> {
    let keyring = config.load_keyring()?;
    let sealed = Sealed::<Plan>::parse(bytes).map_err(|error| refused(output::in_full(&error)))?;
    let verified = sealed
        .open(&keyring, sternway_agent::clock::now())
        .map_err(|error| refused(output::in_full(&error)))?;
    if !verified.value().is_for(&config.host) {
        let hosts = verified.value().hosts.len();
        return Err(refused(format!("{} is not among the plan's {hosts} hosts", config.host)));
    }
    Ok(verified)
}

fn confirm(verb: &Run, config: &Config, verified: &Verified<Plan>) -> Result<(), Failure> {
    let (plan, host) = (verified.value(), config.host.to_string());
    let signers: Vec<&str> = verified.signers().iter().map(|signer| signer.person.as_str()).collect();
    output::talk(&format!(
        "plan {} ({}): {} from {} to {} on {host}, {} steps, signed by {}",
        verified.id().short(),
        plan.name,
        plan.service,
        plan.from,
        plan.to,
        plan.steps.len(),
        signers.join(", ")
    ));
    output::talk(&format!(
        "its {} waves, their gates, soaks and approvals are the coordinator's: run here, they are not kept, \
         and nobody counts how many hosts are disturbed at a time",
        plan.waves.len()
    ));
    if let Ok(Said::Report(report)) = control::ask(&config.state, &Ask::Status)
        && report.link.is_some_and(|link| link.up)
    {
        output::talk(
            "the coordinator is connected: if it has this rollout open, it halts it when this host begins",
        );
    }
    let given = match &verb.confirm {
        Some(given) => given.clone(),
        None if std::io::stdin().is_terminal() => ask_person(&host)?,
        None => return Err(failure(RunError::NotConfirmed { host }, exit::USAGE)),
    };
    match given.trim() == host {
        true => Ok(()),
        false => Err(failure(RunError::OtherHost { given, host }, exit::USAGE)),
    }
}

fn ask_person(host: &str) -> Result<String, std::io::Error> {
    let mut stderr = std::io::stderr();
    write!(stderr, "type the name of this host ({host}) to run it: ")?;
    stderr.flush()?;
    let mut typed = String::new();
    std::io::stdin().read_line(&mut typed)?;
    Ok(typed)
}

fn put_plugins(verb: &Run, config: &Config, plan: &Plan) -> Result<(), Failure> {
    let is_right =
        |path: &Path, wanted: &Digest| std::fs::read(path).ok().filter(|bytes| Digest::of(bytes) == *wanted);
    for pin in &plan.plugins {
        let path = config.plugins_path().join(format!("{}.wasm", pin.sha256));
        if is_right(&path, &pin.sha256).is_some() {
            continue;
        }
        let mut offered = match &verb.plugins {
            None => Vec::new(),
            Some(folder) => {
                let listed = std::fs::read_dir(folder)
                    .map_err(|cause| RunError::Read { path: folder.clone(), cause })?;
                listed.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect()
            }
        };
        offered.sort();
        let Some(bytes) = offered.iter().find_map(|path| is_right(path, &pin.sha256)) else {
            let (name, digest) = (pin.name.to_string(), pin.sha256.short());
            return Err(failure(RunError::NoPlugin { name, digest }, exit::INVALID));
        };
        durable::create_directories(&config.plugins_path(), 0o700)?;
        durable::write(&path, 0o600, &bytes)?;
    }
    Ok(())
}

/// No agent serves here: this process is the agent until the run has settled.
fn serve_and_run(config: &Config, ask: &Ask, plan: &Plan, json: bool) -> Result<u8, Failure> {
    start_telemetry("warn");
    output::talk("no agent is running here; this process is the agent until the run has ended");
    let agent = Agent::assemble(config, false)?;
    let stop = agent.stopper();
    let (config, ask, plan) = (config.clone(), ask.clone(), plan.clone());
    let watching = std::thread::Builder::new().name("watch".into()).spawn(move || {
        let exit = control::ask(&config.state, &ask)
            .map_err(Failure::from)
            .and_then(|said| watch(&config, &said, &plan, json));
        stop();
        exit
    })?;
    let worked = agent.work();
    let exit = watching.join().unwrap_or_else(|_| Err(failure(RunError::Left, exit::BUG)));
    worked.and(exit)
}

/// Shows the story until it ends.
fn watch(config: &Config, said: &Said, plan: &Plan, json: bool) -> Result<u8, Failure> {
    let id = match said {
        Said::Taken { plan, goes_on } => {
            if *goes_on {
                output::talk("this host holds the plan already, and goes on with that run");
            }
            *plan
        }
        Said::Refused { code, reason } => {
            let exit = match code.as_str() {
                "halted" => exit::HALTED,
                "busy" => exit::BUSY,
                _ => exit::REFUSED,
            };
            return Err(failure(RunError::Refused(reason.clone()), exit));
        }
        _ => return Err(failure(RunError::Left, exit::BUG)),
    };
    let mut after = 0;
    loop {
        let story = control::ask(&config.state, &Ask::Follow { plan: id, after });
        let Ok(Said::Story { entries, ending }) = story else {
            return Err(failure(RunError::Left, exit::INTERRUPTED));
        };
        let is_all = entries.is_empty();
        for entry in &entries {
            after = entry.sequence;
            tell(entry, id, plan, json);
        }
        if let (true, Some(ending)) = (is_all, ending) {
            return Ok(ended(config, id, &ending, json));
        }
        if is_all {
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

fn ended(config: &Config, id: PlanId, ending: &Ending, json: bool) -> u8 {
    let exit = match ending {
        Ending::Finished => exit::DONE,
        Ending::Undone { .. } | Ending::Unfit { .. } => exit::HALTED,
        Ending::NeedsOperator { .. } => exit::STUCK,
    };
    match json {
        true => output::line(
            &serde_json::json!({
                "format": "sternway.agent-run/1.0", "event": "ended", "host": config.host, "plan": id,
                "ending": ending, "exit": exit,
            })
            .to_string(),
        ),
        false => {
            let kept = safety_of(config, id).map_or_else(String::new, |point| {
                format!("; what was overwritten is kept in safety point {}", point.short())
            });
            output::line(&format!("{}: {}{kept}", config.host, ending_words(ending)));
        }
    }
    exit
}

fn safety_of(config: &Config, id: PlanId) -> Option<PointId> {
    match control::ask(&config.state, &Ask::Status) {
        Ok(Said::Report(report)) => report.run.filter(|run| run.plan == id)?.safety,
        _ => None,
    }
}

fn tell(entry: &Entry, id: PlanId, plan: &Plan, json: bool) {
    if json {
        let value = serde_json::json!({
            "format": "sternway.agent-run/1.0", "event": "entry", "plan": id, "sequence": entry.sequence,
            "at_ms": entry.at, "input": entry.input,
        });
        return output::line(&value.to_string());
    }
    if let Some(words) = words(&entry.input, plan) {
        output::line(&format!("{}  {words}", super::clock_time(entry.at)));
    }
}

fn words(input: &Input, plan: &Plan) -> Option<String> {
    let step = |at: u32| {
        let name = plan.steps.get(at as usize).map_or("?", |step| step.name.as_str());
        format!("step {} of {} `{name}`", at + 1, plan.steps.len())
    };
    Some(match input {
        Input::Accepted { .. } => "accepted the plan".into(),
        Input::Staged { point: Some(point) } => format!("is ready; goes back to point {point}"),
        Input::Staged { point: None } => "is ready".into(),
        Input::Unfit { reason } => format!("cannot take part: {reason}"),
        Input::PermittedHere { by } => format!("{by} lets it begin"),
        Input::Permitted { .. } => "the coordinator lets it begin".into(),
        Input::Began { step: at, phase, attempt: 1 } => format!("{} {}", step(*at), phase.name()),
        Input::Began { step: at, phase, attempt } => {
            format!("{} {}, attempt {attempt}", step(*at), phase.name())
        }
        Input::Ended { step: at, phase, answer: Answer::Failed(error) } => {
            format!("{} {} failed: {}", step(*at), phase.name(), error.message)
        }
        Input::HaltedLocally { by, reason } => format!("halted by {by}: {reason}"),
        Input::ResumedLocally { by } => format!("resumed by {by}"),
        Input::CutOff => "cut off from the coordinator".into(),
        Input::Rejoined => "has the coordinator again".into(),
        Input::UndoOrdered { by, reason } => format!("ordered by {by} to undo: {reason}"),
        Input::Resumed { .. } => "its agent was started again".into(),
        _ => return None,
    })
}

pub(super) fn ending_words(ending: &Ending) -> String {
    match ending {
        Ending::Finished => "finished".into(),
        Ending::Undone { because } => format!("undone: {because}"),
        Ending::Unfit { reason } => format!("cannot take part: {reason}"),
        Ending::NeedsOperator { because, .. } => format!("STUCK, a person has to look: {because}"),
    }
}
