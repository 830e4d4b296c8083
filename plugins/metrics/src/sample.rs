//! An answer as values, and a value as one of three verdicts. Pure.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sternway_plugin::json::find;
use sternway_plugin::{Error, Verdict};

use crate::decide::{Check, OnNoData, Source, Watch};

/// One value with what tells it from others of the same query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) labels: String,
    pub(crate) value: f64,
}

/// What one measurement of one check showed; none of them empty.
pub(crate) type Measured = Result<Vec<Sample>, String>;

/// How one measurement of a check is to be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) verdict: Verdict,
    pub(crate) measured: String,
}

/// The values of `source` in what was answered; why there are none otherwise.
///
/// # Errors
/// `metrics/bad-query` when the server does not understand the query at all.
pub(crate) fn read(
    watch: &Watch,
    source: &Source,
    status: u16,
    body: &[u8],
    now_ms: u64,
) -> Result<Measured, Error> {
    let answer: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    match source {
        Source::Query(query) => {
            if matches!(status, 400 | 422) && find(&answer, "errorType") == Some(&Value::from("bad_data")) {
                let why = find(&answer, "error").and_then(Value::as_str).unwrap_or_default();
                return Err(Error::invalid("metrics/bad-query", format!("`{query}`: {why}")));
            }
            if status != 200 {
                return Ok(Err(format!("the server answered {status}")));
            }
            Ok(samples(&answer, now_ms, watch.stale_ms))
        }
        Source::Field { .. } if !(200..300).contains(&status) => {
            Ok(Err(format!("the server answered {status}")))
        }
        Source::Field { key, .. } => Ok(field(&answer, key)),
    }
}

/// The result of an instant query: a scalar, or a vector of any length.
fn samples(answer: &Value, now_ms: u64, stale_ms: u64) -> Measured {
    let nothing = |why: &str| Err(why.to_owned());
    if find(answer, "status").and_then(Value::as_str) != Some("success") {
        return nothing("the server answered no success");
    }
    let result = find(answer, "/data/result");
    let rows: Vec<(String, &Value)> = match find(answer, "/data/resultType").and_then(Value::as_str) {
        Some("scalar") => result.map(|pair| (String::new(), pair)).into_iter().collect(),
        Some("vector") => result
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|row| Some((labels(row.get("metric")), row.get("value")?)))
            .collect(),
        _ => return nothing("the query answers neither one value nor a row of them"),
    };
    if rows.is_empty() {
        return nothing("no data");
    }
    rows.into_iter()
        .map(|(labels, pair)| {
            let seconds = pair.get(0).and_then(Value::as_f64).ok_or("no time")?;
            let value = number(pair.get(1)).ok_or("not a number")?;
            let age_ms = now_ms as f64 - seconds * 1_000.0;
            if age_ms.abs() > stale_ms as f64 {
                return Err(format!("stale: {} s apart from this host's clock", (age_ms / 1_000.0).round()));
            }
            Ok(Sample { labels, value })
        })
        .collect()
}

fn field(answer: &Value, key: &str) -> Measured {
    match find(answer, key) {
        None | Some(Value::Null) => Err(format!("no {key} in the answer")),
        Some(found) => match number(Some(found)) {
            Some(value) => Ok(vec![Sample { labels: String::new(), value }]),
            None => Err(format!("{key} is not a number")),
        },
    }
}

/// Finite or infinite, but a number. Texts count: Prometheus writes them.
fn number(value: Option<&Value>) -> Option<f64> {
    let number = match value? {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        Value::Bool(yes) => f64::from(u8::from(*yes)),
        _ => return None,
    };
    (!number.is_nan()).then_some(number)
}

fn labels(metric: Option<&Value>) -> String {
    let pairs = metric.and_then(Value::as_object).into_iter().flatten();
    let words: Vec<String> = pairs
        .filter(|(name, _)| *name != "__name__")
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect();
    words.join(",")
}

/// The worst of the values decides; `before` is what the value was.
pub(crate) fn judge(watch: &Watch, check: &Check, measured: &Measured, before: Option<&Measured>) -> Judged {
    let blank = |why: String| Judged {
        verdict: match watch.on_no_data {
            OnNoData::Fail => Verdict::Fail,
            OnNoData::Inconclusive => Verdict::Inconclusive,
        },
        measured: why,
    };
    let samples = match measured {
        Ok(samples) => samples,
        Err(why) => return blank(why.clone()),
    };
    if let Some(sample) = samples.iter().find(|sample| !check.bounds.hold(sample.value)) {
        return Judged { verdict: Verdict::Fail, measured: sample.to_string() };
    }
    let Some(share) = &check.baseline else {
        let shown: Vec<String> = samples.iter().take(3).map(Sample::to_string).collect();
        return Judged { verdict: Verdict::Pass, measured: shown.join("; ") };
    };
    let (Some(Ok(before)), [now]) = (before, samples.as_slice()) else {
        return blank("there is no one value from before and one from now to compare".to_owned());
    };
    let [before] = before.as_slice() else {
        return blank("there was not one value before: aggregate them".to_owned());
    };
    let ratio = now.value / before.value;
    if !ratio.is_finite() {
        return blank(format!("{now}, and it was {}", rounded(before.value)));
    }
    let verdict = if share.hold(ratio) { Verdict::Pass } else { Verdict::Fail };
    let measured = format!("{now}, {} times the {} it was", rounded(ratio), rounded(before.value));
    Judged { verdict, measured }
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&rounded(self.value))?;
        if !self.labels.is_empty() {
            write!(f, " ({})", self.labels)?;
        }
        Ok(())
    }
}

/// Four digits that count are enough for people.
fn rounded(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let places = (3.0 - value.abs().log10().floor()).clamp(0.0, 12.0) as usize;
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Settings;

    fn watch(bounds: &str) -> Watch {
        let json = format!(r#"{{"prometheus":"http://p","queries":{{"x":{{"query":"up",{bounds}}}}}}}"#);
        serde_json::from_str::<Settings>(&json).unwrap().watch().unwrap()
    }

    fn vector(rows: &str) -> String {
        format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{rows}]}}}}"#)
    }

    fn judged(watch: &Watch, body: &str, before: Option<&Measured>) -> Judged {
        let check = &watch.checks[0];
        let measured = read(watch, &check.source, 200, body.as_bytes(), 1_000_000).unwrap();
        judge(watch, check, &measured, before)
    }

    #[test]
    fn the_worst_series_decides() {
        let watch = watch(r#""below":2"#);
        let rows = r#"{"metric":{"__name__":"x","host":"a"},"value":[1000,"1.5"]},{"metric":{"host":"b"},"value":[1000,"2.5"]}"#;
        let judged = judged(&watch, &vector(rows), None);
        assert_eq!((judged.verdict, judged.measured.as_str()), (Verdict::Fail, "2.5 (host=b)"));
    }

    #[test]
    fn no_data_not_a_number_and_old_samples_are_neither_good_nor_bad() {
        let watch = watch(r#""below":2"#);
        for (rows, told) in [
            ("", "no data"),
            (r#"{"metric":{},"value":[1000,"NaN"]}"#, "not a number"),
            (r#"{"metric":{},"value":[800,"1"]}"#, "stale: 200 s apart from this host's clock"),
            (r#"{"metric":{},"value":[1200,"1"]}"#, "stale: -200 s apart from this host's clock"),
        ] {
            let judged = judged(&watch, &vector(rows), None);
            assert_eq!((judged.verdict, judged.measured.as_str()), (Verdict::Inconclusive, told));
        }
        let mut strict = watch;
        strict.on_no_data = OnNoData::Fail;
        assert_eq!(judged(&strict, &vector(""), None).verdict, Verdict::Fail);
        let infinite = r#"{"metric":{},"value":[1000,"+Inf"]}"#;
        assert_eq!(judged(&strict, &vector(infinite), None).verdict, Verdict::Fail);
    }

    #[test]
    fn a_baseline_compares_with_what_the_value_was() {
        let watch = watch(r#""baseline":{"at-most":1.2}"#);
        let was = |value| Ok(vec![Sample { labels: String::new(), value }]);
        let row = vector(r#"{"metric":{},"value":[1000,"110"]}"#);
        assert_eq!(judged(&watch, &row, Some(&was(100.0))).measured, "110, 1.1 times the 100 it was");
        assert_eq!(judged(&watch, &row, Some(&was(100.0))).verdict, Verdict::Pass);
        assert_eq!(judged(&watch, &row, Some(&was(90.0))).verdict, Verdict::Fail);
        assert_eq!(judged(&watch, &row, Some(&was(0.0))).verdict, Verdict::Inconclusive);
        assert_eq!(judged(&watch, &row, None).verdict, Verdict::Inconclusive);
    }

    #[test]
    fn a_query_the_server_does_not_understand_is_an_error_of_the_plan() {
        let watch = watch(r#""below":2"#);
        let source = &watch.checks[0].source;
        let body = br#"{"status":"error","errorType":"bad_data","error":"parse error at char 3"}"#;
        assert_eq!(read(&watch, source, 400, body, 0).unwrap_err().code, "metrics/bad-query");
        assert!(read(&watch, source, 503, b"busy", 0).unwrap().is_err());
    }

    #[test]
    fn figures_for_people_are_short() {
        for (value, text) in
            [(0.0, "0"), (0.049_96, "0.04996"), (1_234_567.0, "1234567"), (1.0, "1"), (-2.5, "-2.5")]
        {
            assert_eq!(rounded(value), text);
        }
        assert_eq!(rounded(f64::INFINITY), "inf");
    }
}
