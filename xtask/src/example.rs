//! `cargo xtask example NAME`: a runbook's system, started for real on a test
//! fleet, broken for real, taken back, proved, and rolled forward again by
//! `undo`. What it holds up against is in `examples/NAME/`, in scripts that know
//! nothing of us.

mod fleet;
mod site;

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::{Done, root};
use fleet::Fleet;
use site::{Fallback, Site};

pub(crate) const USAGE: &str = "\
cargo xtask example NAME|all [--keep] [--bin-dir DIR] [--install]
                        a runbook's system on a test fleet: broken, taken back, proved, undone";

/// Ended within the plan's tolerance, but some host was undone.
const DONE_WITH_EXCEPTIONS: i32 = 3;

pub(crate) fn run(words: &[String]) -> Done {
    let mut wishes = Wishes::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--keep" => wishes.keep = true,
            "--install" => wishes.install = true,
            "--bin-dir" => wishes.programs = Some(words.next().ok_or("--bin-dir takes a folder")?.into()),
            "all" => wishes.names = site::all()?,
            name if !name.starts_with('-') => wishes.names.push(name.into()),
            odd => return Err(format!("`{odd}` is not known\n\n{USAGE}")),
        }
    }
    if wishes.names.is_empty() {
        return Err(format!("which example? there are: {}\n\n{USAGE}", site::all()?.join(", ")));
    }
    if let Some(why) = shown(&wishes)? {
        println!("skipped  examples: {why}");
    }
    Ok(())
}

#[derive(Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) names: Vec<String>,
    /// The fleet stays up, to look around.
    pub(crate) keep: bool,
    pub(crate) install: bool,
    pub(crate) programs: Option<PathBuf>,
}

/// Shows them one after the other; says why when this machine cannot.
pub(crate) fn shown(wishes: &Wishes) -> Result<Option<String>, String> {
    for name in &wishes.names {
        let site = Site::load(name)?;
        println!("── {name}: {}", site.summary);
        let Some(fleet) = Fleet::up(&site, wishes)? else {
            return Ok(Some("no test fleet can stand here, as was just said".into()));
        };
        let shown = show(&site, &fleet);
        if wishes.keep {
            println!("the fleet stays: cargo xtask fleet status --name {}", site.fleet());
        } else {
            fleet.down()?;
        }
        shown.map_err(|why| format!("example {name}: {why}"))?;
    }
    Ok(None)
}

fn show(site: &Site, fleet: &Fleet) -> Done {
    let hosts = &site.hosts;
    step("plans", || fleet.check(&site.plans()?))?;
    step("install", || fleet.everywhere(hosts, |host| fleet.lay_and_install(site, host)))?;
    step("it is well", || fleet.everywhere(hosts, |host| fleet.script(host, "good.sh")))?;
    step("rollback points", || fleet.make_points(site))?;
    site.fallbacks.iter().filter(|one| one.early).try_for_each(|one| fall_back(site, one, fleet))?;
    step("deployment", || fleet.everywhere(hosts, |host| fleet.script(host, "break.sh")))?;
    step("it is not well", || fleet.everywhere(hosts, |host| fleet.script(host, "bad.sh")))?;
    if let Some(host) = &site.fails_on {
        step("one host will fail", || fleet.script(host, "sabotage.sh"))?;
    }
    let failed = usize::from(site.fails_on.is_some());
    let rollout = step("rollback", || fleet.roll_back(site, "plan.toml", hosts.len(), site.wanted()))?;
    step("it is well again", || fleet.everywhere(hosts, |host| fleet.script(host, site.after(host))))?;
    step("undo", || fleet.undo(site, &rollout, hosts.len() - failed))?;
    step("as it was deployed", || fleet.everywhere(hosts, |host| fleet.script(host, "bad.sh")))?;
    site.fallbacks.iter().filter(|one| !one.early).try_for_each(|one| fall_back(site, one, fleet))?;
    match site.emergency() {
        Some(draft) => show_emergency(site, fleet, &draft),
        None => Ok(()),
    }
}

/// Another plan, for what was just made worse or is as it was deployed again.
fn fall_back(site: &Site, fallback: &Fallback, fleet: &Fleet) -> Done {
    let hosts = &fallback.hosts;
    println!("   {}", fallback.summary);
    if let Some(breaks) = &fallback.breaks {
        step("it is worse", || fleet.everywhere(hosts, |host| fleet.script(host, breaks)))?;
    }
    let rollout = step("rollback", || fleet.roll_back(site, &fallback.plan, hosts.len(), 0))?;
    step("it is well again", || fleet.everywhere(hosts, |host| fleet.script(host, &fallback.good)))?;
    step("undo", || fleet.undo(site, &rollout, hosts.len()))?;
    step("as it was before", || fleet.everywhere(hosts, |host| fleet.script(host, &fallback.bad)))
}

/// The bad version runs again, as was just proved, and one person is on call.
fn show_emergency(site: &Site, fleet: &Fleet, draft: &Path) -> Done {
    step("emergency", || fleet.emergency(site, draft, site.wanted()))?;
    step("it is out of danger", || {
        fleet.everywhere(&site.hosts, |host| fleet.script(host, site.after_emergency(host)))
    })
}

/// Says what is being done, and how long it took.
fn step<T>(what: &str, work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let began = Instant::now();
    let outcome = work();
    let said = if outcome.is_ok() { "ok" } else { "FAILED" };
    println!("   {what:<20}{:>7.1} s   {said}", began.elapsed().as_secs_f64());
    outcome
}

fn folder(name: &str) -> PathBuf {
    root().join("examples").join(name)
}
