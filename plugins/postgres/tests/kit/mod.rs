//! A PostgreSQL of its own on a socket in a temporary folder, run as somebody who
//! is not root, and stopped when the test ends, however it ends.

pub(crate) mod forms;

use std::cell::RefCell;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sternway_plugin::Error;
use sternway_plugin::host::programs::{Call, Ended};
use sternway_plugin::rehearsal::World;

use forms::Host;

const FORMS: &str = include_str!("../../../../agent/src/capabilities/programs/forms/postgres.toml");

thread_local! {
    static HOST: RefCell<Option<Host>> = const { RefCell::new(None) };
}

/// What the programs of the pretended host do: what the real ones do.
pub(crate) fn programs(world: &mut World, call: &Call) -> Result<Ended, Error> {
    HOST.with_borrow_mut(|host| host.as_mut().expect("a server was started").carry_out(world, call))
}

pub(crate) struct Server {
    pub(crate) folder: PathBuf,
    bin: PathBuf,
    user: (u32, u32),
}

impl Server {
    /// None, with the reason on stdout, where there is nothing to start it with.
    pub(crate) fn start(test: &str) -> Option<Self> {
        match Self::begin(test) {
            Ok(server) => Some(server),
            Err(why) => {
                println!("skipped  {test}: {why}");
                None
            }
        }
    }

    fn begin(test: &str) -> Result<Self, String> {
        let versions =
            std::fs::read_dir("/usr/lib/postgresql").map_err(|_| "there is no PostgreSQL".to_owned())?;
        let mut found: Vec<PathBuf> = versions.flatten().map(|version| version.path().join("bin")).collect();
        found.retain(|bin| bin.join("initdb").exists());
        found.sort();
        let bin = found.pop().ok_or("there is no initdb")?;
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let line = ["postgres:", "nobody:"]
            .iter()
            .find_map(|name| passwd.lines().find(|line| line.starts_with(name)));
        let fields: Vec<&str> = line.ok_or("there is no user to run a server")?.split(':').collect();
        let user = (fields[2].parse().unwrap(), fields[3].parse().unwrap());
        let folder = std::env::temp_dir().join(format!("sternway-pg-{}-{test}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).map_err(|cause| cause.to_string())?;
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        let server = Self { folder, bin, user };
        chown(&server.folder, Some(user.0), Some(user.1))
            .map_err(|_| "only root can start a server as somebody else")?;
        let (data, socket, log) = (server.place("data"), server.place(""), server.place("log"));
        server.run(
            "initdb",
            &["--auth=trust", "--encoding=UTF8", "--no-sync", "--username=postgres", "-D", &data],
        )?;
        let options = format!(
            "-c listen_addresses= -c unix_socket_directories={socket} -c fsync=off \
             -c max_prepared_transactions=5 -c wal_level=logical -c max_wal_senders=4"
        );
        server.run("pg_ctl", &["start", "-w", "-D", &data, "-l", &log, "-o", &options])?;
        server.connect_as("postgres");
        Ok(server)
    }

    /// From now on the host's programs are this role.
    pub(crate) fn connect_as(&self, role: &str) {
        let folder = self.folder.display().to_string();
        let host = Host::new(FORMS, &[("PGHOST", &folder), ("PGUSER", role)], Some(self.user), &self.folder);
        HOST.set(Some(host));
    }

    pub(crate) fn place(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    pub(crate) fn run(&self, program: &str, words: &[&str]) -> Result<String, String> {
        let log = std::fs::File::create(self.folder.join("complaint")).unwrap();
        let output = Command::new(self.bin.join(program))
            .args(words)
            .env("PGHOST", &self.folder)
            .env("PGUSER", "postgres")
            .current_dir(&self.folder)
            .uid(self.user.0)
            .gid(self.user.1)
            .stdin(Stdio::null())
            // A server that is started keeps it open.
            .stderr(log)
            .output()
            .map_err(|cause| format!("{program}: {cause}"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        let said = std::fs::read_to_string(self.folder.join("complaint")).unwrap_or_default();
        Err(format!("{program} {}: {said}", output.status))
    }

    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        self.run("psql", &["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql])
            .unwrap()
    }

    /// A client that is connected until it is sent away.
    pub(crate) fn session(&self, database: &str) -> std::process::Child {
        let child = Command::new(self.bin.join("psql"))
            .args(["-X", "-d", database, "-c", "select pg_sleep(600)"])
            .env("PGHOST", &self.folder)
            .env("PGUSER", "postgres")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let sessions = format!("select count(*) from pg_stat_activity where datname = '{database}'");
        while self.sql("postgres", &sessions) == "0" {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        child
    }

    /// Names, owners, rights, settings and contents of all databases, but for those
    /// that are staged or were undone.
    pub(crate) fn picture(&self) -> String {
        let list = self.sql(
            "postgres",
            "select datname || ' | ' || pg_get_userbyid(datdba) || ' | ' || datallowconn || ' | ' || datconnlimit
               || ' | ' || coalesce(shobj_description(oid, 'pg_database'), '') || ' | '
               || (select string_agg(acl::text, ' ' order by acl::text)
                   from unnest(coalesce(datacl, acldefault('d', datdba))) acl) || ' | '
               || coalesce((select string_agg(setrole::regrole::text || setconfig::text, ' ' order by setrole)
                   from pg_db_role_setting where setdatabase = d.oid), '')
             from pg_database d where datname !~ '^template|^seed$|__sternway_|__undone_' order by 1",
        );
        let mut picture = String::new();
        for line in list.lines() {
            picture.push_str(line);
            let name = line.split(" | ").next().unwrap();
            if name != "postgres" && !name.contains("__") {
                let tables = self.sql(name, "select string_agg(relname, ',' order by relname) from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace");
                picture.push_str(&format!(" | {tables}"));
                for table in tables.split(',').filter(|table| !table.is_empty()) {
                    let sum = format!(
                        "select count(*) || md5(coalesce(string_agg(t::text, ';' order by t::text), '')) from \"{table}\" t"
                    );
                    picture.push_str(&format!(" {}", self.sql(name, &sum)));
                }
            }
            picture.push('\n');
        }
        picture
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let data = self.place("data");
        let _ = self.run("pg_ctl", &["stop", "-m", "immediate", "-w", "-D", &data]);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A pretended host whose programs are the real ones.
pub(crate) fn world(live: &[(&str, &str)], point: &[(&str, &str)]) -> World {
    let texts = |entries: &[(&str, &str)]| {
        entries.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
    };
    World { live: texts(live), point: texts(point), programs: Some(programs), ..World::default() }
}

pub(crate) fn stands_for(path: &Path) -> String {
    format!("@{}", path.display())
}
