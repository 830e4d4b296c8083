//! Moments as people read them.

/// `15 Nov 2026 02:00Z` of milliseconds since 1970 in UTC.
pub fn utc(ms: u64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let minutes = ms / 60_000;
    let (hour, minute) = (minutes / 60 % 24, minutes % 60);
    // Days since 1 March of year 0: leap days then come last in their year.
    let days = minutes / 1_440 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);
    let name = MONTHS[usize::try_from(month).expect("below twelve")];
    format!("{day} {name} {year} {hour:02}:{minute:02}Z")
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn moments_are_told_with_leap_days_and_turns_of_the_year() {
        assert_eq!(utc(0), "1 Jan 1970 00:00Z");
        assert_eq!(utc(1_709_208_000_000), "29 Feb 2024 12:00Z");
        assert_eq!(utc(1_798_761_540_000), "31 Dec 2026 23:59Z");
        assert_eq!(utc(1_798_761_600_000), "1 Jan 2027 00:00Z");
        assert_eq!(utc(951_782_400_000), "29 Feb 2000 00:00Z");
    }
}
