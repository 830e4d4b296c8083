use super::*;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::points::pieces::program::Programs;
use crate::points::pieces::tests::{Host, bytes, content, service, skipped};

/// Where Debian keeps PostgreSQL's own programs.
const POSTGRES: &str = "/usr/lib/postgresql/15/bin";

fn dump(host: &Host, source: &str) -> Result<Extra, PiecesError> {
    let text = format!("name = \"agora\"\ndatabase = [{{ name = \"main\", {source} }}]");
    piece(&host.ground(), &mut Names::default(), &service(&text).databases[0])
}

fn sqlite_host(journal_mode: &str) -> (Host, Connection) {
    let host = Host::new();
    std::fs::create_dir_all(host.real("/var")).unwrap();
    let connection = Connection::open(host.real("/var/app.db")).unwrap();
    connection.busy_timeout(Duration::from_secs(30)).unwrap();
    connection.pragma_update(None, "journal_mode", journal_mode).unwrap();
    connection.execute_batch("CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER);").unwrap();
    let fill = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 2000)
                INSERT INTO account(balance) SELECT 100 FROM n";
    connection.execute_batch(fill).unwrap();
    (host, connection)
}

fn sum_in(dumped: &[u8]) -> (String, i64) {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("copy.db");
    std::fs::write(&place, dumped).unwrap();
    let copy = Connection::open(place).unwrap();
    let check = copy.query_one("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    (check, copy.query_one("SELECT sum(balance) FROM account", [], |row| row.get(0)).unwrap())
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_sqlite_database_is_copied_whole_while_it_is_written() {
    for mode in ["wal", "delete"] {
        let (host, connection) = sqlite_host(mode);
        connection.execute_batch("PRAGMA synchronous = OFF").unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_over);
        // Money moves between accounts; there is never more nor less of it.
        let writer = std::thread::spawn(move || {
            let mut moved = 0_u32;
            while !seen.load(Ordering::Relaxed) {
                connection
                    .execute_batch(
                        "BEGIN IMMEDIATE; UPDATE account SET balance = balance - 1 WHERE id % 2 = 0;
                         UPDATE account SET balance = balance + 1 WHERE id % 2 = 1; COMMIT;",
                    )
                    .unwrap();
                moved += 1;
            }
            moved
        });
        for _ in 0..5 {
            let extra = dump(&host, "source = { sqlite = \"/var/app.db\" }").unwrap();
            assert_eq!(extra.file, "main.sqlite");
            assert_eq!(sum_in(&bytes(extra).unwrap()), ("ok".into(), 200_000), "{mode}");
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(writer.join().unwrap() > 0);
        assert!(names_in(host.scratch()).is_empty(), "nothing of the copy is left");
    }
}

#[test]
fn a_copy_leaves_nothing_beside_the_database() {
    for mode in ["wal", "delete"] {
        let (host, connection) = sqlite_host(mode);
        drop(connection);
        let before = std::fs::read(host.real("/var/app.db")).unwrap();
        bytes(dump(&host, "source = { sqlite = \"/var/app.db\" }").unwrap()).unwrap();
        assert_eq!(names_in(&host.real("/var")), ["app.db"], "{mode}");
        assert!(std::fs::read(host.real("/var/app.db")).unwrap() == before, "{mode}: it was not written");
    }
}

#[test]
fn what_a_killed_agent_left_of_a_copy_is_swept_away_and_what_is_in_use_is_not() {
    let (host, _connection) = sqlite_host("wal");
    std::fs::create_dir_all(host.scratch()).unwrap();
    std::fs::write(host.scratch().join("sqlite-1-0"), "left").unwrap();
    std::fs::write(host.scratch().join("sqlite-2-0"), "in use").unwrap();
    let held = File::open(host.scratch().join("sqlite-2-0")).unwrap();
    held.lock().unwrap();
    bytes(dump(&host, "source = { sqlite = \"/var/app.db\" }").unwrap()).unwrap();
    assert_eq!(names_in(host.scratch()), ["sqlite-2-0"]);
}

#[test]
fn what_is_no_database_or_not_there_makes_no_dump() {
    let (host, _connection) = sqlite_host("wal");
    host.write("/var/text.db", "this is no database at all, only text");
    let error = dump(&host, "source = { sqlite = \"/var/gone.db\" }").unwrap_err();
    assert_eq!(error.to_string(), "there is nothing at `/var/gone.db`");
    let error = bytes(dump(&host, "source = { sqlite = \"/var/text.db\" }").unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "`/var/text.db` is no SQLite database");
    assert!(!host.scratch().exists() || names_in(host.scratch()).is_empty());
}

#[test]
fn a_dump_that_breaks_off_is_no_dump() {
    let host = Host::new();
    host.programs.add("dump-it", "printf half; echo 'connection lost' >&2; exit 2");
    let error = bytes(dump(&host, "source = { command = [\"dump-it\"] }").unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "`dump-it` ended with exit 2: connection lost");
    host.programs.add("dump-it", "printf half; kill -9 $$");
    assert!(bytes(dump(&host, "source = { command = [\"dump-it\"] }").unwrap()).is_err());
    let error = dump(&host, "source = { command = [\"no-such-program\"] }").unwrap_err();
    assert_eq!(error.to_string(), "could not dump the database `main`");
    let error = dump(&host, "user = \"nobody-of-that-name\", source = { command = [\"cat\"] }").unwrap_err();
    assert!(matches!(error, PiecesError::User { .. }), "{error}");
}

#[test]
fn mysqldump_is_given_its_defaults_file_first_and_one_transaction() {
    let host = Host::new();
    host.write("/etc/agora/my.cnf", "[client]\npassword=s3cret\n");
    host.programs.add("mysqldump", "[ $1 = --version ] && { echo 'mysqldump 10.19'; exit; }; echo \"$@\"");
    let source =
        |databases: &str| format!("source = {{ mysql = {{ defaults = \"/etc/agora/my.cnf\"{databases} }} }}");
    let extra = dump(&host, &source("")).unwrap();
    assert_eq!((extra.file.as_str(), extra.note.as_str()), ("main.sql", "mysqldump 10.19"));
    let said = content(extra).unwrap();
    let defaults = format!(
        "--defaults-file={} --single-transaction --routines ",
        host.real("/etc/agora/my.cnf").display()
    );
    assert!(said.starts_with(&defaults) && said.ends_with("--all-databases\n"), "{said}");
    let said = content(dump(&host, &source(", databases = [\"a\", \"b\"]")).unwrap()).unwrap();
    assert!(said.ends_with("--databases a b\n"), "{said}");
}

/// A server of its own on a Unix socket in a temporary folder, run as somebody
/// who is not root, and stopped when the test ends, however it ends.
struct Postgres {
    folder: tempfile::TempDir,
    user: &'static str,
}

impl Postgres {
    fn start() -> Result<Self, String> {
        if !Path::new(POSTGRES).join("initdb").exists() {
            return Err(format!("there is no PostgreSQL in {POSTGRES}"));
        }
        if !rustix::process::geteuid().is_root() {
            return Err("only root can start a database server as somebody else".into());
        }
        let user = ["postgres", "nobody"].into_iter().find(|name| Account::named(name).is_some());
        let user = user.ok_or("there is no user to run a database server")?;
        let account = Account::named(user).ok_or("the user went away")?;
        let folder = tempfile::tempdir().map_err(|cause| cause.to_string())?;
        std::os::unix::fs::chown(folder.path(), Some(account.uid), Some(account.gid))
            .map_err(|cause| cause.to_string())?;
        let server = Self { folder, user };
        let (data, socket) = (server.place("data"), server.place(""));
        server.run(
            "initdb",
            &["--auth=trust", "--encoding=UTF8", "--no-sync", "--username=postgres", "-D", &data],
            None,
        )?;
        let options = format!("-c listen_addresses= -c unix_socket_directories={socket} -c fsync=off");
        let log = server.place("log");
        server.run("pg_ctl", &["start", "-w", "-D", &data, "-l", &log, "-o", &options], None)?;
        Ok(server)
    }

    fn place(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn connection(&self, database: &str) -> String {
        format!("host={} user=postgres dbname={database}", self.folder.path().display())
    }

    fn run(&self, program: &str, words: &[&str], input: Option<&[u8]>) -> Result<String, String> {
        use std::os::unix::process::CommandExt;
        let account = Account::named(self.user).ok_or("the user went away")?;
        let input = input.map(|input| {
            let place = self.folder.path().join("input");
            std::fs::write(&place, input).and_then(|()| File::open(place))
        });
        let input = match input {
            Some(file) => Stdio::from(file.map_err(|cause| cause.to_string())?),
            None => Stdio::null(),
        };
        let output = Command::new(Path::new(POSTGRES).join(program))
            .args(words)
            .current_dir(self.folder.path())
            .env("LC_ALL", "C")
            .uid(account.uid)
            .gid(account.gid)
            .stdin(input)
            .stderr(Stdio::from(
                File::create(self.folder.path().join("complaint")).map_err(|c| c.to_string())?,
            ))
            .output()
            .map_err(|cause| format!("{program}: {cause}"))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => {
                let said = std::fs::read_to_string(self.folder.path().join("complaint"));
                Err(format!("{program} {}: {}", output.status, said.unwrap_or_default()))
            }
        }
    }

    fn sql(&self, database: &str, sql: &str) -> String {
        let words = ["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.connection(database), "-c", sql];
        self.run("psql", &words, None).unwrap()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let data = self.place("data");
        let _ = self.run("pg_ctl", &["stop", "-m", "immediate", "-w", "-D", &data], None);
    }
}

#[test]
fn a_real_postgres_is_dumped_while_it_serves_and_comes_back_the_same() {
    let server = match Postgres::start() {
        Ok(server) => server,
        Err(why) => return skipped(&why),
    };
    server.sql("postgres", "CREATE DATABASE agora");
    server.sql(
        "agora",
        "CREATE TABLE note(id int PRIMARY KEY, text text NOT NULL, body bytea);
         INSERT INTO note SELECT n, 'note ' || n || E' \\u00e4\\n', decode(md5(n::text), 'hex')
         FROM generate_series(1, 20000) n; CREATE INDEX ON note(text);",
    );
    let sum = "SELECT count(*), md5(string_agg(note::text, ',' ORDER BY id)) FROM note";
    let before = server.sql("agora", sum);
    let host = Host::with(|_| Programs::in_path(POSTGRES));
    let source = |database: &str| format!("source = {{ postgres = \"{}\" }}", server.connection(database));
    let extra = dump(&host, &source("agora")).unwrap();
    assert_eq!(extra.file, "main.pgdump");
    assert!(extra.note.starts_with("pg_dump (PostgreSQL) 15"), "{}", extra.note);
    let dumped = bytes(extra).unwrap();
    server.sql("agora", "DELETE FROM note WHERE id > 7");
    server.sql("postgres", "CREATE DATABASE back");
    server.run("pg_restore", &["--exit-on-error", "-d", &server.connection("back")], Some(&dumped)).unwrap();
    assert_eq!(server.sql("back", sum), before);

    let error = bytes(dump(&host, &source("gone")).unwrap()).unwrap_err().to_string();
    assert!(error.contains("`pg_dump` ended with exit 1") && error.contains("\"gone\""), "{error}");
}

/// The server goes away in the middle: what was read until then is no dump.
#[test]
fn a_postgres_that_dies_under_a_dump_fails_the_dump() {
    let server = match Postgres::start() {
        Ok(server) => server,
        Err(why) => return skipped(&why),
    };
    server.sql(
        "postgres",
        "CREATE TABLE big AS SELECT repeat(md5(n::text), 300) AS text FROM generate_series(1, 3000) n",
    );
    let host = Host::with(|_| Programs::in_path(POSTGRES));
    let source = format!("source = {{ postgres = \"{}\" }}", server.connection("postgres"));
    let Content::Stream(open) = dump(&host, &source).unwrap().content else { panic!("a dump is a stream") };
    let mut reader = open().unwrap();
    reader.read_exact(&mut [0; 64 * 1024]).unwrap();
    drop(server);
    let error = reader.read_to_end(&mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("`pg_dump` ended with exit 1"), "{error}");
}
