//! The settings as a row of checks. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use sternway_plugin::host::http::Request;
use sternway_plugin::{Action, Error, Risk, duration_ms};

use crate::bound::Bounds;

const EVERY_MS: u64 = 15_000;
const STALE_MS: u64 = 120_000;
const ANSWER_MS_MAX: u64 = 10_000;
const CALLS_MAX: u64 = 8_000;
const BODY_BYTES_MAX: u32 = 1 << 20;

/// Holds measured values against thresholds; `prometheus` with `queries`, `json`, or both.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(
    extend("anyOf" = [{"required": ["prometheus"]}, {"required": ["json"]}]),
    extend("dependencies" = { "prometheus": ["queries"], "queries": ["prometheus"] }),
))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// URL of a Prometheus server, or of what speaks its interface.
    #[cfg_attr(test, schemars(regex(pattern = "^https?://")))]
    prometheus: Option<String>,
    /// Checks of it, by a name for people.
    queries: Option<BTreeMap<String, Query>>,
    /// Checks of JSON answers: URL, then key, dotted key (`memory.used`) or pointer (`/memory/used`).
    json: Option<BTreeMap<String, BTreeMap<String, Bounds>>>,
    /// Name of a secret of the host, sent as `Authorization: Bearer`.
    #[cfg_attr(test, schemars(regex(pattern = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")))]
    bearer: Option<String>,
    /// How long to try until all values are right. Left out: a single try.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$")))]
    within: Option<String>,
    /// How long they have to stay right.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$")))]
    r#for: Option<String>,
    /// Pause between two measurements. Left out: `15s`.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$")))]
    every: Option<String>,
    /// How many measurements of a check may be wrong, and how many may be missing. Left out: none.
    failures_allowed: Option<u32>,
    /// What a value is that is missing, not a number or stale. Left out: `inconclusive`.
    on_no_data: Option<OnNoData>,
    /// The oldest a sample of Prometheus may be. Left out: `2m`.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$")))]
    stale: Option<String>,
}

/// A query and what its value has to be.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Query {
    /// An expression of PromQL; every series it answers is checked.
    query: String,
    /// The value is greater.
    above: Option<f64>,
    /// The value is smaller.
    below: Option<f64>,
    /// The value is this or greater.
    at_least: Option<f64>,
    /// The value is this or smaller.
    at_most: Option<f64>,
    /// What the value has to be as a share of what it was when the step began.
    baseline: Option<Bounds>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnNoData {
    Inconclusive,
    Fail,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Query(String),
    Field { url: String, key: String },
}

#[derive(Debug, Clone)]
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) source: Source,
    pub(crate) bounds: Bounds,
    /// Of the share of what it was.
    pub(crate) baseline: Option<Bounds>,
}

/// The settings, found sound.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    pub(crate) checks: Vec<Check>,
    prometheus: String,
    bearer: Option<String>,
    pub(crate) within_ms: u64,
    pub(crate) for_ms: u64,
    pub(crate) every_ms: u64,
    pub(crate) failures_allowed: u32,
    pub(crate) on_no_data: OnNoData,
    pub(crate) stale_ms: u64,
}

impl Settings {
    pub(crate) fn watch(&self) -> Result<Watch, Error> {
        let checks = self.checks()?;
        let [within_ms, for_ms, every_ms, stale_ms] =
            [&self.within, &self.r#for, &self.every, &self.stale].map(|text| duration(text.as_deref()));
        let (within_ms, for_ms) = (within_ms?.unwrap_or(0), for_ms?.unwrap_or(0));
        let every_ms = every_ms?.unwrap_or(EVERY_MS).max(1);
        let rounds = within_ms.saturating_add(for_ms) / every_ms;
        if rounds.saturating_mul(checks.len() as u64) > CALLS_MAX {
            let message = format!("`within` and `for` would make more than {CALLS_MAX} calls; raise `every`");
            return Err(Error::invalid("metrics/too-many-calls", message));
        }
        if let Some(name) = &self.bearer {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if !(1..=64).contains(&name.len()) || !name.chars().all(plain) {
                return Err(Error::invalid(
                    "metrics/bearer",
                    "`bearer` is the name of a secret of the host, not the secret itself",
                ));
            }
        }
        Ok(Watch {
            checks,
            prometheus: self.prometheus.clone().unwrap_or_default(),
            bearer: self.bearer.clone(),
            within_ms,
            for_ms,
            every_ms,
            failures_allowed: self.failures_allowed.unwrap_or(0),
            on_no_data: self.on_no_data.unwrap_or(OnNoData::Inconclusive),
            stale_ms: stale_ms?.unwrap_or(STALE_MS),
        })
    }

    fn checks(&self) -> Result<Vec<Check>, Error> {
        let queries: Vec<(&String, &Query)> = self.queries.iter().flatten().collect();
        if self.prometheus.is_some() == queries.is_empty() {
            let message = "`prometheus` says where, and `queries` what: both or neither";
            return Err(Error::invalid("metrics/no-query", message));
        }
        let urls = self.prometheus.iter().chain(self.json.iter().flatten().map(|(url, _)| url));
        for url in urls {
            if !url.starts_with("http://") && !url.starts_with("https://") {
                return Err(Error::invalid("metrics/url", format!("`{url}` is not an http or https URL")));
            }
        }
        let mut checks = Vec::new();
        for (name, query) in queries {
            if query.query.trim().is_empty() {
                return Err(Error::invalid("metrics/no-query", format!("the query of `{name}` is empty")));
            }
            checks.push(Check {
                name: name.clone(),
                source: Source::Query(query.query.clone()),
                bounds: query.bounds(),
                baseline: query.baseline.clone(),
            });
        }
        for (url, fields) in self.json.iter().flatten() {
            checks.extend(fields.iter().map(|(key, bounds)| Check {
                name: key.clone(),
                source: Source::Field { url: url.clone(), key: key.clone() },
                bounds: bounds.clone(),
                baseline: None,
            }));
        }
        if checks.is_empty() {
            return Err(Error::invalid(
                "metrics/no-check",
                "neither `queries` nor `json` names anything to check",
            ));
        }
        for check in &checks {
            let bounds = [Some(&check.bounds), check.baseline.as_ref()].into_iter().flatten();
            let mut bounds = bounds.filter(|bounds| !bounds.is_empty());
            if bounds.clone().any(|bounds| !bounds.are_possible()) {
                let message = format!("no value can satisfy the bounds of `{}`", check.name);
                return Err(Error::invalid("metrics/bounds", message));
            }
            if bounds.next().is_none() {
                let message =
                    format!("`{}` has no bound: `above`, `below`, `at-least`, `at-most`", check.name);
                return Err(Error::invalid("metrics/bounds", message));
            }
        }
        Ok(checks)
    }
}

impl Query {
    fn bounds(&self) -> Bounds {
        Bounds::new(self.above, self.below, self.at_least, self.at_most)
    }
}

impl Watch {
    /// The URLs to ask in one round; each once, however many values it gives.
    pub(crate) fn sources(&self) -> Vec<&Source> {
        let mut sources: Vec<&Source> = Vec::new();
        for check in &self.checks {
            let known = |source: &&&Source| self.url(source) == self.url(&check.source);
            if !sources.iter().any(|source| known(&source)) {
                sources.push(&check.source);
            }
        }
        sources
    }

    pub(crate) fn url(&self, source: &Source) -> String {
        match source {
            Source::Field { url, .. } => url.clone(),
            Source::Query(query) => {
                let base = self.prometheus.trim_end_matches('/');
                format!("{base}/api/v1/query?query={}", encoded(query))
            }
        }
    }

    pub(crate) fn request(&self, source: &Source, remaining_ms: u64) -> Request {
        let bearer = self.bearer.iter();
        Request {
            method: "GET".to_owned(),
            url: self.url(source),
            headers: bearer
                .map(|name| ("Authorization".to_owned(), format!("Bearer ${{secret.{name}}}")))
                .collect(),
            body: vec![],
            timeout_ms: remaining_ms.min(ANSWER_MS_MAX),
            body_bytes_max: BODY_BYTES_MAX,
        }
    }
}

impl Check {
    pub(crate) fn expected(&self) -> String {
        let bounds = (!self.bounds.is_empty()).then(|| self.bounds.to_string());
        let share = self.baseline.as_ref().map(|share| format!("{share} times what it was"));
        bounds.into_iter().chain(share).collect::<Vec<_>>().join(", and ")
    }

    pub(crate) fn action(&self, watch: &Watch, before: String) -> Action {
        let mut after = self.expected();
        if watch.for_ms > 0 {
            after.push_str(&format!(", for {} s", watch.for_ms / 1_000));
        }
        Action {
            summary: format!("measure {}", self.name),
            target: match &self.source {
                Source::Query(query) => query.clone(),
                Source::Field { url, key } => format!("{key} of {url}"),
            },
            before: Some(before),
            after: Some(after),
            risk: Risk::None,
        }
    }
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn duration(text: Option<&str>) -> Result<Option<u64>, Error> {
    text.map(duration_ms).transpose().map_err(|cause| Error::invalid("metrics/duration", cause.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(json: &str) -> Result<Watch, Error> {
        serde_json::from_str::<Settings>(json).unwrap().watch()
    }

    #[test]
    fn the_schema_file_says_what_the_settings_take() {
        sternway_plugin::schema::assert_current::<Settings>(
            concat!(env!("CARGO_MANIFEST_DIR"), "/settings.schema.json"),
            include_str!("../settings.schema.json"),
        );
    }

    #[test]
    fn unsound_settings_are_refused_by_code() {
        for (json, code) in [
            ("{}", "metrics/no-check"),
            (r#"{"prometheus":"http://p"}"#, "metrics/no-query"),
            (r#"{"queries":{"a":{"query":"up","above":0}}}"#, "metrics/no-query"),
            (r#"{"prometheus":"http://p","queries":{"a":{"query":" ","above":0}}}"#, "metrics/no-query"),
            (r#"{"prometheus":"p:9090","queries":{"a":{"query":"up","above":0}}}"#, "metrics/url"),
            (r#"{"json":{"http://a":{}}}"#, "metrics/no-check"),
            (r#"{"json":{"http://a":{"x":{}}}}"#, "metrics/bounds"),
            (r#"{"json":{"http://a":{"x":{"above":5,"below":5}}}}"#, "metrics/bounds"),
            (r#"{"json":{"http://a":{"x":{"above":5}}},"bearer":"a b"}"#, "metrics/bearer"),
            (r#"{"json":{"http://a":{"x":{"above":5}}},"for":"soon"}"#, "metrics/duration"),
            (r#"{"json":{"http://a":{"x":{"above":5}}},"for":"24h","every":"1s"}"#, "metrics/too-many-calls"),
        ] {
            assert_eq!(watch(json).unwrap_err().code, code, "{json}");
        }
        assert!(serde_json::from_str::<Settings>(r#"{"jsons":{}}"#).is_err());
        assert!(serde_json::from_str::<Settings>(r#"{"on-no-data":"pass"}"#).is_err());
    }

    #[test]
    fn a_query_is_asked_where_it_belongs_with_every_sign_encoded() {
        let watch = watch(
            r#"{"prometheus":"http://p:9090/","bearer":"metrics",
                "queries":{"errors":{"query":"sum(rate(x{code=~\"5..\"}[5m]))","below":0.05}}}"#,
        )
        .unwrap();
        let request = watch.request(&watch.checks[0].source, 500);
        assert_eq!(
            request.url,
            "http://p:9090/api/v1/query?query=sum%28rate%28x%7Bcode%3D~%225..%22%7D%5B5m%5D%29%29"
        );
        assert_eq!(request.headers[0].1, "Bearer ${secret.metrics}");
        assert_eq!(request.timeout_ms, 500);
    }

    #[test]
    fn an_answer_with_several_values_is_asked_for_once() {
        let watch =
            watch(r#"{"json":{"http://a":{"x":{"above":5},"y":{"below":5}},"http://b":{"x":{"above":5}}}}"#)
                .unwrap();
        let urls: Vec<String> = watch.sources().iter().map(|source| watch.url(source)).collect();
        assert_eq!(urls, ["http://a", "http://b"]);
    }
}
