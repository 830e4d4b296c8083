//! What all answers of one call add up to, in words with figures. Pure.

use std::collections::BTreeMap;

use crate::decide::Call;
use crate::expect::Complaint;

/// A time that a share of the answers may not exceed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limit {
    /// As the setting is called.
    pub(crate) name: &'static str,
    /// Of 100 answers.
    pub(crate) rank: usize,
    pub(crate) at_most_ms: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Tally {
    sent: u32,
    complaints: BTreeMap<Complaint, u32>,
    elapsed_us: Vec<u64>,
}

impl Tally {
    /// Answers whether this one was right.
    pub(crate) fn add(&mut self, complaint: Option<Complaint>, elapsed_us: Option<u64>) -> bool {
        self.sent += 1;
        self.elapsed_us.extend(elapsed_us);
        let right = complaint.is_none();
        if let Some(complaint) = complaint {
            *self.complaints.entry(complaint).or_default() += 1;
        }
        right
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.complaints.is_empty()
    }

    /// Why this is not what the call expects; none when it is.
    pub(crate) fn complaint(&self, call: &Call) -> Option<String> {
        let mut words: Vec<String> = Vec::new();
        let mut complaints: Vec<_> = self.complaints.iter().collect();
        complaints.sort_by_key(|(_, count)| core::cmp::Reverse(**count));
        words.extend(complaints.iter().take(3).map(|(complaint, count)| {
            if self.sent == 1 { complaint.alone() } else { complaint.among(**count, self.sent) }
        }));
        if !words.is_empty() {
            words.push(format!("expected {}", call.expectation));
        }
        for Limit { name, rank, at_most_ms } in &call.limits {
            if let Some(us) = self.percentile_us(*rank)
                && us > at_most_ms.saturating_mul(1_000)
            {
                words.push(format!("{name} was {}, at most {at_most_ms} ms allowed", in_ms(us)));
            }
        }
        (!words.is_empty()).then(|| format!("{}: {}", call.title(), words.join(", ")))
    }

    pub(crate) fn praise(&self, call: &Call) -> String {
        let answers = if self.sent == 1 { "answered".to_owned() } else { format!("{} answers", self.sent) };
        let times = call
            .limits
            .iter()
            .filter_map(|limit| Some(format!(", {} {}", limit.name, in_ms(self.percentile_us(limit.rank)?))));
        format!("{}: {answers} as expected{}", call.title(), times.collect::<String>())
    }

    /// For a single call: what came back.
    pub(crate) fn measured(&self) -> String {
        let time = self.elapsed_us.first().map(|us| in_ms(*us));
        match (self.complaints.keys().next(), time) {
            (None, Some(time)) => format!("as expected in {time}"),
            (None, None) => "as expected".to_owned(),
            (Some(complaint), Some(time)) => format!("{} in {time}", complaint.alone()),
            (Some(complaint), None) => complaint.alone(),
        }
    }

    /// Nearest rank, so that it is a time some answer really took.
    fn percentile_us(&self, of_100: usize) -> Option<u64> {
        let mut sorted = self.elapsed_us.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * of_100).div_ceil(100);
        sorted.get(rank.checked_sub(1)?).copied()
    }
}

impl Complaint {
    fn alone(&self) -> String {
        match self {
            Self::Status(status) => format!("answered {status}"),
            Self::NotJson => "answered what is not JSON".to_owned(),
            Self::Field { key, measured } => format!("{key} was {measured}"),
            Self::Body => "the answer lacks the text".to_owned(),
            Self::NoAnswer(why) => format!("gave no answer ({why})"),
        }
    }

    fn among(&self, count: u32, sent: u32) -> String {
        match self {
            Self::Status(status) => format!("{count} of {sent} answers were {status}"),
            Self::NotJson => format!("{count} of {sent} answers were not JSON"),
            Self::Field { key, measured } => {
                format!("{key} was {measured} in {count} of {sent} answers")
            }
            Self::Body => format!("{count} of {sent} answers lack the text"),
            Self::NoAnswer(why) => format!("{count} of {sent} calls got no answer ({why})"),
        }
    }
}

fn in_ms(us: u64) -> String {
    if us < 10_000 { format!("{}.{} ms", us / 1_000, us % 1_000 / 100) } else { format!("{} ms", us / 1_000) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Settings;

    fn call(json: &str) -> Call {
        serde_json::from_str::<Settings>(json).unwrap().call().unwrap()
    }

    fn call_with_all() -> Call {
        call(r#"{"get":"http://a","for":"5s","p50":"99ms","p90":"180ms","p99":"198ms","slowest":"199ms"}"#)
    }

    #[test]
    fn a_failure_names_the_url_what_was_measured_and_what_was_expected() {
        let call = call(r#"{"get":"http://a/health","for":"5s"}"#);
        let mut tally = Tally::default();
        for _ in 0..128 {
            assert!(tally.add(None, Some(900)));
        }
        for _ in 0..12 {
            assert!(!tally.add(Some(Complaint::Status(500)), Some(900)));
        }
        assert_eq!(
            tally.complaint(&call).unwrap(),
            "GET http://a/health: 12 of 140 answers were 500, expected 200 to 299"
        );
    }

    #[test]
    fn a_single_answer_is_told_without_counting() {
        let call = call(r#"{"get":"http://a","json":{"version":"1.1"}}"#);
        let mut tally = Tally::default();
        tally.add(Some(Complaint::Field { key: "version".into(), measured: "\"1.3\"".into() }), Some(1));
        assert_eq!(
            tally.complaint(&call).unwrap(),
            "GET http://a: version was \"1.3\", expected 200 to 299, version \"1.1\""
        );
        let mut silent = Tally::default();
        silent.add(Some(Complaint::NoAnswer("connection refused".into())), None);
        assert_eq!(silent.measured(), "gave no answer (connection refused)");
    }

    #[test]
    fn slow_answers_fail_by_their_95th_of_100() {
        let call = call(r#"{"get":"http://a","for":"5s","p95":"100ms"}"#);
        let mut tally = Tally::default();
        for us in (1..=100).map(|n| n * 2_000) {
            tally.add(None, Some(us));
        }
        assert_eq!(tally.percentile_us(95), Some(190_000));
        assert_eq!(tally.complaint(&call).unwrap(), "GET http://a: p95 was 190 ms, at most 100 ms allowed");
        let all = call_with_all();
        assert_eq!(
            tally.complaint(&all).unwrap(),
            "GET http://a: p50 was 100 ms, at most 99 ms allowed, slowest was 200 ms, at most 199 ms allowed"
        );
        let mut quick = Tally::default();
        for _ in 0..20 {
            quick.add(None, Some(100_000));
        }
        assert_eq!(quick.complaint(&call), None);
        assert_eq!(quick.praise(&call), "GET http://a: 20 answers as expected, p95 100 ms");
    }
}
