//! SQLite files: are they whole, what do they say, and does anybody still
//! write them. Looking leaves no trace beside the file.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Batch, Connection, ErrorCode, OpenFlags};
use serde::{Deserialize, Serialize};

use crate::capabilities::files::{Files, HostPath, Place};
use crate::capabilities::{ErrorKind, HostError};

const PROBLEMS_MAX: u32 = 100;
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const SQL_BYTES_MAX: usize = 64 * 1024;
/// How often SQLite asks whether the time is up, in steps of its machine.
const STEPS_BETWEEN_CHECKS: i32 = 10_000;

/// What the two checks of SQLite say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Empty when the database is whole; at most a hundred lines.
    pub problems: Vec<String>,
    /// Tables of the schema, SQLite's own left out.
    pub tables: u32,
    /// Pages of the file.
    pub pages: u64,
}

/// What was found of databases, by content: to prove one again after the switch
/// must not take as long as reading it, for its program is down meanwhile.
static FOUND: Mutex<BTreeMap<[u8; 32], Health>> = Mutex::new(BTreeMap::new());
const FOUND_MAX: usize = 64;

/// `PRAGMA integrity_check` and `foreign_key_check`.
///
/// # Errors
/// Nothing there, not a database, out of time, or changed while being read.
pub fn inspect(files: &Files, at: Place, path: &HostPath, deadline: Instant) -> Result<Health, HostError> {
    let file = real_file(files, at, path)?;
    // The file alone is the database only while no log lies beside it.
    let content = (!Fingerprint::of(&file).logs).then(|| files.known_content(&file)).flatten();
    let found = || FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(health) = content.and_then(|content| found().get(&content).cloned()) {
        return Ok(health);
    }
    let health = read_health(files, at, path, deadline)?;
    if let Some(content) = content.filter(|content| files.known_content(&file) == Some(*content)) {
        let mut found = found();
        if found.len() >= FOUND_MAX {
            found.clear();
        }
        found.insert(content, health.clone());
    }
    Ok(health)
}

fn read_health(files: &Files, at: Place, path: &HostPath, deadline: Instant) -> Result<Health, HostError> {
    read(files, at, path, deadline, |connection| {
        let mut problems = Vec::new();
        let mut check = connection.prepare(&format!("PRAGMA integrity_check({PROBLEMS_MAX})"))?;
        for line in check.query_map([], |row| row.get::<_, String>(0))? {
            let line = line?;
            if line != "ok" {
                problems.push(line);
            }
        }
        let mut check = connection.prepare("PRAGMA foreign_key_check")?;
        let rows = check.query_map([], |row| {
            let (table, row_id): (String, Option<i64>) = (row.get(0)?, row.get(1)?);
            let parent: String = row.get(2)?;
            let row_id = row_id.map_or_else(|| "?".to_owned(), |id| id.to_string());
            Ok(format!("row {row_id} of {table} refers to nothing in {parent}"))
        })?;
        for line in rows.take(PROBLEMS_MAX as usize) {
            problems.push(line?);
        }
        let tables = connection.query_one(
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
            [],
            |row| row.get(0),
        )?;
        let pages = connection.query_one("PRAGMA page_count", [], |row| row.get::<_, i64>(0))?;
        Ok(Health { problems, tables, pages: pages.unsigned_abs() })
    })
}

/// The first column of the first row, as text. One statement, which may only read.
///
/// # Errors
/// `databases/bad-query` for anything else, and as [`inspect`].
pub fn ask(
    files: &Files,
    at: Place,
    path: &HostPath,
    sql: &str,
    deadline: Instant,
) -> Result<Option<String>, HostError> {
    if sql.len() > SQL_BYTES_MAX {
        return Err(bad_query("it is longer than 64 KiB"));
    }
    read(files, at, path, deadline, |connection| {
        let mut batch = Batch::new(connection, sql);
        let Some(mut statement) = batch.next()? else {
            return Ok(Err(bad_query("it holds no statement")));
        };
        if !statement.readonly() {
            return Ok(Err(bad_query("it is not a statement that only reads")));
        }
        if batch.next()?.is_some() {
            return Ok(Err(bad_query("it holds more than one statement")));
        }
        let mut rows = statement.raw_query();
        let Some(row) = rows.next()? else { return Ok(Ok(None)) };
        Ok(as_text(row.get_ref(0)?))
    })?
}

/// Nobody else has the database open and its write-ahead log is folded in, so
/// that the file alone is the database.
///
/// # Errors
/// `databases/in-use` when anybody has it open.
pub fn settle(files: &Files, path: &HostPath, deadline: Instant) -> Result<(), HostError> {
    let file = real_file(files, Place::Live, path)?;
    refuse_if_open_elsewhere(&file, path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = open(&file, flags, deadline).map_err(|error| failed(path, &error))?;
    let settled = || -> rusqlite::Result<bool> {
        // Exclusive before the first access: a connection of anybody else,
        // even an idle one, then makes this fail rather than share the log.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.execute_batch("BEGIN EXCLUSIVE; COMMIT;")?;
        let busy: i64 = connection.query_one("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        Ok(busy == 0)
    }();
    let closed = connection.close().map_err(|(_, error)| error);
    match settled.and_then(|settled| closed.map(|()| settled)) {
        Ok(true) => {}
        Ok(false) => return Err(in_use(path)),
        Err(error) => return Err(failed(path, &error)),
    }
    for suffix in ["-wal", "-journal"] {
        if std::fs::metadata(beside(&file, suffix)).is_ok_and(|left| left.len() > 0) {
            return Err(in_use(path));
        }
    }
    std::fs::File::open(&file)
        .and_then(|opened| opened.sync_all())
        .map_err(|cause| HostError::from_io("databases", &format!("could not sync `{path}`"), &cause))
}

/// A database that is being copied as it lies on disk.
#[derive(Debug)]
pub(crate) struct Still {
    file: PathBuf,
    before: Fingerprint,
    /// Holds a lock of a reader: no writer changes what it may still read.
    reader: Option<Connection>,
}

impl Still {
    /// What lies beside and belongs to it.
    ///
    /// # Errors
    /// A name that is too long.
    pub(crate) fn logs(&self, path: &HostPath) -> Result<Vec<HostPath>, HostError> {
        let there = ["-wal", "-journal"]
            .into_iter()
            .filter(|suffix| std::fs::metadata(beside(&self.file, suffix)).is_ok_and(|log| log.len() > 0));
        there.map(|suffix| HostPath::parse(&format!("{path}{suffix}"))).collect()
    }

    /// Whether a copy that was taken since is of one moment.
    pub(crate) fn held(&self) -> bool {
        self.reader.is_some() || Fingerprint::of(&self.file) == self.before
    }
}

/// Keeps a database from changing under whoever copies its files, as well as
/// its own locks can: file and log together stay what a reader may rest on.
/// With no log beside it nothing is locked, as that would leave a trace, and
/// [`Still::held`] tells whether somebody wrote.
///
/// # Errors
/// There is nothing, or what is there is no regular file.
pub(crate) fn hold_still(files: &Files, path: &HostPath, deadline: Instant) -> Result<Still, HostError> {
    let file = real_file(files, Place::Live, path)?;
    let before = Fingerprint::of(&file);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let reader = before.logs.then(|| -> rusqlite::Result<Connection> {
        let connection = open(&file, flags, deadline)?;
        connection.execute_batch("BEGIN")?;
        connection.query_one("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?;
        Ok(connection)
    });
    // What its program left after a crash cannot be opened without mending it.
    let reader = reader.and_then(|reader| {
        reader
            .inspect_err(|error| tracing::debug!(path = path.as_str(), %error, "copied without a lock"))
            .ok()
    });
    Ok(Still { file, before, reader })
}

fn read<T>(
    files: &Files,
    at: Place,
    path: &HostPath,
    deadline: Instant,
    ask: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, HostError> {
    let file = real_file(files, at, path)?;
    // With no log beside it the file alone is the database. Opening it as
    // such makes no log, so looking leaves nothing behind; whether somebody
    // wrote meanwhile is seen from the file itself.
    let before = Fingerprint::of(&file);
    let alone = !before.logs;
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NOFOLLOW | OpenFlags::SQLITE_OPEN_URI;
    let name = if alone { immutable_uri(&file) } else { file.clone() };
    let answer = open(&name, flags, deadline).and_then(|connection| ask(&connection));
    if alone && Fingerprint::of(&file) != before {
        return Err(HostError::new(
            ErrorKind::Transient,
            "databases/changed-meanwhile",
            format!("`{path}` was written while it was being read"),
        ));
    }
    answer.map_err(|error| failed(path, &error))
}

#[derive(Debug, PartialEq, Eq)]
struct Fingerprint {
    logs: bool,
    file: Option<(u64, u64, i64, i64)>,
}

impl Fingerprint {
    fn of(file: &Path) -> Self {
        let logs = ["-wal", "-journal", "-shm"].iter().any(|suffix| beside(file, suffix).exists());
        let file = std::fs::metadata(file)
            .ok()
            .map(|stat| (stat.ino(), stat.size(), stat.mtime(), stat.mtime_nsec()));
        Self { logs, file }
    }
}

fn real_file(files: &Files, at: Place, path: &HostPath) -> Result<PathBuf, HostError> {
    files.real_file(at, path)?.ok_or_else(|| {
        HostError::new(
            ErrorKind::NotFound,
            "databases/not-found",
            format!("there is no database at `{path}`"),
        )
    })
}

fn open(name: &Path, flags: OpenFlags, deadline: Instant) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_with_flags(name, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(Duration::from_millis(200))?;
    // A statement must not reach another file.
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    connection.progress_handler(STEPS_BETWEEN_CHECKS, Some(move || Instant::now() >= deadline))?;
    Ok(connection)
}

fn immutable_uri(file: &Path) -> PathBuf {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt;
    let mut uri = String::from("file:");
    for byte in file.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            write!(uri, "%{byte:02X}").expect("writing to a string cannot fail");
        }
    }
    uri.push_str("?immutable=1");
    PathBuf::from(uri)
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// SQLite's locks show a writer, not an idle connection of a rollback-journal
/// database, so the open files of all processes are looked through as well.
fn refuse_if_open_elsewhere(file: &Path, path: &HostPath) -> Result<(), HostError> {
    let Ok(wanted) = std::fs::metadata(file) else { return Ok(()) };
    let own = std::process::id().to_string();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = process.file_name();
        let is_other = name != own.as_str() && name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
        if !is_other {
            continue;
        }
        // A process that ends meanwhile, or is not ours to see, has no entries.
        for opened in std::fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
            if std::fs::metadata(opened.path())
                .is_ok_and(|stat| (stat.dev(), stat.ino()) == (wanted.dev(), wanted.ino()))
            {
                return Err(in_use(path));
            }
        }
    }
    Ok(())
}

fn as_text(value: ValueRef<'_>) -> Result<Option<String>, HostError> {
    let text = match value {
        ValueRef::Null => return Ok(None),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(bytes) if bytes.len() <= ANSWER_BYTES_MAX => {
            String::from_utf8_lossy(bytes).into_owned()
        }
        ValueRef::Text(_) => return Err(bad_query("its answer is longer than 64 KiB")),
        ValueRef::Blob(_) => return Err(bad_query("its answer is not text")),
    };
    Ok(Some(text))
}

fn bad_query(reason: &str) -> HostError {
    HostError::new(
        ErrorKind::Invalid,
        "databases/bad-query",
        format!("the question cannot be asked: {reason}"),
    )
}

fn in_use(path: &HostPath) -> HostError {
    HostError::new(
        ErrorKind::Conflict,
        "databases/in-use",
        format!("somebody has the database `{path}` open"),
    )
}

fn failed(path: &HostPath, error: &rusqlite::Error) -> HostError {
    let (kind, code) = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => return in_use(path),
        Some(ErrorCode::OperationInterrupted) => (ErrorKind::TimedOut, "databases/timed-out"),
        Some(ErrorCode::NotADatabase) => (ErrorKind::Conflict, "databases/not-a-database"),
        Some(ErrorCode::DatabaseCorrupt) => (ErrorKind::Failed, "databases/corrupt"),
        Some(ErrorCode::DiskFull) => (ErrorKind::Failed, "databases/disk-full"),
        Some(ErrorCode::ReadOnly) => (ErrorKind::Failed, "databases/read-only"),
        Some(ErrorCode::Unknown) | None => (ErrorKind::Invalid, "databases/bad-query"),
        Some(_) => (ErrorKind::Failed, "databases/failed"),
    };
    HostError::new(kind, code, format!("the database `{path}`: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capabilities::files::HostRoot;

    struct Host {
        directory: tempfile::TempDir,
        files: Files,
    }

    fn host(journal_mode: &str) -> Host {
        let directory = tempfile::tempdir().unwrap();
        let connection = Connection::open(directory.path().join("app.db")).unwrap();
        connection.pragma_update(None, "journal_mode", journal_mode).unwrap();
        connection
            .execute_batch(
                "CREATE TABLE parent(id INTEGER PRIMARY KEY);
                 CREATE TABLE child(id INTEGER PRIMARY KEY, parent REFERENCES parent(id));
                 INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1, 1), (2, 1);",
            )
            .unwrap();
        drop(connection);
        let files = Files::new(HostRoot::open(directory.path()).unwrap(), "run", "step");
        Host { directory, files }
    }

    fn path() -> HostPath {
        HostPath::parse("/app.db").unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    fn names(host: &Host) -> Vec<String> {
        host.files.names(Place::Live, &HostPath::parse("/").unwrap()).unwrap()
    }

    #[test]
    fn a_whole_database_has_no_problems_and_looking_leaves_nothing_beside_it() {
        for mode in ["delete", "wal"] {
            let host = host(mode);
            let health = inspect(&host.files, Place::Live, &path(), soon()).unwrap();
            assert_eq!((health.problems.len(), health.tables), (0, 2), "{mode}");
            let asked = "SELECT count(*) FROM child";
            let answer = ask(&host.files, Place::Live, &path(), asked, soon()).unwrap();
            assert_eq!(answer.as_deref(), Some("2"));
            assert_eq!(names(&host), ["app.db"], "{mode}");
        }
    }

    #[test]
    fn a_dangling_reference_and_a_torn_page_are_found() {
        let host = host("delete");
        let connection = Connection::open(host.directory.path().join("app.db")).unwrap();
        connection.execute_batch("PRAGMA foreign_keys=OFF; DELETE FROM parent;").unwrap();
        drop(connection);
        let health = inspect(&host.files, Place::Live, &path(), soon()).unwrap();
        assert_eq!(health.problems[0], "row 1 of child refers to nothing in parent");

        let file = host.directory.path().join("app.db");
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[4096..4196].fill(0x55);
        std::fs::write(&file, bytes).unwrap();
        match inspect(&host.files, Place::Live, &path(), soon()) {
            Ok(health) => assert!(!health.problems.is_empty()),
            Err(error) => assert_eq!(error.code, "databases/corrupt"),
        }
    }

    #[test]
    fn only_one_reading_statement_is_asked() {
        let host = host("delete");
        std::fs::copy(host.directory.path().join("app.db"), host.directory.path().join("b.db")).unwrap();
        let attach = format!("ATTACH '{}/b.db' AS b", host.directory.path().display());
        for sql in [
            "DELETE FROM child",
            "SELECT 1; SELECT 2",
            "SELECT 1; DELETE FROM child",
            "",
            "SELEC",
            "SELECT x'00'",
            &attach,
        ] {
            let error = ask(&host.files, Place::Live, &path(), sql, soon()).unwrap_err();
            assert_eq!(error.code, "databases/bad-query", "{sql}: {error}");
        }
        let none = ask(&host.files, Place::Live, &path(), "SELECT NULL", soon()).unwrap();
        assert_eq!(none, None);
    }

    #[test]
    fn a_question_without_end_is_stopped_at_the_deadline() {
        let host = host("delete");
        let sql = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n) SELECT count(*) FROM n";
        let started = Instant::now();
        let deadline = started + Duration::from_millis(100);
        let error = ask(&host.files, Place::Live, &path(), sql, deadline).unwrap_err();
        assert_eq!(error.kind, ErrorKind::TimedOut);
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn settling_folds_the_log_in_unless_somebody_has_it_open() {
        let host = host("wal");
        let other = Connection::open(host.directory.path().join("app.db")).unwrap();
        other.execute_batch("INSERT INTO parent VALUES (7)").unwrap();
        let error = settle(&host.files, &path(), soon()).unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Conflict, "databases/in-use"));
        drop(other);
        settle(&host.files, &path(), soon()).unwrap();
        settle(&host.files, &path(), soon()).unwrap();
        assert_eq!(names(&host), ["app.db"]);
        let answer = ask(&host.files, Place::Live, &path(), "SELECT max(id) FROM parent", soon()).unwrap();
        assert_eq!(answer.as_deref(), Some("7"));
    }

    #[test]
    fn a_process_that_merely_holds_the_file_open_is_somebody() {
        let host = host("delete");
        let file = std::fs::File::open(host.directory.path().join("app.db")).unwrap();
        let mut holder = std::process::Command::new("sleep").arg("30").stdin(file).spawn().unwrap();
        let error = settle(&host.files, &path(), soon()).unwrap_err();
        assert_eq!(error.code, "databases/in-use");
        holder.kill().unwrap();
        holder.wait().unwrap();
        settle(&host.files, &path(), soon()).unwrap();
    }

    #[test]
    fn what_is_no_database_is_said_to_be_none() {
        let host = host("delete");
        std::fs::write(host.directory.path().join("app.db"), vec![b'x'; 8192]).unwrap();
        let error = inspect(&host.files, Place::Live, &path(), soon()).unwrap_err();
        assert_eq!(error.code, "databases/not-a-database");
        let absent = HostPath::parse("/absent.db").unwrap();
        let error = inspect(&host.files, Place::Live, &absent, soon()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
    }
}
