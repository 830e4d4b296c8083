//! Back to what worked, now: what an emergency does was written down and looked
//! at on a quiet day. In the night a person says why, reads one short sheet,
//! types one number, and every host of the service begins.

mod prepare;
mod prepared;
mod sheet;

use std::path::PathBuf;

use clap::Args;
use sternway_core::time::Millis;
use sternway_core::wire::{Answer, FleetHost, Request};

use super::Context;
use super::client::{AskError, Client};
use super::failure::Failure;
use super::launch::{Start, start};
use super::prompt::confirm;
use super::sign::seal::{Sealing, seal_draft};
use super::sign::{SignVerbError, load_key};
use prepared::{Fill, Prepared};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway emergency --service agora --prepare --restore /opt/agora --stop agora
                                        once, on a quiet day: writes a draft to read and to change
  sternway emergency --service agora --reason 'INC-4127: 1.3 loses sessions'
                                        shows what happens, asks for the number of hosts, goes
  sternway emergency --service agora --reason INC-4127 --from 1.3 --only zone=b --confirm 12")]
pub struct EmergencyArgs {
    /// The service that goes back
    #[arg(long, value_name = "S")]
    service: String,
    /// Why, in a line; it stays in the record
    #[arg(long, value_name = "R", required_unless_present = "prepare")]
    reason: Option<String>,
    /// The draft that was prepared [default: emergency/S.toml in the identity directory]
    #[arg(long, value_name = "FILE", conflicts_with = "prepare")]
    plan: Option<PathBuf>,
    /// The version that is bad: hosts go back to no point of it
    #[arg(long, value_name = "VERSION", conflicts_with = "prepare")]
    from: Option<String>,
    /// Narrow it to these of its hosts
    #[arg(long, value_name = "SELECTION", conflicts_with = "prepare")]
    only: Option<String>,
    /// The number of hosts, instead of typing it
    #[arg(long, value_name = "N", conflicts_with = "prepare")]
    confirm: Option<String>,
    /// Do not watch: leave once the coordinator has written it down
    #[arg(long, conflicts_with = "prepare")]
    detach: bool,
    /// Stop watching after this long, with exit code 124
    #[arg(long, value_name = "TIME", conflicts_with_all = ["detach", "prepare"])]
    timeout: Option<Millis>,
    #[command(flatten)]
    prepare: prepare::PrepareArgs,
}

pub async fn emergency(context: &Context, args: EmergencyArgs) -> Result<u8, Failure> {
    if args.prepare.prepare {
        return prepare::prepare(context, &args.service, &args.prepare).await;
    }
    let prepared = Prepared::find(context, &args.service, args.plan.as_deref())?;
    let filled = prepared.fill(&Fill {
        service: &args.service,
        reason: args.reason.as_deref().unwrap_or_default(),
        from: args.from.as_deref(),
        is_narrowed: args.only.is_some(),
    })?;
    let key = load_key(context)?;
    let client = context.connect().await?;
    // Two questions at once: before the decision everything is here that it needs.
    let (inventory, here) = tokio::try_join!(client.inventory(), hosts_here(&client))?;
    let sealing = Sealing {
        file: &prepared.path,
        bytes: filled.as_bytes(),
        fleet: inventory.fleet,
        hosts: inventory.hosts,
        only: args.only.as_deref(),
    };
    let (mut sealed, plan) = seal_draft(context, sealing, &key)?;
    for line in sheet::lines(&plan, sealed.id(), &here) {
        context.output.talk_whole(line);
    }
    if plan.approval.signatures > 1 {
        let (path, need) = (prepared.path.display(), plan.approval.signatures);
        return Err(Failure::usage(format!("this emergency wants {need} signatures: nothing was done"))
            .hinted(format!(
                "write the reason into it, sternway sign {path}, have it signed, sternway launch"
            )));
    }
    let hosts = plan.hosts.len().to_string();
    let question = format!("Emergency as {}? Type how many hosts go back now:", key.who());
    confirm(context, &question, &hosts, args.confirm.as_deref())?;
    sealed.sign(&key.key).map_err(SignVerbError::from)?;
    let launch =
        Start { sealed: sealed.to_bytes(), without: Vec::new(), detach: args.detach, timeout: args.timeout };
    start(context, client, launch).await
}

async fn hosts_here(client: &Client) -> Result<Vec<FleetHost>, Failure> {
    match client.ask_one(&Request::Fleet).await? {
        Answer::Fleet(hosts) => Ok(hosts),
        _ => Err(AskError::Unexpected.into()),
    }
}
