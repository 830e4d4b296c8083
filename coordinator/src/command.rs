//! What a person may type, and which part of the house answers it. The one
//! place that knows both the verbs of `cli` and the processes behind `serve` and `dev`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cli::identity::Whereabouts;
use crate::cli::output::{Color, Output, Surroundings};
use crate::cli::{
    Context, audit, block_on, brake, catalogue, check, emergency, failure::Failure, fleet, keys, launch, log,
    order, points, ready, report, schema, show, sign, status, unstick, watch,
};
use crate::{daemon, dev};
use sternway_core::exit;

/// Brings a fleet of hosts back to an earlier version: from a plan that people
/// sign to hosts that are verified, wave by wave.
#[derive(Debug, Parser)]
#[command(
    name = "sternway",
    version,
    max_term_width = 100,
    after_help = "Examples:
  sternway check plan.toml
  sternway sign plan.toml
  sternway launch plan.sealed

Exit codes: 0 as asked, 3 done with exceptions, 10 halted, 11 held, 12 stuck, 2 wrong use, 64 problems,
65 refused, 69 no coordinator, 75 busy, 77 not permitted, 124 time is over, 130 left running."
)]
struct Sternway {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Args)]
struct Common {
    /// The coordinator's address and port [default: the identity's]
    #[arg(
        long,
        global = true,
        value_name = "ADDRESS:PORT",
        env = "STERNWAY_COORDINATOR",
        hide_env_values = true
    )]
    at: Option<String>,
    /// The directory with your certificate and signing key [default: ~/.config/sternway]
    #[arg(long, global = true, value_name = "DIR", env = "STERNWAY_IDENTITY", hide_env_values = true)]
    identity: Option<PathBuf>,
    /// One JSON object a line on stdout
    #[arg(long, global = true)]
    json: bool,
    /// Only what was asked for and what is wrong
    #[arg(long, short, global = true)]
    quiet: bool,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
    /// Never ask: refuse where an answer is needed and no flag gives it
    #[arg(long, global = true)]
    no_input: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show every problem of a plan, offline
    Check(check::CheckArgs),
    /// Seal a draft, or add a signature to a sealed plan
    Sign(sign::SignArgs),
    /// Show what a sealed plan says and who signed it
    Show(show::ShowArgs),
    /// Go back now: a plan that was prepared, the newest whole points, one signature, all hosts
    Emergency(emergency::EmergencyArgs),
    /// Launch a sealed plan, and watch
    Launch(launch::LaunchArgs),
    /// Watch a rollout
    Watch(watch::WatchArgs),
    /// Show where a rollout stands
    Status(status::StatusArgs),
    /// Let a waiting wave open (signed)
    Approve(order::ApproveArgs),
    /// Start nothing new until somebody says go
    Hold(brake::BrakeArgs),
    /// End a hold
    Go(brake::BrakeArgs),
    /// Stop for good: nothing new starts until a named person resumes
    Halt(brake::BrakeArgs),
    /// End a halt, with the hosts in flight confirmed
    Resume(brake::ResumeArgs),
    /// Put finished hosts back, newest wave first (signed)
    Undo(order::UndoArgs),
    /// Answer what a stuck host asks (signed)
    Unstick(unstick::UnstickArgs),
    /// Vouch that a host that is away is dead, so that it holds nothing up
    Dead(brake::DeadArgs),
    /// Let a host in quarantine in again, after you have looked at it
    Readmit(brake::ReadmitArgs),
    /// Show everything recorded of a rollout or of one host
    Log(log::LogArgs),
    /// Show who is here
    Fleet(fleet::FleetArgs),
    /// List rollouts, newest first
    Rollouts(fleet::RolloutsArgs),
    /// Make, check, keep, drop and restore rollback points
    Points(points::PointsArgs),
    /// Show whether a rollback would work right now, service by service
    Ready(ready::ReadyArgs),
    /// Show who did what, or verify that nothing was changed
    Audit(audit::AuditArgs),
    /// Make and show keys, issue certificates
    Keys(keys::KeysArgs),
    /// Write the record of a rollout as a document
    Report(report::ReportArgs),
    /// Print the JSON Schema of plans, for editors
    Schema(schema::SchemaArgs),
    /// Be the coordinator: conduct rollouts until told to stop
    Serve(ServeArgs),
    /// Show a throw-away fleet on this machine going back
    Dev(dev::DevArgs),
    /// The service of the demonstration
    #[command(hide = true)]
    Hello(HelloArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sternway serve --config /etc/sternway/coordinator.toml")]
struct ServeArgs {
    /// The coordinator's configuration
    #[arg(
        long,
        value_name = "FILE",
        env = "STERNWAY_CONFIG",
        default_value = "/etc/sternway/coordinator.toml"
    )]
    config: PathBuf,
}

#[derive(Debug, clap::Args)]
struct HelloArgs {
    #[arg(long)]
    root: PathBuf,
    #[arg(long)]
    port: u16,
    /// How it greets: versions know different ways
    #[arg(long, env = "HELLO_ACCENT")]
    accent: Option<String>,
}

/// The whole program: parses what was typed, runs it, tells its failure.
pub fn run() -> ExitCode {
    report_bugs();
    let arguments = match Sternway::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are answers; everything else is wrong use.
            let code = if error.use_stderr() { exit::USAGE } else { exit::DONE };
            _ = error.print();
            return ExitCode::from(code);
        }
    };
    let Common { at, identity, json, quiet, color, no_input } = arguments.common;
    let around = Surroundings::read();
    let may_ask = !no_input && std::io::IsTerminal::is_terminal(&std::io::stdin());
    let output = Output::new(around, color, json, quiet);
    let context = Context { output, whereabouts: Whereabouts { at, identity }, may_ask };
    let code = perform(&context, arguments.verb).unwrap_or_else(|failure| {
        failure.tell(&context.output);
        failure.exit_code()
    });
    ExitCode::from(code)
}

fn perform(context: &Context, verb: Verb) -> Result<u8, Failure> {
    match verb {
        Verb::Check(args) => check(context, args),
        Verb::Sign(args) => sign::sign(context, &args),
        Verb::Show(args) => show::show(context, &args),
        Verb::Emergency(args) => block_on(emergency::emergency(context, args)),
        Verb::Launch(args) => block_on(launch::launch(context, args)),
        Verb::Watch(args) => block_on(watch::watch(context, args)),
        Verb::Status(args) => block_on(status::status(context, args)),
        Verb::Approve(args) => block_on(order::approve(context, args)),
        Verb::Hold(args) => block_on(brake::hold(context, args)),
        Verb::Go(args) => block_on(brake::go(context, args)),
        Verb::Halt(args) => block_on(brake::halt(context, args)),
        Verb::Resume(args) => block_on(brake::resume(context, args)),
        Verb::Undo(args) => block_on(order::undo(context, args)),
        Verb::Unstick(args) => block_on(unstick::unstick(context, args)),
        Verb::Dead(args) => block_on(brake::dead(context, args)),
        Verb::Readmit(args) => block_on(brake::readmit(context, args)),
        Verb::Log(args) => block_on(log::log(context, args)),
        Verb::Fleet(args) => block_on(fleet::fleet(context, args)),
        Verb::Rollouts(args) => block_on(fleet::rollouts(context, args)),
        Verb::Points(args) => block_on(points::points(context, args)),
        Verb::Ready(args) => block_on(ready::ready(context, args)),
        Verb::Audit(args) => block_on(audit::audit(context, args)),
        Verb::Keys(args) => keys::keys(context, args),
        Verb::Report(args) => block_on(report::report(context, args)),
        Verb::Schema(args) => schema(&args),
        Verb::Serve(args) => serve(&args),
        Verb::Dev(args) => {
            dev::dev(&args).map_err(|cause| other("the demonstration broke off", exit::BUG, cause))
        }
        Verb::Hello(args) => hello(&args),
    }
}

fn check(context: &Context, mut args: check::CheckArgs) -> Result<u8, Failure> {
    args.json |= context.output.is_json();
    let color = context.output.look().color;
    let catalogue = catalogue::built_in()?;
    check::check(&args, &catalogue, &mut std::io::stdout().lock(), color).map_err(|cause| Failure::File {
        doing: "check",
        path: args.file,
        cause,
    })
}

fn schema(args: &schema::SchemaArgs) -> Result<u8, Failure> {
    let catalogue = catalogue::built_in()?;
    schema::schema(args, &catalogue, &mut std::io::stdout().lock())
        .map_err(|cause| other("the schema could not be printed", exit::USAGE, cause))
}

fn serve(args: &ServeArgs) -> Result<u8, Failure> {
    match daemon::serve(&args.config) {
        Ok(()) => Ok(exit::DONE),
        Err(cause) => Err(other("the coordinator cannot go on", cause.exit_code(), cause)),
    }
}

fn hello(args: &HelloArgs) -> Result<u8, Failure> {
    dev::hello::serve(&args.root, args.port, args.accent.clone())
        .map(|()| exit::DONE)
        .map_err(|cause| other("the service stopped", exit::USAGE, cause))
}

fn other(message: &str, exit: u8, cause: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::Other { message: message.into(), exit, hint: None, cause: Some(Box::new(cause)) }
}

/// A panic is our mistake: it says so, and its number is one.
fn report_bugs() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        use std::io::Write as _;
        _ = writeln!(
            std::io::stderr(),
            "error: this is a bug in sternway {}, please report it",
            env!("CARGO_PKG_VERSION")
        );
        std::process::exit(i32::from(exit::BUG));
    }));
}
