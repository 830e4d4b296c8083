//! What one answer has to be. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde_json::{Map, Value};
use sternway_plugin::json::find;

use crate::field::Field;

/// One status or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statuses(Vec<u16>);

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Expectation {
    /// None: 200 to 299.
    pub(crate) statuses: Option<Statuses>,
    pub(crate) json: Map<String, Value>,
    pub(crate) fields: BTreeMap<String, Field>,
    pub(crate) body_has: Option<String>,
}

/// Why one answer was not right; equal ones are counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Complaint {
    Status(u16),
    NotJson,
    Field { key: String, measured: String },
    Body,
    NoAnswer(String),
}

impl Expectation {
    pub(crate) fn judge(&self, status: u16, body: &[u8]) -> Option<Complaint> {
        let right = match &self.statuses {
            None => (200..300).contains(&status),
            Some(Statuses(statuses)) => statuses.contains(&status),
        };
        if !right {
            return Some(Complaint::Status(status));
        }
        if let Some(text) = &self.body_has
            && !String::from_utf8_lossy(body).contains(text)
        {
            return Some(Complaint::Body);
        }
        if self.json.is_empty() && self.fields.is_empty() {
            return None;
        }
        let Ok(answer) = serde_json::from_slice::<Value>(body) else {
            return Some(Complaint::NotJson);
        };
        let equal = self.json.iter().find_map(|(key, expected)| mismatch(key, expected, find(&answer, key)));
        equal.or_else(|| {
            self.fields.iter().find_map(|(key, field)| {
                let found = find(&answer, key);
                (!field.holds(found))
                    .then(|| Complaint::Field { key: key.clone(), measured: measured(found) })
            })
        })
    }
}

/// A table expects its own keys only; everything else has to be equal.
fn mismatch(key: &str, expected: &Value, found: Option<&Value>) -> Option<Complaint> {
    if let Value::Object(table) = expected {
        return table.iter().find_map(|(inner, expected)| {
            mismatch(&format!("{key}.{inner}"), expected, found.and_then(|found| find(found, inner)))
        });
    }
    let equal = match (expected, found) {
        // As numbers: 1 and 1.0 are the same answer.
        (Value::Number(one), Some(Value::Number(other))) if one.is_f64() || other.is_f64() => {
            one.as_f64() == other.as_f64()
        }
        _ => Some(expected) == found,
    };
    (!equal).then(|| Complaint::Field { key: key.to_owned(), measured: measured(found) })
}

fn measured(found: Option<&Value>) -> String {
    found.map_or_else(|| "missing".to_owned(), short)
}

pub(crate) fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.statuses {
            None => f.write_str("200 to 299")?,
            Some(Statuses(statuses)) => {
                let words: Vec<String> = statuses.iter().map(u16::to_string).collect();
                f.write_str(&words.join(" or "))?;
            }
        }
        for (key, value) in &self.json {
            write!(f, ", {key} {}", short(value))?;
        }
        for (key, field) in &self.fields {
            write!(f, ", {key} {field}")?;
        }
        if let Some(text) = &self.body_has {
            write!(f, ", containing {text:?}")?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Statuses;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status from 100 to 599 or a list of them")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Statuses, E> {
                Ok(Statuses(vec![status(number)?]))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Statuses, E> {
                Err(E::custom(format!("{number} is no status")))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Statuses, A::Error> {
                let mut statuses = Vec::new();
                while let Some(number) = list.next_element()? {
                    statuses.push(status(number)?);
                }
                if statuses.is_empty() {
                    return Err(A::Error::custom("an empty list expects nothing"));
                }
                Ok(Statuses(statuses))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

fn status<E: Error>(number: u64) -> Result<u16, E> {
    u16::try_from(number)
        .ok()
        .filter(|status| (100..600).contains(status))
        .ok_or_else(|| E::custom(format!("{number} is no status")))
}

#[cfg(test)]
impl schemars::JsonSchema for Statuses {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Statuses".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["integer", "array"],
            "minimum": 100,
            "maximum": 599,
            "items": { "type": "integer", "minimum": 100, "maximum": 599 },
            "minItems": 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(json: Value) -> Expectation {
        let Value::Object(json) = json else { panic!("not a table") };
        Expectation { json, ..Expectation::default() }
    }

    fn field(key: &str, measured: &str) -> Option<Complaint> {
        Some(Complaint::Field { key: key.into(), measured: measured.into() })
    }

    #[test]
    fn any_success_is_right_unless_statuses_are_named() {
        let any = Expectation::default();
        assert_eq!(any.judge(204, b""), None);
        assert_eq!(any.judge(302, b""), Some(Complaint::Status(302)));
        let named = Expectation { statuses: Some(Statuses(vec![404])), ..any };
        assert_eq!(named.judge(404, b""), None);
        assert_eq!(named.judge(200, b""), Some(Complaint::Status(200)));
        for bad in ["99", "600", "-1", "[]", "\"200\"", "200.5"] {
            assert!(serde_json::from_str::<Statuses>(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn a_field_is_found_by_key_by_dots_and_by_pointer() {
        let body = br#"{"version":"1.1","a.b":1,"build":{"number":7,"tags":["x","y"]}}"#;
        for right in [
            json!({"version": "1.1"}),
            json!({"a.b": 1}),
            json!({"build.number": 7.0}),
            json!({"/build/tags/1": "y"}),
            json!({"build.tags.0": "x"}),
            json!({"build": {"number": 7}}),
        ] {
            assert_eq!(fields(right.clone()).judge(200, body), None, "{right}");
        }
        assert_eq!(fields(json!({"version": "1.3"})).judge(200, body), field("version", "\"1.1\""));
        assert_eq!(fields(json!({"build": {"x": 1}})).judge(200, body), field("build.x", "missing"));
        assert_eq!(fields(json!({"version": 1.1})).judge(200, body), field("version", "\"1.1\""));
        assert_eq!(fields(json!({"a": 1})).judge(200, b"<html>"), Some(Complaint::NotJson));
    }

    #[test]
    fn a_field_may_be_bounded_instead_of_known() {
        let expectation = |json: &str| Expectation {
            fields: serde_json::from_str(json).unwrap(),
            ..Expectation::default()
        };
        let body = br#"{"queue":{"length":7},"state":"ready","free":"12.5","gone":null}"#;
        for right in [
            r#"{"queue.length":{"at-most":7,"at-least":7,"above":6,"below":8}}"#,
            r#"{"state":{"one-of":["ready","idle"],"not":"failed"}}"#,
            r#"{"free":{"above":12}}"#,
            r#"{"gone":{"present":true},"nowhere":{"present":false}}"#,
        ] {
            assert_eq!(expectation(right).judge(200, body), None, "{right}");
        }
        for (wrong, key, measured) in [
            (r#"{"queue.length":{"below":7}}"#, "queue.length", "7"),
            (r#"{"queue.length":{"at-least":8}}"#, "queue.length", "7"),
            (r#"{"state":{"above":1}}"#, "state", "\"ready\""),
            (r#"{"state":{"not":"ready"}}"#, "state", "\"ready\""),
            (r#"{"nowhere":{"not":"ready"}}"#, "nowhere", "missing"),
            (r#"{"gone":{"present":false}}"#, "gone", "null"),
        ] {
            assert_eq!(expectation(wrong).judge(200, body), field(key, measured), "{wrong}");
        }
        let told = expectation(r#"{"queue.length":{"at-most":5,"above":1}}"#).to_string();
        assert_eq!(told, "200 to 299, queue.length above 1 and at most 5");
    }

    #[test]
    fn a_text_is_looked_for_in_the_body() {
        let expectation = Expectation { body_has: Some("ready".into()), ..Expectation::default() };
        assert_eq!(expectation.judge(200, b"all ready"), None);
        assert_eq!(expectation.judge(200, b"\xff"), Some(Complaint::Body));
    }
}
