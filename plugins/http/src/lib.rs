//! `http`: calls an endpoint and holds its answers against what is expected,
//! once or over a window. A change is taken back by the plan's own `undo`.

mod decide;
mod expect;
mod field;
mod tally;

use sternway_plugin::host::http::{self, Response};
use sternway_plugin::host::{control, progress};
use sternway_plugin::{
    Class, Error, Failure, IntoFailure, Kind, Looked, Manifest, Mode, Outcome, Plugin, Power, Prepared,
    Reversibility, Step, Verdict, Verification, memory,
};

use crate::decide::{Call, Method, Settings};
use crate::expect::Complaint;
use crate::tally::Tally;

/// The plugin.
#[derive(Debug)]
pub struct Http;

/// The journal's key for whether a change may have been sent and not taken back.
const SENT: &str = "sent";

impl Plugin for Http {
    type Settings = Settings;
    type State = ();

    fn manifest() -> Manifest {
        use Class::{Converge, Keyed, Observe};
        use Reversibility::{Compensatable, Reversible};
        Manifest {
            name: "http".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "calls HTTP endpoints and checks their answers".into(),
            settings_schema: include_str!("../settings.schema.json").into(),
            modes: vec![
                mode("get", Observe, Reversible, "checks what a URL answers"),
                mode("head", Observe, Reversible, "checks that a URL answers"),
                mode("put", Converge, Compensatable, "puts a body to a URL"),
                mode("delete", Converge, Compensatable, "deletes what a URL names"),
                mode("post", Keyed, Compensatable, "posts a body with an idempotency key"),
            ],
            powers: vec![
                Power {
                    name: "http".into(),
                    scope_from: ["get", "put", "post", "delete", "head"].map(String::from).into(),
                    reason: "calls these URLs, and those of the plan's undo".into(),
                },
                Power {
                    name: "secrets".into(),
                    scope_from: vec!["bearer".into()],
                    reason: "lets the host sign the calls with this secret, unseen by the step".into(),
                },
            ],
            default_timeout_ms: 120_000,
        }
    }

    fn look(on: &Step<Settings>) -> Result<Looked<()>, Error> {
        let call = on.settings.call()?;
        if let Some(undo) = &on.undo {
            undo.call()?;
        }
        Ok(Looked { findings: vec![], actions: vec![decide::action(&call)], state: () })
    }

    fn prepare(_on: &Step<Settings>, (): ()) -> Result<Prepared<()>, Error> {
        Ok(Prepared { summary: "nothing to stage".into(), state: () })
    }

    fn apply(on: &Step<Settings>, (): ()) -> Result<Outcome<()>, Failure> {
        let call = on.settings.call()?;
        let changes = !call.method.is_read();
        let sent_before = changes && memory::recall(SENT)? == Some(true);
        if changes && !sent_before {
            memory::keep(SENT, &true)?;
        }
        let done = carry_out(&call, &on.call.idempotency_key);
        if let Err(failure) = &done
            && changes
            && !sent_before
            && failure.error.code.starts_with("http/outside-")
        {
            // It is denied at the first try or never: nothing was sent.
            memory::keep(SENT, &false)?;
        }
        let summary = done?;
        Ok(Outcome { changed: changes, summary, state: () })
    }

    fn verify(on: &Step<Settings>, (): ()) -> Result<Vec<Verification>, Error> {
        let call = on.settings.call()?;
        if !call.method.is_read() {
            return Ok(vec![]);
        }
        let mut tally = Tally::default();
        send_once(&call, &on.call.idempotency_key, &mut tally)?;
        let complaint = tally.complaint(&call.at_a_glance());
        Ok(vec![Verification {
            name: call.title(),
            verdict: if complaint.is_none() { Verdict::Pass } else { Verdict::Fail },
            measured: Some(tally.measured()),
            expected: Some(call.at_a_glance().expectation.to_string()),
            message: complaint.unwrap_or_else(|| format!("{} answers as expected", call.url)),
        }])
    }

    fn undo(on: &Step<Settings>, (): ()) -> Result<Outcome<()>, Failure> {
        let unchanged = Outcome { changed: false, summary: "nothing was sent".into(), state: () };
        if on.settings.call()?.method.is_read() || memory::recall(SENT)? != Some(true) {
            return Ok(unchanged);
        }
        let Some(undo) = &on.undo else {
            return Err(
                Error::unsupported("http/no-undo", "the plan says no `undo` for what was sent").hands_off()
            );
        };
        let summary = carry_out(&undo.call()?, &format!("{}-undo", on.call.idempotency_key))?;
        memory::keep(SENT, &false)?;
        Ok(Outcome { changed: true, summary, state: () })
    }
}

/// Sends until the first answer is as expected or `within` has passed, then
/// goes on through the window, and judges all of it.
fn carry_out(call: &Call, key: &str) -> Result<String, Failure> {
    let begun = control::now_ms();
    let mut tally = Tally::default();
    while !send_once(call, key, &mut tally)? && control::now_ms() < begun + call.within_ms {
        pause(call.every_ms)?;
        // What came before the service was up is not held against it.
        tally = Tally::default();
    }
    if tally.is_clean() {
        watch(call, key, &mut tally)?;
    }
    match tally.complaint(call) {
        Some(complaint) => Err(Error::failed("http/unexpected", complaint).into()),
        None => Ok(tally.praise(call)),
    }
}

fn watch(call: &Call, key: &str, tally: &mut Tally) -> Result<(), Error> {
    let Some(for_ms) = call.for_ms else { return Ok(()) };
    let begun = control::now_ms();
    loop {
        let elapsed_ms = control::now_ms().saturating_sub(begun);
        if elapsed_ms >= for_ms {
            return Ok(());
        }
        progress::report("watch", elapsed_ms, Some(for_ms), "ms");
        pause(call.every_ms.min(for_ms - elapsed_ms))?;
        send_once(call, key, tally)?;
    }
}

/// Answers whether this one was as expected.
fn send_once(call: &Call, key: &str, tally: &mut Tally) -> Result<bool, Error> {
    let judged = match http::send(&call.request(key, control::limits().remaining_ms)) {
        Ok(response) => {
            let complaint = judge(call, &response);
            tally.add(complaint, Some(response.elapsed_us))
        }
        Err(error) => match error.kind {
            Kind::Denied | Kind::Invalid | Kind::Cancelled | Kind::Unsupported => {
                return Err(error);
            }
            _ => tally.add(Some(Complaint::NoAnswer(error.message)), None),
        },
    };
    Ok(judged)
}

fn judge(call: &Call, response: &Response) -> Option<Complaint> {
    let body = if call.method == Method::Head { &[][..] } else { &response.body };
    call.expectation.judge(response.status, body)
}

fn pause(ms: u64) -> Result<(), Error> {
    if control::sleep(ms) { Ok(()) } else { Err(Error::cancelled("stopped between two calls")) }
}

fn mode(setting: &str, class: Class, reversibility: Reversibility, summary: &str) -> Mode {
    Mode { setting: setting.into(), class, reversibility, summary: summary.into() }
}

sternway_plugin::export_plugin!(Http);
