//! Flags and environment: the files are kept as files; what is said of them
//! here are the names of their keys. Values are nobody's business.

use sternway_core::point::PieceKind;

use super::{Ground, Names, PiecesError};
use crate::capabilities::files::HostPath;
use crate::points::making::{Content, Extra};

/// The names of the keys in a file; nothing for a folder, or for a file too long to look into.
pub(super) fn keys_of(
    ground: &Ground<'_>,
    names: &mut Names,
    kind: PieceKind,
    path: &HostPath,
) -> Result<Option<Extra>, PiecesError> {
    if !ground.is_file(path)? {
        return Ok(None);
    }
    let Some(text) = ground.short_text(path)? else { return Ok(None) };
    let keys = keys(&text);
    let note = match keys.len() {
        1 => "1 key".into(),
        count => format!("{count} keys"),
    };
    let file = names.file(kind, path.as_str(), "keys");
    let mut content = keys.join("\n");
    content.push('\n');
    let content = Content::Bytes(content.into_bytes());
    Ok(Some(Extra { kind, name: path.to_string(), file, note, content }))
}

fn keys(text: &str) -> Vec<String> {
    if let Ok(value @ serde_json::Value::Object(_)) = serde_json::from_str(text) {
        let mut found = Vec::new();
        leaves(&value, &mut String::new(), &mut found);
        return found;
    }
    let mut found = Vec::new();
    let mut open_quote = None;
    for line in text.lines() {
        if let Some(quote) = open_quote {
            if line.trim_end().ends_with(quote) {
                open_quote = None;
            }
            continue;
        }
        let Some((key, value)) = key_and_value(line) else { continue };
        found.push(key.to_owned());
        open_quote = value.chars().next().filter(|c| matches!(c, '"' | '\'')).filter(|quote| {
            // A value that goes on in the next line.
            !value[1..].contains(*quote)
        });
    }
    found
}

/// `key = value` and `key: value`, as environment files, INI, TOML and YAML have them.
fn key_and_value(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || "_.-".contains(c)))?;
    let (key, rest) = line.split_at(end);
    let value = rest.trim_start().strip_prefix(['=', ':'])?;
    let begins_well = key.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    // `https://…` and the like are no keys.
    (begins_well && !value.starts_with("//")).then_some((key, value.trim_start()))
}

fn leaves(value: &serde_json::Value, path: &mut String, found: &mut Vec<String>) {
    match value.as_object() {
        Some(object) => {
            for (key, value) in object {
                let length = path.len();
                if !path.is_empty() {
                    path.push('.');
                }
                path.extend(key.chars().filter(|c| !c.is_control()));
                leaves(value, path, found);
                path.truncate(length);
            }
        }
        None => found.push(path.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::points::pieces::tests::{Host, content};

    #[test]
    fn keys_are_told_and_values_are_not() {
        let cases: [(&str, &[&str]); 5] = [
            (
                r#"{"new_planner": true, "limits": {"agents": 7, "token": "s3cret"}}"#,
                &["limits.agents", "limits.token", "new_planner"],
            ),
            ("# A=s3cret\nexport TOKEN=s3cret\nPORT = 80\n\nURL=https://s3cret\n", &["TOKEN", "PORT", "URL"]),
            ("KEY=\"-----BEGIN\ns3cret=\ns3cret==\"\nNEXT='x'\n", &["KEY", "NEXT"]),
            ("flags:\n  fast: on\n  slow: off\n- s3cret\n", &["flags", "fast", "slow"]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            let mut found = keys(text);
            found.sort();
            let mut expected: Vec<&str> = expected.to_vec();
            expected.sort_unstable();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_file_is_counted_and_a_folder_is_not_looked_into() {
        let host = Host::new();
        host.write("/etc/agora/env", "A=s3cret\nB=2\n");
        let read = |path: &str| {
            let path = HostPath::parse(path).unwrap();
            keys_of(&host.ground(), &mut Names::default(), PieceKind::Environment, &path).unwrap()
        };
        let extra = read("/etc/agora/env").unwrap();
        assert_eq!((extra.name.as_str(), extra.note.as_str()), ("/etc/agora/env", "2 keys"));
        assert_eq!(content(extra).unwrap(), "A\nB\n");
        assert!(read("/etc/agora").is_none());
    }
}
