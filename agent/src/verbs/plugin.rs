//! `plugin describe`: what a component says of itself, as JSON.

use std::path::PathBuf;

use clap::Subcommand;
use sternway_agent::sandbox;

use crate::output::{self, Failure};

#[derive(Debug, Subcommand)]
pub(crate) enum PluginVerb {
    /// Print the manifest of a component, as the packer freezes it.
    Describe { file: PathBuf },
}

pub(crate) fn run(verb: &PluginVerb) -> Result<(), Failure> {
    let PluginVerb::Describe { file } = verb;
    let manifest = sandbox::describe_file(file)?;
    output::line(&serde_json::to_string(&manifest)?);
    Ok(())
}
