//! The draft that a person wrote beforehand, and the few words that are put
//! into it when it is run. What is signed comes from this file alone: never
//! from a coordinator.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use sternway_core::exit;
use sternway_core::ids::is_disguise;
use sternway_core::manifest::Catalogue;
use sternway_core::plan::tree::Place;
use sternway_core::plan::{REASON_BYTES_MAX, Urgency};

use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::sign::read;
use crate::draft;

/// The folder in the identity directory.
const FOLDER: &str = "emergency";

/// Where the draft of a service is looked for, and put.
pub(super) fn usual_path(context: &Context, service: &str) -> Result<PathBuf, Failure> {
    let is_name = !service.starts_with('.') && !service.chars().any(|c| c == '/' || is_disguise(c));
    match is_name && !service.is_empty() {
        true => Ok(context.whereabouts.directory()?.join(FOLDER).join(format!("{service}.toml"))),
        false => Err(Failure::usage(format!("`{}` is no name for a file", service.escape_debug()))
            .hinted("name the draft with --plan FILE")),
    }
}

/// What is put into the draft.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fill<'a> {
    pub(super) service: &'a str,
    pub(super) reason: &'a str,
    pub(super) from: Option<&'a str>,
    /// Fewer hosts than the draft's own bound are meant.
    pub(super) is_narrowed: bool,
}

#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) path: PathBuf,
    text: String,
}

impl Prepared {
    pub(super) fn find(context: &Context, service: &str, named: Option<&Path>) -> Result<Self, Failure> {
        let path = match named {
            Some(path) => path.to_owned(),
            None => usual_path(context, service)?,
        };
        match std::fs::metadata(&path) {
            Ok(about) if about.permissions().mode() & 0o002 != 0 => {
                let message = format!("`{}` can be changed by anybody: it is not signed", path.display());
                Err(Failure::usage(message).hinted(format!("read it, then chmod go-w {}", path.display())))
            }
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Err(Failure::usage(format!(
                "no emergency is prepared for `{service}`: there is no `{}`",
                path.display()
            ))
            .hinted(format!(
                "prepare one on a quiet day: sternway emergency --service {service} --prepare; \
                 now: sternway sign and launch a plan, or name a draft with --plan FILE"
            ))),
            _ => {
                let text = String::from_utf8_lossy(&read(&path)?).into_owned();
                Ok(Self { path, text })
            }
        }
    }

    /// The draft with its few words put in, as it will be signed.
    pub(super) fn fill(&self, fill: &Fill<'_>) -> Result<String, Failure> {
        check_line("--reason", fill.reason)?;
        if let Some(from) = fill.from {
            check_line("--from", from)?;
        }
        // Only where things stand matters here; what is wrong is told when it is sealed.
        let draft = draft::load(self.text.as_bytes(), &Catalogue::default(), None).draft;
        let file = self.path.display();
        if let Some(service) = draft.service.as_ref().filter(|service| service.value != fill.service) {
            let (meant, found) = (fill.service, &service.value);
            return Err(Failure::usage(format!(
                "`{file}` is for `{found}`, not for `{meant}`: nothing was done"
            )));
        }
        if draft.urgency() != Urgency::Emergency && draft.problems.is_empty() {
            return Err(Failure::Other {
                message: format!("`{file}` is an ordinary plan: it does not say urgency = \"emergency\""),
                exit: exit::INVALID,
                hint: Some(format!("sternway sign {file}; or prepare one: sternway emergency --prepare")),
                cause: None,
            });
        }
        let mut patches: Vec<(Place, String)> = Vec::new();
        patches.extend(draft.reason.map(|reason| (reason.span, quoted(fill.reason))));
        patches.extend(draft.from.zip(fill.from).map(|(at, from)| (at.span, quoted(from))));
        patches.extend(draft.fleet.min.filter(|_| fill.is_narrowed).map(|min| (min.span, "1".into())));
        patches.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
        let mut text = self.text.clone();
        for (span, with) in patches {
            text.replace_range(span, &with);
        }
        Ok(text)
    }
}

/// A JSON string is a basic string of TOML: the same quotes, the same escapes.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn check_line(flag: &str, text: &str) -> Result<(), Failure> {
    if text.trim().is_empty() {
        return Err(Failure::usage(format!("{flag} is empty, and it stays in the record")));
    }
    if text.len() > REASON_BYTES_MAX {
        return Err(Failure::usage(format!("{flag} has at most {REASON_BYTES_MAX} bytes")));
    }
    match text.chars().any(is_disguise) {
        true => Err(Failure::usage(format!("{flag} has a character that people cannot see"))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(text: &str) -> Prepared {
        Prepared { path: "agora.toml".into(), text: text.into() }
    }

    const DRAFT: &str = "reason = \"later\"   # ’tis filled in\nurgency = 'emergency'\nservice = \"agora\"\nfrom = '1.2'\n[fleet]\nmin = 4\n";

    #[test]
    fn only_the_words_that_were_given_are_put_in_and_everything_else_stays() {
        let fill = Fill { service: "agora", reason: "\"1.3\" \\ lost", from: None, is_narrowed: false };
        let text = prepared(DRAFT).fill(&fill).unwrap();
        assert_eq!(text, DRAFT.replace("\"later\"", r#""\"1.3\" \\ lost""#));
        let fill = Fill { from: Some("1.3"), is_narrowed: true, reason: "INC-1", ..fill };
        let text = prepared(DRAFT).fill(&fill).unwrap();
        assert_eq!(
            text,
            DRAFT.replace("later", "INC-1").replace("'1.2'", "\"1.3\"").replace("min = 4", "min = 1")
        );
    }

    #[test]
    fn another_service_an_ordinary_plan_and_words_nobody_can_see_are_refused() {
        let fill = Fill { service: "relay", reason: "INC-1", from: None, is_narrowed: false };
        assert!(prepared(DRAFT).fill(&fill).unwrap_err().to_string().contains("is for `agora`"));
        for reason in ["", " ", "a\u{202e}b", "a\nb"] {
            assert!(prepared(DRAFT).fill(&Fill { service: "agora", reason, ..fill }).is_err(), "{reason:?}");
        }
    }
}
