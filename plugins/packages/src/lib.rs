//! `packages`: brings Debian packages to pinned versions and holds them there.
//! What changes along with them is seen in a simulation first; archives of the
//! new versions and of those to go back to are fetched before anything changes.

mod decide;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sternway_plugin::host::programs::{self, Call, Ended, Hole};
use sternway_plugin::{
    Class, Error, Failure, IntoFailure, Looked, Manifest, Mode, Outcome, Plugin, Power, Prepared,
    Reversibility, Step, Verification, memory,
};

use crate::decide::{Before, Settings, Versions};

const ASK_TIMEOUT_MS: u64 = 60_000;
const CHANGE_TIMEOUT_MS: u64 = 1_800_000;

/// The plugin.
#[derive(Debug)]
pub struct Packages;

/// What stood before, and all versions that stand afterwards.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    before: Before,
    after: Versions,
}

impl Plugin for Packages {
    type Settings = Settings;
    type State = State;

    fn manifest() -> Manifest {
        Manifest {
            name: "packages".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "brings Debian packages to pinned versions and holds them".into(),
            settings_schema: include_str!("../settings.schema.json").into(),
            modes: vec![Mode {
                setting: "install".into(),
                class: Class::Converge,
                reversibility: Reversibility::Reversible,
                summary: "installs these versions and holds them".into(),
            }],
            powers: vec![Power {
                name: "packages".into(),
                scope_from: vec!["install".into()],
                reason: "installs, removes and holds packages, and runs their scripts".into(),
            }],
            default_timeout_ms: 3_600_000,
        }
    }

    fn look(on: &Step<Settings>) -> Result<Looked<State>, Error> {
        let wanted = on.settings.wanted()?;
        let mut looked = Looked { findings: vec![], actions: vec![], state: State::default() };
        let names: Vec<String> = wanted.keys().cloned().collect();
        if !is_whole(&names)? {
            looked.findings.push(decide::finding_interrupted());
        }
        let now = versions(&names)?;
        let mut available = decide::available(&text(ask("packages.available", &names, &[])?)?);
        for (name, version) in &wanted {
            let known = available.get(name).map(Vec::as_slice).unwrap_or_default();
            if !known.contains(version) && now.get(name).and_then(Option::as_ref) != Some(version) {
                looked.findings.push(decide::finding_unavailable(name, version, known));
            }
        }
        if looked.findings.iter().any(|finding| finding.blocking) {
            return Ok(looked);
        }
        let after: Versions =
            wanted.iter().map(|(name, version)| (name.clone(), Some(version.clone()))).collect();
        let simulation = ask("packages.simulate", &names, &[("pins", &decide::pins(&after))])?;
        if simulation.code != Some(0) {
            looked.findings.push(decide::finding_refused(&simulation.complaint));
            return Ok(looked);
        }
        let changes = decide::simulated(&String::from_utf8_lossy(&simulation.output));
        looked.actions =
            changes.iter().map(|change| decide::action(change, wanted.contains_key(&change.name))).collect();
        if !on.settings.may_remove {
            looked.findings.extend(decide::finding_removes(&changes, &wanted));
        }
        let mut state = State { before: Before { versions: now, ..Before::default() }, after };
        for change in changes {
            state.before.versions.entry(change.name.clone()).or_insert(change.before);
            state.after.insert(change.name, change.after);
        }
        let all: Vec<String> = state.after.keys().cloned().collect();
        available.extend(decide::available(&text(ask("packages.available", &all, &[])?)?));
        let leaving: Versions = state
            .before
            .versions
            .iter()
            .filter(|(name, version)| state.after.get(*name) != Some(*version))
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect();
        looked.findings.extend(decide::findings_no_way_back(&leaving, &available));
        state.before.held = marked("packages.holds", &all)?;
        state.before.automatic = marked("packages.automatic", &all)?;
        looked.state = state;
        Ok(looked)
    }

    fn prepare(_on: &Step<Settings>, seen: State) -> Result<Prepared<State>, Error> {
        let state: State = memory::once("prepare", || {
            let names: Vec<String> = seen.after.keys().cloned().collect();
            for versions in [&seen.after, &seen.before.versions] {
                let pins = decide::pins(versions);
                if !pins.is_empty() && seen.after != seen.before.versions {
                    whole(
                        "packages.download",
                        programs::stage(&call(
                            "packages.download",
                            &names,
                            &[("pins", &pins)],
                            CHANGE_TIMEOUT_MS,
                        ))?,
                    )?;
                }
            }
            Ok::<State, Error>(seen)
        })?;
        let summary = format!("{} packages fetched", state.after.len());
        Ok(Prepared { summary, state })
    }

    fn apply(on: &Step<Settings>, state: State) -> Result<Outcome<State>, Failure> {
        let wanted = on.settings.wanted()?;
        let names: Vec<String> = state.after.keys().cloned().collect();
        let asked: Vec<String> = wanted.keys().cloned().collect();
        let began: Option<bool> = memory::recall("began")?;
        if began.is_none() {
            if versions(&names)? != state.before.versions || follow(&wanted)? != state.after {
                let message = "packages were changed by somebody else since this was prepared";
                return Err(Error::conflict("packages/changed-since", message).hands_off());
            }
            memory::keep("began", &true)?;
        }
        settle("apply", &names)?;
        let changed = versions(&names)? != state.after;
        // Only what is asked for is pinned: the rest follows, and stays automatic.
        let pins: Vec<String> = wanted.iter().map(|(name, version)| format!("{name}={version}")).collect();
        until(
            "the packages are as the preview said",
            || Ok(versions(&names)? == state.after),
            || run("install", "packages.install", &names, &[("pins", &pins)]),
        )?;
        mark("apply", "auto", &state.before.automatic, &names)?;
        if on.settings.holds() {
            mark("apply", "hold", &asked.into_iter().collect(), &names)?;
        }
        Ok(Outcome { changed, summary: format!("{} packages as pinned", wanted.len()), state })
    }

    fn verify(on: &Step<Settings>, _state: State) -> Result<Vec<Verification>, Error> {
        let wanted = on.settings.wanted()?;
        let names: Vec<String> = wanted.keys().cloned().collect();
        let now = versions(&names)?;
        let mut proofs: Vec<Verification> = wanted
            .iter()
            .map(|(name, version)| decide::proof(name, now.get(name).and_then(Option::as_deref), version))
            .collect();
        if on.settings.holds() {
            let held = marked("packages.holds", &names)?;
            proofs
                .push(decide::proof_of("all of them are held", names.iter().all(|name| held.contains(name))));
        }
        proofs.push(decide::proof_of("dpkg left nothing half done", is_whole(&names)?));
        Ok(proofs)
    }

    fn undo(_on: &Step<Settings>, state: State) -> Result<Outcome<State>, Failure> {
        if memory::recall::<bool>("began")?.is_none() {
            return Ok(Outcome { changed: false, summary: "no package was touched".into(), state });
        }
        let names: Vec<String> = state.before.versions.keys().cloned().collect();
        settle("undo", &names)?;
        let before = &state.before;
        let pins = decide::pins(&before.versions);
        let is_back = |now: &Versions| {
            before.versions.iter().all(|(name, version)| version.is_none() || now[name] == *version)
        };
        until(
            "the packages are at their versions of before",
            || Ok(is_back(&versions(&names)?)),
            || run("install back", "packages.install", &names, &[("pins", &pins)]),
        )?;
        until(
            "what came new is gone",
            || Ok(versions(&names)? == before.versions),
            || {
                let now = versions(&names)?;
                let is_new = |name: &&String| before.versions[*name].is_none() && now[*name].is_some();
                let new: Vec<String> = names.iter().filter(is_new).cloned().collect();
                run("remove again", "packages.remove", &new, &[])
            },
        )?;
        let installed: Vec<String> =
            names.iter().filter(|name| before.versions[*name].is_some()).cloned().collect();
        let all: BTreeSet<String> = installed.iter().cloned().collect();
        for (set, clear, was) in [("hold", "unhold", &before.held), ("auto", "manual", &before.automatic)] {
            mark("undo", set, was, &names)?;
            mark("undo", clear, &all.difference(was).cloned().collect(), &names)?;
        }
        Ok(Outcome { changed: true, summary: "the packages are as before".into(), state })
    }
}

fn pinned(wanted: &BTreeMap<String, String>) -> Versions {
    wanted.iter().map(|(name, version)| (name.clone(), Some(version.clone()))).collect()
}

/// All that stands afterwards, as a simulation of now tells it.
fn follow(wanted: &BTreeMap<String, String>) -> Result<Versions, Error> {
    let mut after = pinned(wanted);
    let names: Vec<String> = wanted.keys().cloned().collect();
    let told = text(ask("packages.simulate", &names, &[("pins", &decide::pins(&after))])?)?;
    after.extend(decide::simulated(&told).into_iter().map(|change| (change.name, change.after)));
    Ok(after)
}

/// Finishes what dpkg was interrupted in, by this step or before it.
fn settle(phase: &str, names: &[String]) -> Result<(), Error> {
    let name = format!("{phase} configure");
    until("dpkg left nothing half done", || is_whole(names), || run(&name, "packages.configure", names, &[]))
}

/// Puts a mark on all of `which` that do not have it.
fn mark(phase: &str, how: &str, which: &BTreeSet<String>, names: &[String]) -> Result<(), Error> {
    let form = if matches!(how, "hold" | "unhold") { "packages.holds" } else { "packages.automatic" };
    let is_set = matches!(how, "hold" | "auto");
    let open = || -> Result<Vec<String>, Error> {
        let marked = marked(form, names)?;
        Ok(which.iter().filter(|name| marked.contains(*name) != is_set).cloned().collect())
    };
    until(
        "the packages are marked",
        || Ok(open()?.is_empty()),
        || run(&format!("{phase} {how}"), "packages.mark", &open()?, &[("how", &[how.to_owned()])]),
    )
}

/// Acts until it is so. What a program answers may be the end of an earlier
/// try, before a crash; the second time it is a new one.
fn until(
    claim: &str,
    is_so: impl Fn() -> Result<bool, Error>,
    act: impl Fn() -> Result<(), Error>,
) -> Result<(), Error> {
    for _ in 0..2 {
        if is_so()? {
            return Ok(());
        }
        act()?;
    }
    if is_so()? { Ok(()) } else { Err(Error::failed("packages/otherwise", format!("not so: {claim}"))) }
}

/// Carries out what changes something. A try of which a crash left no word is
/// found again under its key; one that is known to have failed gets a new key.
fn run(name: &str, form: &str, names: &[String], holes: &[(&str, &[String])]) -> Result<(), Error> {
    let row = format!("tries of {name}");
    let tries: u32 = memory::recall(&row)?.unwrap_or_default();
    let asked = call(form, names, holes, CHANGE_TIMEOUT_MS);
    match programs::run(&format!("{name} {tries}"), &asked).and_then(|ended| whole(form, ended)) {
        Ok(_) => Ok(memory::keep(&row, &(tries + 1))?),
        Err(error) => {
            memory::keep(&row, &(tries + 1))?;
            Err(error)
        }
    }
}

fn versions(names: &[String]) -> Result<Versions, Error> {
    let ended = ask("packages.installed", names, &[])?;
    if !matches!(ended.code, Some(0 | 1)) {
        return Err(decide::error_of("packages.installed", ended.code, &ended.complaint));
    }
    Ok(decide::installed(names, &String::from_utf8_lossy(&ended.output)))
}

fn is_whole(names: &[String]) -> Result<bool, Error> {
    Ok(ask("packages.audit", names, &[])?.output.trim_ascii().is_empty())
}

fn marked(form: &str, names: &[String]) -> Result<BTreeSet<String>, Error> {
    Ok(decide::names(&text(ask(form, names, &[])?)?))
}

fn text(ended: Ended) -> Result<String, Error> {
    Ok(String::from_utf8_lossy(&whole("asked", ended)?.output).into_owned())
}

fn whole(form: &str, ended: Ended) -> Result<Ended, Error> {
    match ended.code {
        Some(0) => Ok(ended),
        code => Err(decide::error_of(form, code, &ended.complaint)),
    }
}

fn ask(form: &str, names: &[String], holes: &[(&str, &[String])]) -> Result<Ended, Error> {
    programs::ask(&call(form, names, holes, ASK_TIMEOUT_MS))
}

/// The first name is the scope; forms that have a hole for names get them all.
fn call(form: &str, names: &[String], holes: &[(&str, &[String])], timeout_ms: u64) -> Call {
    let mut filled: Vec<Hole> = holes
        .iter()
        .map(|(name, values)| Hole { name: (*name).to_owned(), values: values.to_vec() })
        .collect();
    let has_pins = holes.iter().any(|(name, _)| *name == "pins");
    if !has_pins && !matches!(form, "packages.audit" | "packages.configure") {
        filled.push(Hole { name: "names".to_owned(), values: names.to_vec() });
    }
    Call { form: form.to_owned(), on: names.first().cloned().unwrap_or_default(), holes: filled, timeout_ms }
}

sternway_plugin::export_plugin!(Packages);
