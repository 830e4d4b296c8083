//! What a sealed plan says and who signed it, without asking anybody.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use sternway_core::exit;
use sternway_core::plan::Plan;
use sternway_core::trust::{Keyring, KeyringFile, Sealed};

use super::Context;
use super::failure::Failure;
use super::sign::{open_claim, read, sheet};
use super::text::{Line, Tone, iso};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway show plan.sealed
  sternway show plan.sealed --keyring keyring.toml    judge the signatures as a host would")]
pub struct ShowArgs {
    /// A sealed plan
    file: PathBuf,
    /// Judge the signatures by this keyring; exit code 65 when they do not suffice
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
    /// Print the text the plan was made of, as people reviewed it
    #[arg(long)]
    text: bool,
}

pub fn show(context: &Context, args: &ShowArgs) -> Result<u8, Failure> {
    let (sealed, plan) = open_claim(&args.file, &read(&args.file)?)?;
    let keyring = args.keyring.as_deref().map(load_keyring).transpose()?;
    let output = &context.output;
    for line in sheet::lines(&plan, sealed.id(), context.now()) {
        output.data_whole(line);
    }
    for line in signature_lines(&sealed, keyring.as_ref()) {
        output.data_whole(line);
    }
    if args.text {
        output.data(Line::new());
        plan.text.lines().for_each(|line| output.data_whole(Line::from(line)));
    }
    output.object(
        "sternway.plan/1.0",
        json!({
            "id": format!("sha256:{}", sealed.id()),
            "expires_at": iso(plan.expires),
            "keys": sealed.signatures().iter().map(|signature| signature.kid).collect::<Vec<_>>(),
            "plan": plan,
        }),
    );
    let Some(keyring) = keyring else { return Ok(exit::DONE) };
    let verified = sealed.open(&keyring, context.now()).map_err(|cause| Failure::Refused {
        message: "the signatures do not suffice".into(),
        cause: Some(Box::new(cause)),
    })?;
    if context.now() >= plan.expires {
        return Err(Failure::Refused {
            message: "the plan expired: no host will start it".into(),
            cause: None,
        });
    }
    let who: Vec<&str> = verified.signers().iter().map(|signer| signer.person.as_str()).collect();
    output.data(
        Line::new()
            .add(Tone::Good, "good")
            .pad_to(10)
            .plain(format!("signed by {}, which suffices", who.join(", "))),
    );
    Ok(exit::DONE)
}

fn signature_lines(sealed: &Sealed<Plan>, keyring: Option<&Keyring>) -> Vec<Line> {
    let mut lines = vec![Line::new()];
    if sealed.signatures().is_empty() {
        lines.push(Line::new().add(Tone::Strong, "signed").pad_to(10).plain("by nobody yet"));
    }
    for (at, signature) in sealed.signatures().iter().enumerate() {
        let word = if at == 0 { "signed" } else { "" };
        let known = keyring.map(|keyring| keyring.find(signature.kid));
        let who = match known {
            None => String::new(),
            Some(Some(key)) => format!("   {}", key.person),
            Some(None) => "   not in the keyring".into(),
        };
        let line =
            Line::new().add(Tone::Strong, word).pad_to(10).plain(format!("key {}{who}", signature.kid));
        lines.push(line);
    }
    if keyring.is_none() {
        lines.push(
            Line::new()
                .pad_to(10)
                .add(Tone::Dim, "who holds these keys, and whether it suffices, says --keyring FILE"),
        );
    }
    lines
}

fn load_keyring(path: &Path) -> Result<Keyring, Failure> {
    let text = std::fs::read_to_string(path).map_err(|cause| Failure::File {
        doing: "read",
        path: path.into(),
        cause,
    })?;
    let odd = |cause: Box<dyn std::error::Error + Send + Sync>| Failure::Other {
        message: format!("`{}` is not a keyring", path.display()),
        exit: exit::INVALID,
        hint: None,
        cause: Some(cause),
    };
    let file: KeyringFile = toml::from_str(&text).map_err(|cause| odd(Box::new(cause)))?;
    Keyring::new(file).map_err(|cause| odd(Box::new(cause)))
}
