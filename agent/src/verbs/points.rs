//! `points create | list | verify`.

use std::path::Path;

use clap::Subcommand;
use sternway_agent::capabilities::files::HostPath;
use sternway_agent::config::Config;
use sternway_agent::crash;
use sternway_agent::host::Host;
use sternway_agent::points::PointInfo;

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
    #[error("no point's id begins with `{0}`; `sternway-agent points list` shows them")]
    Unknown(String),
    #[error("`{0}` is the beginning of {1} ids; give more of it")]
    Ambiguous(String, usize),
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
            show(&points.create(tag, reason, &paths)?, json, None);
        }
        Points::List => points.list()?.iter().for_each(|point| show(point, json, None)),
        Points::Verify { full, id } => {
            let wanted = chosen(points.list()?, id.as_deref())?;
            let mut bad = 0;
            for point in &wanted {
                let checked = points.verify(&point.id, *full);
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

fn chosen(points: Vec<PointInfo>, id: Option<&str>) -> Result<Vec<PointInfo>, PointsVerbError> {
    let Some(id) = id else { return Ok(points) };
    let found: Vec<PointInfo> = points.into_iter().filter(|point| point.id.starts_with(id)).collect();
    match found.len() {
        0 => Err(PointsVerbError::Unknown(id.into())),
        1 => Ok(found),
        count => Err(PointsVerbError::Ambiguous(id.into(), count)),
    }
}

fn show(point: &PointInfo, json: bool, checked: Option<Result<(), String>>) {
    if json {
        let mut value = serde_json::json!({
            "format": "sternway.point/1.0", "id": point.id, "tag": point.tag, "reason": point.reason,
            "made_ms": point.made_ms, "paths": point.paths, "bytes": point.bytes,
        });
        if let Some(checked) = checked {
            value["good"] = checked.is_ok().into();
            value["finding"] = checked.err().into();
        }
        return output::line(&value.to_string());
    }
    let made = i64::try_from(point.made_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let made = made.map_or_else(String::new, |made| made.strftime("%Y-%m-%d %H:%M:%SZ").to_string());
    let verdict = match checked {
        None => String::new(),
        Some(Ok(())) => "  good".into(),
        Some(Err(finding)) => format!("  BAD: {finding}"),
    };
    let id: String = point.id.chars().take(8).collect();
    output::line(&format!(
        "{id}  {made}  {:<20}  {:>12} bytes  {}{verdict}",
        point.tag,
        point.bytes,
        point.paths.join(" ")
    ));
}
