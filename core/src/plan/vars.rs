//! `${name}`: variables of the plan, put in at sealing, and facts of the host,
//! put in on the host. Nothing else, no expressions.

use std::collections::BTreeMap;

use super::draft::{At, Draft, UndoDraft};
use super::nearest::nearest;
use super::problem::Problem;
use super::secret::shown;
use super::tree::{Place, Table};

/// One `${…}` in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference<'a> {
    pub(crate) name: &'a str,
    /// Of the whole `${…}`; to the end of the text when it is not closed.
    pub(crate) span: Place,
    pub(crate) closed: bool,
}

pub(crate) fn references(text: &str) -> Vec<Reference<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find("${").map(|offset| at + offset) {
        let close = text[start..].find('}').map(|offset| start + offset);
        let end = close.map_or(text.len(), |close| close + 1);
        found.push(Reference {
            name: &text[start + 2..close.unwrap_or(text.len())],
            span: start..end,
            closed: close.is_some(),
        });
        at = end;
    }
    found
}

/// Whether the host fills it in.
fn is_of_host(name: &str) -> bool {
    name == "host.name" || name.strip_prefix("host.label.").is_some_and(|label| !label.is_empty())
}

/// Puts the plan's variables into a text; facts of the host stay as they are.
pub(crate) fn fill(text: &str, vars: &BTreeMap<String, At<String>>) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut at = 0;
    for reference in references(text) {
        filled.push_str(&text[at..reference.span.start]);
        match vars.get(reference.name) {
            Some(value) if reference.closed => filled.push_str(&value.value),
            _ => filled.push_str(&text[reference.span.clone()]),
        }
        at = reference.span.end;
    }
    filled.push_str(&text[at..]);
    filled
}

/// Calls `visit` with every text in the settings of steps, and its place.
pub(crate) fn each_setting(draft: &Draft, visit: &mut impl FnMut(&str, &Place)) {
    let mut table = |table: &Table| {
        for entry in &table.entries {
            entry.node.each_text(visit);
        }
    };
    for step in &draft.steps {
        if let Some(with) = &step.with {
            table(&with.value);
        }
        if let Some(UndoDraft::Settings(undo)) = &step.undo {
            table(&undo.value);
        }
    }
}

/// Unknown variables, variables inside variables, and variables nobody uses.
pub(crate) fn check(draft: &Draft, problems: &mut Vec<Problem>) {
    let mut used = std::collections::BTreeSet::new();
    each_setting(draft, &mut |text, span| {
        for reference in references(text) {
            used.insert(reference.name.to_owned());
            if !reference.closed {
                let message = "a `${` without its `}`";
                problems.push(Problem::error("P107", span.clone(), message).label("not closed"));
            } else if !draft.vars.contains_key(reference.name) && !is_of_host(reference.name) {
                problems.push(unknown(draft, &reference, text, span));
            }
        }
    });
    for (name, value) in &draft.vars {
        if value.value.contains("${") {
            problems.push(
                Problem::error("P107", value.span.clone(), "a variable cannot hold another one")
                    .label("taken as written")
                    .help("put both into the setting: \"${registry}/web:${web}\""),
            );
        }
        if !used.contains(name) {
            let problem =
                Problem::warning("P142", value.span.clone(), format!("nothing uses the variable `{name}`"));
            let is_key = super::keys::PLAN.keys.contains(&name.as_str());
            problems.push(problem.label("never put in").help(if is_key {
                format!("the plan's own `{name}` stands at the top of the file, before the first [table]")
            } else {
                format!("write ${{{name}}} in a step's settings, or take it out")
            }));
        }
    }
}

fn unknown(draft: &Draft, reference: &Reference<'_>, text: &str, span: &Place) -> Problem {
    let message = format!("there is no variable {}", shown(reference.name));
    // The very characters, when the text stands in the file as it is read.
    let written = &text[reference.span.clone()];
    let place = draft
        .text
        .get(span.clone())
        .and_then(|source| source.find(written))
        .map_or(span.clone(), |at| span.start + at..span.start + at + written.len());
    let problem = Problem::error("P107", place.clone(), message).label("unknown variable");
    let known = draft.vars.keys().map(String::as_str).chain(["host.name"]);
    match nearest(reference.name, known) {
        Some(near) if place.len() == written.len() => {
            problem.replace(format!("did you mean `{near}`?"), place, format!("${{{near}}}"))
        }
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None => {
            problem.help("add it under [vars]").note("a host fills in ${host.name} and ${host.label.NAME}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_put_in_and_facts_of_the_host_stay() {
        let vars = [("web".to_owned(), At { value: "1.1.4".to_owned(), span: 0..0 })].into();
        assert_eq!(fill("r/${web}:${host.name} ${no} ${web", &vars), "r/1.1.4:${host.name} ${no} ${web");
    }
}
