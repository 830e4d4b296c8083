//! Signing: a draft becomes a sealed plan, or a sealed plan gets one more
//! signature. Private keys are read here and nowhere else (see [`key`]).

pub mod key;
pub(in crate::cli) mod seal;
pub mod sheet;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use sternway_core::exit;
use sternway_core::plan::Plan;
use sternway_core::trust::{ENVELOPE_BYTES_MAX, ParseError, Sealed, SignError};

use super::Context;
use super::failure::Failure;
use super::identity::SIGNING_KEY;
use super::prompt::confirm;
use super::text::{Line, Tone, count};
pub use key::{KeyError, PersonKey};

#[derive(Debug, thiserror::Error)]
pub enum SignVerbError {
    #[error("`{}` is not a sealed plan", path.display())]
    NotSealed {
        path: PathBuf,
        #[source]
        cause: ParseError,
    },
    #[error("what `{}` holds cannot be read", path.display())]
    Claim {
        path: PathBuf,
        #[source]
        cause: sternway_core::canonical::DecodeError,
    },
    #[error("the plan expired: no host will start it")]
    Expired,
    #[error("no signature could be added")]
    Sign(#[from] SignError),
    #[error("`{}` is there and is no sealed plan: it is not overwritten", .0.display())]
    InTheWay(PathBuf),
}

impl SignVerbError {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::InTheWay(_) => exit::USAGE,
            Self::Sign(SignError::Encode(_) | SignError::Size { .. }) => exit::INVALID,
            _ => exit::REFUSED,
        }
    }

    pub fn hint(&self) -> Option<String> {
        match self {
            Self::InTheWay(_) => Some("name another file with --out".into()),
            Self::Expired => Some("seal it again from its draft: sternway sign plan.toml".into()),
            Self::Sign(SignError::AlreadySigned(_)) => {
                Some("another person signs now, with a key of their own".into())
            }
            _ => None,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway sign plan.toml                  seal the draft and sign it: plan.sealed
  sternway sign plan.sealed                add your signature to it
  sternway sign plan.toml --only 'zone=b' --confirm 12")]
pub struct SignArgs {
    /// A draft (plan.toml) or a sealed plan
    file: PathBuf,
    /// Take the hosts from this file instead of asking the coordinator
    #[arg(long, value_name = "FILE")]
    fleet: Option<PathBuf>,
    /// Where the sealed plan goes [default: beside the draft, as .sealed]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Narrow the plan to these of its hosts
    #[arg(long, value_name = "SELECTION")]
    only: Option<String>,
    /// The number of hosts the plan may touch, instead of typing it
    #[arg(long, value_name = "N")]
    confirm: Option<String>,
}

pub fn sign(context: &Context, args: &SignArgs) -> Result<u8, Failure> {
    let bytes = read(&args.file)?;
    // A draft is text and an envelope is CBOR: its first byte is no text.
    if Sealed::<Plan>::parse(&bytes).is_ok() || std::str::from_utf8(&bytes).is_err() {
        return add_signature(context, args, &bytes);
    }
    let key = load_key(context)?;
    let (sealed, plan) = seal::seal(context, args, &key)?;
    let out = args.out.clone().unwrap_or_else(|| args.file.with_extension("sealed"));
    refuse_strangers(&out)?;
    finish(context, args, sealed, &plan, &key, &out)
}

fn add_signature(context: &Context, args: &SignArgs, bytes: &[u8]) -> Result<u8, Failure> {
    if args.fleet.is_some() || args.only.is_some() {
        return Err(Failure::usage(
            "a sealed plan names its hosts for good: --fleet and --only are for drafts",
        ));
    }
    let (sealed, plan) = open_claim(&args.file, bytes)?;
    if context.now() >= plan.expires {
        return Err(SignVerbError::Expired.into());
    }
    let key = load_key(context)?;
    let out = args.out.clone().unwrap_or_else(|| args.file.clone());
    refuse_strangers(&out)?;
    finish(context, args, sealed, &plan, &key, &out)
}

/// Shows what will be signed, asks, signs, and writes the envelope in one piece.
fn finish(
    context: &Context,
    args: &SignArgs,
    mut sealed: Sealed<Plan>,
    plan: &Plan,
    key: &PersonKey,
    out: &Path,
) -> Result<u8, Failure> {
    let output = &context.output;
    for line in sheet::lines(plan, sealed.id(), context.now()) {
        output.talk_whole(line);
    }
    output.talk(Line::new());
    let short = key.key.public().id().short();
    output.talk(format!("key       {}, {short}", key.who()));
    let hosts = plan.hosts.len().to_string();
    confirm(context, "Type how many hosts this plan may touch:", &hosts, args.confirm.as_deref())?;
    sealed.sign(&key.key).map_err(SignVerbError::from)?;
    write_whole(out, &sealed.to_bytes())?;
    let (have, need) = (sealed.signatures().len(), usize::from(plan.approval.signatures));
    output.object(
        "sternway.sealed/1.0",
        json!({
            "file": out,
            "plan": format!("sha256:{}", sealed.id()),
            "hosts": plan.hosts.len(),
            "signatures": have,
            "signatures_wanted": need,
            "expires": super::text::iso(plan.expires),
        }),
    );
    let valid = super::text::day_and_time(plan.expires);
    output.data(Line::new().add(Tone::Good, "sealed").pad_to(10).plain(format!(
        "{}   {}   valid until {valid}   {} of {need}",
        out.display(),
        sealed.id().short(),
        count(have, "signature")
    )));
    let next = if have < need { "somebody else runs:  sternway sign" } else { "sternway launch" };
    output.talk(format!("next      {next} {}", out.display()));
    Ok(exit::DONE)
}

pub fn load_key(context: &Context) -> Result<PersonKey, Failure> {
    Ok(PersonKey::load(&context.whereabouts.directory()?.join(SIGNING_KEY))?)
}

/// Reads a file that is not larger than an envelope can be.
pub fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let failed = |cause| Failure::File { doing: "read", path: path.into(), cause };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    let limit = u64::try_from(ENVELOPE_BYTES_MAX).unwrap_or(u64::MAX) + 1;
    file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// A sealed plan and what its bytes claim: to be shown, never to be acted upon.
pub fn open_claim(path: &Path, bytes: &[u8]) -> Result<(Sealed<Plan>, Plan), SignVerbError> {
    let sealed = Sealed::<Plan>::parse(bytes)
        .map_err(|cause| SignVerbError::NotSealed { path: path.into(), cause })?;
    let plan = sealed.claim().map_err(|cause| SignVerbError::Claim { path: path.into(), cause })?;
    Ok((sealed, plan))
}

/// Only a sealed plan may be replaced by one.
fn refuse_strangers(out: &Path) -> Result<(), Failure> {
    if !out.exists() {
        return Ok(());
    }
    match Sealed::<Plan>::parse(&read(out)?) {
        Ok(_) => Ok(()),
        Err(_) => Err(SignVerbError::InTheWay(out.into()).into()),
    }
}

/// The whole file or the one that was there before, and on disk when it is said to be.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let write = || -> io::Result<()> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut file = tempfile::Builder::new().prefix(".sternway-").tempfile_in(directory)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        std::fs::File::open(directory)?.sync_all()
    };
    write().map_err(|cause| Failure::File { doing: "write", path: path.into(), cause })
}
