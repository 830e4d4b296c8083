//! Environment files, line by line: `KEY=value`, comments and order kept.

use serde_json::{Map, Value};
use sternway_plugin::Error;

use crate::tree::Edit;

pub(crate) fn read(text: &str) -> Result<Value, String> {
    let mut table = Map::new();
    for (number, line) in (1..).zip(text.lines()) {
        if is_remark(line) {
            continue;
        }
        let Some((_, key, raw)) = parts(line) else {
            return Err(format!("line {number} is neither KEY=value nor a comment"));
        };
        let value = unquote(raw).ok_or_else(|| format!("line {number} has an open quote"))?;
        if table.insert(key.to_owned(), value.into()).is_some() {
            return Err(format!("line {number} sets `{key}` a second time"));
        }
    }
    Ok(Value::Object(table))
}

pub(crate) fn edit(text: &str, edits: &[Edit]) -> Result<String, Error> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for edit in edits {
        match edit {
            Edit::Remove(path) => lines.retain(|line| key_of(line) != Some(path[0].as_str())),
            Edit::Set(path, value) => {
                let value = quote(&plain(&path[0], value)?)?;
                put(&mut lines, &path[0], &value);
            }
            Edit::Rename { from, to } => {
                for line in &mut lines {
                    if let Some((before, key, raw)) = parts(line)
                        && key == from[0]
                    {
                        *line = format!("{before}{}={raw}", name(&to[0])?);
                    }
                }
            }
        }
    }
    for edit in edits {
        if let Edit::Set(path, _) = edit {
            name(&path[0])?;
        }
    }
    let mut written = lines.join("\n");
    if !lines.is_empty() && (text.ends_with('\n') || text.is_empty()) {
        written.push('\n');
    }
    Ok(written)
}

fn put(lines: &mut Vec<String>, key: &str, value: &str) {
    for line in lines.iter_mut() {
        if let Some((before, found, _)) = parts(line)
            && found == key
        {
            *line = format!("{before}{key}={value}");
            return;
        }
    }
    lines.push(format!("{key}={value}"));
}

fn is_remark(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

fn key_of(line: &str) -> Option<&str> {
    if is_remark(line) { None } else { parts(line).map(|(_, key, _)| key) }
}

/// What stands before the key, the key, and the value as written.
fn parts(line: &str) -> Option<(&str, &str, &str)> {
    if is_remark(line) {
        return None;
    }
    let (left, raw) = line.split_once('=')?;
    let trimmed = left.trim_start();
    let key = trimmed.strip_prefix("export ").map_or(trimmed, str::trim_start);
    let before = &left[..left.len() - key.len()];
    is_name(key).then_some((before, key, raw))
}

fn is_name(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn name(key: &str) -> Result<&str, Error> {
    if is_name(key) {
        return Ok(key);
    }
    Err(Error::invalid("config/key", format!("`{key}` cannot name a variable")))
}

/// The value a shell would see; none for a quote that does not end.
fn unquote(raw: &str) -> Option<String> {
    let raw = raw.trim();
    if let Some(inner) = raw.strip_prefix('\'') {
        return inner.strip_suffix('\'').filter(|text| !text.contains('\'')).map(str::to_owned);
    }
    let Some(inner) = raw.strip_prefix('"') else { return Some(raw.to_owned()) };
    let mut value = String::new();
    let mut chars = inner.chars();
    loop {
        match chars.next()? {
            '"' => return chars.as_str().is_empty().then_some(value),
            '\\' => match chars.next()? {
                escaped @ ('"' | '\\' | '$' | '`') => value.push(escaped),
                other => value.extend(['\\', other]),
            },
            c => value.push(c),
        }
    }
}

fn quote(value: &str) -> Result<String, Error> {
    if value.contains(['\n', '\r']) {
        return Err(Error::invalid("config/lines", "a variable cannot hold several lines"));
    }
    let bare = |b: u8| b.is_ascii_alphanumeric() || b"_./:@%+,=-".contains(&b);
    if value.bytes().all(bare) {
        return Ok(value.to_owned());
    }
    let mut quoted = String::from("\"");
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    Ok(quoted)
}

pub(crate) fn plain(key: &str, value: &Value) -> Result<String, Error> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(Error::invalid(
            "config/not-a-text",
            format!("`{key}` can only be a text, a number or true or false"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_read_as_a_shell_reads_them() {
        let text = "# c\n\nA=1\nexport B='x y'\n  C=\"a\\\"b\"\nD=\nE=a=b # c\n";
        assert_eq!(read(text).unwrap(), json!({"A": "1", "B": "x y", "C": "a\"b", "D": "", "E": "a=b # c"}));
        for bad in ["A", "1A=2", "A=\"x", "A='x", "A=1\nA=2", "A = 1"] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_needs_quotes_gets_them_and_comes_back_the_same() {
        for value in ["plain", "two words", "$HOME", "a\"b\\c", "#x", "'", ""] {
            let text = edit("# kept\nexport A=old\n", &[Edit::Set(vec!["A".into()], json!(value))]).unwrap();
            assert!(text.starts_with("# kept\nexport A="), "{text}");
            assert_eq!(read(&text).unwrap(), json!({"A": value}), "{text}");
        }
        assert!(edit("", &[Edit::Set(vec!["A".into()], json!("a\nb"))]).is_err());
        assert!(edit("", &[Edit::Set(vec!["A B".into()], json!("a"))]).is_err());
    }

    #[test]
    fn lines_keep_their_order_and_their_end() {
        let edits = [
            Edit::Rename { from: vec!["A".into()], to: vec!["Z".into()] },
            Edit::Remove(vec!["B".into()]),
            Edit::Set(vec!["N".into()], json!(5)),
        ];
        assert_eq!(edit("A='1'\nB=2\nC=3", &edits).unwrap(), "Z='1'\nC=3\nN=5");
    }
}
