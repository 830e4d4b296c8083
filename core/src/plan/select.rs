//! Which hosts a text means: labels and names joined with `&`, `|`, `!` and
//! parentheses, such as `service=agora & env=prod | !zone=b` or `demo-[01-08,10]`.

use std::ops::Range;

use super::HOSTS_MAX;
use super::InventoryHost;

/// Deepest nesting of `!` and parentheses.
const DEPTH_MAX: usize = 32;

/// A parsed selection; asks of a host only its name and labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    All,
    Label {
        key: String,
        value: String,
    },
    /// One written name or range, as the names it stands for, sorted.
    Names(Vec<String>),
    Not(Box<Self>),
    And(Vec<Self>),
    Or(Vec<Self>),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SelectError {
    /// Byte range in the selection's text.
    pub span: Range<usize>,
    pub message: String,
    pub help: Option<String>,
}

impl Selection {
    /// Reads a selection; the error points into `text`.
    pub fn parse(text: &str) -> Result<Self, SelectError> {
        let mut parser = Parser { text, at: 0, depth: 0 };
        let selection = parser.either()?;
        parser.skip_blanks();
        match parser.peek() {
            None => Ok(selection),
            Some(')') => Err(parser.odd("a `)` without its `(`")),
            Some(_) => {
                Err(parser.odd("expected `&` or `|` here").hint("join two conditions with `&` or `|`"))
            }
        }
    }

    pub fn matches(&self, host: &InventoryHost) -> bool {
        match self {
            Self::All => true,
            Self::Label { key, value } => host.labels.get(key) == Some(value),
            Self::Names(names) => {
                names.binary_search_by(|name| name.as_str().cmp(host.name.as_str())).is_ok()
            }
            Self::Not(inner) => !inner.matches(host),
            Self::And(parts) => parts.iter().all(|part| part.matches(host)),
            Self::Or(parts) => parts.iter().any(|part| part.matches(host)),
        }
    }

    /// Every name written out, in no particular order.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::All | Self::Label { .. } => Vec::new(),
            Self::Names(names) => names.iter().map(String::as_str).collect(),
            Self::Not(inner) => inner.names(),
            Self::And(parts) | Self::Or(parts) => parts.iter().flat_map(Self::names).collect(),
        }
    }

    /// Every label asked for, as `(key, value)`.
    pub fn labels(&self) -> Vec<(&str, &str)> {
        match self {
            Self::All | Self::Names(_) => Vec::new(),
            Self::Label { key, value } => vec![(key, value)],
            Self::Not(inner) => inner.labels(),
            Self::And(parts) | Self::Or(parts) => parts.iter().flat_map(Self::labels).collect(),
        }
    }
}

impl SelectError {
    fn hint(mut self, help: &str) -> Self {
        self.help = Some(help.to_owned());
        self
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn skip_blanks(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }

    fn take(&mut self, c: char) -> bool {
        self.skip_blanks();
        let found = self.peek() == Some(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    fn odd(&self, message: impl Into<String>) -> SelectError {
        let length = self.peek().map_or(0, char::len_utf8);
        SelectError { span: self.at..self.at + length, message: message.into(), help: None }
    }

    fn either(&mut self) -> Result<Selection, SelectError> {
        let mut parts = vec![self.both()?];
        while self.take('|') || self.take(',') {
            self.take('|');
            parts.push(self.both()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Selection::Or(parts) })
    }

    fn both(&mut self) -> Result<Selection, SelectError> {
        let mut parts = vec![self.one()?];
        while self.take('&') {
            self.take('&');
            parts.push(self.one()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Selection::And(parts) })
    }

    fn one(&mut self) -> Result<Selection, SelectError> {
        if self.depth == DEPTH_MAX {
            return Err(self.odd(format!("nested deeper than {DEPTH_MAX}")));
        }
        self.depth += 1;
        let one = if self.take('!') {
            self.one().map(|inner| Selection::Not(Box::new(inner)))
        } else if self.take('(') {
            self.either().and_then(|inner| {
                if self.take(')') { Ok(inner) } else { Err(self.odd("a `(` without its `)`")) }
            })
        } else if self.take('*') {
            Ok(Selection::All)
        } else {
            self.term()
        };
        self.depth -= 1;
        one
    }

    fn term(&mut self) -> Result<Selection, SelectError> {
        self.skip_blanks();
        let start = self.at;
        self.at += word_length(&self.text[start..]);
        let word = &self.text[start..self.at];
        if word.is_empty() {
            return Err(match self.peek() {
                None if self.text.trim().is_empty() => self.odd("a selection cannot be empty").hint(
                    "name labels and hosts, such as `service=agora & env=prod`; `*` selects every host",
                ),
                None => self.odd("the selection ends where a condition should follow"),
                Some(c) => self.odd(format!("`{}` is not a host's name, a label or `(`", c.escape_default())),
            });
        }
        if self.take('=') {
            self.take('=');
            return self.label_value(word.to_owned());
        }
        if self.text[self.at..].starts_with("!=") {
            let help = format!("write `!{word}={}`", self.text[self.at + 2..].trim_start());
            return Err(self.odd("a condition is turned round with `!` before it").hint(&help));
        }
        let mut names = expand(word).map_err(|message| SelectError {
            span: start..start + word.len(),
            message,
            help: None,
        })?;
        names.sort_unstable();
        Ok(Selection::Names(names))
    }

    fn label_value(&mut self, key: String) -> Result<Selection, SelectError> {
        self.skip_blanks();
        let start = self.at;
        self.at += word_length(&self.text[start..]);
        if start == self.at {
            return Err(self.odd(format!("label `{key}` is compared with nothing")));
        }
        Ok(Selection::Label { key, value: self.text[start..self.at].to_owned() })
    }
}

fn word_length(text: &str) -> usize {
    let mut in_brackets = false;
    for (at, c) in text.char_indices() {
        match c {
            '[' => in_brackets = true,
            ']' => in_brackets = false,
            ',' | ' ' if in_brackets => {}
            '.' | '_' | '-' | '/' | ':' => {}
            c if c.is_ascii_alphanumeric() => {}
            _ => return at,
        }
    }
    text.len()
}

/// `demo-[01-03,07]` as its names; a word without brackets is itself.
fn expand(word: &str) -> Result<Vec<String>, String> {
    let Some(open) = word.find('[') else {
        return if word.contains(']') {
            Err("a `]` without its `[`".into())
        } else {
            Ok(vec![word.to_owned()])
        };
    };
    let close = open + word[open..].find(']').ok_or("a `[` without its `]`")?;
    let tails = expand(&word[close + 1..])?;
    let mut names = Vec::new();
    for item in word[open + 1..close].split(',') {
        for number in numbers(item.trim())? {
            for tail in &tails {
                names.push(format!("{}{number}{tail}", &word[..open]));
                if names.len() > HOSTS_MAX {
                    return Err(format!("this range has more than {HOSTS_MAX} names"));
                }
            }
        }
    }
    Ok(names)
}

fn numbers(item: &str) -> Result<Vec<String>, String> {
    let read = |text: &str| {
        let is_number = !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
        let wrong = || format!("`{text}` is not a number: a range is written `[01-08,10]`");
        if is_number { text.parse::<u32>().map_err(|_| wrong()) } else { Err(wrong()) }
    };
    let Some((first, last)) = item.split_once('-') else {
        read(item)?;
        return Ok(vec![item.to_owned()]);
    };
    let (from, to) = (read(first.trim())?, read(last.trim())?);
    if to < from {
        return Err(format!("the range `{item}` runs backwards"));
    }
    if (to - from) as usize >= HOSTS_MAX {
        return Err(format!("this range has more than {HOSTS_MAX} names"));
    }
    let width = first.trim().len();
    Ok((from..=to).map(|number| format!("{number:0width$}")).collect())
}

/// Host names folded the way people write them: `demo-[01-08,10]`. What comes
/// out, [`Selection::parse`] reads back as the same hosts.
pub fn fold<'a>(hosts: impl IntoIterator<Item = &'a str>) -> String {
    groups(hosts).join(",")
}

/// Like [`fold`], with at most `groups_max` groups: `a-[1-9],b and 17 hosts more`.
pub fn fold_within<'a>(hosts: impl IntoIterator<Item = &'a str>, groups_max: usize) -> String {
    let hosts: Vec<&str> = hosts.into_iter().collect();
    let groups = groups(hosts.iter().copied());
    if groups.len() <= groups_max {
        return groups.join(",");
    }
    let kept = &groups[..groups_max];
    let told: usize = kept.iter().filter_map(|group| expand(group).ok()).map(|names| names.len()).sum();
    let mut distinct = hosts;
    distinct.sort_unstable();
    distinct.dedup();
    let more = super::problem::count(distinct.len().saturating_sub(told), "host");
    if kept.is_empty() { more } else { format!("{} and {more} more", kept.join(",")) }
}

fn groups<'a>(hosts: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    use std::collections::{BTreeMap, BTreeSet};
    let mut by_stem: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    let mut plain = BTreeSet::new();
    for host in hosts {
        match split_number(host) {
            Some((stem, digits, tail)) => _ = by_stem.entry((stem, tail)).or_default().insert(digits),
            None => _ = plain.insert(host.to_owned()),
        }
    }
    let mut groups: Vec<String> = plain.into_iter().collect();
    for ((stem, tail), digits) in by_stem {
        let padded: BTreeSet<usize> =
            digits.iter().filter(|d| d.len() > 1 && d.starts_with('0')).map(|d| d.len()).collect();
        let mut by_width: BTreeMap<usize, BTreeSet<u32>> = BTreeMap::new();
        for digit in digits {
            let width = if padded.contains(&digit.len()) { digit.len() } else { 0 };
            if let Ok(number) = digit.parse() {
                by_width.entry(width).or_default().insert(number);
            }
        }
        for (width, numbers) in by_width {
            let runs = runs(&numbers, width);
            groups.push(match (numbers.len(), runs.as_str()) {
                (1, number) => format!("{stem}{number}{tail}"),
                (_, runs) => format!("{stem}[{runs}]{tail}"),
            });
        }
    }
    groups.sort();
    groups
}

fn runs(numbers: &std::collections::BTreeSet<u32>, width: usize) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => runs.push((*number, *number)),
        }
    }
    let text = |(first, last): &(u32, u32)| match first == last {
        true => format!("{first:0width$}"),
        false => format!("{first:0width$}-{last:0width$}"),
    };
    runs.iter().map(text).collect::<Vec<_>>().join(",")
}

/// Splits at the last run of at most nine digits.
fn split_number(host: &str) -> Option<(&str, &str, &str)> {
    let end = host.rfind(|c: char| c.is_ascii_digit())? + 1;
    let start = host[..end]
        .rfind(|c: char| !c.is_ascii_digit())
        .map_or(0, |at| at + host[at..].chars().next().map_or(1, char::len_utf8));
    (end - start <= 9).then(|| (&host[..start], &host[start..end], &host[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn host(name: &str, labels: &[(&str, &str)]) -> InventoryHost {
        InventoryHost {
            name: name.parse().unwrap(),
            labels: labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        }
    }

    fn chosen(selection: &str, fleet: &[InventoryHost]) -> Vec<String> {
        let selection = Selection::parse(selection).unwrap();
        fleet.iter().filter(|host| selection.matches(host)).map(|host| host.name.to_string()).collect()
    }

    #[test]
    fn and_binds_tighter_than_or_and_not_tightest() {
        let fleet = [
            host("a-1", &[("service", "agora"), ("env", "prod"), ("zone", "a")]),
            host("a-2", &[("service", "agora"), ("env", "test"), ("zone", "b")]),
            host("b-1", &[("service", "mail"), ("env", "prod"), ("zone", "b")]),
        ];
        assert_eq!(chosen("service=agora & env=prod", &fleet), ["a-1"]);
        assert_eq!(chosen("service=agora & env=prod | !zone=b", &fleet), ["a-1"]);
        assert_eq!(chosen("service=mail | service=agora & env=test", &fleet), ["a-2", "b-1"]);
        assert_eq!(chosen("(service=mail | service=agora) & env=prod", &fleet), ["a-1", "b-1"]);
        assert_eq!(chosen("*", &fleet), ["a-1", "a-2", "b-1"]);
        assert_eq!(chosen("a-[1-2] & !a-2", &fleet), ["a-1"]);
        assert_eq!(chosen("a-2, b-1", &fleet), ["a-2", "b-1"]);
        assert_eq!(chosen("env=staging", &fleet), [""; 0]);
    }

    #[test]
    fn ranges_keep_their_zeros() {
        let names = |text: &str| expand(text).unwrap().join(" ");
        assert_eq!(names("demo-[08-11]"), "demo-08 demo-09 demo-10 demo-11");
        assert_eq!(names("demo-[8-11,3]"), "demo-8 demo-9 demo-10 demo-11 demo-3");
        assert_eq!(names("r[1-2]-n[1-2].x"), "r1-n1.x r1-n2.x r2-n1.x r2-n2.x");
    }

    #[test]
    fn every_slip_in_a_selection_is_told_at_its_place() {
        for (text, said, at) in [
            ("", "a selection cannot be empty", 0..0),
            ("a=", "label `a` is compared with nothing", 2..2),
            ("a=b &", "the selection ends where a condition should follow", 5..5),
            ("a=b c=d", "expected `&` or `|` here", 4..5),
            ("(a=b", "a `(` without its `)`", 4..4),
            ("a=b)", "a `)` without its `(`", 3..4),
            ("demo-[3-1]", "the range `3-1` runs backwards", 0..10),
            ("demo-[a-c]", "`a` is not a number: a range is written `[01-08,10]`", 0..10),
            ("demo-[1", "a `[` without its `]`", 0..7),
            ("demo-[1-999999999]", "this range has more than 20000 names", 0..18),
            ("zone != b", "a condition is turned round with `!` before it", 5..6),
            ("zone!=b", "a condition is turned round with `!` before it", 4..5),
        ] {
            let error = Selection::parse(text).unwrap_err();
            assert_eq!((error.message.as_str(), error.span), (said, at), "{text}");
        }
        assert!(Selection::parse(&"!".repeat(100_000)).is_err());
        assert!(Selection::parse(&"(".repeat(100_000)).is_err());
    }

    #[test]
    fn folding_writes_ranges_as_people_do() {
        let fold_names = |names: &[&str]| fold(names.iter().copied());
        assert_eq!(fold_names(&["demo-10", "demo-02", "demo-01", "demo-03"]), "demo-[01-03,10]");
        assert_eq!(fold_names(&["web-9", "web-10", "web-12"]), "web-[9-10,12]");
        assert_eq!(fold_names(&["db", "web-1"]), "db,web-1");
        assert_eq!(fold_names(&["a1.x", "a2.x", "a2.y"]), "a2.y,a[1-2].x");
        assert_eq!(fold_within(["a", "b", "c1", "c2"], 2), "a,b and 2 hosts more");
    }

    proptest! {
        #[test]
        fn what_is_folded_is_read_back(names in proptest::collection::btree_set("[a-c]{0,2}-?[0-9]{1,3}(\\.x)?", 1..40)) {
            let folded = fold(names.iter().map(String::as_str));
            let read = Selection::parse(&folded).unwrap();
            let mut back: Vec<&str> = read.names();
            back.sort_unstable();
            prop_assert_eq!(back, names.iter().map(String::as_str).collect::<Vec<_>>(), "{}", folded);
        }

        #[test]
        fn no_text_breaks_the_reader(text in "\\PC{0,40}") {
            if let Err(error) = Selection::parse(&text) {
                prop_assert!(text.get(error.span).is_some());
            }
        }

        #[test]
        fn a_selection_and_its_opposite_share_no_host(key in "[a-b]", value in "[x-y]", zone in "[x-y]") {
            let host = host("h-1", &[("a", &zone)]);
            let yes = Selection::parse(&format!("{key}={value}")).unwrap();
            let no = Selection::parse(&format!("!{key}={value}")).unwrap();
            prop_assert_ne!(yes.matches(&host), no.matches(&host));
        }
    }
}
