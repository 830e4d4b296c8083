//! Every folder in `tests/slips` is a plan with a slip in it, and the picture
//! that a person gets. `STERNWAY_BLESS=1` writes the pictures anew.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

#[allow(dead_code, unused_imports, reason = "the binary uses the rest")]
#[path = "../src"]
mod binary {
    pub(crate) mod draft;
}
use binary::draft;

use sternway_core::manifest::Catalogue;
use sternway_core::plan::settings::check_catalogue;

fn slips() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/slips")
}

fn catalogue() -> Catalogue {
    let catalogue = serde_json::from_str(include_str!("fixtures/catalogue.json")).unwrap();
    check_catalogue(&catalogue).unwrap();
    catalogue
}

fn picture(folder: &Path, catalogue: &Catalogue) -> (String, draft::Loaded) {
    let bytes = fs::read(folder.join("plan.toml")).unwrap();
    let inventory = fs::read_to_string(folder.join("fleet.toml"))
        .ok()
        .map(|text| draft::read_inventory(&text).unwrap().hosts);
    let loaded = draft::load(&bytes, catalogue, inventory.as_deref());
    (draft::render(&loaded.problems, "plan.toml", &loaded.draft.text, false), loaded)
}

#[test]
fn every_slip_is_shown_as_people_should_see_it() {
    let catalogue = catalogue();
    let bless = std::env::var_os("STERNWAY_BLESS").is_some();
    let mut folders: Vec<PathBuf> =
        fs::read_dir(slips()).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 30, "only {} slips", folders.len());
    let mut wrong = Vec::new();
    for folder in &folders {
        let (picture, loaded) = picture(folder, &catalogue);
        assert!(!loaded.problems.is_empty(), "{} has no slip", folder.display());
        let golden = folder.join("expected.txt");
        if bless {
            fs::write(&golden, &picture).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != picture {
            wrong.push(format!("{}:\n{picture}", folder.display()));
        }
    }
    assert!(wrong.is_empty(), "differs from expected.txt:\n\n{}", wrong.join("\n\n"));
}

/// A fix that can be pasted must not leave the problem it fixes.
#[test]
fn what_a_picture_offers_to_write_makes_the_problem_go_away() {
    let catalogue = catalogue();
    for folder in fs::read_dir(slips()).unwrap().map(|entry| entry.unwrap().path()) {
        let inventory = fs::read_to_string(folder.join("fleet.toml"))
            .ok()
            .map(|text| draft::read_inventory(&text).unwrap().hosts);
        let (_, loaded) = picture(&folder, &catalogue);
        for problem in &loaded.problems {
            let Some(fix) = problem.help.as_ref().filter(|fix| !fix.patches.is_empty()) else { continue };
            let mut text = loaded.draft.text.clone();
            for (span, with) in fix.patches.iter().rev() {
                text.replace_range(span.clone(), with);
            }
            let after = draft::load(text.as_bytes(), &catalogue, inventory.as_deref());
            let alike = |problems: &[sternway_core::plan::problem::Problem]| {
                problems
                    .iter()
                    .filter(|other| other.code == problem.code && other.message == problem.message)
                    .count()
            };
            let still = alike(&after.problems) >= alike(&loaded.problems);
            assert!(
                !still,
                "{}: {fix:?} left it:\n{}",
                folder.display(),
                draft::render(&after.problems, "plan.toml", &text, false)
            );
        }
    }
}
