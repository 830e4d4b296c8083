//! How far the hosts are with long work: one block that is redrawn on a
//! terminal, dated lines on stderr anywhere else.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use sternway_core::exit;
use sternway_core::ids::HostName;
use sternway_core::point::Progress;
use sternway_core::time::Millis;

use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::screen::{Key, Screen};
use crate::cli::text::{Line, Tone, bytes, clock, count, time_of_day};

/// A rate is what was done in the last so many milliseconds.
const RATE_OVER: Millis = Millis::seconds(5);
/// Lines about one host in a pipe are at least this far apart.
const LINES_APART: Duration = Duration::from_secs(10);
const HOST_COLUMNS: usize = 26;
/// Shortest block: the head, a failure and the rest.
const HEIGHT_MIN: usize = 4;

/// Where progress goes.
pub struct Show<'a> {
    context: &'a Context,
    board: Board,
    began: Instant,
    medium: Medium,
}

enum Medium {
    Screen { screen: Box<Screen>, dirty: bool },
    Lines(BTreeMap<HostName, Instant>),
    Nothing,
}

impl<'a> Show<'a> {
    /// For questions that are answered at once.
    pub fn nothing(context: &'a Context) -> Self {
        Self { context, board: Board::new("", 0), began: Instant::now(), medium: Medium::Nothing }
    }

    /// For work of so many hosts: `creating`, `checking` ...
    pub fn of(context: &'a Context, doing: &str, hosts: usize) -> Result<Self, Failure> {
        let output = &context.output;
        let medium = if output.redraws() {
            let screen = Screen::open(output.look(), output.rows()).map_err(|cause| Failure::Other {
                message: "the terminal cannot be drawn on".into(),
                exit: exit::USAGE,
                hint: Some("sternway points ... | cat".into()),
                cause: Some(Box::new(cause)),
            })?;
            Medium::Screen { screen: Box::new(screen), dirty: true }
        } else {
            Medium::Lines(BTreeMap::new())
        };
        Ok(Self { context, board: Board::new(doing, hosts), began: Instant::now(), medium })
    }

    fn at(&self) -> Millis {
        Millis(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn progress(&mut self, host: &HostName, progress: &Progress) {
        let at = self.at();
        self.board.progress(host, progress, at);
        match &mut self.medium {
            Medium::Screen { dirty, .. } => *dirty = true,
            Medium::Lines(told)
                if told.get(host).is_none_or(|last: &Instant| last.elapsed() >= LINES_APART) =>
            {
                told.insert(host.clone(), Instant::now());
                if let Some(words) = self.board.words(host) {
                    self.say(&format!("{host}: {words}"));
                }
            }
            Medium::Lines(_) | Medium::Nothing => {}
        }
    }

    pub(super) fn ended(&mut self, host: &HostName, trouble: Option<String>) {
        self.board.ended(host, trouble.clone());
        match &mut self.medium {
            Medium::Screen { dirty, .. } => *dirty = true,
            Medium::Lines(_) => self.say(&format!("{host}: {}", trouble.as_deref().unwrap_or("done"))),
            Medium::Nothing => {}
        }
    }

    fn say(&self, words: &str) {
        self.context.output.talk(format!("{} {words}", time_of_day(self.context.now())));
    }

    pub(super) fn draw(&mut self) {
        let at = self.at();
        if let Medium::Screen { screen, dirty } = &mut self.medium {
            // The clock in its head goes on by itself.
            let is_due = std::mem::take(dirty) || at.0 % 1000 < 100;
            if is_due {
                let height = screen.height();
                screen.draw(&self.board.lines(at, height));
            }
        }
    }

    /// The last drawing, which stays.
    pub(super) fn finish(&mut self) {
        if let Medium::Screen { dirty, .. } = &mut self.medium {
            *dirty = true;
        }
        self.draw();
    }

    /// Returns when whoever looks on has pressed a key that leaves.
    pub(super) async fn left(&mut self) {
        let Medium::Screen { screen, .. } = &mut self.medium else { return std::future::pending().await };
        while !matches!(screen.key().await, Key::Leave | Key::Interrupt) {}
    }
}

impl std::fmt::Debug for Show<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Show").field("board", &self.board).finish_non_exhaustive()
    }
}

/// What is known of the work; times are since it began.
#[derive(Debug)]
pub struct Board {
    doing: String,
    hosts: usize,
    at_work: BTreeMap<HostName, Work>,
    done: usize,
    failed: Vec<(HostName, String)>,
}

#[derive(Debug)]
struct Work {
    newest: Progress,
    /// When so much was done, of this stage.
    samples: VecDeque<(Millis, u64)>,
}

impl Board {
    pub fn new(doing: &str, hosts: usize) -> Self {
        Self { doing: doing.into(), hosts, at_work: BTreeMap::new(), done: 0, failed: Vec::new() }
    }

    pub fn progress(&mut self, host: &HostName, progress: &Progress, at: Millis) {
        let work = self.at_work.entry(host.clone()).or_insert_with(|| Work::of(progress));
        if work.newest.stage != progress.stage || work.newest.done > progress.done {
            *work = Work::of(progress);
        }
        work.newest = progress.clone();
        work.samples.push_back((at, progress.done));
        // The oldest that is kept lies outside of the window, or there would be no rate at first.
        while work.samples.get(1).is_some_and(|(when, _)| when.0 + RATE_OVER.0 < at.0) {
            work.samples.pop_front();
        }
    }

    pub fn ended(&mut self, host: &HostName, trouble: Option<String>) {
        self.at_work.remove(host);
        match trouble {
            None => self.done += 1,
            Some(trouble) => self.failed.push((host.clone(), trouble)),
        }
    }

    fn words(&self, host: &HostName) -> Option<String> {
        self.at_work.get(host).map(|work| work.parts().join(", "))
    }

    /// At most `height` lines: failures first, then who is at work.
    pub fn lines(&self, at: Millis, height: usize) -> Vec<Line> {
        let mut head = Line::new().add(Tone::Strong, &self.doing).plain(format!(
            "   {} of {} done",
            self.done,
            count(self.hosts, "host")
        ));
        if !self.failed.is_empty() {
            head = head.plain(", ").add(Tone::Bad, format!("{} failed", self.failed.len()));
        }
        let rate: u64 = self.at_work.values().filter(|work| work.is_bytes()).filter_map(Work::rate).sum();
        if rate > 0 {
            head = head.plain(format!("   {}/s", bytes(rate)));
        }
        let mut lines = vec![head.plain(format!("   {}", clock(at)))];
        let failed = self.failed.iter().map(|(host, trouble)| {
            Line::new().add(Tone::Bad, "  ✘ ").plain(host.as_str()).pad_to(HOST_COLUMNS).plain(trouble)
        });
        let at_work = self.at_work.iter().map(|(host, work)| {
            let words = work.parts().join("   ");
            Line::new().plain("  ● ").plain(host.as_str()).pad_to(HOST_COLUMNS).plain(words)
        });
        let room = height.max(HEIGHT_MIN) - 2;
        let all = self.failed.len() + self.at_work.len();
        lines.extend(failed.chain(at_work).take(room));
        let waiting = self.hosts.saturating_sub(self.done + all);
        let rest: Vec<String> = [(all.saturating_sub(room), "more"), (waiting, "waiting")]
            .iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, word)| format!("{number} {word}"))
            .collect();
        if !rest.is_empty() {
            lines.push(Line::new().plain("  ").add(Tone::Dim, rest.join(", ")));
        }
        lines
    }
}

impl Work {
    fn of(progress: &Progress) -> Self {
        Self { newest: progress.clone(), samples: VecDeque::new() }
    }

    fn is_bytes(&self) -> bool {
        self.newest.unit == "bytes"
    }

    /// A second, over the last few.
    fn rate(&self) -> Option<u64> {
        let ((from, before), (to, after)) = (self.samples.front()?, self.samples.back()?);
        let ms = to.0.checked_sub(from.0).filter(|ms| *ms > 0)?;
        u64::try_from(u128::from(after.checked_sub(*before)?) * 1000 / u128::from(ms)).ok()
    }

    /// Stage, how much, how fast, how much longer.
    fn parts(&self) -> Vec<String> {
        let Progress { stage, done, total, unit } = &self.newest;
        let amount = |number: u64| match self.is_bytes() {
            true => bytes(number),
            false => format!("{number} {unit}"),
        };
        let mut parts = vec![stage.clone()];
        parts.push(match total {
            Some(total) if self.is_bytes() => format!("{} of {}", bytes(*done), bytes(*total)),
            Some(total) => format!("{done} of {total} {unit}"),
            None => amount(*done),
        });
        let Some(rate) = self.rate().filter(|rate| *rate > 0) else { return parts };
        parts.push(format!("{}/s", amount(rate)));
        if let Some(left) = total.and_then(|total| total.checked_sub(*done)) {
            parts.push(format!("{} left", clock(Millis::seconds(left.div_ceil(rate)))));
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::text::Look;

    fn host(number: usize) -> HostName {
        format!("web-{number:02}").parse().unwrap()
    }

    fn read(done: u64) -> Progress {
        Progress { stage: "reading".into(), done, total: Some(4 << 30), unit: "bytes".into() }
    }

    fn painted(board: &Board, at: Millis, height: usize) -> Vec<String> {
        board.lines(at, height).iter().map(|line| line.paint(Look::PLAIN)).collect()
    }

    #[test]
    fn bytes_rate_and_remaining_time_are_shown_for_each_host() {
        let mut board = Board::new("creating", 4);
        for second in 0..=10 {
            board.progress(&host(1), &read(second * (100 << 20)), Millis::seconds(second));
        }
        board.progress(&host(2), &Progress { total: None, ..read(5) }, Millis::seconds(10));
        board.ended(&host(3), Some("no service `shop` is described here".into()));
        assert_eq!(
            painted(&board, Millis::seconds(10), 24),
            [
                "creating   0 of 4 hosts done, 1 failed   100.0 MiB/s   00:10",
                "  ✘ web-03                no service `shop` is described here",
                "  ● web-01                reading   1000.0 MiB of 4.0 GiB   100.0 MiB/s   00:31 left",
                "  ● web-02                reading   5 B",
                "  1 waiting",
            ]
        );
        board.ended(&host(1), None);
        board.ended(&host(2), None);
        assert_eq!(
            painted(&board, Millis::seconds(70), 24)[0],
            "creating   2 of 4 hosts done, 1 failed   01:10"
        );
    }

    #[test]
    fn a_new_stage_has_a_rate_of_its_own() {
        let mut board = Board::new("creating", 1);
        board.progress(&host(1), &read(4 << 30), Millis::seconds(100));
        let packing = Progress { stage: "packing".into(), done: 0, total: Some(9), unit: "packs".into() };
        board.progress(&host(1), &packing, Millis::seconds(101));
        board.progress(&host(1), &Progress { done: 3, ..packing }, Millis::seconds(102));
        assert_eq!(board.words(&host(1)).unwrap(), "packing, 3 of 9 packs, 3 packs/s, 00:02 left");
    }

    #[test]
    fn a_thousand_hosts_fill_one_screen_and_the_rest_is_counted() {
        let mut board = Board::new("checking", 1000);
        (0..400).for_each(|number| board.progress(&host(number), &read(1), Millis::ZERO));
        (400..402).for_each(|number| board.ended(&host(number), Some("disk full".into())));
        for height in [1, 4, 10, 24] {
            assert!(painted(&board, Millis::ZERO, height).len() <= height.max(HEIGHT_MIN));
        }
        let lines = painted(&board, Millis::ZERO, 6);
        assert!(lines[1].starts_with("  ✘ web-400"), "failures stay longest: {lines:?}");
        assert_eq!(lines.last().unwrap(), "  398 more, 598 waiting");
    }
}
