//! What one value of a JSON answer has to be, short of being known. Pure.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;
use sternway_plugin::Error;

use crate::expect::short;

/// All that is said has to hold; a value that is not there holds nothing.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Field {
    /// The number is greater.
    above: Option<f64>,
    /// The number is smaller.
    below: Option<f64>,
    /// The number is this or greater.
    at_least: Option<f64>,
    /// The number is this or smaller.
    at_most: Option<f64>,
    /// The value is one of these.
    one_of: Option<Vec<Value>>,
    /// The value is there, and another.
    not: Option<Value>,
    /// Whether it is there at all; `null` is.
    present: Option<bool>,
}

impl Field {
    pub(crate) fn sound(&self, key: &str) -> Result<(), Error> {
        let empty = *self == Self::default() || self.one_of.as_ref().is_some_and(Vec::is_empty);
        if empty {
            return Err(Error::invalid("http/field", format!("`fields` expects nothing of `{key}`")));
        }
        Ok(())
    }

    pub(crate) fn holds(&self, found: Option<&Value>) -> bool {
        if self.present.is_some_and(|present| present != found.is_some()) {
            return false;
        }
        let bounds = self.bounds();
        if bounds.is_empty() && self.one_of.is_none() && self.not.is_none() {
            return true;
        }
        let Some(found) = found else { return false };
        let number = || found.as_f64().or_else(|| found.as_str()?.trim().parse().ok());
        bounds.iter().all(|bound| number().is_some_and(|number| bound.holds(number)))
            && self.one_of.as_ref().is_none_or(|several| several.contains(found))
            && self.not.as_ref() != Some(found)
    }

    fn bounds(&self) -> Vec<Bound> {
        let said = [
            self.above.map(Bound::Above),
            self.at_least.map(Bound::AtLeast),
            self.below.map(Bound::Below),
            self.at_most.map(Bound::AtMost),
        ];
        said.into_iter().flatten().collect()
    }
}

enum Bound {
    Above(f64),
    AtLeast(f64),
    Below(f64),
    AtMost(f64),
}

impl Bound {
    /// Not a number is on no side of anything.
    fn holds(&self, number: f64) -> bool {
        match *self {
            Self::Above(limit) => number > limit,
            Self::AtLeast(limit) => number >= limit,
            Self::Below(limit) => number < limit,
            Self::AtMost(limit) => number <= limit,
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words: Vec<String> = self.bounds().iter().map(ToString::to_string).collect();
        if let Some(several) = &self.one_of {
            words.push(format!("one of {}", several.iter().map(short).collect::<Vec<_>>().join(", ")));
        }
        words.extend(self.not.iter().map(|value| format!("not {}", short(value))));
        words.extend(self.present.map(|there| if there { "there" } else { "not there" }.to_owned()));
        f.write_str(&words.join(" and "))
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Above(limit) => write!(f, "above {limit}"),
            Self::AtLeast(limit) => write!(f, "at least {limit}"),
            Self::Below(limit) => write!(f, "below {limit}"),
            Self::AtMost(limit) => write!(f, "at most {limit}"),
        }
    }
}
