//! The settings as one call of a program, and its end against what is expected. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use sternway_plugin::host::programs::{Call, Ended, Hole};
use sternway_plugin::{Action, Error, Risk, Texts, duration_ms};

use crate::values::{Codes, Values};

const NAME_CHARACTERS_MAX: usize = 64;
const SHOWN_CHARACTERS_MAX: usize = 300;

/// Runs or asks a program of the host's configuration; exactly one of `run` and `check`.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("oneOf" = [{"required": ["run"]}, {"required": ["check"]}])))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Name of a `[[program]]` of the host with `effect = "change"`.
    #[cfg_attr(test, schemars(regex(pattern = "^[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}$")))]
    run: Option<String>,
    /// Name of a `[[program]]` of the host with `effect = "read"`.
    #[cfg_attr(test, schemars(regex(pattern = "^[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}$")))]
    check: Option<String>,
    /// What fills the program's holes, by name: a text, a number, or a list.
    with: Option<BTreeMap<String, Values>>,
    /// Paths that values in `with` name.
    #[allow(dead_code, reason = "it bounds the power `files`, and the host reads it")]
    files: Option<Texts>,
    /// How it has to end.
    expect: Option<Expect>,
    /// How long it may take before it is ended. Left out: as long as the step may.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$")))]
    timeout: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Expect {
    /// The exit code, or a list of those that are right. Left out: 0.
    code: Option<Codes>,
    /// A text that what it says must contain.
    output: Option<String>,
    /// A text that what it says must not contain, on either output.
    output_not: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    Run,
    Check,
}

/// The settings, found sound.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) deed: Deed,
    pub(crate) name: String,
    holes: Vec<Hole>,
    codes: Vec<i32>,
    output: Option<String>,
    output_not: Option<String>,
    timeout_ms: u64,
}

impl Settings {
    pub(crate) fn task(&self) -> Result<Task, Error> {
        let (deed, name) = match (&self.run, &self.check) {
            (Some(name), None) => (Deed::Run, name),
            (None, Some(name)) => (Deed::Check, name),
            _ => {
                return Err(Error::invalid(
                    "command/one-of",
                    "exactly one of `run` and `check` has to be set",
                ));
            }
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
        let is_name = (1..=NAME_CHARACTERS_MAX).contains(&name.len())
            && name.starts_with(|first: char| first.is_ascii_alphanumeric())
            && name.chars().all(plain);
        if !is_name {
            let message = format!("`{}` cannot name a program", name.escape_debug());
            return Err(Error::invalid("command/name", message));
        }
        let timeout_ms = self.timeout.as_deref().map(duration_ms).transpose();
        let timeout_ms = timeout_ms.map_err(|cause| Error::invalid("command/timeout", cause.to_string()))?;
        if timeout_ms == Some(0) {
            return Err(Error::invalid("command/timeout", "no program ends in no time"));
        }
        let expect = self.expect.clone().unwrap_or_default();
        for (key, text) in [("output", &expect.output), ("output-not", &expect.output_not)] {
            if text.as_deref() == Some("") {
                let message = format!("`expect.{key}` is empty, and every output holds that");
                return Err(Error::invalid("command/expect", message));
            }
        }
        let hole = |(name, values): (&String, &Values)| Hole { name: name.clone(), values: values.0.clone() };
        Ok(Task {
            deed,
            name: name.clone(),
            holes: self.with.iter().flatten().map(hole).collect(),
            codes: expect.code.map_or_else(|| vec![0], |codes| codes.0),
            output: expect.output,
            output_not: expect.output_not,
            timeout_ms: timeout_ms.unwrap_or(0),
        })
    }
}

/// A host's own programs are forms of the power `command`.
pub(crate) fn form(name: &str) -> String {
    format!("command.{name}")
}

impl Task {
    pub(crate) fn call(&self) -> Call {
        Call {
            form: form(&self.name),
            on: self.name.clone(),
            holes: self.holes.clone(),
            timeout_ms: self.timeout_ms,
        }
    }

    pub(crate) fn title(&self) -> String {
        let verb = if self.deed == Deed::Run { "run" } else { "ask" };
        let holes: Vec<String> =
            self.holes.iter().map(|hole| format!("{}={}", hole.name, hole.values.join(","))).collect();
        format!("{verb} {} {}", self.name, holes.join(" ")).trim_end().to_owned()
    }

    pub(crate) fn expectation(&self) -> String {
        let codes: Vec<String> = self.codes.iter().map(i32::to_string).collect();
        let mut text = format!("exit {}", codes.join(" or "));
        if let Some(output) = &self.output {
            text.push_str(&format!(", says {output:?}"));
        }
        if let Some(output) = &self.output_not {
            text.push_str(&format!(", does not say {output:?}"));
        }
        text
    }

    /// What is not as expected; none when all is.
    pub(crate) fn complaint(&self, ended: &Ended) -> Option<String> {
        let said = String::from_utf8_lossy(&ended.output);
        let is_said = |text: &String| said.contains(text.as_str());
        let is_forbidden = |text: &String| is_said(text) || ended.complaint.contains(text);
        let says_well =
            self.output.as_ref().is_none_or(is_said) && !self.output_not.as_ref().is_some_and(is_forbidden);
        let wrong = match ended.code.is_some_and(|code| self.codes.contains(&code)) {
            true if says_well => return None,
            true => "what it said",
            false => "its end",
        };
        let (name, end, expected) = (&self.name, in_words(ended), self.expectation());
        let last = last_lines(ended, 4).join(" | ");
        let last: String = match last.chars().count().saturating_sub(SHOWN_CHARACTERS_MAX) {
            0 if last.is_empty() => "it said nothing".into(),
            surplus => format!("it said: {}", last.chars().skip(surplus).collect::<String>()),
        };
        Some(format!("`{name}` ended with {end}, and {wrong} is not as expected ({expected}); {last}"))
    }
}

pub(crate) fn in_words(ended: &Ended) -> String {
    match (ended.code, ended.signal) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no end known".into(),
    }
}

/// The last lines of what it complained of, or else of what it said.
pub(crate) fn last_lines(ended: &Ended, lines_max: usize) -> Vec<String> {
    let said = String::from_utf8_lossy(&ended.output);
    let text = if ended.complaint.trim().is_empty() { &said } else { ended.complaint.as_str() };
    let plain = |line: &str| line.trim().chars().filter(|c| !c.is_control()).collect::<String>();
    let lines: Vec<String> = text.lines().map(plain).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(lines_max)..].to_vec()
}

/// The host refused before there was a process.
pub(crate) fn never_began(error: &Error) -> bool {
    const REFUSALS: [&str; 7] = [
        "programs/unknown-form",
        "programs/not-here",
        "programs/bad-hole",
        "programs/no-file",
        "programs/wrong-effect",
        "programs/not-permitted",
        "programs/outside-grant",
    ];
    REFUSALS.contains(&error.code.as_str()) || error.code == "files/outside-grant"
}

/// The program surely works no more, however it ended.
pub(crate) fn has_ended(error: &Error) -> bool {
    ["programs/timed-out", "programs/cancelled", "programs/not-started"].contains(&error.code.as_str())
}

pub(crate) fn action(task: &Task) -> Action {
    Action {
        summary: task.title(),
        target: task.name.clone(),
        before: None,
        after: Some(task.expectation()),
        risk: if task.deed == Deed::Run { Risk::High } else { Risk::None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(json: &str) -> Result<Task, Error> {
        serde_json::from_str::<Settings>(json).unwrap().task()
    }

    fn ended(code: i32, output: &str, complaint: &str) -> Ended {
        let output = output.as_bytes().to_vec();
        Ended { code: Some(code), signal: None, output, complaint: complaint.into(), elapsed_ms: 1 }
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
            ("{}", "command/one-of"),
            (r#"{"run":"a","check":"b"}"#, "command/one-of"),
            (r#"{"run":""}"#, "command/name"),
            (r#"{"run":"../sh"}"#, "command/name"),
            (r#"{"run":"-c"}"#, "command/name"),
            (r#"{"run":"a b"}"#, "command/name"),
            (r#"{"run":"a","timeout":"soon"}"#, "command/timeout"),
            (r#"{"run":"a","timeout":"0s"}"#, "command/timeout"),
            (r#"{"run":"a","expect":{"output":""}}"#, "command/expect"),
            (r#"{"run":"a","expect":{"output-not":""}}"#, "command/expect"),
        ] {
            assert_eq!(task(json).unwrap_err().code, code, "{json}");
        }
        for json in [
            r#"{"runn":"a"}"#,
            r#"{"run":"a","expect":{"code":-1}}"#,
            r#"{"run":"a","expect":{"code":256}}"#,
            r#"{"run":"a","expect":{"code":[]}}"#,
            r#"{"run":"a","with":{"x":true}}"#,
            r#"{"run":["a"]}"#,
        ] {
            assert!(serde_json::from_str::<Settings>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn values_fill_holes_as_people_write_them() {
        let task = task(r#"{"run":"reindex","with":{"shard":3,"name":"a b","all":["x",4]},"timeout":"2m"}"#);
        let call = task.unwrap().call();
        assert_eq!(
            (call.form.as_str(), call.on.as_str(), call.timeout_ms),
            ("command.reindex", "reindex", 120_000)
        );
        let holes: Vec<(&str, String)> =
            call.holes.iter().map(|hole| (hole.name.as_str(), hole.values.join("|"))).collect();
        assert_eq!(holes, [("all", "x|4".into()), ("name", "a b".into()), ("shard", "3".into())]);
    }

    #[test]
    fn an_end_is_held_against_code_and_output() {
        let usual = task(r#"{"run":"a"}"#).unwrap();
        assert_eq!(usual.complaint(&ended(0, "", "")), None);
        assert_eq!(
            usual.complaint(&ended(3, "out\n", "one\n\x1b[1mtwo\n")).unwrap(),
            "`a` ended with exit 3, and its end is not as expected (exit 0); it said: one | [1mtwo"
        );
        let killed = Ended { code: None, signal: Some(9), ..ended(0, "", "") };
        assert!(usual.complaint(&killed).unwrap().contains("signal 9"));
        let told =
            task(r#"{"check":"a","expect":{"code":[0,3],"output":"all good","output-not":"WARN"}}"#).unwrap();
        assert_eq!(told.complaint(&ended(3, "it is all good\n", "")), None);
        assert!(told.complaint(&ended(0, "bad", "")).unwrap().contains("what it said"));
        assert!(told.complaint(&ended(0, "all good", "WARN: disk")).unwrap().contains("WARN: disk"));
        assert!(told.complaint(&ended(4, "all good", "")).unwrap().contains("its end"));
    }

    #[test]
    fn the_preview_tells_program_values_and_expectation() {
        let action = action(&task(r#"{"run":"a","with":{"x":"1"},"expect":{"output":"ok"}}"#).unwrap());
        assert_eq!(action.summary, "run a x=1");
        assert_eq!(action.after.unwrap(), "exit 0, says \"ok\"");
        assert_eq!(action.risk, Risk::High);
    }
}
