//! Carrying out what was allowed: from a message to the power it is for.

use std::time::Duration;

use super::{
    Gate, KEPT_COPY, KEY_BYTES_MAX, Level, Mark, NOTE_BYTES_MAX, PLUGIN_KEY, ProgramCall, RecordError, Reply,
    Request, SocketCall, SystemdCall, not_written,
};
use crate::capabilities::files::HostPath;
use crate::capabilities::programs::Watch;
use crate::capabilities::{ErrorKind, HostError, databases, sockets};
use crate::points;

impl Gate {
    pub(super) fn act(&self, request: &Request) -> Result<Reply, HostError> {
        match request {
            Request::JournalBegin { .. } | Request::JournalFinish { .. } => self.journal(request),
            Request::FilesGetAttributes { .. }
            | Request::FilesGetDigest { .. }
            | Request::FilesRead { .. }
            | Request::FilesReadTail { .. }
            | Request::FilesFind { .. }
            | Request::FilesNames { .. }
            | Request::FilesStageBytes { .. }
            | Request::FilesStageCopy { .. }
            | Request::FilesStageOwnership { .. }
            | Request::FilesStageArchive { .. }
            | Request::FilesStageLink { .. }
            | Request::FilesStagePutBack { .. }
            | Request::FilesStageRemoval { .. }
            | Request::FilesDiscard { .. }
            | Request::FilesSwitchTo { .. }
            | Request::FilesTakeAway { .. }
            | Request::FilesKeepCopy { .. } => self.files(request),
            Request::PointsGet { .. } | Request::PointsEntries { .. } | Request::PointsStage { .. } => {
                self.points(request)
            }
            _ => self.outside(request),
        }
    }

    fn journal(&self, request: &Request) -> Result<Reply, HostError> {
        let check = |key: &str, note: &[u8]| {
            if key.is_empty() || key.len() > KEY_BYTES_MAX || note.len() > NOTE_BYTES_MAX {
                return Err(HostError::new(
                    ErrorKind::Invalid,
                    "journal/too-large",
                    "a key has 1 to 256 bytes and a note at most 64 KiB",
                ));
            }
            Ok(format!("{PLUGIN_KEY}{key}"))
        };
        let recorder = &self.parts.recorder;
        match request {
            Request::JournalBegin { key, note } => {
                recorder.begin(&check(key, note)?, note).map(Reply::Mark).map_err(|error| not_written(&error))
            }
            Request::JournalFinish { key, value } => recorder
                .finish(&check(key, value)?, value)
                .map(|()| Reply::Done)
                .map_err(|error| not_written(&error)),
            _ => unreachable!("only requests of the journal come here"),
        }
    }

    fn files(&self, request: &Request) -> Result<Reply, HostError> {
        let files = &self.parts.powers.files;
        let path = request.path()?;
        Ok(match request {
            Request::FilesGetAttributes { at, .. } => Reply::Attributes(files.attributes(*at, &path)?),
            Request::FilesGetDigest { at, .. } => Reply::DigestIfAny(files.digest(*at, &path)?),
            Request::FilesRead { at, bytes_max, .. } => Reply::Bytes(files.read(*at, &path, *bytes_max)?),
            Request::FilesReadTail { at, bytes_max, .. } => {
                Reply::Bytes(files.read_tail(*at, &path, *bytes_max)?)
            }
            Request::FilesFind { at, suffix, .. } => Reply::Texts(files.find(*at, &path, suffix)?),
            Request::FilesNames { at, .. } => Reply::Texts(files.names(*at, &path)?),
            Request::FilesStageBytes { data, .. } => Reply::Digest(files.stage_bytes(&path, data)?),
            Request::FilesStageCopy { .. } => Reply::Digest(files.stage_copy(&path)?),
            Request::FilesStageOwnership { to, .. } => Reply::Digest(files.stage_ownership(&path, to)?),
            Request::FilesStageArchive { archive, bytes_max, .. } => {
                Reply::Digest(files.stage_archive(&path, &HostPath::parse(archive)?, *bytes_max)?)
            }
            Request::FilesStageLink { target, .. } => Reply::Digest(files.stage_link(&path, target)?),
            Request::FilesStagePutBack { suffix, .. } => Reply::Texts(files.stage_put_back(&path, suffix)?),
            Request::FilesStageRemoval { inside, .. } => Reply::Texts(files.stage_removal(&path, inside)?),
            Request::FilesDiscard { .. } => {
                files.discard(&path)?;
                Reply::Done
            }
            Request::FilesSwitchTo { to, .. } => Reply::Changed(files.switch_to(&path, to)?),
            Request::FilesTakeAway { .. } => Reply::Changed(files.take_away(&path)?),
            Request::FilesKeepCopy { .. } => {
                let suffix = self.kept_copy_suffix(path.as_str())?;
                Reply::Text(files.keep_copy(&path, &suffix)?)
            }
            _ => unreachable!("only requests for files come here"),
        })
    }

    /// The time of the first attempt, so that every later one finds its copy.
    fn kept_copy_suffix(&self, path: &str) -> Result<String, HostError> {
        let now = jiff::Timestamp::now().strftime(".%Y%m%dT%H%M%SZ").to_string();
        let key = format!("{KEPT_COPY}{path}");
        let mark = self.parts.recorder.begin(&key, now.as_bytes());
        let bytes = match mark.map_err(|error| not_written(&error))? {
            Mark::Fresh => return Ok(now),
            Mark::Started(bytes) | Mark::Finished(bytes) => bytes,
        };
        String::from_utf8(bytes).map_err(|_| not_written(&RecordError::Unreadable { key }))
    }

    fn points(&self, request: &Request) -> Result<Reply, HostError> {
        let Some(kept) = &self.parts.powers.points else {
            return Err(HostError::new(
                ErrorKind::Unsupported,
                "points/none-here",
                "this host keeps no rollback points",
            ));
        };
        Ok(match request {
            Request::PointsGet { id } => {
                Reply::Point(Box::new(kept.get(points::read_id(id)?).map_err(points::for_plugin)?))
            }
            Request::PointsEntries { id, .. } => {
                Reply::CountIfAny(kept.entries(points::read_id(id)?, &request.path()?)?)
            }
            Request::PointsStage { id, .. } => {
                let (id, path) = (points::read_id(id)?, request.path()?);
                let fill = |directory: std::os::fd::BorrowedFd<'_>, name: &str, live: &str| {
                    kept.restore_beside(id, &path, (directory, name), live)
                };
                Reply::Digest(self.parts.powers.files.stage_with(&path, fill)?)
            }
            _ => unreachable!("only requests for points come here"),
        })
    }

    fn outside(&self, request: &Request) -> Result<Reply, HostError> {
        let powers = &self.parts.powers;
        let give_up = || self.cancel.is_cancelled();
        Ok(match request {
            Request::ServicesGetStatus { name } => Reply::Status(powers.services.status(name)?),
            Request::ServicesLines { name, lines_max } => {
                Reply::Texts(powers.services.lines(name, *lines_max)?)
            }
            Request::ServicesStart { name, timeout_ms } => {
                Reply::Status(powers.services.start(name, self.within(*timeout_ms), &give_up)?)
            }
            Request::ServicesStop { name, timeout_ms } => {
                Reply::Status(powers.services.stop(name, self.within(*timeout_ms), &give_up)?)
            }
            Request::DatabasesInspect { at, .. } => {
                let path = request.path()?;
                Reply::Health(databases::inspect(&powers.files, *at, &path, self.deadline)?)
            }
            Request::DatabasesAsk { at, sql, .. } => {
                let path = request.path()?;
                Reply::TextIfAny(databases::ask(&powers.files, *at, &path, sql, self.deadline)?)
            }
            Request::DatabasesSettle { .. } => {
                databases::settle(&powers.files, &request.path()?, self.deadline)?;
                Reply::Done
            }
            Request::Systemd(call) => self.systemd(call)?,
            Request::Programs(call) => self.programs(call)?,
            _ => self.network(request)?,
        })
    }

    fn systemd(&self, call: &SystemdCall) -> Result<Reply, HostError> {
        let systemd = &self.parts.powers.outside.systemd;
        let give_up = || self.cancel.is_cancelled();
        Ok(match call {
            SystemdCall::GetUnit { name } => Reply::Unit(Box::new(systemd.unit(name)?)),
            SystemdCall::Lines { name, since_ms, lines_max } => {
                Reply::Texts(systemd.lines(name, *since_ms, *lines_max)?)
            }
            SystemdCall::RunJob { name, job, timeout_ms } => {
                Reply::Unit(Box::new(systemd.run_job(name, *job, self.within(*timeout_ms), &give_up)?))
            }
            SystemdCall::Kill { name } => {
                systemd.kill(name)?;
                Reply::Done
            }
            SystemdCall::ResetFailed { name } => {
                systemd.reset_failed(name)?;
                Reply::Done
            }
            SystemdCall::ChangeFile { name, change } => Reply::Changed(systemd.change_file(name, *change)?),
            SystemdCall::DaemonReload => {
                systemd.daemon_reload()?;
                Reply::Done
            }
        })
    }

    fn programs(&self, call: &ProgramCall) -> Result<Reply, HostError> {
        let (programs, files) = (&self.parts.powers.outside.programs, &self.parts.powers.files);
        let real = |place, path: &str| files.real_path(place, &HostPath::parse(path)?);
        let give_up = || self.cancel.is_cancelled();
        let on_line = |line: &str| self.parts.sink.line(Level::Info, line);
        let watch = Watch { deadline: self.deadline, give_up: &give_up, on_line: &on_line };
        Ok(match call {
            ProgramCall::Has { form } => Reply::Changed(programs.has(form)?),
            ProgramCall::Ask(call) => Reply::Ended(programs.ask(&real, call, watch)?),
            ProgramCall::Stage(call) => Reply::Ended(programs.stage(&real, call, watch)?),
            ProgramCall::Run { key, call } => {
                let (step, attempt) = (&self.parts.step, self.parts.attempt);
                let (key, name) = (format!("{step}/{key}"), format!("{step}-{attempt}"));
                Reply::Ended(programs.run(&key, &name, &real, call, watch)?)
            }
        })
    }

    fn network(&self, request: &Request) -> Result<Reply, HostError> {
        let powers = &self.parts.powers;
        let give_up = || self.cancel.is_cancelled();
        Ok(match request {
            Request::HttpSend(request) => {
                let secrets = &powers.outside.secrets;
                Reply::Response(powers.http.send_with(secrets, request, self.deadline)?)
            }
            Request::Sockets(SocketCall::Probe { address, timeout_ms }) => {
                Reply::Count(sockets::probe(address, Duration::from_millis(*timeout_ms), self.deadline)?)
            }
            Request::Sockets(SocketCall::Ask(exchange) | SocketCall::Tell(exchange)) => {
                Reply::Bytes(sockets::exchange(exchange, self.deadline, &give_up)?)
            }
            Request::MailSend { to, subject, body, key } => {
                powers.outside.mailer.send(to, subject, body, key, self.deadline)?;
                Reply::Done
            }
            Request::ClustersSend(request) => {
                Reply::ClusterResponse(powers.outside.clusters.send(request, self.deadline)?)
            }
            _ => unreachable!("everything else was handled before"),
        })
    }
}
