//! The two places of a form where people may write one thing or several.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

/// One argument, or a group that comes and goes together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// `"--dbname={database}"`
    One(String),
    /// `["--schema", "{schema}"]`
    Group(Vec<String>),
}

impl Argument {
    /// Its texts.
    pub(in super::super) fn texts(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Group(texts) => texts,
        }
    }
}

/// Programs, each with its first words, in the order in which they are tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates(pub Vec<Vec<String>>);

impl<'de> Deserialize<'de> for Argument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Argument;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an argument, or a list of arguments that belong together")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Argument, E> {
                Ok(Argument::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Argument, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Argument::Group(texts))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Candidates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Candidates;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a program, or a list of programs, each a list of its first words")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Candidates, E> {
                Ok(Candidates(vec![vec![text.to_owned()]]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Candidates, A::Error> {
                let mut candidates = Vec::new();
                while let Some(words) = list.next_element()? {
                    candidates.push(words);
                }
                Ok(Candidates(candidates))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}
