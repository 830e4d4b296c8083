//! How this host stands while no agent serves it: read from what the agent
//! wrote, without its locks and without changing a byte.

use sternway_core::run::{Input, Run, Stage};
use sternway_core::trust::Keyring;

use super::plans::{PlanError, PlanStore};
use crate::config::Config;
use crate::halt::HaltFlag;
use crate::journal::{Journal, JournalError};
use crate::report::{Report, RunReport};

#[derive(Debug, thiserror::Error)]
pub enum AsleepError {
    #[error("the journal of this host cannot be read")]
    Journal(#[from] JournalError),
    #[error("the plan of a run under way cannot be read")]
    Plan(#[from] PlanError),
}

/// Reads the journal, the plans and the halt flag.
///
/// # Errors
/// There is no journal yet, or it is damaged, or a plan is not what was accepted.
pub fn look(config: &Config, keyring: &Keyring) -> Result<Report, AsleepError> {
    let journal = Journal::look(&config.journal_path())?;
    let plans = PlanStore::look(&config.plans_path());
    let mut in_hand = None;
    for (plan, records) in journal.open_runs().filter(|(plan, _)| plans.holds(*plan)) {
        let Some(Input::Accepted { rollout, .. }) = records.entries.first().map(|entry| &entry.input) else {
            continue;
        };
        let admitted = plans.readmit(plan, keyring, &config.host)?;
        let mut run = Run::new(admitted.plan());
        records.entries.iter().for_each(|entry| drop(run.handle(entry)));
        if *run.stage() != Stage::Closed {
            in_hand = Some(RunReport::of(plan, admitted.plan(), rollout, &run, records));
        }
    }
    Ok(Report::of(&journal, None, HaltFlag::of(&config.state).read(), in_hand))
}
