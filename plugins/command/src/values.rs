//! Values as people write them: a text, a number, or a list of both.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// What fills one hole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Values(pub(crate) Vec<String>);

/// One or several exit codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Codes(pub(crate) Vec<i32>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Values;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a text, a whole number, or a list of them")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Values, E> {
                Ok(Values(vec![text.to_owned()]))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Values, E> {
                Ok(Values(vec![number.to_string()]))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Values, E> {
                Ok(Values(vec![number.to_string()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Values, A::Error> {
                let mut all = Vec::new();
                while let Some(Values(values)) = list.next_element()? {
                    all.extend(values);
                }
                Ok(Values(all))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Codes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Codes;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an exit code of 0 to 255, or a list of them")
            }

            fn visit_u64<E: Error>(self, code: u64) -> Result<Codes, E> {
                let code = u8::try_from(code).map_err(|_| E::custom("an exit code is 0 to 255"))?;
                Ok(Codes(vec![code.into()]))
            }

            fn visit_i64<E: Error>(self, code: i64) -> Result<Codes, E> {
                let code = u64::try_from(code).map_err(|_| E::custom("an exit code is 0 to 255"))?;
                self.visit_u64(code)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Codes, A::Error> {
                let mut all = Vec::new();
                while let Some(Codes(codes)) = list.next_element()? {
                    all.extend(codes);
                }
                if all.is_empty() {
                    return Err(A::Error::custom("no exit code would be right"));
                }
                Ok(Codes(all))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod schema {
    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    use super::{Codes, Values};

    impl JsonSchema for Values {
        fn schema_name() -> Cow<'static, str> {
            "Values".into()
        }

        fn inline_schema() -> bool {
            true
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({
                "type": ["string", "integer", "array"],
                "items": { "type": ["string", "integer"] },
            })
        }
    }

    impl JsonSchema for Codes {
        fn schema_name() -> Cow<'static, str> {
            "Codes".into()
        }

        fn inline_schema() -> bool {
            true
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({
                "type": ["integer", "array"],
                "minimum": 0,
                "maximum": 255,
                "minItems": 1,
                "items": { "type": "integer", "minimum": 0, "maximum": 255 },
            })
        }
    }
}
