//! What a unit said, from the journal: `journalctl --output=json` is its
//! documented interface for machines, one object a line.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::capabilities::{ErrorKind, HostError};

const LINES_MAX: u32 = 1_000;
const LINE_BYTES_MAX: usize = 4 * 1024;
/// A single entry of the journal may be huge; all of them together may not.
const BYTES_MAX: u64 = 16 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(30);
const COMPLAINT_BYTES_MAX: u64 = 4 * 1024;

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "MESSAGE")]
    message: Option<Value>,
}

/// The newest `lines_max` since then, oldest first.
pub(super) fn lines(name: &str, since_ms: u64, lines_max: u32) -> Result<Vec<String>, HostError> {
    if lines_max == 0 {
        return Ok(vec![]);
    }
    let mut journal = Command::new("journalctl")
        .args(["--quiet", "--no-pager", "--all", "--output=json", "--output-fields=MESSAGE"])
        .arg(format!("--unit={name}"))
        .arg(format!("--since=@{}.{:03}", since_ms / 1_000, since_ms % 1_000))
        .arg(format!("--lines={}", lines_max.min(LINES_MAX)))
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|cause| match cause.kind() {
            std::io::ErrorKind::NotFound => {
                HostError::new(ErrorKind::Unsupported, "systemd/no-journal", "this host has no journalctl")
            }
            _ => HostError::from_io("systemd", "could not run journalctl", &cause),
        })?;
    let read = read(&mut journal);
    // Ended already, or not wanted any more.
    let _ = journal.kill();
    let ended = journal.wait().map_err(|cause| HostError::from_io("systemd", "journalctl", &cause))?;
    match read {
        Some((lines, complaint)) if lines.is_empty() && !ended.success() && !complaint.is_empty() => {
            let why = plain(complaint.as_bytes());
            Err(HostError::new(ErrorKind::Failed, "systemd/journal-failed", format!("journalctl: {why}")))
        }
        Some((mut lines, _)) => {
            let newest = usize::try_from(lines_max.min(LINES_MAX)).unwrap_or(usize::MAX);
            Ok(lines.split_off(lines.len().saturating_sub(newest)))
        }
        None => Err(HostError::new(
            ErrorKind::TimedOut,
            "systemd/journal-failed",
            format!("journalctl did not answer within {} s", PATIENCE.as_secs()),
        )),
    }
}

/// What came in time, and the complaint; none when it did not end.
fn read(journal: &mut Child) -> Option<(Vec<String>, String)> {
    let output = journal.stdout.take().expect("piped above");
    let complaint = journal.stderr.take().expect("piped above");
    let (said, answer) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let lines = BufReader::new(output.take(BYTES_MAX)).split(b'\n');
        let lines: Vec<String> =
            lines.map_while(Result::ok).filter_map(|line| message(&line)).flatten().collect();
        let mut text = String::new();
        // Whatever can be read of it will do.
        let _ = complaint.take(COMPLAINT_BYTES_MAX).read_to_string(&mut text);
        let _ = said.send((lines, text));
    });
    answer.recv_timeout(PATIENCE).ok()
}

/// The lines of one entry. A message that is no UTF-8 comes as a list of bytes.
fn message(entry: &[u8]) -> Option<Vec<String>> {
    let entry: Entry = serde_json::from_slice(entry).ok()?;
    let bytes = match entry.message? {
        Value::String(text) => text.into_bytes(),
        Value::Array(bytes) => bytes.iter().map(byte).collect::<Option<_>>()?,
        _ => return None,
    };
    Some(bytes.split(|byte| *byte == b'\n').map(plain).collect())
}

fn byte(value: &Value) -> Option<u8> {
    u8::try_from(value.as_u64()?).ok()
}

/// What a terminal can show and do no more with.
fn plain(bytes: &[u8]) -> String {
    let kept = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let shown = |c: char| {
        if c == '\t' {
            ' '
        } else if c.is_control() {
            '\u{fffd}'
        } else {
            c
        }
    };
    String::from_utf8_lossy(kept).trim_end().chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::message;

    #[test]
    fn an_entry_of_the_journal_becomes_lines_that_do_nothing_to_a_terminal() {
        let line = |json: &str| message(json.as_bytes());
        assert_eq!(line(r#"{"MESSAGE":"hello","_PID":"7"}"#).unwrap(), ["hello"]);
        assert_eq!(line(r#"{"MESSAGE":[104,105,255,27]}"#).unwrap(), ["hi\u{fffd}\u{fffd}"]);
        assert_eq!(line("{\"MESSAGE\":\"a\\u001b[2J\\tb\"}").unwrap(), ["a\u{fffd}[2J b"]);
        assert_eq!(line(r#"{"MESSAGE":"two\nlines"}"#).unwrap(), ["two", "lines"]);
        assert_eq!(line(r#"{"MESSAGE":null}"#), None);
        assert_eq!(line(r#"{"MESSAGE":[300]}"#), None);
        assert_eq!(line("no JSON"), None);
        let long = format!(r#"{{"MESSAGE":"{}"}}"#, "x".repeat(10_000));
        assert_eq!(line(&long).unwrap()[0].len(), 4_096);
    }
}
