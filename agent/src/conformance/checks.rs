//! What is asked of a plugin, as trials: each puts the host back to the
//! beginning, carries the step out with one thing done to it, and looks at the
//! end.

use std::collections::BTreeMap;

use super::case::Case;
use super::conduct::{self, Ended, Failed, How, Script, Trouble, way_back};
use super::door::{Event, What};
use super::report::{Difference, Problem, Report, Row};
use super::stage::{Picture, Stage};
use super::{ConformanceError, Subject};
use crate::capabilities::ErrorKind;
use crate::gate::{Effect, Phase, Request};
use sternway_core::manifest::Class;

const REPLAYS: usize = 3;
const KNOWN_SHOWN: usize = 8;
const FORWARD: [Phase; 4] = [Phase::Look, Phase::Prepare, Phase::Apply, Phase::Verify];

const KINDS: [(&str, &str); 10] = [
    ("plain", "once, it ends as the case says; undone, it ends as it began; nothing is left beside"),
    ("quiet", "look and verify change nothing, and prepare nothing that anybody sees"),
    ("double", "each phase run twice ends as once"),
    ("kill", "killed before and after each call and taken up again, it ends as once"),
    ("anew", "killed in apply and begun anew with a look, it ends as once"),
    ("cut", "killed in apply and undone instead, it ends as it began"),
    ("fail", "with each call failing once, it ends as once, or undone as it began"),
    ("cancel", "cancelled at each call, it stops by itself, and undone it ends as it began"),
    ("time", "out of time from each call on, it stops, and undone it ends as it began"),
    ("replay", "the same answers lead to the same calls and the same answer"),
];
const GRANT: (&str, &str) = ("grant", "with a power withheld, it names the denial and changes nothing");

/// How a trial may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    /// Finished, as an undisturbed run.
    Same,
    /// Undone, as at the beginning.
    Start,
    /// One of the two.
    Either,
    /// Undone by a denial that names the power.
    Denied,
}

struct Trial {
    /// `kill:apply:7:after`.
    name: String,
    script: Script,
    want: Want,
}

pub(super) struct Proof<'a> {
    subject: &'a dyn Subject,
    case: &'a Case,
    stage: Stage,
}

/// What an undisturbed run showed.
struct Plain {
    start: Picture,
    end: Picture,
    ended: Ended,
}

impl<'a> Proof<'a> {
    pub(super) fn new(subject: &'a dyn Subject, case: &'a Case, stage: Stage) -> Self {
        Self { subject, case, stage }
    }

    pub(super) fn run(&self, only: Option<&str>) -> Result<Report, ConformanceError> {
        let mut report = Report::new(self.case, self.subject.manifest());
        if let Some(code) = &self.case.file.refused {
            report.rows.push(self.refused(code)?);
            return Ok(report);
        }
        let (row, plain) = self.plain()?;
        report.rows.push(row);
        let Some(plain) = plain else { return Ok(report) };
        self.note(&mut report);
        // What is wrong undisturbed is wrong in every trial; what is below can say why.
        let is_plain = report.problems().next().is_none();
        let mut trials = if is_plain { self.trials(&plain) } else { Vec::new() };
        let known = known(&trials, only);
        if let Some(only) = only {
            trials.retain(|trial| is_within(&trial.name, only));
        }
        let wanted = |name: &str| only.is_none_or(|only| is_within(name, only) || is_within(only, name));
        for (kind, asks) in KINDS.into_iter().chain([GRANT]) {
            let of_kind = trials.iter().filter(|trial| trial.name.split(':').next() == Some(kind));
            let row = match kind {
                "plain" => continue,
                "quiet" if wanted(kind) => self.quiet(&plain, only)?,
                "replay" if wanted(kind) => self.replays(&plain, only)?,
                _ => {
                    let mut row = Row { name: kind, asks, tried: 0, problems: Vec::new() };
                    for trial in of_kind {
                        row.tried += 1;
                        row.problems.extend(self.tried(trial, &plain)?);
                    }
                    row
                }
            };
            if row.tried > 0 {
                report.rows.push(row);
            }
        }
        match only {
            Some(only)
                if is_plain
                    && report.rows.len() == 1
                    && !is_within("plain", only)
                    && !is_within(only, "plain") =>
            {
                Err(ConformanceError::NoSuchCheck { only: only.to_owned(), known })
            }
            _ => Ok(report),
        }
    }

    fn note(&self, report: &mut Report) {
        if !self.stage.class.may_run_again() {
            let note = "its class lets no interrupted apply run again by itself: it is probed, or undone as a person would";
            report.notes.push(note.to_owned());
        }
        if self.stage.class != Class::Observe && !way_back(&self.stage) {
            report.notes.push("there is no way back, so undo is not asked for".to_owned());
        }
    }

    fn undoes(&self) -> bool {
        self.stage.class != Class::Observe && way_back(&self.stage)
    }

    fn conducted(&self, script: &Script) -> Result<(Ended, Picture), ConformanceError> {
        self.stage.reset()?;
        let ended = conduct::carry_out(self.subject, &self.stage, script)?;
        let picture = self.stage.picture(&ended.kept)?;
        Ok((ended, picture))
    }

    /// What stays beside after the run is closed.
    fn left_beside(&self, ended: &Ended) -> Result<Option<String>, ConformanceError> {
        self.stage.sweep()?;
        let beside = self.stage.picture(&ended.kept)?.beside;
        let list = beside.into_iter().collect::<Vec<_>>().join(", ");
        Ok((!list.is_empty()).then(|| {
            format!("{list} stays beside: the agent discards side copies of the granted paths themselves")
        }))
    }

    fn plain(&self) -> Result<(Row, Option<Plain>), ConformanceError> {
        let mut row = Row { name: KINDS[0].0, asks: KINDS[0].1, tried: 0, problems: Vec::new() };
        self.stage.reset()?;
        let start = self.stage.picture(&BTreeMap::new())?;
        let (mut ended, end) = self.conducted(&Script::default())?;
        row.tried += 1;
        if let Some(message) = not_finished(&ended.how) {
            row.problems.push(problem("plain:apply", None, message, vec![]));
            return Ok((row, None));
        }
        let differences = self.stage.expected(self.case, &end)?;
        if !differences.is_empty() {
            let message = "it does not end as the case says";
            row.problems.push(problem("plain:apply", None, message, differences));
        }
        let left = self.left_beside(&ended)?;
        row.problems.extend(left.map(|message| problem("plain:apply", None, message, vec![])));
        if self.undoes() {
            row.tried += 1;
            let (undone, back) = self.conducted(&Script { undo: true, ..Script::default() })?;
            let problem = self.judged("plain:undo", &undone, &back, (&start, &end), Want::Start)?;
            row.problems.extend(problem);
            ended = undone;
        }
        Ok((row, Some(Plain { start, end, ended })))
    }

    /// A case that the plugin has to refuse.
    fn refused(&self, code: &str) -> Result<Row, ConformanceError> {
        let asks = "it refuses, for the reason that the case names, and changes nothing";
        let mut row = Row { name: "plain", asks, tried: 1, problems: Vec::new() };
        self.stage.reset()?;
        let start = self.stage.picture(&BTreeMap::new())?;
        let (ended, picture) = self.conducted(&Script::default())?;
        let message = match &ended.how {
            How::Undone(Some(failed)) if failed.code == code => None,
            How::Undone(Some(failed)) => Some(format!("it refused with {}: {}", failed.code, failed.message)),
            How::Undone(None) | How::Finished => Some(format!("it did not refuse with {code}")),
            How::NeedsPerson(failed) => Some(format!("it asks for a person: {}", failed.message)),
        };
        row.problems.extend(message.map(|message| problem("plain:refused", None, message, vec![])));
        let problem = match row.problems.is_empty() {
            true => self.judged("plain:refused", &ended, &picture, (&start, &start), Want::Start)?,
            false => None,
        };
        row.problems.extend(problem);
        Ok(row)
    }

    fn quiet(&self, plain: &Plain, only: Option<&str>) -> Result<Row, ConformanceError> {
        let mut row = Row { name: KINDS[1].0, asks: KINDS[1].1, tried: 0, problems: Vec::new() };
        for phase in [Phase::Look, Phase::Prepare, Phase::Verify] {
            let name = format!("quiet:{phase}");
            if only.is_some_and(|only| !is_within(&name, only)) {
                continue;
            }
            let Some(went) = plain.ended.went.iter().find(|went| went.call.phase() == phase) else {
                continue;
            };
            row.tried += 1;
            let refused = went.events.iter().find_map(|event| match event {
                Event::Call { answer: Err(error), .. } if error.code.ends_with("/wrong-phase") => {
                    Some((event.name(), error.message.clone()))
                }
                _ => None,
            });
            if let Some((call, message)) = refused {
                row.problems.push(problem(&name, Some(call), message, vec![]));
                continue;
            }
            let until = |phase| self.conducted(&Script { stop_after: Some(phase), ..Script::default() });
            let before = match phase {
                Phase::Verify => until(Phase::Apply)?.1,
                _ => plain.start.clone(),
            };
            let found = until(phase)?.1;
            let mut differences = before.differences(&found);
            if phase == Phase::Look {
                differences.extend(found.beside.iter().map(|path| Difference {
                    what: path.clone(),
                    wanted: "nothing".into(),
                    found: "a side copy".into(),
                }));
            }
            if !differences.is_empty() {
                row.problems.push(problem(&name, None, format!("{phase} changed something"), differences));
            }
        }
        Ok(row)
    }

    fn replays(&self, plain: &Plain, only: Option<&str>) -> Result<Row, ConformanceError> {
        let (name, asks) = KINDS[9];
        let mut row = Row { name, asks, tried: 0, problems: Vec::new() };
        for went in &plain.ended.went {
            let name = format!("replay:{}", went.call.phase());
            if only.is_some_and(|only| !is_within(&name, only)) {
                continue;
            }
            row.tried += 1;
            for _ in 0..REPLAYS {
                if let Some(strayed) = conduct::replay(self.subject, &self.stage, went)? {
                    let message = format!("nondeterministic: {strayed}");
                    row.problems.push(problem(&name, None, message, vec![]));
                    break;
                }
            }
        }
        Ok(row)
    }

    fn trials(&self, plain: &Plain) -> Vec<Trial> {
        let mut trials = self.doubles(plain);
        let undoes = self.undoes();
        for went in &plain.ended.went {
            let phase = went.call.phase();
            let calls = went.events.iter().filter_map(|event| match event {
                Event::Call { request, .. } => Some(request),
                Event::Told { .. } => None,
            });
            for (call, request) in (1..).zip(calls) {
                let mut add = |kind: &str, what, suffix: String, want| {
                    let trouble = Some(Trouble { phase, call, what });
                    let undo = phase == Phase::Undo;
                    let name = match kind {
                        "cut" | "anew" => format!("{kind}:{call}:{suffix}"),
                        _ if suffix.is_empty() => format!("{kind}:{phase}:{call}"),
                        _ => format!("{kind}:{phase}:{call}:{suffix}"),
                    };
                    let (give_up, anew) = (kind == "cut", kind == "anew");
                    let script = Script { trouble, undo, give_up, anew, ..Script::default() };
                    trials.push(Trial { name, script, want });
                };
                let on_kill = self.after_kill(phase);
                for (what, when) in [(What::KillBefore, "before"), (What::KillAfter, "after")] {
                    if let Some(want) = on_kill {
                        add("kill", what, when.into(), want);
                    }
                    if phase == Phase::Apply && undoes {
                        add("cut", what, when.into(), Want::Start);
                    }
                    if phase == Phase::Apply && self.stage.class.may_run_again() {
                        add("anew", what, when.into(), Want::Same);
                    }
                }
                let harmless = matches!(phase, Phase::Look | Phase::Prepare);
                if !(undoes || harmless || self.stage.class == Class::Observe) {
                    continue;
                }
                let want = if phase == Phase::Undo { Want::Start } else { Want::Either };
                if phase != Phase::Undo || self.stage.class.may_run_again() {
                    for (what, suffix) in failures(request) {
                        add("fail", what, suffix, want);
                    }
                }
                if matches!(phase, Phase::Prepare | Phase::Apply) {
                    add("cancel", What::Cancel, String::new(), want);
                    add("time", What::TimeUp, String::new(), want);
                }
            }
        }
        for grant in &self.stage.grants {
            let script = Script { without: Some(grant.power.clone()), ..Script::default() };
            trials.push(Trial { name: format!("grant:{}", grant.power), script, want: Want::Denied });
        }
        trials
    }

    /// How a run ends that was killed in this phase; none when a person is asked.
    fn after_kill(&self, phase: Phase) -> Option<Want> {
        let again = self.stage.class.may_run_again();
        match phase {
            Phase::Undo => again.then_some(Want::Start),
            Phase::Apply if self.stage.class == Class::Probe => Some(Want::Same),
            Phase::Apply if !again => self.undoes().then_some(Want::Start),
            _ => Some(Want::Same),
        }
    }

    fn doubles(&self, plain: &Plain) -> Vec<Trial> {
        let ran = |phase: &Phase| plain.ended.went.iter().any(|went| went.call.phase() == *phase);
        let again = |phase: &Phase| *phase != Phase::Apply || self.stage.class.may_run_again();
        let forward: Vec<Phase> = FORWARD.into_iter().filter(ran).filter(again).collect();
        let mut trials: Vec<Trial> = forward
            .iter()
            .map(|phase| Trial {
                name: format!("double:{phase}"),
                script: Script { doubled: vec![*phase], ..Script::default() },
                want: Want::Same,
            })
            .collect();
        let all = Script { doubled: forward.clone(), ..Script::default() };
        trials.push(Trial { name: "double:all".into(), script: all, want: Want::Same });
        if self.undoes() {
            let undo = Script { doubled: vec![Phase::Undo], undo: true, ..Script::default() };
            trials.push(Trial { name: "double:undo".into(), script: undo, want: Want::Start });
            let doubled = [forward, vec![Phase::Undo]].concat();
            let all = Script { doubled, undo: true, ..Script::default() };
            trials.push(Trial { name: "double:all-undone".into(), script: all, want: Want::Start });
        }
        trials
    }

    fn tried(&self, trial: &Trial, plain: &Plain) -> Result<Option<Problem>, ConformanceError> {
        let (ended, found) = self.conducted(&trial.script)?;
        if trial.script.trouble.is_some() && ended.tripped.is_none() {
            let message = "it did not come to this call, as it did when undisturbed";
            return Ok(Some(problem(&trial.name, None, message, vec![])));
        }
        if ended.dragged {
            let message = "cancelled, it did not end by itself within ten seconds";
            return Ok(Some(problem(&trial.name, ended.tripped, message, vec![])));
        }
        self.judged(&trial.name, &ended, &found, (&plain.start, &plain.end), trial.want)
    }

    fn judged(
        &self,
        name: &str,
        ended: &Ended,
        found: &Picture,
        (start, end): (&Picture, &Picture),
        want: Want,
    ) -> Result<Option<Problem>, ConformanceError> {
        let call = ended.tripped.clone();
        let (message, differences) = match (&ended.how, want) {
            (How::NeedsPerson(failed), _) => {
                let Failed { phase, code, message, .. } = failed;
                (Some(format!("a person is asked, because {phase} failed: {message} ({code})")), vec![])
            }
            (How::Finished, Want::Same | Want::Either) => {
                (Some("it finished, and not as when undisturbed".into()), end.differences(found))
            }
            (How::Finished, Want::Denied) => (Some("it went to its end without this power".into()), vec![]),
            (How::Finished, Want::Start) => (Some("it finished, and should have been undone".into()), vec![]),
            (How::Undone(Some(failed)), Want::Same) => {
                (Some(format!("{} failed: {} ({})", failed.phase, failed.message, failed.code)), vec![])
            }
            (How::Undone(None), Want::Same) => {
                (Some("it was undone, and should have finished".into()), vec![])
            }
            (How::Undone(because), Want::Denied) if !names_denial(because.as_ref(), name) => {
                let said = because.as_ref().map_or("nothing", |failed| failed.message.as_str());
                (Some(format!("it does not say which power is missing, but: {said}")), vec![])
            }
            (How::Undone(_), _) => {
                (Some("undone, it is not as at the beginning".into()), start.differences_undone(found))
            }
        };
        let settled = matches!(
            (&ended.how, want),
            (How::Finished, Want::Same | Want::Either) | (How::Undone(_), Want::Start | Want::Either)
        ) || matches!((&ended.how, want), (How::Undone(because), Want::Denied) if names_denial(because.as_ref(), name));
        if let Some(message) = message
            && !(settled && differences.is_empty())
        {
            return Ok(Some(problem(name, call, message, differences)));
        }
        Ok(self.left_beside(ended)?.map(|message| problem(name, call, message, vec![])))
    }
}

/// A few names that could have been meant.
fn known(trials: &[Trial], only: Option<&str>) -> Vec<String> {
    let kind = |name: &str| name.split(':').next().map(str::to_owned);
    let wanted = only.and_then(kind);
    let names = trials.iter().map(|trial| trial.name.clone());
    let (like, other): (Vec<_>, Vec<_>) = names.partition(|name| kind(name) == wanted);
    like.into_iter().chain(other).take(KNOWN_SHOWN).collect()
}

/// `kill:apply:7` names `kill:apply:7:before`, and not `kill:apply:70`.
fn is_within(name: &str, only: &str) -> bool {
    name.strip_prefix(only).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

fn names_denial(because: Option<&Failed>, trial: &str) -> bool {
    let power = trial.strip_prefix("grant:").unwrap_or(trial);
    because.is_some_and(|failed| {
        let named = [format!("{power}."), format!("granted for {power}:")];
        failed.code.ends_with("/outside-grant") && named.iter().any(|named| failed.message.contains(named))
    })
}

fn not_finished(how: &How) -> Option<String> {
    match how {
        How::Finished => None,
        How::Undone(Some(failed)) | How::NeedsPerson(failed) => {
            Some(format!("{} failed: {} ({})", failed.phase, failed.message, failed.code))
        }
        How::Undone(None) => Some("it was undone".into()),
    }
}

fn problem(
    check: &str,
    call: Option<String>,
    message: impl Into<String>,
    differences: Vec<Difference>,
) -> Problem {
    Problem { check: check.to_owned(), call, message: message.into(), differences }
}

/// The errors that a call can bring on a host, and whether it may have done
/// its work all the same.
fn failures(request: &Request) -> Vec<(What, String)> {
    use ErrorKind::{Conflict, Failed, TimedOut, Transient};
    let (kinds, late): (&[ErrorKind], &[ErrorKind]) = match (request.interface(), request.effect()) {
        ("journal", _) => (&[Failed], &[Failed]),
        ("http", Effect::Read) => (&[Transient, TimedOut], &[]),
        ("http", _) => (&[Transient, TimedOut], &[TimedOut]),
        ("services", Effect::Mutate) => (&[Failed, TimedOut], &[TimedOut]),
        ("databases", Effect::Mutate) => (&[Conflict, TimedOut], &[Failed]),
        (_, Effect::Mutate) => (&[Failed, Conflict], &[Failed]),
        (_, Effect::Stage) => (&[Failed], &[Failed]),
        (_, Effect::Read | Effect::Note) => (&[Failed, Transient], &[]),
    };
    let named = |kind: &ErrorKind| {
        let text = serde_json::to_value(kind).unwrap_or_default();
        text.as_str().unwrap_or_default().to_owned()
    };
    let failing = kinds.iter().map(|kind| (What::Fail(*kind), named(kind)));
    let lost = late.iter().map(|kind| (What::FailLate(*kind), format!("{}-late", named(kind))));
    failing.chain(lost).collect()
}
