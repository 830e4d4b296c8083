//! Data to stdout, the rest to stderr; the only place that prints.

use std::process::ExitCode;

/// What ends a verb badly.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) cause: Box<dyn std::error::Error + Send + Sync>,
    pub(crate) exit: u8,
}

#[expect(clippy::print_stdout, reason = "this module is where data leaves")]
pub(crate) fn line(text: &str) {
    println!("{}", harmless(text));
}

/// What a file or a plugin said cannot move the cursor or turn text around.
fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| if sternway_core::ids::is_disguise(c) && c != '\n' { '\u{fffd}' } else { c })
        .collect()
}

#[expect(clippy::print_stderr, reason = "this module is where errors leave")]
pub(crate) fn fail(failure: &Failure) -> ExitCode {
    eprintln!("error: {}", harmless(&failure.cause.to_string()));
    let mut cause = failure.cause.source();
    while let Some(next) = cause {
        eprintln!("  because: {}", harmless(&next.to_string()));
        cause = next.source();
    }
    ExitCode::from(failure.exit)
}

/// Talk: what a person reads beside the data.
#[expect(clippy::print_stderr, reason = "this module is where talk leaves")]
pub(crate) fn talk(text: &str) {
    eprintln!("{}", harmless(text));
}

/// A line of talk that takes the place of the one before; empty takes it away.
#[expect(clippy::print_stderr, reason = "this module is where talk leaves")]
pub(crate) fn redraw(text: &str) {
    eprint!("\r\u{1b}[K{}", harmless(text));
}

/// An error with all its causes, in one line.
pub(crate) fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
