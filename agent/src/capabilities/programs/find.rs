//! Where a form's program is. The agent's own PATH says nothing: the folders
//! are fixed, so that nobody's environment chooses what root runs.

use std::cmp::Ordering;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::processes::SEARCH_PATH;

/// The program `name`, or what stands at `name` when it is a path; in `search` first.
pub(super) fn program(name: &str, search: &[String]) -> Option<PathBuf> {
    if name.starts_with('/') {
        return Some(PathBuf::from(name)).filter(|path| is_program(path));
    }
    let more = search.iter().flat_map(|pattern| folders(pattern));
    let fixed = SEARCH_PATH.split(':').map(PathBuf::from);
    more.chain(fixed).map(|folder| folder.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|stat| stat.is_file() && stat.permissions().mode() & 0o111 != 0)
}

/// The folders a pattern means, the highest version first.
fn folders(pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("/")];
    for component in pattern.split('/').filter(|component| !component.is_empty()) {
        found = match component.split_once('*') {
            None => found.into_iter().map(|folder| folder.join(component)).collect(),
            Some((prefix, suffix)) => {
                found.iter().flat_map(|folder| matching(folder, prefix, suffix)).collect()
            }
        };
    }
    found
}

fn matching(folder: &Path, prefix: &str, suffix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let fits = |name: &String| {
        name.len() >= prefix.len() + suffix.len() && name.starts_with(prefix) && name.ends_with(suffix)
    };
    let mut names: Vec<String> = names.filter(fits).collect();
    names.sort_by(|a, b| by_version(b, a));
    names.iter().map(|name| folder.join(name)).collect()
}

/// `9.6` before `13` before `17`.
fn by_version(a: &str, b: &str) -> Ordering {
    let numbers = |text: &str| -> Vec<u64> {
        text.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
    };
    numbers(a).cmp(&numbers(b)).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(folder: &Path, name: &str, mode: u32) {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join(name), "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(folder.join(name), PermissionsExt::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_highest_version_wins_and_what_cannot_run_is_no_program() {
        let root = tempfile::tempdir().unwrap();
        for version in ["9.6", "13", "17"] {
            place(&root.path().join(version).join("bin"), "pg_thing", 0o755);
        }
        place(&root.path().join("18/bin"), "pg_thing", 0o644);
        let search = [format!("{}/*/bin", root.path().display())];
        assert_eq!(program("pg_thing", &search), Some(root.path().join("17/bin/pg_thing")));
        assert_eq!(program("pg_thing", &[]), None);
        assert_eq!(program("/nowhere/at/all", &[]), None);
        assert!(program("sh", &[]).is_some_and(|path| path.is_absolute()));
    }
}
