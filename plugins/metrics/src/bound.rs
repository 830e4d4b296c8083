//! What a value has to be. Pure.

use std::fmt;

use serde::Deserialize;

/// All that is said has to hold.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Bounds {
    /// The value is greater.
    above: Option<f64>,
    /// The value is smaller.
    below: Option<f64>,
    /// The value is this or greater.
    at_least: Option<f64>,
    /// The value is this or smaller.
    at_most: Option<f64>,
}

impl Bounds {
    pub(crate) fn new(
        above: Option<f64>,
        below: Option<f64>,
        at_least: Option<f64>,
        at_most: Option<f64>,
    ) -> Self {
        Self { above, below, at_least, at_most }
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn hold(&self, value: f64) -> bool {
        self.above.is_none_or(|limit| value > limit)
            && self.at_least.is_none_or(|limit| value >= limit)
            && self.below.is_none_or(|limit| value < limit)
            && self.at_most.is_none_or(|limit| value <= limit)
    }

    pub(crate) fn are_possible(&self) -> bool {
        let lows = [(self.above, true), (self.at_least, false)];
        let highs = [(self.below, true), (self.at_most, false)];
        lows.iter().filter_map(|(low, open)| Some(((*low)?, *open))).all(|(low, low_open)| {
            highs
                .iter()
                .filter_map(|(high, open)| Some(((*high)?, *open)))
                .all(|(high, high_open)| low < high || (low == high && !low_open && !high_open))
        })
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = [
            ("above", self.above),
            ("at least", self.at_least),
            ("below", self.below),
            ("at most", self.at_most),
        ];
        let words: Vec<String> =
            said.iter().filter_map(|(word, limit)| Some(format!("{word} {}", (*limit)?))).collect();
        f.write_str(&words.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::Bounds;

    #[test]
    fn the_limit_itself_belongs_to_at_least_and_at_most_only() {
        for (bounds, value, holds) in [
            (Bounds::new(Some(5.0), None, None, None), 5.0, false),
            (Bounds::new(None, Some(5.0), None, None), 5.0, false),
            (Bounds::new(None, None, Some(5.0), Some(5.0)), 5.0, true),
            (Bounds::new(Some(1.0), Some(2.0), None, None), 1.5, true),
        ] {
            assert_eq!(bounds.hold(value), holds, "{bounds} {value}");
        }
        assert!(!Bounds::new(Some(5.0), None, None, Some(5.0)).are_possible());
        assert!(Bounds::new(None, None, Some(5.0), Some(5.0)).are_possible());
        assert_eq!(Bounds::new(None, Some(2.0), Some(1.0), None).to_string(), "at least 1 and below 2");
    }
}
