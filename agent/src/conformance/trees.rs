//! A tree laid out on the host of a case, and the picture taken of it: what
//! has to be equal at the end, byte for byte. Times are not part of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use sternway_core::ids::Digest;

use super::case::{Case, DatabaseCase, Tree};
use super::{ConformanceError, io};
use crate::capabilities::files::tree::{self, Entry, Kind};
use crate::capabilities::files::{Files, HostPath, HostRoot, Ownership};

/// Begins the name of everything a step keeps beside.
const SIDE: &str = ".sternway-";
/// A text as short as this is shown and not hashed.
const SHOWN_BYTES_MAX: usize = 200;

/// Lays the tree `name` of a case out as the new folder `to`.
pub(super) fn lay(case: &Case, name: &str, tree: &Tree, to: &Path) -> Result<(), ConformanceError> {
    match case.tree(name) {
        Some(from) => copy(&from, to)?,
        None => std::fs::create_dir(to).map_err(io("make", to))?,
    }
    let below = |path: &str| -> Result<PathBuf, ConformanceError> {
        Ok(to.join(HostPath::parse(path)?.as_str().trim_start_matches('/')))
    };
    for path in &tree.folders {
        let path = below(path)?;
        std::fs::create_dir_all(&path).map_err(io("make", &path))?;
    }
    for database in &tree.databases {
        make_database(database, &below(&database.path)?)?;
    }
    plain(to)?;
    for (path, mode) in &tree.modes {
        let bits =
            u32::from_str_radix(mode, 8).map_err(|_| case.wrong(&format!("`{mode}` is no mode in octal")))?;
        let path = below(path)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(bits);
        std::fs::set_permissions(&path, mode).map_err(io("change the mode of", &path))?;
    }
    own(tree, to)
}

/// Owners are named as plans name them, so the same code resolves them.
fn own(tree: &Tree, root: &Path) -> Result<(), ConformanceError> {
    let opened = HostRoot::open(root).map_err(io("open", root))?;
    let files = Files::new(opened, "lay", "out");
    for (path, owner) in &tree.owners {
        let path = HostPath::parse(path)?;
        let (owner, group) = owner.split_once(':').unwrap_or((owner, owner));
        let to = Ownership {
            owner: Some(owner.to_owned()),
            group: Some(group.to_owned()),
            file_mode: None,
            directory_mode: None,
        };
        files.stage_copy(&path)?;
        let staged = files.stage_ownership(&path, &to)?;
        files.switch_to(&path, &staged.sha256)?;
        files.discard(&path)?;
    }
    Ok(())
}

/// Copies a folder to a name that is not there yet.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), ConformanceError> {
    let (source, target) = (parent(from)?, parent(to)?);
    let name = |path: &Path| path.file_name().unwrap_or_default().to_owned();
    tree::copy((source.as_fd(), &name(from)), (target.as_fd(), &name(to))).map_err(io("copy", from))
}

fn parent(path: &Path) -> Result<std::fs::File, ConformanceError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::File::open(parent).map_err(io("open", parent))
}

/// What a checkout leaves to chance: whose the files are, and their modes but for `x`.
fn plain(top: &Path) -> Result<(), ConformanceError> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let directory = parent(top)?;
    let visit = &mut |entry: &Entry<'_>| {
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(entry.directory, entry.name, Some(uid), Some(gid), flags)?;
        let mode = match entry.kind {
            Kind::File if entry.mode() & 0o100 == 0 => 0o644,
            Kind::File | Kind::Directory => 0o755,
            Kind::Symlink | Kind::Other => return Ok(()),
        };
        let mode = rustix::fs::Mode::from_raw_mode(mode);
        Ok(rustix::fs::chmodat(entry.directory, entry.name, mode, rustix::fs::AtFlags::empty())?)
    };
    let name = top.file_name().unwrap_or_default().to_string_lossy().into_owned();
    tree::walk(directory.as_fd(), &name, visit).map_err(io("lay out", top))?;
    Ok(())
}

fn make_database(database: &DatabaseCase, file: &Path) -> Result<(), ConformanceError> {
    let failed = |cause| ConformanceError::Database { path: database.path.clone(), cause };
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(io("make", folder))?;
    }
    let opened = Connection::open(file).map_err(failed)?;
    opened.execute_batch(&database.sql).map_err(failed)?;
    if let Some(sql) = &database.wal_sql {
        opened.execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0").map_err(failed)?;
        opened.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
        opened.execute_batch(sql).map_err(failed)?;
    }
    opened.close().map_err(|(_, cause)| failed(cause))
}

/// What stands in a tree: path to what it is, in words that differ when it does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) entries: BTreeMap<String, String>,
    /// Side copies, by the path of each.
    pub(super) beside: BTreeSet<String>,
}

/// Takes the picture of `root`. `databases` are compared by what they say, and
/// `kept` are names that hold the time: both are paths of the host.
pub(super) fn picture(
    root: &Path,
    databases: &BTreeSet<String>,
    kept: &BTreeMap<String, String>,
) -> Result<Taken, ConformanceError> {
    let mut taken = Taken::default();
    let directory = parent(root)?;
    let visit = &mut |entry: &Entry<'_>| {
        let path = format!("/{}", OsStr::from_bytes(entry.path).to_string_lossy());
        if let Some(at) = path.find(&format!("/{SIDE}")) {
            let end = path[at + 1..].find('/').map_or(path.len(), |slash| at + 1 + slash);
            taken.beside.insert(path[..end].to_owned());
            return Ok(());
        }
        if databases.contains(path.trim_end_matches("-wal").trim_end_matches("-shm"))
            && !databases.contains(&path)
        {
            return Ok(());
        }
        let said = if databases.contains(&path) && entry.kind == Kind::File {
            format!("{} {}", heading("database", entry), dump(&root.join(&path[1..])))
        } else {
            described(entry)?
        };
        let mut shown = kept.get(&path).cloned().unwrap_or(path);
        while taken.entries.contains_key(&shown) {
            shown.push_str(", once more");
        }
        taken.entries.insert(shown, said);
        Ok(())
    };
    let name = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
    tree::walk(directory.as_fd(), &name, visit).map_err(io("look at", root))?;
    Ok(taken)
}

fn heading(kind: &str, entry: &Entry<'_>) -> String {
    format!("{kind} {:04o} {}:{}", entry.mode(), entry.stat.st_uid, entry.stat.st_gid)
}

fn described(entry: &Entry<'_>) -> std::io::Result<String> {
    let mut text = match entry.kind {
        Kind::Directory => heading("folder", entry),
        Kind::File => {
            let mut bytes = Vec::new();
            entry.open()?.read_to_end(&mut bytes)?;
            format!("{} {}", heading("file", entry), content(&bytes))
        }
        Kind::Symlink => {
            let target = String::from_utf8_lossy(&entry.target()?).into_owned();
            format!("link {}:{} to {target}", entry.stat.st_uid, entry.stat.st_gid)
        }
        Kind::Other => heading("device", entry),
    };
    for (name, value) in entry.extended_attributes()? {
        let _ = write!(text, " {}={}", String::from_utf8_lossy(&name), content(&value));
    }
    Ok(text)
}

fn content(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.len() <= SHOWN_BYTES_MAX => format!("{text:?}"),
        _ => format!("{} bytes, sha256 {}", bytes.len(), Digest::of(bytes).short()),
    }
}

/// Schema and rows in one digest. What no reader can open differs from all else.
fn dump(file: &Path) -> String {
    match try_dump(file) {
        Ok((rows, digest)) => format!("{rows} rows, sha256 {digest}"),
        Err(reason) => format!("unreadable: {reason}"),
    }
}

/// Read from a copy, so that reading leaves no trace beside the file.
fn try_dump(file: &Path) -> Result<(u64, String), String> {
    let told = |cause: &dyn std::fmt::Display| cause.to_string();
    let scratch = super::Scratch::new().map_err(|error| told(&error))?;
    let copied = scratch.0.join("copy.db");
    std::fs::copy(file, &copied).map_err(|error| told(&error))?;
    let beside = |path: &Path| PathBuf::from(format!("{}-wal", path.display()));
    if beside(file).exists() {
        std::fs::copy(beside(file), beside(&copied)).map_err(|error| told(&error))?;
    }
    let opened = Connection::open_with_flags(&copied, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .map_err(|error| told(&error))?;
    read_all(&opened).map_err(|error| told(&error))
}

fn read_all(opened: &Connection) -> Result<(u64, String), rusqlite::Error> {
    let mut said = String::new();
    let mut rows = 0;
    let version: i64 = opened.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let _ = writeln!(said, "version {version}");
    let mut tables = Vec::new();
    let mut schema =
        opened.prepare("SELECT type, name, coalesce(sql, '') FROM sqlite_schema ORDER BY 1, 2")?;
    let mut found = schema.query([])?;
    while let Some(row) = found.next()? {
        let (kind, name, sql): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let _ = writeln!(said, "{kind} {name} {sql}");
        if kind == "table" {
            tables.push(name);
        }
    }
    for table in tables {
        let mut asked = opened.prepare(&format!("SELECT * FROM \"{}\"", table.replace('"', "\"\"")))?;
        let columns = asked.column_count();
        let mut found = asked.query([])?;
        let mut lines = BTreeMap::<String, u64>::new();
        while let Some(row) = found.next()? {
            rows += 1;
            let mut line = String::new();
            for column in 0..columns {
                let value: ValueRef<'_> = row.get_ref(column)?;
                let _ = write!(line, "{value:?},");
            }
            *lines.entry(line).or_default() += 1;
        }
        let _ = writeln!(said, "{table} {lines:?}");
    }
    Ok((rows, Digest::of(said.as_bytes()).short()))
}
