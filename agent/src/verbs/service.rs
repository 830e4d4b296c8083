//! `service start | stop | status`: the services this agent looks after, by hand.

use std::path::Path;
use std::time::Duration;

use clap::Subcommand;
use sternway_agent::capabilities::services::Status;
use sternway_agent::config::Config;
use sternway_agent::host::Host;

use crate::output::{self, Failure};

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceVerb {
    /// Start it, and return when it has stayed up.
    Start { name: String },
    /// Stop it, and return when it is gone.
    Stop { name: String },
    /// Say how all are, or one.
    Status { name: Option<String> },
}

/// By hand one waits for as long as the service's own times allow.
const WITHIN: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct ServiceVerbError(String);

pub(crate) fn run(verb: &ServiceVerb, config: &Path, json: bool) -> Result<(), Failure> {
    let host = Host::new(&Config::load(config)?)?;
    let services = host.services();
    let said = |error: sternway_agent::capabilities::HostError| ServiceVerbError(error.message);
    match verb {
        ServiceVerb::Start { name } => show(&services.start(name, WITHIN, &|| false).map_err(said)?, json),
        ServiceVerb::Stop { name } => show(&services.stop(name, WITHIN, &|| false).map_err(said)?, json),
        ServiceVerb::Status { name: Some(name) } => show(&services.status(name).map_err(said)?, json),
        ServiceVerb::Status { name: None } => {
            for name in services.names() {
                show(&services.status(name).map_err(said)?, json);
            }
        }
    }
    Ok(())
}

fn show(status: &Status, json: bool) {
    if json {
        let value = serde_json::to_value(status).unwrap_or_default();
        return output::line(&value.to_string());
    }
    let state = format!("{:?}", status.state).to_lowercase();
    let pid = status.pid.map_or_else(String::new, |pid| format!("  pid {pid}"));
    let restarts =
        if status.restarts > 0 { format!("  restarted {} times", status.restarts) } else { String::new() };
    let exit = status.last_exit.as_ref().map_or_else(String::new, |exit| format!("  last: {exit}"));
    output::line(&format!("{:<24}  {state}{pid}{restarts}{exit}", status.name));
}
