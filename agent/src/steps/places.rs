//! `${host.name}` and `${host.label.NAME}`: the only places a signed plan
//! leaves for the host to fill in.

use serde_json::Value;

use crate::config::Config;

#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("this host has no label `{0}`")]
    NoLabel(String),
    #[error("`${{{0}}}` is not known: only `host.name` and `host.label.NAME` are filled in on a host")]
    Unknown(String),
    #[error("a `${{` without its `}}`")]
    Open,
    #[error("the settings are not JSON")]
    Json(#[from] serde_json::Error),
}

/// Fills in every text of a JSON document, keys left alone.
pub(super) fn fill(json: &str, config: &Config) -> Result<String, PlaceError> {
    if !json.contains("${") {
        return Ok(json.to_owned());
    }
    let mut value: Value = serde_json::from_str(json)?;
    fill_value(&mut value, config)?;
    Ok(value.to_string())
}

fn fill_value(value: &mut Value, config: &Config) -> Result<(), PlaceError> {
    match value {
        Value::String(text) => {
            *text = fill_text(text, config)?;
            Ok(())
        }
        Value::Array(items) => items.iter_mut().try_for_each(|item| fill_value(item, config)),
        Value::Object(table) => table.values_mut().try_for_each(|item| fill_value(item, config)),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

/// A filled-in value is not looked at again, so no label can name another place.
pub(super) fn fill_text(text: &str, config: &Config) -> Result<String, PlaceError> {
    let (mut filled, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("${") {
        let (place, after) = after.split_once('}').ok_or(PlaceError::Open)?;
        filled.push_str(before);
        filled.push_str(match place.strip_prefix("host.label.") {
            Some(label) => {
                config.labels.get(label).ok_or_else(|| PlaceError::NoLabel(label.to_owned()))?.as_str()
            }
            None if place == "host.name" => config.host.as_str(),
            None => return Err(PlaceError::Unknown(place.to_owned())),
        });
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        toml::from_str(
            r#"
            host = "demo-01"
            coordinator = "127.0.0.1:1"
            state = "s"
            keyring = "k"
            identity = { certificate = "c", key = "k", server_authority = "a" }
            labels = { port = "8101", odd = "${host.name}" }
            "#,
        )
        .unwrap()
    }

    #[test]
    fn only_what_the_host_knows_is_filled_in() {
        let filled =
            fill(r#"{"get":"http://127.0.0.1:${host.label.port}/${host.name}","n":1}"#, &config()).unwrap();
        assert_eq!(filled, r#"{"get":"http://127.0.0.1:8101/demo-01","n":1}"#);
        assert_eq!(fill_text("${host.label.odd}", &config()).unwrap(), "${host.name}");
        assert!(matches!(fill_text("${host.label.none}", &config()), Err(PlaceError::NoLabel(_))));
        assert!(matches!(fill_text("${vars.x}", &config()), Err(PlaceError::Unknown(_))));
        assert!(matches!(fill_text("${host.name", &config()), Err(PlaceError::Open)));
    }
}
