//! Points in time and lengths of time, as values. Nobody here can read a clock.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

/// A length of time in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Timestamp {
    pub const MAX: Self = Self(u64::MAX);

    /// Zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Millis> for Timestamp {
    type Output = Self;
    fn add(self, length: Millis) -> Self {
        Self(self.0.saturating_add(length.0))
    }
}

impl Sub<Millis> for Timestamp {
    type Output = Self;
    fn sub(self, length: Millis) -> Self {
        Self(self.0.saturating_sub(length.0))
    }
}

impl Millis {
    pub const ZERO: Self = Self(0);

    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds * 1000)
    }

    pub const fn minutes(minutes: u64) -> Self {
        Self(minutes * 60_000)
    }

    pub const fn hours(hours: u64) -> Self {
        Self(hours * 3_600_000)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("a length of time is a number with a unit, such as `90s`, `10m` or `1h 30m`")]
    Shape,
    #[error("`{0}` is not a unit of time: use ms, s, m, h or d")]
    Unit(String),
    #[error("a length of time needs its unit: `{0}s`, `{0}m` or `{0}h`")]
    UnitMissing(String),
    #[error("a length of time is at most ten years")]
    TooLong,
}

const TEN_YEARS_MS: u64 = 10 * 366 * 24 * 3_600_000;

impl FromStr for Millis {
    type Err = DurationError;

    /// Reads `250ms`, `90s`, `10m`, `12h`, `14d` and sums such as `1h 30m`.
    fn from_str(text: &str) -> Result<Self, DurationError> {
        let mut total_ms: u64 = 0;
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(DurationError::Shape);
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (number, tail) = rest.split_at(digits);
            if number.is_empty() {
                return Err(DurationError::Shape);
            }
            let unit_end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit_end);
            let unit_ms = match unit {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                "" => return Err(DurationError::UnitMissing(number.to_owned())),
                other => return Err(DurationError::Unit(other.to_owned())),
            };
            let number: u64 = number.parse().map_err(|_| DurationError::TooLong)?;
            total_ms = number
                .checked_mul(unit_ms)
                .and_then(|ms| total_ms.checked_add(ms))
                .filter(|ms| *ms <= TEN_YEARS_MS)
                .ok_or(DurationError::TooLong)?;
            rest = tail.trim_start();
        }
        Ok(Self(total_ms))
    }
}

impl fmt::Display for Millis {
    /// The shortest exact text that [`FromStr`] reads back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.pad("0s");
        }
        let mut rest = self.0;
        let mut parts = Vec::new();
        for (unit, unit_ms) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
            if rest >= unit_ms {
                parts.push(format!("{}{unit}", rest / unit_ms));
                rest %= unit_ms;
            }
        }
        f.pad(&parts.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_are_read_with_their_units_only() {
        let read = |text: &str| text.parse::<Millis>();
        assert_eq!(read("10m"), Ok(Millis::minutes(10)));
        assert_eq!(read("1h 30m"), Ok(Millis::minutes(90)));
        assert_eq!(read("1h30m"), Ok(Millis::minutes(90)));
        assert_eq!(read("250ms"), Ok(Millis(250)));
        assert_eq!(read("10"), Err(DurationError::UnitMissing("10".into())));
        assert_eq!(read("10min"), Err(DurationError::Unit("min".into())));
        assert_eq!(read("-1s"), Err(DurationError::Shape));
        assert_eq!(read(""), Err(DurationError::Shape));
        assert_eq!(read("99999999999999999999d"), Err(DurationError::TooLong));
        assert_eq!(read("5000d"), Err(DurationError::TooLong));
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(ms in 0..TEN_YEARS_MS) {
            prop_assert_eq!(Millis(ms).to_string().parse::<Millis>(), Ok(Millis(ms)));
        }
    }
}
