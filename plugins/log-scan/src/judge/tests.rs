use super::*;
use crate::settings::Settings;

/// 21 November 2026, 20:31:00 UTC.
const NOW: i64 = 1_795_293_060_000;
const MINUTE: i64 = 60_000;

fn task() -> Task {
    serde_json::from_str::<Settings>(r#"{"files":"/a"}"#).unwrap().task().unwrap()
}

fn tail(text: &str) -> Tail<'_> {
    Tail { text, from: 0, written_ms: NOW, bytes_before: text.len() as u64 }
}

/// Counted and looked at within the last five minutes.
fn counted(tail: &Tail<'_>) -> (u64, u64, bool) {
    let count = file(&task(), tail, NOW - 5 * MINUTE);
    (count.counted, count.looked_at, count.unknown.is_some())
}

#[test]
fn only_lines_of_the_window_count() {
    let text = "2026-11-21T20:20:00Z ERROR old\n2026-11-21T20:27:00Z ERROR new\n2026-11-21T20:30:00Z ok\n";
    assert_eq!(counted(&tail(text)), (1, 2, false));
    let quiet = "2026-11-21T20:20:00Z ERROR old\n";
    assert_eq!(counted(&tail(quiet)), (0, 0, false));
}

#[test]
fn a_line_without_a_stamp_belongs_to_the_one_before() {
    let text = "  error of before\n2026-11-21T20:20:00Z Traceback\n  Exception: old\n2026-11-21T20:29:00Z Traceback\n  Exception: new\n";
    let count = file(&task(), &tail(text), NOW - 5 * MINUTE);
    assert_eq!((count.counted, count.evidence), (1, vec!["Exception: new".to_owned()]));
}

#[test]
fn the_zone_of_a_clock_is_found_by_the_last_write() {
    for (old, new) in [
        ("2026-11-21 20:20:00", "2026-11-21 20:30:55"),
        ("2026-11-21 22:20:00", "2026-11-21 22:30:55"),
        ("2026-11-21 13:20:00", "2026-11-21 13:30:55"),
        ("2026-11-22 02:05:00", "2026-11-22 02:15:30"),
        ("Nov 22 02:05:00", "Nov 22 02:15:30"),
    ] {
        let text = format!("{old} web ERROR old\n{new} web ERROR new\n");
        assert_eq!(counted(&tail(&text)), (1, 1, false), "{new}");
    }
}

#[test]
fn stamps_that_fit_no_zone_are_not_trusted() {
    let text = "2026-11-21 20:20:00 ERROR old\n2026-11-21 20:23:00 ERROR when\n";
    assert_eq!(counted(&tail(text)), (0, 0, true));
    let years_ago = "2020-11-21 20:31:00 ERROR old\n";
    assert_eq!(counted(&tail(years_ago)), (0, 0, true));
    // What came since the step began counts all the same.
    assert_eq!(counted(&Tail { bytes_before: 30, ..tail(text) }), (1, 1, false));
}

#[test]
fn without_stamps_what_came_since_the_step_began_counts() {
    let text = "error old\nall well\nerror new\nlast\n";
    assert_eq!(counted(&Tail { bytes_before: 10, ..tail(text) }), (1, 3, false));
    assert_eq!(counted(&tail(text)), (0, 0, true));
    // The file was begun anew.
    assert_eq!(counted(&Tail { bytes_before: 4_000, ..tail(text) }), (2, 4, false));
    // A part of what came was too far back to be read.
    assert_eq!(counted(&Tail { bytes_before: 10, from: 500, ..tail(text) }), (2, 4, true));
}

#[test]
fn a_window_that_begins_before_what_could_be_read_does_not_tell() {
    let text = "2026-11-21T20:29:00Z ok\n2026-11-21T20:30:00Z ok\n";
    assert_eq!(counted(&Tail { from: 4_000_000, ..tail(text) }), (0, 2, true));
    let far = "2026-11-21T20:09:00Z ok\n2026-11-21T20:30:00Z ok\n";
    assert_eq!(counted(&Tail { from: 4_000_000, ..tail(far) }), (0, 1, false));
    assert_eq!(counted(&tail("")), (0, 0, true));
}

#[test]
fn the_verdict_has_three_values_and_too_many_win() {
    let count = |counted, unknown: Option<&str>| Count {
        counted,
        unknown: unknown.map(str::to_owned),
        ..Count::default()
    };
    for (count, max, expected) in [
        (count(0, None), 0, Verdict::Pass),
        (count(1, None), 0, Verdict::Fail),
        (count(2, None), 2, Verdict::Pass),
        (count(0, Some("why")), 0, Verdict::Inconclusive),
        (count(1, Some("why")), 0, Verdict::Fail),
    ] {
        assert_eq!(count.verdict(max), expected, "{count:?}");
    }
}

#[test]
fn evidence_is_the_first_lines_cut_short_and_harmless() {
    let mut count = Count::default();
    for at in 0..20 {
        count.add(&task(), &format!("  error {at} \u{1b}[31m{}", "x".repeat(1_000)));
    }
    assert_eq!((count.counted, count.evidence.len()), (20, EVIDENCE_MAX));
    assert!(count.evidence[0].starts_with("error 0  [31mxx"), "{}", count.evidence[0]);
    assert_eq!(count.evidence[0].chars().count(), EVIDENCE_CHARS);
    assert!(count.words().starts_with("20 of 20 lines count: error 0"));
    assert_eq!(count.proof("/a", 0).measured.as_deref(), Some("20"));
}
