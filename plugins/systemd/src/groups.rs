//! Names in the order of groups: `["db", ["api", "worker"], "web"]`.

use core::fmt;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use sternway_plugin::Texts;

/// One name, or a list of names and of lists of names; never an empty list.
/// One after the other, whether grouped or not: a group only says that its
/// order does not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Groups(Vec<String>);

impl Groups {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl<'de> Deserialize<'de> for Groups {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Groups;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a unit's name, or a list of names and groups of names")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Groups, E> {
                Ok(Groups(vec![name.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Groups, A::Error> {
                let mut names = Vec::new();
                while let Some(group) = list.next_element::<Texts>()? {
                    names.extend(group.iter().map(str::to_owned));
                }
                if names.is_empty() {
                    return Err(A::Error::custom("an empty list names nothing"));
                }
                Ok(Groups(names))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
impl schemars::JsonSchema for Groups {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Groups".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["string", "array"],
            "items": { "type": ["string", "array"], "items": { "type": "string" }, "minItems": 1 },
            "minItems": 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Groups;

    #[test]
    fn groups_are_told_in_order_and_an_empty_one_is_refused() {
        let names = |json: &str| {
            serde_json::from_str::<Groups>(json)
                .map(|groups| groups.iter().map(str::to_owned).collect::<Vec<_>>())
        };
        assert_eq!(names(r#""web""#).unwrap(), ["web"]);
        assert_eq!(names(r#"["db",["api","worker"],"web"]"#).unwrap(), ["db", "api", "worker", "web"]);
        for bad in ["[]", "[[]]", "7", r#"[["a",["b"]]]"#, r#"{"a":1}"#] {
            assert!(names(bad).is_err(), "{bad}");
        }
    }
}
