//! Rollback points of the fleet: which there are, whether they are good, and
//! the signed orders that make, keep, drop, rehearse and restore them.

pub mod asking;
pub mod list;
mod look;
mod orders;
pub mod progress;
mod prune;
mod work;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use sternway_core::ids::{HostName, is_disguise};
use sternway_core::point::{Ask, BEGINNING_MIN, Kind, Origin, Point, Want};
use sternway_core::time::Millis;
use sternway_core::wire::PointAsk;

use super::Context;
use super::brake::NO_REASON;
use super::client::Client;
use super::failure::Failure;
use super::text::iso;
use asking::{Heard, LOOKS_WITHIN, ask};
use progress::Show;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway points list                                 the newest of each host, folded
  sternway points list 'zone=b' --tag before-1.3 --missing
  sternway points create 'service=shop' --service shop --tag before-1.3
  sternway points verify --full --newest
  sternway points prune                                shows what would go, and drops nothing

Exit codes: 0 all hosts, 3 some not, 2 wrong use, 65 refused, 69 not reachable, 77 not permitted, 130 called off.")]
pub struct PointsArgs {
    #[command(subcommand)]
    verb: PointsVerb,
}

#[derive(Debug, Subcommand)]
enum PointsVerb {
    /// Make a point on each host (signed)
    Create(CreateArgs),
    /// Show which points there are, oldest worry first
    List(ListArgs),
    /// Show what one point holds
    Show(ShowArgs),
    /// Check that points can be restored
    Verify(VerifyArgs),
    /// Tag a point, or keep it for ever (signed)
    Tag(TagArgs),
    /// Take a tag away, or no longer keep it for ever (signed)
    Untag(UntagArgs),
    /// Show what may go, and drop it when its number is confirmed (signed)
    Prune(PruneArgs),
    /// Compare a point with its host as it is, or with another point
    Diff(DiffArgs),
    /// Restore one path of a point (signed)
    Restore(RestoreArgs),
    /// Rehearse: restore the newest point beside, compare, take it away (signed)
    Drill(DrillArgs),
}

/// As it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KindName {
    /// Everything the service is made of
    Full,
    /// One part of it
    Component,
    /// Configuration, units, flags and environment
    Config,
    /// Databases
    Data,
}

impl From<KindName> for Kind {
    fn from(name: KindName) -> Self {
        match name {
            KindName::Full => Self::Full,
            KindName::Component => Self::Component,
            KindName::Config => Self::Config,
            KindName::Data => Self::Data,
        }
    }
}

/// Which hosts, and how long one waits for them.
#[derive(Debug, Args)]
struct Hosts {
    /// Which hosts: labels and names joined with & | ! and parentheses [default: all]
    select: Option<String>,
    /// Give up when no host has said anything for so long
    #[arg(long, value_name = "TIME")]
    timeout: Option<Millis>,
}

/// Which points.
#[derive(Debug, Clone, Args)]
struct Which {
    /// Only of this service
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Only with this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Only of this kind
    #[arg(long, value_enum, value_name = "KIND")]
    kind: Option<KindName>,
}

impl Which {
    fn want(&self, id: Option<&str>) -> Result<Want, Failure> {
        let id = id.map(|id| beginning(id).map(str::to_owned)).transpose()?;
        Ok(Want { service: self.service.clone(), tag: self.tag.clone(), kind: self.kind.map(Kind::from), id })
    }
}

/// The beginning of a point's id, long enough to mean something.
fn beginning(id: &str) -> Result<&str, Failure> {
    let is_hexadecimal = id.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
    match is_hexadecimal && (BEGINNING_MIN..=64).contains(&id.len()) {
        true => Ok(id),
        false => Err(Failure::usage(format!(
            "`{}` is not the beginning of a point's id: at least {BEGINNING_MIN} of its digits",
            super::text::escape(id)
        ))
        .hinted("they are shown by: sternway points list --all")),
    }
}

fn by_id(id: &str) -> Result<Want, Failure> {
    Ok(Want { id: Some(beginning(id)?.to_owned()), ..Want::default() })
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway points create --service shop --tag before-1.3 --reason 'before the migration'
  sternway points create 'zone=b' --service shop --component api --tag api-1.3
  sternway points create demo-03 --path /etc/nginx --tag nginx-by-hand")]
struct CreateArgs {
    #[command(flatten)]
    hosts: Hosts,
    /// A service, as the hosts' configuration describes it
    #[arg(long, required_unless_present = "paths")]
    service: Option<String>,
    /// A file or folder to keep, instead of what the configuration says
    #[arg(long = "path", value_name = "PATH")]
    paths: Vec<String>,
    /// By which plans find it, such as before-1.3
    #[arg(long)]
    tag: String,
    /// How much of the service [default: full, or component]
    #[arg(long, value_enum)]
    kind: Option<KindName>,
    /// One part of the service
    #[arg(long, value_name = "NAME")]
    component: Option<String>,
    /// The version that runs [default: as the host finds it out]
    #[arg(long = "version", value_name = "VERSION")]
    runs: Option<String>,
    /// Why; kept with the point and in the audit
    #[arg(long, default_value = NO_REASON)]
    reason: String,
    /// A hook asks, before something is deployed
    #[arg(long)]
    hook: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway points list
  sternway points list demo-03                         each point of one host
  sternway points list --service shop --tag before-1.3 --missing
  sternway points list --json | jq 'select(.checked.finding)'

With --missing: 0 every host has such a point, 3 some have none or cannot be asked.")]
struct ListArgs {
    #[command(flatten)]
    hosts: Hosts,
    #[command(flatten)]
    which: Which,
    /// Every point on a line of its own
    #[arg(long, conflicts_with = "missing")]
    all: bool,
    /// Hosts that have no such point
    #[arg(long)]
    missing: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway points show demo-03                         the newest
  sternway points show demo-03 1f2e3d4c
  sternway points show demo-03 --tag before-1.3")]
struct ShowArgs {
    host: HostName,
    /// The beginning of its id [default: the newest]
    id: Option<String>,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway points verify                               the index and the trees of every point
  sternway points verify 'zone=b' --service shop --newest --full
  sternway points verify demo-03 --id 1f2e --full")]
struct VerifyArgs {
    #[command(flatten)]
    hosts: Hosts,
    #[command(flatten)]
    which: Which,
    /// The beginning of an id
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Only the newest of each host
    #[arg(long, conflicts_with = "id")]
    newest: bool,
    /// Read every byte, not only the index and the trees
    #[arg(long)]
    full: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway points tag demo-03 1f2e known-good --keep --reason 'last state before INC-4127'")]
struct TagArgs {
    host: HostName,
    /// The beginning of the point's id
    id: String,
    tag: String,
    /// Keep it for ever
    #[arg(long)]
    keep: bool,
    /// Why; kept with the point and in the audit
    #[arg(long, default_value = NO_REASON)]
    reason: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway points untag demo-03 1f2e known-good
  sternway points untag demo-03 1f2e                   no longer kept for ever; its tags stay")]
struct UntagArgs {
    host: HostName,
    /// The beginning of the point's id
    id: String,
    /// The tag; without one the point is no longer kept for ever
    tag: Option<String>,
    /// Why; kept in the audit
    #[arg(long, default_value = NO_REASON)]
    reason: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway points prune 'zone=b'                       shows what would go and why the rest stays
  sternway points prune 'zone=b' --confirm 37 --reason 'disk at 90 %'")]
struct PruneArgs {
    #[command(flatten)]
    hosts: Hosts,
    /// The number of points to drop on all hosts together, as it was shown
    #[arg(long, value_name = "N")]
    confirm: Option<String>,
    /// Why; kept in the audit
    #[arg(long, default_value = NO_REASON)]
    reason: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway points diff demo-03 1f2e                    what has changed on the host since
  sternway points diff demo-03 1f2e 77aa               what is different in the second")]
struct DiffArgs {
    host: HostName,
    /// The beginning of a point's id
    id: String,
    /// The beginning of another's [default: the host as it is]
    other: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway points restore demo-03 1f2e /etc/nginx/nginx.conf --into /root/nginx.conf.before
  sternway points restore demo-03 1f2e /etc/nginx --into /etc/nginx --confirm demo-03

Onto itself it takes the place of what is there, which is kept beside it; elsewhere nothing may be there.")]
struct RestoreArgs {
    host: HostName,
    /// The beginning of the point's id
    id: String,
    /// A path in the point, as the host knows it
    path: String,
    /// Where it shall be restored to [default: beside what is there]
    #[arg(long, value_name = "PATH")]
    into: Option<String>,
    /// The host's name, instead of typing it
    #[arg(long, value_name = "HOST")]
    confirm: Option<String>,
    /// Why; kept in the audit
    #[arg(long, default_value = NO_REASON)]
    reason: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway points drill --service shop
  sternway points drill 'zone=b' --service shop --reason 'quarterly'")]
struct DrillArgs {
    #[command(flatten)]
    hosts: Hosts,
    #[arg(long)]
    service: String,
    /// Why; kept in the audit
    #[arg(long, default_value = NO_REASON)]
    reason: String,
}

pub async fn points(context: &Context, args: PointsArgs) -> Result<u8, Failure> {
    match args.verb {
        PointsVerb::Create(args) => work::create(context, args).await,
        PointsVerb::List(args) => list::list(context, args).await,
        PointsVerb::Show(args) => look::show(context, args).await,
        PointsVerb::Verify(args) => work::verify(context, args).await,
        PointsVerb::Tag(args) => work::tag(context, args).await,
        PointsVerb::Untag(args) => work::untag(context, args).await,
        PointsVerb::Prune(args) => prune::prune(context, args).await,
        PointsVerb::Diff(args) => look::diff(context, args).await,
        PointsVerb::Restore(args) => work::restore(context, args).await,
        PointsVerb::Drill(args) => work::drill(context, args).await,
    }
}

/// Asks what hosts only have to look up.
async fn look_up(
    context: &Context,
    client: &Client,
    asks: Vec<PointAsk>,
    timeout: Option<Millis>,
) -> Result<Heard, Failure> {
    ask(client, asks, Some(timeout.unwrap_or(LOOKS_WITHIN)), &mut Show::nothing(context)).await
}

/// Asks for what may take hours, and shows how far it is.
async fn work_on(
    context: &Context,
    client: &Client,
    asks: Vec<PointAsk>,
    timeout: Option<Millis>,
    doing: &str,
) -> Result<Heard, Failure> {
    let mut show = Show::of(context, doing, asks.len())?;
    let heard = ask(client, asks, timeout, &mut show).await;
    show.finish();
    heard
}

/// A point as programs read it.
fn record(host: &HostName, point: &Point) -> Value {
    json!({
        "host": host,
        "id": point.id,
        "made": iso(point.made),
        "service": point.service,
        "version": point.version,
        "kind": point.kind,
        "origin": point.origin,
        "tags": point.tags,
        "kept": point.kept.as_ref().map(|kept| {
            json!({ "owner": kept.owner, "reason": kept.reason, "since": iso(kept.since) })
        }),
        "reason": point.reason,
        "by": point.by,
        "paths": point.paths,
        "bytes": point.bytes,
        "files": point.files,
        "checked": point.checked.as_ref().map(|checked| {
            json!({ "at": iso(checked.at), "depth": checked.depth, "finding": checked.finding })
        }),
    })
}

/// What a point was made for, in a word or two.
fn origin_words(point: &Point) -> String {
    match &point.origin {
        Origin::Person => format!("by {}", point.by),
        Origin::Hook => format!("by {}, on a hook's word", point.by),
        Origin::Schedule { name } => format!("by schedule {name}"),
        Origin::Safety { plan } => format!("before plan {} overwrites it", plan.short()),
    }
}

/// `nightly, before-1.3`.
fn tags_words(tags: &[String]) -> String {
    let shown: Vec<String> =
        tags.iter().map(|tag| tag.chars().filter(|c| !is_disguise(*c)).collect()).collect();
    if shown.is_empty() { "-".into() } else { shown.join(", ") }
}

/// Everything that was listed, newest first for each host.
fn points_of(heard: &Heard) -> Vec<(&HostName, &Point)> {
    let mut points: Vec<(&HostName, &Point)> = Vec::new();
    for (host, told) in &heard.told {
        for answer in &told.answers {
            match answer {
                sternway_core::point::Answer::Points(some) => {
                    points.extend(some.iter().map(|point| (host, point)));
                }
                sternway_core::point::Answer::Checked(point) => points.push((host, &**point)),
                _ => {}
            }
        }
    }
    points.sort_by(|a, b| a.0.cmp(b.0).then(b.1.made.cmp(&a.1.made)));
    points
}

/// Lists what is meant on these hosts.
async fn list_of(
    context: &Context,
    client: &Client,
    hosts: &[HostName],
    want: Want,
    timeout: Option<Millis>,
) -> Result<Heard, Failure> {
    look_up(context, client, asking::each(hosts, &Ask::List(want)), timeout).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_can_be_typed_as_it_is_named() {
        for typed in KindName::value_variants() {
            assert_eq!(typed.to_possible_value().unwrap().get_name(), Kind::from(*typed).name());
        }
        assert_eq!(KindName::value_variants().len(), Kind::ALL.len());
    }

    #[test]
    fn a_point_is_named_by_digits_enough() {
        assert!(beginning("1f2e").is_ok());
        for wrong in ["", "1f2", "1F2E", "latest", &"a".repeat(65)] {
            assert!(beginning(wrong).is_err(), "{wrong}");
        }
    }
}
