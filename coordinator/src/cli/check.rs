//! `sternway check`: every problem of a plan at once, before anybody signs it.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use sternway_core::exit;
use sternway_core::manifest::Catalogue;
use sternway_core::plan::problem::count;
use sternway_core::plan::seal::Summary;
use sternway_core::time::Millis;

use crate::draft::{self, JsonProblem, Loaded};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway check plan.toml
  sternway check plan.toml --fleet fleet.toml
  sternway check plan.toml --json | jq .problems")]
pub(crate) struct CheckArgs {
    /// The plan
    pub(crate) file: PathBuf,
    /// A file of [[host]] tables to judge the selection and the waves against
    #[arg(long, value_name = "FLEET.toml")]
    pub(crate) fleet: Option<PathBuf>,
    /// One JSON object instead of pictures
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Serialize)]
struct JsonReport<'a> {
    format: &'static str,
    file: String,
    problems: Vec<JsonProblem<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<Summary>,
}

/// Writes the problems, or one line that says what the plan comes to. The
/// answer is the exit code: 0, or 64 when the plan has problems.
pub(crate) fn check(
    args: &CheckArgs,
    catalogue: &Catalogue,
    out: &mut dyn Write,
    color: bool,
) -> std::io::Result<u8> {
    let bytes = read(&args.file)?;
    let inventory = match &args.fleet {
        None => None,
        Some(path) => {
            let text = String::from_utf8(read(path)?).map_err(std::io::Error::other)?;
            match draft::read_inventory(&text) {
                Ok(inventory) => Some(inventory.hosts),
                Err(error) => {
                    writeln!(out, "error: {error}\n  in {}", path.display())?;
                    if let Some(cause) = std::error::Error::source(&error) {
                        writeln!(out, "{cause}")?;
                    }
                    return Ok(exit::INVALID);
                }
            }
        }
    };
    let loaded = draft::load(&bytes, catalogue, inventory.as_deref());
    let code = if loaded.has_errors() { exit::INVALID } else { exit::DONE };
    let file = args.file.display().to_string();
    let summary = (code == exit::DONE).then(|| loaded.draft.summary(inventory.as_deref()));
    if args.json {
        let problems = draft::to_json(&loaded.problems, &loaded.draft.text);
        serde_json::to_writer(
            &mut *out,
            &JsonReport { format: "sternway.check/1.0", file, problems, summary },
        )?;
        writeln!(out)?;
        return Ok(code);
    }
    write!(out, "{}", in_words(&loaded, &file, summary.as_ref(), color))?;
    Ok(code)
}

fn in_words(loaded: &Loaded, file: &str, summary: Option<&Summary>, color: bool) -> String {
    let mut words = draft::render(&loaded.problems, file, &loaded.draft.text, color);
    if let Some(summary) = summary {
        words.push_str(&format!("{file}: {}\n", line(summary)));
    }
    words
}

/// `12 hosts in 4 waves (1, 3, 6, 12), 6 steps, 2 signatures, soaks 2m of 30m`.
fn line(summary: &Summary) -> String {
    let waves = format!("{} ({})", count(summary.waves, "wave"), summary.sizes.join(", "));
    let spread = match summary.hosts {
        Some(hosts) => format!("{} in {waves}", count(hosts, "host")),
        None => waves,
    };
    let soaks = Millis(summary.soak_ms);
    let time = match summary.budget_ms {
        Some(budget_ms) => format!("soaks {soaks} of {}", Millis(budget_ms)),
        None => format!("soaks {soaks}"),
    };
    let signatures = count(summary.signatures as usize, "signature");
    format!("{spread}, {}, {signatures}, {time}", count(summary.steps, "step"))
}

/// At most a little more than a plan may have, so that no file fills the memory.
fn read(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    const BYTES_MAX: u64 = 16 * 1024 * 1024;
    let wrong = |error: std::io::Error| {
        std::io::Error::new(error.kind(), format!("could not read `{}`: {error}", path.display()))
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(wrong)?.take(BYTES_MAX).read_to_end(&mut bytes).map_err(wrong)?;
    Ok(bytes)
}
