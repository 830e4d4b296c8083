//! What a person reads before an emergency: short enough to be read, and made
//! of the bytes that will be signed.

use std::collections::BTreeMap;

use sternway_core::ids::{HostName, PlanId};
use sternway_core::manifest::Class;
use sternway_core::plan::{Plan, PointCheck, Step};
use sternway_core::wire::FleetHost;

use crate::cli::text::{Line, Tone, count};
use crate::cli::words;

const WORD_COLUMNS: usize = 10;
const NAMES_COLUMNS: usize = 60;

fn row(word: &str, text: impl AsRef<str>) -> Line {
    Line::new().add(Tone::Strong, word).pad_to(WORD_COLUMNS).plain(text)
}

pub(super) fn lines(plan: &Plan, id: PlanId, here: &[FleetHost]) -> Vec<Line> {
    let Plan { name, service, from, to, reason, .. } = plan;
    let headline = format!("{service} {from} → {to}   {}", count(plan.hosts.len(), "host"));
    let mut lines = vec![
        Line::new().add(Tone::Bad, words::EMERGENCY).pad_to(WORD_COLUMNS).plain(" ").add(Tone::Bad, headline),
        row("reason", reason),
        row("hosts", words::names(&plan.hosts, NAMES_COLUMNS)),
    ];
    lines.extend(in_the_way(plan, here));
    if let Some(point) = &plan.point {
        let age = point.age_max.map_or_else(String::new, |age| format!(", at most {age} old"));
        let check = match point.verify {
            PointCheck::Quick => "its index and trees are checked first",
            PointCheck::Full => "every byte of it is checked first",
        };
        lines.push(row("back to", format!("each host's {}{age}; {check}", point.choice)));
    }
    lines.extend(plan.steps.iter().enumerate().map(|(at, step)| step_line(at, step)));
    let waves = match plan.waves.as_slice() {
        [only] => format!("all at once, soak {}", only.soak),
        several => {
            let sizes: Vec<String> = several.iter().map(|wave| wave.hosts.len().to_string()).collect();
            format!("{} hosts, one wave after the other", sizes.join(" + "))
        }
    };
    lines.push(row("waves", waves));
    lines.push(row("plan", format!("{name}   sha256:{}", id.short())));
    lines
}

/// Hosts that will not begin: away, or held by another rollout.
fn in_the_way(plan: &Plan, here: &[FleetHost]) -> Vec<Line> {
    let known: BTreeMap<&HostName, &FleetHost> = here.iter().map(|host| (&host.name, host)).collect();
    let named = |is: &dyn Fn(&FleetHost) -> bool| -> Vec<HostName> {
        plan.hosts.iter().filter(|name| known.get(name).is_some_and(|host| is(host))).cloned().collect()
    };
    let away = named(&|host| !host.connected);
    let mut lines = Vec::new();
    if !away.is_empty() {
        let words = format!("{}: not here now, so they do not begin", words::names(&away, NAMES_COLUMNS));
        lines.push(Line::new().add(Tone::Bad, "away").pad_to(WORD_COLUMNS).add(Tone::Bad, words));
    }
    let mut taken: BTreeMap<String, Vec<HostName>> = BTreeMap::new();
    for name in &plan.hosts {
        if let Some(rollout) = known.get(name).and_then(|host| host.rollout.as_ref()) {
            taken.entry(rollout.to_string()).or_default().push(name.clone());
        }
    }
    lines.extend(taken.into_iter().map(|(rollout, hosts)| {
        let words = format!("{}: under way in {rollout}", words::names(&hosts, NAMES_COLUMNS));
        Line::new().add(Tone::Bad, "taken").pad_to(WORD_COLUMNS).add(Tone::Bad, words)
    }));
    lines
}

fn step_line(at: usize, step: &Step) -> Line {
    let word = if at == 0 { "steps" } else { "" };
    let subjects: Vec<&str> =
        step.grants.iter().flat_map(|grant| &grant.scopes).map(String::as_str).collect();
    let mut subjects: Vec<&str> = subjects;
    subjects.dedup();
    let looks = if step.class == Class::Observe { ", looks only" } else { "" };
    row(word, format!("{} {}", at + 1, step.name))
        .add(Tone::Dim, format!("   {}{looks}: {}", step.uses, subjects.join(" ")))
}
