//! Each check can fail: a stand-in for a component that keeps the contract
//! passes them all, and one with a single slip is caught by the check that is
//! there for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use sternway_agent::capabilities::files::Place;
use sternway_agent::capabilities::http::HttpRequest;
use sternway_agent::capabilities::{ErrorKind, HostError};
use sternway_agent::conformance::{ConformanceError, Harness, Report, Subject, cases};
use sternway_agent::gate::{Gate, Mark, Reply, Request};
use sternway_agent::sandbox::Limits;
use sternway_agent::sandbox::types::{
    Action, Answer, CallError, Failure, Invocation, Looked, Outcome, Phase, PhaseCall, Prepared, Risk,
};
use sternway_core::manifest::{Class, Manifest, Mode, PowerAsk, Reversibility};

const PATH: &str = "/data/a";

/// What a plugin's author may get wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slip {
    None,
    WritesAnotherText,
    UndoForgets,
    UndoToggles,
    AddsEachTime,
    RefusesToGoOn,
    NotesTooLate,
    SwallowsErrors,
    DrawsLots,
    LooksLoud,
    LookAsksAPeer,
    PreparesLoud,
    StagesBelowItsGrant,
    AsksForTooMuch,
    SwallowsDenials,
    DragsOn,
    AsksForAPerson,
}

#[derive(Debug)]
struct StandIn {
    manifest: Manifest,
    slip: Slip,
    lots: AtomicU64,
}

impl StandIn {
    fn new(slip: Slip, class: Class) -> Self {
        let mode = Mode {
            setting: "write".into(),
            class,
            reversibility: Reversibility::Reversible,
            summary: String::new(),
        };
        let ask = |name: &str, setting: &str| PowerAsk {
            name: name.into(),
            scope_from: vec![setting.into()],
            reason: String::new(),
        };
        let mut powers = vec![ask("files", "write"), ask("http", "url")];
        if slip == Slip::AsksForTooMuch {
            powers.push(ask("databases", "write"));
        }
        let manifest = Manifest {
            name: "stand-in".parse().unwrap(),
            version: "0.1.0".into(),
            summary: String::new(),
            settings_schema: json!({}),
            modes: vec![mode],
            powers,
            default_timeout_ms: 1_000,
        };
        Self { manifest, slip, lots: AtomicU64::new(0) }
    }

    fn look(&self, gate: &mut Gate) -> Result<Looked, HostError> {
        let now = match read(gate) {
            Err(_) if self.slip == Slip::SwallowsDenials => String::new(),
            other => other?,
        };
        match self.slip {
            // Refused, and not listened to.
            Slip::LooksLoud => drop(stage(gate, "new")),
            Slip::LookAsksAPeer => {
                let request = HttpRequest {
                    method: "GET".into(),
                    url: self.url(gate),
                    headers: vec![],
                    body: vec![],
                    timeout_ms: 5_000,
                    body_bytes_max: 1_000,
                };
                gate.pass(&Request::HttpSend(request))?;
            }
            _ => {}
        }
        let action = Action {
            summary: String::new(),
            target: PATH.into(),
            before: None,
            after: None,
            risk: Risk::Low,
        };
        let actions = if now == "new" { vec![] } else { vec![action] };
        Ok(Looked { findings: vec![], actions, state: vec![] })
    }

    /// The denial of any other URL names the one that is granted.
    fn url(&self, gate: &mut Gate) -> String {
        let request = HttpRequest {
            method: "GET".into(),
            url: "http://127.0.0.1:1/".into(),
            headers: vec![],
            body: vec![],
            timeout_ms: 1,
            body_bytes_max: 1,
        };
        let denied = gate.pass(&Request::HttpSend(request)).unwrap_err();
        denied.message.rsplit('`').nth(1).unwrap_or_default().to_owned()
    }

    fn prepare(&self, gate: &mut Gate) -> Result<Prepared, HostError> {
        if self.slip == Slip::PreparesLoud {
            gate.pass(&Request::FilesKeepCopy { path: PATH.into() })?;
        }
        Ok(Prepared { summary: String::new(), state: vec![] })
    }

    fn apply(&self, gate: &mut Gate, attempt: u32) -> Result<(), HostError> {
        if self.slip == Slip::DrawsLots {
            begin(gate, &format!("lot {}", self.lots.fetch_add(1, Ordering::Relaxed)), "")?;
        }
        if self.slip == Slip::RefusesToGoOn && attempt > 1 {
            return Err(HostError::new(ErrorKind::Failed, "x/again", "somebody was here"));
        }
        let now = live(gate)?;
        let mut text = if self.slip == Slip::WritesAnotherText { "other" } else { "new" }.to_owned();
        if self.slip == Slip::AddsEachTime {
            text = format!("{}+", read(gate)?);
        } else if self.slip != Slip::NotesTooLate {
            match begin(gate, "old", &now)? {
                Mark::Started(old) | Mark::Finished(old) if old != now.as_bytes() => return Ok(()),
                _ => {}
            }
        }
        let staged = stage(gate, &text)?;
        let switched = switch(gate, &staged);
        if self.slip == Slip::DragsOn {
            let begun = Instant::now();
            while gate.is_cancelled() && begun.elapsed() < Duration::from_secs(11) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        if self.slip == Slip::NotesTooLate {
            begin(gate, "old", &now)?;
        }
        match switched {
            Err(_) if self.slip == Slip::SwallowsErrors => Ok(()),
            other => other,
        }
    }

    fn undo(&self, gate: &mut Gate) -> Result<(), HostError> {
        match self.slip {
            Slip::UndoForgets => return Ok(()),
            Slip::UndoToggles => {
                let side = digest(gate, Place::Side)?;
                return if side.is_empty() { Ok(()) } else { switch(gate, &side) };
            }
            _ => {}
        }
        let old = match begin(gate, "old", "")? {
            Mark::Fresh => return Ok(()),
            Mark::Started(old) | Mark::Finished(old) => String::from_utf8_lossy(&old).into_owned(),
        };
        if old.is_empty() || live(gate)? == old {
            return Ok(());
        }
        switch(gate, &old)
    }
}

fn digest(gate: &mut Gate, at: Place) -> Result<String, HostError> {
    match gate.pass(&Request::FilesGetDigest { at, path: PATH.into() })? {
        Reply::DigestIfAny(found) => Ok(found.map_or_else(String::new, |found| found.sha256)),
        other => panic!("{other:?}"),
    }
}

fn live(gate: &mut Gate) -> Result<String, HostError> {
    digest(gate, Place::Live)
}

fn read(gate: &mut Gate) -> Result<String, HostError> {
    match gate.pass(&Request::FilesRead { at: Place::Live, path: PATH.into(), bytes_max: 100 })? {
        Reply::Bytes(bytes) => Ok(String::from_utf8(bytes).unwrap()),
        other => panic!("{other:?}"),
    }
}

fn begin(gate: &mut Gate, key: &str, note: &str) -> Result<Mark, HostError> {
    match gate.pass(&Request::JournalBegin { key: key.into(), note: note.into() })? {
        Reply::Mark(mark) => Ok(mark),
        other => panic!("{other:?}"),
    }
}

fn stage(gate: &mut Gate, text: &str) -> Result<String, HostError> {
    match gate.pass(&Request::FilesStageBytes { path: PATH.into(), data: text.into() })? {
        Reply::Digest(digest) => Ok(digest.sha256),
        other => panic!("{other:?}"),
    }
}

fn switch(gate: &mut Gate, to: &str) -> Result<(), HostError> {
    gate.pass(&Request::FilesSwitchTo { path: PATH.into(), to: to.into() }).map(|_| ())
}

impl Subject for StandIn {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn call(
        &self,
        invocation: &Invocation,
        call: &PhaseCall,
        mut gate: Gate,
        limits: &Limits,
    ) -> Result<Answer, CallError> {
        gate.enter(call.phase(), Instant::now() + limits.time, limits.cancel.clone());
        let outcome = |()| Outcome { changed: true, summary: String::new(), state: vec![] };
        let undo_advised = self.slip != Slip::AsksForAPerson;
        let failure = |error| Failure { error, undo_advised };
        Ok(match call.phase() {
            Phase::Look => Answer::Look(self.look(&mut gate)),
            Phase::Prepare => Answer::Prepare(self.prepare(&mut gate)),
            Phase::Apply => {
                let denied = |error: &HostError| error.kind == ErrorKind::Denied;
                let done = match self.apply(&mut gate, invocation.attempt) {
                    Err(error) if self.slip == Slip::SwallowsDenials && denied(&error) => Ok(()),
                    other => other,
                };
                Answer::Apply(done.map(outcome).map_err(failure))
            }
            Phase::Verify => Answer::Verify(Ok(vec![])),
            _ => Answer::Undo(self.undo(&mut gate).map(outcome).map_err(failure)),
        })
    }
}

fn proved_as(slip: Slip, class: Class, only: Option<&str>) -> Report {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("host/data")).unwrap();
    std::fs::create_dir_all(folder.path().join("after/data")).unwrap();
    let write = |path: &str, text: &str| {
        use std::io::Write as _;
        let mut file = std::fs::File::create(folder.path().join(path)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    write("host/data/a", "old");
    write("after/data/a", if slip == Slip::AddsEachTime { "old+" } else { "new" });
    let settings = match slip {
        Slip::StagesBelowItsGrant => r#"settings = { write = "/data" }"#,
        Slip::LookAsksAPeer => r#"settings = { write = "/data/a", url = "${http}/asked" }"#,
        _ => r#"settings = { write = "/data/a" }"#,
    };
    let peer = r#"http = [{ path = "/asked", counts = true }]"#;
    write("case.toml", &format!("summary = \"writes a file\"\n{settings}\n{peer}\n[after]\n"));
    let case = cases(folder.path()).unwrap().remove(0);
    let harness = Harness::new("true".into()).unwrap();
    harness.prove(&StandIn::new(slip, class), &case, only).unwrap()
}

fn proved(slip: Slip) -> Report {
    proved_as(slip, Class::StagedSwap, None)
}

/// The names of the checks that failed.
fn failed(report: &Report) -> Vec<String> {
    report.problems().map(|problem| problem.check.clone()).collect()
}

fn caught(slip: Slip, check: &str) {
    let report = proved(slip);
    let found = failed(&report);
    assert!(found.iter().any(|name| name.starts_with(check)), "{slip:?}:\n{}", report.table("test"));
}

#[test]
fn what_keeps_the_contract_passes_every_check() {
    let report = proved(Slip::None);
    assert_eq!(failed(&report), [""; 0], "{}", report.table("test"));
    let rows: Vec<&str> = report.rows.iter().map(|row| row.name).collect();
    assert_eq!(
        rows,
        ["plain", "quiet", "double", "kill", "anew", "cut", "fail", "cancel", "time", "replay", "grant"],
        "no check was left out"
    );
    assert!(report.tried() > 50, "{}", report.table("test"));
}

#[test]
fn an_end_that_the_case_does_not_name_is_caught() {
    let report = proved(Slip::WritesAnotherText);
    let problem = report.problems().next().unwrap();
    assert_eq!(problem.check, "plain:apply");
    assert_eq!(problem.differences[0].what, "/data/a");
    let found = &problem.differences[0];
    assert!(found.wanted.contains("\"new\"") && found.found.contains("\"other\""), "{found:?}");
}

#[test]
fn an_undo_that_forgets_or_toggles_is_caught() {
    caught(Slip::UndoForgets, "plain:undo");
    caught(Slip::UndoToggles, "double:undo");
}

#[test]
fn what_adds_with_each_run_or_will_not_run_again_is_caught() {
    // It has no way back either, which is seen first.
    let report = proved_as(Slip::AddsEachTime, Class::StagedSwap, Some("double:apply"));
    assert_eq!(failed(&report)[0], "plain:undo", "{}", report.table("test"));
    caught(Slip::RefusesToGoOn, "double:apply");
    caught(Slip::RefusesToGoOn, "kill:apply");
}

#[test]
fn a_note_that_comes_after_the_touch_is_caught_by_the_cut_between_them() {
    let report = proved(Slip::NotesTooLate);
    let problem = report.problems().find(|problem| problem.check.starts_with("cut:")).unwrap();
    assert!(problem.check.ends_with(":after"), "{problem:?}");
    assert_eq!(problem.call.as_deref(), Some("files.switch-to(/data/a)"));
}

#[test]
fn an_error_that_is_not_listened_to_is_caught() {
    for check in ["fail:apply", "cancel:apply", "time:apply"] {
        caught(Slip::SwallowsErrors, check);
    }
    caught(Slip::AsksForAPerson, "fail:apply");
}

#[test]
fn what_differs_with_the_same_answers_is_caught() {
    let report = proved(Slip::DrawsLots);
    let found = report.problems().find(|problem| problem.check == "replay:apply").unwrap();
    assert!(found.message.starts_with("nondeterministic: it made the call journal.begin(lot "), "{found:?}");
}

#[test]
fn a_look_or_a_preparation_that_is_seen_from_outside_is_caught() {
    caught(Slip::LooksLoud, "quiet:look");
    caught(Slip::PreparesLoud, "quiet:prepare");
    caught(Slip::LookAsksAPeer, "quiet:look");
}

#[test]
fn what_stays_beside_is_caught() {
    let report = proved(Slip::StagesBelowItsGrant);
    let found = report.problems().next().unwrap();
    assert!(found.message.contains("/data/.sternway-"), "{found:?}");
}

#[test]
fn a_power_that_is_not_needed_or_not_missed_is_caught() {
    caught(Slip::AsksForTooMuch, "grant:databases");
    caught(Slip::SwallowsDenials, "grant:files");
}

#[test]
fn a_phase_that_does_not_end_when_cancelled_is_caught() {
    let report = proved_as(Slip::DragsOn, Class::StagedSwap, Some("cancel:apply:4"));
    assert_eq!(failed(&report), ["cancel:apply:4"], "{}", report.table("test"));
}

#[test]
fn what_may_not_run_again_is_probed_or_undone_after_a_kill_and_never_doubled() {
    for class in [Class::Probe, Class::OneShot] {
        let report = proved_as(Slip::RefusesToGoOn, class, None);
        assert_eq!(failed(&report), [""; 0], "{}", report.table("test"));
        assert_eq!(report.notes.len(), 1);
        assert!(report.rows.iter().any(|row| row.name == "kill" && row.tried == 10));
    }
}

#[test]
fn one_check_is_run_alone_and_an_unknown_one_is_named() {
    let report = proved_as(Slip::RefusesToGoOn, Class::Converge, Some("kill:apply:2"));
    assert_eq!(failed(&report), ["kill:apply:2:before", "kill:apply:2:after"]);
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(cases(folder.path()), Err(ConformanceError::NoCase { .. })));
}
