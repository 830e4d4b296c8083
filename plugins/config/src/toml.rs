//! TOML: edited in place, comments and layout kept.

use serde_json::{Map, Value};
use sternway_plugin::Error;
use toml_edit::{Array, DocumentMut, InlineTable, Item, TableLike};

use crate::tree::{Edit, in_the_way};

pub(crate) fn read(text: &str) -> Result<Value, String> {
    let document: DocumentMut = text.parse().map_err(|cause: toml_edit::TomlError| cause.to_string())?;
    Ok(of_table(document.as_table()))
}

pub(crate) fn edit(text: &str, edits: &[Edit]) -> Result<String, Error> {
    let mut document: DocumentMut = text
        .parse()
        .map_err(|cause: toml_edit::TomlError| Error::invalid("config/not-readable", cause.to_string()))?;
    for edit in edits {
        match edit {
            Edit::Remove(path) => {
                remove(&mut document, path);
            }
            Edit::Set(path, value) => set(&mut document, path, to_item(value)?)?,
            Edit::Rename { from, to } => {
                if let Some(item) = remove(&mut document, from) {
                    set(&mut document, to, item)?;
                }
            }
        }
    }
    Ok(document.to_string())
}

fn remove(document: &mut DocumentMut, path: &[String]) -> Option<Item> {
    let (last, parents) = path.split_last()?;
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for key in parents {
        table = table.get_mut(key)?.as_table_like_mut()?;
    }
    table.remove(last)
}

fn set(document: &mut DocumentMut, path: &[String], mut item: Item) -> Result<(), Error> {
    let Some((last, parents)) = path.split_last() else { return Ok(()) };
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for key in parents {
        if !table.contains_key(key) {
            let mut made = toml_edit::Table::new();
            // Shown by what it holds alone.
            made.set_implicit(true);
            table.insert(key, Item::Table(made));
        }
        table = table.get_mut(key).and_then(Item::as_table_like_mut).ok_or_else(|| in_the_way(path))?;
    }
    match (table.get_mut(last), &mut item) {
        (Some(Item::Value(old)), Item::Value(new)) => {
            // The remark behind the old value belongs to the key.
            *new.decor_mut() = old.decor().clone();
            *old = new.clone();
        }
        (Some(old), _) => *old = item,
        (None, _) => {
            table.insert(last, item);
        }
    }
    Ok(())
}

fn to_item(value: &Value) -> Result<Item, Error> {
    to_value(value).map(Item::Value)
}

fn to_value(value: &Value) -> Result<toml_edit::Value, Error> {
    Ok(match value {
        Value::Null => {
            return Err(Error::invalid("config/no-null", "TOML has no value for null"));
        }
        Value::Bool(value) => (*value).into(),
        Value::String(text) => text.into(),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole.into(),
            (None, Some(float)) if number.is_f64() => float.into(),
            _ => {
                return Err(Error::invalid(
                    "config/too-large",
                    format!("{number} is beyond the numbers of TOML"),
                ));
            }
        },
        Value::Array(list) => list.iter().map(to_value).collect::<Result<Array, Error>>()?.into(),
        Value::Object(table) => {
            let mut inline = InlineTable::new();
            for (key, value) in table {
                inline.insert(key, to_value(value)?);
            }
            inline.into()
        }
    })
}

fn of_table(table: &dyn TableLike) -> Value {
    let entries = table.iter().map(|(key, item)| (key.to_owned(), of_item(item)));
    Value::Object(entries.collect::<Map<_, _>>())
}

fn of_item(item: &Item) -> Value {
    match item {
        Item::None => Value::Null,
        Item::Value(value) => of_value(value),
        Item::Table(table) => of_table(table),
        Item::ArrayOfTables(tables) => tables.iter().map(|table| of_table(table)).collect(),
    }
}

fn of_value(value: &toml_edit::Value) -> Value {
    match value {
        toml_edit::Value::String(text) => text.value().as_str().into(),
        toml_edit::Value::Integer(number) => (*number.value()).into(),
        // NaN and infinity have no JSON; their text tells them apart as well.
        toml_edit::Value::Float(number) => serde_json::Number::from_f64(*number.value())
            .map_or_else(|| number.value().to_string().into(), Value::Number),
        toml_edit::Value::Boolean(value) => (*value.value()).into(),
        toml_edit::Value::Datetime(time) => time.value().to_string().into(),
        toml_edit::Value::Array(list) => list.iter().map(of_value).collect(),
        toml_edit::Value::InlineTable(table) => of_table(table),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::read;
    use crate::document::Format;
    use crate::tree::{self, Edit};

    const TEXT: &str = "\
# head
name = \"agora\"   # remark
ratio = 1.10
when = 2026-11-21T10:00:00Z

[server]
port = 80
tls = { cert = \"/a\", key = \"/b\" }

[server.limits]
depth.max = 3

[[peer]]
at = \"a\"

[[peer]]
at = \"b\"
";

    #[test]
    fn every_key_of_a_usual_file_can_be_edited_in_every_way() {
        let root = read(TEXT).unwrap();
        for dotted in [
            "name",
            "ratio",
            "when",
            "server",
            "server.port",
            "server.tls",
            "server.tls.key",
            "server.limits",
            "server.limits.depth.max",
            "peer",
            "new",
            "new.inner",
        ] {
            let path: Vec<String> = dotted.split('.').map(str::to_owned).collect();
            let mut edits = vec![Edit::Remove(path.clone())];
            for value in [json!("x"), json!(7), json!([1, "b"]), json!({"k": {"l": true}})] {
                edits.push(Edit::Set(path.clone(), value));
            }
            if tree::get(&root, &path).is_some() {
                edits.push(Edit::Rename { from: path, to: vec!["moved".into(), "here".into()] });
            }
            for edit in edits {
                let mut meant = root.clone();
                tree::apply(&mut meant, &edit).unwrap();
                let written = Format::Toml.edit(TEXT, std::slice::from_ref(&edit), &meant);
                let written = written.unwrap_or_else(|error| panic!("{edit:?}: {error:?}"));
                assert!(written.contains("# head") || dotted == "name", "{edit:?} loses\n{written}");
            }
        }
    }
}
