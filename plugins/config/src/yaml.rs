//! YAML: edited in its own text, by the places the parser names, so that
//! comments and layout stay. Whatever such an edit cannot do safely shows when
//! the text is read back, and is refused.

mod node;

use std::ops::Range;

use serde_json::{Map, Value};
use sternway_plugin::Error;

use self::node::{Entry, Kind, Node};
use crate::tree::{self, Edit, in_the_way};

pub(crate) fn read(text: &str) -> Result<Value, String> {
    Ok(node::parse(text)?.value)
}

pub(crate) fn edit(text: &str, edits: &[Edit]) -> Result<String, Error> {
    let mut text = text.to_owned();
    for edit in edits {
        let root = node::parse(&text).map_err(|cause| Error::invalid("config/not-readable", cause))?;
        match edit {
            Edit::Remove(path) => remove(&mut text, &root, path),
            Edit::Set(path, value) => set(&mut text, &root, path, value)?,
            Edit::Rename { from, to } => rename(&mut text, &root, from, to)?,
        }
    }
    Ok(text)
}

fn remove(text: &mut String, root: &Node, path: &[String]) {
    if tree::get(&root.value, path).is_none() {
        return;
    }
    if let Some((flow, inner)) = flow_around(root, path) {
        rewrite_flow(text, flow, &Edit::Remove(inner.to_vec()));
        return;
    }
    let Some((parent, entry)) = find(root, path) else { return };
    let lines = lines_of(text, entry);
    if parent.entries().len() > 1 {
        text.replace_range(lines, "");
        return;
    }
    // An empty block reads as nothing, so the emptied table is written out.
    text.replace_range(lines, "");
    match find(root, &path[..path.len() - 1]) {
        Some((_, holder)) => {
            let colon = colon_after(text, holder);
            text.insert_str(colon, " {}");
        }
        None => text.push_str("{}\n"),
    }
}

fn set(text: &mut String, root: &Node, path: &[String], value: &Value) -> Result<(), Error> {
    if tree::get(&root.value, path) == Some(value) {
        return Ok(());
    }
    if let Some((flow, inner)) = flow_around(root, path) {
        let edit = Edit::Set(inner.to_vec(), value.clone());
        tree::apply(&mut flow.value.clone(), &edit)?;
        rewrite_flow(text, flow, &edit);
        return Ok(());
    }
    let Some((_, entry)) = find(root, path) else { return insert(text, root, path, value) };
    match entry.node.kind {
        Kind::Scalar if !entry.node.span.is_empty() && !is_table(value) => {
            text.replace_range(entry.node.span.clone(), &flow(value));
        }
        Kind::Scalar | Kind::Other | Kind::Table { .. } => {
            let lines = lines_of(text, entry);
            let indent = indent_at(text, entry.key.start);
            text.replace_range(lines, &block(&entry.name, value, &indent));
        }
    }
    Ok(())
}

/// A new key goes behind the last one of its table, made along with the
/// tables it needs.
fn insert(text: &mut String, root: &Node, path: &[String], value: &Value) -> Result<(), Error> {
    let depth =
        (0..path.len()).rev().find(|depth| *depth == 0 || find(root, &path[..*depth]).is_some()).unwrap_or(0);
    let mut made = value.clone();
    for key in path[depth + 1..].iter().rev() {
        made = Value::Object([(key.clone(), made)].into_iter().collect());
    }
    let holder = find(root, &path[..depth]).map(|(_, entry)| entry);
    let table = holder.map_or(root, |entry| &entry.node);
    let name = &path[depth];
    let Some(last) = table.entries().last() else {
        if !table.value.is_null() && table.value != Value::Object(Map::new()) {
            return Err(in_the_way(path));
        }
        match holder {
            None => {
                end_line(text);
                text.push_str(&block(name, &made, ""));
            }
            Some(holder) => {
                let made = Value::Object([(name.clone(), made)].into_iter().collect());
                let lines = lines_of(text, holder);
                let indent = indent_at(text, holder.key.start);
                text.replace_range(lines, &block(&holder.name, &made, &indent));
            }
        }
        return Ok(());
    };
    let indent = indent_at(text, table.entries()[0].key.start);
    let at = lines_of(text, last).end;
    if at == text.len() {
        end_line(text);
        text.push_str(&block(name, &made, &indent));
    } else {
        text.insert_str(at, &block(name, &made, &indent));
    }
    Ok(())
}

fn rename(text: &mut String, root: &Node, from: &[String], to: &[String]) -> Result<(), Error> {
    let Some(value) = tree::get(&root.value, from).cloned() else { return Ok(()) };
    let together = from.len() == to.len() && from[..from.len() - 1] == to[..to.len() - 1];
    if together
        && flow_around(root, from).is_none()
        && let (Some((_, entry)), Some(new)) = (find(root, from), to.last())
    {
        text.replace_range(entry.key.clone(), &scalar(new));
        return Ok(());
    }
    remove(text, root, from);
    let root = node::parse(text).map_err(|cause| Error::invalid("config/not-readable", cause))?;
    set(text, &root, to, &value)
}

/// The entry at `path` and the block table that holds it.
fn find<'n>(root: &'n Node, path: &[String]) -> Option<(&'n Node, &'n Entry)> {
    let (last, parents) = path.split_last()?;
    let parent = parents.iter().try_fold(root, |node, key| Some(&node.entry(key)?.node))?;
    Some((parent, parent.entry(last)?))
}

/// The outermost table in braces that `path` leads into, and the rest of the path.
fn flow_around<'n, 'p>(root: &'n Node, path: &'p [String]) -> Option<(&'n Node, &'p [String])> {
    let mut node = root;
    for (depth, key) in path.iter().enumerate() {
        if node.is_flow() {
            return Some((node, &path[depth..]));
        }
        node = &node.entry(key)?.node;
    }
    None
}

fn rewrite_flow(text: &mut String, node: &Node, edit: &Edit) {
    let mut value = node.value.clone();
    if tree::apply(&mut value, edit).is_ok() {
        text.replace_range(node.span.clone(), &flow(&value));
    }
}

/// From the start of the key's line to behind the end of the value's last line.
fn lines_of(text: &str, entry: &Entry) -> Range<usize> {
    let start = text[..entry.key.start].rfind('\n').map_or(0, |at| at + 1);
    // A block text ends where its parser looked next, which may be lines below.
    let last = text[..entry.node.end()].trim_end().len().max(entry.key.end);
    let end = text[last..].find('\n').map_or(text.len(), |at| last + at + 1);
    start..end
}

fn indent_at(text: &str, at: usize) -> String {
    let start = text[..at].rfind('\n').map_or(0, |at| at + 1);
    " ".repeat(text[start..at].chars().count())
}

fn colon_after(text: &str, entry: &Entry) -> usize {
    text[entry.key.end..].find(':').map_or(entry.key.end, |at| entry.key.end + at + 1)
}

fn end_line(text: &mut String) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
}

fn is_table(value: &Value) -> bool {
    value.as_object().is_some_and(|table| !table.is_empty())
}

fn block(name: &str, value: &Value, indent: &str) -> String {
    match value {
        Value::Object(table) if !table.is_empty() => {
            let inner = format!("{indent}  ");
            let head = format!("{indent}{}:\n", scalar(name));
            table.iter().fold(head, |text, (name, value)| text + &block(name, value, &inner))
        }
        _ => format!("{indent}{}: {}\n", scalar(name), flow(value)),
    }
}

fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        Value::Array(list) => {
            format!("[{}]", list.iter().map(flow).collect::<Vec<_>>().join(", "))
        }
        Value::Object(table) => {
            let entries = table.iter().map(|(key, value)| format!("{}: {}", scalar(key), flow(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// Bare only when every reader, old or new, takes it for a text.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 11] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf"];
    let bare = text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '/'))
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_./@+-".contains(&b))
        && !WORDS.iter().any(|word| word.eq_ignore_ascii_case(text));
    if bare { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn path(dotted: &str) -> Vec<String> {
        dotted.split('.').map(str::to_owned).collect()
    }

    fn edited(text: &str, edit: Edit) -> String {
        let mut meant = read(text).unwrap();
        tree::apply(&mut meant, &edit).unwrap();
        let written = super::edit(text, &[edit]).unwrap();
        assert_eq!(read(&written).as_ref(), Ok(&meant), "\n{written}");
        written
    }

    const TEXT: &str = "\
# head
server:   # where
  port: 8080  # not 80
  hosts:
    - a
    - b
  tls: {cert: /a, key: /b}
text: |
  one
  two
# about last
last: 1.10
";

    #[test]
    fn one_value_changes_and_all_else_stays_as_written() {
        let written = edited(TEXT, Edit::Set(path("server.port"), json!(9090)));
        assert_eq!(written, TEXT.replace("8080", "9090"));
        let written = edited(TEXT, Edit::Set(path("server.tls.key"), json!("/c")));
        assert_eq!(written, TEXT.replace("/b}", "/c}"));
        let written = edited(TEXT, Edit::Rename { from: path("last"), to: path("final") });
        assert_eq!(written, TEXT.replace("last: 1.10", "final: 1.10"));
    }

    #[test]
    fn keys_go_with_their_lines_and_nobody_elses() {
        let written = edited(TEXT, Edit::Remove(path("server.hosts")));
        assert_eq!(written, TEXT.replace("  hosts:\n    - a\n    - b\n", ""));
        let written = edited(TEXT, Edit::Remove(path("text")));
        assert_eq!(written, TEXT.replace("text: |\n  one\n  two\n", ""));
        let written = edited(TEXT, Edit::Remove(path("server.tls.cert")));
        assert_eq!(written, TEXT.replace("{cert: /a, key: /b}", "{key: /b}"));
        assert_eq!(edited("a:\n  b: 1\nc: 2\n", Edit::Remove(path("a.b"))), "a: {}\nc: 2\n");
        assert_eq!(edited("a: 1\n", Edit::Remove(path("a"))), "{}\n");
    }

    #[test]
    fn new_keys_stand_behind_their_neighbours() {
        let written = edited(TEXT, Edit::Set(path("server.name"), json!("on")));
        assert_eq!(written, TEXT.replace("/b}\n", "/b}\n  name: \"on\"\n"));
        let written = edited("a: 1", Edit::Set(path("b.c"), json!([1, "x"])));
        assert_eq!(written, "a: 1\nb:\n  c: [1, x]\n");
        assert_eq!(edited("a:\n", Edit::Set(path("a.b"), json!(true))), "a:\n  b: true\n");
        assert_eq!(edited("{}\n", Edit::Set(path("a"), json!({"b": 1}))), "{a: {b: 1}}\n");
    }

    #[test]
    fn whole_tables_and_texts_are_replaced() {
        let written = edited(TEXT, Edit::Set(path("text"), json!("x: y")));
        assert_eq!(written, TEXT.replace("|\n  one\n  two\n", "\"x: y\"\n"));
        let written = edited("a:\n  b: 1\n  c: 2\nd: 3\n", Edit::Set(path("a"), json!({"e": {"f": null}})));
        assert_eq!(written, "a:\n  e:\n    f: null\nd: 3\n");
        edited("a:\n  b: {x: 1}\nc: 2\n", Edit::Rename { from: path("a.b"), to: path("d") });
    }

    const OTHER: &str = "\
---
# compose-like
services:
    web:
        image: 'web:1.3'   # pinned
        ports: [\"80:80\", 443]
        command: >-
            run
            --fast

        environment:
        # for the log
        - LOG=info

        - TZ=UTC
    db: {image: pg, volumes: {data: /d}}
\"quoted key\": \"ä\"
empty:
plain: several words
  over two lines
last:
  - a: 1
    b: 2
";

    fn paths(value: &Value, path: &[String], all: &mut Vec<Vec<String>>) {
        for (key, value) in value.as_object().into_iter().flatten() {
            let path = [path, std::slice::from_ref(key)].concat();
            paths(value, &path, all);
            all.push(path);
        }
    }

    #[test]
    fn every_key_of_a_usual_file_can_be_edited_in_every_way() {
        for text in [TEXT, OTHER] {
            let mut all = vec![];
            paths(&read(text).unwrap(), &[], &mut all);
            assert!(all.len() > 7);
            for path in all {
                let beside = [&path[..path.len() - 1], &["new key".to_owned()]].concat();
                edited(text, Edit::Remove(path.clone()));
                edited(text, Edit::Rename { from: path.clone(), to: beside.clone() });
                edited(text, Edit::Rename { from: path.clone(), to: vec!["x".into(), "y".into()] });
                for value in
                    [json!("a: b"), json!(7), json!(null), json!([1, {"a": []}]), json!({"k": {"l": "m"}})]
                {
                    edited(text, Edit::Set(path.clone(), value.clone()));
                    edited(text, Edit::Set(beside.clone(), value));
                }
            }
        }
        assert_eq!(edited("# only this\n", Edit::Set(path("a"), json!(1))), "# only this\na: 1\n");
        assert_eq!(edited("", Edit::Set(path("a.b"), json!(1))), "a:\n  b: 1\n");
    }

    #[test]
    fn what_other_readers_take_differently_is_quoted() {
        for text in ["no", "On", "1.10", "2026-01-01", "a: b", "", " x", "~", "null", "#x", "é"] {
            let written = edited("a: 1\n", Edit::Set(path("a"), json!(text)));
            assert!(written.contains('"'), "{written}");
        }
    }
}
