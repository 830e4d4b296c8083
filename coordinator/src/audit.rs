//! The chain that makes the audit hold up: each line's hash covers the line
//! before it, so that nothing can be changed, dropped or put in unnoticed.
//!
//! Here, between both ends, because the coordinator writes the chain and
//! operators check it without believing the coordinator.

use sternway_core::ids::Digest;
use sternway_core::wire::AuditLine;

/// What is done when an emergency is launched; people see it in red.
pub const LAUNCH_EMERGENCY: &str = "launch emergency";

/// What the first line follows.
pub const FIRST: &str = "";

/// The hash of a line that follows a line with hash `previous`; the line's own is not looked at.
pub fn link(previous: &str, line: &AuditLine) -> String {
    let AuditLine { sequence, at, person, action, rollout, detail, hash: _ } = line;
    // A JSON array has one reading, so no field can flow into the next.
    let body = serde_json::json!([previous, sequence, at, person, action, rollout, detail]);
    Digest::of(body.to_string().as_bytes()).to_string()
}

/// The first line that does not follow from the one before it, if any.
pub fn first_break(lines: &[AuditLine]) -> Option<u64> {
    let mut previous = FIRST.to_owned();
    for (at, line) in lines.iter().enumerate() {
        let number = u64::try_from(at).unwrap_or(u64::MAX).saturating_add(1);
        if line.sequence != number || line.hash != link(&previous, line) {
            return Some(line.sequence);
        }
        previous.clone_from(&line.hash);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use sternway_core::time::Timestamp;

    fn chain(lines: u64) -> Vec<AuditLine> {
        let mut previous = FIRST.to_owned();
        (1..=lines)
            .map(|sequence| {
                let mut line = AuditLine {
                    sequence,
                    at: Timestamp(sequence * 1000),
                    person: "ada".parse().unwrap(),
                    action: "hold".into(),
                    rollout: Some("r-1".parse().unwrap()),
                    detail: String::new(),
                    hash: String::new(),
                };
                line.hash = link(&previous, &line);
                previous.clone_from(&line.hash);
                line
            })
            .collect()
    }

    #[test]
    fn whatever_is_changed_dropped_or_moved_breaks_the_chain_there() {
        let whole = chain(5);
        assert_eq!(first_break(&whole), None);
        assert_eq!(first_break(&[]), None);

        let mut changed = whole.clone();
        changed[2].detail = "nothing happened".into();
        assert_eq!(first_break(&changed), Some(3));

        let mut dropped = whole.clone();
        dropped.remove(0);
        assert_eq!(first_break(&dropped), Some(2));

        let mut moved = whole.clone();
        moved.swap(1, 2);
        assert_eq!(first_break(&moved), Some(3));

        let mut other = whole;
        other[4].person = "grace".parse().unwrap();
        assert_eq!(first_break(&other), Some(5));
    }
}
