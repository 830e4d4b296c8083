//! What the settings and the facts of the host mean. Pure.

use sternway_plugin::{Action, Finding, Risk, Verdict, Verification};

use crate::settings::{Change, Task, Unpack};

/// The most names a finding or an action tells.
const NAMES_TOLD: usize = 5;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

pub(crate) fn finding_without_point(task: &Task) -> Option<Finding> {
    (!task.restore.is_empty())
        .then(|| Finding::blocking("files/no-point", "there is no rollback point to restore files from"))
}

pub(crate) fn finding_not_in_point(path: &str, point: &str) -> Finding {
    Finding::blocking("files/not-in-point", format!("point {point} holds nothing at {path}"))
}

pub(crate) fn finding_on_remove(path: &str, there: bool, in_point: Option<u64>) -> Option<Finding> {
    match (in_point, there) {
        (Some(_), _) => Some(Finding::blocking(
            "files/comes-back",
            format!("{path} is to be removed, but the point holds it: restoring would bring it back"),
        )),
        (None, false) => Some(Finding::note("files/gone-already", format!("{path} is not there"))),
        (None, true) => None,
    }
}

pub(crate) fn restoration(path: &str, live: Option<&Held>, entries: u64, point: &str) -> Action {
    Action {
        summary: format!("restore {path}"),
        target: path.to_owned(),
        before: live.map(describe),
        after: Some(format!("{} from point {point}", count(entries))),
        risk: Risk::Low,
    }
}

pub(crate) fn removal(path: &str, live: &Held) -> Action {
    Action {
        summary: format!("take {path} away"),
        target: path.to_owned(),
        before: Some(describe(live)),
        after: None,
        risk: Risk::Low,
    }
}

pub(crate) fn proof_of_restore(path: &str, live: Option<&str>, staged: &str) -> Verification {
    let same = live == Some(staged);
    Verification {
        name: format!("{path} is as restored"),
        verdict: if same { Verdict::Pass } else { Verdict::Fail },
        measured: Some(live.map_or_else(|| "nothing there".to_owned(), short)),
        expected: Some(short(staged)),
        message: if same {
            format!("{path} holds what was staged")
        } else {
            format!("{path} does not hold what was staged")
        },
    }
}

pub(crate) fn proof_of_removal(path: &str, there: bool) -> Verification {
    Verification {
        name: format!("{path} is gone"),
        verdict: if there { Verdict::Fail } else { Verdict::Pass },
        measured: Some(if there { "there" } else { "gone" }.to_owned()),
        expected: Some("gone".to_owned()),
        message: if there { format!("{path} is there again") } else { format!("{path} is gone") },
    }
}

pub(crate) fn finding_no_archive(unpack: &Unpack) -> Finding {
    Finding::blocking("files/no-archive", format!("{} is not there or is no file", unpack.archive))
}

pub(crate) fn finding_other_archive(unpack: &Unpack, found: &str) -> Finding {
    Finding::blocking("files/other-archive", format!("{} has {found}", unpack.archive))
}

pub(crate) fn unpacking(unpack: &Unpack, live: Option<&Held>, bytes: u64) -> Action {
    Action {
        summary: format!("unpack {} into {}", unpack.archive, unpack.path),
        target: unpack.path.clone(),
        before: live.map(describe),
        after: Some(format!("what {} holds, an archive of {bytes} bytes", unpack.archive)),
        risk: Risk::Low,
    }
}

pub(crate) fn finding_no_tree(path: &str) -> Finding {
    Finding::blocking("files/no-tree", format!("{path} is not there or is no directory"))
}

/// What a copy with its change comes to: something to do, or a finding.
/// `is_begun`: an earlier try of this step was here.
pub(crate) fn copy(path: &str, change: &Change, names: &[String], is_begun: bool) -> Result<Action, Finding> {
    match change {
        Change::PutBack(suffix) if names.is_empty() && is_begun => Err(Finding::note(
            "files/put-back-already",
            format!("nothing in {path} ends with {suffix} any more"),
        )),
        Change::PutBack(suffix) if names.is_empty() => Err(Finding::blocking(
            "files/no-copies",
            format!("nothing in {path} ends with {suffix}: there is nothing to put back"),
        )),
        Change::Clear(endings) if names.is_empty() => Err(Finding::note(
            "files/clear-already",
            format!("nothing in {path} ends with {}", endings.join(" or ")),
        )),
        Change::PutBack(suffix) => Ok(Action {
            summary: format!("put {} back in {path}", counted(names.len(), "kept copy", "kept copies")),
            target: path.to_owned(),
            before: Some(told(names)),
            after: Some(format!("each in the place of its name without {suffix}, none left over")),
            risk: Risk::Low,
        }),
        Change::Clear(_) => Ok(Action {
            summary: format!("clear {} from {path}", counted(names.len(), "name", "names")),
            target: path.to_owned(),
            before: Some(told(names)),
            after: None,
            risk: Risk::Low,
        }),
    }
}

pub(crate) fn finding_no_target(link: &str, target: &str) -> Finding {
    Finding::blocking("files/no-target", format!("{link} would lead nowhere: {target} is not there"))
}

pub(crate) fn finding_no_link(link: &str) -> Finding {
    Finding::blocking("files/not-a-link", format!("{link} is there and is no symbolic link"))
}

pub(crate) fn linking(link: &str, target: &str, is_there: bool) -> Action {
    Action {
        summary: format!("lead {link} to {target}"),
        target: link.to_owned(),
        before: is_there.then(|| "a link that may lead elsewhere".to_owned()),
        after: Some(format!("a link to {target}")),
        risk: Risk::Low,
    }
}

pub(crate) fn proof_of_none_left(path: &str, left: &[String]) -> Verification {
    Verification {
        name: format!("nothing is left over in {path}"),
        verdict: if left.is_empty() { Verdict::Pass } else { Verdict::Fail },
        measured: Some(counted(left.len(), "name", "names")),
        expected: Some("0 names".to_owned()),
        message: if left.is_empty() {
            format!("{path} holds no such name any more")
        } else {
            format!("{path} still holds {}", told(left))
        },
    }
}

fn told(names: &[String]) -> String {
    let first = names.iter().take(NAMES_TOLD).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_TOLD) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn describe(held: &Held) -> String {
    format!("{}, {} bytes, {}", count(held.entries), held.bytes, short(&held.sha256))
}

fn count(entries: u64) -> String {
    if entries == 1 { "1 entry".to_owned() } else { format!("{entries} entries") }
}

fn short(sha256: &str) -> String {
    format!("sha256 {}", sha256.get(..12).unwrap_or(sha256))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(json: &str) -> Task {
        serde_json::from_str::<crate::settings::Settings>(json).unwrap().task().unwrap()
    }

    #[test]
    fn what_a_restore_would_bring_back_cannot_be_removed() {
        assert!(finding_on_remove("/a/b", true, Some(3)).unwrap().blocking);
        assert!(!finding_on_remove("/a/b", false, None).unwrap().blocking);
        assert_eq!(finding_on_remove("/a/b", true, None), None);
    }

    #[test]
    fn only_a_restore_needs_a_point() {
        let removes = task(r#"{"remove":"/a"}"#);
        let restores = task(r#"{"restore":"/a"}"#);
        assert_eq!(finding_without_point(&removes), None);
        assert!(finding_without_point(&restores).unwrap().blocking);
    }

    #[test]
    fn proof_is_the_digest_and_nothing_less() {
        assert_eq!(proof_of_restore("/a", Some("d1"), "d1").verdict, Verdict::Pass);
        assert_eq!(proof_of_restore("/a", Some("d2"), "d1").verdict, Verdict::Fail);
        assert_eq!(proof_of_restore("/a", None, "d1").verdict, Verdict::Fail);
        assert_eq!(proof_of_removal("/a", true).verdict, Verdict::Fail);
        assert_eq!(proof_of_removal("/a", false).verdict, Verdict::Pass);
    }

    #[test]
    fn nothing_to_put_back_refuses_and_nothing_to_clear_does_not() {
        let back = Change::PutBack(".backup".to_owned());
        assert!(copy("/a", &back, &[], false).unwrap_err().blocking);
        assert!(!copy("/a", &back, &[], true).unwrap_err().blocking);
        assert!(!copy("/a", &Change::Clear(vec![".log".to_owned()]), &[], false).unwrap_err().blocking);
        let names: Vec<String> = (0..7).map(|number| format!("{number}.backup")).collect();
        let action = copy("/a", &back, &names, false).unwrap();
        assert_eq!(action.summary, "put 7 kept copies back in /a");
        assert!(action.before.unwrap().ends_with("4.backup and 2 more"));
    }
}
