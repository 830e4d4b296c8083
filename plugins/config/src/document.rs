//! One file in one of four formats: read, edited in its own text, and proved
//! to say what was meant before anybody stages it. Pure.

use serde::Deserialize;
use serde_json::Value;
use sternway_plugin::Error;

use crate::tree::{self, Edit};
use crate::{env, json, toml, yaml};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(inline))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Format {
    Json,
    Yaml,
    Toml,
    Env,
}

impl Format {
    /// By the extension; `.env` alone counts as one.
    pub(crate) fn of(path: &str) -> Option<Self> {
        match path.rsplit_once('.')?.1 {
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            "toml" => Some(Self::Toml),
            "env" => Some(Self::Env),
            _ => None,
        }
    }

    /// The file as plain values; its top is a table.
    pub(crate) fn read(self, text: &str) -> Result<Value, Error> {
        let value = match self {
            Self::Json => json::read(text),
            Self::Yaml => yaml::read(text),
            Self::Toml => toml::read(text),
            Self::Env => env::read(text),
        };
        match value {
            Ok(value) if value.is_object() => Ok(value),
            Ok(_) => Err(Error::invalid("config/no-table", "its top is no table of keys")),
            Err(message) => Err(Error::invalid("config/not-readable", message)),
        }
    }

    /// The keys `dotted` leads through. A key that stands there as written
    /// comes first; `env` has no tables.
    pub(crate) fn path(self, root: &Value, dotted: &str) -> Vec<String> {
        if self == Self::Env || root.get(dotted).is_some() {
            return vec![dotted.to_owned()];
        }
        dotted.split('.').map(str::to_owned).collect()
    }

    /// The text after `edits`, with comments and layout kept as far as the
    /// format's editor can. Reads back as `meant`, or is refused.
    pub(crate) fn edit(self, text: &str, edits: &[Edit], meant: &Value) -> Result<String, Error> {
        let written = match self {
            Self::Json => Ok(json::write(text, meant)),
            Self::Yaml => yaml::edit(text, edits),
            Self::Toml => toml::edit(text, edits),
            Self::Env => env::edit(text, edits),
        }?;
        match self.read(&written) {
            Ok(read) if self.same(&read, meant) => Ok(written),
            Ok(_) | Err(_) => Err(Error::unsupported(
                "config/not-as-meant",
                "the file is laid out in a way that cannot be edited safely",
            )),
        }
    }

    /// Equal key by key; the order of keys says nothing. In TOML a table that
    /// lost its last key may be gone with it.
    fn same(self, one: &Value, other: &Value) -> bool {
        let leaves = |value| {
            let mut leaves = tree::leaves(value);
            leaves.retain(|_, leaf| {
                self != Self::Toml || leaf.as_object().is_none_or(|table| !table.is_empty())
            });
            leaves
        };
        leaves(one) == leaves(other)
    }
}

#[cfg(test)]
mod tests {
    use super::Format;

    #[test]
    fn the_format_is_told_by_the_extension() {
        assert_eq!(Format::of("/etc/a.yml"), Some(Format::Yaml));
        assert_eq!(Format::of("/srv/app/.env"), Some(Format::Env));
        assert_eq!(Format::of("/etc/a.d/conf"), None);
    }
}
