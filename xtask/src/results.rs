//! Cargo's tests, shown as they run and remembered by name: what each said, and
//! which one was running when the time was over.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::shown;

/// For all tests of one workspace together.
pub(crate) const TESTS_WITHIN: Duration = Duration::from_secs(25 * 60);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Ok,
    Failed,
    Skipped(String),
}

/// By package, binary (`lib` for a package's own) and name, joined with `::`.
pub(crate) type Results = BTreeMap<String, Said>;

/// Runs `cargo test` with these words in this folder; shows everything but what
/// successful tests wrote, of which lines that begin with `skipped:` or `note:`
/// are shown with the test's name.
pub(crate) fn run(cargo: &mut Command, results: &mut Results) -> Result<(), String> {
    let targets = targets(cargo)?;
    let (reader, writer) = std::io::pipe().map_err(|cause| format!("no pipe: {cause}"))?;
    let also = writer.try_clone().map_err(|cause| format!("no pipe: {cause}"))?;
    cargo.args(["--", "--show-output"]).stdout(writer).stderr(also).process_group(0);
    let mut child = cargo.spawn().map_err(|cause| format!("could not start {cargo:?}: {cause}"))?;
    let name = shown(cargo);
    // The ends of the pipe that this process holds would keep it open for ever.
    cargo.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let (lines, inbox) = mpsc::channel();
    let reading = std::thread::spawn(move || {
        for line in BufReader::new(reader).lines() {
            let Ok(line) = line else { return };
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    let mut reader = Reader { targets, ..Reader::default() };
    let until = Instant::now() + TESTS_WITHIN;
    loop {
        match inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if let Some(text) = reader.take(&line, results) {
                    println!("{text}");
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                    // It fails when all have ended meanwhile.
                    let _ = kill_process_group(group, Signal::KILL);
                }
                let _ = child.wait();
                return Err(format!(
                    "not over after {} minutes; running was {}",
                    TESTS_WITHIN.as_secs() / 60,
                    reader.running()
                ));
            }
        }
    }
    let _ = reading.join();
    let status = child.wait().map_err(|cause| format!("{name}: {cause}"))?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{name} ended with {status}")),
    }
}

/// Packages by the names of their test binaries.
type Targets = BTreeMap<String, BTreeSet<String>>;

fn targets(cargo: &Command) -> Result<Targets, String> {
    let mut ask = Command::new(cargo.get_program());
    ask.args(["metadata", "--format-version", "1", "--no-deps"]);
    if let Some(folder) = cargo.get_current_dir() {
        ask.current_dir(folder);
    }
    let output = ask.output().map_err(|cause| format!("could not ask cargo: {cause}"))?;
    let metadata: Value =
        serde_json::from_slice(&output.stdout).map_err(|cause| format!("cargo's metadata: {cause}"))?;
    let mut found = Targets::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        for target in package["targets"].as_array().into_iter().flatten() {
            if let (Some(package), Some(target)) = (package["name"].as_str(), target["name"].as_str()) {
                found.entry(target.replace('-', "_")).or_default().insert(package.to_owned());
            }
        }
    }
    Ok(found)
}

/// Understands what cargo and the test programs write.
#[derive(Debug, Default)]
struct Reader {
    targets: Targets,
    package: String,
    binary: String,
    /// Tests that said they take long, and have not ended.
    slow: BTreeSet<String>,
    /// In what successful tests wrote: the test that wrote it.
    of: Option<String>,
    in_successes: bool,
}

impl Reader {
    /// Notes what a line says; returns what to show of it.
    fn take(&mut self, line: &str, results: &mut Results) -> Option<String> {
        if let Some(program) = line.trim_start().strip_prefix("Running ") {
            self.begins(program);
        }
        match line {
            "successes:" => self.in_successes = true,
            "failures:" => self.in_successes = false,
            _ if line.starts_with("test result:") => self.in_successes = false,
            _ => {}
        }
        if self.in_successes {
            return self.success(line, results);
        }
        if let Some(rest) = line.strip_prefix("test ") {
            if let Some(name) = rest.split_once(" has been running for over").map(|(name, _)| name) {
                self.slow.insert(name.to_owned());
            } else if let Some((name, said)) = rest.rsplit_once(" ... ") {
                let name = name.trim_end_matches(" - should panic");
                self.slow.remove(name);
                let said = if said == "ok" { Said::Ok } else { Said::Failed };
                results.insert(self.id(name), said);
            }
        }
        Some(line.to_owned())
    }

    /// `unittests src/lib.rs (…/deps/sternway_core-0123)` or `tests/x.rs (…/deps/x-0123)`.
    fn begins(&mut self, program: &str) {
        self.slow.clear();
        let is_own = program.starts_with("unittests ");
        let file = program.rsplit_once('/').map_or(program, |(_, file)| file);
        let name = file.rsplit_once('-').map_or(file, |(name, _)| name).to_owned();
        if let Some(packages) = self.targets.get(&name) {
            // Several packages may have a binary of one name; their own tests run just before.
            if !packages.contains(&self.package) || is_own {
                self.package = packages.first().cloned().unwrap_or_default();
            }
        }
        self.binary = if is_own { "lib".into() } else { name };
    }

    fn success(&mut self, line: &str, results: &mut Results) -> Option<String> {
        if let Some(name) = line.strip_prefix("---- ").and_then(|line| line.strip_suffix(" stdout ----")) {
            self.of = Some(name.to_owned());
            return None;
        }
        let name = self.of.as_ref()?;
        if let Some(why) = line.strip_prefix("skipped: ") {
            results.insert(self.id(name), Said::Skipped(why.trim().to_owned()));
            return Some(format!("skipped  {}: {why}", self.id(name)));
        }
        line.strip_prefix("note: ").map(|note| format!("note     {note}"))
    }

    fn id(&self, name: &str) -> String {
        format!("{}::{}::{name}", self.package, self.binary)
    }

    fn running(&self) -> String {
        match self.slow.is_empty() {
            true => format!("{} of {}", self.binary, self.package),
            false => self.slow.iter().map(|name| self.id(name)).collect::<Vec<_>>().join(", "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Results, Vec<String>, String) {
        let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let targets = [
            ("core_x", of(&["core-x"])),
            ("one", of(&["one"])),
            ("two", of(&["two"])),
            ("crashes", of(&["one", "two"])),
        ];
        let targets = targets.map(|(name, packages)| (name.to_owned(), packages)).into();
        let (mut results, mut reader) = (Results::new(), Reader { targets, ..Reader::default() });
        let shown = text.lines().filter_map(|line| reader.take(line, &mut results)).collect();
        (results, shown, reader.running())
    }

    #[test]
    fn results_are_kept_by_package_binary_and_name_and_a_skip_with_its_reason() {
        let (results, shown, _) = read(
            "     Running unittests src/lib.rs (/t/debug/deps/core_x-01ab)\n\
             test a::b ... ok\ntest a::c ... FAILED\ntest a::d - should panic ... ok\n\
             \nsuccesses:\n\n---- a::b stdout ----\nskipped: no disk\nnoise\nnote: 7 states\n\nsuccesses:\n    a::b\n\n\
             test result: ok. 2 passed\n\
             Running unittests src/lib.rs (/t/deps/two-01)\nRunning tests/crashes.rs (/t/deps/crashes-02)\n\
             test x ... ok\n",
        );
        assert_eq!(results["core-x::lib::a::b"], Said::Skipped("no disk".into()));
        assert_eq!(results["core-x::lib::a::c"], Said::Failed);
        assert_eq!(results["core-x::lib::a::d"], Said::Ok);
        assert_eq!(results["two::crashes::x"], Said::Ok);
        assert!(shown.contains(&"skipped  core-x::lib::a::b: no disk".to_owned()), "{shown:?}");
        assert!(shown.contains(&"note     7 states".to_owned()), "{shown:?}");
        assert!(!shown.iter().any(|line| line.contains("noise")), "{shown:?}");
    }

    #[test]
    fn a_test_that_hangs_is_named() {
        let (_, _, running) = read(
            "Running unittests src/lib.rs (/t/deps/core_x-01)\n\
             test quick has been running for over 60 seconds\ntest hangs has been running for over 60 seconds\n\
             test quick ... ok\n",
        );
        assert_eq!(running, "core-x::lib::hangs");
    }
}
