//! The settings as notices to some places, their words filled in. Pure.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use sternway_plugin::host::http::Request;
use sternway_plugin::{Action, Error, Invocation, Risk, Texts, utc};

const ANSWER_MS_MAX: u64 = 10_000;
const BODY_BYTES_MAX: u32 = 64 * 1024;
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Tells people or systems; `webhook`, `mail`, or both.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(
    extend("anyOf" = [{"required": ["webhook"]}, {"required": ["mail"]}]),
    extend("dependencies" = { "payload": ["webhook"], "bearer": ["webhook"], "subject": ["mail"] }),
))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// URL the notice is posted to, as JSON.
    #[cfg_attr(test, schemars(regex(pattern = "^https?://")))]
    webhook: Option<String>,
    /// Addresses the notice is mailed to.
    mail: Option<Texts>,
    /// What is told: `{run}`, `{step}`, `{host}`, `{time}` and `{fact.os}` are filled in.
    message: String,
    /// Of the mail. Left out: the first line of the message.
    subject: Option<String>,
    /// What is posted in place of `{ text, run, step, host }`; its texts are filled in too.
    payload: Option<Map<String, Value>>,
    /// Name of a secret of the host, sent as `Authorization: Bearer`.
    #[cfg_attr(test, schemars(regex(pattern = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")))]
    bearer: Option<String>,
    /// Whether the step fails when the notice cannot be given. Left out: it only warns.
    required: Option<bool>,
}

/// One place to tell, and what.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Notice {
    Webhook { url: String, bearer: Option<String>, body: Value },
    Mail { to: String, subject: String, body: String },
}

impl Settings {
    pub(crate) fn is_required(&self) -> bool {
        self.required == Some(true)
    }

    /// The notices, for what `on` says and at this time.
    pub(crate) fn notices(&self, on: &Invocation, now_ms: u64) -> Result<Vec<Notice>, Error> {
        let fill = |text: &str| fill(text, on, now_ms);
        if self.webhook.is_none() && self.mail.is_none() {
            return Err(Error::invalid("notify/nobody", "neither `webhook` nor `mail` says whom to tell"));
        }
        self.check()?;
        let message = fill(&self.message)?;
        if message.trim().is_empty() || message.len() > MESSAGE_BYTES_MAX {
            return Err(Error::invalid("notify/message", "`message` is empty or over 64 KiB"));
        }
        let mut notices = Vec::new();
        if let Some(url) = &self.webhook {
            let body = match &self.payload {
                None => json!({ "text": message, "run": on.run_id, "step": on.step, "host": on.host }),
                Some(payload) => filled(&Value::Object(payload.clone()), &fill)?,
            };
            notices.push(Notice::Webhook { url: url.clone(), bearer: self.bearer.clone(), body });
        }
        let first_line = self.message.trim().lines().next().unwrap_or_default();
        let subject = fill(self.subject.as_deref().unwrap_or(first_line))?;
        for to in self.mail.iter().flat_map(Texts::iter) {
            notices.push(Notice::Mail { to: to.to_owned(), subject: short(&subject), body: message.clone() });
        }
        Ok(notices)
    }

    fn check(&self) -> Result<(), Error> {
        if let Some(url) = &self.webhook
            && !url.starts_with("http://")
            && !url.starts_with("https://")
        {
            return Err(Error::invalid("notify/url", format!("`{url}` is not an http or https URL")));
        }
        for to in self.mail.iter().flat_map(Texts::iter) {
            let parts = to.split_once('@').filter(|(name, place)| !name.is_empty() && place.contains('.'));
            let plain = |c: char| !c.is_control() && !c.is_whitespace() && !",;<>\"".contains(c);
            if parts.is_none() || !to.chars().all(plain) {
                return Err(Error::invalid(
                    "notify/address",
                    format!("`{}` is no mail address", to.escape_debug()),
                ));
            }
        }
        if let Some(name) = &self.bearer {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if !(1..=64).contains(&name.len()) || !name.chars().all(plain) {
                return Err(Error::invalid(
                    "notify/bearer",
                    "`bearer` is the name of a secret of the host, not the secret itself",
                ));
            }
        }
        if self.webhook.is_none() && (self.payload.is_some() || self.bearer.is_some()) {
            return Err(Error::invalid("notify/payload", "`payload` and `bearer` belong to `webhook`"));
        }
        if self.mail.is_none() && self.subject.is_some() {
            return Err(Error::invalid("notify/subject", "`subject` belongs to `mail`"));
        }
        Ok(())
    }
}

impl Notice {
    /// Tells it from the other notices of the step.
    pub(crate) fn place(&self) -> &str {
        match self {
            Self::Webhook { url, .. } => url,
            Self::Mail { to, .. } => to,
        }
    }

    pub(crate) fn action(&self) -> Action {
        let (summary, after) = match self {
            Self::Webhook { url, body, .. } => (format!("post a notice to {url}"), body.to_string()),
            Self::Mail { to, subject, .. } => (format!("mail a notice to {to}"), subject.clone()),
        };
        Action { summary, target: self.place().to_owned(), before: None, after: Some(after), risk: Risk::Low }
    }

    /// For a webhook: what is posted, with the key that makes a second one the same.
    pub(crate) fn request(&self, key: &str, remaining_ms: u64) -> Option<Request> {
        let Self::Webhook { url, bearer, body } = self else { return None };
        let mut headers = vec![
            ("Content-Type".to_owned(), "application/json".to_owned()),
            ("Idempotency-Key".to_owned(), key.to_owned()),
        ];
        headers.extend(
            bearer.iter().map(|name| ("Authorization".to_owned(), format!("Bearer ${{secret.{name}}}"))),
        );
        Some(Request {
            method: "POST".to_owned(),
            url: url.clone(),
            headers,
            body: body.to_string().into_bytes(),
            timeout_ms: remaining_ms.min(ANSWER_MS_MAX),
            body_bytes_max: BODY_BYTES_MAX,
        })
    }
}

/// Whether the same notice may be taken a moment later.
pub(crate) fn may_pass(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599)
}

fn filled(value: &Value, fill: &dyn Fn(&str) -> Result<String, Error>) -> Result<Value, Error> {
    Ok(match value {
        Value::String(text) => Value::String(fill(text)?),
        Value::Array(list) => {
            Value::Array(list.iter().map(|item| filled(item, fill)).collect::<Result<_, _>>()?)
        }
        Value::Object(table) => {
            let pairs = table.iter().map(|(key, value)| Ok((key.clone(), filled(value, fill)?)));
            Value::Object(pairs.collect::<Result<_, Error>>()?)
        }
        other => other.clone(),
    })
}

/// `{{` and `}}` stand for the braces themselves.
fn fill(text: &str, on: &Invocation, now_ms: u64) -> Result<String, Error> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            out.push_str(brace);
            rest = after;
            continue;
        }
        let wrong = |what: &str| Error::invalid("notify/template", format!("`{what}` in `{text}`"));
        if brace == "}" {
            return Err(wrong("}"));
        }
        let (name, after) = rest.split_once('}').ok_or_else(|| wrong("{"))?;
        out.push_str(&word(name, on, now_ms).ok_or_else(|| wrong(&format!("{{{name}}}")))?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn word(name: &str, on: &Invocation, now_ms: u64) -> Option<String> {
    Some(match name {
        "run" => on.run_id.clone(),
        "step" => on.step.clone(),
        "host" => on.host.clone(),
        "time" => utc(now_ms),
        _ => {
            let fact = name.strip_prefix("fact.")?;
            on.facts.iter().find(|(name, _)| name == fact)?.1.clone()
        }
    })
}

/// A subject is one line, and not a long one.
fn short(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on() -> Invocation {
        Invocation {
            run_id: "r-17".into(),
            step: "tell".into(),
            host: "web-1".into(),
            idempotency_key: "r-17/tell/web-1".into(),
            attempt: 1,
            settings: String::new(),
            undo_settings: None,
            point: None,
            facts: vec![("os".into(), "debian".into())],
        }
    }

    fn notices(json: &str) -> Result<Vec<Notice>, Error> {
        serde_json::from_str::<Settings>(json).unwrap().notices(&on(), 0)
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
            (r#"{"message":"x"}"#, "notify/nobody"),
            (r#"{"webhook":"pager","message":"x"}"#, "notify/url"),
            (r#"{"webhook":"http://p","message":" "}"#, "notify/message"),
            (r#"{"webhook":"http://p","message":"{what}"}"#, "notify/template"),
            (r#"{"webhook":"http://p","message":"{fact.none}"}"#, "notify/template"),
            (r#"{"webhook":"http://p","message":"{"}"#, "notify/template"),
            (r#"{"webhook":"http://p","message":"}"}"#, "notify/template"),
            (r#"{"webhook":"http://p","message":"x","bearer":"Bearer x"}"#, "notify/bearer"),
            (r#"{"webhook":"http://p","message":"x","subject":"y"}"#, "notify/subject"),
            (r#"{"mail":"a@b.org","message":"x","bearer":"y"}"#, "notify/payload"),
            (r#"{"mail":"nobody","message":"x"}"#, "notify/address"),
            (r#"{"mail":"a@b.org\nBcc: c@d.org","message":"x"}"#, "notify/address"),
            (r#"{"mail":"a@b.org, c@d.org","message":"x"}"#, "notify/address"),
        ] {
            assert_eq!(notices(json).unwrap_err().code, code, "{json}");
        }
        assert!(serde_json::from_str::<Settings>(r#"{"webhook":"http://p"}"#).is_err());
    }

    #[test]
    fn the_words_are_filled_in_everywhere() {
        let told = notices(
            r#"{"webhook":"http://p","mail":["a@b.org"],"message":"{host} rolls back\n{{run}} {run}",
                "payload":{"message":"{host} on {fact.os}","severity":"critical","tags":["{step}",7]}}"#,
        )
        .unwrap();
        let body = json!({"message": "web-1 on debian", "severity": "critical", "tags": ["tell", 7]});
        assert_eq!(told[0], Notice::Webhook { url: "http://p".into(), bearer: None, body });
        let body = "web-1 rolls back\n{run} r-17".into();
        assert_eq!(told[1], Notice::Mail { to: "a@b.org".into(), subject: "web-1 rolls back".into(), body });
    }

    #[test]
    fn a_webhook_carries_the_key_and_the_name_of_the_secret() {
        let told = notices(r#"{"webhook":"http://p","bearer":"pager","message":"x"}"#).unwrap();
        let request = told[0].request("r-17/tell/web-1", 500).unwrap();
        assert_eq!(request.headers[1], ("Idempotency-Key".into(), "r-17/tell/web-1".into()));
        assert_eq!(request.headers[2], ("Authorization".into(), "Bearer ${secret.pager}".into()));
        assert_eq!(
            String::from_utf8(request.body).unwrap(),
            r#"{"text":"x","run":"r-17","step":"tell","host":"web-1"}"#
        );
    }
}
