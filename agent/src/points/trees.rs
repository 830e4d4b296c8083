//! Trees of every kind, and a repository of their own, for tests.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use rustic_backend::LocalBackend;
use rustic_core::repofile::{Node, SnapshotFile};
use rustic_core::{
    BackupOptions, ConfigOptions, Credentials, KeyOptions, OpenStatus, ParentOptions, Repository,
    RepositoryBackends, RepositoryOptions, TreeId,
};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use sha2::{Digest as _, Sha256};

use super::making::Extra;
use super::source::Source;
use super::{Indexed, PointsError};
use crate::capabilities::files::{HostPath, HostRoot};

const PASSWORD: &str = "a password of a test";

/// A host's root and a repository, both in one temporary folder.
pub(super) struct Vault {
    directory: tempfile::TempDir,
    root: PathBuf,
    opened: Repository<OpenStatus>,
    backends: RepositoryBackends,
}

fn options() -> RepositoryOptions {
    RepositoryOptions::default().no_cache(true)
}

fn plain() -> BackupOptions {
    BackupOptions::default().no_scan(true).parent_opts(ParentOptions::default().force(true))
}

impl Vault {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        fs::create_dir_all(root.join("host")).unwrap();
        Self::of(directory, root)
    }

    /// Of a root that is there; the repository lies elsewhere.
    pub(super) fn beside(root: &Path) -> Self {
        Self::of(tempfile::tempdir().unwrap(), root.to_path_buf())
    }

    fn of(directory: tempfile::TempDir, root: PathBuf) -> Self {
        let at = directory.path().join("points");
        let backend = LocalBackend::new(at.to_string_lossy(), Vec::new()).unwrap();
        let backends = RepositoryBackends::new(Arc::new(backend), None);
        fs::write(directory.path().join("password"), PASSWORD).unwrap();
        let opened = Repository::new(&options(), &backends)
            .unwrap()
            .init(&Credentials::password(PASSWORD), &KeyOptions::default(), &ConfigOptions::default())
            .unwrap();
        Self { directory, root, opened, backends }
    }

    pub(super) fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    pub(super) fn root(&self) -> HostRoot {
        HostRoot::open(&self.root).unwrap()
    }

    pub(super) fn store(&self, paths: &[HostPath]) -> Result<TreeId, PointsError> {
        self.store_with(paths, Vec::new())
    }

    pub(super) fn store_with(&self, paths: &[HostPath], extras: Vec<Extra>) -> Result<TreeId, PointsError> {
        let mut source = Source::of(&self.root(), paths, extras)?;
        source.learn(&mut |single| {
            let top = [PathBuf::from("/stream")];
            let writer = self.again().to_indexed_ids().unwrap();
            let made = writer.archive(&plain(), single, SnapshotFile::default(), &top).unwrap();
            let indexed = Arc::new(self.indexed());
            self.opened.delete_snapshots(&[made.id]).unwrap();
            Ok((indexed, made.tree))
        })?;
        let tops = [source.tops(), vec![PathBuf::from("/.sternway")]].concat();
        let writer = self.again().to_indexed_ids().unwrap();
        let made = writer.archive(&plain(), &source, SnapshotFile::default(), &tops).unwrap();
        source.problems().judge()?;
        Ok(made.tree)
    }

    fn again(&self) -> Repository<OpenStatus> {
        let key = Credentials::Masterkey(self.opened.key());
        Repository::new(&options(), &self.backends).unwrap().open(&key).unwrap()
    }

    pub(super) fn indexed(&self) -> Indexed {
        self.again().to_indexed().unwrap()
    }

    pub(super) fn node(&self, tree: TreeId, path: &str) -> Node {
        let indexed = self.indexed();
        let mut tree = tree;
        let mut found = None;
        for name in path.split('/') {
            let nodes = indexed.get_tree(&tree).unwrap().nodes;
            let node = nodes.into_iter().find(|node| *node.name() == *name).unwrap();
            tree = node.subtree.unwrap_or(tree);
            found = Some(node);
        }
        found.unwrap()
    }

    /// What `restic` prints, or what it complains of; none when there is no `restic`.
    pub(super) fn restic(&self, arguments: &[&str]) -> Option<Result<String, String>> {
        let done = std::process::Command::new("restic")
            .args(["--no-cache", "--repo"])
            .arg(self.directory.path().join("points"))
            .arg("--password-file")
            .arg(self.directory.path().join("password"))
            .args(arguments)
            .output()
            .ok()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some(if done.status.success() { Ok(text(&done.stdout)) } else { Err(text(&done.stderr)) })
    }

    /// Takes every pack's content away, as a failing disk would.
    pub(super) fn damage(&self) {
        for shelf in fs::read_dir(self.directory.path().join("points/data")).unwrap() {
            for pack in fs::read_dir(shelf.unwrap().path()).unwrap() {
                let pack = pack.unwrap().path();
                let length = fs::metadata(&pack).unwrap().len() as usize;
                fs::set_permissions(&pack, fs::Permissions::from_mode(0o600)).unwrap();
                fs::write(&pack, vec![0xa5; length]).unwrap();
            }
        }
    }
}

#[derive(Debug, Clone)]
pub(super) enum Thing {
    Bytes(Vec<u8>),
    /// A length, and where something is written.
    Holes(u64, Vec<(u64, Vec<u8>)>),
    Folder,
    Symlink(Vec<u8>),
    Fifo,
    /// One that every kernel has and nothing is done with: `/dev/null`'s.
    Device,
    Socket,
    /// One more name of a file made before.
    HardLink(prop::sample::Index),
}

/// A thing with its name and all that it has beside its content.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    thing: Thing,
    /// Among those made before; none: the top.
    folder: Option<prop::sample::Index>,
    name: Vec<u8>,
    mode: u32,
    owner: (u32, u32),
    modified: (i64, u32),
    attributes: Vec<(String, Vec<u8>)>,
}

impl Placed {
    pub(super) fn named(thing: Thing, name: &str) -> Self {
        Self {
            thing,
            folder: None,
            name: name.as_bytes().to_vec(),
            mode: 0o640,
            owner: (0, 0),
            modified: (1, 2),
            attributes: Vec::new(),
        }
    }
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(b'\\'), Just(b'"'), Just(b'\n'), Just(0xff_u8), Just(b'u'), any::<u8>()];
    let odd = prop::collection::vec(
        byte.prop_map(|byte| if byte == b'/' || byte == 0 { b'x' } else { byte }),
        1..30,
    );
    prop_oneof![
        4 => odd,
        1 => "[a-zä☃ .]{1,20}".prop_map(String::into_bytes),
        1 => Just(vec![b'n'; 255]),
    ]
    .prop_map(|name| if name == b"." || name == b".." { b"dots".to_vec() } else { name })
}

fn content() -> impl Strategy<Value = Thing> {
    let island = (0_u64..3_000_000, prop::collection::vec(any::<u8>(), 1..50));
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..3000).prop_map(Thing::Bytes),
        (0_u64..2_000_000).prop_map(|length| Thing::Bytes(vec![0; length as usize])),
        (0_u64..6_000_000, prop::collection::vec(island, 0..4))
            .prop_map(|(length, islands)| Thing::Holes(length, islands)),
    ]
}

pub(super) fn thing() -> impl Strategy<Value = Placed> {
    let target = prop::collection::vec(1_u8..=255, 1..60);
    let thing = prop_oneof![
        5 => content(),
        4 => Just(Thing::Folder),
        2 => target.prop_map(Thing::Symlink),
        1 => Just(Thing::Fifo),
        1 => Just(Thing::Device),
        1 => Just(Thing::Socket),
        2 => any::<prop::sample::Index>().prop_map(Thing::HardLink),
    ];
    let modified = prop_oneof![
        (-2_000_000_000_i64..0, 0_u32..1_000_000_000),
        (0_i64..2_000_000_000, 0_u32..1_000_000_000),
        (3_000_000_000_i64..9_000_000_000, 0_u32..1_000_000_000),
    ];
    let attribute = ("user\\.[a-zA-Zä\"\\\\ ]{1,20}", prop::collection::vec(any::<u8>(), 0..60));
    (
        thing,
        prop::option::of(any::<prop::sample::Index>()),
        name(),
        0_u32..0o10_000,
        (0_u32..70_000, 0_u32..70_000),
        modified,
        prop::collection::vec(attribute, 0..3),
    )
        .prop_map(|(thing, folder, name, mode, owner, modified, attributes)| Placed {
            thing,
            folder,
            name,
            mode,
            owner,
            modified,
            attributes,
        })
}

/// The same, with link targets that are text, and with attributes of files and
/// folders only: older `restic`s bring back no others.
pub(super) fn with_plain_targets(things: &[Placed]) -> Vec<Placed> {
    let mut things = things.to_vec();
    for placed in &mut things {
        if !matches!(placed.thing, Thing::Bytes(_) | Thing::Holes(..) | Thing::Folder) {
            placed.attributes.clear();
        }
        if let Thing::Symlink(target) = &mut placed.thing {
            *target = String::from_utf8_lossy(target).into_owned().into_bytes();
            target.truncate(target.len().min(180));
            while std::str::from_utf8(target).is_err() {
                target.pop();
            }
        }
    }
    things
}

/// Makes a tree; what this user or file system cannot make is left out.
pub(super) fn build(top: &Path, things: &[Placed]) {
    fs::create_dir_all(top).unwrap();
    let root = rustix::process::geteuid().is_root();
    let mut folders = vec![top.to_path_buf()];
    let mut files: Vec<PathBuf> = Vec::new();
    let mut made: Vec<(PathBuf, &Placed)> = Vec::new();
    for placed in things {
        let folder = placed.folder.map_or(top, |folder| folder.get(&folders[..]).as_path());
        let path = folder.join(OsStr::from_bytes(&placed.name));
        if path.symlink_metadata().is_ok() {
            continue;
        }
        match &placed.thing {
            Thing::Bytes(bytes) => fs::write(&path, bytes).unwrap(),
            Thing::Holes(length, islands) => {
                let file = fs::File::create(&path).unwrap();
                file.set_len(*length).unwrap();
                for (at, bytes) in islands {
                    file.write_all_at(bytes, *at).unwrap();
                }
            }
            Thing::Folder => fs::create_dir(&path).unwrap(),
            Thing::Symlink(target) => symlink(OsStr::from_bytes(target), &path).unwrap(),
            Thing::Fifo => rustix::fs::mkfifoat(CWD, &path, Mode::RUSR).unwrap(),
            Thing::Device | Thing::Socket => {
                let (kind, device) = match placed.thing {
                    Thing::Device => (FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
                    _ => (FileType::Socket, 0),
                };
                if rustix::fs::mknodat(CWD, &path, kind, Mode::RUSR, device).is_err() {
                    continue;
                }
            }
            Thing::HardLink(at) => {
                if !files.is_empty() {
                    fs::hard_link(at.get(&files), &path).unwrap();
                }
                continue;
            }
        }
        match placed.thing {
            Thing::Folder => folders.push(path.clone()),
            Thing::Bytes(_) | Thing::Holes(..) => files.push(path.clone()),
            _ => {}
        }
        made.push((path, placed));
    }
    // The innermost first: a folder's time changes with what is in it.
    for (path, placed) in made.into_iter().rev() {
        dress(&path, placed, root);
    }
}

fn dress(path: &Path, placed: &Placed, root: bool) {
    let link = matches!(placed.thing, Thing::Symlink(_));
    if matches!(placed.thing, Thing::Bytes(_) | Thing::Holes(..) | Thing::Folder) {
        for (name, value) in &placed.attributes {
            // Not every file system has them.
            let _ = rustix::fs::setxattr(path, name.as_str(), value, XattrFlags::empty());
        }
    } else if root && let Some((_, value)) = placed.attributes.first() {
        let _ = rustix::fs::lsetxattr(path, "trusted.sternway", value, XattrFlags::empty());
    }
    if root {
        std::os::unix::fs::lchown(path, Some(placed.owner.0), Some(placed.owner.1)).unwrap();
    }
    if !link {
        let readable = if root { 0 } else { 0o700 };
        fs::set_permissions(path, fs::Permissions::from_mode(placed.mode | readable)).unwrap();
    }
    set_modified(path, placed.modified);
}

pub(super) fn set_modified(path: &Path, (seconds, nanoseconds): (i64, u32)) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// All that can be told of one thing from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
    device: u64,
    length: u64,
    /// SHA-256 of a file, target of a link.
    content: Vec<u8>,
    /// The first of its names, when it has several.
    first_name: Option<OsString>,
    attributes: Vec<(OsString, Vec<u8>)>,
    is_socket: bool,
}

pub(super) type Looks = BTreeMap<OsString, Look>;

pub(super) fn seen(top: &Path) -> Looks {
    let mut looks = Looks::new();
    let mut names: BTreeMap<(u64, u64), OsString> = BTreeMap::new();
    look_below(top, OsString::new(), &mut looks, &mut names);
    looks
}

fn look_below(at: &Path, name: OsString, looks: &mut Looks, names: &mut BTreeMap<(u64, u64), OsString>) {
    let metadata = at.symlink_metadata().unwrap();
    let kind = metadata.file_type();
    let mut content = Vec::new();
    if kind.is_file() {
        let mut bytes = Vec::new();
        fs::File::open(at).unwrap().read_to_end(&mut bytes).unwrap();
        content = Sha256::digest(&bytes).to_vec();
    } else if kind.is_symlink() {
        content = fs::read_link(at).unwrap().into_os_string().into_vec();
    }
    let several = !kind.is_dir() && metadata.nlink() > 1;
    let first_name = several
        .then(|| names.entry((metadata.dev(), metadata.ino())).or_insert_with(|| name.clone()).clone());
    let look = Look {
        mode: metadata.mode(),
        owner: (metadata.uid(), metadata.gid()),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        device: metadata.rdev(),
        length: if kind.is_dir() { 0 } else { metadata.len() },
        content,
        first_name,
        attributes: attributes(at),
        is_socket: kind.is_socket(),
    };
    looks.insert(name.clone(), look);
    if kind.is_dir() {
        let mut children: Vec<OsString> =
            fs::read_dir(at).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        children.sort();
        for child in children {
            let mut below = name.clone();
            below.push("/");
            below.push(&child);
            look_below(&at.join(&child), below, looks, names);
        }
    }
}

fn attributes(at: &Path) -> Vec<(OsString, Vec<u8>)> {
    let (parent, name) = (at.parent().unwrap(), at.file_name().unwrap());
    let directory = fs::File::open(parent).unwrap();
    let found = crate::capabilities::files::tree::read_xattrs_at(directory.as_fd(), name).unwrap();
    found.into_iter().map(|(name, value)| (OsString::from_vec(name), value)).collect()
}

pub(super) fn without_sockets(looks: &Looks) -> Looks {
    looks
        .iter()
        .filter(|(_, look)| !look.is_socket)
        .map(|(name, look)| (name.clone(), look.clone()))
        .collect()
}

/// The space that each file takes, by where it is.
pub(super) fn space(top: &Path) -> BTreeMap<OsString, u64> {
    let files = seen(top).into_keys().filter_map(|name| {
        let at = top.join(OsStr::from_bytes(name.as_bytes().strip_prefix(b"/").unwrap_or_default()));
        let metadata = at.symlink_metadata().unwrap();
        metadata.is_file().then(|| (name, metadata.blocks() * 512))
    });
    files.collect()
}
