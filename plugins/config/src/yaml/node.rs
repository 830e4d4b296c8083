//! A YAML document as values, each with its place in the text.

use std::collections::BTreeMap;
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle};
use serde_json::{Map, Number, Value};

/// More than any configuration; bounds what aliases can blow up to.
const VALUES_MAX: usize = 100_000;
const DEPTH_MAX: usize = 64;

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    /// Bytes in the text; empty for a value left out.
    pub(super) span: Range<usize>,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Scalar,
    Table {
        flow: bool,
        entries: Vec<Entry>,
    },
    /// A list, an alias, or a text of several lines.
    Other,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) key: Range<usize>,
    pub(super) node: Node,
}

impl Node {
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Table { entries, .. } => entries,
            Kind::Scalar | Kind::Other => &[],
        }
    }

    pub(super) fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.name == name)
    }

    pub(super) fn is_flow(&self) -> bool {
        matches!(self.kind, Kind::Table { flow: true, .. })
    }

    /// Where its last character stands; a block ends with what it holds.
    pub(super) fn end(&self) -> usize {
        match &self.kind {
            Kind::Table { flow: false, entries } => {
                entries.last().map_or(self.span.end, |entry| entry.node.end().max(entry.key.end))
            }
            Kind::Scalar | Kind::Table { .. } | Kind::Other => self.span.end,
        }
    }
}

/// The one document in `text`; nothing at all reads as an empty table.
pub(super) fn parse(text: &str) -> Result<Node, String> {
    let mut events = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|cause| cause.to_string())?;
        let range = bytes(text, &span)?;
        match event {
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Anchor(..) => {}
            Event::DocumentStart(..) => events.push((None, range)),
            event => events.push((Some(event), range)),
        }
    }
    let documents = events.iter().filter(|(event, _)| event.is_none()).count();
    if documents > 1 {
        return Err("it holds several documents".to_owned());
    }
    let mut reader = Reader {
        events: events.into_iter().filter_map(|(event, range)| Some((event?, range))).collect(),
        at: 0,
        values: 0,
        anchors: BTreeMap::new(),
    };
    let empty = Node {
        value: Value::Object(Map::new()),
        span: text.len()..text.len(),
        kind: Kind::Table { flow: false, entries: vec![] },
    };
    if reader.events.is_empty() {
        return Ok(empty);
    }
    let root = reader.node(0)?;
    Ok(if root.value.is_null() && root.span.is_empty() { empty } else { root })
}

struct Reader<'t> {
    events: Vec<(Event<'t>, Range<usize>)>,
    at: usize,
    values: usize,
    anchors: BTreeMap<usize, Value>,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Range<usize>), String> {
        let next = self.events.get(self.at).cloned();
        self.at += 1;
        next.ok_or_else(|| "it ends in the middle".to_owned())
    }

    fn node(&mut self, depth: usize) -> Result<Node, String> {
        if depth > DEPTH_MAX {
            return Err(format!("it is nested deeper than {DEPTH_MAX}"));
        }
        self.count(1)?;
        let (event, span) = self.next()?;
        let (mut node, anchor, tag) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = if style == ScalarStyle::Plain && tag.is_none() {
                    plain(&text)
                } else {
                    Value::String(text.into_owned())
                };
                let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                let kind = if block { Kind::Other } else { Kind::Scalar };
                (Node { value, span, kind }, anchor, tag)
            }
            Event::Alias(id) => {
                let value = self.anchors.get(&id).cloned().unwrap_or_default();
                self.count(size(&value))?;
                return Ok(Node { value, span, kind: Kind::Other });
            }
            Event::SequenceStart(_, anchor, tag) => (self.list(span, depth)?, anchor, tag),
            Event::MappingStart(style, anchor, tag) => {
                (self.table(span, style == StructureStyle::Flow, depth)?, anchor, tag)
            }
            other => return Err(format!("{other:?} stands where a value has to be")),
        };
        if let Some(tag) = tag {
            // Told apart from the plain value, so that no edit loses the tag.
            let tagged = [(format!("{tag:?}"), node.value)];
            node.value = Value::Object(
                [("!".to_owned(), Value::Object(tagged.into_iter().collect()))].into_iter().collect(),
            );
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.value.clone());
        }
        Ok(node)
    }

    fn list(&mut self, start: Range<usize>, depth: usize) -> Result<Node, String> {
        let mut values = Vec::new();
        let mut end = start.end;
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                // A block list ends with its last value, a list in brackets with the bracket.
                let end = end.max(if is_block(&start) { end } else { span.end });
                return Ok(Node { value: Value::Array(values), span: start.start..end, kind: Kind::Other });
            }
            self.at -= 1;
            let node = self.node(depth + 1)?;
            end = end.max(node.end());
            values.push(node.value);
        }
    }

    fn table(&mut self, start: Range<usize>, flow: bool, depth: usize) -> Result<Node, String> {
        let mut table = Map::new();
        let mut entries = Vec::new();
        loop {
            let (event, key) = self.next()?;
            let name = match event {
                Event::MappingEnd => {
                    return Ok(Node {
                        value: Value::Object(table),
                        span: start.start..key.end,
                        kind: Kind::Table { flow, entries },
                    });
                }
                Event::Scalar(text, ScalarStyle::Plain, 0, None) => match plain(&text) {
                    Value::String(name) => name,
                    _ => return Err(format!("the key `{text}` is no text; quote it")),
                },
                Event::Scalar(text, _, 0, None) => text.into_owned(),
                _ => return Err("a key is no plain text".to_owned()),
            };
            let node = self.node(depth + 1)?;
            if table.insert(name.clone(), node.value.clone()).is_some() {
                return Err(format!("the key `{name}` stands there twice"));
            }
            entries.push(Entry { name, key, node });
        }
    }

    fn count(&mut self, values: usize) -> Result<(), String> {
        self.values += values;
        if self.values > VALUES_MAX {
            return Err(format!("it holds more than {VALUES_MAX} values"));
        }
        Ok(())
    }
}

/// The start of a block is no character of its own; a bracket is.
fn is_block(start: &Range<usize>) -> bool {
    start.is_empty()
}

fn size(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(size).sum::<usize>(),
        Value::Object(table) => 1 + table.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

/// A bare scalar by the core schema of YAML 1.2.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return true.into(),
        "false" | "False" | "FALSE" => return false.into(),
        _ => {}
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let numeric = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
    if numeric {
        let text = text.strip_prefix('+').unwrap_or(text);
        if let Ok(number) = text.parse::<i64>() {
            return number.into();
        }
        if !digits.bytes().all(|b| b.is_ascii_digit())
            && let Some(number) = text.parse().ok().and_then(Number::from_f64)
        {
            return number.into();
        }
    }
    text.into()
}

fn bytes(text: &str, span: &Span) -> Result<Range<usize>, String> {
    let range = span.byte_range().ok_or("the parser does not say where a value stands")?;
    if text.get(range.clone()).is_none() {
        return Err("the parser names a place outside of the text".to_owned());
    }
    Ok(range)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::parse;

    #[test]
    fn values_read_by_the_core_schema() {
        let text = "a: 1\nb: -1.5\nc: \"1\"\nd: no\ne: ~\nf: 0x1f\ng: 1.2.3\nh: TRUE\ni: [1, {j: k}]\n";
        assert_eq!(
            parse(text).unwrap().value,
            json!({"a": 1, "b": -1.5, "c": "1", "d": "no", "e": null, "f": "0x1f", "g": "1.2.3",
                   "h": true, "i": [1, {"j": "k"}]})
        );
        assert_eq!(parse("# nothing\n").unwrap().value, json!({}));
        assert_eq!(parse("a: &x {b: 1}\nc: *x\n").unwrap().value, json!({"a": {"b": 1}, "c": {"b": 1}}));
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        for (text, why) in [
            ("a: 1\na: 2\n", "twice"),
            ("1: a\n", "no text"),
            ("? [a]\n: b\n", "no plain text"),
            ("a: 1\n---\nb: 2\n", "several"),
            ("a: [1\n", ""),
            ("a: *x\n", ""),
        ] {
            assert!(parse(text).unwrap_err().contains(why), "{text:?}");
        }
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert!(parse(&deep).is_err());
        let bomb = (0..30).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| {
            format!("{text}a{}: &a{} [*a{n}, *a{n}]\n", n + 1, n + 1)
        });
        assert!(parse(&bomb).unwrap_err().contains("more than"));
    }
}
