//! File systems of one's own, in files, on loop devices: to fill, to cut the
//! power of, to look at again. Nothing stays mounted when they are dropped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cut;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The strict one: what was renamed and not synced comes back empty.
    Xfs,
    Ext4,
    Btrfs,
}

impl Kind {
    fn program(self) -> &'static str {
        match self {
            Self::Xfs => "mkfs.xfs",
            Self::Ext4 => "mkfs.ext4",
            Self::Btrfs => "mkfs.btrfs",
        }
    }

    /// The smallest that its maker makes.
    fn megabytes_min(self) -> u64 {
        match self {
            Self::Xfs => 320,
            // What an agent measures before a plan, with its reserve and its ballast.
            Self::Ext4 => 96,
            Self::Btrfs => 128,
        }
    }

    /// What this machine lacks for it, if anything.
    pub fn lacks(self) -> Option<String> {
        if !rustix::process::geteuid().is_root() {
            return Some("only root mounts file systems".into());
        }
        if !Path::new("/dev/loop-control").exists() {
            return Some("there are no loop devices".into());
        }
        if Command::new(self.program())
            .arg("-V")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_err()
        {
            return Some(format!("{} is not installed", self.program()));
        }
        None
    }
}

fn carry_out(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|cause| format!("{command:?}: {cause}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    at: PathBuf,
    is_mounted: bool,
}

impl Disk {
    /// Makes one of at least so many megabytes and mounts it at `at`.
    pub fn make(kind: Kind, image: PathBuf, at: &Path, megabytes: u64, options: &[&str]) -> Self {
        let file = File::create(&image).expect("the image can be made");
        file.set_len(megabytes.max(kind.megabytes_min()) << 20).expect("it can be sparse");
        drop(file);
        let quiet = if kind == Kind::Ext4 { "-F" } else { "-f" };
        let made = carry_out(Command::new(kind.program()).args(["-q", quiet]).args(options).arg(&image));
        made.expect("the file system can be made");
        Self::of(image, at)
    }

    /// Mounts an image that is there already.
    pub fn of(image: PathBuf, at: &Path) -> Self {
        std::fs::create_dir_all(at).expect("a folder to mount at");
        let mut disk = Self { image, at: at.to_path_buf(), is_mounted: false };
        disk.mount();
        disk
    }

    pub fn at(&self) -> &Path {
        &self.at
    }

    pub fn mount(&mut self) {
        let mounted = carry_out(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.at));
        mounted.expect("the file system can be mounted");
        self.is_mounted = true;
    }

    /// Whoever has something open there must have ended.
    pub fn unmount(&mut self) {
        // A process that was killed a moment ago may still be letting go.
        let gone = (0..100).any(|_| {
            let gone = carry_out(Command::new("umount").arg(&self.at));
            if gone.is_err() {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            gone.is_ok()
        });
        assert!(gone, "{} stays in use", self.at.display());
        self.is_mounted = false;
    }

    /// Everything so far is on the disk.
    pub fn sync(&self) {
        rustix::fs::syncfs(File::open(&self.at).expect("it is mounted")).expect("it can be synced");
    }

    /// What was not synced is lost; whoever writes gets errors.
    pub fn cut_power(&self) {
        cut::cut_power(&File::open(&self.at).expect("it is mounted")).expect("its power can be cut");
    }

    pub fn make_read_only(&self) {
        carry_out(Command::new("mount").args(["-o", "remount,ro"]).arg(&self.at))
            .expect("it can be remounted");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_mounted {
            let _ = carry_out(Command::new("umount").arg("-l").arg(&self.at));
        }
        let _ = std::fs::remove_file(&self.image);
    }
}
