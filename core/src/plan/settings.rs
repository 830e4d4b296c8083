//! A plugin's settings schema, and a step's settings judged by it.
//!
//! Only the part of JSON Schema that manifests use is understood; any other
//! keyword is refused when the schema is read, never passed over in silence.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::ids::PluginName;
use crate::manifest::Catalogue;

mod judge;
pub use judge::{Judge, judge};

/// Deepest nesting of a schema, references followed.
const DEPTH_MAX: usize = 12;

/// What a value may be.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Schema {
    pub description: String,
    /// Empty: any kind.
    pub kinds: Vec<Kind>,
    pub properties: BTreeMap<String, Self>,
    pub required: Vec<String>,
    pub others: Others,
    pub items: Option<Box<Self>>,
    /// Empty: any value.
    pub choices: Vec<Json>,
    /// What a text must look like.
    pub pattern: Option<Pattern>,
    /// Keys that want other keys beside them.
    pub together: BTreeMap<String, Vec<String>>,
    /// Exactly or at least one of these; empty: nothing more is asked.
    pub one_of: Vec<Self>,
    pub any_of: Vec<Self>,
    pub least: Option<f64>,
    pub most: Option<f64>,
    /// Characters of a text, items of a list, keys of a table.
    pub characters: Size,
    pub count: Size,
    pub keys: Size,
}

/// A regular expression, matched in time linear in the text.
#[derive(Debug, Clone)]
pub struct Pattern(regex_lite::Regex);

impl Pattern {
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

/// Bounds on a number of things, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    pub least: Option<u64>,
    pub most: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Whole,
    Number,
    Flag,
    List,
    Table,
    Null,
}

/// What keys beside the named ones may hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Others {
    #[default]
    Anything,
    Nothing,
    Each(Box<Schema>),
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Whole => "a whole number",
            Self::Number => "a number",
            Self::Flag => "true or false",
            Self::List => "a list",
            Self::Table => "a table",
            Self::Null => "nothing",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    #[error("`{at}`: the keyword `{keyword}` is not understood")]
    Keyword { at: String, keyword: String },
    #[error("`{at}`: `{keyword}` has a value of the wrong kind")]
    Value { at: String, keyword: String },
    #[error("`{at}`: the reference `{to}` leads nowhere")]
    Reference { at: String, to: String },
    #[error("`{at}`: nested deeper than {DEPTH_MAX}")]
    Depth { at: String },
    #[error("settings are a table that refuses unknown keys (`type: object`, `additionalProperties: false`)")]
    NotClosed,
    #[error("mode `{0}` is not a setting")]
    Mode(String),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("could not read the settings schema of plugin `{plugin}`")]
pub struct CatalogueError {
    pub plugin: PluginName,
    #[source]
    pub source: SchemaError,
}

/// Refuses a catalogue by which no plan could be judged completely.
pub fn check_catalogue(catalogue: &Catalogue) -> Result<(), CatalogueError> {
    for (plugin, entry) in &catalogue.0 {
        let wrong = |source| CatalogueError { plugin: plugin.clone(), source };
        let schema = Schema::parse(&entry.manifest.settings_schema).map_err(wrong)?;
        if let Some(mode) =
            entry.manifest.modes.iter().find(|mode| !schema.properties.contains_key(&mode.setting))
        {
            return Err(wrong(SchemaError::Mode(mode.setting.clone())));
        }
    }
    Ok(())
}

impl Schema {
    /// Reads the schema of a plugin's settings.
    pub fn parse(json: &Json) -> Result<Self, SchemaError> {
        let schema = Reading { root: json }.schema(json, "#", 0)?;
        let closed = schema.kinds == [Kind::Table] && schema.others == Others::Nothing;
        if closed { Ok(schema) } else { Err(SchemaError::NotClosed) }
    }

    /// What a value may be, in words: `a text or a list of texts`.
    pub fn in_words(&self) -> String {
        let choices: Vec<String> =
            self.choices.iter().filter(|choice| !choice.is_null()).map(Json::to_string).collect();
        if !choices.is_empty() {
            return choices.join(", ");
        }
        let mut words: Vec<String> = self
            .kinds
            .iter()
            .filter(|kind| **kind != Kind::Null)
            .map(|kind| self.kind_in_words(*kind))
            .collect();
        words.extend(self.one_of.iter().chain(&self.any_of).map(Self::in_words));
        words.dedup();
        if words.is_empty() { "something else".to_owned() } else { words.join(" or ") }
    }

    fn kind_in_words(&self, kind: Kind) -> String {
        match (kind, self.items.as_ref().map(|items| &items.kinds[..])) {
            (Kind::List, Some([Kind::Text])) => "a list of texts".to_owned(),
            (Kind::List, Some([Kind::Whole])) => "a list of whole numbers".to_owned(),
            _ => kind.name().to_owned(),
        }
    }
}

struct Reading<'a> {
    root: &'a Json,
}

impl Reading<'_> {
    fn schema(&self, json: &Json, at: &str, depth: usize) -> Result<Schema, SchemaError> {
        if depth > DEPTH_MAX {
            return Err(SchemaError::Depth { at: at.to_owned() });
        }
        let table = match json {
            Json::Bool(true) => return Ok(Schema::default()),
            Json::Object(table) => table,
            _ => return Err(SchemaError::Value { at: at.to_owned(), keyword: "schema".into() }),
        };
        let mut schema = Schema::default();
        for (keyword, value) in table {
            self.keyword(&mut schema, keyword, value, at, depth)?;
        }
        Ok(schema)
    }

    fn keyword(
        &self,
        schema: &mut Schema,
        keyword: &str,
        value: &Json,
        at: &str,
        depth: usize,
    ) -> Result<(), SchemaError> {
        let wrong = || SchemaError::Value { at: at.to_owned(), keyword: keyword.to_owned() };
        let inner = |json: &Json, step: &str| self.schema(json, &format!("{at}/{step}"), depth + 1);
        let branches = || -> Result<Vec<Schema>, SchemaError> {
            value.as_array().ok_or_else(wrong)?.iter().map(|branch| inner(branch, keyword)).collect()
        };
        match keyword {
            "description" => schema.description = value.as_str().ok_or_else(wrong)?.to_owned(),
            "type" => schema.kinds = kinds(value).ok_or_else(wrong)?,
            "properties" => {
                for (key, property) in value.as_object().ok_or_else(wrong)? {
                    schema.properties.insert(key.clone(), inner(property, key)?);
                }
            }
            "required" => schema.required = texts(value).ok_or_else(wrong)?,
            "additionalProperties" => {
                schema.others = match value {
                    Json::Bool(false) => Others::Nothing,
                    Json::Bool(true) => Others::Anything,
                    each => Others::Each(Box::new(inner(each, keyword)?)),
                }
            }
            "items" => schema.items = Some(Box::new(inner(value, keyword)?)),
            "enum" => schema.choices = value.as_array().ok_or_else(wrong)?.clone(),
            "const" => schema.choices = vec![value.clone()],
            "pattern" => {
                let pattern =
                    regex_lite::Regex::new(value.as_str().ok_or_else(wrong)?).map_err(|_| wrong())?;
                schema.pattern = Some(Pattern(pattern));
            }
            "dependencies" => {
                for (key, wanted) in value.as_object().ok_or_else(wrong)? {
                    schema.together.insert(key.clone(), texts(wanted).ok_or_else(wrong)?);
                }
            }
            "oneOf" => schema.one_of = branches()?,
            "anyOf" => schema.any_of = branches()?,
            "minimum" => schema.least = Some(value.as_f64().ok_or_else(wrong)?),
            "maximum" => schema.most = Some(value.as_f64().ok_or_else(wrong)?),
            "minLength" => schema.characters.least = Some(value.as_u64().ok_or_else(wrong)?),
            "maxLength" => schema.characters.most = Some(value.as_u64().ok_or_else(wrong)?),
            "minItems" => schema.count.least = Some(value.as_u64().ok_or_else(wrong)?),
            "maxItems" => schema.count.most = Some(value.as_u64().ok_or_else(wrong)?),
            "minProperties" => schema.keys.least = Some(value.as_u64().ok_or_else(wrong)?),
            "maxProperties" => schema.keys.most = Some(value.as_u64().ok_or_else(wrong)?),
            "$ref" => self.reference(schema, value.as_str().ok_or_else(wrong)?, at, depth)?,
            // Draft 7 has no other way to say something beside a reference.
            "allOf" if sole_reference(value).is_some() => {
                self.reference(schema, sole_reference(value).ok_or_else(wrong)?, at, depth)?;
            }
            // These say something about values without forbidding any.
            "$schema" | "$id" | "$comment" | "title" | "default" | "examples" | "deprecated" => {}
            "definitions" | "$defs" => {}
            "format" if value.as_str().is_some_and(is_number_format) => {}
            other => {
                return Err(SchemaError::Keyword { at: at.to_owned(), keyword: other.to_owned() });
            }
        }
        Ok(())
    }

    fn reference(&self, schema: &mut Schema, to: &str, at: &str, depth: usize) -> Result<(), SchemaError> {
        let nowhere = || SchemaError::Reference { at: at.to_owned(), to: to.to_owned() };
        let pointer = to.strip_prefix('#').ok_or_else(nowhere)?;
        let target = self.root.pointer(pointer).ok_or_else(nowhere)?;
        let description = std::mem::take(&mut schema.description);
        *schema = self.schema(target, at, depth + 1)?;
        if !description.is_empty() {
            schema.description = description;
        }
        Ok(())
    }
}

/// Of a list with one schema that is nothing but a reference.
fn sole_reference(value: &Json) -> Option<&str> {
    match value.as_array()?.as_slice() {
        [Json::Object(only)] if only.len() == 1 => only.get("$ref")?.as_str(),
        _ => None,
    }
}

fn kinds(value: &Json) -> Option<Vec<Kind>> {
    let kind = |name: &str| {
        Some(match name {
            "string" => Kind::Text,
            "integer" => Kind::Whole,
            "number" => Kind::Number,
            "boolean" => Kind::Flag,
            "array" => Kind::List,
            "object" => Kind::Table,
            "null" => Kind::Null,
            _ => return None,
        })
    };
    match value {
        Json::String(name) => Some(vec![kind(name)?]),
        Json::Array(names) => names.iter().map(|name| kind(name.as_str()?)).collect(),
        _ => None,
    }
}

fn texts(value: &Json) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
}

/// Formats that generators add to numbers; the bounds stand beside them.
fn is_number_format(format: &str) -> bool {
    matches!(
        format,
        "uint" | "uint8" | "uint16" | "uint32" | "uint64" | "int32" | "int64" | "float" | "double"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn closed(properties: &Json) -> Json {
        json!({ "type": "object", "properties": properties, "additionalProperties": false })
    }

    #[test]
    fn a_keyword_that_is_not_understood_is_refused_and_not_ignored() {
        let schema = closed(&json!({ "path": { "type": "string", "contentEncoding": "base64" } }));
        let error = Schema::parse(&schema).unwrap_err();
        assert_eq!(error, SchemaError::Keyword { at: "#/path".into(), keyword: "contentEncoding".into() });
        assert_eq!(Schema::parse(&json!({ "type": "object" })), Err(SchemaError::NotClosed));
        assert_eq!(
            Schema::parse(&closed(&json!({ "a": { "$ref": "#/definitions/none" } }))),
            Err(SchemaError::Reference { at: "#/a".into(), to: "#/definitions/none".into() })
        );
    }

    #[test]
    fn a_reference_in_a_circle_is_refused() {
        let mut schema = closed(&json!({ "a": { "$ref": "#/definitions/x" } }));
        schema["definitions"] = json!({ "x": { "$ref": "#/definitions/x" } });
        assert!(matches!(Schema::parse(&schema), Err(SchemaError::Depth { .. })));
    }

    #[test]
    fn references_and_words() {
        let beside =
            closed(&json!({ "a": { "allOf": [{ "$ref": "#/definitions/x" }], "description": "mine" } }));
        let twice = json!({ "a": { "allOf": [{ "$ref": "#/definitions/x" }, { "minLength": 1 }] } });
        for (mut schema, is_read) in [(beside, true), (closed(&twice), false)] {
            schema["definitions"] = json!({ "x": { "type": "string" } });
            let read = Schema::parse(&schema).map(|schema| schema.properties["a"].kinds.clone());
            assert_eq!(read.is_ok(), is_read, "{read:?}");
            assert!(read.is_err() || read == Ok(vec![Kind::Text]), "{read:?}");
        }
        let mut schema = closed(&json!({ "a": { "$ref": "#/definitions/x", "description": "mine" } }));
        schema["definitions"] = json!({ "x": { "oneOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] } });
        let schema = Schema::parse(&schema).unwrap();
        assert_eq!(schema.properties["a"].in_words(), "a text or a list of texts");
    }
}
