//! Which services to stop and start, from what was asked and what runs. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sternway_plugin::host::services::{State, Status};
use sternway_plugin::{Action, Error, Finding, Risk, Texts, Verdict, Verification, duration_ms};

const TIMEOUT_MS: u64 = 30_000;

/// Stops, starts, restarts or checks services; exactly one of the four.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("oneOf" = [
    {"required": ["stop"]}, {"required": ["start"]}, {"required": ["restart"]}, {"required": ["check"]},
])))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Services to stop, the last named first.
    pub(crate) stop: Option<Texts>,
    /// Services to start, in the order named.
    pub(crate) start: Option<Texts>,
    /// Services to stop and then to start again.
    pub(crate) restart: Option<Texts>,
    /// Services that have to be running.
    pub(crate) check: Option<Texts>,
    /// How long one service may take to start, or to end before it is made to. Left out: `30s`.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$")))]
    pub(crate) timeout: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Stop,
    Start,
    Restart,
    Check,
}

/// The settings, found sound.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) wish: Wish,
    pub(crate) names: Vec<String>,
    pub(crate) timeout_ms: u64,
}

/// What one service was doing before this step touched it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ran {
    running: bool,
    pid: Option<u32>,
}

/// By name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Before(pub(crate) BTreeMap<String, Ran>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deed {
    Stop(String),
    Start(String),
}

impl Settings {
    pub(crate) fn task(&self) -> Result<Task, Error> {
        let wishes = [
            (Wish::Stop, &self.stop),
            (Wish::Start, &self.start),
            (Wish::Restart, &self.restart),
            (Wish::Check, &self.check),
        ];
        let mut asked = wishes.iter().filter_map(|(wish, names)| Some((*wish, names.as_ref()?)));
        let (Some((wish, names)), None) = (asked.next(), asked.next()) else {
            return Err(Error::invalid(
                "service/one-of",
                "exactly one of `stop`, `start`, `restart` and `check` has to be set",
            ));
        };
        let names: Vec<String> = names.iter().map(str::to_owned).collect();
        for (at, name) in names.iter().enumerate() {
            if names[..at].contains(name) {
                return Err(Error::invalid("service/twice", format!("`{name}` is named twice")));
            }
        }
        let timeout_ms = match &self.timeout {
            None => TIMEOUT_MS,
            Some(text) => {
                duration_ms(text).map_err(|cause| Error::invalid("service/timeout", cause.to_string()))?
            }
        };
        Ok(Task { wish, names, timeout_ms })
    }
}

pub(crate) fn ran(status: &Status) -> (String, Ran) {
    (status.name.clone(), Ran { running: is_running(status), pid: status.pid })
}

/// What is left to do; nothing of it twice when an earlier try did it.
pub(crate) fn deeds(task: &Task, before: &Before, now: &[Status]) -> Vec<Deed> {
    let stops = now.iter().rev().filter(|status| match task.wish {
        Wish::Stop => !is_stopped(status),
        Wish::Restart => !is_stopped(status) && !is_renewed(before, status),
        Wish::Start | Wish::Check => false,
    });
    let starts = now.iter().filter(|status| match task.wish {
        Wish::Start => status.state != State::Running,
        Wish::Restart => status.state != State::Running || !is_renewed(before, status),
        Wish::Stop | Wish::Check => false,
    });
    stops.map(stop).chain(starts.map(start)).collect()
}

/// Runs what ran, stops what did not: stops first and backwards, then starts.
pub(crate) fn undo_deeds(task: &Task, before: &Before, now: &[Status]) -> Vec<Deed> {
    if task.wish == Wish::Check {
        return vec![];
    }
    let stops = now.iter().rev().filter(|status| !before.ran(status) && !is_stopped(status));
    let starts = now.iter().filter(|status| before.ran(status) && status.state != State::Running);
    stops.map(stop).chain(starts.map(start)).collect()
}

/// Says which services are not as they were; none when all are.
pub(crate) fn not_back(before: &Before, now: &[Status]) -> Option<String> {
    let wrong: Vec<String> = now
        .iter()
        .filter(|status| before.ran(status) != is_running(status))
        .map(|status| {
            let was = if before.ran(status) { "ran" } else { "did not run" };
            format!("{} {was} before and is now {}", status.name, word(status.state))
        })
        .collect();
    (!wrong.is_empty()).then(|| wrong.join("; "))
}

/// Says which services do not run; none when all do.
pub(crate) fn not_running(now: &[Status]) -> Option<String> {
    let wrong: Vec<String> = now
        .iter()
        .filter(|status| status.state != State::Running)
        .map(|status| match &status.last_exit {
            None => format!("{} is {}", status.name, word(status.state)),
            Some(exit) => format!("{} is {} ({exit})", status.name, word(status.state)),
        })
        .collect();
    (!wrong.is_empty()).then(|| wrong.join("; "))
}

pub(crate) fn finding(task: &Task, status: &Status) -> Option<Finding> {
    (task.wish == Wish::Stop && is_stopped(status))
        .then(|| Finding::note("service/stopped-already", format!("{} is stopped already", status.name)))
}

/// Each service is listed whatever it does now: earlier steps may change that.
pub(crate) fn action(task: &Task, status: &Status) -> Action {
    let (verb, after, risk) = match task.wish {
        Wish::Stop => ("stop", "stopped", Risk::Low),
        Wish::Start => ("start", "running", Risk::Low),
        Wish::Restart => ("restart", "running anew", Risk::Low),
        Wish::Check => ("check", "running", Risk::None),
    };
    Action {
        summary: format!("{verb} {}", status.name),
        target: status.name.clone(),
        before: Some(word(status.state).to_owned()),
        after: Some(after.to_owned()),
        risk,
    }
}

pub(crate) fn proof(wish: Wish, status: &Status) -> Verification {
    let expected = if wish == Wish::Stop { "stopped" } else { "running" };
    let right = match wish {
        Wish::Stop => is_stopped(status),
        Wish::Start | Wish::Restart | Wish::Check => status.state == State::Running,
    };
    let measured = word(status.state);
    Verification {
        name: format!("{} is {expected}", status.name),
        verdict: if right { Verdict::Pass } else { Verdict::Fail },
        measured: Some(measured.to_owned()),
        expected: Some(expected.to_owned()),
        message: format!("{} is {measured}", status.name),
    }
}

pub(crate) fn summary(deeds: &[Deed]) -> String {
    if deeds.is_empty() {
        return "nothing to do".to_owned();
    }
    deeds.iter().map(Deed::to_string).collect::<Vec<_>>().join(", ")
}

impl Before {
    fn ran(&self, status: &Status) -> bool {
        self.0.get(&status.name).is_some_and(|ran| ran.running)
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stop(name) => write!(f, "stop {name}"),
            Self::Start(name) => write!(f, "start {name}"),
        }
    }
}

fn stop(status: &Status) -> Deed {
    Deed::Stop(status.name.clone())
}

fn start(status: &Status) -> Deed {
    Deed::Start(status.name.clone())
}

/// On its way up counts as running: undo must not take that for stopped.
fn is_running(status: &Status) -> bool {
    matches!(status.state, State::Running | State::Starting)
}

/// A service that failed is not stopped: its manager will start it again, in
/// the middle of whatever comes next.
fn is_stopped(status: &Status) -> bool {
    status.state == State::Stopped
}

/// Runs as another process than before this step: an earlier try got this far.
fn is_renewed(before: &Before, status: &Status) -> bool {
    let pid_before = before.0.get(&status.name).and_then(|ran| ran.pid);
    status.state == State::Running && status.pid.is_some() && status.pid != pid_before
}

fn word(state: State) -> &'static str {
    match state {
        State::Running => "running",
        State::Starting => "starting",
        State::Stopping => "stopping",
        State::Stopped => "stopped",
        State::Failed => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(json: &str) -> Result<Task, Error> {
        serde_json::from_str::<Settings>(json).unwrap().task()
    }

    fn status(name: &str, state: State, pid: Option<u32>) -> Status {
        Status { name: name.into(), state, pid, since_ms: None, restarts: 0, last_exit: None }
    }

    fn up(name: &str, pid: u32) -> Status {
        status(name, State::Running, Some(pid))
    }

    fn down(name: &str) -> Status {
        status(name, State::Stopped, None)
    }

    fn said(deeds: &[Deed]) -> String {
        summary(deeds)
    }

    #[test]
    fn the_schema_file_says_what_the_settings_take() {
        sternway_plugin::schema::assert_current::<Settings>(
            concat!(env!("CARGO_MANIFEST_DIR"), "/settings.schema.json"),
            include_str!("../settings.schema.json"),
        );
    }

    #[test]
    fn exactly_one_wish_is_taken() {
        assert_eq!(task("{}").unwrap_err().code, "service/one-of");
        assert_eq!(task(r#"{"stop":"a","start":"a"}"#).unwrap_err().code, "service/one-of");
        assert_eq!(task(r#"{"stop":["a","a"]}"#).unwrap_err().code, "service/twice");
        assert_eq!(task(r#"{"stop":"a","timeout":"soon"}"#).unwrap_err().code, "service/timeout");
        assert_eq!(task(r#"{"stop":"a","timeout":"5s"}"#).unwrap().timeout_ms, 5_000);
        assert_eq!(task(r#"{"stop":"a"}"#).unwrap().timeout_ms, TIMEOUT_MS);
    }

    #[test]
    fn starts_go_forwards_and_stops_backwards() {
        let stopping = task(r#"{"stop":["db","web"]}"#).unwrap();
        let starting = task(r#"{"start":["db","web"]}"#).unwrap();
        let running = [up("db", 1), up("web", 2)];
        let idle = [down("db"), down("web")];
        let nothing = Before(BTreeMap::new());
        assert_eq!(said(&deeds(&stopping, &nothing, &running)), "stop web, stop db");
        assert_eq!(said(&deeds(&starting, &nothing, &idle)), "start db, start web");
        assert_eq!(said(&deeds(&stopping, &nothing, &idle)), "nothing to do");
        assert_eq!(said(&deeds(&starting, &nothing, &running)), "nothing to do");
    }

    #[test]
    fn a_service_between_two_states_is_brought_to_the_end() {
        let stopping = task(r#"{"stop":"a"}"#).unwrap();
        let starting = task(r#"{"start":"a"}"#).unwrap();
        let nothing = Before(BTreeMap::new());
        for state in [State::Starting, State::Stopping, State::Running] {
            assert_eq!(said(&deeds(&stopping, &nothing, &[status("a", state, None)])), "stop a");
        }
        for state in [State::Starting, State::Stopping, State::Failed] {
            assert_eq!(said(&deeds(&starting, &nothing, &[status("a", state, None)])), "start a");
        }
    }

    #[test]
    fn a_restart_that_died_half_way_finishes_and_repeats_nothing() {
        let task = task(r#"{"restart":["a","b"]}"#).unwrap();
        let before: Before = [up("a", 1), up("b", 2)].iter().collect();
        assert_eq!(
            said(&deeds(&task, &before, &[up("a", 1), up("b", 2)])),
            "stop b, stop a, start a, start b"
        );
        assert_eq!(said(&deeds(&task, &before, &[up("a", 1), down("b")])), "stop a, start a, start b");
        assert_eq!(said(&deeds(&task, &before, &[up("a", 9), down("b")])), "start b");
        assert_eq!(said(&deeds(&task, &before, &[up("a", 9), up("b", 10)])), "nothing to do");
    }

    #[test]
    fn undo_runs_what_ran_and_stops_what_did_not() {
        let before: Before = [up("a", 1), down("b")].iter().collect();
        let stop = task(r#"{"stop":["a","b"]}"#).unwrap();
        assert_eq!(said(&undo_deeds(&stop, &before, &[down("a"), down("b")])), "start a");
        let start = task(r#"{"start":["a","b"]}"#).unwrap();
        assert_eq!(said(&undo_deeds(&start, &before, &[up("a", 1), up("b", 7)])), "stop b");
        let restart = task(r#"{"restart":["a","b"]}"#).unwrap();
        assert_eq!(said(&undo_deeds(&restart, &before, &[up("a", 6), up("b", 7)])), "stop b");
        assert_eq!(said(&undo_deeds(&restart, &before, &[down("a"), down("b")])), "start a");
    }

    #[test]
    fn undo_is_proved_service_by_service() {
        let before: Before = [up("a", 1), down("b")].iter().collect();
        assert_eq!(not_back(&before, &[up("a", 5), down("b")]), None);
        assert_eq!(
            not_back(&before, &[down("a"), up("b", 5)]).unwrap(),
            "a ran before and is now stopped; b did not run before and is now running"
        );
    }

    #[test]
    fn a_check_names_what_does_not_run_and_why() {
        let mut failed = status("web", State::Failed, None);
        failed.last_exit = Some("exit 3".into());
        assert_eq!(not_running(&[up("db", 1), failed]).unwrap(), "web is failed (exit 3)");
        assert_eq!(not_running(&[up("db", 1)]), None);
    }

    #[test]
    fn verify_wants_the_state_that_was_asked_for() {
        assert_eq!(proof(Wish::Stop, &down("a")).verdict, Verdict::Pass);
        assert_eq!(proof(Wish::Stop, &up("a", 1)).verdict, Verdict::Fail);
        assert_eq!(proof(Wish::Start, &up("a", 1)).verdict, Verdict::Pass);
        let starting = status("a", State::Starting, None);
        assert_eq!(proof(Wish::Check, &starting).verdict, Verdict::Fail);
    }
}
