//! `status`: how this host stands, from the agent that serves it or, when none
//! does, from its journal.

use std::path::Path;

use serde_json::{Value, json};
use sternway_agent::ballast;
use sternway_agent::config::Config;
use sternway_agent::control::{self, ControlError};
use sternway_agent::custodian::{Catalogue, MemoryFile};
use sternway_agent::driver;
use sternway_agent::halt::HaltFlag;
use sternway_agent::message::{Ask, Said};
use sternway_agent::report::{Report, RunReport};
use sternway_core::exit;

use super::clock_time;
use crate::output::{self, Failure};

/// Whether an agent serves here, as far as can be told.
enum Agent {
    Serves,
    Absent,
    /// It is there and says nothing: what is shown is from its journal.
    Silent(String),
}

pub(crate) fn status(config: &Path, json: bool) -> Result<u8, Failure> {
    let config = Config::load(config)?;
    let (agent, report) = find(&config)?;
    let disk = Disk::of(&config.state);
    match json {
        true => output::line(&as_json(&config, &agent, report.as_ref(), disk.as_ref()).to_string()),
        false => show(&config, &agent, report.as_ref(), disk.as_ref()),
    }
    Ok(match &report {
        Some(report) if report.is_stuck() => exit::STUCK,
        _ if HaltFlag::of(&config.state).read().is_some() => exit::HALTED,
        _ => exit::DONE,
    })
}

fn find(config: &Config) -> Result<(Agent, Option<Report>), Failure> {
    let agent = match control::ask(&config.state, &Ask::Status) {
        Ok(Said::Report(report)) => return Ok((Agent::Serves, Some(*report))),
        Ok(_) => Agent::Silent("it answered another question".into()),
        Err(ControlError::NotRunning) => Agent::Absent,
        Err(error) => Agent::Silent(output::in_full(&error)),
    };
    // A host that never had an agent has nothing to read, and that is no failure.
    if !config.journal_path().exists() {
        return Ok((agent, None));
    }
    Ok((agent, Some(driver::look(config, &config.load_keyring()?)?)))
}

struct Disk {
    free: u64,
    size: u64,
    /// Whether it is there.
    ballast: bool,
}

impl Disk {
    fn of(folder: &Path) -> Option<Self> {
        let stat = rustix::fs::statvfs(folder).ok()?;
        let (free, size) = (stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize);
        Some(Self { free, size, ballast: ballast::is_there(folder) })
    }
}

/// What checks and schedules of rollback points came upon; nothing when all is well.
struct Points {
    /// Beginnings of ids, and what is wrong with them.
    damaged: Vec<(String, String)>,
    /// Names, how often they failed, since what, and why at last.
    failing: Vec<(String, u32, sternway_core::time::Timestamp, String)>,
}

impl Points {
    fn of(state: &Path) -> Self {
        let checks = Catalogue::of(state).read();
        let finding = |known: &sternway_agent::custodian::Known| known.checked.finding.clone();
        let damaged = checks.points.iter().filter_map(|(id, known)| Some((id.short(), finding(known)?)));
        let memory = MemoryFile::of(state).read();
        let scrub = memory.scrub.iter().map(|past| ("scrub".to_owned(), past));
        let all = memory.schedules.iter().map(|(name, past)| (name.clone(), past)).chain(scrub);
        let failing = all.filter_map(|(name, past)| {
            let failed = past.failed.as_ref()?;
            Some((name, failed.times, failed.at, failed.why.clone()))
        });
        Self { damaged: damaged.collect(), failing: failing.collect() }
    }

    fn as_json(&self) -> Value {
        json!({
            "damaged": self.damaged.iter().map(|(id, finding)| json!({ "id": id, "finding": finding })).collect::<Vec<_>>(),
            "failing": self.failing.iter().map(|(name, times, at, why)| {
                json!({ "schedule": name, "times": times, "at_ms": at, "why": why })
            }).collect::<Vec<_>>(),
        })
    }

    fn rows(&self) -> Vec<String> {
        let damaged = self.damaged.iter().map(|(id, finding)| format!("{id} is DAMAGED: {finding}"));
        let failing = self.failing.iter().map(|(name, times, at, why)| {
            format!("schedule {name} FAILED {times} times, last at {}: {why}", clock_time(*at))
        });
        damaged.chain(failing).collect()
    }
}

fn as_json(config: &Config, agent: &Agent, report: Option<&Report>, disk: Option<&Disk>) -> Value {
    let mut value = json!({
        "format": "sternway.agent-status/1.0",
        "host": config.host,
        "coordinator": config.coordinator,
        "agent": match agent {
            Agent::Serves => "running",
            Agent::Absent => "not running",
            Agent::Silent(_) => "silent",
        },
        "halted": HaltFlag::of(&config.state).read().map(|halt| {
            json!({ "by": halt.by, "reason": halt.reason, "at_ms": halt.at })
        }),
        "disk": disk.map(|disk| json!({
            "free_bytes": disk.free, "bytes": disk.size, "ballast": disk.ballast,
        })),
        "points": Points::of(&config.state).as_json(),
    });
    let Some(report) = report else { return value };
    let more = json!({
        "link": report.link.map(|link| json!({ "up": link.up, "since_ms": link.since })),
        "journal": { "id": report.journal, "records": report.records },
        "epoch": report.epoch,
        "run": report.run,
        "endings": report.endings,
    });
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

fn show(config: &Config, agent: &Agent, report: Option<&Report>, disk: Option<&Disk>) {
    let row = |name: &str, text: String| output::line(&format!("{name:<12} {text}"));
    row("host", config.host.to_string());
    row(
        "agent",
        match agent {
            Agent::Serves => "running".into(),
            Agent::Absent => "not running; what follows was read from its journal".into(),
            Agent::Silent(why) => format!("does not answer ({why}); what follows was read from its journal"),
        },
    );
    if let Some(halt) = HaltFlag::of(&config.state).read() {
        row("HALTED", format!("by {} at {}: {}", halt.by, clock_time(halt.at), halt.reason));
    }
    if let Some(disk) = disk {
        let ballast = if disk.ballast { "ballast there" } else { "no ballast: used up, or no room for it" };
        row("disk", format!("{} MiB free of {} MiB, {ballast}", disk.free >> 20, disk.size >> 20));
    }
    for trouble in Points::of(&config.state).rows() {
        row("points", trouble);
    }
    let Some(report) = report else { return row("journal", "none: no agent has served here yet".into()) };
    row(
        "coordinator",
        match report.link {
            Some(link) if link.up => {
                format!("{}, connected since {}", config.coordinator, clock_time(link.since))
            }
            Some(link) => format!("{}, no link since {}", config.coordinator, clock_time(link.since)),
            None => format!("{}, no link", config.coordinator),
        },
    );
    row("journal", format!("{}, {} records, epoch {}", report.journal.short(), report.records, report.epoch));
    match &report.run {
        None => row("run", "none in hand".into()),
        Some(run) => show_run(run),
    }
    for ended in &report.endings {
        let words = super::run::ending_words(&ended.ending);
        row("ended", format!("{}  plan {}  {words}", clock_time(ended.at), ended.plan.short()));
    }
}

fn show_run(run: &RunReport) {
    let row = |name: &str, text: String| output::line(&format!("{name:<12} {text}"));
    row(
        "run",
        format!(
            "plan {} of rollout {}: {}, {} from {} to {}",
            run.plan.short(),
            run.rollout,
            run.name,
            run.service,
            run.from,
            run.to
        ),
    );
    let step = match (run.step, &run.step_name) {
        (Some(step), Some(name)) => format!(", step {step} of {} `{name}`", run.steps),
        _ => String::new(),
    };
    let phase = run.phase.map_or_else(String::new, |phase| format!(", {}", phase.name()));
    let attempt = run.attempt.filter(|attempt| *attempt > 1);
    let attempt = attempt.map_or_else(String::new, |attempt| format!(", attempt {attempt}"));
    row("", format!("{}{step}{phase}{attempt}, since {}", run.stage, clock_time(run.since)));
    if let Some(why) = &run.why {
        row("why", why.clone());
    }
    if let Some(safety) = &run.safety {
        row("kept", format!("what it overwrites, as it was before: safety point {}", safety.short()));
    }
    for choice in &run.choices {
        row("can be done", choice.clone());
    }
}
