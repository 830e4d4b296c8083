//! Everything that was recorded of a rollout, or of one host in it.

use clap::Args;
use serde_json::json;
use sternway_core::exit;
use sternway_core::ids::HostName;
use sternway_core::wire::{Answer, Request};

use super::Context;
use super::client::AskError;
use super::failure::Failure;
use super::{record, story};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway log r-17                  all lines, oldest first
  sternway log r-17 demo-08          what happened on this host
  sternway log r-17 --json > r-17.jsonl")]
pub struct LogArgs {
    /// The rollout, or any beginning of its id that means one only [default: the newest]
    rollout: Option<String>,
    /// Only this host
    host: Option<HostName>,
}

pub async fn log(context: &Context, args: LogArgs) -> Result<u8, Failure> {
    let client = context.connect().await?;
    let view = client.look_at(args.rollout.as_deref()).await?;
    if let Some(host) = &args.host
        && !view.status.hosts.iter().any(|known| known.host == *host)
    {
        let known = view.status.hosts.iter().map(|known| known.host.as_str());
        let meant = sternway_core::plan::nearest::nearest(host.as_str(), known);
        let failure = Failure::usage(format!("{host} is not in {}", view.rollout));
        return Err(match meant {
            Some(meant) => failure.hinted(format!("did you mean {meant}?")),
            None => failure,
        });
    }
    let mut answers =
        client.ask(&Request::Log { rollout: view.rollout.clone(), host: args.host.clone() }).await?;
    let output = &context.output;
    output.object(
        record::EVENTS,
        json!({ "rollout": view.rollout, "plan": format!("sha256:{}", view.plan), "host": args.host }),
    );
    while let Some(answer) = answers.next().await? {
        let Answer::Line(line) = answer else { return Err(AskError::Unexpected.into()) };
        output.record(&record::event(&line, &view));
        output.data(story::detail(&line, &view));
    }
    client.close().await;
    Ok(exit::DONE)
}
