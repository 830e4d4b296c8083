//! `plugin describe | test`: what a component says of itself, and whether it
//! keeps the contract.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use sternway_agent::conformance::{Component, ConformanceError, Harness, cases};
use sternway_agent::sandbox;
use sternway_core::exit;

use crate::output::{self, Failure};

#[derive(Debug, Subcommand)]
pub(crate) enum PluginVerb {
    /// Print the manifest of a component, as the packer freezes it.
    Describe { file: PathBuf },
    /// Prove a component on small hosts made for it: each call killed and
    /// failed, each phase and undo doubled, always with the same end.
    Test {
        file: PathBuf,
        /// The folder of a case, or of several.
        #[arg(long = "case", value_name = "FOLDER", required = true)]
        cases: Vec<PathBuf>,
        /// Only checks whose name begins so: `kill`, `fail:undo`, `kill:apply:7`.
        #[arg(long, value_name = "CHECK")]
        only: Option<String>,
    },
}

#[derive(Debug, thiserror::Error)]
enum PluginVerbError {
    #[error("{bad} of {all} checks failed")]
    NotProved { bad: usize, all: usize },
    #[error("could not tell which program this is")]
    Program(#[source] std::io::Error),
}

pub(crate) fn run(verb: &PluginVerb, json: bool) -> Result<(), Failure> {
    match verb {
        PluginVerb::Describe { file } => {
            let manifest = sandbox::describe_file(file)?;
            output::line(&serde_json::to_string(&manifest)?);
            Ok(())
        }
        PluginVerb::Test { file, cases, only } => test(file, cases, only.as_deref(), json),
    }
}

fn test(file: &Path, folders: &[PathBuf], only: Option<&str>, json: bool) -> Result<(), Failure> {
    let component = Component::load(file)?;
    let found = folders.iter().map(|folder| cases(folder)).collect::<Result<Vec<_>, ConformanceError>>()?;
    let harness = Harness::new(std::env::current_exe().map_err(PluginVerbError::Program)?.into())?;
    let (mut bad, mut all) = (0, 0);
    for case in found.concat() {
        let report = harness.prove(&component, &case, only)?;
        let again =
            format!("sternway-agent plugin test {} --case {}", file.display(), case.folder().display());
        match json {
            true => output::line(&serde_json::to_string(&report)?),
            false => output::line(report.table(&again).trim_end()),
        }
        bad += report.problems().count();
        all += report.tried();
    }
    match bad {
        0 => Ok(()),
        _ => Err(Failure { cause: Box::new(PluginVerbError::NotProved { bad, all }), exit: exit::INVALID }),
    }
}
