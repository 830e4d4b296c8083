//! Who is here, and what was done: hosts and rollouts as columns.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::json;
use sternway_core::exit;
use sternway_core::ids::HostName;
use sternway_core::plan::InventoryHost;
use sternway_core::plan::select::Selection;
use sternway_core::time::Timestamp;
use sternway_core::wire::{Answer, FleetHost, Request, RolloutLine};

use super::Context;
use super::client::AskError;
use super::failure::Failure;
use super::text::{Tone, count, day_and_time, iso, table, took};
use super::words;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway fleet                       hosts folded by what they are at
  sternway fleet list                  one line each
  sternway fleet list 'zone=b & !demo-03'")]
pub struct FleetArgs {
    #[command(subcommand)]
    verb: Option<FleetVerb>,
}

#[derive(Debug, Subcommand)]
enum FleetVerb {
    /// One line per host
    List {
        /// Which hosts: labels and names joined with & | ! and parentheses
        select: Option<String>,
    },
}

pub async fn fleet(context: &Context, args: FleetArgs) -> Result<u8, Failure> {
    let (each, select) = match args.verb {
        None => (false, None),
        Some(FleetVerb::List { select }) => (true, select),
    };
    let selection = match &select {
        None => Selection::All,
        Some(text) => Selection::parse(text).map_err(|error| Failure::usage(format!("`{text}`: {error}")))?,
    };
    let client = context.connect().await?;
    let Answer::Fleet(mut hosts) = client.ask_one(&Request::Fleet).await? else {
        return Err(AskError::Unexpected.into());
    };
    client.close().await;
    hosts.retain(|host| {
        selection.matches(&InventoryHost { name: host.name.clone(), labels: host.labels.clone() })
    });
    if let (Some(text), true) = (&select, hosts.is_empty()) {
        return Err(Failure::usage(format!("`{text}` means no host of the fleet")));
    }
    let output = &context.output;
    output
        .object("sternway.fleet/1.0", json!({ "hosts": hosts.iter().map(host_record).collect::<Vec<_>>() }));
    let rows = if each { list(&hosts, context.now()) } else { folded(&hosts, context.now()) };
    output.lines(table(&rows));
    Ok(exit::DONE)
}

fn host_record(host: &FleetHost) -> serde_json::Value {
    json!({
        "host": host.name,
        "labels": host.labels,
        "connected": host.connected,
        "version": host.version,
        "last_heard": host.last_heard.map(iso),
        "quarantine": host.quarantine,
        "rollout": host.rollout,
    })
}

type Row = Vec<(Tone, String)>;

fn head(words: &[&str]) -> Row {
    words.iter().map(|word| (Tone::Dim, (*word).to_owned())).collect()
}

fn here(host: &FleetHost) -> (Tone, String) {
    if let Some(reason) = &host.quarantine {
        return (Tone::Bad, format!("in quarantine: {reason}"));
    }
    match (host.connected, host.last_heard) {
        (true, _) => (Tone::Good, "here".into()),
        (false, Some(_)) => (Tone::Warn, "away".into()),
        (false, None) => (Tone::Dim, "never seen".into()),
    }
}

fn heard(at: Option<Timestamp>, now: Timestamp) -> String {
    at.map_or_else(|| "-".into(), |at| format!("{} ago", took(now.since(at))))
}

fn dash(text: Option<&str>) -> (Tone, String) {
    (Tone::Plain, text.unwrap_or("-").to_owned())
}

fn list(hosts: &[FleetHost], now: Timestamp) -> Vec<Row> {
    let mut rows = vec![head(&["HOST", "STATE", "HEARD", "AGENT", "ROLLOUT", "LABELS"])];
    rows.extend(hosts.iter().map(|host| {
        let labels: Vec<String> = host.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        vec![
            (Tone::Plain, host.name.to_string()),
            here(host),
            (Tone::Plain, heard(host.last_heard, now)),
            dash(host.version.as_deref()),
            dash(host.rollout.as_ref().map(|rollout| rollout.as_str())),
            (Tone::Plain, labels.join(" ")),
        ]
    }));
    rows
}

/// Hosts that are at the same thing in one line; those that are away first.
fn folded(hosts: &[FleetHost], now: Timestamp) -> Vec<Row> {
    type Key<'a> = (bool, Option<&'a str>, Option<&'a str>, Option<&'a str>);
    let mut groups: BTreeMap<Key<'_>, Vec<&FleetHost>> = BTreeMap::new();
    for host in hosts {
        let rollout = host.rollout.as_ref().map(|rollout| rollout.as_str());
        let key = (host.connected, host.quarantine.as_deref(), host.version.as_deref(), rollout);
        groups.entry(key).or_default().push(host);
    }
    let mut rows = vec![head(&["STATE", "HOSTS", "HEARD", "AGENT", "ROLLOUT", ""])];
    for ((_, _, version, rollout), group) in groups {
        let names: Vec<HostName> = group.iter().map(|host| host.name.clone()).collect();
        let last = group.iter().map(|host| host.last_heard).min().flatten();
        rows.push(vec![
            group.first().map_or_else(|| dash(None), |host| here(host)),
            (Tone::Plain, names.len().to_string()),
            (Tone::Plain, heard(last, now)),
            dash(version),
            dash(rollout),
            (Tone::Plain, words::names(&names, 60)),
        ]);
    }
    rows
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway rollouts
  sternway rollouts --json")]
pub struct RolloutsArgs {}

pub async fn rollouts(context: &Context, _: RolloutsArgs) -> Result<u8, Failure> {
    let client = context.connect().await?;
    let mut rollouts = client.rollouts().await?;
    client.close().await;
    rollouts.sort_by_key(|line| std::cmp::Reverse(line.launched_at));
    let output = &context.output;
    output.object(
        "sternway.rollouts/1.0",
        json!({ "rollouts": rollouts.iter().map(rollout_record).collect::<Vec<_>>() }),
    );
    if rollouts.is_empty() {
        output.talk("no rollout yet");
        return Ok(exit::DONE);
    }
    let mut rows = vec![head(&["ROLLOUT", "STATE", "HOSTS", "LAUNCHED", "BY", "WHAT"])];
    rows.extend(rollouts.iter().map(rollout_row));
    output.lines(table(&rows));
    Ok(exit::DONE)
}

fn rollout_record(line: &RolloutLine) -> serde_json::Value {
    json!({
        "rollout": line.rollout,
        "plan_name": line.plan_name,
        "urgency": line.urgency,
        "service": line.service,
        "from": line.from,
        "to": line.to,
        "launched_by": line.launched_by,
        "launched_at": iso(line.launched_at),
        "state": line.state,
        "hosts": line.hosts,
        "finished": line.finished,
        "exit": line.exit,
    })
}

fn rollout_row(line: &RolloutLine) -> Row {
    let tone = match line.exit {
        exit::DONE => Tone::Plain,
        exit::HALTED | exit::STUCK => Tone::Bad,
        _ => Tone::Warn,
    };
    let (what, marked) = match line.urgency.is_emergency() {
        true => (Tone::Bad, format!("{}   ", words::EMERGENCY)),
        false => (Tone::Plain, String::new()),
    };
    vec![
        (Tone::Strong, line.rollout.to_string()),
        (tone, line.state.clone()),
        (Tone::Plain, format!("{}/{}", line.finished, count(line.hosts as usize, "host"))),
        (Tone::Plain, day_and_time(line.launched_at)),
        (Tone::Plain, line.launched_by.to_string()),
        (what, format!("{marked}{}   {} {} → {}", line.plan_name, line.service, line.from, line.to)),
    ]
}
