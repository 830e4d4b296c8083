//! `git`: brings a working tree, or single paths of it, back to a commit; or
//! makes a release folder of a commit and leads a link to it. Git only ever
//! works on a copy beside; the copy and the tree change places in one step, and
//! the old tree, with all that was changed in it, waits aside for undo.

mod ask;
mod decide;
mod settings;

use serde::{Deserialize, Serialize};
use sternway_plugin::exchange;
use sternway_plugin::host::control;
use sternway_plugin::host::files::{self, Node, Place};
use sternway_plugin::{
    Class, Error, Failure, Finding, Kind, Looked, Manifest, Mode, Outcome, Plugin, Power, Prepared,
    Reversibility, Step, Verification, memory, recopy,
};

use crate::ask::{own, tree_hole};
use crate::decide::Status;
use crate::settings::{Deed, Head, Settings, Task};

const CONFIG_NAME: &str = ".git/config";

/// The plugin.
#[derive(Debug)]
pub struct Git;

/// What `look` found.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// The commit to go to; none when only a fetch can tell.
    commit: Option<String>,
    /// Whether the tree holds what no commit holds.
    is_dirty: bool,
    /// Digests of what is staged: tree or release, and link.
    to: Option<String>,
    link_to: Option<String>,
}

impl Plugin for Git {
    type Settings = Settings;
    type State = State;

    fn manifest() -> Manifest {
        Manifest {
            name: "git".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "brings a working tree, or single paths of it, back to a commit".into(),
            settings_schema: include_str!("../settings.schema.json").into(),
            modes: vec![
                mode("checkout", "brings a working tree to a commit"),
                mode("release", "makes a folder of a commit and leads a link to it"),
            ],
            powers: vec![
                Power {
                    name: "files".into(),
                    scope_from: ["checkout", "release", "from", "link"].map(String::from).to_vec(),
                    reason: "copies and replaces these trees and links".into(),
                },
                Power {
                    name: "git".into(),
                    scope_from: vec!["checkout".into(), "from".into()],
                    reason: "asks these repositories, and checks out in copies of them".into(),
                },
            ],
            default_timeout_ms: 900_000,
        }
    }

    fn look(on: &Step<Settings>) -> Result<Looked<State>, Error> {
        let task = on.settings.task()?;
        let mut looked = Looked { findings: vec![], actions: vec![], state: State::default() };
        match look_at_repository(&task)? {
            Ok(status) => look_at_revision(&task, &status, &mut looked)?,
            Err(finding) => looked.findings.push(finding),
        }
        Ok(looked)
    }

    fn prepare(on: &Step<Settings>, seen: State) -> Result<Prepared<State>, Error> {
        let task = on.settings.task()?;
        let state: State = memory::once("prepare", || stage(&task, seen))?;
        let commit = state.commit.as_deref().unwrap_or_default();
        let summary = format!("{} staged beside at {}", task.place(), short(commit));
        Ok(Prepared { summary, state })
    }

    fn apply(on: &Step<Settings>, mut state: State) -> Result<Outcome<State>, Failure> {
        let task = on.settings.task()?;
        go_on(task.place())?;
        let changed = match &task.deed {
            Deed::Checkout { .. } | Deed::Paths(_) => {
                let mut commit = state.commit.clone();
                let (now, changed) = recopy::put(&task.tree, || change(&task, &mut commit))?;
                (state.to, state.commit) = (Some(now), commit);
                changed
            }
            Deed::Release { folder, link } => {
                let made = exchange::put(folder, Some(staged(state.to.as_deref())?))?;
                let led = match link {
                    Some(link) => exchange::put(link, Some(staged(state.link_to.as_deref())?))?,
                    None => false,
                };
                made || led
            }
        };
        let commit = state.commit.as_deref().unwrap_or_default();
        Ok(Outcome { changed, summary: format!("{} is at {}", task.place(), short(commit)), state })
    }

    fn verify(on: &Step<Settings>, state: State) -> Result<Vec<Verification>, Error> {
        let task = on.settings.task()?;
        let commit = state.commit.as_deref().unwrap_or_default();
        let mut proofs = Vec::new();
        let digest = exchange::digest(Place::Live, task.place())?;
        let name = format!("{} is as it was staged", task.place());
        proofs.push(decide::proof(name, digest.as_deref(), state.to.as_deref().unwrap_or_default()));
        match &task.deed {
            Deed::Checkout { .. } => {
                let status = status_of(&task.tree)?;
                let name = format!("{} stands at {}", task.tree, short(commit));
                proofs.push(decide::proof(name, status.commit.as_deref(), commit));
                let name = format!("no file of {} differs from its commit", task.tree);
                proofs.push(decide::proof(name, Some(&status.changed.len().to_string()), "0"));
            }
            Deed::Paths(_) => {}
            Deed::Release { link: None, .. } => {}
            Deed::Release { folder, link: Some(link) } => {
                let digest = exchange::digest(Place::Live, link)?;
                let expected = state.link_to.as_deref().unwrap_or_default();
                proofs.push(decide::proof(format!("{link} leads to {folder}"), digest.as_deref(), expected));
            }
        }
        Ok(proofs)
    }

    fn undo(on: &Step<Settings>, state: State) -> Result<Outcome<State>, Failure> {
        let task = on.settings.task()?;
        let mut changed = false;
        if let Deed::Release { link: Some(link), .. } = &task.deed {
            changed |= exchange::put_back(link)?;
        }
        changed |= exchange::put_back(task.place())?;
        let how = if changed { "put back" } else { "was not changed" };
        Ok(Outcome { changed, summary: format!("{} {how}", task.place()), state })
    }
}

impl Task {
    /// What holds something else afterwards.
    fn place(&self) -> &str {
        match &self.deed {
            Deed::Checkout { .. } | Deed::Paths(_) => &self.tree,
            Deed::Release { folder, .. } => folder,
        }
    }
}

fn look_at_repository(task: &Task) -> Result<Result<Status, Finding>, Error> {
    let tree = &task.tree;
    let config = format!("{tree}/{CONFIG_NAME}");
    let is_plain = match files::get_attributes(Place::Live, &config) {
        Ok(found) => found.is_some_and(|found| found.node == Node::File),
        // `.git` is a file that leads elsewhere.
        Err(error) if matches!(error.kind, Kind::NotFound | Kind::Conflict) => false,
        Err(error) => return Err(error),
    };
    if !is_plain || files::get_attributes(Place::Live, &format!("{tree}/.git/commondir"))?.is_some() {
        return Ok(Err(decide::finding_no_repository(tree)));
    }
    let (_, names) = ask::ask("git.settings", tree, &[("config", &own(&config))], &[0])?;
    if let Some(finding) = decide::finding_on_settings(tree, &names) {
        return Ok(Err(finding));
    }
    status_of(tree).map(Ok)
}

fn status_of(tree: &str) -> Result<Status, Error> {
    let (_, text) = ask::ask("git.status", tree, &[tree_hole(&own(tree))], &[0])?;
    decide::status(&text).ok_or_else(|| {
        Error::failed("git/too-dirty", format!("{tree} has more changed files than can be told"))
    })
}

fn look_at_revision(task: &Task, status: &Status, looked: &mut Looked<State>) -> Result<(), Error> {
    let tree = &task.tree;
    let is_fetching = matches!(&task.deed, Deed::Checkout { fetch: Some(_), .. });
    let commit = match &task.to {
        Some(to) => ask::resolve(tree, to)?,
        None => None,
    };
    if let (Deed::Checkout { head: Head::Branch, .. }, None) = (&task.deed, &status.branch) {
        looked.findings.push(decide::finding_no_branch(tree));
    }
    if !matches!(task.deed, Deed::Release { .. }) {
        looked.state.is_dirty = !(status.changed.is_empty() && status.unknown.is_empty());
        looked.findings.extend(decide::finding_dirty(tree, status));
        let top = files::get_attributes(Place::Live, tree)?;
        let owner = top.map(|top| top.owner).filter(|owner| owner != "root" && task.ownership.is_none());
        looked.findings.extend(owner.map(|owner| decide::finding_owner(tree, &owner)));
    }
    match (commit, &task.to) {
        // What the remote calls so now may be another commit.
        (_, Some(to)) if is_fetching => looked.findings.push(decide::finding_after_fetch(tree, to)),
        (Some(commit), Some(to)) => {
            looked.findings.extend(findings_on_commit(task, to, &commit)?);
            look_at_difference(task, status, to, &commit, looked)?;
            looked.state.commit = Some(commit);
        }
        (_, to) => {
            let (_, tags) =
                ask::ask("git.tags", tree, &[tree_hole(&own(tree)), ("tags", &own(&task.tags))], &[0])?;
            looked.findings.push(decide::finding_choose(tree, to.as_deref(), &tags));
        }
    }
    Ok(())
}

/// What speaks against a commit that is there.
fn findings_on_commit(task: &Task, to: &str, commit: &str) -> Result<Vec<Finding>, Error> {
    let (tree, at) = (own(&task.tree), own(commit));
    let mut findings = Vec::new();
    let (code, names) =
        ask::ask("git.large-files", &task.tree, &[tree_hole(&tree), ("commit", &at)], &[0, 1])?;
    if code == 0 {
        findings.extend(decide::finding_on_attributes(&task.tree, &names));
    }
    let holds = |paths: &[String]| -> Result<Vec<String>, Error> {
        let holes = [tree_hole(&tree), ("commit", at.as_slice()), ("paths", paths)];
        let (_, names) = ask::ask("git.names", &task.tree, &holes, &[0])?;
        Ok(names.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect())
    };
    if !holds(&[".gitmodules".to_owned()])?.is_empty() {
        findings.push(decide::finding_submodules(&task.tree));
    }
    if let Deed::Paths(paths) = &task.deed {
        let there = holds(paths)?;
        let missing: Vec<String> = paths.iter().filter(|path| !there.contains(path)).cloned().collect();
        if !missing.is_empty() {
            findings.push(decide::finding_not_in_commit(&missing, to));
        }
    }
    Ok(findings)
}

fn look_at_difference(
    task: &Task,
    status: &Status,
    to: &str,
    commit: &str,
    looked: &mut Looked<State>,
) -> Result<(), Error> {
    let (tree, new) = (own(&task.tree), own(commit));
    let subject = |commit: &[String; 1]| {
        let holes = [tree_hole(&tree), ("commit", commit.as_slice())];
        ask::ask("git.subject", &task.tree, &holes, &[0]).map(|(_, text)| text.trim().to_owned())
    };
    let after = subject(&new)?;
    if let Deed::Release { folder, link } = &task.deed {
        looked.actions.push(decide::release_action(folder, link.as_deref(), to, &after));
        return Ok(());
    }
    let Some(head) = &status.commit else { return Ok(()) };
    let old = own(head);
    let pair = [tree_hole(&tree), ("from", old.as_slice()), ("to", new.as_slice())];
    let (_, distance) = ask::ask("git.distance", &task.tree, &pair, &[0])?;
    let paths: &[String] = if let Deed::Paths(paths) = &task.deed { paths } else { &[] };
    let all = [pair[0], pair[1], pair[2], ("paths", paths)];
    let (_, differing) = ask::ask("git.differences", &task.tree, &all, &[0])?;
    let at = status.branch.as_ref().map_or_else(|| "on no branch".to_owned(), |name| format!("on {name}"));
    looked.actions.push(decide::action(&decide::Step {
        tree: &task.tree,
        to,
        before: &format!("{}, {at}", subject(&old)?),
        after: &after,
        head: match &task.deed {
            Deed::Checkout { head: Head::Detach, .. } => "on no branch (detached)".to_owned(),
            Deed::Checkout { head: Head::Branch, .. } => format!("{at}, which moves"),
            _ => format!("{at} as before, these paths changed"),
        },
        distance: decide::distance(&distance),
        files: decide::differing(&differing),
    }));
    Ok(())
}

fn stage(task: &Task, seen: State) -> Result<State, Error> {
    let mut state = seen;
    go_on(task.place())?;
    match &task.deed {
        Deed::Checkout { .. } | Deed::Paths(_) => {
            if state.is_dirty {
                files::keep_copy(&task.tree)?;
            }
            let mut commit = state.commit.clone();
            state.to = Some(recopy::stage(&task.tree, || change(task, &mut commit))?);
            state.commit = commit;
        }
        Deed::Release { folder, link } => {
            let commit = own(staged(state.commit.as_deref())?);
            let (tree, release) = (own(&task.tree), own(folder));
            // The archive waits where the side copy of the tree would be, which nobody needs.
            files::discard(folder)?;
            files::discard(&task.tree)?;
            let archive = ("archive", tree.as_slice());
            ask::stage("git.archive", &task.tree, &[tree_hole(&tree), ("commit", &commit), archive])?;
            ask::stage("git.extract", &task.tree, &[archive, ("release", &release)])?;
            files::discard(&task.tree)?;
            if let Some(ownership) = &task.ownership {
                files::stage_ownership(folder, ownership)?;
            }
            state.to = exchange::digest(Place::Side, folder)?;
            if let Some(link) = link {
                state.link_to = Some(files::stage_link(link, folder)?.sha256);
            }
        }
    }
    Ok(state)
}

/// What the side copy of the tree gets.
fn change(task: &Task, commit: &mut Option<String>) -> Result<(), Error> {
    let tree = own(&task.tree);
    if let Deed::Checkout { fetch: Some(remote), .. } = &task.deed {
        ask::stage("git.fetch", &task.tree, &[tree_hole(&tree), ("remote", &own(remote))])?;
        if commit.is_none() {
            let to = task.to.as_deref().unwrap_or_default();
            let found = ask::resolve_staged(&task.tree, to)?;
            refuse_unsupported(task, &found)?;
            *commit = Some(found);
        }
    }
    let at = own(staged(commit.as_deref())?);
    match &task.deed {
        Deed::Checkout { head, clean, .. } => {
            let form = if *head == Head::Detach { "git.checkout" } else { "git.reset" };
            ask::stage(form, &task.tree, &[tree_hole(&tree), ("commit", &at)])?;
            if *clean {
                ask::stage("git.clean", &task.tree, &[tree_hole(&tree)])?;
            }
        }
        Deed::Paths(paths) => {
            ask::stage("git.restore", &task.tree, &[tree_hole(&tree), ("commit", &at), ("paths", paths)])?;
        }
        Deed::Release { .. } => {}
    }
    if let Some(ownership) = &task.ownership {
        files::stage_ownership(&task.tree, ownership)?;
    }
    Ok(())
}

/// For a commit that only the fetch brought.
fn refuse_unsupported(task: &Task, commit: &str) -> Result<(), Error> {
    let (tree, at) = (own(&task.tree), own(commit));
    let modules = own(".gitmodules");
    let holes = [tree_hole(&tree), ("commit", at.as_slice()), ("paths", modules.as_slice())];
    let has_modules = !ask::stage("git.names-staged", &task.tree, &holes)?.is_empty();
    let names = ask::stage_any("git.large-files-staged", &task.tree, &holes[..2])?;
    let finding = decide::finding_on_attributes(&task.tree, &names)
        .or_else(|| has_modules.then(|| decide::finding_submodules(&task.tree)));
    match finding {
        Some(finding) => Err(Error::unsupported(&finding.code, finding.message)),
        None => Ok(()),
    }
}

fn staged(what: Option<&str>) -> Result<&str, Error> {
    what.ok_or_else(|| Error::invalid("git/not-prepared", "nothing was staged"))
}

fn go_on(path: &str) -> Result<(), Error> {
    if control::cancelled() {
        return Err(Error::cancelled(format!("stopped before {path}")));
    }
    Ok(())
}

fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

fn mode(setting: &str, summary: &str) -> Mode {
    Mode {
        setting: setting.into(),
        class: Class::StagedSwap,
        reversibility: Reversibility::Reversible,
        summary: summary.into(),
    }
}

sternway_plugin::export_plugin!(Git);
