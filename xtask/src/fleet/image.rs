//! The image that all machines of a fleet start from: built once by `image.sh`,
//! and named by what that script says, so that a changed recipe is a new image.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use super::docker::Docker;
use super::needs::on_path;
use super::{Trouble, state};

const RECIPE: &str = include_str!("image.sh");
const SUITE: &str = "bookworm";

/// Its name and tag.
pub(crate) fn name() -> String {
    let digest = Sha256::digest(RECIPE.as_bytes());
    let digest: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("sternway-fleet:{digest}")
}

/// A copy outside of any Docker, so that losing images costs seconds and not minutes.
fn archive() -> Result<PathBuf, String> {
    Ok(state::cache()?.join(name().replace(':', "-") + ".tar"))
}

pub(crate) fn is_archived() -> bool {
    archive().is_ok_and(|path| path.is_file())
}

pub(crate) fn is_known(docker: &Docker) -> bool {
    docker.ask(&["image", "inspect", "--format", "{{.Id}}", &name()]).is_ok()
}

/// Builds the archive when there is none, and gives it to Docker.
pub(crate) fn make(docker: &Docker, mirror: Option<&str>) -> Result<(), Trouble> {
    let archive = archive()?;
    if !archive.is_file() {
        build(&archive, mirror)?;
    }
    let path = archive.display().to_string();
    let changes = ["ENV container=docker", "CMD [\"/sbin/init\"]"];
    docker.ask(&["import", "--change", changes[0], "--change", changes[1], &path, &name()])?;
    Ok(())
}

/// From Docker as well as from the cache.
pub(crate) fn forget(docker: &Docker) -> Result<(), String> {
    if is_known(docker) {
        docker.ask(&["image", "rm", "--force", &name()])?;
    }
    match std::fs::remove_file(archive()?) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("could not remove the image: {cause}"))
        }
        _ => Ok(()),
    }
}

fn build(archive: &Path, mirror: Option<&str>) -> Result<(), Trouble> {
    let sources = sources();
    let mirror = mirror.map(str::to_owned).or_else(|| address_of(&sources, SUITE));
    let mirror = mirror.ok_or_else(|| {
        Trouble::Cannot(format!("this machine's apt knows no Debian {SUITE}; name one with --mirror ADDRESS"))
    })?;
    let security = address_of(&sources, "bookworm-security").unwrap_or_default();
    if !on_path("unshare") || !on_path("tar") {
        return Err(Trouble::Cannot("the programs unshare and tar are needed to build the image".into()));
    }
    let cache = state::cache()?;
    remove_abandoned(&cache);
    let work = cache.join(format!("building-{}", std::process::id()));
    std::fs::create_dir_all(&work).map_err(|cause| format!("could not make {}: {cause}", work.display()))?;
    let built = build_in(&work, archive, &mirror, &security);
    let _ = std::fs::remove_dir_all(&work);
    built.map_err(Trouble::Failed)
}

/// What a build left that was killed; it is large.
fn remove_abandoned(cache: &Path) {
    for entry in std::fs::read_dir(cache).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(builder) = name.strip_prefix("building-")
            && !Path::new("/proc").join(builder).exists()
        {
            // Only room on the disk depends on it.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn build_in(work: &Path, archive: &Path, mirror: &str, security: &str) -> Result<(), String> {
    let root = work.join("root");
    let log = archive.with_extension("log");
    let failed = |cause: std::io::Error| format!("could not write {}: {cause}", log.display());
    let file = std::fs::File::create(&log).map_err(failed)?;
    let also = file.try_clone().map_err(failed)?;
    let script = work.join("image.sh");
    std::fs::write(&script, RECIPE).map_err(failed)?;
    // What is mounted on the way is gone with the namespace, whatever happens.
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "--propagation", "private", "sh"]).arg(&script);
    shell.env("ROOT", &root).env("MIRROR", mirror).env("SECURITY", security);
    shell.stdin(Stdio::null()).stdout(file).stderr(also);
    crate::carry_out(&mut shell).map_err(|why| format!("{why}\n{}", tail(&log)))?;
    let part = archive.with_extension("part");
    let mut tar = Command::new("tar");
    tar.args(["--numeric-owner", "--xattrs", "--create", "--file"]).arg(&part).arg("--directory").arg(&root);
    crate::carry_out(tar.arg("."))?;
    std::fs::rename(&part, archive).map_err(|cause| format!("could not keep {}: {cause}", archive.display()))
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(15).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// Everything that this machine's apt reads, as text.
fn sources() -> String {
    let mut paths = vec![PathBuf::from("/etc/apt/sources.list")];
    let more = std::fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    let ends = |path: &PathBuf| path.extension().is_some_and(|end| end == "list" || end == "sources");
    paths.extend(more.map(|entry| entry.path()).filter(ends));
    paths.sort();
    // A blank line ends a paragraph of one file before the next begins.
    paths.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect::<Vec<_>>().join("\n\n")
}

/// Where a suite of Debian comes from, in either form that apt reads.
fn address_of(sources: &str, suite: &str) -> Option<String> {
    let is_address = |word: &&str| word.contains("://");
    for paragraph in sources.split("\n\n") {
        let of = |key: &str| {
            let line = paragraph.lines().find(|line| line.to_ascii_lowercase().starts_with(key))?;
            Some(line[key.len()..].split_whitespace().collect::<Vec<_>>())
        };
        if of("suites:").is_some_and(|suites| suites.contains(&suite))
            && of("types:").is_none_or(|types| types.contains(&"deb"))
            && let Some(address) = of("uris:").and_then(|found| found.into_iter().find(is_address))
        {
            return Some(address.to_owned());
        }
        for line in paragraph.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.first() == Some(&"deb")
                && let Some(at) = words.iter().position(is_address)
                && words.get(at + 1) == Some(&suite)
            {
                return Some(words[at].to_owned());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_one_this_machine_uses_in_either_form_of_writing() {
        let new = "Types: deb\n# as of today\nURIs: http://mirror.invalid/debian\nSuites: bookworm bookworm-updates\n\n\
                   Types: deb\nURIs: http://mirror.invalid/security\nSuites: bookworm-security\n";
        assert_eq!(address_of(new, "bookworm").unwrap(), "http://mirror.invalid/debian");
        assert_eq!(address_of(new, "bookworm-security").unwrap(), "http://mirror.invalid/security");
        let old = "# deb http://old.invalid/debian bookworm main\n\
                   deb [signed-by=/k arch=amd64] http://mirror.invalid/debian bookworm main contrib\n";
        assert_eq!(address_of(old, "bookworm").unwrap(), "http://mirror.invalid/debian");
        assert_eq!(address_of(old, "trixie"), None);
        assert_eq!(
            address_of("Types: deb-src\nURIs: http://a.invalid\nSuites: bookworm\n", "bookworm"),
            None
        );
    }

    #[test]
    fn the_image_is_named_by_its_recipe() {
        assert!(name().starts_with("sternway-fleet:") && name().len() == "sternway-fleet:".len() + 12);
    }
}
