//! Who did what: read from the coordinator, and checked without believing it.

use clap::{Args, Subcommand};
use serde_json::json;
use sternway_core::exit;
use sternway_core::wire::{Answer, AuditLine, Request};

use super::Context;
use super::client::AskError;
use super::failure::Failure;
use super::text::{Line, Tone, day_and_time, iso, table};
use crate::audit::{LAUNCH_EMERGENCY, first_break};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway audit                 who did what, oldest first
  sternway audit --rollout r-17
  sternway audit verify          recompute the chain; exit code 65 when it is broken")]
pub struct AuditArgs {
    #[command(subcommand)]
    verb: Option<AuditVerb>,
    /// Only what concerns this rollout
    #[arg(long, value_name = "R")]
    rollout: Option<String>,
}

#[derive(Debug, Subcommand)]
enum AuditVerb {
    /// Recompute the chain over all lines
    Verify,
}

pub async fn audit(context: &Context, args: AuditArgs) -> Result<u8, Failure> {
    let verify = matches!(args.verb, Some(AuditVerb::Verify));
    if verify && args.rollout.is_some() {
        return Err(Failure::usage("the chain goes over all lines: --rollout cannot be verified by itself"));
    }
    let client = context.connect().await?;
    let rollout = match &args.rollout {
        Some(wanted) => Some(client.resolve(Some(wanted)).await?),
        None => None,
    };
    let mut answers = client.ask(&Request::Audit { rollout }).await?;
    let mut lines = Vec::new();
    while let Some(answer) = answers.next().await? {
        let Answer::Audit(line) = answer else { return Err(AskError::Unexpected.into()) };
        lines.push(line);
    }
    client.close().await;
    if verify { judge(context, &lines) } else { list(context, &lines) }
}

fn judge(context: &Context, lines: &[AuditLine]) -> Result<u8, Failure> {
    if let Some(sequence) = first_break(lines) {
        return Err(Failure::Refused {
            message: format!("the audit's chain is broken at line {sequence}"),
            cause: None,
        });
    }
    let head = lines.last().map_or("", |line| line.hash.as_str());
    let output = &context.output;
    output.object("sternway.audit/1.0", json!({ "good": true, "lines": lines.len(), "head": head }));
    output.data(
        Line::new().add(Tone::Good, "good").pad_to(10).plain(format!("{} lines, head {head}", lines.len())),
    );
    output.talk("          keep the head elsewhere: whoever rewrites everything cannot rewrite it there");
    Ok(exit::DONE)
}

fn list(context: &Context, lines: &[AuditLine]) -> Result<u8, Failure> {
    let output = &context.output;
    output.object("sternway.audit/1.0", json!({ "lines": lines.len() }));
    for line in lines {
        output.record(&json!({
            "seq": line.sequence,
            "at": iso(line.at),
            "person": line.person,
            "action": line.action,
            "rollout": line.rollout,
            "detail": line.detail,
            "hash": line.hash,
        }));
    }
    let rows: Vec<Vec<(Tone, String)>> = lines
        .iter()
        .map(|line| {
            let rollout = line.rollout.as_ref().map_or("-", |rollout| rollout.as_str());
            vec![
                (Tone::Dim, line.sequence.to_string()),
                (Tone::Plain, day_and_time(line.at)),
                (Tone::Strong, line.person.to_string()),
                (if line.action == LAUNCH_EMERGENCY { Tone::Bad } else { Tone::Plain }, line.action.clone()),
                (Tone::Plain, rollout.to_owned()),
                (Tone::Plain, line.detail.clone()),
            ]
        })
        .collect();
    output.lines(table(&rows));
    Ok(exit::DONE)
}
