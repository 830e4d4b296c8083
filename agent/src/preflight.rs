//! Is there room, before anything is changed? What a run needs at its peak is
//! added up for each file system, measured against what is there, and every
//! problem is said at once, in sentences that name what to do.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::StatVfsMountFlags;
use sternway_core::run::Need;

const MIB: u64 = 1024 * 1024;
/// Stays free on every file system that a run writes to: the journal, plugins
/// and whatever else the host does meanwhile.
pub const RESERVE_BYTES: u64 = 32 * MIB;
/// The same in entries.
pub const RESERVE_INODES: u64 = 64;

/// One file system as it was found, and what is wanted of it.
#[derive(Debug)]
struct FileSystem {
    device: u64,
    name: String,
    free: u64,
    /// None where entries are not counted.
    inodes_free: Option<u64>,
    read_only: bool,
    wanted: Vec<Wanted>,
}

#[derive(Debug)]
struct Wanted {
    subject: String,
    bytes: u64,
    entries: u64,
}

/// What was asked for and found so far.
#[derive(Debug, Default)]
pub struct Preflight {
    file_systems: Vec<FileSystem>,
    needs: Vec<Need>,
    problems: Vec<String>,
}

/// What came out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Survey {
    pub needs: Vec<Need>,
    /// Each a sentence; none: the run may be staged.
    pub problems: Vec<String>,
}

impl Preflight {
    /// `subject` is going to need `bytes` and `entries` more on the file system
    /// of the open directory `at`, which people know as `name`.
    ///
    /// # Errors
    /// The file system does not say how it stands.
    pub fn want(
        &mut self,
        at: BorrowedFd<'_>,
        name: &str,
        subject: &str,
        (bytes, entries): (u64, u64),
    ) -> io::Result<()> {
        let device = rustix::fs::fstat(at)?.st_dev;
        let wanted = Wanted { subject: subject.to_owned(), bytes, entries };
        if let Some(known) = self.file_systems.iter_mut().find(|known| known.device == device) {
            known.wanted.push(wanted);
            return Ok(());
        }
        let stat = rustix::fs::fstatvfs(at)?;
        self.file_systems.push(FileSystem {
            device,
            name: mount_point(device).unwrap_or_else(|| name.to_owned()),
            free: stat.f_bavail * stat.f_frsize,
            inodes_free: (stat.f_files > 0).then_some(stat.f_favail),
            read_only: stat.f_flag.contains(StatVfsMountFlags::RDONLY),
            wanted: vec![wanted],
        });
        Ok(())
    }

    /// One call of a plugin may grow to so many bytes of memory.
    pub fn want_memory(&mut self, bytes: u64) {
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        // A kernel that does not say is not held against the run.
        let Some(available) = memory_available(&meminfo) else { return };
        if available < bytes {
            self.problems.push(format!(
                "a plugin may need {} MiB of memory and {} MiB are available: end what is not needed here",
                bytes.div_ceil(MIB),
                available / MIB
            ));
        }
        self.needs.push(Need { what: "bytes of memory".into(), needed: bytes, available });
    }

    pub fn problem(&mut self, sentence: String) {
        self.problems.push(sentence);
    }

    pub fn judge(mut self) -> Survey {
        for found in std::mem::take(&mut self.file_systems) {
            self.judge_one(&found);
        }
        Survey { needs: self.needs, problems: self.problems }
    }

    fn judge_one(&mut self, found: &FileSystem) {
        let FileSystem { name, free, .. } = found;
        if found.read_only {
            let subjects: Vec<&str> = found.wanted.iter().map(|wanted| wanted.subject.as_str()).collect();
            self.problems.push(format!(
                "the file system `{name}` is mounted read-only, and the run writes to {} on it: mount it for writing",
                subjects.join(", ")
            ));
            return;
        }
        let needed = found.wanted.iter().map(|wanted| wanted.bytes).sum::<u64>() + RESERVE_BYTES;
        self.needs.push(Need { what: format!("bytes on {name}"), needed, available: *free });
        if *free < needed {
            self.problems.push(format!(
                "the file system `{name}` needs {} MiB free ({}) and has {} MiB: free {} MiB more on it",
                needed.div_ceil(MIB),
                shares(found),
                free / MIB,
                (needed - free).div_ceil(MIB)
            ));
        }
        let needed = found.wanted.iter().map(|wanted| wanted.entries).sum::<u64>() + RESERVE_INODES;
        let Some(free) = found.inodes_free else { return };
        self.needs.push(Need { what: format!("inodes on {name}"), needed, available: free });
        if free < needed {
            self.problems.push(format!(
                "the file system `{name}` needs {needed} free inodes and has {free}: remove files from it"
            ));
        }
    }
}

fn shares(found: &FileSystem) -> String {
    let mut shares: Vec<String> = found
        .wanted
        .iter()
        .filter(|wanted| wanted.bytes > 0)
        .map(|wanted| format!("{} MiB for {}", wanted.bytes.div_ceil(MIB), wanted.subject))
        .collect();
    shares.push(format!("{} MiB in reserve", RESERVE_BYTES / MIB));
    shares.join(", ")
}

fn memory_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Where the file system is mounted, as people know it.
fn mount_point(device: u64) -> Option<String> {
    let wanted = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(2);
        let (device, root, point) = (fields.next()?, fields.next()?, fields.next()?);
        (device == wanted && root == "/").then(|| point.replace("\\040", " "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn file_system(free: u64, inodes_free: Option<u64>, read_only: bool) -> FileSystem {
        let wanted = |subject: &str, bytes, entries| Wanted { subject: subject.into(), bytes, entries };
        FileSystem {
            device: 1,
            name: "/srv".into(),
            free,
            inodes_free,
            read_only,
            wanted: vec![wanted("/srv/hello", 12 * MIB + 1, 10), wanted("the agent's state", 0, 0)],
        }
    }

    fn judged(found: FileSystem) -> Survey {
        Preflight { file_systems: vec![found], ..Preflight::default() }.judge()
    }

    #[test]
    fn what_is_missing_is_said_with_its_file_system_and_what_to_do() {
        assert_eq!(judged(file_system(45 * MIB, None, false)).problems, [""; 0]);
        assert_eq!(
            judged(file_system(8 * MIB, Some(5), false)).problems,
            [
                "the file system `/srv` needs 45 MiB free (13 MiB for /srv/hello, 32 MiB in reserve) and has 8 MiB: \
                 free 37 MiB more on it",
                "the file system `/srv` needs 74 free inodes and has 5: remove files from it",
            ]
        );
        let read_only = judged(file_system(0, None, true)).problems;
        assert_eq!(read_only.len(), 1, "what cannot be written to has one problem");
        assert!(read_only[0].contains("read-only"), "{read_only:?}");
    }

    #[test]
    fn what_was_measured_is_told_also_when_all_is_well() {
        let needs = judged(file_system(100 * MIB, Some(1000), false)).needs;
        assert_eq!(
            needs[0],
            Need { what: "bytes on /srv".into(), needed: 44 * MIB + 1, available: 100 * MIB }
        );
        assert_eq!(needs[1], Need { what: "inodes on /srv".into(), needed: 74, available: 1000 });
    }

    #[test]
    fn two_paths_on_one_file_system_need_their_sum() {
        let folder = tempfile::tempdir().unwrap();
        let opened = std::fs::File::open(folder.path()).unwrap();
        let mut preflight = Preflight::default();
        preflight.want(opened.as_fd(), "a", "one", (u64::MAX / 4, 0)).unwrap();
        preflight.want(opened.as_fd(), "a", "two", (u64::MAX / 4, 0)).unwrap();
        let survey = preflight.judge();
        assert_eq!(survey.problems.len(), 1, "{survey:?}");
        assert!(survey.problems[0].contains("for one") && survey.problems[0].contains("for two"));
    }

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        assert_eq!(memory_available("MemTotal: 10 kB\nMemAvailable:    2048 kB\n"), Some(2 * MIB));
        assert_eq!(memory_available("MemTotal: 10 kB\n"), None);
    }
}
