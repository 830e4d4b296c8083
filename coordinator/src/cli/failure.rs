//! Every way in which a verb can fail, its exit code and what to do about it.
//! The chain of causes is told once, here, and nowhere else.

use std::error::Error;
use std::path::PathBuf;

use sternway_core::exit;
use sternway_core::wire::OperatorError;

use super::client::{AskError, ConnectError};
use super::identity::IdentityError;
use super::output::Output;
use super::sign::{KeyError, SignVerbError};
use super::text::{Line, Tone};

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The question was put wrongly, or an answer is needed and nobody is there to give it.
    #[error("{message}")]
    Usage { message: String, hint: Option<String> },
    #[error("could not reach the coordinator")]
    Connect(#[from] ConnectError),
    #[error("the coordinator did not answer")]
    Ask(#[from] AskError),
    /// The coordinator's own words.
    #[error("{}", .0.message)]
    Coordinator(OperatorError),
    #[error("cannot show who asks")]
    Identity(#[from] IdentityError),
    #[error("cannot sign")]
    Key(#[from] KeyError),
    #[error("this plan cannot be used")]
    Sign(#[from] SignVerbError),
    /// The problems were shown one by one before.
    #[error("{what}")]
    Problems { what: String },
    /// Signature, trust, expiry or digest.
    #[error("{message}")]
    Refused {
        message: String,
        #[source]
        cause: Option<Box<dyn Error + Send + Sync>>,
    },
    #[error("could not {doing} `{}`", path.display())]
    File {
        doing: &'static str,
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    /// Another part of this program says what went wrong and which number it is.
    #[error("{message}")]
    Other {
        message: String,
        exit: u8,
        hint: Option<String>,
        #[source]
        cause: Option<Box<dyn Error + Send + Sync>>,
    },
}

impl Failure {
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: None }
    }

    /// The same with advice, where there is none yet.
    #[must_use]
    pub fn hinted(self, advice: impl Into<String>) -> Self {
        match self {
            Self::Usage { message, .. } => Self::Usage { message, hint: Some(advice.into()) },
            other => other,
        }
    }

    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. } => exit::USAGE,
            Self::Connect(error) => error.exit_code(),
            Self::Ask(error) => error.exit_code(),
            Self::Coordinator(error) => error.exit,
            Self::Identity(_) | Self::Problems { .. } => exit::INVALID,
            Self::Key(error) => error.exit_code(),
            Self::Sign(error) => error.exit_code(),
            Self::Refused { .. } => exit::REFUSED,
            Self::File { .. } => exit::USAGE,
            Self::Other { exit, .. } => *exit,
        }
    }

    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Usage { hint, .. } | Self::Other { hint, .. } => hint.clone(),
            Self::Connect(error) => Some(error.hint()),
            Self::Ask(error) => error.hint(),
            Self::Coordinator(error) => error.hint.clone(),
            Self::Identity(error) => error.hint(),
            Self::Key(error) => error.hint(),
            Self::Sign(error) => error.hint(),
            Self::Refused { .. } => None,
            Self::File { .. } | Self::Problems { .. } => None,
        }
    }

    /// `error:` and the message, each cause on its own line, then what to do.
    pub fn lines(&self) -> Vec<Line> {
        let first = self.to_string();
        let mut lines = vec![Line::new().add(Tone::Bad, "error:").plain(" ").plain(&first)];
        let mut told = first;
        let mut cause = self.source();
        while let Some(error) = cause {
            let words = error.to_string();
            // A layer that only passes its cause on has nothing to add.
            if words != told {
                lines.push(Line::new().plain("  ").plain(&words));
            }
            told = words;
            cause = error.source();
        }
        if let Some(hint) = self.hint() {
            lines.push(Line::new());
            lines.push(Line::new().add(Tone::Strong, "hint:").plain(" ").plain(hint));
        }
        lines
    }

    pub fn tell(&self, output: &Output) {
        self.lines().into_iter().for_each(|line| output.complain(line));
        if output.is_json() {
            let hint = self.hint();
            output.object(
                "sternway.error/1.0",
                serde_json::json!({ "exit": self.exit_code(), "error": self.to_string(), "hint": hint }),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::text::Look;

    #[test]
    fn the_chain_is_told_once_with_causes_indented_and_the_hint_last() {
        let failure = Failure::File {
            doing: "read",
            path: "plan.sealed".into(),
            cause: std::io::Error::new(std::io::ErrorKind::NotFound, "no such file"),
        };
        let text: Vec<String> = failure.lines().iter().map(|line| line.paint(Look::PLAIN)).collect();
        assert_eq!(text, ["error: could not read `plan.sealed`", "  no such file"]);

        let failure = Failure::usage("which wave?").hinted("add --wave 2");
        let text: Vec<String> = failure.lines().iter().map(|line| line.paint(Look::PLAIN)).collect();
        assert_eq!(text, ["error: which wave?", "", "hint: add --wave 2"]);
    }

    #[test]
    fn the_coordinators_refusal_keeps_its_number_and_cannot_paint_the_screen() {
        let failure = Failure::Coordinator(OperatorError {
            exit: exit::BUSY,
            message: "demo-01 is in r-3\u{1b}[2J".into(),
            hint: Some("sternway watch r-3".into()),
        });
        assert_eq!(failure.exit_code(), exit::BUSY);
        let text: Vec<String> = failure.lines().iter().map(|line| line.paint(Look::PLAIN)).collect();
        assert_eq!(text, ["error: demo-01 is in r-3\\u{1b}[2J", "", "hint: sternway watch r-3"]);
    }
}
