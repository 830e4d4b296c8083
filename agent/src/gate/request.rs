//! Host calls as messages, so that what is allowed, recorded and replayed is
//! one value, whoever asks and from whichever process.

use serde::{Deserialize, Serialize};
use sternway_core::point::Point;

use crate::capabilities::HostError;
use crate::capabilities::databases::Health;
use crate::capabilities::files::{Attributes, Digest, HostPath, Ownership, Place};
use crate::capabilities::http::{self, HttpRequest, HttpResponse};
use crate::capabilities::services::Status;

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
}

impl Request {
    /// As the contract names the call.
    pub fn name(&self) -> &'static str {
        match self {
            Self::JournalBegin { .. } => "journal.begin",
            Self::JournalFinish { .. } => "journal.finish",
            Self::FilesGetAttributes { .. } => "files.get-attributes",
            Self::FilesGetDigest { .. } => "files.get-digest",
            Self::FilesRead { .. } => "files.read",
            Self::FilesNames { .. } => "files.names",
            Self::FilesStageBytes { .. } => "files.stage-bytes",
            Self::FilesStageCopy { .. } => "files.stage-copy",
            Self::FilesStageOwnership { .. } => "files.stage-ownership",
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
        }
    }

    /// The interface of the contract it belongs to.
    pub fn interface(&self) -> &'static str {
        self.name().split('.').next().unwrap_or_default()
    }

    /// The power that must be granted; none for the journal, which every step has.
    pub fn power(&self) -> Option<&'static str> {
        match self.interface() {
            "journal" => None,
            power => Some(power),
        }
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
            | Self::FilesDiscard { .. }
            | Self::FilesKeepCopy { .. }
            | Self::PointsStage { .. } => Effect::Stage,
            Self::FilesSwitchTo { .. }
            | Self::FilesTakeAway { .. }
            | Self::ServicesStart { .. }
            | Self::ServicesStop { .. }
            | Self::DatabasesSettle { .. } => Effect::Mutate,
            Self::HttpSend(request) if http::only_reads(&request.method) => Effect::Read,
            Self::HttpSend(_) => Effect::Mutate,
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
            | Self::FilesNames { path, .. }
            | Self::FilesStageBytes { path, .. }
            | Self::FilesStageCopy { path }
            | Self::FilesStageOwnership { path, .. }
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
}
