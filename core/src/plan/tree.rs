//! A document with its places, whatever notation it was written in, so that
//! this crate can judge a parsed file without knowing the notation.

use std::ops::Range;

use serde_json::{Map, Number};

/// Where something stands in the text: byte offsets on character boundaries.
pub type Place = Range<usize>;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub span: Place,
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(String),
    Whole(i64),
    Real(f64),
    Flag(bool),
    /// A date or a time: no key of a plan wants one.
    Moment(String),
    List(Vec<Node>),
    Table(Table),
}

/// Keys in the order of the text, each once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    pub entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    pub key_span: Place,
    pub node: Node,
}

impl Table {
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

impl Value {
    /// What a reader would call this kind of value.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Whole(_) => "a whole number",
            Self::Real(_) => "a number with a fraction",
            Self::Flag(_) => "true or false",
            Self::Moment(_) => "a date or time",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

impl Node {
    /// The same as JSON; `None` when JSON has no such value (a date, infinity).
    pub fn to_json(&self) -> Option<serde_json::Value> {
        Some(match &self.value {
            Value::Text(text) => serde_json::Value::String(text.clone()),
            Value::Whole(number) => serde_json::Value::from(*number),
            Value::Real(number) => serde_json::Value::Number(Number::from_f64(*number)?),
            Value::Flag(flag) => serde_json::Value::Bool(*flag),
            Value::Moment(_) => return None,
            Value::List(items) => {
                serde_json::Value::Array(items.iter().map(Self::to_json).collect::<Option<_>>()?)
            }
            Value::Table(table) => serde_json::Value::Object(table.to_json()?),
        })
    }

    /// Calls `visit` with every text below (values, not keys) and its place.
    pub fn each_text(&self, visit: &mut impl FnMut(&str, &Place)) {
        match &self.value {
            Value::Text(text) => visit(text, &self.span),
            Value::List(items) => items.iter().for_each(|item| item.each_text(visit)),
            Value::Table(table) => table.entries.iter().for_each(|entry| entry.node.each_text(visit)),
            _ => {}
        }
    }

    /// The same tree with every text below replaced by `change`.
    #[must_use]
    pub fn map_texts(&self, change: &mut impl FnMut(&str) -> String) -> Self {
        let value = match &self.value {
            Value::Text(text) => Value::Text(change(text)),
            Value::List(items) => Value::List(items.iter().map(|item| item.map_texts(change)).collect()),
            Value::Table(table) => Value::Table(table.map_texts(change)),
            other => other.clone(),
        };
        Self { span: self.span.clone(), value }
    }
}

impl Table {
    pub fn to_json(&self) -> Option<Map<String, serde_json::Value>> {
        self.entries.iter().map(|entry| Some((entry.key.clone(), entry.node.to_json()?))).collect()
    }

    #[must_use]
    pub fn map_texts(&self, change: &mut impl FnMut(&str) -> String) -> Self {
        let entries = self
            .entries
            .iter()
            .map(|entry| Entry { node: entry.node.map_texts(change), ..entry.clone() })
            .collect();
        Self { entries }
    }
}
