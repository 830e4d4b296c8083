//! The fault matrix, held to its word: every row is there once, says what shows
//! it or what it waits for, and the tests it names exist. What they said last is
//! written into `docs/reliability.md` by `cargo xtask test`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Faults that were thought of.
const ROWS: u32 = 93;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Matrix {
    row: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    number: u32,
    group: String,
    fault: String,
    expected: String,
    #[serde(default)]
    proof: Vec<Proof>,
    waits: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proof {
    layer: String,
    test: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate stands in the root")
}

fn matrix() -> Matrix {
    let text = fs::read_to_string(root().join("tests/matrix.toml")).expect("the matrix is there");
    toml::from_str(&text).expect("the matrix is as described at its top")
}

/// Folders of all packages by name, plugins too.
fn packages() -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut open = vec![root().to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is readable").map(Result::unwrap) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().expect("a kind of file").is_dir()
                && name != "target"
                && !name.starts_with('.')
            {
                open.push(entry.path());
            } else if name == "Cargo.toml" {
                let manifest: toml::Table =
                    toml::from_str(&fs::read_to_string(entry.path()).expect("a readable file"))
                        .expect("manifests are TOML");
                let package = manifest.get("package").and_then(|package| package.get("name"));
                if let Some(name) = package.and_then(toml::Value::as_str) {
                    found.insert(name.to_owned(), folder.clone());
                }
            }
        }
    }
    found
}

/// Sources of one package, without packages inside it.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (vec![], vec![folder.to_path_buf()]);
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).expect("the folder is readable").map(Result::unwrap) {
            let path = entry.path();
            let is_package = path.join("Cargo.toml").exists();
            if path.is_dir() && !is_package && !path.ends_with("target") {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    found
}

fn has_test(text: &str, name: &str) -> bool {
    let heads = [format!("fn {name}("), format!("fn {name} (")];
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.iter().enumerate().any(|(at, line)| {
        heads.iter().any(|head| line.contains(head.as_str()))
            && lines[at.saturating_sub(4)..at]
                .iter()
                .any(|above| *above == "#[test]" || above.starts_with("#[tokio::test"))
    })
}

/// Where the manifest says that this test binary begins.
fn first_file(folder: &Path, binary: &str) -> Option<PathBuf> {
    let manifest: toml::Table = toml::from_str(&fs::read_to_string(folder.join("Cargo.toml")).ok()?).ok()?;
    let tests = manifest.get("test")?.as_array()?;
    let named = tests.iter().find(|test| test.get("name").and_then(toml::Value::as_str) == Some(binary))?;
    named.get("path")?.as_str().map(PathBuf::from)
}

/// Why `test` names no test, if it does not.
fn missing(test: &str, packages: &BTreeMap<String, PathBuf>) -> Option<String> {
    let [package, binary, path] = test.splitn(3, "::").collect::<Vec<_>>()[..] else {
        return Some(format!("`{test}` is not package::binary::name"));
    };
    let Some(folder) = packages.get(package) else { return Some(format!("no package is called {package}")) };
    let name = path.rsplit("::").next().unwrap_or(path);
    let begins_in = first_file(folder, binary);
    let is_of_binary = |source: &Path| {
        let inside = source.strip_prefix(folder).expect("it is below");
        let beside = begins_in.as_ref().is_some_and(|file| inside.parent() == file.parent());
        let mut names = inside.iter().chain(inside.file_stem());
        binary == "lib" || beside || names.any(|part| part.to_string_lossy() == binary)
    };
    let found = sources(folder)
        .into_iter()
        .filter(|source| is_of_binary(source))
        .any(|source| has_test(&fs::read_to_string(source).expect("a readable file"), name));
    (!found).then(|| format!("`{test}`: there is no such test"))
}

#[test]
fn every_fault_has_one_row_with_a_proof_or_what_it_waits_for() {
    let matrix = matrix();
    let numbers: Vec<u32> = matrix.row.iter().map(|row| row.number).collect();
    assert_eq!(numbers, (1..=ROWS).collect::<Vec<_>>(), "a row is missing, twice, or out of order");
    for row in &matrix.row {
        let says = [&row.group, &row.fault, &row.expected].iter().all(|text| !text.trim().is_empty());
        assert!(says, "row {} leaves something out", row.number);
        let waits = row.waits.as_ref().is_some_and(|why| !why.trim().is_empty());
        assert!(waits || !row.proof.is_empty(), "row {} has neither proof nor what it waits for", row.number);
        let bar = [&row.group, &row.fault, &row.expected].iter().any(|text| text.contains('|'));
        assert!(!bar, "row {} would break its table", row.number);
    }
}

#[test]
fn every_proof_names_a_layer_and_a_test_that_exists() {
    let packages = packages();
    let mut problems = Vec::new();
    for row in matrix().row {
        for proof in &row.proof {
            if !["U", "M", "S", "T", "K", "P", "D", "C"].contains(&proof.layer.as_str()) {
                problems.push(format!("row {}: `{}` is no layer", row.number, proof.layer));
            }
            problems.extend(missing(&proof.test, &packages).map(|why| format!("row {}: {why}", row.number)));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn a_test_that_does_not_exist_is_noticed() {
    let packages = packages();
    let here = "sternway-tests::matrix::a_test_that_does_not_exist_is_noticed";
    assert_eq!(missing(here, &packages), None);
    for odd in ["sternway-tests::matrix::packages", "sternway-tests::fleet::nothing", "nobody::lib::x", "x"] {
        assert!(missing(odd, &packages).is_some(), "{odd}");
    }
}
