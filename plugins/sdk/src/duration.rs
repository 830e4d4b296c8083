//! Durations as people write them in a plan: `250ms`, `30s`, `5m`, `1h`.

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurationError {
    pub text: String,
}

impl core::fmt::Display for DurationError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "`{}` is not a duration such as 250ms, 30s, 5m or 1h", self.text)
    }
}

impl core::error::Error for DurationError {}

/// Milliseconds of a duration text: a whole number and `ms`, `s`, `m` or `h`.
pub fn duration_ms(text: &str) -> Result<u64, DurationError> {
    let error = || DurationError { text: text.to_owned() };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(error()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(error)
}

#[cfg(test)]
mod tests {
    use super::duration_ms;

    #[test]
    fn the_four_units_are_read_and_nothing_else() {
        assert_eq!(duration_ms("250ms"), Ok(250));
        assert_eq!(duration_ms("30s"), Ok(30_000));
        assert_eq!(duration_ms("5m"), Ok(300_000));
        assert_eq!(duration_ms("1h"), Ok(3_600_000));
        for bad in ["", "5", "s", "-1s", "1.5s", "1 s", "1d", "99999999999999999999s"] {
            assert!(duration_ms(bad).is_err(), "{bad:?} was taken for a duration");
        }
    }
}
