//! Who works on the repository on this host: makings in hand, and the one
//! prune that none of them may meet. The locks lie beside the password and end
//! with the process that holds them, however it ends.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::PointsError;
use super::place::Place;
use crate::durable;

const NAME_BYTES: usize = 8;

#[derive(Debug)]
pub(super) struct Locks {
    founding: PathBuf,
    storing: PathBuf,
    changing: PathBuf,
    makers: PathBuf,
}

/// Held until it is dropped.
#[derive(Debug)]
pub(super) struct Held(#[expect(dead_code, reason = "the open file is the lock")] File);

/// A making in hand.
#[derive(Debug)]
pub(super) struct Maker {
    pub(super) name: String,
    path: PathBuf,
    _lock: Held,
    _storing: Held,
}

impl Drop for Maker {
    fn drop(&mut self) {
        // A leftover is nobody's lock and goes with the next sweep.
        let _ = fs::remove_file(&self.path);
    }
}

impl Locks {
    pub(super) fn beside(place: &Place) -> Self {
        Self {
            founding: place.beside("founding.lock"),
            storing: place.beside("storing.lock"),
            changing: place.beside("changing.lock"),
            makers: place.beside("makers"),
        }
    }

    /// One founder of the repository at a time: an agent and a person may be
    /// the first to need it at one moment.
    pub(super) fn found(&self) -> Result<Held, PointsError> {
        if let Some(folder) = self.founding.parent() {
            durable::create_directories(folder, 0o700).map_err(PointsError::Durable)?;
        }
        lock(&self.founding, FlockOperation::LockExclusive)
    }

    /// Waits for a prune that is in hand.
    pub(super) fn make(&self) -> Result<Maker, PointsError> {
        let storing = lock(&self.storing, FlockOperation::LockShared)?;
        durable::create_directories(&self.makers, 0o700).map_err(PointsError::Durable)?;
        let mut bytes = [0; NAME_BYTES];
        getrandom::fill(&mut bytes)
            .map_err(|cause| file(&self.makers)(io::Error::other(cause.to_string())))?;
        let name = crate::capabilities::files::hex(&bytes);
        let path = self.makers.join(&name);
        let lock = lock(&path, FlockOperation::LockExclusive)?;
        Ok(Maker { name, path, _lock: lock, _storing: storing })
    }

    /// Keeps makings waiting; none while one is in hand. A prune never waits
    /// itself: somebody who needs a point now may be waiting for the prune.
    pub(super) fn prune(&self) -> Result<Option<Held>, PointsError> {
        let opened = open(&self.storing)?;
        match rustix::fs::flock(&opened, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Held(opened))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(file(&self.storing)(errno.into())),
        }
    }

    /// One change of snapshot files at a time.
    pub(super) fn change(&self) -> Result<Held, PointsError> {
        lock(&self.changing, FlockOperation::LockExclusive)
    }

    pub(super) fn is_alive(&self, maker: &str) -> Result<bool, PointsError> {
        // A name comes from a snapshot file.
        if maker.is_empty() || !maker.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(false);
        }
        let path = self.makers.join(maker);
        let opened = match File::options().write(true).open(&path) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(cause) => return Err(file(&path)(cause)),
        };
        match rustix::fs::flock(&opened, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(false),
            Err(Errno::WOULDBLOCK) => Ok(true),
            Err(errno) => Err(file(&path)(errno.into())),
        }
    }

    /// Takes the lock files of dead makers away.
    pub(super) fn sweep(&self) -> Result<(), PointsError> {
        let names = fs::read_dir(&self.makers).map_err(file(&self.makers))?;
        for name in names.filter_map(Result::ok).map(|entry| entry.file_name()) {
            if !self.is_alive(&name.to_string_lossy())? {
                let _ = fs::remove_file(self.makers.join(name));
            }
        }
        Ok(())
    }
}

fn lock(path: &Path, how: FlockOperation) -> Result<Held, PointsError> {
    let opened = open(path)?;
    loop {
        match rustix::fs::flock(&opened, how) {
            Ok(()) => return Ok(Held(opened)),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(file(path)(errno.into())),
        }
    }
}

fn open(path: &Path) -> Result<File, PointsError> {
    File::options().create(true).truncate(false).write(true).open(path).map_err(file(path))
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> PointsError + '_ {
    move |cause| PointsError::File { path: path.to_path_buf(), cause }
}
