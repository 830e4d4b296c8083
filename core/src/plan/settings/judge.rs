//! One table of settings against its plugin's schema: every problem, each at its place.

use serde_json::Value as Json;

use super::super::nearest::nearest;
use super::super::problem::{Problem, count};
use super::super::secret::shown_of;
use super::super::tree::{Entry, Node, Place, Table, Value};
use super::{Kind, Others, Schema, Size};

/// Deepest nesting of a value.
const DEPTH_MAX: usize = 16;

/// Whose settings are judged, for the messages, and where the table stands.
#[derive(Debug, Clone)]
pub struct Judge<'a> {
    /// Such as `files@0`.
    pub plugin: &'a str,
    /// Where a missing setting is reported.
    pub span: Place,
    /// Keys that belong to the step around the settings.
    pub step_keys: &'a [&'a str],
}

/// Every rule of `schema` that `table` breaks. Texts that still hold `${host.…}`
/// are known only on the host, so their choices and bounds are not judged here.
pub fn judge(judge: &Judge<'_>, schema: &Schema, table: &Table, problems: &mut Vec<Problem>) {
    judge.table(schema, table, &judge.span, "", 0, problems);
    judge.chosen(schema, table, problems);
}

impl Judge<'_> {
    fn table(
        &self,
        schema: &Schema,
        table: &Table,
        span: &Place,
        path: &str,
        depth: usize,
        problems: &mut Vec<Problem>,
    ) {
        for entry in &table.entries {
            let path = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
            match (schema.properties.get(&entry.key), &schema.others) {
                (Some(property), _) => self.value(property, &entry.node, &path, depth + 1, problems),
                (None, Others::Each(each)) => self.value(each, &entry.node, &path, depth + 1, problems),
                (None, Others::Nothing) => problems.push(self.unknown(schema, entry, &path)),
                (None, Others::Anything) => {}
            }
        }
        for key in schema.required.iter().filter(|key| table.get(key).is_none()) {
            let whole = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let wanted = schema.properties.get(key).map_or_else(|| "a value".into(), Schema::in_words);
            problems.push(
                Problem::error(
                    "P124",
                    span.clone(),
                    format!("plugin `{}` wants the setting `{whole}`", self.plugin),
                )
                .label(format!("no `{key}` here"))
                .help(format!("add `{key} = …`: {wanted}")),
            );
        }
        for (key, wanted) in &schema.together {
            let Some(entry) = table.get(key) else { continue };
            for other in wanted.iter().filter(|other| table.get(other).is_none()) {
                problems.push(
                    Problem::error(
                        "P124",
                        entry.key_span.clone(),
                        format!("the setting `{key}` wants `{other}` beside it"),
                    )
                    .label(format!("no `{other}` in these settings"))
                    .help(format!("add `{other} = …`, or take `{key}` out")),
                );
            }
        }
        self.size(schema.keys, table.entries.len(), "key", span, path, problems);
    }

    /// Which settings belong together: `oneOf` and `anyOf` over keys that must be there.
    fn chosen(&self, schema: &Schema, table: &Table, problems: &mut Vec<Problem>) {
        let there = |branch: &&Schema| branch.required.iter().all(|key| table.get(key).is_some());
        let keys = |branches: &[&Schema]| {
            let keys: Vec<String> =
                branches.iter().map(|branch| format!("`{}`", branch.required.join("` and `"))).collect();
            keys.join(", ")
        };
        let found: Vec<&Schema> = schema.one_of.iter().filter(there).collect();
        if let [first, second, ..] = found[..] {
            let place = |branch: &Schema| {
                branch
                    .required
                    .first()
                    .and_then(|key| table.get(key))
                    .map_or(self.span.clone(), |e| e.key_span.clone())
            };
            problems.push(
                Problem::error(
                    "P125",
                    place(second),
                    format!("plugin `{}` does one of these at a time", self.plugin),
                )
                .label("one too many")
                .see(place(first), "this one as well")
                .help(format!("make it two steps: {}", keys(&found))),
            );
        }
        for branches in [&schema.one_of, &schema.any_of] {
            // A misspelt one is told as unknown; once is enough.
            let misspelt = table.entries.iter().any(|entry| !schema.properties.contains_key(&entry.key));
            if !branches.is_empty() && !misspelt && !branches.iter().any(|branch| there(&branch)) {
                let message = format!("plugin `{}` wants one of its settings more", self.plugin);
                let known: Vec<&Schema> = branches.iter().collect();
                problems.push(
                    Problem::error("P125", self.span.clone(), message)
                        .label("nothing here says what to do")
                        .help(format!("write one of {}", keys(&known))),
                );
            }
        }
    }

    fn unknown(&self, schema: &Schema, entry: &Entry, path: &str) -> Problem {
        let known: Vec<&str> = schema.properties.keys().map(String::as_str).collect();
        let message = format!("plugin `{}` has no setting `{path}`", self.plugin);
        let problem = Problem::error("P122", entry.key_span.clone(), message).label("unknown setting");
        if path == entry.key && self.step_keys.contains(&path) {
            return problem
                .label("inside [step.with]")
                .help(format!("`{path}` belongs to the step: move the line above [step.with]"));
        }
        match nearest(&entry.key, known.iter().copied()) {
            Some(word) => problem.suggest(Some(word), entry.key_span.clone(), false),
            None => problem.note(format!("its settings are: {}", known.join(", "))),
        }
    }

    fn value(&self, schema: &Schema, node: &Node, path: &str, depth: usize, problems: &mut Vec<Problem>) {
        if depth > DEPTH_MAX {
            problems.push(self.wrong(node, path, format!("nested deeper than {DEPTH_MAX}")));
            return;
        }
        if !schema.kinds.is_empty() && !schema.kinds.iter().any(|kind| is_kind(*kind, &node.value)) {
            problems.push(self.wrong_kind(schema, node, path));
            return;
        }
        let open = matches!(&node.value, Value::Text(text) if text.contains("${host."));
        if !schema.choices.is_empty() && !open {
            self.choice(schema, node, path, problems);
        }
        for branches in [&schema.one_of, &schema.any_of] {
            self.branches(branches, schema, node, path, depth, problems);
        }
        match &node.value {
            Value::Table(table) => self.table(schema, table, &node.span, path, depth, problems),
            Value::List(items) => {
                self.size(schema.count, items.len(), "item", &node.span, path, problems);
                if let Some(each) = &schema.items {
                    for (at, item) in items.iter().enumerate() {
                        self.value(each, item, &format!("{path}[{at}]"), depth + 1, problems);
                    }
                }
            }
            Value::Text(text) if !open => {
                if let Some(pattern) = schema.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
                    let wanted = self.wrong(node, path, "not the right form".into());
                    problems.push(match schema.description.as_str() {
                        "" => wanted.note(format!("expected: {}", pattern.as_str())),
                        description => wanted.note(format!("`{path}`: {description}")),
                    });
                }
                self.size(schema.characters, text.chars().count(), "character", &node.span, path, problems);
            }
            Value::Whole(number) => self.bounds(schema, *number as f64, node, path, problems),
            Value::Real(number) => self.bounds(schema, *number, node, path, problems),
            _ => {}
        }
    }

    fn branches(
        &self,
        branches: &[Schema],
        whole: &Schema,
        node: &Node,
        path: &str,
        depth: usize,
        problems: &mut Vec<Problem>,
    ) {
        if branches.is_empty() {
            return;
        }
        let mut nearest: Option<Vec<Problem>> = None;
        // Of `oneOf` the first that fits will do: branches of manifests differ in kind.
        for branch in branches {
            let mut found = Vec::new();
            if branch.kinds.is_empty()
                && !branch.required.is_empty()
                && !matches!(node.value, Value::Table(_))
            {
                continue;
            }
            self.value(branch, node, path, depth + 1, &mut found);
            if found.is_empty() {
                return;
            }
            // A branch of the right kind explains better than "one of these".
            if branch.kinds.iter().any(|kind| is_kind(*kind, &node.value)) {
                nearest = Some(found);
            }
        }
        problems.extend(nearest.unwrap_or_else(|| vec![self.wrong_kind(whole, node, path)]));
    }

    fn choice(&self, schema: &Schema, node: &Node, path: &str, problems: &mut Vec<Problem>) {
        if node.to_json().is_some_and(|json| schema.choices.contains(&json)) {
            return;
        }
        let words: Vec<&str> = schema.choices.iter().filter_map(Json::as_str).collect();
        let problem = self.wrong(node, path, format!("expected {}", schema.in_words()));
        let near = match &node.value {
            Value::Text(text) => nearest(text, words.iter().copied()),
            _ => None,
        };
        problems.push(problem.suggest(near, node.span.clone(), true));
    }

    fn bounds(&self, schema: &Schema, number: f64, node: &Node, path: &str, problems: &mut Vec<Problem>) {
        if let Some(least) = schema.least.filter(|least| number < *least) {
            problems.push(self.wrong(node, path, format!("at least {least}")));
        }
        if let Some(most) = schema.most.filter(|most| number > *most) {
            problems.push(self.wrong(node, path, format!("at most {most}")));
        }
    }

    fn size(
        &self,
        bounds: Size,
        size: usize,
        thing: &str,
        span: &Place,
        path: &str,
        problems: &mut Vec<Problem>,
    ) {
        let size = size as u64;
        let bound = match (bounds.least, bounds.most) {
            (Some(least), _) if size < least => format!("at least {}", count(least as usize, thing)),
            (_, Some(most)) if size > most => format!("at most {}", count(most as usize, thing)),
            _ => return,
        };
        let message = format!("the setting `{path}` of plugin `{}` has {bound}", self.plugin);
        problems.push(Problem::error("P123", span.clone(), message).label(count(size as usize, thing)));
    }

    fn wrong_kind(&self, schema: &Schema, node: &Node, path: &str) -> Problem {
        let wanted = schema.in_words();
        let problem = self.wrong(node, path, format!("expected {wanted}, found {}", node.value.kind()));
        match &node.value {
            Value::Text(text)
                if schema.kinds.iter().any(|kind| matches!(kind, Kind::Whole | Kind::Number))
                    && text.parse::<i64>().is_ok() =>
            {
                problem.replace("write the number without quotes", node.span.clone(), text.clone())
            }
            Value::Whole(number)
                if wanted.contains("a text")
                    && schema
                        .pattern
                        .as_ref()
                        .is_none_or(|pattern| pattern.is_match(&number.to_string())) =>
            {
                problem.replace("write it as a text", node.span.clone(), format!("\"{number}\""))
            }
            _ => problem,
        }
    }

    fn wrong(&self, node: &Node, path: &str, label: String) -> Problem {
        let message = match &node.value {
            Value::Text(text) => {
                let key = path.rsplit('.').next().unwrap_or(path);
                format!("the setting `{path}` of plugin `{}` cannot be {}", self.plugin, shown_of(key, text))
            }
            other => format!("the setting `{path}` of plugin `{}` cannot be {}", self.plugin, other.kind()),
        };
        Problem::error("P123", node.span.clone(), message).label(label)
    }
}

fn is_kind(kind: Kind, value: &Value) -> bool {
    match kind {
        Kind::Text => matches!(value, Value::Text(_)),
        Kind::Whole => matches!(value, Value::Whole(_)),
        Kind::Number => {
            matches!(value, Value::Whole(_)) || matches!(value, Value::Real(real) if real.is_finite())
        }
        Kind::Flag => matches!(value, Value::Flag(_)),
        Kind::List => matches!(value, Value::List(_)),
        Kind::Table => matches!(value, Value::Table(_)),
        Kind::Null => false,
    }
}
