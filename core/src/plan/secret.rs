//! Values that look like keys, so that no message and no picture repeats them.
//! A plan travels to every host and to everybody who reviews it.

use super::tree::Place;

const PREFIXES: [&str; 11] =
    ["-----BEGIN", "AKIA", "ASIA", "ghp_", "gho_", "ghs_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "eyJ"];
const KEY_WORDS: [&str; 8] =
    ["password", "passwd", "secret", "token", "api_key", "apikey", "private_key", "credential"];
const HIDDEN: &str = "a value that looks like a key";
/// Shorter runs of letters and digits are taken for names.
const RUN_BYTES_MIN: usize = 32;

/// Whether the value, standing at a key of that name, looks like a key.
pub fn looks_secret(key: &str, value: &str) -> bool {
    let key = key.to_lowercase().replace('-', "_");
    let named = KEY_WORDS.iter().any(|word| key.ends_with(word));
    (named && !value.is_empty() && !value.starts_with("${")) || secret_part(value).is_some()
}

/// What a message may show of a value at a key of that name.
pub fn shown_of(key: &str, value: &str) -> String {
    if looks_secret(key, value) { HIDDEN.to_owned() } else { shown(value) }
}

/// What a message may show of a value.
pub fn shown(value: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 48;
    if secret_part(value).is_some() {
        return HIDDEN.to_owned();
    }
    let clean: String = value.chars().take(SHOWN_CHARS_MAX).flat_map(visible).collect();
    let dots = if value.chars().count() > SHOWN_CHARS_MAX { "…" } else { "" };
    format!("`{clean}{dots}`")
}

fn visible(c: char) -> Vec<char> {
    if crate::ids::is_disguise(c) { c.escape_unicode().collect() } else { vec![c] }
}

/// The part of a text that looks like a key: a well-known beginning, the
/// password in an address, or a long run that no person would type.
pub fn secret_part(text: &str) -> Option<Place> {
    for prefix in PREFIXES {
        for (at, _) in text.match_indices(prefix) {
            if text[..at].ends_with(char::is_alphanumeric) {
                continue;
            }
            let end = text[at..].find(['"', '\'', '\n', ' ']).map_or(text.len(), |length| at + length);
            let end = if prefix.starts_with('-') { text.len() } else { end };
            if end - at >= 16 {
                return Some(at..end);
            }
        }
    }
    if let Some(scheme) = text.find("://") {
        let authority = &text[scheme + 3..];
        let authority = &authority[..authority.find(['/', '"', ' ']).unwrap_or(authority.len())];
        if let Some((person, _)) = authority.rsplit_once('@')
            && let Some((name, password)) = person.split_once(':')
            && password.chars().any(|c| c != star(c))
        {
            let start = scheme + 3 + name.len() + 1;
            return Some(start..start + password.len());
        }
    }
    long_run(text)
}

fn long_run(text: &str) -> Option<Place> {
    let mut start = 0;
    let bytes = text.as_bytes();
    for end in 0..=bytes.len() {
        let inside = bytes.get(end).is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'='));
        if inside {
            continue;
        }
        let is_long = end.saturating_sub(start) >= RUN_BYTES_MIN;
        if is_long && is_mixed(&bytes[start..end]) && !bytes[..start].ends_with(b"sha256:") {
            return Some(start..end);
        }
        start = end + 1;
    }
    None
}

/// Digits and letters in turn, as no word has them.
fn is_mixed(run: &[u8]) -> bool {
    let turns = run.windows(2).filter(|pair| pair[0].is_ascii_digit() != pair[1].is_ascii_digit()).count();
    turns >= 6
}

/// The same text, byte for byte as long, with what looks like a key starred out.
/// Works line by line, also on text that cannot be parsed.
pub fn masked(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut in_key_block = false;
    for line in text.split_inclusive('\n') {
        if in_key_block || line.contains("-----BEGIN") {
            in_key_block = !line.contains("-----END");
            masked.extend(line.chars().map(star));
            continue;
        }
        masked.push_str(&mask_line(line));
    }
    masked
}

/// Every round stars out at least one character that was not a star, so the rounds end.
fn mask_line(line: &str) -> String {
    let mut line = mask_named(line);
    while let Some(part) = secret_part(&line) {
        let stars: String = line[part.clone()].chars().map(star).collect();
        line.replace_range(part, &stars);
    }
    line
}

/// Stars out `"value"` in every `key = "value"` whose key speaks of secrets.
fn mask_named(line: &str) -> String {
    let mut out = line.to_owned();
    let lower = line.to_ascii_lowercase().replace('-', "_");
    for word in KEY_WORDS {
        for (at, _) in lower.match_indices(word) {
            let rest = &line[at + word.len()..];
            let after_key = rest.trim_start_matches(['"', '\'', ' ', '\t']);
            let Some(value) = after_key.strip_prefix(['=', ':']) else { continue };
            let value = value.trim_start();
            let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
            let inner = quote.map_or(value, |quote| value.trim_start_matches(quote));
            let opens_more =
                inner.starts_with("${") || (quote.is_none() && inner.starts_with(['{', '[', '(']));
            if opens_more {
                continue;
            }
            let start = line.len() - inner.len();
            let end = match quote {
                Some(quote) => inner.find(quote),
                None => inner.find([' ', ',', '#', '}', ']']),
            };
            let length = end.unwrap_or(inner.trim_end().len());
            let stars: String = line[start..start + length].chars().map(star).collect();
            out.replace_range(start..start + length, &stars);
        }
    }
    out
}

/// As many bytes of stars as the character had, so that places stay true. What is a star stays as it is.
fn star(c: char) -> char {
    match c {
        '\n' | '\r' | '\t' | ' ' => c,
        c if c.is_ascii() => '*',
        // Other lengths cannot be starred byte for byte; they are kept in place by a character of the same length.
        c => match c.len_utf8() {
            2 => '\u{00b7}',
            3 => '\u{2022}',
            _ => '\u{1f511}',
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_starred_and_names_are_not() {
        let secret = "AKIAIOSFODNN7EXAMPLE";
        let line = format!("with = {{ body = \"{secret}\" }}\n");
        let shown = masked(&line);
        assert!(!shown.contains(secret) && shown.len() == line.len(), "{shown}");
        assert_eq!(
            masked("db = \"postgres://app:hunter2@db/x\"\n"),
            "db = \"postgres://app:*******@db/x\"\n"
        );
        assert_eq!(masked("api_token = \"abc\"\n"), "api_token = \"***\"\n");
        assert_eq!(masked("token = hunter2 # mine\n"), "token = ******* # mine\n");
        assert_eq!(masked("x = { \"db-password\" = 'abc' }\n"), "x = { \"db-password\" = '***' }\n");
        for harmless in [
            "drop = [\"api_token\", \"session_limit\"]\n",
            "restore = [\"/opt/agora/plugins/very-long-name-of-a-folder/and-one-more\"]\n",
            "token = \"${token}\"\n",
        ] {
            assert_eq!(masked(harmless), harmless);
        }
    }

    #[test]
    fn a_password_in_any_letters_is_starred_once_and_for_all() {
        for password in ["h\u{acd}e", "é", "a\tb", "🔑", "····"] {
            let shown = masked(&format!("url = \"http://app:{password}@db\"\n"));
            assert_eq!(masked(&shown), shown);
        }
        assert_eq!(masked("url = \"http://app:h\u{acd}e@db\"\n"), "url = \"http://app:*\u{2022}*@db\"\n");
    }

    #[test]
    fn a_block_of_a_private_key_is_starred_to_its_end() {
        let text = "a = '''\n-----BEGIN PRIVATE KEY-----\nMIIé\n-----END PRIVATE KEY-----\n'''\n";
        let shown = masked(text);
        assert!(!shown.contains("MII") && shown.ends_with("'''\n") && shown.len() == text.len(), "{shown}");
    }

    #[test]
    fn long_runs_of_mixed_letters_and_digits_look_like_keys() {
        assert!(looks_secret("body", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"));
        assert!(!looks_secret("body", "a perfectly normal sentence of more than thirty-two letters"));
        assert!(looks_secret("password", "x") && !looks_secret("password", "${db}"));
    }
}
