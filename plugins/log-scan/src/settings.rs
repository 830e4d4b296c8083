//! The settings, and what a sound reading of them asks for. Pure.

use regex_lite::{Regex, RegexBuilder};
use serde::Deserialize;
use sternway_plugin::{Error, Texts, duration_ms, paths};

const PATTERN: &str = "error|fatal|panic|exception";
const WITHIN_MS: u64 = 300_000;
/// A pattern is compiled to this at most.
const PATTERN_BYTES_MAX: usize = 256 * 1024;
const SUFFIXES: [&str; 6] = [".service", ".socket", ".timer", ".path", ".target", ".mount"];

/// Counts the lines of log files and of units that look like errors.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("anyOf" = [{"required": ["files"]}, {"required": ["units"]}])))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Log files to read, by path.
    pub(crate) files: Option<Texts>,
    /// Units whose lines in the journal to read. A name without a suffix is a service.
    pub(crate) units: Option<Texts>,
    /// Regular expressions, one of which a line has to match to count; upper and lower case are one.
    /// Left out: `error|fatal|panic|exception`.
    pub(crate) pattern: Option<Texts>,
    /// Regular expressions of lines that do not count although they match.
    pub(crate) ignore: Option<Texts>,
    /// How many such lines one file or unit may have. Left out: `0`.
    pub(crate) max: Option<u32>,
    /// How far back lines count, from the step's beginning. Left out: `5m`. `0s`: only what comes from then on.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$")))]
    pub(crate) within: Option<String>,
    /// For how long to go on watching. Left out: `0s`.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$")))]
    pub(crate) wait: Option<String>,
}

/// The settings, found sound.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) files: Vec<String>,
    pub(crate) units: Vec<String>,
    pattern: Vec<Regex>,
    ignore: Vec<Regex>,
    pub(crate) max: u64,
    pub(crate) within_ms: u64,
    pub(crate) wait_ms: u64,
}

impl Settings {
    pub(crate) fn task(&self) -> Result<Task, Error> {
        let files = paths::all(self.files.as_ref())?;
        let units: Vec<String> =
            self.units.iter().flat_map(Texts::iter).map(unit).collect::<Result<_, _>>()?;
        if files.is_empty() && units.is_empty() {
            return Err(Error::invalid("log-scan/nothing-asked", "neither `files` nor `units` is set"));
        }
        for names in [&files, &units] {
            if let Some(name) =
                (1..names.len()).find_map(|at| names[..at].contains(&names[at]).then(|| &names[at]))
            {
                return Err(Error::invalid("log-scan/twice", format!("`{name}` is named twice")));
            }
        }
        let pattern = match &self.pattern {
            None => vec![compiled(PATTERN)?],
            Some(patterns) => patterns.iter().map(compiled).collect::<Result<_, _>>()?,
        };
        Ok(Task {
            files,
            units,
            pattern,
            ignore: self.ignore.iter().flat_map(Texts::iter).map(compiled).collect::<Result<_, _>>()?,
            max: u64::from(self.max.unwrap_or(0)),
            within_ms: time("within", self.within.as_deref(), WITHIN_MS)?,
            wait_ms: time("wait", self.wait.as_deref(), 0)?,
        })
    }
}

impl Task {
    /// Whether a line is one of those that are counted.
    pub(crate) fn counts(&self, line: &str) -> bool {
        self.pattern.iter().any(|pattern| pattern.is_match(line))
            && !self.ignore.iter().any(|pattern| pattern.is_match(line))
    }
}

fn compiled(pattern: &str) -> Result<Regex, Error> {
    let mut builder = RegexBuilder::new(pattern);
    let built = builder.case_insensitive(true).size_limit(PATTERN_BYTES_MAX).build();
    let regex = built.map_err(|cause| Error::invalid("log-scan/pattern", format!("`{pattern}`: {cause}")))?;
    if regex.is_match("") {
        return Err(Error::invalid("log-scan/pattern", format!("`{pattern}` matches every line")));
    }
    Ok(regex)
}

fn time(setting: &str, text: Option<&str>, left_out: u64) -> Result<u64, Error> {
    text.map_or(Ok(left_out), duration_ms)
        .map_err(|cause| Error::invalid("log-scan/duration", format!("`{setting}`: {cause}")))
}

fn unit(name: &str) -> Result<String, Error> {
    if name.is_empty() || name.contains('/') {
        return Err(Error::invalid("log-scan/unit", format!("`{name}` is not the name of a unit")));
    }
    let whole = SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
    Ok(if whole { name.to_owned() } else { format!("{name}.service") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(json: &str) -> Result<Task, Error> {
        serde_json::from_str::<Settings>(json).unwrap().task()
    }

    #[test]
    fn the_schema_file_says_what_the_settings_take() {
        sternway_plugin::schema::assert_current::<Settings>(
            concat!(env!("CARGO_MANIFEST_DIR"), "/settings.schema.json"),
            include_str!("../settings.schema.json"),
        );
    }

    #[test]
    fn unsound_settings_are_refused_by_code() {
        for (json, code) in [
            ("{}", "log-scan/nothing-asked"),
            (r#"{"files":"var/log/a"}"#, "step/path"),
            (r#"{"files":["/a","/a/"]}"#, "log-scan/twice"),
            (r#"{"units":["a","a.service"]}"#, "log-scan/twice"),
            (r#"{"units":"a/b"}"#, "log-scan/unit"),
            (r#"{"files":"/a","pattern":"("}"#, "log-scan/pattern"),
            (r#"{"files":"/a","pattern":"x*"}"#, "log-scan/pattern"),
            (r#"{"files":"/a","ignore":"[a"}"#, "log-scan/pattern"),
            (r#"{"files":"/a","ignore":""}"#, "log-scan/pattern"),
            (r#"{"files":"/a","within":"5"}"#, "log-scan/duration"),
            (r#"{"files":"/a","wait":"soon"}"#, "log-scan/duration"),
        ] {
            assert_eq!(task(json).unwrap_err().code, code, "{json}");
        }
        assert!(serde_json::from_str::<Settings>(r#"{"files":"/a","max":-1}"#).is_err());
    }

    #[test]
    fn a_line_counts_when_it_matches_and_is_not_ignored() {
        let task = task(r#"{"units":"web","ignore":["connection reset","404"]}"#).unwrap();
        assert_eq!(task.units, ["web.service"]);
        for (line, counts) in [
            ("ERROR no database", true),
            ("java.lang.NullPointerException", true),
            ("kernel panic", true),
            ("Fatal: x", true),
            ("all is well", false),
            ("error: Connection Reset by peer", false),
            ("error 404", false),
        ] {
            assert_eq!(task.counts(line), counts, "{line}");
        }
        let task = self::task(r#"{"files":"/a","pattern":["^E\\d+ ","timeout"]}"#).unwrap();
        assert!(task.counts("E42 x") && task.counts("Timeout") && !task.counts("xE42 error"));
    }
}
