//! `halt` and `resume`: this host, by hand, whether its agent runs or not.

use std::path::Path;

use sternway_agent::config::Config;
use sternway_agent::control::{self, ControlError};
use sternway_agent::halt::{Halt, HaltFlag};
use sternway_agent::message::{Ask, Said};
use sternway_agent::report::Report;
use sternway_agent::{ballast, clock, durable};

use super::person;
use crate::output::{self, Failure};

/// Written first, told after: a halt that nobody heard of counts at the next start.
pub(crate) fn halt(reason: &str, config: &Path, json: bool) -> Result<u8, Failure> {
    let config = Config::load(config)?;
    durable::create_directories(&config.state, 0o700)?;
    ballast::keep(&config.state);
    let flag = HaltFlag::of(&config.state);
    let halt = Halt { by: person(), reason: reason.to_owned(), at: clock::now() };
    flag.set(&halt)?;
    let report = tell(&config)?;
    if json {
        let value = serde_json::json!({
            "format": "sternway.agent-halt/1.0", "host": config.host, "halted": true, "by": halt.by,
            "reason": halt.reason, "at_ms": halt.at, "agent": agent_word(report.as_ref()),
        });
        output::line(&value.to_string());
    } else {
        output::line(&format!("halted: {} begins nothing new, until `sternway-agent resume`", config.host));
        output::line(&match &report {
            None => "no agent is running here; it will heed the halt when it starts".into(),
            Some(report) => under_way(report),
        });
    }
    Ok(sternway_core::exit::DONE)
}

pub(crate) fn resume(config: &Path, json: bool) -> Result<u8, Failure> {
    let config = Config::load(config)?;
    let flag = HaltFlag::of(&config.state);
    let was = flag.read();
    flag.clear()?;
    let report = tell(&config)?;
    if json {
        let value = serde_json::json!({
            "format": "sternway.agent-halt/1.0", "host": config.host, "halted": false,
            "was_halted": was.is_some(), "agent": agent_word(report.as_ref()),
        });
        output::line(&value.to_string());
        return Ok(sternway_core::exit::DONE);
    }
    match was {
        None => output::line(&format!("{} was not halted", config.host)),
        Some(halt) => {
            output::line(&format!("resumed: the halt by {} ({}) is over", halt.by, halt.reason));
            if report.is_none() {
                output::line("no agent is running here; what waits goes on when it starts");
            }
        }
    }
    Ok(sternway_core::exit::DONE)
}

fn tell(config: &Config) -> Result<Option<Report>, Failure> {
    match control::ask(&config.state, &Ask::LookAtHalt) {
        Ok(Said::Report(report)) => Ok(Some(*report)),
        Ok(_) | Err(ControlError::NotRunning) => Ok(None),
        Err(error) => Err(error)?,
    }
}

fn agent_word(report: Option<&Report>) -> &'static str {
    if report.is_some() { "running" } else { "not running" }
}

fn under_way(report: &Report) -> String {
    let Some(run) = &report.run else { return "no run is in hand".into() };
    let plan = format!("plan {} ({})", run.plan.short(), run.name);
    let step = run.step.unwrap_or_default();
    match run.stage.as_str() {
        "running" | "waiting" | "confirming" => {
            format!("{plan} is in step {step} of {}; it stops when that step has ended", run.steps)
        }
        "undoing" => format!("{plan} is being put back, and that goes on"),
        "paused" => format!("{plan} waits before step {step} of {}", run.steps),
        "staging" | "asking" => format!("{plan} has not begun, and does not"),
        stage => format!("{plan} has ended: {stage}"),
    }
}
