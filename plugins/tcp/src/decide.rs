//! The settings as one question to some addresses, and what an answer means. Pure.

use serde::Deserialize;
use sternway_plugin::host::sockets::Exchange;
use sternway_plugin::{Action, Error, Risk, Texts, Verdict, duration_ms};

const EVERY_MS: u64 = 200;
const TIMEOUT_MS: u64 = 2_000;
const TRIES_MAX: u64 = 4_000;
const BYTES_MAX: u32 = 64 * 1024;

/// Connects to addresses and holds what they say against what is expected.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Addresses: `tcp://127.0.0.1:5432`, `tcp://[::1]:80` or `unix:///run/x.sock`.
    connect: Option<Texts>,
    /// What is sent once connected; it has to be a question that changes nothing.
    send: Option<String>,
    /// A text the answer must contain.
    expect: Option<String>,
    /// The text that ends the answer. Left out: `expect`.
    until: Option<String>,
    /// Proves that nobody listens.
    closed: Option<bool>,
    /// How long to try until all is as expected. Left out: a single try.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$")))]
    within: Option<String>,
    /// How long it has to stay so.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$")))]
    r#for: Option<String>,
    /// Pause between two tries. Left out: `200ms`.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$")))]
    every: Option<String>,
    /// Most that one try may take. Left out: `2s`.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$")))]
    timeout: Option<String>,
}

/// The settings, found sound.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) addresses: Vec<String>,
    pub(crate) closed: bool,
    /// Sent and expected; none: connecting is all.
    talk: Option<(String, String, String)>,
    pub(crate) within_ms: u64,
    pub(crate) for_ms: u64,
    pub(crate) every_ms: u64,
    pub(crate) timeout_ms: u64,
}

/// What one try showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) verdict: Verdict,
    pub(crate) measured: String,
}

impl Settings {
    pub(crate) fn question(&self) -> Result<Question, Error> {
        let addresses: Vec<String> = self.connect.iter().flat_map(Texts::iter).map(str::to_owned).collect();
        if addresses.is_empty() {
            return Err(Error::invalid("tcp/no-address", "`connect` names no address"));
        }
        for address in &addresses {
            if !address.starts_with("tcp://") && !address.starts_with("unix:///") {
                let message = format!("`{address}` is neither tcp://host:port nor unix:///path");
                return Err(Error::invalid("tcp/address", message));
            }
        }
        let closed = self.closed == Some(true);
        if closed && (self.send.is_some() || self.expect.is_some()) {
            return Err(Error::invalid(
                "tcp/closed",
                "nobody answers where `closed` proves that nobody listens",
            ));
        }
        let talk = match (&self.send, &self.expect) {
            (None, None) if self.until.is_none() => None,
            (_, None) => return Err(Error::invalid("tcp/no-expect", "`send` and `until` need `expect`")),
            (_, Some(expect)) if expect.is_empty() => {
                return Err(Error::invalid("tcp/no-expect", "an empty `expect` expects nothing"));
            }
            (send, Some(expect)) => {
                let until = self.until.as_ref().filter(|until| !until.is_empty()).unwrap_or(expect);
                Some((send.clone().unwrap_or_default(), expect.clone(), until.clone()))
            }
        };
        let [within_ms, for_ms] = [&self.within, &self.r#for].map(|text| duration(text.as_deref()));
        let (within_ms, for_ms) = (within_ms?.unwrap_or(0), for_ms?.unwrap_or(0));
        let every_ms = duration(self.every.as_deref())?.unwrap_or(EVERY_MS).max(1);
        let tries = (within_ms.saturating_add(for_ms) / every_ms).saturating_mul(addresses.len() as u64);
        if tries > TRIES_MAX {
            let message = format!("`within` and `for` would make more than {TRIES_MAX} tries; raise `every`");
            return Err(Error::invalid("tcp/too-many-tries", message));
        }
        let timeout_ms = duration(self.timeout.as_deref())?.unwrap_or(TIMEOUT_MS).max(1);
        Ok(Question { addresses, closed, talk, within_ms, for_ms, every_ms, timeout_ms })
    }
}

impl Question {
    pub(crate) fn expected(&self) -> String {
        match &self.talk {
            _ if self.closed => "nobody listens".to_owned(),
            Some((_, expect, _)) => format!("an answer with {expect:?}"),
            None => "somebody listens".to_owned(),
        }
    }

    pub(crate) fn action(&self, address: &str) -> Action {
        let mut after = self.expected();
        if self.for_ms > 0 {
            after.push_str(&format!(", for {} ms", self.for_ms));
        }
        Action {
            summary: format!("connect to {address}"),
            target: address.to_owned(),
            before: None,
            after: Some(after),
            risk: Risk::None,
        }
    }

    /// What to say there; none when connecting is all.
    pub(crate) fn exchange(&self, address: &str, timeout_ms: u64) -> Option<Exchange> {
        let (send, _, until) = self.talk.as_ref()?;
        Some(Exchange {
            address: address.to_owned(),
            data: send.clone().into_bytes(),
            until: until.clone().into_bytes(),
            bytes_max: BYTES_MAX,
            timeout_ms,
        })
    }

    pub(crate) fn connected(&self, us: u64) -> Seen {
        let verdict = if self.closed { Verdict::Fail } else { Verdict::Pass };
        Seen { verdict, measured: format!("connected in {}.{} ms", us / 1_000, us % 1_000 / 100) }
    }

    pub(crate) fn answered(&self, answer: &[u8]) -> Seen {
        let text = String::from_utf8_lossy(answer);
        let right = self.talk.as_ref().is_some_and(|(_, expect, _)| text.contains(expect.as_str()));
        let shown: String = text.chars().take(120).flat_map(char::escape_debug).collect();
        Seen {
            verdict: if right { Verdict::Pass } else { Verdict::Fail },
            measured: format!("answered \"{shown}\""),
        }
    }

    /// That nobody answers in time does not prove that nobody listens.
    pub(crate) fn failed(&self, error: &Error) -> Seen {
        let verdict = match error.code.as_str() {
            "sockets/refused" if self.closed => Verdict::Pass,
            _ if self.closed => Verdict::Inconclusive,
            _ => Verdict::Fail,
        };
        let measured = match error.code.as_str() {
            "sockets/refused" => "nobody listens".to_owned(),
            _ => error.message.clone(),
        };
        Seen { verdict, measured }
    }
}

fn duration(text: Option<&str>) -> Result<Option<u64>, Error> {
    text.map(duration_ms).transpose().map_err(|cause| Error::invalid("tcp/duration", cause.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(json: &str) -> Result<Question, Error> {
        serde_json::from_str::<Settings>(json).unwrap().question()
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
            ("{}", "tcp/no-address"),
            (r#"{"connect":"127.0.0.1:80"}"#, "tcp/address"),
            (r#"{"connect":"unix://run/x"}"#, "tcp/address"),
            (r#"{"connect":"tcp://a:1","closed":true,"expect":"x"}"#, "tcp/closed"),
            (r#"{"connect":"tcp://a:1","send":"x"}"#, "tcp/no-expect"),
            (r#"{"connect":"tcp://a:1","expect":""}"#, "tcp/no-expect"),
            (r#"{"connect":"tcp://a:1","within":"soon"}"#, "tcp/duration"),
            (r#"{"connect":"tcp://a:1","for":"1h","every":"1ms"}"#, "tcp/too-many-tries"),
        ] {
            assert_eq!(question(json).unwrap_err().code, code, "{json}");
        }
        assert!(serde_json::from_str::<Settings>(r#"{"conect":"tcp://a:1"}"#).is_err());
    }

    #[test]
    fn only_a_refusal_proves_that_nobody_listens() {
        let closed = question(r#"{"connect":"tcp://a:1","closed":true}"#).unwrap();
        let refused = Error::failed("sockets/refused", "nobody listens at tcp://a:1");
        let silent = Error::failed("sockets/timed-out", "tcp://a:1 did not answer in time");
        assert_eq!(closed.failed(&refused).verdict, Verdict::Pass);
        assert_eq!(closed.failed(&silent).verdict, Verdict::Inconclusive);
        assert_eq!(closed.connected(900).verdict, Verdict::Fail);
        let open = question(r#"{"connect":"tcp://a:1"}"#).unwrap();
        assert_eq!(open.failed(&silent).verdict, Verdict::Fail);
        assert_eq!(
            open.connected(900),
            Seen { verdict: Verdict::Pass, measured: "connected in 0.9 ms".into() }
        );
    }

    #[test]
    fn an_answer_ends_with_what_is_expected_unless_another_end_is_named() {
        let ping = question(r#"{"connect":"tcp://a:1","send":"PING\r\n","expect":"+PONG"}"#).unwrap();
        let exchange = ping.exchange("tcp://a:1", 500).unwrap();
        assert_eq!((exchange.data.as_slice(), exchange.until.as_slice()), (&b"PING\r\n"[..], &b"+PONG"[..]));
        assert_eq!(ping.answered(b"+PONG\r\n").verdict, Verdict::Pass);
        assert_eq!(ping.answered(b"-ERR\r\n").measured, "answered \"-ERR\\r\\n\"");
        let line = question(r#"{"connect":"tcp://a:1","expect":"220","until":"\n"}"#).unwrap();
        assert_eq!(line.exchange("tcp://a:1", 500).unwrap().until, b"\n");
    }
}
