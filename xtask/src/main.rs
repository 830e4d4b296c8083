//! The project's own chores, each one `cargo xtask` word.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a chore talks to the person who runs it")]

mod bench;
mod example;
mod fleet;
mod matrix;
mod mutants;
mod plugins;
mod results;
mod test;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "\
cargo xtask dev [--hosts N] [--quick] [--pause] [--plan FILE]
                        build everything, then show a throw-away fleet going back
cargo xtask test        every test there is; says what it skipped and why
cargo xtask plugins [--check]
                        build the first-party plugins into plugins/built, or compare
cargo xtask mutants [--save FOLDER] [MUTANT ...]
                        known mistakes, each of which the simulator must find
cargo xtask bench       the numbers in docs/performance.md, as ratios of one run";

/// What a chore that failed says.
type Done = Result<(), String>;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let chore = words.next().unwrap_or_default();
    let rest: Vec<String> = words.collect();
    let done = match chore.as_str() {
        "dev" => dev(&rest),
        "test" => test::run(&rest),
        "plugins" => plugins::run(&rest),
        "bench" => bench::run(&rest),
        "mutants" => mutants::run(&rest),
        "fleet" => fleet::run(&rest),
        "example" => example::run(&rest),
        _ => Err(format!("no chore is called `{chore}`\n\n{USAGE}\n{}\n{}", fleet::USAGE, example::USAGE)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// The project's root, whatever folder one stands in.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask stands in the root").to_path_buf()
}

/// `cargo`, standing in the root.
fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

fn carry_out(command: &mut Command) -> Done {
    let status = command.status().map_err(|cause| format!("could not start {command:?}: {cause}"))?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{} ended with {status}", shown(command))),
    }
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Where cargo puts what it builds.
fn target_folder() -> Result<PathBuf, String> {
    let output = cargo()
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .output()
        .map_err(|cause| format!("could not ask cargo: {cause}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let key = "\"target_directory\":\"";
    let at = text.find(key).ok_or("cargo names no target directory")? + key.len();
    Ok(PathBuf::from(text[at..].split('"').next().unwrap_or_default()))
}

/// Builds both programs, and with them everything the tests need: which
/// features a library gets depends on all that is built at once, so building
/// less now would mean building the large ones twice.
fn build_programs(profile: &str) -> Result<PathBuf, String> {
    let mut build = cargo();
    build.args(["build", "--locked", "--profile", profile, "--workspace", "--all-targets"]);
    carry_out(&mut build)?;
    Ok(target_folder()?.join(if profile == "dev" { "debug" } else { profile }))
}

fn dev(words: &[String]) -> Done {
    eprintln!("building (the first time takes some minutes: the WebAssembly compiler is large)");
    let programs = build_programs("dev")?;
    let status = Command::new(programs.join("sternway")).arg("dev").args(words).status();
    let status = status.map_err(|cause| format!("could not start sternway: {cause}"))?;
    match status.code() {
        // One host of the story is put back on purpose, which is ending 3.
        Some(code) => std::process::exit(code),
        None => Err("sternway dev was ended by a signal".into()),
    }
}
