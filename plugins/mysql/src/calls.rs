//! Every program this plugin asks for, by its form.

use sternway_plugin::host::control;
use sternway_plugin::host::programs::{self, Call, Ended, Hole};
use sternway_plugin::{Error, deeds};

use crate::decide::Told;
use crate::settings::Source;

/// What only asks, or changes names.
const SHORT_MS: u64 = 120_000;

/// A database with the key of this step of this run.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) on: String,
    pub(crate) short: String,
}

impl Server {
    pub(crate) fn beside(&self, kind: &str) -> String {
        format!("{}__{kind}_{}", self.on, self.short)
    }

    pub(crate) fn told(&self) -> Result<Told, Error> {
        let said = self.ask("mysql.state", &[])?;
        serde_json::from_str(&said).map_err(|cause| Error::failed("mysql/state", cause.to_string()))
    }

    /// Bytes that are free where `path` lies.
    pub(crate) fn room(&self, path: &str) -> Result<u64, Error> {
        let said = self.ask("mysql.room", &[("path", path)])?;
        let number = said.lines().last().unwrap_or_default().trim().parse();
        number.map_err(|_| Error::failed("mysql/room", format!("`{said}` is no number")))
    }

    pub(crate) fn query(&self, sql: &str) -> Result<String, Error> {
        self.ask("mysql.query", &[("sql", sql)]).map(|said| answer(&said))
    }

    pub(crate) fn query_beside(&self, sql: &str) -> Result<String, Error> {
        self.ask("mysql.query-beside", &[("sql", sql), ("short", &self.short)]).map(|said| answer(&said))
    }

    /// The lines by which a dump is known.
    pub(crate) fn lines(&self, source: &Source) -> Result<String, Error> {
        let form = match source {
            Source::File(_) => "mysql.lines-file",
            Source::Point(_) => "mysql.lines-point",
        };
        let ended = programs::ask(&self.call(form, &[("dump", source.path())], long_ms()))?;
        // None of them: an answer too.
        if ended.code == Some(1) { Ok(String::new()) } else { said(&ended) }
    }

    pub(crate) fn unnamed(&self, source: &Source, to: &str) -> Result<(), Error> {
        let form = match source {
            Source::File(_) => "mysql.unnamed-file",
            Source::Point(_) => "mysql.unnamed-point",
        };
        self.stage(form, &[("dump", source.path()), ("copy", to)], long_ms())
    }

    pub(crate) fn create_beside(&self) -> Result<(), Error> {
        self.stage("mysql.create-beside", &[("short", &self.short)], SHORT_MS)
    }

    pub(crate) fn drop_beside(&self) -> Result<(), Error> {
        self.stage("mysql.drop-beside", &[("short", &self.short)], SHORT_MS)
    }

    pub(crate) fn restore(&self, source: &Source) -> Result<(), Error> {
        let form = match source {
            Source::File(_) => "mysql.restore-file",
            Source::Point(_) => "mysql.restore-point",
        };
        self.stage(form, &[("short", &self.short), ("dump", source.path())], long_ms())
    }

    pub(crate) fn dump(&self, to: &str) -> Result<(), Error> {
        self.stage("mysql.dump", &[("copy", to)], long_ms())
    }

    pub(crate) fn exchange(&self, aside: &str, from: &str) -> Result<(), Error> {
        let holes = [("short", &*self.short), ("aside", aside), ("from", from)];
        let call = self.call("mysql.exchange", &holes, SHORT_MS);
        said(&deeds::run(&format!("exchange {aside}"), &call)?).map(|_| ())
    }

    pub(crate) fn drop_kept(&self, kind: &str, short: &str) -> Result<(), Error> {
        let call = self.call("mysql.drop-kept", &[("kind", kind), ("short", short)], SHORT_MS);
        said(&deeds::run(&format!("drop {kind} {short}"), &call)?).map(|_| ())
    }

    fn ask(&self, form: &str, holes: &[(&str, &str)]) -> Result<String, Error> {
        said(&programs::ask(&self.call(form, holes, SHORT_MS))?)
    }

    fn stage(&self, form: &str, holes: &[(&str, &str)], timeout_ms: u64) -> Result<(), Error> {
        said(&programs::stage(&self.call(form, holes, timeout_ms))?).map(|_| ())
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

/// The first line; columns are parted by tabs.
fn answer(said: &str) -> String {
    let first = said.lines().next().unwrap_or_default().split('\t').next().unwrap_or_default();
    if first == "NULL" { String::new() } else { first.to_owned() }
}

/// What it said, or why it ended otherwise, in its own words.
fn said(ended: &Ended) -> Result<String, Error> {
    if ended.code == Some(0) {
        return Ok(String::from_utf8_lossy(&ended.output).trim_end_matches('\n').to_owned());
    }
    let complaint: Vec<&str> =
        ended.complaint.lines().filter(|line| !line.trim().is_empty()).take(4).collect();
    let complaint: String = complaint.join("; ").chars().take(800).collect();
    let code = match complaint.as_str() {
        text if text.contains("ERROR 2002") || text.contains("ERROR 2003") || text.contains("ERROR 1045") => {
            "mysql/unreachable"
        }
        text if text.contains("sandbox mode") => "mysql/commands-in-dump",
        text if text.contains("No space left on device") => "mysql/too-little-disk",
        text if text.contains("Lock wait timeout") => "mysql/in-use",
        _ => "mysql/failed",
    };
    let end = match (ended.code, ended.signal) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no end".to_owned(),
    };
    Err(Error::failed(code, if complaint.is_empty() { end } else { format!("{complaint} ({end})") }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_complains_of_has_a_code_of_its_own() {
        for (complaint, code) in [
            ("ERROR 2002 (HY000): Can't connect to local server", "mysql/unreachable"),
            ("ERROR 1045 (28000): Access denied", "mysql/unreachable"),
            ("ERROR at line 1: Not allowed in the sandbox mode", "mysql/commands-in-dump"),
            ("ERROR 1205 (HY000): Lock wait timeout exceeded", "mysql/in-use"),
            ("ERROR 1064 (42000): syntax", "mysql/failed"),
        ] {
            let ended = Ended {
                code: Some(1),
                signal: None,
                output: vec![],
                complaint: complaint.into(),
                elapsed_ms: 1,
            };
            assert_eq!(said(&ended).unwrap_err().code, code);
        }
        assert_eq!(
            (answer("7\tx\n8"), answer("NULL"), answer("")),
            ("7".into(), String::new(), String::new())
        );
    }
}
