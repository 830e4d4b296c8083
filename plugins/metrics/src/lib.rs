//! `metrics`: holds measured values against thresholds, once or over a window,
//! with a verdict of three: right, wrong, or cannot be told. It only reads.

mod bound;
mod decide;
mod sample;
mod tally;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sternway_plugin::host::{control, http, progress};
use sternway_plugin::{
    Class, Error, Failure, Finding, Kind, Looked, Manifest, Mode, Outcome, Plugin, Power, Prepared,
    Reversibility, Step, Verdict, Verification,
};

use crate::decide::{Settings, Watch};
use crate::sample::{Judged, Measured, judge, read};
use crate::tally::Tally;

/// The plugin.
#[derive(Debug)]
pub struct Metrics;

/// What the values were, and which checks the window could not decide.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    before: Vec<Measured>,
    /// Parallel to the checks; empty before `apply`.
    undecided: Vec<Option<String>>,
}

impl Plugin for Metrics {
    type Settings = Settings;
    type State = State;

    fn manifest() -> Manifest {
        Manifest {
            name: "metrics".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "holds measured values against thresholds".into(),
            settings_schema: include_str!("../settings.schema.json").into(),
            modes: vec![
                mode("prometheus", "asks a Prometheus server for values"),
                mode("json", "reads values in JSON answers"),
            ],
            powers: vec![
                Power {
                    name: "http".into(),
                    scope_from: vec!["prometheus".into(), "json".into()],
                    reason: "reads measured values there".into(),
                },
                Power {
                    name: "secrets".into(),
                    scope_from: vec!["bearer".into()],
                    reason: "lets the host sign the questions with this secret, unseen by the step".into(),
                },
            ],
            default_timeout_ms: 1_800_000,
        }
    }

    fn look(on: &Step<Settings>) -> Result<Looked<State>, Error> {
        let watch = on.settings.watch()?;
        let mut looked = Looked { findings: vec![], actions: vec![], state: State::default() };
        let before = match measure(&watch) {
            Ok(before) => before,
            Err(error) if error.code == "metrics/bad-query" => {
                looked.findings.push(Finding::blocking(&error.code, error.message));
                return Ok(looked);
            }
            Err(error) => return Err(error),
        };
        for (check, now) in watch.checks.iter().zip(&before) {
            let told = judge(&watch, check, now, Some(now)).measured;
            if let (Some(_), Err(why)) = (&check.baseline, now) {
                let message = format!("{} has nothing to be compared with later: {why}", check.name);
                looked.findings.push(Finding::note("metrics/no-baseline", message));
            }
            looked.actions.push(check.action(&watch, told));
        }
        looked.state.before = before.into_iter().map(finite).collect();
        Ok(looked)
    }

    fn prepare(_on: &Step<Settings>, seen: State) -> Result<Prepared<State>, Error> {
        Ok(Prepared { summary: "nothing to stage".into(), state: seen })
    }

    /// What cannot be told is left to `verify`, which has a word for it.
    fn apply(on: &Step<Settings>, kept: State) -> Result<Outcome<State>, Failure> {
        let watch = on.settings.watch()?;
        let tallies = observe(&watch, &kept.before)?;
        let allowed = watch.failures_allowed;
        let told = |wanted: Verdict| {
            let checks = watch.checks.iter().zip(&tallies);
            let told = checks.filter(move |(_, tally)| tally.verdict(allowed) == wanted);
            told.map(|(check, tally)| {
                format!("{} was {}, expected {}", check.name, tally.measured(allowed), check.expected())
            })
            .collect::<Vec<_>>()
        };
        let wrong = told(Verdict::Fail);
        if !wrong.is_empty() {
            return Err(Error::failed("metrics/threshold", wrong.join("; ")).into());
        }
        let open = told(Verdict::Inconclusive);
        let summary = if open.is_empty() {
            format!("{} values as expected", tallies.len())
        } else {
            format!("cannot be told: {}", open.join("; "))
        };
        let undecided = tallies
            .iter()
            .map(|tally| (tally.verdict(allowed) == Verdict::Inconclusive).then(|| tally.measured(allowed)));
        let undecided = undecided.collect();
        Ok(Outcome { changed: false, summary, state: State { before: kept.before, undecided } })
    }

    fn verify(on: &Step<Settings>, done: State) -> Result<Vec<Verification>, Error> {
        let watch = on.settings.watch()?;
        let judged = judge_all(&watch, &done.before)?;
        let mut undecided = done.undecided.into_iter();
        Ok(watch
            .checks
            .iter()
            .zip(judged)
            .map(|(check, now)| {
                // A good value at the end does not make up for a window without values.
                let judged = match undecided.next().flatten() {
                    Some(measured) => Judged { verdict: Verdict::Inconclusive, measured },
                    None => now,
                };
                Verification {
                    name: check.name.clone(),
                    verdict: judged.verdict,
                    measured: Some(judged.measured),
                    expected: Some(check.expected()),
                    message: String::new(),
                }
            })
            .collect())
    }

    fn undo(_on: &Step<Settings>, kept: State) -> Result<Outcome<State>, Failure> {
        Ok(Outcome { changed: false, summary: "it only looked".into(), state: kept })
    }
}

/// Measures until all is right or `within` has passed, then through the window,
/// which ends early once it cannot become right any more.
fn observe(watch: &Watch, before: &[Measured]) -> Result<Vec<Tally>, Error> {
    let begun = control::now_ms();
    let mut tallies;
    loop {
        // What came before all was right is not held against the window.
        tallies = vec![Tally::default(); watch.checks.len()];
        let all_right = add_round(watch, before, &mut tallies)?;
        if all_right || control::now_ms() >= begun + watch.within_ms {
            break;
        }
        pause(watch.every_ms)?;
    }
    let since = control::now_ms();
    while control::now_ms() < since + watch.for_ms {
        if tallies.iter().any(|tally| tally.verdict(watch.failures_allowed) == Verdict::Fail) {
            break;
        }
        let elapsed_ms = control::now_ms() - since;
        progress::report("watch", elapsed_ms, Some(watch.for_ms), "ms");
        pause(watch.every_ms.min(watch.for_ms - elapsed_ms))?;
        add_round(watch, before, &mut tallies)?;
    }
    Ok(tallies)
}

fn add_round(watch: &Watch, before: &[Measured], tallies: &mut [Tally]) -> Result<bool, Error> {
    let judged = judge_all(watch, before)?;
    for (tally, judged) in tallies.iter_mut().zip(&judged) {
        tally.add(judged);
    }
    Ok(judged.iter().all(|judged| judged.verdict == Verdict::Pass))
}

fn judge_all(watch: &Watch, before: &[Measured]) -> Result<Vec<Judged>, Error> {
    let measured = measure(watch)?;
    let checks = watch.checks.iter().zip(&measured).enumerate();
    Ok(checks.map(|(at, (check, now))| judge(watch, check, now, before.get(at))).collect())
}

/// One round: every URL once, every check its values.
fn measure(watch: &Watch) -> Result<Vec<Measured>, Error> {
    let mut answers: BTreeMap<String, Result<(u16, Vec<u8>), String>> = BTreeMap::new();
    for source in watch.sources() {
        let answer = match http::send(&watch.request(source, control::limits().remaining_ms)) {
            Ok(response) => Ok((response.status, response.body)),
            Err(error) => match error.kind {
                Kind::Denied | Kind::Invalid | Kind::Cancelled | Kind::Unsupported => return Err(error),
                _ => Err(error.message),
            },
        };
        answers.insert(watch.url(source), answer);
    }
    let now_ms = control::now_ms();
    watch
        .checks
        .iter()
        .map(|check| match &answers[&watch.url(&check.source)] {
            Ok((status, body)) => read(watch, &check.source, *status, body, now_ms),
            Err(why) => Ok(Err(why.clone())),
        })
        .collect()
}

/// JSON has no word for infinity, and nothing can be compared with it.
fn finite(measured: Measured) -> Measured {
    match measured {
        Ok(samples) if samples.iter().any(|sample| !sample.value.is_finite()) => Err("infinite".to_owned()),
        other => other,
    }
}

fn pause(ms: u64) -> Result<(), Error> {
    if control::sleep(ms) { Ok(()) } else { Err(Error::cancelled("stopped between two measurements")) }
}

fn mode(setting: &str, summary: &str) -> Mode {
    Mode {
        setting: setting.into(),
        class: Class::Observe,
        reversibility: Reversibility::Reversible,
        summary: summary.into(),
    }
}

sternway_plugin::export_plugin!(Metrics);
