//! What to do to units, from what was asked and what systemd says. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sternway_plugin::host::systemd::{Active, FileChange, Job, Load, Unit};
use sternway_plugin::{Action, Finding, Risk, Verdict, Verification};

use crate::settings::{Units, Wish};

/// What one unit was before this step touched it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Was {
    standing: Standing,
    enabled: bool,
    masked: bool,
    pid: Option<u32>,
    since_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Standing {
    Up,
    /// On its way up, or in a crash loop.
    Rising,
    Down,
}

/// The units before this step, by name, and when it began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Before {
    pub(crate) began_ms: u64,
    units: BTreeMap<String, Was>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deed {
    Job(Job, String),
    Links(FileChange, String),
}

impl Before {
    pub(crate) fn new(began_ms: u64, units: &[Unit]) -> Self {
        let was = |unit: &Unit| Was {
            standing: standing(unit),
            enabled: unit.unit_file == "enabled",
            masked: unit.unit_file == "masked",
            pid: unit.main_pid,
            since_ms: unit.since_ms,
        };
        Self { began_ms, units: units.iter().map(|unit| (unit.name.clone(), was(unit))).collect() }
    }

    /// A unit that was not up may fail to come back as it failed to come up.
    pub(crate) fn was_rising(&self, name: &str) -> bool {
        self.units.get(name).is_some_and(|was| was.standing == Standing::Rising)
    }

    fn was_up(&self, unit: &Unit) -> bool {
        self.units.get(&unit.name).is_some_and(|was| was.standing != Standing::Down)
    }

    fn was_enabled(&self, unit: &Unit) -> bool {
        self.units.get(&unit.name).is_some_and(|was| was.enabled)
    }

    fn was_masked(&self, unit: &Unit) -> bool {
        self.units.get(&unit.name).is_some_and(|was| was.masked)
    }

    /// Runs as another process than before: an earlier try restarted it.
    fn is_renewed(&self, unit: &Unit) -> bool {
        let Some(was) = self.units.get(&unit.name) else { return false };
        let another = match (unit.main_pid, was.pid) {
            (None, None) => unit.since_ms != was.since_ms,
            (now, before) => now != before,
        };
        unit.active == Active::Active && another
    }
}

/// What is left to do; nothing of it twice when an earlier try did it.
pub(crate) fn deeds(task: &Units, before: &Before, now: &[Unit]) -> Vec<Deed> {
    let wanted = |unit: &&Unit| match task.wish {
        Wish::Stop => standing(unit) != Standing::Down || unit.active == Active::Deactivating,
        Wish::Start => unit.active != Active::Active,
        Wish::Restart => !before.is_renewed(unit),
        Wish::Reload => true,
        Wish::Enable => unit.unit_file != "enabled",
        Wish::Disable => unit.unit_file == "enabled",
        Wish::Mask => unit.unit_file != "masked",
        Wish::Unmask => unit.unit_file == "masked",
        Wish::Check => false,
    };
    let deed = |unit: &Unit| deed_of(task.wish, &unit.name);
    if task.wish == Wish::Stop {
        return now.iter().rev().filter(wanted).filter_map(deed).collect();
    }
    now.iter().filter(wanted).filter_map(deed).collect()
}

/// Makes every unit again what it was: stops first and backwards, then starts.
pub(crate) fn undo_deeds(task: &Units, before: &Before, now: &[Unit]) -> Vec<Deed> {
    let job = |job: Job, unit: &Unit| Deed::Job(job, unit.name.clone());
    let links = |change: FileChange, unit: &Unit| Deed::Links(change, unit.name.clone());
    match task.wish {
        Wish::Check => vec![],
        Wish::Stop | Wish::Start | Wish::Restart => {
            let is_down =
                |unit: &Unit| standing(unit) == Standing::Down && unit.active != Active::Deactivating;
            let stops = now.iter().rev().filter(|unit| !before.was_up(unit) && !is_down(unit));
            let starts = now.iter().filter(|unit| before.was_up(unit) && unit.active != Active::Active);
            stops.map(|unit| job(Job::Stop, unit)).chain(starts.map(|unit| job(Job::Start, unit))).collect()
        }
        // What it read meanwhile may have been put back by then.
        Wish::Reload => now
            .iter()
            .filter(|unit| unit.active == Active::Active)
            .map(|unit| job(Job::Reload, unit))
            .collect(),
        Wish::Enable | Wish::Disable => now
            .iter()
            .rev()
            .filter(|unit| before.was_enabled(unit) != (unit.unit_file == "enabled"))
            .map(|unit| {
                links(if before.was_enabled(unit) { FileChange::Enable } else { FileChange::Disable }, unit)
            })
            .collect(),
        Wish::Mask | Wish::Unmask => now
            .iter()
            .rev()
            .filter(|unit| before.was_masked(unit) != (unit.unit_file == "masked"))
            .map(|unit| {
                links(if before.was_masked(unit) { FileChange::Mask } else { FileChange::Unmask }, unit)
            })
            .collect(),
    }
}

/// Says which units are not as they were; none when all are.
pub(crate) fn not_back(task: &Units, before: &Before, now: &[Unit]) -> Option<String> {
    let wrong: Vec<String> = now
        .iter()
        .filter_map(|unit| {
            let (right, was) = match task.wish {
                Wish::Check | Wish::Reload => return None,
                Wish::Stop | Wish::Start | Wish::Restart if before.was_rising(&unit.name) => return None,
                Wish::Stop | Wish::Start | Wish::Restart => {
                    let was = before.was_up(unit);
                    let right = was == (standing(unit) != Standing::Down);
                    (right, if was { "was up" } else { "was down" })
                }
                Wish::Enable | Wish::Disable => {
                    let was = before.was_enabled(unit);
                    (
                        was == (unit.unit_file == "enabled"),
                        if was { "was enabled" } else { "was not enabled" },
                    )
                }
                Wish::Mask | Wish::Unmask => {
                    let was = before.was_masked(unit);
                    (was == (unit.unit_file == "masked"), if was { "was masked" } else { "was not masked" })
                }
            };
            (!right).then(|| format!("{} {was} before and is now {}", unit.name, words(unit)))
        })
        .collect();
    (!wrong.is_empty()).then(|| wrong.join("; "))
}

/// What stands in the way of the wish, and what is worth knowing.
pub(crate) fn findings(task: &Units, unit: &Unit) -> Vec<Finding> {
    let name = &unit.name;
    let runs =
        matches!(unit.active, Active::Active | Active::Activating | Active::Reloading | Active::Deactivating);
    if unit.load == Load::NotFound && !(task.wish == Wish::Stop && runs) {
        return vec![Finding::blocking("systemd/unknown-unit", format!("systemd knows no unit {name}"))];
    }
    let mut findings = vec![];
    let moves = matches!(task.wish, Wish::Start | Wish::Restart | Wish::Reload | Wish::Check);
    let links = matches!(task.wish, Wish::Enable | Wish::Disable);
    if unit.load == Load::Masked && (moves || links) {
        findings.push(Finding::blocking("systemd/masked", format!("{name} is masked; unmask it first")));
    }
    if unit.load == Load::Broken && moves {
        findings.push(Finding::blocking("systemd/broken-unit", format!("{} has mistakes", unit.path)));
    }
    if links && matches!(unit.unit_file.as_str(), "static" | "generated" | "transient" | "indirect" | "alias")
    {
        let message = format!("{name} is {} and has no links of its own to change", unit.unit_file);
        findings.push(Finding::blocking("systemd/no-install", message));
    }
    if task.wish == Wish::Mask && unit.load != Load::Masked && unit.path.starts_with("/etc/systemd/system/") {
        let message = format!("{name} is defined at {}, where its mask would have to stand", unit.path);
        findings.push(Finding::blocking("systemd/file-in-the-way", message));
    }
    if unit.needs_reload {
        let message = format!("the files of {name} changed since systemd read them: it goes by the old ones");
        findings.push(Finding::note("systemd/needs-reload", message));
    }
    findings
}

/// Each unit is listed whatever it is now: earlier steps may change that.
pub(crate) fn action(task: &Units, unit: &Unit) -> Action {
    Action {
        summary: format!("{} {}", verb(task.wish), unit.name),
        target: unit.name.clone(),
        before: Some(words(unit)),
        after: Some(wanted(task.wish).to_owned()),
        risk: if task.wish == Wish::Check { Risk::None } else { Risk::Low },
    }
}

/// `ended`: it did its work at its start and is down by right.
pub(crate) fn proof(wish: Wish, unit: &Unit, ended: bool) -> Verification {
    let right = match wish {
        Wish::Stop => matches!(unit.active, Active::Inactive | Active::Failed),
        Wish::Start | Wish::Restart if ended => unit.outcome == "success",
        Wish::Start | Wish::Restart | Wish::Reload | Wish::Check => unit.active == Active::Active,
        Wish::Enable => unit.unit_file == "enabled",
        Wish::Disable => unit.unit_file != "enabled",
        Wish::Mask => unit.unit_file == "masked",
        Wish::Unmask => unit.unit_file != "masked",
    };
    let expected = if ended { "ended well" } else { wanted(wish) };
    Verification {
        name: format!("{} is {expected}", unit.name),
        verdict: if right { Verdict::Pass } else { Verdict::Fail },
        measured: Some(words(unit)),
        expected: Some(expected.to_owned()),
        message: format!("{} is {}", unit.name, words(unit)),
    }
}

/// Why a unit does not count as up; none when it does. `restarts`: how many there
/// were when it was last seen well.
pub(crate) fn not_up(unit: &Unit, restarts: u32) -> Option<String> {
    if unit.active != Active::Active {
        return Some(format!("{} is {}", unit.name, words(unit)));
    }
    (unit.restarts > restarts).then(|| {
        let again = unit.restarts - restarts;
        let exit = unit.last_exit.as_ref().map(|exit| format!(" after {exit}")).unwrap_or_default();
        format!("{} does not stay up: systemd started it again {again} times{exit}", unit.name)
    })
}

pub(crate) fn summary(deeds: &[Deed]) -> String {
    if deeds.is_empty() {
        return "nothing to do".to_owned();
    }
    deeds.iter().map(Deed::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, name) = match self {
            Self::Job(Job::Start, name) => ("start", name),
            Self::Job(Job::Stop, name) => ("stop", name),
            Self::Job(Job::Restart, name) => ("restart", name),
            Self::Job(Job::Reload, name) => ("reload", name),
            Self::Links(FileChange::Enable, name) => ("enable", name),
            Self::Links(FileChange::Disable, name) => ("disable", name),
            Self::Links(FileChange::Mask, name) => ("mask", name),
            Self::Links(FileChange::Unmask, name) => ("unmask", name),
        };
        write!(f, "{verb} {name}")
    }
}

fn deed_of(wish: Wish, name: &str) -> Option<Deed> {
    let name = name.to_owned();
    Some(match wish {
        Wish::Stop => Deed::Job(Job::Stop, name),
        Wish::Start => Deed::Job(Job::Start, name),
        Wish::Restart => Deed::Job(Job::Restart, name),
        Wish::Reload => Deed::Job(Job::Reload, name),
        Wish::Enable => Deed::Links(FileChange::Enable, name),
        Wish::Disable => Deed::Links(FileChange::Disable, name),
        Wish::Mask => Deed::Links(FileChange::Mask, name),
        Wish::Unmask => Deed::Links(FileChange::Unmask, name),
        Wish::Check => return None,
    })
}

fn standing(unit: &Unit) -> Standing {
    match unit.active {
        Active::Active | Active::Reloading => Standing::Up,
        Active::Activating => Standing::Rising,
        Active::Inactive | Active::Failed | Active::Deactivating => Standing::Down,
    }
}

fn verb(wish: Wish) -> &'static str {
    match wish {
        Wish::Stop => "stop",
        Wish::Start => "start",
        Wish::Restart => "restart",
        Wish::Reload => "reload",
        Wish::Enable => "enable",
        Wish::Disable => "disable",
        Wish::Mask => "mask",
        Wish::Unmask => "unmask",
        Wish::Check => "check",
    }
}

fn wanted(wish: Wish) -> &'static str {
    match wish {
        Wish::Stop => "down",
        Wish::Start | Wish::Restart | Wish::Reload | Wish::Check => "active",
        Wish::Enable => "enabled",
        Wish::Disable => "not enabled",
        Wish::Mask => "masked",
        Wish::Unmask => "not masked",
    }
}

/// `failed (failed, exit 3), enabled`.
pub(crate) fn words(unit: &Unit) -> String {
    let active = match unit.active {
        Active::Active => "active",
        Active::Reloading => "reloading",
        Active::Inactive => "inactive",
        Active::Failed => "failed",
        Active::Activating => "activating",
        Active::Deactivating => "deactivating",
    };
    let exit = match &unit.last_exit {
        Some(exit) if unit.active != Active::Active => format!(", {exit}"),
        _ => String::new(),
    };
    let file = if unit.unit_file.is_empty() { String::new() } else { format!(", {}", unit.unit_file) };
    format!("{active} ({}{exit}){file}", unit.sub)
}

#[cfg(test)]
mod tests;
