//! Keys of people and certificates of peers: made where they are used, shown
//! by their public half.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;
use sternway_core::exit;
use sternway_core::ids::{FleetId, Group, Person};

use super::Context;
use super::failure::Failure;
use super::identity::{ADDRESS, CERTIFICATE, CERTIFICATE_KEY, SERVER_CA, SIGNING_KEY};
use super::sign::{KeyError, PersonKey};
use super::text::{Line, Tone};
use crate::pki::{self, IssueError, Role};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway keys new --person ada --groups sre           a signing key in the identity directory
  sternway keys show                                    the lines for a keyring
  sternway keys authorities pki                         once per fleet: three authorities
  sternway keys issue pki --operator ada --out ~/.config/sternway --coordinator coord.example:7843")]
pub struct KeysArgs {
    #[command(subcommand)]
    verb: KeysVerb,
}

#[derive(Debug, Subcommand)]
enum KeysVerb {
    /// Make a signing key
    New {
        /// Who signs with it
        #[arg(long)]
        person: Person,
        /// Groups the person stands for, joined with commas
        #[arg(long, value_delimiter = ',')]
        groups: Vec<Group>,
        /// Where it goes [default: signing.key in the identity directory]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Show the public half of a signing key as it stands in a keyring
    Show {
        /// The key's file [default: signing.key in the identity directory]
        file: Option<PathBuf>,
    },
    /// Make the certificate authorities of a new fleet
    Authorities {
        /// A folder for them; keep it offline
        directory: PathBuf,
        /// The fleet's id, 32 hexadecimal digits [default: a new one]
        #[arg(long)]
        fleet: Option<FleetId>,
    },
    /// Issue a certificate to one peer
    Issue(IssueArgs),
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("peer").required(true).args(["operator", "agent", "server"]))]
struct IssueArgs {
    /// The folder of the authorities
    directory: PathBuf,
    /// For a person: makes a whole identity directory
    #[arg(long, value_name = "PERSON")]
    operator: Option<String>,
    /// For a host
    #[arg(long, value_name = "HOST")]
    agent: Option<String>,
    /// For the coordinator itself
    #[arg(long)]
    server: bool,
    /// Where the files go
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The coordinator's address and port, noted in an operator's identity
    #[arg(long, value_name = "ADDRESS:PORT", requires = "operator")]
    coordinator: Option<String>,
}

pub fn keys(context: &Context, args: KeysArgs) -> Result<u8, Failure> {
    match args.verb {
        KeysVerb::New { person, groups, out } => new(context, person, groups, out),
        KeysVerb::Show { file } => show(context, file),
        KeysVerb::Authorities { directory, fleet } => authorities(context, &directory, fleet),
        KeysVerb::Issue(args) => issue(context, &args),
    }
}

fn key_path(context: &Context, named: Option<PathBuf>) -> Result<PathBuf, Failure> {
    match named {
        Some(path) => Ok(path),
        None => Ok(context.whereabouts.directory()?.join(SIGNING_KEY)),
    }
}

fn new(context: &Context, person: Person, groups: Vec<Group>, out: Option<PathBuf>) -> Result<u8, Failure> {
    let path = key_path(context, out)?;
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        make_private(directory)?;
    }
    let key = PersonKey::create(&path, person, groups)?;
    context.output.talk(format!("made      {}   for {} alone to read", path.display(), key.who()));
    print_public(context, &key);
    context.output.talk("next      these lines go into keyring.toml on the coordinator and on every host");
    Ok(exit::DONE)
}

fn show(context: &Context, file: Option<PathBuf>) -> Result<u8, Failure> {
    let key = PersonKey::load(&key_path(context, file)?)?;
    print_public(context, &key);
    Ok(exit::DONE)
}

/// As it stands in a keyring.
fn print_public(context: &Context, key: &PersonKey) {
    let output = &context.output;
    let public = key.key.public();
    let groups: Vec<String> = key.groups.iter().map(|group| format!("\"{group}\"")).collect();
    output.object(
        "sternway.key/1.0",
        json!({ "person": key.person, "groups": key.groups, "public": public, "id": public.id() }),
    );
    output.data_whole(Line::from("[[key]]"));
    output.data_whole(Line::from(format!("person = \"{}\"", key.person)));
    output.data_whole(Line::from(format!("groups = [{}]", groups.join(", "))));
    output.data_whole(Line::from(format!("public = \"{public}\"")));
    output.talk(format!("id        {}", public.id()));
}

fn authorities(context: &Context, directory: &Path, fleet: Option<FleetId>) -> Result<u8, Failure> {
    let fleet = match fleet {
        Some(fleet) => fleet,
        None => {
            let mut bytes = [0; 16];
            getrandom::fill(&mut bytes).map_err(KeyError::Random)?;
            FleetId(bytes)
        }
    };
    make_private(directory)?;
    pki::create_authorities(directory, fleet).map_err(pki_failure)?;
    let output = &context.output;
    output.object("sternway.authorities/1.0", json!({ "fleet": fleet, "directory": directory }));
    output.data(
        Line::new()
            .add(Tone::Good, "made")
            .pad_to(10)
            .plain(format!("{}   three authorities of fleet {fleet}", directory.display())),
    );
    output.talk(format!("next      sternway keys issue {} --server --out DIR", directory.display()));
    Ok(exit::DONE)
}

fn issue(context: &Context, args: &IssueArgs) -> Result<u8, Failure> {
    let (role, name) = match (&args.operator, &args.agent) {
        (Some(person), _) => (Role::Operator, person.as_str()),
        (_, Some(host)) => (Role::Agent, host.as_str()),
        _ => (Role::Coordinator, "coordinator"),
    };
    make_private(&args.out)?;
    let issued = pki::issue(&args.directory, role, name, &args.out).map_err(pki_failure)?;
    let (mut certificate, mut key) = (issued.certificate, issued.key);
    if role == Role::Operator {
        certificate = move_to(&certificate, &args.out.join(CERTIFICATE))?;
        key = move_to(&key, &args.out.join(CERTIFICATE_KEY))?;
        let address = args.out.join(ADDRESS);
        if let Some(text) = &args.coordinator {
            std::fs::write(&address, format!("{text}\n")).map_err(|cause| Failure::File {
                doing: "write",
                path: address,
                cause,
            })?;
        }
    }
    // Who dials needs to know the coordinator when it sees it.
    if role != Role::Coordinator {
        let from = pki::authority_certificate(&args.directory, Role::Coordinator);
        let to = args.out.join(SERVER_CA);
        std::fs::copy(&from, &to).map_err(|cause| Failure::File { doing: "write", path: to, cause })?;
    }
    let output = &context.output;
    output.object(
        "sternway.issued/1.0",
        json!({ "role": role.name(), "name": name, "certificate": certificate, "key": key }),
    );
    output.data(Line::new().add(Tone::Good, "issued").pad_to(10).plain(format!(
        "{} {name}   {}",
        role.name(),
        certificate.display()
    )));
    if role == Role::Operator && args.coordinator.is_none() && !args.out.join(ADDRESS).exists() {
        output.talk(format!(
            "next      the coordinator's address and port go into {}",
            args.out.join(ADDRESS).display()
        ));
    }
    Ok(exit::DONE)
}

fn pki_failure(error: IssueError) -> Failure {
    Failure::Other {
        message: "no certificate was made".into(),
        exit: exit::USAGE,
        hint: None,
        cause: Some(Box::new(error)),
    }
}

fn move_to(from: &Path, to: &Path) -> Result<PathBuf, Failure> {
    std::fs::rename(from, to).map_err(|cause| Failure::File { doing: "write", path: to.into(), cause })?;
    Ok(to.to_owned())
}

/// Makes a folder, if it is not there, that only its owner may enter.
fn make_private(directory: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|cause| Failure::File {
        doing: "make",
        path: directory.into(),
        cause,
    })
}
