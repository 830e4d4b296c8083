use std::fs;
use std::io::{self, Read};

use sternway_core::point::PieceKind;

use super::super::making;
use super::super::restore;
use super::super::trees::Vault;
use super::*;

fn path(text: &str) -> HostPath {
    HostPath::parse(text).unwrap()
}

fn extra(kind: PieceKind, file: &str, content: making::Content) -> Extra {
    Extra { kind, name: file.to_owned(), file: file.to_owned(), note: String::new(), content }
}

fn bytes(text: &str) -> making::Content {
    making::Content::Bytes(text.into())
}

/// Answers `left` bytes that are not all alike, then ends, or fails.
struct Program {
    left: u64,
    state: u64,
    fails: bool,
}

impl Read for Program {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return if self.fails { Err(io::Error::other("it ended with status 1")) } else { Ok(0) };
        }
        let count = self.left.min(buffer.len() as u64).min(70_000) as usize;
        for byte in &mut buffer[..count] {
            self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (self.state >> 56) as u8;
        }
        self.left -= count as u64;
        Ok(count)
    }
}

fn program(length: u64, fails: bool) -> Program {
    Program { left: length, state: 7, fails }
}

fn stream(length: u64, fails: bool) -> making::Content {
    making::Content::Stream(Box::new(move || {
        let reader: Box<dyn Read + Send> = Box::new(program(length, fails));
        Ok(reader)
    }))
}

fn vault() -> Vault {
    let vault = Vault::new();
    fs::create_dir_all(vault.path("host/top")).unwrap();
    fs::write(vault.path("host/top/file"), "a file of the host").unwrap();
    vault
}

#[test]
fn what_programs_say_lies_in_files_of_its_own_with_its_true_length() {
    let vault = vault();
    let lengths = [("none", 0), ("short", 5_000), ("long", 20_000_001)];
    let mut extras: Vec<Extra> = lengths
        .iter()
        .map(|(name, length)| extra(PieceKind::Database, name, stream(*length, false)))
        .collect();
    extras.push(extra(PieceKind::Unit, "b.service", bytes("enabled active")));
    extras.push(extra(PieceKind::Unit, "a.service", bytes("")));
    let tree = vault.store_with(&[path("/host/top")], extras).unwrap();
    let directory = fs::File::open(vault.path("host")).unwrap();
    let node = vault.node(tree, ".sternway");
    restore::restore(&vault.indexed(), &node, directory.as_fd(), "extras").unwrap();
    for (name, length) in lengths {
        let mut expected = Vec::new();
        program(length, false).read_to_end(&mut expected).unwrap();
        let node = vault.node(tree, &format!(".sternway/database/{name}"));
        assert_eq!(node.meta.size, length, "{name}");
        assert!(fs::read(vault.path("host/extras/database").join(name)).unwrap() == expected, "{name}");
    }
    assert_eq!(fs::read(vault.path("host/extras/unit/b.service")).unwrap(), b"enabled active");
    assert_eq!(vault.node(tree, "host/top/file").meta.size, 18);
    if let Some(checked) = vault.restic(&["check", "--read-data"]) {
        checked.unwrap();
    } else {
        tracing::warn!("skipped: there is no `restic` here");
    }
}

/// `gives` may be another length than what is `said`.
fn measured(said: u64, gives: u64) -> making::Content {
    making::Content::Measured(Box::new(move || {
        let reader: Box<dyn Read + Send> = Box::new(program(gives, false));
        Ok((reader, said))
    }))
}

#[test]
fn what_has_a_length_beforehand_is_read_once_and_to_that_length() {
    let vault = vault();
    let lengths = [("a", 9_000_000, 9_000_000), ("b", 0, 0), ("c", 70_000, 90_000)];
    let extras = lengths.map(|(name, said, gives)| extra(PieceKind::Database, name, measured(said, gives)));
    let tree = vault.store_with(&[path("/host/top")], extras.into()).unwrap();
    let directory = fs::File::open(vault.path("host")).unwrap();
    restore::restore(&vault.indexed(), &vault.node(tree, ".sternway"), directory.as_fd(), "extras").unwrap();
    for (name, said, _) in lengths {
        let mut expected = Vec::new();
        program(said, false).read_to_end(&mut expected).unwrap();
        assert_eq!(vault.node(tree, &format!(".sternway/database/{name}")).meta.size, said);
        assert!(fs::read(vault.path("host/extras/database").join(name)).unwrap() == expected, "{name}");
    }
    let short = extra(PieceKind::Database, "short", measured(70_000, 60_000));
    let error = vault.store_with(&[], vec![short]).unwrap_err();
    assert!(error.to_string().contains("shorter than it said"), "{error}");
}

#[test]
fn a_program_that_fails_fails_the_whole_point() {
    for length in [0, 5_000, 20_000_000] {
        let extras = vec![extra(PieceKind::Database, "main", stream(length, true))];
        let error = vault().store_with(&[path("/host/top")], extras).unwrap_err();
        assert!(matches!(&error, PointsError::Incomplete { .. }), "{error}");
        assert!(error.to_string().contains("status 1"), "{error}");
    }
    let never = making::Content::Stream(Box::new(|| Err(io::Error::other("no such program"))));
    let error = vault().store_with(&[], vec![extra(PieceKind::Database, "main", never)]).unwrap_err();
    assert!(error.to_string().contains("no such program"), "{error}");
}

#[test]
fn a_place_in_a_point_has_one_owner() {
    let vault = vault();
    for taken in ["/.sternway", "/.sternway/unit"] {
        let error = Source::of(&vault.root(), &[path(taken)], Vec::new()).unwrap_err();
        assert!(error.to_string().contains("is where a point keeps"), "{error}");
    }
    for names in [&["a", "a"][..], &[".."], &[""], &["a/b"]] {
        let extras = names.iter().map(|name| extra(PieceKind::Unit, name, bytes("x"))).collect();
        let error = Source::of(&vault.root(), &[], extras).unwrap_err();
        assert!(error.to_string().contains("cannot name a file"), "{names:?}: {error}");
    }
}

#[test]
fn entries_come_in_the_order_of_names_whatever_was_asked_for() {
    let vault = vault();
    for folder in ["-first", ".sternwax", ".sternwaz"] {
        fs::create_dir(vault.path(folder)).unwrap();
    }
    fs::write(vault.path("host/another"), "").unwrap();
    let paths =
        ["/host/top", "/.sternwaz", "/host/top/file", "/-first", "/.sternwax", "/host/another"].map(path);
    let extras = vec![extra(PieceKind::Unit, "u", bytes("x")), extra(PieceKind::Flags, "f", bytes("y"))];
    let source = Source::of(&vault.root(), &paths, extras).unwrap();
    let names: Vec<String> =
        source.entries().map(|entry| entry.unwrap().path.to_string_lossy().into_owned()).collect();
    let expected = [
        "/-first",
        "/.sternwax",
        "/.sternway",
        "/.sternway/flags",
        "/.sternway/flags/f",
        "/.sternway/unit",
        "/.sternway/unit/u",
        "/.sternwaz",
        "/host",
        "/host/another",
        "/host/top",
        "/host/top/file",
    ];
    assert_eq!(names, expected);
    assert_eq!(source.size().unwrap(), Some(20));
}

#[test]
fn a_file_that_grows_is_kept_as_it_was_and_one_that_shrinks_is_told() {
    let vault = vault();
    fs::write(vault.path("host/top/shrinks"), vec![1; 10_000]).unwrap();
    let source = Source::of(&vault.root(), &[path("/host/top")], Vec::new()).unwrap();
    let entries: Vec<_> = source.entries().map(Result::unwrap).collect();
    let more = fs::OpenOptions::new().append(true).open(vault.path("host/top/file")).unwrap();
    io::Write::write_all(&mut &more, b" and more").unwrap();
    fs::File::options().write(true).open(vault.path("host/top/shrinks")).unwrap().set_len(10).unwrap();
    let mut texts = Vec::new();
    for entry in entries {
        let Some(open) = entry.open else { continue };
        let mut bytes = Vec::new();
        let read = open.open().unwrap().read_to_end(&mut bytes);
        texts.push((entry.path, read.is_ok(), bytes));
    }
    assert_eq!(texts[0].2, b"a file of the host");
    assert!(!texts[1].1);
    let (count, first) = source.problems().summary().unwrap();
    assert_eq!(count, 1);
    assert!(first.contains("shrinks") && first.contains("shorter"), "{first}");
}
