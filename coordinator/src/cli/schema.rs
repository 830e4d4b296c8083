//! `sternway schema plan`: the plan format for editors, each key with the words
//! that a person reads while hovering over it.
//!
//! The types here are only for the schema; plans are read by
//! [`sternway_core::plan::draft`], and a test holds the keys of both together.

#![expect(dead_code, reason = "the fields are read by the derived schema only")]

use std::collections::BTreeMap;
use std::io::Write;

use clap::{Args, Subcommand};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};
use sternway_core::exit;
use sternway_core::manifest::Catalogue;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sternway schema plan > plan.schema.json
  sternway schema plan --plugins > plan.schema.json")]
pub(crate) struct SchemaArgs {
    #[command(subcommand)]
    pub(crate) of: SchemaOf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SchemaOf {
    /// JSON Schema (draft-07) of plan.toml
    Plan {
        /// With the settings of every plugin that is here
        #[arg(long)]
        plugins: bool,
    },
}

/// Prints the schema; the answer is the exit code.
pub(crate) fn schema(args: &SchemaArgs, catalogue: &Catalogue, out: &mut dyn Write) -> std::io::Result<u8> {
    let SchemaOf::Plan { plugins } = args.of;
    let schema = plan_schema(plugins.then_some(catalogue));
    serde_json::to_writer_pretty(&mut *out, &schema)?;
    writeln!(out)?;
    Ok(exit::DONE)
}

/// The schema of a plan; with a catalogue, a step's settings depend on its plugin.
pub(crate) fn plan_schema(catalogue: Option<&Catalogue>) -> Value {
    let generator = SchemaSettings::draft07().into_generator();
    let mut schema = generator.into_root_schema_for::<PlanFile>().to_value();
    if let Some(catalogue) = catalogue {
        schema["definitions"]["StepTable"]["allOf"] = settings_by_plugin(catalogue);
    }
    schema
}

fn settings_by_plugin(catalogue: &Catalogue) -> Value {
    let rules = catalogue.0.iter().map(|(name, entry)| {
        let settings = &entry.manifest.settings_schema;
        let uses =
            json!({ "properties": { "uses": { "pattern": format!("^{name}@") } }, "required": ["uses"] });
        let undo = json!({ "anyOf": [{ "const": "none" }, settings] });
        json!({ "if": uses, "then": { "properties": { "with": settings, "undo": undo } } })
    });
    Value::Array(rules.collect())
}

/// A plan: what shall happen, on which hosts, in which order, agreed by whom.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct PlanFile {
    /// The version of this format: 1.
    format: u32,
    /// The plan's name: a-z, 0-9, `.`, `_`, `-`.
    name: String,
    /// Why, in one line; people read it when they approve.
    reason: String,
    /// Picks approvals and how often people hear.
    severity: Severity,
    /// An emergency may ask for the emergency route of approvals; the default is normal.
    urgency: Option<Urgency>,
    /// The service that goes back.
    service: String,
    /// The version that runs now.
    from: String,
    /// The version that shall run.
    to: String,
    /// How long after sealing a host may still start the plan, such as "12h"; the default is "12h", at most "7d"; in an emergency "15m" and "1h".
    valid: Option<String>,
    /// The recovery time promised, such as "80m"; the report compares.
    budget: Option<String>,
    /// A new connection from outside has to be made within this time after the last step, such as "60s", or the host puts everything back by itself.
    confirm: Option<String>,
    /// Texts put into the settings of steps as `${name}` before signing.
    vars: Option<BTreeMap<String, String>>,
    fleet: FleetTable,
    approval: ApprovalTable,
    point: Option<PointTable>,
    /// What a host does, in this order; undone newest first when one fails.
    step: Vec<StepTable>,
    pace: Option<PaceTable>,
    /// Hosts released together, in this order.
    wave: Vec<WaveTable>,
    /// Gates by name.
    gate: Option<BTreeMap<String, GateTable>>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Severity {
    Low,
    Medium,
    High,
    Critical,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Urgency {
    Normal,
    /// Goes back to a point of the host itself, within an hour, by steps that can all be undone.
    Emergency,
}

/// Which hosts.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct FleetTable {
    /// Labels and names joined with `&`, `|`, `!` and parentheses: `service=agora & env=prod`, `demo-[01-08,10]`, `*`.
    select: String,
    /// Hosts left out.
    exclude: Option<Vec<String>>,
    /// Fewer selected hosts are a mistake.
    min: Option<u32>,
    /// More selected hosts are a mistake.
    max: Option<u32>,
}

/// Whose signatures the plan wants.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct ApprovalTable {
    /// How many distinct persons, 1 to 16.
    signatures: u8,
    /// One person of each of these groups.
    from: Option<Vec<String>>,
    /// Whether the author's own signature counts; the default is false.
    author: Option<bool>,
}

/// Which of its own rollback points each host goes back to.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct PointTable {
    /// The newest point with this tag.
    tag: Option<String>,
    /// Instead of a tag: each host finds the newest whole point of the service by itself.
    newest: Option<Newest>,
    /// No older than this, such as "14d".
    age: Option<String>,
    /// What is checked before anything is stopped; the default is full.
    verify: Option<Verify>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Newest {
    /// Of the whole service, else of a component with everything that is restored.
    Whole,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Verify {
    /// The index and the trees.
    Quick,
    /// Every byte.
    Full,
}

/// One change by one plugin.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct StepTable {
    /// What people call it; each step its own.
    name: String,
    /// The plugin and the first number of its version: `files@0`.
    uses: String,
    /// The plugin's settings. `${name}` is a variable, `${host.name}` and `${host.label.NAME}` are filled in on the host.
    with: BTreeMap<String, Value>,
    /// How this is put back, when the plugin cannot know: settings for it, or "none" for no way back.
    undo: Option<Undo>,
    /// Waited after the step is verified, such as "20s".
    wait: Option<String>,
    /// For each phase of the step, such as "60s"; the default is the plugin's.
    timeout: Option<String>,
    /// A new connection from outside has to be made within this time after the step, such as "60s", or the host puts everything back by itself.
    confirm: Option<String>,
    /// Once this step is done nothing is undone but by a person's word; at most one step of a plan.
    pivot: Option<bool>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum Undo {
    Settings(BTreeMap<String, Value>),
    Nothing(Nothing),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Nothing {
    None,
}

/// Hosts: a whole count, or per cent of the selection.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Amount {
    Count(u32),
    Percent(String),
}

/// How fast it goes and how much may go wrong.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct PaceTable {
    /// A label: a wave never takes all hosts with one value of it where that can be helped.
    spread: Option<String>,
    /// Hosts disturbed at any moment, at most; the default is "100%" (the wave is the limit).
    at_once: Option<Amount>,
    /// What an agent does that loses the coordinator in mid-run; the default is finish-host.
    cut_off: Option<CutOff>,
    /// Hosts that may fail in the whole rollout; the default is "10%", at least one.
    failed: Option<Amount>,
    /// Hosts that may be silent in the whole rollout; the default is "10%", at least one.
    silent: Option<Amount>,
    /// How long a host may take to hold everything it needs; the default is "60s".
    stage_within: Option<String>,
    /// No word for so long from a released host counts as silence; the default is "30s".
    silent_after: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum CutOff {
    /// Carries the host through to its end.
    FinishHost,
    /// Ends its step, then waits.
    Hold,
    /// Puts back what it did.
    Undo,
}

/// Hosts released together.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct WaveTable {
    /// What people call it.
    name: Option<String>,
    /// Hosts released in all once this wave is open: a count, or "25%" of the selection. The last wave is everybody.
    hosts: Amount,
    /// How long the wave must stay healthy, such as "10m"; the default is "2m", in an emergency "30s".
    soak: Option<String>,
    /// The gate after the wave; the default is "strict": nobody may fail or be silent.
    gate: Option<String>,
    /// A person of this group says go before the wave opens.
    approve: Option<String>,
}

/// The decision between waves, as thresholds.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct GateTable {
    /// Hosts that may fail in the wave; one more halts. The default is 0.
    failed: Option<u32>,
    /// Hosts that may say nothing in the wave; one more holds. The default is 0.
    silent: Option<u32>,
    /// Another gate whose numbers hold where this one says nothing.
    like: Option<String>,
}
