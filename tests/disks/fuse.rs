//! A disk made of one big file behind FUSE: it writes down every write and
//! every flush, so that the disk can be made again as it was at each of them;
//! and it can be slow, or never answer.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyWrite, Request, WriteFlags,
};

const NAME: &str = "disk.img";
const FILE: INodeNo = INodeNo(2);
const TTL: Duration = Duration::from_secs(3600);

/// What came to the disk, in order.
#[derive(Debug, Clone)]
pub enum Event {
    Write(u64, Vec<u8>),
    Flush,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Quick,
    /// Every flush takes so long.
    Slow(Duration),
    /// Nothing is answered until it is quick again.
    Hangs,
}

#[derive(Debug)]
struct State {
    events: Option<Vec<Event>>,
    mood: Mood,
}

/// The test's hand on the disk.
#[derive(Debug, Clone)]
struct Shared {
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As long as the mood says.
    fn dwell(&self, is_flush: bool) {
        let mut state = self.lock();
        while state.mood == Mood::Hangs {
            state = self.state.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let mood = state.mood;
        drop(state);
        if let Mood::Slow(length) = mood
            && is_flush
        {
            std::thread::sleep(length);
        }
    }
}

#[derive(Debug)]
struct OneFile {
    backing: File,
    bytes: u64,
    shared: Shared,
}

impl OneFile {
    fn attributes(&self, of: INodeNo) -> FileAttr {
        let is_folder = of == INodeNo::ROOT;
        FileAttr {
            ino: of,
            size: if is_folder { 0 } else { self.bytes },
            blocks: self.bytes / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_folder { FileType::Directory } else { FileType::RegularFile },
            perm: if is_folder { 0o755 } else { 0o600 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for OneFile {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name == NAME {
            true => reply.entry(&TTL, &self.attributes(FILE), Generation(0)),
            false => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, of: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attributes(of));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(1), FopenFlags::empty());
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.shared.dwell(false);
        let length = u64::from(size).min(self.bytes.saturating_sub(offset));
        let mut bytes = vec![0; length as usize];
        match self.backing.read_exact_at(&mut bytes, offset) {
            Ok(()) => reply.data(&bytes),
            Err(_) => reply.error(Errno::EIO),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.shared.dwell(false);
        if let Some(events) = &mut self.shared.lock().events {
            events.push(Event::Write(offset, data.to_vec()));
        }
        match self.backing.write_all_at(data, offset) {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX)),
            Err(_) => reply.error(Errno::EIO),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.shared.dwell(true);
        if let Some(events) = &mut self.shared.lock().events {
            events.push(Event::Flush);
        }
        reply.ok();
    }
}

/// Mounted; taken down when dropped, whatever mood it is in.
#[derive(Debug)]
pub struct FuseDisk {
    session: Option<BackgroundSession>,
    shared: Shared,
    file: PathBuf,
}

impl FuseDisk {
    /// What this machine lacks for it, if anything.
    pub fn lacks() -> Option<String> {
        match Path::new("/dev/fuse").exists() {
            true => None,
            false => Some("there is no /dev/fuse".into()),
        }
    }

    /// Shows the image as a file below `at`.
    pub fn mount(image: &Path, at: &Path) -> Self {
        std::fs::create_dir_all(at).expect("a folder to mount at");
        let backing = File::options().read(true).write(true).open(image).expect("the image is there");
        let bytes = backing.metadata().expect("it is open").len();
        let state = State { events: None, mood: Mood::Quick };
        let shared = Shared { state: Arc::new((Mutex::new(state), Condvar::new())) };
        let disk = OneFile { backing, bytes, shared: shared.clone() };
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("sternway-disks".into())];
        let session = fuser::spawn_mount(disk, at, &config).expect("it can be mounted");
        Self { session: Some(session), shared, file: at.join(NAME) }
    }

    /// The file to put on a loop device.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// From now on everything is written down.
    pub fn record(&self) {
        self.shared.lock().events = Some(Vec::new());
    }

    /// What was written down.
    pub fn recorded(&self) -> Vec<Event> {
        self.shared.lock().events.take().unwrap_or_default()
    }

    pub fn be(&self, mood: Mood) {
        self.shared.lock().mood = mood;
        self.shared.state.1.notify_all();
    }
}

impl Drop for FuseDisk {
    fn drop(&mut self) {
        self.be(Mood::Quick);
        if let Some(session) = self.session.take() {
            let _ = session.umount_and_join();
        }
    }
}
