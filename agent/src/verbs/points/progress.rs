//! How far a long piece of work is, in one line that is drawn again.

use std::time::{Duration, Instant};

use sternway_core::point::Progress;

use super::show::bytes_in_words;
use crate::output;

const DRAW_EVERY: Duration = Duration::from_millis(150);
/// Sooner nobody can tell how long it will take.
const GUESS_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Meter {
    stage: Option<Stage>,
    is_drawn: bool,
}

#[derive(Debug)]
struct Stage {
    name: String,
    began: Instant,
    /// Done when it was first heard of.
    from: u64,
    drawn: Instant,
}

impl Meter {
    pub(super) fn hear(&mut self, progress: &Progress) {
        let now = Instant::now();
        let is_new = self.stage.as_ref().is_none_or(|stage| stage.name != progress.stage);
        if is_new {
            self.stage =
                Some(Stage { name: progress.stage.clone(), began: now, from: progress.done, drawn: now });
        }
        let Some(stage) = &mut self.stage else { return };
        if !is_new && now.duration_since(stage.drawn) < DRAW_EVERY {
            return;
        }
        stage.drawn = now;
        let line = in_a_line(progress, progress.done.saturating_sub(stage.from), now - stage.began);
        output::redraw(&line);
        self.is_drawn = true;
    }

    /// Before anything else is shown.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.is_drawn) {
            output::redraw("");
        }
    }
}

fn in_a_line(progress: &Progress, since: u64, took: Duration) -> String {
    let is_bytes = progress.unit == "bytes";
    let amount = |amount: u64| match is_bytes {
        true => bytes_in_words(amount),
        false => format!("{amount} {}", progress.unit),
    };
    let mut line = format!("{:<12}{}", progress.stage, amount(progress.done));
    if let Some(total) = progress.total {
        line = format!("{line} of {}", amount(total));
    }
    let seconds = took.as_secs_f64();
    if took < GUESS_AFTER || since == 0 {
        return line;
    }
    let rate = since as f64 / seconds;
    line = format!("{line}, {}/s", amount(rate as u64));
    if let Some(left) = progress.total.and_then(|total| total.checked_sub(progress.done)) {
        let left = Duration::from_secs_f64((left as f64 / rate).min(1e9));
        line = format!("{line}, {} left", length_in_words(left));
    }
    line
}

fn length_in_words(length: Duration) -> String {
    match length.as_secs() {
        seconds @ 0..60 => format!("{} s", seconds.max(1)),
        seconds @ 60..3600 => format!("{} m {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} m", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long_it_still_takes() {
        let progress = |done, total| Progress { stage: "reading".into(), done, total, unit: "bytes".into() };
        let mib = 1 << 20;
        let line = in_a_line(&progress(300 * mib, Some(1024 * mib)), 300 * mib, Duration::from_secs(3));
        assert_eq!(line, "reading     300.0 MiB of 1.0 GiB, 100.0 MiB/s, 7 s left");
        let line = in_a_line(&progress(mib, None), mib, Duration::from_millis(10));
        assert_eq!(line, "reading     1.0 MiB");
        let files = Progress { stage: "looking".into(), done: 20, total: Some(200), unit: "files".into() };
        assert_eq!(
            in_a_line(&files, 20, Duration::from_secs(10)),
            "looking     20 files of 200 files, 2 files/s, 1 m 30 s left"
        );
        assert_eq!(length_in_words(Duration::from_secs(7260)), "2 h 1 m");
    }
}
