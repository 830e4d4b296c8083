//! The contract as the engine sees it, and nothing but translation: every host
//! call becomes a message and goes through the gate.

#[allow(
    missing_debug_implementations,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::use_self,
    clippy::unwrap_used,
    reason = "written by the engine's own macro"
)]
pub(super) mod contract {
    wasmtime::component::bindgen!({
        world: "sternway:step/step",
        path: "../wit",
    });
}

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::limits::{LINE_BYTES_MAX, LINES_MAX, Meter};
use super::types;
use crate::capabilities::{self, HostError};
use crate::gate::{self, Gate, Reply, Request};
use contract::sternway::host as wit;
use contract::sternway::step::types as step;
use wit::errors::{Error, Kind};

/// What a fresh instance holds on our side.
pub(super) struct Context {
    pub(super) wasi: WasiCtx,
    pub(super) table: ResourceTable,
    pub(super) meter: Meter,
    /// None while a plugin describes itself: no power at all.
    pub(super) gate: Option<Gate>,
    pub(super) memory_bytes_max: u64,
    pub(super) lines: u32,
}

impl WasiView for Context {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl Context {
    fn pass(&mut self, request: &Request) -> Result<Reply, Error> {
        let Some(gate) = &mut self.gate else {
            return Err(error_out(HostError::new(
                capabilities::ErrorKind::Denied,
                "gate/no-power",
                format!("{} was called while describing, where nothing is allowed", request.name()),
            )));
        };
        gate.pass(request).map_err(error_out)
    }
}

/// Takes the one kind of reply that a call can have.
macro_rules! take {
    ($reply:expr, $variant:ident) => {
        match $reply? {
            Reply::$variant(value) => Ok(value),
            other => Err(mismatch(&other)),
        }
    };
}

fn done(reply: Result<Reply, Error>) -> Result<(), Error> {
    match reply? {
        Reply::Done => Ok(()),
        other => Err(mismatch(&other)),
    }
}

/// Only a gate that answers another question than was asked leads here.
fn mismatch(reply: &Reply) -> Error {
    tracing::error!(?reply, "the gate answered another question");
    let message = "the host answered another question than was asked";
    Error { kind: Kind::Failed, code: "gate/mismatch".to_owned(), message: message.to_owned() }
}

mod outside;

impl wit::errors::Host for Context {}
impl step::Host for Context {}

impl wit::log::Host for Context {
    fn write(&mut self, level: wit::log::Level, message: String) {
        let Some(gate) = &self.gate else { return };
        self.lines = self.lines.saturating_add(1);
        let level = match level {
            wit::log::Level::Debug => gate::Level::Debug,
            wit::log::Level::Info => gate::Level::Info,
            wit::log::Level::Warn => gate::Level::Warn,
            wit::log::Level::Error => gate::Level::Error,
        };
        match self.lines {
            n if n <= LINES_MAX => gate.sink().line(level, &one_line(&message, LINE_BYTES_MAX)),
            n if n == LINES_MAX + 1 => {
                gate.sink()
                    .line(gate::Level::Warn, "the plugin says more than may be kept; the rest is dropped");
            }
            _ => {}
        }
    }
}

impl wit::progress::Host for Context {
    fn report(&mut self, stage: String, done: u64, total: Option<u64>, unit: String) {
        let Some(gate) = &self.gate else { return };
        let (stage, unit) = (one_line(&stage, 200), one_line(&unit, 40));
        gate.sink().progress(&gate::Progress { stage, done, total, unit });
    }
}

impl wit::control::Host for Context {
    fn limits(&mut self) -> wit::control::Budget {
        wit::control::Budget {
            remaining_ms: self.gate.as_ref().map_or(0, Gate::remaining_ms),
            memory_bytes_max: self.memory_bytes_max,
        }
    }

    fn cancelled(&mut self) -> bool {
        self.gate.as_ref().is_some_and(Gate::is_cancelled)
    }

    fn sleep(&mut self, ms: u64) -> bool {
        self.gate.as_mut().is_some_and(|gate| gate.sleep(ms))
    }

    fn now_ms(&mut self) -> u64 {
        self.gate.as_ref().map_or(0, Gate::now_ms)
    }
}

impl wit::journal::Host for Context {
    fn begin(&mut self, key: String, note: Vec<u8>) -> Result<wit::journal::Mark, Error> {
        let mark = take!(self.pass(&Request::JournalBegin { key, note }), Mark)?;
        Ok(match mark {
            gate::Mark::Fresh => wit::journal::Mark::Fresh,
            gate::Mark::Started(note) => wit::journal::Mark::Started(note),
            gate::Mark::Finished(value) => wit::journal::Mark::Finished(value),
        })
    }

    fn finish(&mut self, key: String, value: Vec<u8>) -> Result<(), Error> {
        done(self.pass(&Request::JournalFinish { key, value }))
    }
}

impl wit::files::Host for Context {
    fn get_attributes(
        &mut self,
        at: wit::files::Place,
        path: String,
    ) -> Result<Option<wit::files::Attributes>, Error> {
        let request = Request::FilesGetAttributes { at: place_in(at), path };
        Ok(take!(self.pass(&request), Attributes)?.map(attributes_out))
    }

    fn get_digest(
        &mut self,
        at: wit::files::Place,
        path: String,
    ) -> Result<Option<wit::files::Digest>, Error> {
        let request = Request::FilesGetDigest { at: place_in(at), path };
        Ok(take!(self.pass(&request), DigestIfAny)?.map(digest_out))
    }

    fn read(&mut self, at: wit::files::Place, path: String, bytes_max: u32) -> Result<Vec<u8>, Error> {
        take!(self.pass(&Request::FilesRead { at: place_in(at), path, bytes_max }), Bytes)
    }

    fn read_tail(&mut self, at: wit::files::Place, path: String, bytes_max: u32) -> Result<Vec<u8>, Error> {
        take!(self.pass(&Request::FilesReadTail { at: place_in(at), path, bytes_max }), Bytes)
    }

    fn find(&mut self, at: wit::files::Place, path: String, suffix: String) -> Result<Vec<String>, Error> {
        take!(self.pass(&Request::FilesFind { at: place_in(at), path, suffix }), Texts)
    }

    fn names(&mut self, at: wit::files::Place, path: String) -> Result<Vec<String>, Error> {
        take!(self.pass(&Request::FilesNames { at: place_in(at), path }), Texts)
    }

    fn stage_bytes(&mut self, path: String, data: Vec<u8>) -> Result<wit::files::Digest, Error> {
        Ok(digest_out(take!(self.pass(&Request::FilesStageBytes { path, data }), Digest)?))
    }

    fn stage_copy(&mut self, path: String) -> Result<wit::files::Digest, Error> {
        Ok(digest_out(take!(self.pass(&Request::FilesStageCopy { path }), Digest)?))
    }

    fn stage_ownership(
        &mut self,
        path: String,
        to: wit::files::Ownership,
    ) -> Result<wit::files::Digest, Error> {
        let wit::files::Ownership { owner, group, file_mode, directory_mode } = to;
        let to = capabilities::files::Ownership { owner, group, file_mode, directory_mode };
        Ok(digest_out(take!(self.pass(&Request::FilesStageOwnership { path, to }), Digest)?))
    }

    fn stage_archive(
        &mut self,
        path: String,
        archive: String,
        bytes_max: u64,
    ) -> Result<wit::files::Digest, Error> {
        let request = Request::FilesStageArchive { path, archive, bytes_max };
        Ok(digest_out(take!(self.pass(&request), Digest)?))
    }

    fn stage_link(&mut self, path: String, target: String) -> Result<wit::files::Digest, Error> {
        Ok(digest_out(take!(self.pass(&Request::FilesStageLink { path, target }), Digest)?))
    }

    fn stage_put_back(&mut self, path: String, suffix: String) -> Result<Vec<String>, Error> {
        take!(self.pass(&Request::FilesStagePutBack { path, suffix }), Texts)
    }

    fn stage_removal(&mut self, path: String, inside: Vec<String>) -> Result<Vec<String>, Error> {
        take!(self.pass(&Request::FilesStageRemoval { path, inside }), Texts)
    }

    fn discard(&mut self, path: String) -> Result<(), Error> {
        done(self.pass(&Request::FilesDiscard { path }))
    }

    fn switch_to(&mut self, path: String, to: String) -> Result<bool, Error> {
        take!(self.pass(&Request::FilesSwitchTo { path, to }), Changed)
    }

    fn take_away(&mut self, path: String) -> Result<bool, Error> {
        take!(self.pass(&Request::FilesTakeAway { path }), Changed)
    }

    fn keep_copy(&mut self, path: String) -> Result<String, Error> {
        take!(self.pass(&Request::FilesKeepCopy { path }), Text)
    }
}

impl wit::points::Host for Context {
    fn get(&mut self, id: String) -> Result<wit::points::Point, Error> {
        let point = take!(self.pass(&Request::PointsGet { id }), Point)?;
        let tag = point.tags.into_iter().next().unwrap_or_default();
        Ok(wit::points::Point { id: point.id.to_string(), tag, made_ms: point.made.0, paths: point.paths })
    }

    fn entries(&mut self, id: String, path: String) -> Result<Option<u64>, Error> {
        take!(self.pass(&Request::PointsEntries { id, path }), CountIfAny)
    }

    fn stage(&mut self, id: String, path: String) -> Result<wit::files::Digest, Error> {
        Ok(digest_out(take!(self.pass(&Request::PointsStage { id, path }), Digest)?))
    }
}

impl wit::services::Host for Context {
    fn get_status(&mut self, name: String) -> Result<wit::services::Status, Error> {
        Ok(status_out(take!(self.pass(&Request::ServicesGetStatus { name }), Status)?))
    }

    fn lines(&mut self, name: String, lines_max: u32) -> Result<Vec<String>, Error> {
        take!(self.pass(&Request::ServicesLines { name, lines_max }), Texts)
    }

    fn start(&mut self, name: String, timeout_ms: u64) -> Result<wit::services::Status, Error> {
        Ok(status_out(take!(self.pass(&Request::ServicesStart { name, timeout_ms }), Status)?))
    }

    fn stop(&mut self, name: String, timeout_ms: u64) -> Result<wit::services::Status, Error> {
        Ok(status_out(take!(self.pass(&Request::ServicesStop { name, timeout_ms }), Status)?))
    }
}

impl wit::http::Host for Context {
    fn send(&mut self, request: wit::http::Request) -> Result<wit::http::Response, Error> {
        let wit::http::Request { method, url, headers, body, timeout_ms, body_bytes_max } = request;
        let request =
            capabilities::http::HttpRequest { method, url, headers, body, timeout_ms, body_bytes_max };
        let response = take!(self.pass(&Request::HttpSend(request)), Response)?;
        let capabilities::http::HttpResponse { status, headers, body, elapsed_us } = response;
        Ok(wit::http::Response { status, headers, body, elapsed_us })
    }
}

impl wit::databases::Host for Context {
    fn inspect(&mut self, at: wit::files::Place, path: String) -> Result<wit::databases::Health, Error> {
        let request = Request::DatabasesInspect { at: place_in(at), path };
        let health = take!(self.pass(&request), Health)?;
        let capabilities::databases::Health { problems, tables, pages } = health;
        Ok(wit::databases::Health { problems, tables, pages })
    }

    fn ask(&mut self, at: wit::files::Place, path: String, sql: String) -> Result<Option<String>, Error> {
        take!(self.pass(&Request::DatabasesAsk { at: place_in(at), path, sql }), TextIfAny)
    }

    fn settle(&mut self, path: String) -> Result<(), Error> {
        done(self.pass(&Request::DatabasesSettle { path }))
    }
}

fn place_in(place: wit::files::Place) -> capabilities::files::Place {
    match place {
        wit::files::Place::Live => capabilities::files::Place::Live,
        wit::files::Place::Side => capabilities::files::Place::Side,
    }
}

fn attributes_out(attributes: capabilities::files::Attributes) -> wit::files::Attributes {
    use capabilities::files::{Attributes, Node};
    let Attributes { node, mode, owner, group, bytes, modified_ms } = attributes;
    let node = match node {
        Node::File => wit::files::Node::File,
        Node::Directory => wit::files::Node::Directory,
        Node::Symlink => wit::files::Node::Symlink,
        Node::Other => wit::files::Node::Other,
    };
    wit::files::Attributes { node, mode, owner, group, bytes, modified_ms }
}

fn digest_out(digest: capabilities::files::Digest) -> wit::files::Digest {
    let capabilities::files::Digest { sha256, entries, bytes } = digest;
    wit::files::Digest { sha256, entries, bytes }
}

fn status_out(status: capabilities::services::Status) -> wit::services::Status {
    use capabilities::services::{State, Status};
    let Status { name, state, pid, since_ms, restarts, last_exit } = status;
    let state = match state {
        State::Running => wit::services::State::Running,
        State::Starting => wit::services::State::Starting,
        State::Stopping => wit::services::State::Stopping,
        State::Stopped => wit::services::State::Stopped,
        State::Failed => wit::services::State::Failed,
    };
    wit::services::Status { name, state, pid, since_ms, restarts, last_exit }
}

fn error_out(error: HostError) -> Error {
    use capabilities::ErrorKind;
    let kind = match error.kind {
        ErrorKind::Denied => Kind::Denied,
        ErrorKind::Invalid => Kind::Invalid,
        ErrorKind::NotFound => Kind::NotFound,
        ErrorKind::Conflict => Kind::Conflict,
        ErrorKind::Transient => Kind::Transient,
        ErrorKind::TimedOut => Kind::TimedOut,
        ErrorKind::Cancelled => Kind::Cancelled,
        ErrorKind::Unsupported => Kind::Unsupported,
        ErrorKind::Failed => Kind::Failed,
    };
    Error { kind, code: error.code, message: error.message }
}

/// Control characters, and those that turn the direction of a line, are
/// replaced: what a plugin writes must not look like something we say.
pub(super) fn one_line(text: &str, bytes_max: usize) -> String {
    let mut line = String::new();
    for c in text.chars() {
        if line.len() + c.len_utf8() > bytes_max {
            line.push('\u{2026}');
            break;
        }
        line.push(if c.is_control() || sternway_core::ids::is_disguise(c) { '\u{fffd}' } else { c });
    }
    line
}

pub(super) mod translate {
    //! Between the contract's records and ours, both ways.

    use super::contract::sternway::step::types as step;
    use super::{Error, Kind, types};
    use crate::capabilities::{ErrorKind, HostError};

    pub(in super::super) fn invocation(of: &types::Invocation) -> step::Invocation {
        let of = of.clone();
        step::Invocation {
            run_id: of.run_id,
            step: of.step,
            host: of.host,
            idempotency_key: of.idempotency_key,
            attempt: of.attempt,
            settings: of.settings,
            undo_settings: of.undo_settings,
            point: of.point,
            facts: of.facts,
        }
    }

    pub(in super::super) fn error(of: Error) -> HostError {
        let kind = match of.kind {
            Kind::Denied => ErrorKind::Denied,
            Kind::Invalid => ErrorKind::Invalid,
            Kind::NotFound => ErrorKind::NotFound,
            Kind::Conflict => ErrorKind::Conflict,
            Kind::Transient => ErrorKind::Transient,
            Kind::TimedOut => ErrorKind::TimedOut,
            Kind::Cancelled => ErrorKind::Cancelled,
            Kind::Unsupported => ErrorKind::Unsupported,
            Kind::Failed => ErrorKind::Failed,
        };
        HostError { kind, code: of.code, message: of.message }
    }

    pub(in super::super) fn failure(of: step::Failure) -> types::Failure {
        types::Failure { error: error(of.error), undo_advised: of.undo_advised }
    }

    pub(in super::super) fn looked_in(of: step::Looked) -> types::Looked {
        let findings = of.findings.into_iter().map(|finding| types::Finding {
            code: finding.code,
            message: finding.message,
            blocking: finding.blocking,
        });
        let actions = of.actions.into_iter().map(|action| types::Action {
            summary: action.summary,
            target: action.target,
            before: action.before,
            after: action.after,
            risk: match action.risk {
                step::Risk::None => types::Risk::None,
                step::Risk::Low => types::Risk::Low,
                step::Risk::High => types::Risk::High,
                step::Risk::DataLoss => types::Risk::DataLoss,
            },
        });
        types::Looked { findings: findings.collect(), actions: actions.collect(), state: of.state }
    }

    pub(in super::super) fn looked_out(of: &types::Looked) -> step::Looked {
        let of = of.clone();
        let findings = of.findings.into_iter().map(|finding| step::Finding {
            code: finding.code,
            message: finding.message,
            blocking: finding.blocking,
        });
        let actions = of.actions.into_iter().map(|action| step::Action {
            summary: action.summary,
            target: action.target,
            before: action.before,
            after: action.after,
            risk: match action.risk {
                types::Risk::None => step::Risk::None,
                types::Risk::Low => step::Risk::Low,
                types::Risk::High => step::Risk::High,
                types::Risk::DataLoss => step::Risk::DataLoss,
            },
        });
        step::Looked { findings: findings.collect(), actions: actions.collect(), state: of.state }
    }

    pub(in super::super) fn prepared_in(of: step::Prepared) -> types::Prepared {
        types::Prepared { summary: of.summary, state: of.state }
    }

    pub(in super::super) fn prepared_out(of: &types::Prepared) -> step::Prepared {
        let types::Prepared { summary, state } = of.clone();
        step::Prepared { summary, state }
    }

    pub(in super::super) fn outcome_in(of: step::Outcome) -> types::Outcome {
        types::Outcome { changed: of.changed, summary: of.summary, state: of.state }
    }

    pub(in super::super) fn outcome_out(of: &types::Outcome) -> step::Outcome {
        let types::Outcome { changed, summary, state } = of.clone();
        step::Outcome { changed, summary, state }
    }

    pub(in super::super) fn verification(of: step::Verification) -> types::Verification {
        types::Verification {
            name: of.name,
            verdict: match of.verdict {
                step::Verdict::Pass => types::Verdict::Pass,
                step::Verdict::Fail => types::Verdict::Fail,
                step::Verdict::Inconclusive => types::Verdict::Inconclusive,
            },
            measured: of.measured,
            expected: of.expected,
            message: of.message,
        }
    }
}
