//! Every test there is, in one command, on a machine with only a Rust toolchain.

use std::process::{Command, Stdio};

use crate::results::{self, Results};
use crate::{Done, build_programs, cargo, carry_out, matrix, mutants, plugins, root};

struct Part {
    name: &'static str,
    /// Why it was left out, if it was.
    skipped: Option<String>,
}

pub(crate) fn run(words: &[String]) -> Done {
    if let Some(odd) = words.first() {
        return Err(format!("`{odd}` is not known; cargo xtask test takes nothing"));
    }
    let mut parts = Vec::new();
    let mut part = |name: &'static str, done: Result<Option<String>, String>| -> Done {
        let skipped = done.map_err(|reason| format!("{name}: {reason}"))?;
        println!("── {name}: {}", skipped.as_deref().map_or("ok".into(), |why| format!("skipped, {why}")));
        parts.push(Part { name, skipped });
        Ok(())
    };
    part("format", formatted())?;
    part("lints", linted())?;
    part("programs", build_programs("dev").map(|_| None))?;
    let mut said = Results::new();
    part("tests", tested(&mut said))?;
    part("known mistakes, found by the simulator", mutants::run(&[]).map(|()| None))?;
    part("documentation", documented())?;
    part("plugins, decided natively", plugins_tested(&mut said))?;
    part("the fault matrix", matrix::write(&said).map(|()| None))?;
    part("plugins, built again and compared", plugins::compare())?;
    part("restic reads our points", restic())?;
    println!();
    for Part { name, skipped } in &parts {
        match skipped {
            None => println!("ok       {name}"),
            Some(why) => println!("skipped  {name}: {why}"),
        }
    }
    Ok(())
}

fn has(tool: &str) -> bool {
    let asked = cargo().args([tool, "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

fn formatted() -> Result<Option<String>, String> {
    if !has("fmt") {
        return Ok(Some("rustfmt is not installed (rustup component add rustfmt)".into()));
    }
    carry_out(cargo().args(["fmt", "--all", "--check"]))?;
    carry_out(cargo().current_dir(root().join("plugins")).args(["fmt", "--all", "--check"])).map(|()| None)
}

fn linted() -> Result<Option<String>, String> {
    if !has("clippy") {
        return Ok(Some("clippy is not installed (rustup component add clippy)".into()));
    }
    let mut clippy = cargo();
    clippy.args(["clippy", "--workspace", "--all-targets", "--locked", "--", "--deny", "warnings"]);
    carry_out(&mut clippy).map(|()| None)
}

fn tested(said: &mut Results) -> Result<Option<String>, String> {
    let mut test = cargo();
    test.args(["test", "--workspace", "--locked", "--no-fail-fast"]);
    // Each commit simulates fleets of its own, and the same ones each time.
    if let Some(commit) = commit() {
        test.env("STERNWAY_SEED_BASE", commit);
    }
    results::run(&mut test, said).map(|()| None)
}

/// The commit that is tested; none in a copy without its history.
fn commit() -> Option<String> {
    let mut git = Command::new("git");
    git.current_dir(root()).args(["rev-parse", "HEAD"]).stderr(Stdio::null());
    let output = git.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn documented() -> Result<Option<String>, String> {
    let mut doc = cargo();
    doc.args(["doc", "--package", "sternway-core", "--no-deps", "--locked"])
        .env("RUSTDOCFLAGS", "--deny warnings");
    carry_out(&mut doc).map(|()| None)
}

fn plugins_tested(said: &mut Results) -> Result<Option<String>, String> {
    let mut cargo = cargo();
    cargo.current_dir(root().join("plugins")).args(["test", "--workspace", "--locked"]);
    results::run(&mut cargo, said).map(|()| None)
}

/// The tests themselves leave this out without the program; here it is said.
fn restic() -> Result<Option<String>, String> {
    let found = Command::new("restic").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    Ok(match found {
        Ok(_) => None,
        Err(_) => Some("the program `restic` is not installed; our own reader was tested".into()),
    })
}
