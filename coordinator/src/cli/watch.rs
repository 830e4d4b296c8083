//! Looking on while a rollout goes: it never needs the one who looks, and a
//! watch that was cut goes on where it was.

use std::time::{Duration, Instant};

use clap::Args;
use sternway_core::exit;
use sternway_core::ids::RolloutId;
use sternway_core::rollout::{End, State};
use sternway_core::time::Millis;
use sternway_core::wire::{Answer, LogLine, Request, RolloutView};

use super::Context;
use super::client::{Answers, AskError, Client};
use super::failure::Failure;
use super::screen::{Key, REDRAW_EVERY, Screen, help_line};
use super::story::Story;
use super::text::Line;
use super::{ending, record, tree, words};

/// How long a lost coordinator is looked for before the watch gives up.
const RECONNECT_WITHIN: Duration = Duration::from_secs(120);
const RECONNECT_EVERY: Duration = Duration::from_secs(1);
/// Nothing new for so long after a halt: nobody has anything to add.
const QUIET: Duration = Duration::from_secs(1);
const BY_KEY: &str = "by a key, while watching";

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway watch                     the newest rollout, redrawn in place
  sternway watch r-17 | cat          one dated line per transition
  sternway watch r-17 --json --from 1149
  sternway watch r-17 --until-held --timeout 30m")]
pub struct WatchArgs {
    /// The rollout, or any beginning of its id that means one only [default: the newest]
    rollout: Option<String>,
    /// Go on after this line of its record
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    /// Leave after this long, with exit code 124
    #[arg(long, value_name = "TIME")]
    timeout: Option<Millis>,
    /// Leave when it waits for a person, with exit code 11
    #[arg(long)]
    until_held: bool,
}

/// What the one who looks waits for.
#[derive(Debug, Clone, Default)]
pub struct Follow {
    pub from: Option<u64>,
    pub timeout: Option<Millis>,
    pub until_held: bool,
    /// Everything put back is what was asked for.
    pub undoing: bool,
}

pub async fn watch(context: &Context, args: WatchArgs) -> Result<u8, Failure> {
    let client = context.connect().await?;
    let rollout = client.resolve(args.rollout.as_deref()).await?;
    let follow =
        Follow { from: args.from, timeout: args.timeout, until_held: args.until_held, undoing: false };
    self::follow(context, client, &rollout, follow).await
}

/// Why the watching ends before the rollout does.
enum Left {
    Finished,
    Interrupted,
    TimedOut,
}

/// Shows a rollout until it needs no more looking at; its exit code.
pub async fn follow(
    context: &Context,
    client: Client,
    rollout: &RolloutId,
    follow: Follow,
) -> Result<u8, Failure> {
    let deadline = follow.timeout.map(|timeout| Instant::now() + Duration::from_millis(timeout.0));
    let mut watcher = Watcher::new(context, rollout.clone(), follow)?;
    let left = watcher.run(client, deadline).await?;
    let Watcher { show, view, follow, .. } = watcher;
    // Gives the terminal back before anything else is written.
    let records = matches!(show, Show::Records { .. });
    drop(show);
    let Some(view) = view else { return Err(AskError::Ended.into()) };
    let (code, word) = match left {
        Left::Finished => (ended_as(&view, &follow), None),
        Left::TimedOut => (exit::TIMED_OUT, Some("the time to wait is over")),
        Left::Interrupted => (exit::INTERRUPTED, Some("left")),
    };
    let output = &context.output;
    if records {
        output.record(&record::closing(&view, code));
    }
    match word {
        None => output.lines(ending::block(&view)),
        Some(word) => output.talk(format!(
            "{word}: {rollout} goes on without us; sternway watch {rollout} --from {}, sternway halt {rollout}",
            view.sequence
        )),
    }
    Ok(code)
}

/// The exit code of a rollout that was watched to here.
fn ended_as(view: &RolloutView, follow: &Follow) -> u8 {
    match (view.status.exit_code(), &view.status.state) {
        (exit::HALTED, State::Ended(End::UndoneAll)) if follow.undoing => exit::DONE,
        (exit::HALTED, State::Ended(End::UndoneWithExceptions)) if follow.undoing => {
            exit::DONE_WITH_EXCEPTIONS
        }
        (code, _) => code,
    }
}

/// Whether looking on is of no more use: it has ended, or only hands move it now.
fn is_over(view: &RolloutView, follow: &Follow) -> bool {
    let status = &view.status;
    match status.state {
        State::Ended(_) => true,
        // What is still under way is waited for; what is stuck or silent is not.
        State::Halted => status.in_flight.iter().all(|name| {
            let host = status.hosts.iter().find(|host| host.host == *name);
            status.stuck.contains(name) || host.is_some_and(|host| host.silent)
        }),
        State::Held | State::AwaitsApproval { .. } => follow.until_held,
        State::Ready | State::Running { .. } | State::Undoing => false,
    }
}

enum Show {
    Screen { screen: Box<Screen>, message: Option<String>, dirty: bool },
    Pipe(Story),
    Records { opened: bool },
}

struct Watcher<'a> {
    context: &'a Context,
    rollout: RolloutId,
    follow: Follow,
    show: Show,
    view: Option<RolloutView>,
    /// When the view came: the coordinator's clock goes on from there.
    heard: Instant,
    /// Lines up to here were seen.
    from: Option<u64>,
    /// Lines that wait for the view that goes with them.
    burst: Vec<LogLine>,
}

impl<'a> Watcher<'a> {
    fn new(context: &'a Context, rollout: RolloutId, follow: Follow) -> Result<Self, Failure> {
        let output = &context.output;
        let show = if output.redraws() {
            let screen = Screen::open(output.look(), output.rows()).map_err(|cause| Failure::Other {
                message: "the terminal cannot be drawn on".into(),
                exit: exit::USAGE,
                hint: Some("sternway watch ... | cat".into()),
                cause: Some(Box::new(cause)),
            })?;
            Show::Screen { screen: Box::new(screen), message: None, dirty: false }
        } else if output.is_json() {
            Show::Records { opened: false }
        } else {
            Show::Pipe(Story::default())
        };
        let from = follow.from;
        Ok(Self {
            context,
            rollout,
            follow,
            show,
            view: None,
            heard: Instant::now(),
            from,
            burst: Vec::new(),
        })
    }

    async fn run(&mut self, mut client: Client, deadline: Option<Instant>) -> Result<Left, Failure> {
        loop {
            let failure = match self.look_on(&client, deadline).await {
                Ok(left) => {
                    client.close().await;
                    return Ok(left);
                }
                Err(Failure::Ask(error)) if error.is_passing() => error,
                Err(other) => return Err(other),
            };
            self.say(&format!("the coordinator is gone ({failure}); looking for it, the hosts go on"));
            match self.reconnect(deadline, failure).await? {
                Some(found) => client = found,
                None => return Ok(Left::TimedOut),
            }
            self.say("the coordinator is there again");
        }
    }

    async fn reconnect(
        &self,
        deadline: Option<Instant>,
        failure: AskError,
    ) -> Result<Option<Client>, Failure> {
        let give_up = Instant::now() + RECONNECT_WITHIN;
        while Instant::now() < give_up {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
            tokio::select! {
                _ = tokio::signal::ctrl_c() => return Ok(None),
                () = tokio::time::sleep(RECONNECT_EVERY) => {}
            }
            if let Ok(client) = self.context.connect().await {
                return Ok(Some(client));
            }
        }
        Err(failure.into())
    }

    /// One connection's worth of looking on.
    async fn look_on(&mut self, client: &Client, deadline: Option<Instant>) -> Result<Left, Failure> {
        let from = match (&self.show, self.from) {
            (_, Some(from)) => from,
            // A screen shows where it stands; what was before is in the log.
            (Show::Screen { .. }, None) => client.status(&self.rollout).await?.sequence,
            (_, None) => 0,
        };
        let mut answers = client.ask(&Request::Watch { rollout: self.rollout.clone(), from }).await?;
        let mut redraw = tokio::time::interval(REDRAW_EVERY);
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            let wait = deadline.map_or(Duration::from_secs(3600), |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            tokio::select! {
                answer = next_of(&mut answers) => {
                    let Some(answer) = answer? else { return Ok(self.stream_ended()?) };
                    self.take(answer, from)?;
                    if self.is_finished(from, false) {
                        self.draw(true);
                        return Ok(Left::Finished);
                    }
                }
                key = next_key(&mut self.show) => {
                    if let Some(left) = self.pressed(key, client).await {
                        self.draw(true);
                        return Ok(left);
                    }
                }
                _ = redraw.tick() => self.draw(false),
                _ = second.tick() => {
                    self.mark_dirty();
                    if self.is_finished(from, self.heard.elapsed() >= QUIET) {
                        self.draw(true);
                        return Ok(Left::Finished);
                    }
                }
                _ = tokio::signal::ctrl_c() => return Ok(Left::Interrupted),
                () = tokio::time::sleep(wait) => {
                    if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        return Ok(Left::TimedOut);
                    }
                }
            }
        }
    }

    /// Whether all that is recorded was told, and there is nothing more to wait for.
    fn is_finished(&self, from: u64, is_quiet: bool) -> bool {
        let Some(view) = &self.view else { return false };
        let told = self.from.unwrap_or(from) >= view.sequence && self.burst.is_empty();
        match view.status.state {
            // The coordinator ends the stream by itself, with the last line.
            State::Ended(_) => false,
            // Hosts that were told to stop still answer.
            State::Halted => told && is_quiet && is_over(view, &self.follow),
            _ => told && is_over(view, &self.follow),
        }
    }

    /// The coordinator ends a stream only when the rollout has ended.
    fn stream_ended(&mut self) -> Result<Left, AskError> {
        self.flush();
        self.draw(true);
        match &self.view {
            Some(view) if view.status.is_ended() => Ok(Left::Finished),
            _ => Err(AskError::Ended),
        }
    }

    fn take(&mut self, answer: Answer, from: u64) -> Result<(), Failure> {
        match answer {
            Answer::Status(view) => {
                self.view = Some(*view);
                self.heard = Instant::now();
                self.open_records(from);
                self.flush();
                self.mark_dirty();
            }
            Answer::Line(line) => {
                self.from = Some(self.from.map_or(line.sequence, |from| from.max(line.sequence)));
                self.burst.push(line);
            }
            _ => return Err(AskError::Unexpected.into()),
        }
        Ok(())
    }

    fn open_records(&mut self, from: u64) {
        if let (Show::Records { opened }, Some(view)) = (&mut self.show, &self.view)
            && !*opened
        {
            *opened = true;
            self.context.output.record(&record::opening(view, from));
        }
    }

    /// Tells the lines that came before this view.
    fn flush(&mut self) {
        let Some(view) = &self.view else { return };
        let output = &self.context.output;
        for line in self.burst.drain(..) {
            match &mut self.show {
                Show::Screen { .. } => {}
                Show::Pipe(story) => story.take(&line, view),
                Show::Records { .. } => output.record(&record::event(&line, view)),
            }
        }
        if let Show::Pipe(story) = &mut self.show {
            output.lines(story.lines(view));
        }
    }

    fn mark_dirty(&mut self) {
        if let Show::Screen { dirty, .. } = &mut self.show {
            *dirty = true;
        }
    }

    fn draw(&mut self, at_last: bool) {
        let (Show::Screen { screen, message, dirty }, Some(view)) = (&mut self.show, &self.view) else {
            return;
        };
        if !*dirty && !at_last {
            return;
        }
        *dirty = false;
        let mut now = view.clone();
        now.now = view.now + Millis(u64::try_from(self.heard.elapsed().as_millis()).unwrap_or(u64::MAX));
        let mut lines: Vec<Line> = tree::render(&now, screen.height().saturating_sub(1));
        if !at_last {
            lines.push(help_line(message.as_deref()));
        }
        screen.draw(&lines);
    }

    fn say(&mut self, words: &str) {
        match &mut self.show {
            Show::Screen { message, dirty, .. } => {
                *message = Some(words.to_owned());
                *dirty = true;
                self.draw(false);
            }
            _ => self.context.output.talk(words),
        }
    }

    /// Anyone may pull the brake with one key; what lets go needs a signature and a verb of its own.
    async fn pressed(&mut self, key: Key, client: &Client) -> Option<Left> {
        let rollout = self.rollout.clone();
        let request = match key {
            Key::Leave | Key::Interrupt => return Some(Left::Interrupted),
            Key::Approve => {
                self.say(&format!("in another terminal: sternway approve {rollout}"));
                return None;
            }
            Key::Hold => Request::Hold { rollout, reason: BY_KEY.into() },
            Key::Halt => Request::Halt { rollout, reason: BY_KEY.into() },
        };
        let words = match client.ask_one(&request).await {
            Ok(Answer::Taken { decisions, notes, .. }) => {
                match (&self.view, decisions.first(), notes.first()) {
                    (Some(view), Some(decision), _) => words::decision_words(decision, view),
                    (_, _, Some(note)) => words::note_words(note),
                    _ => "nothing changed".into(),
                }
            }
            Ok(_) => AskError::Unexpected.to_string(),
            Err(failure) => failure.to_string(),
        };
        self.say(&words);
        None
    }
}

async fn next_of(answers: &mut Answers) -> Result<Option<Answer>, Failure> {
    answers.next().await
}

async fn next_key(show: &mut Show) -> Key {
    match show {
        Show::Screen { screen, .. } => screen.key().await,
        _ => std::future::pending().await,
    }
}
