//! The settings as one call with its expectations. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use sternway_plugin::host::http::Request;
use sternway_plugin::{Action, Error, Risk, duration_ms};

use crate::expect::{Expectation, Statuses};
use crate::field::Field;
use crate::tally::Limit;

const EVERY_MS: u64 = 100;
const ANSWER_MS_MAX: u64 = 10_000;
/// A host allows 10 000 calls in one phase, and there are others than these.
const CALLS_MAX: u64 = 9_000;
const BODY_BYTES_MAX: u32 = 1 << 20;

/// Calls a URL; exactly one of `get`, `head`, `put`, `post` and `delete`.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(
    extend("oneOf" = [
        {"required": ["get"]}, {"required": ["head"]}, {"required": ["put"]},
        {"required": ["post"]}, {"required": ["delete"]},
    ]),
    extend("dependencies" = {
        "p50": ["for"], "p90": ["for"], "p95": ["for"], "p99": ["for"], "slowest": ["for"],
    }),
))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// URL to ask and to check.
    #[cfg_attr(test, schemars(regex(pattern = "^https?://")))]
    get: Option<String>,
    /// URL to check without its body.
    #[cfg_attr(test, schemars(regex(pattern = "^https?://")))]
    head: Option<String>,
    /// URL to put `body` to.
    #[cfg_attr(test, schemars(regex(pattern = "^https?://")))]
    put: Option<String>,
    /// URL to post `body` to, always with the header `Idempotency-Key`.
    #[cfg_attr(test, schemars(regex(pattern = "^https?://")))]
    post: Option<String>,
    /// URL to delete.
    #[cfg_attr(test, schemars(regex(pattern = "^https?://")))]
    delete: Option<String>,
    /// What is sent.
    body: Option<String>,
    /// Headers to send, by name.
    headers: Option<BTreeMap<String, String>>,
    /// Name of a secret of the host, sent as `Authorization: Bearer`.
    #[cfg_attr(test, schemars(regex(pattern = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")))]
    bearer: Option<String>,
    /// The status or list of statuses that is right. Left out: 200 to 299.
    expect: Option<Statuses>,
    /// Values the JSON answer must have, by key, dotted key (`build.version`) or pointer (`/build/version`).
    json: Option<Map<String, Value>>,
    /// What values of the JSON answer have to be, by the same keys: `{ at-most = 5 }`.
    fields: Option<BTreeMap<String, Field>>,
    /// A text the answer must contain.
    body_has: Option<String>,
    /// Most that half of the answers may take; needs `for`.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$")))]
    p50: Option<String>,
    /// Most that 90 of 100 answers may take; needs `for`.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$")))]
    p90: Option<String>,
    /// Most that 95 of 100 answers may take; needs `for`.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$")))]
    p95: Option<String>,
    /// Most that 99 of 100 answers may take; needs `for`.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$")))]
    p99: Option<String>,
    /// Most that any answer may take; needs `for`.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$")))]
    slowest: Option<String>,
    /// How long to go on asking once the first answer is right; only for `get` and `head`.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$")))]
    r#for: Option<String>,
    /// Pause between two calls. Left out: `100ms`.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$")))]
    every: Option<String>,
    /// How long to try until the first answer is right. Left out: a single try.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$")))]
    within: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
    Put,
    Post,
    Delete,
}

/// The settings, found sound.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: String,
    body: String,
    headers: Vec<(String, String)>,
    pub(crate) expectation: Expectation,
    /// Times that may not be exceeded.
    pub(crate) limits: Vec<Limit>,
    pub(crate) for_ms: Option<u64>,
    pub(crate) every_ms: u64,
    pub(crate) within_ms: u64,
}

impl Settings {
    pub(crate) fn call(&self) -> Result<Call, Error> {
        let (method, url) = self.method_and_url()?;
        let for_ms = duration(self.r#for.as_deref())?;
        let limits = self.limits()?;
        if let (Some(limit), None) = (limits.first(), for_ms) {
            let message = format!("`{}` needs `for`: how long to measure", limit.name);
            return Err(Error::invalid("http/p95-alone", message));
        }
        if let Some(name) = &self.bearer {
            secret(name)?;
            let named = |header: &String| header.eq_ignore_ascii_case("authorization");
            if self.headers.iter().flatten().any(|(header, _)| named(header)) {
                let message = "`bearer` and a header `Authorization` would say it twice";
                return Err(Error::invalid("http/bearer", message));
            }
        }
        for (key, field) in self.fields.iter().flatten() {
            field.sound(key)?;
        }
        if for_ms.is_some() && !method.is_read() {
            return Err(Error::invalid("http/window", "only `get` and `head` may be repeated by `for`"));
        }
        if method == Method::Head && (self.json.is_some() || self.fields.is_some() || self.body_has.is_some())
        {
            return Err(Error::invalid("http/no-body", "an answer to `head` has no body to check"));
        }
        let every_ms = duration(self.every.as_deref())?.unwrap_or(EVERY_MS).max(1);
        let within_ms = duration(self.within.as_deref())?.unwrap_or(0);
        if for_ms.unwrap_or(0).saturating_add(within_ms) / every_ms > CALLS_MAX {
            return Err(Error::invalid(
                "http/too-many-calls",
                format!("`for` and `within` would make more than {CALLS_MAX} calls; raise `every`"),
            ));
        }
        Ok(Call {
            method,
            url: url.to_owned(),
            body: self.body.clone().unwrap_or_default(),
            headers: self.all_headers(),
            expectation: Expectation {
                statuses: self.expect.clone(),
                json: self.json.clone().unwrap_or_default(),
                fields: self.fields.clone().unwrap_or_default(),
                body_has: self.body_has.clone(),
            },
            limits,
            for_ms,
            every_ms,
            within_ms,
        })
    }

    fn limits(&self) -> Result<Vec<Limit>, Error> {
        let named = [
            ("p50", 50, &self.p50),
            ("p90", 90, &self.p90),
            ("p95", 95, &self.p95),
            ("p99", 99, &self.p99),
            ("slowest", 100, &self.slowest),
        ];
        let mut limits = Vec::new();
        for (name, rank, text) in named {
            if let Some(at_most_ms) = duration(text.as_deref())? {
                limits.push(Limit { name, rank, at_most_ms });
            }
        }
        Ok(limits)
    }

    /// The host fills in the secret; nobody here ever has it.
    fn all_headers(&self) -> Vec<(String, String)> {
        let bearer = self.bearer.iter();
        let bearer = bearer.map(|name| ("Authorization".to_owned(), format!("Bearer ${{secret.{name}}}")));
        self.headers.clone().into_iter().flatten().chain(bearer).collect()
    }

    fn method_and_url(&self) -> Result<(Method, &str), Error> {
        let methods = [
            (Method::Get, &self.get),
            (Method::Head, &self.head),
            (Method::Put, &self.put),
            (Method::Post, &self.post),
            (Method::Delete, &self.delete),
        ];
        let mut asked = methods.iter().filter_map(|(method, url)| Some((*method, url.as_deref()?)));
        let (Some((method, url)), None) = (asked.next(), asked.next()) else {
            return Err(Error::invalid(
                "http/one-of",
                "exactly one of `get`, `head`, `put`, `post` and `delete` has to be set",
            ));
        };
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Error::invalid("http/url", format!("`{url}` is not an http or https URL")));
        }
        Ok((method, url))
    }
}

impl Method {
    pub(crate) fn is_read(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

impl Call {
    pub(crate) fn title(&self) -> String {
        format!("{} {}", self.method.word(), self.url)
    }

    /// The same without its window, for a single look.
    pub(crate) fn at_a_glance(&self) -> Self {
        Self { limits: vec![], for_ms: None, within_ms: 0, ..self.clone() }
    }

    pub(crate) fn request(&self, idempotency_key: &str, remaining_ms: u64) -> Request {
        let mut headers = self.headers.clone();
        if self.method == Method::Post {
            headers.retain(|(name, _)| !name.eq_ignore_ascii_case("idempotency-key"));
            headers.push(("Idempotency-Key".to_owned(), idempotency_key.to_owned()));
        }
        Request {
            method: self.method.word().to_owned(),
            url: self.url.clone(),
            headers,
            body: self.body.clone().into_bytes(),
            timeout_ms: remaining_ms.min(ANSWER_MS_MAX),
            body_bytes_max: BODY_BYTES_MAX,
        }
    }
}

/// Reads are listed too: they change nothing, but the step consists of them.
pub(crate) fn action(call: &Call) -> Action {
    let mut after = call.expectation.to_string();
    for limit in &call.limits {
        after.push_str(&format!(", {} at most {} ms", limit.name, limit.at_most_ms));
    }
    if let Some(for_ms) = call.for_ms {
        after.push_str(&format!(", for {for_ms} ms"));
    }
    Action {
        summary: call.title(),
        target: call.url.clone(),
        before: None,
        after: Some(after),
        risk: if call.method.is_read() { Risk::None } else { Risk::Low },
    }
}

/// A name a host may have given a secret.
fn secret(name: &str) -> Result<(), Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if (1..=64).contains(&name.len()) && name.chars().all(plain) {
        return Ok(());
    }
    Err(Error::invalid("http/bearer", "`bearer` is the name of a secret of the host, not the secret itself"))
}

fn duration(text: Option<&str>) -> Result<Option<u64>, Error> {
    text.map(duration_ms).transpose().map_err(|cause| Error::invalid("http/duration", cause.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(json: &str) -> Result<Call, Error> {
        serde_json::from_str::<Settings>(json).unwrap().call()
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
            ("{}", "http/one-of"),
            (r#"{"get":"http://a","put":"http://a"}"#, "http/one-of"),
            (r#"{"get":"ftp://a"}"#, "http/url"),
            (r#"{"get":"http://a","p95":"1s"}"#, "http/p95-alone"),
            (r#"{"get":"http://a","p99":"1s"}"#, "http/p95-alone"),
            (r#"{"get":"http://a","bearer":"Bearer ey.J"}"#, "http/bearer"),
            (r#"{"get":"http://a","bearer":"a","headers":{"authorization":"b"}}"#, "http/bearer"),
            (r#"{"get":"http://a","fields":{"a":{}}}"#, "http/field"),
            (r#"{"get":"http://a","fields":{"a":{"one-of":[]}}}"#, "http/field"),
            (r#"{"head":"http://a","fields":{"a":{"present":true}}}"#, "http/no-body"),
            (r#"{"put":"http://a","for":"1s"}"#, "http/window"),
            (r#"{"head":"http://a","body-has":"x"}"#, "http/no-body"),
            (r#"{"get":"http://a","within":"soon"}"#, "http/duration"),
            (r#"{"get":"http://a","for":"1m","every":"1ms"}"#, "http/too-many-calls"),
        ] {
            assert_eq!(call(json).unwrap_err().code, code, "{json}");
        }
        assert!(serde_json::from_str::<Settings>(r#"{"gett":"http://a"}"#).is_err());
    }

    #[test]
    fn every_post_carries_the_steps_own_key_and_no_other() {
        let post = call(r#"{"post":"http://a","headers":{"idempotency-key":"mine","X-A":"b"}}"#);
        let request = post.unwrap().request("run-7", 99_000);
        assert_eq!(
            request.headers,
            [("X-A".to_owned(), "b".to_owned()), ("Idempotency-Key".to_owned(), "run-7".to_owned())]
        );
        let put = call(r#"{"put":"http://a","body":"x"}"#).unwrap().request("run-7", 500);
        assert_eq!((put.headers.len(), put.body, put.timeout_ms), (0, b"x".to_vec(), 500));
    }

    #[test]
    fn a_secret_goes_by_its_name_and_the_host_fills_it_in() {
        let get = call(r#"{"get":"http://a","bearer":"pager"}"#).unwrap().request("run-7", 500);
        assert_eq!(get.headers, [("Authorization".to_owned(), "Bearer ${secret.pager}".to_owned())]);
    }

    #[test]
    fn the_preview_tells_the_whole_expectation() {
        let call = call(
            r#"{"get":"http://a/health","expect":[200,204],"json":{"version":"1.1"},"p95":"100ms","for":"5s"}"#,
        )
        .unwrap();
        let action = action(&call);
        assert_eq!(action.summary, "GET http://a/health");
        assert_eq!(action.after.unwrap(), "200 or 204, version \"1.1\", p95 at most 100 ms, for 5000 ms");
        assert_eq!(action.risk, Risk::None);
    }
}
