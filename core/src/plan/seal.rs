//! A draft without problems, against a fleet, becomes the plan that people sign.

use super::check::{self, fleet, gates, steps};
use super::defaults;
use super::draft::{At, Draft, StepDraft};
use super::problem::Problem;
use super::{Approval, FORMAT, InventoryHost, Pace, Plan, PluginPin, PointWanted, Step, Wave};
use crate::ids::{FleetId, Nonce, Person, PluginName};
use crate::manifest::Catalogue;
use crate::time::{Millis, Timestamp};

/// What a plan holds beside what its author wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealFacts {
    pub fleet: FleetId,
    pub nonce: Nonce,
    pub author: Person,
    pub now: Timestamp,
}

/// What a good draft comes to, in numbers, for one line of output.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    pub steps: usize,
    pub waves: usize,
    pub signatures: u32,
    /// Only against a fleet.
    pub hosts: Option<usize>,
    /// Hosts released in all after each wave, as the plan writes them.
    pub sizes: Vec<String>,
    pub soak_ms: u64,
    pub budget_ms: Option<u64>,
}

impl Draft {
    /// The plan, or every problem (warnings included) when any is an error.
    pub fn into_plan(
        self,
        inventory: &[InventoryHost],
        catalogue: &Catalogue,
        facts: SealFacts,
    ) -> Result<Plan, Vec<Problem>> {
        let problems = check::check(&self, catalogue, Some(inventory));
        if problems.iter().any(Problem::is_error) {
            return Err(problems);
        }
        assemble(&self, inventory, catalogue, facts).map_err(|problem| vec![*problem])
    }

    pub fn summary(&self, inventory: Option<&[InventoryHost]>) -> Summary {
        Summary {
            steps: self.steps.len(),
            waves: self.waves.len(),
            signatures: self.approval.signatures.as_ref().map_or(0, |signatures| signatures.value),
            hosts: inventory.map(|inventory| fleet::select(self, inventory).len()),
            sizes: self
                .waves
                .iter()
                .filter_map(|wave| Some(wave.hosts.as_ref()?.value.to_string()))
                .collect(),
            soak_ms: self
                .waves
                .iter()
                .map(|wave| or(&wave.soak, defaults::soak(self.urgency())).0)
                .fold(0, u64::saturating_add),
            budget_ms: self.budget.as_ref().map(|budget| budget.value.0),
        }
    }
}

fn assemble(
    draft: &Draft,
    inventory: &[InventoryHost],
    catalogue: &Catalogue,
    facts: SealFacts,
) -> Result<Plan, Box<Problem>> {
    let hosts = fleet::select(draft, inventory);
    let total = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
    let (steps, plugins) = resolve_steps(draft, catalogue)?;
    let urgency = draft.urgency();
    let valid = or(&draft.valid, defaults::valid(urgency));
    Ok(Plan {
        format: FORMAT,
        fleet: facts.fleet,
        nonce: facts.nonce,
        name: there(&draft.name, "name")?,
        reason: there(&draft.reason, "reason")?,
        severity: there(&draft.severity, "severity")?,
        urgency,
        service: there(&draft.service, "service")?,
        from: there(&draft.from, "from")?,
        to: there(&draft.to, "to")?,
        author: facts.author,
        issued: facts.now,
        expires: facts.now + valid,
        budget: draft.budget.as_ref().map(|budget| budget.value),
        hosts: hosts.iter().map(|host| host.name.clone()).collect(),
        approval: approval(draft)?,
        point: point(draft)?,
        steps,
        pace: pace(draft, total),
        waves: fleet::assign(draft, &hosts)
            .into_iter()
            .zip(&draft.waves)
            .map(|(hosts, wave)| Wave {
                name: wave.name.as_ref().map(|name| name.value.clone()),
                hosts,
                soak: or(&wave.soak, defaults::soak(urgency)),
                gate: gates::resolve(draft, wave.gate.as_ref().map(|gate| gate.value.as_str())),
                approve: wave.approve.as_ref().map(|group| group.value.clone()),
            })
            .collect(),
        plugins,
        text: draft.text.clone(),
    })
}

fn approval(draft: &Draft) -> Result<Approval, Box<Problem>> {
    let signatures = there(&draft.approval.signatures, "signatures")?;
    Ok(Approval {
        signatures: u8::try_from(signatures).map_err(|_| not_there("signatures"))?,
        from: draft.approval.from.iter().map(|group| group.value.clone()).collect(),
        author: or(&draft.approval.author, defaults::AUTHOR_COUNTS),
    })
}

fn point(draft: &Draft) -> Result<Option<PointWanted>, Box<Problem>> {
    let Some(point) = &draft.point else { return Ok(None) };
    Ok(Some(PointWanted {
        choice: there(&point.choice, "tag")?,
        age_max: point.age.as_ref().map(|age| age.value),
        verify: or(&point.verify, defaults::POINT_CHECK),
    }))
}

fn pace(draft: &Draft, total: u32) -> Pace {
    let pace = &draft.pace;
    Pace {
        at_once: or(&pace.at_once, defaults::AT_ONCE).of(total),
        cut_off: or(&pace.cut_off, defaults::CUT_OFF),
        failed: or(&pace.failed, defaults::FAILED).of(total),
        silent: or(&pace.silent, defaults::SILENT).of(total),
        stage_within: or(&pace.stage_within, defaults::STAGE_WITHIN),
        silent_after: or(&pace.silent_after, defaults::SILENT_AFTER),
    }
}

fn resolve_steps(draft: &Draft, catalogue: &Catalogue) -> Result<(Vec<Step>, Vec<PluginPin>), Box<Problem>> {
    let mut plugins = std::collections::BTreeMap::<PluginName, PluginPin>::new();
    let mut steps = Vec::with_capacity(draft.steps.len());
    for written in &draft.steps {
        steps.push(resolve_step(draft, written, catalogue, &mut plugins)?);
    }
    Ok((steps, plugins.into_values().collect()))
}

fn resolve_step(
    draft: &Draft,
    written: &StepDraft,
    catalogue: &Catalogue,
    plugins: &mut std::collections::BTreeMap<PluginName, PluginPin>,
) -> Result<Step, Box<Problem>> {
    let mut problems = Vec::new();
    let Some(step) = steps::resolve(draft, written, catalogue, &mut problems) else {
        return Err(problems.into_iter().find(Problem::is_error).map_or_else(|| not_there("step"), Box::new));
    };
    let manifest = &step.entry.manifest;
    plugins.insert(
        manifest.name.clone(),
        PluginPin {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            sha256: step.entry.sha256,
            bytes: step.entry.bytes,
        },
    );
    Ok(Step {
        name: there(&written.name, "name")?,
        uses: manifest.name.clone(),
        settings: step.settings.to_string(),
        undo: step.undo,
        timeout: or(&written.timeout, Millis(manifest.default_timeout_ms)),
        wait: written.wait.as_ref().map(|wait| wait.value),
        confirm: confirm_of(draft, written),
        pivot: written.pivot.as_ref().is_some_and(|pivot| pivot.value),
        class: step.class,
        grants: step.grants,
    })
}

/// The plan's own `confirm` is that of its last step.
fn confirm_of(draft: &Draft, step: &StepDraft) -> Option<Millis> {
    let is_last = draft.steps.last().is_some_and(|last| std::ptr::eq(last, step));
    let of_plan = draft.confirm.as_ref().filter(|_| is_last);
    step.confirm.as_ref().or(of_plan).map(|confirm| confirm.value)
}

fn or<T: Clone>(written: &Option<At<T>>, default: T) -> T {
    written.as_ref().map_or(default, |written| written.value.clone())
}

fn there<T: Clone>(written: &Option<At<T>>, key: &str) -> Result<T, Box<Problem>> {
    written.as_ref().map(|written| written.value.clone()).ok_or_else(|| not_there(key))
}

fn not_there(key: &str) -> Box<Problem> {
    let problem = Problem::error("P103", 0..0, format!("the plan needs `{key}`")).label("could not be read");
    Box::new(problem)
}
