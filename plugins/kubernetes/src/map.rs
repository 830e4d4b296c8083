//! A config map as a file holds it, in JSON or YAML: the manifest itself, with
//! `data` and `binaryData`. Texts stay texts, whatever they look like.

use granit_parser::{Event, Parser};
use serde_json::{Map, Value};

const DEPTH_MAX: usize = 64;

/// What the step puts into the config map.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Held {
    pub(crate) kind: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) data: Option<Value>,
    pub(crate) binary_data: Option<Value>,
}

pub(crate) fn read(text: &str) -> Result<Held, String> {
    let mut walk = Walk::default();
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|cause| cause.to_string())?;
        match event {
            Event::DocumentStart(..) => documents += 1,
            Event::Scalar(text, ..) => walk.text(&text)?,
            Event::Alias(_) => return Err("it refers to itself by an alias".to_owned()),
            Event::MappingStart(..) => walk.enter(true)?,
            Event::SequenceStart(..) => walk.enter(false)?,
            Event::MappingEnd | Event::SequenceEnd => walk.leave(),
            _ => {}
        }
    }
    match documents {
        1 => Ok(walk.held),
        0 => Err("it is empty".to_owned()),
        _ => Err("it holds several documents".to_owned()),
    }
}

#[derive(Debug, Default)]
struct Walk {
    held: Held,
    /// Keys from the top; none where the key is still to come, or in a list.
    keys: Vec<Option<String>>,
    tables: Vec<bool>,
}

impl Walk {
    fn text(&mut self, text: &str) -> Result<(), String> {
        if let (Some(true), Some(key @ None)) = (self.tables.last(), self.keys.last_mut()) {
            *key = Some(text.to_owned());
            return Ok(());
        }
        let keys: Vec<&str> = self.keys.iter().map(|key| key.as_deref().unwrap_or_default()).collect();
        match keys.as_slice() {
            ["kind"] => self.held.kind = Some(text.to_owned()),
            ["metadata", "name"] => self.held.name = Some(text.to_owned()),
            ["data", key] => put(&mut self.held.data, key, text),
            ["binaryData", key] => put(&mut self.held.binary_data, key, text),
            ["data" | "binaryData"] if !matches!(text, "" | "~" | "null") => {
                return Err("its data is no table".to_owned());
            }
            _ => {}
        }
        self.over();
        Ok(())
    }

    fn enter(&mut self, table: bool) -> Result<(), String> {
        if self.tables.len() >= DEPTH_MAX {
            return Err(format!("it is nested deeper than {DEPTH_MAX}"));
        }
        let keys: Vec<&str> = self.keys.iter().map(|key| key.as_deref().unwrap_or_default()).collect();
        match keys.as_slice() {
            ["data" | "binaryData", key] => return Err(format!("the value of `{key}` is no text")),
            ["data"] if table => self.held.data = Some(Value::Object(Map::new())),
            ["binaryData"] if table => self.held.binary_data = Some(Value::Object(Map::new())),
            ["data" | "binaryData"] => return Err("its data is no table".to_owned()),
            _ => {}
        }
        self.tables.push(table);
        self.keys.push(None);
        Ok(())
    }

    fn leave(&mut self) {
        self.tables.pop();
        self.keys.pop();
        self.over();
    }

    fn over(&mut self) {
        if let Some(key) = self.keys.last_mut() {
            *key = None;
        }
    }
}

fn put(into: &mut Option<Value>, key: &str, text: &str) {
    let table = into.get_or_insert_with(|| Value::Object(Map::new()));
    if let Some(table) = table.as_object_mut() {
        table.insert(key.to_owned(), Value::String(text.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_and_yaml_are_read_alike() {
        let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: web-config\n  labels: {app: web}\ndata:\n  PORT: \"8080\"\n  app.toml: |\n    a = 1\n    b = [2]\nbinaryData:\n  key: AAE=\n";
        let json = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"web-config","labels":{"app":"web"}},"data":{"PORT":"8080","app.toml":"a = 1\nb = [2]\n"},"binaryData":{"key":"AAE="}}"#;
        let held = read(yaml).unwrap();
        assert_eq!(held, read(json).unwrap());
        assert_eq!((held.kind.as_deref(), held.name.as_deref()), (Some("ConfigMap"), Some("web-config")));
        assert_eq!(held.data, Some(json!({"PORT": "8080", "app.toml": "a = 1\nb = [2]\n"})));
        assert_eq!(held.binary_data, Some(json!({"key": "AAE="})));
    }

    #[test]
    fn what_is_no_map_of_texts_is_refused() {
        for bad in
            ["", "data: [a]", "data:\n  a: {b: c}", "data: x", "a: b\n---\na: b\n", "data: {a: *x}", "{"]
        {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        assert_eq!(read("kind: ConfigMap\ndata:\n").unwrap().data, None);
    }
}
