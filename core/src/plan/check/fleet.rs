//! The plan against the fleet as it is: whom it selects, and how they fall into waves.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::HostName;
use crate::plan::draft::{Amount, At, Draft};
use crate::plan::nearest::nearest;
use crate::plan::problem::{Problem, count};
use crate::plan::select::{Selection, fold_within};
use crate::plan::tree::Place;
use crate::plan::vars;
use crate::plan::{HOSTS_MAX, InventoryHost};

mod spread;

/// Groups of names that one label shows.
const GROUPS_MAX: usize = 6;

pub(crate) fn check(draft: &Draft, inventory: Option<&[InventoryHost]>, problems: &mut Vec<Problem>) {
    bounds(draft, problems);
    let Some(select) = &draft.fleet.select else { return };
    let selection = match Selection::parse(&select.value) {
        Ok(selection) => selection,
        Err(error) => {
            let span = inside(&draft.text, select, &error.span);
            let problem =
                Problem::error("P113", span, "the selection cannot be read").label(error.message.clone());
            problems.push(match error.help {
                Some(help) => problem.help(help),
                None => problem,
            });
            return;
        }
    };
    let Some(inventory) = inventory else { return };
    names(draft, &selection, select, inventory, problems);
    let hosts = chosen(draft, &selection, inventory);
    size(draft, &selection, select, inventory, &hosts, problems);
    if hosts.is_empty() {
        return;
    }
    wave_sizes(draft, hosts.len(), problems);
    spread::check(draft, &hosts, problems);
    labels(draft, &hosts, problems);
}

/// The hosts a draft means, sorted by name.
pub(crate) fn select<'a>(draft: &Draft, inventory: &'a [InventoryHost]) -> Vec<&'a InventoryHost> {
    let selection = draft.fleet.select.as_ref().and_then(|select| Selection::parse(&select.value).ok());
    selection.map(|selection| chosen(draft, &selection, inventory)).unwrap_or_default()
}

/// The hosts of each wave, sorted by name. Empty when the sizes do not fit.
pub(crate) fn assign(draft: &Draft, hosts: &[&InventoryHost]) -> Vec<Vec<HostName>> {
    let ends: Vec<usize> = ends(draft, hosts.len()).into_iter().map(|(end, _)| end).collect();
    spread::assign(draft.pace.spread.as_ref().map(|label| label.value.as_str()), hosts, &ends)
}

fn chosen<'a>(
    draft: &Draft,
    selection: &Selection,
    inventory: &'a [InventoryHost],
) -> Vec<&'a InventoryHost> {
    let excluded: BTreeSet<&str> = draft.fleet.exclude.iter().map(|host| host.value.as_str()).collect();
    let by_name: BTreeMap<&str, &InventoryHost> = inventory
        .iter()
        .filter(|host| selection.matches(host) && !excluded.contains(host.name.as_str()))
        .map(|host| (host.name.as_str(), host))
        .collect();
    by_name.into_values().collect()
}

/// The place of a part of a one-line text, when it stands in the file as it is read.
fn inside(text: &str, whole: &At<String>, part: &Place) -> Place {
    let start = whole.span.start + 1;
    let as_written = text.get(start..start + whole.value.len()) == Some(whole.value.as_str());
    if as_written { start + part.start..start + part.end } else { whole.span.clone() }
}

fn bounds(draft: &Draft, problems: &mut Vec<Problem>) {
    let fleet = &draft.fleet;
    if let (Some(min), Some(max)) = (&fleet.min, &fleet.max)
        && min.value > max.value
    {
        problems.push(
            Problem::error(
                "P114",
                min.span.clone(),
                "no number of hosts is at least `min` and at most `max`",
            )
            .label("more than `max`")
            .see(max.span.clone(), "`max`"),
        );
    }
    let mut seen = BTreeMap::new();
    for host in &fleet.exclude {
        if let Some(first) = seen.insert(host.value.as_str(), host.span.clone()) {
            let message = format!("`{}` is excluded twice", host.value);
            problems.push(
                Problem::warning("P139", host.span.clone(), message).label("again").see(first, "first"),
            );
        }
    }
}

fn names(
    draft: &Draft,
    selection: &Selection,
    select: &At<String>,
    inventory: &[InventoryHost],
    problems: &mut Vec<Problem>,
) {
    let known: BTreeMap<&str, &InventoryHost> =
        inventory.iter().map(|host| (host.name.as_str(), host)).collect();
    let missing: Vec<&str> = selection.names().into_iter().filter(|name| !known.contains_key(name)).collect();
    if !missing.is_empty() {
        let message =
            format!("the selection names {} that the fleet does not have", count(missing.len(), "host"));
        let label = fold_within(missing.iter().copied(), GROUPS_MAX);
        let problem =
            Problem::error("P209", select.span.clone(), message).label(format!("not there: {label}"));
        problems.push(match nearest(missing[0], known.keys().copied()) {
            Some(near) if missing.len() == 1 => problem.help(format!("did you mean `{near}`?")),
            _ => problem,
        });
    }
    for host in &draft.fleet.exclude {
        let name = host.value.as_str();
        match known.get(name) {
            None => {
                let message = format!("`{name}` is excluded, but the fleet does not have it");
                let problem = Problem::error("P204", host.span.clone(), message).label("no such host");
                problems.push(problem.suggest(nearest(name, known.keys().copied()), host.span.clone(), true));
            }
            Some(known) if !selection.matches(known) => problems.push(
                Problem::warning(
                    "P204",
                    host.span.clone(),
                    format!("`{name}` is excluded, but was not selected"),
                )
                .label("makes no difference"),
            ),
            Some(_) => {}
        }
    }
}

fn size(
    draft: &Draft,
    selection: &Selection,
    select: &At<String>,
    inventory: &[InventoryHost],
    hosts: &[&InventoryHost],
    problems: &mut Vec<Problem>,
) {
    let found = hosts.len();
    let folded = fold_within(hosts.iter().map(|host| host.name.as_str()), GROUPS_MAX);
    if found == 0 {
        let mut problem = Problem::error("P201", select.span.clone(), "the selection is empty")
            .label(format!("matches none of {}", count(inventory.len(), "host")));
        for (key, value) in selection.labels() {
            let values: BTreeSet<&str> =
                inventory.iter().filter_map(|host| host.labels.get(key)).map(String::as_str).collect();
            if values.is_empty() {
                problem = problem.note(format!("no host has a label `{key}`"));
            } else if !values.contains(value) {
                let shown: Vec<&str> = values.iter().copied().take(GROUPS_MAX).collect();
                problem = problem.note(format!("`{key}` is never `{value}`; it is: {}", shown.join(", ")));
                if let (Some(near), None) = (nearest(value, values.iter().copied()), &problem.help) {
                    let better = select.value.replacen(value, near, 1);
                    problem = problem.suggest(Some(&better), select.span.clone(), true);
                }
            }
        }
        problems.push(problem);
        return;
    }
    if found > HOSTS_MAX {
        let problem =
            Problem::error("P203", select.span.clone(), format!("a plan has at most {HOSTS_MAX} hosts"));
        problems.push(problem.label(count(found, "host")));
    }
    if let Some(min) = draft.fleet.min.as_ref().filter(|min| found < min.value as usize) {
        problems.push(
            Problem::error("P202", min.span.clone(), format!("only {} selected", are(found)))
                .label(format!("at least {} wanted", min.value))
                .see(select.span.clone(), folded.clone())
                .help("correct `select`, or lower `min` when these are meant"),
        );
    }
    if let Some(max) = draft.fleet.max.as_ref().filter(|max| found > max.value as usize) {
        problems.push(
            Problem::error("P203", max.span.clone(), format!("{} selected", are(found)))
                .label(format!("at most {} wanted", max.value))
                .see(select.span.clone(), folded)
                .help("correct `select`, or raise `max` when these are meant"),
        );
    }
}

fn are(hosts: usize) -> String {
    format!("{} {}", count(hosts, "host"), if hosts == 1 { "is" } else { "are" })
}

/// Hosts released in all after each wave, and where the wave says so.
fn ends(draft: &Draft, total: usize) -> Vec<(usize, Option<&At<Amount>>)> {
    let total_u32 = u32::try_from(total).unwrap_or(u32::MAX);
    draft
        .waves
        .iter()
        .map(|wave| {
            let hosts = wave.hosts.as_ref();
            (hosts.map_or(0, |hosts| hosts.value.of(total_u32)) as usize, hosts)
        })
        .collect()
}

fn wave_sizes(draft: &Draft, total: usize, problems: &mut Vec<Problem>) {
    let ends = ends(draft, total);
    let mut before = 0;
    for (wave, (end, written)) in ends.iter().enumerate() {
        let Some(written) = written else { return };
        if *end > total {
            problems.push(
                Problem::error(
                    "P206",
                    written.span.clone(),
                    format!("wave {} wants more hosts than there are", wave + 1),
                )
                .label(format!("{} selected", are(total)))
                .note("the numbers count the whole selection and add up"),
            );
            return;
        }
        let as_written = wave > 0
            && match (draft.waves[wave - 1].hosts.as_ref().map(|hosts| hosts.value), written.value) {
                (Some(Amount::Percent(a)), Amount::Percent(b))
                | (Some(Amount::Count(a)), Amount::Count(b)) => b <= a,
                _ => false,
            };
        // What the numbers show by themselves is P131.
        if *end <= before && !as_written {
            problems.push(
                Problem::error(
                    "P205",
                    written.span.clone(),
                    format!("wave {} has no host of its own", wave + 1),
                )
                .label(format!(
                    "{} of {} is {end}, and {before} are released before",
                    written.value,
                    count(total, "host")
                ))
                .help("take this wave out, or make it larger"),
            );
        }
        before = *end;
    }
    if let Some((end, Some(written))) = ends.last()
        && let Amount::Count(_) = written.value
        && *end < total
    {
        problems.push(
            Problem::error("P206", written.span.clone(), "the last wave does not reach every host")
                .label(format!("{end} of {total}"))
                .replace("let the last wave be everybody", written.span.clone(), "\"100%\""),
        );
    }
}

/// `${host.label.…}` in settings needs the label on every host.
fn labels(draft: &Draft, hosts: &[&InventoryHost], problems: &mut Vec<Problem>) {
    let mut told = BTreeSet::new();
    vars::each_setting(draft, &mut |text, span| {
        for reference in vars::references(text) {
            let Some(label) = reference.name.strip_prefix("host.label.") else { continue };
            let without: Vec<&str> = hosts
                .iter()
                .filter(|host| !host.labels.contains_key(label))
                .map(|host| host.name.as_str())
                .collect();
            if !without.is_empty() && told.insert(label.to_owned()) {
                let on = fold_within(without.iter().copied(), GROUPS_MAX);
                problems.push(
                    Problem::error("P211", span.clone(), format!("not every host has the label `{label}`"))
                        .label(format!("missing on {on}")),
                );
            }
        }
    });
}
