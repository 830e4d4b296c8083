//! A balancer that tells its state by GET and takes it by PUT. What it told
//! before is what is put back.

use serde_json::Value;
use sternway_plugin::host::control;
use sternway_plugin::host::http::{self, Request};
use sternway_plugin::json::find;
use sternway_plugin::{Action, Error, Failure, Risk, Verdict, Verification, memory};

use crate::{Done, Seen};

const ANSWER_MS_MAX: u64 = 10_000;
const BODY_BYTES_MAX: u32 = 256 * 1024;
/// The journal's key for what the balancer told before.
const BEFORE: &str = "before";

pub(crate) struct Balancer {
    pub(crate) url: String,
    pub(crate) proof: Option<String>,
    pub(crate) bearer: Option<String>,
}

impl Balancer {
    pub(crate) fn look(&self, body: &Value) -> Result<Seen, Error> {
        let now = self.get()?;
        if self.is_as(&now, &text_of(body)) {
            return Ok((vec![], vec![]));
        }
        let change = Action {
            summary: format!("PUT {}", self.url),
            target: self.url.clone(),
            before: Some(self.shown(&now)),
            after: Some(self.shown(&text_of(body))),
            risk: Risk::Low,
        };
        Ok((vec![change], vec![]))
    }

    pub(crate) fn apply(&self, body: &Value) -> Result<Done, Failure> {
        let now = self.get()?;
        let to = text_of(body);
        let before = memory::first(BEFORE, now.clone())?;
        if !self.is_as(&now, &to) {
            self.put(&to)?;
        }
        Ok(Done::new(!self.is_as(&before, &to), format!("{} says {}", self.url, self.shown(&to))))
    }

    pub(crate) fn verify(&self, body: &Value) -> Result<Vec<Verification>, Error> {
        let (now, to) = (self.get()?, text_of(body));
        Ok(vec![Verification {
            name: self.url.clone(),
            verdict: if self.is_as(&now, &to) { Verdict::Pass } else { Verdict::Fail },
            measured: Some(self.shown(&now)),
            expected: Some(self.shown(&to)),
            message: String::new(),
        }])
    }

    pub(crate) fn undo(&self) -> Result<Done, Failure> {
        let Some(before) = memory::recall::<String>(BEFORE)? else {
            return Ok(Done::new(false, format!("{} was not touched", self.url)));
        };
        let changed = !self.is_as(&self.get()?, &before);
        if changed {
            self.put(&before)?;
        }
        Ok(Done::new(changed, format!("{} says again {}", self.url, self.shown(&before))))
    }

    /// Puts it, and proves that the balancer took it.
    fn put(&self, body: &str) -> Result<(), Error> {
        let (status, _) = self.send("PUT", body)?;
        if !(200..300).contains(&status) {
            let message = format!("{} answered {status} to a PUT", self.url);
            return Err(Error::failed("traffic/refused", message));
        }
        let now = self.get()?;
        if self.is_as(&now, body) {
            return Ok(());
        }
        let message = format!("{} took a PUT, and still says {}", self.url, self.shown(&now));
        Err(Error::failed("traffic/not-taken", message))
    }

    fn get(&self) -> Result<String, Error> {
        let (status, body) = self.send("GET", "")?;
        if !(200..300).contains(&status) {
            let message = format!("{} answered {status}: its state cannot be read, nor put back", self.url);
            return Err(Error::failed("traffic/unreadable", message));
        }
        String::from_utf8(body)
            .map_err(|_| Error::failed("traffic/unreadable", format!("{} answers what is no text", self.url)))
    }

    fn send(&self, method: &str, body: &str) -> Result<(u16, Vec<u8>), Error> {
        let mut headers = Vec::new();
        if serde_json::from_str::<Value>(body).is_ok_and(|value| value.is_object() || value.is_array()) {
            headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
        }
        headers.extend(
            self.bearer.iter().map(|name| ("Authorization".to_owned(), format!("Bearer ${{secret.{name}}}"))),
        );
        let response = http::send(&Request {
            method: method.to_owned(),
            url: self.url.clone(),
            headers,
            body: body.as_bytes().to_vec(),
            timeout_ms: control::limits().remaining_ms.min(ANSWER_MS_MAX),
            body_bytes_max: BODY_BYTES_MAX,
        })?;
        Ok((response.status, response.body))
    }

    /// By the value that counts; else a table has to say at least what is wanted.
    fn is_as(&self, now: &str, wanted: &str) -> bool {
        let json = |text: &str| serde_json::from_str::<Value>(text).ok();
        match (&self.proof, json(now), json(wanted)) {
            (Some(key), Some(now), Some(wanted)) => {
                find(&wanted, key).is_some() && find(&now, key) == find(&wanted, key)
            }
            (None, Some(now), Some(wanted)) => says(&now, &wanted),
            _ => now.trim() == wanted.trim(),
        }
    }

    fn shown(&self, text: &str) -> String {
        let value = serde_json::from_str::<Value>(text).ok();
        let counts = self.proof.as_ref().and_then(|key| find(value.as_ref()?, key).map(Value::to_string));
        counts.unwrap_or_else(|| text.trim().to_owned()).chars().take(200).collect()
    }
}

fn says(now: &Value, wanted: &Value) -> bool {
    match (now, wanted) {
        (Value::Object(now), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| now.get(key).is_some_and(|now| says(now, value)))
        }
        _ => now == wanted,
    }
}

fn text_of(body: &Value) -> String {
    match body {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
