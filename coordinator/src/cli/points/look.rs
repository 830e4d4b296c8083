//! One point, looked at: what it holds, and how it differs from its host as it
//! is or from another point.

use serde_json::json;
use sternway_core::exit;
use sternway_core::ids::HostName;
use sternway_core::point::{Answer as Said, Ask, Depth, Difference, DifferenceKind, Manifest, Point, Want};
use sternway_core::time::Timestamp;
use sternway_core::wire::PointAsk;

use super::asking::choose_one;
use super::{DiffArgs, ShowArgs, by_id, look_up, origin_words, record, tags_words, work_on};
use crate::cli::Context;
use crate::cli::client::AskError;
use crate::cli::failure::Failure;
use crate::cli::text::{Line, Tone, age, bytes, count, day_and_time, table};

const WORD_COLUMNS: usize = 10;

/// One question to one host; what it answers.
async fn ask_one(context: &Context, host: &HostName, ask: Ask) -> Result<Vec<Said>, Failure> {
    let client = context.connect().await?;
    choose_one(&client, host).await?;
    let asks = vec![PointAsk { host: host.clone(), ask }];
    let heard = look_up(context, &client, asks, None).await?;
    client.close().await;
    heard.only()
}

pub(super) async fn show(context: &Context, args: ShowArgs) -> Result<u8, Failure> {
    let want = args.which.want(args.id.as_deref())?;
    let said = ask_one(context, &args.host, Ask::Show(want)).await?;
    let (point, manifest, location, snapshot) = whole(said).ok_or(AskError::Unexpected)?;
    let output = &context.output;
    let mut object = record(&args.host, &point);
    object["location"] = json!(location);
    object["snapshot"] = json!(snapshot);
    object["manifest"] = json!(manifest);
    output.object("sternway.point/1.0", object);
    output.lines(held(&args.host, &point, &manifest, (&location, &snapshot), context.now()));
    Ok(if point.is_good() { exit::DONE } else { exit::DONE_WITH_EXCEPTIONS })
}

/// One manifest of as many answers as its pieces took.
fn whole(said: Vec<Said>) -> Option<(Point, Manifest, String, String)> {
    let mut whole: Option<(Point, Manifest, String, String)> = None;
    for answer in said {
        let Said::Manifest { point, manifest, location, snapshot } = answer else { return None };
        match &mut whole {
            None => whole = Some((*point, *manifest, location, snapshot)),
            Some((_, first, ..)) => first.pieces.extend(manifest.pieces),
        }
    }
    whole
}

fn held(
    host: &HostName,
    point: &Point,
    manifest: &Manifest,
    (location, snapshot): (&str, &str),
    now: Timestamp,
) -> Vec<Line> {
    let fact = |word: &str, tone: Tone, words: String| {
        Line::new().add(Tone::Dim, word).pad_to(WORD_COLUMNS).add(tone, words)
    };
    let version = if point.version.is_empty() { String::new() } else { format!(" {}", point.version) };
    let kept = match &point.kept {
        Some(kept) => {
            format!("for ever, by {} since {}: {}", kept.owner, day_and_time(kept.since), kept.reason)
        }
        None => "as long as the host's rules say".into(),
    };
    let (tone, checked) = match &point.checked {
        None => (Tone::Warn, "never".into()),
        Some(checked) => {
            let what = match checked.depth {
                Depth::Full => "every byte",
                Depth::Quick => "index and trees",
            };
            let ago = age(now.since(checked.at));
            match &checked.finding {
                None => (Tone::Good, format!("{what}, {ago} ago: good")),
                Some(finding) => (Tone::Bad, format!("{what}, {ago} ago: BAD: {finding}")),
            }
        }
    };
    let mut lines = vec![
        fact("point", Tone::Strong, format!("{}   {}{version} on {host}", point.id, point.service)),
        fact(
            "made",
            Tone::Plain,
            format!(
                "{}, {} ago, {}, {}",
                day_and_time(point.made),
                age(now.since(point.made)),
                origin_words(point),
                point.kind.name()
            ),
        ),
        fact("why", Tone::Plain, point.reason.clone()),
        fact("tags", Tone::Plain, tags_words(&point.tags)),
        fact("kept", Tone::Plain, kept),
        fact("checked", tone, checked),
        fact(
            "size",
            Tone::Plain,
            format!(
                "{} in {}",
                bytes(point.bytes),
                count(usize::try_from(point.files).unwrap_or(usize::MAX), "file")
            ),
        ),
        fact("location", Tone::Plain, format!("{location}   restic calls it {snapshot}")),
        fact("paths", Tone::Plain, point.paths.join(" ")),
        Line::new(),
    ];
    let mut rows = vec![
        ["HOLDS", "NAME", "ENTRIES", "SIZE", "", "DIGEST"].map(|word| (Tone::Dim, word.to_owned())).to_vec(),
    ];
    rows.extend(manifest.pieces.iter().map(|piece| {
        vec![
            (Tone::Plain, piece.kind.name().to_owned()),
            (Tone::Strong, piece.name.clone()),
            (Tone::Plain, piece.entries.to_string()),
            (Tone::Plain, bytes(piece.bytes)),
            (Tone::Plain, piece.note.clone()),
            (Tone::Dim, piece.digest.short()),
        ]
    }));
    lines.extend(table(&rows));
    lines
}

pub(super) async fn diff(context: &Context, args: DiffArgs) -> Result<u8, Failure> {
    let from = by_id(&args.id)?;
    let to: Option<Want> = args.other.as_deref().map(by_id).transpose()?;
    let client = context.connect().await?;
    choose_one(&client, &args.host).await?;
    let asks = vec![PointAsk { host: args.host.clone(), ask: Ask::Diff { from, to } }];
    let heard = work_on(context, &client, asks, None, "comparing").await?;
    client.close().await;
    let mut differences: Vec<Difference> = Vec::new();
    for answer in heard.only()? {
        let Said::Differences(some) = answer else { return Err(AskError::Unexpected.into()) };
        differences.extend(some);
    }
    let output = &context.output;
    output.object(
        "sternway.point-diff/1.0",
        json!({ "host": args.host, "from": args.id, "to": args.other, "differences": differences }),
    );
    output.lines(different(&differences));
    output.talk(match differences.len() {
        0 => "nothing differs".to_owned(),
        number => count(number, "difference"),
    });
    Ok(exit::DONE)
}

fn different(differences: &[Difference]) -> Vec<Line> {
    let rows: Vec<Vec<(Tone, String)>> = differences
        .iter()
        .map(|difference| {
            let (tone, sign) = match difference.kind {
                DifferenceKind::Added => (Tone::Good, "+"),
                DifferenceKind::Removed => (Tone::Bad, "-"),
                DifferenceKind::Content => (Tone::Warn, "~"),
                DifferenceKind::Metadata => (Tone::Dim, "m"),
            };
            vec![
                (tone, sign.to_owned()),
                (Tone::Plain, difference.path.clone()),
                (Tone::Dim, difference.detail.clone()),
            ]
        })
        .collect();
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::text::Look;

    #[test]
    fn a_difference_says_what_it_is_without_colour() {
        let difference =
            |path: &str, kind, detail: &str| Difference { path: path.into(), kind, detail: detail.into() };
        let lines = different(&[
            difference("/etc/a", DifferenceKind::Added, "12 bytes"),
            difference("/etc/b\u{1b}[2J", DifferenceKind::Removed, ""),
            difference("/etc/c", DifferenceKind::Content, "12 and 13 bytes"),
            difference("/etc/d", DifferenceKind::Metadata, "mode 644 and 600"),
        ]);
        let text: Vec<String> = lines.iter().map(|line| line.paint(Look::PLAIN)).collect();
        assert_eq!(
            text,
            [
                "+  /etc/a           12 bytes",
                "-  /etc/b\\u{1b}[2J",
                "~  /etc/c           12 and 13 bytes",
                "m  /etc/d           mode 644 and 600",
            ]
        );
    }
}
