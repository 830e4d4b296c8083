//! JSON: written anew with the indentation it had; it has no comments to lose.

use std::fmt;

use serde::Serialize;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::ser::PrettyFormatter;
use serde_json::{Map, Serializer, Value};

pub(crate) fn read(text: &str) -> Result<Value, String> {
    refuse_inexact_numbers(text)?;
    let strict: Strict = serde_json::from_str(text).map_err(|cause| cause.to_string())?;
    Ok(strict.0)
}

pub(crate) fn write(like: &str, value: &Value) -> String {
    let indent = indent_of(like);
    let mut bytes = Vec::new();
    let written = match indent {
        Some(indent) => {
            let formatter = PrettyFormatter::with_indent(indent.as_bytes());
            value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter))
        }
        None => value.serialize(&mut Serializer::new(&mut bytes)),
    };
    written.expect("a value is always JSON");
    let mut text = String::from_utf8(bytes).expect("JSON is UTF-8");
    if like.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// That of the first indented line; none for a file of one line.
fn indent_of(text: &str) -> Option<String> {
    let mut lines = text.trim_end().lines().skip(1).peekable();
    lines.peek()?;
    let indent = lines.find_map(|line| {
        let indent: String = line.chars().take_while(|c| matches!(c, ' ' | '\t')).collect();
        (!indent.is_empty() && indent.len() < line.len()).then_some(indent)
    });
    Some(indent.unwrap_or_else(|| "  ".to_owned()))
}

/// A whole number beyond 64 bits would be rounded on its way through.
fn refuse_inexact_numbers(text: &str) -> Result<(), String> {
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c == '"' || c.is_ascii_digit()) {
        rest = &rest[at..];
        if let Some(string) = rest.strip_prefix('"') {
            let mut escaped = false;
            let end = string.find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            let Some(end) = end else { return Ok(()) };
            rest = &string[end + 1..];
            continue;
        }
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '+' | '-'))
            .unwrap_or(rest.len());
        let number = &rest[..end];
        if number.bytes().all(|b| b.is_ascii_digit()) && number.parse::<i64>().is_err() {
            return Err(format!("the number {number} is too long to be kept exactly"));
        }
        rest = &rest[end..];
    }
    Ok(())
}

/// A value in which no table names a key twice: one of the two would be lost.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> DeserializeSeed<'de> for StrictVisitor {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(Self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut table = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(Self)?;
            if table.contains_key(&key) {
                return Err(A::Error::custom(format!("the key `{key}` stands there twice")));
            }
            table.insert(key, value);
        }
        Ok(Value::Object(table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_lost_on_the_way_is_refused() {
        assert!(read(r#"{"a":1,"a":2}"#).unwrap_err().contains("twice"));
        assert!(read(r#"{"a":{"b":1,"b":2}}"#).unwrap_err().contains("twice"));
        assert!(read(r#"{"id":123456789012345678901}"#).unwrap_err().contains("exactly"));
        assert!(read(r#"{"id":"123456789012345678901","s":"\"99999999999999999999"}"#).is_ok());
        assert!(read("{} x").is_err());
        assert!(read(r#"{"#).is_err());
    }

    #[test]
    fn indentation_order_and_last_line_stay() {
        for text in [
            "{\n    \"b\": 1,\n    \"a\": [\n        1.5\n    ]\n}\n",
            "{\n\t\"b\": {}\n}",
            "{\"b\":1,\"a\":-2}\n",
            "{}",
        ] {
            assert_eq!(write(text, &read(text).unwrap()), text);
        }
    }
}
