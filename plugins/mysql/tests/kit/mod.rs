//! A MariaDB of its own on a socket in a temporary folder, stopped when the test
//! ends, however it ends.

#[path = "../../../postgres/tests/kit/forms.rs"]
pub(crate) mod forms;

use std::cell::RefCell;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sternway_plugin::Error;
use sternway_plugin::host::programs::{Call, Ended};
use sternway_plugin::rehearsal::World;

use forms::Host;

const FORMS: &str = include_str!("../../../../agent/src/capabilities/programs/forms/mysql.toml");

thread_local! {
    static HOST: RefCell<Option<Host>> = const { RefCell::new(None) };
}

/// What the programs of the pretended host do: what the real ones do.
pub(crate) fn programs(world: &mut World, call: &Call) -> Result<Ended, Error> {
    HOST.with_borrow_mut(|host| host.as_mut().expect("a server was started").carry_out(world, call))
}

pub(crate) struct Server {
    pub(crate) folder: PathBuf,
    process: Option<Child>,
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
        for program in ["/usr/sbin/mariadbd", "/usr/bin/mariadb-install-db", "/usr/bin/mariadb"] {
            if !std::path::Path::new(program).exists() {
                return Err(format!("there is no {program}"));
            }
        }
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let line = passwd.lines().find(|line| line.starts_with("mysql:")).ok_or("there is no user mysql")?;
        let fields: Vec<&str> = line.split(':').collect();
        let folder = std::env::temp_dir().join(format!("sternway-my-{}-{test}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).map_err(|cause| cause.to_string())?;
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut server = Self { folder, process: None };
        let (user, group) = (fields[2].parse().unwrap(), fields[3].parse().unwrap());
        chown(&server.folder, Some(user), Some(group))
            .map_err(|_| "only root can start a server as somebody else")?;
        let data = format!("--datadir={}", server.place("data"));
        let tmp = format!("--tmpdir={}", server.place(""));
        let made = Command::new("/usr/bin/mariadb-install-db")
            .args([
                "--no-defaults",
                "--user=mysql",
                &data,
                &tmp,
                "--skip-test-db",
                "--auth-root-authentication-method=normal",
            ])
            .output()
            .map_err(|cause| cause.to_string())?;
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stderr).into_owned());
        }
        let socket = format!("--socket={}", server.place("socket"));
        let options = [
            "--no-defaults",
            "--user=mysql",
            &data,
            &tmp,
            &socket,
            "--skip-networking",
            "--innodb-flush-log-at-trx-commit=0",
            "--debug-no-sync",
            "--innodb-doublewrite=0",
            "--innodb-buffer-pool-size=32M",
        ];
        let log = std::fs::File::create(server.folder.join("log")).unwrap();
        let process = Command::new("/usr/sbin/mariadbd")
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        server.process = Some(process.map_err(|cause| cause.to_string())?);
        let began = Instant::now();
        while server.try_sql("select 1").is_err() {
            if began.elapsed() > Duration::from_secs(60) {
                return Err("the server did not begin to answer within a minute".into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        server.connect_to("socket");
        Ok(server)
    }

    /// From now on the host's programs connect to this socket.
    pub(crate) fn connect_to(&self, socket: &str) {
        let options = format!("[client]\nsocket = {}\nuser = root\n", self.place(socket));
        std::fs::write(self.folder.join(".my.cnf"), options).unwrap();
        HOST.set(Some(Host::new(FORMS, &[("HOME", &self.place(""))], None, &self.folder)));
    }

    pub(crate) fn place(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    pub(crate) fn try_sql(&self, sql: &str) -> Result<String, String> {
        let socket = format!("--socket={}", self.place("socket"));
        let output = Command::new("/usr/bin/mariadb")
            .args([
                "--no-defaults",
                &socket,
                "--user=root",
                "--batch",
                "--raw",
                "--skip-column-names",
                "-e",
                sql,
            ])
            .output()
            .map_err(|cause| cause.to_string())?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    pub(crate) fn sql(&self, sql: &str) -> String {
        self.try_sql(sql).unwrap()
    }

    /// As `mysqldump` does it for a point; answers the text for the pretended host.
    pub(crate) fn dump(&self, name: &str, words: &[&str]) -> String {
        let (socket, to) = (format!("--socket={}", self.place("socket")), self.folder.join(name));
        let common = [
            "--no-defaults",
            &socket,
            "--user=root",
            "--single-transaction",
            "--routines",
            "--events",
            "--hex-blob",
            "--skip-dump-date",
        ];
        let file = std::fs::File::create(&to).unwrap();
        let status =
            Command::new("/usr/bin/mariadb-dump").args(common).args(words).stdout(file).status().unwrap();
        assert!(status.success());
        std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o600)).unwrap();
        format!("@{}", to.display())
    }

    /// Databases, tables and contents, but for what is staged or was undone.
    pub(crate) fn picture(&self) -> String {
        let list = self.sql(
            "select concat(s.schema_name, ' ', s.default_collation_name, ' ', coalesce(group_concat(t.table_name order by t.table_name), ''))
             from information_schema.schemata s left join information_schema.tables t on t.table_schema = s.schema_name
             where s.schema_name regexp '^orders' and s.schema_name not regexp '__sternway_|__undone_' group by s.schema_name order by 1",
        );
        let mut picture = String::new();
        for line in list.lines() {
            picture.push_str(line);
            let (name, tables) =
                (line.split(' ').next().unwrap(), line.split(' ').nth(2).unwrap_or_default());
            for table in tables.split(',').filter(|table| !table.is_empty()) {
                picture.push_str(&format!(
                    "\n  {}",
                    self.sql(&format!(
                        "checksum table `{name}`.`{table}`; show create table `{name}`.`{table}`"
                    ))
                ));
            }
            picture.push('\n');
        }
        picture
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
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
