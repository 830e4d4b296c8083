//! What only keys may do to a rollout that is under way: let a wave open, or
//! put finished hosts back. Hosts check the signature themselves.

use clap::Args;
use serde_json::json;
use sternway_core::exit;
use sternway_core::ids::{HostName, Nonce};
use sternway_core::rollout::{HostState, WaveState};
use sternway_core::time::Millis;
use sternway_core::trust::{Order, Sealed, Verb};
use sternway_core::wire::{Answer, Request, RolloutView};

use super::Context;
use super::brake::NO_REASON;
use super::client::Client;
use super::failure::Failure;
use super::lookup::taken_words;
use super::prompt::confirm;
use super::sign::{KeyError, PersonKey, SignVerbError, load_key};
use super::text::{Line, Tone, clock, count};
use super::watch::{Follow, follow};
use super::words;

/// How long an order counts: long enough for a slow link and clocks that differ.
const ORDER_VALID: Millis = Millis::minutes(15);
const WORD_COLUMNS: usize = 10;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway approve r-17               shows the figures, asks for the wave's number
  sternway approve r-17 --wave 3 --confirm 3")]
pub struct ApproveArgs {
    /// The rollout, or any beginning of its id that means one only
    rollout: String,
    /// The wave to let open [default: the one that waits]
    #[arg(long, value_name = "N")]
    wave: Option<u32>,
    /// The wave's number, instead of typing it
    #[arg(long, value_name = "N")]
    confirm: Option<String>,
    /// Why; kept in the record
    #[arg(long, default_value = NO_REASON)]
    reason: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway undo r-17                                    asks for the number of hosts to put back
  sternway undo r-17 --reason 'INC-4128' --confirm 37 --detach")]
pub struct UndoArgs {
    /// The rollout, or any beginning of its id that means one only
    rollout: String,
    /// The number of finished hosts to put back, instead of typing it
    #[arg(long, value_name = "N")]
    confirm: Option<String>,
    /// Why; kept in the record and told to every host
    #[arg(long, default_value = NO_REASON)]
    reason: String,
    /// Do not watch
    #[arg(long)]
    detach: bool,
    /// Stop watching after this long, with exit code 124
    #[arg(long, value_name = "TIME", conflicts_with = "detach")]
    timeout: Option<Millis>,
}

pub async fn approve(context: &Context, args: ApproveArgs) -> Result<u8, Failure> {
    let client = context.connect().await?;
    let view = client.look_at(Some(&args.rollout)).await?;
    let index = wave_to_approve(&view, args.wave)?;
    let key = load_key(context)?;
    let output = &context.output;
    for line in figures(&view, index) {
        output.talk(line);
    }
    let number = (index + 1).to_string();
    let question = format!("Approve as {}? Type the wave's number:", key.who());
    confirm(context, &question, &number, args.confirm.as_deref())?;
    let wave = u32::try_from(index + 1).unwrap_or(u32::MAX);
    let answer = give(context, &client, &view, &key, Verb::Approve { wave }, &args.reason).await?;
    client.close().await;
    told(context, &answer, "approved", &key)
}

fn wave_to_approve(view: &RolloutView, wanted: Option<u32>) -> Result<usize, Failure> {
    let waiting = view.status.waves.iter().position(|wave| wave.state == WaveState::AwaitsApproval);
    match (waiting, wanted) {
        (Some(index), None) => Ok(index),
        (Some(index), Some(wave)) if index + 1 == wave as usize => Ok(index),
        (Some(index), Some(wave)) => {
            Err(Failure::usage(format!("wave {wave} does not wait, wave {} does", index + 1)))
        }
        (None, _) => Err(Failure::usage(format!("no wave of {} waits for approval", view.rollout))
            .hinted(format!("sternway status {}", view.rollout))),
    }
}

/// What a person should have seen before saying go.
fn figures(view: &RolloutView, index: usize) -> Vec<Line> {
    let waves = &view.status.waves;
    let hosts = waves[index].hosts.len();
    let after: usize = waves[..=index].iter().map(|wave| wave.hosts.len()).sum();
    let mut lines = vec![Line::new().add(
        Tone::Strong,
        format!(
            "{} of {}: {} more, {after} of {} then",
            words::wave_name(view, index),
            view.plan_name,
            count(hosts, "host"),
            words::totals(view).hosts
        ),
    )];
    for (at, wave) in waves[..index].iter().enumerate() {
        let tally = wave.tally;
        let verdict =
            wave.judged.as_ref().map_or("not judged", |judged| words::verdict_word(&judged.verdict));
        let took = match (&wave.judged, wave.opened) {
            (Some(judged), Some(opened)) => format!(" in {}", clock(judged.mark.at.since(opened))),
            _ => String::new(),
        };
        lines.push(Line::new().plain("  ").plain(format!(
            "{}: {} of {} finished{took}, failed {} of {} allowed, silent {} of {}, gate {}: {verdict}",
            words::wave_name(view, at),
            tally.finished,
            wave.hosts.len(),
            tally.failed,
            wave.gate.failed,
            tally.silent,
            wave.gate.silent,
            wave.gate.name
        )));
    }
    for group in
        words::groups(&view.status.hosts, view).iter().filter(|group| group.keep >= words::Keep::Doubtful)
    {
        let said = if group.message.is_empty() { String::new() } else { format!(": {}", group.message) };
        let line = format!("{} {}{said}", group.word, words::names(&group.hosts, 40));
        lines.push(Line::new().plain("  ").add(group.tone, line));
    }
    lines
}

pub async fn undo(context: &Context, args: UndoArgs) -> Result<u8, Failure> {
    let client = context.connect().await?;
    let view = client.look_at(Some(&args.rollout)).await?;
    let key = load_key(context)?;
    let finished: Vec<HostName> = view
        .status
        .hosts
        .iter()
        .filter(|host| host.state == HostState::Done)
        .map(|host| host.host.clone())
        .collect();
    let output = &context.output;
    output.talk(Line::new().add(Tone::Strong, format!("{} of {}", view.rollout, view.plan_name)).plain(
        format!(
            "   {} go back to {} {}, newest wave first: {}",
            count(finished.len(), "finished host"),
            view.service,
            view.from,
            words::names(&finished, 60)
        ),
    ));
    if !view.status.in_flight.is_empty() {
        output.talk(format!("  in flight, waited for first: {}", words::names(&view.status.in_flight, 60)));
    }
    let number = finished.len().to_string();
    let question = format!("Undo as {}? Type the number of hosts to put back:", key.who());
    confirm(context, &question, &number, args.confirm.as_deref())?;
    let answer = give(context, &client, &view, &key, Verb::Undo, &args.reason).await?;
    let code = told(context, &answer, "undoing", &key)?;
    if args.detach || code != exit::DONE {
        client.close().await;
        return Ok(code);
    }
    let from = Some(view.sequence);
    let look = Follow { from, timeout: args.timeout, undoing: true, ..Follow::default() };
    follow(context, client, &view.rollout, look).await
}

/// Signs the order and hands it to the coordinator.
pub(super) async fn give(
    context: &Context,
    client: &Client,
    view: &RolloutView,
    key: &PersonKey,
    verb: Verb,
    reason: &str,
) -> Result<Answer, Failure> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(KeyError::Random)?;
    let now = context.now();
    let order = Order {
        fleet: client.inventory().await?.fleet,
        plan: view.plan,
        nonce: Nonce(nonce),
        verb,
        person: key.person.clone(),
        reason: reason.to_owned(),
        issued: now,
        expires: now + ORDER_VALID,
    };
    let mut sealed = Sealed::new(&order).map_err(SignVerbError::from)?;
    sealed.sign(&key.key).map_err(SignVerbError::from)?;
    client.ask_one(&Request::Order { rollout: view.rollout.clone(), sealed: sealed.to_bytes() }).await
}

/// Says what came of it; an order that changed nothing was out of place.
pub(super) fn told(context: &Context, answer: &Answer, word: &str, key: &PersonKey) -> Result<u8, Failure> {
    let (said, took) = taken_words(answer)?;
    let Answer::Taken { sequence, status, .. } = answer else {
        unreachable!("taken_words refuses every other answer")
    };
    if !took {
        return Err(Failure::usage(format!("nothing was done: {said}")));
    }
    let output = &context.output;
    output.object(
        "sternway.taken/1.0",
        json!({ "rollout": status.rollout, "seq": sequence, "text": said, "key": key.key.public().id() }),
    );
    output.data(Line::new().add(Tone::Good, word).pad_to(WORD_COLUMNS).plain(format!(
        "{}   entry {sequence}, signed {}   {said}",
        status.rollout,
        key.key.public().id().short()
    )));
    Ok(exit::DONE)
}
