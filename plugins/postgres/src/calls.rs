//! Every program this plugin asks for, by its form. Names of databases are put
//! together by the forms; here they are only a database and a key.

use sternway_plugin::host::control;
use sternway_plugin::host::programs::{self, Call, Ended, Hole};
use sternway_plugin::{Error, deeds};

use crate::archive;
use crate::settings::{Format, Migrate, Restore, Source};
use crate::standing::{Catalogue, Names, Staged};

/// What only asks, or changes a few rows of the catalogue.
const SHORT_MS: u64 = 120_000;

/// Names of roles and extensions that the server has.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Known {
    pub(crate) roles: Vec<String>,
    pub(crate) extensions: Vec<String>,
}

/// What a dump turned out to be.
#[derive(Debug)]
pub(crate) enum Listed {
    Archive(archive::Contents),
    Plain,
}

/// A database with the key of this step of this run.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) on: String,
    pub(crate) short: String,
}

impl Server {
    pub(crate) fn names(&self) -> Names {
        Names::of(&self.on, &self.short)
    }

    pub(crate) fn catalogue(&self) -> Result<Catalogue, Error> {
        let said = self.ask("postgres.state", &[])?;
        serde_json::from_str(&said).map_err(|cause| Error::failed("postgres/state", cause.to_string()))
    }

    pub(crate) fn known(&self) -> Result<Known, Error> {
        let said = self.ask("postgres.names", &[])?;
        serde_json::from_str(&said).map_err(|cause| Error::failed("postgres/names", cause.to_string()))
    }

    /// Bytes of the live database.
    pub(crate) fn size(&self) -> Result<u64, Error> {
        number("postgres/size", &self.ask("postgres.size", &[])?)
    }

    /// Bytes that are free where `path` lies.
    pub(crate) fn room(&self, path: &str) -> Result<u64, Error> {
        let said = self.ask("postgres.room", &[("path", path)])?;
        number("postgres/room", said.lines().last().unwrap_or_default())
    }

    /// Seconds that a replica is behind; none on a server that is none.
    pub(crate) fn lag(&self) -> Result<Option<u64>, Error> {
        let said = self.ask("postgres.lag", &[])?;
        (!said.is_empty()).then(|| number("postgres/lag", &said)).transpose()
    }

    pub(crate) fn query(&self, sql: &str) -> Result<String, Error> {
        self.ask("postgres.query", &[("sql", sql)]).map(|said| unescaped(&said))
    }

    pub(crate) fn query_beside(&self, sql: &str) -> Result<String, Error> {
        let holes = [("sql", sql), ("short", &self.short)];
        self.ask("postgres.query-beside", &holes).map(|said| unescaped(&said))
    }

    /// The versions that the table holds, lowest first.
    pub(crate) fn migrations(&self, task: &Migrate) -> Result<Vec<u64>, Error> {
        let holes = [("schema", &*task.schema), ("table", &task.table), ("column", &task.column)];
        let said = self.ask("postgres.migrations", &holes)?;
        said.lines().map(|line| number("postgres/version-table", line)).collect()
    }

    pub(crate) fn list(&self, source: &Source, is_folder: bool) -> Result<Listed, Error> {
        let form = match (source, is_folder) {
            (Source::File(_), false) => "postgres.list-file",
            (Source::File(_), true) => "postgres.list-folder-file",
            (Source::Point(_), false) => "postgres.list-point",
            (Source::Point(_), true) => "postgres.list-folder-point",
        };
        let path = source.path();
        let ended = programs::ask(&self.call(form, &[("dump", path)], long_ms()))?;
        if ended.code != Some(0) && archive::is_plain(&ended.complaint) {
            return Ok(Listed::Plain);
        }
        let said = said(&ended).map_err(|error| match error.code.as_str() {
            "postgres/failed" => Error::failed(
                "postgres/no-archive",
                format!("{path} is no archive of pg_dump, or is damaged (compressed ones are unpacked first; other plain SQL needs `format = \"plain\"`): {}", error.message),
            ),
            _ => error,
        })?;
        Ok(Listed::Archive(archive::read(&said)))
    }

    pub(crate) fn create_beside(&self) -> Result<(), Error> {
        self.stage("postgres.create-beside", &[("short", &self.short)], SHORT_MS)
    }

    pub(crate) fn drop_beside(&self) -> Result<(), Error> {
        self.stage("postgres.drop-beside", &[("short", &self.short)], SHORT_MS)
    }

    pub(crate) fn carry(&self) -> Result<(), Error> {
        self.stage("postgres.carry", &[("short", &self.short)], SHORT_MS)
    }

    pub(crate) fn analyze_beside(&self) -> Result<(), Error> {
        self.stage("postgres.analyze-beside", &[("short", &self.short)], long_ms())
    }

    pub(crate) fn restore(&self, task: &Restore, format: Format, is_folder: bool) -> Result<(), Error> {
        let path = task.source.path();
        if format == Format::Plain {
            return self.stage(
                "postgres.restore-plain",
                &[("short", &self.short), ("lock", &self.short), ("dump", path)],
                long_ms(),
            );
        }
        let by_path = is_folder || task.jobs.is_some_and(|jobs| jobs > 1);
        let form = match (&task.source, by_path) {
            (Source::File(_), false) => "postgres.restore-file",
            (Source::Point(_), false) => "postgres.restore-point",
            (Source::File(_), true) => "postgres.restore-folder-file",
            (Source::Point(_), true) => "postgres.restore-folder-point",
        };
        let jobs = task.jobs.unwrap_or(1).to_string();
        let mut holes = vec![("short", &*self.short), ("dump", path)];
        if by_path {
            holes.push(("jobs", &jobs));
        }
        let mut call = self.call(form, &holes, long_ms());
        call.holes.push(Hole { name: "options".to_owned(), values: task.options.clone() });
        said(&programs::stage(&call)?).map(|_| ())
    }

    /// Side copy of a plain dump without its own lines about psql's commands.
    pub(crate) fn plain_beside(&self, path: &str) -> Result<(), Error> {
        self.stage("postgres.plain-beside", &[("dump", path), ("copy", path)], long_ms())
    }

    pub(crate) fn dump(&self, to: &str) -> Result<(), Error> {
        self.stage("postgres.dump", &[("copy", to)], long_ms())
    }

    pub(crate) fn fence(&self) -> Result<(), Error> {
        self.run("postgres.fence", &[])
    }

    pub(crate) fn unfence(&self) -> Result<(), Error> {
        self.run("postgres.unfence", &[])
    }

    pub(crate) fn switch(&self, staged: Staged) -> Result<(), Error> {
        self.between("postgres.switch", staged)
    }

    pub(crate) fn switch_back(&self, staged: Staged) -> Result<(), Error> {
        self.between("postgres.switch-back", staged)
    }

    fn between(&self, form: &str, staged: Staged) -> Result<(), Error> {
        let (old, new) = (staged.old.unwrap_or_default().to_string(), staged.new.to_string());
        self.run(form, &[("short", &self.short), ("old", &old), ("new", &new)])
    }

    pub(crate) fn drop_kept(&self, kind: &str, short: &str) -> Result<(), Error> {
        let call = self.call("postgres.drop-kept", &[("kind", kind), ("short", short)], SHORT_MS);
        said(&deeds::run(&format!("drop {kind} {short}"), &call)?).map(|_| ())
    }

    pub(crate) fn migrate(&self, task: &Migrate, script: &str, from: u64, to: u64) -> Result<(), Error> {
        let (from, to) = (from.to_string(), to.to_string());
        let holes = [
            ("schema", &*task.schema),
            ("table", &task.table),
            ("column", &task.column),
            ("notes", task.keeps.word()),
            ("from", &from),
            ("to", &to),
            ("lock", &self.short),
            ("script", script),
        ];
        let call = self.call("postgres.migrate", &holes, long_ms());
        said(&deeds::run(&format!("migrate {from} {to}"), &call)?).map(|_| ())
    }

    fn ask(&self, form: &str, holes: &[(&str, &str)]) -> Result<String, Error> {
        said(&programs::ask(&self.call(form, holes, SHORT_MS))?)
    }

    fn stage(&self, form: &str, holes: &[(&str, &str)], timeout_ms: u64) -> Result<(), Error> {
        said(&programs::stage(&self.call(form, holes, timeout_ms))?).map(|_| ())
    }

    fn run(&self, form: &str, holes: &[(&str, &str)]) -> Result<(), Error> {
        said(&deeds::run(form, &self.call(form, holes, SHORT_MS))?).map(|_| ())
    }

    fn call(&self, form: &str, holes: &[(&str, &str)], timeout_ms: u64) -> Call {
        let holes = holes
            .iter()
            .map(|(name, value)| Hole { name: (*name).to_owned(), values: vec![(*value).to_owned()] });
        Call { form: form.to_owned(), on: self.on.clone(), holes: holes.collect(), timeout_ms }
    }
}

/// Dumps and restores take what the phase has left.
fn long_ms() -> u64 {
    control::limits().remaining_ms
}

/// What it said, or why it ended otherwise, in its own words.
fn said(ended: &Ended) -> Result<String, Error> {
    if ended.code == Some(0) {
        return Ok(String::from_utf8_lossy(&ended.output).trim_end_matches('\n').to_owned());
    }
    let complaint = ended.complaint.trim();
    let code = match complaint {
        text if text.contains("connection to server") => "postgres/unreachable",
        text if text.contains("sternway: ") => "postgres/changed-meanwhile",
        text if text.contains("is being accessed by other users") => "postgres/in-use",
        text if text.contains("invalid command \\restrict") => "postgres/psql-too-old",
        text if text.contains("backslash commands are restricted") => "postgres/commands-in-dump",
        text if text.contains("No space left on device") => "postgres/too-little-disk",
        _ => "postgres/failed",
    };
    let end = match (ended.code, ended.signal) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no end".to_owned(),
    };
    let told = if complaint.is_empty() { end } else { format!("{} ({end})", tail(complaint)) };
    Err(Error::failed(code, told))
}

/// The first lines name the cause; the rest repeats it.
fn tail(complaint: &str) -> String {
    let lines: Vec<&str> = complaint.lines().filter(|line| !line.trim().is_empty()).take(4).collect();
    lines.join("; ").chars().take(800).collect()
}

fn number(code: &str, said: &str) -> Result<u64, Error> {
    let said = said.trim();
    said.parse().map_err(|_| Error::failed(code, format!("`{said}` is no whole number")))
}

/// The server answers a query as text of XML.
fn unescaped(said: &str) -> String {
    said.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(code: i32, complaint: &str) -> Ended {
        Ended {
            code: Some(code),
            signal: None,
            output: vec![],
            complaint: complaint.to_owned(),
            elapsed_ms: 1,
        }
    }

    #[test]
    fn what_a_program_complains_of_has_a_code_of_its_own() {
        for (complaint, code) in [
            (
                "psql: error: connection to server on socket \"/x\" failed: No such file",
                "postgres/unreachable",
            ),
            (
                "ERROR:  sternway: another database has one of the two names by now",
                "postgres/changed-meanwhile",
            ),
            ("ERROR:  database \"a\" is being accessed by other users", "postgres/in-use"),
            ("psql: error: invalid command \\restrict", "postgres/psql-too-old"),
            ("could not extend file: No space left on device", "postgres/too-little-disk"),
            ("ERROR:  syntax error", "postgres/failed"),
        ] {
            assert_eq!(said(&ended(1, complaint)).unwrap_err().code, code);
        }
        assert_eq!(said(&ended(0, "NOTICE: fine")), Ok(String::new()));
        let killed = Ended { code: None, signal: Some(9), ..ended(0, "") };
        assert_eq!(said(&killed).unwrap_err().message, "signal 9");
    }

    #[test]
    fn answers_come_back_as_they_were() {
        assert_eq!(unescaped("a &lt; b &amp;&amp; &quot;c&quot; &gt; &amp;lt;"), "a < b && \"c\" > &lt;");
        assert_eq!(number("x", " 7\n"), Ok(7));
        assert_eq!(number("x/size", "many").unwrap_err().code, "x/size");
    }
}
