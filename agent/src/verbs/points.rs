//! `points create | list | verify`.

use std::path::Path;

use clap::Subcommand;
use sternway_agent::capabilities::files::HostPath;
use sternway_agent::config::Config;
use sternway_agent::crash;
use sternway_agent::host::Host;
use sternway_agent::points::making::{Making, nobody};
use sternway_core::point::{Depth, Kind, Origin, PieceKind, Point, Want};

use crate::output::{self, Failure};

#[derive(Debug, Subcommand)]
pub(crate) enum Points {
    /// Keep these paths as they are now.
    Create {
        /// By which plans find it, such as `before-1.3`.
        #[arg(long)]
        tag: String,
        #[arg(long, default_value = "")]
        reason: String,
        /// Files and folders, as the host knows them.
        #[arg(required = true)]
        paths: Vec<String>,
    },
    /// All points, newest first.
    List,
    /// Check that a point, or every point, can be restored.
    Verify {
        /// Read every byte, not only the index and the trees.
        #[arg(long)]
        full: bool,
        /// The beginning of a point's id.
        id: Option<String>,
    },
}

#[derive(Debug, thiserror::Error)]
enum PointsVerbError {
    #[error("`{path}` cannot be kept: {reason}")]
    Path { path: String, reason: String },
    #[error("{bad} of {all} points cannot be restored")]
    Bad { bad: usize, all: usize },
}

pub(crate) fn run(verb: &Points, config: &Path, json: bool) -> Result<(), Failure> {
    crash::arm();
    let host = Host::new(&Config::load(config)?)?;
    let points = host.points()?;
    match verb {
        Points::Create { tag, reason, paths } => {
            let paths: Vec<HostPath> = paths.iter().map(|path| host_path(path)).collect::<Result<_, _>>()?;
            let making = Making {
                service: String::new(),
                version: String::new(),
                kind: Kind::Full,
                origin: Origin::Person,
                tags: vec![tag.clone()],
                reason: reason.clone(),
                by: "host".to_owned(),
                paths: paths.into_iter().map(|path| (PieceKind::Files, path)).collect(),
                extras: Vec::new(),
            };
            show(&points.make(making, &nobody())?, json, None);
        }
        Points::List => points.list()?.iter().for_each(|point| show(point, json, None)),
        Points::Verify { full, id } => {
            let wanted = points.find(&Want { id: id.clone(), ..Want::default() })?;
            let depth = if *full { Depth::Full } else { Depth::Quick };
            let mut bad = 0;
            for point in &wanted {
                let checked = points.verify(point.id, depth, &nobody());
                bad += usize::from(checked.is_err());
                show(point, json, Some(checked.map_err(|error| error.to_string())));
            }
            if bad > 0 {
                Err(PointsVerbError::Bad { bad, all: wanted.len() })?;
            }
        }
    }
    Ok(())
}

fn host_path(path: &str) -> Result<HostPath, PointsVerbError> {
    HostPath::parse(path)
        .map_err(|error| PointsVerbError::Path { path: path.into(), reason: error.message.clone() })
}

fn show(point: &Point, json: bool, checked: Option<Result<(), String>>) {
    if json {
        let mut value = serde_json::json!({
            "format": "sternway.point/1.0", "id": point.id, "tag": point.tags.first(), "reason": point.reason,
            "made_ms": point.made.0, "paths": point.paths, "bytes": point.bytes,
        });
        if let Some(checked) = checked {
            value["good"] = checked.is_ok().into();
            value["finding"] = checked.err().into();
        }
        return output::line(&value.to_string());
    }
    let made = i64::try_from(point.made.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let made = made.map_or_else(String::new, |made| made.strftime("%Y-%m-%d %H:%M:%SZ").to_string());
    let verdict = match checked {
        None => String::new(),
        Some(Ok(())) => "  good".into(),
        Some(Err(finding)) => format!("  BAD: {finding}"),
    };
    let id = point.id.short();
    output::line(&format!(
        "{id}  {made}  {:<20}  {:>12} bytes  {}{verdict}",
        point.tags.join(" "),
        point.bytes,
        point.paths.join(" ")
    ));
}
