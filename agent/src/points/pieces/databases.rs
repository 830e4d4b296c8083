//! Databases, dumped as a stream while they serve. A dump is whole or the
//! point is not made: what the dumping program says last counts.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use sternway_core::point::PieceKind;

use super::program::{Call, ProgramError};
use super::{Ground, Names, PiecesError};
use crate::capabilities::files::{Files, HostPath, Place};
use crate::config::{Database, DatabaseSource};
use crate::points::making::{Content, Extra};
use crate::processes::accounts::Account;

/// A dump that gives no byte for so long is ended: longer than any lock should be held.
const SILENCE_MAX: Duration = Duration::from_secs(600);
const VERSION_PATIENCE: Duration = Duration::from_secs(20);
/// How long a copy of a SQLite file may take; its other writers may have to wait for it.
const COPY_MAX: Duration = Duration::from_secs(3600);
const BUSY_MAX: Duration = Duration::from_secs(30);
const PAGES_AT_ONCE: i32 = 4096;
/// The beginning of a SQLite file, and where it says that it keeps a write-ahead log.
const MAGIC: &[u8] = b"SQLite format 3\0";
const WAL_AT: usize = 18;

/// Why a SQLite file could not be copied.
#[derive(Debug, thiserror::Error)]
enum CopyError {
    #[error("could not {step} the copy of the database `{path}`")]
    Scratch {
        step: &'static str,
        path: HostPath,
        #[source]
        cause: io::Error,
    },
    #[error("could not copy the database `{path}`: {cause}")]
    Sqlite { path: HostPath, cause: rusqlite::Error },
    #[error("the database `{path}` was locked for {} s", BUSY_MAX.as_secs())]
    Locked { path: HostPath },
    #[error("the copy of the database `{path}` took longer than {} s", COPY_MAX.as_secs())]
    TimedOut { path: HostPath },
    #[error("`{path}` is no SQLite database")]
    NoDatabase { path: HostPath },
    #[error(transparent)]
    Host(#[from] crate::capabilities::HostError),
}

pub(super) fn piece(
    ground: &Ground<'_>,
    names: &mut Names,
    database: &Database,
) -> Result<Extra, PiecesError> {
    let failed = |cause| PiecesError::Database { database: database.name.clone(), cause };
    let run_by = |call: Call| match &database.user {
        None => Ok(call),
        Some(name) => {
            let account = Account::named(name).filter(Account::is_open_to_us);
            let unknown = || PiecesError::User { database: database.name.clone(), user: name.clone() };
            account.map(|account| call.run_by(account)).ok_or_else(unknown)
        }
    };
    let (ending, note, content) = match &database.source {
        DatabaseSource::Sqlite(path) => {
            let path = HostPath::parse(path)?;
            ("sqlite", "SQLite, a copy of the file".into(), sqlite(ground, path)?)
        }
        DatabaseSource::Postgres(connection) => {
            let call = run_by(ground.programs.call("pg_dump").map_err(failed)?)?;
            let note = version(&call).map_err(failed)?;
            let words = ["--format=custom", "--compress=0", "--no-password", "--dbname", connection];
            ("pgdump", note, Content::Stream(call.words(words).open(SILENCE_MAX, false)))
        }
        DatabaseSource::Mysql(mysql) => {
            let defaults = ground.real(&HostPath::parse(&mysql.defaults)?)?;
            let is_known = ground.programs.has("mysqldump") || !ground.programs.has("mariadb-dump");
            let program = if is_known { "mysqldump" } else { "mariadb-dump" };
            let call = run_by(ground.programs.call(program).map_err(failed)?)?;
            let note = version(&call).map_err(failed)?;
            let mut only = std::ffi::OsString::from("--defaults-file=");
            only.push(defaults);
            let words = ["--single-transaction", "--routines", "--events", "--hex-blob", "--skip-dump-date"];
            let call = call.words([only]).words(words);
            let call = match mysql.databases.as_slice() {
                [] => call.words(["--all-databases"]),
                some => call.words(["--databases"]).words(some),
            };
            ("sql", note, Content::Stream(call.open(SILENCE_MAX, false)))
        }
        DatabaseSource::Command(command) => {
            let (program, words) = command.split_first().ok_or_else(|| PiecesError::NoCommand {
                what: format!("the database `{}`", database.name),
            })?;
            let call = run_by(ground.programs.call(program).map_err(failed)?)?.words(words);
            ("dump", format!("what `{program}` gives"), Content::Stream(call.open(SILENCE_MAX, false)))
        }
    };
    let file = names.file(PieceKind::Database, &database.name, ending);
    Ok(Extra { kind: PieceKind::Database, name: database.name.clone(), file, note, content })
}

fn version(call: &Call) -> Result<String, ProgramError> {
    let said = call.clone().words(["--version"]).ask(VERSION_PATIENCE)?.text();
    Ok(said.lines().next().unwrap_or_default().trim().chars().take(120).collect())
}

fn sqlite(ground: &Ground<'_>, path: HostPath) -> Result<Content, PiecesError> {
    let files = Files::new(ground.root.clone(), "points", "databases");
    if files.real_file(Place::Live, &path)?.is_none() {
        return Err(PiecesError::Absent { path: path.to_string() });
    }
    let scratch = ground.scratch.to_path_buf();
    Ok(Content::Measured(Box::new(move || {
        let copy = copy_of(&files, &path, &scratch).map_err(|error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            io::Error::other(format!("{error}{}", cause.unwrap_or_default()))
        })?;
        let bytes = copy.metadata()?.len();
        Ok((Box::new(copy) as Box<dyn Read + Send>, bytes))
    })))
}

/// Copies page by page under one read transaction, so that the copy is the
/// database as it was at one moment. With a write-ahead log nobody waits;
/// without one, writers wait until the copy is made.
fn copy_of(files: &Files, path: &HostPath, scratch: &Path) -> Result<File, CopyError> {
    let file =
        files.real_file(Place::Live, path)?.ok_or_else(|| CopyError::NoDatabase { path: path.clone() })?;
    let failed = |step| move |cause| CopyError::Scratch { step, path: path.clone(), cause };
    let sqlite = |cause: rusqlite::Error| match cause.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            CopyError::Locked { path: path.clone() }
        }
        Some(rusqlite::ErrorCode::NotADatabase) => CopyError::NoDatabase { path: path.clone() },
        _ => CopyError::Sqlite { path: path.clone(), cause },
    };
    if !is_database(&file).map_err(failed("begin"))? {
        return Err(CopyError::NoDatabase { path: path.clone() });
    }
    crate::durable::create_directories(scratch, 0o700)
        .map_err(|error| failed("make room for")(io::Error::other(error.to_string())))?;
    sweep(scratch);
    let (mut copy, place) = new_copy(scratch).map_err(failed("make"))?;
    // Whatever happens now, the name is gone in the end; the open file stays.
    let _unnamed = Unnamed(&place);
    let source = open_source(&file).map_err(sqlite)?;
    source.busy_timeout(BUSY_MAX).map_err(sqlite)?;
    source.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema;").map_err(sqlite)?;
    let mut target = Connection::open(&place).map_err(sqlite)?;
    target.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;").map_err(sqlite)?;
    let deadline = Instant::now() + COPY_MAX;
    let backup = Backup::new(&source, &mut target).map_err(sqlite)?;
    loop {
        match backup.step(PAGES_AT_ONCE).map_err(sqlite)? {
            StepResult::Done => break,
            _ if Instant::now() >= deadline => return Err(CopyError::TimedOut { path: path.clone() }),
            StepResult::More => {}
            _ => return Err(CopyError::Locked { path: path.clone() }),
        }
    }
    drop(backup);
    target.close().map_err(|(_, cause)| sqlite(cause))?;
    copy.rewind().map_err(failed("read"))?;
    Ok(copy)
}

fn is_database(file: &Path) -> io::Result<bool> {
    let mut head = Vec::new();
    File::open(file)?.take(MAGIC.len() as u64).read_to_end(&mut head)?;
    // An empty file is a database without tables.
    Ok(head.is_empty() || head == MAGIC)
}

/// A database that would keep a write-ahead log and has none is open nowhere.
/// It is opened for writing, so that the log this makes is taken away again.
fn open_source(file: &Path) -> rusqlite::Result<Connection> {
    let mut head = [0; WAL_AT + 1];
    let keeps_log = File::open(file)
        .and_then(|mut opened| opened.read_exact(&mut head))
        .is_ok_and(|()| head[WAL_AT] == 2);
    let access = match keeps_log {
        true => OpenFlags::SQLITE_OPEN_READ_WRITE,
        false => OpenFlags::SQLITE_OPEN_READ_ONLY,
    };
    let flags = access | OpenFlags::SQLITE_OPEN_NOFOLLOW | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(file, flags)
}

struct Unnamed<'a>(&'a Path);

impl Drop for Unnamed<'_> {
    fn drop(&mut self) {
        if let Err(cause) = std::fs::remove_file(self.0) {
            tracing::warn!(%cause, "the copy of a database keeps its name");
        }
    }
}

/// An empty file that is locked for as long as somebody needs it.
fn new_copy(scratch: &Path) -> io::Result<(File, PathBuf)> {
    for attempt in 0_u32.. {
        let place = scratch.join(format!("sqlite-{}-{attempt}", std::process::id()));
        let opened = File::options().read(true).write(true).create_new(true).mode(0o600).open(&place);
        let file = match opened {
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => continue,
            other => other?,
        };
        file.lock()?;
        // Between the making and the lock somebody may have swept it away.
        if file.metadata()?.nlink() > 0 {
            return Ok((file, place));
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Takes away what agents that were killed have left: what nobody holds locked.
fn sweep(scratch: &Path) {
    for entry in std::fs::read_dir(scratch).into_iter().flatten().flatten() {
        let is_copy = entry.file_name().as_encoded_bytes().starts_with(b"sqlite-");
        if is_copy && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            // What is left behind is only room.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests;
