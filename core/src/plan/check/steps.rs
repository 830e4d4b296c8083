//! Each step against its plugin: is the plugin here, are its settings right,
//! and is the way back declared?

mod pivot;

use std::collections::BTreeMap;

use crate::grant::{self, Grant};
use crate::manifest::{Catalogue, CatalogueEntry, Class, Mode, Reversibility};
use crate::plan::draft::{At, Draft, StepDraft, UndoDraft};
use crate::plan::nearest::nearest;
use crate::plan::problem::Problem;
use crate::plan::secret::shown;
use crate::plan::settings::{Judge, Schema, judge};
use crate::plan::tree::{Place, Table, Value};
use crate::plan::{PLUGINS_MAX, STEPS_MAX, Undo, keys, vars};

/// A step with everything worked out but its names and times.
#[derive(Debug, Clone)]
pub(crate) struct Resolved<'a> {
    pub(crate) entry: &'a CatalogueEntry,
    pub(crate) settings: serde_json::Value,
    pub(crate) undo: Undo,
    pub(crate) class: Class,
    pub(crate) grants: Vec<Grant>,
}

pub(crate) fn check(draft: &Draft, catalogue: &Catalogue, problems: &mut Vec<Problem>) {
    let end = draft.text.trim_end().len();
    if draft.steps.is_empty() && !draft.problems.iter().any(|problem| problem.message.contains("`step`")) {
        problems.push(
            Problem::error("P130", end..end, "the plan has no step: nothing would be done")
                .label("no [[step]] in this file")
                .help("add: [[step]] then name = \"…\", uses = \"PLUGIN@VERSION\", with = { … }"),
        );
    }
    if let Some(extra) = draft.steps.get(STEPS_MAX) {
        let problem =
            Problem::error("P130", extra.span.clone(), format!("a plan has at most {STEPS_MAX} steps"));
        problems.push(problem.label(format!("this is number {} of {}", STEPS_MAX + 1, draft.steps.len())));
    }
    let mut names = BTreeMap::new();
    let mut plugins = BTreeMap::new();
    for step in &draft.steps {
        if let Some(name) = &step.name
            && let Some(first) = names.insert(name.value.as_str(), name.span.clone())
        {
            problems.push(
                Problem::error("P129", name.span.clone(), format!("two steps are called `{}`", name.value))
                    .label("again here")
                    .see(first, "first here")
                    .help("people find a step by its name: give each its own"),
            );
        }
        if let Some(resolved) = resolve(draft, step, catalogue, problems) {
            plugins.insert(resolved.entry.manifest.name.clone(), step.span.clone());
        }
    }
    if plugins.len() > PLUGINS_MAX {
        let message = format!("a plan uses at most {PLUGINS_MAX} plugins");
        problems
            .push(Problem::error("P130", 0..0, message).label(format!("this one uses {}", plugins.len())));
    }
    pivot::check(draft, problems);
    vars::check(draft, problems);
}

/// What the step comes to; `None` when a rule is broken (which is told).
pub(crate) fn resolve<'a>(
    draft: &Draft,
    step: &StepDraft,
    catalogue: &'a Catalogue,
    problems: &mut Vec<Problem>,
) -> Option<Resolved<'a>> {
    let entry = plugin(step, catalogue, problems)?;
    let uses = step.uses.as_ref()?;
    let with = step.with.as_ref()?;
    let schema = match Schema::parse(&entry.manifest.settings_schema) {
        Ok(schema) => schema,
        Err(error) => {
            let message = format!("the settings of plugin `{}` cannot be judged", entry.manifest.name);
            problems.push(Problem::error("P119", uses.span.clone(), message).label(error.to_string()));
            return None;
        }
    };
    let before = problems.len();
    let settings = settings(draft, &uses.value, &schema, with, true, problems);
    let undo_settings = match &step.undo {
        Some(UndoDraft::Settings(table)) => {
            Some(settings_of_undo(draft, &uses.value, &schema, entry, table, problems))
        }
        _ => None,
    };
    let modes: Vec<&Mode> =
        settings.as_ref().map(|json| entry.manifest.modes_of(json).collect()).unwrap_or_default();
    if modes.is_empty() && settings.is_some() {
        no_mode(&uses.value, entry, with, problems);
    }
    way_back(step, &modes, &uses.value, problems);
    let settings = settings.as_ref()?;
    let undo_settings = match &undo_settings {
        Some(undo) => Some(undo.as_ref()?),
        None => None,
    };
    let grants = grant::asked(&entry.manifest.powers, settings, undo_settings);
    point(draft, entry, settings, with, problems);
    if problems[before..].iter().any(Problem::is_error) {
        return None;
    }
    let class = modes.iter().map(|mode| mode.class).max()?;
    let undo = match (&step.undo, undo_settings) {
        (_, Some(settings)) => Undo::Settings(settings.to_string()),
        (Some(UndoDraft::Nothing(_)), None) => Undo::Nothing,
        (_, None) => Undo::ByPlugin,
    };
    Some(Resolved { entry, settings: settings.clone(), undo, class, grants })
}

fn plugin<'a>(
    step: &StepDraft,
    catalogue: &'a Catalogue,
    problems: &mut Vec<Problem>,
) -> Option<&'a CatalogueEntry> {
    let uses = step.uses.as_ref()?;
    let (name, version) = match uses.value.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (uses.value.as_str(), None),
    };
    let known = || catalogue.0.keys().map(|name| name.as_str());
    let Some(entry) = catalogue.0.iter().find(|(known, _)| known.as_str() == name).map(|(_, entry)| entry)
    else {
        let problem =
            Problem::error("P120", uses.span.clone(), format!("there is no plugin {}", shown(name)))
                .label("unknown plugin");
        let near = nearest(name, known())
            .and_then(|near| catalogue.0.iter().find(|(known, _)| known.as_str() == near));
        problems.push(match near {
            Some((near, entry)) => {
                problem.suggest(Some(&format!("{near}@{}", entry.manifest.major())), uses.span.clone(), true)
            }
            None => problem.note(format!("the plugins here are: {}", known().collect::<Vec<_>>().join(", "))),
        });
        return None;
    };
    let here = &entry.manifest.version;
    let right = format!("{name}@{}", entry.manifest.major());
    let fits = |version: &str| here == version || here.starts_with(&format!("{version}."));
    match version {
        Some(version) if !version.is_empty() && fits(version) => Some(entry),
        Some(version) if !version.is_empty() => {
            problems.push(
                Problem::error(
                    "P121",
                    uses.span.clone(),
                    format!("plugin `{name}` is not here in version {}", shown(version)),
                )
                .label(format!("{here} is here"))
                .suggest(Some(&right), uses.span.clone(), true),
            );
            None
        }
        _ => {
            problems.push(
                Problem::error("P121", uses.span.clone(), format!("`{name}` says no version"))
                    .label("a plugin is named with the first number of its version")
                    .replace(format!("{here} is here: write"), uses.span.clone(), format!("\"{right}\"")),
            );
            None
        }
    }
}

/// The settings with variables put in, judged by the schema.
fn settings(
    draft: &Draft,
    plugin: &str,
    schema: &Schema,
    table: &At<Table>,
    of_step: bool,
    problems: &mut Vec<Problem>,
) -> Option<serde_json::Value> {
    let filled = table.value.map_texts(&mut |text| vars::fill(text, &draft.vars));
    let step_keys = if of_step { keys::STEP.keys } else { &[] };
    let before = problems.len();
    judge(&Judge { plugin, span: table.span.clone(), step_keys }, schema, &filled, problems);
    let judged_well = problems.len() == before;
    match filled.to_json() {
        Some(json) => Some(serde_json::Value::Object(json)),
        None => {
            if judged_well {
                let message = "a setting holds a date or a number without end";
                problems.push(
                    Problem::error("P123", table.span.clone(), message)
                        .label("in these settings")
                        .help("write it as a text"),
                );
            }
            None
        }
    }
}

fn settings_of_undo(
    draft: &Draft,
    plugin: &str,
    schema: &Schema,
    entry: &CatalogueEntry,
    table: &At<Table>,
    problems: &mut Vec<Problem>,
) -> Option<serde_json::Value> {
    let json = settings(draft, plugin, schema, table, false, problems)?;
    if entry.manifest.modes_of(&json).next().is_none() {
        no_mode(plugin, entry, table, problems);
        return None;
    }
    Some(json)
}

fn no_mode(plugin: &str, entry: &CatalogueEntry, table: &At<Table>, problems: &mut Vec<Problem>) {
    // A misspelt mode is told as an unknown setting; once is enough.
    let told = problems.iter().any(|problem| match problem.code {
        "P122" => table.value.entries.iter().any(|entry| entry.key_span == problem.span),
        // A mode that is a required setting is told as missing.
        "P124" | "P125" => problem.span == table.span,
        _ => false,
    });
    if told {
        return;
    }
    let modes: Vec<String> =
        entry.manifest.modes.iter().map(|mode| format!("`{}`: {}", mode.setting, mode.summary)).collect();
    let mut problem =
        Problem::error("P125", table.span.clone(), format!("nothing is asked of plugin `{plugin}`"))
            .label("none of the settings says what to do");
    problem.notes = modes;
    problems.push(problem.help("write one of these settings"));
}

/// What cannot be put back by the plugin needs a word from the people who sign.
fn way_back(step: &StepDraft, modes: &[&Mode], plugin: &str, problems: &mut Vec<Problem>) {
    let not_by_plugin: Vec<&Mode> =
        modes.iter().copied().filter(|mode| mode.reversibility != Reversibility::Reversible).collect();
    let changes = modes.iter().any(|mode| mode.class != Class::Observe);
    match (&step.undo, not_by_plugin.first()) {
        (None, Some(mode)) => {
            let place = mode_place(step, mode).unwrap_or(step.span.clone());
            let compensatable = mode.reversibility == Reversibility::Compensatable;
            let (message, help) = if compensatable {
                (
                    format!("`{}` of plugin `{plugin}` has no declared way back", mode.setting),
                    format!(
                        "say how: undo = {{ {} = … }}, or sign that there is none: undo = \"none\"",
                        mode.setting
                    ),
                )
            } else {
                (
                    format!("`{}` of plugin `{plugin}` cannot be undone", mode.setting),
                    "let those who sign see it: undo = \"none\"".to_owned(),
                )
            };
            let why = if compensatable {
                "only the plan can say how this is put back"
            } else {
                "there is no way back"
            };
            problems.push(Problem::error("P126", place, message).label(why).help(help));
        }
        (Some(UndoDraft::Nothing(span)), None) if changes => problems.push(
            Problem::warning(
                "P127",
                span.clone(),
                format!("plugin `{plugin}` could put this back by itself"),
            )
            .label("and will not, because of this")
            .help("take it out to let it"),
        ),
        // What a keyed plugin did outside may want a word of the plan although nothing can be put back.
        (Some(UndoDraft::Settings(settings)), None)
            if modes.iter().any(|mode| mode.class != Class::Keyed) =>
        {
            problems.push(
                Problem::error(
                    "P127",
                    settings.span.clone(),
                    format!("plugin `{plugin}` puts this step back by itself"),
                )
                .label("these settings would never be used")
                .help("take `undo` out"),
            );
        }
        _ => {}
    }
}

fn mode_place(step: &StepDraft, mode: &Mode) -> Option<Place> {
    Some(step.with.as_ref()?.value.get(&mode.setting)?.key_span.clone())
}

/// A step that reads a rollback point needs the plan to say which.
fn point(
    draft: &Draft,
    entry: &CatalogueEntry,
    settings: &serde_json::Value,
    with: &At<Table>,
    problems: &mut Vec<Problem>,
) {
    if draft.point.is_some() {
        return;
    }
    let reads = entry
        .manifest
        .powers
        .iter()
        .filter(|power| power.name == "points")
        .flat_map(|power| &power.scope_from)
        .find(|place| !grant::at(settings, place).is_empty());
    let Some(setting) = reads else { return };
    let already_told = draft.problems.iter().any(|problem| problem.message.starts_with("`point`"));
    if already_told {
        return;
    }
    let key = setting.split('.').next().unwrap_or(setting);
    let place = with.value.get(key).map_or(with.span.clone(), |entry| match &entry.node.value {
        Value::Table(_) => entry.key_span.clone(),
        _ => entry.key_span.start..entry.node.span.end.max(entry.key_span.end),
    });
    problems.push(
        Problem::error(
            "P128",
            place,
            format!("`{setting}` goes back to a rollback point, but the plan names none"),
        )
        .label("restored from which point?")
        .help("add: [point] then tag = \"before-1.3\""),
    );
}
