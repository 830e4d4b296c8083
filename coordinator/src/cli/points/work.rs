//! What takes hosts a while: making, checking, rehearsing and restoring
//! points, with progress; and tagging them, which takes them none.

use serde_json::json;
use sternway_core::exit;
use sternway_core::ids::HostName;
use sternway_core::point::{Answer as Said, Ask, Change, Depth, Kind, Point, Want};
use sternway_core::wire::PointAsk;

use super::asking::{Chosen, Heard, choose, choose_one, each};
use super::orders::Signer;
use super::{
    CreateArgs, DrillArgs, RestoreArgs, TagArgs, UntagArgs, VerifyArgs, by_id, list_of, points_of, record,
    tags_words, work_on,
};
use crate::cli::Context;
use crate::cli::client::AskError;
use crate::cli::failure::Failure;
use crate::cli::prompt::confirm;
use crate::cli::sign::{PersonKey, load_key};
use crate::cli::text::{Line, Tone, bytes, count, table, took};

fn signer<'a>(context: &Context, key: &'a PersonKey, chosen: &Chosen, reason: &'a str) -> Signer<'a> {
    Signer { key, fleet: chosen.fleet, reason, now: context.now() }
}

pub(super) async fn create(context: &Context, args: CreateArgs) -> Result<u8, Failure> {
    let kind = match (args.kind, &args.component) {
        (Some(kind), _) => kind.into(),
        (None, Some(_)) => Kind::Component,
        (None, None) => Kind::Full,
    };
    if args.component.is_some() != (kind == Kind::Component) {
        return Err(Failure::usage("a point of a component names it, and no other point does")
            .hinted("--kind component --component NAME"));
    }
    let client = context.connect().await?;
    let chosen = choose(&client, args.hosts.select.as_deref()).await?;
    let key = load_key(context)?;
    let change = Change::Create {
        service: args.service,
        paths: args.paths,
        kind,
        component: args.component,
        tag: args.tag,
        version: args.runs,
        hook: args.hook,
    };
    let asks = signer(context, &key, &chosen, &args.reason).orders(&chosen.hosts, &change)?;
    let heard = work_on(context, &client, asks, args.hosts.timeout, "creating").await?;
    client.close().await;
    let output = &context.output;
    let made = points_of(&heard);
    made.iter().for_each(|(host, point)| output.object("sternway.point/1.0", record(host, point)));
    output.lines(points_table(&made));
    heard.complain(context);
    let total: u64 = made.iter().map(|(_, point)| point.bytes).sum();
    summary(context, &heard, "made", format!("{change}   {}", bytes(total)));
    Ok(heard.exit_code())
}

fn points_table(points: &[(&HostName, &Point)]) -> Vec<Line> {
    let rows: Vec<Vec<(Tone, String)>> = points
        .iter()
        .map(|(host, point)| {
            vec![
                (Tone::Plain, host.to_string()),
                (Tone::Strong, point.id.short()),
                (Tone::Plain, format!("{} {}", point.service, point.version)),
                (Tone::Plain, tags_words(&point.tags)),
                (Tone::Plain, bytes(point.bytes)),
                (Tone::Plain, count(usize::try_from(point.files).unwrap_or(usize::MAX), "file")),
            ]
        })
        .collect();
    table(&rows)
}

/// `made  39 of 40 hosts   ...`
fn summary(context: &Context, heard: &Heard, word: &str, what: String) {
    let troubled: usize = heard.troubles().values().map(Vec::len).sum();
    let all = heard.told.len();
    let tone = if troubled == 0 { Tone::Good } else { Tone::Warn };
    context.output.talk(Line::new().add(tone, word).plain(format!(
        "   {} of {}   {what}",
        all - troubled,
        count(all, "host")
    )));
}

pub(super) async fn verify(context: &Context, args: VerifyArgs) -> Result<u8, Failure> {
    let depth = if args.full { Depth::Full } else { Depth::Quick };
    let want = args.which.want(args.id.as_deref())?;
    let client = context.connect().await?;
    let chosen = choose(&client, args.hosts.select.as_deref()).await?;
    let (asks, before) = match args.newest {
        false => (each(&chosen.hosts, &Ask::Verify { which: want, depth }), Heard::default()),
        true => {
            let listed = list_of(context, &client, &chosen.hosts, want, None).await?;
            (newest(&listed, depth), listed)
        }
    };
    let mut heard = work_on(context, &client, asks, args.hosts.timeout, "checking").await?;
    client.close().await;
    heard.interrupted |= before.interrupted;
    // Who did not say what it has was not asked to check it.
    for (host, told) in before.told {
        heard.told.entry(host).or_insert(told);
    }
    let output = &context.output;
    let checked: Vec<_> =
        points_of(&heard).into_iter().filter(|(_, point)| point.checked.is_some()).collect();
    checked.iter().for_each(|(host, point)| output.object("sternway.point/1.0", record(host, point)));
    let bad: Vec<_> = checked.iter().filter(|(_, point)| !point.is_good()).copied().collect();
    let bad_lines: Vec<Vec<(Tone, String)>> = bad
        .iter()
        .map(|(host, point)| {
            let finding = point.checked.as_ref().and_then(|checked| checked.finding.clone());
            vec![
                (Tone::Bad, "BAD".into()),
                (Tone::Strong, host.to_string()),
                (Tone::Plain, point.id.short()),
                (Tone::Plain, format!("{} {}", point.service, tags_words(&point.tags))),
                (Tone::Bad, finding.unwrap_or_default()),
            ]
        })
        .collect();
    output.lines(table(&bad_lines));
    heard.complain(context);
    let what = if args.full { "every byte" } else { "index and trees" };
    let good = checked.len() - bad.len();
    output.data(
        Line::new()
            .add(if bad.is_empty() { Tone::Good } else { Tone::Bad }, "checked")
            .plain(format!("   {good} of {} good   {what}", count(checked.len(), "point"))),
    );
    Ok(match heard.exit_code() {
        exit::DONE if !bad.is_empty() => exit::DONE_WITH_EXCEPTIONS,
        code => code,
    })
}

/// A check of the newest point that each host has listed.
fn newest(listed: &Heard, depth: Depth) -> Vec<PointAsk> {
    let mut asks: Vec<PointAsk> = Vec::new();
    for (host, point) in points_of(listed) {
        // Newest first for each host.
        if asks.last().is_none_or(|ask| ask.host != *host) {
            let which = Want { id: Some(point.id.to_string()), ..Want::default() };
            asks.push(PointAsk { host: host.clone(), ask: Ask::Verify { which, depth } });
        }
    }
    asks
}

pub(super) async fn tag(context: &Context, args: TagArgs) -> Result<u8, Failure> {
    let change = Change::Tag { which: by_id(&args.id)?, tag: args.tag, keep: args.keep };
    retag(context, &args.host, change, &args.reason, "tagged").await
}

pub(super) async fn untag(context: &Context, args: UntagArgs) -> Result<u8, Failure> {
    let change = Change::Untag { which: by_id(&args.id)?, tag: args.tag };
    retag(context, &args.host, change, &args.reason, "untagged").await
}

async fn retag(
    context: &Context,
    host: &HostName,
    change: Change,
    reason: &str,
    word: &str,
) -> Result<u8, Failure> {
    let said = order_one(context, host, change, reason, "tagging").await?;
    let [Said::Points(points)] = &said[..] else { return Err(AskError::Unexpected.into()) };
    let output = &context.output;
    for point in points {
        output.object("sternway.point/1.0", record(host, point));
        let kept =
            point.kept.as_ref().map_or(String::new(), |kept| format!("   kept for ever by {}", kept.owner));
        output.data(Line::new().add(Tone::Good, word).plain(format!(
            "   {host} {}   {}{kept}",
            point.id.short(),
            tags_words(&point.tags)
        )));
    }
    Ok(exit::DONE)
}

/// One signed order for one host; what it answers.
async fn order_one(
    context: &Context,
    host: &HostName,
    change: Change,
    reason: &str,
    doing: &str,
) -> Result<Vec<Said>, Failure> {
    let client = context.connect().await?;
    let chosen = choose_one(&client, host).await?;
    let key = load_key(context)?;
    let asks = vec![signer(context, &key, &chosen, reason).order(host, change)?];
    let heard = work_on(context, &client, asks, None, doing).await?;
    client.close().await;
    heard.only()
}

pub(super) async fn restore(context: &Context, args: RestoreArgs) -> Result<u8, Failure> {
    let which = by_id(&args.id)?;
    let into = args.into.unwrap_or_default();
    let place = match into.as_str() {
        "" => "beside what is there".to_owned(),
        into if into == args.path => "in the place of what is there, which is kept beside it".to_owned(),
        into => format!("to {into}, where nothing may be"),
    };
    let question = format!(
        "{} of point {} is restored on {} {place}. Type the host's name:",
        args.path, args.id, args.host
    );
    confirm(context, &question, args.host.as_str(), args.confirm.as_deref())?;
    let change = Change::Restore { which, path: args.path, into };
    let said = order_one(context, &args.host, change, &args.reason, "restoring").await?;
    let [Said::Restored { path, entries, bytes: length, old }] = &said[..] else {
        return Err(AskError::Unexpected.into());
    };
    let output = &context.output;
    output.object(
        "sternway.point-restored/1.0",
        json!({ "host": args.host, "path": path, "entries": entries, "bytes": length, "old": old }),
    );
    output.data(Line::new().add(Tone::Good, "restored").plain(format!(
        "   {path} on {}   {}, {}",
        args.host,
        if *entries == 1 { "1 entry".to_owned() } else { format!("{entries} entries") },
        bytes(*length)
    )));
    if let Some(old) = old {
        output.data(Line::new().plain(format!("what was there before is at {old} on {}", args.host)));
    }
    Ok(exit::DONE)
}

pub(super) async fn drill(context: &Context, args: DrillArgs) -> Result<u8, Failure> {
    let client = context.connect().await?;
    let chosen = choose(&client, args.hosts.select.as_deref()).await?;
    let key = load_key(context)?;
    let change = Change::Drill { service: args.service.clone() };
    let asks = signer(context, &key, &chosen, &args.reason).orders(&chosen.hosts, &change)?;
    let heard = work_on(context, &client, asks, args.hosts.timeout, "rehearsing").await?;
    client.close().await;
    let output = &context.output;
    let mut rows = Vec::new();
    let mut has_failed = false;
    for (host, told) in &heard.told {
        for answer in &told.answers {
            let Said::Drilled { service, drill } = answer else { continue };
            output.object(
                "sternway.drill/1.0",
                json!({ "host": host, "service": service, "at": super::iso(drill.at),
                        "took_ms": drill.took, "finding": drill.finding }),
            );
            has_failed |= drill.finding.is_some();
            let (tone, word) = match drill.finding {
                None => (Tone::Good, "came back the same"),
                Some(_) => (Tone::Bad, "DID NOT COME BACK"),
            };
            rows.push(vec![
                (Tone::Strong, host.to_string()),
                (Tone::Plain, service.clone()),
                (tone, word.to_owned()),
                (Tone::Plain, took(drill.took)),
                (Tone::Bad, drill.finding.clone().unwrap_or_default()),
            ]);
        }
    }
    output.lines(table(&rows));
    heard.complain(context);
    summary(context, &heard, "rehearsed", args.service);
    Ok(match heard.exit_code() {
        exit::DONE if has_failed => exit::DONE_WITH_EXCEPTIONS,
        code => code,
    })
}

#[cfg(test)]
mod tests {
    use super::super::asking::{End, Told};
    use super::*;
    use sternway_core::ids::PointId;
    use sternway_core::point::Origin;
    use sternway_core::time::Timestamp;

    fn point(number: u8, made: u64) -> Point {
        Point {
            id: PointId([number; 32]),
            made: Timestamp(made),
            service: "shop".into(),
            version: "1.3".into(),
            kind: Kind::Full,
            origin: Origin::Person,
            tags: vec![],
            kept: None,
            reason: String::new(),
            by: "ada".into(),
            paths: vec![],
            bytes: 0,
            files: 0,
            checked: None,
        }
    }

    #[test]
    fn only_the_newest_of_each_host_is_checked_when_that_is_wanted() {
        let told = |points| Told { answers: vec![Said::Points(points)], end: End::Done };
        let mut heard = Heard::default();
        // In two frames, and not in order.
        let mut first = told(vec![point(1, 10), point(2, 30)]);
        first.answers.push(Said::Points(vec![point(3, 20)]));
        heard.told.insert("web-1".parse().unwrap(), first);
        heard.told.insert("web-2".parse().unwrap(), told(vec![point(4, 5)]));
        heard.told.insert("web-3".parse().unwrap(), told(vec![]));
        let asks = newest(&heard, Depth::Full);
        let wanted: Vec<(String, Ask)> =
            asks.into_iter().map(|ask| (ask.host.to_string(), ask.ask)).collect();
        let of = |number| {
            let which = Want { id: Some(PointId([number; 32]).to_string()), ..Want::default() };
            Ask::Verify { which, depth: Depth::Full }
        };
        assert_eq!(wanted, [("web-1".to_owned(), of(2)), ("web-2".to_owned(), of(4))]);
    }
}
