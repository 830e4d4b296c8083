//! Points in use: what a run goes back to, or may still go back to. A point is
//! leased before anything rests on it, durably, and nobody prunes meanwhile:
//! between found and leased there is no gap through which it could be lost.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use sternway_core::ids::{PlanId, PointId};

use crate::durable::{self, DurableError};

const FOLDER: &str = "leases";
const LOCK: &str = "lock";
const SUFFIX: &str = ".lease";
/// Of the newest run that kept what it overwrote and is closed.
const NEWEST_CLOSED: &str = "newest-closed";

#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error("could not lock `{}`", path.display())]
    Lock {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("could not read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("`{}` is no lease; nothing is pruned before a person has looked at it", path.display())]
    Damaged {
        path: PathBuf,
        #[source]
        cause: serde_json::Error,
    },
    #[error("could not keep a lease")]
    Write(#[from] DurableError),
}

/// The points that one run holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lease {
    points: BTreeSet<PointId>,
    /// What the run overwrites; in use beyond the run, until a newer one is closed.
    safety: Option<PointId>,
}

/// The leases of one host; several processes may hold the same.
#[derive(Debug, Clone)]
pub struct Leases {
    folder: PathBuf,
}

impl Leases {
    /// Those in the state directory `state`.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(state: &Path) -> Result<Self, LeaseError> {
        let folder = state.join(FOLDER);
        durable::create_directories(&folder, 0o700)?;
        Ok(Self { folder })
    }

    /// From here on nobody prunes `point` until `plan` gives it back. Waits
    /// while somebody prunes, so whether it is still there is to be asked after.
    ///
    /// # Errors
    /// It could not be made durable: then it must not be used.
    pub fn take(&self, plan: PlanId, point: PointId) -> Result<(), LeaseError> {
        self.change(plan, |lease| _ = lease.points.insert(point))
    }

    /// As [`Self::take`], for the point that holds what the plan overwrites.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn take_safety(&self, plan: PlanId, point: PointId) -> Result<(), LeaseError> {
        self.change(plan, |lease| lease.safety = Some(point))
    }

    /// One point that turned out to be of no use.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn let_go(&self, plan: PlanId, point: PointId) -> Result<(), LeaseError> {
        self.change(plan, |lease| _ = lease.points.remove(&point))
    }

    /// The run is closed. Its safety point stays in use in place of that of the
    /// run before it.
    ///
    /// # Errors
    /// As [`Self::take`]; everything is still in use then.
    pub fn give_back(&self, plan: PlanId) -> Result<(), LeaseError> {
        let _locked = self.lock()?;
        self.give_back_locked(plan)
    }

    /// Gives back what runs hold that are not among these: their end was lost
    /// with a crash.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn give_back_but(&self, open: &BTreeSet<PlanId>) -> Result<(), LeaseError> {
        let _locked = self.lock()?;
        for name in self.names()? {
            let name = name.trim_end_matches(SUFFIX);
            if let Some(plan) = plan_of(name).filter(|plan| !open.contains(plan)) {
                self.give_back_locked(plan)?;
            }
        }
        Ok(())
    }

    /// Every point in use.
    ///
    /// # Errors
    /// A lease cannot be read: then every point may be in use.
    pub fn points(&self) -> Result<BTreeSet<PointId>, LeaseError> {
        let mut points = BTreeSet::new();
        for name in self.names()? {
            if let Some(lease) = self.read(&self.folder.join(name))? {
                points.extend(lease.points);
                points.extend(lease.safety);
            }
        }
        Ok(points)
    }

    /// Does `prune`, which is told what is in use; no lease is taken or given
    /// back meanwhile, in this process or another.
    ///
    /// # Errors
    /// As [`Self::points`]; nothing was done then.
    pub fn while_pruning<T>(&self, prune: impl FnOnce(&BTreeSet<PointId>) -> T) -> Result<T, LeaseError> {
        let _locked = self.lock()?;
        Ok(prune(&self.points()?))
    }

    fn change(&self, plan: PlanId, change: impl FnOnce(&mut Lease)) -> Result<(), LeaseError> {
        let _locked = self.lock()?;
        let path = self.path(&plan.to_string());
        let old = self.read(&path)?;
        let mut lease = old.clone().unwrap_or_default();
        change(&mut lease);
        match old.as_ref() == Some(&lease) {
            true => Ok(()),
            false => write(&path, &lease),
        }
    }

    fn give_back_locked(&self, plan: PlanId) -> Result<(), LeaseError> {
        let path = self.path(&plan.to_string());
        if let Some(Lease { safety: Some(safety), .. }) = self.read(&path)? {
            // Before the run's own goes: at no moment is it in nobody's use.
            let newest = Lease { points: BTreeSet::new(), safety: Some(safety) };
            write(&self.path(NEWEST_CLOSED), &newest)?;
        }
        Ok(durable::remove(&path)?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}{SUFFIX}"))
    }

    fn names(&self) -> Result<Vec<String>, LeaseError> {
        let unread = |cause| LeaseError::Read { path: self.folder.clone(), cause };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(unread)? {
            let name = entry.map_err(unread)?.file_name().to_string_lossy().into_owned();
            // What a killed process left of a durable write begins with a dot.
            if name.ends_with(SUFFIX) && !name.starts_with('.') {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn read(&self, path: &Path) -> Result<Option<Lease>, LeaseError> {
        match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|cause| LeaseError::Damaged { path: path.to_path_buf(), cause }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(LeaseError::Read { path: path.to_path_buf(), cause }),
        }
    }

    /// Each call opens the file anew, so threads of one process exclude each
    /// other as processes do; the kernel unlocks when the holder dies.
    fn lock(&self) -> Result<File, LeaseError> {
        let path = self.folder.join(LOCK);
        let locked = || -> io::Result<File> {
            let mut options = OpenOptions::new();
            let file = options.create(true).truncate(false).write(true).mode(0o600).open(&path)?;
            loop {
                match rustix::fs::flock(&file, FlockOperation::LockExclusive) {
                    Err(rustix::io::Errno::INTR) => {}
                    done => return done.map(|()| file).map_err(io::Error::from),
                }
            }
        };
        locked().map_err(|cause| LeaseError::Lock { path: path.clone(), cause })
    }
}

fn write(path: &Path, lease: &Lease) -> Result<(), LeaseError> {
    let bytes = serde_json::to_vec(lease).expect("a lease is plain data");
    Ok(durable::write(path, 0o600, &bytes)?)
}

fn plan_of(name: &str) -> Option<PlanId> {
    serde_json::from_value(serde_json::Value::String(name.to_owned())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn plan(number: u8) -> PlanId {
        PlanId([number; 32])
    }

    fn point(number: u8) -> PointId {
        PointId([number; 32])
    }

    fn leases() -> (tempfile::TempDir, Leases) {
        let state = tempfile::tempdir().unwrap();
        let leases = Leases::open(state.path()).unwrap();
        (state, leases)
    }

    #[test]
    fn a_point_is_in_use_from_take_to_give_back_over_a_restart() {
        let (state, leases) = leases();
        leases.take(plan(1), point(1)).unwrap();
        leases.take(plan(1), point(2)).unwrap();
        leases.take(plan(2), point(2)).unwrap();
        leases.let_go(plan(1), point(1)).unwrap();
        let again = Leases::open(state.path()).unwrap();
        assert_eq!(again.points().unwrap(), [point(2)].into());
        again.give_back(plan(1)).unwrap();
        assert_eq!(again.points().unwrap(), [point(2)].into(), "the other run holds it");
        again.give_back(plan(2)).unwrap();
        again.give_back(plan(2)).unwrap();
        assert!(leases.points().unwrap().is_empty());
    }

    #[test]
    fn the_safety_point_of_the_newest_closed_run_stays_in_use() {
        let (_state, leases) = leases();
        leases.take_safety(plan(1), point(1)).unwrap();
        leases.give_back(plan(1)).unwrap();
        assert_eq!(leases.points().unwrap(), [point(1)].into());
        leases.take(plan(2), point(9)).unwrap();
        leases.give_back(plan(2)).unwrap();
        assert_eq!(leases.points().unwrap(), [point(1)].into(), "the second overwrote nothing");
        leases.take_safety(plan(3), point(3)).unwrap();
        assert_eq!(leases.points().unwrap(), [point(1), point(3)].into());
        leases.give_back(plan(3)).unwrap();
        assert_eq!(leases.points().unwrap(), [point(3)].into());
    }

    #[test]
    fn what_a_run_held_whose_end_was_lost_is_given_back() {
        let (_state, leases) = leases();
        leases.take(plan(1), point(1)).unwrap();
        leases.take(plan(2), point(2)).unwrap();
        leases.take_safety(plan(2), point(3)).unwrap();
        leases.give_back_but(&[plan(1)].into()).unwrap();
        assert_eq!(leases.points().unwrap(), [point(1), point(3)].into());
        leases.give_back_but(&BTreeSet::new()).unwrap();
        assert_eq!(leases.points().unwrap(), [point(3)].into());
    }

    #[test]
    fn with_a_lease_that_cannot_be_read_nothing_is_pruned() {
        let (state, leases) = leases();
        leases.take(plan(1), point(1)).unwrap();
        let path = state.path().join(FOLDER).join(format!("{}{SUFFIX}", plan(1)));
        std::fs::write(&path, "{").unwrap();
        let pruned = leases.while_pruning(|_| panic!("it pruned"));
        assert!(matches!(pruned, Err(LeaseError::Damaged { .. })), "{pruned:?}");
        // What a power cut left beside is no lease.
        std::fs::rename(&path, state.path().join(FOLDER).join(".x.lease.1.0.new")).unwrap();
        assert!(leases.points().unwrap().is_empty());
    }

    /// Three find points, lease and use them while one prunes what nobody uses.
    #[test]
    fn no_point_goes_between_found_and_leased() {
        let (_state, leases) = leases();
        let there: Mutex<BTreeSet<PointId>> = Mutex::new((0..40).map(point).collect());
        let is_there = |id: &PointId| there.lock().unwrap().contains(id);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let use_points = |user: u8| {
                let mut used = 0;
                while !over.load(Ordering::Relaxed) {
                    let found = there.lock().unwrap().last().copied().expect("not all are pruned");
                    leases.take(plan(user), found).unwrap();
                    // Gone before it was leased: another is looked for.
                    if is_there(&found) {
                        for _ in 0..5 {
                            std::thread::yield_now();
                            assert!(is_there(&found), "pruned in use");
                        }
                        used += 1;
                    }
                    leases.give_back(plan(user)).unwrap();
                }
                used
            };
            let users: Vec<_> = (0..3).map(|user| scope.spawn(move || use_points(user))).collect();
            for _ in 0..25 {
                let prune = |in_use: &BTreeSet<PointId>| {
                    // The newest, which they look for as well.
                    let newest = there.lock().unwrap().iter().rev().find(|id| !in_use.contains(id)).copied();
                    std::thread::yield_now();
                    newest.map(|id| there.lock().unwrap().remove(&id))
                };
                leases.while_pruning(prune).unwrap();
            }
            over.store(true, Ordering::Relaxed);
            let used: u32 = users.into_iter().map(|user| user.join().unwrap()).sum();
            assert!(used > 0, "nobody came to use one");
        });
    }

    /// The lock is the kernel's, not the process's: another process waits as well.
    #[test]
    fn another_process_takes_no_lease_while_points_are_pruned() {
        let (state, leases) = leases();
        let lock = state.path().join(FOLDER).join(LOCK);
        let try_lock = || {
            let mut command = std::process::Command::new("flock");
            command.arg("--nonblock").arg(&lock).arg("true").status()
        };
        #[expect(clippy::print_stdout, reason = "who reads the tests has to know")]
        if try_lock().is_err() {
            println!("skipped: there is no `flock` here");
            return;
        }
        let during = leases.while_pruning(|_| try_lock().unwrap().success()).unwrap();
        assert!(!during, "two at once");
        assert!(try_lock().unwrap().success());
    }
}
