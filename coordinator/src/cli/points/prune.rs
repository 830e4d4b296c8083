//! Dropping points: first what would go and why the rest stays, on every host;
//! then, when somebody has confirmed the number, an order for each host that
//! names its own part of it.

use std::collections::BTreeMap;

use serde_json::json;
use sternway_core::exit;
use sternway_core::ids::HostName;
use sternway_core::point::retention::Why;
use sternway_core::point::{Answer as Said, Ask, Change};
use sternway_core::wire::PointAsk;

use super::asking::{Heard, choose, each};
use super::orders::Signer;
use super::{PruneArgs, look_up, work_on};
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::prompt::confirm;
use crate::cli::sign::load_key;
use crate::cli::text::{Line, Tone, bytes, count, table};

/// What would go from one host.
#[derive(Debug, Default, PartialEq, Eq)]
struct Part {
    go: u32,
    /// What their going frees at the least.
    bytes: u64,
    stay: u32,
    /// How many stay for each reason; one point may have several.
    why: BTreeMap<Why, u32>,
}

pub(super) async fn prune(context: &Context, args: PruneArgs) -> Result<u8, Failure> {
    let client = context.connect().await?;
    let chosen = choose(&client, args.hosts.select.as_deref()).await?;
    let asks = each(&chosen.hosts, &Ask::WouldPrune);
    let looked = look_up(context, &client, asks, args.hosts.timeout).await?;
    let parts = parts(&looked);
    let total: u32 = parts.values().map(|part| part.go).sum();
    let output = &context.output;
    for (host, part) in &parts {
        let why: BTreeMap<&str, u32> = part.why.iter().map(|(why, number)| (words(*why), *number)).collect();
        output.object(
            "sternway.prune/1.0",
            json!({ "host": host, "go": part.go, "bytes": part.bytes, "stay": part.stay, "why": why }),
        );
    }
    output.lines(picture(&parts));
    looked.complain(context);
    if args.confirm.is_none() || total == 0 {
        client.close().await;
        if total > 0 {
            let select = args.hosts.select.map_or(String::new(), |select| format!(" '{select}'"));
            output.talk(format!(
                "nothing was dropped; to drop them: sternway points prune{select} --confirm {total}"
            ));
        }
        return Ok(looked.exit_code());
    }
    confirm(context, "", &total.to_string(), args.confirm.as_deref())?;
    let key = load_key(context)?;
    let signer = Signer { key: &key, fleet: chosen.fleet, reason: &args.reason, now: context.now() };
    let orders: Result<Vec<PointAsk>, Failure> = parts
        .iter()
        .filter(|(_, part)| part.go > 0)
        .map(|(host, part)| signer.order(host, Change::Prune { confirmed: part.go }))
        .collect();
    let heard = work_on(context, &client, orders?, None, "pruning").await?;
    client.close().await;
    let (points, freed) = dropped(&heard);
    for (host, told) in &heard.told {
        for answer in &told.answers {
            if let Said::Dropped { points, bytes } = answer {
                output
                    .object("sternway.pruned/1.0", json!({ "host": host, "points": points, "bytes": bytes }));
            }
        }
    }
    heard.complain(context);
    output.data(Line::new().add(Tone::Good, "dropped").plain(format!(
        "   {} on {}   {}",
        count(points as usize, "point"),
        count(heard.told.len(), "host"),
        bytes(freed)
    )));
    Ok(match heard.exit_code() {
        exit::DONE => looked.exit_code(),
        code => code,
    })
}

fn parts(looked: &Heard) -> BTreeMap<&HostName, Part> {
    let mut parts: BTreeMap<&HostName, Part> = BTreeMap::new();
    for (host, told) in &looked.told {
        for answer in &told.answers {
            let Said::WouldDrop { drop, stay } = answer else { continue };
            let part = parts.entry(host).or_default();
            part.go += u32::try_from(drop.len()).unwrap_or(u32::MAX);
            part.bytes += drop.iter().map(|dropped| dropped.bytes).sum::<u64>();
            part.stay += u32::try_from(stay.len()).unwrap_or(u32::MAX);
            for why in stay.iter().flat_map(|(_, why)| why) {
                *part.why.entry(*why).or_default() += 1;
            }
        }
    }
    parts
}

fn dropped(heard: &Heard) -> (u32, u64) {
    let answers = heard.told.values().flat_map(|told| &told.answers);
    answers.fold((0, 0), |(points, freed), answer| match answer {
        Said::Dropped { points: more, bytes } => (points + more, freed + bytes),
        _ => (points, freed),
    })
}

fn words(why: Why) -> &'static str {
    match why {
        Why::InUse => "in use",
        Why::Kept => "kept for ever",
        Why::LastGood => "last good one",
        Why::Newest => "among the newest",
        Why::Young => "young",
    }
}

fn picture(parts: &BTreeMap<&HostName, Part>) -> Vec<Line> {
    if parts.is_empty() {
        return Vec::new();
    }
    let row = |host: &str, part: &Part| {
        let why: Vec<String> =
            part.why.iter().map(|(why, number)| format!("{number} {}", words(*why))).collect();
        vec![
            (Tone::Strong, host.to_owned()),
            (if part.go > 0 { Tone::Warn } else { Tone::Plain }, part.go.to_string()),
            (Tone::Plain, bytes(part.bytes)),
            (Tone::Plain, part.stay.to_string()),
            (Tone::Plain, why.join(", ")),
        ]
    };
    let mut rows =
        vec![["HOST", "GO", "FREES", "STAY", "BECAUSE"].map(|word| (Tone::Dim, word.to_owned())).to_vec()];
    rows.extend(parts.iter().map(|(host, part)| row(host.as_str(), part)));
    if parts.len() > 1 {
        let mut all = Part::default();
        for part in parts.values() {
            all.go += part.go;
            all.bytes += part.bytes;
            all.stay += part.stay;
            part.why.iter().for_each(|(why, number)| *all.why.entry(*why).or_default() += number);
        }
        rows.push(row("together", &all));
    }
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::super::asking::{End, Told};
    use super::*;
    use crate::cli::text::Look;
    use sternway_core::ids::PointId;

    #[test]
    fn the_picture_counts_what_stays_by_reason_and_adds_up() {
        let stay = |number: u8, why: &[Why]| (PointId([number; 32]), why.to_vec());
        let told = |stay| Told { answers: vec![Said::WouldDrop { drop: vec![], stay }], end: End::Done };
        let mut heard = Heard::default();
        heard.told.insert(
            "web-1".parse().unwrap(),
            told(vec![stay(1, &[Why::LastGood, Why::Newest]), stay(2, &[Why::Newest])]),
        );
        heard.told.insert("web-2".parse().unwrap(), told(vec![stay(3, &[Why::InUse])]));
        heard.told.insert("web-3".parse().unwrap(), Told { answers: vec![], end: End::Away });
        let text: Vec<String> = picture(&parts(&heard)).iter().map(|line| line.paint(Look::PLAIN)).collect();
        assert_eq!(
            text,
            [
                "HOST      GO  FREES  STAY  BECAUSE",
                "web-1     0   0 B    2     1 last good one, 2 among the newest",
                "web-2     0   0 B    1     1 in use",
                "together  0   0 B    3     1 in use, 1 last good one, 2 among the newest",
            ]
        );
    }
}
