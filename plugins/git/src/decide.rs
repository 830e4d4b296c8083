//! What git's answers mean. Pure.

use sternway_plugin::{Action, Finding, Risk, Verdict, Verification};

const NAMES_TOLD: usize = 5;

/// What `git status --porcelain=v2 --branch` says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    /// None before the first commit.
    pub(crate) commit: Option<String>,
    /// None when HEAD stands at a commit itself.
    pub(crate) branch: Option<String>,
    pub(crate) changed: Vec<String>,
    pub(crate) unknown: Vec<String>,
}

/// None when the answer is not whole.
pub(crate) fn status(text: &str) -> Option<Status> {
    let mut status = Status::default();
    let mut is_whole = false;
    for line in text.lines() {
        let mut words = line.splitn(3, ' ');
        match (words.next()?, words.next().unwrap_or_default(), words.next().unwrap_or_default()) {
            ("#", "branch.oid", commit) => {
                is_whole = true;
                status.commit = (commit != "(initial)").then(|| commit.to_owned());
            }
            ("#", "branch.head", branch) => {
                status.branch = (branch != "(detached)").then(|| branch.to_owned());
            }
            ("1" | "u", ..) => {
                let fields = if line.starts_with('u') { 10 } else { 8 };
                status.changed.push(line.splitn(fields + 1, ' ').last().unwrap_or_default().to_owned());
            }
            ("?", ..) => status.unknown.push(line[2..].to_owned()),
            _ => {}
        }
    }
    is_whole.then_some(status)
}

/// Names of settings by which a repository runs programs, or works elsewhere.
pub(crate) fn finding_on_settings(tree: &str, names: &str) -> Option<Finding> {
    let mut programs = Vec::new();
    for name in names.lines().map(str::to_ascii_lowercase) {
        let last = name.rsplit('.').next().unwrap_or_default().to_owned();
        if name.starts_with("filter.lfs.") {
            return Some(unsupported("git/lfs", tree, "keeps large files with LFS"));
        }
        if name.starts_with("submodule.") && last == "url" {
            return Some(unsupported("git/submodules", tree, "has submodules"));
        }
        if name == "core.worktree" || name == "extensions.worktreeconfig" {
            return Some(unsupported("git/elsewhere", tree, "keeps its files elsewhere, or its settings"));
        }
        let is_filter =
            name.starts_with("filter.") && matches!(last.as_str(), "clean" | "smudge" | "process");
        if is_filter || name.starts_with("include.") || name.starts_with("includeif.") {
            programs.push(name);
        }
    }
    (!programs.is_empty()).then(|| {
        let what = format!("has settings that may run programs: {}", told(&programs));
        unsupported("git/filters", tree, &what)
    })
}

fn unsupported(code: &str, tree: &str, what: &str) -> Finding {
    Finding::blocking(code, format!("the repository of {tree} {what}, which this plugin does not support"))
}

pub(crate) fn finding_on_attributes(tree: &str, files: &str) -> Option<Finding> {
    let names: Vec<String> = files.lines().map(str::to_owned).collect();
    (!names.is_empty()).then(|| {
        let what = format!("has filters for files, as LFS has ({})", told(&names));
        unsupported("git/lfs", tree, &what)
    })
}

pub(crate) fn finding_submodules(tree: &str) -> Finding {
    unsupported("git/submodules", tree, "has submodules at that commit")
}

pub(crate) fn finding_no_repository(tree: &str) -> Finding {
    Finding::blocking(
        "git/no-repository",
        format!("{tree} is no working tree with a `.git` folder of its own"),
    )
}

/// Without a revision that can be used people need to know which there are.
pub(crate) fn finding_choose(tree: &str, to: Option<&str>, tags: &str) -> Finding {
    let tags: Vec<String> = tags.lines().map(str::to_owned).collect();
    let choices = if tags.is_empty() {
        "there are no such tags".to_owned()
    } else {
        format!("the newest tags: {}", tags.join(", "))
    };
    match to {
        None => Finding::blocking("git/choose", format!("`to` is not set for {tree}; {choices}")),
        Some(to) => Finding::blocking("git/unknown-revision", format!("{tree} has no `{to}`; {choices}")),
    }
}

pub(crate) fn finding_not_in_commit(paths: &[String], to: &str) -> Finding {
    Finding::blocking("git/not-in-commit", format!("`{to}` does not hold {}", told(paths)))
}

pub(crate) fn finding_no_branch(tree: &str) -> Finding {
    Finding::blocking(
        "git/no-branch",
        format!("{tree} is on no branch that could be moved; set head = \"detach\""),
    )
}

pub(crate) fn finding_after_fetch(tree: &str, to: &str) -> Finding {
    Finding::note(
        "git/after-fetch",
        format!("{tree} may know `{to}` once it has fetched; it is resolved then"),
    )
}

pub(crate) fn finding_dirty(tree: &str, status: &Status) -> Option<Finding> {
    let (changed, unknown) = (status.changed.len(), status.unknown.len());
    (changed + unknown > 0).then(|| {
        let mut names = status.changed.clone();
        names.extend(status.unknown.iter().cloned());
        Finding::note(
            "git/dirty",
            format!(
                "{tree} has {changed} changed and {unknown} unknown files ({}); \
                 the tree as it is is kept beside as a copy that stays",
                told(&names)
            ),
        )
    })
}

pub(crate) fn finding_owner(tree: &str, owner: &str) -> Finding {
    Finding::note(
        "git/owner",
        format!(
            "{tree} belongs to {owner}: what git writes belongs to who runs it on this host; \
             set `owner`, or `run_as` of the power `git`"
        ),
    )
}

/// What the preview shows of a checkout.
pub(crate) struct Step<'a> {
    pub(crate) tree: &'a str,
    pub(crate) to: &'a str,
    pub(crate) before: &'a str,
    pub(crate) after: &'a str,
    pub(crate) head: String,
    /// Commits that go, commits that come.
    pub(crate) distance: (u64, u64),
    pub(crate) files: Vec<String>,
}

pub(crate) fn action(step: &Step<'_>) -> Action {
    let (gone, come) = step.distance;
    Action {
        summary: format!(
            "bring {} to {}: {} files differ ({})",
            step.tree,
            step.to,
            step.files.len(),
            told(&step.files)
        ),
        target: step.tree.to_owned(),
        before: Some(step.before.to_owned()),
        after: Some(format!("{}; {gone} commits back, {come} forth; {}", step.after, step.head)),
        risk: Risk::Low,
    }
}

pub(crate) fn release_action(folder: &str, link: Option<&str>, to: &str, after: &str) -> Action {
    let linked = link.map(|link| format!(", and lead {link} to it")).unwrap_or_default();
    Action {
        summary: format!("make {folder} of {to}{linked}"),
        target: folder.to_owned(),
        before: None,
        after: Some(after.to_owned()),
        risk: Risk::Low,
    }
}

/// Lines of `--name-status`: a letter, a tab, a name.
pub(crate) fn differing(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.split_once('\t')).map(|(_, name)| name.to_owned()).collect()
}

pub(crate) fn distance(text: &str) -> (u64, u64) {
    let mut numbers = text.split_whitespace().map(|word| word.parse().unwrap_or_default());
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default())
}

pub(crate) fn proof(name: String, measured: Option<&str>, expected: &str) -> Verification {
    let same = measured == Some(expected);
    Verification {
        message: if same { name.clone() } else { format!("not so: {name}") },
        name,
        verdict: if same { Verdict::Pass } else { Verdict::Fail },
        measured: Some(measured.unwrap_or("nothing there").to_owned()),
        expected: Some(expected.to_owned()),
    }
}

fn told(names: &[String]) -> String {
    let first = names.iter().take(NAMES_TOLD).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_TOLD) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_as_git_writes_it() {
        let text = "# branch.oid 1234\n# branch.head main\n# branch.ab +1 -0\n\
                    1 .M N... 100644 100644 100644 aa bb a file.py\n\
                    u UU N... 100644 100644 100644 100644 aa bb cc both.py\n? new/\n";
        let read = status(text).unwrap();
        assert_eq!(read.commit.as_deref(), Some("1234"));
        assert_eq!(read.branch.as_deref(), Some("main"));
        assert_eq!(read.changed, ["a file.py", "both.py"]);
        assert_eq!(read.unknown, ["new/"]);
        assert_eq!(status("1 .M cut off"), None);
        let fresh = status("# branch.oid (initial)\n# branch.head (detached)\n").unwrap();
        assert_eq!((fresh.commit, fresh.branch), (None, None));
    }

    #[test]
    fn what_could_run_programs_or_work_elsewhere_is_refused_by_name() {
        for (names, code) in [
            ("core.bare\nfilter.lfs.smudge", "git/lfs"),
            ("submodule.lib.url", "git/submodules"),
            ("core.worktree", "git/elsewhere"),
            ("filter.crypt.clean", "git/filters"),
            ("include.path", "git/filters"),
            ("includeIf.gitdir:x.path", "git/filters"),
        ] {
            let finding = finding_on_settings("/a", names).unwrap();
            assert_eq!((finding.code.as_str(), finding.blocking), (code, true), "{names}");
        }
        assert_eq!(finding_on_settings("/a", "core.bare\nremote.origin.url\nsubmodule.active"), None);
    }

    #[test]
    fn without_a_revision_the_choices_are_told() {
        let finding = finding_choose("/a", None, "backup-2 2026-01-02\nbackup-1 2026-01-01\n");
        assert!(finding.message.ends_with("the newest tags: backup-2 2026-01-02, backup-1 2026-01-01"));
        assert!(finding_choose("/a", Some("x"), "").message.ends_with("there are no such tags"));
    }
}
