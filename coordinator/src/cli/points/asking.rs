//! One ask for each of many hosts, and everything they answer: in requests
//! that fit their frames, until all have said all, nobody says anything for
//! too long, or the one who asks has seen enough.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use sternway_core::exit;
use sternway_core::ids::{FleetId, HostName};
use sternway_core::plan::InventoryHost;
use sternway_core::plan::nearest::nearest;
use sternway_core::plan::select::Selection;
use sternway_core::point::{Answer as Said, Ask};
use sternway_core::time::Millis;
use sternway_core::wire::{Answer, POINT_ASKS_MAX, PointAnswer, PointAsk, PointSaid, Request};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::progress::Show;
use crate::cli::Context;
use crate::cli::client::{Answers, AskError, Client};
use crate::cli::failure::Failure;
use crate::cli::screen::REDRAW_EVERY;
use crate::cli::text::{Line, Tone, count, took};
use crate::cli::words::names;

/// Requests that are open at the same time; the coordinator takes four streams.
const REQUESTS_AT_ONCE: usize = 3;
/// Nobody waits longer than this for a host that only has to look.
pub const LOOKS_WITHIN: Millis = Millis::seconds(60);
const NAMES_COLUMNS: usize = 60;

/// Hosts that were meant, and the fleet they are of.
#[derive(Debug)]
pub struct Chosen {
    pub fleet: FleetId,
    pub hosts: Vec<HostName>,
}

/// The hosts of a selection, sorted; all of them when nothing is selected.
pub async fn choose(client: &Client, select: Option<&str>) -> Result<Chosen, Failure> {
    let selection = match select {
        None => Selection::All,
        Some(text) => Selection::parse(text).map_err(|error| Failure::usage(format!("`{text}`: {error}")))?,
    };
    let inventory = client.inventory().await?;
    let meant = inventory.hosts.iter().filter(|host| selection.matches(host));
    let mut hosts: Vec<HostName> = meant.map(|host| host.name.clone()).collect();
    hosts.sort();
    match hosts.is_empty() {
        false => Ok(Chosen { fleet: inventory.fleet, hosts }),
        true => Err(none_chosen(select.unwrap_or("*"), &inventory.hosts)),
    }
}

/// The one host of that name.
pub async fn choose_one(client: &Client, name: &HostName) -> Result<Chosen, Failure> {
    let inventory = client.inventory().await?;
    match inventory.hosts.iter().any(|host| host.name == *name) {
        true => Ok(Chosen { fleet: inventory.fleet, hosts: vec![name.clone()] }),
        false => Err(none_chosen(name.as_str(), &inventory.hosts)),
    }
}

fn none_chosen(text: &str, hosts: &[InventoryHost]) -> Failure {
    let failure = Failure::usage(format!("`{text}` means no host of the fleet"));
    match nearest(text, hosts.iter().map(|host| host.name.as_str())) {
        Some(name) => failure.hinted(format!("did you mean `{name}`?")),
        None => failure.hinted("list hosts: sternway fleet list"),
    }
}

/// How a host's answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Done,
    Refused {
        code: String,
        reason: String,
    },
    /// Not connected, or its connection broke.
    Away,
    /// Nothing came for so long.
    Silent(Millis),
    /// Whoever asked did not wait for it.
    CalledOff,
}

/// What one host said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Without progress, refusals and the end.
    pub answers: Vec<Said>,
    pub end: End,
}

impl Told {
    /// Why it is not done, in words.
    pub fn trouble(&self) -> Option<String> {
        match &self.end {
            End::Done => None,
            End::Refused { reason, .. } => Some(reason.clone()),
            End::Away => Some("the host is away".into()),
            End::Silent(within) => Some(format!("no word within {}", took(*within))),
            End::CalledOff => Some("called off before it was done".into()),
        }
    }

    fn state(&self) -> &'static str {
        match &self.end {
            End::Done => "done",
            End::Refused { .. } => "refused",
            End::Away => "away",
            End::Silent(_) => "silent",
            End::CalledOff => "called-off",
        }
    }
}

/// What all hosts said.
#[derive(Debug, Default)]
pub struct Heard {
    pub told: BTreeMap<HostName, Told>,
    pub interrupted: bool,
}

impl Heard {
    /// Hosts that are not done, folded by reason.
    pub fn troubles(&self) -> BTreeMap<String, Vec<HostName>> {
        let mut troubles: BTreeMap<String, Vec<HostName>> = BTreeMap::new();
        for (host, told) in &self.told {
            if let Some(reason) = told.trouble() {
                troubles.entry(reason).or_default().push(host.clone());
            }
        }
        troubles
    }

    /// Says who is not done, and why; never silenced.
    pub fn complain(&self, context: &Context) {
        for (reason, hosts) in self.troubles() {
            context.output.complain(
                Line::new()
                    .add(Tone::Bad, "✘ ")
                    .plain(count(hosts.len(), "host"))
                    .plain("   ")
                    .add(Tone::Strong, names(&hosts, NAMES_COLUMNS))
                    .plain("   ")
                    .plain(&reason),
            );
        }
        for (host, told) in self.told.iter().filter(|(_, told)| told.end != End::Done) {
            context.output.object(
                "sternway.points-host/1.0",
                serde_json::json!({ "host": host, "state": told.state(), "reason": told.trouble() }),
            );
        }
    }

    /// All are done, some are not, or nobody waited for it.
    pub fn exit_code(&self) -> u8 {
        if self.interrupted {
            exit::INTERRUPTED
        } else if self.told.values().all(|told| told.end == End::Done) {
            exit::DONE
        } else {
            exit::DONE_WITH_EXCEPTIONS
        }
    }

    /// Of a verb that asks one host: what it said, or why it did not.
    pub fn only(mut self) -> Result<Vec<Said>, Failure> {
        let Some((host, told)) = self.told.pop_first() else { return Err(AskError::Unexpected.into()) };
        let Some(reason) = told.trouble() else { return Ok(told.answers) };
        let code = match (&told.end, self.interrupted) {
            (_, true) => exit::INTERRUPTED,
            (End::Refused { .. }, _) => exit::REFUSED,
            _ => exit::UNREACHABLE,
        };
        Err(Failure::Other { message: format!("{host}: {reason}"), exit: code, hint: None, cause: None })
    }
}

/// Puts the same question to all of them.
pub fn each(hosts: &[HostName], ask: &Ask) -> Vec<PointAsk> {
    hosts.iter().map(|host| PointAsk { host: host.clone(), ask: ask.clone() }).collect()
}

/// Asks, and hears everything. Without patience a host may take as long as it likes.
pub async fn ask(
    client: &Client,
    asks: Vec<PointAsk>,
    patience: Option<Millis>,
    show: &mut Show<'_>,
) -> Result<Heard, Failure> {
    let mut hearing = Hearing::new(asks);
    let (say, mut said) = mpsc::channel(64);
    let mut redraw = tokio::time::interval(REDRAW_EVERY);
    let mut news = Instant::now();
    loop {
        while hearing.streams.len() < REQUESTS_AT_ONCE
            && let Some(asks) = hearing.waiting.pop_front()
        {
            let answers = client.ask(&Request::Points(asks)).await?;
            hearing.streams.spawn(pass_on(answers, say.clone()));
        }
        if hearing.streams.is_empty() {
            while let Ok(answer) = said.try_recv() {
                hearing.take(answer, show)?;
            }
            return Ok(hearing.end(End::Away, false));
        }
        let give_up = patience.map(|patience| news + Duration::from_millis(patience.0));
        tokio::select! {
            Some(answer) = said.recv() => {
                news = Instant::now();
                hearing.take(answer, show)?;
            }
            Some(ended) = hearing.streams.join_next() => {
                ended.map_err(|_| Failure::Ask(AskError::Ended))??;
            }
            _ = redraw.tick() => show.draw(),
            () = show.left() => return Ok(hearing.end(End::CalledOff, true)),
            _ = tokio::signal::ctrl_c() => return Ok(hearing.end(End::CalledOff, true)),
            () = until(give_up) => {
                return Ok(hearing.end(End::Silent(patience.unwrap_or_default()), false));
            }
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn pass_on(mut answers: Answers, say: mpsc::Sender<Answer>) -> Result<(), Failure> {
    while let Some(answer) = answers.next().await? {
        if say.send(answer).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// What was asked and is not answered to its end.
struct Hearing {
    waiting: VecDeque<Vec<PointAsk>>,
    streams: JoinSet<Result<(), Failure>>,
    open: BTreeSet<HostName>,
    told: BTreeMap<HostName, Told>,
}

impl Hearing {
    fn new(asks: Vec<PointAsk>) -> Self {
        Self {
            open: asks.iter().map(|ask| ask.host.clone()).collect(),
            waiting: asks.chunks(POINT_ASKS_MAX).map(<[PointAsk]>::to_vec).collect(),
            streams: JoinSet::new(),
            told: BTreeMap::new(),
        }
    }

    fn take(&mut self, answer: Answer, show: &mut Show<'_>) -> Result<(), Failure> {
        let Answer::Point(PointAnswer { host, said }) = answer else {
            return Err(AskError::Unexpected.into());
        };
        if !self.open.contains(&host) {
            return Ok(());
        }
        let empty = || Told { answers: Vec::new(), end: End::Done };
        let told = self.told.entry(host.clone()).or_insert_with(empty);
        match said {
            PointSaid::Away => told.end = End::Away,
            PointSaid::Answer(Said::Progress(progress)) => {
                show.progress(&host, &progress);
                return Ok(());
            }
            PointSaid::Answer(Said::Refused { code, reason }) => {
                told.end = End::Refused { code, reason };
                return Ok(());
            }
            PointSaid::Answer(Said::Done) => {}
            PointSaid::Answer(answer) => {
                told.answers.push(answer);
                return Ok(());
            }
        }
        show.ended(&host, told.trouble());
        self.open.remove(&host);
        Ok(())
    }

    /// Whoever has not said all ends so.
    fn end(mut self, end: End, interrupted: bool) -> Heard {
        for host in std::mem::take(&mut self.open) {
            let told = self.told.entry(host).or_insert(Told { answers: Vec::new(), end: End::Done });
            told.end = end.clone();
        }
        Heard { told: self.told, interrupted }
    }
}
