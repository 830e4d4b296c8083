//! A draft to start from, written on a quiet day: complete enough to pass
//! `sternway check`, with words on what to look at before it is needed.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use sternway_core::exit;
use sternway_core::ids::Group;
use sternway_core::plan::InventoryHost;
use sternway_core::plan::select::Selection;

use super::prepared::{quoted, usual_path};
use crate::cli::failure::Failure;
use crate::cli::text::{Line, Tone, count};
use crate::cli::{Context, catalogue};
use crate::draft;

#[derive(Debug, Args)]
#[command(next_help_heading = "Preparing")]
pub(super) struct PrepareArgs {
    /// Do nothing now: write a draft to read, to change and to keep
    #[arg(long)]
    pub(super) prepare: bool,
    /// Where the draft goes [default: emergency/S.toml in the identity directory]
    #[arg(long, value_name = "FILE", requires = "prepare")]
    out: Option<PathBuf>,
    /// Take the hosts from this file instead of asking the coordinator
    #[arg(long, value_name = "FILE", requires = "prepare")]
    fleet: Option<PathBuf>,
    /// Which hosts [default: service=S]
    #[arg(long, value_name = "SELECTION", requires = "prepare")]
    select: Option<String>,
    /// A file or folder that comes back from the point; as often as needed
    #[arg(long, value_name = "PATH", requires = "prepare")]
    restore: Vec<String>,
    /// An SQLite database that comes back from the point
    #[arg(long, value_name = "PATH", requires = "prepare")]
    database: Vec<String>,
    /// A service that is stopped before and started after
    #[arg(long, value_name = "SERVICE", requires = "prepare")]
    stop: Vec<String>,
    /// Where `drain` and `ready` are put, so that traffic leaves the host and comes back
    #[arg(long, value_name = "URL", requires = "prepare")]
    traffic: Option<String>,
    /// What has to answer 200 before traffic comes back
    #[arg(long, value_name = "URL", requires = "prepare")]
    health: Option<String>,
    /// The group whose one signature hosts take in an emergency
    #[arg(long, value_name = "GROUP", requires = "prepare", default_value = "on-call")]
    group: Group,
}

pub(super) async fn prepare(context: &Context, service: &str, args: &PrepareArgs) -> Result<u8, Failure> {
    if args.restore.is_empty() && args.database.is_empty() {
        return Err(Failure::usage("what comes back from the point?")
            .hinted("--restore /opt/agora, as often as needed; --database /var/lib/agora/agora.db"));
    }
    let path = match &args.out {
        Some(path) => path.clone(),
        None => usual_path(context, service)?,
    };
    let hosts = hosts(context, args).await?;
    let select = args.select.clone().unwrap_or_else(|| format!("service={service}"));
    let selection = Selection::parse(&select).map_err(|error| {
        Failure::usage(format!("`{select}` is no selection: {error}")).hinted("name the hosts with --select")
    })?;
    let selected = hosts.iter().filter(|host| selection.matches(host)).count();
    if selected == 0 {
        return Err(Failure::usage(format!("`{select}` means no host of this fleet"))
            .hinted("name the hosts with --select"));
    }
    let text = draft_text(service, &select, selected, args);
    let loaded = draft::load(text.as_bytes(), &catalogue::built_in()?, Some(&hosts));
    let output = &context.output;
    if !loaded.problems.is_empty() {
        let file = path.display().to_string();
        output.raw_complaint(&draft::render(&loaded.problems, &file, &text, output.talk_look().color));
    }
    if loaded.has_errors() {
        let what = format!("nothing was written: {}", draft::tally(&loaded.problems));
        return Err(Failure::Problems { what });
    }
    write_new(&path, &text)?;
    output.object("sternway.prepared/1.0", json!({ "file": path, "service": service, "hosts": selected }));
    let words = format!("{}   {service}, {}", path.display(), count(selected, "host"));
    output.data(Line::new().add(Tone::Good, "written").pad_to(10).plain(words));
    output.talk("next      read it, change it, and rehearse it while nothing burns:");
    let plan = if args.out.is_some() { format!(" --plan {}", path.display()) } else { String::new() };
    output.talk(format!("          sternway check {}", path.display()));
    output.talk(format!(
        "          sternway emergency --service {service}{plan} --reason 'rehearsal' --only HOST"
    ));
    Ok(exit::DONE)
}

async fn hosts(context: &Context, args: &PrepareArgs) -> Result<Vec<InventoryHost>, Failure> {
    let Some(path) = &args.fleet else {
        let client = context.connect().await?;
        let inventory = client.inventory().await?;
        client.close().await;
        return Ok(inventory.hosts);
    };
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|cause| Failure::File { doing: "read", path: path.clone(), cause })?;
    draft::read_inventory(&text).map(|inventory| inventory.hosts).map_err(|cause| Failure::Other {
        message: format!("`{}` is not a fleet", path.display()),
        exit: exit::INVALID,
        hint: None,
        cause: Some(Box::new(cause)),
    })
}

/// Never over what a person has written; readable by its owner alone.
fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let write = || -> std::io::Result<()> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|cause| match cause.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::usage(format!("`{}` is there: it is not overwritten", path.display()))
                .hinted("take it away, or write another with --out")
        }
        _ => Failure::File { doing: "write", path: path.into(), cause },
    })
}

fn list(items: &[String]) -> String {
    json!(items).to_string().replace("\",\"", "\", \"")
}

/// `# ` before every line: there to be filled in.
fn to_fill_in(text: &str) -> String {
    text.lines().map(|line| format!("# {line}\n")).collect()
}

fn draft_text(service: &str, select: &str, selected: usize, args: &PrepareArgs) -> String {
    let mut text = head(service, select, args.group.as_str());
    let url = |given: &Option<String>, example: &str| given.clone().unwrap_or_else(|| example.to_owned());
    let put = |url: &str, body: &str| format!("{{ put = {}, body = {} }}", quoted(url), quoted(body));
    let lb = url(&args.traffic, "http://lb.internal/pools/SERVICE/${host.name}");
    let switch = |name: &str, to: &str, back: &str| {
        format!(
            "[[step]]\nname = {}\nuses = \"http@0\"\nwith = {}\nundo = {}\ntimeout = \"5s\"\n",
            quoted(name),
            put(&lb, to),
            put(&lb, back)
        )
    };
    let (off, on) = (switch("traffic off", "drain", "ready"), switch("traffic on", "ready", "drain"));
    let known = args.traffic.is_some();
    let traffic = |step: String| if known { step } else { to_fill_in(&step) };
    text.push_str(&traffic(off));
    text.push('\n');
    if !args.stop.is_empty() {
        let _ = writeln!(text, "{}", service_step(&format!("stop {service}"), "stop", &args.stop));
    }
    if !args.restore.is_empty() {
        let _ = writeln!(
            text,
            "[[step]]                              # staged beside while the old one serves, then exchanged\n\
             name = \"restore files\"\nuses = \"files@0\"\nwith = {{ restore = {} }}\n",
            list(&args.restore)
        );
    }
    for path in &args.database {
        let _ = writeln!(
            text,
            "[[step]]\nname = {}\nuses = \"sqlite@0\"\nwith = {{ restore = {} }}\n",
            quoted(&format!("restore {path}")),
            quoted(path)
        );
    }
    if !args.stop.is_empty() {
        let _ = writeln!(text, "{}", service_step(&format!("start {service}"), "start", &args.stop));
    }
    text.push_str(&verify_step(service, args));
    text.push('\n');
    text.push_str(&traffic(on));
    text.push_str(TAIL);
    let half = (selected / 2).max(1);
    let _ = writeln!(text, "failed = {half}\nsilent = {half}");
    text
}

fn head(service: &str, select: &str, group: &str) -> String {
    let name: String = service
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect();
    let (service, select, group) = (quoted(service), quoted(select), quoted(group));
    format!(
        r#"# What an emergency does, written on a quiet day. In the night
#   sternway emergency --service S --reason 'INC-4127: what happened'
# puts in the reason, shows what follows, asks for the number of hosts, signs and launches.
# Whatever it signs stands here: read every line. Look with `sternway check`, rehearse on one host.
format   = 1
name     = "{name}-emergency"
reason   = "filled in when it is run"
severity = "critical"
urgency  = "emergency"
service  = {service}
from     = "what runs"                 # filled in by --from: no host goes back to a point of that version
to       = "newest whole point"
valid    = "15m"                      # an hour at most: fewer people sign it
budget   = "2m"

[fleet]
select = {select}
min    = 1

# A host takes one signature only where its keyring says so:
#   [emergency]
#   signatures = 1
#   from       = [{group}]
[approval]
signatures = 1
from       = [{group}]
author     = true                     # whoever runs it signs it

[point]
newest = "whole"                      # of the whole service, else of a component with all that is restored
verify = "full"                       # every byte before anything stops; "quick" where that takes too long
# age  = "7d"                         # an older point is not gone back to

# ── traffic off, stop, restore, start, prove, traffic on; undone newest first when one fails ──
# Hosts must permit every path, service and URL named here ([permit] of the agent).
"#
    )
}

fn service_step(name: &str, verb: &str, services: &[String]) -> String {
    let (name, services) = (quoted(name), list(services));
    format!(
        "[[step]]\nname = {name}\nuses = \"service@0\"\nwith = {{ {verb} = {services} }}\ntimeout = \"20s\"\n"
    )
}

fn verify_step(service: &str, args: &PrepareArgs) -> String {
    let http = |url: &str| {
        format!(
            "[[step]]\nname = \"prove it\"\nuses = \"http@0\"\n\n[step.with]\nget    = {}\nexpect = 200\n\
             within = \"10s\"                     # it may take so long to come up\n\
             for    = \"3s\"                      # and must answer well for so long\n",
            quoted(url)
        )
    };
    match &args.health {
        Some(url) => http(url),
        None if !args.stop.is_empty() => {
            let better = to_fill_in(&http("http://127.0.0.1:8080/health"));
            let check = service_step(&format!("{service} runs"), "check", &args.stop);
            format!("{check}# Better, when it answers a URL:\n{better}")
        }
        None => to_fill_in(&http("http://127.0.0.1:8080/health")),
    }
}

const TAIL: &str = r#"
# ── all hosts at once: it is an emergency ─────────────────────────────────────
[pace]
at_once = "100%"
cut_off = "finish-host"               # a host that loses the coordinator ends what it began
failed  = "50%"                       # a host that fails is put back and does not stop the others
silent  = "50%"

[[wave]]
hosts = "100%"
soak  = "30s"
gate  = "usual"

[gate.usual]
"#;
