//! The verbs that need no signature: anyone may pull the brake, in every state
//! and without being asked; letting it go again needs a name and a look.

use clap::Args;
use serde_json::json;
use sternway_core::exit;
use sternway_core::ids::{HostName, RolloutId};
use sternway_core::rollout::Note;
use sternway_core::wire::{Answer, Request, RolloutView};

use super::Context;
use super::client::{AskError, Client};
use super::failure::Failure;
use super::lookup::{named_hosts, taken_words};
use super::prompt::confirm;
use super::text::{Line, Tone, count};
use super::words;

const WORD_COLUMNS: usize = 10;
/// The record wants a reason; who pulls a brake in a hurry need not think of one.
pub const NO_REASON: &str = "no reason given";

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway hold r-17
  sternway hold r-17 --reason 'errors on the canary, looking'
  sternway halt r-17
  sternway go r-17")]
pub struct BrakeArgs {
    /// The rollout, or any beginning of its id that means one only
    rollout: String,
    /// Why; kept in the record
    #[arg(long, default_value = NO_REASON)]
    reason: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway resume r-17                                   says which hosts are in flight
  sternway resume r-17 --confirm-in-flight 'demo-[03,07]'
  sternway resume r-17 --confirm-in-flight none --reason 'INC-4128 explained'")]
pub struct ResumeArgs {
    /// The rollout, or any beginning of its id that means one only
    rollout: String,
    /// Exactly the hosts in flight, or `none`: whoever resumes has looked at them
    #[arg(long, value_name = "HOSTS")]
    confirm_in_flight: Option<String>,
    /// Why; kept in the record
    #[arg(long, default_value = NO_REASON)]
    reason: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway dead r-17 demo-03 --reason 'board replaced, wiped'
  sternway dead r-17 demo-03 --confirm demo-03")]
pub struct DeadArgs {
    /// The rollout, or any beginning of its id that means one only
    rollout: String,
    /// A host that is away and will not come back
    host: HostName,
    /// The host's name, instead of typing it
    #[arg(long, value_name = "HOST")]
    confirm: Option<String>,
    /// Why; kept in the record
    #[arg(long, default_value = NO_REASON)]
    reason: String,
}

pub async fn hold(context: &Context, args: BrakeArgs) -> Result<u8, Failure> {
    brake(context, args, "held", |rollout, reason| Request::Hold { rollout, reason }).await
}

pub async fn go(context: &Context, args: BrakeArgs) -> Result<u8, Failure> {
    brake(context, args, "going", |rollout, reason| Request::Go { rollout, reason }).await
}

pub async fn halt(context: &Context, args: BrakeArgs) -> Result<u8, Failure> {
    let named = args.rollout.clone();
    let halted = brake(context, args, "halted", |rollout, reason| Request::Halt { rollout, reason }).await;
    halted.map_err(|failure| not_halted(&named, failure))
}

/// A halt that nobody wrote down must not be taken for one.
fn not_halted(rollout: &str, failure: Failure) -> Failure {
    match failure {
        failure @ (Failure::Usage { .. } | Failure::Coordinator(_)) => failure,
        failure => Failure::Other {
            message: format!("{rollout} is NOT halted"),
            exit: failure.exit_code(),
            hint: Some(
                "hosts go on as their plan says; to stop one itself: sternway-agent halt, on it".into(),
            ),
            cause: Some(Box::new(failure)),
        },
    }
}

async fn brake(
    context: &Context,
    args: BrakeArgs,
    word: &str,
    request: impl FnOnce(RolloutId, String) -> Request,
) -> Result<u8, Failure> {
    let client = context.connect().await?;
    let rollout = client.resolve(Some(&args.rollout)).await?;
    let answer = client.ask_one(&request(rollout, args.reason)).await?;
    finish(context, client, &answer, word).await
}

pub async fn resume(context: &Context, args: ResumeArgs) -> Result<u8, Failure> {
    let confirmed = args.confirm_in_flight.as_deref().map(named_hosts).transpose()?;
    let client = context.connect().await?;
    let view = client.look_at(Some(&args.rollout)).await?;
    let Some(confirmed) = confirmed else {
        return Err(in_flight_unconfirmed(&view));
    };
    let halt = view.status.halt.as_ref().map_or(0, |halt| halt.last.sequence);
    let request = Request::Resume { rollout: view.rollout.clone(), reason: args.reason, confirmed, halt };
    let answer = client.ask_one(&request).await?;
    finish(context, client, &answer, "resumed").await
}

/// Says what has to be confirmed, so that nobody resumes without having read it.
fn in_flight_unconfirmed(view: &RolloutView) -> Failure {
    let in_flight = &view.status.in_flight;
    let names = words::names(in_flight, usize::MAX);
    let (message, confirmed) = match in_flight.len() {
        0 => ("no host is in flight; confirm that you know it".to_owned(), "none".to_owned()),
        number => (format!("{} in flight: {names}", count(number, "host")), names),
    };
    Failure::usage(message).hinted(format!(
        "look at them, then: sternway resume {} --confirm-in-flight '{confirmed}'",
        view.rollout
    ))
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway readmit demo-03 --reason 'reinstalled; the old disk is destroyed'")]
pub struct ReadmitArgs {
    /// A host in quarantine; the next agent that comes in its name is believed
    host: HostName,
    /// The host's name, instead of typing it
    #[arg(long, value_name = "HOST")]
    confirm: Option<String>,
    /// Why; kept in the record
    #[arg(long, default_value = NO_REASON)]
    reason: String,
}

pub async fn readmit(context: &Context, args: ReadmitArgs) -> Result<u8, Failure> {
    let client = context.connect().await?;
    let question =
        format!("You looked at {}, and one machine answers in its name? Type its name:", args.host);
    confirm(context, &question, args.host.as_str(), args.confirm.as_deref())?;
    let answer = client.ask_one(&Request::Readmit { host: args.host, reason: args.reason }).await?;
    client.close().await;
    let Answer::Readmitted { host } = answer else { return Err(AskError::Unexpected.into()) };
    context.output.object("sternway.readmitted/1.0", json!({ "host": host }));
    context.output.data(Line::new().add(Tone::Strong, "readmitted").plain(format!(" {host}")));
    Ok(exit::DONE)
}

pub async fn dead(context: &Context, args: DeadArgs) -> Result<u8, Failure> {
    let client = context.connect().await?;
    let rollout = client.resolve(Some(&args.rollout)).await?;
    let question = format!("{} will never come back to {rollout}? Type its name:", args.host);
    confirm(context, &question, args.host.as_str(), args.confirm.as_deref())?;
    let request = Request::DeclareDead { rollout, host: args.host, reason: args.reason };
    let answer = client.ask_one(&request).await?;
    finish(context, client, &answer, "dead").await
}

async fn finish(context: &Context, client: Client, answer: &Answer, word: &str) -> Result<u8, Failure> {
    client.close().await;
    let (said, took) = taken_words(answer)?;
    let Answer::Taken { sequence, notes, status, .. } = answer else {
        return Err(AskError::Unexpected.into());
    };
    if !took && !notes.iter().all(is_as_asked) {
        return Err(Failure::usage(format!("nothing was done: {said}"))
            .hinted(format!("sternway status {}", status.rollout)));
    }
    let output = &context.output;
    output.object(
        "sternway.taken/1.0",
        json!({ "rollout": status.rollout, "seq": sequence, "text": said, "in_flight": status.status.in_flight }),
    );
    output.data(
        Line::new()
            .add(Tone::Strong, word)
            .pad_to(WORD_COLUMNS)
            .plain(format!("{}   {said}", status.rollout)),
    );
    let in_flight = &status.status.in_flight;
    if !in_flight.is_empty() && matches!(word, "held" | "halted") {
        output.talk(format!(
            "{:WORD_COLUMNS$}{} still come to their end: {}",
            "",
            count(in_flight.len(), "host"),
            words::names(in_flight, 60)
        ));
    }
    Ok(exit::DONE)
}

/// Pulling a brake that is pulled is no mistake.
fn is_as_asked(note: &Note) -> bool {
    matches!(note, Note::AlreadyHalted { .. })
}
