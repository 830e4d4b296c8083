//! For plugins' tests: the schema in the component is a file, since a generator
//! would make the component several times larger. This holds the two together.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;

/// Panics when `file`, with the text `current`, is not the schema of `S`.
/// With `STERNWAY_WRITE_SCHEMA` set it writes the file instead.
pub fn assert_current<S: JsonSchema>(file: &str, current: &str) {
    let mut schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<S>().to_value();
    simplify(&mut schema);
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is JSON");
    text.push('\n');
    if std::env::var_os("STERNWAY_WRITE_SCHEMA").is_some() {
        std::fs::write(file, &text).expect("the schema file can be written");
        return;
    }
    assert_eq!(current, text, "run the tests once with STERNWAY_WRITE_SCHEMA=1 to renew {file}");
}

/// A plan has no null, and the name of a Rust type tells its reader nothing.
fn simplify(schema: &mut serde_json::Value) {
    match schema {
        serde_json::Value::Object(object) => {
            if object.get("title").is_some_and(serde_json::Value::is_string) {
                object.remove("title");
            }
            if let Some(serde_json::Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            object.values_mut().for_each(simplify);
        }
        serde_json::Value::Array(list) => list.iter_mut().for_each(simplify),
        _ => {}
    }
}
