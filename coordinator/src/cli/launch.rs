//! A sealed plan goes to the coordinator, which passes its bytes on untouched.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use sternway_core::exit;
use sternway_core::ids::HostName;
use sternway_core::plan::Plan;
use sternway_core::plan::select::Selection;
use sternway_core::time::Millis;
use sternway_core::wire::{Answer, Request};

use super::Context;
use super::client::{AskError, Client};
use super::failure::Failure;
use super::lookup::Inventory;
use super::prompt::confirm;
use super::sign::{SignVerbError, open_claim, read};
use super::text::{Line, Tone, count};
use super::watch::{Follow, follow};
use super::words;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway launch plan.sealed                            asks for the number of hosts, then watches
  sternway launch plan.sealed --without 'demo-[09,23]'
  sternway launch plan.sealed --confirm 38 --detach      in a script")]
pub struct LaunchArgs {
    /// A sealed plan with all its signatures
    sealed: PathBuf,
    /// Leave these hosts of the plan out
    #[arg(long, value_name = "SELECTION")]
    without: Option<String>,
    /// The number of hosts to launch, instead of typing it
    #[arg(long, value_name = "N")]
    confirm: Option<String>,
    /// Do not watch: leave once the coordinator has written it down
    #[arg(long)]
    detach: bool,
    /// Stop watching after this long, with exit code 124
    #[arg(long, value_name = "TIME", conflicts_with = "detach")]
    timeout: Option<Millis>,
}

pub async fn launch(context: &Context, args: LaunchArgs) -> Result<u8, Failure> {
    let bytes = read(&args.sealed)?;
    let (sealed, plan) = open_claim(&args.sealed, &bytes)?;
    if context.now() >= plan.expires {
        return Err(SignVerbError::Expired.into());
    }
    let client = context.connect().await?;
    let inventory = client.inventory().await?;
    if inventory.fleet != plan.fleet {
        let message =
            format!("the plan is for fleet {}, this is {}", plan.fleet.short(), inventory.fleet.short());
        return Err(Failure::Refused { message, cause: None });
    }
    let without = left_out(&plan, &inventory, args.without.as_deref())?;
    let hosts: Vec<HostName> = plan.hosts.iter().filter(|host| !without.contains(host)).cloned().collect();
    let output = &context.output;
    output.talk(Line::new().add(Tone::Strong, &plan.name).plain(format!(
        "   {} {} → {}   sealed {}   {}   fleet {}",
        plan.service,
        plan.from,
        plan.to,
        sealed.id().short(),
        count(sealed.signatures().len(), "signature"),
        inventory.name
    )));
    let first = plan.waves.first().map_or_else(String::new, |wave| words::names(&wave.hosts, 40));
    output.talk(format!(
        "{} in {}; first {first}",
        count(hosts.len(), "host"),
        count(plan.waves.len(), "wave")
    ));
    if !without.is_empty() {
        output.talk(format!("left out: {}", words::names(&without, 60)));
    }
    let wanted = hosts.len().to_string();
    confirm(context, "Type the number of hosts to launch:", &wanted, args.confirm.as_deref())?;
    let start = Start { sealed: bytes, without, detach: args.detach, timeout: args.timeout };
    self::start(context, client, start).await
}

/// What goes to the coordinator, and whether somebody looks on.
pub(super) struct Start {
    pub(super) sealed: Vec<u8>,
    pub(super) without: Vec<HostName>,
    pub(super) detach: bool,
    pub(super) timeout: Option<Millis>,
}

/// Launches what was confirmed, and watches it to its end.
pub(super) async fn start(context: &Context, client: Client, start: Start) -> Result<u8, Failure> {
    let output = &context.output;
    let Start { sealed, without, detach, timeout } = start;
    let launched = client.ask_one(&Request::Launch { sealed, without }).await?;
    let Answer::Launched { rollout, plan: id, hosts } = launched else {
        return Err(AskError::Unexpected.into());
    };
    if detach {
        output.object(
            "sternway.launched/1.0",
            json!({ "rollout": rollout, "plan": format!("sha256:{id}"), "hosts": hosts }),
        );
        output.data(format!("launched  {rollout}"));
        output.talk(format!("next      sternway watch {rollout}"));
        client.close().await;
        return Ok(exit::DONE);
    }
    output.talk(format!("launched  {rollout}   Ctrl-C leaves it running; sternway halt {rollout} stops it"));
    let look = Follow { from: Some(0), timeout, ..Follow::default() };
    follow(context, client, &rollout, look).await
}

/// The hosts of the plan that a selection means; a selection that means none of them is a slip.
fn left_out(plan: &Plan, inventory: &Inventory, without: Option<&str>) -> Result<Vec<HostName>, Failure> {
    let Some(text) = without else { return Ok(Vec::new()) };
    let selection =
        Selection::parse(text).map_err(|error| Failure::usage(format!("--without `{text}`: {error}")))?;
    let planned: BTreeSet<&HostName> = plan.hosts.iter().collect();
    if let Some(stranger) =
        selection.names().into_iter().find(|name| !planned.iter().any(|host| host.as_str() == *name))
    {
        return Err(Failure::usage(format!("--without: `{stranger}` is not in the plan"))
            .hinted("sternway show FILE lists its hosts"));
    }
    let labels = |name: &HostName| {
        let known = inventory.hosts.iter().find(|host| host.name == *name);
        known.map_or_else(Default::default, |host| host.labels.clone())
    };
    let chosen: Vec<HostName> = plan
        .hosts
        .iter()
        .filter(|name| {
            let host = sternway_core::plan::InventoryHost { name: (*name).clone(), labels: labels(name) };
            selection.matches(&host)
        })
        .cloned()
        .collect();
    match chosen.len() {
        0 => Err(Failure::usage(format!("--without `{text}` means no host of the plan"))),
        all if all == plan.hosts.len() => Err(Failure::usage(format!("--without `{text}` leaves nobody"))),
        _ => Ok(chosen),
    }
}
