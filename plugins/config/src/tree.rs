//! A document as plain values, and the edits on it. What a format's own editor
//! writes has to read back as what these edits give. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sternway_plugin::Error;

/// One change, with keys already taken apart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Edit {
    Rename { from: Vec<String>, to: Vec<String> },
    Remove(Vec<String>),
    Set(Vec<String>, Value),
}

/// Answers the value at `path`.
pub(crate) fn get<'v>(root: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(root, |value, key| value.as_object()?.get(key))
}

pub(crate) fn apply(root: &mut Value, edit: &Edit) -> Result<(), Error> {
    match edit {
        Edit::Remove(path) => {
            remove(root, path);
            Ok(())
        }
        Edit::Set(path, value) => set(root, path, value.clone()),
        Edit::Rename { from, to } => match remove(root, from) {
            Some(value) => set(root, to, value),
            None => Ok(()),
        },
    }
}

fn remove(root: &mut Value, path: &[String]) -> Option<Value> {
    let (last, parents) = path.split_last()?;
    let parent = parents.iter().try_fold(root, |value, key| value.as_object_mut()?.get_mut(key))?;
    parent.as_object_mut()?.shift_remove(last)
}

fn set(root: &mut Value, path: &[String], value: Value) -> Result<(), Error> {
    let Some((last, parents)) = path.split_last() else { return Ok(()) };
    let mut at = root;
    for key in parents {
        at = table(at, path)?.entry(key.clone()).or_insert(Value::Null);
    }
    table(at, path)?.insert(last.clone(), value);
    Ok(())
}

/// Nothing becomes a table; anything else but a table is in the way.
fn table<'v>(value: &'v mut Value, path: &[String]) -> Result<&'v mut Map<String, Value>, Error> {
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().ok_or_else(|| in_the_way(path))
}

pub(crate) fn in_the_way(path: &[String]) -> Error {
    Error::conflict(
        "config/in-the-way",
        format!("`{}` leads through a value that is no table", path.join(".")),
    )
}

/// Each leaf by its dotted key; lists and empty tables are leaves.
pub(crate) fn leaves(root: &Value) -> BTreeMap<String, Value> {
    fn walk(value: &Value, key: &str, leaves: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(table) if !table.is_empty() => {
                for (inner, value) in table {
                    let inner = if key.is_empty() { inner.clone() } else { format!("{key}.{inner}") };
                    walk(value, &inner, leaves);
                }
            }
            // The document itself being empty is not a key of it.
            _ if key.is_empty() => {}
            _ => {
                leaves.insert(key.to_owned(), value.clone());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(root, "", &mut found);
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn path(dotted: &str) -> Vec<String> {
        dotted.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn edits_change_what_they_name_and_nothing_else() {
        let mut value = json!({"a": 1, "b": {"c": 2, "d": 3}, "e": 4});
        apply(&mut value, &Edit::Remove(path("b.c"))).unwrap();
        apply(&mut value, &Edit::Remove(path("no.such"))).unwrap();
        apply(&mut value, &Edit::Set(path("n.m"), json!("x"))).unwrap();
        apply(&mut value, &Edit::Rename { from: path("a"), to: path("b.a") }).unwrap();
        assert_eq!(value, json!({"b": {"d": 3, "a": 1}, "e": 4, "n": {"m": "x"}}));
        assert_eq!(
            apply(&mut value, &Edit::Set(path("e.f"), json!(1))).unwrap_err().code,
            "config/in-the-way"
        );
    }

    #[test]
    fn leaves_are_named_by_dots_and_lists_are_one() {
        let leaves = leaves(&json!({"a": {"b": [1, 2]}, "c": {}, "d": null}));
        assert_eq!(leaves.keys().collect::<Vec<_>>(), ["a.b", "c", "d"]);
    }
}
