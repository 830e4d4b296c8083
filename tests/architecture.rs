//! Which part of the house may know which: the arrows and absences that
//! `docs/architecture.md` promises, held by reading manifests and sources.
//! A failure says what to do; an arrow that is wanted is argued there first.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sternway_core::ids::Digest;

/// Longest source file, in lines.
const LINES_MAX: usize = 800;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate stands in the root")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|cause| panic!("{}: {cause}", path.display()))
}

/// All files below `folder` that end so, or `folder` itself when it is a file, as paths from the root; what was
/// built is left out.
fn files(folder: &str, ending: &str) -> Vec<String> {
    fn walk(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
        let entries = fs::read_dir(folder).unwrap_or_else(|cause| panic!("{}: {cause}", folder.display()));
        for entry in entries {
            let entry = entry.expect("the folder is readable");
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().expect("the entry is readable");
            if kind.is_dir() && name != "target" && !name.starts_with('.') {
                walk(&entry.path(), ending, found);
            } else if kind.is_file() && name.ends_with(ending) {
                found.push(entry.path());
            }
        }
    }
    if root().join(folder).is_file() {
        return vec![folder.to_owned()];
    }
    let mut found = Vec::new();
    walk(&root().join(folder), ending, &mut found);
    let mut paths: Vec<String> = found
        .iter()
        .map(|path| path.strip_prefix(root()).expect("it is below the root").display().to_string())
        .collect();
    paths.sort();
    paths
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// The lines that run in the product, with their numbers: no comments, and
/// nothing from the test module on, which stands last in a file.
fn code(text: &str) -> Vec<(usize, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines.windows(2).position(|pair| pair[0] == "#[cfg(test)]" && pair[1].ends_with('{'));
    lines[..tests.unwrap_or(lines.len())]
        .iter()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(at, line)| (at + 1, line.split(" // ").next().unwrap_or_default()))
        .collect()
}

fn is_part_of_a_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Whether `line` holds `word` as a word of its own: `tokio` is not in `tokiort`.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let may_go_on = word.chars().next_back().is_some_and(is_part_of_a_name);
        let goes_on = may_go_on && after.is_some_and(is_part_of_a_name);
        !goes_on && !before.is_some_and(is_part_of_a_name)
    })
}

/// Where `words` stand in the product's code below `folders`, outside their `homes`.
fn strays(words: &[&str], folders: &[&str], homes: &[&str]) -> Vec<String> {
    let paths = folders.iter().flat_map(|folder| files(folder, ".rs"));
    let paths = paths.filter(|path| !is_test_file(path) && !homes.iter().any(|home| path.starts_with(home)));
    let mut found = Vec::new();
    for path in paths {
        let text = read(&root().join(&path));
        for (number, line) in code(&text) {
            if let Some(word) = words.iter().find(|word| names(line, word)) {
                found.push(format!("{path}:{number}: `{word}` in: {}", line.trim()));
            }
        }
    }
    found
}

fn assert_none(found: &[String], what_to_do: &str) {
    assert!(found.is_empty(), "{what_to_do}\n\n{}", found.join("\n"));
}

/// What each package of the workspace depends on when it is built, by name.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo, which built this, is still there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo answers JSON");
    let packages = metadata["packages"].as_array().expect("there are packages");
    packages
        .iter()
        .map(|package| {
            let all = package["dependencies"].as_array().expect("a list, perhaps an empty one");
            // A kind is `dev`, `build`, or null for what the product itself is made of.
            let built = all.iter().filter(|one| one["kind"].is_null());
            let names = built.filter_map(|one| one["name"].as_str()).map(str::to_owned).collect();
            (package["name"].as_str().expect("packages have names").to_owned(), names)
        })
        .collect()
}

#[test]
fn core_is_made_of_nothing_that_touches_the_world() {
    let known = [
        "ciborium",
        "ed25519-dalek",
        "regex-lite",
        "schemars",
        "serde",
        "serde_bytes",
        "serde_json",
        "sha2",
        "thiserror",
    ];
    let more: Vec<String> = dependencies()["sternway-core"]
        .iter()
        .filter(|name| !known.contains(&name.as_str()))
        .cloned()
        .collect();
    assert_none(
        &more,
        "core depends on something new. It decides and touches nothing: no runtime, socket, file format of people, \
         clock or randomness. Put what needs it into agent or coordinator; a pure helper is added to this list",
    );
}

#[test]
fn core_reads_no_clock_no_file_no_socket_and_never_waits() {
    let words = [
        "std::fs",
        "std::io",
        "std::net",
        "std::env",
        "std::process",
        "std::thread",
        "SystemTime",
        "Instant",
        "tokio",
        "async",
        "await",
        "getrandom",
        "HashMap",
        "HashSet",
        "println!",
        "eprintln!",
    ];
    let found = strays(&words, &["core/src"], &[]);
    assert_none(&found, "core takes time, bytes and answers as arguments and returns what shall be done");
}

/// Packages that nothing of the product may lean on.
const TESTS_ONLY: [&str; 6] = [
    "sternway-tests",
    "sternway-models",
    "sternway-network",
    "sternway-disks",
    "sternway-simulation",
    "xtask",
];

#[test]
fn agent_and_coordinator_meet_on_the_wire_only() {
    let packages = dependencies();
    for (package, other) in
        [("sternway-agent", "sternway-coordinator"), ("sternway-coordinator", "sternway-agent")]
    {
        assert!(
            !packages[package].contains(other),
            "{package} depends on {other}: what both need belongs to sternway_core::wire"
        );
    }
    for (package, names) in &packages {
        let is_proof = TESTS_ONLY.contains(&package.as_str());
        let odd = names.iter().find(|name| !is_proof && TESTS_ONLY.contains(&name.as_str()));
        assert!(odd.is_none(), "{package} depends on {odd:?}, which serves tests and chores only");
    }
}

#[test]
fn heavy_packages_have_one_home_among_the_crates() {
    let homes: [(&str, &[&str]); 9] = [
        ("wasmtime", &["sternway-agent"]),
        ("wasmtime-wasi", &["sternway-agent"]),
        ("rustic_core", &["sternway-agent"]),
        ("quinn", &["sternway-agent", "sternway-coordinator"]),
        ("rustls", &["sternway-agent", "sternway-coordinator"]),
        ("rusqlite", &["sternway-agent", "sternway-coordinator"]),
        ("rcgen", &["sternway-coordinator"]),
        ("axum", &["sternway-coordinator"]),
        ("crossterm", &["sternway-coordinator"]),
    ];
    let product = ["sternway-core", "sternway-agent", "sternway-coordinator", "xtask"];
    for (package, names) in dependencies().iter().filter(|(package, _)| product.contains(&package.as_str())) {
        for (heavy, home) in homes {
            assert!(
                !names.contains(heavy) || home.contains(&package.as_str()),
                "{package} depends on {heavy}, which belongs to {home:?} (docs/architecture.md)"
            );
        }
    }
}

#[test]
fn heavy_packages_have_one_home_among_the_files() {
    let product = ["core/src", "agent/src", "coordinator/src"];
    let rules: [(&[&str], &[&str], &str); 8] = [
        (
            &["wasmtime", "wasmtime_wasi"],
            &["agent/src/sandbox.rs", "agent/src/sandbox/"],
            "only the sandbox names the engine",
        ),
        (
            &["quinn", "quinn_proto", "rustls"],
            &[
                "agent/src/link.rs",
                "agent/src/link/",
                "coordinator/src/daemon.rs",
                "coordinator/src/daemon/endpoint.rs",
                "coordinator/src/daemon/operator_api.rs",
                "coordinator/src/daemon/points.rs",
                "coordinator/src/daemon/session.rs",
                "coordinator/src/cli/client.rs",
                "coordinator/src/cli/identity.rs",
                "coordinator/src/pki.rs",
            ],
            "only the two ends of a link, and who reads certificates, name QUIC and TLS",
        ),
        (
            &["rustic_core", "rustic_backend"],
            &["agent/src/points.rs", "agent/src/points/"],
            "only rollback points know of the format they are kept in",
        ),
        (&["ed25519_dalek"], &["core/src/trust/"], "signatures are made and judged in core/src/trust only"),
        (
            &["rusqlite"],
            &[
                "agent/src/capabilities/databases.rs",
                "agent/src/conformance.rs",
                "agent/src/conformance/trees.rs",
                "agent/src/points/pieces/databases.rs",
                "coordinator/src/daemon/database.rs",
                "coordinator/src/daemon/database/",
                "coordinator/src/dev/",
            ],
            "SQLite is named where a database is kept, is a power, is part of a case or goes into a point, nowhere else",
        ),
        (
            &["toml::"],
            &[
                "agent/src/capabilities/programs/form.rs",
                "agent/src/config.rs",
                "agent/src/config/",
                "agent/src/conformance/case.rs",
                "coordinator/src/cli/show.rs",
                "coordinator/src/cli/sign/",
                "coordinator/src/daemon/config.rs",
                "coordinator/src/dev/",
                "coordinator/src/draft.rs",
                "coordinator/src/draft/",
            ],
            "TOML is read where a person's file comes in, and where forms of programs do; everything behind it gets values",
        ),
        (
            &["zbus"],
            &["agent/src/capabilities/systemd.rs", "agent/src/capabilities/systemd/"],
            "only the power over units speaks D-Bus",
        ),
        (
            &["lettre"],
            &["agent/src/capabilities/mail.rs", "agent/src/capabilities/mail/"],
            "only the power over mail names the mail library",
        ),
    ];
    for (words, homes, what_to_do) in rules {
        assert_none(&strays(words, &product, homes), what_to_do);
    }
}

#[test]
fn the_verbs_and_the_daemon_meet_on_the_wire_only() {
    let daemon = ["crate::daemon", "super::daemon", "super::super::daemon"];
    let found = strays(&daemon, &["coordinator/src/cli.rs", "coordinator/src/cli"], &[]);
    assert_none(&found, "an operator's verb asks the coordinator over the wire, like any operator");
    let found = strays(&["crate::cli"], &["coordinator/src/daemon.rs", "coordinator/src/daemon"], &[]);
    assert_none(&found, "the daemon shows nothing to anybody; what it says are answers on the wire");
}

#[test]
fn powers_know_nothing_of_grants_plugins_or_runs() {
    let words = ["crate::gate", "crate::sandbox", "crate::steps", "crate::driver", "crate::journal", "Grant"];
    let found = strays(&words, &["agent/src/capabilities.rs", "agent/src/capabilities"], &[]);
    assert_none(&found, "a power acts and is tested alone; whether it may is asked in agent/src/gate.rs");
    let found = strays(
        &["crate::sandbox", "sandbox::"],
        &["agent/src"],
        &[
            "agent/src/sandbox.rs",
            "agent/src/sandbox/",
            "agent/src/steps.rs",
            "agent/src/steps/ahead.rs",
            "agent/src/conformance.rs",
            "agent/src/conformance/",
            "agent/src/verbs/plugin.rs",
        ],
    );
    assert_none(&found, "plugins are called from agent/src/steps.rs, and described and proved by one verb");
}

#[test]
fn no_shell_stands_between_a_plan_and_a_process() {
    let shells = ["\"sh\"", "\"bash\"", "\"/bin/sh\"", "\"/bin/bash\"", "\"/usr/bin/env\""];
    let found = strays(&shells, &["core/src", "agent/src", "coordinator/src"], &[]);
    assert_none(&found, "processes are started by program and arguments; a shell would read values as code");
}

#[test]
fn the_agent_writes_files_durably_or_not_at_all() {
    let words = ["fs::write", "fs::rename"];
    let found = strays(&words, &["agent/src"], &["agent/src/durable.rs", "agent/src/points/trees.rs"]);
    assert_none(&found, "use durable::write: what is renamed without a sync can be empty after a power cut");
}

#[test]
fn plugins_are_written_against_the_contract_alone() {
    let manifests = files("plugins", "Cargo.toml");
    assert!(manifests.len() > 5, "there are plugins to look at: {manifests:?}");
    for manifest in manifests {
        let text = read(&root().join(&manifest));
        for ours in ["sternway-core", "sternway-agent", "sternway-coordinator"] {
            assert!(
                !text.contains(ours),
                "{manifest} names {ours}: a plugin knows wit/ and plugins/sdk, as a stranger's does"
            );
        }
    }
}

/// The version in `package sternway:step@0.1.0;`.
fn contract_version(text: &str) -> &str {
    let line = text.lines().find(|line| line.starts_with("package ")).expect("a contract names its package");
    line.split('@').nth(1).and_then(|rest| rest.split(';').next()).expect("with a version")
}

#[test]
fn a_released_contract_never_changes() {
    let mut released = 0;
    for list in files("wit/released", "DIGESTS") {
        let folder = Path::new(&list).parent().expect("a file stands in a folder").to_path_buf();
        let text = read(&root().join(&list));
        let listed: BTreeMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.split_once("  "))
            .map(|(digest, name)| (name, digest))
            .collect();
        let there = files(&folder.display().to_string(), ".wit");
        assert_eq!(there.len(), listed.len(), "{list} lists each file of its folder and no other");
        for (name, digest) in listed {
            let path = folder.join(name);
            let bytes =
                fs::read(root().join(&path)).unwrap_or_else(|cause| panic!("{}: {cause}", path.display()));
            assert_eq!(
                Digest::of(&bytes).to_string(),
                digest,
                "{} was released and has changed: plugins out there were built from it. Put it back, and write the \
                 change into wit/ under a new version",
                path.display()
            );
            released += 1;
        }
    }
    assert!(released > 0, "something was released");
}

#[test]
fn the_contract_we_build_is_the_released_one_or_has_another_version() {
    for name in ["step.wit", "deps/host/host.wit"] {
        let ours = read(&root().join("wit").join(name));
        let released = root().join("wit/released").join(contract_version(&ours)).join(name);
        if released.exists() {
            assert_eq!(
                ours,
                read(&released),
                "wit/{name} differs from the released copy of the version it claims: raise the version in its first \
                 line, and copy it to wit/released/ when it is released"
            );
        }
    }
}

#[test]
fn the_catalogue_names_the_components_that_are_built_in() {
    let built = root().join("plugins/built");
    let what_to_do =
        "run `cargo xtask plugins`, which writes components, catalogue.json and DIGESTS together";
    let text = fs::read_to_string(built.join("catalogue.json"))
        .unwrap_or_else(|cause| panic!("plugins/built/catalogue.json: {cause}; {what_to_do}"));
    let catalogue: serde_json::Value = serde_json::from_str(&text).expect("the catalogue is JSON");
    let entries = catalogue.as_object().expect("a table of plugins by name");
    assert_eq!(entries.len(), files("plugins/built", ".wasm").len(), "{what_to_do}");
    for (name, entry) in entries {
        let path = built.join(format!("{name}.wasm"));
        let bytes =
            fs::read(&path).unwrap_or_else(|cause| panic!("{}: {cause}; {what_to_do}", path.display()));
        assert_eq!(
            entry["sha256"].as_str(),
            Some(Digest::of(&bytes).to_string().as_str()),
            "{name}: {what_to_do}"
        );
    }
    let source = read(&root().join("coordinator/src/cli/catalogue.rs"));
    assert!(
        source.contains("plugins/built/catalogue.json"),
        "coordinator/src/cli/catalogue.rs signs plans with another catalogue than plugins/built/catalogue.json: hosts \
         would be told to fetch components that nobody has"
    );
}

const SOURCES: [&str; 6] = ["core", "agent", "coordinator", "plugins", "tests", "xtask"];

#[test]
fn every_file_says_why_it_exists() {
    let paths = SOURCES.iter().flat_map(|folder| files(folder, ".rs"));
    // A module of unit tests says it by its name.
    let paths = paths.filter(|path| !path.ends_with("/tests.rs"));
    let bare: Vec<String> = paths.filter(|path| !read(&root().join(path)).starts_with("//! ")).collect();
    assert_none(&bare, "these files need a header: `//! ` and why the module exists, in the first line");
}

#[test]
fn no_file_is_too_long_to_read() {
    let paths = SOURCES.iter().flat_map(|folder| files(folder, ".rs"));
    let long: Vec<String> = paths
        .map(|path| (read(&root().join(&path)).lines().count(), path))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .map(|(lines, path)| format!("{path}: {lines} lines, at most {LINES_MAX}"))
        .collect();
    assert_none(&long, "split these by what they are about");
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    let mut dead = Vec::new();
    let folders = ["docs", "examples", "plugins", "tests"];
    let beside = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"].map(str::to_owned);
    for document in folders.iter().flat_map(|folder| files(folder, ".md")).chain(beside) {
        let text = read(&root().join(&document));
        let folder = root().join(&document).parent().expect("a document stands in a folder").to_path_buf();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            let is_ours = !path.is_empty() && !target.contains("://") && !target.starts_with("mailto:");
            if is_ours && !folder.join(path).exists() {
                dead.push(format!("{document}: {target}"));
            }
        }
    }
    assert_none(&dead, "these links lead nowhere");
}

#[test]
fn a_word_is_found_in_code_and_neither_in_comments_nor_in_longer_words() {
    let text = "//! tokio\nuse tokio::time; // async\nlet tokiort = 1;\n#[cfg(test)]\nmod tests;\nfn f() {}\n\
                #[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
    let lines = code(text);
    let found = |word: &str| {
        lines.iter().filter(|(_, line)| names(line, word)).map(|(at, _)| *at).collect::<Vec<_>>()
    };
    assert_eq!(found("tokio"), [2]);
    assert_eq!(found("async"), [0_usize; 0]);
    assert_eq!(found("std::fs"), [0_usize; 0]);
    assert_eq!(found("fn"), [6]);
}
