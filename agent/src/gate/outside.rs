//! Calls to what stands outside of files: systemd, programs, sockets. Each is
//! a message of its own, with what it may do to the world.

use serde::{Deserialize, Serialize};

use super::Effect;
use crate::capabilities::programs::Call;
use crate::capabilities::sockets::Exchange;
use crate::capabilities::systemd::{FileChange, Job};

/// A call to systemd.
#[allow(missing_docs, reason = "the contract documents each call")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SystemdCall {
    GetUnit { name: String },
    Lines { name: String, since_ms: u64, lines_max: u32 },
    RunJob { name: String, job: Job, timeout_ms: u64 },
    Kill { name: String },
    ResetFailed { name: String },
    ChangeFile { name: String, change: FileChange },
    DaemonReload,
}

impl SystemdCall {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::GetUnit { .. } => "systemd.get-unit",
            Self::Lines { .. } => "systemd.lines",
            Self::RunJob { .. } => "systemd.run-job",
            Self::Kill { .. } => "systemd.kill",
            Self::ResetFailed { .. } => "systemd.reset-failed",
            Self::ChangeFile { .. } => "systemd.change-file",
            Self::DaemonReload => "systemd.daemon-reload",
        }
    }

    /// None for what is about no single unit.
    pub(super) fn unit(&self) -> Option<&str> {
        match self {
            Self::GetUnit { name }
            | Self::Lines { name, .. }
            | Self::RunJob { name, .. }
            | Self::Kill { name }
            | Self::ResetFailed { name }
            | Self::ChangeFile { name, .. } => Some(name),
            Self::DaemonReload => None,
        }
    }

    pub(super) fn effect(&self) -> Effect {
        match self {
            Self::GetUnit { .. } | Self::Lines { .. } => Effect::Read,
            _ => Effect::Mutate,
        }
    }
}

/// A call of a program, by its form.
#[allow(missing_docs, reason = "the contract documents each call")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProgramCall {
    Has { form: String },
    Ask(Call),
    Stage(Call),
    Run { key: String, call: Call },
}

impl ProgramCall {
    pub(super) fn form(&self) -> &str {
        match self {
            Self::Has { form } => form,
            Self::Ask(call) | Self::Stage(call) | Self::Run { call, .. } => &call.form,
        }
    }

    pub(super) fn on(&self) -> Option<&str> {
        self.call().map(|call| call.on.as_str())
    }

    pub(super) fn call(&self) -> Option<&Call> {
        match self {
            Self::Has { .. } => None,
            Self::Ask(call) | Self::Stage(call) | Self::Run { call, .. } => Some(call),
        }
    }

    /// What the caller says it is; the form itself has to agree.
    pub(super) fn effect(&self) -> Effect {
        match self {
            Self::Has { .. } | Self::Ask(_) => Effect::Read,
            Self::Stage(_) => Effect::Stage,
            Self::Run { .. } => Effect::Mutate,
        }
    }
}

/// Bytes over a socket.
#[allow(missing_docs, reason = "the contract documents each call")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SocketCall {
    Probe { address: String, timeout_ms: u64 },
    Ask(Exchange),
    Tell(Exchange),
}

impl SocketCall {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Probe { .. } => "sockets.probe",
            Self::Ask(_) => "sockets.ask",
            Self::Tell(_) => "sockets.tell",
        }
    }

    pub(super) fn address(&self) -> &str {
        match self {
            Self::Probe { address, .. } => address,
            Self::Ask(exchange) | Self::Tell(exchange) => &exchange.address,
        }
    }

    pub(super) fn effect(&self) -> Effect {
        match self {
            Self::Probe { .. } | Self::Ask(_) => Effect::Read,
            Self::Tell(_) => Effect::Mutate,
        }
    }
}
