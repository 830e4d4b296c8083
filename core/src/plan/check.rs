//! Every rule a plan must meet, asked of a draft: all problems at once, in the
//! order of the file. Each topic has a file; what a topic works out for its
//! rules is what [`super::seal`] puts into the plan, so the two cannot differ.

use super::InventoryHost;
use super::draft::Draft;
use super::problem::{self, Problem};
use crate::manifest::Catalogue;

pub(super) mod approval;
pub(super) mod emergency;
pub(super) mod fleet;
pub(super) mod gates;
pub(super) mod steps;
pub(super) mod text;
pub(super) mod times;
pub(super) mod waves;

/// All problems of a draft, those of its reading included. Without an inventory
/// the rules against the fleet are left out.
pub fn check(draft: &Draft, catalogue: &Catalogue, inventory: Option<&[InventoryHost]>) -> Vec<Problem> {
    let mut problems = draft.problems.clone();
    let unreadable = problems.iter().any(|problem| matches!(problem.code, "P101" | "P102"));
    if !unreadable {
        text::check(draft, &mut problems);
        times::check(draft, &mut problems);
        approval::check(draft, &mut problems);
        steps::check(draft, catalogue, &mut problems);
        emergency::check(draft, catalogue, &mut problems);
        gates::check(draft, &mut problems);
        waves::check(draft, &mut problems);
        fleet::check(draft, inventory, &mut problems);
    }
    problem::sort(&mut problems);
    problems
}
