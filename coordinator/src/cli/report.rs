//! The record of a rollout as a document: the machine fills in what it knows,
//! people find headed gaps for what only they know.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use sternway_core::exit;
use sternway_core::plan::select::fold;
use sternway_core::rollout::HostState;
use sternway_core::run::{Ending, Input};
use sternway_core::wire::{Answer, HostLine, LogLine, Request, RolloutView};

use super::Context;
use super::client::AskError;
use super::failure::Failure;
use super::text::{Line, clock, day_and_time, time_of_day};
use super::{story, words};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway report r-17                 Markdown on standard output
  sternway report r-17 --out INC-4127.md")]
pub struct ReportArgs {
    /// The rollout, or any beginning of its id that means one only [default: the newest]
    rollout: Option<String>,
    /// Write it here; a file that exists is left as it is
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub async fn report(context: &Context, args: ReportArgs) -> Result<u8, Failure> {
    let client = context.connect().await?;
    let view = client.look_at(args.rollout.as_deref()).await?;
    let mut answers = client.ask(&Request::Log { rollout: view.rollout.clone(), host: None }).await?;
    let mut lines = Vec::new();
    while let Some(answer) = answers.next().await? {
        let Answer::Line(line) = answer else { return Err(AskError::Unexpected.into()) };
        lines.push(line);
    }
    client.close().await;
    let text = markdown(&view, &lines);
    if let Some(path) = &args.out {
        // What people wrote into an earlier one must not be lost.
        let written = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
        written
            .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
            .map_err(|cause| Failure::File { doing: "write", path: path.clone(), cause })?;
        context.output.talk(format!("written   {}", path.display()));
        return Ok(exit::DONE);
    }
    context.output.object("sternway.report/1.0", json!({ "rollout": view.rollout, "markdown": text }));
    text.lines().for_each(|line| context.output.data_whole(Line::from(line)));
    Ok(exit::DONE)
}

/// A line that belongs into a timeline people read: decisions and endings, not phases.
fn is_milestone(line: &LogLine) -> bool {
    match &line.what {
        HostLine::Decided(_) | HostLine::Refused { .. } | HostLine::Remarked { .. } => true,
        HostLine::Host { input, .. } => match input {
            Input::Settled { ending } => *ending != Ending::Finished,
            Input::Health { .. } | Input::UndoOrdered { .. } | Input::CutOff | Input::Rejoined => true,
            Input::HaltedLocally { .. } | Input::ResumedLocally { .. } | Input::PermittedHere { .. } => true,
            _ => false,
        },
        HostLine::Call { .. } => false,
    }
}

fn hosts_in(view: &RolloutView, wanted: impl Fn(&HostState) -> bool) -> (usize, String) {
    let hosts = view.status.hosts.iter().filter(|host| wanted(&host.state)).map(|host| host.host.as_str());
    let hosts: Vec<&str> = hosts.collect();
    (hosts.len(), fold(hosts))
}

/// The whole report. Texts of plans and hosts are escaped so that they stay texts.
pub fn markdown(view: &RolloutView, lines: &[LogLine]) -> String {
    let mut out = String::new();
    let budget =
        view.budget.map_or_else(|| "no budget given".into(), |budget| format!("{} promised", clock(budget)));
    let signers: Vec<&str> = view.signers.iter().map(|person| person.as_str()).collect();
    let urgency = match view.urgency.is_emergency() {
        true => format!("**{}**", words::EMERGENCY),
        false => "normal".into(),
    };
    let facts = [
        ("Urgency", urgency),
        ("Rollout", view.rollout.to_string()),
        ("Plan", format!("{} (sha256:{})", view.plan_name, view.plan)),
        ("Change", format!("{} {} → {}", view.service, view.from, view.to)),
        ("Signed by", signers.join(", ")),
        ("Launched", format!("{} by {}", day_and_time(view.launched_at), view.launched_by)),
        ("Took", format!("{}, {budget}", clock(words::elapsed(view)))),
    ];
    let _ = writeln!(out, "# {}: {} {} → {}\n", view.plan_name, view.service, view.from, view.to);
    let (finished, _) = hosts_in(view, |state| matches!(state, HostState::Done));
    let _ = writeln!(
        out,
        "**Outcome: {}; {finished} of {} hosts at {}, exit {}**\n",
        words::state_word(&view.status.state),
        view.status.hosts.len(),
        view.to,
        view.status.exit_code()
    );
    for (name, value) in facts {
        let _ = writeln!(out, "- {name}: {}", inert(&value));
    }
    let _ = writeln!(out, "\n## Hosts\n");
    for (title, (count, folded)) in [
        ("at the version wanted", hosts_in(view, |state| matches!(state, HostState::Done))),
        (
            "undone, as they were before",
            hosts_in(view, |state| matches!(state, HostState::Undone { .. } | HostState::PutBack)),
        ),
        ("could not take part", hosts_in(view, |state| matches!(state, HostState::Refused { .. }))),
        ("need a person", hosts_in(view, |state| matches!(state, HostState::NeedsOperator { .. }))),
    ] {
        if count > 0 {
            let _ = writeln!(out, "- {count} {title}: {folded}");
        }
    }
    let _ = writeln!(
        out,
        "\n## Waves\n\n| wave | hosts | gate | finished | failed | silent |\n|---|---|---|---|---|---|"
    );
    for (at, wave) in view.status.waves.iter().enumerate() {
        let name =
            wave.name.as_deref().map_or_else(|| (at + 1).to_string(), |name| format!("{} {name}", at + 1));
        let (folded, tally) = (fold(wave.hosts.iter().map(|host| host.as_str())), &wave.tally);
        let (gate, finished, failed, silent) = (&wave.gate.name, tally.finished, tally.failed, tally.silent);
        let _ = writeln!(out, "| {} | {folded} | {gate} | {finished} | {failed} | {silent} |", inert(&name));
    }
    let _ = writeln!(out, "\n## Timeline (UTC)\n\n| time | entry | what |\n|---|---|---|");
    for line in lines.iter().filter(|line| is_milestone(line)) {
        let what = inert(&story::in_words(line, view));
        let _ = writeln!(out, "| {} | {} | {what} |", time_of_day(line.at), line.sequence);
    }
    for (title, question) in [
        ("Impact", "Who noticed what, from when to when, in figures."),
        ("Cause", "What made it necessary to go back."),
        ("Detection", "Who or what noticed, and how long after."),
        ("What went well", ""),
        ("What went badly", ""),
        ("Actions", "What, who, until when."),
    ] {
        let _ = writeln!(out, "\n## {title}\n\n<!-- to be written by people. {question} -->");
    }
    out
}

/// Text that cannot become markup, a table cell or a control sequence.
fn inert(text: &str) -> String {
    let escaped = super::text::escape(text);
    escaped.chars().fold(String::new(), |mut out, c| {
        match c {
            '<' => out.push_str("&lt;"),
            '|' => out.push_str("\\|"),
            '\n' => out.push(' '),
            other => out.push(other),
        }
        out
    })
}
