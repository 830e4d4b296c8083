//! `sternway-agent`: serve, or look at and tend this host by hand.

mod output;
mod verbs;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use output::Failure;

/// The process on every host: checks signatures, runs steps in a sandbox, puts back what fails.
#[derive(Debug, Parser)]
#[command(name = "sternway-agent", version, arg_required_else_help = true)]
#[command(after_help = "Examples:\n  \
    sternway-agent serve --config /etc/sternway/agent.toml\n  \
    sternway-agent points create --tag before-1.3 /opt/hello /etc/hello\n  \
    sternway-agent points verify --full")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// The agent's configuration.
    #[arg(long, global = true, env = "STERNWAY_AGENT_CONFIG", default_value = "/etc/sternway/agent.toml")]
    config: PathBuf,
    /// One JSON object a line instead of text.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Connect to the coordinator and carry out what people signed.
    Serve,
    /// Rollback points of this host.
    #[command(subcommand)]
    Points(verbs::points::Points),
    /// Services this agent looks after.
    #[command(subcommand)]
    Service(verbs::service::ServiceVerb),
    /// Look into a plugin.
    #[command(subcommand)]
    Plugin(verbs::plugin::PluginVerb),
    /// Looks after one service; started by the agent, outlives it.
    #[command(hide = true)]
    Keep { directory: PathBuf, name: String },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.verb {
        Verb::Keep { directory, name } => return sternway_agent::keeper::main(directory, name),
        Verb::Serve => verbs::serve::serve(&arguments.config),
        Verb::Points(verb) => verbs::points::run(verb, &arguments.config, arguments.json),
        Verb::Service(verb) => verbs::service::run(verb, &arguments.config, arguments.json),
        Verb::Plugin(verb) => verbs::plugin::run(verb),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output::fail(&failure),
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { cause: Box::new(error), exit: sternway_core::exit::INVALID }
    }
}
