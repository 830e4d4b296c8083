//! What stands below a folder, as something that can be compared and shown.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use sternway_core::ids::Digest;

/// By path: kind, mode, owner, and the digest of what it holds.
pub type Tree = BTreeMap<String, String>;

/// Reads the tree below `root`. The time in the name of a kept copy differs
/// from run to run and is left out; a second copy shows as a second entry.
/// What SQLite keeps beside a database that is open is not part of it.
pub fn read(root: &Path) -> Tree {
    let mut tree = Tree::new();
    walk(root, root, &mut tree);
    tree
}

fn walk(root: &Path, folder: &Path, tree: &mut Tree) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|cause| panic!("{}: {cause}", folder.display()));
    for entry in entries {
        let path = entry.expect("a folder can be read").path();
        let name = path.strip_prefix(root).expect("it is below").display().to_string();
        if name.ends_with("-wal") || name.ends_with("-shm") {
            continue;
        }
        let stat = path.symlink_metadata().expect("it is there");
        let mode = stat.permissions().mode() & 0o7777;
        let owner = (stat.uid(), stat.gid());
        let held = if stat.is_dir() {
            walk(root, &path, tree);
            "folder".to_owned()
        } else if stat.is_symlink() {
            format!("link to {}", path.read_link().expect("a link leads somewhere").display())
        } else {
            Digest::of(&std::fs::read(&path).expect("a file can be read")).short().to_string()
        };
        let mut name = without_plan(&without_time(&name));
        while tree.contains_key(&name) {
            name.push_str(" (again)");
        }
        tree.insert(name, format!("{held} {mode:04o} {}:{}", owner.0, owner.1));
    }
}

/// `config.json.20261121T140000Z` as `config.json.KEPT`.
fn without_time(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((before, time)) if time.len() == 16 && time.ends_with('Z') && time.contains('T') => {
            format!("{before}.KEPT")
        }
        _ => name.to_owned(),
    }
}

/// `.sternway-9801231a-4e074085-app.json` as `.sternway-PLAN-4e074085-app.json`:
/// side copies are called by the plan and the step.
fn without_plan(name: &str) -> String {
    const PREFIX: &str = "/.sternway-";
    let parts = format!("/{name}");
    let mut parts = parts.split(PREFIX);
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(PREFIX);
        plain.push_str("PLAN");
        plain.push_str(part.get(8..).unwrap_or(part));
    }
    plain.split_off(1)
}

/// The difference, a line each; empty when they are the same.
pub fn difference(expected: &Tree, found: &Tree) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, held) in expected {
        match found.get(name) {
            None => lines.push(format!("missing: {name} ({held})")),
            Some(other) if other != held => lines.push(format!("other: {name}: {other}, not {held}")),
            Some(_) => {}
        }
    }
    let more = found.iter().filter(|(name, _)| !expected.contains_key(*name));
    lines.extend(more.map(|(name, held)| format!("more: {name} ({held})")));
    lines
}

/// Without kept copies: what they are called depends on the second, and on how
/// many steps share one.
pub fn without_kept(tree: Tree) -> Tree {
    tree.into_iter().filter(|(name, _)| !name.contains(".KEPT")).collect()
}
