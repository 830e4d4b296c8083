use super::*;

/// 21 November 2026, 20:31:08 UTC.
const MOMENT: i64 = 1_795_293_068_000;

#[test]
fn every_usual_format_is_read() {
    let local = Stamp::Local(MOMENT);
    let moment = Stamp::Moment(MOMENT);
    for (line, expected) in [
        ("2026-11-21T20:31:08Z ERROR x", moment),
        ("2026-11-21T20:31:08.250Z x", Stamp::Moment(MOMENT + 250)),
        ("2026-11-21T22:01:08+01:30 x", moment),
        ("2026-11-21T15:31:08-0500 x", moment),
        ("2026-11-21 21:31:08.5 +0100 x", Stamp::Moment(MOMENT + 500)),
        ("2026-11-21 20:31:08,123 - app - ERROR - x", Stamp::Local(MOMENT + 123)),
        ("2026-11-21 20:31:08 x", local),
        ("[2026-11-21 20:31:08] production.ERROR: x", local),
        ("2026/11/21 20:31:08 [error] 7#7: *1 open() failed", local),
        ("Nov 21 20:31:08 web-1 app[7]: x", Stamp::Yearless { month: 11, day: 21, ms: 73_868_000 }),
        ("<13>Nov  2 20:31:08 web-1 x", Stamp::Yearless { month: 11, day: 2, ms: 73_868_000 }),
        ("Nov 21 2026 20:31:08 web-1 x", local),
        ("[Sat Nov 21 20:31:08.123456 2026] [core:error] x", Stamp::Local(MOMENT + 123)),
        ("Sat Nov 21 20:31:08 2026 x", local),
        ("127.0.0.1 - - [21/Nov/2026:20:31:08 +0000] \"GET / HTTP/1.1\" 500 0", moment),
        ("::1 - bob [21/Nov/2026:21:31:08 +0100] \"GET /\" 200", moment),
        ("1795293068 x", moment),
        ("1795293068.123 x", Stamp::Moment(MOMENT + 123)),
        ("1795293068000 x", moment),
        ("[1795293068] x", moment),
    ] {
        assert_eq!(Stamp::of(line), Some(expected), "{line}");
    }
}

#[test]
fn what_is_no_stamp_is_not_taken_for_one() {
    for line in [
        "",
        "    at com.example.Main(Main.java:7)",
        "Traceback (most recent call last):",
        "error: 2026-11-21T20:31:08Z is late",
        "2026-13-21T20:31:08Z",
        "2026-11-21T25:31:08Z",
        "2026-11-21",
        "20:31:08 x",
        "12345678901 x",
        "1795293068x",
        "[error] x",
        "November 21 x",
        "ä [21/Nov",
    ] {
        assert_eq!(Stamp::of(line), None, "{line}");
    }
}

#[test]
fn a_missing_year_is_the_one_that_lies_closest() {
    let december = Stamp::of("Dec 31 23:59:59 h x").unwrap();
    let new_year = 1_798_761_600_000; // 1 January 2027
    assert_eq!(december.moment(0, new_year + 5_000), new_year - 1_000);
    let january = Stamp::of("Jan  1 00:00:01 h x").unwrap();
    assert_eq!(january.moment(0, new_year - 5_000), new_year + 1_000);
    let leap = Stamp::of("Feb 29 12:00:00 h x").unwrap();
    assert_eq!(leap.moment(0, 1_709_208_000_000), 1_709_208_000_000);
}

#[test]
fn a_clock_ahead_of_utc_is_set_back() {
    let hour = 3_600_000;
    assert_eq!(Stamp::of("2026-11-21 21:31:08 x").unwrap().moment(hour, MOMENT), MOMENT);
    assert_eq!(Stamp::of("2026-11-21T20:31:08Z x").unwrap().moment(hour, MOMENT), MOMENT);
    assert_eq!(Stamp::of("Nov 21 21:31:08 h x").unwrap().moment(hour, MOMENT), MOMENT);
}
