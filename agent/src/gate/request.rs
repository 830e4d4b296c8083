//! Host calls as messages, so that what is allowed, recorded and replayed is
//! one value, whoever asks and from whichever process.

use serde::{Deserialize, Serialize};
use sternway_core::point::Point;

use super::outside::{ProgramCall, SocketCall, SystemdCall};
use crate::capabilities::clusters::{ClusterRequest, ClusterResponse};
use crate::capabilities::databases::Health;
use crate::capabilities::files::{Attributes, Digest, HostPath, Ownership, Place};
use crate::capabilities::http::{self, HttpRequest, HttpResponse};
use crate::capabilities::programs::Ended;
use crate::capabilities::services::Status;
use crate::capabilities::systemd::Unit;
use crate::capabilities::{HostError, secrets};

/// What a call may do to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Read,
    /// Writes into the journal of the step.
    Note,
    /// Writes beside; nothing live is touched.
    Stage,
    /// Changes what others see.
    Mutate,
}

impl Effect {
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Self::Read => "reads",
            Self::Note => "writes a mark",
            Self::Stage => "stages something",
            Self::Mutate => "changes something",
        }
    }
}

/// A write-ahead mark, as the plugin finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// Nobody was here before.
    Fresh,
    /// An earlier try died after this note: look at the world before acting.
    Started(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Done already, with this value.
    Finished(#[serde(with = "serde_bytes")] Vec<u8>),
}

/// One host call. Names and fields are those of the contract.
#[allow(missing_docs, reason = "the contract documents each call")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    JournalBegin {
        key: String,
        #[serde(with = "serde_bytes")]
        note: Vec<u8>,
    },
    JournalFinish {
        key: String,
        #[serde(with = "serde_bytes")]
        value: Vec<u8>,
    },
    FilesGetAttributes {
        at: Place,
        path: String,
    },
    FilesGetDigest {
        at: Place,
        path: String,
    },
    FilesRead {
        at: Place,
        path: String,
        bytes_max: u32,
    },
    FilesReadTail {
        at: Place,
        path: String,
        bytes_max: u32,
    },
    FilesFind {
        at: Place,
        path: String,
        suffix: String,
    },
    FilesNames {
        at: Place,
        path: String,
    },
    FilesStageBytes {
        path: String,
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
    },
    FilesStageCopy {
        path: String,
    },
    FilesStageOwnership {
        path: String,
        to: Ownership,
    },
    FilesStageArchive {
        path: String,
        archive: String,
        bytes_max: u64,
    },
    FilesStageLink {
        path: String,
        target: String,
    },
    FilesStagePutBack {
        path: String,
        suffix: String,
    },
    FilesStageRemoval {
        path: String,
        inside: Vec<String>,
    },
    FilesDiscard {
        path: String,
    },
    FilesSwitchTo {
        path: String,
        to: String,
    },
    FilesTakeAway {
        path: String,
    },
    FilesKeepCopy {
        path: String,
    },
    PointsGet {
        id: String,
    },
    PointsEntries {
        id: String,
        path: String,
    },
    PointsStage {
        id: String,
        path: String,
    },
    ServicesGetStatus {
        name: String,
    },
    ServicesLines {
        name: String,
        lines_max: u32,
    },
    ServicesStart {
        name: String,
        timeout_ms: u64,
    },
    ServicesStop {
        name: String,
        timeout_ms: u64,
    },
    HttpSend(HttpRequest),
    DatabasesInspect {
        at: Place,
        path: String,
    },
    DatabasesAsk {
        at: Place,
        path: String,
        sql: String,
    },
    DatabasesSettle {
        path: String,
    },
    Systemd(SystemdCall),
    Programs(ProgramCall),
    Sockets(SocketCall),
    MailSend {
        to: String,
        subject: String,
        body: String,
        key: String,
    },
    ClustersSend(ClusterRequest),
}

impl Request {
    /// As the contract names the call; a program, by its form.
    pub fn name(&self) -> &str {
        match self {
            Self::JournalBegin { .. } => "journal.begin",
            Self::JournalFinish { .. } => "journal.finish",
            Self::FilesGetAttributes { .. } => "files.get-attributes",
            Self::FilesGetDigest { .. } => "files.get-digest",
            Self::FilesRead { .. } => "files.read",
            Self::FilesReadTail { .. } => "files.read-tail",
            Self::FilesFind { .. } => "files.find",
            Self::FilesNames { .. } => "files.names",
            Self::FilesStageBytes { .. } => "files.stage-bytes",
            Self::FilesStageCopy { .. } => "files.stage-copy",
            Self::FilesStageOwnership { .. } => "files.stage-ownership",
            Self::FilesStageArchive { .. } => "files.stage-archive",
            Self::FilesStageLink { .. } => "files.stage-link",
            Self::FilesStagePutBack { .. } => "files.stage-put-back",
            Self::FilesStageRemoval { .. } => "files.stage-removal",
            Self::FilesDiscard { .. } => "files.discard",
            Self::FilesSwitchTo { .. } => "files.switch-to",
            Self::FilesTakeAway { .. } => "files.take-away",
            Self::FilesKeepCopy { .. } => "files.keep-copy",
            Self::PointsGet { .. } => "points.get",
            Self::PointsEntries { .. } => "points.entries",
            Self::PointsStage { .. } => "points.stage",
            Self::ServicesGetStatus { .. } => "services.get-status",
            Self::ServicesLines { .. } => "services.lines",
            Self::ServicesStart { .. } => "services.start",
            Self::ServicesStop { .. } => "services.stop",
            Self::HttpSend(_) => "http.send",
            Self::DatabasesInspect { .. } => "databases.inspect",
            Self::DatabasesAsk { .. } => "databases.ask",
            Self::DatabasesSettle { .. } => "databases.settle",
            Self::Systemd(call) => call.name(),
            Self::Programs(call) => call.form(),
            Self::Sockets(call) => call.name(),
            Self::MailSend { .. } => "mail.send",
            Self::ClustersSend(_) => "clusters.send",
        }
    }

    /// The interface of the contract it belongs to.
    pub fn interface(&self) -> &str {
        match self {
            Self::Programs(_) => "programs",
            _ => first_part(self.name()),
        }
    }

    /// The power that must be granted: the interface, or the first part of a
    /// program's form. None for the journal, which every step has.
    pub fn power(&self) -> Option<&str> {
        match first_part(self.name()) {
            "journal" => None,
            power => Some(power),
        }
    }

    /// Further powers it needs, with their scopes: a second path, a secret.
    ///
    /// # Errors
    /// `secrets/malformed`
    pub fn further(&self) -> Result<Vec<(&'static str, String)>, HostError> {
        Ok(match self {
            Self::FilesStageArchive { archive, .. } => vec![("files", archive.clone())],
            Self::HttpSend(request) => {
                let values = request.headers.iter().map(|(_, value)| secrets::names_in(value));
                let names = values.collect::<Result<Vec<_>, _>>()?;
                names.into_iter().flatten().map(|name| ("secrets", name)).collect()
            }
            _ => Vec::new(),
        })
    }

    /// The path, name or URL that the grant must cover. None: any grant of
    /// the power will do, because the answer is bound otherwise.
    pub fn scope(&self) -> Option<String> {
        match self {
            Self::JournalBegin { .. } | Self::JournalFinish { .. } | Self::PointsGet { .. } => None,
            Self::ServicesGetStatus { name }
            | Self::ServicesLines { name, .. }
            | Self::ServicesStart { name, .. }
            | Self::ServicesStop { name, .. } => Some(name.clone()),
            Self::HttpSend(request) => Some(request.url.clone()),
            Self::Systemd(call) => call.unit().map(str::to_owned),
            Self::Programs(call) => call.on().map(str::to_owned),
            Self::Sockets(call) => Some(call.address().to_owned()),
            Self::MailSend { to, .. } => Some(to.clone()),
            Self::ClustersSend(request) => Some(format!("{}/{}", request.cluster, request.namespace)),
            _ => self.path_text().map(str::to_owned),
        }
    }

    /// What it may do to the world.
    pub fn effect(&self) -> Effect {
        match self {
            Self::JournalBegin { .. } | Self::JournalFinish { .. } => Effect::Note,
            Self::FilesGetAttributes { .. }
            | Self::FilesGetDigest { .. }
            | Self::FilesRead { .. }
            | Self::FilesReadTail { .. }
            | Self::FilesFind { .. }
            | Self::FilesNames { .. }
            | Self::PointsGet { .. }
            | Self::PointsEntries { .. }
            | Self::ServicesGetStatus { .. }
            | Self::ServicesLines { .. }
            | Self::DatabasesInspect { .. }
            | Self::DatabasesAsk { .. } => Effect::Read,
            Self::FilesStageBytes { .. }
            | Self::FilesStageCopy { .. }
            | Self::FilesStageOwnership { .. }
            | Self::FilesStageArchive { .. }
            | Self::FilesStageLink { .. }
            | Self::FilesStagePutBack { .. }
            | Self::FilesStageRemoval { .. }
            | Self::FilesDiscard { .. }
            | Self::FilesKeepCopy { .. }
            | Self::PointsStage { .. } => Effect::Stage,
            Self::FilesSwitchTo { .. }
            | Self::FilesTakeAway { .. }
            | Self::ServicesStart { .. }
            | Self::ServicesStop { .. }
            | Self::DatabasesSettle { .. } => Effect::Mutate,
            Self::HttpSend(request) if http::only_reads(&request.method) => Effect::Read,
            Self::ClustersSend(request) if request.method == "GET" => Effect::Read,
            Self::HttpSend(_) | Self::ClustersSend(_) | Self::MailSend { .. } => Effect::Mutate,
            Self::Systemd(call) => call.effect(),
            Self::Programs(call) => call.effect(),
            Self::Sockets(call) => call.effect(),
        }
    }

    /// The rollback point it names, if it names one.
    pub fn point(&self) -> Option<&str> {
        match self {
            Self::PointsGet { id } | Self::PointsEntries { id, .. } | Self::PointsStage { id, .. } => {
                Some(id)
            }
            _ => None,
        }
    }

    pub(crate) fn path(&self) -> Result<HostPath, HostError> {
        HostPath::parse(self.path_text().unwrap_or_default())
    }

    fn path_text(&self) -> Option<&str> {
        match self {
            Self::FilesGetAttributes { path, .. }
            | Self::FilesGetDigest { path, .. }
            | Self::FilesRead { path, .. }
            | Self::FilesReadTail { path, .. }
            | Self::FilesFind { path, .. }
            | Self::FilesNames { path, .. }
            | Self::FilesStageBytes { path, .. }
            | Self::FilesStageCopy { path }
            | Self::FilesStageOwnership { path, .. }
            | Self::FilesStageArchive { path, .. }
            | Self::FilesStageLink { path, .. }
            | Self::FilesStagePutBack { path, .. }
            | Self::FilesStageRemoval { path, .. }
            | Self::FilesDiscard { path }
            | Self::FilesSwitchTo { path, .. }
            | Self::FilesTakeAway { path }
            | Self::FilesKeepCopy { path }
            | Self::PointsEntries { path, .. }
            | Self::PointsStage { path, .. }
            | Self::DatabasesInspect { path, .. }
            | Self::DatabasesAsk { path, .. }
            | Self::DatabasesSettle { path } => Some(path),
            _ => None,
        }
    }
}

fn first_part(name: &str) -> &str {
    name.split('.').next().unwrap_or_default()
}

/// What a host call answers when it went well.
#[allow(missing_docs, reason = "each is the answer type of a call of the contract")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    Done,
    Changed(bool),
    Mark(Mark),
    Attributes(Option<Attributes>),
    Digest(Digest),
    DigestIfAny(Option<Digest>),
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    Text(String),
    TextIfAny(Option<String>),
    Texts(Vec<String>),
    CountIfAny(Option<u64>),
    Point(Box<Point>),
    Status(Status),
    Response(HttpResponse),
    Health(Health),
    Unit(Box<Unit>),
    Ended(Ended),
    Count(u64),
    ClusterResponse(ClusterResponse),
}
