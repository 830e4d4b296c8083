//! From a draft to what will be signed: checked against the fleet, hosts and
//! plugins written out.

use std::path::Path;

use sternway_core::exit;
use sternway_core::ids::{FleetId, Nonce};
use sternway_core::plan::seal::SealFacts;
use sternway_core::plan::select::Selection;
use sternway_core::plan::{InventoryHost, Plan};
use sternway_core::trust::Sealed;

use super::{PersonKey, SignArgs, SignVerbError, read};
use crate::cli::failure::Failure;
use crate::cli::sign::KeyError;
use crate::cli::{Context, block_on, catalogue};
use crate::draft;

/// A draft as it was read, and the hosts against which it is judged.
pub(in crate::cli) struct Sealing<'a> {
    /// How messages name the draft.
    pub(in crate::cli) file: &'a Path,
    pub(in crate::cli) bytes: &'a [u8],
    pub(in crate::cli) fleet: FleetId,
    pub(in crate::cli) hosts: Vec<InventoryHost>,
    /// Narrow the plan to these of its hosts.
    pub(in crate::cli) only: Option<&'a str>,
}

pub(super) fn seal(
    context: &Context,
    args: &SignArgs,
    key: &PersonKey,
) -> Result<(Sealed<Plan>, Plan), Failure> {
    let (fleet, hosts) = fleet(context, args)?;
    let (file, bytes) = (args.file.as_path(), &read(&args.file)?);
    seal_draft(context, Sealing { file, bytes, fleet, hosts, only: args.only.as_deref() }, key)
}

/// The draft's problems are shown, all of them; then it is sealed, unsigned.
pub(in crate::cli) fn seal_draft(
    context: &Context,
    sealing: Sealing<'_>,
    key: &PersonKey,
) -> Result<(Sealed<Plan>, Plan), Failure> {
    let Sealing { file, bytes, fleet, hosts: mut inventory, only } = sealing;
    if let Some(only) = only {
        let selection =
            Selection::parse(only).map_err(|error| Failure::usage(format!("--only `{only}`: {error}")))?;
        inventory.retain(|host| selection.matches(host));
    }
    let catalogue = catalogue::built_in()?;
    let loaded = draft::load(bytes, &catalogue, Some(&inventory));
    let output = &context.output;
    let path = file;
    let file = path.display().to_string();
    if !loaded.problems.is_empty() {
        output.raw_complaint(&draft::render(
            &loaded.problems,
            &file,
            &loaded.draft.text,
            output.talk_look().color,
        ));
    }
    if loaded.has_errors() {
        return Err(Failure::Problems {
            what: format!("{file} cannot be sealed: {}", draft::tally(&loaded.problems)),
        });
    }
    let text = loaded.draft.text.clone();
    let facts = SealFacts { fleet, nonce: nonce()?, author: key.person.clone(), now: context.now() };
    let plan = loaded.draft.into_plan(&inventory, &catalogue, facts).map_err(|problems| {
        output.raw_complaint(&draft::render(&problems, &file, &text, output.talk_look().color));
        Failure::Problems { what: format!("{file} cannot be sealed: {}", draft::tally(&problems)) }
    })?;
    let sealed = Sealed::new(&plan).map_err(SignVerbError::from)?;
    // What is shown comes from the bytes that will be signed, not from the value they were made of.
    let claim = sealed.claim().map_err(|cause| SignVerbError::Claim { path: path.into(), cause })?;
    Ok((sealed, claim))
}

fn nonce() -> Result<Nonce, Failure> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(KeyError::Random)?;
    Ok(Nonce(nonce))
}

/// Which fleet, and who is in it: from a file, or from the coordinator.
fn fleet(context: &Context, args: &SignArgs) -> Result<(FleetId, Vec<InventoryHost>), Failure> {
    let Some(path) = &args.fleet else {
        return block_on(async {
            let client = context.connect().await?;
            let inventory = client.inventory().await?;
            client.close().await;
            Ok((inventory.fleet, inventory.hosts))
        });
    };
    let odd = |message: String| Failure::Other {
        message,
        exit: exit::INVALID,
        hint: Some(
            "it needs `fleet = \"<32 hex digits>\"` and [[host]] tables with `name` and `labels`".into(),
        ),
        cause: None,
    };
    let text = std::fs::read_to_string(path).map_err(|cause| Failure::File {
        doing: "read",
        path: path.clone(),
        cause,
    })?;
    let inventory = draft::read_inventory(&text).map_err(|cause| Failure::Other {
        message: format!("`{}` is not a fleet", path.display()),
        exit: exit::INVALID,
        hint: None,
        cause: Some(Box::new(cause)),
    })?;
    let fleet =
        inventory.fleet.ok_or_else(|| odd(format!("`{}` does not say which fleet it is", path.display())))?;
    Ok((fleet, inventory.hosts))
}
