//! `sternway-agent`: serve, or look at and tend this host by hand.

mod output;
mod verbs;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use output::Failure;
use sternway_core::exit::DONE;

/// The process on every host: checks signatures, runs steps in a sandbox, puts back what fails.
#[derive(Debug, Parser)]
#[command(name = "sternway-agent", version, arg_required_else_help = true)]
#[command(after_help = "Examples:\n  \
    sternway-agent serve --config /etc/sternway/agent.toml\n  \
    sternway-agent points create --tag before-1.3 /opt/hello /etc/hello\n  \
    sternway-agent points create --service agora --hook || exit 1\n  \
    sternway-agent points verify --full\n  \
    sternway-agent points ready\n  \
    sternway-agent plugin test flush.wasm --case cases\n  \
    sternway-agent halt --reason 'smoke in rack 3'\n  \
    sternway-agent run plan.sealed --confirm db-01\n\n\
    Exit codes: 0 as asked, 1 not ready, 10 this host is halted, or all was put back, 12 stuck, 2 wrong use, 64 problems, \
    65 refused, 75 busy with another plan.")]
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
    /// How this host stands, whether its agent runs or not.
    Status,
    /// Begin nothing new on this host, until `resume`; needs no coordinator and no running agent.
    Halt {
        /// Why; everybody who asks sees it.
        #[arg(long)]
        reason: String,
    },
    /// End the halt of this host.
    Resume,
    /// Carry out a signed plan on this host with no coordinator.
    Run(verbs::run::Run),
    /// Rollback points of this host.
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
    /// Carries out one long program; started by the agent, outlives it.
    #[command(hide = true)]
    Attend { folder: PathBuf },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (config, json) = (&arguments.config, arguments.json);
    let done = match &arguments.verb {
        Verb::Keep { directory, name } => return sternway_agent::keeper::main(directory, name),
        Verb::Attend { folder } => return sternway_agent::capabilities::programs::attend::main(folder),
        Verb::Serve => verbs::serve::serve(config).map(|()| DONE),
        Verb::Status => verbs::status::status(config, json),
        Verb::Halt { reason } => verbs::halt::halt(reason, config, json),
        Verb::Resume => verbs::halt::resume(config, json),
        Verb::Run(verb) => verbs::run::run(verb, config, json),
        Verb::Points(verb) => verbs::points::run(verb, config, json),
        Verb::Service(verb) => verbs::service::run(verb, config, json).map(|()| DONE),
        Verb::Plugin(verb) => verbs::plugin::run(verb, json).map(|()| DONE),
    };
    match done {
        Ok(exit) => ExitCode::from(exit),
        Err(failure) => output::fail(&failure),
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { cause: Box::new(error), exit: sternway_core::exit::INVALID }
    }
}
