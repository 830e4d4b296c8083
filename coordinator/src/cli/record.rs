//! The same record for programs: one JSON object a line. Within a major
//! version fields are only added; units stand in names; numbers of waves and
//! steps are counted from 1, as people do.

use serde_json::{Map, Value, json};
use sternway_core::ids::HostName;
use sternway_core::rollout::{Decision, HostState, HostStatus, WaveState, WaveStatus};
use sternway_core::run::{Answer, Ending, Input};
use sternway_core::wire::{HostLine, LogLine, RolloutView};

use super::text::iso;
use super::words::{self, end_word, state_word, verdict_word};

pub const EVENTS: &str = "sternway.events/1.0";
pub const ROLLOUT: &str = "sternway.rollout/1.0";

/// The first line of a stream of events.
pub fn opening(view: &RolloutView, from: u64) -> Value {
    json!({
        "format": EVENTS,
        "sternway": env!("CARGO_PKG_VERSION"),
        "rollout": view.rollout,
        "plan": format!("sha256:{}", view.plan),
        "hosts": words::totals(view).hosts,
        "from": from,
    })
}

/// The last line of a stream of events: how it ended, and with which exit code.
pub fn closing(view: &RolloutView, exit: u8) -> Value {
    json!({
        "seq": view.sequence,
        "at": iso(view.now),
        "event": "end",
        "state": state_word(&view.status.state),
        "exit": exit,
        "hosts": words::totals(view),
        "took_ms": words::elapsed(view).0,
    })
}

/// One line of the record.
pub fn event(line: &LogLine, view: &RolloutView) -> Value {
    let mut event = Map::new();
    event.insert("seq".into(), json!(line.sequence));
    event.insert("at".into(), json!(iso(line.at)));
    let rest = match &line.what {
        HostLine::Host { host, at, input } => {
            of_host(host, view, json!({ "host_at": iso(*at) }), host_event(input, view))
        }
        HostLine::Call { host, at, step, name, subject } => of_host(
            host,
            view,
            json!({ "host_at": iso(*at) }),
            json!({ "event": "call", "step": step + 1, "call": name, "subject": subject }),
        ),
        HostLine::Remarked { host, at, remark } => of_host(
            host,
            view,
            json!({ "host_at": iso(*at) }),
            json!({ "event": "remark", "remark": remark, "text": remark.to_string() }),
        ),
        HostLine::Refused { host, code, reason } => of_host(
            host,
            view,
            json!({}),
            json!({ "event": "refused", "error": { "code": code, "text": reason } }),
        ),
        HostLine::Decided(decision) => decided(decision),
    };
    extend(&mut event, rest);
    Value::Object(event)
}

fn extend(event: &mut Map<String, Value>, more: Value) {
    if let Value::Object(more) = more {
        event.extend(more.into_iter().filter(|(_, value)| !value.is_null()));
    }
}

fn of_host(host: &HostName, view: &RolloutView, first: Value, rest: Value) -> Value {
    let mut event = Map::new();
    let known = &view.status.hosts;
    let wave = known.binary_search_by(|known| known.host.cmp(host)).ok().map(|at| known[at].wave + 1);
    extend(&mut event, json!({ "host": host, "wave": wave }));
    extend(&mut event, first);
    extend(&mut event, rest);
    Value::Object(event)
}

fn host_event(input: &Input, view: &RolloutView) -> Value {
    let run = |state: &str| json!({ "event": "run", "state": state });
    let step = |number: u32, phase: &str, state: &str| {
        let name = view.steps.get(number as usize);
        json!({ "event": "step", "step": number + 1, "name": name, "phase": phase, "state": state })
    };
    let with = |mut event: Value, more: Value| {
        if let Value::Object(event) = &mut event {
            extend(event, more);
        }
        event
    };
    match input {
        Input::Accepted { signers, .. } => {
            let persons: Vec<_> = signers.iter().map(|signer| &signer.person).collect();
            with(run("accepted"), json!({ "signers": persons }))
        }
        Input::Staged { point } => with(run("staged"), json!({ "point": point })),
        Input::Unfit { reason } => with(run("unfit"), json!({ "reason": reason })),
        Input::PermitAsked { nonce } => with(run("asks-permit"), json!({ "nonce": nonce })),
        Input::Permitted { nonce, epoch } => {
            with(run("permitted"), json!({ "nonce": nonce, "epoch": epoch }))
        }
        Input::HaltTold => run("halt-told"),
        Input::HaltedLocally { by, reason } => {
            with(run("halted-on-host"), json!({ "by": by, "reason": reason }))
        }
        Input::ResumedLocally { by } => with(run("resumed-on-host"), json!({ "by": by })),
        Input::PermitDeclined { nonce } => with(run("permit-declined"), json!({ "nonce": nonce })),
        Input::PermittedHere { by } => with(run("permitted-on-host"), json!({ "by": by })),
        Input::Began { step: number, phase, attempt } => {
            with(step(*number, phase.name(), "began"), json!({ "attempt": attempt }))
        }
        Input::Ended { step: number, phase, answer } => {
            let state = if matches!(answer, Answer::Failed(_)) { "failed" } else { "ended" };
            with(step(*number, phase.name(), state), answer_fields(answer))
        }
        Input::Waited { step: number } => step(*number, "wait", "ended"),
        Input::CutOff => run("cut-off"),
        Input::Rejoined => run("rejoined"),
        Input::UndoOrdered { by, reason } => with(run("undo-ordered"), json!({ "by": by, "reason": reason })),
        Input::Confirmed { step: number } => step(*number, "confirm", "ended"),
        Input::NotConfirmed { step: number } => step(*number, "confirm", "failed"),
        Input::Decided { by, reason, choice, .. } => {
            with(run("decided"), json!({ "by": by, "reason": reason, "choice": choice }))
        }
        Input::Resumed { unfinished } => with(run("resumed"), json!({ "unfinished": unfinished })),
        Input::Settled { ending } => match ending {
            Ending::Finished => run("finished"),
            Ending::Undone { because } => with(run("undone"), json!({ "reason": because.to_string() })),
            Ending::Unfit { reason } => with(run("unfit"), json!({ "reason": reason })),
            Ending::NeedsOperator { because, choices, evidence, .. } => with(
                run("stuck"),
                json!({ "reason": because.to_string(), "choices": choices, "evidence": evidence }),
            ),
        },
        Input::Health { healthy, message } => {
            json!({ "event": "health", "healthy": healthy, "message": message })
        }
        Input::Released => run("released"),
    }
}

fn answer_fields(answer: &Answer) -> Value {
    match answer {
        Answer::Looked(looked) => json!({
            "changes": looked.actions.len(),
            "findings": looked.findings.iter().map(|finding| &finding.message).collect::<Vec<_>>(),
        }),
        Answer::Prepared(prepared) => json!({ "summary": prepared.summary }),
        Answer::Applied(outcome) | Answer::Undone(outcome) => {
            json!({ "changed": outcome.changed, "summary": outcome.summary })
        }
        Answer::Verified(checks) => json!({ "checks": checks }),
        Answer::Failed(error) => json!({ "error": { "code": error.code, "text": error.message } }),
    }
}

fn decided(decision: &Decision) -> Value {
    let wave = |number: &usize, state: &str| json!({ "event": "wave", "wave": number + 1, "state": state });
    let with = |mut event: Value, more: Value| {
        if let Value::Object(event) = &mut event {
            extend(event, more);
        }
        event
    };
    let rollout = |state: &str| json!({ "event": "rollout", "state": state });
    match decision {
        Decision::Launched { by } => with(rollout("launched"), json!({ "by": by })),
        Decision::AwaitsApproval { wave: number, group } => {
            with(wave(number, "awaits-approval"), json!({ "group": group }))
        }
        Decision::Approved { wave: number, by, group } => {
            with(wave(number, "approved"), json!({ "by": by, "group": group }))
        }
        Decision::WaveOpened { wave: number, hosts } => {
            with(wave(number, "opened"), json!({ "hosts": hosts }))
        }
        Decision::LateWave { wave: number, hosts } => with(wave(number, "late"), json!({ "hosts": hosts })),
        Decision::WaveSettled { wave: number, soak } => {
            with(wave(number, "settled"), json!({ "soak_ms": soak.0 }))
        }
        Decision::SoakRestarted { wave: number, restarts, hosts } => {
            with(wave(number, "soak-restarted"), json!({ "restarts": restarts, "hosts": hosts }))
        }
        Decision::Judged { wave: number, evidence, verdict } => json!({
            "event": "gate",
            "wave": number + 1,
            "verdict": verdict_word(verdict),
            "reasons": from_one(verdict_reasons(verdict)),
            "tally": evidence.tally,
            "failed_max": evidence.failed_max,
            "silent_max": evidence.silent_max,
        }),
        Decision::Held { reasons } => with(
            rollout("held"),
            json!({ "reasons": from_one(json!(reasons)), "text": reasons.iter().map(words::hold_words).collect::<Vec<_>>() }),
        ),
        Decision::Went { by, reason, accepted } => with(
            rollout("went"),
            json!({ "by": by, "reason": reason, "accepted": from_one(json!(accepted)) }),
        ),
        Decision::Halted { cause, in_flight } => with(
            rollout("halted"),
            json!({ "cause": from_one(json!(cause)), "text": words::halt_words(cause), "in_flight": in_flight }),
        ),
        Decision::Resumed { by, reason, in_flight } => {
            with(rollout("resumed"), json!({ "by": by, "reason": reason, "in_flight": in_flight }))
        }
        Decision::HostLate { host, wave, why } => {
            json!({ "event": "host", "state": "late", "host": host, "wave": wave + 1, "why": why })
        }
        Decision::HostSilent { host, wave, last_seen } => json!({
            "event": "host", "state": "silent", "host": host, "wave": wave + 1, "last_seen": iso(*last_seen),
        }),
        Decision::HostQuarantined { host, reason } => {
            json!({ "event": "host", "state": "quarantined", "host": host, "reason": reason })
        }
        Decision::HostReturned { host } => json!({ "event": "host", "state": "returned", "host": host }),
        Decision::HostDead { host, by, reason } => {
            json!({ "event": "host", "state": "dead", "host": host, "by": by, "reason": reason })
        }
        Decision::Unstuck { host, by, reason, choice } => json!({
            "event": "host", "state": "unstuck", "host": host, "by": by, "reason": reason, "choice": choice,
        }),
        Decision::UndoBegan { by, reason, hosts, in_flight } => with(
            rollout("undoing"),
            json!({ "by": by, "reason": reason, "hosts": hosts, "in_flight": in_flight }),
        ),
        Decision::Ended { end, exceptions } => {
            with(rollout(end_word(*end)), json!({ "exceptions": exceptions }))
        }
    }
}

fn verdict_reasons(verdict: &sternway_core::rollout::Verdict) -> Value {
    match verdict {
        sternway_core::rollout::Verdict::Pass => json!([]),
        sternway_core::rollout::Verdict::Hold(reasons) => json!(reasons),
        sternway_core::rollout::Verdict::Halt(cause) => json!([cause]),
    }
}

/// The same with waves counted from 1.
fn from_one(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(from_one).collect(),
        Value::Object(fields) => {
            let counted = |(key, value): (String, Value)| match (key.as_str(), value.as_u64()) {
                ("wave", Some(wave)) => (key, json!(wave + 1)),
                _ => (key, from_one(value)),
            };
            Value::Object(fields.into_iter().map(counted).collect())
        }
        other => other,
    }
}

/// The whole rollout as one object, for `status --json`.
pub fn rollout(view: &RolloutView) -> Value {
    let status = &view.status;
    json!({
        "rollout": view.rollout,
        "plan": format!("sha256:{}", view.plan),
        "name": view.plan_name,
        "urgency": view.urgency,
        "service": view.service,
        "from": view.from,
        "to": view.to,
        "launched_by": view.launched_by,
        "signers": view.signers,
        "launched_at": iso(view.launched_at),
        "now": iso(view.now),
        "elapsed_ms": words::elapsed(view).0,
        "budget_ms": view.budget.map(|budget| budget.0),
        "seq": view.sequence,
        "state": state_word(&status.state),
        "exit": status.exit_code(),
        "held": status.hold.as_ref().map(|hold| json!({
            "since": iso(hold.since.at),
            "reasons": from_one(json!(hold.reasons)),
            "text": hold.reasons.iter().map(words::hold_words).collect::<Vec<_>>(),
        })),
        "halted": status.halt.as_ref().map(|halt| json!({
            "since": iso(halt.since.at),
            "cause": from_one(json!(halt.cause)),
            "text": words::halt_words(&halt.cause),
        })),
        "totals": words::totals(view),
        "in_flight": status.in_flight,
        "stuck": status.stuck,
        "late": status.late,
        "exceptions": status.exceptions,
        "steps": view.steps,
        "waves": status.waves.iter().enumerate().map(|(at, one)| wave(at, one)).collect::<Vec<_>>(),
        "hosts": status.hosts.iter().map(|one| host(one, view)).collect::<Vec<_>>(),
    })
}

fn wave(at: usize, wave: &WaveStatus) -> Value {
    let state = match wave.state {
        WaveState::Closed => "closed",
        WaveState::AwaitsApproval => "awaits-approval",
        WaveState::Open => "open",
        WaveState::Soaking(_) => "soaking",
        WaveState::Passed => "passed",
    };
    json!({
        "wave": at + 1,
        "name": wave.name,
        "state": state,
        "late": wave.is_late,
        "hosts": wave.hosts,
        "left": wave.left,
        "tally": wave.tally,
        "gate": wave.gate.name,
        "verdict": wave.judged.as_ref().map(|judged| verdict_word(&judged.verdict)),
        "approve": wave.approve,
        "approved_by": wave.approved_by,
        "opened_at": wave.opened.map(iso),
        "soak_ms": wave.soak.as_ref().map(|soak| soak.length.0),
        "soak_ends_at": wave.soak.as_ref().and_then(|soak| soak.ends).map(iso),
        "soak_restarts": wave.soak.as_ref().map(|soak| soak.restarts),
    })
}

fn host(host: &HostStatus, view: &RolloutView) -> Value {
    let (state, step, reason) = match &host.state {
        HostState::Waiting => ("staging", None, None),
        HostState::Staged | HostState::Asked { .. } => ("ready", None, None),
        HostState::Permitted { .. } => ("permitted", None, None),
        HostState::Running { step } => ("running", Some(*step), None),
        HostState::Failing { step, reason } => ("failing", Some(*step), Some(reason)),
        HostState::Done => ("done", None, host.unwell.as_ref()),
        HostState::Undone { step, reason } => ("undone", Some(*step), Some(reason)),
        HostState::Refused { reason } => ("refused", None, Some(reason)),
        HostState::NeedsOperator { reason, .. } => ("stuck", None, Some(reason)),
        HostState::PuttingBack => ("putting-back", None, None),
        HostState::PutBack => ("put-back", None, None),
        HostState::Without => ("left-out", None, None),
        HostState::Dead { reason, .. } => ("dead", None, Some(reason)),
    };
    let question = match &host.state {
        HostState::NeedsOperator { question, .. } => question.as_ref(),
        _ => None,
    };
    let work = view.at_work.get(&host.host);
    json!({
        "host": host.host,
        "wave": host.wave + 1,
        "state": state,
        "step": step.or(work.map(|work| work.step)).map(|step| step + 1),
        "phase": work.map(|work| &work.phase),
        "reason": reason,
        "choices": question.map(|question| &question.choices),
        "evidence": question.map(|question| &question.evidence),
        "connected": host.connected,
        "silent": host.silent,
        "late": host.late,
        "halted": host.halted,
        "unwell": host.unwell.is_some(),
        "last_seen": iso(host.last_seen),
    })
}
