//! Gates: which there are, what they inherit, and that waves name one of them.

use std::collections::BTreeMap;

use crate::plan::Gate;
use crate::plan::defaults;
use crate::plan::draft::{Draft, GateDraft};
use crate::plan::nearest::nearest;
use crate::plan::problem::Problem;

pub(crate) fn check(draft: &Draft, problems: &mut Vec<Problem>) {
    let by_name = by_name(draft);
    for gate in &draft.gates {
        if let Some(like) = &gate.like {
            if !by_name.contains_key(like.value.as_str()) {
                let message = format!("there is no gate `{}` to be like", like.value);
                let problem = Problem::error("P135", like.span.clone(), message).label("no such gate");
                problems.push(problem.suggest(
                    nearest(&like.value, by_name.keys().copied()),
                    like.span.clone(),
                    true,
                ));
            } else if let Some(circle) = circle(gate, &by_name) {
                problems.push(
                    Problem::error("P136", like.span.clone(), "`like` leads back to where it began")
                        .label(circle.join(" → "))
                        .help("give one of them its own `failed` and `silent`, without `like`"),
                );
            }
        }
    }
    for wave in &draft.waves {
        let Some(gate) = &wave.gate else { continue };
        if !by_name.contains_key(gate.value.as_str()) && gate.value != defaults::GATE {
            let known: Vec<&str> = by_name.keys().copied().chain([defaults::GATE]).collect();
            let near = nearest(&gate.value, known.iter().copied());
            let problem =
                Problem::error("P135", gate.span.clone(), format!("there is no gate `{}`", gate.value))
                    .label("no such gate");
            problems.push(match near {
                Some(_) => problem.suggest(near, gate.span.clone(), true),
                None => problem.help(format!(
                    "add a table [gate.{}], or name one of: {}",
                    gate.value,
                    known.join(", ")
                )),
            });
        }
    }
    unused(draft, problems);
}

fn unused(draft: &Draft, problems: &mut Vec<Problem>) {
    for gate in &draft.gates {
        let name = gate.name.value.as_str();
        let used = draft
            .waves
            .iter()
            .any(|wave| wave.gate.as_ref().map_or(defaults::GATE, |gate| &gate.value) == name)
            || draft.gates.iter().any(|other| other.like.as_ref().is_some_and(|like| like.value == name));
        if !used {
            problems.push(
                Problem::warning(
                    "P138",
                    gate.name.span.clone(),
                    format!("no wave goes through gate `{name}`"),
                )
                .label("never used")
                .help(format!("name it in a wave, `gate = \"{name}\"`, or take it out")),
            );
        }
    }
}

fn by_name(draft: &Draft) -> BTreeMap<&str, &GateDraft> {
    draft.gates.iter().map(|gate| (gate.name.value.as_str(), gate)).collect()
}

fn circle(start: &GateDraft, by_name: &BTreeMap<&str, &GateDraft>) -> Option<Vec<String>> {
    let mut way = vec![start.name.value.clone()];
    let mut gate = start;
    while let Some(next) = gate.like.as_ref().and_then(|like| by_name.get(like.value.as_str())) {
        let known = way.contains(&next.name.value);
        way.push(next.name.value.clone());
        if known {
            return (next.name.value == start.name.value).then_some(way);
        }
        gate = next;
    }
    None
}

/// The gate as thresholds: its own numbers, else those it is `like`, else none.
pub(crate) fn resolve(draft: &Draft, name: Option<&str>) -> Gate {
    let name = name.unwrap_or(defaults::GATE);
    let by_name = by_name(draft);
    let number = |own: fn(&GateDraft) -> Option<u32>| {
        let mut gate = by_name.get(name);
        for _ in 0..=by_name.len() {
            let Some(at) = gate else { break };
            if let Some(number) = own(at) {
                return number;
            }
            gate = at.like.as_ref().and_then(|like| by_name.get(like.value.as_str()));
        }
        0
    };
    Gate {
        name: name.to_owned(),
        failed: number(|gate| gate.failed.as_ref().map(|failed| failed.value)),
        silent: number(|gate| gate.silent.as_ref().map(|silent| silent.value)),
    }
}
