//! Would a rollback work right now? Asked of every host, judged here from what
//! each says of itself; every no comes with its reason and what to do about it.

pub mod picture;

use clap::Args;
use serde_json::{Value, json};
use sternway_core::exit;
use sternway_core::ids::HostName;
use sternway_core::point::readiness::{Facts, Lack, Verdict};
use sternway_core::point::{Answer as Said, Ask};
use sternway_core::time::{Millis, Timestamp};

use super::points::asking::{End, Heard, LOOKS_WITHIN, ask, choose, each};
use super::points::progress::Show;
use super::text::iso;
use super::{Context, catalogue, failure::Failure};
use picture::Room;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway ready                                       every service on every host
  sternway ready 'zone=b' --service shop
  sternway ready --all                                 also what can, each on a line
  sternway ready --quiet || echo 'some rollback would not work'

A host that does not answer counts as one that cannot. Exit codes: 0 all can, 3 some cannot,
69 no coordinator.")]
pub struct ReadyArgs {
    /// Which hosts: labels and names joined with & | ! and parentheses [default: all]
    select: Option<String>,
    /// Only this service
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Show each service of each host, also those that can
    #[arg(long)]
    all: bool,
    /// Hosts count as silent when none has said anything for so long
    #[arg(long, value_name = "TIME")]
    timeout: Option<Millis>,
}

/// One service on one host, judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    pub host: HostName,
    /// None where the host could not say which it has.
    pub service: Option<String>,
    pub facts: Option<Box<Facts>>,
    pub verdict: Verdict,
}

pub async fn ready(context: &Context, args: ReadyArgs) -> Result<u8, Failure> {
    let plugins: Vec<_> =
        catalogue::built_in()?.0.iter().map(|(name, entry)| (name.clone(), entry.sha256)).collect();
    let client = context.connect().await?;
    let chosen = choose(&client, args.select.as_deref()).await?;
    let asks = each(&chosen.hosts, &Ask::Ready { service: args.service.clone(), plugins });
    let patience = Some(args.timeout.unwrap_or(LOOKS_WITHIN));
    let heard = ask(&client, asks, patience, &mut Show::nothing(context)).await?;
    client.close().await;
    if heard.interrupted {
        return Ok(exit::INTERRUPTED);
    }
    let now = context.now();
    let judged = judge(&heard, args.service.as_deref(), now);
    if judged.is_empty() {
        let service = args.service.unwrap_or_default();
        return Err(Failure::usage(format!("none of these hosts has a service `{service}`"))
            .hinted("which there are: sternway ready --all"));
    }
    let can = judged.iter().filter(|one| one.verdict.can()).count();
    let output = &context.output;
    output.object(
        "sternway.ready/1.0",
        json!({
            "can": can,
            "cannot": judged.len() - can,
            "percent": picture::percent(can, judged.len()),
            "services": judged.iter().map(|one| record(one, now)).collect::<Vec<_>>(),
        }),
    );
    let room = Room { columns: output.look().width, rows: output.rows() };
    // What is to be typed is not cut at the screen's edge.
    picture::lines(&judged, now, room, args.all).into_iter().for_each(|line| output.data_whole(line));
    Ok(if can == judged.len() { exit::DONE } else { exit::DONE_WITH_EXCEPTIONS })
}

/// Every service of every host, by service and host. A host that was asked for
/// a service and does not have it has nothing to be judged.
pub fn judge(heard: &Heard, service: Option<&str>, now: Timestamp) -> Vec<Judged> {
    let mut judged = Vec::new();
    for (host, told) in &heard.told {
        let cannot = |lack: Lack| Judged {
            host: host.clone(),
            service: service.map(str::to_owned),
            facts: None,
            verdict: Verdict { lacks: vec![lack], remarks: Vec::new() },
        };
        match &told.end {
            End::Away => judged.push(cannot(Lack::Away)),
            End::Done => {
                let facts: Vec<&Facts> = facts_of(&told.answers).collect();
                if facts.is_empty() && service.is_none() {
                    judged.push(cannot(Lack::Hindered(NOTHING_DESCRIBED.into())));
                }
                judged.extend(facts.into_iter().map(|facts| Judged {
                    host: host.clone(),
                    service: Some(facts.service.clone()),
                    verdict: facts.judge(now),
                    facts: Some(Box::new(facts.clone())),
                }));
            }
            End::Refused { .. } | End::Silent(_) | End::CalledOff => {
                judged.push(cannot(Lack::Hindered(told.trouble().unwrap_or_default())));
            }
        }
    }
    judged.sort_by(|a, b| (&a.service, &a.host).cmp(&(&b.service, &b.host)));
    judged
}

/// Of a host without a `[[points.service]]`.
pub const NOTHING_DESCRIBED: &str = "its configuration describes no service";

fn facts_of(answers: &[Said]) -> impl Iterator<Item = &Facts> {
    answers.iter().flat_map(|answer| match answer {
        Said::Ready(facts) => &facts[..],
        _ => &[],
    })
}

fn record(one: &Judged, now: Timestamp) -> Value {
    let words = |all: Vec<String>| Value::from(all);
    json!({
        "host": one.host,
        "service": one.service,
        "can": one.verdict.can(),
        "lacks": one.verdict.lacks,
        "lacks_text": words(one.verdict.lacks.iter().map(ToString::to_string).collect()),
        "remarks": one.verdict.remarks,
        "remarks_text": words(one.verdict.remarks.iter().map(ToString::to_string).collect()),
        "point": one.facts.as_ref().and_then(|facts| facts.point.as_ref()).map(|point| json!({
            "id": point.id,
            "made": iso(point.made),
            "age_ms": now.since(point.made),
            "kind": point.kind,
            "version": point.version,
            "tags": point.tags,
            "bytes": point.bytes,
        })),
        "checked_full": one.facts.as_ref().and_then(|facts| facts.checked_full).map(iso),
        "space_needed": one.facts.as_ref().map(|facts| facts.space_needed),
        "space_free": one.facts.as_ref().map(|facts| facts.space_free),
        "drill": one.facts.as_ref().and_then(|facts| facts.drill.as_ref()).map(|drill| json!({
            "at": iso(drill.at), "took_ms": drill.took, "finding": drill.finding,
        })),
    })
}
