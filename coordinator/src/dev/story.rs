//! The lines of the demonstration, each with its second.

use std::time::Instant;

use crate::cli::text::escape;

#[derive(Debug)]
pub(super) struct Story {
    began: Instant,
}

impl Story {
    pub(super) fn begin() -> Self {
        Self { began: Instant::now() }
    }

    /// `00.6  points     12 made and checked`
    pub(super) fn tell(&self, word: &str, text: &str) {
        let seconds = self.began.elapsed().as_secs_f64();
        self.line(&format!("{seconds:04.1}  {word:<10} {}", escape(text)));
    }

    #[expect(clippy::print_stdout, reason = "the story is what `dev` is asked for")]
    pub(super) fn line(&self, text: &str) {
        println!("{text}");
    }
}
