//! What a person is about to sign, read from the exact bytes that the
//! signature will cover: nothing of it comes from the file it was made of.

use sternway_core::ids::{HostName, PlanId};
use sternway_core::manifest::Class;
use sternway_core::plan::select::fold;
use sternway_core::plan::{CutOff, Plan, PointCheck, Severity, Step, Undo};
use sternway_core::time::Timestamp;

use crate::cli::text::{Line, Tone, count, day_and_time, table};
use crate::cli::words;

const WORD_COLUMNS: usize = 10;

fn row(word: &str, text: impl AsRef<str>) -> Line {
    Line::new().add(Tone::Strong, word).pad_to(WORD_COLUMNS).plain(text)
}

/// Every line that matters; long ones are not cut, so print them whole.
pub fn lines(plan: &Plan, id: PlanId, now: Timestamp) -> Vec<Line> {
    let Plan { name, service, from, to, author, reason, .. } = plan;
    let mut lines = vec![
        Line::new()
            .add(Tone::Strong, name)
            .plain(format!("   {service} {from} → {to}   severity {}", severity(plan.severity))),
        row("plan", format!("sha256:{id}")),
        row("fleet", plan.fleet.to_string()),
        row("reason", reason),
        row("author", author),
        validity(plan, now),
        row("approval", approval(plan)),
        row("hosts", format!("{}: {}", count(plan.hosts.len(), "host"), folded(&plan.hosts))),
    ];
    if plan.urgency.is_emergency() {
        let route = "a host may take it with fewer signatures, as its keyring says under [emergency]";
        lines.insert(
            0,
            Line::new().add(Tone::Bad, words::EMERGENCY).pad_to(WORD_COLUMNS).add(Tone::Bad, route),
        );
    }
    if let Some(point) = &plan.point {
        let age = point.age_max.map_or_else(String::new, |age| format!(", at most {age} old"));
        let check = match point.verify {
            PointCheck::Quick => "quick",
            PointCheck::Full => "full",
        };
        lines.push(row("point", format!("each host's {}{age}, {check} check", point.choice)));
    }
    lines.push(Line::new());
    lines.extend(waves(plan));
    lines.push(row("pace", pace(plan)));
    lines.push(Line::new());
    for (at, step) in plan.steps.iter().enumerate() {
        lines.extend(step_lines(at, step));
    }
    lines.push(Line::new());
    lines.extend(plan.plugins.iter().enumerate().map(|(at, pin)| {
        let word = if at == 0 { "plugins" } else { "" };
        row(word, format!("{} {}   sha256:{}   {} bytes", pin.name, pin.version, pin.sha256, pin.bytes))
    }));
    lines
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    }
}

fn validity(plan: &Plan, now: Timestamp) -> Line {
    let words = format!("{} to {}", day_and_time(plan.issued), day_and_time(plan.expires));
    let line = row("valid", words);
    if now >= plan.expires { line.add(Tone::Bad, "   expired: no host will start it") } else { line }
}

fn approval(plan: &Plan) -> String {
    let mut words = format!("{} of distinct persons", count(plan.approval.signatures.into(), "signature"));
    if !plan.approval.from.is_empty() {
        let groups: Vec<&str> = plan.approval.from.iter().map(|group| group.as_str()).collect();
        words.push_str(&format!(", one each of {}", groups.join(", ")));
    }
    words.push_str(if plan.approval.author {
        "; the author's own counts"
    } else {
        "; the author's own does not count"
    });
    words
}

fn folded(hosts: &[HostName]) -> String {
    fold(hosts.iter().map(HostName::as_str))
}

fn waves(plan: &Plan) -> Vec<Line> {
    let plain = |text: &str| (Tone::Plain, text.to_owned());
    let head = ["WAVE", "HOSTS", "SOAK", "GATE", "WHO"].map(|word| (Tone::Dim, word.to_owned())).to_vec();
    let mut rows = vec![head];
    for (at, wave) in plan.waves.iter().enumerate() {
        let name = wave.name.as_ref().map_or_else(String::new, |name| format!(" {name}"));
        let gate = format!("{}: failed {}, silent {}", wave.gate.name, wave.gate.failed, wave.gate.silent);
        let approve =
            wave.approve.as_ref().map_or_else(String::new, |group| format!("   someone of {group} says go"));
        rows.push(vec![
            plain(&format!("{}{name}", at + 1)),
            plain(&wave.hosts.len().to_string()),
            plain(&wave.soak.to_string()),
            plain(&gate),
            plain(&format!("{}{approve}", folded(&wave.hosts))),
        ]);
    }
    table(&rows)
}

fn pace(plan: &Plan) -> String {
    let pace = &plan.pace;
    let cut_off = match pace.cut_off {
        CutOff::FinishHost => "finishes its host",
        CutOff::Hold => "ends its step and waits",
        CutOff::Undo => "puts back what it did",
    };
    format!(
        "{} at once; {} may fail, {} may be silent in all; ready within {}; silent after {}; an agent that is cut off {cut_off}",
        count(pace.at_once as usize, "host"),
        pace.failed,
        pace.silent,
        pace.stage_within,
        pace.silent_after
    )
}

fn step_lines(at: usize, step: &Step) -> Vec<Line> {
    let class = match step.class {
        Class::Observe => "reads only",
        Class::Converge | Class::StagedSwap | Class::Keyed => "may run again after a crash",
        Class::Probe => "looks before it runs again",
        Class::OneShot => "a person decides after a crash",
    };
    let mut lines = vec![
        Line::new()
            .add(Tone::Strong, format!("step {}", at + 1))
            .pad_to(WORD_COLUMNS)
            .plain(&step.name)
            .add(Tone::Dim, format!("   {}, {class}, at most {} a phase", step.uses, step.timeout)),
    ];
    lines.extend(settings(&step.settings).into_iter().map(|text| row("", format!("  {text}"))));
    lines.push(match &step.undo {
        Undo::ByPlugin => row("  undo", "by the plugin"),
        Undo::Settings(text) => row("  undo", settings(text).join("   ")),
        Undo::Nothing => {
            Line::new().add(Tone::Bad, "  undo").pad_to(WORD_COLUMNS).add(Tone::Bad, "none: no way back")
        }
    });
    lines.extend(step.wait.map(|wait| row("  wait", format!("{wait} afterwards"))));
    lines.extend(
        step.confirm.map(|within| {
            row("  confirm", format!("reached from outside within {within}, or all is put back"))
        }),
    );
    if step.pivot {
        lines.push(
            Line::new()
                .add(Tone::Bad, "  pivot")
                .pad_to(WORD_COLUMNS)
                .plain("from here on only a person's word undoes anything"),
        );
    }
    lines.extend(
        step.grants.iter().map(|grant| row("  may", format!("{}: {}", grant.power, grant.scopes.join(" ")))),
    );
    lines
}

/// `key = value`, one each; a text that is no table is shown as it is.
fn settings(text: &str) -> Vec<String> {
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text) {
        Ok(table) => table.iter().map(|(key, value)| format!("{key} = {value}")).collect(),
        Err(_) => vec![text.to_owned()],
    }
}
