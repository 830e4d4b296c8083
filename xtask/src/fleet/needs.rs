//! What a machine must have before a fleet can be up, and how it comes by it.
//! What is missing for good is no failure: tests skip and say why.

use std::path::Path;
use std::process::Command;

use super::Trouble;

/// Programs and the Debian packages they come with.
const PROGRAMS: [(&str, &str); 5] = [
    ("docker", "docker.io"),
    ("dockerd", "docker.io"),
    ("debootstrap", "debootstrap"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
];

/// Says why it cannot be, or installs what is missing when that is asked for.
pub(crate) fn meet(install: bool, image_is_there: bool, docker_answers: bool) -> Result<(), Trouble> {
    if !rustix::process::geteuid().is_root() {
        return Err(Trouble::Cannot("a fleet of containers needs root".into()));
    }
    if std::fs::read_dir("/sys/fs/cgroup").map_or(0, Iterator::count) == 0 {
        return Err(Trouble::Cannot("no control groups are mounted below /sys/fs/cgroup".into()));
    }
    let missing: Vec<(&str, &str)> = PROGRAMS
        .into_iter()
        .filter(|(program, _)| !on_path(program))
        .filter(|(program, _)| !(*program == "debootstrap" && image_is_there))
        .filter(|(program, _)| !(*program == "dockerd" && docker_answers))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let programs: Vec<&str> = missing.iter().map(|(program, _)| *program).collect();
    let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    packages.dedup();
    let list = programs.join(", ");
    if !on_path("apt-get") {
        return Err(Trouble::Cannot(format!("{list} are missing, and there is no apt-get to install them")));
    }
    if !install && std::env::var_os("CI").is_none() {
        let packages = packages.join(" ");
        return Err(Trouble::Cannot(format!(
            "{list} are missing; `--install` has apt-get install {packages} on this machine"
        )));
    }
    eprintln!("installing on this machine through apt-get: {}", packages.join(" "));
    let mut apt = Command::new("apt-get");
    apt.args(["install", "--quiet", "--yes", "--no-install-recommends"]).args(&packages);
    apt.env("DEBIAN_FRONTEND", "noninteractive").stdout(std::process::Stdio::null());
    crate::carry_out(&mut apt).map_err(|why| Trouble::Cannot(format!("{list} cannot be installed: {why}")))
}

pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| is_program(&folder.join(program)))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
